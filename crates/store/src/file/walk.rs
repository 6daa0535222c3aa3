//! Walks the folders of a site to list what lies there.

use std::os::fd::BorrowedFd;

use holdfast_format::ObjectName;
use rustix::fs::{Dir, FileType};
use rustix::io::{Errno, Result};

use super::below::{open_below, stat_below};
use super::folder::RESERVED;
use super::objects::millis;
use crate::site::ObjectInfo;

/// One listing under way.
pub(super) struct Walk<'a> {
    root: BorrowedFd<'a>,
    prefix: &'a str,
    after: Option<&'a str>,
    found: Vec<ObjectInfo>,
}

impl<'a> Walk<'a> {
    /// All objects below `root` that start with `prefix` and sort behind `after`, in name order.
    pub(super) fn objects(
        root: BorrowedFd<'a>,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> Result<Vec<ObjectInfo>> {
        let mut walk = Self {
            root,
            prefix,
            after,
            found: Vec::new(),
        };
        let start = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        walk.folder(start)?;
        // Folders are walked as they come; and "a-b" sorts before "a/b", although "a" sorts before "a-b".
        walk.found
            .sort_unstable_by(|one, two| one.name.cmp(&two.name));
        Ok(walk.found)
    }

    /// The folders right below `prefix` in which some object lies, in order.
    pub(super) fn folders(root: BorrowedFd<'a>, prefix: &str) -> Result<Vec<String>> {
        let mut folders = Vec::new();
        for (name, entry) in entries(root, prefix)? {
            if entry == Entry::Folder && holds_object(root, &format!("{name}/"))? {
                folders.push(name[prefix.len()..].to_string());
            }
        }
        folders.sort_unstable();
        Ok(folders)
    }

    /// Lists the folder `at`, which is empty or ends with a slash, and those below it.
    fn folder(&mut self, at: &str) -> Result<()> {
        let mut below = Vec::new();
        let mut unsettled = false;
        for (name, entry) in entries(self.root, at)? {
            match entry {
                Entry::Folder if self.may_hold(&name) => below.push(format!("{name}/")),
                Entry::Object if self.wants(&name) => unsettled |= self.object(&name)?,
                Entry::Folder | Entry::Object => {}
            }
        }
        // ORDER: objects that may not be durable yet (see `staging`) are made so before the listing is answered, and
        // after it has seen them. Otherwise a standby could fold a record that a crash then takes away.
        if unsettled {
            rustix::fs::fsync(open_below(self.root, at)?)?;
        }
        below.iter().try_for_each(|folder| self.folder(folder))
    }

    fn wants(&self, name: &str) -> bool {
        name.starts_with(self.prefix) && self.after.is_none_or(|after| name > after)
    }

    /// Whether a folder can hold something that is wanted.
    fn may_hold(&self, folder: &str) -> bool {
        let inside = format!("{folder}/");
        let by_prefix = inside.starts_with(self.prefix) || self.prefix.starts_with(&inside);
        by_prefix
            && self
                .after
                .is_none_or(|after| after < inside.as_str() || after.starts_with(&inside))
    }

    /// Takes an object into the listing; answers whether its name may not be durable yet.
    fn object(&mut self, name: &str) -> Result<bool> {
        let Ok(parsed) = ObjectName::parse(name) else {
            return Ok(false);
        };
        // Deleted since its folder was read?
        let Some(stat) = stat_below(self.root, name)? else {
            return Ok(false);
        };
        self.found.push(ObjectInfo {
            name: parsed,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_millis: millis(
                stat.st_mtime,
                i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
        });
        Ok(stat.st_nlink > 1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    Object,
}

/// What lies in the folder `at`, by full name; nothing if it is absent. Leaves out the site's own files and names
/// that no object has.
fn entries(root: BorrowedFd<'_>, at: &str) -> Result<Vec<(String, Entry)>> {
    let folder = match open_below(root, at) {
        Ok(folder) => folder,
        Err(Errno::NOENT | Errno::NOTDIR) if !at.is_empty() => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if matches!(name, "." | "..") || (at.is_empty() && name.starts_with(RESERVED)) {
            continue;
        }
        let name = format!("{at}{name}");
        // No object's name is longer; and a circle of symbolic links ends here.
        if name.len() > 512 {
            continue;
        }
        let kind = match entry.file_type() {
            // Not every file system tells, and a symbolic link stands for what it leads to.
            FileType::Unknown | FileType::Symlink => match stat_below(root, &name)? {
                Some(stat) => FileType::from_raw_mode(stat.st_mode),
                None => continue,
            },
            kind => kind,
        };
        match kind {
            FileType::Directory => found.push((name, Entry::Folder)),
            FileType::RegularFile => found.push((name, Entry::Object)),
            _ => {}
        }
    }
    Ok(found)
}

fn holds_object(root: BorrowedFd<'_>, at: &str) -> Result<bool> {
    let mut folders = vec![at.to_string()];
    while let Some(at) = folders.pop() {
        for (name, entry) in entries(root, &at)? {
            match entry {
                Entry::Object if ObjectName::parse(&name).is_ok() => return Ok(true),
                Entry::Object => {}
                Entry::Folder => folders.push(format!("{name}/")),
            }
        }
    }
    Ok(false)
}
