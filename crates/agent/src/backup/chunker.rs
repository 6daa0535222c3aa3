//! Content-defined chunking of streams: chunks are cut from buffers, where [`Cutter`] says.
//!
//! State: the chunk whose end has not been seen. It must never see a hole: those have no bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::buffer::{Buffer, BufferPool};
use super::cutter::Cutter;

impl Cutter {
    /// Cuts bytes that are all there.
    pub(crate) fn cut_whole(&self, mut data: Bytes) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        while let Some(len) = self.cut(&data, true) {
            chunks.push(data.split_to(len));
        }
        chunks
    }
}

/// Cuts bytes that come in buffers.
#[derive(Debug)]
pub(crate) struct StreamCutter {
    cutter: Cutter,
    pool: Arc<BufferPool>,
    /// The start of a chunk whose end has not been seen.
    unfinished: Bytes,
}

impl StreamCutter {
    /// Starts a stream.
    pub(crate) fn new(cutter: Cutter, pool: Arc<BufferPool>) -> Self {
        Self {
            cutter,
            pool,
            unfinished: Bytes::new(),
        }
    }

    /// A buffer to read into. It starts with the unfinished chunk.
    pub(crate) fn buffer(&mut self) -> Buffer {
        let mut buffer = self.pool.take();
        buffer.append(&self.unfinished);
        self.unfinished = Bytes::new();
        buffer
    }

    /// Takes a buffer back and gives the chunks that are complete; all of them if nothing follows (`last`).
    ///
    /// The chunks are parts of the buffer, not copies: they keep it until the last of them is gone.
    pub(crate) fn cut(&mut self, buffer: Buffer, last: bool) -> Vec<Bytes> {
        let mut rest = buffer.freeze();
        let mut chunks = Vec::new();
        while let Some(len) = self.cutter.cut(&rest, last) {
            chunks.push(rest.split_to(len));
        }
        self.unfinished = rest;
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::limits::{BUFFER_BYTES, CUT_BYTES_MAX, CUT_BYTES_MIN};
    use crate::backup::testing::{keys, noise};

    #[test]
    fn chunks_lie_within_their_bounds_and_around_the_average() {
        let data = noise(1, 256 << 20);
        for scope in ["vault", "agent/a", "source/b", "agent/c"] {
            let chunks = Cutter::new(&keys(scope)).cut_whole(data.clone());
            let (inner, lens) = (chunks.len() - 1, chunks.iter().map(Bytes::len));
            let lens: Vec<usize> = lens.take(inner).collect();
            let average = lens.iter().sum::<usize>() / inner;
            let forced = lens.iter().filter(|len| **len == CUT_BYTES_MAX).count();
            println!("{scope}: {inner} chunks, average {average}, forced {forced}");
            assert!(
                lens.iter()
                    .all(|len| (CUT_BYTES_MIN..=CUT_BYTES_MAX).contains(len))
            );
            // Expected: 256 KiB, then 2 MiB × (1 − e^−⅜) up to the average size, then 512 KiB × e^−⅜: 1.28 MB.
            assert!(
                (1_130_000..1_430_000).contains(&average),
                "{scope}: average {average}"
            );
            assert!(
                forced * 20 < inner,
                "{scope}: {forced} of {inner} cuts are forced"
            );
        }
    }

    #[test]
    fn a_stream_is_cut_as_the_whole_is() {
        let data = noise(3, 3 * BUFFER_BYTES + 12345);
        let cutter = Cutter::new(&keys("vault"));
        let whole: Vec<Bytes> = cutter.cut_whole(data.clone());
        let mut stream = StreamCutter::new(cutter, Arc::default());
        let (mut parts, mut at) = (Vec::new(), 0);
        for step in [
            100,
            1 << 20,
            7,
            usize::MAX,
            usize::MAX,
            usize::MAX,
            usize::MAX,
        ] {
            let mut buffer = stream.buffer();
            let len = step.min(buffer.room().len()).min(data.len() - at);
            buffer.append(&data[at..at + len]);
            at += len;
            parts.extend(stream.cut(buffer, at == data.len()));
        }
        assert_eq!(at, data.len());
        assert_eq!(parts, whole);
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        let data = noise(4, 64 << 20);
        let mut edited = data.to_vec();
        edited.insert(30 << 20, 7);
        let cutter = Cutter::new(&keys("vault"));
        let before: std::collections::HashSet<Bytes> = cutter.cut_whole(data).into_iter().collect();
        let fresh = cutter
            .cut_whole(edited.into())
            .into_iter()
            .filter(|chunk| !before.contains(chunk))
            .count();
        assert!(fresh <= 3, "{fresh} chunks are new");
    }

    #[test]
    fn nothing_is_cut_from_nothing() {
        let cutter = Cutter::new(&keys("vault"));
        assert_eq!(cutter.cut(b"", true), None);
        assert_eq!(cutter.cut(b"x", false), None);
        assert_eq!(cutter.cut(b"x", true), Some(1));
        let zeros = vec![0; CUT_BYTES_MAX + 1];
        assert_eq!(cutter.cut(&zeros, false), Some(CUT_BYTES_MAX));
    }
}
