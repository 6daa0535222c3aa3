//! Walks the given paths: every entry in order, depth first, names by their bytes, so that the same tree gives the
//! same steps.
//!
//! Everything is reached from an open folder by one name, symlinks are never followed (but for the ancestors of a
//! given path, which the person has named), so neither long paths nor swapped folders lead astray. Only regular files
//! are ever opened, and not here.
//!
//! State: one frame for each folder on the way down, with the names still to visit; the newest
//! [`OPEN_FOLDERS_MAX`] are open. Files hand on their folder, so whoever reads them opens them by name there.
//!
//! Blocking; the pipeline calls [`Walk::next_batch`] off the async threads.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use holdfast_format::tree::{Entry, EntryKind};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::exclude::Excludes;
use super::folder::{CACHE_TAG_NAME, Folder, Names, Use};
use super::limits::{OPEN_FOLDERS_MAX, WALK_BATCH_FOLDERS, WALK_BATCH_STEPS};
use super::metadata::{EntryMaker, FileStat};
use super::pages::maps::MapName;
use super::paths::Given;
use super::problems::Problems;
use super::progress::Progress;
use super::xattrs;
use crate::error::{Error, Result};

/// What the walk came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// A folder begins; what follows lies in it.
    Enter(Entry),
    /// The innermost folder ends.
    Leave,
    /// Anything without content: symlinks, fifos, devices, sockets, folders that are not entered.
    Leaf(Entry),
    /// A regular file, still to be read or found unchanged.
    File(FileStep),
}

/// A regular file.
#[derive(Debug)]
pub(crate) struct FileStep {
    /// Its entry, without content and attributes.
    pub(crate) entry: Entry,
    /// Where it lies.
    pub(crate) folder: Arc<Folder>,
    /// What the walk saw.
    pub(crate) stat: FileStat,
    /// Its page map as of the last backup, if the vault has all that it names.
    pub(crate) before: Option<MapName>,
}

/// How to walk.
#[derive(Debug, Clone, Default)]
pub(crate) struct WalkRules {
    pub(crate) excludes: Excludes,
    pub(crate) exclude_caches: bool,
    pub(crate) one_file_system: bool,
}

/// What the walk shares with others.
#[derive(Debug, Clone)]
pub(crate) struct WalkTools {
    pub(crate) maker: Arc<EntryMaker>,
    pub(crate) problems: Arc<Problems>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
}

/// A walk under way.
#[derive(Debug)]
pub(crate) struct Walk {
    rules: WalkRules,
    tools: WalkTools,
    frames: Vec<Frame>,
}

#[derive(Debug)]
struct Frame {
    /// Open, unless it is far up or was lost.
    folder: Option<Arc<Folder>>,
    /// Device and inode, to know it again.
    identity: (u64, u64),
    path: Vec<u8>,
    names: Names,
    next: usize,
    /// Given paths further down.
    below: BTreeMap<Vec<u8>, Given>,
    /// Whether everything in it is backed up; else only what leads to given paths.
    whole: bool,
    /// The device of the given path that it lies in.
    device: u64,
}

impl Walk {
    /// Starts at the root. Every given path must exist.
    pub(crate) fn start(given: Given, rules: WalkRules, tools: WalkTools) -> Result<Self> {
        check(&given)?;
        let local = |error: io::Error| Error::Local {
            what: "/".into(),
            why: error.to_string(),
        };
        let purpose = if given.whole {
            Use::Listing
        } else {
            Use::Passage
        };
        let root = Folder::root(purpose).map_err(local)?;
        let mut walk = Self {
            rules,
            tools,
            frames: Vec::new(),
        };
        let whole = given.whole;
        let device = root.stat.key.device;
        walk.push(root, given.below, whole, device);
        Ok(walk)
    }

    /// The next steps; none when the walk is over.
    pub(crate) fn next_batch(&mut self) -> Vec<Step> {
        let (mut steps, mut folders) = (Vec::new(), 1);
        while steps.len() < WALK_BATCH_STEPS
            && folders < WALK_BATCH_FOLDERS
            && !self.tools.stop.is_cancelled()
        {
            let Some(frame) = self.frames.last_mut() else {
                break;
            };
            let Some(name) = frame.names.get(frame.next) else {
                self.leave();
                // The root has no entry of its own.
                if !self.frames.is_empty() {
                    steps.push(Step::Leave);
                }
                continue;
            };
            let name = name.to_vec();
            frame.next += 1;
            if let Some(step) = self.visit(&name) {
                folders += usize::from(matches!(step, Step::Enter(_)));
                steps.push(step);
            }
        }
        steps
    }

