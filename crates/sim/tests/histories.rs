//! Histories under seeds: none may lose anything, and the same seed gives the same history.
//!
//! `HOLDFAST_TEST_HISTORIES` and `HOLDFAST_TEST_SEED` set how many are run, and from which seed on; a seed that failed is
//! looked at with `cargo xtask sim --seed`.

use holdfast_sim::campaign::{Campaign, carry_out};
use holdfast_sim::history::run;
use holdfast_sim::plan::{Focus, Plan};

fn told(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_under_any_seed() {
    let quick = std::env::var_os("HOLDFAST_TEST_QUICK").is_some();
    let histories = told("HOLDFAST_TEST_HISTORIES").unwrap_or(if quick { 200 } else { 2000 });
    nothing_is_lost(histories, Plan::of, "cargo xtask sim --seed N");
}

#[test]
fn nothing_is_lost_by_several_coordinators_either() {
    let quick = std::env::var_os("HOLDFAST_TEST_QUICK").is_some();
    let histories = told("HOLDFAST_TEST_HISTORIES").unwrap_or(if quick { 24 } else { 240 });
    nothing_is_lost(
        histories,
        Plan::of_a_cluster,
        "cargo xtask sim --cluster --seed N",
    );
}

fn nothing_is_lost(histories: u64, plan: fn(u64) -> Plan, command: &str) {
    let campaign = Campaign {
        seed: told("HOLDFAST_TEST_SEED").unwrap_or(1),
        histories,
        until: None,
        threads: 2,
        keep_going: true,
        plan,
    };
    let result = carry_out(&campaign, |_, _| {});
    println!(
        "seeds from {}: {} histories",
        campaign.seed, result.histories
    );
    for (kind, count) in &result.counts {
        println!("{count:>9} {kind}");
    }
    let failed: Vec<String> = (result.failed.iter())
        .map(|(seed, outcome)| format!("seed {seed}: {}", outcome.breaches.join("; ")))
        .collect();
    assert!(
        failed.is_empty(),
        "look at one with `{command}`:\n{}",
        failed.join("\n")
    );
    assert_eq!(result.histories, histories);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let hashes = || -> Vec<String> {
        let plans = (100..120).map(Plan::of);
        let plans = plans.chain((100..116).map(Plan::of_a_cluster));
        plans.map(|plan| run(&plan, false).trace_hash).collect()
    };
    let elsewhere = std::thread::spawn(hashes);
    let here = hashes();
    assert_eq!(here, elsewhere.join().unwrap());
    let mut different = here.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(
        different.len(),
        here.len(),
        "other seeds give other histories"
    );
}

/// Histories that lost something, or came to no end, until what they found was mended: each by its seed. A plan changes with
/// its generator; what was found has a test of its own where it is named below.
mod found {
    use super::*;

    fn goes_well(plan: &Plan) {
        let outcome = run(plan, false);
        assert!(
            outcome.breaches.is_empty(),
            "{plan}\n{:?}",
            outcome.breaches
        );
    }

    macro_rules! broad {
        ($($name:ident: $seed:literal,)*) => {
            $(#[test] fn $name() { goes_well(&Plan::broad($seed)); })*
        };
    }
    macro_rules! of_branches {
        ($($name:ident: $seed:literal,)*) => {
            $(#[test] fn $name() { goes_well(&Plan::focused($seed, Focus::Branches)); })*
        };
    }

    broad! {
        seed_502_a_log_that_heals_is_damaged_below_its_checkpoint: 502,
        seed_593_the_check_met_a_deposed_owner: 593,
        seed_1250_two_logs_are_damaged_below_their_checkpoints: 1250,
        seed_1398_a_member_that_lags_behind_a_seal_is_no_failover: 1398,
        seed_1474_an_old_copy_is_not_all_there_is: 1474,
        seed_1602_a_seal_that_nobody_claimed_holds_nothing: 1602,
        seed_1960_a_site_that_is_another_by_now_keeps_nobody_from_mending: 1960,
        seed_2928_what_others_can_mend_is_not_left_behind: 2928,
        seed_4429_an_owner_that_slept_through_its_successor_gives_up: 4429,
        seed_1003869_of_a_soak: 1_003_869,
        seed_1006581_an_idle_member_has_a_new_disk: 1_006_581,
        seed_1008494_a_standby_holds_on_to_a_disk_that_is_gone: 1_008_494,
        seed_1008540_of_a_soak: 1_008_540,
        seed_2000182_the_target_of_a_failover_is_gone_before_its_claim: 2_000_182,
        seed_3005013_a_disk_is_replaced_while_its_owner_sleeps: 3_005_013,
        seed_3007717_what_is_in_the_trash_goes_at_the_last_moment: 3_007_717,
        seed_3016477_a_new_disk_is_filled_once_the_owner_is_there: 3_016_477,
        seed_3019148_two_new_disks_and_an_owner_that_sleeps: 3_019_148,
        seed_1008545_failback_meets_a_damaged_log_at_the_primary: 1_008_545,
    }

    macro_rules! of_a_cluster {
        ($($name:ident: $focus:ident $seed:literal,)*) => {
            $(#[test] fn $name() { goes_well(&Plan::focused($seed, Focus::$focus)); })*
        };
    }

    of_a_cluster! {
        seed_75_a_store_from_an_old_backup_issues_a_number_again: OlderPlacement 75,
        seed_83_an_owner_is_in_an_old_backup_and_what_it_took_is_not: OlderPlacement 83,
        seed_427_numbers_are_skipped_from_the_counter_on: OlderPlacement 427,
        seed_35_a_number_that_a_seal_announced_is_used: EmptyPlacement 35,
        seed_319_the_primary_answered_again_while_the_vault_was_moved: Flapping 319,
    }

    #[test]
    fn seed_173_of_a_cluster_a_backup_of_the_store_knows_nothing_of_a_failover() {
        goes_well(&Plan::of_a_cluster(173));
    }

    #[test]
    fn seed_4615_of_damage_forgotten_and_collected_before_it_was_protected() {
        goes_well(&Plan::focused(4615, Focus::Damage));
    }

    #[test]
    fn seed_1987_of_damage_the_watch_read_two_damaged_logs() {
        goes_well(&Plan::focused(1987, Focus::Damage));
    }

    of_branches! {
        seed_22_a_failover_that_died_is_ended_by_hand: 22,
        seed_31_a_branch_that_was_closed_is_no_history: 31,
        seed_37_a_site_is_left_behind_a_second_time: 37,
        seed_38_the_operator_names_the_primary_itself: 38,
        seed_51_a_branch_at_the_primary_is_not_collected: 51,
        seed_148_the_later_primary_was_not_read: 148,
        seed_1743_a_fold_that_was_saved_in_a_branch: 1743,
        seed_723_holds_on_a_branch_are_left_to_a_person: 723,
        seed_3009687_a_saved_fold_is_at_no_site: 3_009_687,
    }
}
