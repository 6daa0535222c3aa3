//! Several coordinators: any of them answers any client, and a backup goes on while its vault changes hands.

use std::io::Write;
use std::time::Duration;

use holdfast_tests::{Client, Cluster, Etcd, Ground, Noise, Running, assert_same_below, tree};
use tokio::time::Instant;

const NAMES: [&str; 3] = ["c1", "c2", "c3"];

/// Bytes of a stream before and after what happens in its middle.
const HALF: usize = 24 << 20;

/// Longer than a coordinator leaves a vault without an owner to those before it in the order.
const OLD_ENOUGH: Duration = Duration::from_secs(5);

/// Three coordinators and a vault on two sites.
fn with_vault(ground: &Ground) -> (Cluster, Client) {
    let cluster = Cluster::start(ground, &NAMES, &["onsite", "offsite"]);
    let user = created(&cluster);
    (cluster, user)
}

fn created(cluster: &Cluster) -> Client {
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    let user = cluster.user();
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    user.with_identity("identity")
}

/// A backup of a stream, half of which it has.
struct Stream {
    running: Running,
    stdin: std::process::ChildStdin,
    bytes: Vec<u8>,
}

impl Stream {
    fn start(cluster: &Cluster, user: &Client, noise: &mut Noise) -> Self {
        let words = [
            "--json", "backup", "--vault", "db", "--source", "dump", "--stdin",
        ];
        let (running, mut stdin) = user.start_fed(&words);
        let bytes = noise.bytes(2 * HALF);
        stdin.write_all(&bytes[..HALF]).unwrap();
        cluster.wait_for("the session is open", |cluster| {
            cluster.open_sessions("db") > 0
        });
        Self {
            running,
            stdin,
            bytes,
        }
    }

    /// The other half; the snapshot has all of it.
    #[track_caller]
    fn end(mut self, user: &Client) {
        self.stdin.write_all(&self.bytes[HALF..]).unwrap();
        drop(self.stdin);
        let told = self.running.wait().expect(0).json();
        let snapshot = told["snapshot"].as_str().unwrap();
        let dumped = user.done(&["dump", "--vault", "db", snapshot, "stdin"]);
        assert_eq!(dumped.stdout.len(), self.bytes.len());
        assert!(dumped.stdout == self.bytes, "the stream came back");
    }
}

#[test]
fn any_coordinator_answers_any_client() {
    let ground = Ground::new();
    let (cluster, user) = with_vault(&ground);
    tree::small(&ground.at("tree"), 1);
    let path = ground.text("tree");
    for (number, coordinator) in cluster.coordinators.iter().enumerate() {
        let user = user.on(coordinator);
        let target = format!("back-{number}");
        user.done(&["backup", "--vault", "db", "--source", "files", &path]);
        user.done(&[
            "restore", "--vault", "db", "latest", "--target", &target, "--delta",
        ]);
        assert_same_below(&ground.at(&target), &ground.at("tree"));
        let listed = user.json(0, &["snapshots", "--vault", "db"]);
        assert_eq!(listed.as_array().unwrap().len(), number + 1);
        user.done(&["gc", "--vault", "db", "--dry-run"]);
        user.done(&["verify", "--vault", "db", "--read-data"]);
        // A name is taken wherever one asks.
        let again = [
            "vault",
            "create",
            "db",
            "--sites",
            "onsite",
            "--identity-out",
            "other",
        ];
        assert!(user.fails(1, &again).contains("exists already"));
        assert!(
            user.fails(1, &["snapshots", "--vault", "nowhere"])
                .contains("nowhere")
        );
    }
}

