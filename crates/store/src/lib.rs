//! Sites: where a vault's objects lie. Adapters, probe, fault-injecting wrapper, conformance suite.
//!
//! [`site`] says what every site can do and what it promises; [`open_for_writing`] and [`open_for_reading`] make one from
//! a URL. Only this crate knows how objects are stored; nothing here knows what they mean.

mod bucket;
pub mod conformance;
mod counters;
pub mod direct;
mod error;
pub mod fault;
mod file;
mod limit;
pub mod memory;
mod open;
mod options;
mod prefix;
mod probe;
pub mod site;
mod url;

pub use counters::Counters;
pub use error::{Error, Kind, Result};
pub use open::{ByUrl, OpenSites, Opening, open_for_reading, open_for_writing};
pub use options::SiteOptions;
pub use probe::probe;
pub use site::{ObjectInfo, Opened, Put, Site, SiteReader, Space, Sweeper};
pub use url::{BucketUrl, Dialect, Limits, Rate, SiteUrl};
