//! What the benches share; see `benches/README.md`.

#![expect(clippy::unwrap_used, reason = "a bench ends where its ground is gone")]

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Linux counts processor time for others in these, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// Writes an incompressible file of so many bytes.
pub fn write_noise(path: &Path, bytes: u64) {
    let mut noise = File::open("/dev/urandom").unwrap().take(bytes);
    let mut file = File::create(path).unwrap();
    std::io::copy(&mut noise, &mut file).unwrap();
    file.sync_all().unwrap();
}

/// Calls `each` for every regular file below a folder, in the order of their names.
pub fn for_each_file(folder: &Path, each: &mut dyn FnMut(&Path)) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            for_each_file(&entry.path(), each);
        } else if kind.is_file() {
            each(&entry.path());
        }
    }
}

/// The most memory that a process had resident, MiB.
pub fn peak_mib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = text.lines().find(|line| line.starts_with("VmHWM"));
    let kib = peak.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

/// The seconds of processor time that a process has used; 0 once it is gone.
pub fn cpu_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold anything; what follows it does not.
    let fields = text.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // User and system time: the 14th and 15th field, of which two stand before the bracket.
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS_PER_SECOND
}

/// The processes whose command line holds one of these words.
pub fn processes(words: &[&str]) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if words.iter().any(|word| line.contains(word)) {
            found.push(pid);
        }
    }
    found
}

/// The middle one by a figure.
pub fn median<T: Clone>(rounds: &[T], figure: impl Fn(&T) -> f64) -> T {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(|one, other| figure(one).total_cmp(&figure(other)));
    sorted[sorted.len() / 2].clone()
}
