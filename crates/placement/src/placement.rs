//! The trait that a coordinator knows its placement store by.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_format::{Epoch, SiteName, VaultId};

use crate::coordinator::CoordinatorInfo;
use crate::error::Result;
use crate::lease::LeaseId;
use crate::owner::{Acquire, Owner};
use crate::progress::Progress;
use crate::site_entry::SiteEntry;
use crate::vault_entry::VaultEntry;
use crate::watch::Watch;

/// Who is alive, who owns what, and hints.
///
/// Every method answers or fails within the store's deadline (a few seconds), and may be called again with the same
/// arguments after any error: see [`crate::Error::is_determinate`]. Reads see everything that any handle was told
/// had been done before them.
///
/// A lease is permission to act, never proof of sole ownership: a paused process may hold one that has long expired.
/// Whoever must be sure relies on the epoch that the sites enforce.
#[async_trait]
pub trait Placement: Debug + Send + Sync {
    /// Registers a coordinator under a new lease that lasts `ttl` from now and from each [`Placement::keep_alive`].
    /// A coordinator of that name which was registered before is replaced in the list; what its lease owns stays
    /// its own until that lease ends.
    ///
    /// A store may last longer than `ttl`, never shorter: etcd counts in whole seconds and has a least of about two.
    async fn register(&self, coordinator: &CoordinatorInfo, ttl: Duration) -> Result<LeaseId>;

    /// Replaces what a coordinator told of itself under a lease. Its name and its addresses stay as they were registered. Fails with
    /// [`crate::ErrorKind::LeaseLost`] when the lease is gone.
    async fn announce(&self, lease: &LeaseId, coordinator: &CoordinatorInfo) -> Result<()>;

    /// Renews a lease. `false`: it is gone, with all that it held: stop owning. After `true` the lease lasts `ttl`
    /// from a moment no earlier than when this was called. After an error nothing is known: go on until `ttl` has
    /// passed since the last call that ended with `true` *began*, then stop.
    async fn keep_alive(&self, lease: &LeaseId) -> Result<bool>;

    /// Ends a lease and gives up everything held under it at once. A lease that is gone already is no error.
    async fn deregister(&self, lease: &LeaseId) -> Result<()>;

    /// The live coordinators, by name.
    async fn coordinators(&self) -> Result<Vec<CoordinatorInfo>>;

    /// Issues an epoch above `floor` and above every one issued before for this vault: a counter is raised, by
    /// compare-and-set, to 1 + max(counter, `floor`). Never a revision. Pass the highest epoch seen in the log and
    /// at any member as `floor`: then a counter that was lost does no harm. Numbers may be skipped.
    async fn issue_epoch(&self, vault: VaultId, floor: Epoch) -> Result<Epoch>;

    /// The highest epoch that was issued for a vault, or passed as a floor; 0 if none was. It changes nothing: a counter that turns
    /// out to be behind can still be told from one that is right.
    async fn epoch_counter(&self, vault: VaultId) -> Result<Epoch>;

    /// Takes a vault under a lease, if no other live lease holds it. A lease that holds it already raises its epoch,
    /// and never lowers it ([`crate::ErrorKind::Invalid`]). Fails with [`crate::ErrorKind::LeaseLost`] when the
    /// lease is gone.
    async fn acquire(&self, vault: VaultId, lease: &LeaseId, epoch: Epoch) -> Result<Acquire>;

    /// Gives a vault up. Changes nothing when the lease does not hold it (any more).
    async fn release(&self, vault: VaultId, lease: &LeaseId) -> Result<()>;

    /// The coordinator whose live lease holds a vault.
    async fn owner(&self, vault: VaultId) -> Result<Option<Owner>>;

    /// Adds or replaces a line of the vault registry.
    async fn put_vault(&self, entry: &VaultEntry) -> Result<()>;

    /// The vault registry, by vault id.
    async fn vaults(&self) -> Result<Vec<VaultEntry>>;

    /// Removes a vault from the registry, with its progress and certificates. Its epoch counter stays, and so does
    /// its owner. A vault that is not there is no error.
    async fn remove_vault(&self, vault: VaultId) -> Result<()>;

    /// Adds or replaces a site that the configuration does not have.
    async fn put_site(&self, site: &SiteEntry) -> Result<()>;

    /// The sites added at run time, by name.
    async fn sites(&self) -> Result<Vec<SiteEntry>>;

    /// Removes a site added at run time. One that is not there is no error.
    async fn remove_site(&self, site: &SiteName) -> Result<()>;

    /// Tells how far a member has come; the last one told counts. At most one call per vault in 5 s is meant.
    async fn set_progress(&self, vault: VaultId, site: &SiteName, progress: Progress)
    -> Result<()>;

    /// How far each member of a vault has come, by site name.
    async fn progress(&self, vault: VaultId) -> Result<Vec<(SiteName, Progress)>>;

    /// Adds a certificate (public, opaque) that lets this cluster's signing key write a vault. Adding one twice
    /// keeps one.
    async fn put_certificate(&self, vault: VaultId, certificate: &[u8]) -> Result<()>;

    /// The certificates of a vault, in no order that means anything.
    async fn certificates(&self, vault: VaultId) -> Result<Vec<Vec<u8>>>;

    /// Changes as they happen, each one that is made after this returns, in order. Some made shortly before may be
    /// told too. A consumer that falls behind, or whose store lost its history, gets [`crate::Event::Resync`].
    async fn watch(&self) -> Result<Watch>;
}
