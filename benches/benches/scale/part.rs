//! One part of the bench in a process of its own: what it is told, and the figures that it tells back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{forest, picked, snapshots};

/// Names the part to the process that shall run it.
const VARIABLE: &str = "HOLDFAST_BENCH_PART";

/// Figures by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// What one process does.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    /// The vault's folder.
    folder: PathBuf,
    /// How large.
    sizes: Vec<u64>,
}

impl Part {
    /// What this process was started for, if it is one that another started.
    pub(crate) fn asked() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let mut words = text.split(' ');
        Some(Self {
            name: words.next()?.into(),
            folder: words.next()?.into(),
            sizes: words.map(|word| word.parse().unwrap()).collect(),
        })
    }

    /// Runs it, and prints its figures.
    pub(crate) fn run(self) {
        let Self {
            name,
            folder,
            sizes,
        } = self;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let figures = runtime.block_on(async {
            match name.as_str() {
                "forest-made" => forest::made(&folder, sizes[0]).await,
                "forest-read" => forest::read(&folder).await,
                "forest-opened" => forest::opened(&folder).await,
                "snapshots-made" => snapshots::made(&folder, sizes[0], sizes[1]).await,
                "snapshots-opened" => snapshots::opened(&folder).await,
                "picked-made" => picked::made(&folder, sizes[0]).await,
                "picked-opened" => picked::opened(&folder, sizes[0]).await,
                other => panic!("there is no part {other}"),
            }
        });
        for (name, figure) in figures {
            println!("{name}={figure}");
        }
    }
}

/// Runs a part in a process of its own, and gives its figures.
pub(crate) fn told(name: &str, folder: &Path, sizes: &[u64]) -> Figures {
    let sizes: Vec<String> = sizes.iter().map(u64::to_string).collect();
    eprintln!("{name} {} …", sizes.join(" "));
    let text = format!("{name} {} {}", folder.display(), sizes.join(" "));
    let output = Command::new(std::env::current_exe().unwrap())
        .env(VARIABLE, text.trim_end())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name} failed");
    let text = String::from_utf8(output.stdout).unwrap();
    let figures = text.lines().map(|line| {
        let (name, figure) = line.split_once('=').unwrap();
        (name.to_owned(), figure.parse().unwrap())
    });
    figures.collect()
}
