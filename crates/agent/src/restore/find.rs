//! Searches a snapshot (`holdfast find`).

use futures::stream::{self, Stream};
use globset::{Candidate, GlobMatcher};
use holdfast_format::tree::{Entry, EntryKind};

use super::list::{Listing, next_listing};
use super::path::{components, joined};
use super::select::glob;
use super::tree::Tree;
use super::walk::Walk;
use crate::error::{Error, Result};

/// What is searched for. Each condition that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct FindOptions {
    /// Globs, of which one must match: the name, or where the glob has a slash the whole path. None: any name.
    pub names: Vec<String>,
    /// Whether letters match in either case.
    pub ignore_case: bool,
    /// Kinds, of which one must be it. None: any kind.
    pub kinds: Vec<EntryKind>,
    /// At least this size, bytes. Only files have one.
    pub size_min: Option<u64>,
    /// At most this size, bytes.
    pub size_max: Option<u64>,
    /// Modified at or after this time, milliseconds since 1970 UTC.
    pub mtime_from_millis: Option<i64>,
    /// Modified before this time, milliseconds since 1970 UTC.
    pub mtime_before_millis: Option<i64>,
}

/// Gives all entries below `path` that meet the options, and what cannot be read there, since it might have.
pub async fn find(
    tree: &Tree,
    path: &[u8],
    options: &FindOptions,
) -> Result<impl Stream<Item = Result<Listing>> + Send + use<>> {
    let filter = Filter::new(options)?;
    let parts = components(path)?;
    let found = tree.find(path).await?;
    let mut path = joined(parts.iter().map(Vec::as_slice));
    let (first, directory) = match found {
        None => {
            path.clear();
            (None, Some(tree.top()))
        }
        Some(item) => (Some(Listing::entry(path.clone(), &item)), item.directory),
    };
    let walk = Walk::below(tree, directory, path);
    Ok(stream::try_unfold(
        (first, walk, filter),
        |(mut first, mut walk, filter)| async move {
            loop {
                let next = match first.take() {
                    Some(first) => Some(first),
                    None => next_listing(&mut walk, true).await?,
                };
                let Some(listing) = next else {
                    return Ok(None);
                };
                let wanted = match &listing {
                    Listing::Damaged { .. } => true,
                    Listing::Entry(listed) => filter.meets(&listed.path, &listed.entry),
                };
                if wanted {
                    return Ok(Some((listing, (None, walk, filter))));
                }
            }
        },
    ))
}

struct Filter {
    options: FindOptions,
    /// Each glob, and whether it is for the whole path.
    globs: Vec<(GlobMatcher, bool)>,
}

impl Filter {
    fn new(options: &FindOptions) -> Result<Self> {
        let globs = options.names.iter().map(|name| {
            let whole = name.contains('/');
            let pattern = match whole && !name.starts_with('/') && !name.starts_with("**") {
                true => format!("/{name}"),
                false => name.clone(),
            };
            match glob(&pattern, options.ignore_case) {
                Ok(glob) => Ok((glob, whole)),
                Err(why) => Err(Error::Invalid {
                    what: format!("pattern {name}"),
                    why,
                }),
            }
        });
        Ok(Self {
            globs: globs.collect::<Result<_>>()?,
            options: options.clone(),
        })
    }

    fn meets(&self, path: &[u8], entry: &Entry) -> bool {
        let options = &self.options;
        let named = || {
            self.globs.iter().any(|(glob, whole)| {
                let text = if *whole { path } else { &entry.name };
                glob.is_match_candidate(&Candidate::from_bytes(text))
            })
        };
        let sized = options.size_min.is_none() && options.size_max.is_none()
            || entry.kind == EntryKind::File
                && entry.size >= options.size_min.unwrap_or(0)
                && entry.size <= options.size_max.unwrap_or(u64::MAX);
        let millis =
            i128::from(entry.mtime_seconds) * 1000 + i128::from(entry.mtime_nanos / 1_000_000);
        (self.globs.is_empty() || named())
            && (options.kinds.is_empty() || options.kinds.contains(&entry.kind))
            && sized
            && options
                .mtime_from_millis
                .is_none_or(|from| millis >= i128::from(from))
            && options
                .mtime_before_millis
                .is_none_or(|before| millis < i128::from(before))
    }
}
