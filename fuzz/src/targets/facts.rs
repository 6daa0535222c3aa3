//! Records and their facts.

use bytes::Bytes;
use holdfast_format::codec::{self, LEVEL};
use holdfast_format::record::{Facts, RecordBody};
use holdfast_format::{Record, VaultId};

use super::seeds::{POSITION, VAULT, body, root};

pub(super) fn record(bytes: &[u8]) {
    let _ = Record::open(VAULT, POSITION, Bytes::copy_from_slice(bytes));
    let framed = [&(bytes.len() as u32).to_le_bytes()[..], bytes, &[0; 64]].concat();
    let framed = super::marked(5, &framed);
    assert!(Record::open(VaultId([7; 16]), POSITION, framed.into()).is_err());
    if let Ok(body) = codec::decode::<RecordBody>(bytes) {
        round_trip(body);
    }
}

/// The bytes as the list of facts of a record that is good otherwise.
pub(super) fn facts(bytes: &[u8]) {
    let mut encoded = codec::encode(&body(Vec::new()));
    // The facts are the last of its fields: an empty array.
    assert_eq!(encoded.pop(), Some(0x80));
    encoded.extend_from_slice(bytes);
    if let Ok(body) = codec::decode::<RecordBody>(&encoded) {
        round_trip(body);
    }
}

fn round_trip(body: RecordBody) {
    let again = codec::decode::<RecordBody>(&codec::encode(&body));
    assert_eq!(again.as_ref(), Ok(&body));
    for fact in &body.facts.0 {
        let _ = (fact.kind(), fact.kind_name());
    }
    if body.level > LEVEL {
        return;
    }
    let body = RecordBody {
        writer: root().public(),
        tail: None,
        facts: Facts(body.facts.0),
        ..body
    };
    let (vault, position) = (body.vault, body.position());
    let made = Record::make(body, &root()).expect("it is short");
    assert_eq!(Record::open(vault, position, made.object.clone()), Ok(made));
}
