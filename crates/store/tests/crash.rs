//! Writers that are killed: what they acknowledged is there, and what is there is whole.
//!
//! The test runs itself as its writers: `writer` does nothing unless the environment names a site. It proves what a
//! killed process leaves behind, not what a machine without power does: for that see the order of the system calls
//! (`// ORDER:` in `file`).

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed, SiteName};
use holdfast_store::{Opened, Put, SiteOptions, open_for_writing};

const SITE: &str = "HOLDFAST_TEST_CRASH_SITE";
const WRITER: &str = "HOLDFAST_TEST_CRASH_WRITER";
/// The writer that lives through all rounds.
const SURVIVOR: &str = "survivor";
const ROUNDS: u64 = 8;

async fn open(path: &str) -> Opened {
    let name = SiteName::new("crash").unwrap();
    let url = format!("file:{path}");
    open_for_writing(&Context::system(), name, &url, &SiteOptions::default())
        .await
        .unwrap()
}

/// Bytes that only this name has: their number and their values.
fn content(name: &str) -> Vec<u8> {
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let bytes = state % 20_000;
    (0..bytes)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

/// The process that is killed: writes and says what was acknowledged, until it dies.
#[test]
fn writer() {
    let (Ok(path), Ok(writer)) = (std::env::var(SITE), std::env::var(WRITER)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let opened = open(&path).await;
        let busy = if writer == SURVIVOR { 1 } else { 6 };
        let tasks = (0..busy).map(|task| {
            let (site, writer) = (opened.site.clone(), writer.clone());
            async move {
                for n in 0.. {
                    // Folders of its own every few objects: making them is part of what is interrupted.
                    let text = format!("v/{writer}/{task}-{}/{n}", n / 8);
                    let name = ObjectName::parse(&text).unwrap();
                    let body = Sealed::copied(Bytes::from(content(&text)));
                    let put = if n % 2 == 0 {
                        site.put_new(&name, body).await
                    } else {
                        site.put_pack(&name, body).await
                    };
                    match put {
                        Ok(Put::Created) => say(&format!("ack {text}.")),
                        other => say(&format!("wrong {text}: {other:?}")),
                    }
                }
            }
        });
        futures::future::join_all(tasks).await;
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}")
        .and_then(|()| out.flush())
        .expect("the parent listens");
}

fn start(path: &Path, writer: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture"])
        .env(SITE, path)
        .env(WRITER, writer)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// All lines that a writer says, read as they come, so that it never waits for its reader.
fn listen(child: &mut Child) -> Receiver<String> {
    let out = BufReader::new(child.stdout.take().unwrap());
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        out.lines()
            .map_while(Result::ok)
            .try_for_each(|line| said.send(line))
    });
    heard
}

/// Lets a writer acknowledge `enough` and a moment pass, kills it, and gives all that it said.
fn kill_after(
    child: &mut Child,
    heard: &Receiver<String>,
    enough: u64,
    moment: Duration,
) -> Vec<String> {
    let mut said = Vec::new();
    while (said
        .iter()
        .filter(|line: &&String| line.starts_with("ack "))
        .count() as u64)
        < enough
    {
        said.push(heard.recv().expect("the writer lives until it is killed"));
    }
    std::thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(heard.iter());
    said
}

fn acknowledged(said: &[String]) -> BTreeSet<String> {
    let wrong: Vec<&String> = said
        .iter()
        .filter(|line| line.starts_with("wrong "))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    // A line that the kill has cut short promises nothing.
    said.iter()
        .filter_map(|line| line.strip_prefix("ack ")?.strip_suffix('.'))
        .map(String::from)
        .collect()
}

#[tokio::test]
async fn what_a_killed_writer_leaves_is_whole_and_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site");
    let seed = u64::from_le_bytes(Context::system().random());
    println!("seed {seed}");
    // One writer lives through all of it: what clears up behind the dead must leave its work alone.
    let mut survivor = start(&path, SURVIVOR);
    let survivor_heard = listen(&mut survivor);
    let mut promised = BTreeSet::new();
    for round in 0..ROUNDS {
        let chance = seed.wrapping_mul(round * 2 + 1) >> 7;
        let mut child = start(&path, &format!("round-{round}"));
        let heard = listen(&mut child);
        let said = kill_after(
            &mut child,
            &heard,
            chance % 40,
            Duration::from_micros(chance % 7_000),
        );
        promised.extend(acknowledged(&said));
        let opened = open(path.to_str().unwrap()).await;
        check(&opened, &promised, &format!("round-{round}/")).await;
    }
    let said = kill_after(&mut survivor, &survivor_heard, 1, Duration::ZERO);
    promised.extend(acknowledged(&said));
    let opened = open(path.to_str().unwrap()).await;
    check(&opened, &promised, "").await;
    assert!(
        promised.len() > 100,
        "enough was written: {}",
        promised.len()
    );
    let staged = std::fs::read_dir(path.join(".holdfast-staging"))
        .unwrap()
        .count();
    assert_eq!(staged, 0, "nobody lives, and nothing is left of the dead");
}

/// All that was promised is listed, and all that is listed under `v/<within>` is whole.
async fn check(opened: &Opened, promised: &BTreeSet<String>, within: &str) {
    let found = opened.site.list("v/", None).await.unwrap();
    let names: BTreeSet<String> = found.iter().map(|info| info.name.to_string()).collect();
    let lost: Vec<&String> = promised.difference(&names).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    for info in found
        .iter()
        .filter(|info| info.name.as_str()[2..].starts_with(within))
    {
        let expected = content(info.name.as_str());
        assert_eq!(info.size, expected.len() as u64, "{} is whole", info.name);
        let stored = opened.site.get(&info.name).await.unwrap();
        assert!(
            stored.as_deref() == Some(&expected[..]),
            "{} holds its own bytes",
            info.name
        );
    }
}
