//! What a program understands: its subcommands and flags, from its help or its definition; and
//! whether a command line in a doc fits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::runner::Runner;
use crate::tidy::shell;

/// Nobody nests deeper; guards against a help that names itself.
const DEPTH_MAX: usize = 6;

#[derive(Debug)]
pub(crate) struct CommandTree {
    /// The words that call it: `holdfast`, `cargo xtask`.
    call: Vec<String>,
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    subcommands: BTreeMap<String, Node>,
    /// Names without `--`, and whether a value follows.
    flags: BTreeMap<String, bool>,
    has_positionals: bool,
    /// Everything goes through to another program.
    takes_anything: bool,
}

impl CommandTree {
    /// Asks a built binary for the help of each of its subcommands. Those that cannot tell theirs are
    /// returned too.
    pub(crate) fn of_binary(
        runner: &Runner,
        name: &str,
        program: &Path,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        let mut broken = Vec::new();
        let root = Node::ask(runner, program, &mut vec![name.to_owned()], &mut broken)?;
        let call = vec![name.to_owned()];
        Ok((Self { call, root }, broken))
    }

    /// The definition of `cargo xtask` itself.
    pub(crate) fn of_xtask() -> Self {
        let mut command = Cli::command();
        command.build();
        let call = vec!["cargo".to_owned(), "xtask".to_owned()];
        Self {
            call,
            root: Node::of_definition(&command),
        }
    }

    /// What is wrong with a command, if it calls this program at all.
    pub(crate) fn check(&self, words: &[String]) -> Vec<String> {
        let program = words
            .first()
            .map(|word| word.rsplit('/').next().unwrap_or(word));
        let is_called = program == self.call.first().map(String::as_str)
            && words.len() >= self.call.len()
            && words[1..self.call.len()] == self.call[1..];
        if !is_called {
            return Vec::new();
        }
        let mut wrong = Vec::new();
        self.root
            .check(&self.call.join(" "), &words[self.call.len()..], &mut wrong);
        wrong
    }

    /// Whether any subcommand has this flag.
    pub(crate) fn has_flag_anywhere(&self, flag: &str) -> bool {
        self.root.has_flag_anywhere(flag)
    }
}

impl Node {
    /// Asks for the help of the subcommand that `path` calls, and of those below it.
    fn ask(
        runner: &Runner,
        program: &Path,
        path: &mut Vec<String>,
        broken: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        let Ok(help) = runner.read(command.args(&path[1..]).arg("--help")) else {
            runner.interrupt().check()?;
            broken.push(path.join(" "));
            return Ok(Self {
                takes_anything: true,
                ..Self::default()
            });
        };
        let mut node = Self::parse(&help);
        if path.len() <= DEPTH_MAX {
            for (name, subcommand) in &mut node.subcommands {
                if name != "help" {
                    path.push(name.clone());
                    *subcommand = Self::ask(runner, program, path, broken)?;
                    path.pop();
                }
            }
        }
        Ok(node)
    }

    /// Reads the help that clap prints.
    fn parse(help: &str) -> Self {
        let mut node = Self::default();
        let mut section = "";
        for line in help.lines() {
            if !line.starts_with(' ') && line.ends_with(':') {
                section = line.trim_end_matches(':');
                node.has_positionals |= section == "Arguments";
                continue;
            }
            let text = line.trim_start();
            let indent = line.len() - text.len();
            if section == "Commands" && indent == 2 {
                if let Some(name) = text.split_whitespace().next() {
                    node.subcommands.insert(name.to_owned(), Self::default());
                }
            } else if section != "Commands" && indent >= 2 {
                node.flags.extend(flag_in_help(text));
            }
        }
        node
    }

    fn of_definition(command: &clap::Command) -> Self {
        let mut node = Self::default();
        for argument in command.get_arguments() {
            if argument.is_positional() {
                node.has_positionals = true;
                node.takes_anything |= argument.is_allow_hyphen_values_set();
            } else if let Some(name) = argument.get_long() {
                node.flags
                    .insert(name.to_owned(), argument.get_action().takes_values());
            }
        }
        for subcommand in command.get_subcommands() {
            node.subcommands.insert(
                subcommand.get_name().to_owned(),
                Self::of_definition(subcommand),
            );
        }
        node
    }

    fn check(&self, called: &str, words: &[String], wrong: &mut Vec<String>) {
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            if word == "--" || self.takes_anything {
                return;
            }
            if let Some(flag) = shell::flag(word) {
                match self.flags.get(flag) {
                    None => wrong.push(format!("`{called}` has no --{flag}")),
                    Some(true) if !word.contains('=') => _ = words.next(),
                    Some(_) => {}
                }
            } else if !word.starts_with('-') && !self.subcommands.is_empty() {
                if shell::is_placeholder(word) {
                    return;
                }
                let rest: Vec<String> = words.map(str::to_owned).collect();
                for name in word.split('|') {
                    self.check_subcommand(called, name, &rest, wrong);
                }
                return;
            }
        }
    }

    fn check_subcommand(&self, called: &str, name: &str, rest: &[String], wrong: &mut Vec<String>) {
        match self.subcommands.get(name) {
            Some(subcommand) if name != "help" => {
                subcommand.check(&format!("{called} {name}"), rest, wrong);
            }
            Some(_) => {}
            None if self.has_positionals || !could_be_subcommand(name) => {}
            None => wrong.push(format!("`{called}` has no subcommand {name}")),
        }
    }

    fn has_flag_anywhere(&self, flag: &str) -> bool {
        self.flags.contains_key(flag)
            || self
                .subcommands
                .values()
                .any(|node| node.has_flag_anywhere(flag))
    }
}

