//! The folder of a `file:` site, and the proof that it is still the one that was opened.
//!
//! A disk that is not mounted looks like an empty folder, and `rm -rf` followed by `mkdir` like a site that lost
//! everything. So a site's folder holds a marker with a random id. Each operation opens the folder by its path,
//! compares the marker, and works through that one open folder; whatever it then finds absent it reports only after
//! the marker was found in place once more. A folder that fails the comparison is an error, never an empty site, and
//! nothing is written into it.
//!
//! The folder is not kept open between operations, so that an operator can unmount its disk.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holdfast_context::Context;
use holdfast_format::SiteName;
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use super::below::{kind_of, why};
use super::marker::{make_marker, read_marker};
use super::staging;
use crate::error::{Error, Kind, Result};

/// What the names that no object has start with.
pub(super) const RESERVED: &str = ".holdfast-";

/// Where a site is, and what it was when it was opened.
#[derive(Debug)]
pub(super) struct Folder {
    site: SiteName,
    path: PathBuf,
    identity: Identity,
    place: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// The id in its marker. Survives a mount under another device number.
    Marked(String),
    /// A copy of a site without its marker, opened for reading: the folder itself, by device and inode.
    Unmarked(u64, u64),
}

/// A site's folder, open for one operation, which is known to have been the right one.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    folder: &'a Folder,
    fd: OwnedFd,
}

impl Folder {
    /// Opens a folder that holds a site.
    pub(super) fn open(site: SiteName, path: PathBuf) -> Result<Self> {
        let fd = open_folder(&site, &path)?;
        let identity = match read_marker(&site, fd.as_fd())? {
            Some(id) => Identity::Marked(id),
            None if look_inside(&site, fd.as_fd())? == Inside::Vaults => {
                unmarked(&site, fd.as_fd())?
            }
            None => {
                return Err(Error::new(
                    Kind::Retry,
                    format!("opening site {site}"),
                    format!("the folder {} holds no site", path.display()),
                )
                .next(format!(
                    "check that its disk is mounted, and that the URL is right, or, if it was replaced on purpose, have it filled \
                     anew with `holdfast failback --all --site {site}`"
                )));
            }
        };
        let place = place(&site, fd.as_fd(), &identity)?;
        Ok(Self {
            site,
            path,
            identity,
            place,
        })
    }

    /// Opens a folder for writing. One that is absent, while its parent is there, or empty becomes a site.
    pub(super) fn create(site: SiteName, path: PathBuf, chance: &Context) -> Result<Self> {
        make_folder(&site, &path)?;
        let fd = open_folder(&site, &path)?;
        let mut marker = read_marker(&site, fd.as_fd())?;
        let holds_strangers =
            marker.is_none() && look_inside(&site, fd.as_fd())? == Inside::Strangers;
        if holds_strangers {
            // ORDER: read once more after the look. Another process may have made it a site between the two, and what was seen
            // is that one's own: a site has its marker before anything else.
            marker = read_marker(&site, fd.as_fd())?;
        }
        if holds_strangers && marker.is_none() {
            return Err(Error::new(
                Kind::Invalid,
                format!("opening site {site} for writing"),
                format!(
                    "the folder {} holds other things and is no site",
                    path.display()
                ),
            )
            .next("give an empty folder, or a folder that does not exist yet"));
        }
        staging::clear(fd.as_fd()).map_err(|errno| failed(&site, "clearing", &path, errno))?;
        let id = match marker {
            Some(id) => id,
            None => {
                make_marker(&site, &path, fd.as_fd(), chance)?;
                read_marker(&site, fd.as_fd())?.ok_or_else(|| gone(&site, &path))?
            }
        };
        // ORDER: the marker and the folder become durable before the site is handed out. Otherwise objects could be
        // acknowledged in a folder that a crash of the machine takes away.
        rustix::fs::fsync(&fd).map_err(|errno| failed(&site, "syncing", &path, errno))?;
        sync_parent(&path).map_err(|errno| failed(&site, "syncing", &path, errno))?;
        let identity = Identity::Marked(id);
        let place = place(&site, fd.as_fd(), &identity)?;
        Ok(Self {
            site,
            path,
            identity,
            place,
        })
    }

    /// What it was when it was opened, whatever path led there.
    pub(super) fn place(&self) -> String {
        self.place.clone()
    }

    /// Opens the folder for one operation.
    pub(super) fn enter(&self) -> Result<Entered<'_>> {
        let fd = open_folder(&self.site, &self.path)?;
        self.compare(fd.as_fd())?;
        Ok(Entered { folder: self, fd })
    }

    fn compare(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let found = match self.identity {
            Identity::Marked(_) => read_marker(&self.site, fd)?.map(Identity::Marked),
            Identity::Unmarked(..) => Some(unmarked(&self.site, fd)?),
        };
        if found.as_ref() == Some(&self.identity) {
            Ok(())
        } else {
            Err(self.gone())
        }
    }

    pub(super) fn site(&self) -> &SiteName {
        &self.site
    }

    fn gone(&self) -> Error {
        gone(&self.site, &self.path)
    }
}

