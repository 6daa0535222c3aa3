//! The catalog: everything of a vault's state but the chunk index. A plain value, encodable for checkpoints.
//!
//! It changes only by facts of the log (`fold/apply.rs`).

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::fact::{Cover, RecipientsSet};
use holdfast_format::{
    ChunkId, ChunkKind, Hash, HoldId, KeyId, KeyRef, Ordinal, PackId, PackOrdinal, Position, Scope,
    SessionId, SiteName, SnapshotId, SourceName, StateHash,
};
use minicbor::{Decode, Encode};

/// Checkpoints that count at once: the newest ones that the log names.
pub const CHECKPOINTS_KEPT: usize = 2;

/// The catalog of one vault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Catalog {
    /// The site that the present epoch writes to first.
    #[n(0)]
    pub primary: Option<SiteName>,
    /// Sites that belong to the vault.
    #[n(1)]
    pub members: BTreeMap<SiteName, Member>,
    /// Who may open what is sealed.
    #[n(2)]
    pub recipients: Option<RecipientsSet>,
    /// The policy file's text; empty without one.
    #[n(3)]
    pub policy: String,
    /// Uploads under way.
    #[n(4)]
    pub sessions: BTreeMap<SessionId, Session>,
    /// Snapshots, those in the trash too.
    #[n(5)]
    pub snapshots: BTreeMap<SnapshotId, Snapshot>,
    /// Packs that are live, or condemned and not yet swept everywhere.
    #[n(6)]
    pub packs: BTreeMap<PackOrdinal, PackInfo>,
    /// The next free pack ordinal.
    #[n(7)]
    pub next_pack: u32,
    /// Data keys that are live, or condemned and not yet swept everywhere.
    #[n(8)]
    pub keys: BTreeMap<KeyId, KeyInfo>,
    /// Holds that were placed and not released.
    #[n(9)]
    pub holds: BTreeMap<HoldId, Hold>,
    /// The last checkpoints that count, newest last; at most two.
    #[n(10)]
    pub checkpoints: Vec<CheckpointRef>,
    /// The lowest format level that may own.
    #[n(11)]
    pub level: u8,
    /// Branches that were salvaged: epoch and first slot.
    #[n(12)]
    pub salvaged: Vec<Salvaged>,
    /// Chunks that are to be sent again: answered *want*.
    #[n(13)]
    pub stale: Vec<Ordinal>,
    /// Sum of `len` of live packs.
    #[n(14)]
    pub stored_bytes: u64,
    /// What is damaged or missing at a site, as a verification found; none: nothing anywhere.
    #[n(15)]
    pub damage: Option<BTreeMap<SiteName, Damage>>,
}

/// A site that belongs to the vault.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Member {
    /// Where it is, without credentials.
    #[n(0)]
    pub url: String,
    /// The record by which it joined.
    #[n(1)]
    pub joined: Position,
}