/// Whether a word looks like a subcommand's name at all: prose in code spans often does not.
fn could_be_subcommand(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The flag that a line of help describes, and whether a value follows it:
/// `-p, --package <PACKAGE>  …`, `--quick`.
fn flag_in_help(text: &str) -> Option<(String, bool)> {
    let names = match text.split_once(", --") {
        Some((short, _)) if short.len() == 2 && short.starts_with('-') => &text[4..],
        _ => text,
    };
    let name = shell::flag(names).filter(|_| names.starts_with("--"))?;
    let after = names["--".len() + name.len()..].trim_start_matches('=');
    let takes_value = after.starts_with(" <") || after.starts_with('<');
    Some((name.to_owned(), takes_value))
}

/// The commands that no doc has to name, for messages.
pub(crate) fn names(trees: &[CommandTree]) -> String {
    let names: BTreeSet<String> = trees.iter().map(|tree| tree.call.join(" ")).collect();
    names.into_iter().collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{CommandTree, Node, flag_in_help};
    use crate::interrupt::Interrupt;
    use crate::runner::Runner;
    use crate::tidy::shell;

    const HELP: &str = "\
Backs up.

Usage: holdfast [OPTIONS] <COMMAND>

Commands:
  backup  Back up paths
  vault   Look after vaults
            --not-a-flag of this
  help    Print this message

Options:
      --coordinator <URL>  Where it is
          [env: HOLDFAST_COORDINATOR=]
  -j, --json               Print JSON
      --read-data[=<N>]    Read it all
  -h, --help               Print help
";

    fn tree() -> CommandTree {
        let mut root = Node::parse(HELP);
        let backup = "Usage: x\n\nArguments:\n  [PATH]...\n\nOptions:\n      --vault <V>  It\n  -h, --help  Help\n";
        root.subcommands
            .insert("backup".to_owned(), Node::parse(backup));
        let mut vault = Node::parse("Commands:\n  create  Make\n  list  List\n");
        vault.subcommands.insert(
            "create".to_owned(),
            Node::parse("Options:\n      --sites <S>  x\n"),
        );
        vault.subcommands.insert("list".to_owned(), Node::parse(""));
        root.subcommands.insert("vault".to_owned(), vault);
        CommandTree {
            call: vec!["holdfast".to_owned()],
            root,
        }
    }

    fn check(line: &str, told: &[&str]) {
        let wrong: Vec<String> = shell::commands(line)
            .iter()
            .flat_map(|words| tree().check(words))
            .collect();
        assert_eq!(wrong, told, "{line}");
    }

    #[test]
    fn help_is_read() {
        let node = Node::parse(HELP);
        let subcommands: Vec<&str> = node.subcommands.keys().map(String::as_str).collect();
        assert_eq!(subcommands, ["backup", "help", "vault"]);
        let flags: Vec<(&str, bool)> = node
            .flags
            .iter()
            .map(|(name, takes_value)| (name.as_str(), *takes_value))
            .collect();
        assert_eq!(
            flags,
            [
                ("coordinator", true),
                ("help", false),
                ("json", false),
                ("read-data", false)
            ]
        );
        assert_eq!(flag_in_help("- an item --x"), None);
    }

    #[test]
    fn a_binary_that_cannot_tell_its_help_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let script =
            "case $1 in --help) printf 'Commands:\\n  good\\n  bad\\n' ;; bad) exit 101 ;; esac\n";
        std::fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let runner = Runner::new(Interrupt::default());
        let (tree, broken) = CommandTree::of_binary(&runner, "program", &program).unwrap();
        assert_eq!(broken, ["program bad"]);
        assert!(
            tree.check(&["program".to_owned(), "bad".to_owned(), "--x".to_owned()])
                .is_empty()
        );
        assert_eq!(
            tree.check(&["program".to_owned(), "gone".to_owned()]).len(),
            1
        );
    }

    #[test]
    fn commands_that_fit_pass() {
        check("holdfast backup --vault v /home --help", &[]);
        check(
            "target/release/holdfast --coordinator unix:x backup --vault=v",
            &[],
        );
        check("holdfast --json vault create x --sites a,b", &[]);
        check("holdfast vault create|list", &[]);
        check("holdfast … ", &[]);
        check("holdfast backup -- pg_dump --format=c", &[]);
        check("other --nonsense", &[]);
        check("holdfast header\\0", &[]);
        check("holdfast 2026-11 part", &[]);
    }

    #[test]
    fn commands_that_do_not_fit_are_told() {
        check(
            "holdfast restoer x",
            &["`holdfast` has no subcommand restoer"],
        );
        check(
            "holdfast backup --valut v",
            &["`holdfast backup` has no --valut"],
        );
        check(
            "x | holdfast vault destroy",
            &["`holdfast vault` has no subcommand destroy"],
        );
        check(
            "holdfast vault create|drop",
            &["`holdfast vault` has no subcommand drop"],
        );
    }

    #[test]
    fn xtasks_own_definition_is_known() {
        let tree = CommandTree::of_xtask();
        let wrong = |line: &str| -> Vec<String> {
            shell::commands(line)
                .iter()
                .flat_map(|words| tree.check(words))
                .collect()
        };
        assert!(wrong("cargo xtask test --quick --package x name").is_empty());
        assert!(wrong("cargo xtask demo --keep x").is_empty());
        assert!(wrong("cargo build --nonsense").is_empty());
        assert_eq!(
            wrong("cargo xtask tset"),
            ["`cargo xtask` has no subcommand tset"]
        );
        assert_eq!(
            wrong("cargo xtask test --quik"),
            ["`cargo xtask test` has no --quik"]
        );
        assert!(tree.has_flag_anywhere("advisories"));
    }
}
