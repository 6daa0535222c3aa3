//! The steps of a backup, each by itself.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read as _, Seek as _, Write as _};

use bytes::Bytes;
use holdfast_agent::backup::Cutter;
use holdfast_benches::{cpu_seconds, median};
use holdfast_context::Context;
use holdfast_format::{
    ChunkKind, ClaimNonce, DataKey, Epoch, Frame, FrameSealer, KeyId, ObjectName, Pack,
    PackBuilder, PackId, PackNumber, ScopeKeys, Suite, VaultId, open_frame,
};
use holdfast_store::{SiteOptions, open_for_writing};
use tokio::time::Instant;

use crate::kinds::{Kind, PAGE};

/// Rounds of each step.
const ROUNDS: usize = 5;

/// Packs are of this length.
const PACK: usize = 32 << 20;

const VAULT: VaultId = VaultId([1; 16]);
const KEY: KeyId = KeyId([2; 16]);

/// What a step gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    pub(crate) seconds_per_gb: f64,
    pub(crate) cpu_per_gb: f64,
}

/// The median of several rounds.
pub(crate) fn measure(bytes: usize, mut step: impl FnMut()) -> Speed {
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

pub(crate) fn sealed_bytes(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.sealed.len()).sum()
}

pub(crate) fn copy(kind: &Kind) -> Speed {
    let mut to = vec![0; kind.len()];
    measure(kind.len(), || {
        let mut rest = to.as_mut_slice();
        for file in &kind.files {
            let (now, later) = rest.split_at_mut(file.len());
            now.copy_from_slice(file);
            rest = later;
        }
    })
}

/// Files are opened, each read as far as it is in the sample, and closed.
pub(crate) fn read(kind: &Kind) -> Speed {
    let mut buffer = vec![0; 8 << 20];
    let mut read_file = |mut file: &File, mut len: usize| {
        while len > 0 {
            let some = len.min(buffer.len());
            file.read_exact(&mut buffer[..some]).unwrap();
            len -= some;
        }
    };
    if kind.paths.is_empty() {
        let mut file = tempfile::tempfile().unwrap();
        for bytes in &kind.files {
            file.write_all(bytes).unwrap();
        }
        return measure(kind.len(), || {
            file.rewind().unwrap();
            read_file(&file, kind.len());
        });
    }
    measure(kind.len(), || {
        for (path, bytes) in kind.paths.iter().zip(&kind.files) {
            read_file(&File::open(path).unwrap(), bytes.len());
        }
    })
}

pub(crate) fn cut(keys: &ScopeKeys, kind: &Kind) -> Speed {
    let cutter = Cutter::new(keys);
    cut_by(kind, |rest| cutter.cut(rest, true))
}

/// As the cutter aims: from 256 KiB to 4 MiB, 1 MiB in between.
pub(crate) fn cut_fastcdc(kind: &Kind) -> Speed {
    cut_by(kind, |rest| {
        let mut cutter = fastcdc::v2020::FastCDC::new(rest, 256 << 10, 1 << 20, 4 << 20);
        cutter.next().map(|chunk| chunk.length)
    })
}

fn cut_by(kind: &Kind, cut: impl Fn(&[u8]) -> Option<usize>) -> Speed {
    measure(kind.len(), || {
        for file in &kind.files {
            let mut rest = &file[..];
            while let Some(len) = cut(rest) {
                rest = &rest[black_box(len)..];
            }
        }
    })
}

pub(crate) fn name(keys: &ScopeKeys, kind: &Kind) -> Speed {
    each(kind, |chunk| {
        black_box(keys.data_id(chunk));
    })
}

pub(crate) fn name_pages(keys: &ScopeKeys, kind: &Kind) -> Speed {
    each(kind, |chunk| {
        drop(black_box(keys.data_id_and_pages(chunk, PAGE)))
    })
}

fn each(kind: &Kind, mut step: impl FnMut(&Bytes)) -> Speed {
    measure(kind.len(), || {
        kind.chunks.iter().for_each(|chunk| step(&chunk.bytes))
    })
}

/// Frames, as they are sealed.
pub(crate) fn compress(kind: &Kind) -> Speed {
    let mut zstd = zstd::bulk::Compressor::new(1).unwrap();
    let frames: Vec<Vec<u8>> = kind
        .frames()
        .into_iter()
        .map(|frame| frame.iter().flat_map(|chunk| chunk.bytes.clone()).collect())
        .collect();
    measure(kind.len(), || {
        for frame in &frames {
            drop(black_box(zstd.compress(frame)));
        }
    })
}

fn sealer(suite: Suite) -> (DataKey, FrameSealer) {
    let secret = DataKey::new(suite, [3; 32]);
    let sealer = FrameSealer::new(VAULT, KEY, &secret, 1).unwrap();
    (secret, sealer)
}

pub(crate) fn seal(suite: Suite, kind: &Kind) -> Speed {
    let (_, mut sealer) = sealer(suite);
    let mut chance = Context::system().fork_random();
    let frames = kind.frames();
    measure(kind.len(), || {
        // One after the other, as an agent has few at a time.
        for frame in &frames {
            drop(black_box(sealer.seal(&mut chance, frame).unwrap()));
        }
    })
}

pub(crate) fn open(keys: &ScopeKeys, suite: Suite, kind: &Kind) -> Speed {
    let (secret, mut sealer) = sealer(suite);
    let frames = kind.sealed(&mut sealer);
    measure(kind.len(), || {
        for frame in &frames {
            drop(black_box(open_frame(VAULT, &secret, keys, frame).unwrap()));
        }
    })
}

/// The frames that the steps behind the sealing get.
pub(crate) fn sealed(kind: &Kind) -> Vec<Frame> {
    kind.sealed(&mut sealer(Suite::fastest()).1)
}

pub(crate) fn pack(frames: &[Frame]) -> Speed {
    measure(sealed_bytes(frames), || drop(black_box(packs(frames))))
}

fn packs(frames: &[Frame]) -> Vec<Pack> {
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

/// As a coordinator writes them to a site in a folder.
pub(crate) fn write_packs(frames: &[Frame]) -> Speed {
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

pub(crate) fn write_files(frames: &[Frame]) -> Speed {
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
