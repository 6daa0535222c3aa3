//! Which of the cached chunks the vault still has.
//!
//! The top node is asked about first: known means that all below it is. Otherwise each batch of records takes at most
//! two questions: for the directories in it that lie below no known one, and then for the chunks of the files that
//! lie below no known one. A cached directory may have changed since on disk; that its old node is known still says
//! that all the chunks of its old files are.

use std::collections::HashMap;
use std::sync::Arc;

use holdfast_format::ChunkId;

use super::reader::{CacheRecord, Cached};
use crate::error::{Error, Result};
use crate::sink::ChunkSink;

/// Ids in one question.
const ASK_MAX: usize = 8192;

/// Asks about records in walk order.
pub(crate) struct Answers {
    sink: Arc<dyn ChunkSink>,
    all_known: bool,
    /// The key of the last directory that is known, as long as what comes lies below it.
    known_below: Option<Vec<u8>>,
}

impl Answers {
    /// Asks about the top.
    pub(crate) async fn start(sink: Arc<dyn ChunkSink>, top: ChunkId) -> Result<Self> {
        let all_known = ask(&*sink, vec![top]).await?[&top];
        Ok(Self {
            sink,
            all_known,
            known_below: None,
        })
    }

    /// Keeps what can be used: files all of whose chunks are known, and directories whose node is.
    pub(crate) async fn usable(&mut self, records: Vec<CacheRecord>) -> Result<Vec<CacheRecord>> {
        if self.all_known {
            return Ok(records);
        }
        let mut below = self.known_below.clone();
        let directories = ids(&records, &mut below, |what| match what {
            Cached::Directory(id) => id.iter().copied().collect(),
            Cached::File(_) => Vec::new(),
        });
        let directories = ask(&*self.sink, directories).await?;
        let is_known = |id: &ChunkId| directories.get(id).copied().unwrap_or(false);

        let mut usable = Vec::new();
        let mut asked_files = Vec::new();
        for record in records {
            if self.is_below_known(&record.key) {
                usable.push((record, true));
                continue;
            }
            match &record.what {
                Cached::Directory(Some(id)) if is_known(id) => {
                    self.known_below = Some(record.key.clone());
                    usable.push((record, true));
                }
                Cached::Directory(_) => {}
                Cached::File(file) => {
                    asked_files.extend(file.content.ids());
                    usable.push((record, false));
                }
            }
        }
        let chunks = ask(&*self.sink, asked_files).await?;
        usable.retain(|(record, known)| match &record.what {
            Cached::File(file) if !known => file.content.ids().iter().all(|id| chunks[id]),
            _ => true,
        });
        Ok(usable.into_iter().map(|(record, _)| record).collect())
    }

    fn is_below_known(&mut self, key: &[u8]) -> bool {
        is_below(&mut self.known_below, key)
    }
}

/// Whether `key` lies below `folder`; a folder that it has left behind is forgotten.
fn is_below(folder: &mut Option<Vec<u8>>, key: &[u8]) -> bool {
    let below = folder.as_ref().is_some_and(|folder| {
        key.strip_prefix(&folder[..])
            .is_some_and(|rest| rest.first() == Some(&0))
    });
    if !below {
        *folder = None;
    }
    below
}

fn ids(
    records: &[CacheRecord],
    below: &mut Option<Vec<u8>>,
    of: impl Fn(&Cached) -> Vec<ChunkId>,
) -> Vec<ChunkId> {
    let outside = records
        .iter()
        .filter(|record| !is_below(below, &record.key));
    outside.flat_map(|record| of(&record.what)).collect()
}

async fn ask(sink: &dyn ChunkSink, mut ids: Vec<ChunkId>) -> Result<HashMap<ChunkId, bool>> {
    ids.sort_unstable();
    ids.dedup();
    let mut answers = HashMap::with_capacity(ids.len());
    for some in ids.chunks(ASK_MAX) {
        let known = sink.known(some.to_vec()).await?;
        if known.len() != some.len() {
            return Err(Error::Bug(format!(
                "{} ids were asked about and {} answers came",
                some.len(),
                known.len()
            )));
        }
        answers.extend(some.iter().copied().zip(known));
    }
    Ok(answers)
}
