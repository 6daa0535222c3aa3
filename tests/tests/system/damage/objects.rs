//! Which object of a vault is meant by a kind, and how it is damaged.
//!
//! What an *old version* is depends on the kind, since nearly everything in a vault is written once. It is always the
//! nastiest bytes that could be there by an operator's mistake (an old backup of the site copied over it): they read,
//! and belong to the same vault.
//!
//! | kind | its old version |
//! |---|---|
//! | header | a vault has only ever one: the header of another vault |
//! | the vault's key | the generation before it, under the newest one's name |
//! | a session's key | the key of another session of the same vault and scope |
//! | a data pack's body | the frames of an earlier pack where its own were, its footer untouched |
//! | a data pack's footer | the footer of an earlier pack, its frames untouched |
//! | a pack of nodes | an earlier pack of nodes, whole |
//! | any record | the record before it, whole and rightly signed |
//! | a checkpoint | the checkpoint before it, under the newest one's name |
//! | a segment | the same kind of segment of the checkpoint before |

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_format::checkpoint::Manifest;
use holdfast_format::pack::footer_len;
use holdfast_format::{ChunkKind, Footer, Hash, ObjectName, VaultId};

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Header,
    VaultKey,
    SessionKey,
    DataBody,
    DataFooter,
    NodePack,
    /// A record that a checkpoint covers: only who folds from the first one reads it.
    CoveredRecord,
    /// A record behind the newest checkpoint.
    MiddleRecord,
    /// The record that closes the epoch before the last.
    Seal,
    /// The record that opens the last epoch.
    Claim,
    LastRecord,
    Checkpoint,
    Segment,
}

impl Kind {
    pub(crate) const ALL: [Self; 13] = [
        Self::Header,
        Self::VaultKey,
        Self::SessionKey,
        Self::DataBody,
        Self::DataFooter,
        Self::NodePack,
        Self::CoveredRecord,
        Self::MiddleRecord,
        Self::Seal,
        Self::Claim,
        Self::LastRecord,
        Self::Checkpoint,
        Self::Segment,
    ];
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Missing,
    CutShort,
    Flipped,
    /// As long as it was, and every byte 0.
    Zeroed,
    Swapped,
    /// An old version stands in its place: see the module.
    Old,
}

impl Damage {
    pub(crate) const ALL: [Self; 6] = [
        Self::Missing,
        Self::CutShort,
        Self::Flipped,
        Self::Zeroed,
        Self::Swapped,
        Self::Old,
    ];
}

/// Which of several objects of a kind, where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// One that both members have, and that the latest snapshot needs.
    Shared,
    /// One that a member lacks that has not seen the last backup, if there is such.
    Lacking,
    /// One that such a member has.
    Earlier,
}

impl Which {
    pub(crate) const ALL: [Self; 3] = [Self::Shared, Self::Lacking, Self::Earlier];
}

/// The objects of a kind at a site.
#[derive(Debug)]
pub(crate) struct Found {
    /// The one to be damaged.
    pub(crate) object: PathBuf,
    /// One to be swapped with.
    with: PathBuf,
    /// One whose bytes are its old version.
    old: PathBuf,
}

impl Found {
    /// Their names below a site.
    pub(crate) fn below(&self, site: &Path) -> Self {
        let below = |path: &Path| path.strip_prefix(site).unwrap().to_owned();
        Self {
            object: below(&self.object),
            with: below(&self.with),
            old: below(&self.old),
        }
    }
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Files two folders down, in the order of their names.
fn below(folder: &Path) -> Vec<PathBuf> {
    let folders = sorted(folder);
    folders.iter().flat_map(|folder| sorted(folder)).collect()
}

/// A pack's footer, and where it begins.
pub(crate) fn footer(pack: &[u8]) -> (Footer, usize) {
    let trailer = pack.len() - 16;
    let at = trailer - footer_len(&pack[trailer..]).unwrap() as usize;
    (Footer::decode(&pack[at..trailer]).unwrap(), at)
}

fn packs(vault: &Path, kind: ChunkKind) -> Vec<PathBuf> {
    let mut all = below(&vault.join("packs"));
    all.retain(|path| footer(&fs::read(path).unwrap()).0.kind == kind);
    all
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// A vault at a site, before anything there is damaged.
struct Vault<'a> {
    folder: &'a Path,
    /// Another vault's folder there.
    other: &'a Path,
}

impl Vault<'_> {
    fn records(&self) -> Vec<PathBuf> {
        below(&self.folder.join("log"))
    }

