//! Site URLs: how an operator says where a site is.
//!
//! ```text
//! file:/mnt/backup/onsite                          a local folder; the path is taken as written, nothing is decoded
//! memory:NAME                                      this process's memory, for tests and simulation
//! s3://BUCKET/PREFIX?endpoint=URL&region=R&profile=P&ca=PATH
//! ```
//!
//! For S3 everything behind the bucket may be left out: without `endpoint` it is Amazon's, without `region` the one
//! in the environment, without `profile` the credentials are the environment's or the machine's own. A URL never
//! holds credentials: one that does is refused, without being repeated in the message.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use crate::error::{Error, Kind, Result};

/// Where a site is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteUrl {
    /// A local folder.
    File {
        /// Its absolute path.
        path: PathBuf,
    },
    /// This process's memory; equal names are the same site.
    Memory {
        /// Its name in this process.
        name: String,
    },
    /// A bucket, or a folder of one, at an S3 server.
    S3(S3Url),
}

/// A bucket, or a folder of one, at an S3 server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Url {
    /// The bucket.
    pub bucket: String,
    /// The folder within it: no slash at either end; empty for the whole bucket.
    pub prefix: String,
    /// The server; Amazon's if absent.
    pub endpoint: Option<Url>,
    /// The region to sign for.
    pub region: Option<String>,
    /// The profile whose credentials are used.
    pub profile: Option<String>,
    /// A PEM file of certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, "reading a site URL", why)
        .next("write file:/absolute/path, s3://BUCKET/PREFIX?endpoint=URL&region=R&profile=P or memory:NAME")
}

impl FromStr for SiteUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with('/') {
            return Err(invalid(format!("{text:?} is a path, not a URL"))
                .next(format!("write file:{text} if you mean that folder")));
        }
        match text.split_once(':') {
            Some(("file", rest)) => file(rest),
            Some(("memory", name)) => memory(name),
            Some(("s3", _)) => s3(text).map(SiteUrl::S3),
            Some((scheme, _)) => Err(invalid(format!(
                "there is no kind of site called {scheme:?}"
            ))),
            None => Err(invalid("it names no kind of site")),
        }
    }
}

fn file(rest: &str) -> Result<SiteUrl> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err(invalid("a file: URL with a host is not supported")),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(invalid(format!("the path {path:?} is not absolute")));
    }
    if path.contains('\0') {
        return Err(invalid("the path holds a zero byte"));
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return Err(invalid("the root of the file system cannot be a site"));
    }
    Ok(SiteUrl::File {
        path: PathBuf::from(trimmed),
    })
}

fn memory(name: &str) -> Result<SiteUrl> {
    let fine = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    if fine {
        Ok(SiteUrl::Memory { name: name.into() })
    } else {
        Err(invalid(
            "the name behind memory: is made of a-z A-Z 0-9 . _ - / and not empty",
        ))
    }
}

fn s3(text: &str) -> Result<S3Url> {
    // Nothing of `text` is repeated in a message before it is known to hold no credentials.
    let url = Url::parse(text).map_err(|_| invalid("the s3: URL cannot be read"))?;
    refuse_credentials(&url, "the URL")?;
    let bucket = url.host_str().unwrap_or_default().to_string();
    if bucket.is_empty() || url.port().is_some() || url.fragment().is_some() {
        return Err(invalid(
            "an s3: URL starts with s3://BUCKET, and the server goes into endpoint=",
        ));
    }
    let mut site = S3Url {
        bucket,
        prefix: prefix(url.path())?,
        endpoint: None,
        region: None,
        profile: None,
        ca: None,
    };
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "endpoint" => site.endpoint = Some(endpoint(&value)?),
            "region" => site.region = Some(value.into_owned()),
            "profile" => site.profile = Some(value.into_owned()),
            "ca" if value.starts_with('/') => site.ca = Some(PathBuf::from(value.as_ref())),
            "ca" => return Err(invalid("ca= is the absolute path of a PEM file")),
            other => {
                return Err(invalid(format!("an s3: URL has no parameter {other:?}"))
                    .next("use endpoint=, region=, profile= or ca=; credentials go into ~/.aws/credentials"));
            }
        }
    }
    Ok(site)
}

fn refuse_credentials(url: &Url, what: &str) -> Result<()> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err(invalid(format!("{what} holds credentials"))
        .next("put them into ~/.aws/credentials and name that profile with profile="))
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

fn endpoint(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|_| invalid("endpoint= is not a URL"))?;
    refuse_credentials(&url, "endpoint=")?;
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

impl fmt::Display for SiteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SiteUrl::File { path } => write!(f, "file:{}", path.display()),
            SiteUrl::Memory { name } => write!(f, "memory:{name}"),
            SiteUrl::S3(site) => site.fmt(f),
        }
    }
}

impl fmt::Display for S3Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let endpoint = self
            .endpoint
            .as_ref()
            .map(|url| url.as_str().trim_end_matches('/').to_string());
        let ca = self.ca.as_ref().map(|path| path.display().to_string());
        let mut separator = '?';
        for (key, value) in [
            ("endpoint", &endpoint),
            ("region", &self.region),
            ("profile", &self.profile),
            ("ca", &ca),
        ] {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        let url: SiteUrl = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(url.to_string(), shown);
        assert_eq!(
            shown.parse::<SiteUrl>().unwrap(),
            url,
            "{shown} reads as what it was written for"
        );
    }

    fn check_refused(text: &str, says: &str) {
        let error = text.parse::<SiteUrl>().expect_err(text);
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains(says), "{text}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{text}: {error}");
    }

    #[test]
    fn urls_are_read_and_written() {
        check("file:/mnt/backup", "file:/mnt/backup");
        check("file:///mnt/backup/", "file:/mnt/backup");
        check("file:/mnt/a disk/100%", "file:/mnt/a disk/100%");
        check("memory:one", "memory:one");
        check("s3://bucket", "s3://bucket");
        check("s3://bucket/", "s3://bucket");
        check(
            "s3://bucket/some/folder/?region=eu-central-1",
            "s3://bucket/some/folder?region=eu-central-1",
        );
        check(
            "s3://b/p?endpoint=http://127.0.0.1:9000&region=r&profile=x&ca=/etc/ca.pem",
            "s3://b/p?endpoint=http://127.0.0.1:9000&region=r&profile=x&ca=/etc/ca.pem",
        );
    }

    #[test]
    fn urls_that_make_no_sense_are_refused_with_advice() {
        check_refused("/mnt/backup", "write file:/mnt/backup");
        check_refused("file:backup", "not absolute");
        check_refused("file://server/backup", "host");
        check_refused("file:/", "root");
        check_refused("memory:", "not empty");
        check_refused("gs://bucket", "\"gs\"");
        check_refused("backup", "no kind");
        check_refused("s3:///folder", "BUCKET");
        check_refused("s3://bucket/a//b", "single slashes");
        check_refused("s3://bucket?endpoint=ftp://x", "endpoint=");
        check_refused("s3://bucket?ca=ca.pem", "absolute");
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        check_refused("s3://key:hunter2@bucket/folder", "holds credentials");
        check_refused(
            "s3://bucket?endpoint=https://key:hunter2@host",
            "holds credentials",
        );
        check_refused("s3://bucket?secret_access_key=hunter2", "no parameter");
    }
}
