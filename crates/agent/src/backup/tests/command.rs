//! Streams and commands.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use holdfast_context::{Context, ManualClock};
use holdfast_format::tree::{EntryKind, SourceKind};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::backup::testing::{MapSink, keys, noise};
use crate::backup::{BackupResult, CommandOptions, StreamOptions, backup_command, backup_stdin};
use crate::error::{Error, Result};

fn named(filename: &str) -> StreamOptions {
    StreamOptions {
        filename: filename.into(),
        host: "test".into(),
    }
}

fn world() -> Context {
    Context::system().with_clock(Arc::new(ManualClock::at(1_234_567_891_234)))
}

async fn stdin<R>(options: StreamOptions, reader: R, sink: &Arc<MapSink>) -> Result<BackupResult>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let (sink, cancel) = (sink.clone(), CancellationToken::new());
    backup_stdin(
        &world(),
        &keys("vault"),
        options,
        reader,
        sink,
        cancel,
        Arc::default(),
    )
    .await
}

async fn command(
    argv: &[&str],
    sink: &Arc<MapSink>,
    cancel: CancellationToken,
) -> Result<BackupResult> {
    let mut command = CommandOptions::new(argv.iter().map(OsString::from).collect());
    command.on_stderr = Arc::new(|_| ());
    let sink = sink.clone();
    backup_command(
        &world(),
        &keys("vault"),
        named("out"),
        command,
        sink,
        cancel,
        Arc::default(),
    )
    .await
}

#[tokio::test]
async fn a_stream_is_one_file_of_any_size() {
    for size in [0, 1, 96, 97, 300_000, 8 << 20, (40 << 20) + 1] {
        let (sink, content) = (MapSink::new(), noise(1, size));
        let reader = io::Cursor::new(content.to_vec());
        let result = stdin(named("stdin"), reader, &sink).await.unwrap();
        assert_eq!((result.files, result.directories), (1, 0));
        assert_eq!(
            (result.bytes_read, result.bytes_logical),
            (size as u64, size as u64)
        );
        let found = &sink.tree(&result.root)[Path::new("/stdin")];
        assert!(found.bytes() == content, "{size}");
        assert_eq!(
            (found.entry.kind, found.entry.mode),
            (EntryKind::File, 0o600)
        );
        assert_eq!(
            (found.entry.mtime_seconds, found.entry.mtime_nanos),
            (1_234_567_891, 234_000_000)
        );
        let root = sink.root(&result.root);
        assert_eq!(
            (root.kind, root.arguments),
            (SourceKind::Stdin, vec![b"stdin".to_vec()])
        );
    }
}

#[tokio::test]
async fn a_stream_is_cut_as_a_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, content) = (folder.path().join("f"), noise(3, 20 << 20));
    std::fs::write(&path, &content).unwrap();
    let sink = MapSink::new();
    let _ = crate::backup::testing::run(crate::backup::testing::options([&path]), &sink)
        .await
        .unwrap();
    let before = sink.chunks.lock().unwrap().len();
    let _ = stdin(named("f"), io::Cursor::new(content.to_vec()), &sink)
        .await
        .unwrap();
    assert_eq!(
        sink.chunks.lock().unwrap().len(),
        before + 2,
        "its folder and its root"
    );
}

const READS_STDIN: &str = "HOLDFAST_TEST_READS_STDIN";

/// Runs itself again, with a pipe and with a file as standard input.
#[tokio::test]
async fn standard_input_is_read_whatever_it_is() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let content = noise(9, 3 << 20);
    if std::env::var_os(READS_STDIN).is_some() {
        let sink = MapSink::new();
        let reader = crate::backup::standard_input();
        let result = stdin(named("f"), reader, &sink).await.unwrap();
        assert!(sink.tree(&result.root)[Path::new("/f")].bytes() == content);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    std::fs::write(&path, &content).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    for input in [Stdio::piped(), file.into()] {
        let name = "backup::tests::command::standard_input_is_read_whatever_it_is";
        let mut child = Command::new("/proc/self/exe")
            .args([name, "--exact"])
            .env(READS_STDIN, "1")
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(&content).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_file_name_may_have_folders() {
    let sink = MapSink::new();
    let result = stdin(named("/db//x/./dump.sql"), &b"sql"[..], &sink)
        .await
        .unwrap();
    let tree = sink.tree(&result.root);
    assert_eq!(result.directories, 2);
    assert_eq!(tree[Path::new("/db/x/dump.sql")].bytes(), b"sql");
    assert_eq!(tree[Path::new("/db/x")].entry.mode, 0o700);
    for bad in ["", "/", "a/", "../x", "a/../b", "a\0b", &"n".repeat(256)] {
        let error = stdin(named(bad), &b""[..], &sink).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{bad:?}: {error}");
    }
}

struct Failing;

impl AsyncRead for Failing {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::other("torn")))
    }
}

