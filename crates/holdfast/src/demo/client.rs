//! The demo as a client: the same client library, the same files and the same checks as the commands.
//!
//! State: the connection, the agent's bundle, where the identity lies. The identity is read from its file for each
//! restore, as a person would have to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_agent::ChunkSource;
use holdfast_agent::backup::{
    BackupResult, CacheOptions, FilesOptions, Progress, backup_files, host_name,
};
use holdfast_agent::client::keys::{self, VaultPlan};
use holdfast_agent::client::{
    Admin, Connection, Finished, RemoteOptions, RemoteSource, SessionOptions, SessionSink,
    SnapshotInfo, Totals,
};
use holdfast_agent::restore::{RestoreOptions, RestoreProgress, RestoreResult, restore};
use holdfast_format::tree::Problem;
use holdfast_format::{Bundle, ChunkId, Identity, Scope, ScopeKeys, SourceName};

use super::folder::Scratch;
use super::originals::Root;
use super::sites::{OFFSITE, ONSITE};
use crate::args::IdentityArgs;
use crate::call::Call;
use crate::commands::backup::show_progress;
use crate::failure::{Failure, Outcome};
use crate::{names, private_file, restoring};

/// The vault's name.
pub(super) const VAULT: &str = "demo";

/// The identity's file.
pub(super) const IDENTITY: &str = "identity.txt";

/// The agent's bundle.
pub(super) const BUNDLE: &str = "agent.bundle";

/// See the module header.
#[derive(Debug)]
pub(super) struct Client {
    call: Call,
    connection: Connection,
    /// Everything but data.
    pub(super) admin: Admin,
    bundle: Bundle,
    identity: PathBuf,
    /// Where it remembers unchanged files.
    cache: PathBuf,
}

/// A backup that was committed.
#[derive(Debug)]
pub(super) struct BackedUp {
    /// The snapshot.
    pub(super) info: SnapshotInfo,
    /// Files that were not read because they are unchanged.
    pub(super) unchanged_files: u64,
    /// Bytes read from the tree.
    pub(super) bytes_read: u64,
    /// Sealed bytes sent to the coordinator.
    pub(super) bytes_sent: u64,
    /// Chunks that the vault did not have.
    pub(super) chunks_new: u64,
    /// Paths that could not be read: the first thousands, and how many.
    pub(super) problems: Vec<Problem>,
    /// How many paths could not be read.
    pub(super) problems_count: u64,
    sink: Arc<SessionSink>,
}

/// A snapshot that was restored.
#[derive(Debug)]
pub(super) struct Restored {
    /// What the restore tells.
    pub(super) result: RestoreResult,
    /// Bytes of content that were fetched for it.
    pub(super) bytes_fetched: u64,
}

impl Client {
    /// Makes a vault at both sites; its keys are made here, and the identity is written before anything is sent.
    pub(super) async fn create_vault(
        call: &Call,
        connection: Connection,
        scratch: &Scratch,
    ) -> Outcome<Self> {
        let admin = Admin::new(&connection);
        let coordinator = admin.describe().await?;
        let agent = names::agent()?;
        let plan = VaultPlan {
            name: VAULT.parse()?,
            recipients: Vec::new(),
            scope: Scope::agent(&agent),
            agent,
        };
        let new = keys::make_vault(&call.context, plan, &coordinator)?;
        let identity = scratch.at(IDENTITY);
        private_file::create(&identity, new.identity.to_text().as_bytes())?;
        let sites = vec![ONSITE.into(), OFFSITE.into()];
        keys::create(&connection, &new, sites, String::new(), &call.who()).await?;
        private_file::create(&scratch.at(BUNDLE), new.bundle.to_text().as_bytes())?;
        Ok(Self {
            call: call.clone(),
            connection,
            admin,
            bundle: new.bundle,
            identity,
            cache: scratch.at("cache"),
        })
    }

    /// Backs a source up.
    pub(super) async fn back_up(&self, root: &Root) -> Outcome<BackedUp> {
        let call = &self.call;
        let options = SessionOptions::new(SourceName::new(root.source)?);
        let open = async {
            let bundle = &self.bundle;
            Ok(SessionSink::open(&call.context, &self.connection, bundle, options).await?)
        };
        let sink = Arc::new(call.unless_interrupted(open).await?);
        match self.pass(&sink, root).await {
            Ok(done) => Ok(done),
            Err(failure) => {
                sink.abandon(&failure.what).await;
                Err(failure)
            }
        }
    }

