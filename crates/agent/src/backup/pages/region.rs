//! What becomes of one region of a file, given what it was at the last backup. Pure.

use std::ops::Range;

use holdfast_format::{ChunkId, PageHash, ScopeKeys};

use crate::backup::content::NamedPiece;

/// A region of more pieces than this many of its pages in four …
const PIECES_OF_FOUR: usize = 3;

/// … and one that has been changed in more than this many of its pages in four becomes a chunk of its own.
const CHANGED_OF_FOUR: usize = 2;

/// A region as the page map keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MappedRegion {
    /// The hash of each page, at its place in the region.
    pub(crate) pages: Vec<PageHash>,
    /// Where its bytes lie: together as long as the region.
    pub(crate) pieces: Vec<NamedPiece>,
}

/// What is to be done with a region.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing changed.
    AsBefore,
    /// It is one chunk, of this id.
    Whole(ChunkId),
    /// Stretches of the region, in order: where they lie already, or that they are new.
    Mixed(Vec<Stretch>),
}

/// A part of a mixed region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// It lies where it lay.
    Kept(NamedPiece),
    /// These bytes of the region changed.
    Changed(Range<usize>),
}

/// The map says something that is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapWrong;

/// Hashes a region and compares it with what it was.
pub(crate) fn plan(
    keys: &ScopeKeys,
    bytes: &[u8],
    page_bytes: usize,
    before: Option<&MappedRegion>,
) -> Result<(Vec<PageHash>, Plan), MapWrong> {
    let (id, pages) = keys.data_id_and_pages(bytes, page_bytes);
    let Some(before) = before.filter(|before| covers(&before.pieces) == bytes.len() as u64) else {
        return Ok((pages, Plan::Whole(id)));
    };
    let changed: Vec<bool> = pages
        .iter()
        .enumerate()
        .map(|(n, page)| before.pages.get(n) != Some(page))
        .collect();
    if !changed.contains(&true) {
        let whole = match before.pieces.as_slice() {
            [only] if only.offset == 0 => only.chunk,
            _ => None,
        };
        return match whole {
            Some(chunk) if chunk != id => Err(MapWrong),
            _ => Ok((pages, Plan::AsBefore)),
        };
    }
    let stretches = stretches(&changed, page_bytes, bytes.len(), &before.pieces);
    let home = home(&before.pieces);
    let kept_at_home = stretches.iter().filter_map(|stretch| match stretch {
        Stretch::Kept(piece) if piece.chunk == home => Some(piece.len),
        _ => None,
    });
    let away = bytes.len() as u64 - kept_at_home.sum::<u64>();
    let is_scattered = stretches.len() * 4 > pages.len() * PIECES_OF_FOUR
        || away * 4 > (bytes.len() * CHANGED_OF_FOUR) as u64;
    match is_scattered {
        true => Ok((pages, Plan::Whole(id))),
        false => Ok((pages, Plan::Mixed(stretches))),
    }
}

fn covers(pieces: &[NamedPiece]) -> u64 {
    pieces.iter().map(|piece| piece.len).sum()
}

/// The chunk that holds most of a region.
fn home(pieces: &[NamedPiece]) -> Option<ChunkId> {
    let len_of = |piece: &&NamedPiece| {
        let same = pieces.iter().filter(|other| other.chunk == piece.chunk);
        same.map(|other| other.len).sum::<u64>()
    };
    pieces
        .iter()
        .max_by_key(len_of)
        .and_then(|piece| piece.chunk)
}

/// Runs of changed pages, and between them the pieces that are kept, cut where the runs begin and end.
fn stretches(
    changed: &[bool],
    page_bytes: usize,
    len: usize,
    pieces: &[NamedPiece],
) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut page = 0;
    while page < changed.len() {
        let is_changed = changed[page];
        let run = changed[page..].iter().take_while(|one| **one == is_changed);
        let end = page + run.count();
        let bytes = page * page_bytes..(end * page_bytes).min(len);
        match is_changed {
            true => stretches.push(Stretch::Changed(bytes)),
            false => stretches.extend(part_of(pieces, bytes).map(Stretch::Kept)),
        }
        page = end;
    }
    stretches
}

