//! What the stories share: a node in this process, two folders as sites, and an agent's work without an agent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_coordinator::vault::Vault;
use holdfast_coordinator::vault::collector::{Collect, Progress, Work};
use holdfast_coordinator::vault::session::{self, OpenRequest, Opened, Stream};
use holdfast_coordinator::{Node, Options};
use holdfast_format::fact::{MemberJoined, RecipientsSet};
use holdfast_format::{
    AgeIdentity, Certificate, Chunk, DataKey, FrameSealer, Generation, Hash, KeyId, ObjectName,
    Recipient, ScopeKeys, SecretKey, SessionId, SessionKey, SiteName, Suite, VaultHeader, VaultId,
    VaultSecrets, open_frame,
};
use holdfast_store::{ByUrl, SiteOptions};
use holdfast_vault::fetch::locate;
use holdfast_vault::log::writer::put_same;
use holdfast_vault::{Commit, Proposal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A node with two sites, an operator and an agent.
pub(crate) struct World {
    pub(crate) node: Arc<Node>,
    pub(crate) context: Context,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) age: AgeIdentity,
    pub(crate) keys: ScopeKeys,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) key: SecretKey,
}

pub(crate) fn site(name: &str) -> SiteName {
    SiteName::new(name).unwrap()
}

pub(crate) async fn node(
    context: &Context,
    folder: &std::path::Path,
    key: &SecretKey,
) -> Arc<Node> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let placement = holdfast_placement::open(context.clone(), "embedded:", &data)
        .await
        .unwrap();
    let url = |name: &str| format!("file:{}", folder.join(name).display());
    let options = Options {
        name: "c1".into(),
        data,
        addresses: vec![],
        sites: vec![
            (site("onsite"), url("onsite")),
            (site("offsite"), url("offsite")),
        ],
        opener: Arc::new(ByUrl {
            context: context.clone(),
            options: SiteOptions::default(),
        }),
        lease: Duration::from_secs(10),
        key: key.clone(),
        version: "test".into(),
        placement: "embedded".into(),
    };
    Node::start(
        context.clone(),
        options,
        placement,
        CancellationToken::new(),
    )
    .await
    .unwrap()
}

pub(crate) async fn world() -> (World, Arc<Vault>) {
    let context = Context::system();
    let folder = tempfile::tempdir().unwrap();
    let key = SecretKey::new(&context.random());
    let node = node(&context, folder.path(), &key).await;
    let root = SecretKey::new(&context.random());
    let id = VaultId(context.random());
    let header = VaultHeader::new(id, "db".parse().unwrap(), root.public(), 1);
    let age = AgeIdentity::generate();
    let recipients = vec![Recipient::new("operator", &age.recipient()).unwrap()];
    let secrets = VaultSecrets::new(context.random(), context.random());
    let object = secrets.seal(id, Generation(1), &recipients).unwrap();
    let set = RecipientsSet::sign(
        &root,
        id,
        Generation(1),
        recipients.clone(),
        Hash::of(&object.to_bytes()),
        1,
    );
    let primary = node.sites.open(&site("onsite")).await.unwrap().site;
    put_same(
        primary.as_ref(),
        &ObjectName::vault_key(id, Generation(1)),
        &object,
    )
    .await
    .unwrap();
    put_same(
        primary.as_ref(),
        &ObjectName::header(id),
        &header.seal(&root),
    )
    .await
    .unwrap();
    let certificate = Certificate::make(&root, id, key.public(), "c1", 1);
    let vault = node
        .adopt(header, site("onsite"), &certificate)
        .await
        .unwrap();
    let members = ["onsite", "offsite"].map(|name| MemberJoined {
        site: site(name),
        url: node.sites.url(&site(name)).unwrap(),
        who: "test".into(),
    });
    let found = Proposal::Found {
        members: members.to_vec(),
        recipients: set,
        policy: None,
    };
    vault.append(found).await.unwrap();
    vault.follow_members();
    let keys = secrets.scope_keys(&"vault".parse().unwrap());
    (
        World {
            node,
            context,
            folder,
            age,
            keys,
            recipients,
            key,
        },
        vault,
    )
}

impl World {
    pub(crate) async fn open(&self, vault: &Arc<Vault>) -> (Box<Stream>, FrameSealer, SessionId) {
        let (key, secret) = (
            KeyId(self.context.random()),
            DataKey::new(Suite::XChaCha20Poly1305, self.context.random()),
        );
        let id = vault.header.vault;
        let scope = "vault".parse().unwrap();
        let sealed =
            SessionKey::seal(id, key, Generation(1), &scope, &secret, &self.recipients).unwrap();
        let session = SessionId(self.context.random());
        let request = OpenRequest {
            session,
            source: "files".parse().unwrap(),
            agent: "a".into(),
            scope,
            tags: vec!["t".into()],
            key_object: sealed.object.to_bytes().to_vec(),
            resume: false,
        };
        let Opened::Go(stream, 0) = session::open(vault, request).await.unwrap() else {
            panic!("a new session is not committed");
        };
        (
            stream,
            FrameSealer::new(id, key, &secret, 1).unwrap(),
            session,
        )
    }

