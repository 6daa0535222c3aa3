//! Several coordinators over one placement store in etcd, with the same sites and the same key.
//!
//! Who owns a vault is asked of whoever answers. Nothing sleeps: what takes time is asked for until it is so, within a limit.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::client::Client;
use crate::coordinator::Coordinator;
use crate::ground::Ground;
use crate::surroundings;

/// The shortest lease that there is.
pub const LEASE: Duration = Duration::from_secs(2);

/// What comes about by itself has this long, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(90);

/// See the module header.
#[derive(Debug)]
pub struct Cluster {
    /// Its coordinators, running or not.
    pub coordinators: Vec<Coordinator>,
    user: Client,
}

impl Cluster {
    /// Starts coordinators of these names over sites in folders of the ground, which bear the sites' names.
    #[track_caller]
    pub fn start(ground: &Ground, names: &[&str], sites: &[&str]) -> Self {
        Self::start_over(ground, &surroundings::etcd("cluster"), names, sites)
    }

    /// The same over another placement store.
    #[track_caller]
    pub fn start_over(ground: &Ground, placement: &str, names: &[&str], sites: &[&str]) -> Self {
        ground.user().done(&["key", "cluster", "cluster.key"]);
        let start = |name: &&str| {
            let starting = ground.coordinator(name).file_sites(sites);
            let starting = starting.placement(placement);
            let starting = starting.words(&["--cluster-key", "cluster.key", "--lease", "2s"]);
            starting.start()
        };
        Self {
            coordinators: names.iter().map(start).collect(),
            user: ground.user(),
        }
    }

    /// A user who knows all of them.
    pub fn user(&self) -> Client {
        self.user.on_any(&self.coordinators)
    }

    /// A user who knows one of them.
    pub fn user_of(&self, coordinator: usize) -> Client {
        self.user.on(&self.coordinators[coordinator])
    }

    /// What one that runs says of a vault; none if it does not know it.
    fn asked(&self, coordinator: usize, vault: &str) -> Option<Value> {
        let ran = self.user_of(coordinator).run(&["--json", "status"]);
        let status = (ran.code == Some(0)).then(|| ran.json())?;
        let mut vaults = status["vaults"].as_array()?.iter();
        vaults.find(|one| one["name"] == vault).cloned()
    }

    /// Which of those that run has a vault open, if one has.
    pub fn owner(&self, vault: &str) -> Option<usize> {
        (0..self.coordinators.len()).find(|&coordinator| {
            let here = &self.coordinators[coordinator];
            here.is_started()
                && self
                    .asked(coordinator, vault)
                    .is_some_and(|shown| shown["state"] == "open" && shown["owner"] == here.name())
        })
    }

    /// Waits until one has a vault open that is as asked for; which, and how long it took.
    #[track_caller]
    pub fn wait_owner(&self, vault: &str, is_right: impl Fn(usize) -> bool) -> (usize, Duration) {
        let since = Instant::now();
        loop {
            if let Some(owner) = self.owner(vault).filter(|&owner| is_right(owner)) {
                return (owner, since.elapsed());
            }
            assert!(since.elapsed() < LIMIT, "no such owner of vault {vault}");
        }
    }

    /// Waits until what is asked for is so.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            assert!(since.elapsed() < LIMIT, "not in time: {what}");
        }
    }

    /// Sessions that the owner of a vault has open.
    pub fn open_sessions(&self, vault: &str) -> u64 {
        let owner = self.owner(vault);
        let shown = owner.and_then(|owner| self.asked(owner, vault));
        shown.map_or(0, |shown| shown["open_sessions"].as_u64().unwrap())
    }

    /// All but one.
    pub fn others(&self, than: usize) -> impl Iterator<Item = usize> {
        (0..self.coordinators.len()).filter(move |&one| one != than)
    }
}
