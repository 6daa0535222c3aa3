//! What is particular to etcd: faults of the server and of the way to it, TLS, users, versions.
//!
//! Each test starts a server of its own, since it kills, stops, fills or wipes it.
//!
//! Long because it starts an etcd of its own for each trouble.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, CompactionOptions, Permission, PutOptions};
use holdfast_context::{Context, ManualClock};
use holdfast_format::{Epoch, SiteName, VaultId};
use holdfast_placement::{
    Acquire, CoordinatorInfo, ErrorKind, EtcdOptions, EtcdPlacement, Event, Owner, Placement,
    SiteEntry, Watch, open,
};
use support::certificates::Authority;
use support::line::Line;
use support::server::{Server, free_port, memory_folder};
use tokio::time::{Instant, timeout};

const VAULT: VaultId = VaultId([1; 16]);
const LONG: Duration = Duration::from_secs(600);

async fn opened(options: EtcdOptions) -> EtcdPlacement {
    EtcdPlacement::open(Context::system(), options)
        .await
        .unwrap()
}

/// With a deadline that failures are awaited for; the server is up.
async fn hasty(server: &Server) -> EtcdPlacement {
    opened(server.options()).await;
    opened(EtcdOptions {
        deadline: Duration::from_secs(2),
        ..server.options()
    })
    .await
}

fn coordinator() -> CoordinatorInfo {
    CoordinatorInfo {
        name: "c1".into(),
        addresses: vec!["127.0.0.1:7420".into()],
        public_key: [0; 32],
        level: 1,
        started_millis: 0,
        gone: Vec::new(),
    }
}

fn owner(epoch: u64) -> Option<Owner> {
    let CoordinatorInfo {
        name, addresses, ..
    } = coordinator();
    Some(Owner {
        coordinator: name,
        addresses,
        epoch: Epoch(epoch),
    })
}

fn site(url: &str) -> SiteEntry {
    SiteEntry {
        name: SiteName::new("s1").unwrap(),
        url: url.into(),
    }
}

async fn next(watch: &mut Watch) -> Event {
    timeout(Duration::from_secs(60), watch.next())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_server_killed_and_restarted_keeps_leases_owners_and_watches() {
    let mut server = Server::start(&[]);
    let placement = opened(server.options()).await;
    let quick = hasty(&server).await;
    let lease = placement.register(&coordinator(), LONG).await.unwrap();
    assert_eq!(
        placement.acquire(VAULT, &lease, Epoch(1)).await.unwrap(),
        Acquire::Granted
    );
    let mut watch = placement.watch().await.unwrap();
    server.kill();
    let error = quick.owner(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.is_determinate(), "a read changes nothing");
    let error = quick.put_site(&site("/x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains(&server.url()), "{error}");
    server.restart();
    assert_eq!(placement.owner(VAULT).await.unwrap(), owner(1));
    assert!(placement.keep_alive(&lease).await.unwrap());
    placement.put_site(&site("/srv/a")).await.unwrap();
    placement.release(VAULT, &lease).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Sites);
    assert_eq!(
        next(&mut watch).await,
        Event::Owner {
            vault: VAULT,
            owner: None
        }
    );
    assert_eq!(quick.owner(VAULT).await.unwrap(), None);
}

#[tokio::test]
async fn a_stopped_server_leaves_doubt_and_issues_no_epoch_twice() {
    let server = Server::start(&[]);
    let placement = opened(server.options()).await;
    let quick = hasty(&server).await;
    assert_eq!(quick.issue_epoch(VAULT, Epoch(0)).await.unwrap(), Epoch(1));
    server.signal("STOP");
    let started = Instant::now();
    let error = quick.issue_epoch(VAULT, Epoch(0)).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "within the deadline"
    );
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(!error.is_determinate(), "it may still happen: {error}");
    server.signal("CONT");
    let issued = placement.issue_epoch(VAULT, Epoch(0)).await.unwrap();
    assert!(issued > Epoch(1), "{issued}");
    assert!(placement.issue_epoch(VAULT, Epoch(0)).await.unwrap() > issued);
}

#[tokio::test]
async fn a_cut_line_loses_no_change() {
    let server = Server::start(&[]);
    let direct = opened(server.options()).await;
    let mut line = Line::to(server.port()).await;
    let far = opened(EtcdOptions {
        endpoints: vec![line.url()],
        ..server.options()
    })
    .await;
    let mut watch = far.watch().await.unwrap();
    direct.put_site(&site("/srv/a")).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Sites);
    line.cut().await;
    let lease = direct.register(&coordinator(), LONG).await.unwrap();
    direct.acquire(VAULT, &lease, Epoch(1)).await.unwrap();
    line.mend().await;
    assert_eq!(next(&mut watch).await, Event::Coordinators);
    assert_eq!(
        next(&mut watch).await,
        Event::Owner {
            vault: VAULT,
            owner: owner(1)
        }
    );
    direct.put_site(&site("/srv/b")).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Sites);
}

