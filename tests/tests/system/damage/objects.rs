//! Which object of a vault is meant by a kind, and how it is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_format::pack::footer_len;
use holdfast_format::{ChunkKind, Footer};

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
    LastRecord,
    Checkpoint,
    Segment,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Missing,
    CutShort,
    Flipped,
    Swapped,
}

impl Damage {
    pub(crate) const ALL: [Self; 4] = [Self::Missing, Self::CutShort, Self::Flipped, Self::Swapped];
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

fn footer(pack: &[u8]) -> (Footer, usize) {
    let trailer = pack.len() - 16;
    let at = trailer - footer_len(&pack[trailer..]).unwrap() as usize;
    (Footer::decode(&pack[at..trailer]).unwrap(), at)
}

fn packs(vault: &Path, kind: ChunkKind) -> Vec<PathBuf> {
    let mut all = below(&vault.join("packs"));
    all.retain(|path| footer(&fs::read(path).unwrap()).0.kind == kind);
    all
}

/// The objects of a kind: the one to be damaged, and one to be swapped with.
///
/// `vault` is the vault's folder at a site, `other` another vault's there.
pub(crate) fn find(vault: &Path, other: &Path, kind: Kind) -> (PathBuf, PathBuf) {
    let pair = |all: Vec<PathBuf>, at: usize, with: usize| {
        assert!(
            all.len() > at.max(with),
            "{kind:?}: only {all:?} are in {}",
            vault.display()
        );
        (all[at].clone(), all[with].clone())
    };
    let records = || below(&vault.join("log"));
    let first = |kind| (packs(vault, kind)[0].clone(), packs(other, kind)[0].clone());
    // How many records the newest checkpoint covers.
    let covered = || {
        let newest = sorted(&vault.join("checkpoints"))
            .pop()
            .expect("there is a checkpoint");
        let position = newest
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .replace('-', "/");
        let last = vault.join("log").join(position);
        records().iter().position(|path| *path == last).unwrap() + 1
    };
    match kind {
        Kind::Header => (vault.join("vault"), other.join("vault")),
        Kind::VaultKey => {
            let name = "keys/vault/0000000001";
            (vault.join(name), other.join(name))
        }
        Kind::SessionKey => {
            // The key of the pack that a data pack's damage hits, so that the same files depend on it.
            let key = |vault: &Path| {
                let (pack, _) = footer(&fs::read(&packs(vault, ChunkKind::Data)[0]).unwrap());
                vault.join(format!("keys/{}/0000000001", pack.keys[0]))
            };
            (key(vault), key(other))
        }
        Kind::DataBody | Kind::DataFooter => first(ChunkKind::Data),
        Kind::NodePack => first(ChunkKind::Node),
        Kind::CoveredRecord => {
            let middle = covered() / 2;
            pair(records(), middle, middle + 1)
        }
        Kind::MiddleRecord => {
            let middle = (covered() + 1 + records().len()) / 2;
            pair(records(), middle, middle + 1)
        }
        Kind::LastRecord => {
            let count = records().len();
            pair(records(), count - 1, count - 2)
        }
        Kind::Checkpoint => {
            let all = sorted(&vault.join("checkpoints"));
            assert!(
                !all.is_empty(),
                "there is no checkpoint in {}",
                vault.display()
            );
            let others = sorted(&other.join("checkpoints"));
            let with = all.iter().rev().nth(1).or(others.last());
            (
                all[all.len() - 1].clone(),
                with.expect("there are two checkpoints").clone(),
            )
        }
        Kind::Segment => {
            let all = sorted(&vault.join("segments"));
            pair(all, 0, 1)
        }
    }
}

/// Damages an object.
pub(crate) fn damage(object: &Path, with: &Path, kind: Kind, damage: Damage) {
    let mut bytes = fs::read(object).unwrap();
    match damage {
        Damage::Missing => return fs::remove_file(object).unwrap(),
        Damage::CutShort => match kind {
            Kind::DataFooter => bytes.truncate(bytes.len() - 20),
            _ => bytes.truncate(bytes.len() / 2),
        },
        Damage::Flipped => {
            let at = match kind {
                Kind::DataBody => 40,
                Kind::DataFooter => footer(&bytes).1 + 70,
                _ => bytes.len() / 2,
            };
            bytes[at] ^= 0x10;
        }
        Damage::Swapped => {
            let others = fs::read(with).unwrap();
            fs::write(with, &bytes).unwrap();
            bytes = others;
        }
    }
    fs::write(object, bytes).unwrap();
}
