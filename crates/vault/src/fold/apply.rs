//! How each fact changes the state.
//!
//! The writer checked what it appends (`propose.rs`); here only what would make the state itself impossible is refused.
//! Applying depends on nothing but the state and the record, so every fold of a prefix gives the same state.

use std::result::Result;

use holdfast_format::codec::encode;
use holdfast_format::fact::{Condemned, PacksAdded, SiteChecked, SnapshotCommitted};
use holdfast_format::naming::{NamedAs, PackFact};
use holdfast_format::{ChunkKind, Fact, KeyId, PackId, PackOrdinal, Record, SiteName};
use roaring::RoaringTreemap;

use super::State;
use super::catalog::{
    CHECKPOINTS_KEPT, Catalog, CheckpointRef, Hold, KeyInfo, Member, PackInfo, Salvaged, Session,
    Snapshot, Trash,
};
use crate::guard::Guard;
use crate::index::Entry;

/// Applies one fact.
pub(super) fn apply(state: &mut State, record: &Record, fact: &Fact) -> Result<(), String> {
    let at = record.position();
    let time = record.body.time_millis;
    // Facts are entries of the state's hash as they stand; what only the fold knows (ordinals) is added below.
    if !matches!(fact, Fact::CheckpointMade(_)) {
        state
            .hash
            .add("fact", &[&encode(&at)[..], &encode(fact)].concat());
    }
    let catalog = &mut state.catalog;
    match fact {
        Fact::Claim(claim) => catalog.primary = Some(claim.primary.clone()),
        Fact::Seal(_) => {}
        Fact::LevelRaised(raised) => catalog.level = catalog.level.max(raised.level),
        Fact::MemberJoined(member) => {
            let joined = Member {
                url: member.url.clone(),
                joined: at,
            };
            catalog.members.insert(member.site.clone(), joined);
            forget_reading(catalog, &member.site);
        }
        Fact::MemberLeft(member) => {
            catalog
                .members
                .remove(&member.site)
                .ok_or("the site is no member")?;
            forget_reading(catalog, &member.site);
        }
        Fact::RecipientsSet(set) => {
            set.check(state.header.vault, &state.header.root)
                .map_err(|e| e.to_string())?;
            if catalog
                .recipients
                .as_ref()
                .is_some_and(|old| old.generation >= set.generation)
            {
                return Err("its generation does not rise".into());
            }
            catalog.recipients = Some(set.clone());
        }
        Fact::SessionOpened(open) => {
            let session = Session {
                source: open.source.clone(),
                scope: open.scope.clone(),
                key: open.key,
                agent: open.agent.clone(),
                tags: open.tags.clone(),
                opened_millis: time,
                opened_at: at,
                named: Vec::new(),
                again: Vec::new(),
                bytes_sent: 0,
            };
            if catalog.snapshots.contains_key(&open.session)
                || catalog.sessions.insert(open.session, session).is_some()
            {
                return Err("the session's id was used before".into());
            }
            // A session of a branch that is opened again by a salvage may bring a key that is known from before the fork.
            let same = |known: &KeyInfo| {
                known.reference == open.key
                    && known.scope == open.scope
                    && known.condemned.is_none()
            };
            match catalog.keys.get(&open.key.key) {
                Some(known) if same(known) => {}
                Some(_) => return Err("the data key's id was used before".into()),
                None => {
                    let key = KeyInfo {
                        reference: open.key,
                        scope: open.scope.clone(),
                        condemned: None,
                        added: at,
                    };
                    catalog.keys.insert(open.key.key, key);
                }
            }
        }
        Fact::PacksAdded(added) => add_packs(state, record, added)?,
        Fact::SnapshotCommitted(commit) => commit_snapshot(state, record, commit)?,
        Fact::SessionEnded(ended) => {
            catalog
                .sessions
                .remove(&ended.session)
                .ok_or("the session is not open")?;
        }
        Fact::SnapshotsTrashed(trashed) => {
            for id in &trashed.snapshots {
                let snapshot = catalog
                    .snapshots
                    .get_mut(id)
                    .ok_or("the snapshot does not exist")?;
                snapshot.trash = Some(Trash {
                    why: trashed.why.clone(),
                    who: trashed.who.clone(),
                    until_millis: trashed.until_millis,
                    since_millis: time,
                });
            }
        }
        Fact::SnapshotsRecovered(recovered) => {
            for id in &recovered.snapshots {
                let snapshot = catalog
                    .snapshots
                    .get_mut(id)
                    .ok_or("the snapshot does not exist")?;
                snapshot.trash = None;
            }
        }
        Fact::HoldPlaced(hold) => {
            let placed = Hold {
                cover: hold.cover.clone(),
                why: hold.why.clone(),
                who: hold.who.clone(),
                until_millis: hold.until_millis,
                by_restore: hold.by_restore,
                placed_millis: time,
            };
            catalog.holds.insert(hold.hold, placed);
        }
        Fact::HoldReleased(released) => {
            catalog
                .holds
                .remove(&released.hold)
                .ok_or("the hold does not exist")?;
        }
        Fact::Condemned(condemned) => condemn(state, record, condemned)?,
        Fact::Swept(swept) => {
            for pack in &swept.packs {
                let gone = catalog
                    .packs
                    .remove(pack)
                    .ok_or("the pack does not exist")?;
                gone.condemned.ok_or("the pack was not condemned")?;
            }
            for key in &swept.keys {
                let gone = catalog.keys.remove(key).ok_or("the key does not exist")?;
                gone.condemned.ok_or("the key was not condemned")?;
            }
            catalog.change_damage(|all| {
                for damage in all.values_mut() {
                    for pack in &swept.packs {
                        damage.packs.remove(pack);
                    }
                    for key in &swept.keys {
                        damage.keys.remove(key);
                    }
                }
            });
        }
        Fact::ChunkBad(bad) => {
            for ordinal in &bad.chunks {
                if !state.index.is_live(*ordinal) {
                    return Err(format!("chunk {ordinal} is not live"));
                }
                if let Err(place) = catalog.stale.binary_search(ordinal) {
                    catalog.stale.insert(place, *ordinal);
                }
            }
        }
        Fact::PolicySet(policy) => catalog.policy.clone_from(&policy.text),
        Fact::CheckpointMade(made) => {
            catalog.checkpoints.push(CheckpointRef {
                covers: made.covers,
                manifest: made.manifest,
                state: made.state,
            });
            if catalog.checkpoints.len() > CHECKPOINTS_KEPT {
                catalog.checkpoints.remove(0);
            }
        }
        Fact::BranchSalvaged(branch) => catalog.salvaged.push(Salvaged {
            site: branch.site.clone(),
            from: holdfast_format::Position {
                epoch: branch.epoch,
                slot: branch.from,
            },
        }),
        Fact::SnapshotVerified(verified) => {
            let snapshot = catalog.snapshots.get_mut(&verified.snapshot);
            if let Some(snapshot) = snapshot {
                snapshot.unread(&verified.site);
                snapshot.verified.insert(verified.site.clone(), time);
            }
        }
        Fact::SiteChecked(checked) => site_checked(catalog, checked),
    }
    Ok(())
}

