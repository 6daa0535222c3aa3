//! `holdfast verify`: whether what is stored is there and right.
//!
//! The coordinator checks every object at every site; it needs no key for that. With an identity this machine opens what the
//! coordinator read, down to each chunk's id, and then goes through the snapshots as a restore would: of data it asks only for what
//! did not come along.

use std::collections::HashMap;
use std::sync::Arc;

use clap::Args;
use holdfast_agent::client::{Admin, Finding, FrameProof, SnapshotInfo, VerifyOptions, VerifyStep};
use holdfast_agent::restore::{ChunksRead, RestoreProgress, VerifyDepth, VerifyResult, verify};
use holdfast_format::Scope;
use serde::Serialize;

use crate::args::{IdentityArgs, InVault, OfSource, Sampling, SnapshotName};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Progress, Reading};
use crate::reading::Reader;
use crate::restoring;

/// Damaged paths of one snapshot that are shown as text.
const SHOWN_MAX: usize = 20;

/// Options of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Check this site only
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Read the data too, or a share of it; else only look that it is there
    #[arg(long, value_name = "N%", num_args = 0..=1, require_equals = true, default_missing_value = "100%")]
    read_data: Option<Sampling>,
    /// Mend what is bad from a good copy
    #[arg(long)]
    repair: bool,
    /// Which snapshots to read, with an identity; all by default
    snapshots: Vec<SnapshotName>,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    complete: bool,
    objects: u64,
    bytes: u64,
    /// Chunks in them that were opened with the identity.
    chunks_opened: u64,
    findings: Vec<FindingView>,
    findings_count: u64,
    /// Sites that did not answer, each with the reason: nothing is known of what lies there.
    unchecked: Vec<UncheckedView>,
    repaired: u64,
    snapshots: Vec<SnapshotReport>,
}

#[derive(Debug, Serialize)]
struct FindingView {
    site: String,
    object: String,
    what: String,
    repaired: bool,
    snapshots: Vec<String>,
}

#[derive(Debug, Serialize)]
struct UncheckedView {
    site: String,
    why: String,
}

#[derive(Debug, Serialize)]
struct SnapshotReport {
    snapshot: String,
    source: String,
    #[serde(flatten)]
    result: VerifyResult,
}

/// Verifies.
pub(crate) async fn run(call: &Call, args: VerifyArgs) -> Outcome {
    let identity = match args.identity.identity {
        Some(_) => Some(args.identity.read()?),
        None if args.snapshots.is_empty() => None,
        None => {
            return Err(Failure::usage(
                "single snapshots can be verified only with the identity",
                "give --identity FILE, or leave out the snapshots",
            ));
        }
    };
    let mut report = Report::default();
    let admin = call.unless_interrupted(call.admin()).await?;
    let checking = async {
        let mut proof = match &identity {
            Some(identity) if opens_all(&args) => {
                let connection = call.connect().await?;
                let vault = &args.vault.vault;
                Some(FrameProof::open(&call.context, &connection, identity, vault).await?)
            }
            _ => None,
        };
        objects(call, &args, &admin, &mut report, proof.as_mut()).await?;
        match proof {
            Some(proof) => Ok(proof.finish().await?),
            None => Ok(HashMap::new()),
        }
    };
    // Ids of one scope say nothing of those of another.
    let mut read: HashMap<Scope, ChunksRead> = call.unless_interrupted(checking).await?;
    report.chunks_opened = read.values().map(|read| read.len() as u64).sum();
    if let Some(identity) = identity {
        let open = Reader::open(call, identity, &args.vault.vault, args.site.clone());
        let reader = call.unless_interrupted(open).await?;
        let depth = depth(call, &args);
        for info in chosen(&reader, &args)? {
            let read = read.entry(info.scope.clone()).or_default();
            let one = snapshot(call, depth, &reader, &info, read).await?;
            report.snapshots.push(one);
        }
    }
    let whole = |one: &SnapshotReport| one.result.complete();
    report.complete = report.findings_count == report.repaired
        && report.unchecked.is_empty()
        && report.snapshots.iter().all(whole);
    show(call, &args, &report)
}

