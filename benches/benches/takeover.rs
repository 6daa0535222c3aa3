//! How long a vault with many chunks is without an owner: from the kill of the one that has it to the next bytes that are durable
//! at another, for a client that goes on by itself. Warm, where the other stood by; cold, where it is started with an empty folder
//! at the moment of the kill.
//!
//! Chunks are tiny: the index is as large as that of as many large ones.

#![expect(clippy::unwrap_used, reason = "a bench ends where its ground is gone")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_agent::ChunkSink as _;
use holdfast_agent::client::{
    Connection, Finished, SessionOptions, SessionProgress, SessionSink, TlsFiles, Totals,
};
use holdfast_benches::peak_mib;
use holdfast_context::Context;
use holdfast_format::Bundle;
use holdfast_tests::cluster::LEASE;
use holdfast_tests::{Cluster, Ground, surroundings};
use tokio::time::{Instant, sleep};

/// Chunks of the vault, unless `HOLDFAST_BENCH_CHUNKS` says otherwise.
const CHUNKS: u64 = 10_000_000;

/// Chunks of one snapshot.
const SNAPSHOT_CHUNKS: u64 = 1_000_000;

/// References of one node.
const NODE_REFS: usize = 8192;

/// Bytes of a chunk that only fills the index.
const TINY: usize = 24;

/// Bytes of a chunk of the session that the kill meets.
const LARGE: usize = 64 << 10;

/// Durable before the kill, so that the session is in full swing.
const SWING_BYTES: u64 = 128 << 20;

/// Rounds of each kind.
const ROUNDS: usize = 3;

/// The owner is killed once nothing has changed hands for so long.
const CALM: Duration = Duration::from_secs(30);

/// Once it was killed, nothing of its answers is on the way any more after so long.
const SILENT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Warm,
    Cold,
}

fn main() {
    // `cargo test --benches` passes this: there is nothing to test.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let wanted = std::env::var("HOLDFAST_BENCH_CHUNKS").ok();
    let wanted: u64 = wanted.map_or(CHUNKS, |text| text.parse().unwrap());
    let ground = Ground::new();
    let placement = surroundings::etcd("takeover");
    let mut cluster = Cluster::start_over(&ground, &placement, &["c1", "c2"], &["onsite"]);
    let bundle = bundle(&ground, &cluster);
    let began = Instant::now();
    let context = Context::system();
    for first in (0..wanted).step_by(usize::try_from(SNAPSHOT_CHUNKS).unwrap()) {
        let count = SNAPSHOT_CHUNKS.min(wanted - first);
        fill(&context, &cluster, &bundle, count).await;
    }
    println!(
        "{wanted} chunks, sent in {:.0} s; lease {} s",
        began.elapsed().as_secs_f64(),
        LEASE.as_secs()
    );
    for kind in [Kind::Warm, Kind::Cold] {
        for _ in 0..ROUNDS {
            round(&context, &mut cluster, &bundle, kind).await;
        }
    }
}

fn bundle(ground: &Ground, cluster: &Cluster) -> Bundle {
    let user = cluster.user();
    let create = ["vault", "create", "db", "--sites", "onsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    let user = user.with_identity("identity");
    user.done(&["key", "bundle", "--vault", "db", "--out", "bundle"]);
    Bundle::read(&std::fs::read(ground.at("bundle")).unwrap()).unwrap()
}

async fn open(context: &Context, cluster: &Cluster, bundle: &Bundle) -> SessionSink {
    let endpoints = cluster.coordinators.iter();
    let endpoints: Vec<_> = endpoints
        .map(|one| one.socket_url().parse().unwrap())
        .collect();
    let connection = Connection::open(&endpoints, &TlsFiles::default())
        .await
        .unwrap();
    let options = SessionOptions::new("bench".parse().unwrap());
    let opened = SessionSink::open(context, &connection, bundle, options).await;
    opened.unwrap()
}

fn noise(context: &Context, len: usize) -> Bytes {
    let mut body = vec![0; len];
    context.fill_random(&mut body);
    body.into()
}

/// One snapshot of tiny chunks.
async fn fill(context: &Context, cluster: &Cluster, bundle: &Bundle, count: u64) {
    let sink = open(context, cluster, bundle).await;
    let keys = &bundle.keys;
    let (mut refs, mut nodes) = (Vec::new(), Vec::new());
    for number in 1..=count {
        let chunk = keys.data(noise(context, TINY));
        refs.push(chunk.id);
        sink.put(chunk).await.unwrap();
        if refs.len() == NODE_REFS || number == count {
            let node = keys.node(noise(context, TINY), std::mem::take(&mut refs));
            nodes.push(node.id);
            sink.put(node).await.unwrap();
        }
    }
    let root = keys.node(Bytes::from_static(b"root"), nodes);
    let id = root.id;
    sink.put(root).await.unwrap();
    let finished = sink.finish(id, Totals::default(), false).await.unwrap();
    assert!(matches!(finished, Finished::Committed(_)), "{finished:?}");
}

async fn round(context: &Context, cluster: &mut Cluster, bundle: &Bundle, kind: Kind) {
    let owner = calm(cluster).await;
    let other = cluster.others(owner).next().unwrap();
    if kind == Kind::Cold {
        let other = &mut cluster.coordinators[other];
        other.stop();
        std::fs::remove_dir_all(other.data()).unwrap();
        std::fs::create_dir(other.data()).unwrap();
    }
    let sink = Arc::new(open(context, cluster, bundle).await);
    let progress = sink.progress();
    let feeding = context.spawn(feed(context.clone(), sink.clone(), bundle.clone()));
    beyond(&progress, SWING_BYTES).await;
    cluster.coordinators[owner].kill();
    let killed = Instant::now();
    if kind == Kind::Cold {
        cluster.coordinators[other].start_again_unheard();
    }
    sleep(SILENT).await;
    beyond(&progress, durable(&progress)).await;
    let gap = killed.elapsed();
    feeding.abort();
    sink.abandon("the bench has seen enough").await;
    let taker = &cluster.coordinators[other];
    println!(
        "{kind:?}: {:>6.2} s from the kill to the next durable bytes; the taker has {} MiB at most",
        gap.as_secs_f64(),
        peak_mib(taker.pid())
    );
    cluster.coordinators[owner].start_again();
}

/// The owner, once it has had the vault, and another has stood by, for long enough.
async fn calm(cluster: &Cluster) -> usize {
    let mut since = Instant::now();
    let (mut owner, _) = cluster.wait_owner("db", |_| true);
    while since.elapsed() < CALM {
        sleep(Duration::from_secs(1)).await;
        let (now, _) = cluster.wait_owner("db", |_| true);
        if now != owner {
            (owner, since) = (now, Instant::now());
        }
    }
    owner
}

async fn feed(context: Context, sink: Arc<SessionSink>, bundle: Bundle) {
    loop {
        let chunk = bundle.keys.data(noise(&context, LARGE));
        sink.put(chunk).await.unwrap();
    }
}

fn durable(progress: &SessionProgress) -> u64 {
    let figures = progress.figures();
    figures.bytes_sent.saturating_sub(figures.bytes_waiting)
}

/// Waits until more than so many bytes are durable.
async fn beyond(progress: &SessionProgress, bytes: u64) {
    while durable(progress) <= bytes {
        sleep(Duration::from_millis(5)).await;
    }
}
