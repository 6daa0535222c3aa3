//! An S3 server of a test's own, to be stopped where it is and let go on. It keeps its objects in memory and checks no
//! signatures. Of two who create one object at once both may win: put a [`crate::Faulty`] before it where that matters.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::ground::Ground;
use crate::server::Server;
use crate::surroundings;

/// See the module header.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    server: Server,
}

impl Moto {
    /// Starts one, waits until it answers, and makes a bucket in it.
    #[track_caller]
    pub fn start(ground: &Ground, name: &str, bucket: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let python = surroundings::python().display().to_string();
        let words = [
            &python,
            "-m",
            "moto.server",
            "--host",
            "127.0.0.1",
            "--port",
        ];
        let mut words: Vec<String> = words.map(str::to_owned).to_vec();
        words.push(port.to_string());
        let server = Server::start(words, ground.at(format!("{name}.log")));
        let moto = Self { port, server };
        moto.server.wait(|| moto.says_ok("GET", "/moto-api/"));
        assert!(moto.says_ok("PUT", &format!("/{bucket}")), "no bucket");
        moto
    }

    /// Where it answers, as `HOST:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn says_ok(&self, method: &str, path: &str) -> bool {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            let host = self.host();
            let ask = format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(ask.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        asked().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Stops it where it is.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.server.thaw();
    }
}