#[test]
fn a_backup_goes_on_when_its_owner_is_killed() {
    let ground = Ground::new();
    let (mut cluster, user) = with_vault(&ground);
    let mut noise = Noise::seeded("killed owner");
    let stream = Stream::start(&cluster, &user, &mut noise);
    let (owner, _) = cluster.wait_owner("db", |_| true);
    let known_since = Instant::now();
    let stands_by = |cluster: &Cluster, one: usize| {
        let log = cluster.coordinators[one].log();
        log.contains("this coordinator stands by for the vault")
    };
    cluster.wait_for("one of the others stands by", |cluster| {
        cluster.others(owner).any(|one| stands_by(cluster, one))
    });
    let by: Vec<usize> = cluster
        .others(owner)
        .filter(|&one| stands_by(&cluster, one))
        .collect();
    // What counts is how long the vault has had no owner, and not how long it has been known.
    cluster.wait_for("the vault is old enough", |_| {
        known_since.elapsed() > OLD_ENOUGH
    });
    cluster.coordinators[owner].kill();
    let (next, took) = cluster.wait_owner("db", |next| next != owner);
    println!(
        "{} had it {took:?} after {} was killed",
        NAMES[next], NAMES[owner]
    );
    assert!(
        by.contains(&next),
        "{} took it, and did not stand by",
        NAMES[next]
    );
    // With what it had folded by then.
    let log = cluster.coordinators[next].log();
    let mut taken = log
        .lines()
        .filter(|line| line.contains("the vault was taken"));
    assert!(taken.any(|line| line.contains("kept_up_to")), "{log}");
    stream.end(&user);
}

#[test]
fn a_backup_goes_on_when_its_owner_stops() {
    let ground = Ground::new();
    let (mut cluster, user) = with_vault(&ground);
    let mut noise = Noise::seeded("stopped owner");
    let stream = Stream::start(&cluster, &user, &mut noise);
    let (owner, _) = cluster.wait_owner("db", |_| true);
    cluster.coordinators[owner].stop();
    // No lease has to run out.
    let (next, took) = cluster.wait_owner("db", |next| next != owner);
    println!(
        "{} had it {took:?} after {} had stopped",
        NAMES[next], NAMES[owner]
    );
    stream.end(&user);
}

#[test]
fn an_owner_that_was_paused_changes_nothing() {
    let ground = Ground::new();
    let (cluster, user) = with_vault(&ground);
    let mut noise = Noise::seeded("paused owner");
    let stream = Stream::start(&cluster, &user, &mut noise);
    let (owner, _) = cluster.wait_owner("db", |_| true);
    cluster.coordinators[owner].freeze();
    let live: Vec<_> = cluster.others(owner).collect();
    let awake = user.on_any(live.iter().map(|&one| &cluster.coordinators[one]));
    let asked = |words: &[&str]| awake.run(words);
    cluster.wait_for("another takes it", |_| {
        asked(&["snapshots", "--vault", "db"]).code == Some(0)
    });
    cluster.coordinators[owner].thaw();
    stream.end(&user);
    let log = cluster.coordinators[owner].log();
    cluster.wait_for("it noticed", |cluster| {
        cluster.coordinators[owner]
            .log()
            .contains("another coordinator")
    });
    assert!(!log.contains("internal check failed"), "{log}");
    user.done(&["verify", "--vault", "db", "--read-data"]);
}

#[test]
fn no_backup_fails_while_all_coordinators_are_restarted_in_turn() {
    let ground = Ground::new();
    let (mut cluster, user) = with_vault(&ground);
    let mut noise = Noise::seeded("rolling restart");
    let stream = Stream::start(&cluster, &user, &mut noise);
    for number in 0..NAMES.len() {
        cluster.coordinators[number].stop();
        cluster.wait_owner("db", |owner| owner != number);
        cluster.coordinators[number].start_again();
    }
    stream.end(&user);
    // It comes to whom it belongs, now that it is idle and all have lived for a while.
    user.done(&["verify", "--vault", "db", "--read-data"]);
}

/// Two vaults that lose nothing, one that does not have the site.
#[test]
fn a_question_that_breaks_is_asked_of_the_next() {
    let ground = Ground::new();
    let (cluster, _) = with_vault(&ground);
    // It takes connections and answers nothing.
    let broken = ground.at("broken.sock");
    let listener = std::os::unix::net::UnixListener::bind(&broken).unwrap();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Read::read(&mut stream, &mut [0; 1024]).unwrap()
    });
    let given = format!(
        "unix:{},{}",
        broken.display(),
        cluster.coordinators[0].socket_url()
    );
    let user = ground.user().with("HOLDFAST_COORDINATOR", given);
    let listed = user.json(0, &["vault", "list"]);
    assert_eq!(listed[0]["name"], "db");
    assert!(asked.join().unwrap() > 0, "it was asked first");
}

