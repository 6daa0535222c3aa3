//! `holdfast key recipients`, `add-recipient`, `remove-recipient`: who may read a vault.

use clap::Args;
use holdfast_agent::client::keys::{Change, change_recipients, trusted_root};
use holdfast_agent::client::{Admin, VaultInfo};
use holdfast_format::Recipient;
use holdfast_format::fact::RecipientsSet;
use serde::Serialize;

use crate::args::{IdentityArgs, InVault};
use crate::call::Call;
use crate::commands::vault::recipient;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::{self, Align, Table};

/// Options of `key recipients`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// Options of `key add-recipient`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Who: a name and an age public key
    #[arg(value_name = "NAME=KEY", value_parser = recipient)]
    recipient: Recipient,
}

/// Options of `key remove-recipient`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    identity: IdentityArgs,
    /// The recipient's name
    name: String,
}

#[derive(Serialize)]
struct View {
    generation: u32,
    made_millis: i64,
    recipients: Vec<RecipientView>,
}

#[derive(Serialize)]
struct RecipientView {
    name: String,
    key: String,
}

/// Lists them. With an identity the list is checked against the root key that it pins.
pub(crate) async fn list(call: &Call, args: ListArgs) -> Outcome {
    let identity = match args.identity.identity {
        Some(_) => Some(args.identity.read()?),
        None => None,
    };
    let info = call.admin().await?.vault(&args.vault.vault).await?;
    let root = match &identity {
        Some(identity) => trusted_root(&info, identity)?,
        None => info.root_public,
    };
    show(call, &info.recipients(&root)?)
}

/// Adds one.
pub(crate) async fn add(call: &Call, args: AddArgs) -> Outcome {
    let change = Change::Add(args.recipient);
    changed(call, &args.vault, &args.identity, change).await
}

/// Removes one.
pub(crate) async fn remove(call: &Call, args: RemoveArgs) -> Outcome {
    let change = Change::Remove(args.name);
    changed(call, &args.vault, &args.identity, change).await
}

async fn changed(call: &Call, vault: &InVault, identity: &IdentityArgs, change: Change) -> Outcome {
    let identity = identity.read()?;
    let connection = call.connect().await?;
    let info: VaultInfo = Admin::new(&connection).vault(&vault.vault).await?;
    let who = call.who();
    let context = &call.context;
    let set = change_recipients(context, &connection, &info, &identity, change, &who).await?;
    if info.snapshots > 0 {
        call.remark(
            "this holds for backups from now on: what was backed up before stays sealed to the list of then",
        );
    }
    show(call, &set)
}

fn show(call: &Call, set: &RecipientsSet) -> Outcome {
    if call.json() {
        let view = |recipient: &Recipient| RecipientView {
            name: recipient.name.clone(),
            key: recipient.key.clone(),
        };
        output::json(&View {
            generation: set.generation.0,
            made_millis: set.made_millis,
            recipients: set.recipients.iter().map(view).collect(),
        })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[("NAME", Align::Left), ("KEY", Align::Left)]);
    for recipient in &set.recipients {
        table.row([output::name(&recipient.name), output::name(&recipient.key)]);
    }
    output::line(table)?;
    Ok(Exit::Done)
}
