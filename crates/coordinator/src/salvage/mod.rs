//! Failback: brings a site that was left behind back, with everything that was acknowledged there and nowhere else.
//!
//! State: none; each step stands in a log. The branch is closed first, so that it cannot grow; then every snapshot that
//! it committed is committed again at the primary, its frames copied as they are, sealed; a `BranchSalvaged` record ends
//! it, and only then does the site follow. Run again after a crash at any point: what was brought back is found there.
//!
//! It runs in the collector's turn, so that nothing is condemned meanwhile. It never deletes and never overwrites.

mod copying;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_format::fact::{BranchSalvaged, SessionEnded, SessionOpened, SnapshotCommitted};
use holdfast_format::{Fact, KeyId, ObjectName, Sealed, SessionId, SiteName};
use holdfast_store::{Opened, Site, SiteReader, Sweeper};
use holdfast_vault::branch::{Branch, Fork, close_branch, find_fork, is_closed, read_branch};
use holdfast_vault::fetch::FrameReader;
use holdfast_vault::log::claim::{Sealing, seal};
use holdfast_vault::log::writer::put_same;
use holdfast_vault::replicate::{Standing, standing};
use holdfast_vault::{Guard, LogReader, Proposal, State, open_state};

use crate::epochs::Before;
use crate::error::{Error, Result};
use crate::newest::sealed_fork;
use crate::node::Node;
use crate::repair;
use crate::vault::replica::{holds_nothing, left_the_history};
use crate::vault::{Vault, herald};

/// What a failback brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Snapshots committed again.
    pub snapshots: u64,
    /// Records of the branch.
    pub records: u64,
    /// What a person has to look at: what was said on both sides of the fork.
    pub notes: Vec<String>,
}

/// What becomes of a member that had records and has none now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptied {
    /// It is filled anew: a person named it, and knows that its disk was replaced or emptied.
    Filled,
    /// It is refused: nobody spoke of it by name, and its disk may not be mounted.
    Refused,
}

/// Brings a site that was left behind, or that was replaced by an empty one, back as a member that follows.
///
/// A site whose log is a prefix follows by itself: there is nothing to salvage. The caller is the collector, in its turn.
pub(crate) async fn bring_back(
    node: &Arc<Node>,
    vault: &Arc<Vault>,
    name: &SiteName,
    emptied: Emptied,
) -> Result<Salvaged> {
    if !vault.state().catalog.members.contains_key(name) {
        return Err(Error::Missing(format!(
            "member {name} of vault {}",
            vault.header.name
        )));
    }
    if name == vault.primary.site.name() {
        return bring_back_own(node, vault).await;
    }
    let opened = match emptied {
        Emptied::Filled => vault.sites.reopen(name).await?,
        Emptied::Refused => {
            // What was open may be a disk that is gone.
            vault.sites.doubt(name);
            vault.sites.open(name).await?
        }
    };
    match bring_back_from(node, vault, &opened, emptied).await {
        Err(Error::Corrupt(why)) => {
            tracing::error!(site = %name, why, "the log of the site that was left behind is damaged; what can be mended is");
            // That it holds a branch is no news here.
            if let Err(error) = repair::log(vault, &opened, None).await {
                tracing::warn!(site = %name, %error, "its log is mended as far as it can be");
            }
            bring_back_from(node, vault, &opened, emptied).await
        }
        done => done,
    }
}

