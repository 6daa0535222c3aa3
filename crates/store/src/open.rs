//! Opens sites by URL: the only way to get one.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use holdfast_context::Context;
use holdfast_format::SiteName;

use crate::bucket::BucketSite;
use crate::error::Result;
use crate::file::FileSite;
use crate::memory::MemorySite;
use crate::options::SiteOptions;
use crate::probe::{probe, prove_again};
use crate::site::{Opened, Site, SiteReader, Sweeper};
use crate::url::SiteUrl;

/// Opens sites for a coordinator: by URL in production, worlds of its own in a simulation.
#[async_trait]
pub trait OpenSites: Debug + Send + Sync {
    /// A site opened for writing, and the right to delete there. Errors as [`open_for_writing`].
    async fn open(&self, name: &SiteName, url: &str, how: Opening) -> Result<Opened>;
}

/// What is known of a site that is opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: what is absent or empty may become a new site.
    New,
    /// It must be a site already.
    Known,
    /// The same, and this process had it open before, so that its creates were proven by a race. One that errs now and then would
    /// hardly ever get through that again.
    Again,
}

/// Opens sites by their URLs, and probes each.
#[derive(Debug, Clone)]
pub struct ByUrl {
    /// Clock, chance, tasks.
    pub context: Context,
    /// How they are spoken to.
    pub options: SiteOptions,
}

#[async_trait]
impl OpenSites for ByUrl {
    async fn open(&self, name: &SiteName, url: &str, how: Opening) -> Result<Opened> {
        let options = SiteOptions {
            create: how == Opening::New,
            ..self.options.clone()
        };
        let opened = open_unproven(&self.context, name.clone(), url, &options).await?;
        match how {
            Opening::Again => prove_again(&self.context, &opened).await?,
            Opening::New | Opening::Known => probe(&self.context, &opened).await?,
        }
        Ok(opened)
    }
}

/// Opens a site for writing, and probes it: a server without an atomic create is refused.
///
/// A `file:` folder that is absent (its parent must be there) or empty becomes a new site, unless the options say that
/// it must be one already; whether a site that is empty should be is for the caller to know. Errors: `Invalid` for a URL or folder that cannot be meant, `Refused` for
/// a server that cannot be used, else what the site answers.
pub async fn open_for_writing(
    context: &Context,
    name: SiteName,
    url: &str,
    options: &SiteOptions,
) -> Result<Opened> {
    let opened = open_unproven(context, name, url, options).await?;
    probe(context, &opened).await?;
    Ok(opened)
}

async fn open_unproven(
    context: &Context,
    name: SiteName,
    url: &str,
    options: &SiteOptions,
) -> Result<Opened> {
    Ok(match url.parse()? {
        SiteUrl::File { path } if options.create => {
            both(FileSite::create(context, name, &path).await?)
        }
        SiteUrl::File { path } => both(FileSite::open_again(context, name, &path).await?),
        SiteUrl::Memory { name: key } => both(MemorySite::create(context, name, &key)),
        SiteUrl::Bucket(url) => both(BucketSite::open(context, name, &url, options)?),
    })
}

/// Opens a site for reading. Never writes, probes or creates anything; a `file:` folder must be there and hold a
/// site, an object store is asked only when something is read.
pub async fn open_for_reading(
    context: &Context,
    name: SiteName,
    url: &str,
    options: &SiteOptions,
) -> Result<Arc<dyn SiteReader>> {
    Ok(match url.parse()? {
        SiteUrl::File { path } => Arc::new(FileSite::open(context, name, &path).await?),
        SiteUrl::Memory { name: key } => Arc::new(MemorySite::open(context, name, &key)?),
        SiteUrl::Bucket(url) => Arc::new(BucketSite::open(context, name, &url, options)?),
    })
}

fn both<S: Site + Sweeper + 'static>(site: S) -> Opened {
    let site = Arc::new(site);
    Opened {
        site: site.clone(),
        sweeper: site,
    }
}
