//! One server process: started with a log, watched while it comes up, killed at the end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::Signal;

use crate::runner::{self, Runner};
use crate::{program, servers};

/// How long a server may take until it answers.
const UP_LIMIT: Duration = Duration::from_secs(60);

/// A running server; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a program that stays in the foreground.
    pub(crate) fn start(
        name: &'static str,
        scratch: &Path,
        program: &str,
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;

        let log = servers::log_of(scratch, name);
        let found = program::find(program)
            .with_context(|| format!("cannot start {name}: no program {program} on PATH"))?;
        let child = dying_with_parent(&found)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(runner::open_log(&log)?)
            .stderr(runner::open_log(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Waits until the server answers.
    ///
    /// # Errors
    /// If it ends or does not answer in time; the message holds the end of its log.
    pub(crate) fn wait(
        &mut self,
        runner: &Runner,
        mut answers: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let is_up = runner.wait_until(UP_LIMIT, || {
            self.check()?;
            Ok(answers())
        })?;
        if !is_up {
            let seconds = UP_LIMIT.as_secs();
            bail!(
                "{} does not answer after {seconds} s; {}",
                self.name,
                runner::tail(&self.log)
            );
        }
        Ok(())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error if the server ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("cannot watch {}", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended ({status}); {}",
                self.name,
                runner::tail(&self.log)
            ),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its data are thrown away with it, so there is nothing to end in good order.
        runner::kill_group(&self.child, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A command for the program that the kernel kills if this process is killed outright, where the
/// system has the means.
fn dying_with_parent(program: &Path) -> Command {
    match program::find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

#[cfg(test)]
mod tests {
    use super::Server;
    use crate::interrupt::Interrupt;
    use crate::runner::Runner;

    #[test]
    fn a_server_that_ends_is_told_with_its_log() {
        let scratch = tempfile::tempdir().unwrap();
        let arguments = ["-c".to_owned(), "echo the port is taken; exit 7".to_owned()];
        let mut server = Server::start("broken", scratch.path(), "sh", &arguments).unwrap();
        let error = server
            .wait(&Runner::new(Interrupt::default()), || false)
            .unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("broken ended") && told.contains("the port is taken"),
            "{told}"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let error = Server::start("ghost", scratch.path(), "no-such-program", &[]).unwrap_err();
        assert!(error.to_string().contains("no-such-program"));
    }
}
