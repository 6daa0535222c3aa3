//! The network between agents and coordinators: streams that are slow, that break, and that end when a process dies.
//!
//! State: none but the streams under way. Messages of one stream stay in order, as they do over TCP; any of them may be
//! the last that arrives.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_agent::client::{Dial, Link};
use holdfast_context::Context;
use holdfast_proto::v1::{SessionRequest, SessionResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::process::Process;
use crate::route::Route;
use crate::world::World;

/// A process that does not answer for so long is taken for dead by whoever talks to it.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Messages that wait in a stream.
const MESSAGES: usize = 4;

/// An agent's way to the coordinators.
#[derive(Debug)]
pub struct Dialer {
    /// The world.
    pub world: Arc<World>,
    /// The agent.
    pub agent: String,
    /// The agent's own tasks.
    pub context: Context,
    /// Whom it asks, where clients find the owner by themselves.
    pub route: Option<Route>,
}

#[async_trait]
impl Dial for Dialer {
    async fn turn(&self, status: &Status) -> bool {
        let route = self.route.as_ref();
        route.is_some_and(|route| route.turn(&self.world, status))
    }

    async fn dial(&self, first: SessionRequest) -> Result<Link, Status> {
        let picked = match &self.route {
            Some(route) => route.process(&self.world),
            None => self.world.pick_process(&self.agent),
        };
        let whom = picked
            .as_ref()
            .map_or("nobody", |process| process.name.as_str());
        let trace = &self.world.trace;
        trace.say(&self.agent, format_args!("opens a stream to {whom}"));
        let Some(process) = picked else {
            return Err(Status::unavailable("nobody listens"));
        };
        if self.world.weather.is_cut(&self.agent, &process.name) {
            tokio::time::sleep(Duration::from_secs(5)).await;
            return Err(Status::unavailable("no way there"));
        }
        let alive = tokio::time::timeout(KEEP_ALIVE, process.gate.pass()).await;
        alive.map_err(|_| Status::unavailable("it does not answer"))?;
        let (outbound, said) = mpsc::channel(MESSAGES);
        let (to_process, heard) = mpsc::channel(MESSAGES);
        let (answers, answered) = mpsc::channel(MESSAGES);
        let (to_agent, inbound) = mpsc::channel(MESSAGES);
        let broken = CancellationToken::new();
        let leg = |back| Leg {
            world: self.world.clone(),
            agent: self.agent.clone(),
            process: process.clone(),
            broken: broken.clone(),
            back,
        };
        let there = leg(false);
        let back = leg(true);
        drop(self.context.spawn(async move {
            there.carry_requests(said, to_process).await;
        }));
        drop(self.context.spawn(async move {
            back.carry_answers(answered, to_agent).await;
        }));
        let service = process.service.clone();
        drop(self.context.spawn(async move {
            let heard = ReceiverStream::new(heard);
            service.session_over(heard, answers).await;
        }));
        outbound
            .try_send(first)
            .map_err(|_| Status::internal("a new queue is full"))?;
        Ok(Link {
            outbound,
            inbound: Box::pin(ReceiverStream::new(inbound)),
        })
    }
}

/// One direction of a stream.
struct Leg {
    world: Arc<World>,
    agent: String,
    process: Arc<Process>,
    broken: CancellationToken,
    back: bool,
}

impl Leg {
    async fn carry_requests(
        self,
        mut from: mpsc::Receiver<SessionRequest>,
        to: mpsc::Sender<Result<SessionRequest, Status>>,
    ) {
        loop {
            let message = tokio::select! {
                biased;
                () = self.broken.cancelled() => None,
                () = to.closed() => return,
                message = from.recv() => match message {
                    Some(message) => Some(message),
                    // The agent is done, or gone.
                    None => return,
                },
            };
            let message = match message {
                Some(message) if self.passes().await => Ok(message),
                _ => Err(Status::unavailable("the connection broke")),
            };
            let last = message.is_err();
            if to.send(message).await.is_err() || last {
                return;
            }
        }
    }

    async fn carry_answers(
        self,
        mut from: mpsc::Receiver<Result<SessionResponse, Status>>,
        to: mpsc::Sender<Result<SessionResponse, Status>>,
    ) {
        loop {
            let message = tokio::select! {
                biased;
                () = self.broken.cancelled() => None,
                () = self.process.gate.dies() => None,
                () = to.closed() => return,
                message = from.recv() => match message {
                    Some(message) => Some(message),
                    None => return,
                },
            };
            let message = match message {
                Some(message) if self.passes().await => message,
                _ => Err(Status::unavailable("the connection broke")),
            };
            let last = message.is_err();
            if to.send(message).await.is_err() || last {
                return;
            }
        }
    }

    /// Carries one message; false if the stream breaks instead.
    async fn passes(&self) -> bool {
        let (weather, process) = (&self.world.weather, &self.process.name);
        let direction = if self.back { "back" } else { "there" };
        tokio::time::sleep(weather.message(&self.agent, process, direction)).await;
        let broken = weather.breaks(&self.agent, process) || weather.is_cut(&self.agent, process);
        if broken {
            weather.trace.count("fault: Stream");
            weather
                .trace
                .say(&self.agent, format_args!("its stream to {process} breaks"));
            self.broken.cancel();
            return false;
        }
        let answers = tokio::time::timeout(KEEP_ALIVE, self.process.gate.pass()).await;
        if answers.is_err() {
            self.broken.cancel();
        }
        answers.is_ok()
    }
}
