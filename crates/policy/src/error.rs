//! The crate's error: what is wrong with a policy or a plan's input, and what to write instead.

/// Why a policy, a period, a schedule or a plan's input was refused.
///
/// None of these passes by itself: [`Error::Pack`] is the caller's bug and ends that collection
/// run; all others go to the person who wrote the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The policy file is no TOML, has a key that no policy has, or a value of the wrong kind.
    #[error("line {line}, `{text}`: {problem}")]
    Syntax {
        /// Line in the file, counted from 1.
        line: usize,
        /// That line, trimmed.
        text: String,
        /// What is wrong with it and what it may be.
        problem: String,
    },
    /// A value is well formed and makes no sense, alone or beside another.
    #[error("{key}: {problem}; write {advice}")]
    Policy {
        /// Dotted path of the key, as in the file.
        key: String,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        advice: String,
    },
    /// A text is no period.
    #[error("{text:?} {problem}; write {advice}")]
    Period {
        /// The text as it was written.
        text: String,
        /// What is wrong, as the rest of a sentence that begins with the text.
        problem: String,
        /// What to write instead.
        advice: String,
    },
    /// No time zone has this name.
    #[error(
        "{name:?} names no time zone; write an IANA name such as \"Europe/Helsinki\" or \"UTC\""
    )]
    TimeZone {
        /// The name as it was written.
        name: String,
    },
    /// A schedule to simulate cannot be followed.
    #[error("schedule {text:?} {problem}; write {advice}")]
    Schedule {
        /// The schedule as it was written.
        text: String,
        /// What is wrong, as the rest of a sentence that begins with the text.
        problem: String,
        /// What to write instead.
        advice: String,
    },
    /// The facts about a pack contradict themselves: the collection run must end here.
    #[error("pack {ordinal}: {problem}")]
    Pack {
        /// The pack's ordinal.
        ordinal: u32,
        /// The contradiction.
        problem: &'static str,
    },
}

impl Error {
    pub(crate) fn policy(
        key: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::Policy {
            key: key.into(),
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    pub(crate) fn period(text: &str, problem: &str, advice: impl Into<String>) -> Self {
        Self::Period {
            text: text.to_owned(),
            problem: problem.to_owned(),
            advice: advice.into(),
        }
    }
}
