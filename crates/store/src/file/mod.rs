//! Sites in a local folder.
//!
//! One file per object, at the object's name below the site's folder, plus two names that no object has:
//! `.holdfast-site`, the marker that tells this site from an empty mountpoint, and `.holdfast-staging/`, where files
//! are written before they get their names.
//!
//! `object_store`'s `LocalFileSystem` (0.14.2, `with_fsync(true)`) was read and not used: it takes a folder that is
//! gone for an empty one and makes it anew on the next write; a writer that finds a folder which a neighbour has made
//! and not yet synced relies on it all the same; a failed folder sync and a write that never was look alike; staging
//! files of a crash stay for ever.
//!
//! State: which folders are known to be durable, and the bytes of packs under way. It must never answer from a
//! folder that is not the one that was opened, and never make that folder again.

mod below;
mod create;
mod direct;
mod folder;
mod marker;
mod objects;
mod staging;
mod walk;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed, SiteName};

use self::folder::Folder;
use self::objects::Objects;
use crate::counters::Counters;
use crate::error::Result;
use crate::prefix;
use crate::site::{ObjectInfo, Put, Site, SiteReader, Space, Sweeper};

/// A site in a local folder. All work is done on threads that may block.
#[derive(Debug)]
pub(crate) struct FileSite {
    context: Context,
    name: SiteName,
    url: String,
    objects: Arc<Objects>,
}

impl FileSite {
    /// Opens a folder that holds a site; neither makes nor changes anything.
    pub(crate) async fn open(context: &Context, name: SiteName, path: &Path) -> Result<Self> {
        let (site, at) = (name.clone(), path.to_path_buf());
        let folder = context.run_blocking(move || Folder::open(site, at)).await?;
        Ok(Self::over(context, name, path, folder))
    }

    /// Opens a folder for writing: makes it a site if it is absent or empty, and clears away what writers that died
    /// have left.
    pub(crate) async fn create(context: &Context, name: SiteName, path: &Path) -> Result<Self> {
        let (site, at, chance) = (name.clone(), path.to_path_buf(), context.clone());
        let folder = context
            .run_blocking(move || Folder::create(site, at, &chance))
            .await?;
        Ok(Self::over(context, name, path, folder))
    }

    /// Opens a folder for writing that must hold a site already.
    pub(crate) async fn open_again(context: &Context, name: SiteName, path: &Path) -> Result<Self> {
        let (site, at, chance) = (name.clone(), path.to_path_buf(), context.clone());
        let folder = context.run_blocking(move || {
            Folder::open(site.clone(), at.clone())?;
            Folder::create(site, at, &chance)
        });
        Ok(Self::over(context, name, path, folder.await?))
    }

    fn over(context: &Context, name: SiteName, path: &Path, folder: Folder) -> Self {
        Self {
            context: context.clone(),
            name,
            url: format!("file:{}", path.display()),
            objects: Arc::new(Objects::new(folder)),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Objects) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let objects = Arc::clone(&self.objects);
        self.context.run_blocking(move || work(&objects)).await
    }

    async fn put(&self, name: &ObjectName, body: Sealed, bulk: bool) -> Result<Put> {
        let (name, chance) = (name.clone(), self.context.clone());
        self.run(move |objects| objects.put(&name, &body, bulk, &chance))
            .await
    }
}

#[async_trait]
impl SiteReader for FileSite {
    fn name(&self) -> &SiteName {
        &self.name
    }

    fn url(&self) -> &str {
        &self.url
    }

    async fn get(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        let name = name.clone();
        self.run(move |objects| objects.get(&name)).await
    }

    async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>> {
        let name = name.clone();
        self.run(move |objects| objects.get_range(&name, range))
            .await
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>> {
        let name = name.clone();
        self.run(move |objects| objects.head(&name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectInfo>> {
        prefix::check(prefix, &self.name)?;
        let (prefix, after) = (prefix.to_string(), after.cloned());
        self.run(move |objects| objects.list(&prefix, after.as_ref()))
            .await
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        prefix::check_folder(prefix, &self.name)?;
        let prefix = prefix.to_string();
        self.run(move |objects| objects.list_folders(&prefix)).await
    }
}

#[async_trait]
impl Site for FileSite {
    async fn put_new(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        self.put(name, body, false).await
    }

    async fn put_pack(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        self.put(name, body, true).await
    }

    fn now_hint_millis(&self) -> Option<i64> {
        None
    }

    fn space(&self) -> Result<Option<Space>> {
        self.objects.space().map(Some)
    }

    fn place(&self) -> String {
        self.objects.place()
    }

    fn counters(&self) -> Counters {
        self.objects.counters()
    }
}

#[async_trait]
impl Sweeper for FileSite {
    async fn replace_damaged(&self, name: &ObjectName, good: Sealed) -> Result<()> {
        let (name, chance) = (name.clone(), self.context.clone());
        self.run(move |objects| objects.replace(&name, &good, &chance))
            .await
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        let name = name.clone();
        self.run(move |objects| objects.delete(&name)).await
    }
}
