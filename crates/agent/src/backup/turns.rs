//! The order in which the parts of one file reach the sink, however long each takes to be made.
//!
//! Chunks lie in packs as they were put. Parts of a large file are made on all cores at once; were each put when it is ready, a stretch
//! of the file would be strewn over its neighbours, and a restore would read it in many small pieces.
//!
//! State: what the last turn that was given out waits for. A turn that is dropped before its part was put ends those after it.

use holdfast_format::Chunk;
use tokio::sync::oneshot;

use super::pipeline::Pipeline;
use crate::error::{Error, Result};

/// Gives out turns, one for each part, in the file's order.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    last: Option<oneshot::Receiver<()>>,
}

/// The right to put a part once all before it were.
#[derive(Debug)]
pub(crate) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    done: oneshot::Sender<()>,
}

impl Turns {
    /// The next part's.
    pub(crate) fn next(&mut self) -> Turn {
        let (done, last) = oneshot::channel();
        Turn {
            before: self.last.replace(last),
            done,
        }
    }
}

impl Turn {
    /// Puts the part's chunks when its turn has come.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if a part before it was not put: why, its own task says.
    pub(crate) async fn put(self, pipeline: &Pipeline, chunks: Vec<Chunk>) -> Result<()> {
        if let Some(before) = self.before {
            before.await.map_err(|_| Error::Interrupted)?;
        }
        pipeline.put_all(chunks).await?;
        // Nobody waits for the last one.
        let _ = self.done.send(());
        Ok(())
    }
}
