//! Whole uploads against a coordinator in memory: windows, breaks, resumption, second passes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_context::{Context, ManualClock};
use holdfast_format::fact::RecipientsSet;
use holdfast_format::{
    AgeIdentity, Bundle, Chunk, Generation, Hash, Recipient, ScopeKeys, SecretKey, VaultId,
};

use rand::{Rng, SeedableRng};

use super::fake::Fake;
use super::opening::Opening;
use super::*;
use crate::client::outage::Outage;
use crate::client::{SessionOptions, SnapshotState};
use crate::error::Error;

const VAULT: VaultId = VaultId([7; 16]);

fn keys() -> ScopeKeys {
    ScopeKeys::derive(&[4; 32], &[5; 32], &"vault".parse().unwrap())
}

fn bundle() -> Bundle {
    let root = SecretKey::new(&[1; 32]);
    let recipient = Recipient::new("r", &AgeIdentity::generate().recipient()).unwrap();
    Bundle {
        vault: VAULT,
        name: "db".parse().unwrap(),
        root: root.public(),
        recipients: RecipientsSet::sign(
            &root,
            VAULT,
            Generation(1),
            vec![recipient],
            Hash([3; 32]),
            4,
        ),
        agent: "web1".parse().unwrap(),
        keys: keys(),
        scope: "vault".parse().unwrap(),
    }
}

async fn open(fake: &Fake, change: impl FnOnce(&mut SessionOptions)) -> SessionSink {
    let context = Context::seeded(1, Arc::new(ManualClock::at(0)));
    let bundle = bundle();
    let mut options = SessionOptions::new("web".parse().unwrap());
    options.sealers = 3;
    change(&mut options);
    let opening = Opening::make(&context, &bundle, &options, bundle.recipients.clone()).unwrap();
    let mut outage = Outage::new(&context, Duration::from_secs(60));
    let agreed = start::agree(fake, opening, &mut outage).await.unwrap();
    start::start(&context, Arc::new(fake.clone()), &bundle, options, agreed).unwrap()
}

/// Bytes that do not compress, different for each `n`.
fn noise(n: u32, len: usize) -> Bytes {
    let mut out = vec![0; len];
    rand::rngs::StdRng::seed_from_u64(n.into()).fill_bytes(&mut out);
    out.into()
}

fn data(n: u32, len: usize) -> Chunk {
    keys().data(noise(n, len))
}

/// Puts `count` data chunks, each ten of them below a node, and a node over those; gives the top.
async fn put_tree(sink: &SessionSink, count: u32, len: usize) -> ChunkId {
    let mut nodes = Vec::new();
    for group in 0..count / 10 {
        let mut refs = Vec::new();
        for n in 0..10 {
            let chunk = data(group * 10 + n, len);
            refs.push(chunk.id);
            sink.put(chunk).await.unwrap();
        }
        let node = keys().node(noise(group, 100), refs);
        nodes.push(node.id);
        sink.put(node).await.unwrap();
    }
    let top = keys().node(Bytes::from_static(b"top"), nodes);
    let id = top.id;
    sink.put(top).await.unwrap();
    id
}

async fn finish(sink: &SessionSink, root: ChunkId) -> Result<Finished> {
    sink.finish(root, Totals::default(), false).await
}

