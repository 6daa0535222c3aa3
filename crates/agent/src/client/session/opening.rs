//! How a session begins: whom it is sealed to, its fresh id and data key, its opening message.
//!
//! It must never seal to a list that the vault's root key did not sign, nor to an older list than the bundle knows: a
//! stolen coordinator can neither add a reader nor bring back one that was removed.

use holdfast_context::Context;
use holdfast_format::fact::RecipientsSet;
use holdfast_format::{Bundle, DataKey, KeyId, SessionId, SessionKey};
use holdfast_proto::v1;
use zeroize::Zeroizing;

use super::SessionOptions;
use crate::client::VaultInfo;
use crate::error::{Error, Result};

/// What one session was opened with.
pub(super) struct Opening {
    /// The session's id, which its snapshot will bear.
    pub(super) session: SessionId,
    /// Its data key's name.
    pub(super) key: KeyId,
    /// Its data key.
    pub(super) secret: DataKey,
    /// Whom the key is sealed to.
    pub(super) recipients: RecipientsSet,
    message: v1::Open,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opening(session {})", self.session)
    }
}

impl Opening {
    /// Makes a session's id and key, and seals the key.
    pub(super) fn make(
        context: &Context,
        bundle: &Bundle,
        options: &SessionOptions,
        recipients: RecipientsSet,
    ) -> Result<Self> {
        let session = SessionId(context.random());
        let key = KeyId(context.random());
        let secret = DataKey::new(options.suite, *Zeroizing::new(context.random::<32>()));
        let sealed = SessionKey::seal(
            bundle.vault,
            key,
            recipients.generation,
            &bundle.scope,
            &secret,
            &recipients.recipients,
        )?;
        let message = v1::Open {
            vault: bundle.vault.to_string(),
            session: session.0.to_vec().into(),
            source: options.source.to_string(),
            agent: bundle.agent.to_string(),
            scope: bundle.scope.to_string(),
            tags: options.tags.clone(),
            key_object: sealed.object.to_bytes(),
            resume: false,
        };
        Ok(Self {
            session,
            key,
            secret,
            recipients,
            message,
        })
    }

    /// What is logged on behalf of the session stands in this span, here as at the coordinator: one id finds both. An error's
    /// span, so that it is there whatever else is shown.
    pub(super) fn span(&self) -> tracing::Span {
        tracing::error_span!("session", session = %self.session)
    }

    /// The first message of a stream.
    pub(super) fn message(&self, resume: bool) -> v1::Open {
        v1::Open {
            resume,
            ..self.message.clone()
        }
    }

    /// Whether the list in force, as the coordinator gives it on opening, is newer than the one that was sealed to.
    pub(super) fn is_outdated(&self, bundle: &Bundle, in_force: &[u8]) -> Result<bool> {
        if in_force.is_empty() {
            return Ok(false);
        }
        let set = RecipientsSet::decode(in_force)?;
        set.check(bundle.vault, &bundle.root)?;
        Ok(set.generation > self.recipients.generation)
    }
}

/// The recipients to seal to: the list in force at the coordinator, checked against the bundle.
pub(super) fn recipients(bundle: &Bundle, vault: &VaultInfo) -> Result<RecipientsSet> {
    vault.require(bundle.vault, &bundle.root, "the bundle")?;
    let in_force = vault.recipients(&bundle.root)?;
    if in_force.generation < bundle.recipients.generation {
        return Err(Error::Denied {
            what: format!("the list of recipients of vault {:?}", vault.name),
            why: format!(
                "the coordinator shows generation {}, and the bundle was made at generation {}; \
                 do not back up to this coordinator until someone has looked into it",
                in_force.generation, bundle.recipients.generation
            ),
        });
    }
    if in_force.recipients.is_empty() {
        return Err(Error::Denied {
            what: format!("the list of recipients of vault {:?}", vault.name),
            why: "it is empty: nobody could read the backup; add one with \
                  `holdfast key add-recipient`"
                .into(),
        });
    }
    Ok(in_force)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_context::ManualClock;
    use holdfast_format::{
        AgeIdentity, Generation, Hash, Recipient, ScopeKeys, SecretKey, VaultId,
    };

    use super::*;

    const VAULT: VaultId = VaultId([7; 16]);

    fn set(root: &SecretKey, generation: u32) -> RecipientsSet {
        let recipient = Recipient::new("r", &AgeIdentity::generate().recipient()).unwrap();
        RecipientsSet::sign(
            root,
            VAULT,
            Generation(generation),
            vec![recipient],
            Hash([3; 32]),
            4,
        )
    }

    fn bundle(root: &SecretKey, generation: u32) -> Bundle {
        let scope = "agent/web1".parse().unwrap();
        Bundle {
            vault: VAULT,
            name: "db".parse().unwrap(),
            root: root.public(),
            recipients: set(root, generation),
            agent: "web1".parse().unwrap(),
            keys: ScopeKeys::derive(&[4; 32], &[5; 32], &scope),
            scope,
        }
    }

    fn vault(root: &SecretKey, set: &RecipientsSet) -> VaultInfo {
        VaultInfo::read(v1::Vault {
            id: VAULT.0.to_vec().into(),
            name: "db".into(),
            root_public: root.public().0.to_vec().into(),
            recipients: set.encode().into(),
            ..Default::default()
        })
        .unwrap()
    }

    #[test]
    fn the_newest_signed_list_wins() {
        let root = SecretKey::new(&[1; 32]);
        let bundle = bundle(&root, 2);
        let newer = recipients(&bundle, &vault(&root, &set(&root, 3))).unwrap();
        assert_eq!(newer.generation, Generation(3));
        let older = recipients(&bundle, &vault(&root, &set(&root, 1)));
        assert!(matches!(older, Err(Error::Denied { .. })));
    }

    #[test]
    fn an_unsigned_list_is_never_sealed_to() {
        let (root, thief) = (SecretKey::new(&[1; 32]), SecretKey::new(&[2; 32]));
        let bundle = bundle(&root, 1);
        assert!(recipients(&bundle, &vault(&root, &set(&thief, 2))).is_err());
        let mut grown = set(&root, 2);
        grown
            .recipients
            .push(Recipient::new("thief", &AgeIdentity::generate().recipient()).unwrap());
        assert!(recipients(&bundle, &vault(&root, &grown)).is_err());
    }

    #[test]
    fn the_key_is_sealed_to_the_list_and_newer_ones_are_noticed() {
        let root = SecretKey::new(&[1; 32]);
        let bundle = bundle(&root, 1);
        let context = Context::seeded(1, Arc::new(ManualClock::at(0)));
        let options = SessionOptions::new("db".parse().unwrap());
        let opening = Opening::make(&context, &bundle, &options, set(&root, 2)).unwrap();
        let accepted = SessionKey::accept(VAULT, &opening.message(true).key_object).unwrap();
        assert_eq!(accepted.reference.generation, Generation(2));
        assert!(opening.message(true).resume && !opening.message(false).resume);
        let newer = |n| opening.is_outdated(&bundle, &set(&root, n).encode());
        assert_eq!((newer(2).unwrap(), newer(3).unwrap()), (false, true));
        assert!(opening.is_outdated(&bundle, b"nonsense").is_err());
    }
}
