//! A coordinator as a process of its own: started and waited for, killed, stopped in order, started again.
//!
//! It says where it listens once its vaults are being opened; then its socket is tried by connecting. Nothing sleeps.
//! What it says is kept in `NAME.log` of the ground and printed when it fails.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::certificates::Certificate;
use crate::client::{Client, Ran, Running, wait_within};
use crate::ground::Ground;

/// How long it may take until it listens, and until it has stopped.
const LIMIT: Duration = Duration::from_secs(30);

/// What it says when it listens.
const LISTENS: &str = " listens at ";

/// What it says when it serves metrics.
const METRICS: &str = "holdfast: metrics are at http://";

/// A coordinator to be started.
#[derive(Debug, Clone)]
pub struct Starting {
    client: Client,
    folder: PathBuf,
    name: String,
    data: PathBuf,
    sites: Vec<(String, String)>,
    words: Vec<String>,
    /// Limits of the process, as `prlimit` takes them.
    limits: Vec<String>,
    /// What it has in place of `/etc/hosts`.
    hosts: Option<PathBuf>,
}

/// A coordinator that runs.
#[derive(Debug)]
pub struct Coordinator {
    starting: Starting,
    child: Option<Child>,
    says: Option<JoinHandle<()>>,
    addresses: Vec<String>,
}

impl Starting {
    pub(crate) fn new(ground: &Ground, name: &str) -> Self {
        Self {
            client: Client::new(ground),
            folder: ground.at(""),
            name: name.into(),
            data: ground.at(name),
            sites: Vec::new(),
            words: Vec::new(),
            limits: Vec::new(),
            hosts: None,
        }
    }

    /// Gives it a site.
    #[must_use]
    pub fn site(mut self, name: &str, url: &str) -> Self {
        self.sites.push((name.into(), url.into()));
        self
    }

    /// Gives it sites in folders of the ground, which bear the sites' names.
    #[must_use]
    pub fn file_sites(self, names: &[&str]) -> Self {
        names.iter().fold(self, |starting, name| {
            let path = starting.folder.join(name);
            std::fs::create_dir_all(&path).unwrap();
            starting.site(name, &format!("file:{}", path.display()))
        })
    }

    /// Gives it a placement store.
    #[must_use]
    pub fn placement(self, url: &str) -> Self {
        self.words(&["--placement", url])
    }

    /// Has it listen on a free port of loopback, with mutual TLS.
    #[must_use]
    pub fn tls(self, certificate: &Certificate) -> Self {
        let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
        self.words(&["--listen", "127.0.0.1:0"])
            .words(&["--tls-ca", &path(&certificate.ca)])
            .words(&["--tls-cert", &path(&certificate.cert)])
            .words(&["--tls-key", &path(&certificate.key)])
    }

    /// Gives it more options.
    #[must_use]
    pub fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// Gives it another data folder.
    #[must_use]
    pub fn data_at(mut self, path: PathBuf) -> Self {
        self.data = path;
        self
    }

    /// Runs it within limits: options of `prlimit`, such as `--nofile=64`.
    #[must_use]
    pub fn limited(mut self, limits: &[&str]) -> Self {
        self.limits = limits.iter().map(|&limit| limit.to_owned()).collect();
        self
    }

    /// Has it resolve names by a file of its own, so that one URL leads each coordinator another way. Needs root.
    #[must_use]
    pub fn hosts(mut self, path: PathBuf) -> Self {
        self.hosts = Some(path);
        self
    }

    /// Gives it a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.client = self.client.with(name, value);
        self
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    fn command(&self) -> Command {
        let data = self.data().to_str().unwrap().to_owned();
        let mut words: Vec<String> = ["coordinator", "--data", &data, "--name", &self.name]
            .map(str::to_owned)
            .to_vec();
        for (name, url) in &self.sites {
            words.extend(["--site".to_owned(), format!("{name}={url}")]);
        }
        words.extend(self.words.iter().cloned());
        let command = self.client.limited_command(&self.limits, &words);
        match &self.hosts {
            Some(hosts) => with_hosts(&command, hosts),
            None => command,
        }
    }

    /// Runs it, expecting that it ends by itself: with `--check`, or because something is wrong.
    #[track_caller]
    pub fn ends(&self) -> Ran {
        Running::start(self.command(), LIMIT).wait()
    }

    /// Starts it, and waits until it answers on its socket.
    #[track_caller]
    pub fn start(self) -> Coordinator {
        let mut coordinator = self.stopped();
        coordinator.start_again();
        coordinator
    }

    /// Starts it, and waits for nothing.
    pub fn start_unheard(self) -> Coordinator {
        let mut coordinator = self.stopped();
        coordinator.spawn();
        coordinator
    }

    fn stopped(self) -> Coordinator {
        Coordinator {
            starting: self,
            child: None,
            says: None,
            addresses: Vec::new(),
        }
    }
}

