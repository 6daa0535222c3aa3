//! `[failover]`: when a vault may be moved to another site without a person.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Period};

/// How long a primary has not answered, unless the policy says otherwise.
const AFTER: Duration = Duration::from_secs(10 * 60);

/// When a vault may be moved to another of its sites without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutomaticFailover {
    /// How long the primary has not answered most of the coordinators.
    pub after: Duration,
    /// The changes of how long a time may be left behind at the primary, as last known.
    pub accept_loss: Duration,
}

/// The section as it was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Moving {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accept_loss: Option<Period>,
}

impl Moving {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let advice = r#"hours, minutes or seconds, such as "10min" or "30s""#;
        for (key, said) in [("after", self.after), ("accept_loss", self.accept_loss)] {
            if said.is_some_and(|said| said.exact().is_none()) {
                let problem = "is no exact length of time";
                return Err(Error::policy(format!("failover.{key}"), problem, advice));
            }
        }
        if self.after.is_some_and(|after| after.is_zero()) {
            let problem = "is no time at all: whoever is cut off for a moment would move the vault";
            return Err(Error::policy("failover.after", problem, advice));
        }
        Ok(())
    }

    pub(crate) fn rule(&self) -> Option<AutomaticFailover> {
        let exact = |said: Option<Period>, unsaid: Duration| match said {
            Some(said) => said.exact(),
            None => Some(unsaid),
        };
        Some(AutomaticFailover {
            after: exact(self.after, AFTER)?,
            accept_loss: exact(self.accept_loss, Duration::ZERO)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    fn policy(section: &str) -> Result<Policy, Error> {
        Policy::parse(&format!("version = 1\n{section}"))
    }

    #[test]
    fn only_a_section_moves_a_vault() {
        let rule = |section| policy(section).expect("a policy").automatic_failover();
        assert_eq!(rule(""), None);
        let plain = AutomaticFailover {
            after: AFTER,
            accept_loss: Duration::ZERO,
        };
        assert_eq!(rule("[failover]"), Some(plain));
        let said = AutomaticFailover {
            after: Duration::from_secs(3690),
            accept_loss: Duration::from_secs(30),
        };
        let section = "[failover]\nafter = \"1h1min30s\"\naccept_loss = \"30s\"";
        assert_eq!(rule(section), Some(said));
        let policy = policy(section).expect("a policy");
        assert_eq!(
            Policy::parse(&policy.to_toml()).expect("it reads back"),
            policy
        );
    }

    #[test]
    fn what_is_no_exact_time_is_refused() {
        for (section, key) in [
            ("[failover]\nafter = \"1d\"", "failover.after"),
            ("[failover]\nafter = \"0\"", "failover.after"),
            ("[failover]\naccept_loss = \"1mo\"", "failover.accept_loss"),
            ("[failover]\nto = \"offsite\"", "to"),
        ] {
            let error = policy(section).expect_err(section).to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
