//! What an operator reads when an object store does not work: what was asked of which site, why it failed, and what to do.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

mod servers;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed};
use holdfast_store::{Error, Kind, SiteOptions, open_for_reading, open_for_writing};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConnection;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

use servers::proxy::{Fate, Proxy};
use servers::{Bucket, Container, site};

fn record() -> ObjectName {
    ObjectName::parse("v/log/1").unwrap()
}

/// What reading and opening for writing say; neither may show a secret.
async fn ask(url: &str, options: &SiteOptions) -> [Error; 2] {
    let context = Context::system();
    let reader = open_for_reading(&context, site(), url, options).await;
    let read = match reader {
        Ok(reader) => reader.get(&record()).await.expect_err("there is no answer"),
        Err(error) => error,
    };
    let write = open_for_writing(&context, site(), url, options).await;
    let errors = [read, write.expect_err("it cannot be written to")];
    for error in &errors {
        let text = format!("{error} {error:?}");
        for never in [
            "hunter2",
            "Signature=",
            "AWS4-HMAC",
            "AWSAccessKeyId",
            "StringToSign",
            "SharedKey",
        ] {
            assert!(!text.contains(never), "{never} in {text}");
        }
    }
    errors
}

async fn check(url: &str, options: &SiteOptions, kind: Kind, says: &[&str]) {
    for error in ask(url, options).await {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.is_determinate(), "{error}");
        let text = error.to_string();
        for says in says.iter().chain(&["at site tested"]) {
            assert!(text.contains(says), "{says:?} in {text}");
        }
    }
}

fn one_try(options: SiteOptions) -> SiteOptions {
    SiteOptions {
        retries_max: 0,
        ..options
    }
}

