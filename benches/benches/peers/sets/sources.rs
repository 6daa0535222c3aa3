//! Set C: many small files in folders, as source trees have them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use holdfast_tests::Noise;

use super::change::{Change, Day, Differences};
use super::language::Language;

/// Files, whole.
const FILES: u64 = 100_000;
/// Files of one project, which have words and a license in common.
const PROJECT: u64 = 400;
const SEED: u64 = 0x50c5;
const LENGTH_MAX: u64 = 256 << 10;
/// Of so many files one changes; of these, a third each is edited, goes, comes.
const CHANGE_EVERY: u64 = 100;

pub(super) fn make(folder: &Path, part: u64) {
    let (source, other) = (folder.join("source"), folder.join("other"));
    let mut noise = Noise::new(SEED);
    let mut differences = Differences::default();
    let count = FILES / part;
    let mut project = Project::new(&mut noise, 0);
    for number in 0..count {
        if number % PROJECT == 0 {
            project = Project::new(&mut noise, number / PROJECT);
        }
        let path = project.path(&mut noise, number);
        let text = project.file(&mut noise);
        write(&source.join(&path), &text, Day::One);
        if noise.below(CHANGE_EVERY) > 0 {
            continue;
        }
        match noise.below(3) {
            0 => {
                let edited = project.edited(&mut noise, &text);
                write(&other.join(&path), &edited, Day::Two);
                differences.replaced.push(path);
            }
            1 => {
                fs::create_dir_all(other.join(&path).parent().unwrap()).unwrap();
                differences.gone.push(path);
            }
            _ => {
                let new = path.with_extension("new.rs");
                write(&other.join(&new), &project.file(&mut noise), Day::Two);
                differences.new.push(new);
            }
        }
    }
    Change::keep(folder, &differences);
}

/// A folder with its own words, license and layout.
struct Project {
    folder: PathBuf,
    language: Language,
    license: String,
}

impl Project {
    fn new(noise: &mut Noise, number: u64) -> Self {
        let language = Language::new(noise);
        let words = 80 + noise.below(100) as usize;
        Self {
            folder: format!("project-{number:03}").into(),
            license: language.license(noise, words),
            language,
        }
    }

    /// Where a file goes: one to four folders deep, some dozen files in each.
    fn path(&self, noise: &mut Noise, number: u64) -> PathBuf {
        let mut path = self.folder.clone();
        let mut branch = number % PROJECT / 16;
        for _ in 0..noise.below(2) + 1 {
            path.push(self.language.folder(branch));
            branch /= 5;
        }
        let name = self.language.name(noise);
        path.join(format!("{name}_{number}.rs"))
    }

    fn file(&self, noise: &mut Noise) -> Vec<u8> {
        let length = length(noise);
        let mut text = String::with_capacity(length + 200);
        if noise.below(10) < 6 && length > 2 * self.license.len() {
            text.push_str(&self.license);
        }
        self.language.fill(noise, &mut text, length);
        text.into_bytes()
    }

    /// One to three places of it say something else.
    fn edited(&self, noise: &mut Noise, text: &[u8]) -> Vec<u8> {
        let mut edited = text.to_vec();
        for _ in 0..noise.below(3) + 1 {
            let at = noise.below(edited.len() as u64 + 1) as usize;
            let mut piece = String::new();
            let length = 20 + noise.below(300) as usize;
            self.language.fill(noise, &mut piece, length);
            let end = (at + noise.below(120) as usize).min(edited.len());
            edited.splice(at..end, piece.into_bytes());
        }
        edited
    }
}

/// Many of a few KiB, few of many: log-normal, with its middle at 4 KiB.
fn length(noise: &mut Noise) -> usize {
    // The sum of twelve draws is as good as normal.
    let sum: f64 = (0..12)
        .map(|_| noise.below(1 << 32) as f64 / f64::from(u32::MAX))
        .sum();
    let length = 4096.0 * (1.2 * (sum - 6.0)).exp();
    (length as u64).clamp(40, LENGTH_MAX) as usize
}

fn write(path: &Path, bytes: &[u8], day: Day) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(day.time()).unwrap();
}
