//! Holdfast's program: reads the command line, runs one command, ends with its exit code.
//!
//! Results go to standard output, everything else to standard error.

mod allocator;
mod args;
mod bundles;
mod call;
mod cli;
mod commands;
mod coordinator;
mod demo;
#[cfg(test)]
mod deploy;
mod environment;
mod exit;
mod failure;
mod folders;
mod interrupt;
mod logging;
mod names;
mod output;
mod private_file;
mod reading;
mod rescue;
mod restoring;
mod settings;
mod views;

#[cfg(test)]
mod usage;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use holdfast_context::Context;

use crate::call::Call;
use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// Threads that wait for something that never comes (a terminal, a pipe) are left alone after this.
const SHUTDOWN_WAIT: Duration = Duration::from_millis(500);

/// What a client says without being asked. What could not be backed up is told in the result.
const LOG_CLIENT: &str = "warn,holdfast_agent::backup=error";

/// What a coordinator says without being asked.
const LOG_COORDINATOR: &str = "info";

/// What a demo says without being asked: its coordinator rightly complains of a site that the story destroys.
const LOG_DEMO: &str = "off";

fn main() -> ExitCode {
    allocator::settle();
    let cli = Cli::read();
    let exit = run(cli).unwrap_or_else(|failure| {
        if !failure.what.is_empty() {
            // There is nobody left to tell if this fails.
            let _ = writeln!(std::io::stderr(), "{failure}");
        }
        failure.exit
    });
    exit.into()
}

fn run(cli: Cli) -> Outcome {
    let usual = match cli.command {
        Command::Coordinator(_) => LOG_COORDINATOR,
        Command::Demo(_) => LOG_DEMO,
        _ => LOG_CLIENT,
    };
    logging::start(
        cli.common.log.as_deref().unwrap_or(usual),
        cli.common.log_format,
    )?;
    // One provider for all of rustls, before anything speaks TLS. It can be set only once, here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format_args!("threads cannot be started: {error}")))?;
    let outcome = runtime.block_on(async {
        let context = Context::system();
        let cancel = interrupt::watch(&context)?;
        let call = Call {
            context,
            common: cli.common,
            cancel,
        };
        dispatch(&call, cli.command).await
    });
    runtime.shutdown_timeout(SHUTDOWN_WAIT);
    outcome
}

async fn dispatch(call: &Call, command: Command) -> Outcome<Exit> {
    use commands::*;
    match command {
        // These end in good order by themselves when they are interrupted.
        Command::Backup(args) => backup::run(call, *args).await,
        Command::Restore(args) => restore::run(call, *args).await,
        Command::Dump(args) => dump::run(call, args).await,
        Command::Verify(args) => verify::run(call, args).await,
        Command::Mount(args) => mount::run(call, args).await,
        Command::Rescue(command) => rescue::run(call, command).await,
        Command::Coordinator(args) => coordinator::run(call, *args).await,
        Command::Demo(args) => demo::run(call, args).await,
        // These may be left at any point.
        Command::Snapshots(args) => call.unless_interrupted(snapshots::run(call, args)).await,
        Command::Ls(args) => call.unless_interrupted(ls::run(call, args)).await,
        Command::Find(args) => call.unless_interrupted(find::run(call, *args)).await,
        Command::Diff(args) => call.unless_interrupted(diff::run(call, args)).await,
        Command::Vault(command) => call.unless_interrupted(vault::run(call, command)).await,
        Command::Site(command) => call.unless_interrupted(site::run(call, command)).await,
        Command::Key(command) => call.unless_interrupted(key::run(call, command)).await,
        Command::Policy(command) => call.unless_interrupted(policy::run(call, command)).await,
        Command::Forget(args) => call.unless_interrupted(forget::run(call, args)).await,
        Command::Trash(command) => call.unless_interrupted(trash::run(call, command)).await,
        Command::Hold(command) => call.unless_interrupted(hold::run(call, command)).await,
        Command::Gc(args) => call.unless_interrupted(gc::run(call, args)).await,
        Command::Placement(command) => call.unless_interrupted(placement::run(call, command)).await,
        Command::Failover(args) => call.unless_interrupted(failover::run(call, args)).await,
        Command::Failback(args) => call.unless_interrupted(failback::run(call, args)).await,
        Command::Status => call.unless_interrupted(status::run(call)).await,
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}
