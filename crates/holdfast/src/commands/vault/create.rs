//! `holdfast vault create`: makes a vault's keys on this machine, then the vault at its sites.
//!
//! The identity is on the disk before the coordinator hears of the vault: a vault whose identity is lost is lost.

use std::path::{Path, PathBuf};

use clap::Args;
use holdfast_agent::Error;
use holdfast_agent::client::Admin;
use holdfast_agent::client::keys::{self, NewVault, VaultPlan};
use holdfast_format::{Identity, Recipient, SiteName, VaultName};
use holdfast_policy::Policy;
use serde::Serialize;

use crate::args::{ForAgent, passphrase};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::{bundles, output, private_file};

/// Options of `vault create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The vault's name
    name: VaultName,
    /// The sites that it lies at, by the coordinator's names; the first is the primary
    #[arg(
        long,
        value_name = "SITE,SITE",
        env = "HOLDFAST_VAULT_SITES",
        value_delimiter = ',',
        required = true
    )]
    sites: Vec<SiteName>,
    /// Where to write the identity, which opens everything; never overwritten
    #[arg(long, value_name = "FILE")]
    identity_out: PathBuf,
    /// Where to write an agent's bundle, besides this user's own copy
    #[arg(long, value_name = "FILE")]
    bundle_out: Option<PathBuf>,
    /// The policy: what is kept for how long; without one nothing ever expires
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Protect the identity with the passphrase on this file's first line
    #[arg(long, value_name = "FILE", env = "HOLDFAST_NEW_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
    /// Protect the identity with a passphrase that is asked for
    #[arg(long, conflicts_with = "passphrase_file")]
    ask_passphrase: bool,
    /// Who else may read everything: NAME=age1…; several may be given
    #[arg(long, value_name = "NAME=KEY", value_parser = recipient)]
    recipient: Vec<Recipient>,
    #[command(flatten)]
    bundle: ForAgent,
}

#[derive(Serialize)]
struct View {
    vault: String,
    name: String,
    sites: Vec<String>,
    primary: String,
    identity: String,
    bundle: String,
    root_public: String,
}

/// A recipient as it stands on a command line.
pub(crate) fn recipient(text: &str) -> Result<Recipient, String> {
    let form = "write NAME=age1…";
    let (name, key) = text.split_once('=').ok_or(form)?;
    Recipient::new(name, key).map_err(|error| error.to_string())
}

/// Creates.
pub(crate) async fn run(call: &Call, args: CreateArgs) -> Outcome {
    let policy = read_policy(args.policy.as_deref())?;
    let (agent, scope) = args.bundle.resolve()?;
    for path in [Some(&args.identity_out), args.bundle_out.as_ref()]
        .into_iter()
        .flatten()
    {
        if path.exists() {
            return Err(Failure::with_advice(
                format!("{} exists and is never overwritten", path.display()),
                "name another file, or move this one away if you are sure what it is",
            ));
        }
    }
    let passphrase = wanted_passphrase(&args)?;
    let connection = call.connect().await?;
    let coordinator = Admin::new(&connection).describe().await?;
    let plan = VaultPlan {
        name: args.name.clone(),
        recipients: args.recipient.clone(),
        agent,
        scope,
    };
    let new = keys::make_vault(&call.context, plan, &coordinator)?;
    write_identity(&args.identity_out, &new.identity, passphrase)?;
    let sites: Vec<String> = args.sites.iter().map(ToString::to_string).collect();
    let created = keys::create(&connection, &new, sites.clone(), policy, &call.who()).await;
    let info = created.map_err(|error| not_created(&args, error))?;
    let kept = bundles::keep(call, &new.bundle)?;
    if let Some(path) = &args.bundle_out {
        private_file::create(path, new.bundle.to_text().as_bytes())?;
    }
    report(
        call,
        &args,
        &new,
        View {
            vault: info.id.to_string(),
            name: info.name,
            sites,
            primary: info.primary,
            identity: args.identity_out.display().to_string(),
            bundle: args
                .bundle_out
                .as_deref()
                .unwrap_or(&kept)
                .display()
                .to_string(),
            root_public: new.bundle.root.to_string(),
        },
    )
}

fn read_policy(path: Option<&Path>) -> Outcome<String> {
    let Some(path) = path else {
        return Ok(String::new());
    };
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
    Policy::parse(&text).map_err(|error| Failure::content(path, error))?;
    Ok(text)
}

fn wanted_passphrase(args: &CreateArgs) -> Outcome<Option<zeroize::Zeroizing<String>>> {
    match (&args.passphrase_file, args.ask_passphrase) {
        (Some(file), _) => passphrase(Some(file), "").map(Some),
        (None, true) => new_passphrase().map(Some),
        (None, false) => Ok(None),
    }
}

/// Asks twice.
pub(crate) fn new_passphrase() -> Outcome<zeroize::Zeroizing<String>> {
    let one = passphrase(None, "New passphrase: ")?;
    let two = passphrase(None, "Once more: ")?;
    if one != two {
        return Err(Failure::with_advice(
            "the two passphrases differ",
            "run it again",
        ));
    }
    Ok(one)
}

fn write_identity(
    path: &Path,
    identity: &Identity,
    passphrase: Option<zeroize::Zeroizing<String>>,
) -> Outcome<()> {
    match passphrase {
        None => private_file::create(path, identity.to_text().as_bytes()),
        Some(text) => private_file::create(path, &identity.protect(text.as_str().into())?),
    }
}

/// Takes the identity away again if it is sure that there is no vault for it.
fn not_created(args: &CreateArgs, error: Error) -> Failure {
    let path = args.identity_out.display();
    let is_sure = matches!(
        error,
        Error::Invalid { .. } | Error::Denied { .. } | Error::Missing { .. }
    );
    let mut failure = Failure::from(error);
    if is_sure {
        if let Err(error) = std::fs::remove_file(&args.identity_out) {
            tracing::warn!(%path, %error, "the identity of a vault that was not created stays");
        }
    } else {
        failure.advice = Some(format!(
            "look with `holdfast vault list` whether {} was created after all: if so {path} opens \
             it; if not, delete that file and run this again",
            args.name
        ));
    }
    failure
}

fn report(call: &Call, args: &CreateArgs, new: &NewVault, view: View) -> Outcome {
    if call.json() {
        output::json(&view)?;
        return Ok(Exit::Done);
    }
    output::line(format_args!(
        "created vault {} ({}) at {}, primary {}",
        view.name,
        view.vault,
        view.sites.join(", "),
        view.primary
    ))?;
    output::line(format_args!(
        "  identity  {}   opens everything: keep it off this machine",
        view.identity
    ))?;
    output::line(format_args!(
        "  bundle    {}   lets agent {} write, and read nothing",
        view.bundle, new.bundle.agent
    ))?;
    let path = args.identity_out.display();
    call.remark(format_args!(
        "now print a recovery kit: holdfast key kit --vault {} --identity {path} --out FILE",
        view.name
    ));
    Ok(Exit::Done)
}
