//! A TCP door before a server. Shut, it refuses who comes and cuts off who is inside; opened again, it lets pass. It can
//! hold back the answers to what is put: then others see an object well before its writer knows that it stands.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Debug, Default)]
struct State {
    is_shut: bool,
    hold_puts: Duration,
    inside: Vec<TcpStream>,
}

/// See the module header.
#[derive(Debug, Clone)]
pub struct Gate {
    /// `http://HOST:PORT` of the door.
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Gate {
    /// An open door before `server`, a URL such as `http://127.0.0.1:5000`.
    pub fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = server.trim_start_matches("http://").to_owned();
        let gate = Self {
            endpoint,
            state: Arc::default(),
        };
        let door = gate.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                door.admit(client, &server);
            }
        });
        gate
    }

    /// Holds back each answer to an HTTP PUT for so long.
    pub fn hold_puts(&self, time: Duration) {
        self.state.lock().unwrap().hold_puts = time;
    }

    /// Shuts it.
    pub fn shut(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_shut = true;
        for stream in state.inside.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Opens it.
    pub fn open(&self) {
        self.state.lock().unwrap().is_shut = false;
    }

    fn admit(&self, client: TcpStream, server: &str) {
        let mut state = self.state.lock().unwrap();
        if state.is_shut {
            return;
        }
        let Ok(upstream) = TcpStream::connect(server) else {
            return;
        };
        for stream in [&client, &upstream] {
            let _ = stream.set_nodelay(true);
            state.inside.push(stream.try_clone().unwrap());
        }
        drop(state);
        let (back, forth) = (
            (upstream.try_clone().unwrap(), client.try_clone().unwrap()),
            (client, upstream),
        );
        let is_put = Arc::new(AtomicBool::new(false));
        let (noted, door) = (Arc::clone(&is_put), self.clone());
        thread::spawn(move || {
            carry(forth.0, forth.1, |bytes| {
                if bytes.starts_with(b"PUT ") {
                    noted.store(true, Ordering::SeqCst);
                }
            });
        });
        thread::spawn(move || {
            carry(back.0, back.1, |_| {
                if is_put.swap(false, Ordering::SeqCst) {
                    let time = door.state.lock().unwrap().hold_puts;
                    thread::sleep(time);
                }
            });
        });
    }
}

/// Carries bytes, each time after `look` has seen them, until one side ends; then ends both.
fn carry(mut from: TcpStream, mut to: TcpStream, look: impl Fn(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read) = from.read(&mut buffer) {
        look(&buffer[..read]);
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
