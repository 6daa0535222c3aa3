//! A history: a plan carried out in a world, in one thread under a paused clock; then everything settles and is checked.
//!
//! State: the tasks under way. Whatever fails for want of luck is no failure; what counts is what the checks find.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::agent::{AGENTS, Agent};
use crate::check;
use crate::damage;
use crate::operator;
use crate::plan::{Act, Plan};
use crate::restore;
use crate::settle;
use crate::trace::Trace;
use crate::world::{COORDINATORS, Made, SITES, World};

/// How a history ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was found; empty when all is well.
    pub breaches: Vec<String>,
    /// The hash of its trace.
    pub trace_hash: String,
    /// Figures by kind.
    pub counts: std::collections::BTreeMap<String, u64>,
    /// Its lines, if they were kept.
    pub lines: Vec<String>,
}

/// Runs a plan. `keep` keeps the trace's lines.
pub fn run(plan: &Plan, keep: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::broken(format!("no runtime: {error}")),
    };
    runtime.block_on(async {
        let trace = Trace::start(keep);
        let ended = History::begin(plan, trace.clone()).await;
        let breaches = match ended {
            Ok(breaches) => breaches,
            Err(why) => vec![format!("the history could not be run: {why}")],
        };
        Outcome {
            breaches,
            trace_hash: trace.hash(),
            counts: trace.counts(),
            lines: trace.lines(),
        }
    })
}

impl Outcome {
    fn broken(why: String) -> Self {
        Self {
            breaches: vec![why],
            trace_hash: String::new(),
            counts: Default::default(),
            lines: Vec::new(),
        }
    }
}

struct History {
    world: Arc<World>,
    agents: Vec<Arc<Agent>>,
    /// An agent's backup under way.
    busy: Vec<Option<JoinHandle<()>>>,
    tasks: Vec<(String, JoinHandle<()>)>,
}

impl History {
    async fn begin(plan: &Plan, trace: Trace) -> Made<Vec<String>> {
        let world = World::make(plan.seed, plan.sites, trace).await?;
        if plan.follows {
            world.let_clients_follow();
        }
        let agents = AGENTS
            .iter()
            .map(|(name, scope)| Agent::new(&world, name, scope));
        let agents = agents.collect::<Made<Vec<_>>>()?;
        let mut history = Self {
            busy: agents.iter().map(|_| None).collect(),
            world: world.clone(),
            agents,
            tasks: Vec::new(),
        };
        if plan.liar
            && let Some(last) = world.disks.last()
        {
            last.change(|condition| condition.lies = true);
        }
        if plan.overwrites {
            world.disks[0].change(|condition| condition.overwrites = true);
        }
        for name in &COORDINATORS[1..plan.coordinators] {
            history.start(name);
        }
        for step in &plan.steps {
            tokio::time::sleep(step.after).await;
            world.trace.say("history", format_args!("{}", step.act));
            world.trace.count("steps");
            history.act(plan, step.act).await;
            history.start_the_dead();
            if !world.watch.breaches().is_empty() {
                return Ok(world.watch.breaches());
            }
        }
        let busy = history.busy.into_iter().zip(AGENTS);
        let busy = busy.filter_map(|(task, (name, _))| Some((format!("backup of {name}"), task?)));
        let tasks = busy.chain(history.tasks);
        let settled = settle::settle(&world, tasks.collect()).await;
        let mut breaches = world.watch.breaches();
        if breaches.is_empty() {
            match settled {
                Ok(true) => {
                    breaches.extend(check::all(&world).await);
                    if let Some(accepted) = plan.accepted() {
                        breaches.extend(check::left_behind(&world, accepted).await);
                    }
                }
                Ok(false) => {}
                Err(why) => breaches.push(why),
            }
        }
        Ok(breaches)
    }

    /// Starts a coordinator, beside everything else.
    fn start(&mut self, name: &'static str) {
        let world = self.world.clone();
        self.go(&format!("start of {name}"), async move {
            world.boot(name).await;
        });
    }

    /// Coordinators that died at a call are started again, mostly: by whatever supervises them.
    fn start_the_dead(&mut self) {
        for name in self.world.dead() {
            self.world
                .trace
                .say("history", format_args!("{name} has died"));
            if self.world.chance.strikes(700, &["restart", &name]) {
                self.world.bury(&name);
                let name = COORDINATORS.into_iter().find(|known| *known == name);
                name.into_iter().for_each(|name| self.start(name));
            }
        }
    }

