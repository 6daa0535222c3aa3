//! `holdfast failover --all`: every vault that has a site gets it as its primary.
//!
//! First each vault's plan, then what can be done without a loss, or everything with `--accept-loss`. Each vault is moved by its own
//! owner and to its end; whatever ends this command, the same command goes on with what is left. A vault that is there
//! already is passed over.

use futures::StreamExt as _;
use holdfast_agent::client::{Admin, FailoverPlan, FailoverReport, VaultInfo};
use serde::Serialize;

use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table};

/// How many vaults are asked about, or moved, at once.
const AT_ONCE: usize = 8;

/// How it stands with one vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// The site is its primary, and was before.
    There,
    /// It could be moved, and nothing would be left behind.
    Ready,
    /// It could be moved, and something would or might be left behind.
    Loses,
    /// It was moved.
    Moved,
    /// It cannot be.
    Failed,
}

#[derive(Debug, Serialize)]
struct Line {
    vault: String,
    id: String,
    state: State,
    from: String,
    to: String,
    left_behind: String,
    error: String,
}

/// See the module header.
pub(super) async fn run(
    call: &Call,
    admin: &Admin,
    to: &str,
    accept_loss: bool,
    dry_run: bool,
) -> Outcome {
    let vaults = admin.vaults().await?;
    let who = call.who();
    let plans = each(&vaults, |vault| look(admin, vault, to, &who)).await;
    if !call.json() {
        show_plan(&plans)?;
    }
    let mut lines = plans;
    if !dry_run {
        let goes =
            |line: &Line| line.state == State::Ready || accept_loss && line.state == State::Loses;
        let (moving, rest): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(goes);
        lines = rest;
        let mut done = futures::stream::iter(moving)
            .map(|line| carry_out(admin, line, accept_loss, &who))
            .buffer_unordered(AT_ONCE);
        while let Some(line) = done.next().await {
            if !call.json() {
                tell(&line)?;
            }
            lines.push(line);
        }
        drop(done);
        lines.sort_by(|one, other| one.vault.cmp(&other.vault));
    }
    if call.json() {
        output::json(&lines)?;
    }
    close(&lines, to, dry_run)
}

async fn each<'v, F>(vaults: &'v [VaultInfo], ask: impl Fn(&'v VaultInfo) -> F) -> Vec<Line>
where
    F: Future<Output = Option<Line>>,
{
    let asked = futures::stream::iter(vaults).map(ask).buffered(AT_ONCE);
    let mut lines: Vec<Line> = asked.filter_map(std::future::ready).collect().await;
    lines.sort_by(|one, other| one.vault.cmp(&other.vault));
    lines
}

/// What a failover would do with one vault; none if the vault has no such site.
async fn look(admin: &Admin, vault: &VaultInfo, to: &str, who: &str) -> Option<Line> {
    // Whoever was asked may know of it from hearsay only.
    let id = vault.id.to_string();
    let now = admin.vault(&id).await;
    let shown = now.as_ref().unwrap_or(vault);
    let line = |state, from: &str, left_behind: &str, error: String| Line {
        vault: vault.name.clone(),
        id: vault.id.to_string(),
        state,
        from: from.into(),
        to: to.into(),
        left_behind: left_behind.into(),
        error,
    };
    // One that nobody has open shows no sites itself.
    let sites = match shown.sites.is_empty() {
        true => &vault.sites,
        false => &shown.sites,
    };
    if !sites.is_empty() && sites.iter().all(|site| site.site != to) {
        return None;
    }
    if shown.primary == to && shown.state == "open" {
        return Some(line(State::There, to, "nothing", String::new()));
    }
    let plan = FailoverPlan {
        vault: id,
        to: to.into(),
        accept_loss: false,
        plan_only: true,
    };
    Some(match admin.failover(plan, who).await {
        Ok(report) => line(
            match report.loss_known_none && report.target_lacks.is_empty() {
                true => State::Ready,
                false => State::Loses,
            },
            &report.from,
            &match report.target_lacks.is_empty() {
                true => report.left_behind,
                false => format!("{}; at {to} {}", report.left_behind, report.target_lacks),
            },
            String::new(),
        ),
        Err(_) if is_there(admin, &vault.id.to_string(), to).await => {
            line(State::There, to, "nothing", String::new())
        }
        Err(error) => line(State::Failed, &shown.primary, "", error.to_string()),
    })
}

/// Whether a site is a vault's primary by now.
async fn is_there(admin: &Admin, vault: &str, to: &str) -> bool {
    let now = admin.vault(vault).await;
    now.is_ok_and(|now| now.primary == to && now.state == "open")
}

async fn carry_out(admin: &Admin, line: Line, accept_loss: bool, who: &str) -> Line {
    let plan = FailoverPlan {
        // Two may bear one name.
        vault: line.id.clone(),
        to: line.to.clone(),
        accept_loss,
        plan_only: false,
    };
    match admin.failover(plan, who).await {
        Ok(FailoverReport { left_behind, .. }) => Line {
            state: State::Moved,
            left_behind,
            ..line
        },
        // An earlier run of this had asked for it, and its owner has just come to the end of it.
        Err(_) if is_there(admin, &line.id, &line.to).await => Line {
            state: State::There,
            ..line
        },
        Err(error) => Line {
            state: State::Failed,
            error: error.to_string(),
            ..line
        },
    }
}

fn show_plan(lines: &[Line]) -> Outcome<()> {
    let mut table = Table::new(&[
        ("VAULT", Align::Left),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("LEFT BEHIND", Align::Left),
    ]);
    for line in lines {
        let left = match line.state {
            State::There => "(it is there already)".into(),
            State::Failed => format!("(cannot be said: {})", output::name(&line.error)),
            _ => output::name(&line.left_behind),
        };
        table.row([
            output::name(&line.vault),
            line.from.clone(),
            line.to.clone(),
            left,
        ]);
    }
    match table.is_empty() {
        true => Ok(()),
        false => output::line(table),
    }
}

fn tell(line: &Line) -> Outcome<()> {
    let vault = output::name(&line.vault);
    match line.state {
        State::Failed => output::line(format_args!(
            "vault {vault}: FAILED: {}",
            output::name(&line.error)
        )),
        State::There => output::line(format_args!(
            "vault {vault}: {} is the primary already",
            line.to
        )),
        _ => output::line(format_args!(
            "vault {vault}: {} is the primary now, {} was; left behind: {}",
            line.to, line.from, line.left_behind
        )),
    }
}

fn close(lines: &[Line], to: &str, dry_run: bool) -> Outcome {
    let count = |state: State| lines.iter().filter(|line| line.state == state).count();
    if lines.is_empty() {
        return Err(Failure::with_advice(
            format!("no vault has a site {to}"),
            "`holdfast vault list` shows which sites each vault has",
        ));
    }
    let (failed, loses) = (count(State::Failed), count(State::Loses));
    if failed == 0 && (dry_run || loses == 0) {
        return Ok(Exit::Done);
    }
    let there = count(State::There) + count(State::Moved);
    let what = match dry_run {
        true => format!(
            "of {failed} of {} vaults it cannot be said what a failover would do",
            lines.len()
        ),
        false => format!(
            "{there} of {} vaults have {to} as their primary; {failed} failed, and {loses} would leave something behind",
            lines.len()
        ),
    };
    Err(Failure::with_advice(
        what,
        "see what is said of each, then run the same again: what is done is not done twice. What would be left behind is gone \
         on without by --accept-loss, and brought back by `holdfast failback`",
    ))
}
