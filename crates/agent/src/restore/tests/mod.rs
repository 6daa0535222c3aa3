//! Tests of the reading side over a source in memory and real directories, as root.

mod build;
mod compare;
mod delta;
mod hostile;
mod kinds;
mod laws;
mod look;
mod loss;
mod mounted;
mod resume;
mod scale;
mod verifying;

use std::path::Path;
use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::ChunkId;
use tokio_util::sync::CancellationToken;

use self::build::Builder;
use super::{RestoreOptions, RestoreProgress, RestoreResult, Tree, restore};
use crate::error::Result;
use crate::source::ChunkSource;

/// Restores with keys.
async fn run(builder: &Builder, root: ChunkId, options: &RestoreOptions) -> Result<RestoreResult> {
    run_with(builder, root, options, true, CancellationToken::new()).await
}

async fn run_with(
    builder: &Builder,
    root: ChunkId,
    options: &RestoreOptions,
    keys: bool,
    cancel: CancellationToken,
) -> Result<RestoreResult> {
    restore(
        &Context::system(),
        builder.source.clone(),
        root,
        keys.then_some(&builder.keys),
        options,
        cancel,
        Arc::new(RestoreProgress::default()),
    )
    .await
}

/// Options without a sync, which is slow and proves nothing here.
fn into(target: &Path) -> RestoreOptions {
    RestoreOptions {
        sync: false,
        ..RestoreOptions::new(target)
    }
}

fn delta_into(target: &Path) -> RestoreOptions {
    RestoreOptions {
        delta: true,
        ..into(target)
    }
}

async fn open(builder: &Builder, root: ChunkId) -> Tree {
    let source: Arc<dyn ChunkSource> = builder.source.clone();
    Tree::open(source, root).await.unwrap()
}
