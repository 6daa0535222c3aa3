//! What each step of a backup costs by itself, one thread (the wire: both ends, on as many as there are), so that the sum tells where the time goes.
//!
//! Three kinds of bytes: incompressible, text such as source code, and pages such as a database's. A step's figure is the best of
//! several rounds; the sum of the steps that a byte goes through stands below, beside what the slowest of them allows.

#![expect(clippy::unwrap_used, reason = "a bench ends where its ground is gone")]

mod wire;

use std::fs::File;
use std::hint::black_box;
use std::io::{Read as _, Seek as _, Write as _};

use bytes::Bytes;
use holdfast_agent::backup::Cutter;
use holdfast_benches::{cpu_seconds, median};
use holdfast_context::Context;
use holdfast_format::{
    Chunk, ChunkKind, ClaimNonce, DataKey, Epoch, Frame, FrameSealer, KeyId, ObjectName,
    PackBuilder, PackId, PackNumber, ScopeKeys, Suite, VaultId, open_frame,
};
use holdfast_store::{SiteOptions, open_for_writing};
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

/// How much of each kind.
const BYTES: usize = 256 << 20;

/// Rounds of each step.
const ROUNDS: usize = 5;

/// The length of a database's page.
const PAGE: usize = 8 << 10;

/// Packs are of this length.
const PACK: usize = 32 << 20;

const VAULT: VaultId = VaultId([1; 16]);
const KEY: KeyId = KeyId([2; 16]);

/// What a step gave.
#[derive(Debug, Clone, Copy)]
struct Speed {
    seconds_per_gb: f64,
    cpu_per_gb: f64,
}

fn main() {
    // `cargo test --benches` passes this: there is nothing to test.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let keys = ScopeKeys::derive(&[1; 32], &[2; 32], &"vault".parse().unwrap());
    println!("| step | incompressible | text | pages |");
    println!("|---|---|---|---|");
    let kinds = [noise(BYTES), text(BYTES), pages(BYTES)];
    row("copy in memory", &kinds, |data| {
        let mut to = vec![0; data.len()];
        measure(data.len(), || to.copy_from_slice(data))
    });
    row("read from the page cache", &kinds, |data| read(data));
    row("cut by content", &kinds, |data| {
        let cutter = Cutter::new(&keys);
        measure(data.len(), || {
            black_box(lengths(data, |rest| cutter.cut(rest, true)));
        })
    });
    row("cut by content: crate fastcdc", &kinds, |data| {
        measure(data.len(), || {
            black_box(lengths(data, fastcdc_cut));
        })
    });
    let chunked: Vec<Vec<Bytes>> = kinds.iter().map(|data| chunks(&keys, data)).collect();
    row("name: BLAKE3", &chunked, |chunks| {
        each(chunks, |chunk| {
            black_box(keys.data_id(chunk));
        })
    });
    row("name, with hashes of pages of 8 KiB", &chunked, |chunks| {
        each(chunks, |chunk| {
            drop(black_box(keys.data_id_and_pages(chunk, PAGE)))
        })
    });
    row("compress: zstd 1", &chunked, |chunks| {
        let mut zstd = zstd::bulk::Compressor::new(1).unwrap();
        each(chunks, |chunk| drop(black_box(zstd.compress(chunk))))
    });
    let named: Vec<Vec<Chunk>> = chunked
        .iter()
        .map(|chunks| {
            chunks
                .iter()
                .map(|bytes| keys.data(bytes.clone()))
                .collect()
        })
        .collect();
    for suite in [Suite::XChaCha20Poly1305, Suite::Aes256Gcm] {
        row(&format!("compress and seal: {suite:?}"), &named, |chunks| {
            let mut chance = rand::rngs::StdRng::seed_from_u64(4);
            let secret = DataKey::new(suite, [3; 32]);
            let mut sealer = FrameSealer::new(VAULT, KEY, &secret, 1).unwrap();
            measure(total(chunks), || {
                // One after the other, as an agent has few at a time.
                for chunk in chunks.chunks(1) {
                    drop(black_box(sealer.seal(&mut chance, chunk).unwrap()));
                }
            })
        });
        let frames: Vec<Vec<Frame>> = named.iter().map(|chunks| seal(suite, chunks)).collect();
        let plain: Vec<usize> = named.iter().map(|chunks| total(chunks)).collect();
        let both: Vec<_> = frames.iter().zip(plain).collect();
        row(
            &format!("open and check: {suite:?}"),
            &both,
            |(frames, bytes)| {
                let secret = DataKey::new(suite, [3; 32]);
                measure(*bytes, || {
                    for frame in *frames {
                        drop(black_box(open_frame(VAULT, &secret, &keys, frame).unwrap()));
                    }
                })
            },
        );
    }
    let sealed: Vec<Vec<Frame>> = named
        .iter()
        .map(|chunks| seal(Suite::Aes256Gcm, chunks))
        .collect();
    println!("\nPer GB of what is sealed:\n");
    println!("| step | incompressible | text | pages |");
    println!("|---|---|---|---|");
    for (name, way) in [
        ("wire: the coordinator's socket, both ends", wire::Way::Unix),
        ("wire: mutual TLS over loopback, both ends", wire::Way::Tls),
    ] {
        row(name, &sealed, |frames| wire::send(way, frames));
    }
    row("pack: hash frames, make the footer", &sealed, |frames| {
        measure(sealed_bytes(frames), || drop(black_box(packs(frames))))
    });
    row("write packs to a folder, synced", &sealed, |frames| {
        write_packs(frames)
    });
    row(
        "write and sync, through the page cache",
        &sealed,
        |frames| write_files(frames),
    );
}

