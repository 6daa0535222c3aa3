//! Where a user's own files lie: settings, bundles, caches.

use std::path::PathBuf;

const NAME: &str = "holdfast";

/// `$XDG_CONFIG_HOME/holdfast`, or `~/.config/holdfast`; for a service without a home `/etc/holdfast`.
pub(crate) fn config() -> PathBuf {
    find("XDG_CONFIG_HOME", ".config", "/etc")
}

/// `$XDG_CACHE_HOME/holdfast`, or `~/.cache/holdfast`; for a service without a home `/var/cache/holdfast`.
pub(crate) fn cache() -> PathBuf {
    find("XDG_CACHE_HOME", ".cache", "/var/cache")
}

/// Where the bundle of a vault is kept for this user.
pub(crate) fn bundle(vault: &str) -> PathBuf {
    config().join("bundles").join(format!("{vault}.bundle"))
}

fn find(variable: &str, in_home: &str, without_home: &str) -> PathBuf {
    let given = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    given(variable)
        .or_else(|| given("HOME").map(|home| home.join(in_home)))
        .unwrap_or_else(|| without_home.into())
        .join(NAME)
}