impl Entered<'_> {
    /// The open folder.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Proves, after something was found absent or was written, that this is still the site: its marker is in place
    /// and its path leads here.
    pub(super) fn verify(&self) -> Result<()> {
        self.folder.compare(self.fd())?;
        let now = rustix::fs::stat(&self.folder.path).map_err(|_| self.folder.gone())?;
        let then = rustix::fs::fstat(&self.fd).map_err(|_| self.folder.gone())?;
        if (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino) {
            Ok(())
        } else {
            Err(self.folder.gone())
        }
    }
}

fn gone(site: &SiteName, path: &Path) -> Error {
    Error::new(
        Kind::Retry,
        format!("using site {site}"),
        format!(
            "the site's folder {} is gone or is not the one that was opened",
            path.display()
        ),
    )
    .next(format!(
        "mount its disk again, or, if it was replaced on purpose, have it filled anew with `holdfast failback --all --site {site}` \
         (the primary: fail over first)"
    ))
}

pub(super) fn failed(site: &SiteName, verb: &str, path: &Path, errno: Errno) -> Error {
    Error::new(
        kind_of(errno),
        format!("{verb} the folder {} of site {site}", path.display()),
        why(errno),
    )
    .because(errno)
}

fn open_folder(site: &SiteName, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::STALE => gone(site, path).because(errno),
        errno => failed(site, "opening", path, errno),
    })
}

/// Makes the site's folder if it is absent. Its parent must be there: where it is missing, a disk is likely not
/// mounted, and a site made in its place would take writes that belong on that disk.
fn make_folder(site: &SiteName, path: &Path) -> Result<()> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => Err(Error::new(
            Kind::Invalid,
            format!("opening site {site} for writing"),
            format!(
                "the folder that {} should lie in does not exist",
                path.display()
            ),
        )
        .next("mount its disk, or create that folder")),
        Err(errno) => Err(failed(site, "creating", path, errno)),
    }
}

fn sync_parent(path: &Path) -> rustix::io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    match rustix::fs::open(
        parent,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(fd) => rustix::fs::fsync(fd),
        // Whoever may not read the parent did not make the folder in it just now.
        Err(Errno::ACCESS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// What a folder without a marker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Nothing that counts.
    Nothing,
    /// Vaults, or what a probe left: a copy of a site, perhaps made by a tool that skips dot files.
    Vaults,
    /// Other things.
    Strangers,
}

fn look_inside(site: &SiteName, fd: BorrowedFd<'_>) -> Result<Inside> {
    let unreadable = |errno| {
        Error::new(
            kind_of(errno),
            format!("reading the folder of site {site}"),
            why(errno),
        )
        .because(errno)
    };
    let mut inside = Inside::Nothing;
    for entry in Dir::read_from(fd).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        match entry.file_name().to_str() {
            // A fresh ext4 file system is born with lost+found.
            Ok("." | ".." | "lost+found" | staging::FOLDER) => {}
            Ok(name) if is_hex_id(name) || name == "holdfast-probe" => inside = Inside::Vaults,
            _ if inside == Inside::Nothing => inside = Inside::Strangers,
            _ => {}
        }
    }
    Ok(inside)
}

/// Whether a name is an id in hexadecimal, as vaults' folders have.
pub(super) fn is_hex_id(name: &str) -> bool {
    name.len() == 32
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn unmarked(site: &SiteName, fd: BorrowedFd<'_>) -> Result<Identity> {
    let (device, inode) = numbers(site, fd)?;
    Ok(Identity::Unmarked(device, inode))
}

/// The folder by its marker and by its device and inode. A copy with the same marker on another disk is another place, and so is a
/// disk that is mounted where another one was.
fn place(site: &SiteName, fd: BorrowedFd<'_>, identity: &Identity) -> Result<String> {
    let (device, inode) = numbers(site, fd)?;
    let marker = match identity {
        Identity::Marked(id) => id,
        Identity::Unmarked(..) => "unmarked",
    };
    Ok(format!("file:{marker}:{device}:{inode}"))
}

fn numbers(site: &SiteName, fd: BorrowedFd<'_>) -> Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd).map_err(|errno| {
        Error::new(
            kind_of(errno),
            format!("reading the folder of site {site}"),
            why(errno),
        )
        .because(errno)
    })?;
    Ok((stat.st_dev, stat.st_ino))
}
