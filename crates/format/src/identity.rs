//! The identity file and the recovery kit: everything that opens a vault and that may change who opens it.
//!
//! An identity file is an age identity file: `age -d -i FILE` opens key objects with it. What age does not know stands
//! in comment lines `# holdfast-…:`. It may be protected as a whole by a passphrase (age's scrypt recipient).
//! The kit is the same text with instructions, for printing; either is read back.

use std::fmt::Write as _;
use std::io::{Read, Write};

use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::id::{VaultId, VaultName};
use crate::key::AgeIdentity;
use crate::sign::{PublicKey, SecretKey};

const AGE_MAGIC: &[u8] = b"age-encryption.org/v1";
const SECRET_PREFIX: &str = "AGE-SECRET-KEY-1";

/// What an identity file holds. Never leaves the client.
#[derive(Clone)]
pub struct Identity {
    /// Opens key objects.
    pub age: AgeIdentity,
    /// The vault it was made for; a plain age identity names none.
    pub vault: Option<VaultId>,
    /// The vault's name then.
    pub name: Option<VaultName>,
    /// The root public key, pinned: where it stands, a vault with another one is refused.
    pub root_public: Option<PublicKey>,
    /// The root secret: certifies coordinators and recipients. An identity without it can only read.
    pub root: Option<SecretKey>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Identity(of {}, vault {:?})",
            self.age.recipient(),
            self.vault
        )
    }
}

impl Identity {
    /// An identity for a new vault.
    pub fn new(vault: VaultId, name: VaultName, age: AgeIdentity, root: SecretKey) -> Self {
        let root_public = Some(root.public());
        Self {
            age,
            vault: Some(vault),
            name: Some(name),
            root_public,
            root: Some(root),
        }
    }

