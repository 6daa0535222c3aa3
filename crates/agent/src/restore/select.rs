//! Which paths of a snapshot are wanted (`--include`).
//!
//! A path or pattern selects what it names and everything below. It is anchored at the top, with or without a leading
//! slash; one without any slash that holds a wildcard matches a name at every depth. `*`, `?` and `[…]` stay within a
//! name, `**` spans any number of them. Each part also matches a name that is written exactly so, so that a name with
//! a bracket in it can be given as it is.
//!
//! Matching goes down with the walk, one name at a time, so that a directory in which nothing can match is never read,
//! and one in which only certain names can match is not listed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use globset::{Candidate, GlobBuilder, GlobMatcher};

use super::path::components;
use crate::error::Result;

/// The paths and patterns that were given; none means everything.
#[derive(Debug, Default)]
pub struct Selection {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    given: Vec<u8>,
    parts: Vec<Part>,
    /// Whether it ever matched.
    hit: AtomicBool,
}

#[derive(Debug)]
enum Part {
    /// `**`: any number of names, none too.
    Any,
    /// One name.
    Name {
        literal: Vec<u8>,
        glob: Option<GlobMatcher>,
    },
}

/// How far matching has come at one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// It is wanted itself, and so is all below it.
    pub selected: bool,
    /// Patterns that could match below: which, and how many of their parts are used up.
    open: BTreeSet<(usize, usize)>,
}

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Takes paths and patterns as a person gives them.
    pub fn new(given: &[Vec<u8>]) -> Result<Self> {
        let patterns = given.iter().map(|one| Pattern::new(one));
        Ok(Self {
            patterns: patterns.collect::<Result<_>>()?,
        })
    }

    /// Where matching stands at the top.
    pub fn start(&self) -> Reach {
        let mut reach = Reach {
            selected: self.patterns.is_empty(),
            open: BTreeSet::new(),
        };
        for number in 0..self.patterns.len() {
            self.open(&mut reach, number, 0);
        }
        reach
    }

    /// Where matching stands at `name` below a directory; none if nothing there or below it is wanted.
    pub fn step(&self, above: &Reach, name: &[u8]) -> Option<Reach> {
        let mut reach = Reach {
            selected: above.selected,
            open: BTreeSet::new(),
        };
        for &(number, at) in &above.open {
            match self.patterns[number].parts.get(at) {
                Some(Part::Any) => self.open(&mut reach, number, at),
                Some(Part::Name { literal, glob }) => {
                    let globbed = || {
                        glob.as_ref()
                            .is_some_and(|g| g.is_match_candidate(&Candidate::from_bytes(name)))
                    };
                    if literal == name || globbed() {
                        self.open(&mut reach, number, at + 1);
                    }
                }
                None => {}
            }
        }
        (reach.selected || !reach.open.is_empty()).then_some(reach)
    }

    /// The only names that can match below a directory, if there is such a list.
    pub fn only_names(&self, reach: &Reach) -> Option<Vec<Vec<u8>>> {
        if reach.selected {
            return None;
        }
        let mut names = BTreeSet::new();
        for &(number, at) in &reach.open {
            match self.patterns[number].parts.get(at) {
                Some(Part::Name {
                    literal,
                    glob: None,
                }) => names.insert(literal.clone()),
                _ => return None,
            };
        }
        Some(names.into_iter().collect())
    }

    /// What was given and never matched.
    pub fn unmatched(&self) -> Vec<Vec<u8>> {
        self.patterns
            .iter()
            .filter(|pattern| !pattern.hit.load(Ordering::Relaxed))
            .map(|pattern| pattern.given.clone())
            .collect()
    }

    /// Notes that a pattern has used up `at` parts, and more where its next one may stand for no name at all.
    fn open(&self, reach: &mut Reach, number: usize, at: usize) {
        let pattern = &self.patterns[number];
        match pattern.parts.get(at) {
            None => {
                pattern.hit.store(true, Ordering::Relaxed);
                reach.selected = true;
            }
            Some(part) => {
                reach.open.insert((number, at));
                if matches!(part, Part::Any) {
                    self.open(reach, number, at + 1);
                }
            }
        }
    }
}

