//! What nodes say: a snapshot's root, directories, lists of extents.
//!
//! All of it is plaintext inside sealed frames. A node names other chunks by their place in its list of references,
//! which stands in clear beside it, so an id is never written twice.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::codec::{self, Body};
use crate::error::Result;

/// A file whose content has at most this many bytes is kept inside its directory entry.
pub const INLINE_BYTES_MAX: usize = 96;

/// A file with more pieces than this has them in an extents node instead of its directory entry.
pub const PIECES_PER_ENTRY_MAX: usize = 16;

/// The most pieces or children that one extents node lists.
pub const PIECES_PER_NODE_MAX: usize = 4096;

/// One node's plaintext.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Node {
    /// What it is. Exactly one of the fields is present.
    #[n(0)]
    pub root: Option<Root>,
    /// A page of a directory.
    #[n(1)]
    pub directory: Option<DirectoryPage>,
    /// An index over pages of a large directory.
    #[n(2)]
    pub directory_index: Option<DirectoryIndex>,
    /// A list of extents of one file.
    #[n(3)]
    pub extents: Option<ExtentsPage>,
    /// An index over extents pages of one large file.
    #[n(4)]
    pub extents_index: Option<ExtentsIndex>,
}

impl Body for Node {
    const KEYS: u64 = 5;
    const WHAT: &'static str = "a node";
}

impl Node {
    /// Encodes the plaintext.
    pub fn encode(&self) -> Bytes {
        codec::encode(self).into()
    }

    /// Decodes a plaintext.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode(bytes)
    }

    const EMPTY: Self = Self {
        root: None,
        directory: None,
        directory_index: None,
        extents: None,
        extents_index: None,
    };

    /// A snapshot's root.
    pub fn root(root: Root) -> Self {
        Self {
            root: Some(root),
            ..Self::EMPTY
        }
    }

    /// A page of a directory.
    pub fn directory(page: DirectoryPage) -> Self {
        Self {
            directory: Some(page),
            ..Self::EMPTY
        }
    }

    /// An index over a directory's pages.
    pub fn directory_index(index: DirectoryIndex) -> Self {
        Self {
            directory_index: Some(index),
            ..Self::EMPTY
        }
    }

    /// A list of extents.
    pub fn extents(page: ExtentsPage) -> Self {
        Self {
            extents: Some(page),
            ..Self::EMPTY
        }
    }

    /// An index over lists of extents.
    pub fn extents_index(index: ExtentsIndex) -> Self {
        Self {
            extents_index: Some(index),
            ..Self::EMPTY
        }
    }
}

/// The top of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Root {
    /// Reference to the top directory (a [`DirectoryPage`] or [`DirectoryIndex`] node). Its entries are the first
    /// components of the paths as they were backed up: `/srv/db` is `srv` → `db`.
    #[n(0)]
    pub top: u32,
    /// What kind of source it was.
    #[n(1)]
    pub kind: SourceKind,
    /// The machine's host name.
    #[n(2)]
    pub host: String,
    /// What was asked for: absolute paths, the stdin file name, or the command's words.
    #[n(3)]
    #[cbor(with = "byte_strings")]
    pub arguments: Vec<Vec<u8>>,
    /// The agent's clock when reading began and ended, milliseconds since 1970 UTC. Information only.
    #[n(4)]
    pub started_millis: i64,
    /// See `started_millis`.
    #[n(5)]
    pub finished_millis: i64,
    /// Paths that could not be read, with the reason; at most some thousands, the count is in the record.
    #[n(6)]
    pub problems: Vec<Problem>,
    /// The release that wrote it.
    #[n(7)]
    pub written_by: String,
}

/// What a snapshot was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SourceKind {
    /// File trees.
    #[n(0)]
    Files,
    /// Standard input: one file.
    #[n(1)]
    Stdin,
    /// A command's standard output: one file.
    #[n(2)]
    Command,
}

/// A path that could not be backed up as it should have been.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Problem {
    /// The path.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// What happened.
    #[n(1)]
    pub what: String,
}

/// A run of a directory's entries, sorted by name bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DirectoryPage {
    /// The entries.
    #[n(0)]
    pub entries: Vec<Entry>,
}

