//! What a command costs: its time, the processor time and the most memory of its whole process tree.
//!
//! This program starts itself anew as a small process between itself and the command. The kernel counts a parent's memory
//! into what it tells of a child, so the parent has to be small; and that process is the one that orphans of the command come
//! back to, so that they are waited for and counted.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The first word of the small process.
pub(crate) const HELPER: &str = "measured";

/// How much of a failed command's log is told.
const TAIL_LINES: usize = 15;

/// What a command cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) wall_seconds: f64,
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Resident, of its largest process.
    pub(crate) peak_bytes: u64,
}

impl Cost {
    /// One command after the other.
    pub(crate) fn then(self, next: Self) -> Self {
        Self {
            wall_seconds: self.wall_seconds + next.wall_seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            peak_bytes: self.peak_bytes.max(next.peak_bytes),
        }
    }
}

/// Runs a command to its end. What it says is added to `log`.
///
/// # Errors
/// If it fails; with the end of its log.
pub(crate) fn measure(command: &Command, log: &Path) -> Result<Cost, String> {
    let report = log.with_extension("cost");
    let says = File::options().append(true).create(true).open(log).unwrap();
    let mut helper = Command::new(std::env::current_exe().unwrap());
    helper.arg(HELPER).arg(&report);
    helper.arg(command.get_program()).args(command.get_args());
    helper.env_clear().envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    if let Some(folder) = command.get_current_dir() {
        helper.current_dir(folder);
    }
    helper.stdout(says.try_clone().unwrap()).stderr(says);
    let status = helper.status().unwrap();
    if !status.success() {
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.display().to_string())
            .collect();
        return Err(format!(
            "`{}` ended with {status}:\n{}",
            words.join(" "),
            tail(log)
        ));
    }
    Ok(serde_json::from_slice(&fs::read(report).unwrap()).unwrap())
}

/// The small process: `words` are where to report, and the command.
pub(crate) fn run_helper(words: &[String]) -> ExitCode {
    let [report, program, arguments @ ..] = words else {
        return ExitCode::from(2);
    };
    set_child_subreaper(Some(getpid())).unwrap();
    let began = Instant::now();
    let mut child = match Command::new(program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cannot start {program}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = child.wait().unwrap();
    let wall_seconds = began.elapsed().as_secs_f64();
    // What it left running belongs to its cost; none of these programs leaves a service.
    while wait(WaitOptions::empty()).is_ok() {}
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    let cost = Cost {
        wall_seconds,
        cpu_seconds: micros as f64 / 1e6,
        // Linux tells KiB.
        peak_bytes: u64::try_from(used.max_rss()).unwrap_or(0) << 10,
    };
    fs::write(report, serde_json::to_vec(&cost).unwrap()).unwrap();
    match status.code() {
        Some(0) => ExitCode::SUCCESS,
        code => ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)),
    }
}

fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
