//! A vault as its coordinator shows it, with the checks that need no secret.

use holdfast_format::fact::RecipientsSet;
use holdfast_format::{Position, PublicKey, VaultId};
use holdfast_proto::v1;

use super::status::nonsense;
use crate::error::{Error, Result};

/// How far one site has come.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteInfo {
    /// Its name.
    pub site: String,
    /// Where it is, without credentials.
    pub url: String,
    /// Whether it is the primary.
    pub primary: bool,
    /// Whether it answers.
    pub reachable: bool,
    /// It was not asked yet.
    pub pending: bool,
    /// Why it does not, or is not written; empty when all is well.
    pub trouble: String,
    /// The last record that stands there.
    pub replicated: Option<Position>,
    /// Records that it lacks.
    pub lag_records: u64,
    /// Bytes that it lacks.
    pub lag_bytes: u64,
    /// Age of the oldest record that it lacks.
    pub lag_seconds: f64,
    /// Bytes condemned and not deleted there yet.
    pub waiting_sweep_bytes: u64,
    /// Requests made to it.
    pub requests: u64,
    /// The same by kind, where the coordinator has it open.
    pub by_kind: Option<SiteRequests>,
    /// Bytes written to it.
    pub bytes_written: u64,
    /// Bytes read from it.
    pub bytes_read: u64,
    /// Free bytes there, where that is known.
    pub free_bytes: Option<u64>,
}

/// What was asked of a site, by kind. Those that were sent again count each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SiteRequests {
    /// Requests that wrote.
    pub puts: u64,
    /// Requests that read.
    pub gets: u64,
    /// Requests for an object's size and time.
    pub heads: u64,
    /// Pages of names.
    pub lists: u64,
    /// Requests that deleted.
    pub deletes: u64,
    /// Of all, those without a useful answer.
    pub failures: u64,
    /// Of all, those that were sent again.
    pub retries: u64,
}

/// One vault.
#[derive(Debug, Clone, PartialEq)]
pub struct VaultInfo {
    /// Its id.
    pub id: VaultId,
    /// Its name.
    pub name: String,
    /// Its root key, as the coordinator says. Compare it with a pinned one before it is believed.
    pub root_public: PublicKey,
    /// Its primary site.
    pub primary: String,
    /// Its sites.
    pub sites: Vec<SiteInfo>,
    /// The last record.
    pub head: Option<Position>,
    /// The coordinator that owns it; empty when nobody does.
    pub owner: String,
    /// What the owner here does with it: `open`, `opening`, `fenced`, `stopped`; `elsewhere` where another one owns it.
    pub state: String,
    /// Why it is not open; empty when all is well.
    pub trouble: String,
    /// Snapshots in the catalog.
    pub snapshots: u64,
    /// Live chunks.
    pub chunks: u64,
    /// Live packs.
    pub packs: u64,
    /// Bytes of live packs, at one site.
    pub stored_bytes: u64,
    /// Open sessions.
    pub open_sessions: u64,
    /// The signed list of recipients, as the format encodes it.
    recipients: Vec<u8>,
    /// When it was created: milliseconds since 1970 UTC.
    pub created_millis: u64,
    /// The policy file's text; empty without one.
    pub policy: String,
    /// Why not every snapshot stands at every site; empty when they do, or when nothing is known.
    pub unprotected: String,
}

impl VaultInfo {
    /// Reads the coordinator's word.
    pub(super) fn read(wire: v1::Vault) -> Result<Self> {
        let root: [u8; 32] = wire.root_public[..]
            .try_into()
            .map_err(|_| nonsense("a root key has the wrong length"))?;
        Ok(Self {
            id: VaultId::from_slice(&wire.id).map_err(nonsense)?,
            name: wire.name,
            root_public: PublicKey(root),
            primary: wire.primary,
            sites: wire.sites.into_iter().map(SiteInfo::read).collect(),
            head: wire.head.map(position),
            owner: wire.owner,
            state: wire.state,
            trouble: wire.trouble,
            snapshots: wire.snapshots,
            chunks: wire.chunks,
            packs: wire.packs,
            stored_bytes: wire.stored_bytes,
            open_sessions: wire.open_sessions,
            recipients: wire.recipients.to_vec(),
            created_millis: wire.created_millis,
            policy: wire.policy,
            unprotected: wire.unprotected,
        })
    }

