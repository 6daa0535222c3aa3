//! The key layout that both stores share.
//!
//! Under a prefix (`/holdfast/` in etcd unless configured, none in the embedded file):
//!
//! | key | holds | lives |
//! |---|---|---|
//! | `version` | the layout's version and a number drawn at the store's birth | for ever; a higher version than ours is refused |
//! | `coordinators/<name>` | [`crate::CoordinatorInfo`] | with its coordinator's lease (etcd only) |
//! | `owners/<vault>` | [`crate::Owner`] | with its owner's lease (etcd only) |
//! | `epochs/<vault>` | the highest epoch issued, a number | for ever: numbers are never used twice |
//! | `vaults/<vault>` | [`crate::VaultEntry`] | until the vault is removed |
//! | `sites/<site>` | [`crate::SiteEntry`] | until the site is removed |
//! | `progress/<vault>/<site>` | [`crate::Progress`] | until the vault is removed |
//! | `certificates/<vault>/<hash>` | one certificate, by the BLAKE3 of its bytes | until the vault is removed |
//!
//! `<vault>` is 32 lowercase hexadecimal digits. `coordinators/` sorts before `owners/`, so that when a lease ends a
//! watch tells of the coordinator first. The embedded store keeps coordinators and owners in memory.

use holdfast_format::{Hash, SiteName, VaultId};

/// Makes and reads keys under one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// Empty, or ends with a slash.
    prefix: String,
}

/// What a key names, for those whose changes a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A coordinator.
    Coordinator,
    /// The owner of a vault.
    Owner(VaultId),
    /// An entry of the vault registry.
    Vault,
    /// An entry of the site list.
    Site,
    /// How far a member has come.
    Progress(VaultId, SiteName),
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// What all keys start with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn version(&self) -> String {
        format!("{}version", self.prefix)
    }

    pub(crate) fn coordinators(&self) -> String {
        format!("{}coordinators/", self.prefix)
    }

    pub(crate) fn coordinator(&self, name: &str) -> String {
        format!("{}coordinators/{name}", self.prefix)
    }

    pub(crate) fn owner(&self, vault: VaultId) -> String {
        format!("{}owners/{vault}", self.prefix)
    }

    pub(crate) fn epoch(&self, vault: VaultId) -> String {
        format!("{}epochs/{vault}", self.prefix)
    }

    pub(crate) fn vaults(&self) -> String {
        format!("{}vaults/", self.prefix)
    }

    pub(crate) fn vault(&self, vault: VaultId) -> String {
        format!("{}vaults/{vault}", self.prefix)
    }

    pub(crate) fn sites(&self) -> String {
        format!("{}sites/", self.prefix)
    }

    pub(crate) fn site(&self, site: &SiteName) -> String {
        format!("{}sites/{site}", self.prefix)
    }

    pub(crate) fn progresses(&self, vault: VaultId) -> String {
        format!("{}progress/{vault}/", self.prefix)
    }

    pub(crate) fn progress(&self, vault: VaultId, site: &SiteName) -> String {
        format!("{}progress/{vault}/{site}", self.prefix)
    }

    pub(crate) fn certificates(&self, vault: VaultId) -> String {
        format!("{}certificates/{vault}/", self.prefix)
    }

    pub(crate) fn certificate(&self, vault: VaultId, certificate: &[u8]) -> String {
        format!(
            "{}certificates/{vault}/{}",
            self.prefix,
            Hash::of(certificate)
        )
    }

    /// The site that a progress key of `vault` names.
    pub(crate) fn progress_site(&self, vault: VaultId, key: &str) -> Option<SiteName> {
        key.strip_prefix(&self.progresses(vault))
            .and_then(|site| site.parse().ok())
    }

    /// What a key names; `None` for keys whose changes nobody is told of, and for strangers.
    pub(crate) fn subject(&self, key: &str) -> Option<Subject> {
        let (family, name) = key.strip_prefix(&self.prefix)?.split_once('/')?;
        match family {
            "coordinators" => Some(Subject::Coordinator),
            "owners" => Some(Subject::Owner(name.parse().ok()?)),
            "vaults" => Some(Subject::Vault),
            "sites" => Some(Subject::Site),
            "progress" => {
                let (vault, site) = name.split_once('/')?;
                Some(Subject::Progress(vault.parse().ok()?, site.parse().ok()?))
            }
            _ => None,
        }
    }
}

/// The first key after all that start with `prefix`, for range requests. Prefixes here are ASCII and not empty.
pub(crate) fn end_of(prefix: &str) -> String {
    let mut end = prefix.to_string();
    if let Some(last) = end.pop() {
        end.push(char::from_u32(u32::from(last) + 1).unwrap_or(char::MAX));
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: VaultId = VaultId([0xab; 16]);

    #[test]
    fn keys_are_read_as_they_are_made() {
        let site = SiteName::new("offsite").unwrap();
        for prefix in ["", "/holdfast/", "/a/b/"] {
            let keys = Keys::new(prefix);
            let check = |key: String, want: Option<Subject>| {
                assert!(key.starts_with(prefix), "{key}");
                assert_eq!(keys.subject(&key), want, "{key}");
            };
            check(keys.version(), None);
            check(keys.coordinator("c1"), Some(Subject::Coordinator));
            check(keys.owner(VAULT), Some(Subject::Owner(VAULT)));
            check(keys.epoch(VAULT), None);
            check(keys.vault(VAULT), Some(Subject::Vault));
            check(keys.site(&site), Some(Subject::Site));
            check(
                keys.progress(VAULT, &site),
                Some(Subject::Progress(VAULT, site.clone())),
            );
            check(keys.certificate(VAULT, b"x"), None);
            assert_eq!(
                keys.progress_site(VAULT, &keys.progress(VAULT, &site)),
                Some(site.clone())
            );
        }
        assert_eq!(Keys::new("/holdfast/").subject("/other/vaults/x"), None);
    }

    #[test]
    fn a_range_ends_after_its_prefix() {
        assert_eq!(end_of("a/"), "a0");
        assert!(*end_of("a/") > *"a/zzz");
    }
}