/// The primary that the owner of a vault shows.
fn primary(cluster: &Cluster, vault: &str) -> String {
    let listed = cluster.user().json(0, &["vault", "list"]);
    let mut vaults = listed.as_array().unwrap().iter();
    let shown = vaults.find(|shown| shown["name"] == vault).unwrap();
    shown["primary"].as_str().unwrap().to_owned()
}

#[test]
fn a_vault_whose_policy_says_so_is_moved_when_its_primary_is_gone() {
    let ground = Ground::new();
    let (cluster, user) = with_vault(&ground);
    let create = ["vault", "create", "stays", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "stays"]].concat());
    tree::small(&ground.at("tree"), 1);
    let path = ground.text("tree");
    for vault in ["db", "stays"] {
        let words = ["backup", "--vault", vault, "--source", "files", &path];
        user.done(&[&words[..], &["--wait", "protected"]].concat());
    }
    let rule = "version = 1\n[failover]\nafter = \"3s\"\naccept_loss = \"10min\"\n";
    std::fs::write(ground.at("policy.toml"), rule).unwrap();
    user.done(&["policy", "set", "--vault", "db", "policy.toml"]);
    assert_eq!(primary(&cluster, "db"), "onsite");
    std::fs::rename(ground.at("onsite"), ground.at("away")).unwrap();
    cluster.wait_for("the vault is moved", |cluster| {
        cluster.owner("db").is_some() && primary(cluster, "db") == "offsite"
    });
    let words = ["restore", "--vault", "db", "latest", "--target", "back"];
    user.done(&words);
    assert_same_below(&ground.at("back"), &ground.at("tree"));
    // No policy of its own says so.
    assert_eq!(primary(&cluster, "stays"), "onsite");
    std::fs::rename(ground.at("away"), ground.at("onsite")).unwrap();
    user.done(&["failback", "--vault", "db", "--site", "onsite"]);
    let words = ["backup", "--vault", "db", "--source", "files", &path];
    user.done(&[&words[..], &["--wait", "protected"]].concat());
}

#[test]
fn all_vaults_fail_over_and_come_back() {
    let ground = Ground::new();
    let (cluster, user) = with_vault(&ground);
    tree::small(&ground.at("tree"), 1);
    let path = ground.text("tree");
    for name in ["more", "alone"] {
        let sites = if name == "alone" {
            "onsite"
        } else {
            "onsite,offsite"
        };
        let create = ["vault", "create", name, "--sites", sites];
        user.done(&[&create[..], &["--identity-out", name]].concat());
    }
    let backup = |vault: &str| {
        let words = ["backup", "--vault", vault, "--source", "files", &path];
        user.done(&[&words[..], &["--wait", "protected"]].concat());
    };
    for vault in ["db", "more"] {
        backup(vault);
    }
    let planned = user.json(0, &["failover", "--all", "--to", "offsite", "--dry-run"]);
    let states = |lines: &serde_json::Value| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let lines = lines.as_array().unwrap().iter();
        lines
            .map(|line| (text(&line["vault"]), text(&line["state"])))
            .collect()
    };
    let both = |state: &str| ["db", "more"].map(|vault| (vault.to_owned(), state.to_owned()));
    assert_eq!(states(&planned), both("ready"));
    // Its disk is gone.
    std::fs::rename(ground.at("onsite"), ground.at("away")).unwrap();
    let moved = user.json(0, &["failover", "--all", "--to", "offsite"]);
    assert_eq!(states(&moved), both("moved"));
    let again = user.json(0, &["failover", "--all", "--to", "offsite"]);
    assert_eq!(states(&again), both("there"));
    for vault in ["db", "more"] {
        let identity = if vault == "db" { "identity" } else { vault };
        let target = format!("back-{vault}");
        let words = ["restore", "--vault", vault, "latest", "--target", &target];
        user.with_identity(identity).done(&words);
        assert_same_below(&ground.at(&target), &ground.at("tree"));
    }
    std::fs::rename(ground.at("away"), ground.at("onsite")).unwrap();
    for _ in 0..2 {
        user.done(&["failback", "--all", "--site", "onsite", "--make-primary"]);
        let listed = user.json(0, &["vault", "list"]);
        let mut primaries = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|vault| &vault["primary"]);
        assert!(primaries.all(|primary| primary == "onsite"), "{listed}");
    }
    assert!(
        user.fails(1, &["failover", "--all", "--to", "nowhere"])
            .contains("no vault has")
    );
    let status = user.json(0, &["status"]);
    assert_eq!(
        status["coordinators"].as_array().unwrap().len(),
        NAMES.len()
    );
    drop(cluster);
}

