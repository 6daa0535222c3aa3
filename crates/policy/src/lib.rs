//! Retention and collection plans: pure functions, no I/O, no clock.
//!
//! What a policy says, which snapshots it keeps, when its plans may run, and which packs a
//! collection copies or gives up. Everything comes in as an argument, time above all; the same
//! arguments give the same answer on every coordinator. Nothing here deletes: the answers are
//! plans, and the retention and collector actors carry them out.
//!
//! - [`period`], [`depth`], [`keep`]: the words a policy is written in
//! - [`settings`], [`policy`]: the policy file and its checks
//! - [`calendar`]: hours, days, weeks, months and years in a named time zone
//! - [`retention`], [`reason`], [`mod@decide`]: what is kept, and why
//! - [`clock_guard`], [`share_guard`]: when a plan has to wait
//! - [`schedule`], [`mod@simulate`]: what a policy will do
//! - [`collect`]: which packs to condemn, rewrite and merge

pub mod calendar;
pub mod clock_guard;
pub mod collect;
pub mod decide;
pub mod depth;
mod error;
pub mod keep;
mod moving;
pub mod period;
pub mod policy;
pub mod reason;
pub mod retention;
pub mod schedule;
pub mod settings;
pub mod share_guard;
pub mod simulate;

#[cfg(test)]
mod five_policies;
#[cfg(test)]
mod laws;

pub use calendar::{Bucket, Calendar, Unit};
pub use clock_guard::{ClockGuard, ClockReading, ClockVerdict, ClockWait, Reference};
pub use collect::{
    CollectOptions, CollectPlan, CopyGroup, PACK_BYTES_TARGET, PackFacts, PackKind, plan_collection,
};
pub use decide::{Decision, Fate, SnapshotFacts, decide};
pub use depth::Depth;
pub use error::Error;
pub use keep::{Keep, Rule};
pub use moving::AutomaticFailover;
pub use period::Period;
pub use policy::Policy;
pub use reason::{ExpireReason, KeepReason};
pub use retention::Retention;
pub use schedule::{Schedule, ScheduleEvery};
pub use settings::{Derived, Settings};
pub use share_guard::{SHARE_FLOOR, ShareVerdict, check_share};
pub use simulate::{Simulation, SimulationOptions, SnapshotFate, SnapshotForecast, simulate};
