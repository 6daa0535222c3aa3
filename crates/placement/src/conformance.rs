//! What every [`Placement`] does, as tests that any implementation can run.
//!
//! Each function here is one test; it wants a [`Cluster`] whose store is empty. [`crate::conformance_suite`] makes
//! a `#[test]` of each. They panic with what was wrong. Nothing else may use this module.

mod epochs;
mod hints;
mod leases;
mod owners;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_format::{Epoch, Position, SiteName, Slot, VaultId, VaultName};
use tokio::time::timeout;

use crate::{
    Acquire, CoordinatorInfo, Event, LeaseId, Owner, Placement, Progress, VaultEntry, Watch,
};
pub use epochs::*;
pub use hints::*;
pub use leases::*;
pub use owners::*;
pub use watches::*;

/// One store as several coordinators see it.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// A coordinator's handle. A store that serves one process gives the same one each time.
    async fn coordinator(&self) -> Arc<dyn Placement>;
}

/// Makes one test of each function in [`crate::conformance`]: the test attribute to use, then an async function
/// that makes a [`Cluster`] with an empty store.
#[macro_export]
macro_rules! conformance_suite {
    ($attribute:meta, $cluster:path) => {
        $crate::conformance_suite!($attribute, $cluster,
            epochs_rise_under_racing_issuers
            epochs_are_above_their_floor
            one_of_many_racers_acquires
            a_released_vault_is_free
            anothers_lease_cannot_release
            deregistering_frees_everything_at_once
            an_expired_lease_frees_its_vaults
            a_lease_kept_alive_lasts
            acquiring_again_raises_the_epoch
            a_name_registered_again_is_listed_once
            what_a_coordinator_tells_of_itself_is_listed
            what_cannot_be_stored_is_refused
            vaults_are_listed
            sites_are_listed
            progress_is_kept_per_member
            certificates_are_kept_once
            a_watch_sees_each_change_in_order
            a_watch_sees_the_end_of_a_lease
            a_slow_watch_is_told_to_read_again
        );
    };
    ($attribute:meta, $cluster:path, $($name:ident)*) => {
        $(
            #[$attribute]
            async fn $name() {
                $crate::conformance::$name(&$cluster().await).await;
            }
        )*
    };
}

const VAULT: VaultId = VaultId([1; 16]);
const OTHER_VAULT: VaultId = VaultId([2; 16]);

/// Long enough never to matter in a test that does not let it end.
const LONG: Duration = Duration::from_secs(600);

/// The shortest that every store offers.
const SHORT: Duration = Duration::from_secs(2);

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many race.
const RACERS: usize = 16;

fn info(name: &str) -> CoordinatorInfo {
    CoordinatorInfo {
        name: name.into(),
        addresses: vec![format!("{name}.example:7420"), "[::1]:7420".into()],
        public_key: [9; 32],
        level: 1,
        started_millis: 1,
        gone: Vec::new(),
    }
}

fn owner(name: &str, epoch: u64) -> Owner {
    Owner {
        coordinator: name.into(),
        addresses: info(name).addresses,
        epoch: Epoch(epoch),
    }
}

fn site(name: &str) -> SiteName {
    SiteName::new(name).expect("a site name")
}

fn vault(vault: VaultId, name: &str) -> VaultEntry {
    let name = VaultName::new(name).expect("a vault name");
    VaultEntry {
        vault,
        name,
        sites: vec![site("s1"), site("s2")],
        header: Some(vec![1, 2, 3].into()),
    }
}

fn progress(epoch: u64) -> Progress {
    let position = |slot| {
        Some(Position {
            epoch: Epoch(epoch),
            slot: Slot(slot),
        })
    };
    Progress {
        replicated: position(9),
        verified: position(3),
        at_millis: 1_700_000_000_000,
        records: 4,
        bytes: u64::MAX,
    }
}

async fn register(placement: &Arc<dyn Placement>, name: &str) -> LeaseId {
    placement
        .register(&info(name), LONG)
        .await
        .expect("a lease")
}

async fn take(
    placement: &Arc<dyn Placement>,
    vault: VaultId,
    lease: &LeaseId,
    epoch: u64,
) -> Acquire {
    placement
        .acquire(vault, lease, Epoch(epoch))
        .await
        .expect("an answer")
}

async fn next(watch: &mut Watch) -> Event {
    let event = timeout(PATIENCE, watch.next())
        .await
        .expect("a change in time");
    event.expect("the store is open")
}

async fn until(watch: &mut Watch, event: Event) {
    while next(watch).await != event {}
}
