//! Several agents at once on one vault: in one dedup scope, in two, and the same source twice.

use holdfast_tests::compare::assert_same;
use holdfast_tests::tree::{self, restored};
use holdfast_tests::{Client, Coordinator, Ground};

fn vault(ground: &Ground) -> (Coordinator, Client) {
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite", "offsite"])
        .start();
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    (coordinator, user.with_identity("identity"))
}

fn bundle(user: &Client, agent: &str, dedup: &str) -> String {
    let file = format!("{agent}.bundle");
    let words = [
        "key", "bundle", "--vault", "db", "--agent", agent, "--dedup", dedup,
    ];
    user.done(&[&words[..], &["--out", &file]].concat());
    file
}

/// Two trees that share most of their content are backed up at once by two agents; both come back.
fn two_agents(dedup: &str) {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    let agents = ["one", "two"];
    for agent in agents {
        tree::plain_only(&ground.at(agent), 21);
    }
    tree::change(&ground.at("two"), 22);
    let running: Vec<_> = agents
        .map(|agent| {
            let bundle = bundle(&user, agent, dedup);
            let home = user.at_home(format!("home-{agent}"));
            let path = ground.text(agent);
            let words = [
                "backup", "--vault", "db", "--source", agent, &path, "--json",
            ];
            let more = ["--bundle", &bundle, "--wait", "protected"];
            home.start(&[&words[..], &more].concat())
        })
        .into_iter()
        .collect();
    let made: Vec<_> = running
        .into_iter()
        .map(|one| one.wait().expect(0).json())
        .collect();
    for (agent, made) in agents.iter().zip(&made) {
        assert_eq!(made["state"], "protected", "{made}");
        let target = ground.text(format!("{agent}.restored"));
        user.done(&[
            "restore", "--vault", "db", "--source", agent, "latest", "--target", &target,
        ]);
        let path = ground.at(agent);
        assert_same(&path, &restored(target.as_ref(), &path));
    }
    let verified = user.json(0, &["verify", "--vault", "db", "--read-data"]);
    assert_eq!(verified["complete"], true, "{verified}");
    let all = user.json(0, &["snapshots", "--vault", "db"]);
    let scopes = |n: usize| all[n]["scope"].as_str().unwrap().to_owned();
    assert_eq!(scopes(0) == scopes(1), dedup == "vault", "{all}");
}

#[test]
fn two_agents_in_one_scope() {
    two_agents("vault");
}

#[test]
fn two_agents_in_scopes_of_their_own() {
    two_agents("agent");
}

#[test]
fn the_same_source_twice_at_once() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    let path = ground.at("tree");
    tree::plain_only(&path, 23);
    let text = ground.text("tree");
    let words = [
        "backup", "--vault", "db", "--source", "files", &text, "--json",
    ];
    let running = [user.start(&words), user.start(&words)];
    let ids = running.map(|one| one.wait().expect(0).json()["snapshot"].clone());
    assert_ne!(ids[0], ids[1]);
    for (number, id) in ids.iter().enumerate() {
        let target = ground.text(format!("out-{number}"));
        let id = id.as_str().unwrap();
        user.done(&["restore", "--vault", "db", id, "--target", &target]);
        assert_same(&path, &restored(target.as_ref(), &path));
    }
    let verified = user.json(0, &["verify", "--vault", "db", "--read-data"]);
    assert_eq!(verified["complete"], true, "{verified}");
}