/// One line of the table.
fn row<T>(name: &str, kinds: &[T], step: impl Fn(&T) -> Speed) {
    let cells: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let speed = step(kind);
            format!(
                "{:.2} GB/s, {:.2} s",
                1.0 / speed.seconds_per_gb,
                speed.cpu_per_gb
            )
        })
        .collect();
    println!("| {name} | {} |", cells.join(" | "));
}

/// The best of several rounds.
fn measure(bytes: usize, mut step: impl FnMut()) -> Speed {
    let gb = bytes as f64 / 1e9;
    let rounds: Vec<Speed> = (0..ROUNDS)
        .map(|_| {
            let (cpu, began) = (cpu_seconds(std::process::id()), Instant::now());
            step();
            Speed {
                seconds_per_gb: began.elapsed().as_secs_f64() / gb,
                cpu_per_gb: (cpu_seconds(std::process::id()) - cpu) / gb,
            }
        })
        .collect();
    median(&rounds, |speed| speed.seconds_per_gb)
}

fn each<T: AsRef<[u8]>>(chunks: &[T], mut step: impl FnMut(&[u8])) -> Speed {
    let bytes = chunks.iter().map(|chunk| chunk.as_ref().len()).sum();
    measure(bytes, || {
        chunks.iter().for_each(|chunk| step(chunk.as_ref()))
    })
}

fn total(chunks: &[Chunk]) -> usize {
    chunks.iter().map(|chunk| chunk.bytes.len()).sum()
}

fn sealed_bytes(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.sealed.len()).sum()
}

fn lengths(data: &[u8], mut cut: impl FnMut(&[u8]) -> Option<usize>) -> Vec<usize> {
    let (mut rest, mut found) = (data, Vec::new());
    while let Some(len) = cut(rest) {
        found.push(len);
        rest = &rest[len..];
    }
    found
}

/// As the cutter aims: from 256 KiB to 4 MiB, 1 MiB in between.
fn fastcdc_cut(rest: &[u8]) -> Option<usize> {
    let mut cutter = fastcdc::v2020::FastCDC::new(rest, 256 << 10, 1 << 20, 4 << 20);
    cutter.next().map(|chunk| chunk.length)
}

fn chunks(keys: &ScopeKeys, data: &[u8]) -> Vec<Bytes> {
    let cutter = Cutter::new(keys);
    let (mut rest, mut found) = (Bytes::copy_from_slice(data), Vec::new());
    while let Some(len) = cutter.cut(&rest, true) {
        found.push(rest.split_to(len));
    }
    found
}

