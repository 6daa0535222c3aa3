//! Why a command failed, as a person reads it: what happened, and what to do about it.
//!
//! ```text
//! holdfast: vault "db" does not exist: no vault has that name
//!   try: holdfast vault list
//! ```
//!
//! The libraries put advice behind the last semicolon of a message, or into its last sentences; here it is told apart.
//! A failure of which nobody knows better says at least where to look.

use std::fmt;

use holdfast_agent::Error;

use crate::exit::Exit;

/// Words that advice begins with.
const ADVICE: [&str; 44] = [
    "add", "ask", "bring", "check", "choose", "close", "confirm", "correct", "create", "delete",
    "do", "don't", "export", "fix", "free", "give", "install", "leave", "look", "make", "mend",
    "mount", "move", "name", "pass", "put", "read", "remove", "repeat", "report", "restart",
    "restore", "run", "see", "send", "set", "start", "stop", "take", "try", "use", "wait", "write",
    "write:",
];

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) advice: Option<String>,
}

/// What a command gives.
pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    /// A failure; advice may stand behind the last semicolon.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        let (what, advice) = split(&message.to_string());
        Self {
            exit: Exit::Failed,
            what,
            advice,
        }
    }

    /// A failure with what to do about it.
    pub(crate) fn with_advice(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            what: what.into(),
            advice: Some(advice.into()),
        }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::with_advice(what, advice)
        }
    }

    /// A signal ended it.
    pub(crate) fn interrupted() -> Self {
        Self {
            exit: Exit::Interrupted,
            what: "interrupted".into(),
            advice: None,
        }
    }

    /// Nobody reads what is written: no reason to say so.
    pub(crate) fn unread() -> Self {
        Self {
            exit: Exit::Failed,
            what: String::new(),
            advice: None,
        }
    }

    /// Something about a file on this machine.
    pub(crate) fn file(path: &std::path::Path, error: impl fmt::Display) -> Self {
        Self::new(format_args!("{}: {error}", path.display()))
            .or_advise("check the path, and what this user may do there")
    }

    /// A file that was read and makes no sense.
    pub(crate) fn content(path: &std::path::Path, error: impl fmt::Display) -> Self {
        Self::new(format_args!("{}: {error}", path.display()))
            .or_advise("correct the file, then run this again")
    }

    /// What to do about it, unless that is known better.
    pub(crate) fn or_advise(mut self, advice: &str) -> Self {
        self.advice.get_or_insert_with(|| advice.into());
        self
    }
}

fn split(message: &str) -> (String, Option<String>) {
    // A semicolon first: what stands behind it is the shorter advice.
    let at_last = message.rmatch_indices("; ").take(1);
    let sentences = message.rmatch_indices(". ");
    for (at, between) in at_last.chain(sentences) {
        let advice = &message[at + between.len()..];
        let word = advice.split([' ', ',']).next().unwrap_or_default();
        if ADVICE.contains(&word.to_ascii_lowercase().as_str()) {
            return (message[..at].into(), Some(uncapitalized(advice)));
        }
    }
    (message.into(), None)
}

fn uncapitalized(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

impl Failure {
    /// What happened and what to do, without the program's name.
    pub(crate) fn text(&self) -> String {
        match &self.advice {
            Some(advice) => format!("{}\n  try: {advice}", self.what),
            None => self.what.clone(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what.is_empty() {
            true => Ok(()),
            false => write!(f, "holdfast: {}", self.text()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut failure = Self::new(&error);
        match &error {
            Error::Interrupted => return Self::interrupted(),
            Error::Bug(_) => {
                failure.advice =
                    Some("run it again with --log debug and report what it says".into());
            }
            _ => failure = failure.or_advise(usual_advice(&error)),
        }
        failure
    }
}

/// What to do about an error that does not say so itself.
fn usual_advice(error: &Error) -> &'static str {
    match error {
        Error::Unavailable { .. } => "look at `holdfast status`, then run this again",
        Error::Full { .. } => {
            "make room at that site, by `holdfast forget` and `holdfast gc` or by other means, then run this again"
        }
        Error::Denied { .. } => "give the identity, bundle or certificate that belongs to it",
        Error::Missing { .. } => {
            "see `holdfast vault list`, `holdfast site list` and `holdfast snapshots` for what there is"
        }
        Error::Damaged { .. } => {
            "see what is damaged with `holdfast verify`; with --repair it mends what another site still has"
        }
        _ => "put that right, then run this again",
    }
}

impl From<holdfast_format::Error> for Failure {
    fn from(error: holdfast_format::Error) -> Self {
        Self::from(Error::from(error))
    }
}

impl From<holdfast_policy::Error> for Failure {
    fn from(error: holdfast_policy::Error) -> Self {
        Self::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_told_apart() {
        fn check(message: &str, shown: &str) {
            assert_eq!(Failure::new(message).to_string(), shown);
        }
        check(
            "the socket is not there; start a coordinator",
            "holdfast: the socket is not there\n  try: start a coordinator",
        );
        check("it has 3 a; b of 4", "holdfast: it has 3 a; b of 4");
        check(
            "one; two; give three",
            "holdfast: one; two\n  try: give three",
        );
        check(
            "the site is gone. Bring it back; what it holds is safe",
            "holdfast: the site is gone\n  try: bring it back; what it holds is safe",
        );
        check("v1. 2 of 3", "holdfast: v1. 2 of 3");
    }

    #[test]
    fn kinds_decide_the_exit_code() {
        let error = Error::Interrupted;
        assert_eq!(Failure::from(error).exit.number(), 130);
        let error = Error::Bug("x".into());
        assert!(Failure::from(error).advice.is_some());
        assert_eq!(Failure::usage("a", "b").exit.number(), 2);
        assert_eq!(Failure::unread().to_string(), "");
    }
}
