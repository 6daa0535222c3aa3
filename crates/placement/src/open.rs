//! From a URL in the configuration to a placement store.
//!
//! | URL | store |
//! |---|---|
//! | `embedded:` | a file in the coordinator's data folder |
//! | `etcd://host:port,host:port/prefix?ca=…&cert=…&key=…&user=…&password-file=…` | etcd; TLS if `ca` is given |
//!
//! Without a prefix it is `/holdfast/`. Files are given by absolute path; a character other than `A-Z a-z 0-9 / . _ -`
//! may be written as `%` and two hexadecimal digits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_context::Context;

use crate::embedded::EmbeddedPlacement;
use crate::error::{Error, Result};
use crate::etcd::{EtcdOptions, EtcdPlacement};
use crate::placement::Placement;

/// Opens the placement store that `url` names; `data_dir` is where an embedded one keeps its file.
///
/// Fails with [`crate::ErrorKind::Invalid`] for a URL that it does not understand, and as
/// [`EmbeddedPlacement::open`] and [`EtcdPlacement::open`] do.
pub async fn open(context: Context, url: &str, data_dir: &Path) -> Result<Arc<dyn Placement>> {
    if url == "embedded:" {
        return Ok(Arc::new(EmbeddedPlacement::open(context, data_dir).await?));
    }
    let options = EtcdOptions::from_url(url)?;
    Ok(Arc::new(EtcdPlacement::open(context, options).await?))
}

impl EtcdOptions {
    /// Reads an `etcd://` URL: see the table above.
    pub fn from_url(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("etcd://") else {
            // What was given may hold a password: it is not repeated.
            return Err(Error::invalid(
                "placement url",
                "use embedded: or etcd://HOST:PORT,HOST:PORT/PREFIX",
            ));
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, prefix) = place.split_once('/').unwrap_or((place, ""));
        if hosts.contains('@') {
            return Err(Error::invalid(
                "placement url",
                "it holds no user or password; use ?user=NAME&password-file=FILE",
            ));
        }
        let mut options = Self::new(hosts.split(','));
        for endpoint in &options.endpoints {
            check_endpoint(endpoint)?;
        }
        let prefix = decode(prefix.trim_matches('/'))?;
        if !prefix.is_empty() {
            options.prefix = format!("/{prefix}/");
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(name, decode(text)?)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, text: String) -> Result<()> {
        let wrong = |why: &str| Err(Error::invalid(format!("{name} in the placement url"), why));
        if name == "user" {
            return match text.is_empty() {
                true => wrong("it is empty"),
                false => {
                    self.user = Some(text);
                    Ok(())
                }
            };
        }
        let slot = match name {
            "ca" => &mut self.ca,
            "cert" => &mut self.cert,
            "key" => &mut self.key,
            "password-file" => &mut self.password_file,
            _ => return wrong("known are ca, cert, key, user and password-file"),
        };
        let path = PathBuf::from(text);
        if !path.is_absolute() {
            return wrong("give the absolute path of a file");
        }
        *slot = Some(path);
        Ok(())
    }
}

/// `host:port`, the host perhaps an IPv6 address in brackets.
fn check_endpoint(endpoint: &str) -> Result<()> {
    let fine = endpoint.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty() && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok()
    });
    if fine {
        return Ok(());
    }
    Err(Error::invalid(
        format!("etcd endpoint {endpoint:?}"),
        "write it as HOST:PORT",
    ))
}

/// Resolves `%xx`.
fn decode(text: &str) -> Result<String> {
    let wrong = || Error::invalid("placement url", "% is followed by two hexadecimal digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(wrong()),
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("placement url", "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn check_refused(url: &str, says: &str) {
        let error = EtcdOptions::from_url(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(says), "{url}: {error}");
    }

    #[test]
    fn a_full_url_is_read() {
        let url = "etcd://a:2379,[::1]:2380/team/one?ca=/e/ca.pem&cert=/e/c.pem&key=/e/k%20.pem\
                   &user=holdfast&password-file=/e/pw";
        let options = EtcdOptions::from_url(url).unwrap();
        assert_eq!(options.endpoints, ["a:2379", "[::1]:2380"]);
        assert_eq!(options.prefix, "/team/one/");
        assert_eq!(options.ca, Some("/e/ca.pem".into()));
        assert_eq!(options.cert, Some("/e/c.pem".into()));
        assert_eq!(options.key, Some("/e/k .pem".into()));
        assert_eq!(options.user, Some("holdfast".into()));
        assert_eq!(options.password_file, Some("/e/pw".into()));
    }

    #[test]
    fn the_prefix_has_a_default() {
        for url in ["etcd://a:1", "etcd://a:1/", "etcd://a:1?user=u"] {
            assert_eq!(
                EtcdOptions::from_url(url).unwrap().prefix,
                "/holdfast/",
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        check_refused("http://a:1", "use embedded: or etcd://");
        check_refused("etcd://", "HOST:PORT");
        check_refused("etcd://a", "HOST:PORT");
        check_refused("etcd://a:1,", "HOST:PORT");
        check_refused("etcd://::1:2379", "HOST:PORT");
        check_refused("etcd://a:1?cert_file=/x", "known are");
        check_refused("etcd://a:1?ca=ca.pem", "absolute");
        check_refused("etcd://a:1?ca=/%zz", "hexadecimal");
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let error = EtcdOptions::from_url("etcd://root:hunter2@a:1").unwrap_err();
        assert!(error.to_string().contains("password-file"));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
