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
    /// The coordinator: https://HOST:PORT, or unix:PATH on this machine
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
    /// The coordinator and the files for it: options first, then the settings file, then the usual socket.
    pub(crate) fn coordinator(&self) -> Outcome<(Endpoint, TlsFiles)> {
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
        let endpoint = named
            .parse()
            .map_err(|error: holdfast_agent::Error| Failure {
                exit: Exit::Usage,
                ..Failure::from(error)
            })?;
        Ok((endpoint, tls))
    }
}
