//! What only a local folder can go through: disks that vanish, folders that are replaced, disks that are full,
//! writers that died.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed, SiteName};
use holdfast_store::{
    Error, Kind, Opened, Put, SiteOptions, SiteReader, open_for_reading, open_for_writing,
};
use rustix::fs::FlockOperation;
use tempfile::TempDir;

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn site() -> SiteName {
    SiteName::new("onsite").unwrap()
}

fn body(bytes: usize) -> Sealed {
    Sealed::copied(Bytes::from(vec![7; bytes]))
}

async fn write(path: &Path) -> Result<Opened, Error> {
    let url = format!("file:{}", path.display());
    open_for_writing(&Context::system(), site(), &url, &SiteOptions::default()).await
}

async fn read(path: &Path) -> Result<std::sync::Arc<dyn SiteReader>, Error> {
    let url = format!("file:{}", path.display());
    open_for_reading(&Context::system(), site(), &url, &SiteOptions::default()).await
}

/// A site with one object, in a folder of its own.
async fn with_one_object() -> (TempDir, PathBuf, Opened) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("onsite");
    let opened = write(&path).await.unwrap();
    assert_eq!(
        opened
            .site
            .put_new(&name("v/log/1"), body(10))
            .await
            .unwrap(),
        Put::Created
    );
    (folder, path, opened)
}

/// Every operation fails with advice, and none says that something is absent.
async fn assert_gone(opened: &Opened) {
    let (site, sweeper) = (&opened.site, &opened.sweeper);
    let errors = [
        site.get(&name("v/log/1")).await.map(|_| ()),
        site.get(&name("v/log/2")).await.map(|_| ()),
        site.get_range(&name("v/log/2"), 0..1).await.map(|_| ()),
        site.head(&name("v/log/2")).await.map(|_| ()),
        site.list("v/", None).await.map(|_| ()),
        site.list_folders("").await.map(|_| ()),
        site.put_new(&name("v/log/2"), body(1)).await.map(|_| ()),
        site.put_pack(&name("v/packs/2"), body(1)).await.map(|_| ()),
        sweeper.delete(&name("v/log/2")).await,
        site.space().map(|_| ()),
    ];
    for (index, error) in errors.into_iter().enumerate() {
        let error = error.expect_err(&format!("operation {index} fails"));
        assert_eq!(error.kind(), Kind::Retry, "{index}: {error}");
        assert!(error.is_determinate(), "{index}: {error}");
        assert!(
            error.to_string().contains("not the one that was opened"),
            "{index}: {error}"
        );
    }
}

#[tokio::test]
async fn a_folder_that_vanished_is_an_error_and_is_not_made_again() {
    let (_folder, path, opened) = with_one_object().await;
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    assert_gone(&opened).await;
    assert!(!path.exists(), "nothing made the folder anew");
    std::fs::rename(&away, &path).unwrap();
    assert!(
        opened.site.get(&name("v/log/1")).await.unwrap().is_some(),
        "it is back without reopening"
    );
    assert_eq!(
        opened
            .site
            .put_new(&name("v/log/2"), body(1))
            .await
            .unwrap(),
        Put::Created
    );
}

#[tokio::test]
async fn a_folder_that_was_replaced_is_an_error_until_it_is_opened_anew() {
    let (_folder, path, opened) = with_one_object().await;
    let reader = read(&path).await.unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_gone(&opened).await;
    assert!(
        reader.list("", None).await.is_err(),
        "a reader is not fooled either"
    );
    assert_eq!(
        std::fs::read_dir(&path).unwrap().count(),
        0,
        "nothing was written into the stranger"
    );

    let anew = write(&path).await.unwrap();
    assert_eq!(
        anew.site.list("", None).await.unwrap(),
        [],
        "an operator may start an empty site there"
    );
    assert_gone(&opened).await;
}

#[tokio::test]
async fn a_disk_can_be_unmounted_and_what_lies_below_is_not_the_site() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(&folder.path().join("disk"), "size=16m");
    let opened = write(disk.path()).await.unwrap();
    opened
        .site
        .put_new(&name("v/log/1"), body(10))
        .await
        .unwrap();
    let at = disk.path().to_path_buf();
    drop(disk);
    assert_gone(&opened).await;
    assert_eq!(
        std::fs::read_dir(&at).unwrap().count(),
        0,
        "nothing was written into the mountpoint"
    );
    let other = Tmpfs::mount(&at, "size=16m");
    assert_gone(&opened).await;
    let fresh = write(other.path()).await.unwrap();
    assert_eq!(fresh.site.list("", None).await.unwrap(), []);
}