    fn checkpoints(&self) -> Vec<PathBuf> {
        let all = sorted(&self.folder.join("checkpoints"));
        assert!(all.len() > 1, "there are two checkpoints: {all:?}");
        all
    }

    /// How many records the newest checkpoint covers.
    fn covered(&self) -> usize {
        let newest = self.checkpoints().pop().unwrap();
        let last = self
            .folder
            .join("log")
            .join(name(&newest).replace('-', "/"));
        let mut records = self.records().into_iter();
        records.position(|path| path == last).unwrap() + 1
    }

    /// A record, the one behind it (or, of the last, before it) and the one before it.
    fn record(&self, at: usize) -> Found {
        let all = self.records();
        let with = if at + 1 < all.len() { at + 1 } else { at - 1 };
        Found {
            object: all[at].clone(),
            with: all[with].clone(),
            old: all[at - 1].clone(),
        }
    }

    /// The first record of the last epoch.
    fn claim(&self) -> usize {
        let epoch = sorted(&self.folder.join("log")).pop().unwrap();
        let mut records = self.records().into_iter();
        records.position(|path| path.starts_with(&epoch)).unwrap()
    }

    /// A pack of a kind: the first, or the last one, which only a member that is level has.
    fn pack(&self, kind: ChunkKind, last: bool) -> Found {
        let all = packs(self.folder, kind);
        assert!(all.len() > 1, "there are two packs of {kind:?}: {all:?}");
        let (at, old) = if last {
            (all.len() - 1, all.len() - 2)
        } else {
            (0, 1)
        };
        Found {
            object: all[at].clone(),
            with: packs(self.other, kind)[0].clone(),
            old: all[old].clone(),
        }
    }

    /// The key of a data pack: what depends on the pack depends on it.
    fn key_of(&self, pack: &Path) -> PathBuf {
        let (footer, _) = footer(&fs::read(pack).unwrap());
        let vault = pack.parent().unwrap().parent().unwrap().parent().unwrap();
        let generations = sorted(&vault.join(format!("keys/{}", footer.keys[0])));
        generations.last().expect("a pack's key stands").clone()
    }

    /// A segment that only the newest checkpoint names, another of it, and one of the same kind of the one before.
    fn segment(&self) -> Found {
        let id: VaultId = name(self.folder).parse().unwrap();
        let manifests: Vec<Manifest> = (self.checkpoints().iter())
            .map(|path| {
                let object = fs::read(path).unwrap();
                let prefix = ObjectName::vault_prefix(id);
                let text = format!("{prefix}checkpoints/{}", name(path));
                let covers = ObjectName::parse(&text).unwrap().as_checkpoint(id);
                Manifest::open(id, covers.unwrap(), Hash::of(&object), &object).unwrap()
            })
            .collect();
        let [.., older, newest] = manifests.as_slice() else {
            panic!("there are two checkpoints");
        };
        let path = |hash: Hash| self.folder.join(format!("segments/{hash}"));
        let is_old = |hash: Hash| older.segments.iter().any(|segment| segment.hash == hash);
        let mut new = newest.segments.iter().filter(|one| !is_old(one.hash));
        let one = new.next().expect("a checkpoint has segments of its own");
        let old = older.segments.iter().find(|old| old.kind == one.kind);
        let another = newest.segments.iter().find(|other| other.hash != one.hash);
        Found {
            object: path(one.hash),
            with: path(another.expect("a checkpoint has several segments").hash),
            old: path(old.expect("every checkpoint has all kinds").hash),
        }
    }
}

