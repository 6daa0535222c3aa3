//! Options of every command: which coordinator, how to speak to it, how to report.

use std::path::PathBuf;

use clap::Args;
use holdfast_agent::client::{Endpoint, TlsFiles};

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::logging::LogFormat;
use crate::settings::Settings;

/// Where a coordinator that was started with its usual folder listens.
const USUAL_SOCKET: &str = "/var/lib/holdfast/holdfast.sock";

/// See the module header.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The coordinator: https://HOST:PORT, or unix:PATH on this machine; of several, parted by commas, the first that answers
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub(crate) coordinator: Option<String>,
    /// Certificates (PEM) of the authorities that the other side's certificate may come from
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// This side's certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// This side's private key (PEM)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Report in JSON on standard output
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Show no progress and no remarks
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Messages to show on standard error: a level, or TARGET=LEVEL,…
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Output")]
    pub(crate) log: Option<String>,
    /// How these messages are written
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        help_heading = "Output"
    )]
    pub(crate) log_format: LogFormat,
}

impl Common {
    /// The coordinators and the files for them: options first, then the settings file, then the usual socket.
    pub(crate) fn coordinators(&self) -> Outcome<(Vec<Endpoint>, TlsFiles)> {
        let settings = Settings::load()?;
        let tls = TlsFiles {
            ca: self.tls_ca.clone().or(settings.tls.ca),
            cert: self.tls_cert.clone().or(settings.tls.cert),
            key: self.tls_key.clone().or(settings.tls.key),
        };
        // A variable that is set to nothing is as good as none.
        let given = self.coordinator.clone().filter(|url| !url.is_empty());
        let named = given.or(settings.coordinator);
        let named = named.or_else(|| {
            let there = std::fs::exists(USUAL_SOCKET).unwrap_or(false);
            there.then(|| format!("unix:{USUAL_SOCKET}"))
        });
        let Some(named) = named else {
            return Err(Failure::with_advice(
                "no coordinator is named, and none runs here in its usual place",
                "give --coordinator URL or set HOLDFAST_COORDINATOR: https://HOST:PORT, or \
                 unix:DIR/holdfast.sock for `holdfast coordinator --data DIR`",
            ));
        };
        let endpoints = split(&named).into_iter().map(|one| {
            one.parse().map_err(|error: holdfast_agent::Error| Failure {
                exit: Exit::Usage,
                ..Failure::from(error)
            })
        });
        Ok((endpoints.collect::<Outcome<_>>()?, tls))
    }
}

/// Parts a list at its commas: at those behind which another address begins, for a socket's path may have some too.
fn split(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in list.match_indices(',') {
        let rest = list[at + 1..].trim_start();
        if ["https:", "http:", "unix:"]
            .iter()
            .any(|scheme| rest.starts_with(scheme))
        {
            parts.push(list[from..at].trim());
            from = at + 1;
        }
    }
    parts.push(list[from..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parted_where_an_address_begins() {
        assert_eq!(split("unix:/a"), ["unix:/a"]);
        assert_eq!(
            split("https://a:1, https://b:1,unix:/c,d"),
            ["https://a:1", "https://b:1", "unix:/c,d"]
        );
        assert_eq!(split("https://a:1,b:2"), ["https://a:1,b:2"]);
        assert_eq!(split(""), [""]);
    }
}
