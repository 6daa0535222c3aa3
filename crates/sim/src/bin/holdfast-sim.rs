//! Runs histories by hand: `cargo xtask sim`.

fn main() {
    let seed: u64 = std::env::args()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let count: u64 = std::env::args()
        .nth(2)
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let keep = std::env::args().nth(3).is_some();
    for seed in seed..seed + count {
        let plan = holdfast_sim::plan::Plan::of(seed);
        let outcome = holdfast_sim::history::run(&plan, keep);
        if keep {
            println!("{plan}");
            for line in &outcome.lines {
                println!("{line}");
            }
            println!("{:#?}", outcome.counts);
        }
        println!("{seed} {} {:?}", outcome.trace_hash, outcome.breaches);
    }
}
