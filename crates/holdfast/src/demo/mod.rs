//! `holdfast demo`: the whole story on this machine: back up, replicate, lose a site, restore, expire, collect, rescue.
//!
//! It uses the same actors, services, stores and client library as production; only the processes are one. All that it
//! makes lies in one folder, which is removed at the end, also when it is interrupted. A path that it is given is only
//! read.
//!
//! | part | is |
//! |---|---|
//! | `story` | the acts in order, and what they share; `acts` has each |
//! | `tree`, `changes` | the tree that is backed up, and what happens to it |
//! | `originals`, `fingerprint`, `content`, `compare` | what a tree is, and whether a restored one is the same |
//! | `stage`, `client`, `sites` | the coordinator, its client, the folders of its sites |
//! | `commands` | what each step would be by hand |
//! | `folder`, `teller` | where it happens, and how it is told |

mod acts;
mod changes;
mod client;
mod commands;
mod compare;
mod content;
mod fingerprint;
mod folder;
mod originals;
mod sites;
mod stage;
mod story;
mod teller;
mod tree;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::folder::Scratch;
use self::story::{STEPS, Story};
use self::teller::{Row, Teller};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output;

/// Options of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave everything that it makes in this folder, which must be new or empty
    ///
    /// It then holds: tree (what was backed up), onsite and offsite (the two sites), coordinator (its data),
    /// identity.txt, agent.bundle, cache, and restored, rescued-onsite and rescued-offsite (what came back). Without
    /// this, all of it lies in a folder of a fresh name in $TMPDIR, or else /var/tmp, and is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Make a small tree, of a few megabytes
    #[arg(long, hide = true)]
    pub(crate) small: bool,
    /// What to back up; it is only read. Without it, a tree is made that has every awkward kind of file
    ///
    /// A small tree of that kind is backed up along with it, so that there is something to change between backups.
    pub(crate) path: Option<PathBuf>,
}

/// What it came to, for scripts.
#[derive(Debug, Serialize)]
struct View<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    path: Option<String>,
    kept: Option<String>,
    seconds: f64,
    paths_compared: u64,
    bytes_compared: u64,
    differences_count: u64,
    differences: &'a [String],
    unreadable: u64,
    left_out: &'a [String],
    steps: &'a [Row],
}

/// Tells the story.
pub(crate) async fn run(call: &Call, args: DemoArgs) -> Outcome<Exit> {
    let path = args.path.as_deref().map(story::settled).transpose()?;
    let scratch = Scratch::create(args.keep.as_deref())?;
    let mut teller = Teller::new(call, scratch.path(), STEPS);
    let mut story = Story::new(call, &scratch, path, args.small);
    let told = story.tell(&mut teller).await;
    let shown = conclude(call, &story, &teller, &told);
    drop(story);
    let removed = call.context.run_blocking(move || scratch.remove()).await;
    told?;
    removed?;
    shown
}

/// Shows the table, or the object.
fn conclude(call: &Call, story: &Story<'_>, teller: &Teller, told: &Outcome<()>) -> Outcome<Exit> {
    let failed = told.as_ref().err();
    let exit = match story.unreadable {
        0 => Exit::Done,
        _ => Exit::Partial,
    };
    if call.json() {
        output::json(&View {
            ok: failed.is_none(),
            failed: failed.map(|failure| failure.what.clone()),
            path: story.path().map(|path| path.display().to_string()),
            kept: story.kept().map(|path| path.display().to_string()),
            seconds: teller.seconds(),
            paths_compared: story.paths_compared,
            bytes_compared: story.bytes_compared,
            differences_count: story.differences_count,
            differences: &story.differences,
            unreadable: story.unreadable,
            left_out: &story.left_out,
            steps: teller.rows(),
        })?;
        return Ok(exit);
    }
    if teller.rows().is_empty() || failed.is_some_and(|failure| failure.exit == Exit::Interrupted) {
        return Ok(exit);
    }
    output::line("")?;
    output::line(teller.table())?;
    output::line("")?;
    output::line(
        "READ is content read from the tree or from a site; SENT is what the agent sent to the coordinator, sealed;",
    )?;
    output::line("ON-SITE and OFF-SITE are what lies there when the step has ended.")?;
    if failed.is_none() {
        output::line("")?;
        output::line(format_args!(
            "All is as it should be: {} paths and {} were compared with the original, and nothing differs. It took {}.",
            output::count(story.paths_compared),
            output::bytes(story.bytes_compared),
            output::seconds(teller.seconds()),
        ))?;
        if story.unreadable > 0 {
            output::line(format_args!(
                "{} paths could not be read, and so are in no snapshot: the exit code is 3.",
                output::count(story.unreadable)
            ))?;
        }
        for line in story.epilogue() {
            output::line(line)?;
        }
    }
    Ok(exit)
}