    /// The file's text.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = String::from(
            "# Holdfast identity. Whoever has this file can read everything in the vault.\n\
             # Keep it off the machines that are backed up, and keep a printed recovery kit in a safe.\n",
        );
        self.put_facts(&mut text);
        let _ = writeln!(text, "{}", self.age.secret().expose_secret());
        Zeroizing::new(text)
    }

    fn put_facts(&self, text: &mut String) {
        if let Some(vault) = self.vault {
            let _ = writeln!(text, "# holdfast-vault: {vault}");
        }
        if let Some(name) = &self.name {
            let _ = writeln!(text, "# holdfast-name: {name}");
        }
        if let Some(root) = &self.root_public {
            let _ = writeln!(text, "# holdfast-root-public: {root}");
        }
        if let Some(root) = &self.root {
            let _ = writeln!(
                text,
                "# holdfast-root-secret: {}",
                checked(&root.secret_bytes()[..]).as_str()
            );
        }
        let _ = writeln!(text, "# public key: {}", self.age.recipient());
    }

    /// The recovery kit: one printed page that restores the vault, with each site's URL.
    pub fn to_kit(&self, sites: &[(String, String)]) -> Zeroizing<String> {
        let name = self.name.as_ref().map_or("(unnamed)", VaultName::as_str);
        let mut text = format!(
            "HOLDFAST RECOVERY KIT for vault {name}\n\n\
             This page opens the vault. Print it, lock it away, delete the file.\n\
             To restore without any server, type the lines below `--- 8< ---` into a file kit.txt, then:\n\n"
        );
        for (site, url) in sites {
            let _ = writeln!(
                text,
                "    holdfast rescue ls --site '{url}' --identity kit.txt      # site {site}"
            );
        }
        text.push_str(
            "    holdfast rescue restore --site URL --identity kit.txt --target DIR latest\n\n\
             To run it again on a new machine: start a coordinator there, then\n\n    \
             holdfast vault attach --site NAME=URL --identity kit.txt\n\n\
             Spaces and line breaks within the long values do not matter; each carries a check.\n\n\
             --- 8< ---\n",
        );
        self.put_facts(&mut text);
        let _ = writeln!(
            text,
            "{}",
            spaced(self.age.secret().expose_secret()).as_str()
        );
        Zeroizing::new(text)
    }

    /// Reads an identity file or a kit. `passphrase` is asked for only if the file is protected by one.
    pub fn read(bytes: &[u8], passphrase: impl FnOnce() -> Result<SecretString>) -> Result<Self> {
        if bytes.starts_with(AGE_MAGIC) {
            let opened = open_with_passphrase(bytes, passphrase()?)?;
            return Self::parse(&opened);
        }
        Self::parse(bytes)
    }

    /// Whether a file's bytes are protected by a passphrase.
    pub fn is_protected(bytes: &[u8]) -> bool {
        bytes.starts_with(AGE_MAGIC)
    }

    /// The file's bytes under a passphrase.
    pub fn protect(&self, passphrase: SecretString) -> Result<Vec<u8>> {
        if passphrase.expose_secret().is_empty() {
            return Err(Error::invalid("the passphrase", "it is empty"));
        }
        let failed = |e: std::io::Error| Error::invalid("the identity", e.to_string());
        let mut out = Vec::new();
        let mut writer = age::Encryptor::with_user_passphrase(passphrase)
            .wrap_output(&mut out)
            .map_err(failed)?;
        writer
            .write_all(self.to_text().as_bytes())
            .map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(out)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let what = "the identity file";
        let text = std::str::from_utf8(bytes).map_err(|_| {
            Error::invalid(
                what,
                "it is not text; is it an identity that `holdfast vault create` wrote?",
            )
        })?;
        let fact = |name: &str| -> Option<String> {
            let mark = format!("# holdfast-{name}:");
            let at = text.find(&mark)? + mark.len();
            let until = text[at..].find(['#']).map_or(text.len(), |n| at + n);
            // A typed-in kit may break a long value over lines; the next fact or the secret key ends it.
            let value = text[at..until]
                .split(SECRET_PREFIX)
                .next()
                .unwrap_or_default();
            Some(value.split_whitespace().collect())
        };
        let secret = text.find(SECRET_PREFIX).map(|at| {
            let letters: String = text[at..].chars().filter(|c| !c.is_whitespace()).collect();
            Zeroizing::new(letters.chars().take(74).collect::<String>())
        });
        let Some(secret) = secret else {
            return Err(Error::invalid(
                what,
                format!(
                    "it holds no line {SECRET_PREFIX}…; give the file that `holdfast vault create --identity-out` wrote"
                ),
            ));
        };
        let age = AgeIdentity::parse(&secret)?;
        let vault = fact("vault").map(|v| v.parse()).transpose()?;
        let name = fact("name").map(VaultName::new).transpose()?;
        let root_public: Option<PublicKey> = fact("root-public").map(|v| v.parse()).transpose()?;
        let root = fact("root-secret").map(|v| unchecked(&v)).transpose()?;
        if let (Some(public), Some(root)) = (&root_public, &root)
            && root.public() != *public
        {
            return Err(Error::invalid(
                what,
                "its root secret and root public key do not belong together",
            ));
        }
        Ok(Self {
            age,
            vault,
            name,
            root_public,
            root,
        })
    }
}

fn open_with_passphrase(bytes: &[u8], passphrase: SecretString) -> Result<Zeroizing<Vec<u8>>> {
    let what = "the identity file";
    let decryptor = age::Decryptor::new(bytes).map_err(|e| Error::corrupt(what, e.to_string()))?;
    let key = age::scrypt::Identity::new(passphrase);
    let mut reader = decryptor
        .decrypt(std::iter::once(&key as &dyn age::Identity))
        .map_err(|_| Error::denied(what, "the passphrase is wrong"))?;
    let mut plain = Zeroizing::new(Vec::new());
    reader
        .read_to_end(&mut plain)
        .map_err(|e| Error::corrupt(what, e.to_string()))?;
    Ok(plain)
}

