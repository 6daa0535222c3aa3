//! One vault's life against a node in this process: create, back up, replicate, fail over, collect.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_coordinator::vault::Vault;
use holdfast_coordinator::vault::collector::{Collect, Progress};
use holdfast_coordinator::vault::session::{self, OpenRequest, Opened, Stream};
use holdfast_coordinator::{Node, Options, failover};
use holdfast_format::fact::{MemberJoined, RecipientsSet, SnapshotsTrashed};
use holdfast_format::{
    AgeIdentity, Certificate, Chunk, DataKey, FrameSealer, Generation, Hash, KeyId, ObjectName,
    Recipient, ScopeKeys, SecretKey, SessionId, SessionKey, SiteName, VaultHeader, VaultId,
    VaultSecrets, open_frame,
};
use holdfast_store::SiteOptions;
use holdfast_vault::fetch::locate;
use holdfast_vault::log::writer::put_same;
use holdfast_vault::{Commit, Proposal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

struct World {
    node: Arc<Node>,
    context: Context,
    folder: tempfile::TempDir,
    age: AgeIdentity,
    keys: ScopeKeys,
    recipients: Vec<Recipient>,
    key: SecretKey,
}

fn site(name: &str) -> SiteName {
    SiteName::new(name).unwrap()
}

async fn node(context: &Context, folder: &std::path::Path, key: &SecretKey) -> Arc<Node> {
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
        site_options: SiteOptions::default(),
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

async fn world() -> (World, Arc<Vault>) {
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
    async fn open(&self, vault: &Arc<Vault>) -> (Box<Stream>, FrameSealer, SessionId) {
        let (key, secret) = (
            KeyId(self.context.random()),
            DataKey::new(self.context.random()),
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
    async fn backup(&self, vault: &Arc<Vault>, bodies: &[Bytes]) -> (SessionId, Chunk) {
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

    async fn read(&self, vault: &Arc<Vault>, only: Option<&SiteName>, root: &Chunk) -> Vec<Bytes> {
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

    async fn everywhere(&self, vault: &Arc<Vault>) {
        let head = vault.state().chain.head.unwrap();
        tokio::time::timeout(Duration::from_secs(60), vault.wait_everywhere(head))
            .await
            .unwrap()
            .unwrap();
    }

    async fn collect(&self, vault: &Arc<Vault>) -> (bool, Vec<Progress>) {
        let (progress, mut said) = mpsc::channel(64);
        let (reply, done) = oneshot::channel();
        let message = Collect {
            dry_run: false,
            who: "test".into(),
            progress,
            reply,
        };
        vault.collector().unwrap().tell(message).await.unwrap();
        let mut all = Vec::new();
        while let Some(one) = said.recv().await {
            all.push(one);
        }
        (done.await.unwrap().unwrap(), all)
    }
}

fn body(n: u8, len: usize) -> Bytes {
    (0..len)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ n)
        .collect::<Vec<u8>>()
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn back_up_replicate_restore_from_each_site() {
    let (world, vault) = world().await;
    let bodies = [body(1, 100_000), body(2, 10), body(3, 0)];
    let (snapshot, root) = world.backup(&vault, &bodies).await;
    world.everywhere(&vault).await;
    assert_eq!(vault.snapshot_state(&snapshot), "protected");
    for name in ["onsite", "offsite"] {
        assert_eq!(world.read(&vault, Some(&site(name)), &root).await, bodies);
    }
    // The second time everything is known.
    let (_, again) = world.backup(&vault, &bodies).await;
    assert_eq!(again.id, root.id);
    assert_eq!(
        vault
            .state()
            .catalog
            .packs
            .values()
            .filter(|pack| pack.kind == 0)
            .count(),
        1
    );
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_coordinator_goes_on_in_a_new_epoch() {
    let (world, vault) = world().await;
    let (_, root) = world.backup(&vault, &[body(1, 1000)]).await;
    let epoch = vault.claimant.epoch;
    let hash = vault.state().hash;
    world.node.shut_down().await;
    drop(vault);
    let World {
        node: old,
        context,
        folder,
        ..
    } = &world;
    let name = old.list()[0].header.name.to_string();
    let data = folder.path().to_owned();
    // The old node's placement file is still open in this process: a new one needs its own.
    std::fs::rename(data.join("data"), data.join("data-old")).unwrap();
    let certificates = old
        .placement
        .certificates(old.list()[0].header.vault)
        .await
        .unwrap();
    let header = old.list()[0].header.clone();
    let again = node(context, &data, &world.key).await;
    let certificate = Certificate::decode(&certificates[0]).unwrap();
    let vault = again
        .adopt(header, site("onsite"), &certificate)
        .await
        .unwrap();
    assert!(vault.claimant.epoch > epoch);
    assert_ne!(vault.state().hash, hash);
    let world = World {
        node: again,
        ..world
    };
    assert_eq!(world.read(&vault, None, &root).await, [body(1, 1000)]);
    assert_eq!(world.node.find(&name).unwrap().trouble, "");
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_gone_at_every_site() {
    let (world, vault) = world().await;
    let (first, _) = world
        .backup(&vault, &[body(1, 50_000), body(2, 50_000)])
        .await;
    let (_, kept) = world.backup(&vault, &[body(3, 70_000)]).await;
    let trash = SnapshotsTrashed {
        snapshots: vec![first],
        why: "test".into(),
        who: "test".into(),
        until_millis: 0,
    };
    vault.append(Proposal::Trash(trash)).await.unwrap();
    world.everywhere(&vault).await;
    let packs = |name: &str| walk(&world.folder.path().join(name), "packs").len();
    assert_eq!((packs("onsite"), packs("offsite")), (4, 4));
    // The condemn record has to reach the other member before anything is deleted anywhere.
    let mut done = false;
    for _ in 0..50 {
        let (finished, said) = world.collect(&vault).await;
        assert!(matches!(said[0], Progress::Plan(_)));
        if finished {
            done = true;
            break;
        }
        world.everywhere(&vault).await;
    }
    assert!(done);
    assert!(
        vault.state().catalog.packs.len() <= 2,
        "{:?}",
        vault.state().catalog.packs
    );
    assert_eq!(packs("onsite"), vault.state().catalog.packs.len());
    assert_eq!(packs("offsite"), packs("onsite"));
    assert!(!vault.state().catalog.snapshots.contains_key(&first));
    for name in ["onsite", "offsite"] {
        assert_eq!(
            world.read(&vault, Some(&site(name)), &kept).await,
            [body(3, 70_000)]
        );
    }
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_over_when_the_primary_is_gone() {
    let (world, vault) = world().await;
    let (_, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    std::fs::remove_dir_all(world.folder.path().join("onsite")).unwrap();
    let slot = world.node.find("db").unwrap();
    let plan = failover::plan(&world.node, &slot, &site("offsite"))
        .await
        .unwrap();
    assert!(!plan.primary_answers);
    assert!(plan.loses_nothing, "{}", plan.left_behind);
    let vault = failover::carry_out(&world.node, &slot, &site("offsite"), &plan)
        .await
        .unwrap();
    assert_eq!(vault.primary.site.name(), &site("offsite"));
    assert_eq!(
        world.read(&vault, Some(&site("offsite")), &root).await,
        [body(1, 50_000)]
    );
    let (_, second) = world.backup(&vault, &[body(2, 60_000)]).await;
    assert_eq!(
        world.read(&vault, Some(&site("offsite")), &second).await,
        [body(2, 60_000)]
    );
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_over_with_the_primary_there_leaves_nothing_behind_and_it_follows() {
    let (world, vault) = world().await;
    let (_, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    let slot = world.node.find("db").unwrap();
    let plan = failover::plan(&world.node, &slot, &site("offsite"))
        .await
        .unwrap();
    assert!(plan.primary_answers && plan.loses_nothing);
    let vault = failover::carry_out(&world.node, &slot, &site("offsite"), &plan)
        .await
        .unwrap();
    let (snapshot, _) = world.backup(&vault, &[body(2, 60_000)]).await;
    world.everywhere(&vault).await;
    assert_eq!(vault.snapshot_state(&snapshot), "protected");
    assert_eq!(
        world.read(&vault, Some(&site("onsite")), &root).await,
        [body(1, 50_000)]
    );
    world.node.shut_down().await;
}

fn walk(folder: &std::path::Path, part: &str) -> Vec<std::path::PathBuf> {
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
