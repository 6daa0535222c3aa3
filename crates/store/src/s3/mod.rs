//! Sites at S3 servers, through `object_store`.
//!
//! Creating is `PUT` with `If-None-Match: *`. Retries happen below this module, so that a create which landed unseen
//! is answered `Exists`, and a bucket's answers are judged by what every attempt met (see `wire`, `answer`).
//!
//! State: a connection pool, counters, the server's clock. It must never take a server that did not answer, or a
//! bucket that is gone, for an absent object.

mod answer;
mod client;
mod credentials;
mod upload;
mod versions;
mod wire;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use holdfast_format::{ObjectName, Sealed, SiteName};
use object_store::aws::AmazonS3;
use object_store::client::HttpClient;
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, ListResult, ObjectStore as _, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload,
};
use tokio::time::timeout;

use self::answer::{is_absent, is_past_end, is_taken, judge, last};
use self::client::Client;
use self::wire::{Attempt, Line, Trace};
use crate::counters::Counters;
use crate::error::{Error, Kind, Result};
use crate::options::SiteOptions;
use crate::prefix;
use crate::site::{ObjectInfo, Put, Site, SiteReader, Space, Sweeper};
use crate::url::S3Url;

/// A bucket, or a folder of one.
pub(crate) struct S3Site {
    name: SiteName,
    url: String,
    /// The folder within the bucket, with a slash behind it; or nothing.
    prefix: String,
    store: AmazonS3,
    /// For the few requests that `object_store` does not know.
    wire: HttpClient,
    line: Arc<Line>,
    options: SiteOptions,
}

impl fmt::Debug for S3Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Site({} at {})", self.name, self.url)
    }
}

impl S3Site {
    /// Prepares to speak to a server; nothing is sent yet.
    pub(crate) fn open(name: SiteName, url: &S3Url, options: &SiteOptions) -> Result<Self> {
        let Client { store, wire, line } = Client::new(&name, url, options)?;
        let prefix = if url.prefix.is_empty() {
            String::new()
        } else {
            format!("{}/", url.prefix)
        };
        Ok(Self {
            name,
            url: url.to_string(),
            prefix,
            store,
            wire,
            line,
            options: options.clone(),
        })
    }

    fn path(&self, name: &ObjectName) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    fn failed(
        &self,
        verb: &str,
        name: &ObjectName,
        attempts: &[Attempt],
        raw: &object_store::Error,
    ) -> Error {
        judge(
            format!("{verb} {name} at site {}", self.name),
            &self.name,
            attempts,
            raw,
        )
    }

    /// Reads an object, or a range of it, into memory.
    async fn read(
        &self,
        name: &ObjectName,
        range: Option<GetRange>,
    ) -> (object_store::Result<Bytes>, Vec<Attempt>) {
        let (path, options) = (
            self.path(name),
            GetOptions {
                range,
                ..GetOptions::default()
            },
        );
        let reading = async {
            self.collect(self.store.get_opts(&path, options).await?)
                .await
        };
        let (outcome, attempts) = Trace::of(reading).await;
        self.line
            .tally
            .read(outcome.as_ref().map_or(0, |body| body.len() as u64));
        (outcome, attempts)
    }

    /// Takes the bytes of an answer, with a bound on every pause.
    async fn collect(&self, answer: GetResult) -> object_store::Result<Bytes> {
        let stalled = |why: &str| object_store::Error::Generic {
            store: "S3",
            source: why.into(),
        };
        let expected = answer.range.end - answer.range.start;
        let mut stream = answer.into_stream();
        let mut pieces = Vec::new();
        loop {
            match timeout(self.options.answer_timeout, stream.next()).await {
                Ok(Some(piece)) => pieces.push(piece?),
                Ok(None) => break,
                Err(_) => return Err(stalled("the answer stopped coming")),
            }
        }
        let body = match pieces.as_mut_slice() {
            [one] => std::mem::take(one),
            several => Bytes::from(several.concat()),
        };
        if body.len() as u64 == expected {
            Ok(body)
        } else {
            Err(stalled("the answer ended early"))
        }
    }

    /// One page of a listing below `prefix`.
    async fn page(
        &self,
        prefix: &str,
        options: PaginatedListOptions,
    ) -> Result<(ListResult, Option<String>)> {
        let prefix = format!("{}{prefix}", self.prefix);
        let prefix = (!prefix.is_empty()).then_some(prefix.as_str());
        let (page, attempts) = Trace::of(self.store.list_paginated(prefix, options)).await;
        let page = page
            .map_err(|raw| {
                judge(
                    format!("listing site {}", self.name),
                    &self.name,
                    &attempts,
                    &raw,
                )
            })
            .map_err(Error::determinate)?;
        Ok((
            page.result,
            page.page_token.filter(|token| !token.is_empty()),
        ))
    }

