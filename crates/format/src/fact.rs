//! Facts: what records say. Each is `[kind, body]`; the kind's number and the body's keys are the format.
//!
//! A fold over the facts in log order is the whole state of a vault. Facts are made by one writer at a time, which
//! checks them before it appends; a reader trusts the chain and the signatures, and checks that each makes sense.
//!
//! Long because it is one list, which the format's text follows.

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use crate::codec::{self, Body};
use crate::error::{Error, Result};
use crate::id::{
    ChunkId, ClaimNonce, Epoch, Generation, Hash, HoldId, KeyId, Ordinal, PackOrdinal, Position,
    Scope, SessionId, SiteName, Slot, SnapshotId, SourceName,
};
use crate::key::{KeyRef, Recipient};
use crate::naming::PackFact;
use crate::sign::{Certificate, Signature};

macro_rules! facts {
    ($($(#[$doc:meta])* $number:literal $name:ident $keys:literal $what:literal;)*) => {
        /// One fact.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Fact {
            $($(#[$doc])* $name($name),)*
        }

        impl Fact {
            /// The kind's number.
            pub fn kind(&self) -> u64 {
                match self { $(Self::$name(_) => $number,)* }
            }

            /// The kind's name, for people.
            pub fn kind_name(&self) -> &'static str {
                match self { $(Self::$name(_) => $what,)* }
            }

            fn encode_into<W: Write>(&self, e: &mut Encoder<W>) -> std::result::Result<(), EncodeError<W::Error>> {
                match self { $(Self::$name(body) => e.array(2)?.u64($number)?.encode(body)?.ok(),)* }
            }

            fn decode_body(kind: u64, bytes: &[u8]) -> Result<Self> {
                match kind {
                    $($number => codec::decode::<$name>(bytes).map(Self::$name),)*
                    other => Err(Error::too_new("a record", format!("fact kind {other} is unknown"))),
                }
            }
        }

        $(impl Body for $name {
            const KEYS: u64 = $keys;
            const WHAT: &'static str = $what;
        }

        impl From<$name> for Fact {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
}

facts! {
    /// Opens an epoch.
    1 Claim 3 "claim";
    /// Closes an epoch.
    2 Seal 6 "seal";
    /// The lowest format level that may own or collect from here on.
    3 LevelRaised 1 "level raised";
    /// A site belongs to the vault from here on.
    4 MemberJoined 3 "member joined";
    /// A site no longer belongs to the vault.
    5 MemberLeft 3 "member left";
    /// Who may open what is sealed from here on.
    6 RecipientsSet 5 "recipients set";
    /// An upload begins.
    7 SessionOpened 6 "session opened";
    /// Packs are at the primary and count from here on.
    8 PacksAdded 2 "packs added";
    /// A snapshot is complete.
    9 SnapshotCommitted 9 "snapshot committed";
    /// An upload is over.
    10 SessionEnded 3 "session ended";
    /// Snapshots went to the trash.
    11 SnapshotsTrashed 4 "snapshots trashed";
    /// Snapshots came back from the trash.
    12 SnapshotsRecovered 2 "snapshots recovered";
    /// A hold begins.
    13 HoldPlaced 6 "hold placed";
    /// A hold ends.
    14 HoldReleased 2 "hold released";
    /// Given up for ever.
    15 Condemned 7 "condemned";
    /// Gone at every member.
    16 Swept 2 "swept";
    /// Chunks that are bad at every member.
    17 ChunkBad 2 "chunk bad";
    /// A retention policy.
    18 PolicySet 2 "policy set";
    /// A checkpoint counts.
    19 CheckpointMade 3 "checkpoint made";
    /// Records of a branch were committed again here.
    20 BranchSalvaged 4 "branch salvaged";
    /// A snapshot was read back whole at a site.
    21 SnapshotVerified 3 "snapshot verified";
    /// What is known by now of snapshots and packs at a site.
    22 SiteChecked 9 "site checked";
}

impl<C> Encode<C> for Fact {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> std::result::Result<(), EncodeError<W::Error>> {
        self.encode_into(e)
    }
}

/// Decodes a CBOR array of facts, each with its critical keys checked.
pub(crate) fn decode_facts(bytes: &[u8]) -> Result<Vec<Fact>> {
    let bad = |e: DecodeError| Error::corrupt("a record", e.to_string());
    let mut d = Decoder::new(bytes);
    let count = d
        .array()
        .map_err(bad)?
        .ok_or_else(|| Error::corrupt("a record", "its facts are unstated in number"))?;
    let mut facts = Vec::new();
    for _ in 0..count {
        if d.array().map_err(bad)? != Some(2) {
            return Err(Error::corrupt("a record", "a fact is not a pair"));
        }
        let kind = d.u64().map_err(bad)?;
        let start = d.position();
        d.skip().map_err(bad)?;
        facts.push(Fact::decode_body(kind, &bytes[start..d.position()])?);
    }
    if d.position() != bytes.len() {
        return Err(Error::corrupt("a record", "bytes follow its facts"));
    }
    Ok(facts)
}

/// Opens an epoch: always the only fact of slot 0. The record's nonce is the claim's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Claim {
    /// The site that this epoch writes to first: the primary.
    #[n(0)]
    pub primary: SiteName,
    /// The coordinator's name.
    #[n(1)]
    pub coordinator: String,
    /// The root key's word for the writer that signs this epoch's records.
    #[n(2)]
    pub certificate: Certificate,
}

/// Closes an epoch: always the only fact of its record, written by the next claimant and signed by it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Seal {
    /// The epoch that follows.
    #[n(0)]
    pub next_epoch: Epoch,
    /// The nonce of the claim that follows.
    #[n(1)]
    pub next_nonce: ClaimNonce,
    /// Records of this epoch at or after this slot are not history.
    #[n(2)]
    pub ends_at: Slot,
    /// The root key's word for the writer that signs this seal.
    #[n(3)]
    pub certificate: Certificate,
    /// The claimant's name.
    #[n(4)]
    pub by: String,
    /// At a site that was left behind: the seal record that stands at the survivor, whose hash the next claim links to.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub survivor: Option<Vec<u8>>,
}

/// See [`Fact::LevelRaised`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LevelRaised {
    /// The level.
    #[n(0)]
    pub level: u8,
}

/// See [`Fact::MemberJoined`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MemberJoined {
    /// The site's name.
    #[n(0)]
    pub site: SiteName,
    /// Where it is, without credentials: for whoever attaches the vault on a new machine.
    #[n(1)]
    pub url: String,
    /// Who added it.
    #[n(2)]
    pub who: String,
}

/// See [`Fact::MemberLeft`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MemberLeft {
    /// The site's name.
    #[n(0)]
    pub site: SiteName,
    /// Who removed it.
    #[n(1)]
    pub who: String,
    /// Why.
    #[n(2)]
    pub why: String,
}

