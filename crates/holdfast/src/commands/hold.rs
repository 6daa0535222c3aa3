//! `holdfast hold`: what is not given up, whatever the policy says.

use clap::{Args, Subcommand};
use holdfast_agent::client::{Admin, HoldCover, HoldInfo};
use holdfast_format::HoldId;

use crate::args::{InVault, SnapshotName, choose};
use crate::call::{self, Call};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table};
use crate::views::HoldView;

/// The fewest digits that name a hold.
const DIGITS_MIN: usize = 4;

/// What to do with holds.
#[derive(Debug, Subcommand)]
pub(crate) enum HoldCommand {
    /// Place a hold on a snapshot, a source, or the whole vault
    Place(PlaceArgs),
    /// End a hold
    Release(ReleaseArgs),
    /// List holds
    List(ListArgs),
}

/// Options of `hold place`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("cover").required(true))]
pub(crate) struct PlaceArgs {
    #[command(flatten)]
    vault: InVault,
    /// Hold all snapshots of this source, those to come too
    #[arg(long, value_name = "NAME", group = "cover")]
    source: Option<String>,
    /// Hold everything in the vault
    #[arg(long, group = "cover")]
    whole_vault: bool,
    /// Hold this snapshot: latest, or the beginning of its id
    #[arg(group = "cover")]
    snapshot: Option<SnapshotName>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

/// Options of `hold release`.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    vault: InVault,
    /// The hold's id, or its beginning
    hold: String,
}

/// Options of `hold list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    vault: InVault,
    /// Those of running restores and mounts too
    #[arg(long)]
    all: bool,
}

/// Places, releases or lists.
pub(crate) async fn run(call: &Call, command: HoldCommand) -> Outcome {
    let admin = call.admin().await?;
    match command {
        HoldCommand::Place(args) => {
            let cover = cover(&admin, &args).await?;
            let vault = &args.vault.vault;
            let hold = admin
                .place_hold(vault, cover, &args.why, &call.who())
                .await?;
            one(call, "placed", &hold)?;
        }
        HoldCommand::Release(args) => {
            let vault = &args.vault.vault;
            let id = find(&admin.holds(vault).await?, &args.hold)?;
            let hold = admin.release_hold(vault, id, &call.who()).await?;
            one(call, "released", &hold)?;
        }
        HoldCommand::List(args) => {
            let mut all = admin.holds(&args.vault.vault).await?;
            let found = all.len();
            all.retain(|hold| args.all || !hold.by_restore);
            if all.len() < found {
                let hidden = output::counted((found - all.len()) as u64, "hold");
                call.remark(format_args!(
                    "{hidden} of restores and mounts not shown, which end with them or within the hour: `holdfast hold list --all`"
                ));
            }
            list(call, &all)?;
        }
    }
    Ok(Exit::Done)
}

async fn cover(admin: &Admin, args: &PlaceArgs) -> Outcome<HoldCover> {
    if let Some(source) = &args.source {
        return Ok(HoldCover::Source(source.clone()));
    }
    let Some(name) = &args.snapshot else {
        return Ok(HoldCover::Vault);
    };
    let with_trash = !matches!(name, SnapshotName::Latest);
    let all = call::snapshots(admin, &args.vault.vault, None, with_trash).await?;
    Ok(HoldCover::Snapshot(choose(&all, name, None)?.id))
}

fn find(all: &[HoldInfo], digits: &str) -> Outcome<HoldId> {
    let digits = digits.to_ascii_lowercase();
    let begins = |hold: &&HoldInfo| hold.id.to_string().starts_with(&digits);
    let fitting: Vec<&HoldInfo> = all.iter().filter(begins).collect();
    match fitting[..] {
        [one] if digits.len() >= DIGITS_MIN => Ok(one.id),
        [] => Err(Failure::with_advice(
            format!("no hold's id begins with {digits:?}"),
            "see `holdfast hold list`",
        )),
        _ => Err(Failure::with_advice(
            format!("{digits:?} does not name one hold"),
            format!("give at least {DIGITS_MIN} digits that only one hold's id begins with"),
        )),
    }
}

fn one(call: &Call, done: &str, hold: &HoldInfo) -> Outcome<()> {
    if call.json() {
        return output::json(&HoldView::from(hold));
    }
    let covers = output::name(&hold.covers);
    output::line(format_args!("{done} hold {} on {covers}", hold.id))
}

fn list(call: &Call, all: &[HoldInfo]) -> Outcome<()> {
    if call.json() {
        let views: Vec<HoldView> = all.iter().map(HoldView::from).collect();
        return output::json(&views);
    }
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("PLACED", Align::Left),
        ("BY", Align::Left),
        ("COVERS", Align::Left),
        ("WHY", Align::Left),
    ]);
    for hold in all {
        table.row([
            hold.id.to_string()[..8].to_owned(),
            output::time(hold.placed_millis),
            output::name(&hold.who),
            output::name(&hold.covers),
            output::name(&hold.why),
        ]);
    }
    if table.is_empty() {
        call.remark("there is no hold");
        return Ok(());
    }
    output::line(table)
}
