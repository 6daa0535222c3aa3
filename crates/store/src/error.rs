//! What can go wrong at a site, sorted by what the caller should do about it.
//!
//! Every error says two things that a caller acts on: its [`Kind`], and whether it is *determinate*: whether the
//! operation certainly did not happen. A write that ended indeterminately is read again, never assumed.
//! No error, and none of its sources, ever carries a credential, a signature or a signed URL.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;

use holdfast_format::{ObjectName, SiteName};

/// What the caller should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The site did not answer, or not usefully: try again, later or elsewhere. It says nothing about what lies there.
    Retry,
    /// The site refuses these credentials: a person must act.
    Denied,
    /// The site holds less or other than it should: read another copy.
    Corrupt,
    /// The site has no room: collect, or give it more.
    Full,
    /// What was asked for makes no sense here: a person must correct the URL, the options or the server.
    Invalid,
    /// The site lacks an atomic create: it cannot be written to by anyone, ever.
    Refused,
    /// Holdfast itself is wrong.
    Bug,
}

impl Kind {
    /// What to do next, where the error has nothing more fitting to say.
    fn next(self) -> &'static str {
        match self {
            Kind::Retry => "try again, and check that the site is reachable if this lasts",
            Kind::Denied => {
                "check that holdfast may write and delete there: permissions or credentials, and that it is not read-only"
            }
            Kind::Corrupt => "read another copy and repair this one",
            Kind::Full => {
                "free space there, by `holdfast gc` or by other means, or give the site more"
            }
            Kind::Invalid => "correct the site's URL or options",
            Kind::Refused => "use a server that is known to work",
            Kind::Bug => "report this as a bug",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Retry => "retry",
            Kind::Denied => "denied",
            Kind::Corrupt => "corrupt",
            Kind::Full => "full",
            Kind::Invalid => "invalid",
            Kind::Refused => "refused",
            Kind::Bug => "bug",
        })
    }
}

/// An operation at a site that did not succeed.
///
/// Displays as: what was done to which object at which site, why it failed, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}; {}", facts.doing, facts.why, facts.next)]
pub struct Error {
    facts: Box<Facts>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Debug)]
struct Facts {
    kind: Kind,
    determinate: bool,
    doing: String,
    why: String,
    next: Cow<'static, str>,
}

/// Shorthand used through this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` that is determinate. `doing` is what was attempted, as a clause ("opening site onsite");
    /// `why` is what went wrong.
    pub fn new(kind: Kind, doing: impl Into<String>, why: impl Into<String>) -> Self {
        let facts = Facts {
            kind,
            determinate: true,
            doing: doing.into(),
            why: why.into(),
            next: Cow::Borrowed(kind.next()),
        };
        Self {
            facts: Box::new(facts),
            source: None,
        }
    }

    /// An error of `kind` about one object; `verb` is what was being done to it ("writing").
    pub fn at(
        kind: Kind,
        verb: &str,
        object: &ObjectName,
        site: &SiteName,
        why: impl Into<String>,
    ) -> Self {
        Self::new(kind, format!("{verb} {object} at site {site}"), why)
    }

    /// An object that ends before the bytes that were asked for.
    pub(crate) fn short(
        object: &ObjectName,
        site: &SiteName,
        asked: &Range<u64>,
        has: u64,
    ) -> Self {
        let why = format!(
            "bytes {} to {} were asked for and it has {has}",
            asked.start, asked.end
        );
        Self::at(Kind::Corrupt, "reading", object, site, why)
    }

    /// The same error, but it may have happened all the same.
    pub fn indeterminate(mut self) -> Self {
        self.facts.determinate = false;
        self
    }

    /// The same error, which certainly did not happen.
    pub fn determinate(mut self) -> Self {
        self.facts.determinate = true;
        self
    }

    /// The same error with its own advice.
    pub fn next(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.facts.next = advice.into();
        self
    }

    /// The same error with what caused it.
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> Kind {
        self.facts.kind
    }

    /// Whether the operation certainly did not happen. Reads are always determinate; of a write that is not, only
    /// reading tells what became of it.
    pub fn is_determinate(&self) -> bool {
        self.facts.determinate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_why_and_what_next() {
        let object = ObjectName::parse("ab/log/1").unwrap();
        let site = SiteName::new("offsite").unwrap();
        let error = Error::at(
            Kind::Retry,
            "writing",
            &object,
            &site,
            "the connection broke",
        );
        assert_eq!(
            error.to_string(),
            "writing ab/log/1 at site offsite: the connection broke; \
             try again, and check that the site is reachable if this lasts"
        );
        assert!(error.is_determinate());
        assert!(!error.indeterminate().is_determinate());
    }

    #[test]
    fn display_leaves_the_source_to_the_chain() {
        let error = Error::new(Kind::Bug, "opening site a", "it broke")
            .because(std::io::Error::other("inner"));
        assert!(!error.to_string().contains("inner"));
        assert!(
            error
                .source()
                .is_some_and(|source| source.to_string() == "inner")
        );
    }
}
