//! One file picked out of a large tree, restored straight from a site with no coordinator: what it asks of the site.
//!
//! The tree has folders of 500 files of 4 KiB, 200 of them in each folder above. Its nodes are sealed and stored; of its data
//! only the file that is picked.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_agent::direct::DirectVault;
use holdfast_agent::restore::{RestoreOptions, RestoreProgress, restore};
use holdfast_format::tree::{
    Content, DirectoryPage, Entry, EntryKind, Node, Piece, Root, SourceKind,
};
use holdfast_format::{Chunk, ChunkId, ScopeKeys};
use holdfast_store::Counters;
use holdfast_vault::Writer;
use holdfast_vault::index::MEMORY_CHUNKS_MAX;
use tokio_util::sync::CancellationToken;

use crate::filling::{Named, Session, id, scope};
use crate::founded::{Founded, VAULT, secrets};
use crate::part::{Figures, told};
use crate::resident::{Watch, anonymous};
use crate::stopwatch::Stopwatch;
use crate::table::{Row, Unit, print};

/// No larger tree is made: its nodes are stored.
pub(crate) const FILES_MAX: u64 = 10_000_000;

/// Files of a folder.
const FOLDER_FILES: u64 = 500;

/// Folders of a folder above.
const FOLDERS: u64 = 200;

/// Bytes of a file.
const FILE_BYTES: u32 = 4096;

/// Makes such a vault, and picks a file in another process.
pub(crate) fn measured(files: u64) -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let mut figures = told("picked-made", folder.path(), &[files]);
    figures.extend(told("picked-opened", folder.path(), &[files]));
    figures
}

/// The folder, below how many others, in the middle of the tree; and its path.
fn middle(files: u64) -> (u64, String) {
    let folder = files / FOLDER_FILES / 2;
    let above = folder / FOLDERS;
    let below = folder % FOLDERS;
    (
        folder,
        format!("/above-{above:04}/folder-{below:04}/file-000250"),
    )
}

fn entry(name: String, kind: EntryKind) -> Entry {
    Entry {
        name: name.into_bytes(),
        kind,
        mode: 0o640,
        uid: 1000,
        gid: 1000,
        user: Some("postgres".into()),
        group: Some("postgres".into()),
        mtime_seconds: 1_700_000_000,
        mtime_nanos: 123_456_789,
        size: 0,
        xattrs: None,
        hard_link: None,
        content: None,
        directory: None,
        target: None,
        device: None,
    }
}

fn page(keys: &ScopeKeys, entries: Vec<Entry>, refs: Vec<ChunkId>) -> Chunk {
    keys.node(Node::directory(DirectoryPage { entries }).encode(), refs)
}

/// A folder of other folders.
fn folders(keys: &ScopeKeys, word: &str, below: Vec<ChunkId>) -> Chunk {
    let entries = (0..below.len()).map(|n| Entry {
        directory: Some(u32::try_from(n).unwrap()),
        ..entry(format!("{word}-{n:04}"), EntryKind::Directory)
    });
    page(keys, entries.collect(), below)
}

fn picked_bytes() -> Bytes {
    Bytes::from(vec![42; FILE_BYTES as usize])
}

/// A folder of files. One that is picked has its file's bytes stored.
async fn files(session: &mut Session<'_>, keys: &ScopeKeys, folder: u64, picked: bool) -> Chunk {
    let first = folder * FOLDER_FILES;
    let mut refs: Vec<ChunkId> = (first..first + FOLDER_FILES).map(id).collect();
    if picked {
        refs[250] = keys.data_id(&picked_bytes());
        session.stored(keys.data(picked_bytes())).await;
    }
    for (n, &file) in refs.iter().enumerate() {
        if !(picked && n == 250) {
            session.data(file, FILE_BYTES);
        }
    }
    let entries = (0..refs.len()).map(|n| {
        let mut file = entry(format!("file-{n:06}"), EntryKind::File);
        // As different as those of real files.
        file.mtime_nanos = ((first + n as u64) * 7919 % 999_999_937) as u32;
        file.size = u64::from(FILE_BYTES);
        file.content = Some(Content {
            pieces: Some(vec![Piece {
                chunk: Some(n as u32),
                offset: 0,
                len: u64::from(FILE_BYTES),
            }]),
            ..Content::default()
        });
        file
    });
    page(keys, entries.collect(), refs)
}

