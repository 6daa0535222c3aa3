//! Reading frames: from the index to verified sealed bytes, from the first site that gives them.
//!
//! State: a bounded cache of footers. It never opens a frame (it has no key) and never hands out bytes whose hash does
//! not stand in the footer that the log names.

mod footers;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use holdfast_format::{
    ChunkId, Footer, Frame, Hash, ObjectName, PackOrdinal, Scope, SiteName, VaultId,
};
use holdfast_store::SiteReader;

use crate::error::{Error, Result};
use crate::fold::State;
use crate::fold::catalog::PackInfo;

use self::footers::Footers;

/// Frames nearer to each other than this are read in one request.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// The most that one request reads: below what the allocator maps anew each time.
const RUN_BYTES_MAX: u64 = 4 << 20;

/// The frames of one pack that are wanted.
#[derive(Debug, Clone)]
pub struct PackRead {
    /// The pack's ordinal.
    pub ordinal: PackOrdinal,
    /// The pack.
    pub pack: PackInfo,
    /// Wanted frames, and the wanted chunks in each.
    pub frames: BTreeMap<u32, Vec<ChunkId>>,
}

/// A copy that failed its checks at one site while another site's was good, or none was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCopy {
    /// The site.
    pub site: SiteName,
    /// The pack.
    pub pack: PackOrdinal,
    /// What is wrong.
    pub why: String,
}

/// What became of the wanted frames of one pack.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Good frames.
    pub frames: Vec<Frame>,
    /// Wanted chunks that no site gave, with what is wrong at each.
    pub lost: Vec<(ChunkId, String)>,
    /// Those of them of which some site did not answer: it may still have them.
    pub doubtful: HashSet<ChunkId>,
    /// Copies to be repaired.
    pub bad: Vec<BadCopy>,
}

/// Sorts wanted chunks by where they lie. The second part names those that are not live in the scope.
pub fn locate(state: &State, scope: &Scope, ids: &[ChunkId]) -> (Vec<PackRead>, Vec<ChunkId>) {
    let mut packs: BTreeMap<PackOrdinal, PackRead> = BTreeMap::new();
    let mut unknown = Vec::new();
    for id in ids {
        let found = state
            .find(scope, id)
            .and_then(|ordinal| state.index.entry(ordinal));
        let info = found.and_then(|entry| Some((entry, state.catalog.packs.get(&entry.pack)?)));
        let Some((entry, info)) = info else {
            unknown.push(*id);
            continue;
        };
        let read = packs.entry(entry.pack).or_insert_with(|| PackRead {
            ordinal: entry.pack,
            pack: info.clone(),
            frames: BTreeMap::new(),
        });
        read.frames.entry(entry.frame).or_default().push(*id);
    }
    (packs.into_values().collect(), unknown)
}

/// Reads frames of one vault.
#[derive(Debug)]
pub struct FrameReader {
    vault: VaultId,
    footers: Footers,
}

impl FrameReader {
    /// A reader for a vault.
    pub fn new(vault: VaultId) -> Self {
        Self {
            vault,
            footers: Footers::default(),
        }
    }

    /// The footer of a pack, verified against the log.
    pub async fn footer(&self, site: &dyn SiteReader, pack: &PackInfo) -> Result<Arc<Footer>> {
        let read = self.read_footer(site, pack);
        self.footers.get(pack.footer_hash, site.name(), read).await
    }

    async fn read_footer(&self, site: &dyn SiteReader, pack: &PackInfo) -> Result<Footer> {
        let name = ObjectName::pack(self.vault, pack.id);
        let range = pack.footer_offset..pack.footer_offset + pack.footer_len;
        let Some(bytes) = site.get_range(&name, range).await? else {
            return Err(Error::Corrupt(format!(
                "pack {} is missing at site {}",
                pack.id,
                site.name()
            )));
        };
        if Hash::of(&bytes) != pack.footer_hash {
            return Err(Error::Corrupt(format!(
                "the footer of pack {} at site {} does not have the hash that the log gives",
                pack.id,
                site.name()
            )));
        }
        Ok(Footer::decode(&bytes)?)
    }