#[tokio::test]
async fn wrong_keys_are_denied_and_never_shown() {
    let bucket = Bucket::of_server();
    let file = bucket.options().credentials_file.unwrap();
    let known = servers::given("HOLDFAST_TEST_S3_ACCESS_KEY");
    for (key, code, advice) in [
        (
            known.as_str(),
            "SignatureDoesNotMatch",
            "correct the secret key",
        ),
        (
            "nobody",
            "InvalidAccessKeyId",
            "does not know this access key",
        ),
    ] {
        let profile = format!("[test]\naws_access_key_id={key}\naws_secret_access_key=hunter2\n");
        std::fs::write(&file, profile).unwrap();
        let says = ["403", code, advice];
        check(&bucket.url("x"), &bucket.options(), Kind::Denied, &says).await;
    }
    let container = Container::with_key("aHVudGVyMg==");
    check(
        &container.url("x"),
        &SiteOptions::default(),
        Kind::Denied,
        &["403", "credentials"],
    )
    .await;
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named_as_that() {
    let bucket = Bucket::of_server();
    let url = bucket.url("x").replace("s3://", "s3://no-such-");
    let says = [
        "404",
        "NoSuchBucket",
        "create the bucket or correct the URL",
    ];
    check(&url, &bucket.options(), Kind::Invalid, &says).await;

    let container = Container::of_azurite();
    let url = container.url_of("no-such-container", "x");
    let says = [
        "404",
        "ContainerNotFound",
        "create the bucket or correct the URL",
    ];
    check(&url, &SiteOptions::default(), Kind::Invalid, &says).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_by_what_is_in_the_way() {
    let bucket = Bucket::of_server();
    let options = one_try(bucket.options());
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = bucket.through(&format!("http://{free}"));
    for (endpoint, says) in [
        (nobody.url("x"), "refused"),
        (
            bucket.through("http://no-such-host.invalid").url("x"),
            "the server's name could not be resolved",
        ),
    ] {
        let endpoint = endpoint.replace("profile=test", "");
        let url = format!("{}&profile=test", endpoint.trim_end_matches('&'));
        let says = ["no connection could be made", says, "endpoint="];
        check(&url, &options, Kind::Retry, &says).await;
    }
}

#[tokio::test]
async fn one_object_that_is_denied_does_not_deny_the_rest() {
    let bucket = Bucket::of_server();
    let proxy = Proxy::start(&servers::given("HOLDFAST_TEST_S3")).await;
    let through = bucket.through(&proxy.endpoint);
    let opened = through.open(&Context::system(), &through.options()).await;
    let body = Sealed::copied(Bytes::from_static(b"one"));
    opened.site.put_new(&record(), body).await.unwrap();
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    proxy.next("/v/log/1", Fate::Say(403, denied), 1);
    let error = opened.site.get(&record()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let text = error.to_string();
    for says in [
        "reading v/log/1 at site tested",
        "403 AccessDenied",
        "permissions",
    ] {
        assert!(text.contains(says), "{says:?} in {text}");
    }
    assert!(opened.site.get(&record()).await.unwrap().is_some());
}

#[tokio::test]
async fn clocks_that_are_apart_are_told_whatever_the_server_calls_it() {
    let bucket = Bucket::of_server();
    let proxy = Proxy::start(&servers::given("HOLDFAST_TEST_S3")).await;
    let through = bucket.through(&proxy.endpoint);
    let options = one_try(through.options());
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for text in [
        "<Error><Code>RequestTimeTooSkewed</Code></Error>",
        "<Error><Code>AccessDenied</Code></Error>",
        "",
    ] {
        proxy.next("HTTP", Fate::SayAt(403, date, text), 2);
        let says = [
            "this machine's clock is",
            "s ahead of the server's",
            "set this machine's clock",
        ];
        check(&through.url("x"), &options, Kind::Denied, &says).await;
    }
}

#[tokio::test]
async fn no_credentials_are_told_with_where_they_go() {
    let bucket = Bucket::of_server();
    let url = bucket.url("x").replace("profile=test", "profile=other");
    let errors = ask(&url, &bucket.options()).await;
    for error in errors {
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("a section [other]"), "{error}");
    }
    let url = Container::of_azurite().url("x").replace("/key", "/no-key");
    for error in ask(&url, &SiteOptions::default()).await {
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("account's key"), "{error}");
    }
}

/// An S3 server with a certificate, which knows no object.
struct Tls {
    endpoint: String,
    folder: TempDir,
}

impl Tls {
    /// With a certificate that ends in this year.
    fn start(until: i32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut issuer = CertificateParams::new(Vec::new()).unwrap();
        issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(issuer, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut own = CertificateParams::new(vec!["localhost".into()]).unwrap();
        own.not_after = date_time_ymd(until, 1, 1);
        let certificate = own.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || serve(&listener, &Arc::new(config)));
        Self {
            endpoint: format!("https://localhost:{port}"),
            folder,
        }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

fn serve(listener: &TcpListener, config: &Arc<rustls::ServerConfig>) {
    for stream in listener.incoming() {
        let (Ok(mut stream), Ok(mut tls)) = (stream, ServerConnection::new(Arc::clone(config)))
        else {
            continue;
        };
        let mut stream = rustls::Stream::new(&mut tls, &mut stream);
        // One read is one request here: it has no body.
        let mut buffer = [0; 8192];
        if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
            let body = "<Error><Code>NoSuchKey</Code></Error>";
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 404 X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    }
}

#[tokio::test]
async fn certificates_are_told_by_what_is_wrong_with_them() {
    let bucket = Bucket::of_server();
    let options = one_try(bucket.options());
    let (good, expired) = (Tls::start(2090), Tls::start(2001));
    let url = |tls: &Tls, ca: Option<&Path>| {
        let ca = ca.map(|ca| format!("&ca={}", ca.display()));
        bucket.through(&tls.endpoint).url("x") + &ca.unwrap_or_default()
    };
    // The one that is right first: what is refused below is not refused for another reason.
    let trusted = url(&good, Some(&good.ca()));
    let reader = open_for_reading(&Context::system(), site(), &trusted, &options)
        .await
        .unwrap();
    assert_eq!(reader.get(&record()).await.unwrap(), None);

    let refused = "the server's certificate was not accepted";
    for (url, says) in [
        (url(&good, None), "UnknownIssuer"),
        (url(&good, Some(&expired.ca())), "invalid peer certificate"),
        (url(&expired, Some(&expired.ca())), "expired"),
        (
            url(&good, Some(&good.ca())).replace("localhost", "127.0.0.1"),
            "not valid for",
        ),
    ] {
        check(&url, &options, Kind::Invalid, &[refused, says, "ca="]).await;
    }

    let nothing = good.folder.path().join("nothing.pem");
    for content in ["", "no certificate"] {
        std::fs::write(&nothing, content).unwrap();
        for error in ask(&url(&good, Some(&nothing)), &options).await {
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(
                error.to_string().contains("holds no certificates"),
                "{error}"
            );
        }
    }
}
