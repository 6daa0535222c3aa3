//! One tool with one setting: a peer, or Holdfast.

use std::path::{Path, PathBuf};

use holdfast_tests::tree::restored;

use crate::holdfast::{Holdfast, Way};
use crate::machine::missing;
use crate::measuring::Cost;
use crate::peer::{Peer, Setting};
use crate::peers::PEERS;
use crate::step::Step;
use crate::work::Work;

/// See the module header.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tool {
    Ours(Way),
    Peer(&'static Peer, &'static Setting),
}

/// A tool with a repository.
#[derive(Debug)]
pub(crate) enum Running {
    Ours(Box<Holdfast>),
    Peer(&'static Peer, &'static Setting),
}

impl Tool {
    /// All of them, ours first.
    pub(crate) fn all() -> Vec<Self> {
        let ours = [Way::Socket, Way::Tls].map(Self::Ours);
        let peers = PEERS.iter().flat_map(|peer| {
            peer.settings
                .iter()
                .map(|setting| Self::Peer(peer, setting))
        });
        ours.into_iter().chain(peers).collect()
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Ours(way) => way.name().to_owned(),
            Self::Peer(peer, setting) => setting.of(peer),
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Ours(_))
    }

    /// Whether it is measured on a set.
    pub(crate) fn is_for(self, letter: char) -> bool {
        match self {
            Self::Ours(_) => true,
            Self::Peer(_, setting) => setting.sets.contains(letter),
        }
    }

    /// Whether it compresses a set as ours does, with zstd or not at all.
    pub(crate) fn compresses_alike(self, letter: char) -> bool {
        match self {
            Self::Ours(_) => true,
            Self::Peer(_, setting) => !setting.lz4_on.contains(letter),
        }
    }

    /// Whether its program is among those that were installed.
    pub(crate) fn is_there(self, peers: &Path) -> bool {
        match self {
            Self::Ours(_) => true,
            Self::Peer(peer, _) => missing(peers, peer.name).is_none(),
        }
    }

    /// Makes a repository.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) fn start(self, work: &Work) -> Result<Running, String> {
        match self {
            Self::Ours(way) => Ok(Running::Ours(Box::new(Holdfast::start(way, work)))),
            Self::Peer(peer, setting) => {
                peer.create(setting, work)?;
                Ok(Running::Peer(peer, setting))
            }
        }
    }
}

impl Running {
    /// Runs a step: what it cost, and what else was seen on the way. Nothing if the tool has no such thing.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) fn run(&self, step: Step, work: &Work) -> Result<Vec<(Step, Cost)>, String> {
        match self {
            Self::Ours(holdfast) => holdfast.run(step),
            Self::Peer(peer, setting) => {
                let cost = peer.run(setting, step, work)?;
                Ok(cost.into_iter().map(|cost| (step, cost)).collect())
            }
        }
    }

    /// The folder of its repository.
    pub(crate) fn repository(&self, work: &Work) -> PathBuf {
        match self {
            Self::Ours(holdfast) => holdfast.repository(),
            Self::Peer(..) => work.repository.clone().into(),
        }
    }

    /// Where a restore puts what is in the source.
    pub(crate) fn restored(&self, work: &Work) -> PathBuf {
        let (target, source) = (Path::new(&work.target), Path::new(&work.source));
        match self {
            Self::Peer(peer, _) if !peer.restores_whole_path => target.to_owned(),
            _ => restored(target, source),
        }
    }
}
