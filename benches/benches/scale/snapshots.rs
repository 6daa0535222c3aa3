//! A vault with many snapshots over few chunks: opening it, listing, one more commit, retention, its checkpoint, its memory.
//!
//! Each snapshot has a key of its own, a pack of data, a pack of nodes. 50 of them go into one record, which no writer does: how
//! long its log takes to read is not measured here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::filling::{Named, Session, id, scope};
use crate::founded::{Founded, checked, propose, secrets};
use crate::part::{Figures, told};
use crate::resident::{Watch, anonymous};
use crate::stopwatch::Stopwatch;
use crate::table::{Row, Unit, print};
use bytes::Bytes;
use holdfast_agent::client::SnapshotInfo;
use holdfast_format::{ChunkId, Epoch};
use holdfast_policy::{Policy, SnapshotFacts, check_share, decide};
use holdfast_vault::collect::mark::mark;
use holdfast_vault::index::MEMORY_CHUNKS_MAX;
use holdfast_vault::{Commit, Proposal, State, Writer};

/// Sources that the snapshots are spread over.
const SOURCES: u64 = 100;

/// Snapshots of one record.
const AT_ONCE: usize = 50;

/// Nodes of each snapshot: a page, and the root.
const NODES: u64 = 2;

const HOUR_MILLIS: i64 = 60 * 60 * 1000;

/// What people keep.
const POLICY: &str = r#"
version = 1
time_zone = "Europe/Berlin"
[keep]
last = 10
hourly = 48
daily = 90
weekly = 52
monthly = 36
yearly = "forever"
"#;

/// Makes such a vault, and opens it in another process.
pub(crate) fn measured(chunks: u64, count: u64) -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let mut figures = told("snapshots-made", folder.path(), &[chunks, count]);
    figures.extend(told("snapshots-opened", folder.path(), &[]));
    figures
}

/// Makes the vault: each source is backed up once an hour.
pub(crate) async fn made(folder: &Path, chunks: u64, count: u64) -> Figures {
    let (founded, mut writer) = Founded::new(folder).await;
    let keys = secrets().scope_keys(&scope());
    let now = founded.context.now_millis();
    let files = (chunks / count).saturating_sub(NODES).max(1);
    let mut named = Named::new();
    let numbers: Vec<u64> = (0..count).collect();
    for batch in numbers.chunks(AT_ONCE) {
        let sessions = batch.iter().map(|number| {
            let source = format!("source-{}", number % SOURCES);
            (*number, Session::new(&founded, &writer, &source))
        });
        let mut sessions: Vec<_> = sessions.collect();
        let mut facts: Vec<_> = sessions.iter().map(|(_, one)| one.opening()).collect();
        let mut next = writer.state().read().unwrap().index.next();
        for (number, session) in &mut sessions {
            let refs: Vec<ChunkId> = (*number * files..(*number + 1) * files).map(id).collect();
            refs.iter().for_each(|&file| session.data(file, 64 << 10));
            let page = keys.node(Bytes::from_static(b"page"), refs);
            let root = keys.node(Bytes::from_static(b"root"), vec![page.id]);
            let root_id = root.id;
            session.node(page);
            session.node(root);
            facts.extend(session.naming(&mut next, &mut named).await);
            let ago = i64::try_from((count - *number) / SOURCES).unwrap() * HOUR_MILLIS;
            facts.push(session.committing(root_id, &named, now - ago));
        }
        named.clear();
        writer.append(facts).await.unwrap();
        if writer.state().read().unwrap().index.in_memory() >= MEMORY_CHUNKS_MAX {
            writer.settle(&founded.cache).unwrap();
        }
    }
    founded.save(&mut writer).await;
    Figures::from([
        ("snapshots".into(), count as f64),
        ("bytes of log".into(), founded.bytes_of("log").await as f64),
    ])
}

/// Opens it, and measures what is done with it.
pub(crate) async fn opened(folder: &Path) -> Figures {
    let founded = Founded::at(folder).await;
    let before = anonymous();
    let (most, watch) = (Watch::start(), Stopwatch::start());
    let state = founded.state().await;
    let mut figures = watch.figures("opening");
    figures.extend([
        (
            "peak opening".into(),
            most.end().saturating_sub(before) as f64,
        ),
        (
            "memory open".into(),
            anonymous().saturating_sub(before) as f64,
        ),
        ("chunks".into(), state.index.next().0 as f64),
    ]);
    let segments: usize = (state.index.segments().iter())
        .map(|one| one.bytes().len())
        .sum();
    let checkpoint = founded.bytes_of("segments").await - segments as u64;
    figures.insert("bytes of catalog".into(), checkpoint as f64);
    figures.extend(looked_at(&state));
    let mut writer = founded.writer(state, Epoch(2)).await;
    figures.extend(one_more(&founded, &mut writer).await);
    let before = anonymous();
    let (most, watch) = (Watch::start(), Stopwatch::start());
    founded.save(&mut writer).await;
    figures.extend(watch.figures("saving"));
    let peak = most.end().saturating_sub(before);
    figures.insert("peak saving".into(), peak as f64);
    figures
}