    /// Reads the wanted frames of one pack, from the first of `sites` that gives each.
    pub async fn fetch(&self, sites: &[Arc<dyn SiteReader>], read: &PackRead) -> Fetched {
        let mut out = Fetched::default();
        let mut wanted: Vec<u32> = read.frames.keys().copied().collect();
        let mut whys: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        let mut unanswered: BTreeSet<u32> = BTreeSet::new();
        for site in sites {
            if wanted.is_empty() {
                break;
            }
            let mut rest = Vec::new();
            let mut failed = |out: &mut Fetched,
                              frame: u32,
                              error: Error,
                              whys: &mut BTreeMap<u32, Vec<String>>| {
                // A site that does not answer says nothing about its copy.
                if matches!(error, Error::Corrupt(_)) {
                    out.bad.push(BadCopy {
                        site: site.name().clone(),
                        pack: read.ordinal,
                        why: error.to_string(),
                    });
                } else {
                    unanswered.insert(frame);
                }
                whys.entry(frame)
                    .or_default()
                    .push(format!("site {}: {error}", site.name()));
            };
            let footer = match self.footer(site.as_ref(), &read.pack).await {
                Ok(footer) => footer,
                Err(error) => {
                    let text = error.to_string();
                    let corrupt = matches!(error, Error::Corrupt(_));
                    for &frame in &wanted {
                        let again = if corrupt {
                            Error::Corrupt(text.clone())
                        } else {
                            Error::Unavailable(text.clone())
                        };
                        failed(&mut out, frame, again, &mut whys);
                    }
                    continue;
                }
            };
            for run in runs(&footer, &wanted) {
                match self.run(site.as_ref(), read, &footer, &run).await {
                    Ok(frames) => {
                        for (frame, result) in run.into_iter().zip(frames) {
                            match result {
                                Ok(good) => out.frames.push(good),
                                Err(error) => {
                                    failed(&mut out, frame, error, &mut whys);
                                    rest.push(frame);
                                }
                            }
                        }
                    }
                    Err(error) => {
                        let text = error.to_string();
                        let corrupt = matches!(error, Error::Corrupt(_));
                        for frame in run {
                            let again = if corrupt {
                                Error::Corrupt(text.clone())
                            } else {
                                Error::Unavailable(text.clone())
                            };
                            failed(&mut out, frame, again, &mut whys);
                            rest.push(frame);
                        }
                    }
                }
            }
            wanted = rest;
        }
        for frame in wanted {
            let why = whys
                .remove(&frame)
                .map_or_else(|| "no site was asked".into(), |w| w.join("; "));
            for id in &read.frames[&frame] {
                out.lost.push((*id, why.clone()));
                if unanswered.contains(&frame) || sites.is_empty() {
                    out.doubtful.insert(*id);
                }
            }
        }
        out
    }

    async fn run(
        &self,
        site: &dyn SiteReader,
        read: &PackRead,
        footer: &Footer,
        run: &[u32],
    ) -> Result<Vec<Result<Frame>>> {
        let corrupt = |why: &str| {
            Error::Corrupt(format!(
                "pack {} at site {}: {why}",
                read.pack.id,
                site.name()
            ))
        };
        let (Some(&first), Some(&last)) = (run.first(), run.last()) else {
            return Ok(vec![]);
        };
        let (Some(from), Some(to)) = (
            footer.frames.get(first as usize),
            footer.frames.get(last as usize),
        ) else {
            return Err(corrupt(
                "the log names a frame that its footer does not have",
            ));
        };
        let range = from.offset..to.offset + u64::from(to.len);
        let name = ObjectName::pack(self.vault, read.pack.id);
        let bytes = site
            .get_range(&name, range)
            .await?
            .ok_or_else(|| corrupt("it is missing"))?;
        let frames = run.iter().map(|&index| {
            let entry = &footer.frames[index as usize];
            let start = (entry.offset - from.offset) as usize;
            let sealed = bytes.slice(start..start + entry.len as usize);
            footer
                .frame(index as usize, sealed)
                .map_err(|error| corrupt(&error.to_string()))
        });
        Ok(frames.collect())
    }
}

/// Groups frames that lie together into runs for one request each.
fn runs(footer: &Footer, wanted: &[u32]) -> Vec<Vec<u32>> {
    let mut runs: Vec<Vec<u32>> = Vec::new();
    let span = |index: u32| {
        footer
            .frames
            .get(index as usize)
            .map(|f| (f.offset, f.offset + u64::from(f.len)))
    };
    for &index in wanted {
        let joined = runs.last_mut().filter(|run| {
            let (Some(first), Some(last), Some(own)) = (
                run.first().and_then(|&i| span(i)),
                run.last().and_then(|&i| span(i)),
                span(index),
            ) else {
                return false;
            };
            own.0 - last.1 <= GAP_BYTES_MAX && own.1 - first.0 <= RUN_BYTES_MAX
        });
        match joined {
            Some(run) => run.push(index),
            None => runs.push(vec![index]),
        }
    }
    runs
}
