//! What the writer checks of each proposal, in its turn, against the state as it stands.
//!
//! State: none. Whatever passes here folds: a record that stands and does not fold would stop the vault.

use holdfast_format::codec::LEVEL;
use holdfast_format::fact::{
    ChunkBad, Condemned, Cover, PacksAdded, SiteChecked, SnapshotCommitted,
};
use holdfast_format::naming::{Namer, PackFact};
use holdfast_format::{ChunkId, ChunkKind, Fact, Ordinal, Pack, Scope, SessionId, SnapshotId};

use super::{Commit, Proposal, Refusal};
use crate::collect::condemn;
use crate::fold::State;
use crate::fold::catalog::{Catalog, Damage};
use crate::guard::Guard;
use crate::promises::Promises;

pub(super) fn check(
    state: &State,
    promises: &mut Promises,
    now_millis: i64,
    proposal: &Proposal,
) -> Result<Vec<Fact>, Refusal> {
    let catalog = &state.catalog;
    let invalid = |why: &str| Err(Refusal::Invalid(why.into()));
    let missing = |what: String| Err(Refusal::Missing(what));
    match proposal {
        Proposal::Open(open) => {
            if catalog.sessions.contains_key(&open.session)
                || catalog.snapshots.contains_key(&open.session)
            {
                return invalid("the session's id was used before; start a new session");
            }
            if catalog.keys.contains_key(&open.key.key) {
                return invalid("the data key's id was used before; start a new session");
            }
            match &catalog.recipients {
                Some(set) if set.generation == open.key.generation => one(open.clone()),
                _ => invalid(
                    "its data key is sealed to a list of recipients that is not in force; open again",
                ),
            }
        }
        Proposal::Packs {
            session,
            packs,
            commit,
        } => packs_and_commit(state, *session, packs, commit.as_ref()),
        Proposal::Copies { packs, fresh } => {
            for pack in packs {
                let live = |key| {
                    let known = catalog.keys.get(key);
                    known.is_some_and(|known| {
                        known.condemned.is_none() && known.scope == pack.footer.scope
                    })
                };
                if !pack.footer.keys.iter().all(live) {
                    return invalid("a copied pack uses a data key that is not live in its scope");
                }
            }
            let mut namer = Namer::new(state.index.next(), |scope: &Scope, id: &ChunkId| {
                state.find(scope, id)
            });
            let named = packs
                .iter()
                .map(|pack| namer.name(pack, |id| fresh.contains(id)));
            let packs = named.collect::<Result<Vec<PackFact>, _>>()?;
            one(PacksAdded {
                session: None,
                packs,
            })
        }
        Proposal::Reopen(open) => {
            if catalog.snapshots.contains_key(&open.session) {
                return invalid("its snapshot is here already");
            }
            let known = catalog.keys.get(&open.key.key);
            if known.is_some_and(|k| {
                k.condemned.is_some() || k.reference != open.key || k.scope != open.scope
            }) {
                return invalid("its data key was given up here, or is another by now");
            }
            match catalog.sessions.contains_key(&open.session) {
                true => Ok(vec![]),
                false => one(open.clone()),
            }
        }
        Proposal::Recommit(commit) => {
            let Some(session) = catalog.sessions.get(&commit.snapshot) else {
                return Err(ended(commit.snapshot));
            };
            // Children first: what is live here has everything below it.
            match state.find(&session.scope, &commit.root_id) {
                Some(root) => one(SnapshotCommitted {
                    root,
                    ..commit.clone()
                }),
                None => Err(Refusal::Chunks(vec![commit.root_id])),
            }
        }
        Proposal::End(end) => match catalog.sessions.contains_key(&end.session) {
            true => one(end.clone()),
            false => Ok(vec![]),
        },
        Proposal::Trash(trash) => {
            for id in &trash.snapshots {
                let Some(snapshot) = catalog.snapshots.get(id) else {
                    return missing(format!("snapshot {id}"));
                };
                // A running restore keeps the bytes, in the trash too; it is no reason against forgetting.
                let mut holds = catalog.holds.values();
                if holds.any(|hold| {
                    !hold.by_restore
                        && hold.in_force(now_millis)
                        && hold.covers(id, &snapshot.source)
                }) {
                    return Err(Refusal::Invalid(format!(
                        "a hold covers snapshot {id}; `holdfast hold list` shows it, `holdfast hold release` ends it"
                    )));
                }
            }
            let leaves = |id| {
                let trash = catalog.snapshots.get(id).and_then(|s| s.trash.as_ref());
                trash.map(|trash| trash.until_millis)
            };
            // Said again of what leaves the trash by then anyway, it says nothing new.
            let mut ids = trash.snapshots.iter();
            match ids.all(|id| leaves(id).is_some_and(|until| until <= trash.until_millis)) {
                true => Ok(vec![]),
                false => one(trash.clone()),
            }
        }
        Proposal::Recover(recover) => {
            for id in &recover.snapshots {
                if !catalog.snapshots.contains_key(id) {
                    return missing(format!(
                        "snapshot {id} (in the trash; it may have been collected)"
                    ));
                }
            }
            one(recover.clone())
        }
        Proposal::Hold(hold) => match &hold.cover {
            Cover::Snapshot(id) if !catalog.snapshots.contains_key(id) => missing(format!(
                "snapshot {id}: a hold cannot cover what was collected or never was"
            )),
            _ => one(hold.clone()),
        },
        Proposal::Release(release) => match catalog.holds.contains_key(&release.hold) {
            true => one(release.clone()),
            false => missing(format!("hold {}", release.hold)),
        },
        Proposal::Found {
            members,
            recipients,
            policy,
        } => {
            if !catalog.members.is_empty() || catalog.recipients.is_some() {
                return invalid("the vault was founded before");
            }
            if let Err(error) = recipients.check(state.header.vault, &state.header.root) {
                return Err(Refusal::Invalid(error.to_string()));
            }
            let mut facts: Vec<Fact> = members.iter().cloned().map(Fact::from).collect();
            facts.push(recipients.clone().into());
            facts.extend(policy.clone().map(Fact::from));
            Ok(facts)
        }
        Proposal::Policy(policy) if policy.text == catalog.policy => Ok(vec![]),
        Proposal::Policy(policy) => one(policy.clone()),
        Proposal::Join(join) if catalog.members.contains_key(&join.site) => {
            invalid("the site belongs to the vault already")
        }
        Proposal::Join(join) => one(join.clone()),
        Proposal::Leave(leave) => {
            if catalog.primary.as_ref() == Some(&leave.site) {
                return invalid("the site is the vault's primary; fail over to another site first");
            }
            match catalog.members.contains_key(&leave.site) {
                true => one(leave.clone()),
                false => missing(format!("member {}", leave.site)),
            }
        }
        Proposal::Recipients(set) => {
            if let Err(error) = set.check(state.header.vault, &state.header.root) {
                return Err(Refusal::Invalid(error.to_string()));
            }
            match &catalog.recipients {
                Some(old) if old.generation >= set.generation => invalid(
                    "the list of recipients is older than the one in force; read it again and change that",
                ),
                _ => one(set.clone()),
            }
        }
        Proposal::Condemn(plan) => condemn::finish(state, promises, now_millis, plan)
            .map_err(Refusal::Invalid)
            .map(|condemned: Option<Condemned>| condemned.into_iter().map(Fact::from).collect()),
        Proposal::Sweep(swept) => {
            let condemned = |found: Option<bool>| found == Some(true);
            let packs = swept
                .packs
                .iter()
                .all(|p| condemned(catalog.packs.get(p).map(|i| i.condemned.is_some())));
            let keys = swept
                .keys
                .iter()
                .all(|k| condemned(catalog.keys.get(k).map(|i| i.condemned.is_some())));
            match packs && keys {
                true if swept.packs.is_empty() && swept.keys.is_empty() => Ok(vec![]),
                true => one(swept.clone()),
                false => invalid("what was swept was never condemned"),
            }
        }
        Proposal::Bad(bad) => {
            let live = bad.chunks.iter().filter(|&&o| state.index.is_live(o));
            let new: Vec<Ordinal> = live
                .filter(|o| catalog.stale.binary_search(o).is_err())
                .copied()
                .collect();
            match new.is_empty() {
                true => Ok(vec![]),
                false => one(ChunkBad {
                    chunks: new,
                    who: bad.who.clone(),
                }),
            }
        }
        Proposal::Checkpoint(made) => one(made.clone()),
        Proposal::Verified(verified) => match catalog.snapshots.contains_key(&verified.snapshot) {
            true => one(verified.clone()),
            false => missing(format!("snapshot {}", verified.snapshot)),
        },
        Proposal::Checked(checked) => {
            let news = news_of(catalog, checked);
            match news.is_nothing() {
                true => Ok(vec![]),
                false => one(news),
            }
        }
        Proposal::Salvaged(branch) => one(branch.clone()),
    }
}

