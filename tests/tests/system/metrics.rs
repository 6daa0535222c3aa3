//! Metrics: a page that Prometheus reads, figures that are so, alerts that go off when they should; and `holdfast status`, which
//! says the same to people.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast_tests::{Coordinator, Gate, Ground, Noise, surroundings, tree};
use tokio::time::Instant;

/// What comes about by itself has this long, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(120);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(coordinator: &Coordinator) -> String {
    let (status, head, page) = coordinator.asked_over_http("/metrics");
    assert_eq!(status, 200, "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    page
}

/// The figure of a sample, as the page writes it.
fn figure(page: &str, sample: &str) -> Option<f64> {
    let mut lines = page.lines();
    let found = lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
    Some(found.parse().unwrap())
}

#[track_caller]
fn check(page: &str, sample: &str, is_so: impl Fn(f64) -> bool) {
    let found = figure(page, sample);
    assert!(found.is_some_and(is_so), "{sample} is {found:?}\n{page}");
}

/// Asks until the page says so.
#[track_caller]
fn wait_for(coordinator: &Coordinator, sample: &str, wanted: f64) -> String {
    let since = Instant::now();
    loop {
        let page = page(coordinator);
        if figure(&page, sample) == Some(wanted) {
            return page;
        }
        assert!(
            since.elapsed() < LIMIT,
            "{sample} is not {wanted} in time\n{page}"
        );
    }
}

/// Runs promtool, which `cargo xtask test` installs.
#[track_caller]
fn promtool(words: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    let command = command.args(words).current_dir(repository());
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .expect("promtool is there: run `cargo xtask test`");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {words:?}\n{said}");
}

