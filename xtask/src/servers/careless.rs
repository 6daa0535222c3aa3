//! S3 servers that answer a create-only put with success and overwrite: rclone and s3rver. They are here to be refused.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::runner::Runner;
use crate::servers::server::Server;
use crate::servers::{http, ports};

/// The bucket that each has.
pub(crate) const BUCKET: &str = "holdfast-test";
/// The key of each; s3rver takes no other.
pub(crate) const KEY: &str = "S3RVER";

#[derive(Debug)]
pub(crate) struct Careless {
    rclone: Server,
    rclone_port: u16,
    s3rver: Server,
    s3rver_port: u16,
}

impl Careless {
    /// Starts both; `scripts` has the programs of the Python environment, `programs` those of npm packages.
    pub(crate) fn start(scratch: &Path, scripts: &Path, programs: &Path) -> anyhow::Result<Self> {
        let [rclone_port, s3rver_port] = ports::free()?;
        let folder = |name: &str| {
            let folder = scratch.join(name).join(BUCKET);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            anyhow::Ok(scratch.join(name).display().to_string())
        };
        let rclone = [
            "serve".into(),
            "s3".into(),
            "--addr".into(),
            format!("127.0.0.1:{rclone_port}"),
            "--auth-key".into(),
            format!("{KEY},{KEY}"),
            "--config".into(),
            "/dev/null".into(),
            folder("rclone")?,
        ];
        let s3rver = [
            "--directory".into(),
            folder("s3rver")?,
            "--address".into(),
            "127.0.0.1".into(),
            "--port".into(),
            s3rver_port.to_string(),
            "--silent".into(),
            "--no-vhost-buckets".into(),
            "--configure-bucket".into(),
            BUCKET.into(),
        ];
        let rclone_program = scripts.join("rclone").display().to_string();
        let s3rver_program = programs.join("s3rver").display().to_string();
        Ok(Self {
            rclone: Server::start("rclone", scratch, &rclone_program, &rclone)?,
            rclone_port,
            s3rver: Server::start("s3rver", scratch, &s3rver_program, &s3rver)?,
            s3rver_port,
        })
    }

    pub(crate) fn wait(&mut self, runner: &Runner) -> anyhow::Result<()> {
        self.rclone
            .wait(runner, || http::accepts(self.rclone_port))?;
        self.s3rver.wait(runner, || http::accepts(self.s3rver_port))
    }

    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.rclone.check()?;
        self.s3rver.check()
    }

    pub(crate) fn urls(&self) -> [(&'static str, String); 2] {
        [
            ("HOLDFAST_TEST_RCLONE", self.rclone_port),
            ("HOLDFAST_TEST_S3RVER", self.s3rver_port),
        ]
        .map(|(name, port)| (name, format!("http://127.0.0.1:{port}")))
    }
}