/// Whatever joins under a name was never read. What was damaged there is so until somebody knows better: it may be the same disk.
fn forget_reading(catalog: &mut Catalog, site: &SiteName) {
    for snapshot in catalog.snapshots.values_mut() {
        snapshot.verified.remove(site);
    }
}

fn site_checked(catalog: &mut Catalog, checked: &SiteChecked) {
    if !catalog.members.contains_key(&checked.site) {
        return;
    }
    for id in &checked.unread {
        if let Some(snapshot) = catalog.snapshots.get_mut(id) {
            snapshot.unread(&checked.site);
        }
    }
    for id in &checked.damaged {
        if let Some(snapshot) = catalog.snapshots.get_mut(id) {
            snapshot.damage(&checked.site);
        }
    }
    let packs = checked.bad_packs.iter();
    let packs = packs.filter(|pack| catalog.packs.contains_key(*pack));
    let packs: Vec<PackOrdinal> = packs.copied().collect();
    let keys = checked.bad_keys.iter();
    let keys = keys.filter(|key| catalog.keys.contains_key(*key));
    let keys: Vec<KeyId> = keys.copied().collect();
    catalog.change_damage(|all| {
        let damage = all.entry(checked.site.clone()).or_default();
        damage.packs.extend(packs);
        damage.keys.extend(keys);
        for pack in &checked.good_packs {
            damage.packs.remove(pack);
        }
        for key in &checked.good_keys {
            damage.keys.remove(key);
        }
        damage.is_unreadable = checked.is_unreadable.unwrap_or(damage.is_unreadable);
    });
}

fn add_packs(state: &mut State, record: &Record, added: &PacksAdded) -> Result<(), String> {
    for fact in &added.packs {
        let (first, next, again) = add_pack(state, record, fact, added.session.is_some())?;
        if let Some(id) = added.session {
            let session = state
                .catalog
                .sessions
                .get_mut(&id)
                .ok_or("the session is not open")?;
            session.bytes_sent += fact.footer_offset;
            session.again.extend(&again);
            match session.named.last_mut() {
                Some(last) if last.1 == first => last.1 = next,
                _ if first != next => session.named.push((first, next)),
                _ => {}
            }
        }
    }
    Ok(())
}

type Named = (
    holdfast_format::Ordinal,
    holdfast_format::Ordinal,
    Vec<holdfast_format::Ordinal>,
);