/// The vault's recipients, signed by the root key: agents check the signature before they seal to anyone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RecipientsSet {
    /// Rises with each change.
    #[n(0)]
    pub generation: Generation,
    /// The recipients.
    #[n(1)]
    pub recipients: Vec<Recipient>,
    /// BLAKE3 of `keys/vault/<generation>`.
    #[n(2)]
    pub vault_key: Hash,
    /// When, by the signer's clock: milliseconds since 1970 UTC.
    #[n(3)]
    pub made_millis: i64,
    /// The root key's signature, see [`crate::recipients`].
    #[n(4)]
    pub signature: Signature,
}

/// See [`Fact::SessionOpened`]. The record's time is the snapshot's calendar time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionOpened {
    /// The session.
    #[n(0)]
    pub session: SessionId,
    /// The source.
    #[n(1)]
    pub source: SourceName,
    /// Its dedup scope.
    #[n(2)]
    pub scope: Scope,
    /// Its data key.
    #[n(3)]
    pub key: KeyRef,
    /// The agent's name.
    #[n(4)]
    pub agent: String,
    /// Tags that the snapshot will bear.
    #[n(5)]
    pub tags: Vec<String>,
}

/// See [`Fact::PacksAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PacksAdded {
    /// The session that sent them; absent for packs that the collector or a salvage made of frames that exist.
    #[n(0)]
    pub session: Option<SessionId>,
    /// The packs.
    #[n(1)]
    pub packs: Vec<PackFact>,
}