/// The parts of pieces that lie in a range of what they cover together.
fn part_of(pieces: &[NamedPiece], range: Range<usize>) -> impl Iterator<Item = NamedPiece> {
    let (from, to) = (range.start as u64, range.end as u64);
    let mut at = 0;
    pieces.iter().filter_map(move |piece| {
        let (start, end) = (at, at + piece.len);
        at = end;
        let (first, last) = (start.max(from), end.min(to));
        (first < last).then(|| NamedPiece {
            chunk: piece.chunk,
            offset: piece.offset + (first - start),
            len: last - first,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::limits::REGION_BYTES;
    use crate::backup::testing::{keys, noise};

    const PAGE: usize = 8 << 10;

    fn mapped(bytes: &[u8]) -> MappedRegion {
        let (id, pages) = keys("vault").data_id_and_pages(bytes, PAGE);
        let piece = NamedPiece {
            chunk: Some(id),
            offset: 0,
            len: bytes.len() as u64,
        };
        MappedRegion {
            pages,
            pieces: vec![piece],
        }
    }

    fn plan_of(bytes: &[u8], before: Option<&MappedRegion>) -> Plan {
        plan(&keys("vault"), bytes, PAGE, before).unwrap().1
    }

    #[test]
    fn a_region_is_whole_at_first_and_kept_when_nothing_changed() {
        let bytes = noise(1, REGION_BYTES);
        let id = keys("vault").data_id(&bytes);
        assert_eq!(plan_of(&bytes, None), Plan::Whole(id));
        assert_eq!(plan_of(&bytes, Some(&mapped(&bytes))), Plan::AsBefore);
        let longer = mapped(&noise(1, REGION_BYTES - 1));
        assert_eq!(plan_of(&bytes, Some(&longer)), Plan::Whole(id));
    }

    #[test]
    fn a_changed_page_parts_what_was_one_piece() {
        let before = mapped(&noise(1, REGION_BYTES - 100));
        let mut bytes = noise(1, REGION_BYTES - 100).to_vec();
        bytes[5 * PAGE] ^= 1;
        bytes[6 * PAGE] ^= 1;
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let kept = |from: usize, to: usize| {
            Stretch::Kept(NamedPiece {
                chunk: before.pieces[0].chunk,
                offset: from as u64,
                len: (to - from) as u64,
            })
        };
        let want = vec![
            kept(0, 5 * PAGE),
            Stretch::Changed(5 * PAGE..7 * PAGE),
            kept(7 * PAGE, 127 * PAGE),
            Stretch::Changed(127 * PAGE..bytes.len()),
        ];
        assert_eq!(plan_of(&bytes, Some(&before)), Plan::Mixed(want));
    }

    #[test]
    fn a_map_that_names_another_chunk_is_found_out() {
        let bytes = noise(1, REGION_BYTES);
        let mut before = mapped(&bytes);
        before.pieces[0].chunk = Some(keys("vault").data_id(b"other"));
        let wrong = plan(&keys("vault"), &bytes, PAGE, Some(&before));
        assert_eq!(wrong.err(), Some(MapWrong));
    }

    #[test]
    fn what_is_too_scattered_becomes_one_chunk() {
        let bytes = noise(1, REGION_BYTES);
        let before = mapped(&bytes);
        for (every, is_whole) in [(1, true), (2, true), (3, false), (128, false)] {
            let mut changed = bytes.to_vec();
            changed
                .iter_mut()
                .step_by(every * PAGE)
                .for_each(|byte| *byte ^= 1);
            let plan = plan_of(&changed, Some(&before));
            assert_eq!(matches!(plan, Plan::Whole(_)), is_whole, "every {every}");
        }
    }
}
