//! Where etcd is and how to be let in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use holdfast_context::Context;

use crate::error::{Error, Result};

/// The prefix that is used unless another is given.
const PREFIX: &str = "/holdfast/";

/// How long one call may take unless another time is given.
const DEADLINE: Duration = Duration::from_secs(5);

/// How often an open connection with calls on it is asked whether it still stands. etcd cuts off clients that ask
/// more often than every 5 s.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// How long it may take to answer that.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// Settings of an [`crate::EtcdPlacement`]. Holds no secret: passwords and keys are named by file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// `host:port` or `http(s)://host:port` of each member. Any one that answers is enough.
    pub endpoints: Vec<String>,
    /// What all keys start with; starts and ends with a slash. Clusters with prefixes of their own share an etcd.
    pub prefix: String,
    /// PEM file of the authority that signed etcd's certificates. Given: TLS.
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate that this coordinator shows; goes with `key`.
    pub cert: Option<PathBuf>,
    /// PEM file of that certificate's private key.
    pub key: Option<PathBuf>,
    /// etcd user; goes with `password_file`.
    pub user: Option<String>,
    /// File whose first line is the user's password.
    pub password_file: Option<PathBuf>,
    /// Longest time that a call takes, with all that is tried again within it.
    pub deadline: Duration,
}

impl EtcdOptions {
    /// The usual prefix and deadline, no TLS, no user.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: PREFIX.into(),
            ca: None,
            cert: None,
            key: None,
            user: None,
            password_file: None,
            deadline: DEADLINE,
        }
    }

    /// How messages call this store.
    pub(super) fn store_name(&self) -> String {
        format!("etcd at {}", self.endpoints.join(","))
    }

    /// Refuses settings that contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        let secure = |endpoint: &String| endpoint.starts_with("https://");
        let wrong = |what: &str, why: &str| Err(Error::invalid(what, why));
        if self.endpoints.is_empty() || self.endpoints.iter().any(|e| e.is_empty()) {
            return wrong("list of etcd endpoints", "name at least one, as host:port");
        }
        if !self.prefix.starts_with('/') || !self.prefix.ends_with('/') || self.prefix == "/" {
            return wrong(
                "etcd prefix",
                "it starts and ends with a slash, with a name between",
            );
        }
        if self.deadline < Duration::from_millis(100) {
            return wrong("etcd deadline", "use 100 ms or more");
        }
        if self.cert.is_some() != self.key.is_some() {
            return wrong("etcd client certificate", "cert and key go together");
        }
        if self.cert.is_some() && self.ca.is_none() {
            return wrong("etcd client certificate", "it needs TLS: give ca as well");
        }
        if self.endpoints.iter().any(secure) && self.ca.is_none() {
            return wrong(
                "etcd endpoint with https",
                "give ca, the authority to trust",
            );
        }
        if self.user.is_some() != self.password_file.is_some() {
            return wrong("etcd user", "user and password-file go together");
        }
        Ok(())
    }

    /// Reads the files named and makes the client library's options.
    pub(super) async fn connect_options(&self, context: &Context) -> Result<ConnectOptions> {
        let named = self.clone();
        context.run_blocking(move || named.read_files()).await
    }

    fn read_files(&self) -> Result<ConnectOptions> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.deadline)
            .with_keep_alive(PROBE_INTERVAL, PROBE_DEADLINE)
            .with_keep_alive_while_idle(false)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(ca) = &self.ca {
            let ca = read_pem(ca, "CERTIFICATE-----")?;
            let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(ca));
            if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
                let cert = read_pem(cert, "CERTIFICATE-----")?;
                tls = tls.identity(Identity::from_pem(cert, read_pem(key, "PRIVATE KEY-----")?));
            }
            options = options.with_tls(tls);
        }
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            let bytes = read(file)?;
            let text = String::from_utf8_lossy(&bytes);
            let password = text.lines().next().unwrap_or_default();
            options = options.with_user(user, password);
        }
        Ok(options)
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        Error::invalid(
            format!("file {}", file.display()),
            format!("it cannot be read: {error}"),
        )
    })
}

/// Reads a PEM file. One without what it should hold would trust or show nothing, and fail far from here.
fn read_pem(file: &Path, holds: &str) -> Result<Vec<u8>> {
    let bytes = read(file)?;
    if String::from_utf8_lossy(&bytes).contains(holds) {
        return Ok(bytes);
    }
    let holds = holds.trim_end_matches('-').to_lowercase();
    let what = format!("file {}", file.display());
    Err(Error::invalid(what, format!("it holds no {holds} in PEM")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fine: bool, change: impl FnOnce(&mut EtcdOptions)) {
        let mut options = EtcdOptions::new(["127.0.0.1:2379"]);
        change(&mut options);
        assert_eq!(options.check().is_ok(), fine, "{options:?}");
    }

    #[test]
    fn a_file_without_pem_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "junk").unwrap();
        let mut options = EtcdOptions::new(["127.0.0.1:2379"]);
        options.ca = Some(file);
        let error = options.read_files().unwrap_err().to_string();
        assert!(
            error.contains("ca.pem") && error.contains("no certificate"),
            "{error}"
        );
        assert!(read_pem(&folder.path().join("absent"), "").is_err());
    }

    #[test]
    fn contradictions_are_refused() {
        check(true, |_| {});
        check(false, |o| o.endpoints.clear());
        check(false, |o| o.prefix = "holdfast/".into());
        check(false, |o| o.prefix = "/".into());
        check(false, |o| {
            o.endpoints = vec!["https://127.0.0.1:2379".into()]
        });
        check(false, |o| o.cert = Some("c.pem".into()));
        check(false, |o| {
            o.cert = Some("c.pem".into());
            o.key = Some("k.pem".into());
        });
        check(true, |o| {
            o.ca = Some("ca.pem".into());
            o.cert = Some("c.pem".into());
            o.key = Some("k.pem".into());
        });
        check(false, |o| o.user = Some("holdfast".into()));
        check(false, |o| o.deadline = Duration::ZERO);
    }
}
