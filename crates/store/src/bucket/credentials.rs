//! Where the credentials of a site come from: a profile of `~/.aws/credentials`, a file with a key, the environment, or the
//! machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::StaticCredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use object_store::azure::{AzureAccessKey, AzureCredential, AzureCredentialProvider};

use crate::error::{Error, Kind, Result};
use crate::options::SiteOptions;
use crate::url::BucketUrl;

/// The provider for an S3 site; none: the machine's own (instance, container, web identity), asked when first needed.
pub(super) fn of_s3(
    url: &BucketUrl,
    options: &SiteOptions,
) -> Result<Option<AwsCredentialProvider>> {
    if let Some(profile) = &url.profile {
        let path = credentials_file(options)?;
        let profile = profile.clone();
        let kept = Kept::open(path, move |path| read(path, &profile))?;
        return Ok(Some(Arc::new(kept)));
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
    Error::new(Kind::Invalid, "looking for credentials", why)
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

/// What a file says of credentials, read again when the file changes: keys are rotated while coordinators run.
struct Kept<C> {
    path: PathBuf,
    read: Box<Read<C>>,
    known: Mutex<(Option<SystemTime>, Arc<C>)>,
}

/// Reads credentials from a file.
type Read<C> = dyn Fn(&Path) -> Result<C> + Send + Sync;

impl<C> fmt::Debug for Kept<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.path.display())
    }
}

impl<C> Kept<C> {
    fn open(
        path: PathBuf,
        read: impl Fn(&Path) -> Result<C> + Send + Sync + 'static,
    ) -> Result<Self> {
        let modified = modified(&path);
        let credential = Arc::new(read(&path)?);
        Ok(Self {
            path,
            read: Box::new(read),
            known: Mutex::new((modified, credential)),
        })
    }

    /// The keys as the file has them now; the last ones while it has none, as in the middle of being rewritten.
    fn current(&self) -> Arc<C> {
        let modified = modified(&self.path);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if modified != known.0 {
            known.0 = modified;
            match (self.read)(&self.path) {
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
impl<C: fmt::Debug + Send + Sync + 'static> CredentialProvider for Kept<C> {
    type Credential = C;

    async fn get_credential(&self) -> object_store::Result<Arc<C>> {
        // One stat of a small local file; not worth another thread.
        Ok(self.current())
    }
}

/// The provider of an Azure account's key, which is all that this file holds.
pub(super) fn of_azure(path: &Path) -> Result<AzureCredentialProvider> {
    Ok(Arc::new(Kept::open(path.into(), azure_key)?))
}

fn azure_key(path: &Path) -> Result<AzureCredential> {
    let advice = "write the account's key there, as Azure shows it, and nothing else";
    let text = std::fs::read_to_string(path).map_err(|error| {
        invalid(format!("{} could not be read", path.display()))
            .next(advice)
            .because(error)
    })?;
    // What the decoder says of it could show a part of the key.
    match AzureAccessKey::try_new(text.trim()) {
        Ok(key) if !text.trim().is_empty() => Ok(AzureCredential::AccessKey(key)),
        _ => Err(invalid(format!("{} holds no account key", path.display())).next(advice)),
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
        let profile = Kept::open(path.clone(), |path| read(path, "default")).unwrap();
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
        let error = read(&path, "p").unwrap_err();
        assert!(error.to_string().contains("profile \"p\""), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn an_account_key_is_read_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(azure_key(&path).is_err(), "there is no file");
        for (text, fine) in [("aHVudGVyMg==\n", true), ("", false), ("hunter2!", false)] {
            std::fs::write(&path, text).unwrap();
            let read = azure_key(&path);
            assert_eq!(read.is_ok(), fine, "{text:?}");
            if let Err(error) = read {
                assert!(error.to_string().contains("account key"), "{error}");
                assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
            }
        }
    }
}
