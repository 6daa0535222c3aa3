//! `holdfast site`: the sites that a vault lies at.

use clap::{Args, Subcommand};
use holdfast_agent::client::VaultInfo;
use holdfast_format::SiteName;

use crate::args::{InVault, NamedUrl};
use crate::call::Call;
use crate::commands::vault::describe;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::{Align, Table};
use crate::{output, views};

/// What to do with sites.
#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// List the sites of a vault and how far each has come
    List(ListArgs),
    /// Make a site a member of a vault: it is brought up to date by itself
    Add(AddArgs),
    /// Take a member out of a vault, for good
    Remove(RemoveArgs),
}

/// Options of `site list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    vault: InVault,
}

/// Options of `site add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    vault: InVault,
    /// The site: NAME=URL, or the name of one that the coordinator knows
    #[arg(value_name = "NAME[=URL]")]
    site: String,
}

/// Options of `site remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    vault: InVault,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
    /// The site's name
    site: SiteName,
}

/// Does it.
pub(crate) async fn run(call: &Call, command: SiteCommand) -> Outcome {
    let admin = call.admin().await?;
    let info = match command {
        SiteCommand::List(args) => {
            let info = admin.vault(&args.vault.vault).await?;
            show(call, &info)?;
            if !call.json() {
                show_requests(&info)?;
            }
            return Ok(Exit::Done);
        }
        SiteCommand::Add(args) => {
            let (name, url) = named(&args.site)?;
            let vault = &args.vault.vault;
            admin.add_site(vault, &name, &url, &call.who()).await?
        }
        SiteCommand::Remove(args) => {
            let (vault, site) = (&args.vault.vault, args.site.as_str());
            admin
                .remove_site(vault, site, &args.why, &call.who())
                .await?
        }
    };
    show(call, &info)
}

fn named(text: &str) -> Outcome<(String, String)> {
    if text.contains('=') {
        let site: NamedUrl = text
            .parse()
            .map_err(|why: String| crate::failure::Failure::usage(format!("site {text:?}"), why))?;
        return Ok((site.name.to_string(), site.url));
    }
    Ok((SiteName::new(text)?.to_string(), String::new()))
}

/// What was asked of each site, where the coordinator that answers has it open.
fn show_requests(vault: &VaultInfo) -> Outcome<()> {
    let mut table = Table::new(&[
        ("SITE", Align::Left),
        ("PUTS", Align::Right),
        ("GETS", Align::Right),
        ("HEADS", Align::Right),
        ("LISTS", Align::Right),
        ("DELETES", Align::Right),
        ("FAILED", Align::Right),
        ("SENT AGAIN", Align::Right),
        ("WRITTEN", Align::Right),
        ("READ", Align::Right),
    ]);
    for site in &vault.sites {
        let Some(asked) = &site.by_kind else {
            continue;
        };
        table.row([
            site.site.clone(),
            output::count(asked.puts),
            output::count(asked.gets),
            output::count(asked.heads),
            output::count(asked.lists),
            output::count(asked.deletes),
            output::count(asked.failures),
            output::count(asked.retries),
            output::bytes(site.bytes_written),
            output::bytes(site.bytes_read),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    output::line("requests since the coordinator opened each site:")?;
    for line in table.to_string().lines() {
        output::line(format_args!("  {line}"))?;
    }
    Ok(())
}

fn show(call: &Call, vault: &VaultInfo) -> Outcome {
    match call.json() {
        true => output::json(&views::sites(vault))?,
        false => describe(vault)?,
    }
    Ok(Exit::Done)
}
