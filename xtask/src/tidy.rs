//! `cargo xtask tidy`: the rules that no compiler checks. Each finding is one line,
//! `path:line: what, and what to do`.

mod arrows;
mod command_tree;
mod docs;
mod files;
mod finding;
mod markdown;
mod paths;
mod protos;
mod rust_source;
mod shell;
mod sources;

use anyhow::{Context, bail};

use crate::cargo;
use crate::repository::Repository;
use crate::runner::Runner;
use crate::tidy::command_tree::CommandTree;
use crate::tidy::files::Files;
use crate::tidy::finding::Finding;

/// Checks the repository: first what can be read, then, for the docs, what the built binary knows.
pub(crate) fn run(runner: &Runner, repository: &Repository) -> anyhow::Result<()> {
    let files = Files::read(repository.root())?;
    let mut findings = arrows::check(repository);
    findings.extend(sources::check(&files));
    findings.extend(protos::check(&files));
    let mut count = print(findings);

    let holdfast = cargo::build_holdfast(runner, repository)
        .with_context(|| format!("{count} findings before the docs, which need the binary"))?;
    let (commands, broken) = CommandTree::of_binary(runner, "holdfast", &holdfast)?;
    let tells_no_help = |called: &String| {
        Finding::new(
            "crates/holdfast/src/main.rs",
            1,
            format!("`{called} --help` fails; mend it"),
        )
    };
    count += print(broken.iter().map(tells_no_help).collect());
    let commands = [commands, CommandTree::of_xtask()];
    count += print(docs::check(&files, &commands));
    match count {
        0 => Ok(()),
        1 => bail!("tidy has one finding"),
        _ => bail!("tidy has {count} findings"),
    }
}

fn print(mut findings: Vec<Finding>) -> usize {
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    findings.len()
}
