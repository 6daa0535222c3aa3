//! Verification without keys: every object that the log names, at every member, against the log.
//!
//! State: that of one run. It changes nothing but, where asked, bad copies for good ones; and it says by record what it
//! learnt: snapshots that were read back whole at a site, and chunks that no site can give any more ([`lost`]).

mod lost;
mod packs;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_format::checkpoint::Manifest;
use holdfast_format::{Hash, KeyId, ObjectName, PackOrdinal, Position, SiteName, SnapshotId};
use holdfast_proto::v1;
use holdfast_proto::v1::verify_progress::Kind as Said;
use holdfast_store::{Opened, SiteReader};
use holdfast_vault::fold::catalog::{KeyInfo, PackInfo};
use holdfast_vault::{LogReader, State};
use roaring::RoaringTreemap;
use tokio::sync::mpsc;
use tonic::Status;

use self::told::Here;
use super::convert::site_name;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::repair;
use crate::vault::Vault;
use crate::vault::collector::Checkpoint;
use crate::vault::upkeep::Verified;

/// So long the collector, which may be at work, is waited for: it saves the fold.
const SAVE_WAIT: Duration = Duration::from_secs(60);

/// Where progress goes.
pub(super) type Sender = mpsc::Sender<std::result::Result<v1::VerifyProgress, Status>>;

/// Runs one verification.
pub(super) async fn run(node: &Arc<Node>, request: v1::VerifyRequest, to: &Sender) -> Result<()> {
    let vault = node.reach(&request.vault).await?;
    let _work = vault.work();
    let members: Vec<SiteName> = match request.site.is_empty() {
        true => vault.state().catalog.members.keys().cloned().collect(),
        false => vec![site_name(&request.site)?],
    };
    if let Some(stranger) = members
        .iter()
        .find(|name| !vault.state().catalog.members.contains_key(*name))
    {
        return Err(Error::Missing(format!(
            "member {stranger} of vault {}",
            vault.header.name
        )));
    }
    let packs = vault.state().catalog.packs.len() as u64;
    let mut check = Check {
        total: packs * members.len() as u64,
        vault,
        request,
        to,
        objects: 0,
        bytes: 0,
        findings: 0,
        repaired: 0,
        bad: BTreeMap::new(),
        bad_keys: BTreeMap::new(),
        given: BTreeSet::new(),
        closures: None,
        here: Here::default(),
        sites_unchecked: 0,
    };
    let primary = check.vault.primary.site.name().clone();
    let mut checked = Vec::new();
    for name in &members {
        let opened = match *name == primary {
            true => node.sites.open(name).await,
            // What lies at one place is not counted as two copies.
            false => {
                let others: Vec<SiteName> = checked.iter().chain([&primary]).cloned().collect();
                node.sites.open_beside(name, &others).await
            }
        };
        checked.push(name.clone());
        match opened {
            Ok(opened) => check.site(name, &opened).await?,
            Err(error) => check.skip(name, error.to_string()).await?,
        }
    }
    check.name_lost(members.len()).await?;
    let done = v1::VerifyDone {
        objects: check.objects,
        bytes: check.bytes,
        findings: check.findings,
        repaired: check.repaired,
        sites_unchecked: check.sites_unchecked,
    };
    let verified = Verified {
        ended_millis: check.vault.context.now_millis(),
        findings: check.findings,
        repaired: check.repaired,
        sites_unchecked: check.sites_unchecked,
    };
    check.vault.upkeep.verified(verified);
    tell(to, Said::Done(done)).await
}

async fn tell(to: &Sender, kind: Said) -> Result<()> {
    to.send(Ok(v1::VerifyProgress { kind: Some(kind) }))
        .await
        .map_err(|_| Error::Unavailable("the client is gone".into()))
}

/// One thing that is wrong.
struct Finding {
    object: String,
    what: String,
    repaired: bool,
    snapshots: Vec<SnapshotId>,
}

