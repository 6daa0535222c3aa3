//! `holdfast policy`: what is kept for how long.

mod apply;
mod set;
mod show;
mod simulate;

use clap::Subcommand;

use self::apply::ApplyArgs;
use self::set::SetArgs;
use self::show::ShowArgs;
use self::simulate::SimulateArgs;
use crate::call::Call;
use crate::failure::Outcome;

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Set a vault's policy
    Set(SetArgs),
    /// Show a vault's policy, or what it comes to for one source
    Show(ShowArgs),
    /// Say what a policy will do, day by day; nothing is changed
    Simulate(Box<SimulateArgs>),
    /// Do now what the policy says; it is done by itself too
    Apply(ApplyArgs),
}

/// Does it.
pub(crate) async fn run(call: &Call, command: PolicyCommand) -> Outcome {
    match command {
        PolicyCommand::Set(args) => set::run(call, args).await,
        PolicyCommand::Show(args) => show::run(call, args).await,
        PolicyCommand::Simulate(args) => simulate::run(call, *args).await,
        PolicyCommand::Apply(args) => apply::run(call, args).await,
    }
}
