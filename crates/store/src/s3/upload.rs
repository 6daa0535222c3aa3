//! Packs that are too large for one request.
//!
//! An upload in parts becomes visible whole, when it is completed, and replaces what is there: fine for packs, whose
//! names are never used twice. One that a crash leaves unfinished is invisible and costs room until the bucket's
//! rule for unfinished uploads removes it (see `docs/OPERATIONS.md`).

use bytes::Bytes;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream;
use holdfast_format::{ObjectName, Sealed};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{MultipartId, PutPayload};

use super::S3Site;
use super::answer::last;
use super::wire::{Attempt, Trace};
use crate::error::Result;
use crate::site::{Put, SiteReader as _};

/// The smallest part that S3 takes, but for the last.
pub(super) const PART_BYTES_MIN: u64 = 5 << 20;

impl S3Site {
    /// Uploads a pack in parts.
    pub(super) async fn upload(&self, name: &ObjectName, body: &Sealed) -> Result<Put> {
        let path = self.path(name);
        let (begun, attempts) = Trace::of(self.store.create_multipart(&path)).await;
        // Until it is completed nothing is visible: all failures before that are determinate.
        let failed = |attempts: &[Attempt], raw| self.failed("writing", name, attempts, &raw);
        let upload = begun.map_err(|raw| failed(&attempts, raw).determinate())?;
        match Trace::of(self.parts(&path, &upload, body)).await {
            (Ok(parts), _) => self.complete(name, &path, &upload, parts, body.len()).await,
            (Err(raw), attempts) => {
                self.abort(&path, &upload).await;
                Err(failed(&attempts, raw).determinate())
            }
        }
    }

    async fn parts(
        &self,
        path: &Path,
        upload: &MultipartId,
        body: &Sealed,
    ) -> object_store::Result<Vec<PartId>> {
        let part_bytes = self.options.part_bytes.max(PART_BYTES_MIN);
        let parts = cut(body.parts(), part_bytes)
            .into_iter()
            .enumerate()
            .map(|(number, part)| {
                self.store
                    .put_part(path, upload, number, PutPayload::from_iter(part))
            });
        stream::iter(parts)
            .buffered(self.options.parts_in_flight.max(1))
            .try_collect()
            .await
    }

    async fn complete(
        &self,
        name: &ObjectName,
        path: &Path,
        upload: &MultipartId,
        parts: Vec<PartId>,
        bytes: u64,
    ) -> Result<Put> {
        let (completed, attempts) =
            Trace::of(self.store.complete_multipart(path, upload, parts)).await;
        let Err(raw) = completed else {
            return Ok(Put::Created);
        };
        let error = self.failed("writing", name, &attempts, &raw);
        // A first request that landed unseen makes the second answer that there is no such upload.
        let unknown = !error.is_determinate()
            || last(&attempts).is_some_and(|answer| answer.code == "NoSuchUpload");
        if unknown && matches!(self.head(name).await, Ok(Some(found)) if found.size == bytes) {
            return Ok(Put::Created);
        }
        // Of an upload that was completed after all, nothing is left to withdraw.
        self.abort(path, upload).await;
        Err(if unknown {
            error.indeterminate()
        } else {
            error
        })
    }

    async fn abort(&self, path: &Path, upload: &MultipartId) {
        if self.store.abort_multipart(path, upload).await.is_err() {
            // It stays invisible; the bucket's rule for unfinished uploads removes it.
            tracing::warn!(site = %self.name, "an unfinished upload could not be withdrawn");
        }
    }
}

/// Cuts a body into parts of `part_bytes`, the last one shorter, without copying.
fn cut(pieces: &[Bytes], part_bytes: u64) -> Vec<Vec<Bytes>> {
    // A part fits into memory, as the body that it is cut from does.
    let part_bytes = part_bytes as usize;
    let (mut parts, mut part, mut room) = (Vec::new(), Vec::new(), part_bytes);
    for piece in pieces {
        let mut piece = piece.clone();
        while !piece.is_empty() {
            let taken = piece.split_to(room.min(piece.len()));
            room -= taken.len();
            part.push(taken);
            if room == 0 {
                parts.push(std::mem::take(&mut part));
                room = part_bytes;
            }
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_into_equal_parts_wherever_its_pieces_end() {
        let pieces: Vec<Bytes> = ["abc", "", "defgh", "ij"]
            .into_iter()
            .map(Bytes::from)
            .collect();
        let texts = |part_bytes| -> Vec<Vec<u8>> {
            cut(&pieces, part_bytes)
                .iter()
                .map(|part| part.concat())
                .collect()
        };
        assert_eq!(texts(4), [&b"abcd"[..], b"efgh", b"ij"]);
        assert_eq!(texts(5), [&b"abcde"[..], b"fghij"]);
        assert_eq!(texts(100), [&b"abcdefghij"[..]]);
        assert!(cut(&[], 4).is_empty());
    }
}
