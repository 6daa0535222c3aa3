//! Retention: the policy expires what is old, a collection gives it up, and its bytes are gone at both sites.

use std::time::Duration;

use holdfast_agent::client::{CollectOptions, CollectStep, SnapshotInfo};

use crate::demo::client::{BackedUp, Client, VAULT};
use crate::demo::commands;
use crate::demo::sites::{OFFSITE, ONSITE, Stored};
use crate::demo::story::Story;
use crate::demo::teller::{Moved, Teller};
use crate::failure::{Failure, Outcome};
use crate::output;

/// Keeps the last snapshot only, and no trash: the story has no week to wait.
const POLICY: &str = "version = 1\ntrash = \"0\"\n\n[keep]\nlast = 1\n";

/// A collection of this size takes no longer, unless something is wrong.
const COLLECTED_WITHIN: Duration = Duration::from_secs(300);

impl Story<'_> {
    pub(in crate::demo) async fn expire(
        &mut self,
        client: &Client,
        last: &[BackedUp],
        teller: &mut Teller,
    ) -> Outcome<()> {
        teller.begin(
            "expire",
            "expire: a policy that keeps the last snapshot, with no time in the trash",
            Some(commands::POLICY),
        )?;
        let who = self.call.who();
        let expire = async {
            client.admin.set_policy(VAULT, POLICY, &who).await?;
            Ok(client.admin.expire(VAULT, true, false, &who).await?)
        };
        let plan = self.call.unless_interrupted(expire).await?;
        if !plan.waiting.is_empty() {
            return Err(Failure::new(format_args!(
                "nothing is expired now: {}",
                plan.waiting
            )));
        }
        let mut left = client.admin.snapshots(VAULT, None).await?;
        let is_last = |info: &SnapshotInfo| last.iter().any(|one| one.info.id == info.id);
        left.retain(|info| !is_last(info));
        let (kept, expired): (Vec<_>, Vec<_>) = plan.decisions.iter().partition(|one| one.keep);
        let (kept, expired) = (kept.len(), expired.len());
        if !left.is_empty() || kept != last.len() || expired != 2 * last.len() {
            return Err(Failure::new(format_args!(
                "{expired} snapshots expired and {kept} are kept; of each source it should be two and the last one"
            )));
        }
        teller.end(
            Moved::default(),
            format!("{expired} snapshots expired, {kept} kept"),
        )
    }

    pub(in crate::demo) async fn collect(
        &mut self,
        client: &Client,
        teller: &mut Teller,
    ) -> Outcome<()> {
        teller.begin(
            "collect",
            "collect: give up, by record, what no snapshot needs, then delete it at both sites",
            Some(commands::COLLECT),
        )?;
        let before = self.both()?;
        let collect = async {
            match tokio::time::timeout(COLLECTED_WITHIN, self.run_collection(client, teller)).await
            {
                Ok(collected) => collected,
                Err(_) => Err(Failure::new(format_args!(
                    "the collection was not done within {}",
                    output::duration(COLLECTED_WITHIN)
                ))),
            }
        };
        let freed = self.call.unless_interrupted(collect).await?;
        teller.end(
            Moved::default(),
            format!(
                "about {} freed at each site, by its own account",
                output::bytes(freed)
            ),
        )?;

        teller.begin(
            "look at both",
            "look at the folders of both sites: are the freed bytes gone?",
            Some("du -sb onsite offsite"),
        )?;
        let after = self.both()?;
        let gone = after[0].gone_since(&before[0]);
        if gone.is_empty() || gone != after[1].gone_since(&before[1]) {
            return Err(Failure::new(
                "not the same packs were deleted at both sites, or none",
            ));
        }
        self.require_alike(teller).await?;
        let freed = [0, 1].map(|n| before[n].pack_bytes().saturating_sub(after[n].pack_bytes()));
        // Nothing but the expired snapshots referred to the deleted file, which cannot be compressed. What of it lies in
        // a pack that is more than half alive stays there.
        let doomed = self.scale.doomed;
        if freed.iter().any(|&freed| freed < doomed / 2) {
            return Err(Failure::new(format_args!(
                "a file of {} was deleted from the tree and only {} are gone",
                output::bytes(doomed),
                output::bytes(freed[0].min(freed[1]))
            )));
        }
        teller.end(
            Moved::default(),
            format!(
                "{} packs gone; {} less on-site, {} less off-site",
                output::count(gone.len() as u64),
                output::bytes(freed[0]),
                output::bytes(freed[1])
            ),
        )
    }

    async fn run_collection(&self, client: &Client, teller: &Teller) -> Outcome<u64> {
        let who = self.call.who();
        let options = CollectOptions {
            wait: true,
            ..CollectOptions::default()
        };
        let mut steps = client.admin.collect(VAULT, options, &who).await?;
        let mut freed = None;
        while let Some(step) = steps.next().await? {
            match step {
                CollectStep::Plan(plan) if plan.blocked.is_empty() => teller.say(format_args!(
                    "{} snapshots leave the trash; {} chunks are given up, {} stay; {} packs go, {} of them copied first",
                    output::count(plan.snapshots),
                    output::count(plan.chunks),
                    output::count(plan.live_chunks),
                    output::count(plan.packs_condemned),
                    output::count(plan.packs_rewritten)
                ))?,
                CollectStep::Plan(plan) => {
                    return Err(Failure::new(format_args!(
                        "nothing can be given up now: {}",
                        plan.blocked
                    )));
                }
                CollectStep::Done { freed_bytes, .. } => freed = Some(freed_bytes),
                CollectStep::Step(_) => {}
                CollectStep::Waiting { site, why, .. } => {
                    teller.say(format_args!("waiting for {site}: {why}"))?;
                }
            }
        }
        freed.ok_or_else(|| Failure::new("the collection ended before it was done"))
    }

    fn both(&self) -> Outcome<[Stored; 2]> {
        let folder = self.scratch.path();
        let look = |name| Stored::look(folder, name).map_err(|error| Failure::file(folder, error));
        Ok([look(ONSITE)?, look(OFFSITE)?])
    }
}
