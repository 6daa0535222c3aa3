//! A site's packs against the log: looked at, or read whole, a run of frames at a time.
//!
//! No state: memory is bounded by the runs under way, however long a pack is. What was read and is right may be given on to a client
//! who opens it, so that nobody reads it twice.

use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;
use holdfast_format::pack::verify_pack_end;
use holdfast_format::{ChunkKind, Footer, Frame, ObjectName, PackOrdinal, SiteName};
use holdfast_proto::v1;
use holdfast_store::{Kind, Opened, SiteReader};
use holdfast_vault::fold::catalog::PackInfo;

use super::{Check, Finding, Said, Sender, mended, tell};
use crate::error::{Error, Result};
use crate::repair;
use crate::services::restore::wire_frame;
use crate::vault::Vault;

/// How much of a pack one request reads, bytes: below what the allocator maps anew each time.
const RUN_BYTES_MAX: u64 = 4 << 20;

/// Packs of one site that are read at once.
const AT_ONCE: usize = 4;

/// What is done with a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Only that it is there with the right length.
    Look,
    /// All of its bytes.
    Read,
    /// All of its bytes, and its frames of data are given to the client.
    ReadAndGive,
}

/// What is wrong with a pack.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    what: String,
    /// Or else the site did not answer.
    is_damage: bool,
}

impl Flaw {
    fn damage(what: impl ToString) -> Self {
        Self {
            what: what.to_string(),
            is_damage: true,
        }
    }

    fn of(error: &holdfast_store::Error) -> Self {
        Self {
            what: error.to_string(),
            is_damage: error.kind() == Kind::Corrupt,
        }
    }
}

impl Check<'_> {
    /// Checks packs at a site, several at once.
    pub(super) async fn packs(
        &mut self,
        name: &SiteName,
        opened: &Opened,
        packs: Vec<(PackOrdinal, PackInfo)>,
    ) -> Result<()> {
        let due: Vec<_> = packs
            .into_iter()
            .map(|(ordinal, pack)| {
                let how = self.how(ordinal, &pack);
                (ordinal, pack, how)
            })
            .collect();
        let (vault, to) = (self.vault.clone(), self.to);
        let mut checked = futures::stream::iter(due)
            .map(|(ordinal, pack, how)| {
                let (vault, site) = (&vault, opened.site.as_ref());
                async move {
                    let flaw = check(vault, site, &pack, how, to).await;
                    (ordinal, pack, how, flaw)
                }
            })
            .buffered(AT_ONCE);
        while let Some((ordinal, pack, how, flaw)) = checked.next().await {
            let flaw = flaw?;
            if flaw.is_none() && how == Depth::ReadAndGive {
                self.given.insert(ordinal);
            }
            self.judge(name, ordinal, &pack, how, flaw).await?;
        }
        Ok(())
    }

    fn how(&self, ordinal: PackOrdinal, pack: &PackInfo) -> Depth {
        let percent = self.request.sample_percent;
        if !self.request.read_data || (percent > 0.0 && !in_sample(pack, percent)) {
            return Depth::Look;
        }
        match self.request.send_data && !self.given.contains(&ordinal) {
            true => Depth::ReadAndGive,
            false => Depth::Read,
        }
    }

    async fn judge(
        &mut self,
        name: &SiteName,
        ordinal: PackOrdinal,
        pack: &PackInfo,
        how: Depth,
        flaw: Option<Flaw>,
    ) -> Result<()> {
        let object = ObjectName::pack(self.vault.header.vault, pack.id);
        let reads = how != Depth::Look;
        self.objects += 1;
        if reads {
            self.bytes += pack.len;
        }
        // Given up while it was looked at: then it may be gone.
        let live = || {
            let state = self.vault.state();
            let info = state.catalog.packs.get(&ordinal);
            info.is_some_and(|info| info.condemned.is_none())
        };
        if reads && flaw.is_none() {
            self.here.right_packs.insert(ordinal);
        }
        if let Some(Flaw { what, is_damage }) = flaw
            && live()
        {
            let mut finding = Finding::of(object.as_str(), what);
            if self.request.repair {
                finding.repaired = mended(name, repair::pack(&self.vault, name, pack).await);
            }
            if finding.repaired {
                self.here.right_packs.insert(ordinal);
            } else {
                finding.snapshots = self.snapshots_of(ordinal, pack).await;
                match is_damage {
                    true => {
                        *self.bad.entry(ordinal).or_default() += 1;
                        self.here.hurt.extend(&finding.snapshots);
                        self.here.bad_packs.insert(ordinal);
                    }
                    false => self.here.unsure.extend(&finding.snapshots),
                }
            }
            self.find(name, finding).await?;
        }
        if reads || self.objects.is_multiple_of(16) {
            let count = v1::VerifyCount {
                objects: self.objects,
                objects_total: self.total,
                bytes: self.bytes,
            };
            tell(self.to, Said::Count(count)).await?;
        }
        Ok(())
    }
}

/// Whether a pack is in a sample of so many per cent: by its footer's hash, so that a run can be repeated.
fn in_sample(pack: &PackInfo, percent: f64) -> bool {
    let hash = &pack.footer_hash.0;
    let number = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
    f64::from(number) < percent / 100.0 * f64::from(u32::MAX)
}