#[tokio::test]
async fn a_compacted_watch_is_told_to_read_again() {
    let server = Server::start(&[]);
    let direct = opened(server.options()).await;
    let mut line = Line::to(server.port()).await;
    let far = opened(EtcdOptions {
        endpoints: vec![line.url()],
        ..server.options()
    })
    .await;
    let mut watch = far.watch().await.unwrap();
    line.cut().await;
    for url in ["/srv/a", "/srv/b", "/srv/c"] {
        direct.put_site(&site(url)).await.unwrap();
    }
    let mut client = server.client().await;
    let revision = client
        .get("x", None)
        .await
        .unwrap()
        .header()
        .unwrap()
        .revision();
    let physical = CompactionOptions::new().with_physical();
    client.compact(revision, Some(physical)).await.unwrap();
    line.mend().await;
    assert_eq!(next(&mut watch).await, Event::Resync);
    assert_eq!(far.sites().await.unwrap(), [site("/srv/c")]);
    let lease = direct.register(&coordinator(), LONG).await.unwrap();
    while next(&mut watch).await != Event::Coordinators {}
    direct.deregister(&lease).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Coordinators);
}

#[tokio::test]
async fn a_store_that_lost_everything_is_noticed() {
    let mut server = Server::start(&[]);
    let placement = opened(server.options()).await;
    for url in ["/srv/a", "/srv/b", "/srv/c"] {
        placement.put_site(&site(url)).await.unwrap();
    }
    let lease = placement.register(&coordinator(), LONG).await.unwrap();
    placement.acquire(VAULT, &lease, Epoch(8)).await.unwrap();
    assert_eq!(
        placement.issue_epoch(VAULT, Epoch(7)).await.unwrap(),
        Epoch(8)
    );
    let mut watch = placement.watch().await.unwrap();
    server.kill();
    server.wipe();
    server.restart();
    assert_eq!(next(&mut watch).await, Event::Resync);
    assert_eq!(placement.sites().await.unwrap(), []);
    assert_eq!(placement.owner(VAULT).await.unwrap(), None);
    assert!(!placement.keep_alive(&lease).await.unwrap());
    // The floor, from the log, is what keeps the number from being used twice.
    assert_eq!(
        placement.issue_epoch(VAULT, Epoch(8)).await.unwrap(),
        Epoch(9)
    );
    placement.put_site(&site("/srv/d")).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Sites);
}

#[tokio::test]
async fn a_store_that_lost_everything_and_went_on_is_noticed() {
    let mut server = Server::start(&[]);
    let direct = opened(server.options()).await;
    let mut line = Line::to(server.port()).await;
    let endpoints = vec![line.url()];
    let far = opened(EtcdOptions {
        endpoints,
        ..server.options()
    })
    .await;
    let mut watch = far.watch().await.unwrap();
    line.cut().await;
    server.kill();
    server.wipe();
    server.restart();
    let rebuilt = opened(server.options()).await;
    for _ in 0..20 {
        rebuilt.put_site(&site("/srv/a")).await.unwrap();
    }
    line.mend().await;
    assert_eq!(next(&mut watch).await, Event::Resync);
    direct.put_site(&site("/srv/b")).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Sites);
}

