//! Content-defined cutting: where one chunk ends and the next begins.
//!
//! FastCDC as of 2020 (Xia et al., <https://ieeexplore.ieee.org/document/9055082>, crate `fastcdc`) with the scope's
//! own gear table, normalised one level: up to the average size a cut needs one more zero bit, above it one less.
//!
//! State: the two tables, shared by all threads. It must never see a hole: those have no bytes.

use std::sync::Arc;

use bytes::Bytes;
use fastcdc::v2020::cut_gear;
use holdfast_format::ScopeKeys;

use super::buffer::{Buffer, BufferPool};
use super::limits::{CUT_BYTES_AVERAGE, CUT_BYTES_MAX, CUT_BYTES_MIN};

/// Bits that must be zero for a cut before the average size: 21 of them, spread over 48 bytes of history.
/// `MASKS[21]` and `MASKS[19]` of the crate, written out so that no update of it moves our cut points.
const MASK_BELOW_AVERAGE: u64 = 0x0000_d917_6753_7000;

/// … and beyond it: 19 of them.
const MASK_ABOVE_AVERAGE: u64 = 0x0000_d917_0753_7000;

/// Finds cut points with one scope's table.
#[derive(Clone)]
pub(crate) struct Cutter {
    tables: Arc<Tables>,
}

struct Tables {
    gear: [u64; 256],
    /// The same numbers shifted left by one: the scan takes two bytes a turn, and the first of each pair is tested
    /// while the hash already stands one bit further left. The masks are shifted likewise.
    shifted: [u64; 256],
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cutter(secret)")
    }
}

impl Cutter {
    /// The cutter of one scope.
    pub(crate) fn new(keys: &ScopeKeys) -> Self {
        let gear = keys.gear_table();
        let shifted = gear.map(|number| number << 1);
        Self {
            tables: Arc::new(Tables { gear, shifted }),
        }
    }

    /// Length of the first chunk of `data`, or `None` where more bytes must be seen first. `last` says that none
    /// follow.
    pub(crate) fn cut(&self, data: &[u8], last: bool) -> Option<usize> {
        if data.is_empty() {
            return None;
        }
        let (_, len) = cut_gear(
            data,
            CUT_BYTES_MIN,
            CUT_BYTES_AVERAGE,
            CUT_BYTES_MAX,
            MASK_BELOW_AVERAGE,
            MASK_ABOVE_AVERAGE,
            MASK_BELOW_AVERAGE << 1,
            MASK_ABOVE_AVERAGE << 1,
            &self.tables.gear,
            &self.tables.shifted,
        );
        // A cut point inside `data` does not depend on what follows; the end of `data` is none unless it is a bound.
        (last || len < data.len() || len == CUT_BYTES_MAX).then_some(len)
    }

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
    use crate::backup::limits::BUFFER_BYTES;
    use crate::backup::testing::{keys, noise};

    #[test]
    fn the_masks_are_those_of_the_crate_today() {
        assert_eq!(MASK_BELOW_AVERAGE, fastcdc::v2020::MASKS[21]);
        assert_eq!(MASK_ABOVE_AVERAGE, fastcdc::v2020::MASKS[19]);
    }

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

    /// Written naively, one byte a turn, from the definition of the gear hash: a table that is shifted the wrong way
    /// would cut elsewhere at even offsets.
    fn naive_cut(gear: &[u64; 256], data: &[u8]) -> usize {
        let end = data.len().min(CUT_BYTES_MAX);
        let mut hash = 0u64;
        for at in CUT_BYTES_MIN..end {
            hash = (hash << 1).wrapping_add(gear[data[at] as usize]);
            let mask = if at < CUT_BYTES_AVERAGE {
                MASK_BELOW_AVERAGE
            } else {
                MASK_ABOVE_AVERAGE
            };
            if hash & mask == 0 {
                return at;
            }
        }
        end
    }

    #[test]
    fn the_shifted_table_gives_the_cut_points_of_the_definition() {
        let keys = keys("agent/x");
        let cutter = Cutter::new(&keys);
        let gear = keys.gear_table();
        let data = noise(2, 48 << 20);
        let (mut at, mut odd, mut even) = (0, 0, 0);
        while data.len() - at > CUT_BYTES_MAX {
            let len = cutter.cut(&data[at..], false).unwrap();
            assert_eq!(len, naive_cut(&gear, &data[at..]), "at {at}");
            if len.is_multiple_of(2) {
                even += 1
            } else {
                odd += 1
            }
            at += len;
        }
        assert!(
            odd > 3 && even > 3,
            "both halves of the pair are used: {odd} {even}"
        );
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