/// Base32 of the bytes and four bytes of their BLAKE3, in groups of five, so that a typing error is found.
fn checked(secret: &[u8]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(secret.to_vec());
    bytes.extend_from_slice(&blake3::hash(secret).as_bytes()[..4]);
    let letters = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&bytes));
    spaced(&letters)
}

/// Groups of five letters; the mark of an age secret key stays in one piece, so that it is found again.
fn spaced(letters: &str) -> Zeroizing<String> {
    let (mark, rest) = letters
        .strip_prefix(SECRET_PREFIX)
        .map_or(("", letters), |rest| (SECRET_PREFIX, rest));
    let mut out = Zeroizing::new(String::with_capacity(letters.len() * 6 / 5 + 1));
    out.push_str(mark);
    for (n, letter) in rest.chars().enumerate() {
        if n % 5 == 0 && !out.is_empty() {
            out.push(' ');
        }
        out.push(letter);
    }
    out
}

fn unchecked(text: &str) -> Result<SecretKey> {
    let wrong = || {
        Error::invalid(
            "the root secret",
            "its check does not fit: a letter was mistyped",
        )
    };
    let letters = Zeroizing::new(text.to_ascii_uppercase().replace(' ', ""));
    let bytes = Zeroizing::new(
        data_encoding::BASE32_NOPAD
            .decode(letters.as_bytes())
            .map_err(|_| wrong())?,
    );
    let (secret, check) = bytes.split_at_checked(32).ok_or_else(wrong)?;
    if check != &blake3::hash(secret).as_bytes()[..4] {
        return Err(wrong());
    }
    let secret: &[u8; 32] = secret.try_into().map_err(|_| wrong())?;
    Ok(SecretKey::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity::new(
            VaultId([1; 16]),
            "db".parse().unwrap(),
            AgeIdentity::generate(),
            SecretKey::new(&[2; 32]),
        )
    }

    fn none() -> Result<SecretString> {
        Err(Error::invalid("the passphrase", "none should be asked for"))
    }

    fn check_same(one: &Identity, two: &Identity) {
        assert_eq!(one.age.recipient(), two.age.recipient());
        assert_eq!(
            (one.vault, &one.name, one.root_public),
            (two.vault, &two.name, two.root_public)
        );
        assert_eq!(
            one.root.as_ref().map(SecretKey::public),
            two.root.as_ref().map(SecretKey::public)
        );
    }

    #[test]
    fn file_and_kit_read_back() {
        let made = identity();
        check_same(
            &made,
            &Identity::read(made.to_text().as_bytes(), none).unwrap(),
        );
        let kit = made.to_kit(&[("offsite".into(), "s3://b/p".into())]);
        check_same(&made, &Identity::read(kit.as_bytes(), none).unwrap());
        let typed = kit
            .rsplit("--- 8< ---")
            .next()
            .unwrap()
            .replace(' ', "\n ")
            .replace("#\n ", "# ");
        check_same(&made, &Identity::read(typed.as_bytes(), none).unwrap());
    }

    #[test]
    fn a_typing_error_is_found() {
        let text = identity().to_text();
        let at = text.find("root-secret: ").unwrap() + "root-secret: ".len();
        let swapped = if text.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        let bad = format!("{}{}{}", &text[..at], swapped, &text[at + 1..]);
        assert!(Identity::read(bad.as_bytes(), none).is_err());
        assert!(Identity::read(b"", none).is_err());
        assert!(Identity::read(&[0xff, 0xfe], none).is_err());
    }

    #[test]
    fn a_passphrase_protects() {
        let made = identity();
        let bytes = made
            .protect(SecretString::from("correct horse".to_owned()))
            .unwrap();
        assert!(Identity::is_protected(&bytes));
        let right = || Ok(SecretString::from("correct horse".to_owned()));
        check_same(&made, &Identity::read(&bytes, right).unwrap());
        let wrong = || Ok(SecretString::from("battery staple".to_owned()));
        assert!(matches!(
            Identity::read(&bytes, wrong),
            Err(Error::Denied { .. })
        ));
    }
}
