//! The chain: checks, link by link, that a history is one.
//!
//! State: where the history stands, and who may write its next record. It must never skip a record. The state of a
//! vault is folded only from records that passed here.

use holdfast_format::{ClaimNonce, Epoch, Hash, Position, PublicKey, Record, Slot, VaultHeader};
use minicbor::{Decode, Encode};

use crate::error::{Error, Result};
use crate::guard::Guard;

/// Where a history stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Chain {
    /// The last record's place; nothing before the first record.
    #[n(0)]
    pub head: Option<Position>,
    /// The last record's hash; before the first record, the header's.
    #[n(1)]
    pub hash: Hash,
    /// The claim's nonce of the head's epoch.
    #[n(2)]
    pub nonce: Option<ClaimNonce>,
    /// Who signs records of the head's epoch.
    #[n(3)]
    pub writer: Option<PublicKey>,
    /// Log time of the head.
    #[n(4)]
    pub time_millis: i64,
    /// If the head is a seal: the epoch that follows, its nonce, and the hash that its claim links to.
    #[n(5)]
    pub sealed: Option<SealedBy>,
}

/// What a seal announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SealedBy {
    /// The epoch that follows.
    #[n(0)]
    pub next_epoch: Epoch,
    /// The nonce of its claim.
    #[n(1)]
    pub next_nonce: ClaimNonce,
}

impl Chain {
    /// The history before its first record.
    pub fn start(header: &VaultHeader) -> Self {
        Self {
            head: None,
            hash: header.chain_hash(),
            nonce: None,
            writer: None,
            time_millis: i64::MIN,
            sealed: None,
        }
    }

    /// Where the next record of this history stands, if it exists: the next slot, or slot 0 of the epoch that a seal
    /// names. The first epoch of every vault is 1.
    pub fn next(&self) -> Position {
        match (self.head, self.sealed) {
            (_, Some(sealed)) => Position {
                epoch: sealed.next_epoch,
                slot: Slot(0),
            },
            (Some(head), None) => Position {
                epoch: head.epoch,
                slot: head.slot.next(),
            },
            (None, None) => Position {
                epoch: Epoch(1),
                slot: Slot(0),
            },
        }
    }

    /// Takes the next record, after checking place, link, time, writer and nonce. Nothing changes on an error.
    pub fn take(&mut self, header: &VaultHeader, record: &Record) -> Result<()> {
        let at = record.position();
        let refuse = |why: &str| {
            Err(Error::Corrupt(format!(
                "the log of vault {} breaks at record {at}: {why}",
                header.name
            )))
        };
        let unsealed = !Guard::SealBeforeClaim.stands() && record.claim().is_some();
        if at != self.next() && !unsealed {
            return refuse("it is not the record that follows");
        }
        if record.body.previous != self.hash {
            return refuse("it does not link to the record before it");
        }
        if record.body.time_millis < self.time_millis {
            return refuse("its time is before that of the record before it");
        }
        let mut next = Self {
            head: Some(at),
            hash: record.hash,
            time_millis: record.body.time_millis,
            sealed: None,
            ..self.clone()
        };
        if let Some(seal) = record.seal() {
            seal.certificate.check(header.vault, &header.root)?;
            if seal.certificate.writer != record.body.writer {
                return refuse("its seal is signed by another than its certificate names");
            }
            if seal.next_epoch <= at.epoch || record.body.nonce != seal.next_nonce {
                return refuse("its seal does not name a later epoch of its own claim");
            }
            if seal.ends_at != at.slot {
                return refuse("its seal belongs to a branch");
            }
            next.sealed = Some(SealedBy {
                next_epoch: seal.next_epoch,
                next_nonce: seal.next_nonce,
            });
        } else if at.slot == Slot(0) {
            let Some(claim) = record.claim() else {
                return refuse("an epoch starts with neither a claim nor a seal");
            };
            claim.certificate.check(header.vault, &header.root)?;
            if claim.certificate.writer != record.body.writer {
                return refuse("its claim is signed by another than its certificate names");
            }
            if self
                .sealed
                .is_some_and(|sealed| sealed.next_nonce != record.body.nonce)
            {
                return refuse("its claim is not the one that the seal names");
            }
            next.nonce = Some(record.body.nonce);
            next.writer = Some(record.body.writer);
        } else {
            if record.claim().is_some() {
                return refuse("a claim stands where none may");
            }
            if Some(record.body.nonce) != self.nonce || Some(record.body.writer) != self.writer {
                return refuse("it was not written by the epoch's claimant");
            }
        }
        *self = next;
        Ok(())
    }
}
