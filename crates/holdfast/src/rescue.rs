//! `holdfast rescue`: lists and restores from one site's URL and the identity, with no coordinator.
//!
//! The vault's log is folded from the site itself; from there on all is the same as with a coordinator.

use std::sync::Arc;

use clap::{Args, Subcommand};
use holdfast_agent::ChunkSource;
use holdfast_agent::client::SnapshotInfo;
use holdfast_agent::direct::DirectVault;
use holdfast_format::{Identity, ScopeKeys, SiteName};
use holdfast_store::{SiteOptions, SiteUrl};
use holdfast_vault::log::reader::list_vaults;

use crate::args::{IdentityArgs, SnapshotName, choose};
use crate::call::Call;
use crate::commands::snapshots;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::restoring::{self, RestoringArgs, Wanted};

/// What to do with a site.
#[derive(Debug, Subcommand)]
pub(crate) enum RescueCommand {
    /// List the snapshots that lie at a site
    Ls(LsArgs),
    /// Restore one from it
    Restore(Box<RestoreArgs>),
}

/// Which site, opened by whom.
#[derive(Debug, Args)]
pub(crate) struct SiteArgs {
    /// The site's URL: file:/PATH, s3://BUCKET/PREFIX?endpoint=…&region=…&profile=…, az:// or gs://
    #[arg(long, value_name = "URL", env = "HOLDFAST_RESCUE_SITE", value_parser = site_url)]
    pub(crate) site: String,
    /// Which vault, by name or id, where several lie there; the identity's own by default
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: Option<String>,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// Options of `rescue ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Only snapshots of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// Options of `rescue restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Only snapshots of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    restoring: RestoringArgs,
    /// latest, or the beginning of a snapshot's id
    #[arg(default_value = "latest")]
    snapshot: SnapshotName,
}

/// A vault as it lies at a site, with its snapshots.
struct Rescued {
    vault: Arc<DirectVault>,
    snapshots: Vec<SnapshotInfo>,
}

impl Rescued {
    /// The keys of a snapshot's scope, and where its chunks come from.
    fn source(&self, snapshot: &SnapshotInfo) -> (ScopeKeys, Arc<dyn ChunkSource>) {
        (
            self.vault.scope_keys(&snapshot.scope),
            self.vault.source(&snapshot.scope),
        )
    }
}

/// One that can never be a site is a usage error.
fn site_url(text: &str) -> Result<String, String> {
    match text.parse::<SiteUrl>() {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The site given with --site does not let itself be read.
fn unread(error: impl std::fmt::Display) -> Failure {
    let mut failure = Failure::new(error);
    // What to do about a coordinator's site is no advice here.
    failure.advice = failure.advice.filter(|advice| !advice.contains("failback"));
    failure.or_advise("check the URL, and that the site can be reached from here")
}

/// Opens a vault at a site: the named one, the identity's own, or the only one there.
async fn open(call: &Call, args: &SiteArgs, identity: Identity) -> Outcome<Rescued> {
    let name: SiteName = "given".parse()?;
    let site =
        holdfast_store::open_for_reading(&call.context, name, &args.site, &SiteOptions::default())
            .await
            .map_err(unread)?;
    let found = list_vaults(site.as_ref()).await.map_err(unread)?;
    let mut vaults = Vec::new();
    for (id, header) in found {
        match header {
            Ok(header) => vaults.push((id, header.name.to_string())),
            Err(error) => call.remark(format_args!(
                "the vault in folder {id} is left aside: {error}"
            )),
        }
    }
    let there: Vec<String> = vaults
        .iter()
        .map(|(id, name)| format!("{name} ({id})"))
        .collect();
    match &args.vault {
        Some(named) => vaults.retain(|(id, name)| name == named || id.to_string() == *named),
        None if identity.vault.is_some() => vaults.retain(|(id, _)| Some(*id) == identity.vault),
        None => {}
    }
    let id = match vaults.as_slice() {
        [(id, _)] => *id,
        [] if there.is_empty() => {
            return Err(Failure::with_advice(
                "no vault lies at the site",
                "check the URL, its prefix too",
            ));
        }
        [] => {
            return Err(Failure::with_advice(
                format!(
                    "the vault that is asked for does not lie at the site; there are: {}",
                    there.join(", ")
                ),
                "name one with --vault, or give the identity that belongs to it",
            ));
        }
        _ => {
            return Err(Failure::with_advice(
                format!("several vaults lie at the site: {}", there.join(", ")),
                "name one with --vault",
            ));
        }
    };
    let vault = DirectVault::open(call.context.clone(), site, id, identity).await?;
    if let Some(why) = vault.damage() {
        call.remark(format_args!(
            "the vault's log is damaged here: {why}. What was committed before that is shown; another site may have it all"
        ));
    }
    let mut snapshots: Vec<SnapshotInfo> = vault
        .state()
        .catalog
        .snapshots
        .iter()
        .map(|(id, snapshot)| SnapshotInfo::direct(vault.state(), *id, snapshot))
        .collect();
    snapshots.sort_by_key(|info| info.time_millis);
    Ok(Rescued { vault, snapshots })
}

/// Lists or restores.
pub(crate) async fn run(call: &Call, command: RescueCommand) -> Outcome<Exit> {
    match command {
        RescueCommand::Ls(args) => {
            let identity = args.site.identity.read()?;
            let vault = call
                .unless_interrupted(open(call, &args.site, identity))
                .await?;
            let mut all = vault.snapshots.clone();
            all.retain(|info| args.source.as_ref().is_none_or(|name| info.source == *name));
            snapshots::show(call, &all)?;
            Ok(match vault.vault.damage() {
                None => Exit::Done,
                Some(_) => Exit::Partial,
            })
        }
        RescueCommand::Restore(args) => {
            let identity = args.site.identity.read()?;
            let vault = call
                .unless_interrupted(open(call, &args.site, identity))
                .await?;
            let info = choose(&vault.snapshots, &args.snapshot, args.source.as_deref())?;
            let (keys, source) = vault.source(info);
            let wanted = Wanted {
                id: info.id.to_string(),
                root: info.root,
                bytes: info.bytes,
                keys,
            };
            let ended = restoring::run(call, source, wanted, &args.restoring).await?;
            // The latest that is seen here need not be the latest that there is.
            let may_be_older = matches!(args.snapshot, SnapshotName::Latest);
            Ok(match ended {
                Exit::Done if may_be_older && vault.vault.damage().is_some() => Exit::Partial,
                ended => ended,
            })
        }
    }
}
