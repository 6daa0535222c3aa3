//! What lies at a site: objects, and the condition of the site as a whole. Everything here is durable; what can go wrong on
//! the way to it is the business of `link.rs`.
//!
//! State: the objects. Nobody but links, the rotter and the checkers touches it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_format::{ObjectName, SiteName};
use holdfast_store::{Error, Kind, ObjectInfo, Put, Result, SiteReader};

/// How an object is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rot {
    /// It is gone.
    Missing,
    /// It ends early.
    Truncated,
    /// One bit is wrong.
    Flipped,
    /// All its bytes are zero.
    Zeroed,
}

/// What a site is like now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Condition {
    /// It answers nobody.
    pub down: bool,
    /// It has no room for packs.
    pub full: bool,
    /// It knows no conditions: each create replaces what is there.
    pub overwrites: bool,
    /// It answers for packs that it has not written.
    pub lies: bool,
}

#[derive(Debug, Clone)]
struct Object {
    name: ObjectName,
    body: Bytes,
    modified_millis: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Disk {
    name: SiteName,
    url: String,
    objects: Mutex<BTreeMap<String, Object>>,
    /// What somebody copied of it.
    copy: Mutex<Option<BTreeMap<String, Object>>>,
    condition: Mutex<Condition>,
    /// Which disk it is: a replaced one bears no mark of a site until somebody makes it one.
    mark: Mutex<(u64, bool)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// An empty site.
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: SiteName::new(name).expect("a simulated site has a plain name"),
            url: format!("memory:{name}"),
            objects: Mutex::default(),
            copy: Mutex::default(),
            condition: Mutex::default(),
            mark: Mutex::new((0, true)),
        })
    }

    /// Its URL in the coordinators' configuration.
    pub fn site_url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn site_name(&self) -> &SiteName {
        &self.name
    }

    /// What it is like.
    pub fn condition(&self) -> Condition {
        *lock(&self.condition)
    }

    /// Changes what it is like.
    pub fn change(&self, change: impl FnOnce(&mut Condition)) {
        change(&mut lock(&self.condition));
    }

    /// Creates an object.
    pub fn create(&self, name: &ObjectName, body: Bytes, now_millis: i64) -> Put {
        let mut objects = lock(&self.objects);
        let there = objects.contains_key(name.as_str());
        if there && !self.condition().overwrites {
            return Put::Exists;
        }
        self.insert(&mut objects, name, body, now_millis);
        Put::Created
    }

    /// Puts an object in the place of what is there.
    pub fn replace(&self, name: &ObjectName, body: Bytes, now_millis: i64) {
        self.insert(&mut lock(&self.objects), name, body, now_millis);
    }

    fn insert(
        &self,
        objects: &mut BTreeMap<String, Object>,
        name: &ObjectName,
        body: Bytes,
        now_millis: i64,
    ) {
        let object = Object {
            name: name.clone(),
            body,
            modified_millis: now_millis,
        };
        objects.insert(name.as_str().into(), object);
    }

    /// Deletes an object; whether it was there.
    pub fn delete(&self, name: &str) -> bool {
        lock(&self.objects).remove(name).is_some()
    }

    /// An object's bytes.
    pub fn read(&self, name: &str) -> Option<Bytes> {
        lock(&self.objects)
            .get(name)
            .map(|object| object.body.clone())
    }

    /// The names of all objects that hold `part`.
    pub fn names(&self, part: &str) -> Vec<String> {
        let objects = lock(&self.objects);
        objects
            .keys()
            .filter(|name| name.contains(part))
            .cloned()
            .collect()
    }

    /// The disk is replaced by an empty one.
    pub fn replace_disk(&self) {
        lock(&self.objects).clear();
        *lock(&self.copy) = None;
        let mut mark = lock(&self.mark);
        *mark = (mark.0 + 1, false);
    }

    /// Somebody copies what lies there.
    pub fn copy(&self) {
        *lock(&self.copy) = Some(lock(&self.objects).clone());
    }

    /// What it would lack, or hold otherwise, if it went back to its copy; `None` without one.
    pub fn newer_than_copy(&self) -> Option<Vec<String>> {
        let copy = lock(&self.copy);
        let copy = copy.as_ref()?;
        let objects = lock(&self.objects);
        let newer = objects.iter().filter(|(name, object)| {
            let older = copy.get(*name);
            older.is_none_or(|older| older.body != object.body)
        });
        Some(newer.map(|(name, _)| name.clone()).collect())
    }

    /// It goes back to its copy.
    pub fn roll_back(&self) {
        if let Some(copy) = lock(&self.copy).take() {
            *lock(&self.objects) = copy;
        }
    }

    /// Which disk it is, if it is a site; with `create`, it becomes one.
    pub fn mark(&self, create: bool) -> Option<u64> {
        let mut mark = lock(&self.mark);
        mark.1 |= create;
        mark.1.then_some(mark.0)
    }

    /// Damages an object.
    pub fn rot(&self, name: &str, how: Rot, chance: u64) {
        let mut objects = lock(&self.objects);
        if how == Rot::Missing {
            objects.remove(name);
            return;
        }
        let Some(object) = objects.get_mut(name) else {
            return;
        };
        let mut bytes = object.body.to_vec();
        let at = (chance % bytes.len().max(1) as u64) as usize;
        match how {
            Rot::Truncated => bytes.truncate(at),
            Rot::Zeroed => bytes.fill(0),
            _ if bytes.is_empty() => {}
            _ => bytes[at] ^= 1 << (chance / 7 % 8),
        }
        object.body = bytes.into();
    }

    /// The folders right below a prefix.
    pub fn folders(&self, prefix: &str) -> Vec<String> {
        let found = self.look(prefix, None);
        let folders: BTreeSet<&str> = found
            .iter()
            .filter_map(|info| info.name.as_str().strip_prefix(prefix))
            .filter_map(|rest| Some(rest.split_once('/')?.0))
            .collect();
        folders.into_iter().map(String::from).collect()
    }

    /// What lies behind a prefix.
    pub fn look(&self, prefix: &str, after: Option<&str>) -> Vec<ObjectInfo> {
        let objects = lock(&self.objects);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(_, object)| ObjectInfo {
                name: object.name.clone(),
                size: object.body.len() as u64,
                modified_millis: object.modified_millis,
            })
            .collect()
    }
}

/// The disk as it is, without anything that can go wrong: for the checkers.
#[async_trait]
impl SiteReader for Disk {
    fn name(&self) -> &SiteName {
        &self.name
    }

    fn url(&self) -> &str {
        &self.url
    }

    async fn get(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        Ok(self.read(name.as_str()))
    }

    async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>> {
        let Some(body) = self.read(name.as_str()) else {
            return Ok(None);
        };
        if range.end > body.len() as u64 {
            let why = "it ends before that";
            return Err(Error::new(Kind::Corrupt, format!("reading {name}"), why));
        }
        Ok(Some(body.slice(range.start as usize..range.end as usize)))
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>> {
        let found = self.look(name.as_str(), None);
        Ok(found.into_iter().find(|info| info.name == *name))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectInfo>> {
        Ok(self.look(prefix, after.map(ObjectName::as_str)))
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.folders(prefix))
    }
}
