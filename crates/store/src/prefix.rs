//! The texts that a listing may start with.

use holdfast_format::SiteName;

use crate::error::{Error, Kind, Result};

/// Checks a prefix of object names: empty, or made of their characters. It need not end with a slash.
pub(crate) fn check(prefix: &str, site: &SiteName) -> Result<()> {
    let mut parts = prefix.split('/').rev();
    let last = parts.next().unwrap_or_default();
    let fine = prefix.len() <= 512
        && prefix
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._/".contains(&b))
        && !matches!(last, "." | "..")
        && parts.all(|part| !matches!(part, "" | "." | ".."));
    if fine {
        Ok(())
    } else {
        Err(Error::new(
            Kind::Bug,
            format!("listing site {site}"),
            format!("{prefix:?} cannot start an object's name"),
        ))
    }
}

/// Checks a folder of object names: empty, or a prefix that ends with a slash.
pub(crate) fn check_folder(folder: &str, site: &SiteName) -> Result<()> {
    check(folder, site)?;
    if folder.is_empty() || folder.ends_with('/') {
        Ok(())
    } else {
        Err(Error::new(
            Kind::Bug,
            format!("listing folders of site {site}"),
            format!("{folder:?} does not end with a slash"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_names_cut_short() {
        let site = SiteName::new("s").unwrap();
        for fine in ["", "a", "a/", "a/b", "a/b/", "0a-b._/x"] {
            assert!(check(fine, &site).is_ok(), "{fine:?}");
        }
        for wrong in ["/", "/a", "a//b", "a/../b", "..", "a/.", "A", "a b"] {
            assert!(check(wrong, &site).is_err(), "{wrong:?}");
        }
        assert!(check_folder("a/", &site).is_ok());
        assert!(check_folder("", &site).is_ok());
        assert!(check_folder("a", &site).is_err());
    }
}
