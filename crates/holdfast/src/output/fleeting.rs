//! Progress and remarks: on standard error, and progress on a terminal only.
//!
//! State: the bar that is shown, if any, so that messages are written above it and not through it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_context::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::task::AbortOnDropHandle;

/// How often it is drawn.
const EVERY: Duration = Duration::from_millis(200);

static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How far something is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// Bytes done.
    pub(crate) done: u64,
    /// Of so many, if that is known.
    pub(crate) total: Option<u64>,
    /// What else there is to say.
    pub(crate) note: String,
}

/// A bar that is drawn until this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    _drawing: Option<AbortOnDropHandle<()>>,
}

impl Progress {
    /// Draws what `read` says, if there is a terminal and `quiet` is not set.
    pub(crate) fn show(
        context: &Context,
        quiet: bool,
        read: impl Fn() -> Reading + Send + 'static,
    ) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
                _drawing: None,
            };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        let drawn = bar.clone();
        let drawing = context.spawn(async move {
            let mut has_total = None;
            loop {
                let reading = read();
                if has_total != Some(reading.total.is_some()) {
                    has_total = Some(reading.total.is_some());
                    drawn.set_style(style(reading.total.is_some()));
                }
                if let Some(total) = reading.total {
                    drawn.set_length(total.max(reading.done));
                }
                drawn.set_position(reading.done);
                drawn.set_message(reading.note);
                drawn.tick();
                tokio::time::sleep(EVERY).await;
            }
        });
        Self {
            bar,
            _drawing: Some(AbortOnDropHandle::new(drawing)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.bar.finish_and_clear();
    }
}

fn style(has_total: bool) -> ProgressStyle {
    let template = if has_total {
        "{bar:24} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}  {wide_msg}"
    } else {
        "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}  {wide_msg}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Says something that is no result.
pub(crate) fn remark(quiet: bool, text: impl std::fmt::Display) {
    if !quiet {
        let _ = writeln!(stderr_above_progress(), "holdfast: {text}");
    }
}

/// Standard error, written above the bar.
pub(crate) fn stderr_above_progress() -> impl Write {
    AboveProgress
}

struct AboveProgress;

impl Write for AboveProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bar = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bar {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