/// An upload under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Session {
    /// The source.
    #[n(0)]
    pub source: SourceName,
    /// Its dedup scope.
    #[n(1)]
    pub scope: Scope,
    /// Its data key.
    #[n(2)]
    pub key: KeyRef,
    /// The agent's name.
    #[n(3)]
    pub agent: String,
    /// Tags that its snapshot will bear.
    #[n(4)]
    pub tags: Vec<String>,
    /// Log time of its opening.
    #[n(5)]
    pub opened_millis: i64,
    /// The record that opened it.
    #[n(6)]
    pub opened_at: Position,
    /// Runs of ordinals that its packs named: first, and the one after the last.
    #[n(7)]
    pub named: Vec<(Ordinal, Ordinal)>,
    /// Known chunks that its packs named again.
    #[n(8)]
    pub again: Vec<Ordinal>,
    /// Bytes of frames that its packs hold.
    #[n(9)]
    pub bytes_sent: u64,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// The source.
    #[n(0)]
    pub source: SourceName,
    /// Its dedup scope.
    #[n(1)]
    pub scope: Scope,
    /// The agent's name.
    #[n(2)]
    pub agent: String,
    /// Tags.
    #[n(3)]
    pub tags: Vec<String>,
    /// Ordinal of its root node.
    #[n(4)]
    pub root: Ordinal,
    /// Id of its root node.
    #[n(5)]
    pub root_id: ChunkId,
    /// Files in it.
    #[n(6)]
    pub files: u64,
    /// Directories in it.
    #[n(7)]
    pub directories: u64,
    /// Sum of its files' sizes.
    #[n(8)]
    pub bytes: u64,
    /// Paths that could not be read.
    #[n(9)]
    pub problems: u64,
    /// Sealed bytes that its session sent.
    #[n(10)]
    pub bytes_sent: u64,
    /// Calendar time: when its session was opened.
    #[n(11)]
    pub time_millis: i64,
    /// Log time of its commit.
    #[n(12)]
    pub committed_millis: i64,
    /// The record that committed it.
    #[n(13)]
    pub committed_at: Position,
    /// Set while it is in the trash.
    #[n(14)]
    pub trash: Option<Trash>,
    /// Sites where it was read back whole, with the log time.
    #[n(15)]
    pub verified: BTreeMap<SiteName, i64>,
    /// Sites where something that it needs is damaged or missing, as a verification found; none: nowhere.
    #[n(16)]
    pub damaged: Option<BTreeSet<SiteName>>,
}

impl Snapshot {
    /// Whether something that it needs is known to be damaged at a site.
    pub fn is_damaged_at(&self, site: &SiteName) -> bool {
        (self.damaged.as_ref()).is_some_and(|damaged| damaged.contains(site))
    }

    /// Something that it needs is damaged at a site.
    pub(super) fn damage(&mut self, site: &SiteName) {
        self.verified.remove(site);
        self.damaged.get_or_insert_default().insert(site.clone());
    }

    /// Nothing is known of it at a site any more.
    pub(super) fn unread(&mut self, site: &SiteName) {
        self.verified.remove(site);
        if let Some(damaged) = &mut self.damaged {
            damaged.remove(site);
            if damaged.is_empty() {
                self.damaged = None;
            }
        }
    }
}

/// What is damaged or missing at a site. What is committed later and needs any of it is damaged there too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Damage {
    /// Packs.
    #[n(0)]
    pub packs: BTreeSet<PackOrdinal>,
    /// Data keys.
    #[n(1)]
    pub keys: BTreeSet<KeyId>,
    /// Something without which nothing there can be read.
    #[n(2)]
    pub is_unreadable: bool,
}

/// Why a snapshot is in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Trash {
    /// Why.
    #[n(0)]
    pub why: String,
    /// Who.
    #[n(1)]
    pub who: String,
    /// Until when it can be recovered at least.
    #[n(2)]
    pub until_millis: i64,
    /// Log time.
    #[n(3)]
    pub since_millis: i64,
}

/// A pack.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PackInfo {
    /// Its name.
    #[n(0)]
    pub id: PackId,
    /// 0 data, 1 nodes.
    #[n(1)]
    pub kind: u8,
    /// The dedup scope of all its chunks.
    #[n(2)]
    pub scope: Scope,
    /// The data keys that its frames use.
    #[n(3)]
    pub keys: Vec<KeyId>,
    /// Length of the object.
    #[n(4)]
    pub len: u64,
    /// Where the footer starts.
    #[n(5)]
    pub footer_offset: u64,
    /// Length of the footer.
    #[n(6)]
    pub footer_len: u64,
    /// BLAKE3 of the footer.
    #[n(7)]
    pub footer_hash: Hash,
    /// The record that added it.
    #[n(8)]
    pub added: Position,
    /// How many chunks it names.
    #[n(9)]
    pub chunks: u32,
    /// First new ordinal that it named.
    #[n(10)]
    pub first: Ordinal,
    /// How many new ordinals it named, a run from `first`.
    #[n(11)]
    pub named: u32,
    /// Known chunks that it names again.
    #[n(12)]
    pub again: Vec<Ordinal>,
    /// The record that condemned it.
    #[n(13)]
    pub condemned: Option<Position>,
    /// Log time when it was added.
    #[n(14)]
    pub added_millis: i64,
}

