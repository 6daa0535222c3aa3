//! What was backed up, by tag: what it held, what was told of it, and whether anybody wanted it gone.

use holdfast_tests::compare::{Tree, describe};
use holdfast_tests::tree::restored;
use std::fs;
use std::path::{Path, PathBuf};

/// The policy keeps so many of the newest snapshots of each source.
pub(super) const KEPT: usize = 4;

/// What a snapshot holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A tree at a path.
    Files(PathBuf, Tree),
    /// A stream of bytes.
    Stream(blake3::Hash),
}

/// A snapshot that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) id: String,
    pub(super) is_protected: bool,
}

/// One backup that was begun, whatever came of it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) vault: &'static str,
    pub(super) source: String,
    pub(super) number: usize,
    pub(super) content: Content,
    pub(super) told: Option<Told>,
    /// Somebody asked for it to be forgotten.
    pub(super) may_go: bool,
}

impl Entry {
    /// The tag of its snapshot, which no other has.
    pub(super) fn tag(&self) -> String {
        format!("{}-{}", self.source, self.number)
    }

    /// What is wrong with what was restored to `target`, if anything is.
    pub(super) fn compare(&self, target: &Path) -> Result<(), String> {
        match &self.content {
            Content::Files(path, want) => {
                let got = describe(&restored(target, path));
                let mut wrong = Vec::new();
                for (path, line) in want {
                    if got.get(path) != Some(line) {
                        wrong.push(format!("{path:?}: want {line}, got {:?}", got.get(path)));
                    }
                }
                let extra = got.keys().filter(|path| !want.contains_key(*path));
                wrong.extend(extra.map(|path| format!("{path:?} is too much")));
                match wrong.is_empty() {
                    true => Ok(()),
                    false => Err(wrong.join("\n")),
                }
            }
            Content::Stream(want) => {
                let got = fs::read(target.join("stdin")).map_err(|error| error.to_string())?;
                match blake3::hash(&got) == *want {
                    true => Ok(()),
                    false => Err(format!("the stream has other bytes, {}", got.len())),
                }
            }
        }
    }
}

/// Whether an acknowledged snapshot may be missing: it was forgotten, or so many newer ones of its source are known that the policy may
/// have let it go. `listed`: the tags that are listed.
pub(super) fn may_be_missing(entry: &Entry, all: &[Entry], listed: &[String]) -> bool {
    let newer = all.iter().filter(|other| {
        let is_known = other.told.is_some() || other.may_go || listed.contains(&other.tag());
        other.source == entry.source && other.number > entry.number && is_known
    });
    entry.may_go || newer.count() >= KEPT
}

#[test]
fn what_is_missing_or_wrong_is_told() {
    let entry = |number| Entry {
        vault: "db",
        source: "source".into(),
        number,
        content: Content::Stream(blake3::hash(b"right")),
        told: Some(Told {
            id: number.to_string(),
            is_protected: false,
        }),
        may_go: false,
    };
    let mut all: Vec<Entry> = (0..=KEPT).map(entry).collect();
    assert!(may_be_missing(&all[0], &all, &[]), "it may have expired");
    assert!(!may_be_missing(&all[1], &all, &[]));
    all[KEPT].told = None;
    assert!(
        !may_be_missing(&all[0], &all, &[]),
        "that one may never have come"
    );
    assert!(may_be_missing(&all[0], &all, &[all[KEPT].tag()]));
    let target = tempfile::tempdir().unwrap();
    assert!(all[0].compare(target.path()).is_err());
    fs::write(target.path().join("stdin"), b"wrong").unwrap();
    assert!(all[0].compare(target.path()).is_err());
    fs::write(target.path().join("stdin"), b"right").unwrap();
    assert_eq!(all[0].compare(target.path()), Ok(()));
}
