//! A command whose output is backed up: started in a process group of its own, watched, and stopped as a whole.
//!
//! State: the child and the last of what it said on standard error. Its standard input is empty.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_context::Context;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::limits::{COMMAND_GRACE_SECONDS, STDERR_KEPT_BYTES};
use crate::error::{Error, Result};

/// Takes what a command says on its standard error, as it comes.
pub type OnStderr = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What to run.
#[derive(Clone)]
pub struct CommandOptions {
    /// The program and its arguments; no shell is involved.
    pub argv: Vec<OsString>,
    /// Takes its standard error.
    pub on_stderr: OnStderr,
}

impl CommandOptions {
    /// Runs `argv` and hands its standard error on to ours.
    pub fn new(argv: Vec<OsString>) -> Self {
        let on_stderr = |bytes: &[u8]| {
            use std::io::Write;
            // Nobody may be listening any more; the backup does not depend on it.
            let _ = std::io::stderr().write_all(bytes);
        };
        Self {
            argv,
            on_stderr: Arc::new(on_stderr),
        }
    }
}

impl std::fmt::Debug for CommandOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandOptions")
            .field("argv", &self.argv)
            .finish_non_exhaustive()
    }
}

/// A command under way. Dropped before it has ended, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: String,
    /// The last of its standard error.
    said: Arc<Mutex<Vec<u8>>>,
    listening: AbortOnDropHandle<()>,
    ended: bool,
}

impl Running {
    /// Starts it; gives its standard output too.
    pub(crate) fn start(ctx: &Context, options: CommandOptions) -> Result<(Self, ChildStdout)> {
        let Some((program, arguments)) = options.argv.split_first() else {
            return Err(Error::Invalid {
                what: "an empty command".into(),
                why: "give the program and its arguments after --".into(),
            });
        };
        let name = program.to_string_lossy().into_owned();
        let local = |why: String| Error::Local {
            what: format!("the command {name:?}"),
            why,
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                local(format!(
                    "it cannot be started: {error}; check its name and PATH"
                ))
            })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::Bug("a child that was given pipes has none".into()));
        };
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let listening = ctx.spawn(listen(stderr, options.on_stderr, Arc::clone(&said)));
        let listening = AbortOnDropHandle::new(listening);
        Ok((
            Self {
                child,
                name,
                said,
                listening,
                ended: false,
            },
            stdout,
        ))
    }

    /// Waits for its end, which must be good.
    pub(crate) async fn ended_well(&mut self) -> Result<()> {
        let status = self.child.wait().await;
        self.ended = true;
        // What it said last may still be in the pipe; what it left running may keep the pipe open for ever.
        let _ = timeout(Duration::from_secs(1), &mut self.listening).await;
        let why = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => describe(status),
            Err(error) => format!("it cannot be waited for: {error}"),
        };
        let said = self
            .said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let said = String::from_utf8_lossy(&said);
        let said = said.trim();
        let said = match said {
            "" => String::new(),
            _ => format!("; the last it said: {said}"),
        };
        Err(Error::Local {
            what: format!("the command {:?}", self.name),
            why: format!(
                "{why}{said}; run it by itself to see why: nothing was committed of what it wrote"
            ),
        })
    }

    /// Stops it and all that it started: politely first, and after a moment not so.
    pub(crate) async fn stop(&mut self) {
        let group = self.group();
        if self.ended {
            return;
        }
        signal(group, Signal::TERM);
        let grace = Duration::from_secs(COMMAND_GRACE_SECONDS);
        if timeout(grace, self.gone(group)).await.is_err() {
            signal(group, Signal::KILL);
            let _ = timeout(grace, self.gone(group)).await;
        }
        self.ended = true;
    }

    /// Waits until it and the rest of its group have ended.
    async fn gone(&mut self, group: Option<Pid>) {
        let _ = self.child.wait().await;
        // The group keeps its number as long as somebody is in it.
        while group.is_some_and(|group| test_kill_process_group(group).is_ok()) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its process group, as long as it was not waited for (then the number may be another's).
    fn group(&self) -> Option<Pid> {
        self.child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // It may have ended by itself meanwhile.
        let _ = kill_process_group(group, signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            signal(self.group(), Signal::KILL);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it did not end well".into(),
    }
}

/// Hands standard error on and keeps the last of it.
async fn listen<R: AsyncRead + Unpin>(
    mut stderr: R,
    on_stderr: OnStderr,
    said: Arc<Mutex<Vec<u8>>>,
) {
    let mut buffer = vec![0; 4096];
    while let Ok(count) = stderr.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        on_stderr(&buffer[..count]);
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(&buffer[..count]);
        let spare = said.len().saturating_sub(STDERR_KEPT_BYTES);
        said.drain(..spare);
    }
}
