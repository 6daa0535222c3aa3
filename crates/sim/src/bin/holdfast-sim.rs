//! Runs histories by hand: `cargo xtask sim`. Prints progress, and of what fails the seed, a shorter plan, and its trace.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use holdfast_sim::campaign::{self, Campaign};
use holdfast_sim::history::run;
use holdfast_sim::plan::{Focus, Plan};
use holdfast_sim::shrink::shrink;
use tokio::time::Instant;

/// Seeds and histories stay far from where they would overflow.
const SEED_MAX: u64 = u64::MAX / 4;

/// A year.
const MINUTES_MAX: u64 = 366 * 24 * 60;

/// With --without, so many seeds are tried at most.
#[cfg(feature = "mutation")]
const SEARCHED_MAX: u64 = 10_000;

/// Simulates agents, coordinators, placement and sites under seeds, with faults, and checks I1 to I9.
#[derive(Debug, Parser)]
struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    seed: u64,
    /// How many histories; seeds count up from the first. With --without: how many seeds are tried, 10,000 at most.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=SEED_MAX))]
    histories: Option<u64>,
    /// Ends after so many minutes. Without it and --histories, one history is run.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX))]
    minutes: Option<u64>,
    /// Threads; each runs whole histories.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
    /// Goes on after a failure, and only lists what failed.
    #[arg(long)]
    keep_going: bool,
    /// With --trace: the dense plan of this number instead of the seed's own.
    #[arg(long)]
    focus: Option<usize>,
    /// Plans of several coordinators over one placement store, instead of the seeds' own.
    #[arg(long)]
    cluster: bool,
    /// Prints the plan and the trace of the first seed.
    #[arg(long)]
    trace: bool,
    /// Takes a guard of the protocol away and looks for what is lost then; `all`: one after the other; `A+B`: A, and B with
    /// it. With --trace, prints the history of the first seed.
    #[cfg(feature = "mutation")]
    #[arg(long, value_name = "GUARD")]
    without: Option<String>,
    /// Does not shorten the plan of what failed.
    #[arg(long)]
    no_shrink: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .without_time()
            .with_ansi(false)
            .init();
    }
    #[cfg(feature = "mutation")]
    if let Some(without) = &options.without {
        return survey(&options, without);
    }
    let plan_of: fn(u64) -> Plan = match options.cluster {
        true => Plan::of_a_cluster,
        false => Plan::of,
    };
    if options.trace {
        let plan = match options.focus {
            Some(number) => {
                let foci = [&Focus::ALL[..], &Focus::CLUSTER].concat();
                Plan::focused(options.seed, foci[number % foci.len()])
            }
            None => plan_of(options.seed),
        };
        println!("{plan}");
        let outcome = run(&plan, true);
        outcome.lines.iter().for_each(|line| println!("{line}"));
        println!("{:#?}", outcome.counts);
        println!("trace {}; {:?}", outcome.trace_hash, outcome.breaches);
        return ExitCode::from(u8::from(!outcome.breaches.is_empty()));
    }
    let histories = match (options.histories, options.minutes) {
        (Some(histories), _) => histories,
        (None, None) => 1,
        (None, Some(_)) => SEED_MAX,
    };
    let began = Instant::now();
    let campaign = Campaign {
        seed: options.seed,
        histories,
        until: options
            .minutes
            .map(|minutes| began + Duration::from_secs(60 * minutes)),
        threads: options.threads as usize,
        keep_going: options.keep_going,
        plan: plan_of,
    };
    let result = campaign::carry_out(&campaign, |result, failed| {
        // Told at once: a long run need not be waited for.
        if let Some((seed, outcome)) = failed.and_then(|seed| result.failed.get_key_value(&seed)) {
            eprintln!("\rseed {seed} failed: {}", outcome.breaches.join("\n    "));
        }
        if result.histories.is_multiple_of(20) {
            let seconds = began.elapsed().as_secs();
            let steps = result.counts.get("steps").copied().unwrap_or(0);
            eprint!(
                "\r{} histories, {steps} steps, {} failed, {seconds} s ",
                result.histories,
                result.failed.len()
            );
            let _ = std::io::stderr().flush();
        }
    });
    eprintln!();
    println!(
        "seeds from {}: {} histories in {} s",
        options.seed,
        result.histories,
        began.elapsed().as_secs()
    );
    for (kind, count) in &result.counts {
        println!("  {count:>9} {kind}");
    }
    for (seed, outcome) in &result.failed {
        println!("seed {seed} failed: {}", outcome.breaches.join("\n    "));
    }
    let code = match result.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if let Some((seed, outcome)) = result.failed.into_iter().next()
        && !options.no_shrink
        && !options.keep_going
    {
        println!("making the plan of seed {seed} shorter …");
        let (plan, _) = shrink(&plan_of(seed), outcome);
        let outcome = run(&plan, true);
        println!("{plan}");
        outcome.lines.iter().for_each(|line| println!("{line}"));
        println!("seed {seed} failed: {}", outcome.breaches.join("\n    "));
    }
    code
}

