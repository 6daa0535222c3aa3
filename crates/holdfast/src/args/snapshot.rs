//! Naming a snapshot: `latest`, or the beginning of its id.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use holdfast_agent::client::{SnapshotInfo, SnapshotState};

use crate::failure::{Failure, Outcome};
use crate::output;

/// The fewest digits that name a snapshot.
const DIGITS_MIN: usize = 4;

/// Digits of a whole id.
const DIGITS_MAX: usize = 32;

/// Candidates that an error lists.
const LISTED_MAX: usize = 10;

/// What a person wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotName {
    /// The newest one of its source.
    Latest,
    /// The one whose id begins so.
    Prefix(String),
}

impl FromStr for SnapshotName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let digits = text.to_ascii_lowercase();
        let fine = (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if fine {
            return Ok(Self::Prefix(digits));
        }
        Err(format!(
            "write latest, or at least the first {DIGITS_MIN} hexadecimal digits of a snapshot's id"
        ))
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Prefix(digits) => f.write_str(digits),
        }
    }
}

/// The snapshot that is meant, among all of a vault, or of one source of it.
pub(crate) fn choose<'a>(
    all: &'a [SnapshotInfo],
    name: &SnapshotName,
    source: Option<&str>,
) -> Outcome<&'a SnapshotInfo> {
    let of_source = |info: &&SnapshotInfo| source.is_none_or(|source| info.source == source);
    let fitting: Vec<&SnapshotInfo> = match name {
        SnapshotName::Latest => return latest(all.iter().filter(of_source).collect(), source),
        SnapshotName::Prefix(digits) => all
            .iter()
            .filter(of_source)
            .filter(|info| info.id.to_string().starts_with(digits))
            .collect(),
    };
    match fitting[..] {
        [one] => Ok(one),
        [] => Err(missing(format!(
            "no snapshot{} has an id that begins with {name}",
            of(source)
        ))),
        _ => Err(Failure::with_advice(
            format!(
                "{} snapshots' ids begin with {name}:{}",
                fitting.len(),
                list(&fitting)
            ),
            "give more digits",
        )),
    }
}

/// Several of `all`, each once. One of the vault's other list, the trash or what is not in it, is refused by name.
pub(crate) fn choose_many<'a>(
    all: &'a [SnapshotInfo],
    other: &[SnapshotInfo],
    names: &[SnapshotName],
    source: Option<&str>,
) -> Outcome<Vec<&'a SnapshotInfo>> {
    let mut seen = BTreeSet::new();
    let mut chosen = Vec::new();
    for name in names {
        let info = choose(all, name, source).map_err(|missing| {
            match (name, choose(other, name, source)) {
                (SnapshotName::Prefix(_), Ok(info)) => in_other_list(info),
                _ => missing,
            }
        })?;
        if seen.insert(info.id) {
            chosen.push(info);
        }
    }
    Ok(chosen)
}

fn latest<'a>(all: Vec<&'a SnapshotInfo>, source: Option<&str>) -> Outcome<&'a SnapshotInfo> {
    let sources: BTreeSet<&str> = all.iter().map(|info| info.source.as_str()).collect();
    if sources.len() > 1 {
        let names: Vec<&str> = sources.into_iter().collect();
        return Err(Failure::with_advice(
            format!(
                "latest could be of {} sources: {}",
                names.len(),
                names.join(", ")
            ),
            "name one with --source",
        ));
    }
    let newest = all
        .into_iter()
        .max_by_key(|info| (info.time_millis, info.id));
    newest.ok_or_else(|| missing(format!("there is no snapshot{}", of(source))))
}

fn of(source: Option<&str>) -> String {
    source.map_or_else(String::new, |source| format!(" of source {source}"))
}

fn in_other_list(info: &SnapshotInfo) -> Failure {
    match info.state {
        SnapshotState::Trash => Failure::with_advice(
            format!("snapshot {} is in the trash already", info.id),
            "`holdfast trash restore` takes it out, `holdfast forget --purge` has it leave the trash at once",
        ),
        _ => Failure::with_advice(
            format!("snapshot {} is not in the trash", info.id),
            "there is nothing to do: `holdfast snapshots` lists it",
        ),
    }
}