#[tokio::test]
async fn a_stream_that_fails_is_a_failed_backup() {
    let sink = MapSink::new();
    let error = stdin(named("f"), (&b"some"[..]).chain(Failing), &sink)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("torn"), "{error}");
    assert!(
        sink.chunks
            .lock()
            .unwrap()
            .values()
            .all(|chunk| chunk.refs.is_empty())
    );
}

#[tokio::test]
async fn a_command_is_backed_up_with_its_words() {
    let sink = MapSink::new();
    let argv = ["sh", "-c", "printf 'a\\0b'; echo noise >&2"];
    let result = command(&argv, &sink, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(sink.tree(&result.root)[Path::new("/out")].bytes(), b"a\0b");
    let root = sink.root(&result.root);
    assert_eq!(root.kind, SourceKind::Command);
    assert_eq!(root.arguments, argv.map(|word| word.as_bytes().to_vec()));
    let large = ["head", "-c", "30000000", "/dev/zero"];
    let result = command(&large, &sink, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(result.bytes_logical, 30_000_000);
    let result = command(&["true"], &sink, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(result.bytes_logical, 0);
}

#[tokio::test]
async fn a_command_that_fails_is_a_failed_backup_with_its_reason() {
    for (argv, reason) in [
        (
            &[
                "sh",
                "-c",
                "head -c 20000000 /dev/zero; echo disk on fire >&2; exit 3",
            ][..],
            "status 3",
        ),
        (
            &["sh", "-c", "echo some; echo disk on fire >&2; kill -9 $$"],
            "signal 9",
        ),
        (&["/no/such/program"], "cannot be started"),
        (&["/etc/passwd"], "cannot be started"),
        (&[], "empty command"),
    ] {
        let sink = MapSink::new();
        let error = command(argv, &sink, CancellationToken::new())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{argv:?}: {error}");
        assert_eq!(error.contains("disk on fire"), argv.len() == 3, "{error}");
        let nodes = sink.fresh_of(holdfast_format::ChunkKind::Node);
        assert_eq!(nodes, 0, "{argv:?} made nodes");
    }
}

#[tokio::test]
async fn standard_error_passes_through() {
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let hears = Arc::clone(&heard);
    let mut options = CommandOptions::new(vec![
        "sh".into(),
        "-c".into(),
        "echo one >&2; echo two >&2".into(),
    ]);
    options.on_stderr = Arc::new(move |bytes| hears.lock().unwrap().extend_from_slice(bytes));
    let (sink, cancel) = (MapSink::new(), CancellationToken::new());
    let (ctx, keys) = (world(), keys("vault"));
    let run = backup_command(
        &ctx,
        &keys,
        named("o"),
        options,
        sink,
        cancel,
        Arc::default(),
    );
    run.await.unwrap().cache.finish(true);
    assert_eq!(*heard.lock().unwrap(), b"one\ntwo\n");
}

/// Whether some process has `word` as an argument.
fn runs(word: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().any(|entry| {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|argument| argument == word.as_bytes())
    })
}

#[tokio::test]
async fn an_interrupted_command_is_gone_with_all_its_children() {
    for (seconds, ignore) in [("98761.25", ""), ("98762.25", "trap '' TERM; ")] {
        let cancel = CancellationToken::new();
        let script = format!("{ignore}sleep {seconds} & echo started; wait; sleep {seconds}");
        let canceller = cancel.clone();
        let watch = async move {
            while !runs(seconds) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            canceller.cancel();
        };
        let sink = MapSink::new();
        let argv = ["sh", "-c", &script];
        let (result, ()) = tokio::join!(command(&argv, &sink, cancel), watch);
        assert!(matches!(result.unwrap_err(), Error::Interrupted));
        assert!(!runs(seconds), "{script}");
    }
}
