//! This process's anonymous memory: what it takes that no file stands behind. Mapped segments are not in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the watch looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Anonymous memory now, bytes.
pub(crate) fn anonymous() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("RssAnon"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap() << 10
}

/// Looks again and again for the most.
#[derive(Debug)]
pub(crate) struct Watch {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts looking.
    pub(crate) fn start() -> Self {
        let most = Arc::new(AtomicU64::new(anonymous()));
        let over = Arc::new(AtomicBool::new(false));
        let (told, asked) = (most.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                told.fetch_max(anonymous(), Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
        });
        Self { most, over, thread }
    }

    /// The most since it was started, bytes.
    pub(crate) fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.most.load(Ordering::Relaxed).max(anonymous())
    }
}