#[tokio::test]
async fn a_full_server_refuses_for_now() {
    let server = Server::start(&["--quota-backend-bytes=300000"]);
    let placement = opened(server.options()).await;
    let quick = hasty(&server).await;
    let lease = placement.register(&coordinator(), LONG).await.unwrap();
    placement.acquire(VAULT, &lease, Epoch(1)).await.unwrap();
    let mut client = server.client().await;
    while client.put("filler", vec![7; 100_000], None).await.is_ok() {}
    let error = quick.put_site(&site("/srv/a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains("full"), "{error}");
    // What is owned stays owned.
    assert!(placement.keep_alive(&lease).await.unwrap());
    assert_eq!(placement.owner(VAULT).await.unwrap(), owner(1));
}

#[tokio::test]
async fn a_wrong_endpoint_fails_clearly_and_in_time() {
    let deadline = Duration::from_secs(1);
    let check = async |endpoint: String, says: &str| {
        let mut options = EtcdOptions::new([endpoint.clone()]);
        options.deadline = deadline;
        let started = Instant::now();
        let error = EtcdPlacement::open(Context::system(), options)
            .await
            .unwrap_err();
        assert!(started.elapsed() < deadline * 3, "{:?}", started.elapsed());
        assert_eq!(error.kind(), ErrorKind::Retry);
        let text = error.to_string();
        assert!(text.contains(&endpoint) && text.contains(says), "{text}");
        error
    };
    let nobody = check(format!("127.0.0.1:{}", free_port()), "Connection refused").await;
    assert!(nobody.is_determinate());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    check(silent.local_addr().unwrap().to_string(), "no answer").await;
}

#[tokio::test]
async fn one_endpoint_that_answers_is_enough() {
    let server = Server::start(&[]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoints = vec![
        format!("127.0.0.1:{}", free_port()),
        silent.local_addr().unwrap().to_string(),
        server.url(),
    ];
    let placement = opened(EtcdOptions {
        endpoints,
        ..server.options()
    })
    .await;
    for issued in 1..=20 {
        assert_eq!(
            placement.issue_epoch(VAULT, Epoch(0)).await.unwrap(),
            Epoch(issued)
        );
    }
}

#[tokio::test]
async fn a_connection_that_went_dead_is_replaced() {
    let server = Server::start(&[]);
    opened(server.options()).await;
    let line = Line::to(server.port()).await;
    let deadline = Duration::from_millis(1500);
    let endpoints = vec![line.url()];
    let far = opened(EtcdOptions {
        endpoints,
        deadline,
        ..server.options()
    })
    .await;
    assert_eq!(far.owner(VAULT).await.unwrap(), None);
    line.freeze();
    assert_eq!(far.owner(VAULT).await.unwrap_err().kind(), ErrorKind::Retry);
    // The connection is given up after three rounds without an answer, of which that call had two.
    assert_eq!(far.owner(VAULT).await.unwrap(), None);
}

#[tokio::test]
async fn a_watch_leaves_a_hung_endpoint_with_the_calls() {
    let server = Server::start(&[]);
    let direct = opened(server.options()).await;
    // The seed decides which endpoint is used first: some of these start at the one that hangs.
    for seed in 0..4 {
        let line = Line::to(server.port()).await;
        let options = EtcdOptions {
            endpoints: vec![line.url(), server.url()],
            deadline: Duration::from_secs(3),
            ..server.options()
        };
        let context = Context::seeded(seed, Arc::new(ManualClock::at(0)));
        let placement = EtcdPlacement::open(context, options).await.unwrap();
        let mut watch = placement.watch().await.unwrap();
        line.hang();
        direct.put_site(&site("/srv/a")).await.unwrap();
        placement.sites().await.unwrap();
        // Long before the connection would be found dead by itself.
        let event = timeout(Duration::from_secs(5), watch.next()).await;
        assert_eq!(event.expect("in time"), Some(Event::Sites));
    }
}

#[tokio::test]
async fn a_newer_store_is_refused() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    client
        .put("/newer/version", vec![1, 0xa1, 0, 2], None)
        .await
        .unwrap();
    let options = EtcdOptions {
        prefix: "/newer/".into(),
        ..server.options()
    };
    let error = EtcdPlacement::open(Context::system(), options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooNew);
    assert!(error.to_string().contains("version 2"), "{error}");
    let kept = client.get("/newer/version", None).await.unwrap();
    assert_eq!(kept.kvs()[0].value(), [1, 0xa1, 0, 2]);
}

#[tokio::test]
async fn a_damaged_entry_is_named_and_does_no_harm_to_others() {
    let server = Server::start(&[]);
    let placement = opened(server.options()).await;
    let mut client = server.client().await;
    let mut watch = placement.watch().await.unwrap();
    placement.put_site(&site("/srv/a")).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Sites);
    let key = format!("/holdfast/owners/{VAULT}");
    client.put(key.as_str(), vec![1, 0xff], None).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Resync);
    let error = placement.owner(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&key), "{error}");
    assert_eq!(placement.sites().await.unwrap(), [site("/srv/a")]);
}

