//! Names that are made up when none is given: of this agent, of a source.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use holdfast_format::{Hash, SourceName};

use crate::failure::Outcome;

/// The longest name.
const LEN_MAX: usize = 128;

/// This machine's name, as an agent.
pub(crate) fn agent() -> Outcome<SourceName> {
    Ok(SourceName::new(fit(&holdfast_agent::backup::host_name()))?)
}

/// The source of some paths: agent and path, such as `web1-srv-db`. Different paths are different sources, so that a
/// policy never weighs them against each other; several paths bear a mark of all of them.
pub(crate) fn source(agent: &SourceName, paths: &[PathBuf]) -> Outcome<SourceName> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let mut paths: Vec<PathBuf> = paths.iter().map(absolute).collect();
    paths.sort();
    paths.dedup();
    let first = paths.first().map_or(Path::new("/"), PathBuf::as_path);
    let plain = format!("{agent}-{}", words(first));
    let fitted = fit(&plain);
    if paths.len() == 1 && fitted == plain && is_exact(first) {
        return Ok(SourceName::new(fitted)?);
    }
    let all: Vec<&[u8]> = paths
        .iter()
        .map(|path| path.as_os_str().as_bytes())
        .collect();
    let mark = &Hash::of(&all.join(&0)).to_string()[..8];
    let short: String = fitted.chars().take(LEN_MAX - 9).collect();
    Ok(SourceName::new(format!("{short}-{mark}"))?)
}

/// A path's components with dashes between.
fn words(path: &Path) -> String {
    let parts: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    match parts.is_empty() {
        true => "root".into(),
        false => parts.join("-"),
    }
}

/// Whether no other path has the same words.
fn is_exact(path: &Path) -> bool {
    !path.as_os_str().as_bytes().contains(&b'-')
}

/// The name with what names may not hold replaced.
fn fit(name: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let replaced: String = name
        .chars()
        .map(|c| if fine(c) { c } else { '_' })
        .collect();
    let trimmed = replaced.trim_start_matches(['.', '-']);
    match trimmed.is_empty() {
        true => "unnamed".into(),
        false => trimmed.chars().take(LEN_MAX).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(paths: &[&str]) -> String {
        let agent = SourceName::new("web1").unwrap();
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        source(&agent, &paths).unwrap().to_string()
    }

    #[test]
    fn a_source_is_named_after_its_path() {
        assert_eq!(name(&["/srv/db"]), "web1-srv-db");
        assert_eq!(name(&["/srv/db/"]), "web1-srv-db");
        assert_eq!(name(&["/"]), "web1-root");
    }

    #[test]
    fn different_paths_are_different_sources() {
        assert_ne!(name(&["/a-b"]), name(&["/a/b"]));
        assert_ne!(name(&["/a", "/b"]), name(&["/a", "/c"]));
        assert_ne!(name(&["/a b"]), name(&["/a_b"]));
        assert_eq!(name(&["/a", "/b"]), name(&["/b", "/a", "/a"]));
        let long = format!("/{}", "x".repeat(300));
        assert_ne!(name(&[&long]), name(&[&format!("{long}y")]));
        assert!(name(&[&long]).len() <= LEN_MAX);
    }

    #[test]
    fn hosts_become_names() {
        assert_eq!(fit("web1.example"), "web1.example");
        assert_eq!(fit("-büro 1"), "b_ro_1");
        assert_eq!(fit("..."), "unnamed");
    }
}
