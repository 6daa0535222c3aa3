//! The command line as scripts use it: every form that is promised is read here.

use std::collections::BTreeMap;

use clap::Command;

use crate::cli::{self, Cli};

fn read(line: &str) -> Result<Cli, clap::Error> {
    let words = line.split_whitespace().map(|word| word.replace('␣', " "));
    Cli::read_from(words)
}

fn check(lines: &[&str]) {
    for line in lines {
        if let Err(error) = read(line) {
            panic!("{line}\n{error}");
        }
    }
}

fn check_refused(lines: &[&str]) {
    for line in lines {
        assert!(read(line).is_err(), "{line} was taken");
    }
}

#[test]
fn the_definition_is_sound() {
    cli::definition().debug_assert();
}

#[test]
fn backup_is_read() {
    check(&[
        "holdfast backup --vault db /srv/db",
        "holdfast backup --vault db --source web /a /b --bundle b --exclude *.o --exclude x --exclude-file f",
        "holdfast backup --vault db /a --exclude-caches --one-file-system --tag t --tag u --dry-run",
        "holdfast backup --vault db /a --limit-rate 10M --wait protected --wait-timeout 30s --json",
        "holdfast backup --vault db --source s --stdin",
        "holdfast backup --vault db --source s --stdin --stdin-filename db/dump.sql",
        "holdfast backup --vault db --source s --command -- pg_dump --format=c db",
        "holdfast backup --vault db -- -odd",
        "holdfast --json --coordinator unix:/x backup --vault db /a",
        "holdfast backup --vault db /a --coordinator https://h:1 --tls-ca c --tls-cert d --tls-key k",
    ]);
    check_refused(&[
        "holdfast backup /a",
        "holdfast backup --vault db --stdin /a",
        "holdfast backup --vault db --stdin --command -- a",
        "holdfast backup --vault db --command",
        "holdfast backup --vault db /a --wait verified",
        "holdfast backup --vault db /a --limit-rate fast",
        "holdfast backup --vault db /a --limit-rate 0",
        "holdfast backup --vault db /a --wait-timeout 5",
        "holdfast backup --vault db --source ../x /a",
    ]);
}

#[test]
fn reading_is_read() {
    check(&[
        "holdfast snapshots --vault db",
        "holdfast snapshots --vault db --source s --json --tag t",
        "holdfast ls --vault db --identity i",
        "holdfast ls --vault db --identity i latest /etc -R --long",
        "holdfast find --vault db --identity i latest *.conf --type file --size-min 1M --newer 3d",
        "holdfast diff --vault db --identity i abcd latest",
        "holdfast dump --vault db --identity i latest /etc/passwd",
        "holdfast restore --vault db --source s latest --target d --identity i",
        "holdfast restore --vault db abcdef --target d --include /a --include b* --delta --site off --identity i",
        "holdfast verify --vault db",
        "holdfast verify --vault db --site on --read-data",
        "holdfast verify --vault db --read-data=5% --identity i",
        "holdfast mount --vault db --identity i dir",
        "holdfast rescue ls --site file:/x --identity i --vault db",
        "holdfast rescue restore --site s3://b/p --identity i --target d --vault db latest --include /a",
        "holdfast rescue restore --site file:/x --identity i --target d",
    ]);
    check_refused(&[
        "holdfast snapshots",
        "holdfast restore --vault db latest --identity i",
        "holdfast restore --vault db abc --target d --identity i",
        "holdfast restore --vault db latest --target d --delete-extra",
        "holdfast verify --vault db --read-data=0%",
        "holdfast rescue ls --identity i",
    ]);
}

#[test]
fn running_is_read() {
    check(&[
        "holdfast demo",
        "holdfast demo --keep d /srv",
        "holdfast coordinator --data d --site on=file:/x --site off=s3://b/p",
        "holdfast coordinator --data d --listen 0.0.0.0:7400 --listen unix:/s --site on=file:/x --check",
        "holdfast coordinator --config f --check",
        "holdfast coordinator --data d --site on=file:/x --metrics 127.0.0.1:7421",
        "holdfast status",
        "holdfast status --json",
        "holdfast placement show --vault db",
        "holdfast placement rebuild",
        "holdfast failover --vault db --to off",
        "holdfast failover --vault db --to off --accept-loss",
        "holdfast failover --all --to off --dry-run",
        "holdfast failback --all --site on --make-primary",
        "holdfast coordinator --data d --site on=file:/x --cluster-key k --advertise https://c1:7400 --lease 5s",
        "holdfast status --coordinator https://c1:7400,https://c2:7400",
        "holdfast failback --vault db",
        "holdfast completions bash",
        "holdfast man d",
    ]);
    check_refused(&[
        "holdfast",
        "holdfast coordinator",
        "holdfast coordinator --config f --data d",
        "holdfast coordinator --data d --site on",
        "holdfast coordinator --data d --listen nowhere",
        "holdfast coordinator --data d --site on=file:/x --metrics unix:/s",
        "holdfast coordinator --config f --metrics 127.0.0.1:1",
        "holdfast failover --vault db",
        "holdfast failover --to off",
        "holdfast failback --all",
        "holdfast failover --vault db --all --to off",
        "holdfast coordinator --data d --site on=file:/x --lease 1s",
        "holdfast completions klingon",
    ]);
}

