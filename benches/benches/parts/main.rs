//! What each step of a backup costs by itself, one thread (the wire: both ends, on as many as there are), so that the sum tells where the time goes.
//!
//! | module | what is in it |
//! |---|---|
//! | [`kinds`] | the bytes: incompressible, text such as source code, pages such as a database's; and what `peers` keeps of its data sets |
//! | [`steps`] | the steps |
//! | [`wire`] | the way of a frame from an agent to a coordinator |
//!
//! A step's figure is the median of several rounds. The last table adds up what a first backup to two sites cannot leave out.

#![expect(clippy::unwrap_used, reason = "a bench ends where its ground is gone")]

mod kinds;
mod steps;
mod wire;

use holdfast_format::{Frame, ScopeKeys, Suite};

use crate::kinds::Kind;
use crate::steps::Speed;
use crate::wire::Way;

/// What each kind costs by one step.
type Costs = Vec<Speed>;

fn main() {
    // `cargo test --benches` passes this: there is nothing to test.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let keys = ScopeKeys::derive(&[1; 32], &[2; 32], &"vault".parse().unwrap());
    let mut kinds = Kind::made(&keys);
    if let Some(data) = std::env::var_os("HOLDFAST_BENCH_DATA") {
        kinds.extend(Kind::sets(&keys, data.as_ref()));
    }

    head("step", &kinds);
    row("copy in memory", &kinds, steps::copy);
    let read = row("read from the page cache", &kinds, steps::read);
    let cut = row("cut by content", &kinds, |kind| steps::cut(&keys, kind));
    row("cut by content: crate fastcdc", &kinds, steps::cut_fastcdc);
    let name = row("name: BLAKE3", &kinds, |kind| steps::name(&keys, kind));
    let name_pages = row("name, with hashes of pages of 8 KiB", &kinds, |kind| {
        steps::name_pages(&keys, kind)
    });
    row("compress: zstd 1", &kinds, steps::compress);
    let mut seal = Vec::new();
    for suite in [Suite::XChaCha20Poly1305, Suite::Aes256Gcm] {
        let title = format!("compress and seal: {suite:?}");
        let costs = row(&title, &kinds, |kind| steps::seal(suite, kind));
        if suite == Suite::fastest() {
            seal = costs;
        }
        row(&format!("open and check: {suite:?}"), &kinds, |kind| {
            steps::open(&keys, suite, kind)
        });
    }

    println!("\nPer GB of what is sealed:\n");
    head("step", &kinds);
    let sealed: Vec<Vec<Frame>> = kinds.iter().map(steps::sealed).collect();
    let [socket, tls] = [
        ("wire: the coordinator's socket, both ends", Way::Unix),
        ("wire: mutual TLS over loopback, both ends", Way::Tls),
    ]
    .map(|(title, way)| row(title, &sealed, |frames| wire::send(way, frames)));
    let pack = row("pack: hash frames, make the footer", &sealed, |frames| {
        steps::pack(frames)
    });
    let write = row("write packs to a folder, synced", &sealed, |frames| {
        steps::write_packs(frames)
    });
    row(
        "write and sync, through the page cache",
        &sealed,
        |frames| steps::write_files(frames),
    );

    println!(
        "\nProcessor seconds a GB of source that a first backup to two sites cannot leave out:\n"
    );
    head("way", &kinds);
    for (title, wire) in [("socket", socket), ("mutual TLS", tls)] {
        let sums = kinds.iter().enumerate().map(|(n, kind)| {
            let share = steps::sealed_bytes(&sealed[n]) as f64 / kind.len() as f64;
            let named = match kind.has_pages {
                true => name_pages[n].cpu_per_gb,
                false => cut[n].cpu_per_gb + name[n].cpu_per_gb,
            };
            let source = read[n].cpu_per_gb + named + seal[n].cpu_per_gb;
            let stored = wire[n].cpu_per_gb + pack[n].cpu_per_gb + 2.0 * write[n].cpu_per_gb;
            format!("{:.2} s", source + share * stored)
        });
        println!("| {title} | {} |", sums.collect::<Vec<_>>().join(" | "));
    }
}

fn head(first: &str, kinds: &[Kind]) {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
    println!("| {first} | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(kinds.len()));
}

/// One line of a table.
fn row<T>(name: &str, kinds: &[T], step: impl Fn(&T) -> Speed) -> Costs {
    let costs: Costs = kinds.iter().map(step).collect();
    let cells: Vec<String> = costs
        .iter()
        .map(|speed| {
            let gb_per_second = 1.0 / speed.seconds_per_gb;
            format!("{gb_per_second:.2} GB/s, {:.2} s", speed.cpu_per_gb)
        })
        .collect();
    println!("| {name} | {} |", cells.join(" | "));
    costs
}