#[tokio::test]
async fn a_list_longer_than_a_page_is_whole() {
    let server = Server::start(&[]);
    let placement = opened(server.options()).await;
    let mut client = server.client().await;
    placement.put_certificate(VAULT, b"x").await.unwrap();
    let prefix = format!("/holdfast/certificates/{VAULT}/");
    let kept = client.get(
        prefix.as_str(),
        Some(etcd_client::GetOptions::new().with_prefix()),
    );
    let value = kept.await.unwrap().kvs()[0].value().to_vec();
    for number in 0..2500 {
        let key = format!("{prefix}{number:04}");
        client
            .put(key, value.clone(), Some(PutOptions::new()))
            .await
            .unwrap();
    }
    assert_eq!(placement.certificates(VAULT).await.unwrap().len(), 2501);
}

#[tokio::test]
async fn tls_with_certificate_and_user_lets_in_who_has_both() {
    let folder = memory_folder();
    let authority = Authority::new(folder.path(), "authority");
    let stranger = Authority::new(folder.path(), "stranger");
    let (cert, key) = authority.issue("server");
    let client = authority.issue("client");
    let mine = stranger.issue("self-made");
    let password_file = folder.path().join("password");
    fs::write(&password_file, "two words\n").unwrap();
    let file = |path: &std::path::Path| path.display().to_string();
    let arguments = vec![
        format!("--cert-file={}", file(&cert)),
        format!("--key-file={}", file(&key)),
        format!("--trusted-ca-file={}", file(&authority.certificate)),
        "--client-cert-auth".into(),
    ];
    let mut server = Server::in_folder(folder, "https", arguments);
    let with_cert = EtcdOptions {
        ca: Some(authority.certificate.clone()),
        cert: Some(client.0.clone()),
        key: Some(client.1.clone()),
        ..server.options()
    };
    // Before there are users: the certificate alone lets in.
    opened(with_cert.clone()).await;
    let with_user = EtcdOptions {
        user: Some("holdfast".into()),
        password_file: Some(password_file),
        ..with_cert.clone()
    };
    let error = EtcdPlacement::open(Context::system(), with_user.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("disabled"), "{error}");

    enable_users(&mut secure_client(&server, &authority, &client).await).await;
    let url = format!(
        "etcd://127.0.0.1:{}/holdfast?ca={}&cert={}&key={}&user=holdfast&password-file={}",
        server.port(),
        file(&authority.certificate),
        file(&client.0),
        file(&client.1),
        file(with_user.password_file.as_ref().unwrap()),
    );
    let placement: Arc<dyn Placement> = open(Context::system(), &url, server.folder())
        .await
        .unwrap();
    let mut watch = placement.watch().await.unwrap();
    let lease = placement.register(&coordinator(), LONG).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Coordinators);

    let check = async |change: &dyn Fn(&mut EtcdOptions), kind: ErrorKind, says: &str| {
        let mut options = with_user.clone();
        options.deadline = Duration::from_secs(2);
        change(&mut options);
        let error = EtcdPlacement::open(Context::system(), options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "wanted {says}: {error}");
    };
    let wrong = server.folder().join("wrong");
    fs::write(&wrong, "guess").unwrap();
    check(
        &|o| o.password_file = Some(wrong.clone()),
        ErrorKind::Denied,
        "wrong user or",
    )
    .await;
    let nobody = |o: &mut EtcdOptions| (o.user, o.password_file) = (None, None);
    check(&nobody, ErrorKind::Denied, "no permission").await;
    check(
        &|o| o.prefix = "/elsewhere/".into(),
        ErrorKind::Denied,
        "no permission",
    )
    .await;
    check(
        &|o| (o.cert, o.key) = (None, None),
        ErrorKind::Retry,
        "certificate",
    )
    .await;
    let self_made = |o: &mut EtcdOptions| {
        (o.cert, o.key) = (Some(mine.0.clone()), Some(mine.1.clone()));
    };
    check(&self_made, ErrorKind::Retry, "certificate").await;
    let astray = |o: &mut EtcdOptions| o.ca = Some(stranger.certificate.clone());
    check(&astray, ErrorKind::Retry, "certificate").await;
    let absent = |o: &mut EtcdOptions| o.ca = Some("/absent.pem".into());
    check(&absent, ErrorKind::Invalid, "/absent.pem").await;

    // Logins do not outlive the server: they are renewed unasked, for calls and for the watch.
    server.kill();
    server.restart();
    let patience = opened(with_user.clone()).await;
    assert_eq!(patience.coordinators().await.unwrap(), [coordinator()]);
    placement.acquire(VAULT, &lease, Epoch(1)).await.unwrap();
    assert!(placement.keep_alive(&lease).await.unwrap());
    assert_eq!(
        next(&mut watch).await,
        Event::Owner {
            vault: VAULT,
            owner: owner(1)
        }
    );
}

