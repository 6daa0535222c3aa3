//! Records, and one fact of each kind.

use holdfast_format::codec::{self, LEVEL};
use holdfast_format::fact::*;
use holdfast_format::record::{Facts, RecordBody};
use holdfast_format::{
    ChunkId, ClaimNonce, Epoch, Fact, Generation, Hash, HoldId, KeyRef, Ordinal, PackOrdinal,
    Record, Scope, SessionId, Slot, StateHash,
};
use roaring::RoaringTreemap;

use super::{KEY, KINDS, POSITION, VAULT, certified, named, recipients_set, root};

pub(in super::super) fn body(facts: Vec<Fact>) -> RecordBody {
    RecordBody {
        level: LEVEL,
        vault: VAULT,
        epoch: POSITION.epoch,
        slot: POSITION.slot,
        previous: Hash([5; 32]),
        nonce: ClaimNonce([6; 16]),
        time_millis: -7,
        writer: root().public(),
        facts: Facts(facts),
        tail: None,
    }
}

/// One fact of each kind.
fn every_fact() -> Vec<Fact> {
    let (snapshot, hold) = (SessionId([8; 16]), HoldId([9; 16]));
    let text = || String::from("text");
    let site = || "off".parse().expect("it is one");
    let mut absent = Vec::new();
    RoaringTreemap::from_iter([1, 2, 70_000, 1 << 40])
        .serialize_into(&mut absent)
        .expect("memory takes it");
    let key = KeyRef {
        key: KEY,
        generation: Generation(1),
        hash: Hash([1; 32]),
    };
    let holds = [
        Cover::Vault,
        Cover::Source("db".parse().expect("it is one")),
        Cover::Snapshot(snapshot),
    ];
    let mut facts: Vec<Fact> = vec![
        Claim {
            primary: site(),
            coordinator: text(),
            certificate: certified(),
        }
        .into(),
        Seal {
            next_epoch: Epoch(2),
            next_nonce: ClaimNonce([7; 16]),
            ends_at: Slot(3),
            certificate: certified(),
            by: text(),
            survivor: Some(vec![1, 2]),
        }
        .into(),
        LevelRaised { level: 1 }.into(),
        MemberJoined {
            site: site(),
            url: text(),
            who: text(),
        }
        .into(),
        MemberLeft {
            site: site(),
            who: text(),
            why: text(),
        }
        .into(),
        recipients_set().into(),
        SessionOpened {
            session: snapshot,
            source: "db".parse().expect("it is one"),
            scope: Scope::vault(),
            key,
            agent: text(),
            tags: vec![text()],
        }
        .into(),
        PacksAdded {
            session: Some(snapshot),
            packs: KINDS.map(named).to_vec(),
        }
        .into(),
        SnapshotCommitted {
            snapshot,
            root: Ordinal(7),
            root_id: ChunkId([1; 32]),
            files: 1,
            directories: 2,
            bytes: 1 << 40,
            problems: 0,
            bytes_sent: 5,
            time_millis: 6,
        }
        .into(),
        SessionEnded {
            session: snapshot,
            why: text(),
            who: text(),
        }
        .into(),
        SnapshotsTrashed {
            snapshots: vec![snapshot],
            why: text(),
            who: text(),
            until_millis: 9,
        }
        .into(),
        SnapshotsRecovered {
            snapshots: vec![snapshot],
            who: text(),
        }
        .into(),
        HoldReleased { hold, who: text() }.into(),
        Condemned {
            absent,
            snapshots: vec![snapshot],
            packs: vec![PackOrdinal(1)],
            keys: vec![KEY],
            who: text(),
            bound: Ordinal(9),
            marked_at: POSITION,
        }
        .into(),
        Swept {
            packs: vec![PackOrdinal(1)],
            keys: vec![KEY],
        }
        .into(),
        ChunkBad {
            chunks: vec![Ordinal(1)],
            who: text(),
        }
        .into(),
        PolicySet {
            text: text(),
            who: text(),
        }
        .into(),
        CheckpointMade {
            covers: POSITION,
            manifest: Hash([2; 32]),
            state: StateHash::default(),
        }
        .into(),
        BranchSalvaged {
            site: site(),
            epoch: Epoch(1),
            from: Slot(2),
            last: Hash([3; 32]),
        }
        .into(),
        SnapshotVerified {
            snapshot,
            site: site(),
            who: text(),
        }
        .into(),
        SiteChecked {
            site: site(),
            damaged: vec![snapshot],
            unread: vec![snapshot],
            who: text(),
            bad_packs: vec![PackOrdinal(1)],
            good_packs: vec![PackOrdinal(2)],
            bad_keys: vec![KEY],
            good_keys: vec![KEY],
            is_unreadable: Some(true),
        }
        .into(),
    ];
    facts.extend(holds.map(|cover| {
        HoldPlaced {
            hold,
            cover,
            why: text(),
            who: text(),
            until_millis: Some(3),
            by_restore: true,
        }
        .into()
    }));
    facts
}

pub(in super::super) fn record() -> Vec<Vec<u8>> {
    let all = body(every_fact());
    let object = Record::make(all.clone(), &root())
        .expect("it is short")
        .object;
    vec![codec::encode(&all), object.to_vec()]
}

pub(in super::super) fn facts() -> Vec<Vec<u8>> {
    let each = every_fact()
        .into_iter()
        .map(|fact| codec::encode(&Facts(vec![fact])));
    each.collect()
}
