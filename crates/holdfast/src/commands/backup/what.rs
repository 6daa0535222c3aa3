//! What is read: file trees, standard input, or a command's output.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_agent::ChunkSink;
use holdfast_agent::backup::{
    BackupResult, CacheOptions, CommandOptions, Excludes, FilesOptions, Progress, StreamOptions,
    backup_command, backup_files, backup_stdin, host_name,
};
use holdfast_format::page::{PAGE_BYTES_MAX, PAGE_BYTES_MIN};
use holdfast_format::{Bundle, ScopeKeys, SourceName};

use super::{BackupArgs, shell};
use crate::args::Size;
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::{folders, output};

/// The file's path in the snapshot if none is given.
const STDIN_FILENAME: &str = "stdin";
const COMMAND_FILENAME: &str = "stdout";

/// See the module header.
pub(super) enum What {
    /// File trees.
    Files(FilesOptions),
    /// Standard input.
    Stdin(StreamOptions),
    /// A command's output.
    Command(StreamOptions, Vec<OsString>),
}

/// The paths that were given, those behind `--` too.
pub(super) fn paths(args: &BackupArgs) -> Vec<PathBuf> {
    let behind = args.words.iter().map(PathBuf::from);
    args.paths.iter().cloned().chain(behind).collect()
}

impl What {
    /// Reads the options; patterns and paths are checked here, before anything is opened.
    pub(super) fn new(args: &BackupArgs, bundle: &Bundle, source: &SourceName) -> Outcome<Self> {
        if args.stdin || args.command {
            return stream(args);
        }
        let paths = paths(args);
        if paths.is_empty() {
            return Err(Failure::usage(
                "there is nothing to back up",
                "name paths, or give --stdin, or --command -- ARGV…",
            ));
        }
        if args.stdin_filename.is_some() {
            return Err(Failure::usage(
                "--stdin-filename goes with --stdin or --command",
                "leave it out",
            ));
        }
        let file = folders::cache()
            .join(bundle.vault.to_string())
            .join(format!("{source}.files"));
        let cache = CacheOptions {
            file,
            vault: bundle.vault,
            scope: bundle.scope.clone(),
            source: source.clone(),
        };
        Ok(Self::Files(FilesOptions {
            paths,
            excludes: excludes(args)?,
            exclude_caches: args.exclude_caches,
            one_file_system: args.one_file_system,
            host: host_name(),
            page_bytes: args.page_size.map(page_bytes).transpose()?,
            cache: (!args.no_cache).then_some(cache),
        }))
    }

    /// Reads it into a sink.
    pub(super) async fn read(
        &self,
        call: &Call,
        keys: &ScopeKeys,
        sink: Arc<dyn ChunkSink>,
        progress: Arc<Progress>,
    ) -> holdfast_agent::Result<BackupResult> {
        let (context, cancel) = (&call.context, call.cancel.clone());
        match self {
            Self::Files(options) => {
                backup_files(context, keys, options.clone(), sink, cancel, progress).await
            }
            Self::Stdin(options) => {
                let stdin = tokio::io::stdin();
                backup_stdin(
                    context,
                    keys,
                    options.clone(),
                    stdin,
                    sink,
                    cancel,
                    progress,
                )
                .await
            }
            Self::Command(options, argv) => {
                let command = CommandOptions {
                    argv: argv.clone(),
                    on_stderr: Arc::new(|bytes| {
                        // What the command says is for the person; the backup does not depend on it.
                        let _ =
                            std::io::Write::write_all(&mut output::stderr_above_progress(), bytes);
                    }),
                };
                let options = options.clone();
                backup_command(context, keys, options, command, sink, cancel, progress).await
            }
        }
    }

    /// Whether it can be read once more. What the cache said is thrown away, so that every file is.
    pub(super) fn read_again(&self) -> bool {
        let Self::Files(options) = self else {
            return false;
        };
        if let Some(cache) = &options.cache
            && let Err(error) = std::fs::remove_file(&cache.file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = %cache.file.display(), %error, "the cache cannot be thrown away");
            return false;
        }
        true
    }
}

fn stream(args: &BackupArgs) -> Outcome<What> {
    let usual = if args.stdin {
        STDIN_FILENAME
    } else {
        COMMAND_FILENAME
    };
    let options = StreamOptions {
        filename: args.stdin_filename.clone().unwrap_or_else(|| usual.into()),
        host: host_name(),
    };
    if args.command {
        return Ok(What::Command(options, shell::with_pipefail(&args.words)));
    }
    if !args.words.is_empty() {
        return Err(Failure::usage(
            "--stdin reads standard input and no path",
            "leave out the paths, or give --command to run what stands behind --",
        ));
    }
    Ok(What::Stdin(options))
}

/// The length of pages, if files can have such.
fn page_bytes(size: Size) -> Outcome<usize> {
    let bytes = usize::try_from(size.0).unwrap_or(usize::MAX);
    match (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&bytes) && bytes.is_power_of_two() {
        true => Ok(bytes),
        false => Err(Failure::usage(
            format!("pages of {bytes} bytes are not known"),
            "give --page-size 4KiB, 8KiB, 16KiB, 32KiB or 64KiB, as the database has them",
        )),
    }
}

fn excludes(args: &BackupArgs) -> Outcome<Excludes> {
    let mut builder = Excludes::builder();
    for pattern in &args.exclude {
        builder.pattern(pattern).map_err(|error| Failure {
            exit: Exit::Usage,
            ..Failure::from(error)
        })?;
    }
    for file in &args.exclude_file {
        builder.file(file)?;
    }
    Ok(builder.build()?)
}
