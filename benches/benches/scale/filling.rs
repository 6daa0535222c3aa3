//! A session that names chunks which nobody stores: ids, lengths, references and frames are as an agent's, the frames' bytes are
//! zeros that are never written. One that is to be read back seals its nodes and puts their packs.
//!
//! Packs are named by the format's own namer and appended by the vault's own writer.

use std::collections::HashMap;

use bytes::Bytes;
use holdfast_format::fact::{PacksAdded, SessionOpened, SnapshotCommitted};
use holdfast_format::frame::{FRAME_BYTES_AIM, FRAME_OVERHEAD};
use holdfast_format::naming::Namer;
use holdfast_format::{
    Chunk, ChunkId, ChunkKind, DataKey, Fact, Frame, FrameChunk, FrameSealer, Generation, Hash,
    KeyId, KeyRef, ObjectName, Ordinal, Pack, PackBuilder, PackId, PackNumber, Scope, SessionId,
    SessionKey, Suite,
};
use holdfast_vault::Writer;

use crate::founded::{Founded, VAULT};
use crate::stopwatch::Stopwatch;

/// A record names so many packs of data at most.
const PACKS_AT_ONCE: usize = 64;

/// What a page of 500 entries takes, compressed and sealed.
const NODE_BYTES: usize = 14 << 10;

/// The ordinals of nodes that were named, by id: what a session may refer to.
pub(crate) type Named = HashMap<ChunkId, Ordinal>;

/// The scope of all of it.
pub(crate) fn scope() -> Scope {
    Scope::vault()
}

/// An id that no other number has.
pub(crate) fn id(number: u64) -> ChunkId {
    ChunkId(Hash::of(&number.to_le_bytes()).0)
}

/// See the module.
pub(crate) struct Session<'v> {
    founded: &'v Founded,
    opened: SessionOpened,
    /// Seals the nodes of a session that is to be read back.
    sealer: Option<FrameSealer>,
    claim: PackId,
    data: PackBuilder,
    nodes: PackBuilder,
    frame: Vec<FrameChunk>,
    frame_bytes: usize,
    page_frame: Vec<Chunk>,
    full: Vec<Pack>,
    zeros: Bytes,
    /// What appending took: seconds, and seconds of processor time.
    pub(crate) took: (f64, f64),
}

impl<'v> Session<'v> {
    /// Begins one; nothing is appended yet.
    pub(crate) fn new(founded: &'v Founded, writer: &Writer, source: &str) -> Self {
        let key = KeyRef {
            key: KeyId(founded.context.random()),
            generation: Generation(1),
            hash: Hash::of(b""),
        };
        let opened = SessionOpened {
            session: SessionId(founded.context.random()),
            source: source.parse().unwrap(),
            scope: scope(),
            key,
            agent: "bench".into(),
            tags: Vec::new(),
        };
        let claim = PackId {
            epoch: writer.claimant().epoch,
            nonce: writer.claimant().nonce,
            number: PackNumber(u64::from(writer.state().read().unwrap().catalog.next_pack)),
        };
        Self {
            founded,
            opened,
            sealer: None,
            claim,
            data: PackBuilder::new(VAULT, claim, ChunkKind::Data, scope()),
            nodes: PackBuilder::new(VAULT, claim, ChunkKind::Node, scope()),
            frame: Vec::new(),
            frame_bytes: 0,
            page_frame: Vec::new(),
            full: Vec::new(),
            zeros: vec![0; 2 * FRAME_BYTES_AIM + FRAME_OVERHEAD].into(),
            took: (0.0, 0.0),
        }
    }