/// The objects of a kind at a site. `vault` is the vault's folder there, `other` another vault's.
pub(crate) fn find(vault: &Path, other: &Path, kind: Kind, which: Which) -> Found {
    let last = which == Which::Lacking;
    let here = Vault {
        folder: vault,
        other,
    };
    match kind {
        Kind::Header => Found {
            object: vault.join("vault"),
            with: other.join("vault"),
            old: other.join("vault"),
        },
        Kind::VaultKey => Found {
            object: vault.join("keys/vault/0000000002"),
            with: other.join("keys/vault/0000000001"),
            old: vault.join("keys/vault/0000000001"),
        },
        Kind::SessionKey => {
            let pack = here.pack(ChunkKind::Data, last);
            Found {
                object: here.key_of(&pack.object),
                with: here.key_of(&pack.with),
                old: here.key_of(&pack.old),
            }
        }
        Kind::DataBody | Kind::DataFooter => here.pack(ChunkKind::Data, last),
        Kind::NodePack => here.pack(ChunkKind::Node, last),
        Kind::CoveredRecord => here.record(here.covered() / 2),
        Kind::MiddleRecord if last => here.record(here.claim() + 1),
        Kind::MiddleRecord => here.record((here.covered() + here.claim()) / 2),
        Kind::Seal => here.record(here.claim() - 1),
        Kind::Claim => here.record(here.claim()),
        Kind::LastRecord if which == Which::Earlier => here.record(here.claim() - 2),
        Kind::LastRecord => here.record(here.records().len() - 1),
        Kind::Checkpoint => {
            let all = here.checkpoints();
            Found {
                object: all[all.len() - 1].clone(),
                with: all[all.len() - 2].clone(),
                old: all[all.len() - 2].clone(),
            }
        }
        Kind::Segment => here.segment(),
    }
}

/// What lies under each name that a damage touches, once it is done; `None`: nothing. The object itself comes first.
/// `original` gives what lies under a name before.
pub(crate) fn damage<'a>(
    found: &Found,
    kind: Kind,
    damage: Damage,
    original: impl Fn(&Path) -> &'a [u8],
) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut bytes = original(&found.object).to_vec();
    // A data pack is damaged in one of its two parts.
    let part = match kind {
        Kind::DataBody => 0..footer(&bytes).1,
        Kind::DataFooter => footer(&bytes).1..bytes.len(),
        _ => 0..bytes.len(),
    };
    match damage {
        Damage::Missing => return vec![(found.object.clone(), None)],
        Damage::CutShort => match kind {
            Kind::DataFooter => bytes.truncate(bytes.len() - 20),
            _ => bytes.truncate(bytes.len() / 2),
        },
        Damage::Flipped => {
            let at = match kind {
                Kind::DataBody => 40,
                Kind::DataFooter => part.start + 70,
                _ => bytes.len() / 2,
            };
            bytes[at] ^= 0x10;
        }
        Damage::Zeroed => bytes[part].fill(0),
        Damage::Swapped => {
            let others = original(&found.with).to_vec();
            return vec![
                (found.object.clone(), Some(others)),
                (found.with.clone(), Some(bytes)),
            ];
        }
        Damage::Old => {
            let old = original(&found.old);
            match kind {
                Kind::DataBody => {
                    let frames = old[..footer(old).1].iter().cycle();
                    let taken: Vec<u8> = frames.take(part.len()).copied().collect();
                    bytes[part].copy_from_slice(&taken);
                }
                Kind::DataFooter => {
                    bytes.truncate(part.start);
                    bytes.extend_from_slice(&old[footer(old).1..]);
                }
                _ => bytes = old.to_vec(),
            }
        }
    }
    vec![(found.object.clone(), Some(bytes))]
}
