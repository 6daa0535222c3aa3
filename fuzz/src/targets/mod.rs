//! What the fuzz targets do with arbitrary bytes: one function for each decoder, and seeds to start from.
//!
//! The one source of truth for `cargo +nightly fuzz run NAME` and for the test that runs all of them on every machine.
//! Each decodes; where bytes decode, it encodes again and requires the same value. It must never panic, and never
//! allocate much more than it was given. Signatures, ciphers and hashes would stop a fuzzer at the door, so each target
//! also makes objects that hold its bytes behind a valid one.

mod facts;
mod files;
mod keys;
mod nodes;
mod packs;
mod saved;
mod seeds;

/// One decoder.
#[derive(Debug)]
pub struct Target {
    /// Its name: that of the fuzz target.
    pub name: &'static str,
    /// Takes arbitrary bytes.
    pub run: fn(&[u8]),
    /// Bytes that decode.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many mutations of its seeds a quick test can afford.
    pub rounds: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("header", files::header, seeds::header, 2000),
    target("bundle", files::bundle, seeds::bundle, 2000),
    target("identity", files::identity, seeds::identity, 1000),
    target("recipients", files::recipients, seeds::recipients, 2000),
    target("certificate", files::certificate, seeds::certificate, 2000),
    target("object_name", files::object_name, seeds::object_name, 4000),
    target("vault_key", keys::vault_key, seeds::vault_key, 200),
    target("session_key", keys::session_key, seeds::session_key, 200),
    target("frame", packs::frame, seeds::frame, 4000),
    target("footer", packs::footer, seeds::footer, 4000),
    target("pack", packs::pack, seeds::pack, 4000),
    target("pack_fact", packs::pack_fact, seeds::pack_fact, 4000),
    target("record", facts::record, seeds::record, 2000),
    target("facts", facts::facts, seeds::facts, 4000),
    target("node", nodes::node, seeds::node, 4000),
    target("manifest", saved::manifest, seeds::manifest, 4000),
    target("segment", saved::segment, seeds::segment, 4000),
    target(
        "index_segment",
        saved::index_segment,
        seeds::index_segment,
        4000,
    ),
    target("bitmap", saved::bitmap, seeds::bitmap, 4000),
    target("catalog", saved::catalog, seeds::catalog, 4000),
];

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    rounds: usize,
) -> Target {
    Target {
        name,
        run,
        seeds,
        rounds,
    }
}

/// The mark of a kind of object at level 1.
fn marked(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&b"holdfast"[..], &[kind, 1], bytes].concat()
}

/// Takes bytes off the front, as many as there are up to `count`.
fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}

/// Takes a number of up to `width` bytes off the front.
fn number(bytes: &mut &[u8], width: usize) -> u64 {
    let taken = take(bytes, width);
    taken
        .iter()
        .rev()
        .fold(0, |all, &byte| all << 8 | u64::from(byte))
}
