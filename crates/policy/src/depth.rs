//! How far back a keep rule reaches: so many restore points, a period, or for ever.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Period;

/// How far back a keep rule reaches.
///
/// In a policy `31` is a count, `"4w"` a period, `"forever"` no end, and `0` switches a rule off
/// that a source would otherwise inherit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The newest so many restore points. Zero is a rule that keeps nothing.
    Count(u32),
    /// All restore points that are younger than the period, measured back from the source's newest
    /// snapshot: a source whose backups stop keeps what it has.
    For(Period),
    /// All restore points.
    Forever,
}

impl Depth {
    /// The rule is switched off.
    pub const OFF: Self = Self::Count(0);

    /// True if the rule keeps nothing.
    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::For(period) => write!(f, "{period}"),
            Self::Forever => f.write_str("forever"),
        }
    }
}

impl Serialize for Depth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::For(_) | Self::Forever => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Depth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DepthVisitor)
    }
}

struct DepthVisitor;

impl Visitor<'_> for DepthVisitor {
    type Value = Depth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a count such as 31, a period such as "4w", or "forever""#)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Depth, E> {
        u32::try_from(number)
            .map(Depth::Count)
            .map_err(|_| match number {
                ..0 => E::custom(format!(
                    "{number} is negative; write 0 to switch the rule off"
                )),
                _ => E::custom(format!(r#"{number} is too many; write "forever""#)),
            })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Depth, E> {
        if text == "forever" {
            return Ok(Depth::Forever);
        }
        if !matches!(text, "" | "0") && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(E::custom(format!(
                r#""{text}" has no unit; write {text} without quotes for a count, or "{text}d" for days"#
            )));
        }
        match Period::parse(text).map_err(E::custom)? {
            period if period.is_zero() => Ok(Depth::OFF),
            period => Ok(Depth::For(period)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Rule {
        depth: Depth,
    }

    #[test]
    fn reads_and_writes_depths() {
        fn check(value: &str, depth: Depth) {
            let text = format!("depth = {value}\n");
            assert_eq!(toml::from_str::<Rule>(&text).unwrap().depth, depth);
            assert_eq!(toml::to_string(&Rule { depth }).unwrap(), text);
        }
        check("31", Depth::Count(31));
        check("0", Depth::OFF);
        check("\"forever\"", Depth::Forever);
        check("\"4w\"", Depth::For(Period::parse("4w").unwrap()));
    }

    #[test]
    fn refuses_with_advice() {
        fn check(value: &str, message: &str) {
            let error = toml::from_str::<Rule>(&format!("depth = {value}\n")).unwrap_err();
            assert!(
                error.message().contains(message),
                "{value} gave {:?}",
                error.message()
            );
        }
        check("-1", "write 0 to switch the rule off");
        check("5000000000", r#"write "forever""#);
        check(
            "\"7\"",
            r#"write 7 without quotes for a count, or "7d" for days"#,
        );
        check("\"always\"", "write a number and a unit");
        check(
            "1.5",
            r#"a count such as 31, a period such as "4w", or "forever""#,
        );
    }
}