#[tokio::test]
async fn a_login_that_grew_old_is_renewed() {
    let folder = memory_folder();
    let (private, public) = (
        folder.path().join("private.pem"),
        folder.path().join("public.pem"),
    );
    let openssl = |arguments: &[&str]| {
        let mut openssl = Command::new("openssl");
        let made = openssl.current_dir(folder.path()).args(arguments).output();
        assert!(made.expect("openssl is installed").status.success());
    };
    openssl(&["genrsa", "-out", "private.pem", "2048"]);
    openssl(&["rsa", "-in", "private.pem", "-pubout", "-out", "public.pem"]);
    let token = format!(
        "--auth-token=jwt,pub-key={},priv-key={},sign-method=RS256,ttl=10m",
        public.display(),
        private.display()
    );
    let password_file = folder.path().join("password");
    fs::write(&password_file, "two words").unwrap();
    let server = Server::in_folder(folder, "http", vec![token]);
    let mut etcd = server.client().await;
    enable_users(&mut etcd).await;
    let placement = opened(EtcdOptions {
        user: Some("holdfast".into()),
        password_file: Some(password_file),
        ..server.options()
    })
    .await;
    assert_eq!(
        placement.issue_epoch(VAULT, Epoch(0)).await.unwrap(),
        Epoch(1)
    );
    // Such a login is good for one state of the user list; etcd answers "revision of auth store is old" after this.
    etcd.update_user(Some(("root".into(), "root".into())))
        .await
        .unwrap();
    etcd.user_add("another", "word", None).await.unwrap();
    assert_eq!(
        placement.issue_epoch(VAULT, Epoch(0)).await.unwrap(),
        Epoch(2)
    );
    assert_eq!(placement.sites().await.unwrap(), []);
}

/// Makes a user that may use the default prefix, and turns authentication on.
async fn enable_users(etcd: &mut Client) {
    etcd.user_add("root", "root", None).await.unwrap();
    etcd.role_add("root").await.unwrap();
    etcd.user_grant_role("root", "root").await.unwrap();
    etcd.user_add("holdfast", "two words", None).await.unwrap();
    etcd.role_add("holdfast").await.unwrap();
    let permission = Permission::read_write("/holdfast/").with_prefix();
    etcd.role_grant_permission("holdfast", permission)
        .await
        .unwrap();
    etcd.user_grant_role("holdfast", "holdfast").await.unwrap();
    etcd.auth_enable().await.unwrap();
}

/// A client of the raw kind that shows a certificate.
async fn secure_client(
    server: &Server,
    authority: &Authority,
    client: &(PathBuf, PathBuf),
) -> Client {
    let read = |path| fs::read(path).unwrap();
    let tls = etcd_client::TlsOptions::new()
        .ca_certificate(etcd_client::Certificate::from_pem(read(
            &authority.certificate,
        )))
        .identity(etcd_client::Identity::from_pem(
            read(&client.0),
            read(&client.1),
        ));
    let options = etcd_client::ConnectOptions::new().with_tls(tls);
    Client::connect([server.url()], Some(options))
        .await
        .unwrap()
}
