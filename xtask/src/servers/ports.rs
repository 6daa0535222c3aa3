//! Free ports on loopback.

use std::net::TcpListener;

use anyhow::Context;

/// Picks ports that nobody listens on. All are held until all are picked, so that they differ;
/// between here and a server's start another process may still take one, then the start fails.
pub(crate) fn free<const COUNT: usize>() -> anyhow::Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    let mut held = Vec::with_capacity(COUNT);
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on loopback")?;
        *port = listener
            .local_addr()
            .context("a socket without an address")?
            .port();
        held.push(listener);
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
