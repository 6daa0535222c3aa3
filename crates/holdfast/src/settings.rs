//! The client's settings file, `client.toml` in the user's configuration folder: how to reach the coordinator.
//!
//! ```toml
//! version = 1
//! coordinator = "https://backup.example:7400"
//!
//! [tls]                 # relative paths are relative to this file
//! ca = "ca.pem"
//! cert = "me.pem"
//! key = "me.key"
//! ```
//!
//! Options and their environment twins win over it. Without it there need be none.

use std::path::{Path, PathBuf};

use holdfast_agent::client::TlsFiles;
use serde::Deserialize;

use crate::failure::{Failure, Outcome};
use crate::folders;

const VERSION: i64 = 1;

/// See the module header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where the coordinator is.
    pub(crate) coordinator: Option<String>,
    /// The files for mutual TLS.
    pub(crate) tls: TlsFiles,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: i64,
    coordinator: Option<String>,
    #[serde(default)]
    tls: Tls,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Tls {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Settings {
    /// Reads the file, if there is one.
    pub(crate) fn load() -> Outcome<Self> {
        let path = folders::config().join("client.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::file(&path, error)),
        }
    }

    fn parse(text: &str, path: &Path) -> Outcome<Self> {
        let file: File = toml::from_str(text).map_err(|error| {
            let why = error.to_string();
            Failure::content(path, why.trim_end())
        })?;
        if file.version != VERSION {
            return Err(Failure::with_advice(
                format!("{}: version {} is not known", path.display(), file.version),
                format!("write version = {VERSION}"),
            ));
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        let beside = |name: Option<PathBuf>| name.map(|name| folder.join(name));
        Ok(Self {
            coordinator: file.coordinator,
            tls: TlsFiles {
                ca: beside(file.tls.ca),
                cert: beside(file.tls.cert),
                key: beside(file.tls.key),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_strictly() {
        let path = Path::new("/home/u/.config/holdfast/client.toml");
        let good = "version = 1\ncoordinator = 'unix:/x'\n[tls]\nca = 'ca.pem'\nkey = '/k'";
        let settings = Settings::parse(good, path).unwrap();
        assert_eq!(settings.coordinator.as_deref(), Some("unix:/x"));
        assert_eq!(
            settings.tls.ca.as_deref(),
            Some(Path::new("/home/u/.config/holdfast/ca.pem"))
        );
        assert_eq!(settings.tls.key.as_deref(), Some(Path::new("/k")));
        for bad in [
            "",
            "version = 2",
            "version = 1\ncordinator = 'x'",
            "version = 1\n[tls]\nc = 'x'",
        ] {
            assert!(Settings::parse(bad, path).is_err(), "{bad}");
        }
    }
}
