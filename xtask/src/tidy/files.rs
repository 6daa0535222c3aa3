//! The repository's own files: neither what git keeps nor what a build makes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Folders that hold nothing of ours, wherever they lie.
const FOREIGN: [&str; 4] = [".git", "target", "node_modules", "__pycache__"];

#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    /// Relative to the root, with `/`, sorted.
    paths: Vec<String>,
}

impl Files {
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut paths = Vec::new();
        walk(root, "", &mut paths)?;
        paths.sort();
        Ok(Self {
            root: root.to_owned(),
            paths,
        })
    }

    /// The files whose path relative to the root is as wanted.
    pub(crate) fn matching(&self, wanted: impl Fn(&str) -> bool) -> Vec<&str> {
        self.paths
            .iter()
            .map(String::as_str)
            .filter(|path| wanted(path))
            .collect()
    }

    /// The text of a file; empty if it cannot be read.
    pub(crate) fn text(&self, path: &str) -> String {
        let bytes = fs::read(self.root.join(path)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether there is a file or folder at this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        let kind = entry
            .file_type()
            .with_context(|| format!("cannot look at {path}"))?;
        if kind.is_file() {
            paths.push(path);
        } else if kind.is_dir() && !FOREIGN.contains(&name.as_str()) {
            walk(&entry.path(), &path, paths)?;
        }
    }
    Ok(())
}
