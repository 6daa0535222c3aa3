//! Packs that are too large for one request.
//!
//! An upload in parts becomes visible whole, when it is completed, on the condition that nothing is there. Some servers do
//! not know that condition there, and replace: fine for packs, whose names are never used twice. An upload that fails is
//! withdrawn. One that a crash leaves unfinished is invisible and costs room until the bucket's rule for unfinished
//! uploads removes it (see `docs/OPERATIONS.md`).

use bytes::Bytes;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream;
use holdfast_format::{ObjectName, Sealed};
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{MultipartId, PutPayload};

use super::BucketSite;
use super::answer::{is_taken, last};
use super::trace::{Attempts, Trace};
use crate::error::Result;
use crate::limit::Class;
use crate::site::{Put, SiteReader as _};

/// The smallest part that S3 takes, but for the last.
pub(super) const PART_BYTES_MIN: u64 = 5 << 20;

impl BucketSite {
    /// Uploads a pack in parts; `create_only`: not over one that is there, as far as the server knows how.
    pub(super) async fn upload(
        &self,
        amazon: &AmazonS3,
        name: &ObjectName,
        body: &Sealed,
        create_only: bool,
    ) -> Result<Put> {
        let path = self.path(name);
        let beginning = amazon.create_multipart(&path);
        let (begun, attempts) = Trace::of(Class::Bulk, beginning).await;
        // Until it is completed nothing is visible: all failures before that are determinate.
        let failed = |attempts: &Attempts, raw| self.failed("writing", name, attempts, &raw);
        let upload = begun.map_err(|raw| failed(&attempts, raw).determinate())?;
        let upload = Upload {
            amazon,
            path,
            id: upload,
        };
        match Trace::of(Class::Bulk, self.parts(&upload, body)).await {
            (Ok(parts), _) => {
                self.complete(name, &upload, parts, body.len(), create_only)
                    .await
            }
            (Err(raw), attempts) => {
                self.abort(&upload).await;
                Err(failed(&attempts, raw).determinate())
            }
        }
    }

    async fn parts(&self, upload: &Upload<'_>, body: &Sealed) -> object_store::Result<Vec<PartId>> {
        let part_bytes = self.options.part_bytes.max(PART_BYTES_MIN);
        let parts = cut(body.parts(), part_bytes)
            .into_iter()
            .enumerate()
            .map(|(number, part)| {
                let payload = PutPayload::from_iter(part);
                upload
                    .amazon
                    .put_part(&upload.path, &upload.id, number, payload)
            });
        stream::iter(parts)
            .buffered(self.options.parts_in_flight.max(1))
            .try_collect()
            .await
    }

    async fn complete(
        &self,
        name: &ObjectName,
        upload: &Upload<'_>,
        parts: Vec<PartId>,
        bytes: u64,
        create_only: bool,
    ) -> Result<Put> {
        let completing = upload
            .amazon
            .complete_multipart(&upload.path, &upload.id, parts);
        let (completed, attempts) = if create_only {
            Trace::create_only(completing).await
        } else {
            Trace::of(Class::Bulk, completing).await
        };
        let Err(raw) = completed else {
            return Ok(Put::Created);
        };
        if create_only && is_taken(&attempts) {
            self.abort(upload).await;
            return Ok(Put::Exists);
        }
        let error = self.failed("writing", name, &attempts, &raw);
        // A first request that landed unseen makes the second answer that there is no such upload.
        let unknown = !error.is_determinate()
            || last(&attempts).is_some_and(|answer| answer.code == "NoSuchUpload");
        if unknown && matches!(self.head(name).await, Ok(Some(found)) if found.size == bytes) {
            return Ok(Put::Created);
        }
        // Of an upload that was completed after all, nothing is left to withdraw.
        self.abort(upload).await;
        Err(if unknown {
            error.indeterminate()
        } else {
            error
        })
    }

    async fn abort(&self, upload: &Upload<'_>) {
        let Upload { amazon, path, id } = upload;
        if amazon.abort_multipart(path, id).await.is_err() {
            // It stays invisible; the bucket's rule for unfinished uploads removes it.
            tracing::warn!(site = %self.name, "an unfinished upload could not be withdrawn");
        }
    }
}

/// An upload that was begun.
struct Upload<'a> {
    amazon: &'a AmazonS3,
    path: Path,
    id: MultipartId,
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
