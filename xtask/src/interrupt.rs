//! Ctrl-C and its kin (SIGINT, SIGTERM, SIGHUP) as a flag that every wait looks at, so that an
//! interrupted task still unwinds: children ended, servers stopped, scratch folders removed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether someone asked this process to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    raised: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over the signals of the whole process; call it once.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.raised))
                .with_context(|| format!("cannot listen for signal {signal}"))?;
        }
        Ok(interrupt)
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// An [`Interrupted`] error once the flag is up.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.is_raised() {
            Err(Interrupted.into())
        } else {
            Ok(())
        }
    }
}

/// The error of a task that was asked to end.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