/// Whether everything that the coordinator reads is needed to verify the snapshots: it is opened then as it comes by, and
/// nothing is read twice.
fn opens_all(args: &VerifyArgs) -> bool {
    let reads_all = args.read_data.is_some_and(|data| data.sample().is_none());
    reads_all && args.snapshots.is_empty() && args.source.name().is_none()
}

fn chosen(reader: &Reader<'_>, args: &VerifyArgs) -> Outcome<Vec<SnapshotInfo>> {
    if args.snapshots.is_empty() {
        let wanted = |info: &&SnapshotInfo| {
            args.source
                .name()
                .is_none_or(|source| info.source == source)
        };
        return Ok(reader.live().iter().filter(wanted).cloned().collect());
    }
    let choose = |name| reader.choose(name, args.source.name());
    args.snapshots.iter().map(choose).collect()
}

/// What the coordinator can check.
async fn objects(
    call: &Call,
    args: &VerifyArgs,
    admin: &Admin,
    report: &mut Report,
    mut proof: Option<&mut FrameProof>,
) -> Outcome<()> {
    let options = VerifyOptions {
        site: args.site.clone(),
        read_data: args.read_data.is_some(),
        sample_percent: args.read_data.and_then(Sampling::sample),
        repair: args.repair,
        send_data: proof.is_some(),
    };
    let mut steps = admin.verify(&args.vault.vault, &options).await?;
    let counted = Arc::new(std::sync::Mutex::new((0, 0, 0)));
    let drawn = Arc::clone(&counted);
    let _shown = Progress::show(&call.context, call.quiet(), move || {
        let (objects, total, bytes) = *drawn
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let of = (output::count(objects), output::count(total));
        Reading {
            done: bytes,
            total: None,
            note: format!("{} of {} objects", of.0, of.1),
        }
    });
    while let Some(step) = steps.next().await? {
        match step {
            VerifyStep::Frame(frame) => {
                if let Some(proof) = &mut proof {
                    proof.take(frame).await?;
                }
            }
            VerifyStep::Count {
                objects,
                objects_total,
                bytes,
            } => {
                *counted
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) =
                    (objects, objects_total, bytes);
            }
            VerifyStep::Finding(finding) if finding.unchecked => {
                let (site, why) = (&finding.site, output::name(&finding.what));
                call.remark(format_args!("{site} was not checked: {why}"));
                report.unchecked.push(UncheckedView {
                    site: finding.site,
                    why: finding.what,
                });
            }
            VerifyStep::Finding(finding) => {
                call.remark(format_args!("{}", sentence(&finding)));
                report.findings_count += 1;
                report.repaired += u64::from(finding.repaired);
                report.findings.push(view(finding));
            }
            VerifyStep::Done {
                objects,
                bytes,
                findings,
                repaired,
            } => {
                (report.objects, report.bytes) = (objects, bytes);
                (report.findings_count, report.repaired) = (findings, repaired);
            }
        }
    }
    Ok(())
}

fn sentence(finding: &Finding) -> String {
    let object = output::name(&finding.object);
    let mended = if finding.repaired { " (mended)" } else { "" };
    let hurt = match finding.snapshots.len() {
        0 => String::new(),
        1 => "; 1 snapshot needs it".into(),
        n => format!("; {n} snapshots need it"),
    };
    format!(
        "{} at {}: {}{mended}{hurt}",
        object,
        finding.site,
        output::name(&finding.what)
    )
}

fn view(finding: Finding) -> FindingView {
    FindingView {
        site: finding.site,
        object: finding.object,
        what: finding.what,
        repaired: finding.repaired,
        snapshots: finding.snapshots.iter().map(ToString::to_string).collect(),
    }
}

