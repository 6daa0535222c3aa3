//! `holdfast vault attach`: has this coordinator take over a vault that lies at a site.

use std::time::Duration;

use clap::Args;
use holdfast_agent::client::{Admin, Connection, VaultInfo, keys};
use serde::Serialize;

use crate::args::{ForAgent, IdentityArgs, NamedUrl};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::views::VaultView;
use crate::{bundles, output};

/// Opening a vault takes no longer, unless something is in the way.
const OPEN_WAIT: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Options of `vault attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// The site that the vault lies at, as the coordinator reaches it
    #[arg(long, value_name = "NAME=URL", env = "HOLDFAST_ATTACH_SITE")]
    site: NamedUrl,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    bundle: ForAgent,
}

#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    vault: VaultView,
    bundle: Option<String>,
}

/// Gives the coordinator a moment to open the vault. It cannot while the primary is gone: then its trouble says so.
async fn opened(connection: &Connection, mut info: VaultInfo) -> Outcome<VaultInfo> {
    let admin = Admin::new(connection);
    let until = tokio::time::Instant::now() + OPEN_WAIT;
    while info.state == "opening" && info.trouble.is_empty() && tokio::time::Instant::now() < until
    {
        tokio::time::sleep(ASK_EVERY).await;
        info = admin.vault(&info.id.to_string()).await?;
    }
    Ok(info)
}

/// Takes over.
pub(crate) async fn run(call: &Call, args: AttachArgs) -> Outcome {
    let identity = args.identity.read()?;
    let (agent, scope) = args.bundle.resolve()?;
    let connection = call.connect().await?;
    let (site, url) = (args.site.name.as_str(), args.site.url.as_str());
    let who = call.who();
    let info = keys::attach(&call.context, &connection, &identity, site, url, &who).await?;
    let info = opened(&connection, info).await?;
    // The vault is taken over; a bundle is a convenience that can be made later.
    let bundle = match keys::bundle(&connection, &info, &identity, agent, scope).await {
        Ok(bundle) => Some(bundles::keep(call, &bundle)?.display().to_string()),
        Err(error) => {
            call.remark(format_args!(
                "no bundle was made ({error}); once the vault is open: holdfast key bundle --vault {} \
                 --identity FILE",
                info.name
            ));
            None
        }
    };
    if call.json() {
        let vault = VaultView::from(&info);
        output::json(&View { vault, bundle })?;
        return Ok(Exit::Done);
    }
    output::line(format_args!(
        "took over vault {} ({}) from {site}; {}",
        info.name,
        info.id,
        output::counted(info.snapshots, "snapshot")
    ))?;
    if let Some(bundle) = bundle {
        output::line(format_args!("  bundle    {bundle}"))?;
    }
    if !info.trouble.is_empty() {
        call.remark(format_args!("it is {}: {}", info.state, info.trouble));
    }
    if !info.primary.is_empty() && info.primary != site {
        call.remark(format_args!(
            "its primary is {}; if that is gone: holdfast failover --vault {} --to {site}",
            info.primary, info.name
        ));
    }
    Ok(Exit::Done)
}