fn add_pack(
    state: &mut State,
    record: &Record,
    fact: &PackFact,
    is_sent: bool,
) -> Result<Named, String> {
    let first = state.index.next();
    let chunks = fact.unpack(first).map_err(|e| e.to_string())?;
    let pack = PackOrdinal(state.catalog.next_pack);
    state.catalog.next_pack = pack.0.checked_add(1).ok_or("there are too many packs")?;
    let count = chunks.len() as u32;
    let is_node = fact.chunk_kind().map_err(|e| e.to_string())? == ChunkKind::Node;
    let mut again = Vec::new();
    for chunk in chunks {
        let entry = Entry {
            pack,
            frame: chunk.frame,
            len: chunk.len,
        };
        match chunk.name {
            NamedAs::New(id) => {
                if is_node
                    && Guard::ChildrenFirst.stands()
                    && chunk.refs.iter().any(|&child| !state.index.is_live(child))
                {
                    return Err(format!("node {id} refers to what was given up"));
                }
                let ordinal = state.index.add(id, entry, chunk.refs);
                let mut text = ordinal.0.to_le_bytes().to_vec();
                text.extend_from_slice(&id.0);
                state.hash.add("chunk", &text);
            }
            NamedAs::Known(ordinal) => {
                if !state.index.is_live(ordinal) {
                    return Err(format!("chunk {ordinal} was given up"));
                }
                state.index.set_home(ordinal, pack, chunk.frame);
                again.push(ordinal);
                // Sent anew: whatever was wrong with it lies in a pack that it no longer needs.
                if is_sent && let Ok(place) = state.catalog.stale.binary_search(&ordinal) {
                    state.catalog.stale.remove(place);
                }
            }
            NamedAs::Unindexed => {}
        }
    }
    let next = state.index.next();
    let info = PackInfo {
        id: PackId {
            epoch: record.body.epoch,
            nonce: record.body.nonce,
            number: fact.number,
        },
        kind: fact.kind,
        scope: fact.scope.clone(),
        keys: fact.keys.clone(),
        len: fact.len,
        footer_offset: fact.footer_offset,
        footer_len: fact.footer_len,
        footer_hash: fact.footer_hash,
        added: record.position(),
        chunks: count,
        first,
        named: (next.0 - first.0) as u32,
        again: again.clone(),
        condemned: None,
        added_millis: record.body.time_millis,
    };
    for key in &info.keys {
        let known = state
            .catalog
            .keys
            .get(key)
            .ok_or_else(|| format!("key {key} does not exist"))?;
        if known.scope != info.scope || known.condemned.is_some() {
            return Err(format!("key {key} is not live in the pack's scope"));
        }
    }
    state.catalog.stored_bytes += info.len;
    state.catalog.packs.insert(pack, info);
    Ok((first, next, again))
}

fn commit_snapshot(
    state: &mut State,
    record: &Record,
    commit: &SnapshotCommitted,
) -> Result<(), String> {
    if !state.index.is_live(commit.root) {
        return Err("its root was given up".into());
    }
    let id = commit.snapshot;
    let session = state
        .catalog
        .sessions
        .remove(&id)
        .ok_or("its session is not open")?;
    let snapshot = Snapshot {
        source: session.source,
        scope: session.scope,
        agent: session.agent,
        tags: session.tags,
        root: commit.root,
        root_id: commit.root_id,
        files: commit.files,
        directories: commit.directories,
        bytes: commit.bytes,
        problems: commit.problems,
        bytes_sent: commit.bytes_sent,
        time_millis: commit.time_millis,
        committed_millis: record.body.time_millis,
        committed_at: record.position(),
        trash: None,
        verified: Default::default(),
        damaged: None,
    };
    state.catalog.snapshots.insert(id, snapshot);
    Ok(())
}

fn condemn(state: &mut State, record: &Record, condemned: &Condemned) -> Result<(), String> {
    let absent = RoaringTreemap::deserialize_from(&condemned.absent[..])
        .map_err(|e| format!("its bitmap does not read: {e}"))?;
    if absent.max().is_some_and(|max| max >= condemned.bound.0)
        || condemned.bound > state.index.next()
    {
        return Err("it gives up what is above its bound".into());
    }
    for id in &condemned.snapshots {
        let snapshot = state
            .catalog
            .snapshots
            .remove(id)
            .ok_or("a snapshot does not exist")?;
        if snapshot.trash.is_none() {
            return Err("a snapshot that it gives up is not in the trash".into());
        }
    }
    state.index.give_up(&absent);
    state
        .catalog
        .stale
        .retain(|ordinal| !absent.contains(ordinal.0));
    for pack in &condemned.packs {
        let info = state
            .catalog
            .packs
            .get_mut(pack)
            .ok_or("a pack does not exist")?;
        if info.condemned.replace(record.position()).is_some() {
            return Err("a pack was condemned before".into());
        }
        state.catalog.stored_bytes = state.catalog.stored_bytes.saturating_sub(info.len);
    }
    for key in &condemned.keys {
        let info = state
            .catalog
            .keys
            .get_mut(key)
            .ok_or("a key does not exist")?;
        info.condemned = Some(record.position());
    }
    Ok(())
}