/// How much is read. A sample takes the same chunks of every snapshot.
fn depth(call: &Call, args: &VerifyArgs) -> VerifyDepth {
    match args.read_data {
        None => VerifyDepth::Nodes,
        Some(sampling) => VerifyDepth::Data {
            share: sampling.share(),
            seed: u64::from_le_bytes(call.context.random()),
        },
    }
}

/// Reads one snapshot as a restore would.
async fn snapshot(
    call: &Call,
    depth: VerifyDepth,
    reader: &Reader<'_>,
    info: &SnapshotInfo,
    read: &mut ChunksRead,
) -> Outcome<SnapshotReport> {
    let source = call.unless_interrupted(reader.source(info)).await?;
    let progress = Arc::new(RestoreProgress::default());
    let shown = restoring::show(call, &progress);
    let result = verify(
        &call.context,
        Arc::clone(&source) as _,
        info.root,
        depth,
        read,
        call.cancel.clone(),
        progress,
    )
    .await;
    drop(shown);
    source.close().await;
    Ok(SnapshotReport {
        snapshot: info.id.to_string(),
        source: info.source.clone(),
        result: result?,
    })
}

fn show(call: &Call, args: &VerifyArgs, report: &Report) -> Outcome {
    if call.json() {
        output::json(report)?;
    } else {
        text(call, args, report)?;
    }
    Ok(match report.complete {
        true => Exit::Done,
        false => Exit::Partial,
    })
}

fn text(call: &Call, args: &VerifyArgs, report: &Report) -> Outcome<()> {
    let how = if args.read_data.is_some() {
        "read and checked"
    } else {
        "looked at"
    };
    output::line(format_args!(
        "{} {how}, {}",
        output::counted(report.objects, "object"),
        output::bytes(report.bytes)
    ))?;
    if report.chunks_opened > 0 {
        output::line(format_args!(
            "{} in them opened",
            output::counted(report.chunks_opened, "chunk")
        ))?;
    }
    for one in &report.snapshots {
        let result = &one.result;
        // Where every chunk was opened as it came by, a snapshot has none of its own to read.
        let chunks = match report.chunks_opened {
            0 => format!(" and {}", output::counted(result.chunks, "chunk")),
            _ => String::new(),
        };
        output::line(format_args!(
            "snapshot {} of {}: {}{chunks} read, {}",
            &one.snapshot[..8],
            output::name(&one.source),
            output::counted(result.nodes, "node"),
            output::counted(result.damaged_count, "damaged path"),
        ))?;
        for damaged in result.damaged.iter().take(SHOWN_MAX) {
            call.remark(format_args!("{}: {}", damaged.path, damaged.flaw.what));
        }
    }
    let hurt = report.snapshots.iter().any(|one| !one.result.complete());
    match report.findings_count {
        0 if hurt => output::line("DAMAGE: see the snapshots above")?,
        0 if report.unchecked.is_empty() => output::line("all is right")?,
        0 if report.objects == 0 => {}
        0 => output::line("what was checked is right")?,
        n if n == report.repaired && !hurt => {
            output::line(format_args!(
                "{}, all mended",
                output::counted(n, "finding")
            ))?;
        }
        n => {
            let next = match args.repair {
                true => "; why the rest was not stands in the coordinator's log",
                false => "; --repair mends what another site has",
            };
            output::line(format_args!(
                "DAMAGE: {}, {} of them mended{next}",
                output::counted(n, "finding"),
                output::count(report.repaired)
            ))?;
        }
    }
    if !report.unchecked.is_empty() {
        let sites: Vec<&str> = report
            .unchecked
            .iter()
            .map(|one| one.site.as_str())
            .collect();
        output::line(format_args!(
            "NOT CHECKED: {}; run it again once that answers",
            sites.join(", ")
        ))?;
    }
    Ok(())
}
