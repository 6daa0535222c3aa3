//! One site that the cluster learnt of at run time.

use holdfast_format::SiteName;
use minicbor::{Decode, Encode};

use crate::error::{Error, Result};

/// A site beyond those of the configuration, for every coordinator to know.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SiteEntry {
    /// Its name.
    #[n(0)]
    pub name: SiteName,
    /// Where it lies. Holds no secret: credentials stay in each coordinator's configuration.
    #[n(1)]
    pub url: String,
}

impl SiteEntry {
    /// Refuses an address with a password in it: everybody who reads the placement store would have it.
    pub(crate) fn check(&self) -> Result<()> {
        let Some((_, rest)) = self.url.split_once("://") else {
            return Ok(());
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => Err(Error::invalid(
                format!("url of site {}", self.name),
                "it holds a password; put credentials into the coordinators' configuration",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, fine: bool) {
        let name = SiteName::new("offsite").unwrap();
        let entry = SiteEntry {
            name,
            url: url.into(),
        };
        assert_eq!(entry.check().is_ok(), fine, "{url}");
    }

    #[test]
    fn a_password_in_a_url_is_refused() {
        check("s3://bucket/folder?endpoint=http://127.0.0.1:9000", true);
        check("/srv/backup", true);
        check("abfs://container@account.example/folder", true);
        check("s3://bucket/a:b@c", true);
        check("s3://key:secret@host/bucket", false);
        check("https://user:p@ss@host", false);
    }

    #[test]
    fn the_refusal_does_not_repeat_the_password() {
        let name = SiteName::new("offsite").unwrap();
        let error = SiteEntry {
            name,
            url: "s3://key:hunter2@host".into(),
        }
        .check()
        .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
