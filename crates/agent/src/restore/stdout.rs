//! Writes one file of a snapshot to a pipe, in order (`holdfast dump`).
//!
//! A pipe cannot take bytes back, so nothing is made up: at the first byte that is lost the dump ends with an error.

use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::tree::EntryKind;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::path::shown;
use super::progress::RestoreProgress;
use super::readahead::{ReadAhead, Stretch};
use super::tree::Tree;
use crate::error::{Error, Result};

/// Writes the file at `path` to `out` and flushes it. Holes come out as zeros. Gives the number of bytes written.
///
/// Only a regular file can be dumped. Damage is [`Error::Damaged`]; what was written until then is right.
pub async fn dump<W: AsyncWrite + Unpin + Send>(
    ctx: &Context,
    tree: &Tree,
    path: &[u8],
    out: &mut W,
    cancel: CancellationToken,
    progress: Arc<RestoreProgress>,
) -> Result<u64> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted),
        done = write_out(ctx, tree, path, out, &progress) => done,
    }
}

async fn write_out<W: AsyncWrite + Unpin + Send>(
    ctx: &Context,
    tree: &Tree,
    path: &[u8],
    out: &mut W,
    progress: &RestoreProgress,
) -> Result<u64> {
    let refused = |why: String| Error::Invalid {
        what: shown(path),
        why,
    };
    let Some(item) = tree.find(path).await? else {
        return Err(refused(
            "it is a directory; use restore with --include for directories".into(),
        ));
    };
    match item.entry.kind {
        EntryKind::File => {}
        EntryKind::Directory => {
            return Err(refused(
                "it is a directory; use restore with --include for directories".into(),
            ));
        }
        EntryKind::Symlink => {
            let target = shown(item.entry.target.as_deref().unwrap_or_default());
            return Err(refused(format!("it is a symlink to {target}; dump that")));
        }
        _ => return Err(refused("it is no regular file and has no content".into())),
    }
    RestoreProgress::add(&progress.entries_found, 1);
    RestoreProgress::add(&progress.bytes_found, item.entry.size);
    progress
        .all_found
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let broken = |e: std::io::Error| Error::Local {
        what: "standard output".into(),
        why: format!("it took no more: {e}"),
    };
    let zeros = vec![0u8; 64 << 10];
    let mut reader = ReadAhead::new(ctx, tree.nodes.clone(), &item);
    let mut written = 0;
    loop {
        let stretch = reader.next().await;
        let stretch = stretch.map_err(|trouble| match trouble.into_error(shown(path)) {
            Error::Damaged { what, why } => Error::Damaged {
                what,
                why: format!("{why}; the {written} bytes written before are right"),
            },
            other => other,
        })?;
        let len = match stretch {
            None => break,
            Some(Stretch::Data(bytes)) => {
                out.write_all(&bytes).await.map_err(broken)?;
                bytes.len() as u64
            }
            Some(Stretch::Hole(len)) => {
                let mut left = len;
                while left > 0 {
                    let count = left.min(zeros.len() as u64);
                    out.write_all(&zeros[..count as usize])
                        .await
                        .map_err(broken)?;
                    left -= count;
                }
                len
            }
        };
        written += len;
        RestoreProgress::add(&progress.bytes_done, len);
    }
    out.flush().await.map_err(broken)?;
    RestoreProgress::add(&progress.entries_done, 1);
    Ok(written)
}
