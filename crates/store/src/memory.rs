//! Sites in this process's memory, for tests and simulation.
//!
//! A process-wide registry keeps one store per name, so that several handles, as of several coordinators in one
//! simulation, see the same objects. State: those stores. A store lives until [`forget`] drops it and the last
//! handle is gone.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed, SiteName};

use crate::counters::{Counters, Request, Tally};
use crate::error::{Error, Kind, Result};
use crate::prefix;
use crate::site::{ObjectInfo, Put, Site, SiteReader, Space, Sweeper};

/// All stores of this process, by the name behind `memory:`.
static STORES: Mutex<BTreeMap<String, Arc<Store>>> = Mutex::new(BTreeMap::new());

/// Takes the store `name` out of the registry: the next `memory:name` that is opened for writing is empty.
/// Handles that are open keep the old one.
pub fn forget(name: &str) {
    lock(&STORES).remove(name);
}

#[derive(Default)]
struct Store {
    objects: Mutex<BTreeMap<String, Object>>,
}

struct Object {
    name: ObjectName,
    body: Bytes,
    modified_millis: i64,
}

/// One handle on a store.
pub(crate) struct MemorySite {
    context: Context,
    name: SiteName,
    url: String,
    store: Arc<Store>,
    tally: Tally,
}

impl fmt::Debug for MemorySite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemorySite({} at {})", self.name, self.url)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding these locks cannot leave a map half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemorySite {
    /// Opens `memory:key`, making it if it is not there.
    pub(crate) fn create(context: &Context, name: SiteName, key: &str) -> Self {
        let store = Arc::clone(lock(&STORES).entry(key.into()).or_default());
        Self::over(context, name, key, store)
    }

    /// Opens `memory:key`, which must be there.
    pub(crate) fn open(context: &Context, name: SiteName, key: &str) -> Result<Self> {
        let store = lock(&STORES).get(key).cloned();
        let store = store.ok_or_else(|| {
            Error::new(
                Kind::Retry,
                format!("opening site {name}"),
                format!("nobody has opened memory:{key} for writing in this process"),
            )
        })?;
        Ok(Self::over(context, name, key, store))
    }

    fn over(context: &Context, name: SiteName, key: &str, store: Arc<Store>) -> Self {
        Self {
            context: context.clone(),
            name,
            url: format!("memory:{key}"),
            store,
            tally: Tally::default(),
        }
    }

    fn look<T>(&self, name: &ObjectName, of: impl FnOnce(&Object) -> T) -> Option<T> {
        lock(&self.store.objects).get(name.as_str()).map(of)
    }

    fn object(&self, name: &ObjectName, body: &Sealed) -> Object {
        self.tally.request(Request::Put);
        self.tally.written(body.len());
        Object {
            name: name.clone(),
            body: body.to_bytes(),
            modified_millis: self.context.now_millis(),
        }
    }

    fn put(&self, name: &ObjectName, body: &Sealed) -> Put {
        let object = self.object(name, body);
        match lock(&self.store.objects).entry(name.as_str().into()) {
            Entry::Occupied(_) => Put::Exists,
            Entry::Vacant(place) => {
                place.insert(object);
                Put::Created
            }
        }
    }
}

fn info(object: &Object) -> ObjectInfo {
    ObjectInfo {
        name: object.name.clone(),
        size: object.body.len() as u64,
        modified_millis: object.modified_millis,
    }
}

#[async_trait]
impl SiteReader for MemorySite {
    fn name(&self) -> &SiteName {
        &self.name
    }

    fn url(&self) -> &str {
        &self.url
    }

    async fn get(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        self.tally.request(Request::Get);
        let body = self.look(name, |object| object.body.clone());
        self.tally
            .read(body.as_ref().map_or(0, |body| body.len() as u64));
        Ok(body)
    }

    async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>> {
        self.tally.request(Request::Get);
        let Some(body) = self.look(name, |object| object.body.clone()) else {
            return Ok(None);
        };
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        if range.end > body.len() as u64 {
            return Err(Error::short(name, &self.name, &range, body.len() as u64));
        }
        self.tally.read(range.end - range.start);
        Ok(Some(body.slice(range.start as usize..range.end as usize)))
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>> {
        self.tally.request(Request::Head);
        Ok(self.look(name, info))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectInfo>> {
        prefix::check(prefix, &self.name)?;
        self.tally.request(Request::List);
        let objects = lock(&self.store.objects);
        let from = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        Ok(objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(_, object)| info(object))
            .collect())
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        prefix::check_folder(prefix, &self.name)?;
        self.tally.request(Request::List);
        let objects = lock(&self.store.objects);
        let folders: BTreeSet<&str> = objects
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map_while(|(name, _)| name.strip_prefix(prefix))
            .filter_map(|rest| Some(rest.split_once('/')?.0))
            .collect();
        Ok(folders.into_iter().map(String::from).collect())
    }
}

#[async_trait]
impl Site for MemorySite {
    async fn put_new(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        Ok(self.put(name, &body))
    }

    async fn put_pack(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        Ok(self.put(name, &body))
    }

    fn now_hint_millis(&self) -> Option<i64> {
        None
    }

    fn space(&self) -> Result<Option<Space>> {
        Ok(None)
    }

    fn place(&self) -> String {
        self.url.clone()
    }

    fn counters(&self) -> Counters {
        self.tally.snapshot()
    }
}

#[async_trait]
impl Sweeper for MemorySite {
    async fn replace_damaged(&self, name: &ObjectName, good: Sealed) -> Result<()> {
        let object = self.object(name, &good);
        lock(&self.store.objects).insert(name.as_str().into(), object);
        Ok(())
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        self.tally.request(Request::Delete);
        lock(&self.store.objects).remove(name.as_str());
        Ok(())
    }
}
