//! A world: two or three sites, placement, coordinators that come and go, agents, an operator, under one seed.
//!
//! State: all of that, the model beside it, and the watch over deletions. It is made anew for each history.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_context::Context;
use holdfast_coordinator::services::Service;
use holdfast_format::fact::RecipientsSet;
use holdfast_format::{
    AgeIdentity, Bundle, Certificate, Generation, Hash, Identity, Recipient, SecretKey,
    VaultHeader, VaultId, VaultSecrets,
};
use holdfast_placement::Placement;
use holdfast_proto::v1;
use holdfast_proto::v1::vaults_server::Vaults;
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::Request;

use crate::chance::Chance;
use crate::clock::{BEGIN_MILLIS, SimClock};
use crate::disk::Disk;
use crate::gate::Gate;
use crate::link;
use crate::model::Model;
use crate::placement::Shared;
use crate::process::{Process, cluster_key};
use crate::trace::Trace;
use crate::watch::Watch;
use crate::weather::Weather;

/// The vault's name.
const VAULT: &str = "db";

/// Names of sites; the first is the primary at first.
pub const SITES: [&str; 3] = ["onsite", "offsite", "third"];

/// Names of coordinators.
pub const COORDINATORS: [&str; 3] = ["c1", "c2", "c3"];

/// Pause before a coordinator that could not be started is started again.
const START_AGAIN: Duration = Duration::from_secs(5);

