//! The command line of `cargo xtask`. Only says what can be asked for; the tasks are in modules of
//! their own. `tidy` reads it too, to check the `cargo xtask …` lines in the docs.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What developers and CI of Holdfast run.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Find or bring a protoc, then build the workspace.
    Build(BuildOptions),
    /// Install and start what the tests need, run them all, stop it again.
    Test(TestOptions),
    /// Start the servers that tests talk to, print their addresses as `export` lines, wait for Ctrl-C.
    ///
    /// In one shell: `cargo xtask servers`. In another: paste its lines, then `cargo test` what you like.
    Servers(ServersOptions),
    /// Start three etcd nodes, two S3 servers and three coordinators on this machine, wait for Ctrl-C.
    DevCluster,
    /// Build the release binary and run its demo.
    Demo(DemoOptions),
    /// Simulate histories with faults under seeds, and check that nothing is lost: `--seed`, `--histories`, `--minutes`,
    /// `--trace`, `--without GUARD`; see `--help` of it.
    Sim(SimOptions),
    /// Run etcd, S3 servers, coordinators and agents under faults drawn from a seed, and check that nothing is lost.
    Chaos(ChaosOptions),
    /// Build the release binary and measure with it.
    Bench(BenchOptions),
    /// Check the rules that no compiler checks: dependency arrows, docs, file sizes and names.
    Tidy,
    /// Everything that a change has to pass: fmt, clippy, test, doc, deny, tidy.
    Ci(CiOptions),
}

#[derive(Args, Debug, Default)]
pub(crate) struct BuildOptions {
    /// Build with the release profile.
    #[arg(long)]
    pub(crate) release: bool,
    /// More arguments for cargo build.
    #[arg(last = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug, Default)]
pub(crate) struct TestOptions {
    /// Let moto stand in for Ceph, skip the doc tests, and tell long tests to be short.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Test this package only (can be repeated).
    #[arg(long, short, value_name = "PACKAGE")]
    pub(crate) package: Vec<String>,
    /// Fail if Cargo.lock would have to change.
    #[arg(long)]
    pub(crate) locked: bool,
    /// Run only the tests whose names contain one of these.
    pub(crate) filter: Vec<String>,
}

impl TestOptions {
    /// Whether any chosen package runs the built binary.
    pub(crate) fn needs_binary(&self) -> bool {
        let runs_it = |package: &String| ["holdfast", "holdfast-tests"].contains(&package.as_str());
        self.package.is_empty() || self.package.iter().any(runs_it)
    }
}

#[derive(Args, Debug, Default)]
pub(crate) struct ServersOptions {
    /// Let moto stand in for Ceph.
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DemoOptions {
    /// What `holdfast demo` is given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct SimOptions {
    /// What `holdfast-sim` is given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct ChaosOptions {
    /// How long things go wrong in each run.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) minutes: u32,
    /// What is drawn from; each further run has the next number. By default each draws its own.
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// How many runs, one after the other.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) runs: u32,
}

#[derive(Args, Debug)]
pub(crate) struct BenchOptions {
    #[command(subcommand)]
    pub(crate) kind: BenchKind,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchKind {
    /// Holdfast beside restic, rustic, BorgBackup and bupstash, which are installed first; prints tables and keeps them.
    Peers(PeersOptions),
    /// Each step of a backup by itself: read, cut, name, compress, seal, pack, write.
    Parts,
    /// What grows with a vault, at 10⁶ chunks and more; `HOLDFAST_BENCH_CHUNKS` and `HOLDFAST_BENCH_ONLY` choose.
    Scale,
}

/// The names that tools' names begin with; a setting may follow.
const TOOLS: [&str; 5] = ["holdfast", "restic", "rustic", "borg", "bupstash"];

fn of_a_tool(name: &str) -> Result<String, String> {
    match TOOLS.contains(&name.split(' ').next().unwrap_or_default()) {
        true => Ok(name.to_owned()),
        false => Err(format!("tools are {}", TOOLS.join(", "))),
    }
}

#[derive(Args, Debug)]
pub(crate) struct PeersOptions {
    /// Divide all sizes by this, to try the bench itself; the tables say so.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) smaller: u64,
    /// How often each tool takes its turn.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,
    /// Only these tools: a name with all its settings (`restic`), or with one (`restic off`). All by default.
    #[arg(long, value_name = "TOOL,…", value_delimiter = ',', value_parser = of_a_tool)]
    pub(crate) tools: Vec<String>,
    /// Only these data sets, of A, B, C and D.
    #[arg(long, value_name = "SET,…", value_delimiter = ',', ignore_case = true, value_parser = ["A", "B", "C", "D"])]
    pub(crate) sets: Vec<String>,
    /// Only these steps: first, unchanged, two, restore, verify, expire. What the others need is run all the same.
    #[arg(long, value_name = "STEP,…", value_delimiter = ',', value_parser = ["first", "unchanged", "two", "restore", "verify", "expire"])]
    pub(crate) steps: Vec<String>,
    /// Where data sets are kept and repositories are made, about 25 GB; below the target folder by default.
    #[arg(long, value_name = "FOLDER", env = "HOLDFAST_BENCH_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct CiOptions {
    /// Run only these steps, in their usual order.
    #[arg(value_enum)]
    pub(crate) steps: Vec<CiStep>,
    /// Check the dependencies against the advisory database too, which has to be fetched.
    #[arg(long)]
    pub(crate) advisories: bool,
    /// First drop what former runs built of this workspace's own packages (a fresh clone builds them
    /// anyway), so that a kept target folder does not grow with each run.
    #[arg(long)]
    pub(crate) sweep: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum CiStep {
    Fmt,
    Clippy,
    Test,
    Doc,
    Deny,
    Tidy,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }
}
