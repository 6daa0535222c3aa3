//! Sites at object stores, through `object_store`: S3 servers, Azure Blob Storage, Google Cloud Storage.
//!
//! Creating is a `PUT` that the store takes only where nothing is yet. Retries happen below this module, so that a create
//! which landed unseen is answered `Exists`, and a store's answers are judged by what every attempt met (see `wire`,
//! `answer`). What Azure calls a container is a bucket here.
//!
//! State: a connection pool, counters, limits, the store's clock. It must never take a store that did not answer, or a
//! bucket that is gone, for an absent object.

mod amazon;
mod answer;
mod azure;
mod cause;
mod client;
mod credentials;
mod google;
mod paced;
mod retry;
mod trace;
mod underway;
mod upload;
mod versions;
mod wire;
mod writing;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use holdfast_context::Context;
use holdfast_format::{ObjectName, SiteName};
use object_store::aws::AmazonS3;
use object_store::client::HttpClient;
use object_store::list::PaginatedListOptions;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ListResult, ObjectStoreExt as _};
use tokio::time::timeout;

use self::answer::{is_absent, is_past_end, judge, last};
use self::client::{Client, Store};
use self::trace::{Attempts, Trace};
use self::underway::Underway;
use self::wire::Line;
use crate::error::{Error, Kind, Result};
use crate::limit::Class;
use crate::options::SiteOptions;
use crate::prefix;
use crate::site::{ObjectInfo, SiteReader};
use crate::url::{BucketUrl, Dialect};

/// A bucket, or a folder of one.
pub(crate) struct BucketSite {
    name: SiteName,
    url: String,
    /// The folder within the bucket, with a slash behind it; or nothing.
    prefix: String,
    store: Arc<dyn Store>,
    /// The same, where it speaks S3.
    amazon: Option<AmazonS3>,
    /// For the few requests that `object_store` does not know.
    wire: HttpClient,
    line: Arc<Line>,
    options: SiteOptions,
    dialect: Dialect,
    underway: Underway,
    /// Where credentials are looked for: the advice where there are none.
    keys_go: &'static str,
}

impl fmt::Debug for BucketSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketSite({} at {})", self.name, self.url)
    }
}

impl BucketSite {
    /// Prepares to speak to a server; nothing is sent yet.
    pub(crate) fn open(
        context: &Context,
        name: SiteName,
        url: &BucketUrl,
        options: &SiteOptions,
    ) -> Result<Self> {
        let Client {
            store,
            amazon,
            wire,
            line,
        } = Client::new(context, &name, url, options)?;
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
            amazon,
            wire,
            line,
            options: options.clone(),
            dialect: url.dialect,
            underway: Underway::default(),
            keys_go: keys_go(url.dialect),
        })
    }

    fn path(&self, name: &ObjectName) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    fn failed(
        &self,
        verb: &str,
        name: &ObjectName,
        attempts: &Attempts,
        raw: &object_store::Error,
    ) -> Error {
        judge(
            format!("{verb} {name} at site {}", self.name),
            self.keys_go,
            attempts,
            raw,
        )
    }

    /// Reads an object, or a range of it, into memory.
    async fn read(
        &self,
        name: &ObjectName,
        range: Option<GetRange>,
    ) -> (object_store::Result<Bytes>, Attempts) {
        let (path, class) = (self.path(name), Class::of(name));
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        let reading = async {
            let answer = self.store.get_opts(&path, options).await?;
            self.collect(answer, class).await
        };
        let (outcome, attempts) = Trace::of(class, reading).await;
        self.line
            .tally
            .read(outcome.as_ref().map_or(0, |body| body.len() as u64));
        (outcome, attempts)
    }

    /// Takes the bytes of an answer, with a bound on every pause, no faster than the site's allowance.
    async fn collect(&self, answer: GetResult, class: Class) -> object_store::Result<Bytes> {
        let stalled = |why: &str| object_store::Error::Generic {
            store: "site",
            source: why.into(),
        };
        let expected = answer.range.end - answer.range.start;
        let mut stream = answer.into_stream();
        let mut pieces = Vec::new();
        loop {
            match timeout(self.options.answer_timeout, stream.next()).await {
                Ok(Some(piece)) => {
                    let piece = piece?;
                    self.line.limiter.received(class, piece.len()).await;
                    pieces.push(piece);
                }
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
        let (page, attempts) =
            Trace::of(Class::Urgent, self.store.list_paginated(prefix, options)).await;
        let page = page
            .map_err(|raw| {
                judge(
                    format!("listing site {}", self.name),
                    self.keys_go,
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
}

#[async_trait]
impl SiteReader for BucketSite {
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
                let error = self.failed("reading", name, &attempts, &raw).determinate();
                // Some servers answer a range behind an object's end with a success that makes no sense.
                if last(&attempts).is_some_and(|answer| answer.status < 300)
                    && let Ok(Some(found)) = self.head(name).await
                    && found.size < range.end
                {
                    return Err(Error::short(name, &self.name, &range, found.size).because(error));
                }
                Err(error)
            }
        }
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>> {
        let path = self.path(name);
        let (outcome, attempts) = Trace::of(Class::Urgent, self.store.head(&path)).await;
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
        let asked = match self.dialect {
            // `object_store` leaves out of Azure's listings what is named exactly as the prefix.
            Dialect::Azure if !prefix.ends_with('/') => &prefix[..prefix.len().saturating_sub(1)],
            _ => prefix,
        };
        let mut found = Vec::new();
        self.pages(asked, after, None, |page| {
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

fn keys_go(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::S3 => {
            "name a profile of ~/.aws/credentials with profile= in the site's URL, or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY"
        }
        Dialect::Azure => {
            "name a file that holds the account's key with key_file= in the site's URL, or set AZURE_STORAGE_ACCOUNT_KEY"
        }
        Dialect::Google => {
            "name the service account's key file with key_file= in the site's URL, or set GOOGLE_APPLICATION_CREDENTIALS"
        }
    }
}
