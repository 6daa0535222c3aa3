//! The leases of one process and what they hold: a plain state machine, told the time.
//!
//! Every method that changes something returns what watches are to be told, in order.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_format::{Epoch, VaultId};
use tokio::time::Instant;

use crate::coordinator::CoordinatorInfo;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::lease::LeaseId;
use crate::owner::{Acquire, Owner};

/// All leases that have not ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    held: BTreeMap<LeaseId, Lease>,
    /// Who is listed under a name: the lease that registered it last.
    names: BTreeMap<String, LeaseId>,
    owners: BTreeMap<VaultId, (LeaseId, Owner)>,
}

#[derive(Debug, Clone)]
struct Lease {
    coordinator: CoordinatorInfo,
    ttl: Duration,
    ends: Instant,
}

impl Leases {
    /// Ends what should have ended by `now`, the earliest first.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Event> {
        let mut over: Vec<_> = self
            .held
            .iter()
            .filter(|(_, lease)| lease.ends <= now)
            .map(|(id, lease)| (lease.ends, *id))
            .collect();
        over.sort_unstable();
        over.into_iter().flat_map(|(_, id)| self.end(id)).collect()
    }

    /// The same, each of them as if it was kept alive just now.
    pub(super) fn renewed(&self, now: Instant) -> Self {
        let mut renewed = self.clone();
        for lease in renewed.held.values_mut() {
            lease.ends = now + lease.ttl;
        }
        renewed
    }

    /// When the next lease ends unless it is kept alive.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.held.values().map(|lease| lease.ends).min()
    }

    pub(super) fn register(
        &mut self,
        id: LeaseId,
        coordinator: CoordinatorInfo,
        ttl: Duration,
        now: Instant,
    ) -> Result<Vec<Event>> {
        let ends = end_of(now, ttl)?;
        self.names.insert(coordinator.name.clone(), id);
        self.held.insert(
            id,
            Lease {
                coordinator,
                ttl,
                ends,
            },
        );
        Ok(vec![Event::Coordinators])
    }

    pub(super) fn announce(
        &mut self,
        id: LeaseId,
        coordinator: CoordinatorInfo,
    ) -> Result<Vec<Event>> {
        let lost = Error::LeaseLost { lease: id };
        let Some(lease) = self.held.get_mut(&id) else {
            return Err(lost);
        };
        let name = &lease.coordinator.name;
        if *name != coordinator.name {
            return Err(coordinator.is_not(name));
        }
        if self.names.get(name) != Some(&id) {
            return Err(lost);
        }
        lease.coordinator = coordinator;
        Ok(vec![Event::Coordinators])
    }

    pub(super) fn keep_alive(&mut self, id: LeaseId, now: Instant) -> bool {
        let Some(lease) = self.held.get_mut(&id) else {
            return false;
        };
        lease.ends = now + lease.ttl;
        true
    }

    /// Ends a lease, whether its time has come or not. The coordinator's going is told before its vaults'.
    pub(super) fn end(&mut self, id: LeaseId) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(lease) = self.held.remove(&id) else {
            return events;
        };
        if self.names.get(&lease.coordinator.name) == Some(&id) {
            self.names.remove(&lease.coordinator.name);
            events.push(Event::Coordinators);
        }
        self.owners.retain(|vault, (holder, _)| {
            if *holder == id {
                events.push(Event::Owner {
                    vault: *vault,
                    owner: None,
                });
            }
            *holder != id
        });
        events
    }

    pub(super) fn coordinators(&self) -> Vec<CoordinatorInfo> {
        self.names
            .values()
            .filter_map(|id| self.held.get(id))
            .map(|lease| lease.coordinator.clone())
            .collect()
    }

    pub(super) fn acquire(
        &mut self,
        vault: VaultId,
        id: LeaseId,
        epoch: Epoch,
    ) -> Result<(Acquire, Vec<Event>)> {
        let Some(lease) = self.held.get(&id) else {
            return Err(Error::LeaseLost { lease: id });
        };
        let owner = lease.coordinator.owner_at(epoch);
        match self.owners.get(&vault) {
            Some((holder, other)) if *holder != id => {
                return Ok((Acquire::HeldBy(other.clone()), Vec::new()));
            }
            Some((_, own)) if *own == owner => return Ok((Acquire::Granted, Vec::new())),
            Some((_, own)) => own.check_raise(vault, epoch)?,
            None => {}
        }
        self.owners.insert(vault, (id, owner.clone()));
        Ok((
            Acquire::Granted,
            vec![Event::Owner {
                vault,
                owner: Some(owner),
            }],
        ))
    }

    pub(super) fn release(&mut self, vault: VaultId, id: LeaseId) -> Vec<Event> {
        match self.owners.get(&vault) {
            Some((holder, _)) if *holder == id => {
                self.owners.remove(&vault);
                vec![Event::Owner { vault, owner: None }]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn owner(&self, vault: VaultId) -> Option<Owner> {
        self.owners.get(&vault).map(|(_, owner)| owner.clone())
    }
}

/// When a lease that starts now ends.
fn end_of(now: Instant, ttl: Duration) -> Result<Instant> {
    let end = now.checked_add(ttl).filter(|_| !ttl.is_zero());
    end.ok_or_else(|| Error::invalid(format!("lease of {ttl:?}"), "use between 1 s and a day"))
}
