//! Everything that runs: three etcds, two S3 servers, three coordinators, and the doors between them.
//!
//! | way | door |
//! |---|---|
//! | a coordinator to a node of etcd | one for each pair |
//! | a coordinator to an S3 server | one for each pair; the URL is the same for all, names resolve differently |
//! | agents to a coordinator | one for each coordinator, which advertises it |
//!
//! Before each S3 server stands a proxy that can fail requests. Each coordinator's `--data`, and the spare site, lie on small disks
//! of their own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use holdfast_tests::{Client, Coordinator, Etcd, Faulty, Gate, Ground, Moto, Mounted, Noise};

use super::ledger::KEPT;
use super::plan::{COORDINATORS, ETCDS, SITES, SPARE, VAULTS};

const BUCKET: &str = "chaos";
/// Room under each coordinator's `--data`.
const DATA_BYTES: u64 = 48 << 20;
/// A vault that changes hands is open before it was asked for so often, at some tenths of a second each.
const ASKED_MAX: usize = 100;
/// Room at the spare site.
const SPARE_BYTES: u64 = 192 << 20;

/// See the module header.
pub(super) struct Stage {
    // ORDER: who uses a disk before the disk.
    pub(super) coordinators: Vec<Coordinator>,
    pub(super) etcds: [Etcd; 3],
    pub(super) motos: [Moto; 2],
    pub(super) faulty: [Faulty; 2],
    /// Of each coordinator, to each node of etcd.
    pub(super) to_etcd: Vec<[Gate; 3]>,
    /// Of each coordinator, to each S3 server.
    pub(super) to_site: Vec<[Gate; 2]>,
    /// Of the agents, to each coordinator.
    pub(super) to_coordinator: Vec<Gate>,
    _disks: Vec<Mounted>,
    pub(super) ground: Ground,
}

impl Stage {
    /// Starts it all, and makes the vaults.
    pub(super) fn set() -> Self {
        let ground = Ground::new();
        let keys = "[test]\naws_access_key_id = chaos\naws_secret_access_key = chaos\n";
        ground.write("home/.aws/credentials", keys);
        let etcds = Etcd::start_cluster(&ground, ETCDS);
        let motos = SITES.map(|site| Moto::start(&ground, &format!("s3-{site}"), BUCKET));
        let faulty = [0, 1].map(|site| Faulty::before(&motos[site].host()));
        let numbers = 0..COORDINATORS.len();
        let to_etcd = numbers
            .clone()
            .map(|_| [0, 1, 2].map(|n| Gate::before(&etcds[n].host())));
        let to_etcd: Vec<_> = to_etcd.collect();
        let (to_site, ports) = doors_to_sites(&faulty);
        let own_ports: [u16; 3] = free_ports();
        let to_coordinator = own_ports.map(|port| Gate::before(&format!("127.0.0.1:{port}")));
        let mut disks = vec![Mounted::new(&ground.at(SPARE), SPARE_BYTES)];
        disks.extend(COORDINATORS.map(|name| Mounted::new(&ground.at(name), DATA_BYTES)));
        ground.user().done(&["key", "cluster", "cluster.key"]);
        let coordinators = numbers.map(|number| {
            let hosts = to_etcd[number].iter().map(Gate::host).collect::<Vec<_>>();
            let starting = ground
                .coordinator(COORDINATORS[number])
                .hosts(hosts_file(&ground, number))
                .placement(&format!("etcd://{}/chaos", hosts.join(",")))
                .words(&["--cluster-key", "cluster.key", "--lease", "2s"])
                .words(&["--listen", &format!("127.0.0.1:{}", own_ports[number])])
                .words(&["--advertise", &to_coordinator[number].endpoint])
                .site(SITES[0], &url(&format!("s3-{}:{}", SITES[0], ports[0])))
                .site(SITES[1], &url(&format!("s3-{}:{}", SITES[1], ports[1])))
                .site(SPARE, &format!("file:{}", ground.text(SPARE)));
            starting.start()
        });
        let stage = Self {
            coordinators: coordinators.collect(),
            etcds,
            motos,
            faulty,
            to_etcd,
            to_site,
            to_coordinator: to_coordinator.to_vec(),
            _disks: disks,
            ground,
        };
        stage.make_vaults();
        stage
    }

