//! What the docs name has to exist: paths of the repository, commands and flags of its programs.

use crate::tidy::command_tree::{self, CommandTree};
use crate::tidy::files::Files;
use crate::tidy::finding::Finding;
use crate::tidy::markdown::{Piece, pieces};
use crate::tidy::{paths, shell};

/// Languages of code blocks that hold commands.
const SHELLS: [&str; 6] = ["", "sh", "bash", "shell", "console", "text"];

/// Whether a file is read by users, and so has to be true.
pub(crate) fn is_doc(path: &str) -> bool {
    let is_in = |folder: &str| {
        path.strip_prefix(folder)
            .is_some_and(|rest| !rest.contains('/') || folder == "deploy/")
    };
    path == "README.md"
        || path.ends_with(".md") && (is_in("docs/") || is_in("deploy/") || is_in("benches/"))
}

pub(crate) fn check(files: &Files, commands: &[CommandTree]) -> Vec<Finding> {
    files
        .matching(is_doc)
        .into_iter()
        .flat_map(|path| {
            let exists = |named: &str| {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let candidates = [
                    named.to_owned(),
                    format!("{folder}/{named}"),
                    format!("docs/{named}"),
                ];
                candidates.iter().any(|candidate| files.has(candidate))
            };
            let exists_beside = |named: &str| {
                let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
                files.has(&format!("{folder}/{named}"))
            };
            check_document(path, &files.text(path), commands, exists, exists_beside)
        })
        .collect()
}

/// Checks one document. `exists` tells whether a path that the text names is there, `exists_beside`
/// whether the target of a link is, which a reader's program looks for beside the document.
fn check_document(
    path: &str,
    document: &str,
    commands: &[CommandTree],
    exists: impl Fn(&str) -> bool,
    exists_beside: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, what: String| findings.push(Finding::new(path, line, what));
    for piece in joined(pieces(document)) {
        match piece {
            Piece::Link { line, target } => {
                let target = target.split('#').next().unwrap_or_default();
                let is_elsewhere = target.is_empty() || target.contains(':');
                if !is_elsewhere && !exists_beside(target) {
                    find(
                        line,
                        format!("the link to {target} leads nowhere; mend or drop it"),
                    );
                }
            }
            Piece::Span { line, text } => {
                check_paths(&text, &exists, |what| find(line, what));
                check_commands(&text, commands, |what| find(line, what));
                check_bare_flags(&text, commands, |what| find(line, what));
            }
            Piece::Code {
                line,
                language,
                text,
            } => {
                check_paths(&text, &exists, |what| find(line, what));
                let is_command = language != "console" || text.trim_start().starts_with(['$', '#']);
                if is_command && SHELLS.contains(&language.as_str()) {
                    check_commands(&text, commands, |what| find(line, what));
                }
            }
        }
    }
    findings
}

/// Joins lines of code that go on after a `\` at their end.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        if let Piece::Code { text: more, .. } = &piece
            && let Some(Piece::Code { text, .. }) = joined.last_mut()
            && text.ends_with('\\')
        {
            text.pop();
            text.push_str(more.trim_start());
        } else {
            joined.push(piece);
        }
    }
    joined
}

fn check_paths(text: &str, exists: impl Fn(&str) -> bool, mut find: impl FnMut(String)) {
    for named in text.split_whitespace().filter_map(paths::named_by) {
        if !exists(named) {
            find(format!(
                "there is no {named} here; name what there is, or make it"
            ));
        }
    }
}

fn check_commands(text: &str, commands: &[CommandTree], mut find: impl FnMut(String)) {
    for words in shell::commands(text) {
        for wrong in commands.iter().flat_map(|tree| tree.check(&words)) {
            find(format!("{wrong}; write what its --help says, or build it"));
        }
    }
}

/// A span that begins with a flag means one of ours.
fn check_bare_flags(text: &str, commands: &[CommandTree], mut find: impl FnMut(String)) {
    if !text.starts_with("--") {
        return;
    }
    for flag in text.split_whitespace().filter_map(shell::flag) {
        if !commands.iter().any(|tree| tree.has_flag_anywhere(flag)) {
            let ours = command_tree::names(commands);
            find(format!(
                "no command of {ours} has --{flag}; if it is another program's, write that \
                 program's name before it"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CommandTree, check_document, is_doc};

    fn check(document: &str, told: &[&str]) {
        let exists =
            |path: &str| ["docs/FORMAT.md", "FORMAT.md", "tests/vaults/v1"].contains(&path);
        let findings = check_document(
            "docs/A.md",
            document,
            &[CommandTree::of_xtask()],
            exists,
            exists,
        );
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings.len(), told.len(), "{findings:#?}");
        for (finding, part) in findings.iter().zip(told) {
            assert!(finding.contains(part), "{finding} does not hold {part}");
        }
    }

    #[test]
    fn docs_are_what_users_read() {
        for path in [
            "README.md",
            "docs/A.md",
            "deploy/a/b/c.md",
            "benches/README.md",
        ] {
            assert!(is_doc(path), "{path}");
        }
        for path in [
            "docs/a.png",
            "docs/old/A.md",
            "crates/x/README.md",
            "deploy/x.yml",
        ] {
            assert!(!is_doc(path), "{path}");
        }
    }

    #[test]
    fn what_exists_passes() {
        check(
            "See [it](FORMAT.md#packs), [that](https://example.org) and `tests/vaults/v1`.\n\n\
             ```sh\ncargo xtask test \\\n  --quick\n```\nWith `--quick`, `etcd --nonsense`.\n",
            &[],
        );
    }

    #[test]
    fn what_does_not_exist_is_told() {
        check(
            "[it](GONE.md)\n`tests/gone.rs`\n\n```console\n$ cargo xtask tset\nholdfast output\n```\n\n`--quik`\n",
            &[
                "docs/A.md:2: there is no tests/gone.rs",
                "docs/A.md:1: the link to GONE.md",
                "docs/A.md:5: `cargo xtask` has no subcommand tset",
                "docs/A.md:9: no command of cargo xtask has --quik",
            ],
        );
    }

    #[test]
    fn continued_lines_are_one_command() {
        check(
            "```sh\ncargo xtask \\\n  test \\\n  --quik\n```\n",
            &["docs/A.md:2: `cargo xtask test`"],
        );
    }
}
