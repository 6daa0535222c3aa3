//! The agent bundle: what an agent needs to back up, and nothing that reads a backup.
//!
//! A text file: `holdfast-bundle-1` on the first line, then base64 of `mark ‖ body`.

use minicbor::{Decode, Encode};

use crate::chunk::ScopeKeys;
use crate::codec::{self, Body, Mark};
use crate::error::{Error, Result};
use crate::fact::RecipientsSet;
use crate::id::{Scope, SourceName, VaultId, VaultName};
use crate::sign::PublicKey;

const FIRST_LINE: &str = "holdfast-bundle-1";

/// A write-only credential for one vault and one dedup scope.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The vault.
    pub vault: VaultId,
    /// Its name when the bundle was made.
    pub name: VaultName,
    /// The root key that signs the list of recipients.
    pub root: PublicKey,
    /// The recipients when the bundle was made; newer lists come from the coordinator, signed.
    pub recipients: RecipientsSet,
    /// The agent's name.
    pub agent: SourceName,
    /// The dedup scope.
    pub scope: Scope,
    /// The scope's keys: they name and cut chunks and open none.
    pub keys: ScopeKeys,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct BundleBody {
    #[n(0)]
    vault: VaultId,
    #[n(1)]
    name: VaultName,
    #[n(2)]
    root: PublicKey,
    #[n(3)]
    recipients: RecipientsSet,
    #[n(4)]
    agent: SourceName,
    #[n(5)]
    scope: Scope,
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    keys: Vec<u8>,
}

impl Body for BundleBody {
    const KEYS: u64 = 7;
    const WHAT: &'static str = "the bundle";
}

impl Bundle {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let body = BundleBody {
            vault: self.vault,
            name: self.name.clone(),
            root: self.root,
            recipients: self.recipients.clone(),
            agent: self.agent.clone(),
            scope: self.scope.clone(),
            keys: self.keys.to_bytes().to_vec(),
        };
        let mut bytes = Mark::Bundle.bytes().to_vec();
        bytes.extend_from_slice(&codec::encode(&body));
        let mut text = format!("{FIRST_LINE}\n");
        for line in data_encoding::BASE64.encode(&bytes).as_bytes().chunks(76) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text
    }

    /// Reads the file and checks that the root key that it pins signed its recipients.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let what = "the bundle";
        let why = "it is not a bundle that `holdfast vault create` or `holdfast key bundle` wrote";
        let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid(what, why))?;
        let mut lines = text.lines();
        if lines.next().map(str::trim) != Some(FIRST_LINE) {
            return Err(Error::invalid(what, why));
        }
        let letters: String = lines.map(str::trim).collect();
        let bytes = data_encoding::BASE64
            .decode(letters.as_bytes())
            .map_err(|_| Error::corrupt(what, "its text is not base64"))?;
        let body: BundleBody = codec::decode(Mark::Bundle.strip(what, &bytes)?)?;
        body.recipients.check(body.vault, &body.root)?;
        Ok(Self {
            vault: body.vault,
            name: body.name,
            root: body.root,
            recipients: body.recipients,
            agent: body.agent,
            scope: body.scope,
            keys: ScopeKeys::from_bytes(&body.keys)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Generation, Hash};
    use crate::key::{AgeIdentity, Recipient};
    use crate::sign::SecretKey;

    #[test]
    fn a_bundle_reads_back_and_damage_is_found() {
        let root = SecretKey::new(&[1; 32]);
        let vault = VaultId([2; 16]);
        let recipient = Recipient::new("r", &AgeIdentity::generate().recipient()).unwrap();
        let scope: Scope = "agent/web1".parse().unwrap();
        let bundle = Bundle {
            vault,
            name: "db".parse().unwrap(),
            root: root.public(),
            recipients: RecipientsSet::sign(
                &root,
                vault,
                Generation(1),
                vec![recipient],
                Hash([3; 32]),
                4,
            ),
            agent: "web1".parse().unwrap(),
            keys: ScopeKeys::derive(&[4; 32], &[5; 32], &scope),
            scope,
        };
        let text = bundle.to_text();
        let read = Bundle::read(text.as_bytes()).unwrap();
        assert_eq!(read.keys.data_id(b"x"), bundle.keys.data_id(b"x"));
        assert_eq!((read.vault, read.scope), (bundle.vault, bundle.scope));
        assert!(Bundle::read(b"AGE-SECRET-KEY-1").is_err());
        assert!(Bundle::read(&text.as_bytes()[..text.len() / 2]).is_err());
    }
}
