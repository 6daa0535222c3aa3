//! Why one item of a snapshot cannot be had, apart from why nothing more can be had.
//!
//! A flaw names one item and the work goes on past it; a stop ends the work. Everything that reads a snapshot returns
//! [`Found`], so that no caller takes one for the other.

use holdfast_format::Error as FormatError;

use crate::error::Error;
use crate::source::Loss;

/// What is wrong with one item of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Flaw {
    /// For a person: what is missing or which rule is broken.
    pub what: String,
    /// The chunk that is lost, if that is the reason; absent when a node says something impossible.
    #[serde(serialize_with = "loss_as_text")]
    pub loss: Option<Loss>,
}

impl Flaw {
    /// A node that says something impossible.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            loss: None,
        }
    }

    /// A chunk that is bad or missing at every site.
    pub(crate) fn lost(what: &str, loss: Loss) -> Self {
        Self {
            what: format!("{what} is lost: chunk {}: {}", loss.id, loss.why),
            loss: Some(loss),
        }
    }

    /// A node that does not decode.
    pub(crate) fn undecodable(error: FormatError) -> Self {
        Self::new(error.to_string())
    }

    /// The same flaw, told as part of something larger.
    pub(crate) fn within(mut self, what: impl std::fmt::Display) -> Self {
        self.what = format!("{what}: {}", self.what);
        self
    }
}

fn loss_as_text<S: serde::Serializer>(
    loss: &Option<Loss>,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    match loss {
        Some(loss) => to.serialize_some(&loss.id.to_string()),
        None => to.serialize_none(),
    }
}

/// Why something was not found.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// This item is damaged; others may be fine.
    Flawed(Flaw),
    /// Nothing more can be had.
    Stopped(Error),
}

impl Trouble {
    /// The error to show when the item was the only one that was wanted.
    pub(crate) fn into_error(self, what: impl Into<String>) -> Error {
        match self {
            Self::Flawed(flaw) => Error::Damaged {
                what: what.into(),
                why: flaw.what,
            },
            Self::Stopped(error) => error,
        }
    }
}

impl From<Flaw> for Trouble {
    fn from(flaw: Flaw) -> Self {
        Self::Flawed(flaw)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Stopped(error)
    }
}

/// What reading a snapshot gives.
pub(crate) type Found<T> = std::result::Result<T, Trouble>;
