//! `holdfast key bundle`: a write-only credential for an agent.

use std::path::PathBuf;

use clap::Args;
use holdfast_agent::client::{Admin, keys};
use serde::Serialize;

use crate::args::{self, IdentityArgs, InVault};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::{bundles, output, private_file};

/// Options of `key bundle`.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    bundle: args::ForAgent,
    /// Where to write it; without it, it is kept for this user
    #[arg(long, value_name = "FILE", env = "HOLDFAST_BUNDLE_OUT")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct View {
    bundle: String,
    agent: String,
    scope: String,
}

/// Makes it.
pub(crate) async fn run(call: &Call, args: BundleArgs) -> Outcome {
    let identity = args.identity.read()?;
    let (agent, scope) = args.bundle.resolve()?;
    let connection = call.connect().await?;
    let info = Admin::new(&connection).vault(&args.vault.vault).await?;
    let bundle = keys::bundle(&connection, &info, &identity, agent, scope).await?;
    let path = match args.out {
        None => bundles::keep(call, &bundle)?,
        Some(path) => {
            private_file::create(&path, bundle.to_text().as_bytes())?;
            path
        }
    };
    let view = View {
        bundle: path.display().to_string(),
        agent: bundle.agent.to_string(),
        scope: bundle.scope.to_string(),
    };
    match call.json() {
        true => output::json(&view)?,
        false => output::line(format_args!(
            "{}: agent {}, scope {}",
            view.bundle, view.agent, view.scope
        ))?,
    }
    Ok(Exit::Done)
}
