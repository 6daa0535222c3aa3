//! Runs other programs for a task, each in a process group of its own, so that Ctrl-C ends the
//! program with all its children, and a signal sent to xtask alone does so too.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt::Interrupt;
use crate::leftovers;
use crate::stopwatch::Stopwatch;

/// How often a wait looks up.
const POLL: Duration = Duration::from_millis(20);
/// How long an interrupted program may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// How much of a failed program's log is told.
const TAIL_LINES: usize = 40;

#[derive(Debug)]
pub(crate) struct Runner {
    interrupt: Interrupt,
    /// Whether orphans become this process's children and are ended with the program they came from.
    /// Only where nothing else of this process starts programs at the same time.
    reaps: bool,
}

impl Runner {
    pub(crate) fn new(interrupt: Interrupt) -> Self {
        Self {
            interrupt,
            reaps: false,
        }
    }

    /// Also ends what a program leaves running outside its own process group.
    pub(crate) fn reaping_orphans(self) -> anyhow::Result<Self> {
        leftovers::adopt_orphans()?;
        Ok(Self {
            reaps: true,
            ..self
        })
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Runs a program whose output the user sees; its failure is an error.
    pub(crate) fn run(&self, command: &mut Command) -> anyhow::Result<()> {
        let mut child = spawn(command)?;
        let status = self.wait(&mut child)?;
        expect_success(command, status)
    }

    /// Runs a program whose output goes to a log; a failure tells the log's tail.
    pub(crate) fn run_logged(&self, command: &mut Command, log: &Path) -> anyhow::Result<()> {
        command.stdout(open_log(log)?).stderr(open_log(log)?);
        let mut child = spawn(command)?;
        let status = self.wait(&mut child)?;
        expect_success(command, status).with_context(|| tail(log))
    }

    /// Runs a program and returns what it printed; its complaints are shown as they come.
    pub(crate) fn read(&self, command: &mut Command) -> anyhow::Result<String> {
        let mut printed = String::new();
        let status = self.each_line(command, |line| {
            printed.push_str(line);
            printed.push('\n');
        })?;
        expect_success(command, status)?;
        Ok(printed)
    }

    /// Runs a program and hands over each line that it prints. How it ended is the caller's to judge.
    /// What it left running is ended before this returns.
    pub(crate) fn each_line(
        &self,
        command: &mut Command,
        mut line_printed: impl FnMut(&str) + Send,
    ) -> anyhow::Result<ExitStatus> {
        command.stdout(Stdio::piped());
        let known = leftovers::children();
        let mut child = spawn(command)?;
        let output = child
            .stdout
            .take()
            .context("the program's output was not piped")?;
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    line_printed(&String::from_utf8_lossy(&line));
                }
            });
            let waited = self.wait(&mut child);
            // ORDER: end the program's children before joining the reader: one that outlived the
            // program holds the pipe open, and the join would wait for it for ever.
            kill_group(&child, Signal::KILL);
            if self.reaps {
                for name in leftovers::end_children_except(&known) {
                    eprintln!(
                        "{} left this running, it is ended now: {name}",
                        describe(command)
                    );
                }
            }
            if reader.join().is_err() {
                bail!("reading the output of {} failed", describe(command));
            }
            waited
        })
    }

    /// Waits for a program; after an interrupt it is asked to end, then made to.
    fn wait(&self, child: &mut Child) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait().context("cannot wait for a program")? {
                return Ok(status);
            }
            if let Err(interrupted) = self.interrupt.check() {
                end(child);
                return Err(interrupted);
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until `ready` says so: true in time, false after `limit`, an error after an interrupt.
    pub(crate) fn wait_until(
        &self,
        limit: Duration,
        mut ready: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let stopwatch = Stopwatch::start();
        loop {
            self.interrupt.check()?;
            if ready()? {
                return Ok(true);
            }
            if stopwatch.elapsed() > limit {
                return Ok(false);
            }
            thread::sleep(POLL);
        }
    }

    /// Waits for Ctrl-C, looking at `check` meanwhile.
    pub(crate) fn wait_for_interrupt(
        &self,
        mut check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while !self.interrupt.is_raised() {
            check()?;
            thread::sleep(POLL);
        }
        Ok(())
    }
}

/// Starts a program as the leader of a new process group, with nothing to read.
fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    // In a group of its own a program must not read from the terminal: it would be stopped.
    command
        .process_group(0)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", describe(command)))
}

fn end(child: &mut Child) {
    kill_group(child, Signal::INT);
    let stopwatch = Stopwatch::start();
    while stopwatch.elapsed() < GRACE {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        thread::sleep(POLL);
    }
    kill_group(child, Signal::KILL);
    let _ = child.wait();
}

/// Signals a program that was started as a group's leader, and its children.
pub(crate) fn kill_group(child: &Child, signal: Signal) {
    // A group that is gone already is what we want: nothing to tell.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

fn expect_success(command: &Command, status: ExitStatus) -> anyhow::Result<()> {
    if !status.success() {
        bail!("{} failed ({status})", describe(command));
    }
    Ok(())
}

/// The command as a person would type it, cut when it is long.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("`{}…`", &line[..end]),
        None => format!("`{line}`"),
    }
}

pub(crate) fn open_log(log: &Path) -> anyhow::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write the log {}", log.display()))
}

/// The last lines of a log, for a message.
pub(crate) fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    format!(
        "the end of {}:\n{}\n",
        log.display(),
        lines[from..].join("\n")
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Runner, describe};
    use crate::interrupt::Interrupt;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn reads_what_a_program_prints() {
        let runner = Runner::new(Interrupt::default());
        assert_eq!(runner.read(&mut shell("echo a; echo b")).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let runner = Runner::new(Interrupt::default());
        let error = runner.read(&mut shell("exit 3")).unwrap_err();
        assert!(error.to_string().contains("exit 3") && error.to_string().contains("status: 3"));
    }

    #[test]
    fn a_failing_program_with_a_log_tells_the_logs_tail() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let runner = Runner::new(Interrupt::default());
        let error = runner
            .run_logged(&mut shell("echo why; exit 1"), &log)
            .unwrap_err();
        assert!(format!("{error:#}").contains("why"));
    }

    #[test]
    fn what_a_program_left_running_does_not_hold_the_caller() {
        let runner = Runner::new(Interrupt::default());
        assert_eq!(
            runner.read(&mut shell("sleep 600 & echo started")).unwrap(),
            "started\n"
        );
    }

    #[test]
    fn long_commands_are_cut_for_messages() {
        let mut command = Command::new("echo");
        command.arg("é".repeat(400));
        assert!(describe(&command).chars().count() < 170);
    }
}
