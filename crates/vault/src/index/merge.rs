//! Merges neighbouring segments into one, as a stream: what stands in the run is read where it lies and written once.
//!
//! State: two numbers for each chunk of the run, eight bytes, and the run's moves; never the chunks themselves. What it writes
//! is byte for byte what [`segment::write`](super::segment::write) makes of the same chunks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{Result, Write};
use std::sync::Arc;

use holdfast_format::Ordinal;
use holdfast_format::checkpoint::{SegmentKind, seal_segment};

use super::entry::Move;
use super::segment::{Segment, put_entry, put_head, put_move, put_node};

/// Writes the object of the segment that holds all that these hold: homes as they are now, and the moves of chunks before
/// them. They are neighbours, oldest first.
pub(super) fn write(run: &[Arc<Segment>], out: &mut dyn Write) -> Result<()> {
    let first = run.first().map_or(Ordinal(0), |segment| segment.first());
    let chunks: u64 = run.iter().map(|segment| segment.count()).sum();
    let (before, homes) = moves(run, first);
    let nodes: usize = run.iter().map(|segment| segment.nodes().count()).sum();
    let refs: usize = run.iter().map(|segment| segment.ref_bytes().len()).sum();
    out.write_all(&seal_segment(SegmentKind::Index, &[]).to_bytes())?;
    let counts = [nodes, refs, before.len()].map(|count| count as u64);
    put_head(out, first, [chunks, counts[0], counts[1], counts[2]])?;
    let places = put_ids(run, first, chunks, out)?;
    put_entries(run, &homes, &places, first, out)?;
    put_nodes(run, first, out)?;
    for segment in run {
        out.write_all(segment.ref_bytes())?;
    }
    before.values().try_for_each(|one| put_move(out, one))
}

type Moves = BTreeMap<u64, Move>;

/// The last move of each chunk: of chunks before the run, and of the run's own.
fn moves(run: &[Arc<Segment>], first: Ordinal) -> (Moves, Moves) {
    let (mut before, mut within) = (Moves::new(), Moves::new());
    for segment in run {
        let end = segment.first().0 + segment.count();
        for one in segment.moves().filter(|one| one.ordinal.0 < end) {
            let to = if one.ordinal < first {
                &mut before
            } else {
                &mut within
            };
            to.insert(one.ordinal.0, one);
        }
    }
    (before, within)
}

/// Writes the ids, sorted, of equal ones the newest first, and whose each is. Gives the place of each chunk's id among them.
fn put_ids(
    run: &[Arc<Segment>],
    first: Ordinal,
    chunks: u64,
    out: &mut dyn Write,
) -> Result<Vec<u32>> {
    let mut heads: BinaryHeap<_> = (0..run.len())
        .filter_map(|at| Some(Reverse((*run[at].sorted(0)?.0, Reverse(at), 0))))
        .collect();
    let mut order: Vec<u32> = Vec::with_capacity(chunks as usize);
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((id, Reverse(at), rank)) = *head;
        out.write_all(&id)?;
        let segment = &run[at];
        let ordinal = segment.sorted(rank).map_or(first, |(_, ordinal)| ordinal);
        order.push((ordinal.0 - first.0) as u32);
        match segment.sorted(rank + 1) {
            Some((next, _)) => *head = Reverse((*next, Reverse(at), rank + 1)),
            None => drop(std::collections::binary_heap::PeekMut::pop(head)),
        }
    }
    let mut places = vec![0; order.len()];
    for (place, &n) in order.iter().enumerate() {
        out.write_all(&n.to_le_bytes())?;
        if let Some(slot) = places.get_mut(n as usize) {
            *slot = place as u32;
        }
    }
    Ok(places)
}

fn put_entries(
    run: &[Arc<Segment>],
    homes: &Moves,
    places: &[u32],
    first: Ordinal,
    out: &mut dyn Write,
) -> Result<()> {
    let mut homes = homes.values().peekable();
    for segment in run {
        for n in segment.first().0..segment.first().0 + segment.count() {
            let Some(mut entry) = segment.entry(Ordinal(n)) else {
                continue;
            };
            if let Some(moved) = homes.next_if(|one| one.ordinal.0 == n) {
                (entry.pack, entry.frame) = (moved.pack, moved.frame);
            }
            put_entry(out, &entry, places[(n - first.0) as usize])?;
        }
    }
    Ok(())
}

fn put_nodes(run: &[Arc<Segment>], first: Ordinal, out: &mut dyn Write) -> Result<()> {
    let mut refs_before = 0;
    for segment in run {
        let chunks_before = (segment.first().0 - first.0) as u32;
        for (n, start) in segment.nodes() {
            put_node(out, n + chunks_before, start + refs_before)?;
        }
        refs_before += segment.ref_bytes().len() as u64;
    }
    Ok(())
}
