//! Page sources: files of fixed pages, such as a database's, of which a backup stores what changed and not what lies around it.
//!
//! Where 1 % of a file's pages changed at random places, every chunk of the usual length has changed, and cutting by content
//! stores the file again. Here a file is cut into regions of 1 MiB. A **page map** on this machine keeps from the last backup
//! each page's hash and where its bytes lie in the vault; changed pages of many regions are gathered into new chunks, and all
//! else points where it pointed. A snapshot made so is as whole as any: its extents name chunks, and no other snapshot.
//!
//! | file | what |
//! |---|---|
//! | [`recognise`] | which files these are |
//! | [`region`] | what becomes of a region, given what it was; pure |
//! | [`map`] | the page map's bytes |
//! | [`maps`] | the folder of page maps beside the cache |
//! | [`laying`] | gathers changed pages, and lays pieces in order |
//! | [`source`] | reads a file so |
//!
//! A map is used only with the record of the cache that names it, so only if the vault has everything that the file was
//! (see [`super::cache`]). It may be lost or damaged: then regions are read as if for the first time, and their chunks are
//! known or not. It is never believed where it can be checked: a region that is one whole chunk has its id computed from
//! what was read, in the same pass as its pages' hashes, and if all pages are as they were and the id is not, the map goes.

pub(crate) mod laying;
pub(crate) mod map;
pub(crate) mod maps;
pub(crate) mod recognise;
pub(crate) mod region;
pub(crate) mod source;

#[cfg(test)]
mod tests;
