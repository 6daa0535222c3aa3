//! Lists what a snapshot holds (`holdfast ls`).
//!
//! Results come as a stream, so that a listing of any size takes little memory and can be left at any point.

use futures::stream::{self, Stream};
use holdfast_format::tree::{Entry, EntryKind};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::flaw::Flaw;
use super::item::Item;
use super::path::{components, joined, put_bytes};
use super::tree::Tree;
use super::walk::{Event, Walk};
use crate::error::Result;

/// One line of a listing, of a search or of one side of a comparison.
///
/// As JSON: `path` (and `path_bytes`, see `path.rs`), `kind`, `mode`, `uid`, `gid`, `user`, `group`, `mtime` (seconds
/// since 1970 UTC) and `mtime_nanos`, `size`, then where they apply `target` (and `target_bytes`), `device`,
/// `hard_link`, `xattrs` (names).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path, with a leading slash.
    pub path: Vec<u8>,
    /// What was recorded, without content.
    pub entry: Entry,
}

/// What a listing gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// An entry.
    Entry(Box<Listed>),
    /// Something at that path, or in the directory of that path, that cannot be read.
    Damaged {
        /// Its path.
        path: Vec<u8>,
        /// What is wrong.
        flaw: Flaw,
    },
}

impl Listed {
    /// Its last name.
    pub fn name(&self) -> &[u8] {
        &self.entry.name
    }
}

/// The kind as one word: `file`, `directory`, `symlink`, `fifo`, `block_device`, `char_device`, `socket`.
pub fn kind_word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::BlockDevice => "block_device",
        EntryKind::CharDevice => "char_device",
        EntryKind::Socket => "socket",
    }
}

/// Kind and permissions as `ls -l` writes them: `drwxr-sr-x`.
pub fn mode_text(entry: &Entry) -> String {
    let kind = match entry.kind {
        EntryKind::File => '-',
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::Fifo => 'p',
        EntryKind::BlockDevice => 'b',
        EntryKind::CharDevice => 'c',
        EntryKind::Socket => 's',
    };
    let mode = entry.mode;
    let mut text = String::from(kind);
    let triples = [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')];
    for (shift, special_bit, special) in triples {
        text.push(if mode >> shift & 4 != 0 { 'r' } else { '-' });
        text.push(if mode >> shift & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special_bit != 0, mode >> shift & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => special,
            (true, false) => special.to_ascii_uppercase(),
        });
    }
    text
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let entry = &self.entry;
        let mut map = to.serialize_map(None)?;
        put_bytes(&mut map, "path", "path_bytes", &self.path)?;
        map.serialize_entry("kind", kind_word(entry.kind))?;
        map.serialize_entry("mode", &entry.mode)?;
        map.serialize_entry("uid", &entry.uid)?;
        map.serialize_entry("gid", &entry.gid)?;
        map.serialize_entry("user", &entry.user)?;
        map.serialize_entry("group", &entry.group)?;
        map.serialize_entry("mtime", &entry.mtime_seconds)?;
        map.serialize_entry("mtime_nanos", &entry.mtime_nanos)?;
        map.serialize_entry("size", &entry.size)?;
        if let Some(target) = &entry.target {
            put_bytes(&mut map, "target", "target_bytes", target)?;
        }
        if let Some(device) = &entry.device {
            map.serialize_entry("device", device)?;
        }
        if let Some(number) = &entry.hard_link {
            map.serialize_entry("hard_link", number)?;
        }
        if let Some(xattrs) = &entry.xattrs {
            let names = xattrs.iter().map(|xattr| super::path::shown(&xattr.name));
            map.serialize_entry("xattrs", &names.collect::<Vec<_>>())?;
        }
        map.end()
    }
}

impl Serialize for Listing {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Entry(listed) => listed.serialize(to),
            Self::Damaged { path, flaw } => {
                let mut map = to.serialize_map(None)?;
                put_bytes(&mut map, "path", "path_bytes", path)?;
                map.serialize_entry("damaged", &flaw.what)?;
                map.end()
            }
        }
    }
}

/// Lists a path: of a directory what is in it, with `recursive` all that is below it; of anything else itself.
///
/// A path that is not there is [`crate::Error::Missing`]. Dropping the stream ends the work.
pub async fn list(
    tree: &Tree,
    path: &[u8],
    recursive: bool,
) -> Result<impl Stream<Item = Result<Listing>> + Send + use<>> {
    let parts = components(path)?;
    let found = tree.find(path).await?;
    let (first, walk) = match found {
        Some(item) if !item.is_directory() => {
            let path = joined(parts.iter().map(Vec::as_slice));
            (Some(Listing::entry(path, &item)), None)
        }
        found => {
            let directory = match &found {
                Some(item) => item.directory,
                None => Some(tree.top()),
            };
            let mut path = joined(parts.iter().map(Vec::as_slice));
            if parts.is_empty() {
                path.clear();
            }
            (None, Some(Walk::below(tree, directory, path)))
        }
    };
    Ok(stream::try_unfold(
        (first, walk),
        move |(first, walk)| async move {
            if let Some(first) = first {
                return Ok(Some((first, (None, walk))));
            }
            let Some(mut walk) = walk else {
                return Ok(None);
            };
            let next = next_listing(&mut walk, recursive).await?;
            Ok(next.map(|listing| (listing, (None, Some(walk)))))
        },
    ))
}

impl Listing {
    pub(super) fn entry(path: Vec<u8>, item: &Item) -> Self {
        Self::Entry(Box::new(Listed {
            path,
            entry: item.entry.clone(),
        }))
    }
}

/// The next entry or damage that a walk comes across.
pub(super) async fn next_listing(walk: &mut Walk, recursive: bool) -> Result<Option<Listing>> {
    loop {
        let Some(event) = walk.next().await? else {
            return Ok(None);
        };
        let path = walk.path().to_vec();
        match event {
            Event::Enter(item) => {
                if !recursive {
                    walk.skip();
                }
                return Ok(Some(Listing::entry(path, &item)));
            }
            Event::Entry(item) => return Ok(Some(Listing::entry(path, &item))),
            Event::Flaw(flaw) => return Ok(Some(Listing::Damaged { path, flaw })),
            Event::Leave { .. } => {}
        }
    }
}
