//! One command line of the built binary, as a person or a script would write it: its exit code, what it prints.
//!
//! Every call has a limit: one that takes longer is killed, and the test fails with what it had said.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::certificates::Certificate;
use crate::coordinator::Coordinator;
use crate::ground::Ground;
use crate::surroundings;

/// Longer than anything here should take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A user with a home, perhaps with a coordinator to ask.
#[derive(Debug, Clone)]
pub struct Client {
    folder: PathBuf,
    variables: BTreeMap<String, OsString>,
    limit: Duration,
    /// Limits of each process, as `prlimit` takes them.
    limits: Vec<String>,
    /// Who it runs as, if not as the tests do, and a copy of the program that everyone may run.
    user: Option<(u32, PathBuf)>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    words: String,
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it said.
    pub stderr: String,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    words: String,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    limit: Duration,
}

impl Client {
    pub(crate) fn new(ground: &Ground) -> Self {
        let mut client = Self {
            folder: ground.at(""),
            variables: BTreeMap::new(),
            limit: LIMIT,
            limits: Vec::new(),
            user: None,
        };
        client.set("PATH", std::env::var_os("PATH").unwrap_or_default());
        client.set("HOME", ground.at("home"));
        client.set("USER", "tester");
        client.set("TZ", "UTC");
        client
    }

    fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.variables.insert(name.into(), value.as_ref().into());
    }

    /// The same user with one more variable.
    #[must_use]
    pub fn with(&self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut other = self.clone();
        other.set(name, value);
        other
    }

    /// The same user, asking a coordinator at its socket.
    #[must_use]
    pub fn on(&self, coordinator: &Coordinator) -> Self {
        self.with("HOLDFAST_COORDINATOR", coordinator.socket_url())
    }

    /// The same user, asking whichever of several coordinators answers first.
    #[must_use]
    pub fn on_any<'c>(&self, coordinators: impl IntoIterator<Item = &'c Coordinator>) -> Self {
        let all = coordinators.into_iter().map(Coordinator::socket_url);
        self.with("HOLDFAST_COORDINATOR", all.collect::<Vec<_>>().join(","))
    }

    /// The same user, asking a coordinator by mutual TLS.
    #[must_use]
    pub fn over_tls(&self, coordinator: &Coordinator, certificate: &Certificate) -> Self {
        self.with("HOLDFAST_COORDINATOR", coordinator.https_url())
            .with("HOLDFAST_TLS_CA", &certificate.ca)
            .with("HOLDFAST_TLS_CERT", &certificate.cert)
            .with("HOLDFAST_TLS_KEY", &certificate.key)
    }

    /// The same user with an identity file.
    #[must_use]
    pub fn with_identity(&self, file: impl AsRef<Path>) -> Self {
        self.with("HOLDFAST_IDENTITY", self.folder.join(file))
    }

    /// The same user with a home of their own: no bundle, no cache.
    #[must_use]
    pub fn at_home(&self, home: impl AsRef<Path>) -> Self {
        let home = self.folder.join(home);
        std::fs::create_dir_all(&home).unwrap();
        self.with("HOME", home)
    }

    /// The same user, with another limit for each call.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        let mut other = self.clone();
        other.limit = limit;
        other
    }

    /// The same user, whose commands run within limits: options of `prlimit`, such as `--nofile=64`.
    #[must_use]
    pub fn limited(&self, limits: &[&str]) -> Self {
        let mut other = self.clone();
        other.limits = limits.iter().map(|&limit| limit.to_owned()).collect();
        other
    }

    /// The same user, running as another user of the machine. Needs root.
    #[must_use]
    pub fn as_user(&self, id: u32) -> Self {
        // The built program may lie below a folder that only its builder may enter.
        let program = self.folder.join("holdfast-for-anyone");
        if !program.exists() {
            std::fs::copy(surroundings::binary(), &program).unwrap();
        }
        let mut other = self.clone();
        other.user = Some((id, program));
        other
    }

    /// A command line, not yet run.
    pub fn command<W: AsRef<OsStr>>(&self, words: &[W]) -> Command {
        self.limited_command(&self.limits, words)
    }

    pub(crate) fn limited_command<W: AsRef<OsStr>>(
        &self,
        limits: &[String],
        words: &[W],
    ) -> Command {
        let program = match &self.user {
            Some((_, program)) => program.clone(),
            None => surroundings::binary(),
        };
        let mut command = match limits {
            [] => Command::new(program),
            // It sets its own limits and becomes the program: the process is the same.
            _ => {
                let mut command = Command::new("prlimit");
                command.args(limits).arg(program);
                command
            }
        };
        command
            .args(words)
            .current_dir(&self.folder)
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::null());
        if let Some((id, _)) = &self.user {
            command.uid(*id).gid(*id);
        }
        command
    }

    /// Starts a command.
    pub fn start<W: AsRef<OsStr>>(&self, words: &[W]) -> Running {
        Running::start(self.command(words), self.limit)
    }

    /// Starts a command that reads what the test goes on to write.
    pub fn start_fed<W: AsRef<OsStr>>(&self, words: &[W]) -> (Running, ChildStdin) {
        let mut command = self.command(words);
        command.stdin(Stdio::piped());
        let mut running = Running::start(command, self.limit);
        let stdin = running.child.stdin.take().unwrap();
        (running, stdin)
    }

    /// Runs a command to its end.
    pub fn run<W: AsRef<OsStr>>(&self, words: &[W]) -> Ran {
        self.start(words).wait()
    }

    /// Runs a command that reads `input`.
    pub fn run_with_input<W: AsRef<OsStr>>(&self, words: &[W], input: &[u8]) -> Ran {
        let (running, mut stdin) = self.start_fed(words);
        // One that ends early does not read all of it.
        let _ = stdin.write_all(input);
        drop(stdin);
        running.wait()
    }

    /// Runs a command and requires that all is done.
    #[track_caller]
    pub fn done(&self, words: &[&str]) -> Ran {
        self.run(words).expect(0)
    }

    /// Runs a command with `--json` and requires an exit code.
    #[track_caller]
    pub fn json(&self, code: i32, words: &[&str]) -> Value {
        let mut words = words.to_vec();
        words.insert(0, "--json");
        self.run(&words).expect(code).json()
    }

    /// Runs a command that fails with a code, and returns what it says. It must say something, and what to do.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) -> String {
        self.run(words).expect(code).says()
    }
}