/// For each guard, the first seed that finds what its removal loses.
#[cfg(feature = "mutation")]
fn survey(options: &Options, without: &str) -> ExitCode {
    use holdfast_sim::mutation::{plan, run_without, search};
    use holdfast_vault::Guard;
    let (without, beside) = without.split_once('+').unwrap_or((without, ""));
    let of = |list: &str| -> Result<Vec<Guard>, String> {
        if list == "all" {
            return Ok(Guard::ALL.to_vec());
        }
        let names = list.split([',', '+']).filter(|name| !name.is_empty());
        let guard = |name: &str| {
            let mut all = Guard::ALL.iter().copied();
            all.find(|guard| format!("{guard:?}") == name)
                .ok_or_else(|| name.to_owned())
        };
        names.map(guard).collect()
    };
    let (guards, beside) = match (of(without), of(beside)) {
        (Ok(guards), Ok(beside)) if !guards.is_empty() => (guards, beside),
        (Err(name), _) | (_, Err(name)) => return unknown(&name),
        _ => return unknown(""),
    };
    let _away: Vec<_> = beside.iter().map(|guard| guard.remove()).collect();
    if let (true, Some(&guard)) = (options.trace, guards.first()) {
        let plan = plan(options.seed, guard);
        println!("{plan}");
        let outcome = run_without(&plan, guard, true);
        outcome.lines.iter().for_each(|line| println!("{line}"));
        println!("trace {}; {:?}", outcome.trace_hash, outcome.breaches);
        return ExitCode::SUCCESS;
    }
    let seeds = options
        .histories
        .map_or(SEARCHED_MAX, |histories| histories.min(SEARCHED_MAX));
    let found = std::sync::atomic::AtomicUsize::new(0);
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                let _away: Vec<_> = beside.iter().map(|guard| guard.remove()).collect();
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(&guard) = guards.get(at) else { return };
                    match search(guard, options.seed, seeds) {
                        Some((seed, outcome)) => {
                            let first = outcome.breaches.first().cloned().unwrap_or_default();
                            println!("{guard:?}: seed {seed}: {first}");
                            found.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                        None => println!("{guard:?}: nothing in {seeds} seeds"),
                    }
                }
            });
        }
    });
    // 3: of some guard nothing was found that is lost without it.
    match found.into_inner() == guards.len() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(3),
    }
}

/// A name that is no guard's must not look like one without which nothing is lost.
#[cfg(feature = "mutation")]
fn unknown(name: &str) -> ExitCode {
    let all: Vec<String> = (holdfast_vault::Guard::ALL.iter())
        .map(|guard| format!("{guard:?}"))
        .collect();
    eprintln!(
        "no guard has the name {name:?}; there are: all, {}",
        all.join(", ")
    );
    ExitCode::from(2)
}
