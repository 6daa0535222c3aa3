//! The end: everything that was acknowledged is there, at each site alone, whole; and nothing unexpected is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::compare::assert_as_described;
use holdfast_tests::tree::restored;
use serde_json::Value;

use super::Struck;
use super::work::{Work, id_of};

impl Struck<'_> {
    /// Requires all of it.
    pub(crate) fn all_is_there(&mut self) {
        // A last backup and collection that nobody disturbs, so that every site has all.
        for work in [Work::Protect, Work::Collect] {
            let task = self.task(work);
            assert!(self.is_done(&task), "nothing disturbs it any more");
        }
        let listed = self.listed();
        self.ledger.assert_listed(&listed);
        self.ledger.assert_gone(&listed);
        println!(
            "{} acknowledged, {} listed",
            self.ledger.len(),
            listed.len()
        );
        for (site, _) in self.sites.clone() {
            self.restore_all(&listed, site);
            let words = ["verify", "--vault", "db", "--read-data", "--site", site];
            let verified = self.user.json(0, &words);
            assert_eq!(verified["complete"], true, "{verified}");
            let checked = verified["snapshots"].as_array().unwrap().len();
            assert_eq!(checked, listed.len(), "{verified}");
        }
        self.coordinator.stop();
        for (site, path) in self.sites.clone() {
            self.rescue_all(&listed, site, &path);
        }
        self.nothing_is_left();
    }

    fn restore_all(&self, listed: &[Value], site: &str) {
        let target = format!("restored-{site}");
        for snapshot in listed {
            let id = id_of(snapshot);
            let words = ["restore", "--vault", "db", &id, "--target", &target];
            let more = ["--site", site, "--delta", "--delete-extra"];
            self.user.done(&[&words[..], &more].concat());
            self.assert_restored(snapshot, &target);
        }
    }

    fn rescue_all(&self, listed: &[Value], site: &str, path: &str) {
        let target = format!("rescued-{site}");
        let url = format!("file:{path}");
        let shown = self.user.json(0, &["rescue", "ls", "--site", &url]);
        // It shows what is in the trash as well, for as long as nothing of it was given up.
        let shown: BTreeSet<_> = shown.as_array().unwrap().iter().map(id_of).collect();
        for snapshot in listed {
            let id = id_of(snapshot);
            assert!(shown.contains(&id), "{site} alone lacks {id}: {shown:?}");
            let words = ["rescue", "restore", "--site", &url, &id];
            let more = ["--target", &target, "--delta", "--delete-extra"];
            self.user.done(&[&words[..], &more].concat());
            self.assert_restored(snapshot, &target);
        }
    }

    fn assert_restored(&self, snapshot: &Value, target: &str) {
        let path = self.ground.at("tree");
        let got = restored(&self.ground.at(target), &path);
        assert_as_described(self.ledger.tree(snapshot), &got);
    }

    /// No half-written file at a site, nothing but what belongs there in the data folder. Objects that only one site has
    /// are packs and keys of sessions that died and checkpoints that no record came to name, until the
    /// next one is made, and records that the other site was about to get: I3, one history is the beginning of the other.
    fn nothing_is_left(&self) {
        let [one, other] = [0, 1].map(|site| {
            let top = Path::new(&self.sites[site].1);
            let staged = fs::read_dir(top.join(".holdfast-staging")).unwrap();
            assert_eq!(staged.count(), 0, "{top:?}");
            objects(top).into_iter().collect::<BTreeSet<_>>()
        });
        // Their names sort as the log does.
        let last_of_both = one
            .intersection(&other)
            .filter(|path| kind(path) == "log")
            .last();
        let leaked: Vec<&PathBuf> = one.symmetric_difference(&other).collect();
        for path in &leaked {
            let is_tail = kind(path) == "log" && Some(*path) > last_of_both;
            assert!(
                is_tail || ["packs", "keys", "segments", "checkpoints"].contains(&kind(path)),
                "{path:?} is at one site only"
            );
        }
        println!(
            "{} objects at both sites, {} at one only",
            one.intersection(&other).count(),
            leaked.len()
        );
        let mut data: Vec<String> = fs::read_dir(self.coordinator.data())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        data.retain(|name| {
            ![
                "coordinator.key",
                "holdfast.sock",
                "placement.redb",
                "vaults",
            ]
            .contains(&name.as_str())
        });
        assert_eq!(data, [""; 0], "in the data folder");
    }
}

/// What an object is, by the folder of its vault that it lies in.
pub(super) fn kind(object: &Path) -> &str {
    let folder = object.iter().nth(1).and_then(|name| name.to_str());
    folder.unwrap_or_default()
}

/// All objects at a site: their paths below it.
pub(super) fn objects(site: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![site.to_owned()];
    while let Some(folder) = folders.pop() {
        // One that collection takes away meanwhile holds nothing.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(".holdfast-") {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => found.push(entry.path().strip_prefix(site).unwrap().to_owned()),
                Err(_) => {}
            }
        }
    }
    found
}
