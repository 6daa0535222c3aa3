//! The header, and what lies outside of a site: bundle, identity, what the root key signs.

use data_encoding::BASE64;
use holdfast_format::fact::RecipientsSet;
use holdfast_format::sign::Purpose;
use holdfast_format::{Bundle, Certificate, Error, Identity, ObjectName, VaultHeader};

use super::marked;
use super::seeds::{VAULT, root};

pub(super) fn header(bytes: &[u8]) {
    let _ = VaultHeader::open_any(bytes);
    let signature = root().sign(Purpose::Header, bytes).0;
    let object = marked(1, &[&signature[..], bytes].concat());
    if let Ok(header) = VaultHeader::open_any(&object) {
        let again = header.seal(&root()).to_bytes();
        assert_eq!(VaultHeader::open(header.vault, &again), Ok(header));
    }
}

pub(super) fn bundle(bytes: &[u8]) {
    let wrapped = format!("holdfast-bundle-1\n{}\n", BASE64.encode(&marked(8, bytes)));
    for text in [bytes, wrapped.as_bytes()] {
        if let Ok(bundle) = Bundle::read(text) {
            let again = Bundle::read(bundle.to_text().as_bytes()).expect("it reads what it wrote");
            assert_eq!(again.keys.data_id(b"x"), bundle.keys.data_id(b"x"));
            assert_eq!(
                (again.vault, again.name, again.root, again.recipients),
                (bundle.vault, bundle.name, bundle.root, bundle.recipients)
            );
        }
    }
}

pub(super) fn identity(bytes: &[u8]) {
    let none = || Err(Error::denied("the identity", "no passphrase here"));
    if let Ok(identity) = Identity::read(bytes, none) {
        let text = identity.to_text();
        let kit = identity.to_kit(&[("on".into(), "file:/x".into())]);
        for text in [text, kit] {
            let again = Identity::read(text.as_bytes(), none).expect("it reads what it wrote");
            assert_eq!(again.age.recipient(), identity.age.recipient());
            assert_eq!(
                (again.vault, &again.name, again.root_public.is_some()),
                (
                    identity.vault,
                    &identity.name,
                    identity.root_public.is_some()
                )
            );
        }
    }
}

pub(super) fn recipients(bytes: &[u8]) {
    if let Ok(set) = RecipientsSet::decode(bytes) {
        assert_eq!(RecipientsSet::decode(&set.encode()), Ok(set.clone()));
        let _ = set.check(VAULT, &root().public());
    }
}

pub(super) fn certificate(bytes: &[u8]) {
    if let Ok(certificate) = Certificate::decode(bytes) {
        assert_eq!(
            Certificate::decode(&certificate.encode()),
            Ok(certificate.clone())
        );
        let _ = certificate.check(VAULT, &root().public());
    }
}

pub(super) fn object_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = ObjectName::parse(text) {
        assert_eq!(name.as_str(), text);
        let _ = (name.kind(), name.as_header());
        if let Some(position) = name.as_record(VAULT) {
            assert_eq!(ObjectName::record(VAULT, position), name);
        }
        if let Some(position) = name.as_checkpoint(VAULT) {
            assert_eq!(ObjectName::checkpoint(VAULT, position), name);
        }
        if let Some(pack) = name.as_pack(VAULT) {
            assert_eq!(ObjectName::pack(VAULT, pack), name);
        }
    }
}
