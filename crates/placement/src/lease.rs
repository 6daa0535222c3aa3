//! The handle of one lease.

use std::fmt;

use holdfast_context::Context;

/// One registration of one coordinator. Random, so that no two processes ever share one; worth nothing outside the
/// handle that registered it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(i64);

impl LeaseId {
    /// For implementations of [`crate::Placement`]: a lease by its number.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// A new lease: positive, as etcd wants it, and never used before for all that chance allows.
    pub(crate) fn random(context: &Context) -> Self {
        let number = i64::from_le_bytes(context.random()) & i64::MAX;
        Self(number.max(1))
    }

    /// The number, as etcd counts leases.
    pub fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}