async fn bring_back_from(
    node: &Arc<Node>,
    vault: &Arc<Vault>,
    opened: &Opened,
    emptied: Emptied,
) -> Result<Salvaged> {
    let left = opened.site.clone();
    let name = left.name();
    let reader: Arc<dyn SiteReader> = left.clone();
    let primary: Arc<dyn SiteReader> = vault.primary.site.clone();
    let state = vault.state().clone();
    if let Standing::Prefix(head) = standing(&primary, &reader, &state).await? {
        let mut report = Salvaged::default();
        if head.is_none() {
            let held = vault.progress_of(name);
            if let Some(held) = held
                && left_the_history(vault, held).await?
            {
                let note = format!(
                    "site {name} came as far as record {held}, which a failover left behind, and what lies in its place is empty: \
                     whatever was committed there and stood at no other site may be nowhere now. If its former disk turns up, put it in \
                     the site's place and run this again"
                );
                tracing::warn!(vault = %vault.header.name, "{note}");
                report.notes.push(note);
            }
            if let Some(held) = held.filter(|_| emptied == Emptied::Refused) {
                return Err(holds_nothing(vault, name, held));
            }
            // ORDER: before it is taken for a new member. What was read back is not there any more, and nobody would say so later.
            vault.unread_all(name, "failback").await?;
            herald::takes_for_new(vault, node.placement.as_ref(), name).await?;
        }
        vault.nudge_member(name);
        return Ok(report);
    }
    let fork = match find_fork(&primary, &reader, &state).await {
        Ok(fork) => fork,
        Err(error) => return Err(unfinished(vault, &primary, &reader, error).await),
    };
    let Some(fork) = fork else {
        vault.nudge_member(name);
        return Ok(Salvaged::default());
    };
    let unclosed = match Guard::BranchClosedFirst.stands() {
        true => None,
        false => Some(read_branch(&reader, &state, &fork, &vault.cache).await?),
    };
    close(node, vault, &left, &state, &fork).await?;
    let branch = match unclosed {
        Some(branch) => branch,
        None => read_branch(&reader, &state, &fork, &vault.cache).await?,
    };
    let report = recommit(vault, opened, &fork, &branch).await?;
    vault.nudge_member(name);
    Ok(report)
}

/// Why there is no branch to bring back: perhaps it is the site that a failover sealed and did not come to claim.
async fn unfinished(
    vault: &Arc<Vault>,
    primary: &Arc<dyn SiteReader>,
    left: &Arc<dyn SiteReader>,
    error: holdfast_vault::Error,
) -> Error {
    let Ok(state) = open_state(left, vault.header.vault, &vault.cache).await else {
        return error;
    };
    match sealed_fork(left, primary, &state).await {
        Ok(Some(fork)) => Error::Invalid(format!(
            "a failover sealed site {left} at {at} and did not come to its end, and site {primary} went on. `holdfast failover \
             --vault {vault} --to {left} --accept-loss` ends it, and `holdfast failback --vault {vault}` then brings back what site \
             {primary} holds from {at} on",
            vault = vault.header.name,
            left = left.name(),
            primary = primary.name(),
            at = fork.at
        )),
        Ok(None) | Err(_) => error,
    }
}

/// The primary itself may hold a branch that was closed and never came back: a failover left the site behind, and another one
/// made it the primary again before its failback had ended. Its history leaves the branch out, so that nothing else finds it.
async fn bring_back_own(node: &Arc<Node>, vault: &Arc<Vault>) -> Result<Salvaged> {
    let own = &vault.primary;
    let reader: Arc<dyn SiteReader> = own.site.clone();
    let state = vault.state().clone();
    let Some(fork) = find_fork(&reader, &reader, &state).await? else {
        return Err(Error::Invalid(format!(
            "site {} is the primary of vault {}; fail over to another site first",
            own.site.name(),
            vault.header.name
        )));
    };
    close(node, vault, &own.site, &state, &fork).await?;
    let branch = read_branch(&reader, &state, &fork, &vault.cache).await?;
    let report = recommit(vault, own, &fork, &branch).await?;
    repair::own_branch(vault).await?;
    Ok(report)
}

/// Closes the branch at the site that was left behind, see [`close_branch`], and then whatever later epochs it has.
///
/// ORDER: the branch's seal stands before the number is issued that closes its later epochs. Whoever was on its way through
/// the fork's epoch then has a lower number, and meets a seal that names a higher one; whoever has a higher number looked
/// after the branch's seal stood, and never comes there. Closing later epochs first would leave room for a claimant that
/// sealed the fork's epoch in between: it would claim the next one and append records that no salvage reads.
async fn close(
    node: &Arc<Node>,
    vault: &Arc<Vault>,
    left: &Arc<dyn Site>,
    state: &State,
    fork: &Fork,
) -> Result<()> {
    let reader: Arc<dyn SiteReader> = left.clone();
    let id = vault.header.vault;
    let credentials = node.credentials(&vault.header).await?;
    if !is_closed(&reader, state, fork).await? {
        let branch = read_branch(&reader, state, fork, &vault.cache).await?;
        let claimant = node.new_claimant(id, &branch.state, Before::Read).await?;
        close_branch(&node.context, left, &credentials, claimant, state, fork).await?;
    }
    loop {
        let branch = read_branch(&reader, state, fork, &vault.cache).await?;
        if branch.state.chain.next().epoch == fork.at.epoch {
            return Ok(());
        }
        // Another owner claimed an epoch there, or announced one. Closed in the ordinary way.
        let claimant = node.new_claimant(id, &branch.state, Before::Read).await?;
        let sealing = seal(
            &node.context,
            left.clone(),
            &credentials,
            claimant,
            branch.state,
            &vault.stop,
        );
        if let Sealing::Sealed(_) = sealing.await? {
            return Ok(());
        }
    }
}

