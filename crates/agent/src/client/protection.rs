//! Waits in the catalog until a snapshot stands on every member: for whoever lost the stream that would have told it.

use std::time::Duration;

use holdfast_format::SnapshotId;

use super::{Admin, Connection, SnapshotInfo, SnapshotState};
use crate::error::{Error, Result};

const ASK_EVERY: Duration = Duration::from_secs(1);

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
                if info.state == SnapshotState::Damaged {
                    return Err(Error::Damaged {
                        what: format!("snapshot {snapshot}"),
                        why: "it is committed, and a verification found something that it needs damaged at a site; look at \
                              `holdfast status`"
                            .into(),
                    });
                }
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
