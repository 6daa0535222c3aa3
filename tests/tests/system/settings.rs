//! Wrong settings and wrong names: used ports and sockets, a typo in the configuration, vaults, identities and bundles that
//! do not fit. Each is refused with what to do, and harms nobody who runs.

use std::net::TcpListener;

use holdfast_tests::{Ground, tree};

#[test]
fn a_used_port_and_a_used_socket() {
    let ground = Ground::new();
    let coordinator = ground.coordinator("c1").file_sites(&["onsite"]).start();
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

    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    let starting = ground.coordinator("c2").file_sites(&["onsite"]);
    let said = starting
        .clone()
        .words(&["--listen", &taken])
        .ends()
        .expect(1)
        .says();
    assert!(said.contains(&taken) && said.contains("another"), "{said}");
    drop(held);

    let socket = coordinator.socket_url();
    let said = starting
        .words(&["--listen", &socket])
        .ends()
        .expect(1)
        .says();
    assert!(said.contains("holdfast.sock"), "{said}");
    // The same data folder: the same socket.
    let same = ground.coordinator("c1").file_sites(&["onsite"]);
    let said = same.ends().expect(1).says();
    assert!(said.contains("holdfast.sock"), "{said}");

    // The one that runs is as it was, and still the owner.
    tree::write(&ground.at("tree/file"), b"x");
    let path = ground.text("tree");
    user.done(&["backup", "--vault", "db", &path]);
}

/// A site that does not answer is waited for; one that can never be is refused before anything is made.
#[test]
fn a_site_whose_url_makes_no_sense() {
    let ground = Ground::new();
    let fine = format!("onsite={}", ground.file_site("onsite"));
    let data = ground.text("data");
    for (wrong, why) in [
        ("off=file:relative", "not absolute"),
        ("off=ftp://host/path", "no kind of site"),
        (
            "off=s3://key:very-secret@bucket/prefix",
            "holds credentials",
        ),
        ("off=s3://bucket/prefix?colour=red", "colour"),
    ] {
        let words = [
            "coordinator",
            "--data",
            &data,
            "--site",
            &fine,
            "--site",
            wrong,
        ];
        let said = ground.user().run(&words).expect(2).says();
        assert!(said.contains("site off") && said.contains(why), "{said}");
        assert!(!said.contains("secret"), "{said}");
        assert!(!ground.at("data").exists());
    }
}

#[test]
fn a_typo_in_the_configuration() {
    let ground = Ground::new();
    let onsite = ground.file_site("onsite");
    let check = |text: &str, code: i32| {
        let file = ground.write("coordinator.toml", text);
        let words = ["coordinator", "--check", "--config", file.to_str().unwrap()];
        ground.user().run(&words).expect(code)
    };
    let good = format!(
        "version = 1\ndata = \"data\"\nlisten = [\"127.0.0.1:0\"]\n[sites]\nonsite = \"{onsite}\"\n"
    );
    let _ = check(&good, 0);
    let said = check(&good.replace("listen", "lissten"), 1).says();
    assert!(
        said.contains("lissten") && said.contains("listen"),
        "{said}"
    );
    let said = check(&good.replace("version = 1", "version = 9"), 1).says();
    assert!(said.contains("version 9"), "{said}");
    let said = check(&good.replace("file:", "fiel:"), 1).says();
    assert!(said.contains("fiel"), "{said}");
    let said = check(&good.replace("127.0.0.1:0", "nowhere"), 1).says();
    assert!(
        said.contains("HOST:PORT") && said.contains("nowhere"),
        "{said}"
    );
    let said = check("version = 1\ndata = \"data\"\n", 1).says();
    assert!(said.contains("sites"), "{said}");
    let gone = ground.text("gone.toml");
    let said = ground.user().fails(1, &["coordinator", "--config", &gone]);
    assert!(said.contains("gone.toml"), "{said}");
    let said = ground
        .user()
        .fails(2, &["coordinator", "--data", &ground.text("d")]);
    assert!(said.contains("--site"), "{said}");
    let words = [
        "coordinator",
        "--data",
        &ground.text("d"),
        "--site",
        &format!("a={onsite}"),
        "--placement",
        "consul://x",
    ];
    let said = ground.user().fails(1, &words);
    assert!(said.contains("embedded:"), "{said}");
}

