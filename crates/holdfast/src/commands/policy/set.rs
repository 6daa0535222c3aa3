//! `holdfast policy set`.

use std::path::PathBuf;

use clap::Args;
use holdfast_policy::Policy;

use crate::args::InVault;
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// Options of `policy set`.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    #[command(flatten)]
    vault: InVault,
    /// The policy file
    file: PathBuf,
}

/// Checks it here, then sets it.
pub(crate) async fn run(call: &Call, args: SetArgs) -> Outcome {
    let failed = |error: &dyn std::fmt::Display| Failure::file(&args.file, error);
    let text = std::fs::read_to_string(&args.file).map_err(|error| failed(&error))?;
    let policy = Policy::parse(&text).map_err(|error| Failure::content(&args.file, error))?;
    for key in policy.reserved() {
        call.remark(format_args!("{key} is noted and not enforced yet"));
    }
    let vault = &args.vault.vault;
    let warnings = call
        .admin()
        .await?
        .set_policy(vault, &text, &call.who())
        .await?;
    for warning in warnings {
        call.remark(warning);
    }
    Ok(Exit::Done)
}
