//! `holdfast vault list` and `show`.

use clap::Args;
use holdfast_agent::client::VaultInfo;

use crate::args::InVault;
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::{self, Align, Table};
use crate::views::VaultView;

/// Options of `vault show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    vault: InVault,
}

/// Lists all vaults.
pub(crate) async fn list(call: &Call) -> Outcome {
    let all = call.admin().await?.vaults().await?;
    if call.json() {
        let views: Vec<VaultView> = all.iter().map(VaultView::from).collect();
        output::json(&views)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("PRIMARY", Align::Left),
        ("SITES", Align::Left),
        ("SNAPSHOTS", Align::Right),
        ("STORED", Align::Right),
    ]);
    for vault in &all {
        let sites: Vec<&str> = vault.sites.iter().map(|site| site.site.as_str()).collect();
        table.row([
            vault.name.clone(),
            vault.id.to_string(),
            vault.state.clone(),
            vault.primary.clone(),
            sites.join(","),
            output::count(vault.snapshots),
            output::bytes(vault.stored_bytes),
        ]);
    }
    if table.is_empty() {
        call.remark("there is no vault");
        return Ok(Exit::Done);
    }
    output::line(table)?;
    Ok(Exit::Done)
}

/// Shows one vault.
pub(crate) async fn run(call: &Call, args: ShowArgs) -> Outcome {
    let vault = call.admin().await?.vault(&args.vault.vault).await?;
    if call.json() {
        output::json(&VaultView::from(&vault))?;
    } else {
        describe(&vault)?;
    }
    Ok(Exit::Done)
}

/// A vault and its sites, for a person.
pub(crate) fn describe(vault: &VaultInfo) -> Outcome<()> {
    if vault.state == "elsewhere" {
        // The rest is known to its owner; what this one was told is a few seconds old.
        output::line(format_args!(
            "vault {} ({}) is at coordinator {}",
            output::name(&vault.name),
            vault.id,
            output::name(&vault.owner)
        ))?;
        say_unprotected(vault)?;
        return show_sites(vault);
    }
    output::line(format_args!(
        "vault {} ({}) is {}",
        output::name(&vault.name),
        vault.id,
        vault.state
    ))?;
    if !vault.trouble.is_empty() {
        output::line(format_args!("  TROUBLE: {}", output::name(&vault.trouble)))?;
    }
    let owner = match vault.owner.is_empty() {
        true => "nobody",
        false => &vault.owner,
    };
    let head = vault
        .head
        .map_or_else(|| "none".into(), |head| head.to_string());
    if vault.state != "open" {
        output::line(format_args!(
            "  head {head}, owner {owner}; what it holds shows once it is open"
        ))?;
        say_unprotected(vault)?;
        return show_sites(vault);
    }
    output::line(format_args!(
        "  {}, {} in {}, {} stored; {}; head {head}, owner {owner}",
        output::counted(vault.snapshots, "snapshot"),
        output::counted(vault.chunks, "chunk"),
        output::counted(vault.packs, "pack"),
        output::bytes(vault.stored_bytes),
        output::counted(vault.open_sessions, "open session"),
    ))?;
    say_unprotected(vault)?;
    show_sites(vault)
}

fn say_unprotected(vault: &VaultInfo) -> Outcome<()> {
    if vault.unprotected.is_empty() {
        return Ok(());
    }
    let why = output::name(&vault.unprotected);
    output::line(format_args!("  NOT PROTECTED: {why}"))
}

fn show_sites(vault: &VaultInfo) -> Outcome<()> {
    let table = sites(vault).to_string();
    for line in table.lines() {
        output::line(format_args!("  {line}"))?;
    }
    Ok(())
}

fn sites(vault: &VaultInfo) -> Table {
    let mut table = Table::new(&[
        ("SITE", Align::Left),
        ("ROLE", Align::Left),
        ("LAG", Align::Right),
        ("RECORDS", Align::Right),
        ("BYTES", Align::Right),
        ("TO SWEEP", Align::Right),
        ("FREE", Align::Right),
        ("URL", Align::Left),
        ("", Align::Left),
    ]);
    for site in &vault.sites {
        let trouble = match (site.reachable, site.trouble.is_empty()) {
            (true, true) => String::new(),
            (false, true) if site.pending => "is being looked at".into(),
            (false, true) => "NOT REACHABLE".into(),
            (true, false) => output::name(&site.trouble),
            (false, false) => format!("NOT REACHABLE: {}", output::name(&site.trouble)),
        };
        // Nobody has compared it with the primary yet, nor knows from before that it lacks something.
        let unknown = site.pending && site.lag_records == 0;
        let lag = |shown: String| if unknown { "?".into() } else { shown };
        table.row([
            site.site.clone(),
            if site.primary { "primary" } else { "member" }.into(),
            lag(output::seconds(site.lag_seconds)),
            lag(output::count(site.lag_records)),
            lag(output::bytes(site.lag_bytes)),
            output::bytes(site.waiting_sweep_bytes),
            site.free_bytes.map_or_else(|| "-".into(), output::bytes),
            site.url.clone(),
            trouble,
        ]);
    }
    table
}
