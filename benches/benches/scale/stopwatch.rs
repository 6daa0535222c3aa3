//! How long something took, and how much processor time: on a machine that others use, the second is what counts.

use holdfast_benches::cpu_seconds;
use tokio::time::Instant;

use crate::part::Figures;

/// The kernel counts in steps of this, over all threads that there ever were; what is shorter is read thread by thread.
const LONG_SECONDS: f64 = 1.0;

/// The kernel brings a thread's time up to date at its ticks: what is shorter has none.
const SHORT_SECONDS: f64 = 0.01;

/// See the module.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    began: Instant,
    process: f64,
    threads: f64,
}

impl Stopwatch {
    /// Starts it.
    pub(crate) fn start() -> Self {
        Self {
            process: cpu_seconds(std::process::id()),
            threads: threads(),
            began: Instant::now(),
        }
    }

    /// Seconds so far, and seconds of processor time.
    pub(crate) fn read(&self) -> (f64, f64) {
        let seconds = self.began.elapsed().as_secs_f64();
        let threads = threads() - self.threads;
        let process = cpu_seconds(std::process::id()) - self.process;
        let processor = match process >= LONG_SECONDS {
            true => process,
            false => threads.max(0.0),
        };
        (seconds, processor)
    }

    /// The same as figures; of what is short the first only.
    pub(crate) fn figures(&self, of: &str) -> Figures {
        let (seconds, processor) = self.read();
        let mut figures = Figures::from([(format!("seconds {of}"), seconds)]);
        if seconds >= SHORT_SECONDS {
            figures.insert(format!("processor {of}"), processor);
        }
        figures
    }
}

/// Processor time of all threads that there are.
fn threads() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanos.sum::<u64>() as f64 / 1e9
}
