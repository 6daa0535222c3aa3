//! The operations that change the vault while it is damaged: takeover, expiry, collection, failover. The object is damaged
//! again before each of them, wherever it was mended; so a running coordinator meets rot that it has not seen.
//!
//! Afterwards nothing is lost that was there before: the kept snapshot restores all that it restored, through the
//! coordinator and by rescue from each site alone.

use super::Cell;
use super::objects::Kind;
use super::stage::{SITES, Stage};

/// Makes the off-site the primary.
pub(super) const FAILOVER: [&str; 5] = ["failover", "--vault", "db", "--to", SITES[1]];

impl Cell {
    /// Runs them on a stage whose coordinator runs, and on which `read` went before.
    pub(super) fn change(&mut self, stage: &mut Stage) {
        let before = stage.lacking("restored");

        stage.damage_again();
        stage.stop();
        stage.start();
        let ran = self.restore(stage, "taken-over", &[]);
        let codes = self.severity_once_open().restore_after_backup(self.place);
        self.check_restore("takeover", stage, "taken-over", &ran, codes);
        let is_open = !ran.is_not_open();

        stage.damage_again();
        let first = self.base.first.clone();
        let forget = ["forget", "--vault", "db", "--purge", &first];
        let set = ["policy", "set", "--vault", "db", "policy.toml"];
        let apply = ["policy", "apply", "--vault", "db", "--confirm"];
        for words in [&forget[..], &set, &apply] {
            let ran = stage.run(words);
            self.check("expire", &ran, self.expire(is_open));
        }

        let ran = stage.run(&["gc", "--vault", "db"]);
        self.check("collect", &ran, self.collect(is_open));

        stage.damage_again();
        self.fail_over(stage, is_open);

        let ran = self.restore(stage, "afterwards", &[]);
        let codes = self.severity_once_open().restore_after_backup(self.place);
        self.check_restore("restore", stage, "afterwards", &ran, codes);
        let lacking = stage.lacking("afterwards");
        let lost: Vec<_> = lacking.difference(&before).copied().collect();
        if !lost.is_empty() {
            let why = format!("{lost:?} could be restored before");
            self.tell("restore afterwards", &why, &ran);
        }
        for (site, target) in SITES.into_iter().zip(["rescued-1", "rescued-2"]) {
            let latest = &self.base.latest;
            let ran = stage.rescue(&["restore", "--target", target, latest], site);
            let damaged = self.place.sites().contains(&site);
            let codes = self.severity_once_open().rescue_afterwards(damaged);
            self.check_restore("rescue", stage, target, &ran, codes);
        }
        if matches!(self.kind, Kind::Checkpoint | Kind::Segment) {
            self.mend_saved_folds(stage);
        }
    }

    /// A saved fold that no site has whole is replaced: nothing stays to be told of.
    fn mend_saved_folds(&mut self, stage: &Stage) {
        let ran = stage.run_without_identity(&["verify", "--vault", "db", "--repair"]);
        self.check("verify --repair", &ran, &[0, 3]);
        let ran = stage.run_without_identity(&["verify", "--vault", "db"]);
        self.check("verify afterwards", &ran, &[0]);
    }

    /// A failover that is refused for damage at its target is done once that is mended.
    fn fail_over(&mut self, stage: &Stage, is_open: bool) {
        let ran = stage.run(&FAILOVER);
        let codes = self.failover(is_open);
        self.check("failover", &ran, codes);
        if is_open && codes.contains(&1) && ran.code != 0 {
            self.mend_and_fail_over(stage);
        }
    }

    pub(super) fn mend_and_fail_over(&mut self, stage: &Stage) {
        let ran = stage.run_without_identity(&["verify", "--vault", "db", "--repair"]);
        self.check("verify --repair", &ran, &[0, 3]);
        let ran = stage.run(&FAILOVER);
        self.check("failover", &ran, &[0]);
    }
}
