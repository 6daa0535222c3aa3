//! Changes who may read a vault: its secrets sealed to a new list, which the root key signs.

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::fact::RecipientsSet;
use holdfast_format::{Hash, Identity, Recipient};

use super::{open_secrets, require_root, trusted_root};
use crate::client::{Admin, Connection, VaultInfo};
use crate::error::{Error, Result};

/// A change of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds someone.
    Add(Recipient),
    /// Removes the one of this name. What was sealed before stays readable to whoever kept a copy of it.
    Remove(String),
}

/// Changes the list of recipients of a vault, for the sessions that are opened from then on.
///
/// The keys of older sessions stay sealed to the list of their time: no call of this release lists them, so they cannot
/// be sealed anew.
pub async fn change_recipients(
    context: &Context,
    connection: &Connection,
    vault: &VaultInfo,
    identity: &Identity,
    change: Change,
    who: &str,
) -> Result<RecipientsSet> {
    let root = require_root(identity)?;
    let old = vault.recipients(&trusted_root(vault, identity)?)?;
    let list = changed(&old.recipients, change)?;
    let generation = old.generation.next();
    let secrets = open_secrets(connection, vault, identity, None).await?;
    let vault_key = secrets.seal(vault.id, generation, &list)?.to_bytes();
    let set = RecipientsSet::sign(
        root,
        vault.id,
        generation,
        list,
        Hash::of(&vault_key),
        context.now_millis(),
    );
    let encoded = Bytes::from(set.encode());
    Admin::new(connection)
        .set_recipients(vault.id, vault_key, encoded, Vec::new(), who)
        .await?;
    Ok(set)
}

fn changed(old: &[Recipient], change: Change) -> Result<Vec<Recipient>> {
    let refuse = |name: &str, why: String| Error::Invalid {
        what: format!("recipient {name:?}"),
        why,
    };
    let mut list = old.to_vec();
    match change {
        Change::Add(new) => {
            if let Some(same) = old.iter().find(|r| r.name == new.name || r.key == new.key) {
                let why = format!("{} is one already as {:?}", same.key, same.name);
                return Err(refuse(&new.name, why));
            }
            list.push(new);
        }
        Change::Remove(name) => {
            list.retain(|recipient| recipient.name != name);
            if list.len() == old.len() {
                let names: Vec<&str> = old.iter().map(|r| r.name.as_str()).collect();
                return Err(refuse(
                    &name,
                    format!("there is none of that name; there are {}", names.join(", ")),
                ));
            }
            if list.is_empty() {
                return Err(refuse(
                    &name,
                    "it is the last one: nobody could read the vault; add another first".into(),
                ));
            }
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use holdfast_format::AgeIdentity;

    use super::*;

    fn recipient(name: &str) -> Recipient {
        Recipient::new(name, &AgeIdentity::generate().recipient()).unwrap()
    }

    #[test]
    fn the_list_changes_by_name_and_never_becomes_empty() {
        let (one, two) = (recipient("one"), recipient("two"));
        let both = changed(std::slice::from_ref(&one), Change::Add(two.clone())).unwrap();
        assert_eq!(both, [one.clone(), two.clone()]);
        assert!(changed(&both, Change::Add(recipient("two"))).is_err());
        let again = Recipient {
            name: "three".into(),
            ..two
        };
        assert!(changed(&both, Change::Add(again)).is_err());
        let left = changed(&both, Change::Remove("two".into())).unwrap();
        assert_eq!(left, std::slice::from_ref(&one));
        let unknown = changed(&both, Change::Remove("x".into())).unwrap_err();
        assert!(
            unknown.to_string().contains("there are one, two"),
            "{unknown}"
        );
        assert!(changed(&[one], Change::Remove("one".into())).is_err());
    }
}