#[test]
fn looking_after_a_vault_is_read() {
    let key = "op=age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    check(&[
        "holdfast vault create db --sites onsite,offsite --identity-out i",
        "holdfast vault create db --sites on --identity-out i --bundle-out b --policy p --dedup vault",
        &format!("holdfast vault create db --sites on --identity-out i --recipient {key}"),
        "holdfast vault create db --sites on --identity-out i --passphrase-file f",
        "holdfast vault create db --sites on --identity-out i --ask-passphrase",
        "holdfast vault list",
        "holdfast vault show --vault db",
        "holdfast vault attach --site off=file:/x --identity i",
        "holdfast site list --vault db",
        "holdfast site add --vault db third=file:/x",
        "holdfast site add --vault db third",
        "holdfast site remove --vault db third --why gone",
        "holdfast policy set --vault db f",
        "holdfast policy show --vault db --source s",
        "holdfast policy simulate --vault db --source s --until 2030-01-01 --policy f",
        "holdfast policy simulate --vault db --source s --schedule daily␣at␣02:00 --empty",
        "holdfast policy apply --vault db --dry-run",
        "holdfast hold place --vault db abcd --why trial",
        "holdfast hold place --vault db --source s",
        "holdfast hold place --vault db --whole-vault",
        "holdfast hold release --vault db abcd",
        "holdfast hold list --vault db",
        "holdfast forget abcd --vault db",
        "holdfast forget abcd latest --vault db --purge --why space",
        "holdfast trash list --vault db",
        "holdfast trash restore --vault db abcd",
        "holdfast gc --vault db",
        "holdfast gc --vault db --dry-run",
        "holdfast gc --vault db --wait",
        "holdfast key kit --vault db --identity i --out f",
        "holdfast key bundle --vault db --identity i --agent a --dedup source --source s --out f",
        "holdfast key recipients --vault db",
        &format!("holdfast key add-recipient --vault db --identity i {key}"),
        "holdfast key remove-recipient --vault db --identity i op",
        "holdfast key passphrase --identity i --new-passphrase-file f",
        "holdfast key passphrase --identity i --remove",
    ]);
    check_refused(&[
        "holdfast vault create db --sites on",
        "holdfast vault create db --identity-out i",
        "holdfast vault create ../db --sites on --identity-out i",
        "holdfast vault attach --site off --identity i",
        "holdfast hold place --vault db",
        "holdfast hold place --vault db abcd --whole-vault",
        "holdfast forget --vault db",
        "holdfast key add-recipient --vault db --identity i op=ssh-rsa",
        "holdfast policy simulate --vault db --schedule sometimes",
    ]);
}

fn each_command(command: &Command, see: &mut impl FnMut(&Command)) {
    see(command);
    for below in command.get_subcommands() {
        each_command(below, see);
    }
}

#[test]
fn every_option_has_a_twin_in_the_environment() {
    let mut definition = cli::definition();
    definition.build();
    each_command(&definition, &mut |command| {
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            if long == "help" || long == "version" {
                continue;
            }
            let twin = arg.get_env().map(|env| env.to_string_lossy().into_owned());
            let twin = twin.unwrap_or_else(|| panic!("{} --{long} has none", command.get_name()));
            assert!(twin.starts_with("HOLDFAST_"), "{twin}");
        }
    });
}

/// One twin may serve several commands only if it means the same in each: it takes the same kind of value.
#[test]
fn twins_mean_one_thing() {
    let mut definition = cli::definition();
    definition.build();
    let mut kinds: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    each_command(&definition, &mut |command| {
        for arg in command.get_arguments() {
            let Some(twin) = arg.get_env() else { continue };
            let kind = match arg.get_action().takes_values() {
                true => format!("{:?}", arg.get_value_names()),
                false => "a switch".to_owned(),
            };
            let of_twin = kinds
                .entry(twin.to_string_lossy().into_owned())
                .or_default();
            of_twin
                .entry(kind)
                .or_default()
                .push(command.get_name().to_owned());
        }
    });
    kinds.retain(|_, kinds| kinds.len() > 1);
    assert!(kinds.is_empty(), "{kinds:#?}");
}

#[test]
fn every_command_and_option_says_what_it_is() {
    each_command(&cli::definition(), &mut |command| {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for arg in command.get_arguments() {
            assert!(
                arg.get_help().is_some(),
                "{} {}",
                command.get_name(),
                arg.get_id()
            );
        }
    });
}