/// The pages of a large directory, in order, perhaps several levels deep.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DirectoryIndex {
    /// For each reference of this node, the name of its first entry.
    #[n(0)]
    #[cbor(with = "byte_strings")]
    pub first_names: Vec<Vec<u8>>,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// The name's bytes; never empty, never `.` or `..`, without `/` and NUL.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// What it is, with what only that kind has.
    #[n(1)]
    pub kind: EntryKind,
    /// Permission bits, set-id and sticky bits included (`st_mode & 0o7777`).
    #[n(2)]
    pub mode: u32,
    /// Owner.
    #[n(3)]
    pub uid: u32,
    /// Group.
    #[n(4)]
    pub gid: u32,
    /// Owner's name on the machine that was backed up, where it had one.
    #[n(5)]
    pub user: Option<String>,
    /// Group's name there.
    #[n(6)]
    pub group: Option<String>,
    /// Modification time: seconds since 1970 UTC.
    #[n(7)]
    pub mtime_seconds: i64,
    /// Modification time: nanoseconds within the second.
    #[n(8)]
    pub mtime_nanos: u32,
    /// Size in bytes; of a file its content's, else 0.
    #[n(9)]
    pub size: u64,
    /// Extended attributes, ACLs among them (`system.posix_acl_access` …), sorted by name.
    #[n(10)]
    pub xattrs: Option<Vec<Xattr>>,
    /// Entries with the same number are names of one file (hard links). Each carries the whole content.
    #[n(11)]
    pub hard_link: Option<u64>,
    /// Of a file: its content.
    #[n(12)]
    pub content: Option<Content>,
    /// Of a directory: reference to its page or index. Absent when it is empty or was not read.
    #[n(13)]
    pub directory: Option<u32>,
    /// Of a symlink: its target's bytes.
    #[n(14)]
    #[cbor(with = "minicbor::bytes")]
    pub target: Option<Vec<u8>>,
    /// Of a device: its number, `makedev(major, minor)` as Linux gives it.
    #[n(15)]
    pub device: Option<u64>,
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum EntryKind {
    /// A regular file.
    #[n(0)]
    File,
    /// A directory.
    #[n(1)]
    Directory,
    /// A symbolic link.
    #[n(2)]
    Symlink,
    /// A fifo.
    #[n(3)]
    Fifo,
    /// A block device.
    #[n(4)]
    BlockDevice,
    /// A character device.
    #[n(5)]
    CharDevice,
    /// A socket; restored as nothing, listed as what it was.
    #[n(6)]
    Socket,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Xattr {
    /// Its name's bytes.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its value.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// A file's content. Exactly one field is present; all absent means empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Content {
    /// The bytes themselves, for tiny files.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub inline: Option<Vec<u8>>,
    /// Pieces that together are the content, in order, without gap.
    #[n(1)]
    pub pieces: Option<Vec<Piece>>,
    /// Reference to a node with the pieces: an [`ExtentsPage`] or [`ExtentsIndex`].
    #[n(2)]
    pub extents: Option<u32>,
}

/// A stretch of a file: part of a chunk, or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Piece {
    /// Reference to the chunk; absent for a hole, which reads as zeros and takes no space.
    #[n(0)]
    pub chunk: Option<u32>,
    /// Offset within the chunk, bytes.
    #[n(1)]
    pub offset: u64,
    /// Length, bytes; never 0.
    #[n(2)]
    pub len: u64,
}

/// A run of a file's pieces.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ExtentsPage {
    /// The pieces, in order.
    #[n(0)]
    pub pieces: Vec<Piece>,
}

/// The extents pages of a large file, in order, perhaps several levels deep.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ExtentsIndex {
    /// For each reference of this node, how many bytes of the file it covers.
    #[n(0)]
    pub lens: Vec<u64>,
}

mod byte_strings {
    //! A vector of byte strings as a CBOR array of byte strings.

    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub(super) fn encode<C, W: Write>(
        value: &[Vec<u8>],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(value.len() as u64)?;
        for one in value {
            e.bytes(one)?;
        }
        Ok(())
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<Vec<u8>>, DecodeError> {
        d.array_iter::<minicbor::bytes::ByteVec>()?
            .map(|one| one.map(Into::into))
            .collect()
    }
}