#[test]
fn names_and_keys_that_do_not_fit() {
    let ground = Ground::new();
    let coordinator = ground.coordinator("c1").file_sites(&["onsite"]).start();
    let user = ground.user().on(&coordinator);
    for name in ["db", "other"] {
        let identity = format!("{name}.identity");
        user.done(&[
            "vault",
            "create",
            name,
            "--sites",
            "onsite",
            "--identity-out",
            &identity,
        ]);
    }
    let path = ground.text("tree");
    tree::write(&ground.at("tree/file"), b"x");
    user.done(&["backup", "--vault", "db", "--source", "s", &path]);

    let said = user.fails(1, &["snapshots", "--vault", "nonesuch"]);
    assert!(said.contains("nonesuch"), "{said}");
    let said = user.fails(
        1,
        &["backup", "--vault", "nonesuch", "--source", "s", &path],
    );
    assert!(
        said.contains("nonesuch") && said.contains("--bundle"),
        "{said}"
    );
    let again = [
        "vault",
        "create",
        "db",
        "--sites",
        "onsite",
        "--identity-out",
        "again.identity",
    ];
    let said = user.fails(1, &again);
    assert!(said.contains("db"), "{said}");
    assert!(
        !ground.at("again.identity").exists(),
        "no identity is left of a vault that was not made"
    );
    let words = [
        "vault",
        "create",
        "third",
        "--sites",
        "nowhere",
        "--identity-out",
        "third.identity",
    ];
    let said = user.fails(1, &words);
    assert!(
        said.contains("nowhere") && said.contains("onsite"),
        "{said}"
    );
    let words = [
        "vault",
        "create",
        "third",
        "--sites",
        "onsite",
        "--identity-out",
        "db.identity",
    ];
    let said = user.fails(1, &words);
    assert!(said.contains("never overwritten"), "{said}");

    let wrong = user.with_identity("other.identity");
    let target = ground.text("out");
    let restore = ["restore", "--vault", "db", "latest", "--target", &target];
    let said = wrong.fails(1, &restore);
    assert!(said.contains("identity"), "{said}");
    let said = wrong.fails(1, &["ls", "--vault", "db", "latest"]);
    assert!(said.contains("identity"), "{said}");
    let said = user.fails(2, &restore);
    assert!(said.contains("--identity"), "{said}");
    assert!(!ground.at("out").exists(), "nothing was written");

    let right = user.with_identity("db.identity");
    let said = right.fails(
        1,
        &["restore", "--vault", "db", "ffff", "--target", &target],
    );
    assert!(
        said.contains("ffff") && said.contains("holdfast snapshots"),
        "{said}"
    );
    let said = right.fails(
        1,
        &[
            "restore", "--vault", "db", "latest", "--target", &target, "--site", "mars",
        ],
    );
    assert!(said.contains("mars"), "{said}");
    let said = right.fails(1, &["dump", "--vault", "db", "latest", "/not/there"]);
    assert!(said.contains("/not/there"), "{said}");
    let said = right.fails(1, &["failover", "--vault", "db", "--to", "mars"]);
    assert!(said.contains("mars"), "{said}");
    let said = right.fails(1, &["verify", "--vault", "db", "--site", "mars"]);
    assert!(said.contains("mars"), "{said}");

    let bundle = ground.text("home/.config/holdfast/bundles/other.bundle");
    let said = user.fails(
        1,
        &[
            "backup", "--vault", "db", "--bundle", &bundle, "--source", "s", &path,
        ],
    );
    assert!(said.contains("other"), "{said}");
    let words = ["backup", "--vault", "db", "--source", "a b", &path];
    user.fails(2, &words);
    let gone = user.with("HOLDFAST_COORDINATOR", "unix:/nonexistent/socket");
    let said = gone.fails(1, &["status"]);
    assert!(said.contains("/nonexistent/socket"), "{said}");
    let none = ground.user().fails(1, &["status"]);
    assert!(none.contains("--coordinator"), "{none}");
}
