//! Hashes of a chunk's pages, from the same pass that gives its id.
//!
//! BLAKE3 is a tree: the id of a chunk is made of the hashes of its parts, and a page whose length is a power of two is such a
//! part. So the hashes that tell changed pages from others cost nothing beyond the id, and agree with it: if all pages of a
//! chunk have the hashes that they had, so has the chunk the id. A page's hash depends on its place in its chunk.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::chunk::ScopeKeys;
use crate::id::ChunkId;

/// Smallest page, bytes.
pub const PAGE_BYTES_MIN: usize = 4 << 10;

/// Largest page, bytes.
pub const PAGE_BYTES_MAX: usize = 64 << 10;

/// The first 16 bytes of a page's place in the tree, keyed as the chunk's id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHash(pub [u8; 16]);

impl ScopeKeys {
    /// As [`Self::data_id`], with the hashes of the pages of `page_bytes`, a power of two of at least 1024, the last of which may
    /// be shorter. There must be bytes.
    pub fn data_id_and_pages(&self, bytes: &[u8], page_bytes: usize) -> (ChunkId, Vec<PageHash>) {
        let mut tree = Tree {
            key: self.data_id_key(),
            page_bytes,
            pages: Vec::with_capacity(bytes.len().div_ceil(page_bytes)),
        };
        if bytes.len() <= page_bytes {
            let mut hasher = blake3::Hasher::new_keyed(tree.key);
            hasher.update(bytes);
            let page = first(&hasher.finalize_non_root());
            return (ChunkId(*hasher.finalize().as_bytes()), vec![page]);
        }
        let (left, right) = tree.halves(bytes, 0);
        let id = merge_subtrees_root(&left, &right, Mode::KeyedHash(tree.key));
        (ChunkId(*id.as_bytes()), tree.pages)
    }
}

struct Tree<'k> {
    key: &'k [u8; 32],
    page_bytes: usize,
    pages: Vec<PageHash>,
}

impl Tree<'_> {
    fn halves(&mut self, bytes: &[u8], at: u64) -> (ChainingValue, ChainingValue) {
        let left = left_subtree_len(bytes.len() as u64);
        let (one, other) = bytes.split_at(left as usize);
        (self.part(one, at), self.part(other, at + left))
    }

    fn part(&mut self, bytes: &[u8], at: u64) -> ChainingValue {
        if bytes.len() > self.page_bytes {
            let (left, right) = self.halves(bytes, at);
            return merge_subtrees_non_root(&left, &right, Mode::KeyedHash(self.key));
        }
        let mut hasher = blake3::Hasher::new_keyed(self.key);
        let value = hasher
            .set_input_offset(at)
            .update(bytes)
            .finalize_non_root();
        self.pages.push(first(&value));
        value
    }
}

fn first(value: &ChainingValue) -> PageHash {
    let mut hash = [0; 16];
    hash.copy_from_slice(&value[..16]);
    PageHash(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> ScopeKeys {
        ScopeKeys::derive(&[1; 32], &[2; 32], &"vault".parse().unwrap())
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 3 + at / 1000) as u8).collect()
    }

    #[test]
    fn the_id_is_the_one_without_pages() {
        for page in [4 << 10, 8 << 10, 64 << 10] {
            for len in [
                1,
                1023,
                4096,
                8191,
                8192,
                8193,
                100_000,
                65_536 * 3,
                1 << 20,
            ] {
                let bytes = bytes(len);
                let (id, pages) = keys().data_id_and_pages(&bytes, page);
                assert_eq!(id, keys().data_id(&bytes), "{len} bytes, pages of {page}");
                assert_eq!(pages.len(), len.div_ceil(page));
            }
        }
    }

    #[test]
    fn a_change_shows_in_its_page_alone() {
        let (page, mut bytes) = (8 << 10, bytes(1 << 20));
        let (id, before) = keys().data_id_and_pages(&bytes, page);
        bytes[page * 77 + 5] ^= 1;
        let (other, after) = keys().data_id_and_pages(&bytes, page);
        let changed: Vec<usize> = (0..128).filter(|n| before[*n] != after[*n]).collect();
        assert_eq!(changed, [77]);
        assert_ne!(id, other);
    }
}
