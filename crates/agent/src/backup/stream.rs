//! Backs up a stream as one file: standard input, or what a command writes.

use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::ScopeKeys;
use holdfast_format::tree::{EntryKind, SourceKind};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

use super::cache::PendingCache;
use super::command::{CommandOptions, Running};
use super::content::{FileContent, Run};
use super::limits::BUFFER_BYTES;
use super::metadata::{EntryMaker, FileStat, Moment, StatKey};
use super::options::{BackupResult, StreamOptions};
use super::owners::Owners;
use super::pipeline::{Assembly, Pipeline};
use super::progress::Progress;
use super::root::{put_root, result};
use super::tree::{DirectoryBuilder, NamedEntry};
use crate::error::{Error, Result};
use crate::sink::ChunkSink;

/// This process's standard input, for [`backup_stdin`].
///
/// A pipe is waited for by the runtime; tokio's own standard input hands each 64 KiB over from a thread, which costs
/// as much as everything else that a backup does with it. It is opened anew, so that whoever shares the pipe's end
/// with us does not find it changed.
pub fn standard_input() -> Box<dyn AsyncRead + Send + Unpin> {
    let stat = rustix::fs::fstat(std::io::stdin());
    if stat.is_ok_and(|stat| FileStat::from(stat).kind == Some(EntryKind::Fifo)) {
        let pipe = tokio::net::unix::pipe::OpenOptions::new().open_receiver("/proc/self/fd/0");
        if let Ok(pipe) = pipe {
            return Box::new(pipe);
        }
    }
    Box::new(tokio::io::stdin())
}

/// Backs up what `reader` gives until it ends, as one file; an empty stream is an empty file.
///
/// A stream that fails is a failed backup. `cancel` ends it with [`Error::Interrupted`].
pub async fn backup_stdin<R>(
    ctx: &Context,
    keys: &ScopeKeys,
    options: StreamOptions,
    reader: R,
    sink: Arc<dyn ChunkSink>,
    cancel: CancellationToken,
    progress: Arc<Progress>,
) -> Result<BackupResult>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let file = StreamFile::new(options)?;
    let pipeline = Pipeline::new(ctx, keys, sink, cancel.child_token(), progress);
    let all = async {
        let (content, size) = read_stream(&pipeline, "standard input", reader).await?;
        let arguments = vec![file.names.join(&b'/')];
        file.put(&pipeline, SourceKind::Stdin, arguments, content, size)
            .await
    };
    cancel
        .run_until_cancelled(all)
        .await
        .unwrap_or(Err(Error::Interrupted))
}

/// Backs up what a command writes to its standard output, as one file.
///
/// It is a failed backup, never a short one, if the command does not start, ends with a status other than 0, or is
/// ended by a signal. When the backup ends before the command, the command's process group is stopped.
pub async fn backup_command(
    ctx: &Context,
    keys: &ScopeKeys,
    options: StreamOptions,
    command: CommandOptions,
    sink: Arc<dyn ChunkSink>,
    cancel: CancellationToken,
    progress: Arc<Progress>,
) -> Result<BackupResult> {
    use std::os::unix::ffi::OsStrExt;

    let file = StreamFile::new(options)?;
    let arguments = command
        .argv
        .iter()
        .map(|word| word.as_bytes().to_vec())
        .collect();
    let (mut running, stdout) = Running::start(ctx, command)?;
    let pipeline = Pipeline::new(ctx, keys, sink, cancel.child_token(), progress);
    let all = async {
        let what = "the command's standard output";
        let (content, size) = read_stream(&pipeline, what, stdout).await?;
        // ORDER: no root before the command has ended well. The end of its output alone may be its death.
        running.ended_well().await?;
        file.put(&pipeline, SourceKind::Command, arguments, content, size)
            .await
    };
    let outcome = cancel
        .run_until_cancelled(all)
        .await
        .unwrap_or(Err(Error::Interrupted));
    if outcome.is_err() {
        running.stop().await;
    }
    outcome
}

