//! A folder for one test: a user's home with S3 keys, and whatever the test puts beside it.
//!
//! State: a temporary folder, gone when this is dropped. `HOLDFAST_TEST_KEEP` keeps it, to look at after a failure.

use std::fs;
use std::path::{Path, PathBuf};

use crate::client::Client;
use crate::coordinator::Starting;

/// See the module header.
#[derive(Debug)]
pub struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("holdfast-system-");
        builder.disable_cleanup(std::env::var_os("HOLDFAST_TEST_KEEP").is_some());
        let ground = Self {
            folder: builder.tempdir().unwrap(),
        };
        ground.folder("home/.aws");
        let keys = |name: &str| std::env::var(format!("HOLDFAST_TEST_S3_{name}_KEY"));
        if let (Ok(access), Ok(secret)) = (keys("ACCESS"), keys("SECRET")) {
            let text =
                format!("[test]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n");
            fs::write(ground.at("home/.aws/credentials"), text).unwrap();
        }
        ground
    }

    /// A path in the folder.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in the folder, as text for a command line.
    pub fn text(&self, name: impl AsRef<Path>) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    /// Makes a folder in it.
    pub fn folder(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file in it.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A site in a folder of this ground, which is made.
    pub fn file_site(&self, name: &str) -> String {
        format!("file:{}", self.folder(name).display())
    }

    /// A coordinator to be started, with its data in the folder `name`.
    pub fn coordinator(&self, name: &str) -> Starting {
        Starting::new(self, name)
    }

    /// A user who knows no coordinator.
    pub fn user(&self) -> Client {
        Client::new(self)
    }
}
