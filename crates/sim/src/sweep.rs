//! The fault sweep: one operation, and each call that it makes to a site or to placement fails once, in each way.
//!
//! Whatever the operation says of it, a clean run afterwards has to converge: the operation succeeds, every site has
//! everything, every invariant holds.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::{AGENTS, Agent};
use crate::operator;
use crate::trace::Trace;
use crate::weather::Fault;
use crate::world::{Made, SITES, World};
use crate::{check, settle};

/// How long one operation may take.
const LIMIT: Duration = Duration::from_secs(900);

/// What is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A backup, to its acknowledgement.
    BackUp,
    /// A member that was away catches up.
    Replicate,
    /// The policy expires.
    Expire,
    /// What was forgotten is collected at every site.
    Collect,
    /// The vault moves to the other site.
    FailOver,
    /// A site that was left behind with a snapshot of its own is brought back.
    FailBack,
    /// A copy that has rotted is repaired.
    Repair,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::BackUp,
        Self::Replicate,
        Self::Expire,
        Self::Collect,
        Self::FailOver,
        Self::FailBack,
        Self::Repair,
    ];
}

/// The ways to fail: an error, a time-out, done and reported as failed.
pub const FAULTS: [Fault; 3] = [Fault::Fail, Fault::Lost, Fault::DoneButFailed];

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// Calls of the operation when nothing fails.
    pub calls: u64,
    /// Runs.
    pub runs: u64,
    /// Runs in which the operation said that it failed.
    pub loud: u64,
    /// What is wrong, with the position and the fault.
    pub wrong: Vec<String>,
}

/// Sweeps one operation; `runs` is called with each position and fault, and may run several at once.
pub fn sweep(operation: Operation) -> Swept {
    let (first, last) = match alone(operation, None) {
        Ok((calls, _)) => calls,
        Err(wrong) => {
            return Swept {
                wrong: vec![format!("{operation:?}, nothing failing: {wrong}")],
                ..Swept::default()
            };
        }
    };
    let mut swept = Swept {
        calls: last - first,
        ..Swept::default()
    };
    for position in first..last {
        for fault in FAULTS {
            swept.runs += 1;
            match alone(operation, Some((position, fault))) {
                Ok((_, true)) => {}
                Ok((_, false)) => swept.loud += 1,
                Err(wrong) => {
                    let at = position - first;
                    let what = format!(
                        "{operation:?}, call {at} of {}, {fault:?}: {wrong}",
                        swept.calls
                    );
                    swept.wrong.push(what);
                }
            }
        }
    }
    swept
}

/// One run: the calls between which the operation ran, and whether it said that it succeeded.
fn alone(operation: Operation, fault: Option<(u64, Fault)>) -> Made<((u64, u64), bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let stage = Stage::make().await?;
        stage.prepare(operation).await?;
        let world = stage.world.clone();
        let first = world.weather.calls();
        if let Some((position, fault)) = fault {
            world.weather.at(position, fault);
        }
        let done = stage.within(operation).await;
        let last = world.weather.calls();
        world.weather.clear();
        if done.is_err() {
            let again = stage.within(operation).await;
            again.map_err(|why| format!("and again, with nothing failing: {why}"))?;
        }
        settle::settle(&world, Vec::new()).await?;
        let mut wrong = world.watch.breaches();
        wrong.extend(check::all(&world).await);
        match wrong.is_empty() {
            true => Ok(((first, last), done.is_ok())),
            false => Err(wrong.join("; ")),
        }
    })
}

struct Stage {
    world: Arc<World>,
    agents: Vec<Arc<Agent>>,
}

impl Stage {
    async fn make() -> Made<Self> {
        let world = World::make(7, 2, Trace::start(false)).await?;
        let agents = AGENTS
            .iter()
            .map(|(name, scope)| Agent::new(&world, name, scope));
        let agents = agents.collect::<Made<Vec<_>>>()?;
        let stage = Self { world, agents };
        stage.back_up(0).await?;
        stage.back_up(0).await?;
        stage.level().await?;
        Ok(stage)
    }

    async fn back_up(&self, agent: usize) -> Made<()> {
        let done = self.agents[agent].back_up(&self.world, false).await;
        done.map(drop).map_err(|error| error.to_string())
    }

    async fn level(&self) -> Made<()> {
        settle::level(&self.world).await
    }

    fn set_down(&self, site: &str, down: bool) {
        if let Some(disk) = self.world.disk(site) {
            disk.change(|condition| condition.down = down);
        }
    }

    /// Everything up to the operation itself.
    async fn prepare(&self, operation: Operation) -> Made<()> {
        let world = &self.world;
        match operation {
            Operation::BackUp | Operation::FailOver => {}
            Operation::Replicate => {
                self.set_down(SITES[1], true);
                self.back_up(1).await?;
                self.set_down(SITES[1], false);
            }
            Operation::Expire => operator::set_policy(world, 1).await?,
            Operation::Collect => {
                let oldest = world.model().acknowledged().into_iter().next();
                let oldest = oldest.ok_or("there is no snapshot")?;
                operator::forget(world, oldest).await?;
                self.level().await?;
            }
            Operation::FailBack => {
                self.set_down(SITES[1], true);
                self.back_up(1).await?;
                self.set_down(SITES[1], false);
                self.set_down(SITES[0], true);
                operator::fail_over(world, SITES[1], true).await?;
                self.back_up(2).await?;
                self.set_down(SITES[0], false);
            }
            Operation::Repair => {
                let disk = world.disk(SITES[1]).ok_or("there is no second site")?;
                let packs = disk.names("/packs/");
                let pack = packs.first().ok_or("there is no pack")?;
                disk.rot(pack, crate::disk::Rot::Flipped, 40);
            }
        }
        Ok(())
    }

    async fn within(&self, operation: Operation) -> Made<()> {
        let run = self.run(operation);
        let ended = tokio::time::timeout(LIMIT, run).await;
        ended.unwrap_or_else(|_| Err("it does not end".into()))
    }

    async fn run(&self, operation: Operation) -> Made<()> {
        let world = &self.world;
        match operation {
            Operation::BackUp => self.back_up(1).await,
            Operation::Replicate => self.level().await,
            Operation::Expire => operator::confirm(world).await,
            Operation::Collect => match operator::collect(world, true).await? {
                true => Ok(()),
                false => Err("it ended before all was swept".into()),
            },
            Operation::FailOver => match operator::fail_over(world, SITES[1], false).await {
                // Done the first time, though nobody could tell.
                Err(why) if why.contains("is the primary of vault") => Ok(()),
                moved => moved,
            },
            Operation::FailBack => operator::fail_back(world, SITES[0]).await.map(drop),
            Operation::Repair => {
                let (_, _, open) = operator::verify(world, true).await?;
                match open.is_empty() {
                    true => Ok(()),
                    false => Err(open.join("; ")),
                }
            }
        }
    }
}
