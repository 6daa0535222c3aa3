//! Messages for operators: on standard error, filtered by `--log`, as text or as JSON.
//!
//! Results never go there, and secrets never go anywhere: the types that hold them print as `…(secret)`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Outcome};

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Starts logging. Called once.
pub(crate) fn start(filter: &str, format: LogFormat) -> Outcome<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::usage(
            format!("log filter {filter:?}: {error}"),
            "use a level such as info or debug, or TARGET=LEVEL,…",
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(crate::output::stderr_above_progress)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
