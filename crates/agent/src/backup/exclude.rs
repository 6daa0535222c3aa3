//! What is left out of a backup, by patterns.
//!
//! Patterns are those of `.gitignore`, read from the command line or a file, one a line; they match whole paths:
//!
//! | pattern | leaves out |
//! |---|---|
//! | `*.o` | every name that ends so, at any depth |
//! | `cache/tmp` | `tmp` in any `cache`, at any depth (as in restic; there is no folder that it could be relative to) |
//! | `/srv/db/tmp` | this path only |
//! | `core/` | directories called `core`, not files |
//! | `/srv/*/log/**` | all below, the directory itself stays |
//! | `!keep.o` | takes back what an earlier pattern left out: the last one that matches decides |
//!
//! `*` and `?` do not match `/`, `**` does; `[a-z]`, `[!a-z]` and `{a,b}` as usual; `\` takes the next character
//! as it is. In a file, empty lines and those that start with `#` are passed over, and spaces at the end of a line.
//! A directory that is left out is not entered, so nothing below it can be taken back.
//!
//! A path that was given to back up is never left out itself, whatever the patterns say.

use std::path::Path;

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};

/// Patterns, ready to match.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    set: GlobSet,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    takes_back: bool,
    directories_only: bool,
}

impl Excludes {
    /// Collects patterns.
    pub fn builder() -> ExcludesBuilder {
        ExcludesBuilder {
            set: GlobSetBuilder::new(),
            rules: Vec::new(),
        }
    }

    /// Whether a path is left out. `path` is absolute, without its leading `/`.
    pub(crate) fn leave_out(&self, path: &[u8], directory: bool) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let matches = self.set.matches_candidate(&Candidate::from_bytes(path));
        let decides = |index: &&usize| directory || !self.rules[**index].directories_only;
        matches
            .iter()
            .rev()
            .find(decides)
            .is_some_and(|index| !self.rules[*index].takes_back)
    }
}

/// Collects patterns in order.
#[derive(Debug)]
pub struct ExcludesBuilder {
    set: GlobSetBuilder,
    rules: Vec<Rule>,
}

impl ExcludesBuilder {
    /// Adds one pattern, as it stands on a command line.
    pub fn pattern(&mut self, pattern: &str) -> Result<&mut Self> {
        let invalid = |why: String| Error::Invalid {
            what: format!("the pattern {pattern:?}"),
            why,
        };
        let (takes_back, rest) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let body = rest.trim_end_matches('/');
        if body.is_empty() {
            return Err(invalid(
                "it names nothing; write a name, or a path that starts with /".into(),
            ));
        }
        if matches!(body, "." | "..") || body.starts_with("./") || body.starts_with("../") {
            return Err(invalid(
                "patterns are not relative to a folder; write a name, or a path that starts with /"
                    .into(),
            ));
        }
        let glob = match body.strip_prefix('/') {
            Some(anchored) => anchored.to_owned(),
            None => format!("**/{body}"),
        };
        let glob = GlobBuilder::new(&glob)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| invalid(error.kind().to_string()))?;
        self.set.add(glob);
        self.rules.push(Rule {
            takes_back,
            directories_only: body.len() < rest.len(),
        });
        Ok(self)
    }

    /// Adds the patterns of a file's text; `name` is for messages.
    pub fn lines(&mut self, name: &str, text: &str) -> Result<&mut Self> {
        for (number, line) in text.lines().enumerate() {
            let line = without_trailing_spaces(line);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            self.pattern(line).map_err(|error| match error {
                Error::Invalid { what, why } => Error::Invalid {
                    what: format!("{name} line {}: {what}", number + 1),
                    why,
                },
                other => other,
            })?;
        }
        Ok(self)
    }

    /// Adds the patterns of a file.
    pub fn file(&mut self, path: &Path) -> Result<&mut Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::Local {
            what: format!("the pattern file {name}"),
            why: error.to_string(),
        })?;
        self.lines(&name, &text)
    }

    /// Makes them ready.
    pub fn build(&self) -> Result<Excludes> {
        let set = self.set.build().map_err(|error| Error::Invalid {
            what: "the patterns together".into(),
            why: error.to_string(),
        })?;
        Ok(Excludes {
            set,
            rules: self.rules.clone(),
        })
    }
}

