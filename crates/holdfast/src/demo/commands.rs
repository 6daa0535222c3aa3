//! What each step would be by hand, in the demo's folder.

/// Starts the coordinator.
pub(super) const COORDINATOR: &str = "holdfast coordinator --data coordinator --site onsite=file:$PWD/onsite/store --site \
     offsite=file:$PWD/offsite/store";

/// Creates the vault.
pub(super) const CREATE: &str = "holdfast vault create demo --sites onsite,offsite --identity-out identity.txt --bundle-out agent.bundle";

/// Backs up.
pub(super) const BACKUP: &str =
    "holdfast backup --vault demo --source demo --bundle agent.bundle tree";

/// Backs up what was given; its path follows.
pub(super) const BACKUP_GIVEN: &str =
    "holdfast backup --vault demo --source given --bundle agent.bundle";

/// Shows what is protected.
pub(super) const SNAPSHOTS: &str = "holdfast snapshots --vault demo";

/// Fails over.
pub(super) const FAILOVER: &str = "holdfast failover --vault demo --to offsite";

/// Restores.
pub(super) const RESTORE: &str = "holdfast restore --vault demo --source demo latest --site offsite --target restored/demo --identity identity.txt";

/// Brings the on-site back.
pub(super) const FAILBACK: &str = "holdfast failback --vault demo --site onsite";

/// Sets the policy; the other half is the coordinator's own clockwork.
pub(super) const POLICY: &str = "holdfast policy set --vault demo policy.toml";

/// Collects.
pub(super) const COLLECT: &str = "holdfast gc --vault demo --wait";

/// Restores from the on-site's folder.
pub(super) const RESCUE_ONSITE: &str = "holdfast rescue restore --site file:$PWD/onsite/store --source demo --target rescued-onsite/demo --identity identity.txt";

/// Restores from the off-site's folder.
pub(super) const RESCUE_OFFSITE: &str = "holdfast rescue restore --site file:$PWD/offsite/store --source demo --target rescued-offsite/demo --identity identity.txt";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_is_one() {
        let given = format!("{BACKUP_GIVEN} /srv");
        let all = [
            given.as_str(),
            COORDINATOR,
            CREATE,
            BACKUP,
            SNAPSHOTS,
            FAILOVER,
            RESTORE,
            FAILBACK,
            POLICY,
            COLLECT,
            RESCUE_ONSITE,
            RESCUE_OFFSITE,
        ];
        for command in all {
            let words = command.replace("$PWD", "/here");
            if let Err(error) = Cli::read_from(words.split_whitespace()) {
                panic!("{command}: {error}");
            }
        }
    }
}