/// What of it is not known yet.
fn news_of(catalog: &Catalog, checked: &SiteChecked) -> SiteChecked {
    let site = &checked.site;
    if !catalog.members.contains_key(site) {
        return SiteChecked::nothing_of(site, &checked.who);
    }
    let is_news = |id: &SnapshotId, damaged: bool| {
        let snapshot = catalog.snapshots.get(id);
        snapshot.is_some_and(|snapshot| {
            snapshot.is_damaged_at(site) != damaged || snapshot.verified.contains_key(site)
        })
    };
    let nothing = Damage::default();
    let known = catalog.damage_at(site).unwrap_or(&nothing);
    let mut news = checked.clone();
    news.damaged.retain(|id| is_news(id, true));
    news.unread.retain(|id| is_news(id, false));
    news.bad_packs
        .retain(|pack| catalog.packs.contains_key(pack) && !known.packs.contains(pack));
    news.good_packs.retain(|pack| known.packs.contains(pack));
    news.bad_keys
        .retain(|key| catalog.keys.contains_key(key) && !known.keys.contains(key));
    news.good_keys.retain(|key| known.keys.contains(key));
    news.is_unreadable = news.is_unreadable.filter(|is| *is != known.is_unreadable);
    news
}

fn one(fact: impl Into<Fact>) -> Result<Vec<Fact>, Refusal> {
    Ok(vec![fact.into()])
}

