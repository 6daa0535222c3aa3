//! Why a command failed, as a person reads it: what happened, and what to do about it.
//!
//! ```text
//! holdfast: vault "db" does not exist: no vault has that name
//!   try: holdfast vault list
//! ```
//!
//! The libraries put advice behind the last semicolon of a message; here it is told apart.

use std::fmt;

use holdfast_agent::Error;

use crate::exit::Exit;

/// Words that advice begins with.
const ADVICE: [&str; 36] = [
    "add", "ask", "check", "choose", "close", "delete", "do", "don't", "export", "fix", "free",
    "give", "leave", "look", "make", "mount", "move", "name", "pass", "put", "read", "remove",
    "report", "restart", "restore", "run", "see", "send", "set", "start", "take", "try", "use",
    "wait", "write", "write:",
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
    }
}

fn split(message: &str) -> (String, Option<String>) {
    if let Some((what, advice)) = message.rsplit_once("; ")
        && let Some(word) = advice.split([' ', ',']).next()
        && ADVICE.contains(&word)
    {
        return (what.into(), Some(advice.into()));
    }
    (message.into(), None)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what.is_empty() {
            return Ok(());
        }
        write!(f, "holdfast: {}", self.what)?;
        match &self.advice {
            Some(advice) => write!(f, "\n  try: {advice}"),
            None => Ok(()),
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
            Error::Unavailable { .. } if failure.advice.is_none() => {
                failure.advice = Some("look at `holdfast status`, then run this again".into());
            }
            _ => {}
        }
        failure
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