    /// Looks at one name of the innermost folder.
    fn visit(&mut self, name: &[u8]) -> Option<Step> {
        let frame = self.frames.last_mut()?;
        let folder = Arc::clone(frame.folder.as_ref()?);
        let given = frame.below.remove(name);
        let ancestor = given.as_ref().is_some_and(|given| !given.whole);
        // What was given below a symlink was given through it; inside a tree that is backed up, it is a symlink.
        let follow = ancestor && !frame.whole;
        let path = folder.path_of(name);
        let stat = match folder.stat_of(name, follow) {
            Ok(stat) => stat,
            Err(error) => {
                return self.gone_or_bad(path, given.is_some(), "it cannot be looked at", &error);
            }
        };
        let Some(kind) = stat.kind else {
            self.tools
                .problems
                .add(path, "it is of an unknown kind; left out");
            return None;
        };
        let directory = kind == EntryKind::Directory;
        let left_out = self.rules.excludes.leave_out(&path[1..], directory);
        if left_out && given.is_none() {
            return None;
        }
        if directory {
            return self.visit_folder(name, &folder, &stat, given, follow, left_out);
        }
        if ancestor {
            let what = "a path below it was given, and it is not a folder (any more)";
            self.tools.problems.add(path.clone(), what);
        }
        let mut entry = self.tools.maker.entry(name, kind, &stat);
        if kind == EntryKind::File {
            self.tools.progress.found_file(stat.key.size);
            return Some(Step::File(FileStep {
                entry,
                folder,
                stat,
                before: None,
            }));
        }
        if kind == EntryKind::Symlink {
            match rustix::fs::readlinkat(&folder.fd, name, Vec::new()) {
                Ok(target) => entry.target = Some(target.into_bytes()),
                Err(error) => {
                    return self.gone_or_bad(
                        path,
                        given.is_some(),
                        "its target cannot be read",
                        &error.into(),
                    );
                }
            }
        }
        entry.xattrs = self.xattrs_of_name(&folder, name);
        Some(Step::Leaf(entry))
    }