    /// All pages of a listing, each handed to `take`.
    async fn pages(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        delimiter: Option<&'static str>,
        mut take: impl FnMut(ListResult) + Send,
    ) -> Result<()> {
        let mut token = None;
        loop {
            let options = PaginatedListOptions {
                // Servers differ on an offset beside a token; the token knows where it was.
                offset: after
                    .filter(|_| token.is_none())
                    .map(|after| format!("{}{after}", self.prefix)),
                delimiter: delimiter.map(Cow::Borrowed),
                max_keys: self.options.page_names_max,
                page_token: token.take(),
                ..PaginatedListOptions::default()
            };
            let (page, next) = self.page(prefix, options).await?;
            take(page);
            match next {
                Some(next) => token = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Creates an object in one request.
    async fn create(&self, name: &ObjectName, body: &Sealed) -> Result<Put> {
        let payload = PutPayload::from_iter(body.parts().iter().cloned());
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let path = self.path(name);
        match Trace::of(self.store.put_opts(&path, payload, options)).await {
            (Ok(_), _) => Ok(Put::Created),
            (Err(_), attempts) if is_taken(&attempts) => Ok(Put::Exists),
            (Err(raw), attempts) => Err(self.failed("writing", name, &attempts, &raw)),
        }
    }
}

#[async_trait]
impl SiteReader for S3Site {
    fn name(&self) -> &SiteName {
        &self.name
    }

    fn url(&self) -> &str {
        &self.url
    }

    async fn get(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        match self.read(name, None).await {
            (Ok(body), _) => Ok(Some(body)),
            (Err(_), attempts) if is_absent(&attempts) => Ok(None),
            (Err(raw), attempts) => {
                Err(self.failed("reading", name, &attempts, &raw).determinate())
            }
        }
    }

    async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>> {
        if range.is_empty() {
            return Ok(self.head(name).await?.map(|_| Bytes::new()));
        }
        let wanted = range.end - range.start;
        match self
            .read(name, Some(GetRange::Bounded(range.clone())))
            .await
        {
            (Ok(body), _) if body.len() as u64 == wanted => Ok(Some(body)),
            (Ok(body), _) => {
                let has = range.start + body.len() as u64;
                Err(Error::short(name, &self.name, &range, has))
            }
            (Err(_), attempts) if is_absent(&attempts) => Ok(None),
            (Err(_), attempts) if is_past_end(&attempts) => {
                let why = format!(
                    "it ends before byte {}, where {wanted} were asked for",
                    range.start
                );
                Err(Error::at(Kind::Corrupt, "reading", name, &self.name, why))
            }
            (Err(raw), attempts) => {
                Err(self.failed("reading", name, &attempts, &raw).determinate())
            }
        }
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>> {
        let path = self.path(name);
        let (outcome, attempts) = Trace::of(self.store.head(&path)).await;
        let raw = match outcome {
            Ok(meta) => {
                return Ok(Some(ObjectInfo {
                    name: name.clone(),
                    size: meta.size,
                    modified_millis: meta.last_modified.timestamp_millis(),
                }));
            }
            Err(raw) => raw,
        };
        if last(&attempts).is_none_or(|answer| answer.status != 404) {
            return Err(self
                .failed("looking at", name, &attempts, &raw)
                .determinate());
        }
        // An answer to HEAD has no body, so that its 404 does not say what was not found. A GET's does.
        match self.read(name, Some(GetRange::Bounded(0..1))).await {
            (Err(_), attempts) if is_absent(&attempts) => Ok(None),
            (Err(raw), attempts) => Err(self
                .failed("looking at", name, &attempts, &raw)
                .determinate()),
            (Ok(_), _) => {
                let why = "it appeared while it was being looked at";
                Err(Error::at(Kind::Retry, "looking at", name, &self.name, why))
            }
        }
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectInfo>> {
        prefix::check(prefix, &self.name)?;
        let mut found = Vec::new();
        self.pages(prefix, after, None, |page| {
            found.extend(page.objects.into_iter().filter_map(|meta| {
                let name = meta.location.as_ref().strip_prefix(self.prefix.as_str())?;
                let name = ObjectName::parse(name).ok()?;
                let wanted =
                    name.as_str().starts_with(prefix) && after.is_none_or(|after| name > *after);
                wanted.then(|| ObjectInfo {
                    name,
                    size: meta.size,
                    modified_millis: meta.last_modified.timestamp_millis(),
                })
            }));
        })
        .await?;
        // Amazon's directory buckets, and some servers, list in an order of their own.
        found.sort_by(|one, two| one.name.cmp(&two.name));
        found.dedup_by(|one, two| one.name == two.name);
        Ok(found)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        prefix::check_folder(prefix, &self.name)?;
        let above = format!("{}{prefix}", self.prefix);
        let mut found = Vec::new();
        self.pages(prefix, None, Some("/"), |page| {
            found.extend(page.common_prefixes.iter().filter_map(|folder| {
                let folder = folder
                    .as_ref()
                    .strip_prefix(above.as_str())?
                    .trim_end_matches('/');
                ObjectName::parse(folder).ok().map(|_| folder.to_string())
            }));
        })
        .await?;
        found.sort();
        found.dedup();
        Ok(found)
    }
}

#[async_trait]
impl Site for S3Site {
    async fn put_new(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        self.create(name, &body).await
    }

    async fn put_pack(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        if body.len() <= self.options.part_bytes.max(upload::PART_BYTES_MIN) {
            self.create(name, &body).await
        } else {
            self.upload(name, &body).await
        }
    }

    fn now_hint_millis(&self) -> Option<i64> {
        self.line.now_millis()
    }

    fn space(&self) -> Result<Option<Space>> {
        Ok(None)
    }

    fn counters(&self) -> Counters {
        self.line.tally.snapshot()
    }
}

#[async_trait]
impl Sweeper for S3Site {
    async fn replace_damaged(&self, name: &ObjectName, good: Sealed) -> Result<()> {
        if good.len() > self.options.part_bytes.max(upload::PART_BYTES_MIN) {
            return self.upload(name, &good).await.map(|_| ());
        }
        let payload = PutPayload::from_iter(good.parts().iter().cloned());
        let path = self.path(name);
        let putting = self.store.put_opts(&path, payload, PutOptions::default());
        match Trace::of(putting).await {
            (Ok(_), _) => Ok(()),
            (Err(raw), attempts) => Err(self.failed("replacing", name, &attempts, &raw)),
        }
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        let path = self.path(name);
        let (outcome, attempts) = Trace::of(self.store.delete(&path)).await;
        match outcome {
            Ok(()) => {}
            Err(_) if is_absent(&attempts) => {}
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