    fn make_vaults(&self) {
        let policy =
            format!("version = 1\ntrash = \"0\"\nexpire_share_max = 1.0\n[keep]\nlast = {KEPT}\n");
        self.ground.write("policy.toml", policy);
        let user = self.user();
        for (vault, sites) in VAULTS {
            let identity = format!("identity-{vault}");
            let create = ["vault", "create", vault, "--sites", &sites.join(",")];
            let ran = user.run(&[&create[..], &["--identity-out", &identity]].concat());
            // Its owner may change while it is being made; then the message says where to look whether it was.
            let listed = user.json(0, &["vault", "list"]);
            let is_there = |one: &Value| one["name"] == vault;
            let made = listed
                .as_array()
                .is_some_and(|all| all.iter().any(is_there));
            assert!(ran.code == Some(0) || made, "{ran}");
            patiently(&user, &["policy", "set", "--vault", vault, "policy.toml"]);
        }
    }

    /// A user who knows all coordinators, each behind the agents' door.
    pub(super) fn user(&self) -> Client {
        let doors = self.to_coordinator.iter();
        let doors: Vec<&str> = doors.map(|door| door.endpoint.as_str()).collect();
        let user = self.ground.user();
        user.with("HOLDFAST_COORDINATOR", doors.join(","))
    }

    /// Whoever may open a vault.
    pub(super) fn keeper(&self, vault: &str) -> Client {
        self.user().with_identity(format!("identity-{vault}"))
    }

    /// Where a site lies, reached past all doors: for whoever has nothing but the site.
    pub(super) fn bare_url(&self, site: &str) -> String {
        match SITES.iter().position(|name| *name == site) {
            Some(number) => url(&self.motos[number].host()),
            None => format!("file:{}", self.ground.text(site)),
        }
    }

    /// What fills a disk, until it is taken away.
    pub(super) fn filler(&self, name: &str) -> PathBuf {
        self.ground.at(name).join("filler")
    }
}

/// Runs a command until it is done. Coordinators that have just started hand vaults to each other, and who asks meanwhile is told to
/// ask again.
pub(super) fn patiently(user: &Client, words: &[&str]) {
    let mut ran = user.run(words);
    for _ in 0..ASKED_MAX {
        if !(ran.code == Some(1) && ran.stderr.contains("is not available")) {
            break;
        }
        ran = user.run(words);
    }
    let _ = ran.expect(0);
}

fn url(host: &str) -> String {
    format!("s3://{BUCKET}/site?endpoint=http://{host}&region=us-east-1&profile=test")
}

/// The address on which a coordinator's doors to the sites listen.
fn address(coordinator: usize) -> String {
    format!("127.0.1.{}", coordinator + 1)
}

fn hosts_file(ground: &Ground, coordinator: usize) -> PathBuf {
    let address = address(coordinator);
    let sites = SITES.map(|site| format!("{address} s3-{site}\n"));
    let text = format!("127.0.0.1 localhost\n{}", sites.concat());
    ground.write(format!("hosts-{coordinator}"), text)
}

/// A door for each coordinator and S3 server, each server's at the same port of all addresses.
fn doors_to_sites(faulty: &[Faulty; 2]) -> (Vec<[Gate; 2]>, [u16; 2]) {
    loop {
        let ports = free_ports();
        let door = |coordinator, site: usize| {
            let listen = format!("{}:{}", address(coordinator), ports[site]);
            Gate::listening_at(&listen, &faulty[site].host)
        };
        let doors = (0..COORDINATORS.len()).map(|one| Ok([door(one, 0)?, door(one, 1)?]));
        // Somebody may have taken a port in between: then others.
        if let Ok(doors) = doors.collect::<std::io::Result<_>>() {
            return (doors, ports);
        }
    }
}

/// Free ports below those that the system hands out by itself, so that none becomes the near end of a connection while its
/// server is down.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut noise = Noise::new(u64::from(std::process::id()) << 32 | u64::from(call));
    let mut held = Vec::new();
    while held.len() < COUNT {
        let port = 15_000 + noise.below(15_000) as u16;
        held.extend(TcpListener::bind(("127.0.0.1", port)));
    }
    let ports: Vec<u16> = held
        .iter()
        .map(|one| one.local_addr().unwrap().port())
        .collect();
    ports.try_into().unwrap()
}
