//! How far an upload is: counters that the session adds to and a renderer reads whenever it likes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of one session.
#[derive(Debug, Default)]
pub struct SessionProgress {
    chunks_new: AtomicU64,
    chunks_reused: AtomicU64,
    bytes_new: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_waiting: AtomicU64,
    link: Mutex<LinkState>,
}

/// Whether the coordinator is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LinkState {
    /// It answers.
    #[default]
    Connected,
    /// The stream broke and is being opened again.
    Reconnecting {
        /// How many times it was tried.
        attempts: u32,
        /// What happened.
        why: String,
    },
}

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionFigures {
    /// Chunks that the vault did not have.
    pub chunks_new: u64,
    /// Chunks that it had, or that came twice.
    pub chunks_reused: u64,
    /// Plaintext bytes of the new ones.
    pub bytes_new: u64,
    /// Sealed bytes sent for them, each frame once.
    pub bytes_sent: u64,
    /// Of these, bytes that are not durable yet.
    pub bytes_waiting: u64,
    /// The link.
    pub link: LinkState,
}

impl SessionProgress {
    /// The counters now.
    pub fn figures(&self) -> SessionFigures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SessionFigures {
            chunks_new: get(&self.chunks_new),
            chunks_reused: get(&self.chunks_reused),
            bytes_new: get(&self.bytes_new),
            bytes_sent: get(&self.bytes_sent),
            bytes_waiting: get(&self.bytes_waiting),
            link: self
                .link
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    pub(super) fn new_chunk(&self, bytes: usize) {
        self.chunks_new.fetch_add(1, Ordering::Relaxed);
        self.bytes_new.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn reused(&self, chunks: usize) {
        self.chunks_reused
            .fetch_add(chunks as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self, bytes: usize) {
        self.bytes_waiting.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn link(&self, state: LinkState) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
