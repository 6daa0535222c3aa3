//! Where a coordinator listens: `HOST:PORT` or `unix:PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// One address to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A name or an address, and a port.
    Tcp {
        /// Without brackets.
        host: String,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// A socket on this machine.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write HOST:PORT, [ADDRESS]:PORT or unix:PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(form.into()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or(form)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(bare) => bare,
            None if host.is_empty() || host.contains([':', '/']) => return Err(form.into()),
            None => host,
        };
        let port = port.parse().map_err(|_| form)?;
        Ok(Self::Tcp {
            host: host.into(),
            port,
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where metrics are served: `HOST:PORT` only, since Prometheus asks by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metrics(pub(crate) Listen);

impl FromStr for Metrics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Listen::Unix(_) => Err("write HOST:PORT or [ADDRESS]:PORT".into()),
            tcp @ Listen::Tcp { .. } => Ok(Self(tcp)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in ["127.0.0.1:7400", "[::1]:0", "host:1", "unix:/run/h.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for bad in ["", "host", "host:x", ":1", "::1:1", "http://h:1", "unix:"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
        assert!("unix:/x".parse::<Metrics>().is_err());
        assert!("[::1]:7421".parse::<Metrics>().is_ok());
    }
}
