//! Site URLs: how an operator says where a site is.
//!
//! ```text
//! file:/mnt/backup/onsite                          a local folder; the path is taken as written, nothing is decoded
//! memory:NAME                                      this process's memory, for tests and simulation
//! s3://BUCKET/PREFIX?endpoint=URL&region=R&profile=P&ca=PATH
//! az://ACCOUNT/CONTAINER/PREFIX?endpoint=URL&key_file=PATH&ca=PATH
//! gs://BUCKET/PREFIX?endpoint=URL&key_file=PATH&ca=PATH
//! ```
//!
//! Everything behind the bucket may be left out: without `endpoint` it is the provider's own, without `region` the one
//! in the environment, without `profile` or `key_file` the credentials are the environment's or the machine's own. All
//! three take `upload_max=`, `download_max=` and `requests_max=` (see [`Limits`]). A URL never holds credentials: one that
//! does is refused, without being repeated in the message.

mod bucket;
mod limits;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};

pub use bucket::{BucketUrl, Dialect};
pub use limits::{Limits, Rate};

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
    /// A bucket, or a folder of one, at an object store.
    Bucket(Box<BucketUrl>),
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, "reading a site URL", why)
        .next("write file:/absolute/path, s3://BUCKET/PREFIX?endpoint=URL&region=R&profile=P, az://ACCOUNT/CONTAINER/PREFIX or gs://BUCKET/PREFIX")
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
            Some(("s3", _)) => in_bucket(Dialect::S3, text),
            Some(("az", _)) => in_bucket(Dialect::Azure, text),
            Some(("gs", _)) => in_bucket(Dialect::Google, text),
            Some((scheme, _)) => Err(invalid(format!(
                "there is no kind of site called {scheme:?}"
            ))),
            None => Err(invalid("it names no kind of site")),
        }
    }
}

fn in_bucket(dialect: Dialect, text: &str) -> Result<SiteUrl> {
    let url = bucket::read(dialect, text)?;
    Ok(SiteUrl::Bucket(Box::new(url)))
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
    let takes = |part: &str| {
        let key = part.split('=').next().unwrap_or_default();
        part.contains('=') && bucket::PARAMETERS.contains(&key)
    };
    if let Some((_, parameters)) = path.split_once('?')
        && parameters.split('&').any(takes)
    {
        return Err(invalid(
            "file: URLs take no parameters; they would become part of the folder's name",
        ));
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

impl fmt::Display for SiteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SiteUrl::File { path } => write!(f, "file:{}", path.display()),
            SiteUrl::Memory { name } => write!(f, "memory:{name}"),
            SiteUrl::Bucket(site) => site.fmt(f),
        }
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
        check(
            "s3://b?requests_max=8&upload_max=20MiB/s&download_max=800Mbit/s",
            "s3://b?upload_max=20MiB/s&download_max=100MB/s&requests_max=8",
        );
        check("az://account/container", "az://account/container");
        check(
            "az://a/c/p/q/?key_file=/etc/key&endpoint=http://127.0.0.1:10000/a&ca=/c",
            "az://a/c/p/q?endpoint=http://127.0.0.1:10000/a&ca=/c&key_file=/etc/key",
        );
        check("gs://b/p?key_file=/k.json", "gs://b/p?key_file=/k.json");
    }

    #[test]
    fn urls_that_make_no_sense_are_refused_with_advice() {
        check_refused("/mnt/backup", "write file:/mnt/backup");
        check_refused("file:backup", "not absolute");
        check_refused("file:/a?requests_max=16", "no parameters");
        check_refused("file:/a?x=1&region=r", "no parameters");
        assert!("file:/what?".parse::<SiteUrl>().is_ok());
        check_refused("file://server/backup", "host");
        check_refused("file:/", "root");
        check_refused("memory:", "not empty");
        check_refused("ftp://bucket", "\"ftp\"");
        check_refused("backup", "no kind");
        check_refused("s3:///folder", "BUCKET");
        check_refused("s3://bucket/a//b", "single slashes");
        check_refused("s3://bucket?endpoint=ftp://x", "endpoint=");
        check_refused("s3://bucket?ca=ca.pem", "absolute");
        check_refused("s3://bucket?key_file=/k", "no parameter");
        check_refused("s3://bucket?upload_max=20", "20MiB/s");
        check_refused("s3://bucket?upload_max=1KiB/s", "at least");
        check_refused("s3://bucket?requests_max=1", "from 2");
        check_refused("az://account", "CONTAINER");
        check_refused("az://account/container?region=r", "no parameter");
        check_refused("gs://bucket?profile=p", "no parameter");
        check_refused("gs://bucket?key_file=key.json", "absolute");
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        check_refused("s3://key:hunter2@bucket/folder", "holds credentials");
        check_refused(
            "s3://bucket?endpoint=https://key:hunter2@host",
            "holds credentials",
        );
        check_refused("s3://bucket?secret_access_key=hunter2", "no parameter");
        check_refused("az://account:hunter2@c/d", "holds credentials");
        check_refused("az://account/c?sig=hunter2", "no parameter");
    }
}