    /// Does something beside everything else.
    fn go(&mut self, name: &str, what: impl Future<Output = ()> + Send + 'static) {
        let task = self.world.context.spawn(what);
        self.tasks.push((name.into(), task));
        self.tasks.retain(|(_, task)| !task.is_finished());
    }

    /// Asks something of the operator, beside everything else; what came of it goes into the trace.
    fn ask<T: std::fmt::Debug + Send + 'static>(
        &mut self,
        what: &'static str,
        asked: impl Future<Output = operator::Asked<T>> + Send + 'static,
    ) {
        let world = self.world.clone();
        self.go(what, async move {
            let word = match asked.await {
                Ok(_) => "done",
                Err(_) => "not done",
            };
            world.trace.count(&format!("{what}: {word}"));
            world.trace.say("operator", format_args!("{what}: {word}"));
        });
    }

    async fn act(&mut self, plan: &Plan, act: Act) {
        let world = self.world.clone();
        let coordinator = |n: usize| COORDINATORS.get(n).copied().unwrap_or(COORDINATORS[0]);
        let site = |n: usize| SITES.get(n).copied().unwrap_or(SITES[0]);
        match act {
            Act::BackUp(n, wait) => self.back_up(n, wait),
            Act::KillAgent(n) => {
                if let Some(task) = self.busy.get_mut(n).and_then(Option::take) {
                    task.abort();
                }
            }
            Act::Restore => self.restore(),
            Act::Forget | Act::Recover | Act::Hold => {
                let known = world.model().acknowledged();
                let Some(&id) = world.chance.pick(&known, &["snapshot"]) else {
                    return;
                };
                match act {
                    Act::Forget => {
                        self.ask("forget", async move { operator::forget(&world, id).await })
                    }
                    Act::Recover => {
                        self.ask(
                            "recover",
                            async move { operator::recover(&world, id).await },
                        )
                    }
                    _ => self.ask("hold", async move { operator::hold(&world, id).await }),
                }
            }
            Act::ForgetLast => {
                let last = world.model().acknowledged().last().copied();
                if let Some(id) = last {
                    self.ask("forget", async move { operator::forget(&world, id).await });
                }
            }
            Act::Trash => {
                let last = world.model().acknowledged().last().copied();
                if let Some(id) = last {
                    self.ask("trash", async move { operator::trash(&world, id).await });
                }
            }
            Act::Release => {
                let held = world.model().held();
                if let Some(&(hold, _)) = world.chance.pick(&held, &["hold"]) {
                    self.ask(
                        "release",
                        async move { operator::release(&world, hold).await },
                    );
                }
            }
            Act::Policy(last) => {
                self.ask(
                    "policy",
                    async move { operator::set_policy(&world, last).await },
                )
            }
            Act::Collect => self.ask(
                "collect",
                async move { operator::collect(&world, false).await },
            ),
            Act::Verify => self.ask(
                "verify",
                async move { operator::verify(&world, true).await },
            ),
            Act::Confirm => self.ask("confirm", async move { operator::confirm(&world).await }),
            Act::FailOver(n, accept) => {
                let to = site(n);
                self.ask("failover", async move {
                    operator::fail_over(&world, to, accept).await
                });
            }
            Act::FailBack => self.ask(
                "failback",
                async move { operator::fail_back(&world, "").await },
            ),
            Act::Crash(n) => {
                if let Some(process) = world.process(coordinator(n)) {
                    process.crash();
                    world.bury(coordinator(n));
                    world.trace.count("fault: Crash");
                }
            }
            Act::CrashOwner => {
                if let Some(process) = world.last_owner() {
                    process.crash();
                    world.bury(&process.name);
                    world.trace.count("fault: Crash");
                }
            }
            Act::Stop(n) => {
                if let Some(process) = world.process(coordinator(n)) {
                    world.trace.count("fault: Stop");
                    self.go("stop", async move {
                        process.stop().await;
                    });
                }
            }
            Act::Boot(n) => {
                if world.process(coordinator(n)).is_none() {
                    self.start(coordinator(n));
                }
            }
            Act::Pause(n) | Act::Resume(n) => {
                if let Some(process) = world.process(coordinator(n)) {
                    match act {
                        Act::Pause(_) => {
                            process.gate.pause();
                            world.trace.count("fault: Pause");
                        }
                        _ => process.gate.resume(),
                    }
                }
            }
            Act::LoseLease(n) => {
                if let Some(process) = world.process(coordinator(n)) {
                    use holdfast_placement::Placement;
                    let store = world.placement.store();
                    // A lease that is gone already is none to lose.
                    let _ = store.deregister(&process.node.lease()).await;
                    world.trace.count("fault: LoseLease");
                }
            }
            Act::LosePlacement => {
                if world.placement.lose().is_ok() && world.certify().await.is_ok() {
                    world.trace.count("fault: LosePlacement");
                }
            }
            Act::EmptyPlacement
            | Act::CopyPlacement
            | Act::RestorePlacement
            | Act::PlacementDead(_)
            | Act::Compact => placement_strikes(&world, act),
            Act::Rebuild => self.ask("rebuild", async move {
                operator::rebuild_placement(&world).await
            }),
            Act::LetMove(seconds) => {
                let accept_loss = Duration::from_secs(seconds);
                self.ask("policy that moves", async move {
                    operator::let_move(&world, accept_loss).await
                });
            }
            Act::FailOverAll(n, accept) => {
                let to = site(n);
                self.ask("failover of all", async move {
                    operator::fail_over_all(&world, to, accept).await
                });
            }
            Act::CutPlacement(n, off) => {
                world
                    .weather
                    .cut(coordinator(n), crate::placement::PLACE, off);
                world.trace.count("fault: CutPlacement");
            }
            Act::CutSite(n, m, off) => {
                world.weather.cut(coordinator(n), site(m), off);
                world.trace.count("fault: CutSite");
            }
            Act::Down(n, down) => {
                if let Some(disk) = world.disk(site(n)) {
                    disk.change(|condition| condition.down = down);
                    world.trace.count("fault: Down");
                }
            }
            Act::Full(n, full) => {
                if let Some(disk) = world.disk(site(n)) {
                    disk.change(|condition| condition.full = full);
                    world.trace.count("fault: Full");
                }
            }
            Act::Rot(n) => damage::rot(&world, site(n)),
            Act::Replace(n) => damage::replace(&world, site(n)),
            Act::Copy(n) => {
                if let Some(disk) = world.disk(site(n)) {
                    disk.copy();
                }
            }
            Act::RollBack(n) => damage::roll_back(&world, site(n)),
            Act::Jump(n, minutes) => {
                world.clock_of(coordinator(n)).jump(minutes * 60_000);
                world.trace.count("fault: Jump");
            }
            Act::Idle(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            Act::Storm(on) => match on {
                true => world.weather.set_odds(plan.odds),
                false => world.weather.set_odds(Default::default()),
            },
        }
    }

    fn back_up(&mut self, n: usize, wait: bool) {
        let (Some(agent), Some(busy)) = (self.agents.get(n).cloned(), self.busy.get_mut(n)) else {
            return;
        };
        if busy.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let world = self.world.clone();
        world.trace.count("backups");
        *busy = Some(self.world.context.spawn(async move {
            if agent.back_up(&world, wait).await.is_err() {
                world.trace.count("backups that failed");
            }
        }));
    }

    /// Restores a snapshot; whatever comes is compared with the model.
    fn restore(&mut self) {
        let world = self.world.clone();
        let known = world.model().acknowledged();
        let Some(&id) = world.chance.pick(&known, &["restore"]) else {
            return;
        };
        self.go("restore", async move {
            let restoring = async {
                if world.follows() {
                    return Some(restore::following(&world, "restorer", id).await);
                }
                let service = world.service("restorer")?;
                Some(restore::through(&world, &service, id).await)
            };
            let limit = Duration::from_secs(300);
            let restored = tokio::time::timeout(limit, restoring).await;
            let Some(restored) = restored.transpose() else {
                return;
            };
            match restored {
                Ok(Ok(Ok(tree))) => check::compare(&world, &id, &tree, "through a coordinator"),
                Ok(Ok(Err(_))) => world.trace.count("restores with losses"),
                Ok(Err(_)) | Err(_) => world.trace.count("restores that failed"),
            }
        });
    }
}

/// Something becomes of placement as a whole.
fn placement_strikes(world: &World, act: Act) {
    let placement = &world.placement;
    let done = match act {
        Act::EmptyPlacement => placement.empty().map(|()| true),
        Act::CopyPlacement => placement.copy().map(|()| true),
        Act::RestorePlacement => placement.restore(),
        Act::PlacementDead(true) => placement.die().map(|()| true),
        Act::PlacementDead(false) => placement.come_back().map(|()| true),
        _ => {
            placement.compact();
            Ok(true)
        }
    };
    if matches!(done, Ok(true)) {
        let kind = format!("{act:?}");
        let kind = kind.split('(').next().unwrap_or_default();
        world.trace.count(&format!("fault: {kind}"));
    }
}