    /// The same, to be read back: its key and its packs of nodes are put at the site.
    pub(crate) async fn sealed(founded: &'v Founded, writer: &Writer, source: &str) -> Self {
        let mut session = Self::new(founded, writer, source);
        let (key, secret) = (
            session.opened.key.key,
            DataKey::new(Suite::XChaCha20Poly1305, founded.context.random()),
        );
        let (generation, to) = (Generation(1), &founded.recipients);
        let object = SessionKey::seal(VAULT, key, generation, &scope(), &secret, to).unwrap();
        session.opened.key = object.reference;
        let name = ObjectName::session_key(VAULT, key, generation);
        let site = founded.site.site.as_ref();
        holdfast_vault::log::writer::put_same(site, &name, &object.object)
            .await
            .unwrap();
        session.sealer = Some(FrameSealer::new(VAULT, key, &secret, 1).unwrap());
        session
    }

    /// Its id, which is its snapshot's.
    pub(crate) fn id(&self) -> SessionId {
        self.opened.session
    }

    /// The fact that opens it.
    pub(crate) fn opening(&self) -> Fact {
        self.opened.clone().into()
    }

    /// Appends the fact that opens it.
    pub(crate) async fn open(&mut self, writer: &mut Writer) {
        self.append(writer, vec![self.opening()]).await;
    }

    /// Names a chunk of a source.
    pub(crate) fn data(&mut self, id: ChunkId, len: u32) {
        self.frame.push(FrameChunk {
            id,
            len,
            refs: Vec::new(),
        });
        self.frame_bytes += len as usize;
        if self.frame_bytes >= FRAME_BYTES_AIM {
            self.close_frame();
        }
    }

    /// Names a chunk of a source and stores it, in a pack of its own.
    pub(crate) async fn stored(&mut self, chunk: Chunk) {
        self.close_data();
        let mut chance = self.founded.context.fork_random();
        let sealer = self
            .sealer
            .as_mut()
            .expect("a session that is to be read back");
        let frame = sealer.seal(&mut chance, &[chunk]).unwrap();
        self.data.add(frame).unwrap();
        self.close_data();
        let pack = self.full.last().unwrap().clone();
        self.put(pack).await;
    }

    /// Names a node; what it refers to was named before, or stands in `Named`.
    pub(crate) fn node(&mut self, chunk: Chunk) {
        let bytes: usize = self.page_frame.iter().map(|one| one.bytes.len()).sum();
        if self.sealer.is_none() || bytes + chunk.bytes.len() > FRAME_BYTES_AIM {
            self.close_page_frame();
        }
        self.page_frame.push(chunk);
    }

    fn close_frame(&mut self) {
        if self.frame.is_empty() {
            return;
        }
        let frame = Frame {
            key: self.opened.key.key,
            kind: ChunkKind::Data,
            chunks: std::mem::take(&mut self.frame),
            sealed: self.zeros.slice(..self.frame_bytes + FRAME_OVERHEAD),
        };
        self.frame_bytes = 0;
        self.data.add_hashed(frame, Hash::of(b"")).unwrap();
        if self.data.is_full() {
            self.close_data();
        }
    }

    fn close_page_frame(&mut self) {
        if self.page_frame.is_empty() {
            return;
        }
        let chunks = std::mem::take(&mut self.page_frame);
        let frame = match &mut self.sealer {
            Some(sealer) => {
                let mut chance = self.founded.context.fork_random();
                sealer.seal(&mut chance, &chunks).unwrap()
            }
            None => Frame {
                key: self.opened.key.key,
                kind: ChunkKind::Node,
                chunks: chunks
                    .into_iter()
                    .map(|chunk| FrameChunk {
                        id: chunk.id,
                        len: chunk.bytes.len() as u32,
                        refs: chunk.refs,
                    })
                    .collect(),
                sealed: self.zeros.slice(..NODE_BYTES),
            },
        };
        self.nodes.add(frame).unwrap();
    }

    fn next_builder(&mut self, kind: ChunkKind) -> PackBuilder {
        self.claim.number = PackNumber(self.claim.number.0 + 1);
        PackBuilder::new(VAULT, self.claim, kind, scope())
    }

