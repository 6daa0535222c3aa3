//! One run of a coordinator: from its start to its stop or its crash.
//!
//! State: the node, the real one, over this world's links; its gate; its clock. The same name can be run again: with the
//! same key and the same data folder, and nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_coordinator::services::Service;
use holdfast_coordinator::{Node, Options, Result};
use holdfast_format::SecretKey;
use tokio_util::sync::CancellationToken;

use crate::clock::SimClock;
use crate::gate::Gate;
use crate::link::{Links, context};
use crate::placement::PlacementLink;
use crate::route::address;
use crate::world::World;

/// How long a lease lasts.
pub const LEASE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Process {
    /// The coordinator's name.
    pub name: String,
    /// Whether it lives.
    pub gate: Gate,
    /// Its wall clock.
    pub clock: Arc<SimClock>,
    /// The real coordinator.
    pub node: Arc<Node>,
    /// Its services.
    pub service: Service,
    stop: CancellationToken,
}

/// The key by which the cluster's coordinators sign.
pub fn cluster_key(world_seed: u64) -> SecretKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&world_seed.to_le_bytes());
    hasher.update(b"cluster");
    SecretKey::new(hasher.finalize().as_bytes())
}

impl Process {
    /// Starts a coordinator.
    pub async fn start(world: &World, name: &str, data: &Path, gate: Gate) -> Result<Arc<Self>> {
        let run = world.runs(name);
        let clock = world.clock_of(name);
        let context = context(&world.chance, &format!("{name} run {run}"), clock.clone());
        let links = Links {
            process: name.into(),
            gate: gate.clone(),
            weather: world.weather.clone(),
            clock: world.clock.clone(),
            watch: world.watch.clone(),
            disks: world.disks.clone(),
        };
        let placement = PlacementLink {
            process: name.into(),
            gate: gate.clone(),
            weather: world.weather.clone(),
            shared: world.placement.clone(),
        };
        let sites = world.disks.iter();
        let options = Options {
            name: name.into(),
            data: data.into(),
            addresses: vec![address(name)],
            sites: sites
                .map(|disk| (disk.site_name().clone(), disk.site_url().into()))
                .collect(),
            opener: Arc::new(links),
            lease: LEASE,
            key: cluster_key(world.seed),
            version: "simulated".into(),
            placement: "simulated".into(),
        };
        let stop = CancellationToken::new();
        let node = Node::start(context, options, Arc::new(placement), stop.clone()).await?;
        Ok(Arc::new(Self {
            name: name.into(),
            gate,
            clock,
            service: Service::new(node.clone()),
            node,
            stop,
        }))
    }

    /// It dies, wherever it is. Nothing that it does from now on reaches the world.
    pub fn crash(&self) {
        self.gate.kill();
        // Only so that its tasks, which nobody can see any more, end.
        self.stop.cancel();
    }

    /// It stops in order.
    pub async fn stop(&self) {
        tokio::select! {
            biased;
            () = self.gate.dies() => {}
            () = self.node.shut_down() => {}
        }
        self.gate.kill();
    }
}