impl PackInfo {
    /// Data or nodes.
    pub fn chunk_kind(&self) -> ChunkKind {
        if self.kind == 0 {
            ChunkKind::Data
        } else {
            ChunkKind::Node
        }
    }

    /// Every ordinal that the pack names.
    pub fn ordinals(&self) -> impl Iterator<Item = Ordinal> + '_ {
        let new = self.first.0..self.first.0 + u64::from(self.named);
        new.map(Ordinal).chain(self.again.iter().copied())
    }
}

/// A data key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyInfo {
    /// Its object.
    #[n(0)]
    pub reference: KeyRef,
    /// Its scope.
    #[n(1)]
    pub scope: Scope,
    /// The record that condemned it.
    #[n(2)]
    pub condemned: Option<Position>,
    /// The record that named it.
    #[n(3)]
    pub added: Position,
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hold {
    /// What it covers.
    #[n(0)]
    pub cover: Cover,
    /// Why.
    #[n(1)]
    pub why: String,
    /// Who.
    #[n(2)]
    pub who: String,
    /// When it ends by itself.
    #[n(3)]
    pub until_millis: Option<i64>,
    /// Whether a restore placed it.
    #[n(4)]
    pub by_restore: bool,
    /// Log time when it was placed.
    #[n(5)]
    pub placed_millis: i64,
}

impl Hold {
    /// Whether it still holds at a log time.
    pub fn in_force(&self, now_millis: i64) -> bool {
        self.until_millis.is_none_or(|until| until > now_millis)
    }

    /// Whether it covers a snapshot.
    pub fn covers(&self, id: &SnapshotId, source: &SourceName) -> bool {
        match &self.cover {
            Cover::Vault => true,
            Cover::Source(name) => name == source,
            Cover::Snapshot(one) => one == id,
        }
    }
}

/// A checkpoint that counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CheckpointRef {
    /// The last record that it covers.
    #[n(0)]
    pub covers: Position,
    /// BLAKE3 of its manifest.
    #[n(1)]
    pub manifest: Hash,
    /// The state's hash there.
    #[n(2)]
    pub state: StateHash,
}

/// A branch whose records were committed again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Salvaged {
    /// The site that held it.
    #[n(0)]
    pub site: SiteName,
    /// First place that was not history.
    #[n(1)]
    pub from: Position,
}

impl Catalog {
    /// Snapshots that are not in the trash.
    pub fn live_snapshots(&self) -> impl Iterator<Item = (&SnapshotId, &Snapshot)> {
        self.snapshots
            .iter()
            .filter(|(_, snapshot)| snapshot.trash.is_none())
    }

    /// Whether something is known to be damaged at a member.
    pub fn is_damage_known(&self) -> bool {
        let mut sites = self.damage.iter().flatten().map(|(site, _)| site);
        sites.any(|site| self.members.contains_key(site))
    }

    /// What is known to be damaged at a site.
    pub fn damage_at(&self, site: &SiteName) -> Option<&Damage> {
        self.damage.as_ref().and_then(|all| all.get(site))
    }

    /// Changes what is known to be damaged at each site.
    pub(super) fn change_damage(&mut self, change: impl FnOnce(&mut BTreeMap<SiteName, Damage>)) {
        let mut all = self.damage.take().unwrap_or_default();
        change(&mut all);
        all.retain(|_, damage| *damage != Damage::default());
        self.damage = Some(all).filter(|all| !all.is_empty());
    }

    /// Whether a hold covers a snapshot at a log time.
    pub fn is_held(&self, id: &SnapshotId, source: &SourceName, now_millis: i64) -> bool {
        self.holds
            .values()
            .any(|hold| hold.in_force(now_millis) && hold.covers(id, source))
    }
}
