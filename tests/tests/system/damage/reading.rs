//! The operations that change nothing of what was damaged unless they mend it: rescue, restore, verify, backup.

use super::Cell;
use super::expected::Severity;
use super::objects::{Damage, Which};
use super::stage::Stage;

impl Cell {
    /// Rescue from the damaged site alone, before any coordinator has seen it.
    pub(super) fn rescue(&mut self, stage: &Stage) {
        let severity = self.severity();
        let site = self.place.sites()[0];
        let ran = stage.rescue(&["ls"], site);
        self.check("rescue ls", &ran, severity.rescue_ls());
        let ran = stage.rescue(&["restore", "--target", "rescued", &self.base.latest], site);
        let codes = severity.rescue_restore();
        self.check_restore("rescue restore", stage, "rescued", &ran, codes);
        // Where a record does not read, the latest that is seen may not be the latest that there is.
        if severity == Severity::All {
            let latest = ["restore", "--target", "seen", "latest", "--source", "web"];
            let ran = stage.rescue(&latest, site);
            self.check("rescue restore latest", &ran, &[1, 3]);
        }
    }

    /// What a coordinator that was started on the damage does for a reader and an agent.
    pub(super) fn read(&mut self, stage: &Stage) {
        let severity = self.severity_once_open();
        let site = self.place.sites()[0];
        let ran = self.restore(stage, "from-site", &["--site", site]);
        let codes = severity.restore_from_site(self.place);
        self.check_restore("restore --site", stage, "from-site", &ran, codes);

        let ran = stage.run_without_identity(&["verify", "--vault", "db", "--read-data"]);
        let codes = self.verify(stage.is_healed());
        self.check("verify", &ran, codes);
        // Of two that were swapped either may be told.
        let either = self.damage == Damage::Swapped && ran.said.contains("in the wrong place");
        if ran.code == 3 && !either && !stage.names(&ran, self.kind, Which::Shared) {
            self.tell("verify", "it does not name the object", &ran);
        }

        let ran = self.restore(stage, "restored", &[]);
        let codes = severity.restore(self.place);
        self.check_restore("restore", stage, "restored", &ran, codes);
        let is_open = !ran.is_not_open();

        stage.write_new_file();
        let ran = stage.backup(is_open, &[]);
        self.check("backup", &ran, self.backup(is_open));
        let lost_all = severity == Severity::All && self.place.is_both();
        if ran.code == 0 && !lost_all {
            let id = ran.json["snapshot"].as_str().unwrap_or_default().to_owned();
            // All of it: what was lost of the snapshots before was sent again.
            let ran = stage.run(&["restore", "--vault", "db", &id, "--target", "new"]);
            self.check("restore the new snapshot", &ran, &[0]);
            if !stage.new_file_is_right("new") {
                self.tell("restore", "the new file is not what was backed up", &ran);
            }
        }
    }
}