/// Lists, judges, marks, copies.
fn looked_at(state: &State) -> Figures {
    let watch = Stopwatch::start();
    let mut listed: Vec<SnapshotInfo> = (state.catalog.snapshots.iter())
        .map(|(id, snapshot)| SnapshotInfo::direct(state, *id, snapshot))
        .collect();
    listed.sort_by_key(|info| info.time_millis);
    let mut figures = watch.figures("listing");
    let watch = Stopwatch::start();
    let expiring = judged(state);
    figures.extend(watch.figures("judging"));
    figures.insert("expiring".into(), expiring as f64);
    let now = state.now_millis();
    let watch = Stopwatch::start();
    let marked = mark(state, [], now, now);
    figures.extend(watch.figures("marking"));
    let watch = Stopwatch::start();
    let copied = state.clone();
    figures.extend(watch.figures("copying"));
    assert_eq!(marked.reached.len(), copied.index.live());
    figures
}

/// What the keeper does each minute; how many the policy would expire.
fn judged(state: &State) -> usize {
    let policy = Policy::parse(POLICY).unwrap();
    let now = state.now_millis();
    let mut sources: BTreeMap<String, Vec<SnapshotFacts>> = BTreeMap::new();
    for (id, snapshot) in state.catalog.live_snapshots() {
        let facts = SnapshotFacts {
            id: id.0,
            opened_millis: snapshot.time_millis,
            committed_millis: snapshot.committed_millis,
            held: state.catalog.is_held(id, &snapshot.source, now),
            partial: snapshot.problems > 0,
        };
        let source = sources.entry(snapshot.source.to_string()).or_default();
        source.push(facts);
    }
    let mut all = 0;
    for (source, snapshots) in sources {
        let retention = policy.effective(&source);
        let decisions = decide(&retention, &snapshots, now);
        let expiring = decisions.iter().filter(|one| one.expires());
        let expiring: Vec<[u8; 16]> = expiring.map(|one| one.id).collect();
        let share = retention.expire_share_max;
        check_share(share, snapshots.len(), &expiring, &BTreeSet::new());
        all += expiring.len();
    }
    all
}

/// One more snapshot of 10 chunks: checked, and appended.
async fn one_more(founded: &Founded, writer: &mut Writer) -> Figures {
    let keys = secrets().scope_keys(&scope());
    let mut session = Session::new(founded, writer, "source-0");
    let refs: Vec<ChunkId> = (1 << 50..(1 << 50) + 8).map(id).collect();
    refs.iter().for_each(|&file| session.data(file, 64 << 10));
    let page = keys.node(Bytes::from_static(b"page"), refs);
    let root = keys.node(Bytes::from_static(b"root"), vec![page.id]);
    let root_id = root.id;
    session.node(page);
    session.node(root);
    let (packs, session_id) = (session.packs().await, session.id());
    session.open(writer).await;
    let commit = Proposal::Packs {
        session: session_id,
        packs,
        commit: Some(Commit {
            root: root_id,
            files: 8,
            directories: 1,
            bytes: 8 << 16,
            problems: 0,
        }),
    };
    let watch = Stopwatch::start();
    checked(founded, writer, &commit).unwrap();
    let mut figures = watch.figures("checking");
    let watch = Stopwatch::start();
    propose(founded, writer, &commit).await;
    figures.extend(watch.figures("committing"));
    figures
}

/// Prints what was measured.
pub(crate) fn table(rounds: &[Figures]) {
    let mut rounds = rounds.to_vec();
    for round in &mut rounds {
        let memory = round["memory open"] / round["snapshots"];
        round.insert("memory a snapshot".into(), memory);
        let catalog = round["bytes of catalog"] / round["snapshots"];
        round.insert("catalog a snapshot".into(), catalog);
    }
    let rows: &[Row] = &[
        ("chunks", "chunks", Unit::Digits(0)),
        (
            "opening from the checkpoint",
            "seconds opening",
            Unit::Seconds,
        ),
        ("memory for that, at most", "peak opening", Unit::Mebibytes),
        ("memory of the open vault", "memory open", Unit::Mebibytes),
        (
            "that, bytes a snapshot",
            "memory a snapshot",
            Unit::Digits(0),
        ),
        ("list of snapshots", "seconds listing", Unit::Seconds),
        (
            "check of a commit of 10 chunks",
            "seconds checking",
            Unit::Seconds,
        ),
        (
            "that, checked and appended",
            "seconds committing",
            Unit::Seconds,
        ),
        (
            "retention, once for all sources",
            "seconds judging",
            Unit::Seconds,
        ),
        (
            "snapshots that it would expire",
            "expiring",
            Unit::Digits(0),
        ),
        ("mark", "seconds marking", Unit::Seconds),
        ("a copy of the state", "seconds copying", Unit::Seconds),
        (
            "checkpoint without the index",
            "bytes of catalog",
            Unit::Mebibytes,
        ),
        (
            "that, bytes a snapshot",
            "catalog a snapshot",
            Unit::Digits(0),
        ),
        ("saving a checkpoint", "seconds saving", Unit::Seconds),
        ("memory for that, at most", "peak saving", Unit::Mebibytes),
    ];
    print("Many snapshots", "snapshots", &rounds, rows);
}