fn missing(what: String) -> Failure {
    Failure::with_advice(
        what,
        "see what there is with `holdfast snapshots`, `holdfast trash list` or, at a site itself, `holdfast rescue ls`",
    )
}

fn list(fitting: &[&SnapshotInfo]) -> String {
    let mut text = String::new();
    for info in fitting.iter().take(LISTED_MAX) {
        let time = output::time(info.time_millis);
        text.push_str(&format!("\n  {}  {time}  {}", info.id, info.source));
    }
    if fitting.len() > LISTED_MAX {
        text.push_str(&format!("\n  … and {} more", fitting.len() - LISTED_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use holdfast_format::{ChunkId, SnapshotId};

    use super::*;

    fn info(id: &str, source: &str, time_millis: i64) -> SnapshotInfo {
        let full = format!("{id:0<32}");
        SnapshotInfo {
            id: full.parse::<SnapshotId>().unwrap(),
            source: source.into(),
            agent: String::new(),
            time_millis,
            committed_millis: time_millis,
            tags: Vec::new(),
            files: 0,
            directories: 0,
            bytes: 0,
            bytes_sent: 0,
            problems: 0,
            state: SnapshotState::Committed,
            scope: "vault".parse().unwrap(),
            root: ChunkId([0; 32]),
            trash_until_millis: None,
            trash_why: String::new(),
            held: false,
        }
    }

    fn check(name: &str, source: Option<&str>, want: Result<&str, &str>) {
        let all = [
            info("aaaa1", "web", 5),
            info("aaaa2", "web", 9),
            info("bbbb", "web", 7),
            info("cccc", "db", 3),
        ];
        match (choose(&all, &name.parse().unwrap(), source), want) {
            (Ok(got), Ok(want)) => assert!(got.id.to_string().starts_with(want), "{got:?}"),
            (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
            (got, want) => panic!("{name}: {got:?} instead of {want:?}"),
        }
    }

    #[test]
    fn names_are_checked() {
        for good in ["latest", "abcd", "ABCD", &"0".repeat(32)] {
            assert!(good.parse::<SnapshotName>().is_ok(), "{good}");
        }
        for bad in ["", "abc", "newest", "wxyz", &"0".repeat(33)] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_snapshot_is_meant_or_none() {
        check("bbbb", None, Ok("bbbb"));
        check("aaaa2", None, Ok("aaaa2"));
        check("aaaa", None, Err("give more digits"));
        check("aaaa", None, Err("aaaa1000"));
        check("dddd", None, Err("holdfast snapshots"));
        check("cccc", Some("web"), Err("of source web"));
    }

    #[test]
    fn one_of_the_other_list_is_refused_by_name() {
        let mut trashed = info("dddd", "web", 1);
        trashed.state = SnapshotState::Trash;
        let (live, trash) = ([info("aaaa", "web", 5)], [trashed]);
        let refused = |all: &[SnapshotInfo], other: &[SnapshotInfo], name: &str| {
            let names = [name.parse().unwrap()];
            let chosen = choose_many(all, other, &names, None);
            chosen.unwrap_err().to_string()
        };
        assert!(refused(&live, &trash, "dddd").contains("is in the trash already"));
        assert!(refused(&trash, &live, "aaaa").contains("is not in the trash"));
        assert!(refused(&trash, &live, "eeee").contains("has an id that begins"));
        let names = ["aaaa".parse().unwrap(), "aaaa".parse().unwrap()];
        assert_eq!(choose_many(&live, &trash, &names, None).unwrap().len(), 1);
    }

    #[test]
    fn latest_is_of_one_source() {
        check("latest", Some("web"), Ok("aaaa2"));
        check("latest", Some("db"), Ok("cccc"));
        check("latest", None, Err("2 sources: db, web"));
        check("latest", Some("x"), Err("there is no snapshot of source x"));
    }
}
