//! One call of the program: its world, its options, the way to the coordinator. Every command gets one.

use std::future::Future;

use holdfast_agent::client::{Admin, Connection, SnapshotInfo};
use holdfast_context::Context;
use tokio_util::sync::CancellationToken;

use crate::args::Common;
use crate::failure::{Failure, Outcome};
use crate::output;

/// See the module header.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Clock, chance, tasks.
    pub(crate) context: Context,
    /// Options of every command.
    pub(crate) common: Common,
    /// Cancelled by a signal.
    pub(crate) cancel: CancellationToken,
}

impl Call {
    /// Connects to the coordinator.
    pub(crate) async fn connect(&self) -> Outcome<Connection> {
        let (endpoints, tls) = self.common.coordinators()?;
        Ok(Connection::open(&endpoints, &tls).await?)
    }

    /// Connects, for everything but data.
    pub(crate) async fn admin(&self) -> Outcome<Admin> {
        Ok(Admin::new(&self.connect().await?))
    }

    /// Whether results are JSON.
    pub(crate) fn json(&self) -> bool {
        self.common.json
    }

    /// Whether nothing but results and errors is said.
    pub(crate) fn quiet(&self) -> bool {
        self.common.quiet
    }

    /// Says something that is no result.
    pub(crate) fn remark(&self, text: impl std::fmt::Display) {
        output::remark(self.common.quiet, text);
    }

    /// Who does this, for the log: `root@web1`.
    pub(crate) fn who(&self) -> String {
        let user = std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .unwrap_or_else(|_| format!("uid-{}", rustix::process::getuid().as_raw()));
        format!("{user}@{}", holdfast_agent::backup::host_name())
    }

    /// Waits for something that does not know about signals.
    pub(crate) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        self.cancel
            .run_until_cancelled(work)
            .await
            .unwrap_or_else(|| Err(Failure::interrupted()))
    }
}

/// Snapshots of a vault, and of its trash too if `trash` is set.
pub(crate) async fn snapshots(
    admin: &Admin,
    vault: &str,
    source: Option<&str>,
    trash: bool,
) -> Outcome<Vec<SnapshotInfo>> {
    let mut all = admin.snapshots(vault, source).await?;
    if trash {
        all.extend(admin.trash(vault, source).await?);
    }
    Ok(all)
}