/// Checks one pack at one site.
///
/// # Errors
/// If the client is gone.
async fn check(
    vault: &Vault,
    site: &dyn SiteReader,
    pack: &PackInfo,
    how: Depth,
    to: &Sender,
) -> Result<Option<Flaw>> {
    let name = ObjectName::pack(vault.header.vault, pack.id);
    if let Some(flaw) = look(site, &name, pack).await {
        return Ok(Some(flaw));
    }
    if how == Depth::Look {
        return Ok(None);
    }
    let footer = match footer(site, &name, pack).await {
        Ok(footer) => Arc::new(footer),
        Err(flaw) => return Ok(Some(flaw)),
    };
    for run in runs(&footer) {
        let frames = match read(vault, site, &name, &footer, run).await {
            Ok(frames) => frames,
            Err(flaw) => return Ok(Some(flaw)),
        };
        if how == Depth::ReadAndGive && footer.kind == ChunkKind::Data {
            for frame in frames {
                give(vault, &footer, frame, to).await?;
            }
        }
    }
    Ok(None)
}

async fn look(site: &dyn SiteReader, name: &ObjectName, pack: &PackInfo) -> Option<Flaw> {
    match site.head(name).await {
        Ok(Some(info)) if info.size == pack.len => None,
        Ok(Some(info)) => Some(Flaw::damage(format!(
            "it has {} bytes, not {}",
            info.size, pack.len
        ))),
        Ok(None) => Some(Flaw::damage("it is missing")),
        Err(error) => Some(Flaw::of(&error)),
    }
}

async fn range(
    site: &dyn SiteReader,
    name: &ObjectName,
    range: Range<u64>,
) -> std::result::Result<bytes::Bytes, Flaw> {
    match site.get_range(name, range).await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Flaw::damage("it is missing")),
        Err(error) => Err(Flaw::of(&error)),
    }
}

async fn footer(
    site: &dyn SiteReader,
    name: &ObjectName,
    pack: &PackInfo,
) -> std::result::Result<Footer, Flaw> {
    let end = range(site, name, pack.footer_offset..pack.len).await?;
    verify_pack_end(pack.id, pack.footer_hash, pack.footer_offset, &end).map_err(Flaw::damage)
}

/// Frames of one run, each with the hash that the footer gives.
async fn read(
    vault: &Vault,
    site: &dyn SiteReader,
    name: &ObjectName,
    footer: &Arc<Footer>,
    run: Range<usize>,
) -> std::result::Result<Vec<Frame>, Flaw> {
    let (first, last) = (&footer.frames[run.start], &footer.frames[run.end - 1]);
    let from = first.offset;
    let bytes = range(site, name, from..last.offset + u64::from(last.len)).await?;
    let footer = Arc::clone(footer);
    let hash = move || {
        let frames = run.map(|index| {
            let start = (footer.frames[index].offset - from) as usize;
            let sealed = bytes.slice(start..start + footer.frames[index].len as usize);
            footer.frame(index, sealed)
        });
        frames.collect::<holdfast_format::Result<Vec<Frame>>>()
    };
    vault.context.run_blocking(hash).await.map_err(Flaw::damage)
}

/// All frames, in runs that one request reads each.
fn runs(footer: &Footer) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, frame) in footer.frames.iter().enumerate() {
        bytes += u64::from(frame.len);
        match runs.last_mut() {
            Some(run) if bytes <= RUN_BYTES_MAX => run.end = index + 1,
            _ => {
                runs.push(index..index + 1);
                bytes = u64::from(frame.len);
            }
        }
    }
    runs
}

async fn give(vault: &Vault, footer: &Footer, frame: Frame, to: &Sender) -> Result<()> {
    let frame = match wire_frame(vault, frame) {
        Ok(frame) => frame,
        // Its key was given up while it was read: nobody needs it any more.
        Err(Error::Corrupt(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let frame = v1::VerifiedFrame {
        scope: footer.scope.to_string(),
        frame: Some(frame),
    };
    tell(to, Said::Frame(frame)).await
}

#[cfg(test)]
mod tests {
    use holdfast_format::pack::FooterFrame;
    use holdfast_format::{Hash, PackId, Scope};

    use super::*;

    fn footer(lens: &[u32]) -> Footer {
        let mut offset = 0;
        let frames = lens.iter().map(|&len| {
            let frame = FooterFrame {
                offset,
                len,
                key: 0,
                hash: Hash([0; 32]),
                first_chunk: 0,
                chunks: 0,
            };
            offset += u64::from(len);
            frame
        });
        Footer {
            vault: holdfast_format::VaultId([1; 16]),
            pack: PackId {
                epoch: holdfast_format::Epoch(1),
                nonce: holdfast_format::ClaimNonce([1; 16]),
                number: holdfast_format::PackNumber(0),
            },
            kind: ChunkKind::Data,
            scope: Scope::vault(),
            keys: vec![],
            frames: frames.collect(),
            chunks: vec![],
        }
    }

    #[test]
    fn runs_hold_every_frame_once_and_are_as_long_as_a_request_may_be() {
        const MIB: u32 = 1 << 20;
        fn check(lens: &[u32], want: &[(usize, usize)]) {
            let runs = runs(&footer(lens)).into_iter();
            let runs: Vec<(usize, usize)> = runs.map(|run| (run.start, run.end)).collect();
            assert_eq!(runs, want, "{lens:?}");
        }
        check(&[], &[]);
        check(&[5 * MIB], &[(0, 1)]);
        check(&[2 * MIB, 2 * MIB, 1], &[(0, 2), (2, 3)]);
        check(&[1, 5 * MIB, 1, 3 * MIB], &[(0, 1), (1, 2), (2, 4)]);
    }
}