fn packs_and_commit(
    state: &State,
    id: SessionId,
    packs: &[Pack],
    commit: Option<&Commit>,
) -> Result<Vec<Fact>, Refusal> {
    let known = |scope: &Scope, id: &ChunkId| {
        let given_up = || {
            let mut sent = packs.iter().flat_map(|pack| &pack.footer.chunks);
            match Guard::ChildrenFirst.stands() || sent.any(|chunk| chunk.id == *id) {
                true => None,
                false => state.index.find_given_up(id),
            }
        };
        state.find(scope, id).or_else(given_up)
    };
    let mut namer = Namer::new(state.index.next(), known);
    let mut named: Vec<PackFact> = Vec::new();
    let open = state.catalog.sessions.get(&id).ok_or_else(|| ended(id))?;
    for pack in packs {
        if pack.footer.scope != open.scope || pack.footer.keys != [open.key.key] {
            return Err(Refusal::Invalid(
                "a pack is not in its session's scope or not under its key".into(),
            ));
        }
    }
    for pack in packs {
        named.push(namer.name(pack, |_| true)?);
    }
    let mut facts: Vec<Fact> = Vec::new();
    let commit = match commit {
        Some(commit) => Some(check_commit(state, &namer, id, packs, commit)?),
        None => None,
    };
    if !named.is_empty() {
        let added = PacksAdded {
            session: Some(id),
            packs: named,
        };
        facts.push(added.into());
    }
    facts.extend(commit.map(Fact::from));
    Ok(facts)
}

fn ended(id: SessionId) -> Refusal {
    Refusal::Missing(format!(
        "session {id}: it has ended; start a new one, what it sent is reused"
    ))
}

/// The commit is the check: every chunk that the snapshot refers to must be live. Walks exactly the session's new
/// nodes; a known node's closure is live by induction (children come first, and a condemn record keeps closures whole).
fn check_commit<F: Fn(&Scope, &ChunkId) -> Option<Ordinal>>(
    state: &State,
    namer: &Namer<F>,
    id: SessionId,
    packs: &[Pack],
    commit: &Commit,
) -> Result<SnapshotCommitted, Refusal> {
    let session = state.catalog.sessions.get(&id).ok_or_else(|| ended(id))?;
    let scope = &session.scope;
    let Some(root) = namer.ordinal(scope, &commit.root) else {
        return Err(Refusal::Chunks(vec![commit.root]));
    };
    // Its runs come in order, and there may be many where other sessions go on beside it.
    let is_new = |ordinal: Ordinal| {
        let before = session.named.partition_point(|run| run.0 <= ordinal);
        before
            .checked_sub(1)
            .is_some_and(|at| ordinal < session.named[at].1)
    };
    let bound = state.index.next();
    let mut open: Vec<Ordinal> = vec![root];
    for pack in packs
        .iter()
        .filter(|pack| pack.footer.kind == ChunkKind::Node)
    {
        let children = pack.footer.chunks.iter().flat_map(|chunk| &chunk.refs);
        open.extend(children.filter_map(|child| namer.ordinal(scope, child)));
    }
    let mut seen = roaring::RoaringTreemap::new();
    let mut missing = Vec::new();
    while let Some(ordinal) = open.pop() {
        if ordinal >= bound || !seen.insert(ordinal.0) {
            continue;
        }
        let is_stale = state.catalog.stale.binary_search(&ordinal).is_ok();
        let sent_now = || {
            let id = state.index.id(ordinal);
            packs.iter().any(|pack| {
                let mut chunks = pack.footer.chunks.iter();
                chunks.any(|chunk| Some(chunk.id) == id)
            })
        };
        if !state.index.is_live(ordinal) || (is_stale && !sent_now()) {
            missing.extend(state.index.id(ordinal));
        } else if is_new(ordinal) {
            open.extend(state.index.refs(ordinal));
        }
    }
    if !missing.is_empty() && Guard::CommitChecked.stands() {
        return Err(Refusal::Chunks(missing));
    }
    let sent: u64 = packs.iter().map(|pack| pack.footer.offset()).sum();
    Ok(SnapshotCommitted {
        snapshot: id,
        root,
        root_id: commit.root,
        files: commit.files,
        directories: commit.directories,
        bytes: commit.bytes,
        problems: commit.problems,
        bytes_sent: session.bytes_sent + sent,
        time_millis: session.opened_millis,
    })
}

/// The level that this release may own.
pub fn may_own(state: &State) -> bool {
    state.catalog.level <= LEVEL
}
