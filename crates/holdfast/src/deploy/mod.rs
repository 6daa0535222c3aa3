//! What lies in `deploy/` is true: every command line in it is read as the program itself reads it, and every variable in
//! it is one that the program knows.
//!
//! That units, manifests and the compose file are what systemd, Kubernetes and compose take, `tests/` asks their own
//! validators.

mod lines;
mod manifests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::ArgAction;

use self::lines::Line;
use crate::cli::{self, Cli};
use crate::coordinator::Settings;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// All files in it, by their paths in it.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder()).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

/// The command lines of a file. One of a kind that nobody reads fails: it could say anything.
fn lines_of(name: &str) -> Vec<Line> {
    match name.rsplit_once('.') {
        Some((_, "service")) => {
            lines::of_unit(name, &text(name), |file| text(&format!("systemd/{file}")))
        }
        Some((_, "md")) => lines::of_document(name, &text(name)),
        // Rules for Prometheus, which has its own opinion of them.
        Some((_, "yaml")) if name.starts_with("prometheus/") => Vec::new(),
        Some((_, "yaml")) if name.starts_with("kubernetes/") => {
            manifests::of_kubernetes(name, &agents_settings())
        }
        Some(("compose", "yaml")) => manifests::of_compose(name),
        None if name == "Containerfile" => lines::of_containerfile(name, &text(name)),
        // No command lines: settings, which have tests of their own, variables, which units name, a timer, a call of cargo.
        Some((_, "toml" | "env" | "timer")) => Vec::new(),
        None if name == "dev-cluster" => Vec::new(),
        _ => panic!("deploy/{name}: have its command lines read here"),
    }
}

/// Settings that manifests of one file make and those of another use.
fn agents_settings() -> Vec<String> {
    let yaml = files()
        .into_iter()
        .filter(|name| name.starts_with("kubernetes/") && name.ends_with(".yaml"));
    yaml.map(|name| text(&name)).collect()
}

/// The long option that a variable stands for in the command that these words call, if it has it.
fn option_of(variable: &str, words: &[String]) -> Option<(String, bool)> {
    let mut command = cli::definition();
    command.build();
    for word in words.iter().skip(1) {
        match command.find_subcommand(word) {
            Some(below) => command = below.clone(),
            None => break,
        }
    }
    let arg = command
        .get_arguments()
        .find(|arg| arg.get_env().is_some_and(|env| env == variable))?;
    let takes_value = !matches!(arg.get_action(), ArgAction::SetTrue);
    Some((format!("--{}", arg.get_long()?), takes_value))
}

fn known_variables() -> BTreeSet<String> {
    fn add(command: &clap::Command, known: &mut BTreeSet<String>) {
        let twins = command.get_arguments().filter_map(|arg| arg.get_env());
        known.extend(twins.map(|twin| twin.to_string_lossy().into_owned()));
        for below in command.get_subcommands() {
            add(below, known);
        }
    }
    let mut known = BTreeSet::new();
    let mut definition = cli::definition();
    definition.build();
    add(&definition, &mut known);
    known
}

/// A line as the program gets it: its variables are put as the options that they stand for, but for those that are given.
fn as_options(line: &Line) -> Vec<String> {
    let at = line
        .words
        .iter()
        .position(|word| word == "--")
        .unwrap_or(line.words.len());
    let (options, rest) = line.words.split_at(at);
    let mut words = options.to_vec();
    for (variable, value) in &line.variables {
        let Some((option, takes_value)) = option_of(variable, options) else {
            continue;
        };
        let is_given = options
            .iter()
            .any(|word| *word == option || word.starts_with(&format!("{option}=")));
        match (is_given, takes_value) {
            (true, _) => {}
            (false, true) => words.push(format!("{option}={value}")),
            (false, false) => words.push(option),
        }
    }
    words.extend(rest.iter().cloned());
    words
}

#[test]
fn every_command_line_is_read_by_the_program() {
    let known = known_variables();
    for name in files() {
        for line in lines_of(&name) {
            let words = as_options(&line);
            match Cli::read_from(&words) {
                Ok(_) => {}
                Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {}
                Err(error) => panic!("deploy/{name}: {words:?}\n{error}"),
            }
            let ours = line
                .variables
                .keys()
                .filter(|variable| variable.starts_with("HOLDFAST_"));
            for variable in ours {
                assert!(
                    known.contains(variable),
                    "deploy/{name}: nothing reads {variable}"
                );
            }
        }
    }
}

#[test]
fn command_lines_are_found_in_every_kind_of_file() {
    let count = |name: &str| lines_of(name).len();
    for (name, at_least) in [
        ("systemd/holdfast-coordinator.service", 1),
        ("systemd/holdfast-backup.service", 1),
        ("compose.yaml", 5),
        ("kubernetes/coordinators.yaml", 1),
        ("kubernetes/backup-cronjob.yaml", 1),
        ("kubernetes/backup-sidecar.yaml", 1),
        ("Containerfile", 1),
        ("README.md", 5),
    ] {
        assert!(count(name) >= at_least, "{name}: {}", count(name));
    }
}

#[test]
fn variables_of_units_and_manifests_reach_the_options_they_stand_for() {
    let backup = lines_of("systemd/holdfast-backup.service").remove(0);
    let words = as_options(&backup);
    assert!(words.contains(&"--vault=db".to_owned()), "{words:?}");
    let coordinator = lines_of("kubernetes/coordinators.yaml").remove(0);
    let words = as_options(&coordinator);
    assert!(words.contains(&"--name=POD_NAME".to_owned()), "{words:?}");
    assert!(
        words
            .iter()
            .any(|word| word.starts_with("--placement=etcd://")),
        "{words:?}"
    );
}

#[test]
fn settings_files_are_read() {
    for (name, cluster) in [("coordinator.toml", false), ("cluster.toml", true)] {
        let settings = Settings::parse(&text(name), Path::new("/etc/holdfast"))
            .unwrap_or_else(|why| panic!("deploy/{name}: {why}"));
        assert_eq!(settings.cluster_key.is_some(), cluster, "{name}");
        assert!(settings.ca.is_some() && settings.sites.len() == 2, "{name}");
        let placement = settings.placement.unwrap();
        if cluster {
            holdfast_placement::EtcdOptions::from_url(&placement).unwrap();
        }
    }
}