async fn read_stream<R>(
    pipeline: &Arc<Pipeline>,
    what: &str,
    mut reader: R,
) -> Result<(FileContent, u64)>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let mut assembly = Assembly::new(pipeline);
    let mut cutter = assembly.cutter();
    loop {
        let permit = pipeline.permit(BUFFER_BYTES as u64).await?;
        let mut buffer = cutter.buffer();
        let (mut read, mut last) = (0, false);
        while !buffer.room().is_empty() && !last {
            let count = reader
                .read(buffer.room())
                .await
                .map_err(|error| Error::Local {
                    what: what.into(),
                    why: format!("it cannot be read: {error}"),
                })?;
            buffer.advance(count);
            pipeline.progress.read(count as u64);
            read += count as u64;
            last = count == 0;
        }
        let cut = move || {
            let chunks = cutter.cut(buffer, last);
            (cutter, chunks)
        };
        let chunks;
        (cutter, chunks) = pipeline.ctx.run_blocking(cut).await;
        assembly
            .add(vec![Run::Data(read)], chunks, permit, last)
            .await?;
        if last {
            return assembly.finish().await;
        }
    }
}

/// The file that a stream becomes, and its folders.
struct StreamFile {
    names: Vec<Vec<u8>>,
    host: String,
}

impl StreamFile {
    fn new(options: StreamOptions) -> Result<Self> {
        let StreamOptions { filename, host } = options;
        let invalid = |why: &str| Error::Invalid {
            what: format!("the file name {filename:?}"),
            why: why.into(),
        };
        let names: Vec<Vec<u8>> = filename
            .split('/')
            .filter(|name| !name.is_empty() && *name != ".")
            .map(|name| name.as_bytes().to_vec())
            .collect();
        if names.is_empty() || filename.ends_with('/') {
            return Err(invalid("it must end with a file's name, as in db/dump.sql"));
        }
        if names
            .iter()
            .any(|name| name == b".." || name.contains(&0) || name.len() > 255)
        {
            return Err(invalid(
                "its names may not be .., hold a zero byte, or have more than 255 bytes",
            ));
        }
        Ok(Self { names, host })
    }

    /// Puts folders and root. They belong to whoever runs the backup, and nobody else may read them.
    async fn put(
        self,
        pipeline: &Arc<Pipeline>,
        kind: SourceKind,
        arguments: Vec<Vec<u8>>,
        content: FileContent,
        size: u64,
    ) -> Result<BackupResult> {
        let owners = pipeline.ctx.run_blocking(Owners::of_this_machine).await;
        let maker = EntryMaker::new(pipeline.keys.clone(), owners);
        let now_millis = pipeline.ctx.now_millis();
        let mut entry = None;
        let mut nodes = Vec::new();
        let mut top = None;
        for (depth, name) in self.names.iter().enumerate().rev() {
            let next = match entry.take() {
                None => {
                    debug_assert_eq!(depth + 1, self.names.len());
                    let mut file =
                        maker.entry(name, EntryKind::File, &made_up_stat(now_millis, 0o600));
                    file.size = size;
                    NamedEntry {
                        content: Some(content.clone()),
                        ..NamedEntry::plain(file)
                    }
                }
                Some(inner) => {
                    let folder =
                        maker.entry(name, EntryKind::Directory, &made_up_stat(now_millis, 0o700));
                    NamedEntry {
                        directory: Some(inner),
                        ..NamedEntry::plain(folder)
                    }
                }
            };
            let mut directory = DirectoryBuilder::default();
            directory.push(&pipeline.keys, next, &mut nodes);
            entry = directory.finish(&pipeline.keys, &mut nodes);
            top = entry;
        }
        let top = top.ok_or_else(|| Error::Bug("a stream's file has no name".into()))?;
        pipeline.put_all(nodes).await?;
        pipeline.progress.done_file(false);
        let root = put_root(pipeline, kind, self.host, arguments, now_millis, top).await?;
        let counts = (1, self.names.len() as u64 - 1, size);
        Ok(result(pipeline, root, top, counts, PendingCache::default()))
    }
}

fn made_up_stat(now_millis: i64, mode: u32) -> FileStat {
    let now = Moment {
        seconds: now_millis.div_euclid(1000),
        nanos: now_millis.rem_euclid(1000) as u32 * 1_000_000,
    };
    FileStat {
        key: StatKey {
            size: 0,
            mtime: now,
            ctime: now,
            inode: 0,
            device: 0,
        },
        kind: None,
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        links: 1,
        allocated: 0,
        device: 0,
    }
}
