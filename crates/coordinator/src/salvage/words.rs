//! What people said on a branch: recipients, holds, recoveries, the policy.
//!
//! State: none. What keeps something is said again at the primary; what would take something away is only told.

use holdfast_format::fact::{HoldPlaced, PolicySet, RecipientsSet, SnapshotsRecovered};
use holdfast_format::{ObjectName, Sealed};
use holdfast_vault::log::writer::put_same;
use holdfast_vault::{Proposal, State};

use super::Salvage;
use crate::error::{Error, Result};
use crate::repair;

impl Salvage<'_> {
    /// The branch may have set new recipients, to whom its keys are sealed.
    pub(super) async fn recipients(&mut self) -> Result<()> {
        let theirs = self.branch.state.catalog.recipients.clone();
        let ours = self.vault.state().catalog.recipients.clone();
        let (Some(theirs), Some(ours)) = (theirs, ours) else {
            return Ok(());
        };
        if theirs == ours || Some(&theirs) == self.branch.recipients_before.as_ref() {
            return Ok(());
        }
        if Some(&ours) != self.branch.recipients_before.as_ref() {
            self.report.notes.push(
                "the list of recipients was changed on both sides of the fork: the one here stays. Whoever was added or removed at \
                 the site that was left behind has to be added or removed again with `holdfast key`"
                    .into(),
            );
            return self.replace_vault_key(&ours, &theirs).await;
        }
        let name = ObjectName::vault_key(self.vault.header.vault, theirs.generation);
        let object = self.read_hashed(&name, theirs.vault_key).await?;
        put_same(
            self.vault.primary.site.as_ref(),
            &name,
            &Sealed::copied(object),
        )
        .await?;
        self.vault.append(Proposal::Recipients(theirs)).await?;
        Ok(())
    }

    /// Both sides made a list of this generation, each with an object of its own under one name: the one that counts takes the
    /// other's place at the site that was left behind, else that site could never follow.
    async fn replace_vault_key(&self, ours: &RecipientsSet, theirs: &RecipientsSet) -> Result<()> {
        if ours.generation != theirs.generation {
            return Ok(());
        }
        let name = ObjectName::vault_key(self.vault.header.vault, ours.generation);
        let object = repair::good_copy(self.vault, &name, repair::has_hash(ours.vault_key)).await?;
        self.sweeper
            .replace_damaged(&name, Sealed::copied(object))
            .await?;
        Ok(())
    }

    /// What people said on the branch: holds, recoveries, the policy. What would take something away is only told.
    pub(super) async fn words(&mut self) -> Result<()> {
        for hold in &self.branch.holds {
            self.hold(hold).await?;
        }
        for id in &self.branch.recovered {
            let in_trash = |state: &State| {
                let snapshot = state.catalog.snapshots.get(id);
                snapshot.is_some_and(|snapshot| snapshot.trash.is_some())
            };
            if in_trash(&self.vault.state()) && !in_trash(&self.branch.state) {
                let fact = SnapshotsRecovered {
                    snapshots: vec![*id],
                    who: "failback".into(),
                };
                self.vault.append(Proposal::Recover(fact)).await?;
            }
        }
        for id in &self.branch.trashed {
            if self.vault.state().catalog.snapshots.contains_key(id) {
                self.report.notes.push(format!(
                    "snapshot {id} was put into the trash at the site that was left behind; it is kept here. Forget it again \
                     if that is still meant"
                ));
            }
        }
        for what in &self.branch.members {
            self.report.notes.push(format!(
                "the branch {what}; that does not hold here. Do it again with `holdfast site` if it is still meant"
            ));
        }
        self.policy().await
    }

    async fn hold(&mut self, hold: &HoldPlaced) -> Result<()> {
        let released = !self.branch.state.catalog.holds.contains_key(&hold.hold);
        if released || self.vault.state().catalog.holds.contains_key(&hold.hold) {
            return Ok(());
        }
        match self.vault.append(Proposal::Hold(hold.clone())).await {
            Ok(_) => Ok(()),
            Err(Error::Missing(what)) => {
                self.report.notes.push(format!(
                    "hold {} of {} could not be placed here: {what}",
                    hold.hold, hold.who
                ));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn policy(&mut self) -> Result<()> {
        let theirs = &self.branch.state.catalog.policy;
        let ours = self.vault.state().catalog.policy.clone();
        if *theirs == self.branch.policy_before || *theirs == ours {
            return Ok(());
        }
        if ours == self.branch.policy_before {
            let fact = PolicySet {
                text: theirs.clone(),
                who: "failback".into(),
            };
            self.vault.append(Proposal::Policy(fact)).await?;
        } else {
            self.report.notes.push(
                "the policy was changed on both sides of the fork: the one here stays; look at it with `holdfast policy show`"
                    .into(),
            );
        }
        Ok(())
    }
}
