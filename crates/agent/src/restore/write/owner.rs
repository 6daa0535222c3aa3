//! Whose an entry becomes: by number as recorded, or by the names that this machine knows.
//!
//! State: names that were looked up. A name is looked up in `/etc/passwd` and `/etc/group` first and then by `getent`,
//! which also asks LDAP and its like; one that is not known keeps its recorded number.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use holdfast_format::tree::Entry;

/// How owners are taken from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OwnerMode {
    /// The numbers as recorded.
    #[default]
    Number,
    /// The numbers that the recorded names have on this machine; the recorded number where a name is unknown.
    Name,
}

/// See the module header.
#[derive(Debug)]
pub(super) struct Owners {
    mode: OwnerMode,
    users: Names,
    groups: Names,
}

#[derive(Debug)]
struct Names {
    file: &'static str,
    database: &'static str,
    known: Mutex<HashMap<String, Option<u32>>>,
}

impl Owners {
    pub(super) fn new(mode: OwnerMode) -> Self {
        let names = |file, database| Names {
            file,
            database,
            known: Mutex::default(),
        };
        Self {
            mode,
            users: names("/etc/passwd", "passwd"),
            groups: names("/etc/group", "group"),
        }
    }

    /// User and group that an entry shall have.
    pub(super) fn of(&self, entry: &Entry) -> (u32, u32) {
        let by_name = |names: &Names, name: &Option<String>, number| match (self.mode, name) {
            (OwnerMode::Name, Some(name)) => names.number(name).unwrap_or(number),
            _ => number,
        };
        (
            by_name(&self.users, &entry.user, entry.uid),
            by_name(&self.groups, &entry.group, entry.gid),
        )
    }
}

impl Names {
    fn number(&self, name: &str) -> Option<u32> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.get(name) {
            return *number;
        }
        let file = std::fs::read(self.file).unwrap_or_default();
        let number = find(&file, name).or_else(|| self.ask(name));
        known.insert(name.to_owned(), number);
        number
    }

    fn ask(&self, name: &str) -> Option<u32> {
        // A name that looks like an option or a number would be taken for one.
        if name.starts_with('-') || name.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let output = std::process::Command::new("getent")
            .args([self.database, name])
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .output()
            .ok()?;
        find(&output.stdout, name)
    }
}

/// The third field of the line that starts with `name:`.
fn find(text: &[u8], name: &str) -> Option<u32> {
    text.split(|&b| b == b'\n').find_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        (fields.next()? == name)
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_files_of_the_usual_form() {
        let text = b"root:x:0:0:root:/root:/bin/sh\ndb:x:105:110::/:/bin/false\n";
        assert_eq!(find(text, "db"), Some(105));
        assert_eq!(find(text, "d"), None);
        let owners = Owners::new(OwnerMode::Name);
        assert_eq!(owners.users.number("root"), Some(0));
        assert_eq!(owners.users.number("no such user at all"), None);
    }
}
