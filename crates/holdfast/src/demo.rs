//! `holdfast demo`: the options; the story is told here.

use std::path::PathBuf;

use clap::Args;

use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// Options of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave everything that it makes in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// What to back up; without it, a tree is made that has every awkward kind of file
    pub(crate) path: Option<PathBuf>,
}

/// Tells the story.
pub(crate) async fn run(_call: &Call, args: DemoArgs) -> Outcome<Exit> {
    tracing::debug!(?args, "starting");
    Err(Failure::new("this build does not tell the story yet"))
}
