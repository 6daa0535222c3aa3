//! The coordinator's configuration file.
//!
//! ```toml
//! version = 1
//! data = "/var/lib/holdfast"
//! listen = ["0.0.0.0:7400"]
//! placement = "embedded:"
//! name = "c1"
//! advertise = ["https://c1.example:7400"]
//! cluster_key = "cluster.key"
//! lease = "10s"
//! metrics = "127.0.0.1:7401"
//!
//! [sites]
//! onsite = "file:/srv/holdfast"
//! offsite = "s3://bucket/prefix?endpoint=https://s3.example&region=eu-1"
//!
//! [tls]                 # relative paths are relative to this file
//! ca = "ca.pem"
//! cert = "c1.pem"
//! key = "c1.key"
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_agent::client::Endpoint;
use holdfast_format::SiteName;
use serde::Deserialize;

use crate::args::{Listen, Metrics, NamedUrl};
use crate::failure::{Failure, Outcome};

const VERSION: i64 = 1;

/// What a coordinator runs with.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Its data folder.
    pub(crate) data: PathBuf,
    /// Where it listens besides its socket.
    pub(crate) listen: Vec<Listen>,
    /// Its sites.
    pub(crate) sites: Vec<NamedUrl>,
    /// The placement store.
    pub(crate) placement: Option<String>,
    /// Its name.
    pub(crate) name: Option<SiteName>,
    /// Where others reach it, if not where it listens.
    pub(crate) advertise: Vec<Endpoint>,
    /// The key that all coordinators of its placement store sign with; its own without one.
    pub(crate) cluster_key: Option<PathBuf>,
    /// How long its lease lasts.
    pub(crate) lease: Duration,
    /// Where it serves metrics; nowhere without.
    pub(crate) metrics: Option<Metrics>,
    /// Mutual TLS.
    pub(crate) ca: Option<PathBuf>,
    /// Mutual TLS.
    pub(crate) cert: Option<PathBuf>,
    /// Mutual TLS.
    pub(crate) key: Option<PathBuf>,
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: i64,
    data: PathBuf,
    #[serde(default)]
    listen: Vec<String>,
    placement: Option<String>,
    name: Option<String>,
    #[serde(default)]
    advertise: Vec<String>,
    cluster_key: Option<PathBuf>,
    lease: Option<String>,
    metrics: Option<String>,
    sites: BTreeMap<String, String>,
    #[serde(default)]
    tls: TlsSection,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Settings {
    /// Of a coordinator that has a folder and sites, and nothing else that is not usual.
    pub(crate) fn usual(data: PathBuf, sites: Vec<NamedUrl>) -> Self {
        Self {
            data,
            listen: Vec::new(),
            sites,
            placement: None,
            name: None,
            advertise: Vec::new(),
            cluster_key: None,
            lease: super::LEASE,
            metrics: None,
            ca: None,
            cert: None,
            key: None,
        }
    }

    /// Reads a file. Unknown keys fail.
    pub(crate) fn load(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder).map_err(|why| {
            Failure::with_advice(
                format!("{}: {why}", path.display()),
                "correct it; `holdfast coordinator --help` and docs/OPERATIONS.md name its keys",
            )
        })
    }

    pub(crate) fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        // First of all: another version may have other keys.
        let Versioned { version } = toml::from_str(text).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!(
                "version {version} is not known; this release reads version {VERSION}"
            ));
        }
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut sites = Vec::new();
        for (name, url) in &file.sites {
            sites.push(
                format!("{name}={url}")
                    .parse::<NamedUrl>()
                    .map_err(|error| format!("site {name:?}: {error}"))?,
            );
        }
        let listen = file.listen.iter().map(|at| {
            at.parse::<Listen>()
                .map_err(|error| format!("listen {at:?}: {error}"))
        });
        let advertise = file.advertise.iter().map(|at| {
            at.parse::<Endpoint>()
                .map_err(|error| format!("advertise {at:?}: {error}"))
        });
        let lease = file.lease.as_deref().map(|lease| {
            super::parse_lease(lease).map_err(|error| format!("lease {lease:?}: {error}"))
        });
        let metrics = file.metrics.as_deref().map(|at| {
            at.parse::<Metrics>()
                .map_err(|error| format!("metrics {at:?}: {error}"))
        });
        Ok(Self {
            advertise: advertise.collect::<Result<_, _>>()?,
            cluster_key: file.cluster_key.map(|path| folder.join(path)),
            lease: lease.transpose()?.unwrap_or(super::LEASE),
            metrics: metrics.transpose()?,
            data: folder.join(file.data),
            listen: listen.collect::<Result<_, _>>()?,
            sites,
            placement: file.placement,
            name: file
                .name
                .map(SiteName::new)
                .transpose()
                .map_err(|error| error.to_string())?,
            ca: file.tls.ca.map(|path| folder.join(path)),
            cert: file.tls.cert.map(|path| folder.join(path)),
            key: file.tls.key.map(|path| folder.join(path)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_named() {
        let good = "version = 1\ndata = \"d\"\nlisten = [\"127.0.0.1:1\"]\n[sites]\na = \"file:/x\"\n[tls]\nca = \"ca.pem\"\n";
        let read = Settings::parse(good, Path::new("/etc/holdfast")).unwrap();
        assert_eq!(read.data, Path::new("/etc/holdfast/d"));
        assert_eq!(read.ca.as_deref(), Some(Path::new("/etc/holdfast/ca.pem")));
        assert_eq!((read.sites.len(), read.listen.len()), (1, 1));
        assert_eq!(read.lease, super::super::LEASE);
        let short = good.replace("version = 1", "version = 1\nlease = \"1s\"");
        assert!(
            Settings::parse(&short, Path::new("/"))
                .unwrap_err()
                .contains("2s to 1h")
        );
        let typo = good.replace("listen", "lisen");
        assert!(
            Settings::parse(&typo, Path::new("/"))
                .unwrap_err()
                .contains("lisen")
        );
        let newer = good.replace("version = 1", "version = 2");
        assert!(
            Settings::parse(&newer, Path::new("/"))
                .unwrap_err()
                .contains("version 2")
        );
        // Whatever else that version has, or has not.
        let newer = Settings::parse("version = 2\nplaces = 3\n", Path::new("/"));
        assert!(newer.unwrap_err().contains("version 2"));
    }
}