fn check_arrived(fake: &Fake, sink: &SessionSink, count: u32, len: usize) {
    let world = fake.world();
    let arrived = world.open_all(VAULT, sink.opening.key, &sink.opening.secret, &keys());
    for n in 0..count {
        assert_eq!(
            arrived.get(&data(n, len).id),
            Some(&noise(n, len)),
            "chunk {n}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn everything_arrives_once_and_in_order() {
    let fake = Fake::new();
    let sink = open(&fake, |_| {}).await;
    let root = put_tree(&sink, 200, 30_000).await;
    let finished = finish(&sink, root).await.unwrap();
    let Finished::Committed(info) = finished else {
        panic!("{finished:?}")
    };
    assert_eq!(
        (info.id, info.state),
        (sink.session(), SnapshotState::Committed)
    );
    check_arrived(&fake, &sink, 200, 30_000);
    let figures = sink.progress().figures();
    assert_eq!((figures.chunks_new, figures.chunks_reused), (221, 0));
    assert!(figures.bytes_sent > 6_000_000);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_not_sent_and_what_comes_twice_is_sent_once() {
    let fake = Fake::new();
    fake.world().had.extend((0..50).map(|n| data(n, 1000).id));
    let sink = open(&fake, |_| {}).await;
    let ids: Vec<ChunkId> = (45..55).map(|n| data(n, 1000).id).collect();
    let known = sink.known(ids.clone()).await.unwrap();
    assert_eq!(known, [vec![true; 5], vec![false; 5]].concat());
    for n in (0..100).chain(0..100) {
        sink.put(data(n, 1000)).await.unwrap();
    }
    assert_eq!(sink.known(ids).await.unwrap(), vec![true; 10]);
    let root = put_tree(&sink, 10, 1000).await;
    finish(&sink, root).await.unwrap();
    let world = fake.world();
    let arrived = world.open_all(VAULT, sink.opening.key, &sink.opening.secret, &keys());
    assert_eq!(arrived.len(), 50 + 2);
    assert_eq!(world.offered[&data(47, 1000).id], 1);
    assert_eq!(world.offered[&data(20, 1000).id], 1);
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_what_is_not_durable() {
    let fake = Fake::new();
    fake.world().durable_every = 0;
    fake.world().window_bytes = 1 << 20;
    let sink = open(&fake, |_| {}).await;
    let root = put_tree(&sink, 100, 100_000).await;
    finish(&sink, root).await.unwrap();
    check_arrived(&fake, &sink, 100, 100_000);
    let world = fake.world();
    assert!(world.waiting_max <= 1 << 20, "{}", world.waiting_max);
    let flushes = world.heard.iter().filter(|heard| *heard == "flush").count();
    assert!((8..=12).contains(&flushes), "{flushes}");
}

/// Streams that break at every place and lose, or keep, what was not durable.
#[tokio::test(start_paused = true)]
async fn broken_streams_lose_nothing() {
    for forgets in [false, true] {
        for at in (0..24).step_by(2) {
            let fake = Fake::new();
            fake.world().forgets = forgets;
            fake.world().breaks = vec![at + 1, at / 2 + 1, at + 3];
            let sink = open(&fake, |_| {}).await;
            let root = put_tree(&sink, 40, 40_000).await;
            let finished = finish(&sink, root).await.unwrap();
            assert!(matches!(finished, Finished::Committed(_)), "{finished:?}");
            check_arrived(&fake, &sink, 40, 40_000);
            assert_eq!(sink.progress().figures().link, LinkState::Connected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_promise_is_asked_for_again_after_a_break() {
    let fake = Fake::new();
    fake.world().had.extend([data(1, 10).id, data(2, 10).id]);
    fake.world().breaks = vec![2];
    let sink = open(&fake, |_| {}).await;
    sink.known(vec![data(1, 10).id, data(2, 10).id])
        .await
        .unwrap();
    fake.world().had.remove(&data(2, 10).id);
    // The third message breaks the stream; the next one offers both again.
    sink.known(vec![data(3, 10).id]).await.unwrap();
    sink.known(vec![data(4, 10).id]).await.unwrap();
    assert_eq!(fake.world().offered[&data(1, 10).id], 2);
    // What is not kept any more is sent if it comes again.
    sink.put(data(2, 10)).await.unwrap();
    let root = put_tree(&sink, 10, 10).await;
    finish(&sink, root).await.unwrap();
    let world = fake.world();
    let arrived = world.open_all(VAULT, sink.opening.key, &sink.opening.secret, &keys());
    assert!(arrived.contains_key(&data(2, 10).id));
    assert!(!arrived.contains_key(&data(1, 10).id));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_ended_says_what_to_do() {
    let fake = Fake::new();
    fake.world().breaks = vec![3];
    fake.world().ended = true;
    let sink = open(&fake, |_| {}).await;
    let mut failed = None;
    for n in 0..1000 {
        if let Err(error) = sink.put(data(n, 100_000)).await {
            failed = Some(error);
            break;
        }
    }
    let error = failed.unwrap();
    assert!(
        error.to_string().contains("run the backup again"),
        "{error}"
    );
    let again = finish(&sink, data(1, 1).id).await.unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_stays_away_is_given_up() {
    let fake = Fake::new();
    fake.world().breaks = vec![3]
        .into_iter()
        .chain(std::iter::repeat_n(0, 10_000))
        .collect();
    let sink = open(&fake, |options| {
        options.outage_max = Duration::from_secs(120)
    })
    .await;
    let mut error = None;
    for n in 0..1000 {
        if let Err(failed) = sink.put(data(n, 100_000)).await {
            error = Some(failed);
            break;
        }
    }
    let error = error.unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("120 s"), "{error}");
    assert!(fake.world().streams > 5);
}

#[tokio::test(start_paused = true)]
async fn what_the_commit_misses_is_told() {
    let fake = Fake::new();
    let gone = data(3, 1000).id;
    fake.world().missing = vec![vec![gone]];
    let sink = open(&fake, |_| {}).await;
    let root = put_tree(&sink, 20, 1000).await;
    let missing = finish(&sink, root).await.unwrap();
    assert_eq!(missing, Finished::Missing(vec![gone]));
    // The session is still open: what it sent stays until another one has taken its place.
    assert!(sink.known(vec![gone]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_found_again() {
    let fake = Fake::new();
    let sink = open(&fake, |_| {}).await;
    let root = put_tree(&sink, 10, 10).await;
    // The commit happens; then the stream that would tell it is gone.
    let told = sink.finish(root, Totals::default(), true).await.unwrap();
    assert!(matches!(told, Finished::Committed(_)));
    assert_eq!(
        sink.protected().await.unwrap().state,
        SnapshotState::Protected
    );

    let fake = Fake::new();
    let sink = open(&fake, |_| {}).await;
    let root = put_tree(&sink, 10, 10).await;
    fake.commit_in_silence();
    let told = finish(&sink, root).await.unwrap();
    assert!(matches!(told, Finished::Committed(_)));
    assert_eq!(fake.world().streams, 2);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_session_is_abandoned() {
    let fake = Fake::new();
    let sink = open(&fake, |_| {}).await;
    sink.put(data(1, 10)).await.unwrap();
    sink.abandon("interrupted").await;
    assert_eq!(fake.world().heard.last().unwrap(), "abandon interrupted");
    assert!(fake.world().frames.is_empty());
}

/// What a refused session has sent must not stay in the way: a full site could not be emptied for days.
#[tokio::test(start_paused = true)]
async fn a_session_whose_stream_was_refused_is_abandoned_on_another() {
    let fake = Fake::new();
    fake.world().full = true;
    let sink = open(&fake, |_| {}).await;
    let root = put_tree(&sink, 10, 10).await;
    let error = finish(&sink, root).await.unwrap_err();
    assert!(error.to_string().contains("the site is full"), "{error}");
    sink.abandon("it is full").await;
    let world = fake.world();
    assert_eq!(
        world.heard,
        ["open false", "open true", "abandon it is full"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_kept() {
    let fake = Fake::new();
    let sink = open(&fake, |options| {
        options.rate_bytes_per_second = Some(1 << 20)
    })
    .await;
    let start = tokio::time::Instant::now();
    let root = put_tree(&sink, 100, 100_000).await;
    finish(&sink, root).await.unwrap();
    let took = start.elapsed().as_secs_f64();
    assert!((8.0..11.0).contains(&took), "{took}");
}
