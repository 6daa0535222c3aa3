//! The file system that forgets does forget: what is proven on it would fail on one that keeps everything.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Forgetful, Lost};
use crate::noise::Noise;

fn cut(disk: &Forgetful, spared: Option<&mut Noise>) -> Lost {
    let lost = disk.power_off(spared);
    disk.power_on();
    lost
}

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

#[test]
fn what_nobody_synced_is_gone_and_the_rest_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, _mount) = Forgetful::mount(folder.path());
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/kept"), "kept").unwrap();
    fs::write(at("dir/torn"), "never synced").unwrap();
    sync(&at("dir/kept"));
    sync(&at("dir"));
    sync(folder.path());
    // A write into a synced file, a name after the folder's sync, a removal, a rename: all of them unsynced.
    let kept = File::options().write(true).open(at("dir/kept")).unwrap();
    kept.write_all_at(b"LOST", 2).unwrap();
    kept.set_len(100).unwrap();
    fs::write(at("dir/late"), "x").unwrap();
    sync(&at("dir/late"));
    fs::rename(at("dir/torn"), at("dir/moved")).unwrap();
    assert_eq!(fs::read(at("dir/kept")).unwrap().len(), 100);

    let lost = cut(&disk, None);
    assert_eq!(fs::read(at("dir/kept")).unwrap(), b"kept");
    assert_eq!(
        fs::read(at("dir/torn")).unwrap(),
        b"",
        "a name without bytes"
    );
    assert!(!at("dir/late").exists(), "bytes without a name");
    assert!(!at("dir/moved").exists());
    assert_eq!(
        lost,
        Lost {
            writes: 3,
            names: 3
        }
    );
    // And it goes on: the same names can be used, and kept.
    fs::write(at("dir/late"), "again").unwrap();
    sync(&at("dir/late"));
    sync(&at("dir"));
    assert_eq!(
        cut(&disk, None),
        Lost {
            writes: 0,
            names: 0
        }
    );
    assert_eq!(fs::read(at("dir/late")).unwrap(), b"again");
}

#[test]
fn without_power_everything_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, _mount) = Forgetful::mount(folder.path());
    let path = folder.path().join("file");
    fs::write(&path, "x").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    disk.power_off(None);
    assert!(file.write_all_at(b"y", 0).is_err());
    assert!(file.sync_all().is_err());
    assert!(fs::read_dir(folder.path()).is_err());
    assert!(fs::write(folder.path().join("other"), "x").is_err());
    disk.power_on();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// With luck some of what was not synced is there: whole, torn, or later without earlier; a renamed file has one of its
/// two names, never none and never both.
#[test]
fn luck_spares_a_part_in_any_order() {
    const CUTS: u64 = 60;
    let folder = tempfile::tempdir().unwrap();
    let (disk, _mount) = Forgetful::mount(folder.path());
    let at = |name: &str| folder.path().join(name);
    let mut noise = Noise::new(1);
    let (mut gone, mut whole, mut torn, mut reordered, mut moved) = (0, 0, 0, 0, 0);
    for round in 0..CUTS {
        let (one, two) = (at(&format!("{round}-one")), at(&format!("{round}-two")));
        fs::write(&one, [1; 2048]).unwrap();
        sync(&one);
        sync(folder.path());
        let file = File::options().write(true).open(&one).unwrap();
        file.write_all_at(&[2; 2048], 0).unwrap();
        file.write_all_at(&[3; 2048], 2048).unwrap();
        fs::rename(&one, &two).unwrap();
        drop(file);
        cut(&disk, Some(&mut noise));
        assert_ne!(one.exists(), two.exists());
        moved += u64::from(two.exists());
        let found = fs::read(if two.exists() { &two } else { &one }).unwrap();
        match (found[2047], found.get(2048)) {
            (1, None) if found[0] == 1 => gone += 1,
            (2, Some(3)) if found.len() == 4096 => whole += 1,
            (1, Some(3)) if found[0] == 1 => reordered += 1,
            _ => torn += 1,
        }
    }
    println!(
        "gone {gone}, whole {whole}, reordered {reordered}, torn or half {torn}, moved {moved}"
    );
    assert!(gone > 3 && whole > 3 && reordered > 3 && torn > 3);
    assert!((5..CUTS - 5).contains(&moved));
}
