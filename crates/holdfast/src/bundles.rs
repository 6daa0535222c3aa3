//! Where agents' bundles are kept and found.

use std::path::{Path, PathBuf};

use holdfast_format::Bundle;

use crate::call::Call;
use crate::failure::{Failure, Outcome};
use crate::{folders, private_file};

/// A bundle and the file that it came from.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The bundle.
    pub(crate) bundle: Bundle,
    path: PathBuf,
    /// Whether the file is this user's own copy, which may be brought up to date.
    own: bool,
}

/// Finds the bundle for a vault: the file that is named, else this user's own.
pub(crate) fn find(vault: &str, named: Option<&Path>) -> Outcome<Kept> {
    let own = folders::bundle(vault);
    let path = named.map_or_else(|| own.clone(), Path::to_owned);
    let bytes = private_file::read(
        &path,
        "name the vault's bundle with --bundle; `holdfast key bundle` makes one, and \
         `holdfast vault create` keeps one for the user who runs it",
    )?;
    let bundle = Bundle::read(&bytes)?;
    if bundle.name.as_str() != vault && bundle.vault.to_string() != vault {
        return Err(Failure::with_advice(
            format!(
                "{} is for vault {}, not for {vault}",
                path.display(),
                bundle.name
            ),
            "name the right bundle with --bundle, or the right vault with --vault",
        ));
    }
    Ok(Kept {
        own: named.is_none_or(|named| named == own),
        bundle,
        path,
    })
}

impl Kept {
    /// The file that it came from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a newer list of recipients in this user's own copy, so that an older one is never believed again.
    pub(crate) fn renew(&self, newest: &holdfast_format::fact::RecipientsSet) {
        if !self.own || newest.generation <= self.bundle.recipients.generation {
            return;
        }
        let renewed = Bundle {
            recipients: newest.clone(),
            ..self.bundle.clone()
        };
        if let Err(failure) = private_file::replace(&self.path, renewed.to_text().as_bytes()) {
            tracing::warn!(
                why = failure.what,
                "the bundle's list of recipients stays as it was"
            );
        }
    }
}

/// Keeps a bundle for this user. One of another vault of that name is put aside, not lost.
pub(crate) fn keep(call: &Call, bundle: &Bundle) -> Outcome<PathBuf> {
    let path = folders::bundle(bundle.name.as_str());
    let before = std::fs::read(&path)
        .ok()
        .and_then(|bytes| Bundle::read(&bytes).ok());
    if let Some(before) = before
        && before.vault != bundle.vault
    {
        let aside = folders::bundle(&format!("{}-{}", before.name, before.vault));
        std::fs::rename(&path, &aside).map_err(|error| Failure::file(&path, error))?;
        call.remark(format_args!(
            "there was a bundle of another vault {}; it is now {}",
            before.name,
            aside.display()
        ));
    }
    private_file::replace(&path, bundle.to_text().as_bytes())?;
    Ok(path)
}
