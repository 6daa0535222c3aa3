//! The footers that were read: at most [`FOOTERS_MAX`] of them, each read once.
//!
//! What was read at one site is known for all: its hash stands in the log. Only readers at the same site wait for each
//! other; a site that does not answer keeps nobody waiting who asked another.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use holdfast_format::{Footer, Hash, SiteName};

use crate::error::Result;

/// Footers kept in memory: a pack of small files has about 100 KB of them.
const FOOTERS_MAX: usize = 256;

/// Footers by their hash.
#[derive(Debug, Default)]
pub(super) struct Footers(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    by_hash: HashMap<Hash, Arc<Place>>,
    oldest_first: VecDeque<Hash>,
}

/// One footer: empty until some site gave it.
#[derive(Debug, Default)]
struct Place {
    footer: OnceLock<Arc<Footer>>,
    /// Who holds a site's turn reads it there.
    turns: Mutex<BTreeMap<SiteName, Arc<tokio::sync::Mutex<()>>>>,
}

impl Footers {
    /// The footer of this hash: known, or what `read` gets from `site`.
    pub(super) async fn get(
        &self,
        hash: Hash,
        site: &SiteName,
        read: impl Future<Output = Result<Footer>>,
    ) -> Result<Arc<Footer>> {
        let place = self.place(hash);
        if let Some(known) = place.footer.get() {
            return Ok(known.clone());
        }
        let turn = place.turn(site);
        let _own = turn.lock().await;
        if let Some(known) = place.footer.get() {
            return Ok(known.clone());
        }
        let footer = Arc::new(read.await?);
        Ok(place.footer.get_or_init(|| footer).clone())
    }

    /// Beyond [`FOOTERS_MAX`] the oldest goes.
    fn place(&self, hash: Hash) -> Arc<Place> {
        let mut places = lock(&self.0);
        if let Some(known) = places.by_hash.get(&hash) {
            return known.clone();
        }
        places.oldest_first.push_back(hash);
        if places.oldest_first.len() > FOOTERS_MAX
            && let Some(oldest) = places.oldest_first.pop_front()
        {
            places.by_hash.remove(&oldest);
        }
        places.by_hash.entry(hash).or_default().clone()
    }
}

impl Place {
    fn turn(&self, site: &SiteName) -> Arc<tokio::sync::Mutex<()>> {
        lock(&self.turns).entry(site.clone()).or_default().clone()
    }
}

/// Nothing is left half done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::FutureExt;
    use holdfast_format::{ChunkKind, ClaimNonce, Epoch, PackId, PackNumber, Scope, VaultId};

    use super::*;
    use crate::error::Error;

    fn footer() -> Footer {
        Footer {
            vault: VaultId([1; 16]),
            pack: PackId {
                epoch: Epoch(1),
                nonce: ClaimNonce([2; 16]),
                number: PackNumber(1),
            },
            kind: ChunkKind::Data,
            scope: Scope::vault(),
            keys: vec![],
            frames: vec![],
            chunks: vec![],
        }
    }

    fn site(name: &str) -> SiteName {
        SiteName::new(name).unwrap()
    }

    #[tokio::test]
    async fn a_site_that_does_not_answer_keeps_only_its_own_readers_waiting() {
        let footers = Footers::default();
        let hash = Hash::of(b"a footer");
        let (hung, other) = (site("hung"), site("other"));
        let mut first = Box::pin(footers.get(hash, &hung, futures::future::pending()));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(footers.get(hash, &hung, async { panic!("read twice") }));
        assert!(second.as_mut().now_or_never().is_none());

        let read = footers.get(hash, &other, async { Ok(footer()) }).await;
        assert_eq!(*read.unwrap(), footer());

        // What the other site gave is known for all; who waits for the hung one learns it when its turn comes.
        let known = footers.get(hash, &hung, async { panic!("known") }).await;
        assert_eq!(*known.unwrap(), footer());
        drop(first);
        assert_eq!(*second.await.unwrap(), footer());
    }

    #[tokio::test]
    async fn many_readers_read_once() {
        let footers = Footers::default();
        let hash = Hash::of(b"a footer");
        let name = site("onsite");
        let reads = AtomicU32::new(0);
        let readers = (0..8).map(|_| {
            footers.get(hash, &name, async {
                reads.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(footer())
            })
        });
        for read in futures::future::join_all(readers).await {
            assert_eq!(*read.unwrap(), footer());
        }
        assert_eq!(reads.into_inner(), 1);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let footers = Footers::default();
        let hash = Hash::of(b"a footer");
        let name = site("onsite");
        let bad = async { Err(Error::Corrupt("bad".into())) };
        assert!(footers.get(hash, &name, bad).await.is_err());
        let good = footers.get(hash, &name, async { Ok(footer()) }).await;
        assert_eq!(*good.unwrap(), footer());
    }

    #[tokio::test]
    async fn the_oldest_goes() {
        let footers = Footers::default();
        let name = site("onsite");
        for index in 0..=FOOTERS_MAX {
            let hash = Hash::of(&index.to_le_bytes());
            let read = footers.get(hash, &name, async { Ok(footer()) }).await;
            read.unwrap();
        }
        let places = lock(&footers.0);
        assert_eq!(places.by_hash.len(), FOOTERS_MAX);
        assert!(
            !places
                .by_hash
                .contains_key(&Hash::of(&0usize.to_le_bytes()))
        );
    }
}
