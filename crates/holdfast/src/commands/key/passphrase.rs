//! `holdfast key passphrase`: sets, changes or removes what protects the identity file. No coordinator is asked.

use std::path::PathBuf;

use clap::Args;

use crate::args::{IdentityArgs, passphrase};
use crate::call::Call;
use crate::commands::vault::new_passphrase;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::private_file;

/// Options of `key passphrase`.
#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    #[command(flatten)]
    identity: IdentityArgs,
    /// The new passphrase is this file's first line; without it, it is asked for
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// Leave the identity unprotected
    #[arg(long, conflicts_with = "new_passphrase_file")]
    remove: bool,
}

/// Writes the identity file anew, at once or not at all.
pub(crate) fn run(call: &Call, args: PassphraseArgs) -> Outcome {
    let identity = args.identity.read()?;
    let Some(path) = &args.identity.identity else {
        return Err(Failure::usage(
            "no identity is named",
            "give --identity FILE",
        ));
    };
    let is_kit = std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"HOLDFAST RECOVERY KIT"));
    if is_kit {
        return Err(Failure::with_advice(
            format!(
                "{} is a recovery kit, which is for printing",
                path.display()
            ),
            "give the identity file",
        ));
    }
    let (bytes, done) = if args.remove {
        let text = identity.to_text();
        (
            zeroize::Zeroizing::new(text.as_bytes().to_vec()),
            "is unprotected now",
        )
    } else {
        let text = match &args.new_passphrase_file {
            Some(file) => passphrase(Some(file), "")?,
            None => new_passphrase()?,
        };
        let bytes = identity.protect(text.as_str().into())?;
        (
            zeroize::Zeroizing::new(bytes),
            "is protected by the new passphrase",
        )
    };
    private_file::replace(path, &bytes)?;
    call.remark(format_args!("{} {done}", path.display()));
    Ok(Exit::Done)
}
