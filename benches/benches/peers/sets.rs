//! The data sets: made once from fixed seeds, kept, and turned from one day to the next and back.
//!
//! | set | what | day two |
//! |---|---|---|
//! | A | a PostgreSQL data directory | 20,000 transactions later |
//! | B | one incompressible file | bytes put in front, and single pages rewritten |
//! | C | small files like source trees | 1 % of them edited, deleted, new |
//! | D | the file of B, as a disk image | single pages rewritten in place |
//!
//! State: a folder for each set and size with its source as it was on day one, and what differs on day two. A set that
//! an interrupted run left half-way is made anew.

mod change;
mod database;
mod image;
mod language;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_benches::for_each_file;

pub(crate) use change::{Change, Day};

/// Raised when what is made changes, so that kept sets are made anew.
const VERSION: &str = "1";

/// Files that were changed so long ago are trusted by all tools.
const SETTLED: Duration = Duration::from_secs(4);

/// The letters of all sets.
pub(crate) const LETTERS: [char; 4] = ['A', 'B', 'C', 'D'];

/// One data set.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) letter: char,
    /// What tools back up.
    pub(crate) source: PathBuf,
    change: Change,
}

impl Set {
    /// A set that lies there already, or a new one.
    pub(crate) fn ensure(data: &Path, letter: char, part: u64) -> Self {
        let folder = data.join(format!("{letter}-{part}"));
        let stamp = folder.join("made.txt");
        let is_made = fs::read_to_string(&stamp).is_ok_and(|text| text == VERSION);
        if !is_made || Change::was_interrupted(&folder) {
            eprintln!("making set {letter} in {}", folder.display());
            if folder.exists() {
                fs::remove_dir_all(&folder).unwrap();
            }
            fs::create_dir_all(folder.join("source")).unwrap();
            match letter {
                'A' => database::make(&folder, part),
                'B' => image::make_grown(&folder, part),
                'C' => sources::make(&folder, part),
                _ => image::make_rewritten(&folder, part),
            }
            fs::write(&stamp, VERSION).unwrap();
        }
        let mut set = Self {
            letter,
            source: folder.join("source"),
            change: Change::load(&folder),
        };
        set.turn_to(Day::One);
        set
    }

    /// Brings the source to its state of a day, and lets that grow old: backup tools distrust a file that changed as they began, and
    /// read it again the next time.
    pub(crate) fn turn_to(&mut self, day: Day) {
        self.change.turn_to(day);
        std::thread::sleep(SETTLED);
    }

    /// How many files it has, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let (mut files, mut bytes) = (0, 0);
        for_each_file(&self.source, &mut |path| {
            files += 1;
            bytes += fs::symlink_metadata(path).unwrap().len();
        });
        (files, bytes)
    }

    /// Reads it all, so that the page cache has it for every tool alike.
    pub(crate) fn warm(&self) {
        for_each_file(&self.source, &mut |path| {
            let mut file = fs::File::open(path).unwrap();
            std::io::copy(&mut file, &mut std::io::sink()).unwrap();
        });
    }
}

/// What the set is, for people.
pub(crate) fn describe(letter: char) -> &'static str {
    match letter {
        'A' => {
            "PostgreSQL data directory, day two after 20,000 transactions (not the same bit for bit each time it is made)"
        }
        'B' => {
            "one incompressible file, day two with 1 MiB in front and then 1 % of its 4 KiB pages rewritten"
        }
        'C' => "small files like source trees, day two with 1 % of them edited, deleted, new",
        _ => "the file of B as an image, day two with 1 % of its 8 KiB pages rewritten in place",
    }
}
