//! Mutual TLS turns strangers away, soon and in words that help: no certificate, one of another authority, a server
//! that another authority vouches for, no TLS at all.

use std::time::Duration;

use holdfast_tests::{Authority, Certificate, Client, Ground};

/// A refusal takes no longer, on a busy machine too.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn strangers_are_turned_away() {
    let ground = Ground::new();
    let ours = Authority::new(&ground.at("ours"), "ours");
    let theirs = Authority::new(&ground.at("theirs"), "theirs");
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite"])
        .tls(&ours.issue("server"))
        .start();
    let user = ground.user().within(SOON);
    let friend = ours.issue("friend");
    user.over_tls(&coordinator, &friend).done(&["status"]);

    // Their certificate, our authority: the coordinator refuses.
    let stranger = Certificate {
        ca: ours.file.clone(),
        ..theirs.issue("stranger")
    };
    let said = refused(&user.over_tls(&coordinator, &stranger));
    assert!(said.contains("--tls-cert"), "{said}");

    // Our certificate, their authority: the client refuses.
    let wary = Certificate {
        ca: theirs.file.clone(),
        ..ours.issue("wary")
    };
    let said = refused(&user.over_tls(&coordinator, &wary));
    assert!(said.contains("--tls-ca"), "{said}");

    // A key that does not belong to the certificate.
    let mixed = Certificate {
        key: ours.issue("other").key,
        ..friend.clone()
    };
    refused(&user.over_tls(&coordinator, &mixed));

    // No certificate.
    let none = user.with("HOLDFAST_COORDINATOR", coordinator.https_url());
    let said = refused(&none);
    assert!(
        said.contains("--tls-ca, --tls-cert and --tls-key"),
        "{said}"
    );
    let said = refused(&none.with("HOLDFAST_TLS_CA", &ours.file));
    assert!(said.contains("--tls-cert"), "{said}");

    // No TLS.
    let plain = coordinator.https_url().replace("https:", "http:");
    refused(&user.with("HOLDFAST_COORDINATOR", plain));

    // It serves its friends as before.
    user.over_tls(&coordinator, &friend).done(&["status"]);
    user.on(&coordinator).done(&["status"]);
}

fn refused(user: &Client) -> String {
    user.fails(1, &["snapshots", "--vault", "db"])
}

#[test]
fn a_coordinator_does_not_speak_openly_to_others() {
    let ground = Ground::new();
    let starting = ground.coordinator("c1").file_sites(&["onsite"]);
    let said = starting
        .clone()
        .words(&["--listen", "0.0.0.0:0"])
        .ends()
        .expect(2)
        .says();
    assert!(said.contains("--tls-cert"), "{said}");
    let missing = ground.text("nothing.pem");
    let said = starting
        .words(&["--listen", "127.0.0.1:0"])
        .words(&[
            "--tls-ca",
            &missing,
            "--tls-cert",
            &missing,
            "--tls-key",
            &missing,
        ])
        .ends()
        .expect(1)
        .says();
    assert!(said.contains("nothing.pem"), "{said}");
}
