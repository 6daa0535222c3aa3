//! A TCP door before a server. Shut, it refuses who comes and cuts off who is inside; silent, it holds back whatever is said, as
//! a network does that loses all packets; slow, it lets only so much through; opened again, it lets pass. It can hold
//! back the answers to what is put: then others see an object well before its writer knows that it stands.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Most bytes that are carried at once, so that a slow door is slow evenly.
const CARRIED_BYTES_MAX: usize = 1 << 14;

/// How long a server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long what is to be sent is waited for.
const SENT_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Door {
    #[default]
    Open,
    Shut,
    Silent,
    /// Bytes a second for each connection and direction.
    Slow(u32),
}

#[derive(Debug, Default)]
struct State {
    door: Door,
    hold_puts: Duration,
    inside: Vec<TcpStream>,
    /// Bytes that were carried to the server.
    sent: u64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// See the module header.
#[derive(Debug, Clone)]
pub struct Gate {
    /// `http://HOST:PORT` of the door.
    pub endpoint: String,
    shared: Arc<Shared>,
}

impl Gate {
    /// An open door before `server`, a URL such as `http://127.0.0.1:5000`.
    pub fn before(server: &str) -> Self {
        Self::listening_at("127.0.0.1:0", server).unwrap()
    }

    /// The same, at an address of one's choice.
    pub fn listening_at(address: &str, server: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let server = server.trim_start_matches("http://").to_owned();
        let gate = Self {
            endpoint,
            shared: Arc::default(),
        };
        let door = gate.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (door, server) = (door.clone(), server.clone());
                thread::spawn(move || door.admit(client, &server));
            }
        });
        Ok(gate)
    }

    /// `HOST:PORT` of the door.
    pub fn host(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    /// Waits until so many bytes were carried to the server.
    #[track_caller]
    pub fn wait_sent(&self, bytes: u64) {
        let state = self.shared.state.lock().unwrap();
        let is_short = |state: &mut State| state.sent < bytes;
        let changed = &self.shared.changed;
        let (state, waited) = changed
            .wait_timeout_while(state, SENT_LIMIT, is_short)
            .unwrap();
        assert!(!waited.timed_out(), "only {} bytes were sent", state.sent);
    }

    /// Holds back each answer to an HTTP PUT for so long.
    pub fn hold_puts(&self, time: Duration) {
        self.shared.state.lock().unwrap().hold_puts = time;
    }

    /// Shuts it.
    pub fn shut(&self) {
        self.turn(Door::Shut);
        for stream in self.shared.state.lock().unwrap().inside.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets nothing through, and cuts nobody off: what is said meanwhile comes through once it is opened.
    pub fn silence(&self) {
        self.turn(Door::Silent);
    }

    /// Lets so many bytes a second through, of each connection in each direction.
    pub fn slow(&self, bytes_per_second: u32) {
        self.turn(Door::Slow(bytes_per_second));
    }

    /// Opens it.
    pub fn open(&self) {
        self.turn(Door::Open);
    }

    fn turn(&self, door: Door) {
        self.shared.state.lock().unwrap().door = door;
        self.shared.changed.notify_all();
    }

    /// Waits while it is silent; how it stands then.
    fn audible(&self) -> Door {
        let state = self.shared.state.lock().unwrap();
        let is_silent = |state: &mut State| state.door == Door::Silent;
        self.shared
            .changed
            .wait_while(state, is_silent)
            .unwrap()
            .door
    }

    fn admit(&self, client: TcpStream, server: &str) {
        if self.shared.state.lock().unwrap().door == Door::Shut {
            return;
        }
        // Not under the lock: one that is stopped where it is may not even take a connection.
        let address = server.to_socket_addrs().ok().and_then(|mut all| all.next());
        let connect = |address| TcpStream::connect_timeout(&address, CONNECT_LIMIT).ok();
        let Some(upstream) = address.and_then(connect) else {
            return;
        };
        let mut state = self.shared.state.lock().unwrap();
        if state.door == Door::Shut {
            return;
        }
        // Those that have ended are not kept.
        state.inside.retain(|stream| stream.peer_addr().is_ok());
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
            door.carry(forth.0, forth.1, |bytes| {
                if bytes.starts_with(b"PUT ") {
                    noted.store(true, Ordering::SeqCst);
                }
                door.shared.state.lock().unwrap().sent += bytes.len() as u64;
                door.shared.changed.notify_all();
            });
        });
        let door = self.clone();
        thread::spawn(move || {
            door.carry(back.0, back.1, |_| {
                if is_put.swap(false, Ordering::SeqCst) {
                    let time = door.shared.state.lock().unwrap().hold_puts;
                    thread::sleep(time);
                }
            });
        });
    }

    /// Carries bytes, each time after `look` has seen them, until one side ends; then ends both.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, look: impl Fn(&[u8])) {
        let mut buffer = vec![0; CARRIED_BYTES_MAX];
        while let Ok(read) = from.read(&mut buffer) {
            look(&buffer[..read]);
            if let Door::Slow(bytes_per_second) = self.audible() {
                let share = read as f64 / f64::from(bytes_per_second);
                thread::sleep(Duration::from_secs_f64(share));
            }
            if read == 0 || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
