//! Packs that are being written to a member straight from memory, by whoever takes them from an agent.
//!
//! State: which. A replicator that comes to the record before such a pack has arrived would read it from the primary for nothing:
//! it waits until that writing has ended, well or not, and then looks what is there.

use std::sync::Arc;

use holdfast_format::{ObjectName, SiteName};
use tokio::sync::watch;

/// See the module header.
#[derive(Debug, Clone)]
pub struct UnderWay(Arc<watch::Sender<Vec<(SiteName, ObjectName)>>>);

/// One such pack, until dropped.
#[derive(Debug)]
pub struct Writing {
    all: UnderWay,
    own: (SiteName, ObjectName),
}

impl Default for UnderWay {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }
}

impl UnderWay {
    /// A pack is being written to a member from now on.
    pub fn begin(&self, site: SiteName, pack: ObjectName) -> Writing {
        let own = (site, pack);
        self.0.send_modify(|all| all.push(own.clone()));
        Writing {
            all: self.clone(),
            own,
        }
    }

    /// Waits until nobody is writing this pack to this member.
    pub async fn ended(&self, site: &SiteName, pack: &ObjectName) {
        let mut changes = self.0.subscribe();
        let is_over = |all: &Vec<(SiteName, ObjectName)>| {
            !all.iter().any(|(at, what)| at == site && what == pack)
        };
        // An error would say that the sender is gone, which this very value keeps.
        let _ = changes.wait_for(is_over).await;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.all.0.send_modify(|all| {
            if let Some(at) = all.iter().position(|one| *one == self.own) {
                all.swap_remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use holdfast_format::{ClaimNonce, Epoch, PackId, PackNumber, VaultId};

    use super::*;

    fn pack(number: u64) -> ObjectName {
        let id = PackId {
            epoch: Epoch(1),
            nonce: ClaimNonce([1; 16]),
            number: PackNumber(number),
        };
        ObjectName::pack(VaultId([1; 16]), id)
    }

    async fn is_over(all: &UnderWay, site: &str, number: u64) -> bool {
        let (site, pack) = (site.parse().unwrap(), pack(number));
        let waiting = all.ended(&site, &pack);
        tokio::time::timeout(Duration::from_millis(1), waiting)
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_whoever_looks_for_the_same_pack_at_the_same_member_waits() {
        let all = UnderWay::default();
        let writing = all.begin("far".parse().unwrap(), pack(1));
        let other = all.begin("far".parse().unwrap(), pack(2));
        assert!(is_over(&all, "near", 1).await);
        assert!(is_over(&all, "far", 3).await);
        assert!(!is_over(&all, "far", 1).await);
        let (far, first) = ("far".parse().unwrap(), pack(1));
        let ((), ()) = tokio::join!(all.ended(&far, &first), async { drop(writing) });
        assert!(!is_over(&all, "far", 2).await);
        drop(other);
        assert!(is_over(&all, "far", 2).await);
    }
}