/// See [`Fact::SnapshotCommitted`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotCommitted {
    /// The session, which is the snapshot's id too.
    #[n(0)]
    pub snapshot: SnapshotId,
    /// Ordinal of its root node.
    #[n(1)]
    pub root: Ordinal,
    /// Id of its root node.
    #[n(2)]
    pub root_id: ChunkId,
    /// Files in it.
    #[n(3)]
    pub files: u64,
    /// Directories in it.
    #[n(4)]
    pub directories: u64,
    /// Sum of its files' sizes, bytes.
    #[n(5)]
    pub bytes: u64,
    /// Paths that could not be read as they should have been.
    #[n(6)]
    pub problems: u64,
    /// Bytes of sealed frames that the session sent.
    #[n(7)]
    pub bytes_sent: u64,
    /// When the session was opened: the snapshot's calendar time, milliseconds since 1970 UTC by the coordinator's clock.
    #[n(8)]
    pub time_millis: i64,
}

/// See [`Fact::SessionEnded`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionEnded {
    /// The session.
    #[n(0)]
    pub session: SessionId,
    /// Why: `given up by its agent`, `too old`, ….
    #[n(1)]
    pub why: String,
    /// Who.
    #[n(2)]
    pub who: String,
}

/// See [`Fact::SnapshotsTrashed`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotsTrashed {
    /// The snapshots.
    #[n(0)]
    pub snapshots: Vec<SnapshotId>,
    /// Why: the policy's rule or a person's words.
    #[n(1)]
    pub why: String,
    /// Who: a person, or `policy`.
    #[n(2)]
    pub who: String,
    /// Until when they can be recovered at least: milliseconds since 1970 UTC.
    #[n(3)]
    pub until_millis: i64,
}

/// See [`Fact::SnapshotsRecovered`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotsRecovered {
    /// The snapshots.
    #[n(0)]
    pub snapshots: Vec<SnapshotId>,
    /// Who.
    #[n(1)]
    pub who: String,
}

/// What a hold covers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Cover {
    /// Every snapshot of the vault, those to come too.
    #[n(0)]
    Vault,
    /// Every snapshot of a source, those to come too.
    #[n(1)]
    Source(#[n(0)] SourceName),
    /// One snapshot.
    #[n(2)]
    Snapshot(#[n(0)] SnapshotId),
}

/// See [`Fact::HoldPlaced`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HoldPlaced {
    /// The hold.
    #[n(0)]
    pub hold: HoldId,
    /// What it covers.
    #[n(1)]
    pub cover: Cover,
    /// Why.
    #[n(2)]
    pub why: String,
    /// Who.
    #[n(3)]
    pub who: String,
    /// When it ends by itself: milliseconds since 1970 UTC. Restores and mounts hold this way; a legal hold has none.
    #[n(4)]
    pub until_millis: Option<i64>,
    /// Whether a restore or a mount placed it.
    #[n(5)]
    pub by_restore: bool,
}

/// See [`Fact::HoldReleased`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HoldReleased {
    /// The hold.
    #[n(0)]
    pub hold: HoldId,
    /// Who.
    #[n(1)]
    pub who: String,
}

