//! Checking the objects at sites, as the coordinator does it without any key.

use holdfast_format::{Scope, SnapshotId};
use holdfast_proto::v1;
use tonic::Streaming;

use super::{Admin, named};
use crate::client::status::{nonsense, refused};
use crate::error::Result;

/// What to check.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VerifyOptions {
    /// At this site only; none: at every member.
    pub site: Option<String>,
    /// Read every pack, else check only that it is there with the right length.
    pub read_data: bool,
    /// Read this share of the packs, percent; none: all.
    pub sample_percent: Option<f64>,
    /// Mend what is bad from a good copy.
    pub repair: bool,
    /// Have the frames of data that were read and are right sent here, to be opened.
    pub send_data: bool,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// At which site.
    pub site: String,
    /// Which object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Whether it was mended.
    pub repaired: bool,
    /// The snapshots that need it.
    pub snapshots: Vec<SnapshotId>,
    /// No damage: the site did not answer, and nothing is known of what lies there.
    pub unchecked: bool,
}

/// A frame that was read and is right, still sealed.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedFrame {
    pub(crate) scope: Scope,
    pub(crate) frame: v1::SealedFrame,
}

/// What happens in a verification.
#[derive(Debug, Clone, PartialEq)]
pub enum VerifyStep {
    /// For [`FrameProof`](crate::client::FrameProof).
    Frame(VerifiedFrame),
    /// Something is wrong.
    Finding(Finding),
    /// So much was checked.
    Count {
        /// Objects checked.
        objects: u64,
        /// Of so many.
        objects_total: u64,
        /// Bytes read.
        bytes: u64,
    },
    /// All was checked.
    Done {
        /// Objects checked.
        objects: u64,
        /// Bytes read.
        bytes: u64,
        /// How much was wrong.
        findings: u64,
        /// Of it, mended.
        repaired: u64,
    },
}

/// A verification under way.
#[derive(Debug)]
pub struct Verifying {
    steps: Streaming<v1::VerifyProgress>,
    what: String,
}

impl Verifying {
    /// The next step; none at the end.
    pub async fn next(&mut self) -> Result<Option<VerifyStep>> {
        loop {
            let message = self.steps.message().await;
            let Some(message) = message.map_err(|status| refused(&self.what, &status))? else {
                return Ok(None);
            };
            if let Some(kind) = message.kind {
                return read(kind).map(Some);
            }
        }
    }
}

fn read(kind: v1::verify_progress::Kind) -> Result<VerifyStep> {
    use v1::verify_progress::Kind;
    Ok(match kind {
        Kind::Frame(given) => VerifyStep::Frame(VerifiedFrame {
            scope: given.scope.parse().map_err(nonsense)?,
            frame: given
                .frame
                .ok_or_else(|| nonsense("a verified frame without a frame"))?,
        }),
        Kind::Finding(finding) => VerifyStep::Finding(Finding {
            site: finding.site,
            object: finding.object,
            what: finding.what,
            repaired: finding.repaired,
            snapshots: finding
                .snapshots
                .iter()
                .map(|id| SnapshotId::from_slice(id).map_err(nonsense))
                .collect::<Result<_>>()?,
            unchecked: finding.unchecked,
        }),
        Kind::Count(count) => VerifyStep::Count {
            objects: count.objects,
            objects_total: count.objects_total,
            bytes: count.bytes,
        },
        Kind::Done(done) => VerifyStep::Done {
            objects: done.objects,
            bytes: done.bytes,
            findings: done.findings,
            repaired: done.repaired,
        },
    })
}

impl Admin {
    /// Checks a vault's objects at its sites.
    pub async fn verify(&self, vault: &str, options: &VerifyOptions) -> Result<Verifying> {
        let request = v1::VerifyRequest {
            vault: vault.into(),
            site: options.site.clone().unwrap_or_default(),
            read_data: options.read_data,
            sample_percent: options.sample_percent.unwrap_or_default(),
            repair: options.repair,
            send_data: options.send_data,
        };
        let what = format!("the verification of {}", named(vault));
        let answer = self.connection.operations().verify(request).await;
        let steps = answer
            .map_err(|status| refused(&what, &status))?
            .into_inner();
        Ok(Verifying { steps, what })
    }
}
