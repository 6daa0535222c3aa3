//! Makes a vault's keys and hands the sealed ones to the coordinator; certifies a coordinator for a vault that exists.

use holdfast_context::Context;
use holdfast_format::fact::RecipientsSet;
use holdfast_format::{
    AgeIdentity, Bundle, Certificate, Generation, Hash, Identity, Recipient, Scope, SecretKey,
    SourceName, VaultHeader, VaultId, VaultName, VaultSecrets,
};
use zeroize::Zeroizing;

use super::require_root;
use crate::client::{Admin, Attaching, Connection, Description, NewVaultObjects, VaultInfo};
use crate::error::{Error, Result};

/// The name of the recipient that a new identity is.
const OPERATOR: &str = "operator";

/// What a new vault is to be.
#[derive(Debug, Clone)]
pub struct VaultPlan {
    /// Its name.
    pub name: VaultName,
    /// Who may read it besides the identity that is made.
    pub recipients: Vec<Recipient>,
    /// The agent that the first bundle is for.
    pub agent: SourceName,
    /// The dedup scope of that bundle.
    pub scope: Scope,
}

/// A vault's keys: what stays here and what the coordinator gets.
#[derive(Debug)]
pub struct NewVault {
    /// Opens everything. Write it to a safe place before the vault is created.
    pub identity: Identity,
    /// Lets an agent write.
    pub bundle: Bundle,
    /// For the coordinator.
    pub objects: NewVaultObjects,
}

/// Makes a vault's keys. Nothing is sent.
pub fn make_vault(
    context: &Context,
    plan: VaultPlan,
    coordinator: &Description,
) -> Result<NewVault> {
    let vault = VaultId(context.random());
    let root = SecretKey::new(&Zeroizing::new(context.random::<32>()));
    let age = AgeIdentity::generate();
    let mut recipients = vec![Recipient::new(OPERATOR, &age.recipient())?];
    recipients.extend(plan.recipients);
    let now_millis = context.now_millis();
    let generation = Generation(1);
    let secrets = VaultSecrets::new(
        *Zeroizing::new(context.random()),
        *Zeroizing::new(context.random()),
    );
    let vault_key = secrets.seal(vault, generation, &recipients)?.to_bytes();
    let set = RecipientsSet::sign(
        &root,
        vault,
        generation,
        recipients,
        Hash::of(&vault_key),
        now_millis,
    );
    let header = VaultHeader::new(vault, plan.name.clone(), root.public(), now_millis);
    let certificate = certify(&root, vault, coordinator, now_millis);
    let objects = NewVaultObjects {
        header: header.seal(&root).to_bytes(),
        vault_key,
        recipients: set.encode().into(),
        certificate: certificate.encode().into(),
    };
    let bundle = Bundle {
        vault,
        name: plan.name.clone(),
        root: root.public(),
        recipients: set,
        agent: plan.agent,
        keys: secrets.scope_keys(&plan.scope),
        scope: plan.scope,
    };
    let identity = Identity::new(vault, plan.name, age, root);
    Ok(NewVault {
        identity,
        bundle,
        objects,
    })
}

fn certify(
    root: &SecretKey,
    vault: VaultId,
    coordinator: &Description,
    now_millis: i64,
) -> Certificate {
    Certificate::make(
        root,
        vault,
        coordinator.writer,
        &coordinator.coordinator,
        now_millis,
    )
}

/// Creates the vault at its sites, the first of which is the primary.
pub async fn create(
    connection: &Connection,
    vault: &NewVault,
    sites: Vec<String>,
    policy: String,
    who: &str,
) -> Result<VaultInfo> {
    let name = vault.bundle.name.as_str();
    let admin = Admin::new(connection);
    let info = admin
        .create_vault(name, vault.objects.clone(), sites, policy, who)
        .await?;
    info.require(vault.bundle.vault, &vault.bundle.root, "the new bundle")?;
    Ok(info)
}

/// Has a coordinator take over the vault of an identity from a site.
pub async fn attach(
    context: &Context,
    connection: &Connection,
    identity: &Identity,
    site: &str,
    url: &str,
    who: &str,
) -> Result<VaultInfo> {
    let root = require_root(identity)?;
    let vault = identity.vault.ok_or_else(|| Error::Invalid {
        what: "the identity".into(),
        why: "it names no vault; give the identity file or the recovery kit that \
              `holdfast vault create` made"
            .into(),
    })?;
    let admin = Admin::new(connection);
    let coordinator = admin.describe().await?;
    let certificate = certify(root, vault, &coordinator, context.now_millis());
    let attaching = Attaching {
        site: site.into(),
        url: url.into(),
        vault,
        certificate: certificate.encode().into(),
    };
    let info = admin.attach_vault(attaching, who).await?;
    info.require(vault, &root.public(), "the identity")?;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_context::ManualClock;

    use super::*;

    #[test]
    fn the_objects_belong_together() {
        let context = Context::seeded(1, Arc::new(ManualClock::at(5)));
        let writer = SecretKey::new(&[9; 32]).public();
        let coordinator = Description {
            coordinator: "c1".into(),
            writer,
            version: String::new(),
            level: 1,
            sites: Vec::new(),
        };
        let scope: Scope = "agent/web1".parse().unwrap();
        let plan = VaultPlan {
            name: "db".parse().unwrap(),
            recipients: vec![Recipient::new("safe", &AgeIdentity::generate().recipient()).unwrap()],
            agent: "web1".parse().unwrap(),
            scope: scope.clone(),
        };
        let made = make_vault(&context, plan, &coordinator).unwrap();
        let vault = made.identity.vault.unwrap();
        let root = made.identity.root.as_ref().unwrap().public();
        let header = VaultHeader::open(vault, &made.objects.header).unwrap();
        assert_eq!((header.root, header.created_millis), (root, 5));
        let set = RecipientsSet::decode(&made.objects.recipients).unwrap();
        set.check(vault, &root).unwrap();
        assert_eq!(set.recipients.len(), 2);
        assert_eq!(set.vault_key, Hash::of(&made.objects.vault_key));
        let certificate = Certificate::decode(&made.objects.certificate).unwrap();
        certificate.check(vault, &root).unwrap();
        assert_eq!(certificate.writer, writer);
        let opened = VaultSecrets::open(
            vault,
            Generation(1),
            &made.objects.vault_key,
            &made.identity.age,
        )
        .unwrap();
        assert_eq!(
            opened.scope_keys(&scope).data_id(b"x"),
            made.bundle.keys.data_id(b"x")
        );
    }
}