impl Ran {
    /// Requires an exit code.
    #[track_caller]
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// The command line.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// What it printed, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What it printed, as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// What it said about its failure: what happened, and what to try.
    #[track_caller]
    pub fn says(&self) -> String {
        let clap = self.stderr.starts_with("error: ");
        assert!(
            clap || (self.stderr.contains("holdfast: ") && self.stderr.contains("  try: ")),
            "it does not say what happened and what to try:\n{self}"
        );
        // Whoever reads the log of the test run can judge the wording.
        println!("{}\n{}", self.words, self.stderr.trim_end());
        self.stderr.clone()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nended with {:?}\n{}\n{}",
            self.words,
            self.code,
            self.text(),
            self.stderr
        )
    }
}

impl Running {
    /// Starts any program under a limit.
    pub fn start(mut command: Command, limit: Duration) -> Self {
        let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let words = words.join(" ");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        Self {
            words,
            child,
            stdout,
            stderr,
            limit,
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Stops it where it is.
    pub fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends it with no chance to say a word.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Interrupts it, as Ctrl-C does.
    pub fn interrupt(&self) {
        kill_process(self.pid(), Signal::INT).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(self) -> Ran {
        let pid = self.pid();
        let (status, in_time) = wait_within(self.child, self.limit, || {
            let _ = kill_process(pid, Signal::KILL);
        });
        let ran = Ran {
            words: self.words,
            code: status.code(),
            stdout: self.stdout.join().unwrap(),
            stderr: String::from_utf8_lossy(&self.stderr.join().unwrap()).into_owned(),
        };
        assert!(in_time, "not within {:?}: {ran}", self.limit);
        ran
    }
}

/// Waits for a process; after `limit` it is ended by `end`. Whether it ended in time.
pub(crate) fn wait_within(
    mut child: Child,
    limit: Duration,
    end: impl FnOnce(),
) -> (ExitStatus, bool) {
    let (ended, has_ended) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let status = child.wait().unwrap();
        let _ = ended.send(());
        status
    });
    let in_time = has_ended.recv_timeout(limit).is_ok();
    if !in_time {
        end();
    }
    (waiting.join().unwrap(), in_time)
}

/// Reads a pipe to its end, so that nobody waits for it.
fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}
