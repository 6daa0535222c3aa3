//! A site at Azure Blob Storage over a network that fails, and what an account can and cannot say.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

mod servers;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed};
use holdfast_store::{Kind, Opened, Put, SiteOptions, open_for_writing};

use servers::proxy::{Fate, Proxy};
use servers::{Container, fresh, given, site};

fn record() -> ObjectName {
    ObjectName::parse("v/log/1").unwrap()
}

fn body() -> Sealed {
    Sealed::copied(Bytes::from_static(b"one record"))
}

/// A site at azurite behind a proxy. The container holds the key's file.
async fn behind_a_proxy(retries_max: usize) -> (Proxy, Container, Opened) {
    let server = given("HOLDFAST_TEST_AZURE");
    let (server, account) = server.rsplit_once('/').unwrap();
    let proxy = Proxy::start(server).await;
    let (context, container) = (Context::system(), Container::of_azurite());
    let url = container.url_at(
        &format!("{}/{account}", proxy.endpoint),
        &given("HOLDFAST_TEST_AZURE_CONTAINER"),
        &fresh(&context),
    );
    let options = SiteOptions {
        retries_max,
        ..SiteOptions::default()
    };
    let opened = open_for_writing(&context, site(), &url, &options).await;
    (proxy, container, opened.unwrap())
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_told_as_exists_or_indeterminate() {
    let (proxy, _container, opened) = behind_a_proxy(3).await;
    proxy.next("PUT", Fate::Lose, 1);
    let put = opened.site.put_new(&record(), body()).await.unwrap();
    assert_eq!(put, Put::Exists, "its own first one is in the way");

    let (proxy, _container, opened) = behind_a_proxy(0).await;
    proxy.next("PUT", Fate::Lose, 1);
    let error = opened.site.put_new(&record(), body()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Retry);
    assert!(!error.is_determinate(), "{error}");
    assert!(opened.site.get(&record()).await.unwrap().is_some());
}

#[tokio::test]
async fn answers_are_told_by_what_the_caller_should_do() {
    let (proxy, _container, opened) = behind_a_proxy(1).await;
    let says = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    for (status, code, times, kind) in [
        (503, "ServerBusy", 2, Kind::Retry),
        (409, "ContainerBeingDeleted", 1, Kind::Retry),
        (403, "AuthorizationPermissionMismatch", 1, Kind::Denied),
        (404, "ContainerNotFound", 1, Kind::Invalid),
    ] {
        proxy.next("PUT", Fate::Say(status, says(code).leak()), times);
        let error = opened.site.put_new(&record(), body()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{status} {code}")), "{text}");
        assert!(
            text.starts_with("writing v/log/1 at site tested: "),
            "{text}"
        );
        assert_eq!(opened.site.get(&record()).await.unwrap(), None);
    }
    for code in ["ContainerNotFound", ""] {
        proxy.next("GET", Fate::Say(404, says(code).leak()), 1);
        let absent = opened.site.get(&record()).await;
        assert!(absent.is_err(), "a 404 alone is not the server's word");
    }
}

#[tokio::test]
async fn a_deletion_that_was_denied_is_not_taken_for_done() {
    let (proxy, _container, opened) = behind_a_proxy(1).await;
    opened.site.put_new(&record(), body()).await.unwrap();
    let denied = "<Error><Code>AuthorizationPermissionMismatch</Code></Error>";
    proxy.next("comp=batch", Fate::Say(403, denied), 1);
    let error = opened.sweeper.delete(&record()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(opened.site.get(&record()).await.unwrap().is_some());
    opened.sweeper.delete(&record()).await.unwrap();
    assert_eq!(opened.site.get(&record()).await.unwrap(), None);
}