/// etcd is killed in the middle of a backup, and comes back later: whoever owns a vault goes on with it.
#[test]
fn a_backup_goes_on_without_etcd() {
    let ground = Ground::new();
    let mut etcd = Etcd::start(&ground);
    let cluster = Cluster::start_over(
        &ground,
        &etcd.placement(),
        &NAMES[..2],
        &["onsite", "offsite"],
    );
    let user = created(&cluster);
    let mut noise = Noise::seeded("without etcd");
    let stream = Stream::start(&cluster, &user, &mut noise);
    etcd.kill();
    stream.end(&user);
    let status = user.json(0, &["status"]);
    assert_ne!(status["placement_trouble"], "", "{status}");
    assert_eq!(status["vaults"][0]["name"], "db", "{status}");
    etcd.start_again();
    tree::small(&ground.at("tree"), 1);
    let path = ground.text("tree");
    let words = ["backup", "--vault", "db", "--source", "files", &path];
    user.done(&[&words[..], &["--wait", "protected"]].concat());
}

/// All of etcd is lost, with the coordinators running and without: nothing else is needed than the sites.
#[test]
fn placement_is_made_again_from_the_sites() {
    let ground = Ground::new();
    let mut etcd = Etcd::start(&ground);
    let mut cluster = Cluster::start_over(
        &ground,
        &etcd.placement(),
        &NAMES[..2],
        &["onsite", "offsite"],
    );
    let user = created(&cluster);
    tree::small(&ground.at("tree"), 1);
    let path = ground.text("tree");
    // A site that no coordinator was started with.
    let third = format!("third={}", ground.file_site("third"));
    user.done(&["site", "add", "--vault", "db", &third]);
    let backup = || {
        let words = ["backup", "--vault", "db", "--source", "files", &path];
        user.done(&[&words[..], &["--wait", "protected"]].concat());
    };
    backup();
    let lose = |etcd: &mut Etcd| {
        etcd.kill();
        etcd.empty();
    };
    lose(&mut etcd);
    // Meanwhile restores need nobody but a site.
    let target = ["--target", "rescued"];
    let site = format!("file:{}", ground.text("offsite"));
    user.done(&[&["rescue", "restore", "--site", &site][..], &target].concat());
    assert_same_below(&ground.at("rescued"), &ground.at("tree"));
    etcd.start_again();
    backup();
    let before = user.json(0, &["placement", "show", "--vault", "db"]);
    lose(&mut etcd);
    for coordinator in &mut cluster.coordinators {
        coordinator.kill();
    }
    etcd.start_again();
    for coordinator in &mut cluster.coordinators {
        coordinator.start_again();
    }
    cluster.wait_owner("db", |_| true);
    let rebuilt = user.json(0, &["placement", "rebuild"]);
    let line = &rebuilt[0];
    assert_eq!(line["name"], "db", "{rebuilt}");
    assert_eq!(line["sites"].as_array().unwrap().len(), 3, "{rebuilt}");
    assert_eq!(line["trouble"], "", "{rebuilt}");
    assert!(
        line["epoch"].as_u64() > before["head"]["epoch"].as_u64(),
        "{rebuilt}"
    );
    backup();
    let listed = user.json(0, &["snapshots", "--vault", "db"]);
    assert_eq!(listed.as_array().unwrap().len(), 3);
    user.done(&["verify", "--vault", "db", "--read-data"]);
    user.json(0, &["placement", "rebuild"]);
}
