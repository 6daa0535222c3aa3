//! What developers and CI run: `cargo xtask build`, `test`, `servers`, `dev-cluster`, `demo`, `sim`, `chaos`, `bench`, `tidy`, `ci`.
//!
//! This is the first thing that is built on a fresh machine, so it depends on little and on nothing
//! that needs protoc. It installs what a step needs, starts the servers that tests talk to, and
//! leaves nothing behind when it ends: neither after a failure nor after Ctrl-C.

mod bench;
mod cargo;
mod chaos;
mod ci;
mod cli;
mod demo;
mod deny;
mod interrupt;
mod leftovers;
mod node;
mod packages;
mod peers;
mod program;
mod protoc;
mod python;
mod repository;
mod runner;
mod servers;
mod sim;
mod steps;
mod stopwatch;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Task};
use crate::interrupt::{Interrupt, Interrupted};
use crate::repository::Repository;
use crate::runner::Runner;
use crate::steps::Steps;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            if error.is::<Interrupted>() {
                ExitCode::from(130)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let repository = Repository::find()?;
    let runner = Runner::new(Interrupt::listen()?).reaping_orphans()?;
    match cli.task {
        Task::Build(options) => cargo::build_workspace(&runner, &repository, &options),
        Task::Test(options) => {
            let mut steps = Steps::default();
            let outcome = test::run(&runner, &repository, &options, &mut steps);
            test::close(outcome, &steps)
        }
        Task::Servers(options) => servers::serve(&runner, &repository, &options),
        Task::DevCluster => servers::dev_cluster::run(&runner, &repository),
        Task::Demo(options) => demo::run(&runner, &repository, &options),
        Task::Sim(options) => sim::run(&runner, &repository, &options),
        Task::Chaos(options) => chaos::run(&runner, &repository, &options),
        Task::Bench(options) => bench::run(&runner, &repository, &options),
        Task::Tidy => tidy::run(&runner, &repository),
        Task::Ci(options) => ci::run(&runner, &repository, &options),
    }
}
