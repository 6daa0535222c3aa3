//! What lies in `deploy/` is what systemd, Kubernetes and compose take: each is asked by a validator of its own, with schemas
//! that lie beside it. That its command lines are the program's, the program's own tests see.

use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::{Ground, surroundings};

/// The oldest Kubernetes that mounts images as volumes unasked, and the newest whose schemas are here.
const KUBERNETES: [&str; 2] = ["1.35", "1.37"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Files of a folder of `deploy/` that end so, sorted.
fn files(folder: &str, ends: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(deploy().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| ends.contains(&path.extension().unwrap_or_default().to_str().unwrap()))
        .collect();
    assert!(!found.is_empty(), "nothing in {folder}");
    found.sort();
    found
}

/// Runs a validator, and requires that it finds nothing to say.
#[track_caller]
fn passes(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; run `cargo xtask test`, which installs it")
    });
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}\n{said}");
    said
}

fn module(name: &str) -> Command {
    let mut command = Command::new(surroundings::python());
    command.args(["-m", name]);
    command
}

#[test]
fn manifests_fit_the_schemas_of_kubernetes() {
    for version in KUBERNETES {
        for file in files("kubernetes", &["yaml"]) {
            let mut command =
                Command::new(surroundings::python().with_file_name("kubernetes-validate"));
            let said = passes(
                command
                    .args(["--strict", "--kubernetes-version", version])
                    .arg(&file),
            );
            assert!(said.contains("passed for resource"), "{said}");
        }
    }
}

#[test]
fn a_manifest_with_an_unknown_key_is_found() {
    let ground = Ground::new();
    let text = std::fs::read_to_string(deploy().join("kubernetes/coordinators.yaml")).unwrap();
    let broken = ground.write(
        "broken.yaml",
        text.replace("readinessProbe", "readynessProbe"),
    );
    let mut command = Command::new(surroundings::python().with_file_name("kubernetes-validate"));
    let output = command
        .args(["--strict", "--kubernetes-version", KUBERNETES[0]])
        .arg(broken)
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn the_compose_file_fits_its_schema() {
    let mut command = module("check_jsonschema");
    passes(
        command
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(deploy().join("compose.yaml")),
    );
}

#[test]
fn units_are_verified_by_systemd() {
    let ground = Ground::new();
    let binary = surroundings::binary().display().to_string();
    // The program they start has to be there, which it is not in its usual place.
    let copies: Vec<PathBuf> = files("systemd", &["service", "timer"])
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path)
                .unwrap()
                .replace("/usr/local/bin/holdfast", &binary);
            ground.write(Path::new("units").join(path.file_name().unwrap()), text)
        })
        .collect();
    let said = passes(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .args(copies),
    );
    // It warns of what it does not know, and succeeds.
    assert_eq!(said.trim(), "");
}
