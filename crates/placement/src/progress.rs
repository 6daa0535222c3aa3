//! How far one member has come.

use holdfast_format::Position;
use minicbor::{Decode, Encode};

/// What a vault's owner last said about one member. A hint: it may be a few seconds old, and a deposed owner may
/// have written it; the member's own log is the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Progress {
    /// The last record that stands at the member, with all packs and keys that it needs; none so far if absent.
    #[n(0)]
    pub replicated: Option<Position>,
    /// The last record up to which the member's bytes were read back and checked.
    #[n(1)]
    pub verified: Option<Position>,
    /// When this was so, in milliseconds since 1970-01-01 UTC by the owner's clock.
    #[n(2)]
    pub at_millis: i64,
    /// Records of the primary that the member lacked then.
    #[n(3)]
    pub records: u64,
    /// Bytes of packs, keys and records that the member lacked then.
    #[n(4)]
    pub bytes: u64,
}
