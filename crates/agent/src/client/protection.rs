//! Waits in the catalog until a snapshot stands on every member: for whoever lost the stream that would have told it.

use std::time::Duration;

use holdfast_format::SnapshotId;

use super::{Admin, Connection, SnapshotInfo, SnapshotState};
use crate::error::{Error, Result};

const ASK_EVERY: Duration = Duration::from_secs(1);

/// What is damaged at a site is not protected, whatever stands where.
pub(super) fn unless_damaged(info: SnapshotInfo) -> Result<SnapshotInfo> {
    match info.state {
        SnapshotState::Damaged => Err(Error::Damaged {
            what: format!("snapshot {}", info.id),
            why: "it is committed, and something that it needs is damaged at a site, as a verification found; `holdfast status` \
                  says where, and what mends it"
                .into(),
        }),
        _ => Ok(info),
    }
}

/// Returns once the snapshot is protected. Set a time limit around it.
pub(super) async fn wait(
    connection: &Connection,
    vault: &str,
    snapshot: SnapshotId,
) -> Result<SnapshotInfo> {
    let admin = Admin::new(connection);
    loop {
        match admin.snapshots(vault, None).await {
            Ok(all) => {
                let info = all.into_iter().find(|info| info.id == snapshot);
                let info = info.ok_or_else(|| Error::Missing {
                    what: format!("snapshot {snapshot}"),
                    why: "it was committed and the catalog does not list it any more".into(),
                })?;
                let info = unless_damaged(info)?;
                if info.state >= SnapshotState::Protected {
                    return Ok(info);
                }
            }
            // It is committed: a coordinator that is away for a while changes nothing about that.
            Err(error @ Error::Unavailable { .. }) => {
                tracing::debug!(%error, "waiting");
                connection.next().await;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
