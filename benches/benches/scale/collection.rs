//! What a mark costs, a plan made of it, and the check of a commit.

use crate::filling::{Session, id, scope};
use crate::founded::{Founded, checked, propose, secrets};
use crate::part::Figures;
use crate::resident::{Watch, anonymous};
use crate::stopwatch::Stopwatch;
use crate::table::{Row, Unit, print};
use bytes::Bytes;
use holdfast_format::{ChunkId, Epoch, Ordinal};
use holdfast_vault::collect::condemn::{self, Plan};
use holdfast_vault::collect::mark::mark;
use holdfast_vault::fold::catalog::Trash;
use holdfast_vault::{Commit, Promises, Proposal, State, Writer};

/// Snapshots that have left the trash, in the second mark.
const LEAVING: usize = 10;

/// Pages of a snapshot that is committed: few, and ten times as many.
const NEW_PAGES: [(u64, &str); 2] = [(20, "few"), (200, "many")];

/// Files of a page.
const PAGE_FILES: u64 = 500;

/// Numbers from here on are those of chunks that a commit brings.
const BROUGHT: u64 = 1 << 50;

/// Measures an open vault.
pub(crate) async fn figures(founded: &Founded, mut state: State) -> Figures {
    let now = state.now_millis();
    let before = anonymous();
    let (most, watch) = (Watch::start(), Stopwatch::start());
    let marked = mark(&state, [], now, now);
    let mut figures = watch.figures("marking");
    figures.extend([
        (
            "peak marking".into(),
            most.end().saturating_sub(before) as f64,
        ),
        ("live".into(), marked.reached.len() as f64),
        ("packs".into(), marked.packs.len() as f64),
    ]);
    drop(marked);
    figures.extend(given_up(&mut state, now));
    let live = state.chain.head.map_or(Epoch(1), |head| head.epoch);
    let mut writer = founded
        .writer(founded.state().await, Epoch(live.0 + 1))
        .await;
    for (pages, what) in NEW_PAGES {
        figures.extend(commit(founded, &mut writer, pages, what).await);
    }
    figures
}

/// The same mark with snapshots that leave, the plan, and its completion in the writer's turn.
fn given_up(state: &mut State, now: i64) -> Figures {
    let mut oldest: Vec<_> = state.catalog.snapshots.iter_mut().collect();
    oldest.sort_by_key(|(_, snapshot)| snapshot.root);
    for (_, snapshot) in oldest.into_iter().take(LEAVING) {
        snapshot.trash = Some(Trash {
            why: "bench".into(),
            who: "bench".into(),
            until_millis: now,
            since_millis: now,
        });
    }
    let watch = Stopwatch::start();
    let marked = mark(state, [], now, now);
    let mut figures = watch.figures("marking again");
    let going: Vec<_> = (marked.packs.iter())
        .filter(|(_, share)| share.live_chunks == 0)
        .map(|(&pack, _)| pack)
        .collect();
    let watch = Stopwatch::start();
    let plan = Plan::new(state, &marked, going, Epoch(0), "bench").unwrap();
    let finished = condemn::finish(state, &mut Promises::default(), now, &plan);
    figures.extend(watch.figures("condemning"));
    let condemned = finished.unwrap().unwrap();
    figures.extend([
        ("given up".into(), plan.absent.len() as f64),
        ("bytes of bitmap".into(), condemned.absent.len() as f64),
    ]);
    figures
}

/// Commits one more snapshot, on top of the newest: as many new pages of 500 files, and all that was there.
async fn commit(founded: &Founded, writer: &mut Writer, pages: u64, what: &str) -> Figures {
    let keys = secrets().scope_keys(&scope());
    let mut session = Session::new(founded, writer, "forest");
    session.open(writer).await;
    let mut refs: Vec<ChunkId> = {
        let state = writer.state().read().unwrap();
        let newest = state.catalog.snapshots.values().map(|one| one.root).max();
        let tops: Vec<Ordinal> = state.index.refs(newest.unwrap());
        tops.into_iter().filter_map(|n| state.index.id(n)).collect()
    };
    for page in 0..pages {
        let first = BROUGHT + pages * 1_000_000 + page * PAGE_FILES;
        let files: Vec<ChunkId> = (first..first + PAGE_FILES).map(id).collect();
        files.iter().for_each(|&file| session.data(file, 64 << 10));
        let page = keys.node(Bytes::from_static(b"page"), files);
        refs.push(page.id);
        session.node(page);
    }
    let root = keys.node(Bytes::from_static(b"brought"), refs);
    let root_id = root.id;
    session.node(root);
    let packs = Proposal::Packs {
        session: session.id(),
        packs: session.packs().await,
        commit: None,
    };
    let watch = Stopwatch::start();
    let draft = checked(founded, writer, &packs).unwrap();
    let mut figures = watch.figures(&format!("naming {what}"));
    writer.append(draft.into_facts()).await.unwrap();
    let commit = Proposal::Packs {
        session: session.id(),
        packs: Vec::new(),
        commit: Some(Commit {
            root: root_id,
            files: pages * PAGE_FILES,
            directories: 1,
            bytes: 0,
            problems: 0,
        }),
    };
    let watch = Stopwatch::start();
    checked(founded, writer, &commit).unwrap();
    figures.extend(watch.figures(&format!("checking {what}")));
    let watch = Stopwatch::start();
    propose(founded, writer, &commit).await;
    figures.extend(watch.figures(&format!("committing {what}")));
    figures
}

/// Prints what was measured.
pub(crate) fn table(rounds: &[Figures]) {
    let mut rounds = rounds.to_vec();
    for round in &mut rounds {
        let a_chunk = round["processor marking"] / round["live"];
        round.insert("mark a chunk".into(), a_chunk);
    }
    let rows: &[Row] = &[
        ("packs", "packs", Unit::Digits(0)),
        ("mark of 100 snapshots", "seconds marking", Unit::Seconds),
        (
            "that, processor time a live chunk",
            "mark a chunk",
            Unit::Seconds,
        ),
        ("memory for that, at most", "peak marking", Unit::Mebibytes),
        (
            "mark with 10 of them leaving",
            "seconds marking again",
            Unit::Seconds,
        ),
        ("chunks that it gives up", "given up", Unit::Digits(0)),
        (
            "plan, and its end in the writer's turn",
            "seconds condemning",
            Unit::Seconds,
        ),
        (
            "bitmap of the record that condemns",
            "bytes of bitmap",
            Unit::Mebibytes,
        ),
        (
            "naming 10,000 new chunks",
            "seconds naming few",
            Unit::Seconds,
        ),
        (
            "naming 100,000 new chunks",
            "seconds naming many",
            Unit::Seconds,
        ),
        (
            "check of a commit with 10,000 new",
            "seconds checking few",
            Unit::Seconds,
        ),
        (
            "check of a commit with 100,000 new",
            "seconds checking many",
            Unit::Seconds,
        ),
        (
            "that commit, checked and appended",
            "seconds committing many",
            Unit::Seconds,
        ),
    ];
    print("Collection and commit", "live", &rounds, rows);
}