/// Cuts spaces and tabs off, but for one that a backslash guards.
fn without_trailing_spaces(line: &str) -> &str {
    let cut = line.trim_end_matches([' ', '\t', '\r']);
    let backslashes = cut.len() - cut.trim_end_matches('\\').len();
    if backslashes % 2 == 1 && cut.len() < line.len() {
        &line[..cut.len() + 1]
    } else {
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &str, out: &[&str], kept: &[&str]) {
        let excludes = Excludes::builder()
            .lines("test", patterns)
            .unwrap()
            .build()
            .unwrap();
        let leaves_out = |path: &str| {
            let directory = path.ends_with('/');
            excludes.leave_out(path.trim_matches('/').as_bytes(), directory)
        };
        for path in out {
            assert!(leaves_out(path), "{patterns:?} leaves out {path}");
        }
        for path in kept {
            assert!(!leaves_out(path), "{patterns:?} keeps {path}");
        }
    }

    #[test]
    fn names_match_at_any_depth() {
        check(
            "*.o",
            &["/a.o", "/srv/x/b.o", "/srv/c.o/"],
            &["/a.c", "/srv/b.o.txt", "/x.o/y"],
        );
        check(
            "node_modules/",
            &["/srv/node_modules/"],
            &["/srv/node_modules"],
        );
    }

    #[test]
    fn paths_match_whole() {
        check(
            "/srv/db/tmp",
            &["/srv/db/tmp", "/srv/db/tmp/"],
            &["/x/srv/db/tmp", "/srv/db/tmp2"],
        );
        check(
            "cache/tmp",
            &["/cache/tmp", "/a/b/cache/tmp"],
            &["/a/cache/x/tmp", "/a/xcache/tmp"],
        );
        check(
            "/srv/*/log/**",
            &["/srv/a/log/x", "/srv/a/log/x/y"],
            &["/srv/a/log/", "/srv/a/b/log/x"],
        );
        check("/a/**/z", &["/a/z", "/a/b/z", "/a/b/c/z"], &["/b/z"]);
    }

    #[test]
    fn the_last_match_decides() {
        check("*.log\n!keep.log\n", &["/x/a.log"], &["/x/keep.log"]);
        check("!keep.log\n*.log\n", &["/x/keep.log"], &[]);
        check("x\n!x/\n", &["/a/x"], &["/a/x/"]);
    }

    #[test]
    fn comments_spaces_and_escapes() {
        check("# no\n\n  \n*.tmp  \t\r\n", &["/a.tmp"], &["/# no", "/ "]);
        check(
            "\\#a\n\\!b\nc\\ \nd\\*\n",
            &["/#a", "/!b", "/c ", "/d*"],
            &["/a", "/b", "/c", "/dx"],
        );
        check(
            "{a,b}.txt\n[!0-9]x\n",
            &["/a.txt", "/b.txt", "/cx"],
            &["/c.txt", "/0x"],
        );
    }

    #[test]
    fn names_that_are_no_text_match_too() {
        let excludes = Excludes::builder().pattern("a*b").unwrap().build().unwrap();
        assert!(excludes.leave_out(b"x/a\xff\nb", false));
        assert!(!excludes.leave_out(b"x/\xffa\xffb", false));
        assert!(!Excludes::default().leave_out(b"x", false));
    }

    #[test]
    fn senseless_patterns_are_refused_with_their_line() {
        for bad in ["/", "!", "", "!/", "./x", "../x", "[a", "{a"] {
            let error = Excludes::builder().pattern(bad).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{bad:?}: {error}");
        }
        let error = Excludes::builder().lines("my.list", "a\n[b\n").unwrap_err();
        assert!(error.to_string().contains("my.list line 2"), "{error}");
    }
}
