//! Names of users and groups, from `/etc/passwd` and `/etc/group`.
//!
//! Read once a run. Users that only a directory service knows keep their number and have no name.

use std::collections::HashMap;
use std::path::Path;

/// Names by number.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Reads this machine's names. Files that cannot be read leave numbers without names.
    pub(crate) fn of_this_machine() -> Self {
        Self {
            users: read(Path::new("/etc/passwd")),
            groups: read(Path::new("/etc/group")),
        }
    }

    /// A user's name.
    pub(crate) fn user(&self, uid: u32) -> Option<String> {
        self.users.get(&uid).cloned()
    }

    /// A group's name.
    pub(crate) fn group(&self, gid: u32) -> Option<String> {
        self.groups.get(&gid).cloned()
    }
}

fn read(path: &Path) -> HashMap<u32, String> {
    match std::fs::read(path) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)),
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "owners have no names");
            HashMap::new()
        }
    }
}

/// Lines of `name:password:number:…`. As the system's own lookup does, the first line of a number wins.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (name, number) = (fields.next(), fields.nth(1));
        let (Some(name), Some(Ok(number))) = (name, number.map(str::parse::<u32>)) else {
            continue;
        };
        if !name.is_empty() && !name.starts_with(['#', '+', '-']) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_odd_ones_passed_over() {
        let names = parse(
            "root:x:0:0::/root:/bin/sh\n\n# no\ntoor:x:0:0\n+nis\nx:y\nbad:x:z\nweb:x:33:33\n",
        );
        assert_eq!(names.len(), 2);
        assert_eq!((&names[&0][..], &names[&33][..]), ("root", "web"));
    }
}
