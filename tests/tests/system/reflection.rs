//! A tool that knows only reflection: `tests/python/look.py` lists vaults and snapshots over gRPC, on the socket and over
//! mutual TLS; health answers SERVING; errors carry google.rpc.ErrorInfo.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_tests::{Authority, Certificate, Ground, Running, surroundings, tree};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_stranger_lists_snapshots() {
    let ground = Ground::new();
    tree::plain_only(&ground.at("tree"), 2);
    let authority = Authority::new(&ground.at("tls"), "ca");
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite"])
        .tls(&authority.issue("server"))
        .start();
    let user = ground.user().on(&coordinator);
    user.done(&[
        "vault",
        "create",
        "db",
        "--sites",
        "onsite",
        "--identity-out",
        "identity",
    ]);
    let tree = ground.text("tree");
    let backup = [
        "backup", "--vault", "db", "--source", "files", &tree, "--tag", "seen",
    ];
    let made = user.json(0, &backup);

    check(&look(&coordinator.socket_url(), None), &made);
    let target = coordinator.https_url().replace("https://", "");
    check(&look(&target, Some(&authority.issue("tool"))), &made);
}

fn look(target: &str, certificate: Option<&Certificate>) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/look.py");
    let mut command = Command::new(surroundings::python());
    command.arg(script).args([target, "db"]);
    if let Some(certificate) = certificate {
        command.args([&certificate.ca, &certificate.cert, &certificate.key]);
    }
    Running::start(command, LIMIT).wait().expect(0).json()
}

fn check(seen: &Value, made: &Value) {
    for service in ["Vaults", "Backup", "Restore", "Retention", "Operations"] {
        let name = format!("holdfast.v1.{service}");
        let services = seen["services"].as_array().unwrap();
        assert!(services.contains(&name.as_str().into()), "{name}: {seen}");
        assert_eq!(seen["health"][&name], "SERVING", "{seen}");
    }
    assert_eq!(seen["health"][""], "SERVING", "{seen}");
    assert_eq!(seen["vaults"][0]["name"], "db", "{seen}");
    let snapshot = &seen["snapshots"][0];
    assert_eq!(snapshot["source"], "files", "{seen}");
    assert_eq!(snapshot["tags"][0], "seen", "{seen}");
    assert_eq!(snapshot["files"], made["files"].to_string(), "{seen}");
    let error = &seen["error"];
    assert_eq!(error["code"], "NOT_FOUND", "{seen}");
    assert_eq!(error["info"]["domain"], "holdfast", "{seen}");
    assert_eq!(error["info"]["reason"], "MISSING", "{seen}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("no-such-vault"), "{message}");
}
