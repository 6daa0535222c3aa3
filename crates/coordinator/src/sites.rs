//! The sites that this coordinator knows: opened, or to be opened as soon as they answer.
//!
//! State: for each name its URL and, once it was opened, the site and the right to delete there. A site that cannot be
//! opened blocks nobody; it is tried again.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use holdfast_context::Context;
use holdfast_format::SiteName;
use holdfast_store::{Kind, Opened, SiteOptions, open_for_writing};

use crate::error::{Error, Result};

/// The sites.
#[derive(Debug)]
pub struct Sites {
    context: Context,
    options: SiteOptions,
    known: RwLock<BTreeMap<SiteName, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    url: String,
    opened: Option<Opened>,
    trouble: String,
}

impl Sites {
    /// No sites yet.
    pub fn new(context: Context, options: SiteOptions) -> Self {
        Self {
            context,
            options,
            known: RwLock::default(),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<SiteName, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<SiteName, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a site known. A name that is known under another URL is refused.
    pub fn add(&self, name: SiteName, url: &str) -> Result<()> {
        let mut known = self.write();
        match known.get(&name) {
            Some(there) if there.url != url => Err(Error::Invalid(format!(
                "site {name} is known here as {}, not {url}; give it another name",
                there.url
            ))),
            Some(_) => Ok(()),
            None => {
                let trouble = "it was not opened yet".into();
                known.insert(
                    name,
                    Known {
                        url: url.into(),
                        opened: None,
                        trouble,
                    },
                );
                Ok(())
            }
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
        if let Some(opened) = known.opened {
            return Ok(opened);
        }
        let opened = open_for_writing(&self.context, name.clone(), &known.url, &self.options).await;
        let mut sites = self.write();
        let Some(slot) = sites.get_mut(name) else {
            return Err(Error::Missing(format!("site {name}")));
        };
        match opened {
            Ok(opened) => {
                // Whoever was first wins: one handle per site.
                let opened = slot.opened.get_or_insert(opened).clone();
                slot.trouble.clear();
                Ok(opened)
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
