//! The sites that a [`Faults`] handle has wrapped.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_format::{ObjectName, Sealed, SiteName};

use super::{Fault, Faults, Nature, Operation};
use crate::counters::Counters;
use crate::error::{Error, Kind, Result};
use crate::site::{ObjectInfo, Opened, Put, Site, SiteReader, Space, Sweeper};

/// How long a racy site thinks between looking and writing.
const THINKING: Duration = Duration::from_millis(2);

/// A reader that fails on purpose.
#[derive(Debug)]
pub(super) struct FaultyReader {
    faults: Faults,
    inner: Arc<dyn SiteReader>,
}

/// A site that fails on purpose.
#[derive(Debug)]
pub(super) struct Faulty {
    reader: FaultyReader,
    inner: Opened,
}

impl FaultyReader {
    pub(super) fn new(faults: Faults, inner: Arc<dyn SiteReader>) -> Self {
        Self { faults, inner }
    }

    fn error(&self, kind: Kind, operation: Operation, name: &str, why: &str) -> Error {
        Error::new(
            kind,
            format!("{operation:?} {name:?} at site {}", self.inner.name()),
            why,
        )
    }

    fn failed(&self, kind: Kind, operation: Operation, name: &str) -> Error {
        self.error(
            kind,
            operation,
            name,
            "it was made to fail before anything was done",
        )
    }

    fn broke(&self, operation: Operation, name: &str) -> Error {
        self.error(
            Kind::Retry,
            operation,
            name,
            "it was made to lose its answer",
        )
    }

    /// Notes a call that reads. Fails it if it is to fail, and else gives its position and what is left to do.
    async fn enter(&self, operation: Operation, name: &str) -> Result<(u64, Option<Fault>)> {
        let (position, fault) = self.faults.call(operation, name);
        match fault {
            Some(Fault::Fail(kind)) => Err(self.failed(kind, operation, name)),
            Some(Fault::Lost | Fault::DoneButFailed) => Err(self.broke(operation, name)),
            Some(Fault::Delay(pause)) => {
                tokio::time::sleep(pause).await;
                Ok((position, None))
            }
            fault => Ok((position, fault)),
        }
    }
}