    /// Backs up bodies as chunks under one node; gives the snapshot and the root.
    pub(crate) async fn backup(&self, vault: &Arc<Vault>, bodies: &[Bytes]) -> (SessionId, Chunk) {
        let (mut stream, mut sealer, session) = self.open(vault).await;
        let mut rng = self.context.fork_random();
        let chunks: Vec<Chunk> = bodies
            .iter()
            .map(|body| self.keys.data(body.clone()))
            .collect();
        let root = self.keys.node(
            Bytes::from_static(b"root"),
            chunks.iter().map(|chunk| chunk.id).collect(),
        );
        let known = stream.answer(&chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>());
        let mut number = 0;
        for (chunk, _) in chunks.iter().zip(known).filter(|(_, known)| !known) {
            number += 1;
            stream
                .frame(
                    number,
                    sealer.seal(&mut rng, std::slice::from_ref(chunk)).unwrap(),
                )
                .unwrap();
        }
        stream
            .frame(
                number + 1,
                sealer.seal(&mut rng, std::slice::from_ref(&root)).unwrap(),
            )
            .unwrap();
        let commit = Commit {
            root: root.id,
            files: 1,
            directories: 1,
            bytes: 3,
            problems: 0,
        };
        assert_eq!(stream.finish(commit).await.unwrap().unwrap(), session);
        (session, root)
    }

    pub(crate) async fn read(
        &self,
        vault: &Arc<Vault>,
        only: Option<&SiteName>,
        root: &Chunk,
    ) -> Vec<Bytes> {
        let scope = "vault".parse().unwrap();
        let (reads, unknown) = locate(&vault.state(), &scope, &root.refs);
        assert!(unknown.is_empty(), "{unknown:?}");
        let sites = vault.read_sites(only).await.unwrap();
        let mut found = std::collections::HashMap::new();
        for read in reads {
            let fetched = vault.frames.fetch(&sites, &read).await;
            assert!(fetched.lost.is_empty(), "{:?}", fetched.lost);
            for frame in fetched.frames {
                let reference = vault.state().catalog.keys[&frame.key].reference;
                let name =
                    ObjectName::session_key(vault.header.vault, frame.key, reference.generation);
                let object = sites[0].get(&name).await.unwrap().unwrap();
                let key =
                    SessionKey::open(vault.header.vault, &reference, &scope, &object, &self.age)
                        .unwrap();
                let opened = open_frame(vault.header.vault, &key, &self.keys, &frame).unwrap();
                for (chunk, bytes) in frame.chunks.iter().zip(opened) {
                    found.insert(chunk.id, bytes);
                }
            }
        }
        root.refs.iter().map(|id| found[id].clone()).collect()
    }

    pub(crate) async fn everywhere(&self, vault: &Arc<Vault>) {
        let head = vault.state().chain.head.unwrap();
        let level =
            tokio::time::timeout(Duration::from_secs(60), vault.wait_everywhere(head)).await;
        level
            .unwrap_or_else(|_| panic!("{head} is not everywhere: {:#?}", vault.standings()))
            .unwrap();
    }

    pub(crate) async fn collect(&self, vault: &Arc<Vault>) -> (bool, Vec<Progress>) {
        let (done, all) = self.try_collect(vault).await;
        (done.unwrap(), all)
    }

    /// Gives what was told too; a collection may be refused.
    pub(crate) async fn try_collect(
        &self,
        vault: &Arc<Vault>,
    ) -> (holdfast_coordinator::Result<bool>, Vec<Progress>) {
        let (progress, mut said) = mpsc::channel(64);
        let (reply, done) = oneshot::channel();
        let message = Collect {
            what: Work::All,
            unused_percent_max: None,
            end_sessions: false,
            who: "test".into(),
            progress,
            reply,
        };
        vault.collector().unwrap().tell(message).await.unwrap();
        let mut all = Vec::new();
        while let Some(one) = said.recv().await {
            all.push(one);
        }
        (done.await.unwrap(), all)
    }
}

pub(crate) fn body(n: u8, len: usize) -> Bytes {
    (0..len)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ n)
        .collect::<Vec<u8>>()
        .into()
}

/// Files below a folder that lie in a folder of this name.
pub(crate) fn walk(folder: &std::path::Path, part: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            match entry.file_type().unwrap().is_dir() {
                true => open.push(path),
                false if path.components().any(|c| c.as_os_str() == part) => found.push(path),
                false => {}
            }
        }
    }
    found
}
