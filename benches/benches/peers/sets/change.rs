//! What differs between the two days of a data set, and the way from one to the other and back.
//!
//! The source is changed where it lies: files that are alike on both days keep their inodes and times, as they do in life. The
//! other day's bytes lie in a folder `other` beside the source. Going there and going back are the same exchange.
//!
//! State: `change.json`, the list; `day.txt`, the day that the source shows, which is gone while it is being turned.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_benches::for_each_file;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

/// What is compared and exchanged at once within a file.
pub(super) const BLOCK: u64 = 8192;

/// A day of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Day {
    /// As it was made.
    One,
    /// As it was changed.
    Two,
}

impl Day {
    fn word(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }

    /// When files of this day were changed last: long ago, so that none counts as just changed.
    pub(super) fn time(self) -> SystemTime {
        let days = match self {
            Self::One => 20_000,
            Self::Two => 20_001,
        };
        UNIX_EPOCH + Duration::from_hours(24 * days)
    }
}

/// How files differ; paths are below the source.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Differences {
    /// Whole other files in the place of these.
    pub(super) replaced: Vec<PathBuf>,
    /// Other bytes in blocks of these.
    pub(super) rewritten: Vec<Rewritten>,
    /// Not there on day two.
    pub(super) gone: Vec<PathBuf>,
    /// Not there on day one.
    pub(super) new: Vec<PathBuf>,
}

/// A file that is rewritten in place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Rewritten {
    pub(super) path: PathBuf,
    /// Its length on day one and on day two.
    pub(super) lengths: [u64; 2],
    /// Which blocks differ.
    pub(super) blocks: Vec<u64>,
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct Change {
    folder: PathBuf,
    differences: Differences,
    day: Day,
}

impl Change {
    /// Keeps what differs, after the other day's bytes were put into `other`.
    pub(super) fn keep(folder: &Path, differences: &Differences) {
        let text = serde_json::to_vec(differences).unwrap();
        fs::write(folder.join("change.json"), text).unwrap();
        fs::write(folder.join("day.txt"), Day::One.word()).unwrap();
    }

    /// Compares a source with a whole tree of its second day, which it uses up.
    pub(super) fn between(folder: &Path, second: &Path) {
        let (source, other) = (folder.join("source"), folder.join("other"));
        let mut differences = Differences::default();
        for_each_file(&source, &mut |path| {
            let below = path.strip_prefix(&source).unwrap();
            let theirs = second.join(below);
            if !theirs.exists() {
                differences.gone.push(below.to_owned());
            } else if let Some(rewritten) = differing(below, path, &theirs) {
                copy_blocks(&theirs, &other.join(below), &rewritten.blocks);
                differences.rewritten.push(rewritten);
            }
        });
        for_each_file(second, &mut |path| {
            let below = path.strip_prefix(second).unwrap();
            if !source.join(below).exists() {
                let to = other.join(below);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::rename(path, to).unwrap();
                differences.new.push(below.to_owned());
            }
        });
        fs::remove_dir_all(second).unwrap();
        Self::keep(folder, &differences);
    }

    /// Whether a run ended while a set was being turned.
    pub(super) fn was_interrupted(folder: &Path) -> bool {
        !folder.join("day.txt").exists()
    }

    pub(super) fn load(folder: &Path) -> Self {
        let text = fs::read(folder.join("change.json")).unwrap();
        let day = fs::read_to_string(folder.join("day.txt")).unwrap();
        Self {
            folder: folder.to_owned(),
            differences: serde_json::from_slice(&text).unwrap(),
            day: match day.as_str() {
                "one" => Day::One,
                _ => Day::Two,
            },
        }
    }

    pub(super) fn turn_to(&mut self, day: Day) {
        if self.day == day {
            return;
        }
        // ORDER: the mark goes before the first file is touched and comes back after the last one, so that a run that is killed
        // between them finds no mark, and makes the set anew.
        let mark = self.folder.join("day.txt");
        fs::remove_file(&mark).unwrap();
        let (source, other) = (self.folder.join("source"), self.folder.join("other"));
        for path in &self.differences.replaced {
            let (here, there) = (source.join(path), other.join(path));
            renameat_with(CWD, &here, CWD, &there, RenameFlags::EXCHANGE).unwrap();
        }
        for rewritten in &self.differences.rewritten {
            rewritten.turn_to(day, &source, &other);
        }
        let (goes, comes) = match day {
            Day::Two => (&self.differences.gone, &self.differences.new),
            Day::One => (&self.differences.new, &self.differences.gone),
        };
        goes.iter()
            .for_each(|path| move_below(path, &source, &other));
        comes
            .iter()
            .for_each(|path| move_below(path, &other, &source));
        fs::write(&mark, day.word()).unwrap();
        self.day = day;
    }
}

fn move_below(path: &Path, from: &Path, to: &Path) {
    let there = to.join(path);
    fs::create_dir_all(there.parent().unwrap()).unwrap();
    fs::rename(from.join(path), there).unwrap();
}

impl Rewritten {
    /// Exchanges the blocks that differ.
    fn turn_to(&self, day: Day, source: &Path, other: &Path) {
        let open = |folder: &Path| {
            let path = folder.join(&self.path);
            File::options().read(true).write(true).open(path).unwrap()
        };
        let (here, there) = (open(source), open(other));
        for block in &self.blocks {
            let at = block * BLOCK;
            let (ours, theirs) = (read_block(&here, at), read_block(&there, at));
            here.write_all_at(&theirs, at).unwrap();
            there.write_all_at(&ours, at).unwrap();
        }
        let length = self.lengths[usize::from(day == Day::Two)];
        here.set_len(length).unwrap();
        here.set_modified(day.time()).unwrap();
    }
}

/// A block, with zeroes behind the file's end.
fn read_block(file: &File, at: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK as usize];
    let mut filled = 0;
    while filled < block.len() {
        match file
            .read_at(&mut block[filled..], at + filled as u64)
            .unwrap()
        {
            0 => break,
            read => filled += read,
        }
    }
    block
}

/// Which blocks of two files differ, if any do.
fn differing(below: &Path, ours: &Path, theirs: &Path) -> Option<Rewritten> {
    let (ours, theirs) = (File::open(ours).unwrap(), File::open(theirs).unwrap());
    let lengths = [&ours, &theirs].map(|file| file.metadata().unwrap().len());
    let count = lengths[0].max(lengths[1]).div_ceil(BLOCK);
    let blocks: Vec<u64> = (0..count)
        .filter(|block| read_block(&ours, block * BLOCK) != read_block(&theirs, block * BLOCK))
        .collect();
    (!blocks.is_empty() || lengths[0] != lengths[1]).then(|| Rewritten {
        path: below.to_owned(),
        lengths,
        blocks,
    })
}

/// Copies these blocks to where they were, in a new file that has nothing else.
fn copy_blocks(from: &Path, to: &Path, blocks: &[u64]) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let (from, to) = (File::open(from).unwrap(), File::create(to).unwrap());
    for block in blocks {
        to.write_all_at(&read_block(&from, block * BLOCK), block * BLOCK)
            .unwrap();
    }
}