    async fn pass(&self, sink: &Arc<SessionSink>, root: &Root) -> Outcome<BackedUp> {
        let call = &self.call;
        let options = FilesOptions {
            paths: vec![root.path.clone()],
            host: host_name(),
            cache: Some(CacheOptions {
                file: self.cache.join(format!("{}.files", root.source)),
                vault: self.bundle.vault,
                scope: self.bundle.scope.clone(),
                source: SourceName::new(root.source)?,
            }),
            ..FilesOptions::default()
        };
        let progress = Arc::new(Progress::default());
        let shown = show_progress(call, &progress, Some(sink.progress()));
        let (keys, chunks) = (&self.bundle.keys, Arc::clone(sink) as _);
        let cancel = call.cancel.clone();
        let read = backup_files(&call.context, keys, options, chunks, cancel, progress);
        let result = read.await?;
        let totals = Totals {
            files: result.files,
            directories: result.directories,
            bytes: result.bytes_logical,
            problems: result.problems_count,
        };
        let top = result.root;
        let finish = async { Ok(sink.finish(top, totals, true).await?) };
        let finished = call.unless_interrupted(finish).await?;
        drop(shown);
        let Finished::Committed(info) = finished else {
            result.cache.finish(false);
            return Err(Failure::new(
                "the snapshot was not committed: chunks that it refers to are gone",
            ));
        };
        let figures = sink.progress().figures();
        let BackupResult {
            unchanged_files,
            bytes_read,
            problems,
            problems_count,
            cache,
            ..
        } = result;
        cache.finish(true);
        Ok(BackedUp {
            info: *info,
            unchanged_files,
            bytes_read,
            bytes_sent: figures.bytes_sent,
            chunks_new: figures.chunks_new,
            problems,
            problems_count,
            sink: Arc::clone(sink),
        })
    }

    /// Restores a snapshot through the coordinator, from one site alone.
    pub(super) async fn restore(
        &self,
        snapshot: &SnapshotInfo,
        site: &str,
        target: &Path,
    ) -> Outcome<Restored> {
        let call = &self.call;
        let identity = read_identity(&self.identity)?;
        let mut options = RemoteOptions::new(call.who());
        options.site = Some(site.into());
        let open = async {
            let (connection, id) = (&self.connection, snapshot.id);
            Ok(
                RemoteSource::open(&call.context, connection, &identity, VAULT, id, options)
                    .await?,
            )
        };
        let source = Arc::new(call.unless_interrupted(open).await?);
        let keys = source.scope_keys().clone();
        let chunks = Arc::clone(&source) as _;
        let restored = write(call, chunks, snapshot.root, snapshot.bytes, &keys, target).await;
        source.close().await;
        restored
    }
}

impl BackedUp {
    /// Waits until the snapshot stands on every site.
    pub(super) async fn protected(&self) -> Outcome<SnapshotInfo> {
        Ok(self.sink.protected().await?)
    }
}

/// Writes a snapshot into a new folder, wherever its chunks come from.
pub(super) async fn write(
    call: &Call,
    source: Arc<dyn ChunkSource>,
    root: ChunkId,
    bytes: u64,
    keys: &ScopeKeys,
    target: &Path,
) -> Outcome<Restored> {
    let progress = Arc::new(RestoreProgress::default());
    progress.bytes_expected.store(bytes, Ordering::Relaxed);
    let shown = restoring::show(call, &progress);
    let restored = restore(
        &call.context,
        source,
        root,
        Some(keys),
        &RestoreOptions::new(target),
        call.cancel.clone(),
        Arc::clone(&progress),
    )
    .await;
    drop(shown);
    Ok(Restored {
        result: restored?,
        bytes_fetched: progress.bytes_fetched.load(Ordering::Relaxed),
    })
}

/// Reads the identity as any command does.
pub(super) fn read_identity(path: &Path) -> Outcome<Identity> {
    let args = IdentityArgs {
        identity: Some(path.to_owned()),
        passphrase_file: None,
    };
    args.read()
}
