//! One request on its way: what is still to come, what has come, who waits.
//!
//! State: shared by the desk, which hears the coordinator, and the tasks that open frames. Whichever is last answers.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use holdfast_format::ChunkId;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::source::{Fetched, Loss};

/// What a request gives.
pub(super) type Answers = HashMap<ChunkId, std::result::Result<Fetched, Loss>>;

/// See the module header.
#[derive(Debug)]
pub(super) struct Errand {
    /// What was asked for.
    pub(super) wanted: HashSet<ChunkId>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    answers: Answers,
    /// Frames that are being opened.
    opening: usize,
    /// The coordinator has sent everything.
    done: bool,
    reply: Option<oneshot::Sender<Result<Answers>>>,
}

impl Errand {
    /// A request for some chunks.
    pub(super) fn new(ids: Vec<ChunkId>, reply: oneshot::Sender<Result<Answers>>) -> Self {
        Self {
            wanted: ids.into_iter().collect(),
            state: Mutex::new(State {
                answers: HashMap::new(),
                opening: 0,
                done: false,
                reply: Some(reply),
            }),
        }
    }

    /// What has not come yet, for asking again.
    pub(super) fn open(&self) -> Vec<ChunkId> {
        let state = self.lock();
        let open = |id: &&ChunkId| !state.answers.contains_key(*id);
        self.wanted.iter().filter(open).copied().collect()
    }

    /// Whether nobody waits any more.
    pub(super) fn is_over(&self) -> bool {
        self.lock()
            .reply
            .as_ref()
            .is_none_or(oneshot::Sender::is_closed)
    }

    /// A frame came and is being opened.
    pub(super) fn begin(&self) {
        self.lock().opening += 1;
    }

    /// It was opened.
    pub(super) fn end(&self, opened: Result<Vec<(ChunkId, std::result::Result<Fetched, Loss>)>>) {
        let mut state = self.lock();
        state.opening -= 1;
        match opened {
            Ok(answers) => {
                for (id, answer) in answers {
                    state.add(id, answer);
                }
                self.settle(state);
            }
            Err(error) => state.fail(error),
        }
    }

    /// A chunk cannot be had.
    pub(super) fn lost(&self, loss: Loss) {
        if self.wanted.contains(&loss.id) {
            self.lock().add(loss.id, Err(loss));
        }
    }

    /// The coordinator has sent everything.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.done = true;
        self.settle(state);
    }

    /// Nothing more can be had.
    pub(super) fn fail(&self, error: Error) {
        self.lock().fail(error);
    }

    fn settle(&self, mut state: std::sync::MutexGuard<'_, State>) {
        if !state.done || state.opening > 0 {
            return;
        }
        let mut answers = std::mem::take(&mut state.answers);
        for id in &self.wanted {
            answers.entry(*id).or_insert_with(|| {
                Err(Loss {
                    id: *id,
                    why: "the coordinator sent neither it nor a reason".into(),
                })
            });
        }
        if let Some(reply) = state.reply.take() {
            // Nobody waits any more if the caller was stopped.
            let _ = reply.send(Ok(answers));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A good answer is never replaced by a bad one.
    fn add(&mut self, id: ChunkId, answer: std::result::Result<Fetched, Loss>) {
        if answer.is_ok() || !self.answers.contains_key(&id) {
            self.answers.insert(id, answer);
        }
    }

    fn fail(&mut self, error: Error) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ChunkId = ChunkId([1; 32]);
    const TWO: ChunkId = ChunkId([2; 32]);

    fn fetched() -> Fetched {
        Fetched {
            bytes: Default::default(),
            refs: Vec::new(),
        }
    }

    #[test]
    fn it_is_answered_when_all_was_sent_and_opened() {
        let (reply, mut answer) = oneshot::channel();
        let errand = Errand::new(vec![ONE, TWO], reply);
        errand.begin();
        errand.done();
        assert!(answer.try_recv().is_err());
        assert_eq!(errand.open().len(), 2);
        errand.end(Ok(vec![(ONE, Ok(fetched()))]));
        let answers = answer.try_recv().unwrap().unwrap();
        assert!(answers[&ONE].is_ok());
        assert!(
            answers[&TWO]
                .as_ref()
                .is_err_and(|l| l.why.contains("neither"))
        );
        assert!(errand.is_over());
    }

    #[test]
    fn a_good_copy_beats_a_loss() {
        let (reply, mut answer) = oneshot::channel();
        let errand = Errand::new(vec![ONE], reply);
        errand.begin();
        let lost = Loss {
            id: ONE,
            why: "bad".into(),
        };
        errand.lost(lost.clone());
        errand.end(Ok(vec![(ONE, Ok(fetched()))]));
        errand.lost(lost);
        errand.done();
        assert!(answer.try_recv().unwrap().unwrap()[&ONE].is_ok());
    }

    #[test]
    fn a_failure_is_told_once() {
        let (reply, mut answer) = oneshot::channel();
        let errand = Errand::new(vec![ONE], reply);
        errand.fail(Error::Interrupted);
        errand.done();
        assert!(matches!(answer.try_recv(), Ok(Err(Error::Interrupted))));
    }
}
