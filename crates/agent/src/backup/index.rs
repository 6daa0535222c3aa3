//! Index nodes over a long list of children: pages of a directory, pages of a file's extents.
//!
//! Levels are cut by content, as pages are: after a child whose number says so. The number comes from what the child
//! ends with (a name, a chunk) and not from the child's own id, so that a change inside one child moves no cut: it
//! writes that child and one node a level.
//!
//! State: the open node of each level. Nodes come out children first; pure, no I/O.

use holdfast_format::tree::{DirectoryIndex, ExtentsIndex, Node};
use holdfast_format::{Chunk, ChunkId, ScopeKeys};

use super::limits::{INDEX_CHILDREN_AIM, INDEX_CHILDREN_MAX, INDEX_CHILDREN_MIN};

/// What an index says of each child.
pub(crate) trait Label: Sized {
    /// The node that lists these children.
    fn node(children: &[Child<Self>]) -> Node;
    /// The label of the node that lists these children.
    fn over(children: &[Child<Self>]) -> Self;
}

/// One child of an index node.
#[derive(Debug)]
pub(crate) struct Child<L> {
    /// The node.
    pub(crate) id: ChunkId,
    /// What its parent says of it.
    pub(crate) label: L,
    /// Decides whether the parent is cut behind it, by its low bits; a level up, by the bits above those.
    pub(crate) number: u64,
}

/// The first name of a directory page.
#[derive(Debug)]
pub(crate) struct FirstName(pub(crate) Vec<u8>);

impl Label for FirstName {
    fn node(children: &[Child<Self>]) -> Node {
        Node::directory_index(DirectoryIndex {
            first_names: children.iter().map(|child| child.label.0.clone()).collect(),
        })
    }

    fn over(children: &[Child<Self>]) -> Self {
        Self(
            children
                .first()
                .map(|child| child.label.0.clone())
                .unwrap_or_default(),
        )
    }
}

/// How many bytes of a file a page of extents covers.
#[derive(Debug)]
pub(crate) struct Covers(pub(crate) u64);

impl Label for Covers {
    fn node(children: &[Child<Self>]) -> Node {
        Node::extents_index(ExtentsIndex {
            lens: children.iter().map(|child| child.label.0).collect(),
        })
    }

    fn over(children: &[Child<Self>]) -> Self {
        Self(children.iter().map(|child| child.label.0).sum())
    }
}

/// The levels above a list of pages.
#[derive(Debug)]
pub(crate) struct IndexBuilder<L> {
    /// The open node of each level, lowest first.
    levels: Vec<Vec<Child<L>>>,
}

impl<L> Default for IndexBuilder<L> {
    fn default() -> Self {
        Self { levels: Vec::new() }
    }
}

impl<L: Label> IndexBuilder<L> {
    /// Adds the next page; nodes that are complete are appended to `nodes`.
    pub(crate) fn push(&mut self, keys: &ScopeKeys, page: Child<L>, nodes: &mut Vec<Chunk>) {
        let mut child = page;
        for depth in 0.. {
            if depth == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[depth];
            let cut = child.number.is_multiple_of(INDEX_CHILDREN_AIM as u64);
            level.push(child);
            let cut = cut && level.len() >= INDEX_CHILDREN_MIN;
            if !cut && level.len() < INDEX_CHILDREN_MAX {
                return;
            }
            child = close(keys, level, nodes);
        }
    }

    /// Closes all levels and gives the top: the page itself where there is only one, `None` where there is none.
    pub(crate) fn finish(mut self, keys: &ScopeKeys, nodes: &mut Vec<Chunk>) -> Option<ChunkId> {
        let mut depth = 0;
        while depth < self.levels.len() {
            let top = depth + 1 == self.levels.len();
            let level = &mut self.levels[depth];
            match level.as_slice() {
                [only] if top => return Some(only.id),
                [] => {}
                _ => {
                    let parent = close(keys, level, nodes);
                    if top {
                        return Some(parent.id);
                    }
                    self.levels[depth + 1].push(parent);
                }
            }
            depth += 1;
        }
        None
    }
}

fn close<L: Label>(
    keys: &ScopeKeys,
    level: &mut Vec<Child<L>>,
    nodes: &mut Vec<Chunk>,
) -> Child<L> {
    let children = std::mem::take(level);
    let refs = children.iter().map(|child| child.id).collect();
    let node = keys.node(L::node(&children).encode(), refs);
    let number = children
        .last()
        .map_or(0, |last| last.number >> INDEX_CHILDREN_AIM.ilog2());
    let parent = Child {
        id: node.id,
        label: L::over(&children),
        number,
    };
    nodes.push(node);
    parent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::keys;

    fn build(lens: &[u64]) -> (Option<ChunkId>, Vec<Chunk>) {
        let keys = keys("vault");
        let (mut index, mut nodes) = (IndexBuilder::default(), Vec::new());
        for len in lens {
            let id = keys.data_id(&len.to_le_bytes());
            let child = Child {
                id,
                label: Covers(*len),
                number: keys.name_hash(&len.to_le_bytes()),
            };
            index.push(&keys, child, &mut nodes);
        }
        (index.finish(&keys, &mut nodes), nodes)
    }

    #[test]
    fn one_page_needs_no_index_and_none_gives_none() {
        assert_eq!(build(&[]).0, None);
        let (top, nodes) = build(&[7]);
        assert_eq!(top, Some(keys("vault").data_id(&7u64.to_le_bytes())));
        assert!(nodes.is_empty());
    }

    #[test]
    fn all_pages_are_reached_in_order_with_their_lengths() {
        let lens: Vec<u64> = (1..=200_000).collect();
        let (top, nodes) = build(&lens);
        let by_id: std::collections::HashMap<_, _> =
            nodes.iter().map(|node| (node.id, node)).collect();
        let mut found = Vec::new();
        let mut todo = vec![(top.unwrap(), lens.iter().sum::<u64>())];
        while let Some((id, len)) = todo.pop() {
            let Some(node) = by_id.get(&id) else {
                found.push(len);
                continue;
            };
            let index = Node::decode(&node.bytes).unwrap().extents_index.unwrap();
            assert_eq!(index.lens.len(), node.refs.len());
            assert_eq!(index.lens.iter().sum::<u64>(), len);
            todo.extend(node.refs.iter().copied().zip(index.lens).rev());
        }
        assert_eq!(found, lens);
        assert!(nodes.len() > 500, "{} nodes", nodes.len());
    }

    #[test]
    fn one_page_more_writes_few_nodes() {
        let mut lens: Vec<u64> = (1..=100_000).collect();
        let before: std::collections::HashSet<_> =
            build(&lens).1.into_iter().map(|node| node.id).collect();
        lens.insert(50_000, 1 << 40);
        let fresh = build(&lens)
            .1
            .into_iter()
            .filter(|node| !before.contains(&node.id))
            .count();
        assert!(fresh <= 5, "{fresh} nodes are new");
    }
}
