//! What is left of a local folder when the power fails, at the least that a file system may keep.
//!
//! I9: a crash at any point loses nothing that was acknowledged. And nothing that was only shown: a replicator may have
//! carried it to another site by then.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed, SiteName};
use holdfast_store::{Opened, Put, SiteOptions, SiteReader, open_for_reading, open_for_writing};
use holdfast_tests::{Forgetful, ForgetfulMount};
use tempfile::TempDir;

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn content(text: &str) -> Bytes {
    Bytes::from(text.repeat(50))
}

fn body(text: &str) -> Sealed {
    Sealed::copied(content(text))
}

struct Machine {
    disk: Forgetful,
    /// Unmounts before its folder goes.
    _mount: ForgetfulMount,
    folder: TempDir,
}

impl Machine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (disk, mount) = Forgetful::mount(folder.path());
        Self {
            disk,
            _mount: mount,
            folder,
        }
    }

    fn site(&self) -> String {
        format!("file:{}/site", self.folder.path().display())
    }

    async fn open(&self) -> Opened {
        let name = SiteName::new("power").unwrap();
        open_for_writing(
            &Context::system(),
            name,
            &self.site(),
            &SiteOptions::default(),
        )
        .await
        .unwrap()
    }

    async fn reader(&self) -> Arc<dyn SiteReader> {
        let name = SiteName::new("power").unwrap();
        open_for_reading(
            &Context::system(),
            name,
            &self.site(),
            &SiteOptions::default(),
        )
        .await
        .unwrap()
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("site").join(below)
    }

    /// The object would be there, whole, if the power failed now.
    fn assert_survives(&self, text: &str, when: &str) {
        let found = self.disk.survives(&format!("site/{text}"));
        assert!(found.is_some(), "{text} was {when} and would be gone");
        assert!(
            found.as_deref() == Some(&content(text)[..]),
            "{text} was {when} and would be torn"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_or_shown_survives() {
    const OBJECTS: usize = 60;
    let machine = Arc::new(Machine::start());
    // Two handles know nothing of each other, as two processes: each must not rely on the other's unsynced folders.
    let writers = [machine.open().await, machine.open().await];
    machine.disk.slow(Duration::from_millis(2));
    let made = Arc::new(AtomicUsize::new(0));
    let writing = (0..8).map(|task| {
        let (machine, site, made) = (
            machine.clone(),
            writers[task % 2].site.clone(),
            made.clone(),
        );
        async move {
            for n in 0..OBJECTS / 4 {
                // Two tasks, at different handles, make the same names in the same new folders.
                let text = format!("v/{}/{}/{n}", n / 3, task / 2);
                match site.put_new(&name(&text), body(&text)).await.unwrap() {
                    Put::Created => {
                        made.fetch_add(1, Ordering::SeqCst);
                        machine.assert_survives(&text, "acknowledged");
                    }
                    Put::Exists => machine.assert_survives(&text, "answered for"),
                }
            }
        }
    });
    let reading = (0..4).map(|task| {
        let (machine, site, made) = (
            machine.clone(),
            writers[task % 2].site.clone(),
            made.clone(),
        );
        async move {
            while made.load(Ordering::SeqCst) < OBJECTS {
                let shown = site.list("v/", None).await.unwrap();
                for info in &shown {
                    machine.assert_survives(info.name.as_str(), "listed");
                }
                // What is about to be made, so as to meet it in the moment.
                for n in 0..OBJECTS / 4 {
                    let text = format!("v/{}/{task}/{n}", n / 3);
                    if site.get(&name(&text)).await.unwrap().is_some() {
                        machine.assert_survives(&text, "read");
                    } else if site.head(&name(&text)).await.unwrap().is_some() {
                        machine.assert_survives(&text, "looked at");
                    }
                }
            }
        }
    });
    tokio::join!(join_all(writing), join_all(reading));
    assert_eq!(made.load(Ordering::SeqCst), OBJECTS);
    assert_eq!(
        machine.disk.torn(),
        [""; 0],
        "no name is given before the bytes are kept"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sync_can_fail_and_nothing_that_was_told_is_wrong() {
    let machine = Machine::start();
    let opened = machine.open().await;
    let before = machine.disk.syncs();
    opened
        .site
        .put_new(&name("v/count/1"), body("v/count/1"))
        .await
        .unwrap();
    let syncs = machine.disk.syncs() - before;
    assert!(syncs >= 4, "two folders, the file, its name: {syncs}");
    let mut indeterminate = 0;
    for failing in 0..syncs {
        // A handle of its own, which knows no folder yet, and folders that are new.
        let opened = machine.open().await;
        let text = format!("v{failing}/log/1");
        machine.disk.fail(machine.disk.syncs() + failing);
        match opened.site.put_new(&name(&text), body(&text)).await {
            Ok(_) => machine.assert_survives(&text, "acknowledged"),
            Err(error) if error.is_determinate() => {
                assert_eq!(
                    opened.site.get(&name(&text)).await.unwrap(),
                    None,
                    "{failing}: it did not happen"
                );
            }
            Err(_) => {
                indeterminate += 1;
                machine.disk.fail_all(true);
                assert!(
                    opened.site.get(&name(&text)).await.is_err(),
                    "not shown while it cannot be kept"
                );
                assert!(opened.site.list("", None).await.is_err());
                assert!(
                    opened
                        .site
                        .put_new(&name(&text), body(&text))
                        .await
                        .is_err()
                );
                machine.disk.fail_all(false);
                assert!(opened.site.get(&name(&text)).await.unwrap().is_some());
                machine.assert_survives(&text, "read");
            }
        }
        // Done again, it converges.
        opened
            .site
            .put_new(&name(&text), body(&text))
            .await
            .unwrap();
        machine.assert_survives(&text, "answered for");
    }
    assert_eq!(indeterminate, 1, "only the last sync leaves it open");
    assert_eq!(machine.disk.torn(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_whose_writer_died_before_it_was_durable_is_made_so_before_it_is_shown() {
    let machine = Machine::start();
    let opened = machine.open().await;
    opened
        .site
        .put_new(&name("v/log/1"), body("v/log/1"))
        .await
        .unwrap();
    let half_done = |text: &str| {
        let staged = machine.path(".holdfast-staging").join("a".repeat(32));
        std::fs::write(&staged, content(text)).unwrap();
        std::fs::File::open(&staged).unwrap().sync_all().unwrap();
        std::fs::hard_link(&staged, machine.path(text)).unwrap();
        assert_eq!(machine.disk.survives(&format!("site/{text}")), None);
        staged
    };

    let staged = half_done("v/log/2");
    assert!(
        machine
            .reader()
            .await
            .get(&name("v/log/2"))
            .await
            .unwrap()
            .is_some()
    );
    machine.assert_survives("v/log/2", "read");
    std::fs::remove_file(staged).unwrap();

    let staged = half_done("v/log/3");
    machine.open().await;
    assert!(!staged.exists(), "opening for writing clears up");
    machine.assert_survives("v/log/3", "cleared up after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_stays_deleted() {
    let machine = Machine::start();
    let opened = machine.open().await;
    opened
        .site
        .put_new(&name("v/packs/1"), body("v/packs/1"))
        .await
        .unwrap();
    machine.disk.fail(machine.disk.syncs());
    let error = opened.sweeper.delete(&name("v/packs/1")).await.unwrap_err();
    assert!(!error.is_determinate(), "{error}");
    assert!(
        machine.disk.survives("site/v/packs/1").is_some(),
        "it would come back"
    );
    opened.sweeper.delete(&name("v/packs/1")).await.unwrap();
    assert_eq!(
        machine.disk.survives("site/v/packs/1"),
        None,
        "an absent object's folder is synced too"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_was_opened_for_writing_survives() {
    let machine = Machine::start();
    machine.open().await;
    let marker = machine
        .disk
        .survives("site/.holdfast-site")
        .expect("the marker would be there");
    assert!(String::from_utf8(marker).unwrap().contains("id = "));
}