    fn close_data(&mut self) {
        if self.frame_bytes > 0 {
            let rest = std::mem::take(&mut self.frame_bytes);
            self.frame_bytes = rest;
            self.close_frame();
        }
        if !self.data.is_empty() {
            let next = self.next_builder(ChunkKind::Data);
            self.full
                .push(std::mem::replace(&mut self.data, next).finish());
        }
    }

    fn close_nodes(&mut self) {
        self.close_page_frame();
        if !self.nodes.is_empty() {
            let next = self.next_builder(ChunkKind::Node);
            self.full
                .push(std::mem::replace(&mut self.nodes, next).finish());
        }
    }

    async fn put(&self, pack: Pack) {
        let name = ObjectName::pack(VAULT, pack.footer.pack);
        let put = self.founded.site.site.put_pack(&name, pack.body).await;
        put.unwrap();
    }

    /// Its packs that no record names yet, children first.
    pub(crate) async fn packs(&mut self) -> Vec<Pack> {
        self.close_data();
        self.close_nodes();
        let packs = std::mem::take(&mut self.full);
        for pack in &packs {
            if self.sealer.is_some() && pack.footer.kind == ChunkKind::Node {
                self.put(pack.clone()).await;
            }
        }
        packs.into_iter().map(Pack::without_body).collect()
    }

    /// Whether a record should be made of what was named.
    pub(crate) fn is_full(&self) -> bool {
        self.full.len() >= PACKS_AT_ONCE || self.nodes.is_full()
    }

    /// The fact that names its packs. Of ids that are not new, only those in `named` are known.
    pub(crate) async fn naming(&mut self, next: &mut Ordinal, named: &mut Named) -> Option<Fact> {
        let packs = self.packs().await;
        let mut facts = Vec::new();
        let mut nodes = Vec::new();
        {
            let known = |_: &Scope, id: &ChunkId| named.get(id).copied();
            let mut namer = Namer::new(*next, known);
            for pack in &packs {
                facts.push(namer.name(pack, |_| true).unwrap());
                if pack.footer.kind == ChunkKind::Node {
                    let ids = pack.footer.chunks.iter().map(|chunk| chunk.id);
                    nodes.extend(ids.filter_map(|id| Some((id, namer.ordinal(&scope(), &id)?))));
                }
            }
            *next = namer.next();
        }
        named.extend(nodes);
        let added = PacksAdded {
            session: Some(self.opened.session),
            packs: facts,
        };
        (!added.packs.is_empty()).then(|| added.into())
    }

    /// The fact that commits its snapshot, whose root was named.
    pub(crate) fn committing(&self, root: ChunkId, named: &Named, time_millis: i64) -> Fact {
        SnapshotCommitted {
            snapshot: self.opened.session,
            root: named[&root],
            root_id: root,
            files: 1,
            directories: 1,
            bytes: 1 << 20,
            problems: 0,
            bytes_sent: 1 << 20,
            time_millis,
        }
        .into()
    }

    /// Appends what was named.
    pub(crate) async fn flush(&mut self, writer: &mut Writer, named: &mut Named) {
        let mut next = writer.state().read().unwrap().index.next();
        let fact = self.naming(&mut next, named).await;
        self.append(writer, fact.into_iter().collect()).await;
    }

    /// Appends what was named, and the commit.
    pub(crate) async fn commit(&mut self, writer: &mut Writer, named: &mut Named, root: ChunkId) {
        self.flush(writer, named).await;
        let fact = self.committing(root, named, self.founded.context.now_millis());
        self.append(writer, vec![fact]).await;
    }

    async fn append(&mut self, writer: &mut Writer, facts: Vec<Fact>) {
        if facts.is_empty() {
            return;
        }
        let watch = Stopwatch::start();
        writer.append(facts).await.unwrap();
        let (seconds, processor) = watch.read();
        self.took = (self.took.0 + seconds, self.took.1 + processor);
    }
}