    /// Reads one that must be there.
    pub(super) fn read_some(wire: Option<v1::Vault>) -> Result<Self> {
        Self::read(wire.ok_or_else(|| nonsense("it names no vault"))?)
    }

    /// The recipients in force, after checking that the root key which the caller trusts signed them.
    pub fn recipients(&self, root: &PublicKey) -> Result<RecipientsSet> {
        if self.recipients.is_empty() {
            return Err(self.not_open());
        }
        let set = RecipientsSet::decode(&self.recipients).map_err(nonsense)?;
        set.check(self.id, root)?;
        Ok(set)
    }

    /// The coordinator knows the vault and cannot serve it now.
    fn not_open(&self) -> Error {
        let trouble = match self.trouble.as_str() {
            "" => "wait a little, then run this again",
            trouble => trouble,
        };
        Error::Unavailable {
            what: format!("vault {:?}", self.name),
            why: format!("the coordinator has it as {}; {trouble}", self.state),
        }
    }

    /// Requires that this is the vault that a bundle or an identity was made for.
    pub fn require(&self, id: VaultId, root: &PublicKey, what: &str) -> Result<()> {
        if self.id != id {
            return Err(Error::Denied {
                what: format!("vault {:?}", self.name),
                why: format!(
                    "{what} is for vault {id}, and this is {}; give the one that belongs to it",
                    self.id
                ),
            });
        }
        if self.root_public != *root {
            return Err(Error::Denied {
                what: format!("vault {:?}", self.name),
                why: format!(
                    "the coordinator shows another root key than {what} pins; \
                     do not use this coordinator until someone has looked into it"
                ),
            });
        }
        Ok(())
    }
}

impl SiteInfo {
    fn read(wire: v1::SiteProgress) -> Self {
        Self {
            site: wire.site,
            url: wire.url,
            primary: wire.primary,
            reachable: wire.reachable,
            pending: wire.pending,
            trouble: wire.trouble,
            replicated: wire.replicated.map(position),
            lag_records: wire.lag_records,
            lag_bytes: wire.lag_bytes,
            lag_seconds: wire.lag_seconds,
            waiting_sweep_bytes: wire.waiting_sweep_bytes,
            requests: wire.requests,
            by_kind: wire.by_kind.map(SiteRequests::read),
            bytes_written: wire.bytes_written,
            bytes_read: wire.bytes_read,
            free_bytes: (wire.free_bytes != 0).then_some(wire.free_bytes),
        }
    }
}

impl SiteRequests {
    fn read(wire: v1::SiteRequests) -> Self {
        Self {
            puts: wire.puts,
            gets: wire.gets,
            heads: wire.heads,
            lists: wire.lists,
            deletes: wire.deletes,
            failures: wire.failures,
            retries: wire.retries,
        }
    }
}

fn position(wire: v1::Position) -> Position {
    Position {
        epoch: holdfast_format::Epoch(wire.epoch),
        slot: holdfast_format::Slot(wire.slot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> VaultInfo {
        VaultInfo::read(v1::Vault {
            id: vec![1; 16].into(),
            root_public: vec![2; 32].into(),
            name: "db".into(),
            ..Default::default()
        })
        .unwrap()
    }

    #[test]
    fn another_vault_or_root_is_refused() {
        let root = PublicKey([2; 32]);
        assert!(
            info()
                .require(VaultId([1; 16]), &root, "the bundle")
                .is_ok()
        );
        let other = info().require(VaultId([9; 16]), &root, "the bundle");
        assert!(matches!(other, Err(Error::Denied { .. })));
        let other = info().require(VaultId([1; 16]), &PublicKey([3; 32]), "the bundle");
        assert!(other.unwrap_err().to_string().contains("another root key"));
    }

    #[test]
    fn an_unsigned_list_of_recipients_is_refused() {
        let mut info = info();
        info.recipients = vec![1, 2, 3];
        let refused = info.recipients(&PublicKey([2; 32]));
        assert!(matches!(refused, Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_vault_that_is_not_open_is_waited_for() {
        let closed = info().recipients(&PublicKey([2; 32]));
        assert!(matches!(closed, Err(Error::Unavailable { .. })));
    }
}
