//! Epoch numbers and owners, by compare-and-set.
//!
//! Each function is a loop of rounds: read what stands there, decide, and change it only if it is still what was
//! read (its `mod_revision`, which is 0 for a key that does not exist). So a request that was lost on the way back,
//! or that arrives late, can neither be counted twice nor undo something newer.

use etcd_client::{Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp};
use holdfast_format::{Epoch, VaultId};

use super::failure::Failure;
use super::link::{Effect, Link};
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::lease::LeaseId;
use crate::owner::{Acquire, Owner};
use crate::value;

/// Raises a vault's counter to 1 + max(counter, `floor`).
pub(super) async fn issue_epoch(
    link: &Link,
    keys: &Keys,
    vault: VaultId,
    floor: Epoch,
) -> Result<Epoch> {
    let key = keys.epoch(vault);
    link.run("issue an epoch", link.deadline(), Effect::Write, || async {
        let entry = read(link, &key).await?;
        let counter: u64 = match &entry {
            Some(entry) => value::decode(link.name(), &key, entry.value())?,
            None => 0,
        };
        let Some(next) = counter.max(floor.0).checked_add(1) else {
            return Err(
                Error::invalid(format!("epoch floor {floor}"), "it is the last one").into(),
            );
        };
        let raise = TxnOp::put(key.as_str(), value::encode(&next), None);
        // A round whose answer was lost may have raised the counter: then this one raises it further, and the
        // number between is used by nobody. Only a raise that etcd confirmed is handed out.
        Ok(change(link, &key, entry.as_ref(), raise)
            .await?
            .then_some(Epoch(next)))
    })
    .await
}

/// A vault's counter as it stands.
pub(super) async fn epoch_counter(link: &Link, keys: &Keys, vault: VaultId) -> Result<Epoch> {
    let key = keys.epoch(vault);
    link.run(
        "look up an epoch",
        link.deadline(),
        Effect::Read,
        || async {
            match read(link, &key).await? {
                Some(entry) => {
                    let counter = value::decode(link.name(), &key, entry.value())?;
                    Ok(Some(Epoch(counter)))
                }
                None => Ok(Some(Epoch(0))),
            }
        },
    )
    .await
}

/// Makes `wanted` the owner under `lease`, if no other lease holds the vault.
pub(super) async fn acquire(
    link: &Link,
    keys: &Keys,
    vault: VaultId,
    lease: LeaseId,
    wanted: Owner,
) -> Result<Acquire> {
    let key = keys.owner(vault);
    link.run(
        "acquire a vault",
        link.deadline(),
        Effect::Write,
        || async {
            let entry = read(link, &key).await?;
            if let Some(entry) = &entry {
                let owner: Owner = value::decode(link.name(), &key, entry.value())?;
                if entry.lease() != lease.number() {
                    return Ok(Some(Acquire::HeldBy(owner)));
                }
                if owner == wanted {
                    // Held already; or a former round did it and its answer was lost.
                    return Ok(Some(Acquire::Granted));
                }
                owner.check_raise(vault, wanted.epoch)?;
            }
            let options = PutOptions::new().with_lease(lease.number());
            let take = TxnOp::put(key.as_str(), value::encode(&wanted), Some(options));
            match change(link, &key, entry.as_ref(), take).await {
                Ok(true) => Ok(Some(Acquire::Granted)),
                Ok(false) => Ok(None),
                Err(Failure::LeaseGone) => Err(Error::LeaseLost { lease }.into()),
                Err(other) => Err(other),
            }
        },
    )
    .await
}

/// Removes the owner if it stands there under `lease`.
pub(super) async fn release(
    link: &Link,
    keys: &Keys,
    vault: VaultId,
    lease: LeaseId,
) -> Result<()> {
    let key = keys.owner(vault);
    link.run(
        "release a vault",
        link.deadline(),
        Effect::Write,
        || async {
            match read(link, &key).await? {
                Some(entry) if entry.lease() == lease.number() => {
                    let remove = TxnOp::delete(key.as_str(), None);
                    Ok(change(link, &key, Some(&entry), remove)
                        .await?
                        .then_some(()))
                }
                _ => Ok(Some(())),
            }
        },
    )
    .await
}

/// The owner of a vault. Its key goes with its lease, so one that stands is alive.
pub(super) async fn owner(link: &Link, keys: &Keys, vault: VaultId) -> Result<Option<Owner>> {
    let key = keys.owner(vault);
    link.run(
        "look up an owner",
        link.deadline(),
        Effect::Read,
        || async {
            match read(link, &key).await? {
                Some(entry) => Ok(Some(Some(value::decode(link.name(), &key, entry.value())?))),
                None => Ok(Some(None)),
            }
        },
    )
    .await
}

async fn read(link: &Link, key: &str) -> std::result::Result<Option<KeyValue>, Failure> {
    Ok(link.kv().await?.get(key, None).await?.take_kvs().pop())
}

/// Does `change` to `key` if it is still as it was read. `false`: it is not.
async fn change(
    link: &Link,
    key: &str,
    read: Option<&KeyValue>,
    change: TxnOp,
) -> std::result::Result<bool, Failure> {
    let revision = read.map_or(0, KeyValue::mod_revision);
    let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision);
    let txn = Txn::new().when([unchanged]).and_then([change]);
    Ok(link.kv().await?.txn(txn).await?.succeeded())
}
