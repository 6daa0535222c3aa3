//! Signals: the first asks the command to stop in good order, the second ends the program at once.

use holdfast_context::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// Cancels the token at the first SIGINT, SIGTERM or SIGHUP.
pub(crate) fn watch(context: &Context) -> Outcome<CancellationToken> {
    let cancel = CancellationToken::new();
    let failed = |error| Failure::new(format_args!("signals cannot be watched: {error}"));
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hup = signal(SignalKind::hangup()).map_err(failed)?;
    let token = cancel.clone();
    drop(context.spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            if asked {
                std::process::exit(Exit::Interrupted.number().into());
            }
            asked = true;
            token.cancel();
        }
    }));
    Ok(cancel)
}
