//! The fold: a vault's whole state as a function of its records.

pub mod apply;
pub mod catalog;

use holdfast_format::{ChunkId, Fact, Ordinal, Record, Scope, StateHash, VaultHeader};

use crate::error::{Error, Result};
use crate::index::Index;
use crate::log::chain::Chain;
pub use catalog::Catalog;

/// The state of one vault after some prefix of its log.
#[derive(Debug, Clone)]
pub struct State {
    /// The vault.
    pub header: VaultHeader,
    /// Where the log stands.
    pub chain: Chain,
    /// Everything but the chunks.
    pub catalog: Catalog,
    /// The chunks.
    pub index: Index,
    /// Hash of all entries, for comparing folds.
    pub hash: StateHash,
}

impl State {
    /// The state before the first record.
    pub fn start(header: VaultHeader) -> Self {
        Self {
            chain: Chain::start(&header),
            catalog: Catalog {
                level: header.level,
                ..Catalog::default()
            },
            index: Index::default(),
            hash: StateHash::default(),
            header,
        }
    }

    /// Folds the next record in: checks the chain, then applies each fact. On an error the state is not to be used any more.
    pub fn take(&mut self, record: &Record) -> Result<()> {
        self.chain.take(&self.header, record)?;
        for fact in &record.body.facts.0 {
            self.apply(record, fact).map_err(|why| {
                Error::Corrupt(format!(
                    "record {} of vault {} holds a fact ({}) that cannot be: {why}",
                    record.position(),
                    self.header.name,
                    fact.kind_name(),
                ))
            })?;
        }
        Ok(())
    }

    /// The ordinal of a live chunk in a scope.
    pub fn find(&self, scope: &Scope, id: &ChunkId) -> Option<Ordinal> {
        self.index
            .find(id)
            .find(|&ordinal| self.scope_of(ordinal) == Some(scope))
    }

    /// The scope of a live chunk: its home's.
    pub fn scope_of(&self, ordinal: Ordinal) -> Option<&Scope> {
        let entry = self.index.entry(ordinal)?;
        self.catalog.packs.get(&entry.pack).map(|pack| &pack.scope)
    }

    /// Log time.
    pub fn now_millis(&self) -> i64 {
        self.chain.time_millis
    }

    /// The time that the next record gets: the clock's, but never before the record before.
    pub fn next_time(&self, clock_millis: i64) -> i64 {
        clock_millis.max(self.chain.time_millis)
    }

    fn apply(&mut self, record: &Record, fact: &Fact) -> std::result::Result<(), String> {
        apply::apply(self, record, fact)
    }
}
