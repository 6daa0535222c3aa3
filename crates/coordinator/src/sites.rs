//! The sites that this coordinator knows: opened, or to be opened as soon as they answer.
//!
//! State: for each name its URL and, once it was opened, the site and the right to delete there. A site that cannot be
//! opened blocks nobody; it is tried again. One that does not answer is opened anew before it is used again: what was open may
//! be a disk that is gone, while another stands in its place.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use holdfast_format::SiteName;
use holdfast_store::{Kind, OpenSites, Opened, Opening};
use tokio::sync::{Mutex, MutexGuard};

use crate::error::{Error, Result};

/// The sites.
#[derive(Debug)]
pub struct Sites {
    opener: Arc<dyn OpenSites>,
    known: RwLock<BTreeMap<SiteName, Known>>,
    /// Held by whoever gives a vault its sites.
    turn: Mutex<()>,
}

/// One request's turn to give a vault a site: each is compared with all that came before it. A name that it made known is
/// forgotten as the turn ends, unless it is kept: a URL with a slip in it must not occupy the name.
#[derive(Debug)]
pub struct Joining<'a> {
    sites: &'a Sites,
    fresh: Option<SiteName>,
    _turn: MutexGuard<'a, ()>,
}

impl Joining<'_> {
    /// Makes the site known, for this turn at least.
    pub fn know(&mut self, name: &SiteName, url: &str) -> Result<()> {
        if self.sites.add(name.clone(), url)? {
            self.fresh = Some(name.clone());
        }
        Ok(())
    }

    /// The site is what it should be: its name stays known.
    pub fn keep(&mut self) {
        self.fresh = None;
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.fresh {
            self.sites.write().remove(name);
        }
    }
}

#[derive(Debug, Clone)]
struct Known {
    url: String,
    opened: Option<Opened>,
    /// Somebody got no answer from what is open.
    doubted: bool,
    trouble: String,
    /// It held a vault's records before: a folder that is empty now is likely a disk that is not mounted.
    held: bool,
}

impl Sites {
    /// No sites yet.
    pub fn new(opener: Arc<dyn OpenSites>) -> Self {
        Self {
            opener,
            known: RwLock::default(),
            turn: Mutex::default(),
        }
    }

    /// Waits for the turn to give a vault sites.
    pub async fn turn(&self) -> Joining<'_> {
        Joining {
            sites: self,
            fresh: None,
            _turn: self.turn.lock().await,
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<SiteName, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<SiteName, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a site known. A name that is known under another URL is refused. Whether it is new.
    pub fn add(&self, name: SiteName, url: &str) -> Result<bool> {
        let mut known = self.write();
        match known.get(&name) {
            Some(there) if there.url != url => Err(Error::Invalid(format!(
                "site {name} is known here as {}, not {url}; give it another name",
                there.url
            ))),
            Some(_) => Ok(false),
            None => {
                let trouble = "it was not opened yet".into();
                known.insert(
                    name,
                    Known {
                        url: url.into(),
                        opened: None,
                        doubted: false,
                        trouble,
                        held: false,
                    },
                );
                Ok(true)
            }
        }
    }

    /// A site is known to have held records: from now on it is opened only if it is a site still.
    pub fn held_records(&self, name: &SiteName) {
        if let Some(known) = self.write().get_mut(name) {
            known.held = true;
        }
    }

    /// What is open did not answer: it is opened anew before its next use, and never made a new site by that.
    pub fn doubt(&self, name: &SiteName) {
        if let Some(known) = self.write().get_mut(name) {
            known.doubted = known.opened.is_some();
        }
    }

    /// The site, opened for writing: now, if it was not before.
    pub async fn open(&self, name: &SiteName) -> Result<Opened> {
        let Some(known) = self.read().get(name).cloned() else {
            let there: Vec<String> = self.read().keys().map(ToString::to_string).collect();
            return Err(Error::Missing(format!(
                "site {name} (this coordinator knows: {})",
                there.join(", ")
            )));
        };
        if let Some(opened) = &known.opened
            && !known.doubted
        {
            return Ok(opened.clone());
        }
        let how = match (&known.opened, known.held) {
            (Some(_), _) => Opening::Again,
            (None, true) => Opening::Known,
            (None, false) => Opening::New,
        };
        let opened = self.opener.open(name, &known.url, how).await;
        let mut sites = self.write();
        // It may have been forgotten meanwhile, and be known at another place by now.
        let slot = sites.get_mut(name).filter(|slot| slot.url == known.url);
        let Some(slot) = slot else {
            return Err(Error::Missing(format!("site {name} at {}", known.url)));
        };
        match opened {
            Ok(opened) => {
                if std::mem::take(&mut slot.doubted) {
                    slot.opened = None;
                }
                slot.trouble.clear();
                // Whoever was first wins: one handle per site.
                Ok(slot.opened.get_or_insert(opened).clone())
            }
            Err(error) => {
                slot.trouble = error.to_string();
                Err(match error.kind() {
                    Kind::Retry => Error::Unavailable(error.to_string()),
                    _ => error.into(),
                })
            }
        }
    }

    /// Opens a site that is to belong to a vault beside these.
    pub async fn open_beside(&self, name: &SiteName, others: &[SiteName]) -> Result<Opened> {
        let opened = self.open(name).await?;
        self.must_stand_apart(name, &opened, others)?;
        Ok(opened)
    }

    /// Refuses a site that is one of these under another name: what is written to both would be there once. A folder that
    /// was put in the place of another, or a slip in a URL, can make it so at any time.
    pub fn must_stand_apart<'a>(
        &self,
        name: &SiteName,
        opened: &Opened,
        others: impl IntoIterator<Item = &'a SiteName>,
    ) -> Result<()> {
        let place = opened.site.place();
        let mut others = others.into_iter().filter(|other| *other != name);
        let twin = others.find(|other| {
            let there = self.opened(other);
            there.is_some_and(|there| there.site.place() == place)
        });
        match twin {
            None => Ok(()),
            Some(other) => Err(Error::Invalid(format!(
                "site {name} is the same place as site {other}, {}: what is written to both would be there once. Give each site a \
                 place of its own",
                self.url(other).unwrap_or_default()
            ))),
        }
    }

    /// Opens a site anew and puts it in the place of the one that was open: for a disk that was replaced on purpose. An
    /// empty or absent folder becomes a new site.
    pub async fn reopen(&self, name: &SiteName) -> Result<Opened> {
        let before = self.write().get_mut(name).map(|known| {
            known.doubted = false;
            (
                known.opened.take(),
                std::mem::replace(&mut known.held, false),
            )
        });
        let opened = self.open(name).await;
        if let (Err(_), Some((open, held)), Some(known)) =
            (&opened, before, self.write().get_mut(name))
        {
            known.opened = known.opened.take().or(open);
            known.held |= held;
        }
        opened
    }

    /// All sites: name, URL, why it cannot be used (empty when it can).
    pub fn list(&self) -> Vec<(SiteName, String, String)> {
        let known = self.read();
        known
            .iter()
            .map(|(name, k)| (name.clone(), k.url.clone(), k.trouble.clone()))
            .collect()
    }

    /// The URL of a site.
    pub fn url(&self, name: &SiteName) -> Option<String> {
        self.read().get(name).map(|known| known.url.clone())
    }

    /// The site if it is open already.
    pub fn opened(&self, name: &SiteName) -> Option<Opened> {
        self.read().get(name).and_then(|known| known.opened.clone())
    }
}