/// Commits a closed branch again at the primary.
async fn recommit(
    vault: &Arc<Vault>,
    left: &Opened,
    fork: &Fork,
    branch: &Branch,
) -> Result<Salvaged> {
    let reader: Arc<dyn SiteReader> = left.site.clone();
    let mut salvage = Salvage {
        vault,
        left: reader,
        sweeper: left.sweeper.clone(),
        branch,
        frames: FrameReader::new(vault.header.vault),
        reopened: BTreeSet::new(),
        report: Salvaged {
            records: branch.records,
            ..Salvaged::default()
        },
    };
    salvage.recipients().await?;
    for (commit, session) in &branch.commits {
        let id = commit.snapshot;
        if vault.state().catalog.snapshots.contains_key(&id) {
            continue;
        }
        if !branch.state.catalog.snapshots.contains_key(&id) {
            // Forgotten and collected on the branch itself, by record.
            continue;
        }
        salvage.snapshot(commit, session).await?;
    }
    salvage.close_sessions().await?;
    salvage.words().await?;
    let Salvage { report, .. } = salvage;
    owed(vault, left, branch)?;
    if branch.removed_a_member {
        return Err(Error::Invalid(format!(
            "what only site {0} held is back ({1} snapshots), but its branch had removed a member, so that packs may be \
             gone there: it cannot follow as it is. Take it out with `holdfast site remove`, empty it, and add it again \
             with `holdfast site add`",
            left.site.name(),
            report.snapshots
        )));
    }
    vault
        .append(Proposal::Salvaged(BranchSalvaged {
            site: left.site.name().clone(),
            epoch: fork.at.epoch,
            from: fork.at.slot,
            last: branch.last,
        }))
        .await?;
    Ok(report)
}

/// Snapshots that somebody held or took out of the trash on the branch, and that were given up here meanwhile: their bytes
/// still lie at the site that was left behind.
///
/// ORDER: refused before the branch counts as salvaged. Once the site follows, the record that gave them up stands
/// everywhere, and the sweep deletes there what the hold was meant to keep.
fn owed(vault: &Vault, left: &Opened, branch: &Branch) -> Result<()> {
    let state = vault.state();
    let theirs = &branch.state.catalog;
    let held = |id: &SessionId, source| {
        let mut holds = theirs.holds.values();
        holds.any(|hold| !hold.by_restore && hold.covers(id, source))
    };
    let owed: Vec<String> = (theirs.snapshots.iter())
        .filter(|(id, _)| !state.catalog.snapshots.contains_key(*id))
        .filter(|(id, snapshot)| {
            (branch.recovered.contains(*id) && snapshot.trash.is_none())
                || held(id, &snapshot.source)
        })
        .map(|(id, _)| id.to_string())
        .collect();
    if owed.is_empty() || !Guard::OwedHoldsStop.stands() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "what only site {0} held is back, but snapshots that were held or recovered there have been given up here since: {1}. \
         Nothing of them is deleted while {0} stays away. Restore them from there with `holdfast rescue restore` and back them up \
         again, or put the site in its place anew: `holdfast site remove`, empty it, `holdfast site add`",
        left.site.name(),
        owed.join(", ")
    )))
}

struct Salvage<'a> {
    vault: &'a Arc<Vault>,
    left: Arc<dyn SiteReader>,
    sweeper: Arc<dyn Sweeper>,
    branch: &'a Branch,
    frames: FrameReader,
    /// Sessions that were opened again for their keys' sake.
    reopened: BTreeSet<SessionId>,
    report: Salvaged,
}