impl Finding {
    fn of(object: &str, what: String) -> Self {
        Self {
            object: object.into(),
            what,
            repaired: false,
            snapshots: Vec::new(),
        }
    }
}

/// What a small object is a part of.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Nothing at the site opens without it.
    Vault,
    /// Of the saved fold that covers so much: it can be made anew.
    Fold(Position),
    /// It is a data key: what is under it needs it.
    Key(KeyId),
}

/// A verification under way.
struct Check<'a> {
    vault: Arc<Vault>,
    request: v1::VerifyRequest,
    to: &'a Sender,
    objects: u64,
    total: u64,
    bytes: u64,
    findings: u64,
    repaired: u64,
    /// At how many members each pack was found bad and stayed so.
    bad: BTreeMap<PackOrdinal, usize>,
    /// At how many members each data key was found bad and stayed so.
    bad_keys: BTreeMap<KeyId, usize>,
    /// Packs that were given to the client whole.
    given: BTreeSet<PackOrdinal>,
    /// What each snapshot reaches; made when the first bad pack is met.
    closures: Option<Vec<(SnapshotId, RoaringTreemap)>>,
    /// What was learnt at the member that is looked at now.
    here: Here,
    /// Members that did not answer.
    sites_unchecked: u64,
}

impl Check<'_> {
    async fn find(&mut self, site: &SiteName, finding: Finding) -> Result<()> {
        self.findings += 1;
        self.repaired += u64::from(finding.repaired);
        let ids = finding.snapshots.iter();
        let finding = v1::VerifyFinding {
            site: site.to_string(),
            object: finding.object,
            what: finding.what,
            repaired: finding.repaired,
            snapshots: ids.map(|id| id.0.to_vec().into()).collect(),
            unchecked: false,
        };
        tell(self.to, Said::Finding(finding)).await
    }

    /// A site that does not answer: that is no damage.
    async fn skip(&mut self, site: &SiteName, why: String) -> Result<()> {
        self.sites_unchecked += 1;
        let finding = v1::VerifyFinding {
            site: site.to_string(),
            object: "(site)".into(),
            what: why,
            repaired: false,
            snapshots: Vec::new(),
            unchecked: true,
        };
        tell(self.to, Said::Finding(finding)).await
    }

    async fn site(&mut self, name: &SiteName, opened: &Opened) -> Result<()> {
        let vault = self.vault.clone();
        let before = self.findings - self.repaired;
        let header = ObjectName::header(vault.header.vault);
        if let Err(error) = opened.site.head(&header).await
            && error.kind() != holdfast_store::Kind::Corrupt
        {
            return self.skip(name, error.to_string()).await;
        }
        self.here = Here::before(&vault.state(), name);
        let gone_through = self.go_through(name, opened).await;
        self.here.is_cut_short = gone_through.is_err();
        let whole = self.findings - self.repaired == before;
        // What was found is told, whether anybody listens any more or not.
        let is_told = self.say_damaged(name).await;
        gone_through?;
        if let (true, true, true, Some(head)) = (is_told?, whole, self.reads_all(), self.here.head)
        {
            self.say_verified(name, head).await?;
        }
        Ok(())
    }

    async fn go_through(&mut self, name: &SiteName, opened: &Opened) -> Result<()> {
        let vault = self.vault.clone();
        self.header(name, opened).await?;
        self.log(name, opened).await?;
        let (packs, keys): (Vec<(PackOrdinal, PackInfo)>, Vec<KeyInfo>) = {
            let state = vault.state();
            let packs = state.catalog.packs.iter();
            let keys = state.catalog.keys.values();
            (
                packs
                    .filter(|(_, pack)| pack.condemned.is_none())
                    .map(|(ordinal, pack)| (*ordinal, pack.clone()))
                    .collect(),
                keys.filter(|key| key.condemned.is_none())
                    .cloned()
                    .collect(),
            )
        };
        // What the member's log does not name yet is not missing: it is on its way.
        let Some(head) = self.here.head else {
            // The vault's secrets are not looked at.
            self.here.is_unseen = true;
            return Ok(());
        };
        for key in keys.iter().filter(|key| key.added <= head) {
            let reference = key.reference;
            let id = vault.header.vault;
            let object = ObjectName::session_key(id, reference.key, reference.generation);
            let part = Part::Key(reference.key);
            self.hashed(name, opened, object, reference.hash, part)
                .await?;
        }
        let of_vault = {
            let state = vault.state();
            let recipients = state.catalog.recipients.as_ref();
            recipients.map(|set| (set.generation, set.vault_key))
        };
        if let Some((generation, hash)) = of_vault {
            let object = ObjectName::vault_key(vault.header.vault, generation);
            self.hashed(name, opened, object, hash, Part::Vault).await?;
        }
        self.checkpoints(name, opened, head).await?;
        let (there, coming): (Vec<_>, Vec<_>) =
            (packs.into_iter()).partition(|(_, pack)| pack.added <= head);
        self.packs(name, opened, there).await?;
        // What moved into a pack that is on its way was not looked at.
        for (ordinal, pack) in coming.iter().filter(|(_, pack)| !pack.again.is_empty()) {
            let moved = self.snapshots_of(*ordinal, pack).await;
            self.here.coming.extend(moved);
        }
        Ok(())
    }

    /// Whether every byte is read.
    fn reads_all(&self) -> bool {
        self.request.read_data && self.request.sample_percent <= 0.0
    }

    async fn header(&mut self, name: &SiteName, opened: &Opened) -> Result<()> {
        let vault = self.vault.clone();
        let object = ObjectName::header(vault.header.vault);
        let (what, is_damage) = match opened.site.get(&object).await {
            Ok(Some(bytes)) if repair::is_header(&vault, &bytes) => return Ok(()),
            Ok(Some(_)) => ("it does not read as this vault's header".to_owned(), true),
            Ok(None) => ("it is missing".to_owned(), true),
            Err(error) => (error.to_string(), false),
        };
        let mut finding = Finding::of(object.as_str(), what);
        if self.request.repair {
            finding.repaired = mended(name, repair::header(&vault, opened).await);
        }
        if !finding.repaired {
            self.all_hurt(is_damage);
        }
        self.find(name, finding).await
    }

    /// The whole log, from its first record: every link and signature. The last one that is right is known then.
    async fn log(&mut self, name: &SiteName, opened: &Opened) -> Result<()> {
        let vault = self.vault.clone();
        let follow = || async {
            let reader: Arc<dyn SiteReader> = opened.site.clone();
            let mut log = LogReader::new(reader, vault.header.vault);
            let mut state = State::start(vault.header.clone());
            let followed = log.follow(&mut state, &vault.cache).await;
            (state.chain.head, followed.err())
        };
        // What this owner knows to stand there: at the primary all that it appended, at a member all that was copied.
        let stands = match name == vault.primary.site.name() {
            true => vault.state().chain.head,
            false => vault
                .standings()
                .get(name)
                .and_then(|standing| standing.head),
        };
        let (head, wrong) = follow().await;
        self.here.head = head;
        let error = match wrong {
            Some(error) => error,
            None if head >= stands => return Ok(()),
            None => Error::Corrupt(format!(
                "its last records are missing: it ends at {}, and records up to {} stood there",
                head.map_or_else(|| "nothing".into(), |at| at.to_string()),
                stands.map_or_else(|| "nothing".into(), |at| at.to_string())
            )),
        };
        let is_damage = matches!(error, Error::Corrupt(_));
        let mut finding = Finding::of("log", error.to_string());
        if self.request.repair {
            let mending = repair::log(&vault, opened, stands).await.map(|_| ());
            finding.repaired = mended(name, mending);
        }
        let again = match finding.repaired {
            true => follow().await,
            false => (head, None),
        };
        finding.repaired &= again.1.is_none() && again.0 >= stands;
        if self.request.repair && !finding.repaired && is_damage {
            finding.what.push_str(self.save_behind(again.0).await);
        }
        self.here.head = again.0;
        if !finding.repaired {
            self.log_ends(opened, stands, is_damage).await;
        }
        self.find(name, finding).await
    }

    /// A record that no site has whole: with the fold saved behind it, the vault opens without it. Once this ownership has ended
    /// nobody could do that any more.
    async fn save_behind(&mut self, sound: Option<Position>) -> &'static str {
        let Some(collector) = self.vault.collector() else {
            return "";
        };
        let asked = tokio::time::timeout(SAVE_WAIT, collector.ask(Checkpoint::Thorough));
        let asked = matches!(asked.await, Ok(Ok(())));
        let state = self.vault.state();
        let mut saved = state.catalog.checkpoints.iter();
        match asked && saved.any(|saved| Some(saved.covers) > sound) {
            true => {
                "; no site has it whole. What the vault knows was saved behind it, so that it opens without"
            }
            false => "; no site has it whole",
        }
    }

    /// Checkpoints that count, and the segments that they name: saved folds, without which opening the vault takes longer.
    async fn checkpoints(
        &mut self,
        name: &SiteName,
        opened: &Opened,
        head: Position,
    ) -> Result<()> {
        let id = self.vault.header.vault;
        let counting = self.vault.state().catalog.checkpoints.clone();
        // The record that makes one count comes after what it covers; a member that ends in between lacks it rightly.
        for kept in counting.iter().filter(|kept| kept.covers < head) {
            let object = ObjectName::checkpoint(id, kept.covers);
            let fold = Part::Fold(kept.covers);
            self.hashed(name, opened, object.clone(), kept.manifest, fold)
                .await?;
            let Ok(Some(bytes)) = opened.site.get(&object).await else {
                continue;
            };
            let Ok(manifest) = Manifest::open(id, kept.covers, kept.manifest, &bytes) else {
                continue;
            };
            for segment in &manifest.segments {
                let object = ObjectName::segment(id, segment.hash);
                self.hashed(name, opened, object, segment.hash, fold)
                    .await?;
            }
        }
        Ok(())
    }

    /// A small object whose hash the log gives, and what it is a part of.
    async fn hashed(
        &mut self,
        name: &SiteName,
        opened: &Opened,
        object: ObjectName,
        hash: Hash,
        part: Part,
    ) -> Result<()> {
        let (what, is_damage) = match opened.site.get(&object).await {
            Ok(Some(bytes)) if Hash::of(&bytes) == hash => {
                self.is_right(part);
                return Ok(());
            }
            Ok(Some(_)) => ("it does not have the hash that the log gives".into(), true),
            Ok(None) => ("it is missing".into(), true),
            Err(error) => (error.to_string(), false),
        };
        let mut finding = Finding::of(object.as_str(), what);
        if self.request.repair {
            let mending = repair::object(&self.vault, name, &object, repair::has_hash(hash));
            let outcome = match (mending.await, part) {
                (Err(_), Part::Fold(covers)) => repair::replace_fold(&self.vault, covers).await,
                (outcome, _) => outcome,
            };
            finding.repaired = mended(name, outcome);
        }
        if finding.repaired {
            self.is_right(part);
        }
        if let (Part::Vault, false) = (part, finding.repaired) {
            self.all_hurt(is_damage);
        }
        if let (Part::Key(key), false) = (part, finding.repaired) {
            finding.snapshots = self.snapshots_under(key).await;
            match is_damage {
                true => {
                    *self.bad_keys.entry(key).or_default() += 1;
                    self.here.hurt.extend(&finding.snapshots);
                    self.here.bad_keys.insert(key);
                }
                false => self.here.unsure.extend(&finding.snapshots),
            }
        }
        self.find(name, finding).await
    }

    fn is_right(&mut self, part: Part) {
        if let Part::Key(key) = part {
            self.here.right_keys.insert(key);
        }
    }
}

fn mended(site: &SiteName, outcome: Result<()>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%site, %error, "it was not repaired");
            false
        }
    }
}
