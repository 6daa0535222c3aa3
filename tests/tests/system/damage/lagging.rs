//! Replication and failover where one member has not seen the last backup: from a damaged primary, and onto a damaged
//! member. What is damaged at the primary is something that the member lacks, where there is such.

use super::changing::FAILOVER;
use super::objects::{Damage, Kind, Which};
use super::stage::Stage;
use super::{Cell, Place};

/// How long a backup waits for a member that may never follow.
const PATIENCE: &str = "3s";

/// And for one that does once what stood in its way is gone.
const CATCHES_UP_WITHIN: &str = "25s";

impl Cell {
    /// Whether there is such an object, and the damage is one of those that are worked out here: it is not there, or it reads
    /// and is wrong. The member's last record stands for its seals and claims.
    pub(super) fn lags(&self) -> bool {
        let is_worked_out = [Damage::Missing, Damage::Old].contains(&self.damage);
        match self.place {
            _ if !is_worked_out => false,
            Place::Primary => true,
            Place::Other => !matches!(self.kind, Kind::Seal | Kind::Claim),
            Place::Both => false,
        }
    }

    pub(super) fn replicate_and_fail_over(&mut self) {
        let mut stage = Stage::copy_of(self.base, true);
        let which = match self.place {
            Place::Primary => Which::Lacking,
            _ => Which::Earlier,
        };
        stage.damage(self.place.sites()[0], self.kind, self.damage, which);
        stage.start();
        stage.write_new_file();
        let is_open = !self.is_cut_short();
        let ran = stage.backup(
            is_open,
            &["--wait", "protected", "--wait-timeout", PATIENCE],
        );
        self.check("replicate", &ran, self.replicate());
        let new = ran.json["snapshot"].as_str().unwrap_or_default().to_owned();

        stage.damage_again();
        let ran = stage.run(&FAILOVER);
        let codes = self.failover_of_the_lag();
        self.check("failover", &ran, codes);
        if self.is_stuck() {
            self.give_up_what_is_damaged(&stage, &new);
            self.finish(stage);
            return;
        }
        if self.is_cut_short() {
            let ran = stage.run(&[&FAILOVER[..], &["--accept-loss"]].concat());
            self.check("failover --accept-loss", &ran, &[0]);
        } else if codes.contains(&1) && ran.code != 0 {
            self.mend_and_fail_over(&stage);
        }
        let ran = self.restore(&stage, "afterwards", &[]);
        self.check_restore(
            "restore",
            &stage,
            "afterwards",
            &ran,
            self.restore_of_the_lag(),
        );
        self.finish(stage);
    }

    /// Only the primary has what is damaged, so that nothing mends it: what needs it is forgotten and collected, sent anew
    /// from what is backed up, and from then on the member follows.
    fn give_up_what_is_damaged(&mut self, stage: &Stage, new: &str) {
        let latest = self.base.latest.clone();
        let ran = stage.run(&["forget", "--vault", "db", "--purge", &latest, new]);
        self.check("forget", &ran, &[0]);
        let ran = stage.run(&["gc", "--vault", "db"]);
        self.check("collect", &ran, &[0]);
        let more = ["--wait", "protected", "--wait-timeout", CATCHES_UP_WITHIN];
        let ran = stage.backup(true, &more);
        self.check("replicate", &ran, &[0]);
        let ran = stage.run(&FAILOVER);
        self.check("failover", &ran, &[0]);
        let words = ["restore", "--vault", "db", "latest", "--source", "web"];
        let ran = stage.run(&[&words[..], &["--target", "new"]].concat());
        self.check("restore", &ran, &[0]);
        if !stage.tree_is_right("new") || !stage.new_file_is_right("new") {
            self.tell("restore", "it is not what was backed up", &ran);
        }
    }
}
