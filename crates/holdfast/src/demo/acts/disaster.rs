//! The disaster: the on-site is destroyed, the off-site takes over, everything is restored, backups go on.

use holdfast_agent::client::{FailoverPlan, SnapshotState};

use super::{compared_words, restored_words};
use crate::demo::changes;
use crate::demo::client::{BackedUp, Client, VAULT};
use crate::demo::commands;
use crate::demo::folder::remove_tree;
use crate::demo::originals::Original;
use crate::demo::sites::{OFFSITE, ONSITE, Stored, disk};
use crate::demo::story::{Story, read};
use crate::demo::teller::{Moved, Teller};
use crate::failure::{Failure, Outcome};
use crate::output;

/// Where the restored tree lands.
const RESTORED: &str = "restored";

impl Story<'_> {
    pub(in crate::demo) async fn destroy(&mut self, teller: &mut Teller) -> Outcome<()> {
        teller.begin(
            "destroy on-site",
            "destroy the on-site: its folder, with all that was in it",
            Some("rm -rf onsite"),
        )?;
        let folder = self.scratch.path().to_owned();
        let failed = |error| Failure::file(&folder, error);
        let stored = Stored::look(&folder, ONSITE).map_err(failed)?;
        // At once, as a disk fails: the coordinator may be writing there.
        let (from, to) = (disk(&folder, ONSITE), folder.join("destroyed"));
        std::fs::rename(&from, &to).map_err(failed)?;
        let destroyed = self.call.context.run_blocking(move || remove_tree(&to));
        destroyed.await.map_err(failed)?;
        teller.end(
            Moved::default(),
            format!(
                "{} in {} packs are gone",
                output::bytes(stored.bytes),
                output::count(stored.packs.len() as u64)
            ),
        )
    }

    pub(in crate::demo) async fn fail_over(
        &mut self,
        client: &Client,
        teller: &mut Teller,
    ) -> Outcome<()> {
        teller.begin(
            "fail over",
            "fail over: the off-site becomes the primary",
            Some(commands::FAILOVER),
        )?;
        let plan = FailoverPlan {
            vault: VAULT.into(),
            to: OFFSITE.into(),
            accept_loss: false,
            plan_only: false,
        };
        let who = self.call.who();
        let failover = async { Ok(client.admin.failover(plan, &who).await?) };
        let report = self.call.unless_interrupted(failover).await?;
        if !report.done || report.drained {
            return Err(Failure::new(
                "the destroyed on-site still answers, or the failover was not done",
            ));
        }
        teller.end(
            Moved::default(),
            format!(
                "{} is the primary; left behind: {}",
                report.to, report.left_behind
            ),
        )
    }

    pub(in crate::demo) async fn restore(
        &mut self,
        client: &Client,
        snapshots: &[BackedUp],
        teller: &mut Teller,
    ) -> Outcome<()> {
        teller.begin(
            "restore",
            "restore the last snapshot from the off-site",
            Some(commands::RESTORE),
        )?;
        let target = self.scratch.at(RESTORED);
        std::fs::create_dir(&target).map_err(|error| Failure::file(&target, error))?;
        let mut all = Vec::new();
        for one in snapshots {
            let below = target.join(&one.info.source);
            let restored = client.restore(&one.info, OFFSITE, &below).await?;
            self.require_complete(&restored, teller)?;
            all.push(restored);
        }
        let fetched = all.iter().map(|one| one.bytes_fetched).sum();
        teller.end(read(fetched), restored_words(&all))
    }

    pub(in crate::demo) async fn compare_restored(
        &mut self,
        originals: &[Original],
        teller: &mut Teller,
    ) -> Outcome<()> {
        teller.begin(
            "compare",
            "compare every byte and every attribute with what was backed up",
            None,
        )?;
        let target = self.scratch.at(RESTORED);
        let compared = self.compare(&target, originals, teller).await?;
        teller.say(format_args!(
            "content; modes, owners, times to the nanosecond; {} further names of hard links; {} extended attributes \
             and ACLs; {} of holes, which are holes still",
            output::count(compared.links),
            output::count(compared.xattrs),
            output::bytes(compared.hole_bytes)
        ))?;
        if compared.left_aside > 0 {
            teller.say(format_args!(
                "{} paths were left out, which changed meanwhile or could not be read",
                output::count(compared.left_aside)
            ))?;
        }
        for (what, count) in &compared.forbidden {
            teller.say(format_args!(
                "left out, because you are not root: {what} ({} times)",
                output::count(*count)
            ))?;
        }
        teller.end(read(compared.bytes), compared_words(&compared))?;
        self.make_room(RESTORED)
    }

    pub(in crate::demo) async fn back_up_meanwhile(
        &mut self,
        client: &Client,
        teller: &mut Teller,
    ) -> Outcome<(Vec<Original>, Vec<BackedUp>)> {
        teller.begin(
            "change more",
            "life goes on while the on-site is gone: change more things",
            None,
        )?;
        let scale = self.scale.clone();
        let change = move |maker| changes::meanwhile(&maker, &scale);
        let (what, _) = self.on_tree("changing files", None, change).await?;
        teller.say(what)?;
        let mut originals = self.originals().await?;
        let noted: u64 = originals
            .iter()
            .map(|one| one.fingerprint().data_bytes())
            .sum();
        teller.end(
            read(noted),
            format!("{} noted, with every attribute", output::bytes(noted)),
        )?;

        teller.begin(
            "back up meanwhile",
            "back up meanwhile, to the off-site alone",
            Some(commands::BACKUP),
        )?;
        let remark = "it is committed, and not protected while a site is missing";
        let done = self.back_up(client, Some(remark), teller).await?;
        self.tell_moved(&mut originals, &done, teller).await?;
        if let Some(one) = done
            .iter()
            .find(|one| one.info.state != SnapshotState::Committed)
        {
            return Err(Failure::new(format_args!(
                "the snapshot is {} although the on-site is gone; it should be committed and no more",
                one.info.state.as_str()
            )));
        }
        Ok((originals, done))
    }
}
