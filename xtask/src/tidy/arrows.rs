//! Dependency arrows between the workspace's packages run upward only, and a few outside packages
//! may be named by few. Tests are free in what of the workspace they use.

use std::fs;

use serde_json::Value;

use crate::repository::Repository;
use crate::tidy::finding::Finding;

/// Each package and what it may depend on; all may use `holdfast-context`, which knows nobody.
const ARROWS: &[(&str, &[&str])] = &[
    ("holdfast-context", &[]),
    ("holdfast-format", &[]),
    ("holdfast-policy", &[]),
    ("holdfast-store", &["format"]),
    ("holdfast-placement", &["format"]),
    (
        "holdfast-vault",
        &["format", "policy", "store", "placement"],
    ),
    ("holdfast-proto", &["format"]),
    (
        "holdfast-coordinator",
        &["format", "policy", "store", "placement", "vault", "proto"],
    ),
    (
        "holdfast-agent",
        &["format", "policy", "store", "vault", "proto"],
    ),
    ("holdfast", EVERYTHING),
    ("holdfast-sim", EVERYTHING),
    ("holdfast-tests", EVERYTHING),
    ("holdfast-benches", EVERYTHING),
    ("xtask", &[]),
];

const EVERYTHING: &[&str] = &[
    "format",
    "policy",
    "store",
    "placement",
    "vault",
    "proto",
    "coordinator",
    "agent",
];

/// Outside packages (a name, or the beginning of names before `*`) and who may name them; the first
/// that fits counts.
const GUARDED: &[(&str, &[&str])] = &[
    ("object_store", &["holdfast-store"]),
    ("etcd-client", &["holdfast-placement"]),
    // The errors of etcd-client are tonic's: placement tells by them what did not happen.
    (
        "tonic",
        &[
            "holdfast-placement",
            "holdfast-proto",
            "holdfast-coordinator",
            "holdfast-agent",
            "holdfast",
            "holdfast-sim",
            "holdfast-tests",
            // The wire as a part: a service that does nothing.
            "holdfast-benches",
        ],
    ),
    ("tonic*", WIRE),
    ("prost*", WIRE),
];

const WIRE: &[&str] = &[
    "holdfast-proto",
    "holdfast-coordinator",
    "holdfast-agent",
    "holdfast",
    "holdfast-tests",
];

pub(crate) fn check(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in repository.packages() {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let text = fs::read_to_string(manifest).unwrap_or_default();
        let path = std::path::Path::new(manifest)
            .strip_prefix(repository.root())
            .map_or_else(|_| manifest.to_owned(), |path| path.display().to_string());
        for (dependency, what) in check_package(package) {
            findings.push(Finding::new(
                path.clone(),
                line_naming(&text, &dependency),
                what,
            ));
        }
    }
    findings
}

/// What is wrong with a package, as `cargo metadata` tells of it: the dependency, and why.
fn check_package(package: &Value) -> Vec<(String, String)> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        let what = format!("package {name} has no arrows; add it to xtask/src/tidy/arrows.rs");
        return vec![("name".to_owned(), what)];
    };
    let mut wrong = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let target = dependency["name"].as_str().unwrap_or_default();
        let is_for_tests = dependency["kind"].as_str() == Some("dev");
        if is_ours(target) {
            if !is_for_tests && !may_use(allowed, target) {
                let what = format!(
                    "{name} must not depend on {target}: arrows run upward only; \
                     move what is shared down, or hand it in"
                );
                wrong.push((target.to_owned(), what));
            }
        } else if let Some(owners) = owners_of(target)
            && !owners.contains(&name)
        {
            let what = format!(
                "{name} must not name {target}, which only {} may; go through it",
                owners.join(", ")
            );
            wrong.push((target.to_owned(), what));
        }
    }
    wrong
}

fn is_ours(package: &str) -> bool {
    ARROWS.iter().any(|(known, _)| *known == package)
}

fn may_use(allowed: &[&str], target: &str) -> bool {
    let short = target.strip_prefix("holdfast-").unwrap_or(target);
    short == "context" || allowed.contains(&short)
}

fn owners_of(target: &str) -> Option<&'static [&'static str]> {
    let names = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => target.starts_with(beginning),
        None => target == pattern,
    };
    GUARDED
        .iter()
        .find(|(pattern, _)| names(pattern))
        .map(|(_, owners)| *owners)
}

/// The line of a manifest that names a key, or the first.
fn line_naming(manifest: &str, key: &str) -> usize {
    let names = |line: &str| {
        let rest = line.trim_start().trim_start_matches('"').strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=', '"']))
    };
    manifest
        .lines()
        .position(names)
        .map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{check_package, line_naming};

    fn package(name: &str, dependencies: &[(&str, Value)]) -> Value {
        let dependencies: Vec<Value> = dependencies
            .iter()
            .map(|(name, kind)| json!({ "name": name, "kind": kind }))
            .collect();
        json!({ "name": name, "dependencies": dependencies })
    }

    fn check(name: &str, dependency: &str, kind: Value, is_allowed: bool) {
        let wrong = check_package(&package(name, &[(dependency, kind)]));
        assert_eq!(
            wrong.is_empty(),
            is_allowed,
            "{name} -> {dependency}: {wrong:?}"
        );
    }

    #[test]
    fn arrows_run_upward_only() {
        check("holdfast-vault", "holdfast-format", Value::Null, true);
        check("holdfast-vault", "holdfast-context", Value::Null, true);
        check("holdfast-format", "holdfast-context", Value::Null, true);
        check("holdfast-context", "holdfast-format", Value::Null, false);
        check("holdfast-format", "holdfast-store", Value::Null, false);
        check("holdfast-agent", "holdfast-coordinator", Value::Null, false);
        check(
            "holdfast-agent",
            "holdfast-placement",
            json!("build"),
            false,
        );
        check("holdfast-vault", "holdfast", Value::Null, false);
    }

    #[test]
    fn tests_may_use_the_workspace_but_not_guarded_packages() {
        check("holdfast-agent", "holdfast-coordinator", json!("dev"), true);
        check("holdfast-vault", "object_store", json!("dev"), false);
    }

    #[test]
    fn guarded_packages_are_named_by_their_owners() {
        check("holdfast-store", "object_store", Value::Null, true);
        check("holdfast-vault", "object_store", Value::Null, false);
        check("holdfast-coordinator", "etcd-client", Value::Null, false);
        check("holdfast", "tonic", Value::Null, true);
        check("holdfast-placement", "tonic", Value::Null, true);
        check("holdfast-placement", "tonic-types", Value::Null, false);
        check("holdfast-vault", "tonic-types", Value::Null, false);
        check("holdfast-policy", "prost", Value::Null, false);
        check("holdfast-vault", "bytes", Value::Null, true);
    }

    #[test]
    fn a_new_package_has_to_be_given_arrows() {
        assert_eq!(check_package(&package("holdfast-new", &[])).len(), 1);
    }

    #[test]
    fn the_line_of_a_dependency_is_found() {
        let manifest = "[dependencies]\ntonic-types.workspace = true\ntonic.workspace = true\n";
        assert_eq!(line_naming(manifest, "tonic"), 3);
        assert_eq!(line_naming(manifest, "absent"), 1);
    }
}
