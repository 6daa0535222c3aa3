//! Whom a client asks: the coordinator that it reached first, whom a refusal names instead, the next one where a connection broke.
//!
//! State: the coordinator that is asked now. The rules are those of the product's client (`crates/agent/src/client/route.rs`), whose
//! own code goes with connections that a simulation has not.

use std::sync::{Arc, Mutex, PoisonError};

use holdfast_coordinator::error::told;
use tonic::{Code, Status};

use crate::process::Process;
use crate::world::{COORDINATORS, World};

/// So often in a row a request is sent elsewhere.
pub const TURNS_MAX: usize = 4;

/// What an address begins with.
const SCHEME: &str = "sim:";

/// See the module.
#[derive(Debug)]
pub struct Route {
    client: String,
    at: Mutex<Option<String>>,
}

/// Where a coordinator answers.
pub fn address(coordinator: &str) -> String {
    format!("{SCHEME}{coordinator}")
}

impl Route {
    /// The way of a client that has asked nobody yet.
    pub fn new(client: &str) -> Self {
        Self {
            client: client.into(),
            at: Mutex::default(),
        }
    }

    fn now(&self) -> Option<String> {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.clone()
    }

    fn go_by(&self, name: &str) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        *at = Some(name.into());
    }

    /// The coordinator that is asked now, if it lives. At first: any that does, whoever owns the vault.
    pub fn process(&self, world: &World) -> Option<Arc<Process>> {
        if let Some(name) = self.now() {
            return world.process(&name);
        }
        let living = world.living();
        let first = world.chance.pick(&living, &["first", &self.client])?;
        self.go_by(&first.name);
        Some(first.clone())
    }

    /// Turns to the coordinator that a refusal names, or, if the connection broke, to the next that lives. Whether another one is
    /// asked from now on.
    pub fn turn(&self, world: &World, status: &Status) -> bool {
        let asked = self.now();
        let next = match told(status) {
            Some(told) if told.reason == "ELSEWHERE" => {
                let named = told.addresses.iter();
                let mut named = named.filter_map(|address| address.strip_prefix(SCHEME));
                named
                    .find(|name| self.reaches(world, name))
                    .map(str::to_owned)
            }
            None if is_broken(status) => {
                let at = COORDINATORS
                    .iter()
                    .position(|name| asked.as_deref() == Some(*name));
                let from = at.map_or(0, |at| at + 1);
                let mut others = COORDINATORS.iter().cycle().skip(from);
                let others = others.by_ref().take(COORDINATORS.len());
                let mut others = others.filter(|name| self.reaches(world, name));
                others.next().map(|name| (*name).to_owned())
            }
            _ => None,
        };
        let Some(next) = next else { return false };
        let client = &self.client;
        world
            .trace
            .say(client, format_args!("turns from {asked:?} to {next}"));
        world.trace.count("clients sent elsewhere");
        self.go_by(&next);
        true
    }

    fn reaches(&self, world: &World, name: &str) -> bool {
        self.now().as_deref() != Some(name)
            && world.process(name).is_some()
            && !world.weather.is_cut(&self.client, name)
    }
}

/// Whether a coordinator said so at all, or the connection broke.
fn is_broken(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::Aborted
            | Code::DeadlineExceeded
    )
}

/// Whether a refusal names another coordinator.
pub fn is_elsewhere(status: &Status) -> bool {
    told(status).is_some_and(|told| told.reason == "ELSEWHERE")
}
