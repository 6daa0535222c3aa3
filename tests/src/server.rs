//! A server of a test's own: a process that is killed, stopped where it is, let go on, started again with the same words.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

/// How long it may take until it answers.
const LIMIT: Duration = Duration::from_secs(60);

/// See the module header. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    words: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Starts a program: `words` are its name and arguments. What it says is kept in `log`.
    #[track_caller]
    pub(crate) fn start(words: Vec<String>, log: PathBuf) -> Self {
        let mut server = Self {
            words,
            log,
            child: None,
        };
        server.start_again();
        server
    }

    /// Starts it after it was killed.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let mut options = OpenOptions::new();
        let log = options.append(true).create(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until it answers.
    #[track_caller]
    pub(crate) fn wait(&self, answers: impl Fn() -> bool) {
        let since = Instant::now();
        while !answers() {
            assert!(
                since.elapsed() < LIMIT,
                "{} does not come up, see {}",
                self.words.join(" "),
                self.log.display()
            );
            std::thread::yield_now();
        }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it where it is.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Whether it was started and not killed since.
    pub(crate) fn is_started(&self) -> bool {
        self.child.is_some()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
