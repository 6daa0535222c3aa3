//! Ends what a program left running: a test that is killed half-way may leave a coordinator behind,
//! in a process group or a session of its own. Such orphans become children of xtask, so they are found.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

/// How often to look again: each round ends one generation of a family.
const ROUNDS_MAX: usize = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// From now on the orphans among this process's descendants become its children.
pub(crate) fn adopt_orphans() -> anyhow::Result<()> {
    rustix::process::set_child_subreaper(Some(getpid())).context("cannot adopt orphaned processes")
}

/// The processes that are this process's children now.
pub(crate) fn children() -> BTreeSet<i32> {
    processes()
        .filter(|process| process.is_own_child())
        .map(|process| process.id)
        .collect()
}

/// Kills this process's children but for those in `known`, their children too, and returns what
/// they were called.
pub(crate) fn end_children_except(known: &BTreeSet<i32>) -> Vec<String> {
    let mut ended = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let left: Vec<Process> = processes()
            .filter(|process| process.is_own_child() && !known.contains(&process.id))
            .collect();
        if left.is_empty() {
            break;
        }
        for process in left {
            let Some(id) = Pid::from_raw(process.id) else {
                continue;
            };
            if !process.is_dead {
                ended.push(format!("{} (process {})", process.name, process.id));
                // One that ended by itself meanwhile is what we want: nothing to tell.
                let _ = kill_process(id, Signal::KILL);
            }
            let _ = waitpid(Some(id), WaitOptions::NOHANG);
        }
        thread::sleep(PAUSE);
    }
    ended.sort();
    ended.dedup();
    ended
}

struct Process {
    id: i32,
    parent: i32,
    name: String,
    is_dead: bool,
}

impl Process {
    /// Reads a line of `/proc/<id>/stat`: `id (name) state parent …`; the name may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let (id, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let is_dead = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        Some(Self {
            id: id.parse().ok()?,
            parent,
            name: name.to_owned(),
            is_dead,
        })
    }

    fn is_own_child(&self) -> bool {
        self.parent == getpid().as_raw_pid()
    }
}

fn processes() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| Process::parse(&stat))
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn reads_a_process_with_an_awkward_name() {
        let process = Process::parse("42 (a) b (c) S 7 42 42 0 -1").unwrap();
        assert_eq!(
            (process.id, process.parent, process.name.as_str()),
            (42, 7, "a) b (c")
        );
        assert!(!process.is_dead);
        assert!(Process::parse("42 (x) Z 7 42").unwrap().is_dead);
        assert!(Process::parse("nonsense").is_none());
    }
}
