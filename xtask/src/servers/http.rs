//! Asks a server on loopback whether it answers: as much HTTP as that takes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Whether a GET of this path is answered with 200; a server that is not up yet is a no.
pub(crate) fn answers(port: u16, path: &str) -> bool {
    ask(port, path).is_ok_and(|answer| is_ok(&answer))
}

/// Whether somebody listens there.
pub(crate) fn accepts(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, LIMIT).is_ok()
}

fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_ok(answer: &str) -> bool {
    let mut words = answer.split_whitespace();
    words
        .next()
        .is_some_and(|version| version.starts_with("HTTP/"))
        && words.next() == Some("200")
}

#[cfg(test)]
mod tests {
    use super::is_ok;

    #[test]
    fn only_a_200_is_an_answer() {
        assert!(is_ok("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!is_ok("HTTP/1.1 503 Service Unavailable\r\n\r\n200"));
        assert!(!is_ok("SSH-2.0 200"));
        assert!(!is_ok(""));
    }
}
