//! URLs of sites at object stores: `s3:`, `az:` and `gs:`.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::invalid;
use super::limits::Limits;
use crate::error::Result;

/// Whose requests a store understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Amazon S3, and servers that speak as it does.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
}

/// Everything that a URL may say behind its `?`.
pub(super) const PARAMETERS: [&str; 8] = [
    "endpoint",
    "region",
    "profile",
    "ca",
    "key_file",
    "upload_max",
    "download_max",
    "requests_max",
];

impl Dialect {
    /// The scheme of its URLs.
    fn scheme(self) -> &'static str {
        match self {
            Dialect::S3 => "s3",
            Dialect::Azure => "az",
            Dialect::Google => "gs",
        }
    }

    /// How its URLs begin.
    fn start(self) -> &'static str {
        match self {
            Dialect::S3 => "s3://BUCKET",
            Dialect::Azure => "az://ACCOUNT/CONTAINER",
            Dialect::Google => "gs://BUCKET",
        }
    }

    fn takes(self, key: &str) -> bool {
        match key {
            "region" | "profile" => self == Dialect::S3,
            "key_file" => self != Dialect::S3,
            _ => true,
        }
    }

    /// Where its credentials are put instead of into the URL.
    fn credentials_go(self) -> &'static str {
        match self {
            Dialect::S3 => "put them into ~/.aws/credentials and name that profile with profile=",
            Dialect::Azure => "put the account's key into a file and name it with key_file=",
            Dialect::Google => {
                "put the service account's key into a file and name it with key_file="
            }
        }
    }
}

/// A bucket, which Azure calls a container, or a folder of one, at an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    /// Whose requests the store understands.
    pub dialect: Dialect,
    /// The storage account; of Azure only.
    pub account: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// The folder within it: no slash at either end; empty for the whole bucket.
    pub prefix: String,
    /// The server; the provider's own if absent.
    pub endpoint: Option<Url>,
    /// The region to sign for.
    pub region: Option<String>,
    /// The profile whose credentials are used.
    pub profile: Option<String>,
    /// A PEM file of certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// A file with the key of an Azure account or a Google service account.
    pub key_file: Option<PathBuf>,
    /// What may go there at once.
    pub limits: Limits,
}

/// Reads a URL of this dialect.
pub(super) fn read(dialect: Dialect, text: &str) -> Result<BucketUrl> {
    // Nothing of `text` is repeated in a message before it is known to hold no credentials.
    let scheme = dialect.scheme();
    let url = Url::parse(text).map_err(|_| invalid(format!("the {scheme}: URL cannot be read")))?;
    refuse_credentials(&url, "the URL", dialect)?;
    let host = url.host_str().unwrap_or_default().to_string();
    let path = url.path().trim_start_matches('/');
    let (account, bucket, folder) = match dialect {
        Dialect::S3 | Dialect::Google => (None, host.clone(), path),
        Dialect::Azure => {
            let (container, folder) = path.split_once('/').unwrap_or((path, ""));
            (Some(host.clone()), container.to_string(), folder)
        }
    };
    if host.is_empty() || bucket.is_empty() || url.port().is_some() || url.fragment().is_some() {
        let start = dialect.start();
        return Err(invalid(format!(
            "such a URL starts with {start}, and the server goes into endpoint="
        )));
    }
    let mut site = BucketUrl {
        dialect,
        account,
        bucket,
        prefix: prefix(folder)?,
        endpoint: None,
        region: None,
        profile: None,
        ca: None,
        key_file: None,
        limits: Limits::default(),
    };
    for (key, value) in url.query_pairs() {
        parameter(&mut site, &key, &value)?;
    }
    Ok(site)
}

fn parameter(site: &mut BucketUrl, key: &str, value: &str) -> Result<()> {
    let dialect = site.dialect;
    let no_parameter = || {
        let own = match dialect {
            Dialect::S3 => "region=, profile=",
            Dialect::Azure | Dialect::Google => "key_file=",
        };
        invalid(format!("URLs of {}: have no parameter {key:?}", dialect.scheme())).next(format!(
            "use endpoint=, {own}, ca=, upload_max=, download_max= or requests_max= (credentials: {})",
            dialect.credentials_go()
        ))
    };
    if !dialect.takes(key) {
        return Err(no_parameter());
    }
    let path = |what: &str| {
        if value.starts_with('/') {
            Ok(Some(PathBuf::from(value)))
        } else {
            Err(invalid(format!("{key}= is the absolute path of {what}")))
        }
    };
    match key {
        "endpoint" => site.endpoint = Some(endpoint(value, dialect)?),
        "region" => site.region = Some(value.into()),
        "profile" => site.profile = Some(value.into()),
        "ca" => site.ca = path("a PEM file")?,
        "key_file" => site.key_file = path("a file that holds a key")?,
        _ if site.limits.take(key, value).map_err(invalid)? => {}
        _ => return Err(no_parameter()),
    }
    Ok(())
}

fn refuse_credentials(url: &Url, what: &str, dialect: Dialect) -> Result<()> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err(invalid(format!("{what} holds credentials")).next(dialect.credentials_go()))
}

fn prefix(path: &str) -> Result<String> {
    let prefix = path.trim_matches('/');
    let fine = prefix.is_empty()
        || prefix.split('/').all(|part| {
            !matches!(part, "" | "." | "..")
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        });
    if fine {
        Ok(prefix.into())
    } else {
        Err(invalid(
            "the folder within a bucket is made of a-z A-Z 0-9 . _ - and single slashes",
        ))
    }
}

fn endpoint(text: &str, dialect: Dialect) -> Result<Url> {
    let url = Url::parse(text).map_err(|_| invalid("endpoint= is not a URL"))?;
    refuse_credentials(&url, "endpoint=", dialect)?;
    let fine = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.query().is_none()
        && url.fragment().is_none();
    if fine {
        Ok(url)
    } else {
        Err(invalid(
            "endpoint= is written as https://HOST or http://HOST:PORT",
        ))
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.dialect.scheme())?;
        if let Some(account) = &self.account {
            write!(f, "{account}/")?;
        }
        write!(f, "{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let endpoint = self
            .endpoint
            .as_ref()
            .map(|url| url.as_str().trim_end_matches('/').to_string());
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let own = [
            ("endpoint", endpoint),
            ("region", self.region.clone()),
            ("profile", self.profile.clone()),
            ("ca", shown(&self.ca)),
            ("key_file", shown(&self.key_file)),
        ];
        let mut separator = '?';
        for (key, value) in own.into_iter().chain(self.limits.parameters()) {
            if let Some(value) = value {
                let value: String =
                    url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
                // Slashes and colons are fine in a query, and read better as they are.
                let value = value.replace("%2F", "/").replace("%3A", ":");
                write!(f, "{separator}{key}={value}")?;
                separator = '&';
            }
        }
        Ok(())
    }
}
