//! The end of every backup: the snapshot's root node, and the result.

use holdfast_format::ChunkId;
use holdfast_format::tree::{Node, Root, SourceKind};

use super::cache::PendingCache;
use super::options::BackupResult;
use super::pipeline::Pipeline;
use crate::error::Result;

/// The result from the counters. `counts` are files, directories and logical bytes.
pub(crate) fn result(
    pipeline: &Pipeline,
    root: ChunkId,
    top: ChunkId,
    (files, directories, bytes_logical): (u64, u64, u64),
    cache: PendingCache,
) -> BackupResult {
    let counters = pipeline.progress.snapshot();
    let problems_count = pipeline.problems.count();
    pipeline.progress.set_problems(problems_count);
    BackupResult {
        root,
        top,
        files,
        unchanged_files: counters.unchanged_files,
        directories,
        bytes_read: counters.bytes_read,
        bytes_logical,
        problems_count,
        problems: pipeline.problems.kept(),
        vanished: pipeline.problems.vanished_count(),
        cache,
    }
}

/// Makes and puts the snapshot's root.
pub(crate) async fn put_root(
    pipeline: &Pipeline,
    kind: SourceKind,
    host: String,
    arguments: Vec<Vec<u8>>,
    started_millis: i64,
    top: ChunkId,
) -> Result<ChunkId> {
    let root = Root {
        top: 0,
        kind,
        host,
        arguments,
        started_millis,
        finished_millis: pipeline.ctx.now_millis(),
        problems: pipeline.problems.kept(),
        written_by: concat!("holdfast ", env!("CARGO_PKG_VERSION")).into(),
    };
    let node = pipeline.keys.node(Node::root(root).encode(), vec![top]);
    let id = node.id;
    pipeline.sink.put(node).await?;
    Ok(id)
}
