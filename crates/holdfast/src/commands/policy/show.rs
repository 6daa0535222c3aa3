//! `holdfast policy show`.

use clap::Args;
use holdfast_policy::Policy;
use serde::Serialize;

use crate::args::{InVault, OfSource};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output;

/// Options of `policy show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
}

#[derive(Serialize)]
struct View {
    policy: String,
    not_enforced: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SourceView>,
}

#[derive(Serialize)]
struct SourceView {
    source: String,
    time_zone: String,
    keep: Vec<String>,
    min_age: String,
    max_age: Option<String>,
    trash: String,
    residue: String,
    expire_share_max: f64,
}

/// Shows it.
pub(crate) async fn run(call: &Call, args: ShowArgs) -> Outcome {
    let info = call.admin().await?.vault(&args.vault.vault).await?;
    let policy = parse(&info.policy)?;
    let view = View {
        not_enforced: policy.reserved(),
        source: args.source.name().map(|source| effective(&policy, source)),
        policy: info.policy,
    };
    if call.json() {
        output::json(&view)?;
        return Ok(Exit::Done);
    }
    match &view.source {
        Some(source) => text(source)?,
        None if view.policy.is_empty() => call.remark("there is no policy: nothing ever expires"),
        None => output::line(view.policy.trim_end())?,
    }
    for key in &view.not_enforced {
        call.remark(format_args!("{key} is noted and not enforced yet"));
    }
    Ok(Exit::Done)
}

/// A policy as a vault has it; none is the empty one.
pub(super) fn parse(text: &str) -> Outcome<Policy> {
    match text.is_empty() {
        true => Ok(Policy::default()),
        false => Ok(Policy::parse(text)?),
    }
}

fn effective(policy: &Policy, source: &str) -> SourceView {
    let retention = policy.effective(source);
    let rules = retention.keep.rules();
    SourceView {
        source: source.into(),
        time_zone: retention.calendar.name().into(),
        keep: rules
            .iter()
            .map(|(rule, depth)| format!("{rule} {depth}"))
            .collect(),
        min_age: retention.min_age.to_string(),
        max_age: retention.max_age.map(|age| age.to_string()),
        trash: retention.trash.to_string(),
        residue: retention.residue.to_string(),
        expire_share_max: retention.expire_share_max,
    }
}

fn text(source: &SourceView) -> Outcome<()> {
    let keep = match source.keep.is_empty() {
        true => "everything".to_owned(),
        false => source.keep.join(", "),
    };
    output::line(format_args!("source {}", output::name(&source.source)))?;
    output::line(format_args!("  keeps      {keep}  ({})", source.time_zone))?;
    output::line(format_args!(
        "  never      expires before {}, always after {}",
        source.min_age,
        source.max_age.as_deref().unwrap_or("never")
    ))?;
    output::line(format_args!("  trash      {}", source.trash))?;
    output::line(format_args!("  residue    {}", source.residue))?;
    output::line(format_args!(
        "  asks       before it expires more than {:.0} % at once",
        source.expire_share_max * 100.0
    ))
}
