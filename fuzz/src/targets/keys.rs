//! Key objects: as they lie at a site, and with the bytes as plaintext of a good age file.

use std::io::Write;

use holdfast_format::{Generation, Hash, KeyId, KeyRef, Scope, SessionKey, VaultSecrets};
use minicbor::Encoder;

use super::marked;
use super::seeds::{KEY, VAULT, age_identity, recipient};

/// An age file for the fuzzer's own recipient.
fn sealed(plain: &[u8]) -> Vec<u8> {
    let key: age::x25519::Recipient = age_identity().recipient().parse().expect("it is one");
    let recipients = std::iter::once(&key as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).expect("there is one");
    let mut out = Vec::new();
    let mut writer = encryptor.wrap_output(&mut out).expect("memory takes it");
    writer.write_all(plain).expect("memory takes it");
    writer.finish().expect("memory takes it");
    out
}

fn body(head: impl FnOnce(&mut Encoder<Vec<u8>>), last: u64, plain: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.map(last + 1).expect("memory takes it");
    head(&mut e);
    e.u64(last)
        .and_then(|e| e.bytes(&sealed(plain)))
        .expect("memory takes it");
    e.into_writer()
}

pub(super) fn vault_key(bytes: &[u8]) {
    let place = |e: &mut Encoder<Vec<u8>>| {
        e.u8(0)
            .and_then(|e| e.bytes(&VAULT.0))
            .expect("memory takes it");
        e.u8(1).and_then(|e| e.u8(1)).expect("memory takes it");
    };
    let inside = marked(2, &body(place, 2, bytes));
    for object in [bytes, &marked(2, bytes), &inside] {
        if let Ok(secrets) = VaultSecrets::open(VAULT, Generation(1), object, &age_identity()) {
            let again = secrets
                .seal(VAULT, Generation(1), &[recipient()])
                .expect("there is a recipient")
                .to_bytes();
            let again = VaultSecrets::open(VAULT, Generation(1), &again, &age_identity())
                .expect("it opens what it sealed");
            let id = |secrets: VaultSecrets| secrets.scope_keys(&Scope::vault()).data_id(b"x");
            assert_eq!(id(again), id(secrets));
        }
    }
}

pub(super) fn session_key(bytes: &[u8]) {
    let place = |e: &mut Encoder<Vec<u8>>| {
        e.u8(0)
            .and_then(|e| e.bytes(&VAULT.0))
            .expect("memory takes it");
        e.u8(1)
            .and_then(|e| e.bytes(&KEY.0))
            .expect("memory takes it");
        e.u8(2).and_then(|e| e.u8(1)).expect("memory takes it");
    };
    let inside = marked(3, &body(place, 3, bytes));
    for object in [bytes, &marked(3, bytes), &inside] {
        if let Ok(key) = SessionKey::accept(VAULT, object) {
            assert_eq!(key.object.to_bytes(), object);
            assert_eq!(key.reference.hash, Hash::of(object));
        }
        let reference = KeyRef {
            key: KeyId(KEY.0),
            generation: Generation(1),
            hash: Hash::of(object),
        };
        let _ = SessionKey::open(VAULT, &reference, &Scope::vault(), object, &age_identity());
    }
}
