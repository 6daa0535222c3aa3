//! Where the credentials of an S3 site come from: a profile of `~/.aws/credentials`, the environment, or the machine.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::StaticCredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};

use crate::error::{Error, Kind, Result};
use crate::options::SiteOptions;
use crate::url::S3Url;

/// The provider for a site; none: the machine's own (instance, container, web identity), asked when first needed.
pub(super) fn find(url: &S3Url, options: &SiteOptions) -> Result<Option<AwsCredentialProvider>> {
    if let Some(profile) = &url.profile {
        let path = credentials_file(options)?;
        let profile = Profile::open(path, profile.clone())?;
        return Ok(Some(Arc::new(profile)));
    }
    let given = |variable| {
        std::env::var(variable)
            .ok()
            .filter(|value| !value.is_empty())
    };
    match (given("AWS_ACCESS_KEY_ID"), given("AWS_SECRET_ACCESS_KEY")) {
        (Some(key_id), Some(secret_key)) => {
            let credential = AwsCredential {
                key_id,
                secret_key,
                token: given("AWS_SESSION_TOKEN"),
            };
            Ok(Some(Arc::new(StaticCredentialProvider::new(credential))))
        }
        (None, None) => Ok(None),
        _ => Err(
            invalid("of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set")
                .next("set both, or name a profile with profile= in the URL"),
        ),
    }
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, "looking for S3 credentials", why)
}

fn credentials_file(options: &SiteOptions) -> Result<PathBuf> {
    if let Some(path) = &options.credentials_file {
        return Ok(path.clone());
    }
    if let Some(path) = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE") {
        return Ok(path.into());
    }
    let home = std::env::var_os("HOME")
        .ok_or_else(|| invalid("HOME is not set, so that there is no ~/.aws/credentials"))?;
    Ok(Path::new(&home).join(".aws/credentials"))
}

/// One section of a credentials file, read again when the file changes: keys are rotated while coordinators run.
#[derive(Debug)]
struct Profile {
    path: PathBuf,
    name: String,
    read: Mutex<(Option<SystemTime>, Arc<AwsCredential>)>,
}

impl Profile {
    fn open(path: PathBuf, name: String) -> Result<Self> {
        let modified = modified(&path);
        let credential = Arc::new(read(&path, &name)?);
        Ok(Self {
            path,
            name,
            read: Mutex::new((modified, credential)),
        })
    }

    /// The keys as the file has them now; the last ones while it has none, as in the middle of being rewritten.
    fn current(&self) -> Arc<AwsCredential> {
        let modified = modified(&self.path);
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if modified != known.0 {
            known.0 = modified;
            match read(&self.path, &self.name) {
                Ok(credential) => known.1 = Arc::new(credential),
                Err(error) => tracing::warn!(%error, "going on with the credentials read before"),
            }
        }
        Arc::clone(&known.1)
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

#[async_trait]
impl CredentialProvider for Profile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        // One stat of a small local file; not worth another thread.
        Ok(self.current())
    }
}

fn read(path: &Path, profile: &str) -> Result<AwsCredential> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        invalid(format!("{} could not be read", path.display()))
            .next("write the credentials there, or take profile= out of the URL")
            .because(error)
    })?;
    section(&text, profile).ok_or_else(|| {
        invalid(format!(
            "{} holds no keys for profile {profile:?}",
            path.display()
        ))
        .next(format!(
            "write a section [{profile}] with aws_access_key_id and aws_secret_access_key there"
        ))
    })
}

/// The credentials in section `profile` of an ini file.
fn section(text: &str, profile: &str) -> Option<AwsCredential> {
    let (mut within, mut key_id, mut secret_key, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            let name = name.trim();
            within =
                name == profile || name.strip_prefix("profile ").map(str::trim) == Some(profile);
        } else if within && !line.starts_with(['#', ';']) {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = Some(value.trim().to_string());
            match key.trim() {
                "aws_access_key_id" => key_id = value,
                "aws_secret_access_key" => secret_key = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(AwsCredential {
        key_id: key_id?,
        secret_key: secret_key?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[default]\naws_access_key_id = A\naws_secret_access_key=s=1\n\n\
                        [ off site ]\n; aws_session_token = no\naws_access_key_id=B\nregion = x\n\
                        aws_secret_access_key = t\naws_session_token = u\n[half]\naws_access_key_id = C\n";

    #[test]
    fn a_section_is_read_and_only_that() {
        let default = section(FILE, "default").unwrap();
        assert_eq!(
            (default.key_id.as_str(), default.secret_key.as_str()),
            ("A", "s=1")
        );
        assert_eq!(default.token, None);
        let other = section(FILE, "off site").unwrap();
        assert_eq!(
            (other.key_id.as_str(), other.token.as_deref()),
            ("B", Some("u"))
        );
        assert!(section(FILE, "half").is_none());
        assert!(section(FILE, "absent").is_none());
    }

    #[test]
    fn keys_that_were_rotated_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, FILE).unwrap();
        let profile = Profile::open(path.clone(), "default".into()).unwrap();
        assert_eq!(profile.current().key_id, "A");
        std::fs::write(&path, FILE.replace("= A", "= Z")).unwrap();
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(profile.current().key_id, "Z");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            profile.current().key_id,
            "Z",
            "what was read stands until there is something else"
        );
    }

    #[test]
    fn what_is_missing_is_named_and_secrets_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, "[p]\naws_secret_access_key = hunter2\n").unwrap();
        let error = Profile::open(path, "p".into()).unwrap_err();
        assert!(error.to_string().contains("profile \"p\""), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
