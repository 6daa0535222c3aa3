//! Who owns which vault and how far each member has come: the trait, an embedded store and etcd.
//!
//! Placement holds who is alive, who owns what, and hints. Nothing in it is per chunk or per pack, and nothing but
//! liveness that the vaults' logs do not let one rebuild. **Safety never rests on it**: epochs are issued here and
//! enforced by the sites, so a placement store that forgets, repeats an answer or is restored from an old backup
//! costs availability, never data.
//!
//! [`open`] gives a coordinator its [`Placement`]: [`EmbeddedPlacement`] for a single node, [`EtcdPlacement`] for
//! several. Both keep to [`conformance`]. Nothing outside this crate knows etcd or the embedded file.

pub mod conformance;
mod coordinator;
mod embedded;
mod error;
mod etcd;
mod event;
mod keys;
mod lease;
mod mark;
mod open;
mod owner;
mod placement;
mod progress;
mod site_entry;
mod value;
mod vault_entry;
mod watch;

pub use coordinator::{CoordinatorInfo, SiteGone};
pub use embedded::{Backup, EmbeddedPlacement};
pub use error::{Error, ErrorKind, Result};
pub use etcd::{EtcdOptions, EtcdPlacement};
pub use event::Event;
pub use lease::LeaseId;
pub use open::open;
pub use owner::{Acquire, Owner};
pub use placement::Placement;
pub use progress::Progress;
pub use site_entry::SiteEntry;
pub use vault_entry::VaultEntry;
pub use watch::{EVENTS_MAX, Watch};
