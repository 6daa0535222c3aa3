//! Nodes: what a snapshot's tree is made of.

use holdfast_format::tree::Node;

pub(super) fn node(bytes: &[u8]) {
    if let Ok(node) = Node::decode(bytes) {
        assert_eq!(Node::decode(&node.encode()), Ok(node));
    }
}
