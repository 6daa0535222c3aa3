//! The cache's file by itself: many blocks, both ways; every kind of damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::tree::Xattr;
use holdfast_format::{ChunkId, VaultId};

use super::format::{CachedFile, Identity};
use super::reader::{CacheReader, CacheRecord, Cached, Unusable};
use super::writer::CacheWriter;
use crate::backup::content::{FileContent, NamedPiece};
use crate::backup::metadata::{Moment, StatKey};
use crate::backup::pages::maps::PageMaps;
use crate::backup::testing::{cache, keys};

fn identity() -> Identity {
    cache(Path::new("unused")).identity(&keys("vault"))
}

fn file(number: u64) -> CachedFile {
    let time = Moment {
        seconds: number as i64 - 500,
        nanos: 999_999_999,
    };
    let piece = |n: u64| NamedPiece {
        chunk: (n > 0).then(|| keys("vault").data_id(&n.to_le_bytes())),
        offset: n,
        len: 1 + n,
    };
    CachedFile {
        pages: None,
        key: StatKey {
            size: number,
            mtime: time,
            ctime: time,
            inode: number << 33,
            device: 7,
        },
        content: match number % 4 {
            0 => FileContent::Inline(vec![number as u8; 50]),
            1 => FileContent::Pieces((0..number % 16).map(piece).collect()),
            2 => FileContent::Extents(keys("vault").data_id(b"extents")),
            _ => FileContent::Empty,
        },
        xattrs: number.is_multiple_of(10).then(|| {
            vec![Xattr {
                name: b"user.x".into(),
                value: vec![0; 30],
            }]
        }),
    }
}

fn key(directory: u64, name: &str) -> Vec<u8> {
    let mut key = format!("\0top\0{directory:06}").into_bytes();
    if !name.is_empty() {
        key.extend_from_slice(format!("\0{name}").as_bytes());
    }
    key
}

/// Writes 5000 directories of two files each, some without a node.
fn write(path: &Path) -> Vec<CacheRecord> {
    let maps = Arc::new(PageMaps::beside(path, &keys("vault"), &Context::system()));
    let mut writer = CacheWriter::create(path, &identity(), [5; 16], maps)
        .unwrap()
        .unwrap();
    let mut records = Vec::new();
    for number in 0..5000u64 {
        let slot = writer.add_directory(&key(number, ""));
        let id = (!number.is_multiple_of(7)).then(|| keys("vault").data_id(&number.to_le_bytes()));
        records.push(CacheRecord {
            key: key(number, ""),
            what: Cached::Directory(id),
        });
        for name in ["a", "b\u{ff}\n"] {
            let file = file(2 * number + u64::from(name != "a"));
            writer.add_file(&key(number, name), file.clone());
            records.push(CacheRecord {
                key: key(number, name),
                what: Cached::File(file),
            });
        }
        if let Some(id) = id {
            writer.set_slot(slot, id);
        }
        if writer.is_full() {
            writer.flush().unwrap();
        }
    }
    let top = ChunkId([8; 32]);
    writer.finish(top, 10_000, 123).unwrap().finish(true);
    records
}

fn read(path: &Path) -> Result<Vec<CacheRecord>, Unusable> {
    let mut reader = CacheReader::open(path, &identity())?.expect("there is a file");
    let mut all = Vec::new();
    loop {
        let records = reader.next(1000)?;
        if records.is_empty() {
            return Ok(all);
        }
        all.extend(records);
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    (folder, path)
}

#[test]
fn what_was_written_is_read() {
    let (_folder, path) = place();
    let written = write(&path);
    assert!(written.is_sorted_by(|a, b| a.key < b.key));
    assert!(read(&path).unwrap() == written);
    let reader = CacheReader::open(&path, &identity()).unwrap().unwrap();
    assert_eq!((reader.trailer.files, reader.trailer.bytes), (10_000, 123));
    assert_eq!(reader.trailer.top, ChunkId([8; 32]));
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("{} bytes a record", bytes / written.len() as u64);
}

#[test]
fn whose_it_is_matters() {
    let (_folder, path) = place();
    write(&path);
    let others: [fn(&mut Identity); 3] = [
        |identity| identity.vault = VaultId([1; 16]),
        |identity| identity.rules += 1,
        |identity| identity.keys = keys("agent/x").data_id(b"holdfast cache"),
    ];
    for change in others {
        let mut other = identity();
        change(&mut other);
        assert!(matches!(
            CacheReader::open(&path, &other),
            Err(Unusable::Foreign)
        ));
    }
    assert!(
        CacheReader::open(Path::new("/no/such/cache"), &identity())
            .unwrap()
            .is_none()
    );
}

#[test]
fn what_is_read_of_a_damaged_one_is_a_true_beginning() {
    let (_folder, path) = place();
    let written = write(&path);
    let whole = std::fs::read(&path).unwrap();
    for step in 0..200 {
        let at = step * whole.len() / 200;
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let Ok(Some(mut reader)) = CacheReader::open(&path, &identity()) else {
            continue;
        };
        let mut found = 0;
        let error = loop {
            match reader.next(1000) {
                Ok(records) if records.is_empty() => break None,
                Ok(records) => {
                    assert!(written[found..].starts_with(&records));
                    found += records.len();
                }
                Err(error) => break Some(error),
            }
        };
        assert!(
            error.is_some() && found < written.len(),
            "a bit flipped at {at}"
        );
    }
}

#[test]
fn a_block_from_elsewhere_is_noticed() {
    let (_folder, path) = place();
    write(&path);
    let whole = std::fs::read(&path).unwrap();
    let at =
        |place: usize| u32::from_le_bytes(whole[place..place + 4].try_into().unwrap()) as usize;
    let header_end = 32 + 36 + at(32);
    let second = header_end + 36 + at(header_end);
    let third = second + 36 + at(second);
    let swapped = [
        &whole[..header_end],
        &whole[second..third],
        &whole[header_end..second],
        &whole[third..],
    ]
    .concat();
    assert_eq!(swapped.len(), whole.len());
    std::fs::write(&path, swapped).unwrap();
    assert!(matches!(read(&path), Err(Unusable::Damaged(_))));
}
