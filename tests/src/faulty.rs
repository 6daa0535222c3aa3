//! An S3 server's bad days: a proxy before it that fails some requests, in the ways in which real ones do. Some of them were
//! carried out all the same.
//!
//! It also makes creates of one name true ones: moto looks whether there is such an object and then writes it, with nothing that keeps
//! two from doing so at once. All who write have to come this way.
//!
//! State: what goes wrong now, the chance that decides which request it is, and who creates just now. One request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::noise::Noise;

/// How long the server may take to answer; longer than it is ever stopped.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// 500, and nothing was done.
    Error,
    /// 503 with the word to slow down, and nothing was done.
    Busy,
    /// The connection is closed, and nothing was done.
    Lost,
    /// It is done, and the answer is a 500.
    DoneAndError,
    /// It is done, and the connection is closed.
    DoneAndLost,
    /// It is done, and the connection is closed in the middle of the answer.
    Half,
}

impl Mishap {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Error,
        Self::Busy,
        Self::Lost,
        Self::DoneAndError,
        Self::DoneAndLost,
        Self::Half,
    ];

    fn is_done(self) -> bool {
        matches!(self, Self::DoneAndError | Self::DoneAndLost | Self::Half)
    }
}

#[derive(Debug)]
struct Weather {
    /// Of so many requests one fails; none while it is nothing.
    one_of: u64,
    noise: Noise,
    struck: u64,
}

/// See the module header.
#[derive(Debug, Clone)]
pub struct Faulty {
    /// `HOST:PORT` of the proxy.
    pub host: String,
    weather: Arc<Mutex<Weather>>,
    /// Names share them by their hash.
    creates: Arc<[Mutex<()>; 16]>,
}

impl Faulty {
    /// A proxy before `server`, as `HOST:PORT`, that fails nothing yet.
    pub fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let weather = Weather {
            one_of: 0,
            noise: Noise::new(0),
            struck: 0,
        };
        let faulty = Self {
            host: listener.local_addr().unwrap().to_string(),
            weather: Arc::new(Mutex::new(weather)),
            creates: Arc::default(),
        };
        let (proxy, server) = (faulty.clone(), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (proxy, server) = (proxy.clone(), server.clone());
                // Who asks sees a broken connection; why is of no use to anybody.
                thread::spawn(move || proxy.serve(&client, &server).ok());
            }
        });
        faulty
    }

    /// From now on one request of so many fails, drawn from a seed.
    pub fn fail(&self, one_of: u64, seed: u64) {
        let mut weather = self.weather.lock().unwrap();
        (weather.one_of, weather.noise) = (one_of, Noise::new(seed));
    }

    /// From now on none does.
    pub fn heal(&self) {
        self.weather.lock().unwrap().one_of = 0;
    }

    /// How many requests failed by this proxy's doing.
    pub fn struck(&self) -> u64 {
        self.weather.lock().unwrap().struck
    }

    fn draw(&self) -> Option<Mishap> {
        let mut weather = self.weather.lock().unwrap();
        let one_of = weather.one_of;
        if one_of == 0 || weather.noise.below(one_of) != 0 {
            return None;
        }
        weather.struck += 1;
        let all = Mishap::ALL;
        Some(all[weather.noise.below(all.len() as u64) as usize])
    }

    fn serve(&self, client: &TcpStream, server: &str) -> std::io::Result<()> {
        let Request { bytes, creates } = read_request(client)?;
        let mishap = self.draw();
        let answer = match mishap {
            Some(mishap) if !mishap.is_done() => Vec::new(),
            _ => {
                let turn = creates.map(|name| &self.creates[usize::from(name.as_bytes()[0] % 16)]);
                let _turn = turn.map(|turn| turn.lock().unwrap());
                let mut upstream = TcpStream::connect(server)?;
                upstream.set_read_timeout(Some(ANSWER_LIMIT))?;
                upstream.write_all(&bytes)?;
                let mut answer = Vec::new();
                upstream.read_to_end(&mut answer)?;
                answer
            }
        };
        let mut to = client;
        match mishap {
            None => to.write_all(&answer)?,
            Some(Mishap::Error | Mishap::DoneAndError) => {
                to.write_all(&refusal(500, "InternalError"))?
            }
            Some(Mishap::Busy) => to.write_all(&refusal(503, "SlowDown"))?,
            Some(Mishap::Half) => to.write_all(&answer[..answer.len() / 2])?,
            Some(Mishap::Lost | Mishap::DoneAndLost) => {}
        }
        to.shutdown(Shutdown::Both)
    }
}

struct Request {
    bytes: Vec<u8>,
    /// The name that is to be created, if one is, as a hash.
    creates: Option<blake3::Hash>,
}

/// A request with its body, made the last one of its connection.
fn read_request(client: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(client);
    let mut bytes = Vec::new();
    let (mut name, mut creates, mut body_bytes) = (String::new(), false, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if bytes.is_empty() {
            let path = line.split(' ').nth(1).unwrap_or_default();
            path.split('?')
                .next()
                .unwrap_or_default()
                .clone_into(&mut name);
        }
        let (header, value) = line.split_once(':').unwrap_or((&line, ""));
        match header.to_ascii_lowercase().as_str() {
            "connection" => continue,
            "content-length" => body_bytes = value.trim().parse().unwrap_or(0),
            "if-none-match" => creates = true,
            "transfer-encoding" => return Err(std::io::ErrorKind::Unsupported.into()),
            _ => {}
        }
        bytes.extend_from_slice(line.as_bytes());
    }
    bytes.extend_from_slice(b"Connection: close\r\n\r\n");
    reader.take(body_bytes).read_to_end(&mut bytes)?;
    let creates = creates.then(|| blake3::hash(name.as_bytes()));
    Ok(Request { bytes, creates })
}

fn refusal(status: u16, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>chaos</Message></Error>"
    );
    format!(
        "HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