/// See [`Fact::Condemned`]. There is no way back from it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Condemned {
    /// The chunks given up: ordinals, as a serialised roaring treemap (portable format).
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub absent: Vec<u8>,
    /// Snapshots given up: their time in the trash is over.
    #[n(1)]
    pub snapshots: Vec<SnapshotId>,
    /// Packs given up; what is live of them has a later home.
    #[n(2)]
    pub packs: Vec<PackOrdinal>,
    /// Data keys given up: no pack that stays uses them.
    #[n(3)]
    pub keys: Vec<KeyId>,
    /// Who: `collector`, or the person who asked.
    #[n(4)]
    pub who: String,
    /// The ordinal bound of the mark: every chunk given up is below it.
    #[n(5)]
    pub bound: Ordinal,
    /// The head of the log that the mark was taken at.
    #[n(6)]
    pub marked_at: Position,
}

/// See [`Fact::Swept`]: appended once absence was checked at every member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Swept {
    /// The packs that are gone.
    #[n(0)]
    pub packs: Vec<PackOrdinal>,
    /// The keys that are gone.
    #[n(1)]
    pub keys: Vec<KeyId>,
}

/// See [`Fact::ChunkBad`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ChunkBad {
    /// The chunks.
    #[n(0)]
    pub chunks: Vec<Ordinal>,
    /// Who found it.
    #[n(1)]
    pub who: String,
}

/// See [`Fact::PolicySet`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PolicySet {
    /// The policy file's text; empty removes the policy.
    #[n(0)]
    pub text: String,
    /// Who.
    #[n(1)]
    pub who: String,
}

/// See [`Fact::CheckpointMade`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CheckpointMade {
    /// The last record that it covers.
    #[n(0)]
    pub covers: Position,
    /// BLAKE3 of the manifest object.
    #[n(1)]
    pub manifest: Hash,
    /// Hash of the folded state.
    #[n(2)]
    pub state: crate::state_hash::StateHash,
}

/// See [`Fact::BranchSalvaged`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BranchSalvaged {
    /// The site that held the branch.
    #[n(0)]
    pub site: SiteName,
    /// The branch's epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// Its first slot that is not history.
    #[n(2)]
    pub from: Slot,
    /// Hash of its last record, so that nothing was left out.
    #[n(3)]
    pub last: Hash,
}

/// See [`Fact::SnapshotVerified`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotVerified {
    /// The snapshot.
    #[n(0)]
    pub snapshot: SnapshotId,
    /// Where it was read.
    #[n(1)]
    pub site: SiteName,
    /// By what: `scrubber` (sealed bytes), or who read it with an identity.
    #[n(2)]
    pub who: String,
}

/// See [`Fact::SiteChecked`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SiteChecked {
    /// The site.
    #[n(0)]
    pub site: SiteName,
    /// Something that these need is damaged or missing there.
    #[n(1)]
    pub damaged: Vec<SnapshotId>,
    /// Of these nothing is known there any more: neither that they were read back, nor that something is damaged.
    #[n(2)]
    pub unread: Vec<SnapshotId>,
    /// By what, or who.
    #[n(3)]
    pub who: String,
    /// Packs that are damaged or missing there.
    #[n(4)]
    pub bad_packs: Vec<PackOrdinal>,
    /// Packs of which that is not so any more.
    #[n(5)]
    pub good_packs: Vec<PackOrdinal>,
    /// Data keys that are damaged or missing there.
    #[n(6)]
    pub bad_keys: Vec<KeyId>,
    /// Data keys of which that is not so any more.
    #[n(7)]
    pub good_keys: Vec<KeyId>,
    /// Whether something is damaged or missing there without which nothing can be read; absent: as before.
    #[n(8)]
    pub is_unreadable: Option<bool>,
}

impl SiteChecked {
    /// What says nothing yet of a site.
    pub fn nothing_of(site: &SiteName, who: &str) -> Self {
        Self {
            site: site.clone(),
            damaged: Vec::new(),
            unread: Vec::new(),
            who: who.into(),
            bad_packs: Vec::new(),
            good_packs: Vec::new(),
            bad_keys: Vec::new(),
            good_keys: Vec::new(),
            is_unreadable: None,
        }
    }

    /// Whether it says nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::nothing_of(&self.site, &self.who)
    }
}
