//! A node of each kind, with an entry of each kind that has something of its own.

use holdfast_format::tree::*;

fn entry(kind: EntryKind) -> Entry {
    Entry {
        name: b"na\xffme".to_vec(),
        kind,
        mode: 0o644,
        uid: 1,
        gid: 2,
        user: Some("user".into()),
        group: None,
        mtime_seconds: -5,
        mtime_nanos: 7,
        size: 9,
        xattrs: Some(vec![Xattr {
            name: b"user.x".to_vec(),
            value: vec![0, 255],
        }]),
        hard_link: Some(1),
        content: None,
        directory: None,
        target: None,
        device: None,
    }
}

pub(in super::super) fn node() -> Vec<Vec<u8>> {
    let piece = |chunk| Piece {
        chunk,
        offset: 3,
        len: 9,
    };
    let pieces = vec![piece(Some(0)), piece(None)];
    let content = |inline, pieces, extents| {
        Some(Content {
            inline,
            pieces,
            extents,
        })
    };
    let entries = vec![
        Entry {
            content: content(Some(vec![1; 9]), None, None),
            ..entry(EntryKind::File)
        },
        Entry {
            content: content(None, Some(pieces.clone()), None),
            ..entry(EntryKind::File)
        },
        Entry {
            content: content(None, None, Some(1)),
            ..entry(EntryKind::File)
        },
        Entry {
            directory: Some(2),
            ..entry(EntryKind::Directory)
        },
        Entry {
            target: Some(b"to".to_vec()),
            ..entry(EntryKind::Symlink)
        },
        Entry {
            device: Some(259),
            ..entry(EntryKind::BlockDevice)
        },
    ];
    let root = Root {
        top: 0,
        kind: SourceKind::Files,
        host: "host".into(),
        arguments: vec![b"/srv".to_vec()],
        started_millis: 1,
        finished_millis: 2,
        problems: vec![Problem {
            path: b"/x".to_vec(),
            what: "gone".into(),
        }],
        written_by: "holdfast".into(),
    };
    let nodes = [
        Node::root(root),
        Node::directory(DirectoryPage { entries }),
        Node::directory_index(DirectoryIndex {
            first_names: vec![b"a".to_vec(), b"b".to_vec()],
        }),
        Node::extents(ExtentsPage { pieces }),
        Node::extents_index(ExtentsIndex {
            lens: vec![1, 1 << 40],
        }),
    ];
    nodes.map(|node| node.encode().to_vec()).to_vec()
}