fn seal(suite: Suite, chunks: &[Chunk]) -> Vec<Frame> {
    let mut chance = rand::rngs::StdRng::seed_from_u64(4);
    let secret = DataKey::new(suite, [3; 32]);
    let mut sealer = FrameSealer::new(VAULT, KEY, &secret, 1).unwrap();
    let frames = chunks.chunks(1);
    frames
        .map(|one| sealer.seal(&mut chance, one).unwrap())
        .collect()
}

fn packs(frames: &[Frame]) -> Vec<holdfast_format::Pack> {
    let (mut packs, mut bytes) = (Vec::new(), 0);
    let builder = |number: usize| {
        let pack = PackId {
            epoch: Epoch(1),
            nonce: ClaimNonce([5; 16]),
            number: PackNumber(number as u64),
        };
        PackBuilder::new(VAULT, pack, ChunkKind::Data, "vault".parse().unwrap())
    };
    let mut open = builder(0);
    for frame in frames {
        open.add(frame.clone()).unwrap();
        bytes += frame.sealed.len();
        if bytes >= PACK {
            packs.push(std::mem::replace(&mut open, builder(packs.len() + 1)).finish());
            bytes = 0;
        }
    }
    packs.push(open.finish());
    packs
}

fn read(data: &[u8]) -> Speed {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(data).unwrap();
    let mut buffer = vec![0; 8 << 20];
    measure(data.len(), || {
        file.rewind().unwrap();
        while file.read(&mut buffer).unwrap() > 0 {}
    })
}

/// As a coordinator writes them to a site in a folder.
fn write_packs(frames: &[Frame]) -> Speed {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let packs = packs(frames);
    let context = Context::system();
    measure(sealed_bytes(frames), || {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().display());
        runtime.block_on(async {
            let options = SiteOptions::default();
            let name = "site".parse().unwrap();
            let opened = open_for_writing(&context, name, &url, &options);
            let opened = opened.await.unwrap();
            for pack in &packs {
                let name = ObjectName::pack(VAULT, pack.footer.pack);
                opened
                    .site
                    .put_pack(&name, pack.body.clone())
                    .await
                    .unwrap();
            }
        });
    })
}

fn write_files(frames: &[Frame]) -> Speed {
    let packs = packs(frames);
    measure(sealed_bytes(frames), || {
        let folder = tempfile::tempdir().unwrap();
        for (n, pack) in packs.iter().enumerate() {
            let mut file = File::create(folder.path().join(n.to_string())).unwrap();
            for part in pack.body.parts() {
                file.write_all(part).unwrap();
            }
            file.sync_all().unwrap();
        }
    })
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand::rngs::StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
    bytes
}

/// Words of a small vocabulary, drawn unevenly, in lines.
fn text(len: usize) -> Vec<u8> {
    let mut chance = rand::rngs::StdRng::seed_from_u64(2);
    let mut bytes = Vec::with_capacity(len + 64);
    while bytes.len() < len {
        let (one, other) = (chance.next_u32() % 4096, chance.next_u32() % 4096);
        let word = (one * other) >> 12;
        bytes.extend_from_slice(format!("{word:x}_{} ", word % 89).as_bytes());
        if one % 9 == 0 {
            bytes.extend_from_slice(b"\n    ");
        }
    }
    bytes.truncate(len);
    bytes
}

/// Pages with a header, rows that count up, and a rest of zeros.
fn pages(len: usize) -> Vec<u8> {
    let mut chance = rand::rngs::StdRng::seed_from_u64(3);
    let mut bytes = Vec::with_capacity(len);
    let mut row = 0u64;
    while bytes.len() < len {
        let mut page = chance.next_u64().to_le_bytes().to_vec();
        while page.len() < PAGE * 7 / 8 {
            row += 1;
            page.extend_from_slice(&row.to_le_bytes());
            page.extend_from_slice(&chance.next_u32().to_le_bytes());
            page.extend_from_slice(&[b' '; 84]);
        }
        page.resize(PAGE, 0);
        bytes.extend_from_slice(&page);
    }
    bytes.truncate(len);
    bytes
}