#[tokio::test]
async fn readers_never_write_and_need_a_site() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("onsite");
    assert_eq!(read(&path).await.unwrap_err().kind(), Kind::Retry);
    assert!(!path.exists());
    std::fs::create_dir(&path).unwrap();
    let error = read(&path).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Retry);
    assert!(error.to_string().contains("holds no site"), "{error}");
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
}

#[tokio::test]
async fn a_copy_that_lost_its_dot_files_is_a_site() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    let vault = "0123456789abcdef0123456789abcdef";
    std::fs::create_dir_all(path.join(vault)).unwrap();
    std::fs::write(path.join(vault).join("vault"), "header").unwrap();
    let reader = read(&path).await.unwrap();
    assert_eq!(reader.list_folders("").await.unwrap(), [vault]);
    assert!(
        !path.join(".holdfast-site").exists(),
        "a reader makes no marker"
    );
    let opened = write(&path).await.unwrap();
    assert!(path.join(".holdfast-site").exists(), "a writer does");
    assert_eq!(opened.site.list("", None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn folders_that_cannot_be_meant_are_refused_for_writing() {
    let folder = tempfile::tempdir().unwrap();
    let error = write(&folder.path().join("not-mounted/onsite"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("mount its disk"), "{error}");
    assert!(!folder.path().join("not-mounted").exists());

    let full = folder.path().join("documents");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("letter.txt"), "dear").unwrap();
    let error = write(&full).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("is no site"), "{error}");
    assert_eq!(
        std::fs::read_dir(&full).unwrap().count(),
        1,
        "nothing was written there"
    );
}

#[tokio::test]
async fn debris_of_the_dead_is_cleared_and_the_work_of_the_living_is_not() {
    let (_folder, path, first) = with_one_object().await;
    let staging = path.join(".holdfast-staging");
    let (dead, alive) = (staging.join("0".repeat(32)), staging.join("1".repeat(32)));
    std::fs::write(&dead, "half an object").unwrap();
    std::fs::write(&alive, "half an object").unwrap();
    std::fs::write(staging.join("README"), "not ours").unwrap();
    let lock = std::fs::File::open(&alive).unwrap();
    rustix::fs::flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive).unwrap();
    // An object whose writer died before it took the staging name away.
    let pair = staging.join("2".repeat(32));
    std::fs::hard_link(path.join("v/log/1"), &pair).unwrap();
    assert_eq!(
        first.site.list("", None).await.unwrap().len(),
        1,
        "none of it is listed"
    );

    let second = write(&path).await.unwrap();
    assert!(!dead.exists() && !pair.exists());
    assert!(alive.exists() && staging.join("README").exists());
    assert_eq!(
        second
            .site
            .get(&name("v/log/1"))
            .await
            .unwrap()
            .unwrap()
            .len(),
        10
    );
    drop(lock);
    write(&path).await.unwrap();
    assert!(!alive.exists(), "it is cleared once its writer is gone");
}

#[tokio::test]
async fn many_who_open_a_fresh_folder_agree_on_one_site() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("onsite");
    let opened = futures::future::join_all((0..8).map(|_| write(&path))).await;
    let opened: Vec<Opened> = opened.into_iter().collect::<Result<_, _>>().unwrap();
    for (index, writer) in opened.iter().enumerate() {
        let object = name(&format!("v/log/{index}"));
        assert_eq!(
            writer.site.put_new(&object, body(1)).await.unwrap(),
            Put::Created
        );
    }
    for writer in &opened {
        assert_eq!(writer.site.list("v/", None).await.unwrap().len(), 8);
    }
}

#[tokio::test]
async fn the_sites_own_names_cannot_be_reached() {
    let (_folder, path, opened) = with_one_object().await;
    let marker = name(".holdfast-site");
    assert_eq!(
        opened.sweeper.delete(&marker).await.unwrap_err().kind(),
        Kind::Bug
    );
    assert_eq!(
        opened.site.get(&marker).await.unwrap_err().kind(),
        Kind::Bug
    );
    let staging = name(".holdfast-staging/x");
    assert_eq!(
        opened
            .site
            .put_new(&staging, body(1))
            .await
            .unwrap_err()
            .kind(),
        Kind::Bug
    );
    assert!(path.join(".holdfast-site").exists());
}

/// A memory file system, unmounted when it is dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, options: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "holdfast-test"])
            .arg(at);
        assert!(
            mount.status().is_ok_and(|status| status.success()),
            "this test mounts a tmpfs: run it as root, or under `unshare --map-root-user --mount`"
        );
        Self(at.to_path_buf())
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "no open site keeps its disk busy"
        );
    }
}

