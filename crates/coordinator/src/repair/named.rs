//! What a record names, put back with it: a site that lacks the record may have lost that with it.
//!
//! State: none. It copies only what it verified, and overwrites nothing. What no site has it leaves: it was given up since, or
//! is for a verification to name.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::pack::verify_pack;
use holdfast_format::{Fact, Hash, ObjectName, PackId, Record, Sealed, VaultId};
use holdfast_store::{Opened, SiteReader};
use holdfast_vault::Guard;

use crate::error::Result;

/// An object that a record names, and how it is known to be good.
struct Named {
    name: ObjectName,
    good: Good,
}

enum Good {
    Hash(Hash),
    Pack(PackId, Hash),
}

impl Named {
    fn is_good(&self, object: &Bytes) -> bool {
        match self.good {
            Good::Hash(hash) => Hash::of(object) == hash,
            Good::Pack(id, footer) => verify_pack(id, footer, object).is_ok(),
        }
    }
}

/// What a reader of a record needs. Saved folds only save work.
fn named(vault: VaultId, record: &Record) -> Vec<Named> {
    let mut all = Vec::new();
    for fact in &record.body.facts.0 {
        match fact {
            Fact::SessionOpened(open) => all.push(Named {
                name: ObjectName::session_key(vault, open.key.key, open.key.generation),
                good: Good::Hash(open.key.hash),
            }),
            Fact::RecipientsSet(set) => all.push(Named {
                name: ObjectName::vault_key(vault, set.generation),
                good: Good::Hash(set.vault_key),
            }),
            Fact::PacksAdded(added) => all.extend(added.packs.iter().map(|pack| {
                let id = PackId {
                    epoch: record.body.epoch,
                    nonce: record.body.nonce,
                    number: pack.number,
                };
                Named {
                    name: ObjectName::pack(vault, id),
                    good: Good::Pack(id, pack.footer_hash),
                }
            })),
            _ => {}
        }
    }
    all
}

/// Puts back what a site lacks of what a record names.
///
/// ORDER: before the record. A disk that went back to an older copy of itself lacks both; whoever finds the record there takes what
/// it names for copied.
pub(super) async fn put_back(
    vault: VaultId,
    record: &Record,
    to: &Opened,
    from: &[Arc<dyn SiteReader>],
) -> Result<()> {
    if !Guard::PreviousStands.stands() {
        return Ok(());
    }
    for named in named(vault, record) {
        if to.site.head(&named.name).await?.is_some() {
            continue;
        }
        let Some(object) = good_copy(&named, to, from).await? else {
            continue;
        };
        match named.good {
            Good::Hash(_) => drop(to.site.put_new(&named.name, object).await?),
            Good::Pack(..) => drop(to.site.put_pack(&named.name, object).await?),
        }
    }
    Ok(())
}

/// What another site has; none if no site has it. An error if none of those that answered does.
async fn good_copy(
    named: &Named,
    to: &Opened,
    from: &[Arc<dyn SiteReader>],
) -> Result<Option<Sealed>> {
    let mut failed = None;
    for site in from.iter().filter(|site| site.name() != to.site.name()) {
        match site.get(&named.name).await {
            Ok(Some(object)) if named.is_good(&object) => return Ok(Some(Sealed::copied(object))),
            Ok(_) => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(None), |error| Err(error.into()))
}