/// Makes the vault.
pub(crate) async fn made(folder: &Path, count: u64) -> Figures {
    let (founded, mut writer) = Founded::new(folder).await;
    let keys = secrets().scope_keys(&scope());
    let (middle, _) = middle(count);
    let mut named = Named::new();
    let mut session = Session::sealed(&founded, &writer, "tree").await;
    session.open(&mut writer).await;
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for number in 0..count / FOLDER_FILES {
        let folder = files(&mut session, &keys, number, number == middle).await;
        below.push(folder.id);
        session.node(folder);
        if below.len() as u64 == FOLDERS {
            let folder = folders(&keys, "folder", std::mem::take(&mut below));
            above.push(folder.id);
            session.node(folder);
        }
        if session.is_full() {
            session.flush(&mut writer, &mut named).await;
            settle(&founded, &mut writer);
        }
    }
    let top = folders(&keys, "above", above);
    let root = Node::root(Root {
        top: 0,
        kind: SourceKind::Files,
        host: "bench".into(),
        arguments: vec![b"/".to_vec()],
        started_millis: 0,
        finished_millis: 0,
        problems: Vec::new(),
        written_by: "bench".into(),
    });
    let root = keys.node(root.encode(), vec![top.id]);
    let root_id = root.id;
    session.node(top);
    session.node(root);
    session.commit(&mut writer, &mut named, root_id).await;
    founded.save(&mut writer).await;
    Figures::from([
        ("files".into(), count as f64),
        (
            "bytes of nodes".into(),
            founded.bytes_of("packs").await as f64,
        ),
        (
            "bytes of checkpoint".into(),
            founded.bytes_of("segments").await as f64,
        ),
    ])
}

fn settle(founded: &Founded, writer: &mut Writer) {
    if writer.state().read().unwrap().index.in_memory() >= MEMORY_CHUNKS_MAX {
        writer.settle(&founded.cache).unwrap();
    }
}

/// Opens the vault at its site with the identity, and restores one file.
pub(crate) async fn opened(folder: &Path, count: u64) -> Figures {
    let founded = Founded::at(folder).await;
    let identity = founded.identity();
    let counted = || founded.site.site.counters();
    let asked = |what: &str, since: &Counters| {
        let counters = counted().since(since);
        Figures::from([
            (format!("requests {what}"), counters.requests() as f64),
            (format!("bytes {what}"), counters.bytes_read as f64),
        ])
    };
    let (before, start) = (anonymous(), counted());
    let (most, watch) = (Watch::start(), Stopwatch::start());
    let vault = DirectVault::open(
        founded.context.clone(),
        founded.site.site.clone(),
        VAULT,
        identity,
    );
    let vault = vault.await.unwrap();
    let mut figures = watch.figures("opening");
    let peak = most.end().saturating_sub(before);
    figures.insert("peak opening".into(), peak as f64);
    figures.extend(asked("opening", &start));
    let root = vault.state().catalog.snapshots.values().next().unwrap();
    let root = root.root_id;
    let keys = vault.scope_keys(&scope());
    let (_, path) = middle(count);
    let target = folder.join("restored");
    let options = RestoreOptions {
        include: vec![path.clone().into_bytes()],
        ..RestoreOptions::new(&target)
    };
    let (before, start) = (anonymous(), counted());
    let (most, watch) = (Watch::start(), Stopwatch::start());
    let result = restore(
        &founded.context,
        vault.source(&scope()),
        root,
        Some(&keys),
        &options,
        CancellationToken::new(),
        Arc::new(RestoreProgress::default()),
    );
    let result = result.await.unwrap();
    figures.extend(watch.figures("restoring"));
    let peak = most.end().saturating_sub(before);
    figures.insert("peak restoring".into(), peak as f64);
    figures.extend(asked("restoring", &start));
    assert!(result.complete(), "{result:?}");
    let restored = std::fs::read(target.join(&path[1..])).unwrap();
    assert_eq!(restored, picked_bytes());
    figures
}

/// Prints what was measured.
pub(crate) fn table(rounds: &[Figures]) {
    let rows: &[Row] = &[
        ("nodes at the site", "bytes of nodes", Unit::Mebibytes),
        (
            "checkpoint at the site",
            "bytes of checkpoint",
            Unit::Mebibytes,
        ),
        ("opening the vault", "seconds opening", Unit::Seconds),
        ("requests", "requests opening", Unit::Digits(0)),
        ("bytes read", "bytes opening", Unit::Mebibytes),
        ("memory, at most", "peak opening", Unit::Mebibytes),
        ("restoring the file", "seconds restoring", Unit::Seconds),
        ("requests", "requests restoring", Unit::Digits(0)),
        ("bytes read", "bytes restoring", Unit::Mebibytes),
        ("memory, at most", "peak restoring", Unit::Mebibytes),
    ];
    print("One file out of many", "files", rounds, rows);
}
