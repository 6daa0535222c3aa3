//! The frozen vault in `tests/vaults/v1`: every release has to read it, with the built binary and with the library; and
//! so has the reader in Python that was written from `docs/FORMAT.md` alone. All are held against the manifest that was
//! written beside the vault from the file system it was made of.

mod examples;
mod manifest;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use holdfast_agent::direct::DirectVault;
use holdfast_agent::restore::{ChunksRead, RestoreProgress, VerifyDepth, verify};
use holdfast_context::Context;
use holdfast_format::{Bundle, Identity, SiteName, Slot};
use holdfast_store::{SiteOptions, open_for_reading};
use holdfast_vault::LogReader;
use holdfast_vault::log::reader::list_vaults;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use manifest::{Manifest, Snapshot};

/// What `cargo xtask test` tells: without it the test fails.
fn told(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `cargo xtask test`, or set it to the built program")
    })
}

fn at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vaults/v1")
        .join(name)
}

fn site_url() -> String {
    format!("file:{}", at("site").display())
}

/// Runs a program without anything of this machine's settings, and requires that it ends well.
fn run(program: &str, words: &[&str]) -> Output {
    let output = Command::new(program)
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}\n{told}");
    output
}

fn json(program: &str, words: &[&str]) -> Value {
    let output = run(program, words);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Requires that a list of snapshots, as JSON, is the manifest's; those in the trash are told by `trash` where the
/// list has such a member.
fn check_list(manifest: &Manifest, listed: &Value) {
    let listed = listed.as_array().unwrap();
    let ids: Vec<&str> = listed
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    let wanted: Vec<&str> = manifest.snapshots.iter().map(|one| one.id()).collect();
    assert_eq!(ids, wanted);
    for (one, wanted) in listed.iter().zip(&manifest.snapshots) {
        assert_eq!(one["source"], wanted.value["source"]);
        assert_eq!(one["tags"], wanted.value["tags"]);
        if let Some(trash) = one.get("trash").and_then(Value::as_bool) {
            assert_eq!(trash, manifest.trashed.contains(&wanted.id().to_owned()));
        }
    }
}

#[test]
fn the_built_binary_lists_and_restores_it() {
    let binary = told("HOLDFAST_TEST_BINARY");
    let manifest = Manifest::read(&at("manifest.json"));
    for identity in ["identity.txt", "kit.txt"] {
        let identity = at(identity).display().to_string();
        let words = [
            "rescue",
            "ls",
            "--site",
            &site_url(),
            "--identity",
            &identity,
            "--json",
        ];
        check_list(&manifest, &json(&binary, &words));
    }
    let identity = at("identity.txt").display().to_string();
    for snapshot in &manifest.snapshots {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let words = [
            "rescue",
            "restore",
            "--site",
            &site_url(),
            "--identity",
            &identity,
            "--target",
            target.to_str().unwrap(),
            snapshot.id(),
            "--json",
        ];
        assert_eq!(json(&binary, &words)["complete"], true);
        snapshot.check_restored(&manifest, &target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_reads_it() {
    let manifest = Manifest::read(&at("manifest.json"));
    let context = Context::system();
    let name: SiteName = "site".parse().unwrap();
    let site = open_for_reading(&context, name, &site_url(), &SiteOptions::default())
        .await
        .unwrap();
    let vaults = list_vaults(site.as_ref()).await.unwrap();
    let [(id, Ok(header))] = vaults.as_slice() else {
        panic!("{vaults:?}")
    };
    assert_eq!(header.name.as_str(), "frozen");
    let none = || unreachable!("no passphrase is asked for");
    let identity = Identity::read(&std::fs::read(at("identity.txt")).unwrap(), none).unwrap();
    assert_eq!(identity.vault, Some(*id));
    let bundle = Bundle::read(&std::fs::read(at("bundle.txt")).unwrap()).unwrap();
    assert_eq!((bundle.vault, bundle.root), (*id, header.root));

    let mut log = LogReader::new(site.clone(), *id);
    let epochs = log.epochs().await.unwrap();
    let mut claims = 0;
    for (n, epoch) in epochs.iter().enumerate() {
        let slots = log.slots(*epoch, Slot(0)).await.unwrap();
        let first = log.read(slots[0]).await.unwrap().unwrap();
        let last = log.read(*slots.last().unwrap()).await.unwrap().unwrap();
        claims += usize::from(first.claim().is_some());
        assert_eq!(last.seal().is_some(), n + 1 < epochs.len());
    }
    assert!(claims >= 2, "{epochs:?}");

    let vault = DirectVault::open(context.clone(), site, *id, identity)
        .await
        .unwrap();
    let catalog = &vault.state().catalog;
    let members: Vec<String> = catalog.members.keys().map(ToString::to_string).collect();
    assert_eq!(members, manifest.members);
    let holds: Vec<String> = catalog.holds.keys().map(ToString::to_string).collect();
    assert_eq!(holds, std::slice::from_ref(&manifest.hold));
    assert!(catalog.policy.contains("Europe/Helsinki"));
    for gone in &manifest.gone {
        assert!(!catalog.snapshots.contains_key(&gone.parse().unwrap()));
    }
    for (id, snapshot) in &catalog.snapshots {
        let wanted = manifest.snapshot(&id.to_string());
        let depth = VerifyDepth::Data {
            share: 1.0,
            seed: 1,
        };
        let result = verify(
            &context,
            vault.source(&snapshot.scope),
            snapshot.root_id,
            depth,
            &mut ChunksRead::default(),
            CancellationToken::new(),
            Arc::new(RestoreProgress::default()),
        )
        .await
        .unwrap();
        assert!(result.complete(), "{result:?}");
        assert_eq!(snapshot.files, wanted.files());
        assert_eq!(result.bytes, wanted.bytes());
    }
}

#[test]
fn the_python_reader_reads_it() {
    let python = told("HOLDFAST_TEST_PYTHON");
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/reader.py");
    let manifest = Manifest::read(&at("manifest.json"));
    let ask = |command: &str, more: &[&str]| {
        let url = site_url();
        let identity = at("identity.txt").display().to_string();
        let words = [
            reader.to_str().unwrap(),
            command,
            "--site",
            &url,
            "--identity",
            &identity,
        ];
        json(&python, &[&words[..], more].concat())
    };
    let all = ask("ls", &[]);
    check_list(&manifest, &all["snapshots"]);
    let epochs = all["epochs"].as_array().unwrap();
    assert!(epochs.len() >= 2 && epochs[0] == 1, "{epochs:?}");
    assert_eq!(all["holds"], 1);
    let members = all["members"].as_object().unwrap();
    assert!(
        manifest
            .members
            .iter()
            .all(|name| members.contains_key(name))
    );
    assert_eq!(members.len(), manifest.members.len());
    let counts = ask("check", &[]);
    assert!(counts["frames"].as_u64() > Some(4), "{counts}");
    assert!(counts["checkpoints"].as_u64() >= Some(1), "{counts}");
    for snapshot in &manifest.snapshots {
        snapshot.check_listed(&manifest, &ask("tree", &[snapshot.id()]));
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        ask(
            "extract",
            &[snapshot.id(), "--target", target.to_str().unwrap()],
        );
        snapshot.check_contents(&manifest, &target);
    }
}

#[test]
fn it_holds_what_a_frozen_vault_should() {
    let manifest = Manifest::read(&at("manifest.json"));
    assert!(!manifest.gone.is_empty() && !manifest.trashed.is_empty());
    let all: Vec<&Snapshot> = manifest.snapshots.iter().collect();
    let kinds: std::collections::BTreeSet<&str> = (all.iter())
        .flat_map(|one| one.entries.values())
        .map(|entry| entry["kind"].as_str().unwrap())
        .collect();
    let wanted = ["char_device", "directory", "fifo", "file", "symlink"];
    assert_eq!(Vec::from_iter(kinds), wanted);
}
