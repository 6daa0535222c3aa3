//! The marker that makes a folder a site: a file with a random id.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::Path;

use holdfast_context::Context;
use holdfast_format::SiteName;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::below::{kind_of, why};
use super::folder::{failed, is_hex_id};
use super::staging::Staging;
use crate::error::{Error, Kind, Result};

/// The file that makes a folder a site.
const MARKER: &str = ".holdfast-site";

const MARKER_SAYS: &str = "This folder is a holdfast site. Do not change or delete this file: without it, holdfast\n\
                           takes the folder for an empty mountpoint and neither reads nor writes here.\n";

/// The id in the marker, if there is a marker.
pub(super) fn read_marker(site: &SiteName, fd: BorrowedFd<'_>) -> Result<Option<String>> {
    let failed = |errno| {
        Error::new(
            kind_of(errno),
            format!("reading the marker of site {site}"),
            why(errno),
        )
        .because(errno)
    };
    let file = match rustix::fs::openat(fd, MARKER, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let text = std::io::read_to_string(File::from(file))
        .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let id = text.lines().find_map(|line| line.strip_prefix("id = "));
    match id {
        Some(id) if is_hex_id(id) => Ok(Some(id.into())),
        _ => Err(Error::new(
            Kind::Corrupt,
            format!("reading the marker of site {site}"),
            format!("{MARKER} holds no id"),
        )
        .next("if this is the right folder, remove that file and restart holdfast")),
    }
}

/// Makes the marker; if another process was faster, its marker stands.
pub(super) fn make_marker(
    site: &SiteName,
    path: &Path,
    fd: BorrowedFd<'_>,
    chance: &Context,
) -> Result<()> {
    let failed = |errno| failed(site, "marking", path, errno);
    let io = |error: std::io::Error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let mut staging = Staging::create(fd, chance).map_err(failed)?;
    let id: String = chance
        .random::<16>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // ORDER: synced before it is linked, or a crash could leave a marker without an id.
    staging
        .file()
        .write_all(format!("{MARKER_SAYS}id = {id}\n").as_bytes())
        .map_err(io)?;
    staging.file().sync_all().map_err(io)?;
    match staging.link(fd, MARKER) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}
