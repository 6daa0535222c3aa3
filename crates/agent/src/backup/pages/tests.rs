//! Page sources as a backup meets them: what is stored anew, and that every snapshot is what the file was.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_format::ChunkKind;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use crate::backup::limits::REGION_BYTES;
use crate::backup::testing::{MapSink, cache, noise, options, run};
use crate::backup::{BackupResult, FilesOptions};

const PAGE: usize = 8 << 10;

struct Place {
    folder: tempfile::TempDir,
    sink: Arc<MapSink>,
    page_bytes: Option<usize>,
}

impl Place {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir(folder.path().join("tree")).unwrap();
        let place = Self {
            folder,
            sink: MapSink::new(),
            page_bytes: Some(PAGE),
        };
        fs::write(place.file(), content).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("tree/file")
    }

    fn maps(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("cache.pages")) else {
            return Vec::new();
        };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Backs up; what the snapshot has must be what the file has. Gives the bytes of data that are new to the vault.
    async fn backup(&self) -> (BackupResult, usize) {
        self.sink.new_session();
        let options = FilesOptions {
            cache: Some(cache(&self.folder.path().join("cache"))),
            page_bytes: self.page_bytes,
            ..options([self.folder.path().join("tree")])
        };
        let result = run(options, &self.sink).await.unwrap();
        assert_eq!(result.problems, Vec::new());
        let found = &self.sink.tree(&result.root)[&self.file()];
        assert!(found.bytes() == fs::read(self.file()).unwrap());
        let fresh = self.sink.fresh.lock().unwrap();
        let data = fresh.iter().filter(|chunk| chunk.kind == ChunkKind::Data);
        let bytes = data.map(|chunk| chunk.bytes.len()).sum();
        drop(fresh);
        (result, bytes)
    }

    async fn commit(&self) -> usize {
        let (result, bytes) = self.backup().await;
        result.cache.finish(true);
        bytes
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let file = File::options().write(true).open(self.file()).unwrap();
        file.write_all_at(bytes, at as u64).unwrap();
    }
}

#[tokio::test]
async fn a_backup_stores_the_pages_that_changed_and_no_more() {
    let len = 40 * REGION_BYTES + 5000;
    let place = Place::new(&noise(1, len));
    assert_eq!(place.commit().await, len);
    for n in 0..50 {
        place.write((n * 101 % 5000) * PAGE + 17, &[n as u8; 100]);
    }
    assert_eq!(place.commit().await, 50 * PAGE);
    assert_eq!(place.maps().len(), 1);
    // What lies in gathered chunks now is told apart as well.
    place.write(101 * PAGE, b"again");
    assert_eq!(place.commit().await, PAGE);
    place.write(len - 1, b"!");
    assert_eq!(place.commit().await, 5000);
    let touched = File::options().write(true).open(place.file()).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(place.commit().await, 0);
}

#[tokio::test]
async fn whatever_happens_to_a_file_each_snapshot_is_what_it_was() {
    let mut chance = StdRng::seed_from_u64(7);
    let place = Place::new(&noise(2, 12 * REGION_BYTES));
    let (mut fresh, mut rounds) = (place.commit().await, 1);
    for round in 0..60u64 {
        let len = fs::metadata(place.file()).unwrap().len() as usize;
        let file = File::options().write(true).open(place.file()).unwrap();
        for _ in 0..chance.random_range(0..60) {
            let pages = chance.random_range(1..4);
            let at = chance.random_range(0..len / PAGE) * PAGE;
            place.write(at, &noise(round, pages * PAGE));
        }
        match chance.random_range(0..8) {
            0 => place.write(len, &noise(round, chance.random_range(1..3 * REGION_BYTES))),
            1 => file
                .set_len((len - chance.random_range(0..REGION_BYTES)).max(6 << 20) as u64)
                .unwrap(),
            // A hole at the end, or a file that is replaced.
            2 => file.set_len((len + 2 * REGION_BYTES) as u64).unwrap(),
            3 => {
                let content = fs::read(place.file()).unwrap();
                fs::remove_file(place.file()).unwrap();
                fs::write(place.file(), content).unwrap();
            }
            4 => place.page_in(chance.random_range(0..2)),
            _ => {}
        }
        let is_committed = chance.random_range(0..5) > 0;
        let (result, bytes) = place.backup().await;
        result.cache.finish(is_committed);
        assert!(place.maps().len() <= 1, "{:?}", place.maps());
        (fresh, rounds) = (fresh + bytes, rounds + 1);
    }
    println!("{fresh} bytes in {rounds} rounds");
    assert!(
        fresh < rounds * 6 * REGION_BYTES,
        "{fresh} bytes are new in {rounds} rounds"
    );
}