/// Turns one bit, the same for the same call.
fn flip(body: &Bytes, position: u64) -> Bytes {
    let mut wrong = body.to_vec();
    if !wrong.is_empty() {
        let bits = wrong.len() as u64 * 8;
        let bit = position.wrapping_mul(0x9e37_79b9_7f4a_7c15) % bits;
        wrong[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
    wrong.into()
}

#[async_trait]
impl SiteReader for FaultyReader {
    fn name(&self) -> &SiteName {
        self.inner.name()
    }

    fn url(&self) -> &str {
        self.inner.url()
    }

    async fn get(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        let (position, fault) = self.enter(Operation::Get, name.as_str()).await?;
        let body = self.inner.get(name).await?;
        Ok(match fault {
            Some(Fault::Hide) => None,
            Some(Fault::FlipBit) => body.map(|body| flip(&body, position)),
            Some(Fault::Truncate) => body.map(|body| body.slice(..body.len() / 2)),
            _ => body,
        })
    }

    async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>> {
        let (position, fault) = self.enter(Operation::GetRange, name.as_str()).await?;
        let body = self.inner.get_range(name, range).await?;
        Ok(match fault {
            Some(Fault::Hide) => None,
            Some(Fault::FlipBit) => body.map(|body| flip(&body, position)),
            Some(Fault::Truncate) => {
                let why = "it was made to end early";
                return Err(self.error(Kind::Corrupt, Operation::GetRange, name.as_str(), why));
            }
            _ => body,
        })
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>> {
        let (_, fault) = self.enter(Operation::Head, name.as_str()).await?;
        let info = self.inner.head(name).await?;
        Ok(if fault == Some(Fault::Hide) {
            None
        } else {
            info
        })
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectInfo>> {
        let (_, fault) = self.enter(Operation::List, prefix).await?;
        let mut found = self.inner.list(prefix, after).await?;
        if let Some(Fault::Stale(missing)) = fault {
            let plan = self.faults.plan();
            let newest: Vec<&String> = plan.created.iter().rev().take(missing).collect();
            found.retain(|info| newest.iter().all(|name| *name != info.name.as_str()));
        }
        Ok(found)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.enter(Operation::ListFolders, prefix).await?;
        self.inner.list_folders(prefix).await
    }
}

impl Faulty {
    pub(super) fn new(faults: Faults, inner: Opened) -> Self {
        let reader: Arc<dyn SiteReader> = inner.site.clone();
        Self {
            reader: FaultyReader::new(faults, reader),
            inner,
        }
    }

    /// Runs a call that writes, as its fault says.
    async fn write<T>(
        &self,
        operation: Operation,
        name: &ObjectName,
        done: impl Future<Output = Result<T>> + Send,
    ) -> Result<(T, Option<Fault>)> {
        let (_, fault) = self.reader.faults.call(operation, name.as_str());
        match fault {
            Some(Fault::Fail(kind)) => Err(self.reader.failed(kind, operation, name.as_str())),
            Some(Fault::Lost) => Err(self.reader.broke(operation, name.as_str()).indeterminate()),
            Some(Fault::DoneButFailed) => {
                done.await?;
                Err(self.reader.broke(operation, name.as_str()).indeterminate())
            }
            Some(Fault::Delay(pause)) => {
                tokio::time::sleep(pause).await;
                Ok((done.await?, None))
            }
            fault => Ok((done.await?, fault)),
        }
    }

    async fn put(&self, operation: Operation, name: &ObjectName, body: Sealed) -> Result<Put> {
        let done = self.put_by_nature(operation, name, body);
        match self.write(operation, name, done).await? {
            (_, Some(Fault::SentTwice)) => Ok(Put::Exists),
            (put, _) => Ok(put),
        }
    }

    async fn put_by_nature(
        &self,
        operation: Operation,
        name: &ObjectName,
        body: Sealed,
    ) -> Result<Put> {
        let nature = self.reader.faults.plan().nature;
        match (nature, operation) {
            (Nature::Overwriting, _) => self.replace(name, body).await,
            (Nature::Racy, _) => {
                if self.inner.site.head(name).await?.is_some() {
                    return Ok(Put::Exists);
                }
                tokio::time::sleep(THINKING).await;
                self.replace(name, body).await
            }
            (Nature::Sound, Operation::PutPack) => {
                self.made(name, self.inner.site.put_pack(name, body).await)
            }
            (Nature::Sound, _) => self.made(name, self.inner.site.put_new(name, body).await),
        }
    }

    fn made(&self, name: &ObjectName, put: Result<Put>) -> Result<Put> {
        if let Ok(Put::Created) = put {
            self.reader.faults.plan().created.push(name.as_str().into());
        }
        put
    }

    async fn replace(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        while self.inner.site.put_new(name, body.clone()).await? == Put::Exists {
            self.inner.sweeper.delete(name).await?;
        }
        self.made(name, Ok(Put::Created))
    }
}

#[async_trait]
impl SiteReader for Faulty {
    fn name(&self) -> &SiteName {
        self.reader.name()
    }

    fn url(&self) -> &str {
        self.reader.url()
    }

    async fn get(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        self.reader.get(name).await
    }

    async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>> {
        self.reader.get_range(name, range).await
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>> {
        self.reader.head(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectInfo>> {
        self.reader.list(prefix, after).await
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.reader.list_folders(prefix).await
    }
}

#[async_trait]
impl Site for Faulty {
    async fn put_new(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        self.put(Operation::PutNew, name, body).await
    }

    async fn put_pack(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        self.put(Operation::PutPack, name, body).await
    }

    fn now_hint_millis(&self) -> Option<i64> {
        let set = self.reader.faults.plan().now_hint_millis;
        set.or_else(|| self.inner.site.now_hint_millis())
    }

    fn space(&self) -> Result<Option<Space>> {
        self.inner.site.space()
    }

    fn place(&self) -> String {
        self.inner.site.place()
    }

    fn counters(&self) -> Counters {
        self.inner.site.counters()
    }
}

#[async_trait]
impl Sweeper for Faulty {
    async fn replace_damaged(&self, name: &ObjectName, good: Sealed) -> Result<()> {
        let done = self.inner.sweeper.replace_damaged(name, good);
        self.write(Operation::ReplaceDamaged, name, done)
            .await
            .map(|_| ())
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        let done = self.inner.sweeper.delete(name);
        self.write(Operation::Delete, name, done).await.map(|_| ())
    }
}
