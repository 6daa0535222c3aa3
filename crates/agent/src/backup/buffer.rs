//! Read buffers that are used again: fresh memory costs a page fault every 4 KiB, which is a third of what reading costs.
//!
//! State: a few spare buffers. Chunks cut from a buffer share it; when the last of them is dropped, wherever that is,
//! the buffer comes back here. It never blocks and never bounds anything: bytes in flight are counted elsewhere.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::limits::{BUFFER_BYTES, SPARE_BUFFERS_MAX};

/// Spare buffers of one backup.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    spare: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// An empty buffer of [`BUFFER_BYTES`].
    pub(crate) fn take(self: &Arc<Self>) -> Buffer {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Buffer {
            memory: Memory {
                bytes: spare.unwrap_or_else(|| vec![0; BUFFER_BYTES]),
                pool: Arc::clone(self),
            },
            filled: 0,
        }
    }
}

/// A buffer being filled.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Memory,
    filled: usize,
}

impl Buffer {
    /// The part that is free.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.memory.bytes[self.filled..]
    }

    /// Says that `count` bytes of [`Self::room`] were written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.filled += count;
        debug_assert!(self.filled <= self.memory.bytes.len());
    }

    /// Copies `bytes` behind what is there. There must be room.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.room()[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// The filled part, shared from now on.
    pub(crate) fn freeze(self) -> Bytes {
        let Self { memory, filled } = self;
        Bytes::from_owner(memory).slice(..filled)
    }
}

#[derive(Debug)]
struct Memory {
    bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut spare = self
            .pool
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_BUFFERS_MAX {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_part_is_gone() {
        let pool = Arc::new(BufferPool::default());
        let mut buffer = pool.take();
        buffer.append(b"hello");
        let (one, two) = {
            let all = buffer.freeze();
            (all.slice(..2), all.slice(2..))
        };
        assert_eq!((&one[..], &two[..]), (&b"he"[..], &b"llo"[..]));
        drop(one);
        assert_eq!(pool.spare.lock().unwrap().len(), 0);
        drop(two);
        assert_eq!(pool.spare.lock().unwrap().len(), 1);
        assert_eq!(pool.take().room().len(), BUFFER_BYTES);
        assert_eq!(pool.spare.lock().unwrap().len(), 1);
    }
}
