//! Writing, replacing and deleting at an object store.

use async_trait::async_trait;
use holdfast_format::{ObjectName, Sealed};
use object_store::aws::AmazonS3;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

use super::answer::{is_absent, is_absent_in_batch, is_taken};
use super::trace::{Attempt, Trace};
use super::{BucketSite, upload};
use crate::counters::Counters;
use crate::error::Result;
use crate::limit::Class;
use crate::site::{Put, Site, SiteReader as _, Space, Sweeper};

impl BucketSite {
    /// Creates an object in one request.
    async fn create(&self, name: &ObjectName, body: &Sealed) -> Result<Put> {
        let payload = PutPayload::from_iter(body.parts().iter().cloned());
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let path = self.path(name);
        let putting = self.store.put_opts(&path, payload, options);
        match Trace::of(Class::of(name), putting).await {
            (Ok(_), _) => Ok(Put::Created),
            (Err(_), attempts) if is_taken(&attempts) => Ok(Put::Exists),
            (Err(raw), attempts) => Err(self.failed("writing", name, &attempts, &raw)),
        }
    }

    /// What uploads a body in parts, if that is how it goes. Only S3 servers bound what fits into one request so tightly
    /// that packs need it; the others take a pack in one, and so create-only.
    fn in_parts(&self, body: &Sealed) -> Option<&AmazonS3> {
        let whole = self.options.part_bytes.max(upload::PART_BYTES_MIN);
        self.amazon.as_ref().filter(|_| body.len() > whole)
    }
}

#[async_trait]
impl Site for BucketSite {
    async fn put_new(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        self.create(name, &body).await
    }

    async fn put_pack(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        let turn = self.underway.turn(name).await;
        // Names of packs are never used twice: what another has written meanwhile are these very bytes.
        if turn.waited
            && let Ok(Some(found)) = self.head(name).await
            && found.size == body.len()
        {
            return Ok(Put::Exists);
        }
        match self.in_parts(&body) {
            Some(amazon) => self.upload(amazon, name, &body, true).await,
            None => self.create(name, &body).await,
        }
    }

    fn now_hint_millis(&self) -> Option<i64> {
        self.line.now_millis()
    }

    fn space(&self) -> Result<Option<Space>> {
        Ok(None)
    }

    fn place(&self) -> String {
        self.url.trim_end_matches('/').into()
    }

    fn counters(&self) -> Counters {
        self.line.tally.snapshot()
    }
}

#[async_trait]
impl Sweeper for BucketSite {
    async fn replace_damaged(&self, name: &ObjectName, good: Sealed) -> Result<()> {
        if let Some(amazon) = self.in_parts(&good) {
            return self.upload(amazon, name, &good, false).await.map(|_| ());
        }
        let payload = PutPayload::from_iter(good.parts().iter().cloned());
        let path = self.path(name);
        let putting = self.store.put_opts(&path, payload, PutOptions::default());
        match Trace::of(Class::of(name), putting).await {
            (Ok(_), _) => Ok(()),
            (Err(raw), attempts) => Err(self.failed("replacing", name, &attempts, &raw)),
        }
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        let path = self.path(name);
        let (outcome, attempts) = Trace::of(Class::Urgent, self.store.delete(&path)).await;
        match outcome {
            Ok(()) => {}
            // Azure deletes in batches, and answers for each object within a success.
            Err(_) if is_absent(&attempts) || is_absent_in_batch(&attempts) => {}
            Err(raw) => return Err(self.failed("deleting", name, &attempts, &raw)),
        }
        let versioned = attempts
            .iter()
            .any(|attempt| matches!(attempt, Attempt::Answer(answer) if answer.versioned));
        if versioned {
            self.delete_versions(name).await
        } else {
            Ok(())
        }
    }
}