fn staged(path: &Path) -> usize {
    std::fs::read_dir(path.join(".holdfast-staging"))
        .unwrap()
        .count()
}

#[tokio::test]
async fn a_full_disk_refuses_packs_first_and_can_be_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(&folder.path().join("disk"), "size=16m");
    let opened = write(disk.path()).await.unwrap();
    let space = opened.site.space().unwrap().unwrap();
    assert_eq!(
        (space.total_bytes, space.reserve_bytes),
        (16 << 20, (16 << 20) / 50)
    );

    let mut packs = 0;
    let refused = loop {
        match opened
            .site
            .put_pack(&name(&format!("v/packs/{packs}")), body(1 << 20))
            .await
        {
            Ok(put) => assert_eq!(put, Put::Created),
            Err(error) => break error,
        }
        packs += 1;
    };
    assert_eq!(packs, 15, "the sixteenth would leave less than the reserve");
    assert_eq!(refused.kind(), Kind::Full);
    assert!(refused.is_determinate(), "{refused}");

    let mut records = 0;
    let full = loop {
        match opened
            .site
            .put_new(&name(&format!("v/log/{records}")), body(100 << 10))
            .await
        {
            Ok(put) => assert_eq!(put, Put::Created),
            Err(error) => break error,
        }
        records += 1;
    };
    assert!(records >= 5, "the log may use the reserve: {records}");
    assert_eq!(full.kind(), Kind::Full);
    assert!(full.is_determinate(), "{full}");
    assert_eq!(staged(disk.path()), 0, "what did not fit was taken away");
    let listed = opened.site.list("v/log/", None).await.unwrap();
    assert_eq!(listed.len(), records, "nothing is visible of it");
    assert!(listed.iter().all(|info| info.size == 100 << 10));

    opened.sweeper.delete(&name("v/packs/0")).await.unwrap();
    let again = opened
        .site
        .put_new(&name(&format!("v/log/{records}")), body(100 << 10))
        .await;
    assert_eq!(
        again.unwrap(),
        Put::Created,
        "a full site can be emptied and goes on"
    );
}

#[tokio::test]
async fn packs_at_the_same_time_do_not_share_the_same_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(&folder.path().join("disk"), "size=64m");
    let opened = write(disk.path()).await.unwrap();
    let packs = (0..16).map(|n| {
        let site = opened.site.clone();
        async move {
            site.put_pack(&name(&format!("v/packs/{n}")), body(8 << 20))
                .await
        }
    });
    let done = futures::future::join_all(packs).await;
    let created = done.iter().filter(|put| put.is_ok()).count();
    for error in done.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), Kind::Full);
        assert!(
            error.to_string().contains("kept for the log"),
            "refused, not run out: {error}"
        );
    }
    let space = opened.site.space().unwrap().unwrap();
    assert!(
        space.free_bytes >= space.reserve_bytes,
        "{created} created: {space:?}"
    );
}

#[tokio::test]
async fn a_disk_without_inodes_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(&folder.path().join("disk"), "size=16m,nr_inodes=64");
    let opened = write(disk.path()).await.unwrap();
    let error = loop {
        let n = opened.site.list("v/", None).await.unwrap().len();
        if let Err(error) = opened
            .site
            .put_new(&name(&format!("v/keys/{n}/1")), body(1))
            .await
        {
            break error;
        }
    };
    assert_eq!(error.kind(), Kind::Full);
    assert!(error.is_determinate(), "{error}");
}

#[tokio::test]
async fn a_read_only_disk_can_be_read_and_refuses_writers() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(&folder.path().join("disk"), "size=16m");
    let opened = write(disk.path()).await.unwrap();
    opened
        .site
        .put_new(&name("v/log/1"), body(10))
        .await
        .unwrap();
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.path())
        .status();
    assert!(remounted.is_ok_and(|status| status.success()));
    let error = opened
        .site
        .put_new(&name("v/log/2"), body(10))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(
        error.is_determinate() && error.to_string().contains("read-only"),
        "{error}"
    );
    assert_eq!(write(disk.path()).await.unwrap_err().kind(), Kind::Denied);
    let reader = read(disk.path()).await.unwrap();
    assert_eq!(
        reader.get(&name("v/log/1")).await.unwrap().unwrap().len(),
        10
    );
}

#[tokio::test]
async fn a_folder_that_somebody_removed_is_made_again() {
    let (_folder, path, opened) = with_one_object().await;
    opened.sweeper.delete(&name("v/log/1")).await.unwrap();
    std::fs::remove_dir(path.join("v/log")).unwrap();
    assert_eq!(
        opened
            .site
            .put_new(&name("v/log/2"), body(10))
            .await
            .unwrap(),
        Put::Created
    );
}
