//! A proxy between a site and its server that fails as networks and servers do. One request per connection.

use std::sync::{Arc, Mutex};

use holdfast_context::Context;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// The connection breaks before the server sees it.
    Cut,
    /// The server does it, and the connection breaks before the answer comes.
    Lose,
    /// Half of the answer comes.
    Halve,
    /// The server answers this status and body, and does nothing.
    Say(u16, &'static str),
    /// The same with a date.
    SayAt(u16, &'static str, &'static str),
}

/// Requests whose head holds `text` meet `fate`, `times` times.
struct Rule {
    text: &'static str,
    fate: Fate,
    times: usize,
}

/// The hand on a proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    rules: Arc<Mutex<Vec<Rule>>>,
}

impl Proxy {
    /// Starts a proxy to `server`, a URL like `http://127.0.0.1:5000`.
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Self {
            endpoint,
            rules: Arc::default(),
        };
        let (server, hand) = (
            server.trim_start_matches("http://").to_string(),
            proxy.clone(),
        );
        Context::system().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, hand) = (server.clone(), hand.clone());
                Context::system().spawn(async move { hand.serve(client, &server).await.ok() });
            }
        });
        proxy
    }

    /// Makes the next `times` requests whose head holds `text` meet `fate`.
    pub(crate) fn next(&self, text: &'static str, fate: Fate, times: usize) {
        self.rules.lock().unwrap().push(Rule { text, fate, times });
    }

    fn fate_of(&self, head: &str) -> Option<Fate> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules
            .iter_mut()
            .find(|rule| rule.times > 0 && head.contains(rule.text))?;
        rule.times -= 1;
        Some(rule.fate.clone())
    }

    async fn serve(&self, mut client: TcpStream, server: &str) -> std::io::Result<()> {
        let (head, body) = request(&mut client).await?;
        let fate = self.fate_of(&head);
        match fate {
            Some(Fate::Cut) => return Ok(()),
            Some(Fate::Say(status, text)) => return say(&mut client, status, "", text).await,
            Some(Fate::SayAt(status, date, text)) => {
                return say(&mut client, status, &format!("date: {date}\r\n"), text).await;
            }
            _ => {}
        }
        let mut upstream = TcpStream::connect(server).await?;
        let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        upstream.write_all(head.as_bytes()).await?;
        upstream.write_all(&body).await?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer).await?;
        match fate {
            Some(Fate::Lose) => Ok(()),
            Some(Fate::Halve) => {
                client
                    .write_all(&answer[..answer.len() - answer.len() / 3])
                    .await
            }
            _ => client.write_all(&answer).await,
        }
    }
}

async fn say(
    client: &mut TcpStream,
    status: u16,
    headers: &str,
    text: &str,
) -> std::io::Result<()> {
    let length = text.len();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n");
    let answer = format!("{head}{headers}\r\n{text}");
    client.write_all(answer.as_bytes()).await
}

/// One request: its head, with the empty line, and its body.
async fn request(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match client.read(&mut buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    let length = head.to_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length:")
            .and_then(|length| length.trim().parse::<usize>().ok())
    });
    let missing = length.unwrap_or(0).saturating_sub(body.len());
    let start = body.len();
    body.resize(start + missing, 0);
    client.read_exact(&mut body[start..]).await?;
    Ok((head, body))
}
