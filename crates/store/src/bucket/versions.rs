//! Deleting for good in buckets that keep versions.
//!
//! There a plain deletion only hides an object behind a marker. `object_store` does not know versions, so these
//! requests are signed through its presigned URLs and sent over the same wire. Such a URL is a credential while it is
//! valid: it is never shown.

use std::time::Duration;

use holdfast_format::ObjectName;
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};

use super::BucketSite;
use super::answer::{judge, last};
use super::trace::Trace;
use super::wire::element;
use crate::error::{Error, Kind, Result};
use crate::limit::Class;

/// How long a signed URL is good for.
const VALID: Duration = Duration::from_secs(300);

/// Pages of versions of one object that are worked through; each holds up to a thousand.
const PAGES_MAX: usize = 1000;

impl BucketSite {
    /// Deletes all versions of an object, and the markers that hide them.
    pub(super) async fn delete_versions(&self, name: &ObjectName) -> Result<()> {
        let key = self.path(name);
        for _ in 0..PAGES_MAX {
            // Versions of this key come first among those whose keys start like it; each page that was worked off
            // makes room for the next.
            let query = [("versions", ""), ("prefix", key.as_ref())];
            let page = self
                .signed(name, Method::GET, &Path::default(), &query)
                .await?;
            let versions = versions(&page, key.as_ref());
            if versions.is_empty() {
                return Ok(());
            }
            for version in versions {
                self.signed(name, Method::DELETE, &key, &[("versionId", version)])
                    .await?;
            }
        }
        let why = "its versions did not come to an end";
        Err(Error::at(Kind::Retry, "deleting", name, &self.name, why).indeterminate())
    }

    /// Sends a signed request without a body; gives its answer's body.
    async fn signed(
        &self,
        name: &ObjectName,
        method: Method,
        path: &Path,
        query: &[(&str, &str)],
    ) -> Result<String> {
        let sending = self.send(method, path, query);
        let (outcome, attempts) = Trace::of(Class::of(name), sending).await;
        let raw = match (outcome, last(&attempts)) {
            (Ok(body), Some(answer)) if (200..300).contains(&answer.status) => return Ok(body),
            // A version that is gone already is fine.
            (Ok(_), Some(answer))
                if matches!(answer.code.as_str(), "NoSuchVersion" | "NoSuchKey") =>
            {
                return Ok(String::new());
            }
            (Ok(_), _) => generic("the server refused"),
            (Err(raw), _) => raw,
        };
        let doing = format!("deleting all versions of {name} at site {}", self.name);
        Err(judge(doing, self.keys_go, &attempts, &raw).indeterminate())
    }

    async fn send(
        &self,
        method: Method,
        path: &Path,
        query: &[(&str, &str)],
    ) -> object_store::Result<String> {
        let options = SignedUrlOptions::default().with_query(query.iter().copied());
        let Some(amazon) = &self.amazon else {
            return Err(generic("only S3 servers say that they keep versions"));
        };
        let url = amazon
            .signed_url_opts(method.clone(), path, VALID, &options)
            .await?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|_| generic("a signed URL could not be read"))?;
        let response = self
            .wire
            .execute(request)
            .await
            .map_err(|_| generic("the request failed"))?;
        let body = response
            .into_body()
            .bytes()
            .await
            .map_err(|_| generic("the answer broke off"))?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

fn generic(why: &str) -> object_store::Error {
    object_store::Error::Generic {
        store: "S3",
        source: why.into(),
    }
}

/// The ids of all versions and markers of exactly `key` on a page.
fn versions<'a>(page: &'a str, key: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for tag in ["Version", "DeleteMarker"] {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let mut rest = page;
        while let Some((_, behind)) = rest.split_once(&open) {
            let Some((entry, behind)) = behind.split_once(&close) else {
                break;
            };
            if element(entry, "Key") == Some(key) {
                found.extend(element(entry, "VersionId"));
            }
            rest = behind;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_markers_of_one_key_are_found() {
        let page = "<R><KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker>\
            <Version><Key>a/1</Key><VersionId>v1</VersionId></Version>\
            <DeleteMarker><Key>a/1</Key><VersionId>m</VersionId></DeleteMarker>\
            <Version><Key>a/10</Key><VersionId>other</VersionId></Version>\
            <Version><Key>a/1</Key><VersionId>null</VersionId></Version></R>";
        assert_eq!(versions(page, "a/1"), ["v1", "null", "m"]);
        assert!(versions(page, "a/2").is_empty());
    }
}
