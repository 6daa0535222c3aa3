//! What a record names: copied to the member before the record, each object verified against the log.
//!
//! State: the replicator's notes of copies that are bad, at the primary or at the member. It never overwrites: what is damaged
//! at the member is noted with what belongs there, for whoever may replace it.

use std::sync::PoisonError;
use std::time::Duration;

use futures::StreamExt;
use holdfast_format::checkpoint::Manifest;
use holdfast_format::pack::verify_pack;
use holdfast_format::{Fact, Hash, KeyRef, ObjectName, PackId, Position, Record, Sealed};

use super::copying::{Named, Wanted, wanted};
use super::{COPIES_MAX, Replicator};
use crate::error::{Error, Result};
use crate::fold::catalog::PackInfo;
use crate::guard::Guard;
use crate::log::writer::put_same;

/// A pack that somebody else is writing to the member is waited for so long, before it is copied from the primary.
const BESIDE_WAIT: Duration = Duration::from_secs(30);

impl Replicator {
    /// Packs that could not be copied since their copy at the primary is damaged or missing: another member may have good
    /// ones.
    pub fn take_bad(&self) -> Vec<PackInfo> {
        std::mem::take(&mut *self.bad.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Objects at the member that are damaged, and the good ones that belong in their place, verified. A replicator itself
    /// never overwrites.
    pub fn take_wrong(&self) -> Vec<(ObjectName, Sealed)> {
        std::mem::take(&mut *self.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What lies at the member under a name is damaged: the log gives the hash of what belongs there.
    fn note_wrong(&self, name: &ObjectName, good: Sealed) -> Error {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.push((name.clone(), good));
        Error::Corrupt(format!(
            "{name} at site {} is damaged; it is replaced",
            self.target.name()
        ))
    }

    /// Whether the last error was about what lies at the member.
    fn has_wrong(&self) -> bool {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        !wrong.is_empty()
    }

    fn note_bad(&self, pack: PackInfo) {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        bad.push(pack);
    }

    pub(super) async fn put_header(&self) -> Result<()> {
        let header = ObjectName::header(self.vault());
        match self.source.get(&header).await? {
            Some(object) => put_same(self.target.as_ref(), &header, &Sealed::copied(object)).await,
            None => Err(Error::Corrupt(format!(
                "the vault header is missing at site {}",
                self.source.name()
            ))),
        }
    }

    /// Whether anything had to be put.
    pub(super) async fn copy_named(&self, record: &Record) -> Result<bool> {
        let vault = self.vault();
        let mut put = false;
        for fact in &record.body.facts.0 {
            match fact {
                Fact::SessionOpened(open) => put |= self.copy_key(&open.key).await?,
                Fact::RecipientsSet(set) => {
                    let name = ObjectName::vault_key(vault, set.generation);
                    put |= self.copy_hashed(&name, set.vault_key).await?;
                }
                Fact::PacksAdded(added) => {
                    let packs: Vec<PackInfo> = {
                        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
                        let numbers: Vec<_> = added.packs.iter().map(|pack| pack.number).collect();
                        let id = |number| PackId {
                            epoch: record.body.epoch,
                            nonce: record.body.nonce,
                            number,
                        };
                        let named: std::collections::HashSet<PackId> =
                            numbers.into_iter().map(id).collect();
                        let packs = state.catalog.packs.values();
                        packs
                            .filter(|p| named.contains(&p.id))
                            .filter(|p| wanted(named_as(p.condemned)) != Wanted::Not)
                            .cloned()
                            .collect()
                    };
                    let mut copies = futures::stream::iter(packs)
                        .map(|pack| self.copy_pack(pack))
                        .buffer_unordered(COPIES_MAX);
                    while let Some(copied) = copies.next().await {
                        put |= copied?;
                    }
                }
                Fact::CheckpointMade(made) => {
                    put |= self.copy_checkpoint(made.covers, made.manifest).await?;
                }
                _ => {}
            }
        }
        Ok(put)
    }

    async fn copy_key(&self, key: &KeyRef) -> Result<bool> {
        let named = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let known = state.catalog.keys.get(&key.key);
            known.map_or(Named::Swept, |info| named_as(info.condemned))
        };
        let name = ObjectName::session_key(self.vault(), key.key, key.generation);
        match wanted(named) {
            Wanted::Must => {}
            Wanted::WhileThere if self.source.head(&name).await?.is_some() => {}
            Wanted::WhileThere | Wanted::Not => return Ok(false),
        }
        match self.copy_hashed(&name, key.hash).await {
            // A key outlives what was sealed under it while a member may hold a branch, and this member may be the one: a key
            // that is lost and unused must not keep it from ever following.
            Err(Error::Corrupt(why)) if !self.has_wrong() && !self.is_key_used(key) => {
                tracing::warn!(site = %self.target.name(), why, "a key that nothing uses is not copied");
                Ok(false)
            }
            copied => copied,
        }
    }

    /// Whether an open session or a pack that was not given up uses a key.
    fn is_key_used(&self, key: &KeyRef) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let catalog = &state.catalog;
        let mut sessions = catalog.sessions.values();
        let mut packs = catalog.packs.values();
        sessions.any(|session| session.key.key == key.key)
            || packs.any(|pack| pack.condemned.is_none() && pack.keys.contains(&key.key))
    }

    /// Copies a small object whose hash the log gives; whether it had to be put.
    async fn copy_hashed(&self, name: &ObjectName, hash: Hash) -> Result<bool> {
        let there = self.target.get(name).await?;
        if there.as_ref().is_some_and(|there| Hash::of(there) == hash) {
            return Ok(false);
        }
        let Some(object) = self.source.get(name).await? else {
            return Err(Error::Corrupt(format!(
                "{name} is missing at site {}",
                self.source.name()
            )));
        };
        if Hash::of(&object) != hash {
            return Err(Error::Corrupt(format!(
                "{name} at site {} does not have the hash that the log gives",
                self.source.name()
            )));
        }
        if there.is_some() {
            return Err(self.note_wrong(name, Sealed::copied(object)));
        }
        put_same(self.target.as_ref(), name, &Sealed::copied(object)).await?;
        Ok(true)
    }

    async fn copy_pack(&self, pack: PackInfo) -> Result<bool> {
        let name = ObjectName::pack(self.vault(), pack.id);
        // Nothing rests on it: to copy the pack twice costs time only. A disk that was taken away may keep whoever writes there for ever.
        let ended = self.under_way.ended(self.target.name(), &name);
        let _ = tokio::time::timeout(BESIDE_WAIT, ended).await;
        let there = self.target.head(&name).await?;
        if there.as_ref().is_some_and(|info| info.size == pack.len) {
            return Ok(false);
        }
        let _share = self
            .budget
            .take(usize::try_from(pack.len).unwrap_or(usize::MAX))
            .await;
        let Some(object) = self.source.get(&name).await? else {
            // Swept meanwhile? Then the state says so by now, and it is not missed.
            if !self.is_live(&pack) {
                return Ok(false);
            }
            let why = format!("pack {} is missing at site {}", pack.id, self.source.name());
            self.note_bad(pack);
            return Err(Error::Corrupt(why));
        };
        if Guard::CopyVerified.stands()
            && let Err(error) = verify_pack(pack.id, pack.footer_hash, &object)
        {
            // Given up since, it is no more missed than one that was swept: what is damaged for good must not keep the member
            // from ever following.
            if !self.is_live(&pack) {
                return Ok(false);
            }
            let (id, site) = (pack.id, self.source.name());
            let why = format!("pack {id} at site {site}: {error}");
            self.note_bad(pack);
            return Err(Error::Corrupt(why));
        }
        if there.is_some() {
            return Err(self.note_wrong(&name, Sealed::copied(object)));
        }
        self.target.put_pack(&name, Sealed::copied(object)).await?;
        Ok(true)
    }

    fn is_live(&self, pack: &PackInfo) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut packs = state.catalog.packs.values();
        packs.any(|known| known.id == pack.id && known.condemned.is_none())
    }

    async fn copy_checkpoint(&self, covers: Position, hash: Hash) -> Result<bool> {
        let vault = self.vault();
        let name = ObjectName::checkpoint(vault, covers);
        // An older checkpoint may be gone at the primary; the member does without it.
        let Some(object) = self.source.get(&name).await? else {
            return Ok(false);
        };
        let manifest = Manifest::open(vault, covers, hash, &object)?;
        for segment in &manifest.segments {
            let name = ObjectName::segment(vault, segment.hash);
            match self.copy_hashed(&name, segment.hash).await {
                Ok(_) => {}
                // What the primary has lost of a saved fold the member does without.
                Err(Error::Corrupt(_)) if !self.has_wrong() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.copy_hashed(&name, hash).await
    }
}

fn named_as(condemned: Option<Position>) -> Named {
    match condemned {
        Some(_) => Named::Condemned,
        None => Named::Live,
    }
}