impl Place {
    /// Puts a region back as zeros, or all of it as it was.
    fn page_in(&self, what: u32) {
        match what {
            0 => self.write(2 * REGION_BYTES, &vec![0; REGION_BYTES]),
            _ => self.write(0, &noise(2, 6 * REGION_BYTES)),
        }
    }
}

#[tokio::test]
async fn a_map_that_is_damaged_or_gone_costs_bytes_and_nothing_else() {
    let len = 12 * REGION_BYTES;
    for damage in 0..20 {
        let place = Place::new(&noise(3, len));
        place.commit().await;
        place.write(5 * PAGE, b"changed");
        place.write(11 * REGION_BYTES, b"changed");
        let [map] = &place.maps()[..] else { panic!() };
        let mut bytes = fs::read(map).unwrap();
        let at = bytes.len() * damage / 20;
        match damage % 3 {
            0 => fs::remove_file(map).unwrap(),
            1 => bytes.truncate(at),
            _ => bytes[at] ^= 1,
        }
        if damage % 3 > 0 {
            fs::write(map, bytes).unwrap();
        }
        let fresh = place.commit().await;
        assert!((2 * PAGE..=2 * REGION_BYTES).contains(&fresh), "{fresh}");
        assert_eq!(place.commit().await, 0);
    }
}

#[tokio::test]
async fn what_the_vault_has_lost_is_stored_again() {
    let place = Place::new(&noise(4, 8 * REGION_BYTES));
    let (result, _) = place.backup().await;
    let lost = {
        let fresh = place.sink.fresh.lock().unwrap();
        let data = fresh.iter().find(|chunk| chunk.kind == ChunkKind::Data);
        data.unwrap().id
    };
    result.cache.finish(true);
    place.sink.lose(&lost);
    place.write(7 * REGION_BYTES, b"changed");
    assert_eq!(place.commit().await, 2 * REGION_BYTES);
}

#[tokio::test]
async fn a_hole_stays_one() {
    let place = Place::new(b"");
    let file = File::options().write(true).open(place.file()).unwrap();
    let (hole, len) = (200 * REGION_BYTES as u64, 305 * REGION_BYTES as u64 + 77);
    file.set_len(len).unwrap();
    file.write_all_at(&noise(5, REGION_BYTES), hole).unwrap();
    for changed in [REGION_BYTES, PAGE, 0] {
        let (result, fresh) = place.backup().await;
        assert_eq!(fresh, changed);
        let found = &place.sink.tree(&result.root)[&place.file()];
        assert_eq!(found.hole_bytes(), len - REGION_BYTES as u64);
        result.cache.finish(true);
        place.write(hole as usize + 3 * PAGE, b"changed");
        // Times may be the same as before: then it is not read.
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
}

#[tokio::test]
async fn a_table_of_postgresql_is_a_page_source_unasked() {
    let mut content = noise(6, 16 * REGION_BYTES).to_vec();
    for (at, number) in [(12, 100u16), (14, 4000), (16, 8192), (18, 8196)] {
        content[at..at + 2].copy_from_slice(&number.to_ne_bytes());
    }
    let place = Place {
        page_bytes: None,
        ..Place::new(&content)
    };
    place.commit().await;
    for n in 0..16 {
        place.write(n * REGION_BYTES + 5 * PAGE, b"changed");
    }
    assert_eq!(place.commit().await, 16 * PAGE);
}