#[test]
fn figures_follow_a_vault() {
    let ground = Ground::new();
    let s3 = surroundings::s3();
    let gate = Gate::before(&s3.endpoint);
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite"])
        .site("offsite", &s3.at(&gate.endpoint).site(0, "metrics"))
        .words(&["--metrics", "127.0.0.1:0"])
        .start();
    let user = ground.user().on(&coordinator);
    for path in ["/livez", "/readyz"] {
        assert_eq!(coordinator.asked_over_http(path).0, 200);
    }
    assert_eq!(coordinator.asked_over_http("/nothing").0, 404);
    check(&page(&coordinator), "holdfast_lease_held", |held| {
        held == 1.0
    });

    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    let path = ground.text("tree");
    let backup = |round: u64, wait: &str| {
        tree::write(&ground.at("tree/file"), &Noise::new(round).bytes(400_000));
        user.done(&[
            "backup", "--vault", "db", "--source", "files", &path, "--wait", wait,
        ]);
    };
    backup(1, "protected");
    let now = page(&coordinator);
    promtool(&["check", "metrics"], &now);
    check(&now, "holdfast_vault_owner{vault=\"db\"}", |owner| {
        owner == 1.0
    });
    check(&now, "holdfast_vault_epoch{vault=\"db\"}", |epoch| {
        epoch >= 1.0
    });
    check(&now, "holdfast_vault_protected{vault=\"db\"}", |so| {
        so == 1.0
    });
    check(
        &now,
        "holdfast_vault_snapshots{vault=\"db\",state=\"protected\"}",
        |n| n == 1.0,
    );
    check(
        &now,
        "holdfast_site_lag_records{vault=\"db\",site=\"offsite\"}",
        |n| n == 0.0,
    );
    check(
        &now,
        "holdfast_site_primary{vault=\"db\",site=\"onsite\"}",
        |so| so == 1.0,
    );
    check(
        &now,
        "holdfast_store_requests_total{site=\"offsite\",kind=\"put\"}",
        |n| n > 0.0,
    );
    check(
        &now,
        "holdfast_store_written_bytes_total{site=\"offsite\"}",
        |n| n > 400_000.0,
    );
    check(
        &now,
        "holdfast_source_last_snapshot_time_seconds{vault=\"db\",source=\"files\"}",
        |at| at > 1e9,
    );
    check(&now, "holdfast_invariants_broken_total", |n| n == 0.0);
    assert_eq!(user.json(0, &["status"])["vaults"][0]["unprotected"], "");

    // The off-site is gone, and a backup is not protected: both say so, and the status why.
    gate.shut();
    backup(2, "committed");
    let now = wait_for(
        &coordinator,
        "holdfast_site_reachable{vault=\"db\",site=\"offsite\"}",
        0.0,
    );
    check(&now, "holdfast_vault_protected{vault=\"db\"}", |so| {
        so == 0.0
    });
    check(
        &now,
        "holdfast_vault_snapshots{vault=\"db\",state=\"committed\"}",
        |n| n == 1.0,
    );
    let now = page(&coordinator);
    check(
        &now,
        "holdfast_site_lag_records{vault=\"db\",site=\"offsite\"}",
        |n| n >= 1.0,
    );
    check(
        &now,
        "holdfast_site_lag_bytes{vault=\"db\",site=\"offsite\"}",
        |n| n > 400_000.0,
    );
    let told = user.done(&["status"]).text();
    assert!(
        told.contains("NOT PROTECTED: site offsite lacks ") && told.contains(" records with "),
        "{told}"
    );
    let status = user.json(0, &["status"]);
    let why = status["vaults"][0]["unprotected"].as_str().unwrap();
    assert!(why.contains("site offsite lacks "), "{why}");
    gate.open();
    wait_for(&coordinator, "holdfast_vault_protected{vault=\"db\"}", 1.0);
    let told = user.done(&["status"]).text();
    assert!(!told.contains("NOT PROTECTED"), "{told}");

    // What is damaged is found, repaired, and no finding any more.
    let pack = tree::any_file(&ground.at("onsite"), "/packs/");
    std::fs::remove_file(pack).unwrap();
    let found = user.run(&["verify", "--vault", "db", "--site", "onsite"]);
    assert_eq!(found.code, Some(3), "{found}");
    let now = page(&coordinator);
    check(
        &now,
        "holdfast_verification_last_findings{vault=\"db\"}",
        |n| n == 1.0,
    );
    user.done(&["verify", "--vault", "db", "--repair"]);
    let now = page(&coordinator);
    check(
        &now,
        "holdfast_verification_last_findings{vault=\"db\"}",
        |n| n == 0.0,
    );
    check(
        &now,
        "holdfast_verification_last_repaired{vault=\"db\"}",
        |n| n == 1.0,
    );
    check(
        &now,
        "holdfast_verification_last_time_seconds{vault=\"db\"}",
        |at| at > 1e9,
    );

    let all = user.json(0, &["snapshots", "--vault", "db"]);
    let oldest = all
        .as_array()
        .unwrap()
        .iter()
        .min_by_key(|one| one["committed_millis"].as_i64());
    let oldest = oldest.unwrap()["id"].as_str().unwrap().to_owned();
    user.done(&["forget", "--vault", "db", &oldest, "--purge"]);
    user.done(&["gc", "--vault", "db", "--wait"]);
    let now = page(&coordinator);
    check(
        &now,
        "holdfast_collection_freed_bytes_total{vault=\"db\"}",
        |n| n > 100_000.0,
    );
    check(
        &now,
        "holdfast_collection_last_time_seconds{vault=\"db\"}",
        |at| at > 1e9,
    );
    promtool(&["check", "metrics"], &now);
    names_in_rules_are_on(&now);
}

/// A rule on a name that nothing tells would never go off.
#[track_caller]
fn names_in_rules_are_on(page: &str) {
    let rules = std::fs::read_to_string(repository().join("deploy/prometheus/holdfast.rules.yaml"))
        .unwrap();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = rules.split(|c: char| !is_part(c));
    let names: Vec<&str> = words.filter(|word| word.starts_with("holdfast_")).collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(
            page.contains(&format!("# TYPE {name} ")),
            "nothing tells {name}"
        );
    }
}

#[test]
fn alerts_go_off_when_they_should() {
    promtool(
        &["check", "rules", "deploy/prometheus/holdfast.rules.yaml"],
        "",
    );
    promtool(
        &[
            "test",
            "rules",
            "tests/tests/system/metrics/alerts.test.yaml",
        ],
        "",
    );
}

#[test]
fn a_used_port_is_told() {
    let ground = Ground::new();
    let first = ground
        .coordinator("c1")
        .file_sites(&["onsite"])
        .words(&["--metrics", "127.0.0.1:0"])
        .start();
    let log = first.log();
    let at = log
        .lines()
        .find_map(|line| line.split_once("metrics are at http://"))
        .unwrap()
        .1;
    let at = at.strip_suffix("/metrics").unwrap();
    let second = ground
        .coordinator("c2")
        .file_sites(&["onsite"])
        .words(&["--metrics", at])
        .ends();
    assert_eq!(second.code, Some(1));
    assert!(
        second.stderr.contains("another process listens there"),
        "{second}"
    );
}