impl Salvage<'_> {
    /// Commits one snapshot again: its missing chunks, children first, then the commit.
    async fn snapshot(
        &mut self,
        commit: &SnapshotCommitted,
        session: &holdfast_vault::fold::catalog::Session,
    ) -> Result<()> {
        let scope = &session.scope;
        let here = self.vault.state().clone();
        let missing = copying::missing(&here, &self.branch.state, scope, commit.root);
        self.open_key(session.key.key, Some((commit.snapshot, session)))
            .await?;
        self.copy_data(scope, &missing).await?;
        self.copy_nodes(scope, &missing).await?;
        let again = self
            .vault
            .append(Proposal::Recommit(commit.clone()))
            .await?;
        self.vault.promises().detach(&commit.snapshot);
        self.reopened.remove(&commit.snapshot);
        self.vault.say_sharing(Some(commit.snapshot)).await?;
        tracing::info!(snapshot = %commit.snapshot, at = ?again, "a snapshot of the branch is committed again");
        self.report.snapshots += 1;
        Ok(())
    }

    /// Makes a data key of the branch known: its object stands at the primary before the record that names it.
    async fn open_key(
        &mut self,
        key: KeyId,
        of: Option<(SessionId, &holdfast_vault::fold::catalog::Session)>,
    ) -> Result<()> {
        let known = {
            let state = self.vault.state();
            let live = state.catalog.keys.get(&key).map(|k| k.condemned.is_none());
            let open = of.is_none_or(|(id, _)| state.catalog.sessions.contains_key(&id));
            match live {
                Some(true) if open => true,
                Some(false) => {
                    return Err(Error::Corrupt(format!(
                        "key {key} was given up here while a snapshot of site {} still needs it; restore that snapshot \
                         from there with `holdfast rescue restore`",
                        self.left.name()
                    )));
                }
                _ => false,
            }
        };
        if known {
            return Ok(());
        }
        let open = match of {
            Some((id, session)) => SessionOpened {
                session: id,
                source: session.source.clone(),
                scope: session.scope.clone(),
                key: session.key,
                agent: session.agent.clone(),
                tags: session.tags.clone(),
            },
            None => match self.branch.opened.get(&key) {
                Some(open) => open.clone(),
                None => self.opened_before(key).await?,
            },
        };
        let (vault, reference) = (self.vault.header.vault, open.key);
        let name = ObjectName::session_key(vault, reference.key, reference.generation);
        let object = self.read_hashed(&name, reference.hash).await?;
        put_same(
            self.vault.primary.site.as_ref(),
            &name,
            &Sealed::copied(object),
        )
        .await?;
        let session = open.session;
        self.vault.append(Proposal::Reopen(open)).await?;
        self.vault.promises().attach(session);
        self.reopened.insert(session);
        Ok(())
    }

    /// The opening of a data key from before the fork, which was given up and swept here since. Its session is over, so
    /// that the key comes back under a session of its own.
    async fn opened_before(&self, key: KeyId) -> Result<SessionOpened> {
        let named = self
            .branch
            .state
            .catalog
            .keys
            .get(&key)
            .map(|info| info.added);
        let record = match named {
            Some(at) => {
                let reader = self.left.clone();
                let log = LogReader::new(reader, self.vault.header.vault);
                log.read_raw(at).await?
            }
            None => None,
        };
        let facts = record.iter().flat_map(|record| &record.body.facts.0);
        let mut opens = facts.filter_map(|fact| match fact {
            Fact::SessionOpened(open) if open.key.key == key => Some(open),
            _ => None,
        });
        let open = opens.next().ok_or_else(|| {
            Error::Corrupt(format!(
                "key {key} of the branch at site {} is named by no session there",
                self.left.name()
            ))
        })?;
        Ok(SessionOpened {
            session: SessionId(self.vault.context.random()),
            ..open.clone()
        })
    }

    async fn read_hashed(
        &self,
        name: &ObjectName,
        hash: holdfast_format::Hash,
    ) -> Result<bytes::Bytes> {
        match self.left.get(name).await? {
            Some(object) if holdfast_format::Hash::of(&object) == hash => Ok(object),
            _ => Err(Error::Corrupt(format!(
                "{name} at site {} is missing or does not have the hash that its log gives",
                self.left.name()
            ))),
        }
    }

    /// Sessions that were opened for their keys only end again; their packs live on in what refers to them.
    async fn close_sessions(&mut self) -> Result<()> {
        // Those that a run opened which did not come to its end are closed too.
        let left_open: Vec<SessionId> = {
            let state = self.vault.state();
            let opened = self.branch.opened.values().map(|open| open.session);
            opened
                .filter(|session| state.catalog.sessions.contains_key(session))
                .collect()
        };
        self.reopened.extend(left_open);
        for session in std::mem::take(&mut self.reopened) {
            let ended = SessionEnded {
                session,
                why: "its branch was salvaged".into(),
                who: "coordinator".into(),
            };
            self.vault.append(Proposal::End(ended)).await?;
            self.vault.promises().detach(&session);
        }
        Ok(())
    }
}
