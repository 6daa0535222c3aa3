//! What is particular to the embedded store: its file, its lock, damage, restarts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_context::Context;
use holdfast_format::{Epoch, SiteName, VaultId, VaultName};
use holdfast_placement::{
    CoordinatorInfo, EmbeddedPlacement, Error, ErrorKind, Placement, SiteEntry, VaultEntry, open,
};

const VAULT: VaultId = VaultId([1; 16]);
const FILE: &str = "placement.redb";

async fn opened(folder: &Path) -> Arc<dyn Placement> {
    open(Context::system(), "embedded:", folder).await.unwrap()
}

async fn refused(folder: &Path) -> Error {
    EmbeddedPlacement::open(Context::system(), folder)
        .await
        .unwrap_err()
}

fn coordinator() -> CoordinatorInfo {
    CoordinatorInfo {
        name: "c1".into(),
        addresses: vec!["127.0.0.1:7420".into()],
        public_key: [0; 32],
        level: 1,
        started_millis: 0,
        gone: Vec::new(),
    }
}

fn entry() -> VaultEntry {
    let sites = vec![SiteName::new("onsite").unwrap()];
    VaultEntry {
        vault: VAULT,
        name: VaultName::new("orders").unwrap(),
        sites,
        header: None,
    }
}

/// A file with some of everything, closed.
async fn filled(folder: &Path) {
    let placement = opened(folder).await;
    placement.put_vault(&entry()).await.unwrap();
    for site in 0..20 {
        let name = SiteName::new(format!("site{site}")).unwrap();
        placement
            .put_site(&SiteEntry {
                name,
                url: "/srv/x".repeat(20),
            })
            .await
            .unwrap();
    }
    assert_eq!(
        placement.issue_epoch(VAULT, Epoch(41)).await.unwrap(),
        Epoch(42)
    );
}

#[tokio::test]
async fn a_restart_keeps_everything_but_leases() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let placement = opened(folder.path()).await;
    let lease = placement
        .register(&coordinator(), Duration::from_secs(600))
        .await
        .unwrap();
    placement.acquire(VAULT, &lease, Epoch(43)).await.unwrap();
    drop(placement);
    let placement = opened(folder.path()).await;
    assert!(!placement.keep_alive(&lease).await.unwrap());
    assert_eq!(placement.coordinators().await.unwrap(), []);
    assert_eq!(placement.owner(VAULT).await.unwrap(), None);
    assert_eq!(placement.vaults().await.unwrap(), [entry()]);
    assert_eq!(placement.sites().await.unwrap().len(), 20);
    assert_eq!(
        placement.issue_epoch(VAULT, Epoch(0)).await.unwrap(),
        Epoch(43)
    );
}

#[tokio::test]
async fn what_a_first_start_left_unfinished_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let unfinished = format!("placement.new-{}", std::process::id());
    fs::write(folder.path().join(unfinished), b"half a file").unwrap();
    drop(opened(folder.path()).await);
    let there = fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = there.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [FILE], "only the file itself");
    drop(opened(folder.path()).await);
}

#[tokio::test]
async fn a_second_opener_is_told_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let placement = opened(folder.path()).await;
    let error = refused(folder.path()).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    let file = folder.path().join(FILE);
    let want = format!(
        "placement file {} is in use: another coordinator runs on this data folder",
        file.display()
    );
    assert_eq!(error.to_string(), want);
    drop(placement);
    opened(folder.path()).await;
}

#[tokio::test]
async fn a_lost_file_costs_no_epoch() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    fs::remove_file(folder.path().join(FILE)).unwrap();
    let placement = opened(folder.path()).await;
    assert_eq!(placement.vaults().await.unwrap(), []);
    // What the log has shown is the floor.
    assert_eq!(
        placement.issue_epoch(VAULT, Epoch(42)).await.unwrap(),
        Epoch(43)
    );
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_may_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), vec![0x5a; 9000]).unwrap();
    let error = refused(folder.path()).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(text.contains(FILE) && text.contains("delete it"), "{text}");
}

#[tokio::test]
async fn damage_is_found_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let good = fs::read(folder.path().join(FILE)).unwrap();
    let check = async |bytes: &[u8], what: String| {
        let damaged = tempfile::tempdir().unwrap();
        fs::write(damaged.path().join(FILE), bytes).unwrap();
        match EmbeddedPlacement::open(Context::system(), damaged.path()).await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}"),
            Ok(placement) => {
                // It lay in unused space, or in the older of two commits' headers.
                let epoch = placement.issue_epoch(VAULT, Epoch(42)).await.unwrap();
                assert!(epoch > Epoch(42), "{what}: {epoch}");
                assert_eq!(placement.vaults().await.unwrap(), [entry()], "{what}");
                assert_eq!(placement.sites().await.unwrap().len(), 20, "{what}");
            }
        }
    };
    check(&good, "undamaged".into()).await;
    // Much of the header, then some of each page.
    for at in (0..320)
        .step_by(3)
        .chain((320..good.len().min(100_000)).step_by(997))
    {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        check(&bytes, format!("byte {at} of {}", good.len())).await;
    }
    for length in [1, 9, 64, 4095, 4096, good.len() / 2, good.len() - 1] {
        check(&good[..length], format!("cut to {length}")).await;
    }
}

#[tokio::test]
async fn a_newer_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let table: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("placement");
    let database = redb::Database::open(folder.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(table)
        .unwrap()
        .insert("version", &[1u8, 0xa1, 0, 2][..])
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = refused(folder.path()).await;
    assert_eq!(error.kind(), ErrorKind::TooNew);
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let error = refused(&folder.path().join("absent")).await;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn a_watch_ends_with_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let placement = opened(folder.path()).await;
    let mut watch = placement.watch().await.unwrap();
    drop(placement);
    assert_eq!(watch.next().await, None);
}
