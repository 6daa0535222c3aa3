//! Free ports on loopback.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;

/// Below what the system hands out by itself: a port that is free here does not become the near end of some connection before its
/// server listens.
const FIRST: u16 = 15_000;
const COUNT_MAX: u16 = 15_000;

/// Where the next search begins, so that two in a row give other ports.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Picks ports that nobody listens on. All are held until all are picked, so that they differ;
/// between here and a server's start another process may still take one, then the start fails.
pub(crate) fn free<const COUNT: usize>() -> anyhow::Result<[u16; COUNT]> {
    // Runs beside each other begin in different places.
    let own = u16::try_from(process::id() % u32::from(COUNT_MAX)).unwrap_or(0);
    let mut ports = [0; COUNT];
    let mut held = Vec::with_capacity(COUNT);
    let mut tried = 0;
    for port in &mut ports {
        loop {
            tried += 1;
            if tried > COUNT_MAX {
                bail!(
                    "no free port on loopback between {FIRST} and {}",
                    FIRST + COUNT_MAX
                );
            }
            let offset = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT_MAX;
            *port = FIRST + (own + offset) % COUNT_MAX;
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", *port)) {
                held.push(listener);
                break;
            }
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::free;

    #[test]
    fn ports_differ() {
        let mut ports = free::<8>().unwrap().to_vec();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