impl Pattern {
    fn new(given: &[u8]) -> Result<Self> {
        let names = components(given)?;
        let mut parts = Vec::new();
        if !given.contains(&b'/') && is_wild(given) {
            parts.push(Part::Any);
        }
        for name in names {
            if name != b"**" {
                parts.push(Part::name(name));
            } else if !matches!(parts.last(), Some(Part::Any)) {
                parts.push(Part::Any);
            }
        }
        Ok(Self {
            given: given.to_vec(),
            parts,
            hit: AtomicBool::new(false),
        })
    }
}

impl Part {
    fn name(literal: Vec<u8>) -> Self {
        // What is no glob is a plain name: `/usr/bin/[` is one.
        let glob = match std::str::from_utf8(&literal) {
            Ok(text) if is_wild(&literal) => glob(text, false).ok(),
            _ => None,
        };
        Self::Name { literal, glob }
    }
}

/// A glob over one name or, with `**`, over a path; wildcards do not cross slashes.
pub(crate) fn glob(text: &str, ignore_case: bool) -> std::result::Result<GlobMatcher, String> {
    GlobBuilder::new(text)
        .literal_separator(true)
        .case_insensitive(ignore_case)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| format!("it is no glob: {}", error.kind()))
}

fn is_wild(text: &[u8]) -> bool {
    text.iter().any(|b| b"*?[{".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[&str], path: &str, want: Option<bool>) {
        let given: Vec<_> = given.iter().map(|g| g.as_bytes().to_vec()).collect();
        let selection = Selection::new(&given).unwrap();
        let mut reach = Some(selection.start());
        for name in components(path.as_bytes()).unwrap() {
            reach = reach.and_then(|reach| selection.step(&reach, &name));
        }
        assert_eq!(reach.map(|reach| reach.selected), want, "{given:?} {path}");
    }

    #[test]
    fn paths_select_themselves_and_all_below() {
        check(&[], "/a/b", Some(true));
        check(&["/"], "/a/b", Some(true));
        for given in ["/a/b", "a/b", "a/b/"] {
            check(&[given], "/a", Some(false));
            check(&[given], "/a/b", Some(true));
            check(&[given], "/a/b/c/d", Some(true));
            check(&[given], "/a/c", None);
            check(&[given], "/ab", None);
        }
    }

    #[test]
    fn patterns_stay_within_names() {
        check(&["/a/*.c"], "/a/x.c", Some(true));
        check(&["/a/*.c"], "/a/x.c/y", Some(true));
        check(&["/a/*.c"], "/a/x/y.c", None);
        check(&["/a/**/z"], "/a/z", Some(true));
        check(&["/a/**/z"], "/a/x/y/z", Some(true));
        check(&["/a/**/z"], "/a/x/y", Some(false));
        check(&["/a/**"], "/a", Some(true));
        check(&["*.c"], "/deep/down/x.c", Some(true));
        check(&["/*.c"], "/deep/x.c", None);
        check(&["/a/[x]"], "/a/[x]", Some(true));
        check(&["/a/[x]"], "/a/x", Some(true));
        check(&["/a/{x,y}"], "/a/y", Some(true));
    }

    #[test]
    fn what_never_matched_is_told() {
        let selection = Selection::new(&[b"a".to_vec(), b"a/b".to_vec(), b"c".to_vec()]).unwrap();
        let reach = selection.step(&selection.start(), b"a").unwrap();
        selection.step(&reach, b"b").unwrap();
        assert_eq!(selection.unmatched(), vec![b"c".to_vec()]);
    }

    #[test]
    fn exact_paths_need_no_listing() {
        let selection = Selection::new(&[b"/a/b".to_vec(), b"/c".to_vec()]).unwrap();
        let start = selection.start();
        let names = vec![b"a".to_vec(), b"c".to_vec()];
        assert_eq!(selection.only_names(&start), Some(names));
        let wild = Selection::new(&[b"/a*".to_vec()]).unwrap();
        assert_eq!(wild.only_names(&wild.start()), None);
    }

    #[test]
    fn what_is_no_glob_is_a_name() {
        check(&["/a/["], "/a/[", Some(true));
        assert!(Selection::new(&[b"/a/../b".to_vec()]).is_err());
    }
}
