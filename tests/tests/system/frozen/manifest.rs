//! What a frozen vault holds, as the file system had it; and checks of what readers give against it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The manifest beside a frozen vault.
pub(crate) struct Manifest {
    pub(crate) gone: Vec<String>,
    pub(crate) trashed: Vec<String>,
    pub(crate) hold: String,
    pub(crate) members: Vec<String>,
    pub(crate) snapshots: Vec<Snapshot>,
    /// Where the tree was, without the leading slash.
    root: PathBuf,
}

/// One snapshot: of a tree its entries by path below the root, of a stream its one file.
pub(crate) struct Snapshot {
    pub(crate) value: Value,
    pub(crate) entries: BTreeMap<Vec<u8>, Value>,
}

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().unwrap().iter();
    all.map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn relative(value: &Value) -> PathBuf {
    let path = bytes(value);
    let path = path.strip_prefix(b"/").unwrap_or(&path).to_vec();
    OsString::from_vec(path).into()
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

impl Manifest {
    pub(crate) fn read(path: &Path) -> Self {
        let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut snapshots: Vec<Snapshot> = Vec::new();
        for one in value["snapshots"].as_array().unwrap() {
            let mut entries = match one["like"].as_str() {
                Some(id) => snapshots
                    .iter()
                    .find(|s| s.id() == id)
                    .unwrap()
                    .entries
                    .clone(),
                None => BTreeMap::new(),
            };
            for path in one["without"].as_array().into_iter().flatten() {
                entries.remove(&bytes(path)).unwrap();
            }
            for entry in one["entries"].as_array().into_iter().flatten() {
                entries.insert(bytes(&entry["path"]), entry.clone());
            }
            let value = one.clone();
            snapshots.push(Snapshot { value, entries });
        }
        Self {
            gone: texts(&value["gone"]),
            trashed: texts(&value["trashed"]),
            hold: value["hold"].as_str().unwrap().into(),
            members: texts(&value["members"]),
            root: relative(&value["root"]),
            snapshots,
        }
    }

    pub(crate) fn snapshot(&self, id: &str) -> &Snapshot {
        self.snapshots.iter().find(|one| one.id() == id).unwrap()
    }
}

impl Snapshot {
    pub(crate) fn id(&self) -> &str {
        self.value["id"].as_str().unwrap()
    }

    fn is_tree(&self) -> bool {
        self.value.get("file").is_none()
    }

    fn files_of_tree(&self) -> impl Iterator<Item = (&Vec<u8>, &Value)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry["kind"] == "file")
    }

    /// How many regular files it has, by name.
    pub(crate) fn files(&self) -> u64 {
        match self.is_tree() {
            true => self.files_of_tree().count() as u64,
            false => 1,
        }
    }

    /// Sum of its files' sizes.
    pub(crate) fn bytes(&self) -> u64 {
        match self.is_tree() {
            true => {
                let sizes = self.files_of_tree();
                sizes
                    .map(|(_, entry)| entry["size"].as_u64().unwrap())
                    .sum()
            }
            false => self.value["size"].as_u64().unwrap(),
        }
    }

    /// Requires that a folder holds it, attribute by attribute.
    pub(crate) fn check_restored(&self, manifest: &Manifest, target: &Path) {
        self.check_contents(manifest, target);
        if !self.is_tree() {
            return;
        }
        let base = target.join(&manifest.root);
        let mut found = BTreeSet::new();
        walk(&base, &base, &mut found);
        let wanted: BTreeSet<Vec<u8>> = self.entries.keys().cloned().collect();
        assert_eq!(found, wanted);
        let mut links: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for (path, entry) in &self.entries {
            let path = base.join(OsString::from_vec(path.clone()));
            let info = std::fs::symlink_metadata(&path).unwrap();
            let shown = path.display();
            let kind = match info.mode() & 0o170_000 {
                0o100_000 => "file",
                0o040_000 => "directory",
                0o120_000 => "symlink",
                0o010_000 => "fifo",
                0o020_000 => "char_device",
                _ => "something else",
            };
            assert_eq!(entry["kind"], kind, "{shown}");
            let is_link = kind == "symlink";
            assert!(is_link || entry["mode"] == info.mode() & 0o7777, "{shown}");
            assert_eq!(entry["mtime"][0], info.mtime(), "{shown}");
            assert_eq!(entry["mtime"][1], info.mtime_nsec(), "{shown}");
            let owner = entry.get("owner").map_or((0, 0), |owner| {
                (owner[0].as_u64().unwrap(), owner[1].as_u64().unwrap())
            });
            assert_eq!(
                (u64::from(info.uid()), u64::from(info.gid())),
                owner,
                "{shown}"
            );
            if is_link {
                let target = std::fs::read_link(&path).unwrap();
                assert_eq!(
                    target.as_os_str().as_bytes(),
                    bytes(&entry["target"]),
                    "{shown}"
                );
            }
            if let Some(number) = entry.get("linked").and_then(Value::as_u64) {
                links.entry(number).or_default().insert(info.ino());
            }
            if kind == "file" && info.size() > 500_000 {
                assert!(info.blocks() * 512 < info.size(), "{shown} is not sparse");
            }
            if kind == "file" || kind == "directory" {
                assert_eq!(xattrs(&path), wanted_xattrs(entry), "{shown}");
            }
        }
        assert!(links.values().all(|inodes| inodes.len() == 1), "{links:?}");
    }

    /// Requires that a folder holds its regular files with the right content.
    pub(crate) fn check_contents(&self, manifest: &Manifest, target: &Path) {
        if !self.is_tree() {
            let content = std::fs::read(target.join(relative(&self.value["file"]))).unwrap();
            assert_eq!(content.len() as u64, self.value["size"].as_u64().unwrap());
            assert_eq!(self.value["sha256"], sha256(&content));
            return;
        }
        for (path, entry) in self.files_of_tree() {
            let path = target
                .join(&manifest.root)
                .join(OsString::from_vec(path.clone()));
            let content = std::fs::read(&path).unwrap();
            assert_eq!(entry["sha256"], sha256(&content), "{}", path.display());
        }
    }

    /// Requires that the Python reader's list of entries is the manifest's.
    pub(crate) fn check_listed(&self, manifest: &Manifest, listed: &Value) {
        let listed = listed.as_array().unwrap();
        if !self.is_tree() {
            let file = listed.last().unwrap();
            assert_eq!(file["path"], self.value["file"]);
            assert_eq!(file["sha256"], self.value["sha256"]);
            return;
        }
        let mut found = BTreeMap::new();
        for one in listed {
            let path = relative(&one["path"]);
            let Ok(below) = path.strip_prefix(&manifest.root) else {
                continue;
            };
            if !below.as_os_str().is_empty() {
                found.insert(below.as_os_str().as_bytes().to_vec(), one.clone());
            }
        }
        assert!(found.keys().eq(self.entries.keys()));
        let mut links: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for (path, wanted) in &self.entries {
            let one = &found[path];
            for same in ["kind", "mode", "mtime", "sha256", "target", "xattrs"] {
                let has = |value: &Value| value.get(same).cloned();
                assert_eq!(has(one), has(wanted), "{same} of {}", one["path"]);
            }
            let owner = wanted.get("owner").cloned();
            let owner = owner.unwrap_or_else(|| serde_json::json!([0, 0]));
            assert_eq!(serde_json::json!([one["uid"], one["gid"]]), owner);
            if let Some(number) = wanted.get("linked").and_then(Value::as_u64) {
                let own = one["hard_link"].as_u64().unwrap();
                links.entry(number).or_default().insert(own);
            }
        }
        assert!(
            links.values().all(|numbers| numbers.len() == 1),
            "{links:?}"
        );
    }
}

fn walk(base: &Path, folder: &Path, found: &mut BTreeSet<Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let below = path.strip_prefix(base).unwrap();
        found.insert(below.as_os_str().as_bytes().to_vec());
        if entry.file_type().unwrap().is_dir() {
            walk(base, &path, found);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let names = xattr::list(path).unwrap();
    names
        .map(|name| {
            let value = xattr::get(path, &name).unwrap().unwrap();
            (name.as_bytes().to_vec(), value)
        })
        .collect()
}

fn wanted_xattrs(entry: &Value) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let none = Map::new();
    let all = entry
        .get("xattrs")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let name = |name: &String| HEXLOWER.decode(name.as_bytes()).unwrap();
    all.iter()
        .map(|(n, value)| (name(n), bytes(value)))
        .collect()
}
