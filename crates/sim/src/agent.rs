//! Agents: each backs its tree up again and again, with the real session's code, and changes it in between.
//!
//! State of an agent: its tree, and whether it trusts what it was told was known. A backup that fails is no failure of the
//! history: what counts is that nothing acknowledged is lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_agent::client::{Finished, SessionOptions, SessionSink, Totals};
use holdfast_agent::{Error, Result};
use holdfast_context::Context;
use holdfast_format::{Bundle, SnapshotId};

use crate::check;
use crate::link;
use crate::network::Dialer;
use crate::route::Route;
use crate::tree::{self, Tree};
use crate::world::{Made, World};

/// How long an agent tries to reach a coordinator.
const OUTAGE_MAX: Duration = Duration::from_secs(600);

/// How long it waits for a snapshot to be protected.
const PROTECTED_WITHIN: Duration = Duration::from_secs(300);

/// Second passes, when what was known has been given up meanwhile.
const PASSES_MAX: usize = 3;

/// Names of agents and their scopes.
pub const AGENTS: [(&str, &str); 3] = [("a1", "vault"), ("a2", "vault"), ("a3", "agent/a3")];

/// See the module.
#[derive(Debug)]
pub struct Agent {
    name: String,
    bundle: Bundle,
    tree: Mutex<Tree>,
}

impl Agent {
    /// An agent with an empty tree.
    pub fn new(world: &World, name: &str, scope: &str) -> Made<Arc<Self>> {
        Ok(Arc::new(Self {
            name: name.into(),
            bundle: world.bundle(name, scope)?,
            tree: Mutex::default(),
        }))
    }

    /// Changes the tree and backs it up. Gives the snapshot that was acknowledged.
    pub async fn back_up(&self, world: &Arc<World>, wait_protected: bool) -> Result<SnapshotId> {
        let tree = {
            let mut tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
            tree::change(&mut tree, &world.chance, &self.name);
            tree.clone()
        };
        let context = link::context(&world.chance, &self.name, world.clock.clone());
        let mut trusting = world.chance.strikes(700, &["trusts", &self.name]);
        let mut before: Option<SessionSink> = None;
        for _ in 0..PASSES_MAX {
            let owner = world.owner_epoch();
            let rolled_back = world.rolled_back();
            let sink = self.open(world, &context).await?;
            // Abandoned only now, so that what it sent stays.
            if let Some(before) = before.take() {
                before.abandon("it missed chunks").await;
            }
            let id = sink.session();
            world.model().intend(id, &self.name, &tree);
            match self
                .pass(world, &sink, &tree, trusting, wait_protected)
                .await?
            {
                Finished::Committed(_) => {
                    world.model().acknowledge(&id);
                    let (trace, number) = (&world.trace, world.model().get(&id).map(|e| e.number));
                    trace.count("backups acknowledged");
                    trace.say(
                        &self.name,
                        format_args!("backup {number:?} is acknowledged"),
                    );
                    if wait_protected {
                        self.protected(world, &sink, id, rolled_back).await;
                    }
                    return Ok(id);
                }
                Finished::Missing(ids) => {
                    // What an owner answered as known it keeps: only another one, or damage, is an excuse.
                    if owner.is_some() && owner == world.owner_epoch() && !world.is_damaged() {
                        let what = format!(
                            "promise: {} chunks answered as known were given up",
                            ids.len()
                        );
                        world.watch.breach(what);
                    }
                    world.trace.count("backups that missed chunks");
                    let said = format_args!("{} chunks are missing; once more", ids.len());
                    world.trace.say(&self.name, said);
                    trusting = false;
                    before = Some(sink);
                }
            }
        }
        Err(Error::Unavailable {
            what: "the backup".into(),
            why: "chunks were missing again and again".into(),
        })
    }

    async fn open(&self, world: &Arc<World>, context: &Context) -> Result<SessionSink> {
        let dial = Dialer {
            world: world.clone(),
            agent: self.name.clone(),
            context: context.clone(),
            route: world.follows().then(|| Route::new(&self.name)),
        };
        let mut options = SessionOptions::new(self.name.parse()?);
        options.sealers = 1;
        options.outage_max = OUTAGE_MAX;
        SessionSink::open_over(context, Arc::new(dial), &self.bundle, options).await
    }

    async fn pass(
        &self,
        world: &World,
        sink: &SessionSink,
        tree: &Tree,
        trusting: bool,
        wait_protected: bool,
    ) -> Result<Finished> {
        let root = tree::put(sink, &self.bundle.keys, tree, trusting).await?;
        // Some sources take their time.
        if world.chance.strikes(250, &["slow source", &self.name]) {
            let millis = world.chance.below(60_000, &["takes", &self.name]);
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        let totals = Totals {
            files: tree.values().map(|files| files.len() as u64).sum(),
            directories: tree.len() as u64,
            ..Totals::default()
        };
        sink.finish(root, totals, wait_protected).await
    }

    /// `rolled_back`: how often a disk went back to an older copy of itself before the backup began.
    async fn protected(
        &self,
        world: &Arc<World>,
        sink: &SessionSink,
        id: SnapshotId,
        rolled_back: u64,
    ) {
        let protected = tokio::time::timeout(PROTECTED_WITHIN, sink.protected()).await;
        if matches!(protected, Ok(Ok(_))) {
            world.model().protect(&id);
            world.trace.count("backups protected");
            world.trace.say(&self.name, format_args!("it is protected"));
            // Copies that were damaged on purpose, or never written, are found by the scrubber: not yet. A disk that goes back in the
            // last moment is met at the next record.
            if !world.is_damaged() && rolled_back == world.rolled_back() {
                check::protected(world, id).await;
            }
        }
    }
}
