//! `holdfast key kit`: the page that restores a vault when nothing else is left.

use std::path::PathBuf;

use clap::Args;
use holdfast_agent::client::keys::trusted_root;
use holdfast_format::Identity;

use crate::args::{IdentityArgs, NamedUrl};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::{output, private_file};

/// Options of `key kit`.
#[derive(Debug, Args)]
pub(crate) struct KitArgs {
    /// The vault; the identity's own by default
    #[arg(long, value_name = "VAULT")]
    vault: Option<String>,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Where to write it, or - for standard output: a printer, never a log
    #[arg(long, value_name = "FILE", env = "HOLDFAST_KIT_OUT")]
    out: PathBuf,
    /// A site to name in it; without any, the coordinator is asked
    #[arg(
        long,
        value_name = "NAME=URL",
        env = "HOLDFAST_KIT_SITE",
        value_delimiter = '\n'
    )]
    site: Vec<NamedUrl>,
}

/// Writes it.
pub(crate) async fn run(call: &Call, args: KitArgs) -> Outcome {
    let identity = args.identity.read()?;
    let sites = match args.site.is_empty() {
        true => ask(call, &args, &identity).await?,
        false => args
            .site
            .iter()
            .map(|site| (site.name.to_string(), site.url.clone()))
            .collect(),
    };
    let kit = identity.to_kit(&sites);
    if args.out.as_os_str() == "-" {
        output::line(kit.as_str())?;
        return Ok(Exit::Done);
    }
    private_file::create(&args.out, kit.as_bytes())?;
    let path = args.out.display();
    call.remark(format_args!(
        "print {path}, lock it away, then delete the file"
    ));
    Ok(Exit::Done)
}

async fn ask(call: &Call, args: &KitArgs, identity: &Identity) -> Outcome<Vec<(String, String)>> {
    let vault = args
        .vault
        .clone()
        .or_else(|| identity.vault.map(|id| id.to_string()));
    let vault = vault
        .ok_or_else(|| Failure::usage("the identity names no vault", "name it with --vault"))?;
    let asked = async { Outcome::Ok(call.admin().await?.vault(&vault).await?) };
    let info = asked.await.map_err(|failure| Failure {
        advice: Some("give the vault's sites with --site NAME=URL".into()),
        ..failure
    })?;
    trusted_root(&info, identity)?;
    Ok(info
        .sites
        .into_iter()
        .map(|site| (site.site, site.url))
        .collect())
}