impl Coordinator {
    /// Starts it after it was stopped or killed.
    #[track_caller]
    pub fn start_again(&mut self) {
        let told = self.spawn();
        let Ok(listens) = told.recv_timeout(LIMIT) else {
            panic!("the coordinator does not listen:\n{}", self.log());
        };
        self.addresses = listens.split(", ").map(str::to_owned).collect();
        UnixStream::connect(self.socket()).unwrap();
    }

    /// Starts it after it was stopped or killed, and waits for nothing.
    pub fn start_again_unheard(&mut self) {
        self.spawn();
    }

    /// Starts the process; where it listens is told once it does.
    fn spawn(&mut self) -> mpsc::Receiver<String> {
        assert!(self.child.is_none(), "it runs");
        let mut child = self
            .starting
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        self.child = Some(child);
        let (tell, told) = mpsc::channel();
        let log = self.open_log();
        self.says = Some(thread::spawn(move || keep(stderr, log, &tell)));
        told
    }

    /// Where what it has said is kept.
    pub fn log_path(&self) -> PathBuf {
        let name = format!("{}.log", self.starting.name);
        self.starting.folder.join(name)
    }

    fn open_log(&self) -> File {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        options.open(self.log_path()).unwrap()
    }

    /// What it has said since it was started first.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap()).into_owned()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.starting.data()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.data().join("holdfast.sock")
    }

    /// Its socket, for clients.
    pub fn socket_url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Where it listens with TLS, for clients.
    pub fn https_url(&self) -> String {
        let tls = self.addresses.iter().find(|at| at.starts_with("https://"));
        tls.expect("it was started with TLS").clone()
    }

    /// Where it listens on loopback without TLS, for clients.
    pub fn http_url(&self) -> String {
        let plain = self.addresses.iter().find(|at| at.starts_with("http://"));
        plain.expect("it listens on loopback").clone()
    }

    /// What it answers to whoever asks its metrics' address for a path: the status, the headers and the text.
    #[track_caller]
    pub fn asked_over_http(&self, path: &str) -> (u16, String, String) {
        let log = self.log();
        let last = log.lines().rev().find_map(|line| line.split_once(METRICS));
        let (_, url) = last.expect("it was started with --metrics");
        let host = url.strip_suffix("/metrics").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), text.to_owned())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
        self.heard_out();
    }

    /// Stops it where it is, so that nothing more comes from it until it is killed.
    pub fn freeze(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::STOP).unwrap();
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::CONT).unwrap();
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.starting.name
    }

    /// Whether it was started and neither stopped nor killed since.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Waits until it ends by itself, because something is wrong.
    #[track_caller]
    pub fn ends_by_itself(&mut self) {
        let child = self.child.take().expect("it runs");
        let pid = Pid::from_child(&child);
        let (_, in_time) = wait_within(child, LIMIT, || {
            let _ = kill_process(pid, Signal::KILL);
        });
        self.heard_out();
        assert!(in_time, "it goes on:\n{}", self.log());
    }

    /// Whether it has ended by itself, which it should not.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it runs");
        child.try_wait().unwrap().is_some()
    }

    /// How it ended by itself, if it has: it can be started again then.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        self.heard_out();
        Some(status)
    }

    /// Asks it to stop in order, and waits for nothing.
    pub fn ask_to_stop(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::TERM).unwrap();
    }

    /// Changes how it is started the next time.
    pub fn restarts(&mut self, change: impl FnOnce(Starting) -> Starting) {
        self.starting = change(self.starting.clone());
    }

    /// Stops it in order, and requires that it ends well and in time.
    #[track_caller]
    pub fn stop(&mut self) {
        let child = self.child.take().expect("it runs");
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::TERM).unwrap();
        let (status, in_time) = wait_within(child, LIMIT, || {
            let _ = kill_process(pid, Signal::KILL);
        });
        self.heard_out();
        assert!(
            in_time && status.success(),
            "it ended with {status}, in time: {in_time}\n{}",
            self.log()
        );
    }

    fn heard_out(&mut self) {
        if let Some(says) = self.says.take() {
            says.join().unwrap();
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.heard_out();
        if thread::panicking() {
            println!("--- {} said\n{}", self.starting.name, self.log());
        }
    }
}

/// The same command where names are resolved by another file. It becomes the program: the process is the same.
fn with_hosts(command: &Command, hosts: &Path) -> Command {
    const BECOME: &str = r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#;
    let mut wrapped = Command::new("unshare");
    wrapped
        .args(["--mount", "sh", "-c", BECOME, "sh"])
        .arg(hosts);
    wrapped.arg(command.get_program()).args(command.get_args());
    let variables = command.get_envs();
    wrapped.env_clear().stdin(Stdio::null());
    wrapped.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

/// Keeps what it says, and tells where it listens.
fn keep(stderr: impl std::io::Read, mut log: File, tell: &mpsc::Sender<String>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        writeln!(log, "{line}").unwrap();
        if let Some((before, addresses)) = line.split_once(LISTENS)
            && before.starts_with("holdfast: coordinator ")
        {
            let _ = tell.send(addresses.to_owned());
        }
    }
}