    fn visit_folder(
        &mut self,
        name: &[u8],
        folder: &Folder,
        stat: &FileStat,
        given: Option<Given>,
        follow: bool,
        left_out: bool,
    ) -> Option<Step> {
        let frame = self.frames.last()?;
        let was_given = given.is_some();
        let given = given.unwrap_or_default();
        let device = if given.whole {
            stat.key.device
        } else {
            frame.device
        };
        let elsewhere = self.rules.one_file_system && frame.whole && stat.key.device != device;
        let whole = given.whole || (frame.whole && !left_out && !elsewhere);
        if !whole && given.below.is_empty() {
            // Another file system: the place where it is mounted stays.
            let mut entry = self.tools.maker.entry(name, EntryKind::Directory, stat);
            entry.xattrs = self.xattrs_of_name(folder, name);
            return Some(Step::Leaf(entry));
        }
        let purpose = match (whole, follow) {
            (true, _) => Use::Listing,
            (false, false) => Use::Passage,
            (false, true) => Use::FollowedPassage,
        };
        let inner = match folder.open(name, purpose) {
            Ok(inner) => inner,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.gone_or_bad(folder.path_of(name), was_given, "", &error);
            }
            Err(error) if is(&error, Errno::LOOP) || is(&error, Errno::NOTDIR) => {
                let what =
                    "it was a folder and became something else while it was looked at; left out";
                self.tools.problems.add(folder.path_of(name), what);
                return None;
            }
            Err(error) => {
                let what = "the folder cannot be opened; its content is left out";
                self.tools
                    .problems
                    .add_error(folder.path_of(name), what, &error);
                let mut entry = self.tools.maker.entry(name, EntryKind::Directory, stat);
                entry.xattrs = self.xattrs_of_name(folder, name);
                return Some(Step::Leaf(entry));
            }
        };
        let mut entry = self
            .tools
            .maker
            .entry(name, EntryKind::Directory, &inner.stat);
        entry.xattrs = xattrs::of_open(&inner.fd).unwrap_or_else(|error| {
            let what = "its extended attributes cannot be read";
            self.tools
                .problems
                .add_error(inner.path.clone(), what, &error);
            None
        });
        self.push(inner, given.below, whole, device);
        Some(Step::Enter(entry))
    }

    /// Lists a folder and makes it the innermost.
    fn push(&mut self, folder: Folder, below: BTreeMap<Vec<u8>, Given>, whole: bool, device: u64) {
        let mut names = Names::default();
        if whole && self.rules.exclude_caches && folder.is_tagged_cache() {
            names.add(CACHE_TAG_NAME);
        } else if whole {
            let (listed, result) = folder.names(&self.tools.stop);
            names = listed;
            if let Err(error) = result {
                let what =
                    "the folder cannot be listed to its end; what it does not list is left out";
                self.tools
                    .problems
                    .add_error(folder.path.clone(), what, &error);
            }
        }
        let unlisted: Vec<_> = below.keys().filter(|name| !names.contains(name)).collect();
        unlisted.into_iter().for_each(|name| names.add(name));
        names.sort();
        self.frames.push(Frame {
            identity: folder.identity(),
            path: folder.path.clone(),
            folder: Some(Arc::new(folder)),
            names,
            next: 0,
            below,
            whole,
            device,
        });
        if let Some(far) = self.frames.len().checked_sub(OPEN_FOLDERS_MAX + 1) {
            self.frames[far].folder = None;
        }
    }

    /// Goes back to the folder above, and opens it again if it had to be closed.
    fn leave(&mut self) {
        let Some(left) = self.frames.pop() else {
            return;
        };
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        if frame.folder.is_some() || frame.names.get(frame.next).is_none() {
            return;
        }
        let reopened = left
            .folder
            .and_then(|inner| inner.parent(frame.path.clone()).ok())
            .filter(|folder| folder.identity() == frame.identity)
            .or_else(|| Folder::again(&frame.path, frame.identity).ok());
        frame.folder = reopened.map(Arc::new);
        if frame.folder.is_none() {
            frame.names = Names::default();
            let what =
                "the folder was moved while it was walked; the rest of its content is left out";
            self.tools.problems.add(frame.path.clone(), what);
        }
    }

    fn gone_or_bad(
        &self,
        path: Vec<u8>,
        given: bool,
        what: &str,
        error: &io::Error,
    ) -> Option<Step> {
        if error.kind() != io::ErrorKind::NotFound {
            self.tools
                .problems
                .add_error(path, &format!("{what}; left out"), error);
        } else if given {
            self.tools.problems.add(
                path,
                "it was given to back up, and vanished after the backup began",
            );
        } else {
            self.tools.problems.vanished(&path);
        }
        None
    }

    fn xattrs_of_name(
        &self,
        folder: &Folder,
        name: &[u8],
    ) -> Option<Vec<holdfast_format::tree::Xattr>> {
        match xattrs::of_name(&folder.fd, name) {
            Ok(found) => found,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let what = "its extended attributes cannot be read";
                    self.tools
                        .problems
                        .add_error(folder.path_of(name), what, &error);
                }
                None
            }
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Checks that every given path exists, by the way that the walk will take.
fn check(given: &Given) -> Result<()> {
    for path in given.paths() {
        if let Err(error) = look_up(&path) {
            let what =
                Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&path));
            let what = what.display().to_string();
            return Err(match error.kind() {
                io::ErrorKind::NotFound => Error::Missing {
                    what,
                    why: "nothing was backed up; check the path, or leave it out".into(),
                },
                _ => Error::Local {
                    what,
                    why: error.to_string(),
                },
            });
        }
    }
    Ok(())
}

fn look_up(path: &[u8]) -> io::Result<()> {
    let mut names = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .peekable();
    let mut folder = Folder::root(Use::Passage)?;
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            folder.stat_of(name, false)?;
        } else {
            folder = folder.open(name, Use::FollowedPassage)?;
        }
    }
    Ok(())
}