/// See the module.
pub struct World {
    /// The seed.
    pub seed: u64,
    /// Chance.
    pub chance: Chance,
    /// What happened.
    pub trace: Trace,
    /// What goes wrong.
    pub weather: Weather,
    /// The watch over deletions.
    pub watch: Arc<Watch>,
    /// True time.
    pub clock: Arc<SimClock>,
    /// The sites.
    pub disks: Vec<Arc<Disk>>,
    /// The placement store.
    pub placement: Arc<Shared>,
    /// The operator's own.
    pub context: Context,
    /// The vault's header.
    pub header: VaultHeader,
    /// The vault's secrets, which only agents and restores use.
    pub secrets: VaultSecrets,
    /// The operator's identity.
    pub identity: Identity,
    /// Who can read the vault.
    pub recipients: RecipientsSet,
    /// Clients find the owner by themselves: they ask any coordinator, and go where it sends them.
    follows: AtomicBool,
    folder: TempDir,
    model: Mutex<Model>,
    clocks: Mutex<BTreeMap<String, Arc<SimClock>>>,
    runs: Mutex<BTreeMap<String, u64>>,
    processes: Mutex<BTreeMap<String, Arc<Process>>>,
    /// One run of a name at a time.
    starting: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World({})", self.seed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What can go wrong with the making of a world itself.
pub type Made<T> = Result<T, String>;

fn wrong(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl World {
    /// A world with a vault over so many sites, and one coordinator.
    pub async fn make(seed: u64, sites: usize, trace: Trace) -> Made<Arc<Self>> {
        let clock = Arc::new(SimClock::new(Instant::now()));
        let chance = Chance::new(seed);
        let context = link::context(&chance, "operator", clock.clone());
        let disks: Vec<Arc<Disk>> = SITES[..sites].iter().map(|name| Disk::new(name)).collect();
        let root = SecretKey::new(&context.random());
        let vault = VaultId(context.random());
        let name: holdfast_format::VaultName = VAULT.parse().map_err(wrong)?;
        let header = VaultHeader::new(vault, name.clone(), root.public(), BEGIN_MILLIS);
        let age = AgeIdentity::generate();
        let recipients = vec![Recipient::new("operator", &age.recipient()).map_err(wrong)?];
        let secrets = VaultSecrets::new(context.random(), context.random());
        let object = secrets
            .seal(vault, Generation(1), &recipients)
            .map_err(wrong)?;
        let set = RecipientsSet::sign(
            &root,
            vault,
            Generation(1),
            recipients,
            Hash::of(&object.to_bytes()),
            BEGIN_MILLIS,
        );
        let world = Arc::new(Self {
            seed,
            weather: Weather::new(chance.clone(), trace.clone()),
            chance,
            trace,
            watch: Arc::default(),
            clock,
            disks,
            placement: Shared::new(context.clone()).map_err(wrong)?,
            context,
            header: header.clone(),
            secrets,
            identity: Identity::new(vault, name, age, root.clone()),
            recipients: set.clone(),
            follows: AtomicBool::new(false),
            folder: scratch().map_err(wrong)?,
            model: Mutex::default(),
            clocks: Mutex::default(),
            runs: Mutex::default(),
            processes: Mutex::default(),
            starting: Mutex::default(),
        });
        world.certify().await?;
        let first = world.boot(COORDINATORS[0]).await;
        let certificate = world.certificate(&root);
        let create = v1::CreateVaultRequest {
            header: header.seal(&root).to_bytes(),
            vault_key: object.to_bytes(),
            recipients: set.encode().into(),
            certificate: certificate.encode().into(),
            sites: SITES[..sites].iter().map(ToString::to_string).collect(),
            policy: String::new(),
            who: "operator".into(),
        };
        let created = first.service.create_vault(Request::new(create)).await;
        created.map_err(|status| status.message().to_owned())?;
        let (disks, trace) = (world.disks.clone(), world.trace.clone());
        world.watch.over(vault, disks, trace);
        Ok(world)
    }

    fn certificate(&self, root: &SecretKey) -> Certificate {
        let key = cluster_key(self.seed).public();
        Certificate::make(root, self.header.vault, key, "cluster", BEGIN_MILLIS)
    }

    /// Certifies the cluster's key: when the vault is made, and again when placement was lost (`vault attach`).
    pub async fn certify(&self) -> Made<()> {
        let Some(root) = &self.identity.root else {
            return Err("the operator has no root key".into());
        };
        let store = self.placement.store();
        let certificate = self.certificate(root).encode();
        let put = store.put_certificate(self.header.vault, &certificate);
        put.await.map_err(wrong)
    }

    /// Whether copies were damaged on purpose, or are not written where that is answered.
    pub fn is_damaged(&self) -> bool {
        let mut counts = self.trace.counts().into_keys();
        counts.any(|kind| {
            let damage = ["fault: Rot", "fault: Lie", "fault: Replace"];
            damage.iter().any(|damage| kind.starts_with(damage))
        })
    }

    /// How often a disk went back to an older copy of itself so far.
    pub fn rolled_back(&self) -> u64 {
        let counts = self.trace.counts();
        counts.get("fault: RollBack").copied().unwrap_or(0)
    }

    /// The vault's name.
    pub fn vault_name(&self) -> String {
        VAULT.into()
    }

    /// The model.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    /// A site.
    pub fn disk(&self, name: &str) -> Option<&Arc<Disk>> {
        self.disks
            .iter()
            .find(|disk| disk.site_name().as_str() == name)
    }

    /// A machine's clock, which outlives its coordinator.
    pub fn clock_of(&self, name: &str) -> Arc<SimClock> {
        let mut clocks = lock(&self.clocks);
        let clock = clocks.entry(name.into());
        let right = || Arc::new(SimClock::new(self.clock.began()));
        clock.or_insert_with(right).clone()
    }

    /// All clocks are set right.
    pub fn set_clocks_right(&self) {
        lock(&self.clocks)
            .values()
            .for_each(|clock| clock.set_right());
    }

    /// How often a coordinator of this name was started, this time included.
    pub fn runs(&self, name: &str) -> u64 {
        let mut runs = lock(&self.runs);
        let count = runs.entry(name.into()).or_default();
        *count += 1;
        *count
    }

    /// Starts a coordinator, and again until it comes up; gives it.
    pub async fn boot(self: &Arc<Self>, name: &str) -> Arc<Process> {
        let turn = lock(&self.starting).entry(name.into()).or_default().clone();
        let _turn = turn.lock().await;
        if let Some(process) = self.process(name) {
            return process;
        }
        loop {
            let data = self.data(name);
            let gate = Gate::default();
            let started = tokio::select! {
                biased;
                () = gate.dies() => Err(holdfast_coordinator::Error::Unavailable("it died".into())),
                started = Process::start(self, name, &data, gate.clone()) => started,
            };
            match started {
                Ok(process) => {
                    self.trace.say(name, format_args!("is up"));
                    lock(&self.processes).insert(name.into(), process.clone());
                    return process;
                }
                Err(error) => {
                    self.trace
                        .say(name, format_args!("does not start: {}", error.reason()));
                    tokio::time::sleep(START_AGAIN).await;
                }
            }
        }
    }

    fn data(&self, name: &str) -> PathBuf {
        let data = self.folder.path().join(name);
        // What cannot be made is met by the coordinator.
        let _ = std::fs::create_dir_all(&data);
        data
    }

    /// The coordinator of this name, if it lives.
    pub fn process(&self, name: &str) -> Option<Arc<Process>> {
        let processes = lock(&self.processes);
        processes
            .get(name)
            .filter(|process| !process.gate.is_dead())
            .cloned()
    }

    /// All that live.
    pub fn living(&self) -> Vec<Arc<Process>> {
        let processes = lock(&self.processes);
        let living = processes.values().filter(|process| !process.gate.is_dead());
        living.cloned().collect()
    }

    /// Names of those that died at a call and were not buried.
    pub fn dead(&self) -> Vec<String> {
        let processes = lock(&self.processes);
        let dead = processes
            .iter()
            .filter(|(_, process)| process.gate.is_dead());
        dead.map(|(name, _)| name.clone()).collect()
    }

    /// Forgets a process that is gone.
    pub fn bury(&self, name: &str) {
        lock(&self.processes).remove(name);
    }

    /// The one that owns the vault, if one thinks so.
    pub fn owner(&self) -> Option<Arc<Process>> {
        let mut living = self.living().into_iter();
        living.find(|process| process.node.vault(VAULT).is_ok())
    }

    /// Of those that think they own the vault the one with the highest epoch: the others do not know yet that they were
    /// deposed.
    pub fn last_owner(&self) -> Option<Arc<Process>> {
        let epoch = |process: &Arc<Process>| {
            let vault = process.node.vault(VAULT).ok()?;
            Some(vault.claimant.epoch)
        };
        let living = self.living().into_iter();
        let owners = living.filter(|process| epoch(process).is_some());
        owners.max_by_key(|process| epoch(process))
    }

    /// The owner's name and epoch, if there is one.
    pub fn owner_epoch(&self) -> Option<(String, holdfast_format::Epoch)> {
        let owner = self.owner()?;
        let vault = owner.node.vault(VAULT).ok()?;
        Some((owner.name.clone(), vault.claimant.epoch))
    }

    /// From now on clients find the owner by themselves.
    pub fn let_clients_follow(&self) {
        self.follows.store(true, Ordering::SeqCst);
    }

    /// Whether clients find the owner by themselves.
    pub fn follows(&self) -> bool {
        self.follows.load(Ordering::SeqCst)
    }

    /// Whom a client talks to: mostly the owner, sometimes another.
    pub fn pick_process(&self, client: &str) -> Option<Arc<Process>> {
        if !self.chance.strikes(100, &["whom", client])
            && let Some(owner) = self.owner()
        {
            return Some(owner);
        }
        let living = self.living();
        self.chance.pick(&living, &["other", client]).cloned()
    }

    /// Services of whom a client talks to.
    pub fn service(&self, client: &str) -> Option<Service> {
        self.pick_process(client)
            .map(|process| process.service.clone())
    }

    /// What an agent of this name holds.
    pub fn bundle(&self, agent: &str, scope: &str) -> Made<Bundle> {
        let scope = scope.parse().map_err(wrong)?;
        Ok(Bundle {
            vault: self.header.vault,
            name: self.header.name.clone(),
            root: self.header.root,
            recipients: self.recipients.clone(),
            agent: agent.parse().map_err(wrong)?,
            keys: self.secrets.scope_keys(&scope),
            scope,
        })
    }
}

/// A folder in memory where there is one: what a coordinator caches is written and read thousands of times.
fn scratch() -> std::io::Result<TempDir> {
    let memory = std::path::Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
}
