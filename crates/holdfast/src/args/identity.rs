//! The identity: which file, and how its passphrase is had.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use holdfast_format::Identity;
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};
use crate::private_file;

/// Options of commands that read what was backed up.
#[derive(Debug, Clone, Args)]
pub(crate) struct IdentityArgs {
    /// The identity file or recovery kit that opens the vault
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    pub(crate) identity: Option<PathBuf>,
    /// A file whose first line is the identity's passphrase; without it a protected identity asks
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl IdentityArgs {
    /// Reads the identity, which must be given.
    pub(crate) fn read(&self) -> Outcome<Identity> {
        let Some(path) = &self.identity else {
            return Err(Failure::usage(
                "no identity is named: only it opens what was backed up",
                "give --identity FILE or set HOLDFAST_IDENTITY",
            ));
        };
        let bytes = private_file::read(
            path,
            "name the file that `holdfast vault create --identity-out` wrote, with --identity",
        )?;
        let mut failure = None;
        let passphrase = || {
            passphrase(
                self.passphrase_file.as_deref(),
                "Passphrase of the identity: ",
            )
            .map(|text| text.as_str().into())
            .map_err(|why| {
                failure = Some(why);
                holdfast_format::Error::denied("the identity file", "no passphrase was given")
            })
        };
        let read = Identity::read(&bytes, passphrase);
        match failure {
            Some(failure) => Err(failure),
            None => Ok(read?),
        }
    }
}

/// A passphrase from a file's first line, or from a person.
pub(crate) fn passphrase(file: Option<&Path>, prompt: &str) -> Outcome<Zeroizing<String>> {
    if let Some(path) = file {
        let bytes = private_file::read(path, "name a file that holds the passphrase")?;
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|_| Failure::file(path, "it is not text"))?;
        if text.is_empty() {
            return Err(Failure::file(
                path,
                "its first line is empty; write the passphrase there",
            ));
        }
        return Ok(Zeroizing::new(text.to_owned()));
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::with_advice(
            "the identity is protected by a passphrase, and there is no terminal to ask for it",
            "give --passphrase-file FILE",
        ));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|error| Failure::new(format_args!("the passphrase cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_passphrase_is_a_files_first_line() {
        let read = |text: &[u8]| passphrase(Some(file(text).path()), "").map(|t| t.to_string());
        assert_eq!(
            read(b"correct horse\r\nmore").as_deref(),
            Ok("correct horse")
        );
        assert_eq!(read(b" x ").as_deref(), Ok(" x "));
        assert!(read(b"\n").is_err());
        assert!(read(b"\xff").is_err());
    }

    #[test]
    fn a_missing_identity_is_told() {
        let none = IdentityArgs {
            identity: None,
            passphrase_file: None,
        };
        assert_eq!(none.read().unwrap_err().exit.number(), 2);
        let wrong = IdentityArgs {
            identity: Some(file(b"not an identity").path().to_owned()),
            passphrase_file: None,
        };
        assert!(wrong.read().is_err());
    }
}
