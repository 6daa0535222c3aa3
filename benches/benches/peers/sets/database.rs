//! Set A: the data directory of a PostgreSQL server that was stopped in order.
//!
//! pgbench draws its rows and transactions by chance and the server stamps them with times, so the bytes are not the same each time
//! the set is made. It is made once and kept.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

use super::change::Change;

/// pgbench's scale, whole: 100,000 accounts each.
const SCALE: u64 = 100;
/// Transactions of the second day, whole.
const TRANSACTIONS: u64 = 20_000;
const CLIENTS: u64 = 4;

/// A server's programs, its folder and who runs it.
struct Server {
    programs: PathBuf,
    folder: tempfile::TempDir,
    /// PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
}

pub(super) fn make(folder: &Path, part: u64) {
    let server = Server::new();
    server.run(
        "initdb",
        &[
            "--pgdata",
            &server.pages(),
            "--data-checksums",
            "--auth=trust",
            "--username=bench",
        ],
    );
    let scale = (SCALE / part).max(1).to_string();
    server.up();
    server.pgbench(&["--initialize", "--quiet", "--scale", &scale]);
    server.down();
    copy(&server.pages(), &folder.join("source"));
    server.up();
    let clients = CLIENTS.to_string();
    let each = (TRANSACTIONS / part / CLIENTS).max(1).to_string();
    server.pgbench(&["--client", &clients, "--transactions", &each]);
    server.down();
    let second = folder.join("second");
    copy(&server.pages(), &second);
    Change::between(folder, &second);
}

impl Server {
    fn new() -> Self {
        // Below a folder that every user may enter.
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let user = geteuid().is_root().then(|| (id("-u"), id("-g")));
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let programs = fs::read_dir("/usr/lib/postgresql").unwrap();
        let mut programs: Vec<PathBuf> = programs
            .map(|entry| entry.unwrap().path().join("bin"))
            .collect();
        programs.sort();
        Self {
            programs: programs.pop().unwrap(),
            folder,
            user,
        }
    }

    fn pages(&self) -> String {
        self.folder.path().join("pages").display().to_string()
    }

    /// Starts it, at a socket in its own folder only.
    fn up(&self) {
        let socket = self.folder.path().display();
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{socket}'");
        let log = self.folder.path().join("log").display().to_string();
        self.run(
            "pg_ctl",
            &[
                "start",
                "--wait",
                "--pgdata",
                &self.pages(),
                "--log",
                &log,
                "--options",
                &options,
            ],
        );
    }

    /// Stops it with a checkpoint.
    fn down(&self) {
        self.run(
            "pg_ctl",
            &[
                "stop",
                "--wait",
                "--timeout=600",
                "--mode=fast",
                "--pgdata",
                &self.pages(),
            ],
        );
    }

    fn pgbench(&self, words: &[&str]) {
        let socket = self.folder.path().display().to_string();
        let whole = [
            &["--host", &socket, "--username=bench"],
            words,
            &["postgres"],
        ]
        .concat();
        self.run("pgbench", &whole);
    }

    fn run(&self, program: &str, words: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command.args(words).current_dir(self.folder.path());
        command.stdout(std::process::Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let status = command.status().unwrap();
        assert!(status.success(), "{program}: {status}");
    }
}

fn id(which: &str) -> u32 {
    let output = Command::new("id")
        .args([which, "postgres"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim()
        .parse()
        .expect("Debian's postgresql brings the user postgres")
}

/// Copies a tree with all that belongs to it.
fn copy(from: &str, to: &Path) {
    let status = Command::new("cp").args(["-a", "-T", from]).arg(to).status();
    assert!(status.unwrap().success(), "cp -a {from}");
}
