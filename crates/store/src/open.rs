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
use crate::probe::probe;
use crate::site::{Opened, Site, SiteReader, Sweeper};
use crate::url::SiteUrl;

/// Opens sites for a coordinator: by URL in production, worlds of its own in a simulation.
#[async_trait]
pub trait OpenSites: Debug + Send + Sync {
    /// A site opened for writing, and the right to delete there. Without `create` it must be a site already. Errors as
    /// [`open_for_writing`].
    async fn open(&self, name: &SiteName, url: &str, create: bool) -> Result<Opened>;
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
    async fn open(&self, name: &SiteName, url: &str, create: bool) -> Result<Opened> {
        let options = SiteOptions {
            create,
            ..self.options.clone()
        };
        open_for_writing(&self.context, name.clone(), url, &options).await
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
    let opened = match url.parse()? {
        SiteUrl::File { path } if options.create => {
            both(FileSite::create(context, name, &path).await?)
        }
        SiteUrl::File { path } => both(FileSite::open_again(context, name, &path).await?),
        SiteUrl::Memory { name: key } => both(MemorySite::create(context, name, &key)),
        SiteUrl::Bucket(url) => both(BucketSite::open(context, name, &url, options)?),
    };
    probe(context, &opened).await?;
    Ok(opened)
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
