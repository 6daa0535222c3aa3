//! `NAME=URL`: a site and where it is.

use std::str::FromStr;

use holdfast_format::SiteName;

/// A named site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedUrl {
    /// Its name.
    pub(crate) name: SiteName,
    /// Where it is. May name a profile, never a secret.
    pub(crate) url: String,
}

impl FromStr for NamedUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write NAME=URL, such as onsite=file:/srv/backup or offsite=s3://BUCKET/PREFIX";
        let (name, url) = text.split_once('=').ok_or(form)?;
        if !url.contains(':') {
            return Err(form.into());
        }
        let name = SiteName::new(name).map_err(|error| error.to_string())?;
        let url = url.to_owned();
        Ok(Self { name, url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_a_name_and_a_url() {
        let site: NamedUrl = "off=s3://b/p?endpoint=http://x&region=r".parse().unwrap();
        assert_eq!(site.name.as_str(), "off");
        assert_eq!(site.url, "s3://b/p?endpoint=http://x&region=r");
        for bad in ["", "file:/x", "=file:/x", "a b=file:/x", "on=", "on=path"] {
            assert!(bad.parse::<NamedUrl>().is_err(), "{bad}");
        }
    }
}
