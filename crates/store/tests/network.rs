//! An S3 site over a network that fails: what is retried, what is told, and what is never told.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

mod servers;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed};
use holdfast_store::{Kind, Opened, Put, SiteOptions};
use object_store::signer::Method;

use servers::Bucket;
use servers::proxy::{Fate, Proxy};

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn body(bytes: usize) -> Sealed {
    Sealed::copied(Bytes::from(vec![9; bytes]))
}

/// A site at the real server behind a proxy; the bucket without the proxy, to see what is really there.
async fn behind_a_proxy(retries_max: usize) -> (Proxy, Bucket, Opened) {
    let bucket = Bucket::of_server();
    let proxy = Proxy::start(&servers::given("HOLDFAST_TEST_S3")).await;
    let through = bucket.through(&proxy.endpoint);
    let options = SiteOptions {
        retries_max,
        ..through.options()
    };
    let opened = through.open(&Context::system(), &options).await;
    (proxy, bucket, opened)
}

#[tokio::test]
async fn a_request_that_never_arrived_is_sent_again() {
    let (proxy, _, opened) = behind_a_proxy(3).await;
    proxy.next("/v/log/1", Fate::Cut, 2);
    assert_eq!(
        opened
            .site
            .put_new(&name("v/log/1"), body(10))
            .await
            .unwrap(),
        Put::Created
    );
    proxy.next("GET", Fate::Cut, 2);
    assert_eq!(
        opened
            .site
            .get(&name("v/log/1"))
            .await
            .unwrap()
            .unwrap()
            .len(),
        10
    );
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_told_as_exists_or_indeterminate_and_never_as_failed() {
    let (proxy, _, opened) = behind_a_proxy(3).await;
    proxy.next("PUT", Fate::Lose, 1);
    // Sent again, and then its own first one is in the way.
    assert_eq!(
        opened
            .site
            .put_new(&name("v/log/1"), body(10))
            .await
            .unwrap(),
        Put::Exists
    );
    assert_eq!(
        opened
            .site
            .get(&name("v/log/1"))
            .await
            .unwrap()
            .unwrap()
            .len(),
        10
    );

    let (proxy, _, opened) = behind_a_proxy(0).await;
    proxy.next("PUT", Fate::Lose, 1);
    let error = opened
        .site
        .put_new(&name("v/log/1"), body(10))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_determinate()),
        (Kind::Retry, false),
        "{error}"
    );
    assert_eq!(
        opened
            .site
            .get(&name("v/log/1"))
            .await
            .unwrap()
            .unwrap()
            .len(),
        10
    );
}

#[tokio::test]
async fn answers_are_told_by_what_the_caller_should_do() {
    let (proxy, _, opened) = behind_a_proxy(1).await;
    let slow = "<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>";
    let conflict = "<Error><Code>ConditionalRequestConflict</Code></Error>";
    let denied =
        "<Error><Code>AccessDenied</Code><AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId></Error>";
    for (status, text, times, kind, determinate, says) in [
        (
            503,
            slow,
            2,
            Kind::Retry,
            false,
            "503 SlowDown (Reduce your rate.), after 2 attempts; ",
        ),
        (409, conflict, 1, Kind::Retry, true, "409"),
        (403, denied, 1, Kind::Denied, true, "403 AccessDenied"),
        (507, "", 2, Kind::Full, false, "507"),
        (501, "", 2, Kind::Refused, false, "501"),
        (301, "", 1, Kind::Invalid, true, "301"),
    ] {
        proxy.next("PUT", Fate::Say(status, text), times);
        let error = opened
            .site
            .put_new(&name("v/log/1"), body(10))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.is_determinate()),
            (kind, determinate),
            "{status}: {error}"
        );
        assert!(error.to_string().contains(says), "{status}: {error}");
        assert!(
            !format!("{error} {error:?}").contains("AKIDEXAMPLE"),
            "{error:?}"
        );
        assert_eq!(opened.site.get(&name("v/log/1")).await.unwrap(), None);
    }
    let before = opened.site.counters();
    proxy.next("PUT", Fate::Say(503, slow), 1);
    assert_eq!(
        opened
            .site
            .put_new(&name("v/log/1"), body(10))
            .await
            .unwrap(),
        Put::Created,
        "one retry"
    );
    let spent = opened.site.counters().since(&before);
    assert_eq!((spent.puts, spent.failures, spent.retries), (2, 1, 1));
}

#[tokio::test]
async fn a_proxys_not_found_is_not_the_servers() {
    let (proxy, _, opened) = behind_a_proxy(1).await;
    for text in [
        "",
        "<html>404 Not Found</html>",
        "<Error><Code>NoSuchBucket</Code></Error>",
    ] {
        proxy.next("GET", Fate::Say(404, text), 1);
        assert!(opened.site.get(&name("v/log/1")).await.is_err(), "{text:?}");
        proxy.next("HEAD", Fate::Say(404, ""), 1);
        proxy.next("GET", Fate::Say(404, text), 1);
        assert!(
            opened.site.head(&name("v/log/1")).await.is_err(),
            "{text:?}"
        );
        proxy.next("GET", Fate::Say(404, text), 1);
        assert!(opened.site.list("v/", None).await.is_err(), "{text:?}");
    }
    assert_eq!(
        opened.site.get(&name("v/log/1")).await.unwrap(),
        None,
        "the server's own word is taken"
    );
}

#[tokio::test]
async fn half_an_answer_is_never_handed_out() {
    let (proxy, _, opened) = behind_a_proxy(3).await;
    let content: Vec<u8> = (0..200_000u32).map(|n| (n % 253) as u8).collect();
    opened
        .site
        .put_pack(&name("v/packs/1"), Sealed::copied(content.clone().into()))
        .await
        .unwrap();
    proxy.next("GET", Fate::Halve, 1);
    let whole = opened.site.get(&name("v/packs/1")).await.unwrap().unwrap();
    assert!(whole == content, "it went on where it broke off");
    proxy.next("GET", Fate::Halve, 100);
    let error = opened.site.get(&name("v/packs/1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Retry, "{error}");
    let error = opened.site.list("v/", None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Retry, "{error}");
}

#[tokio::test]
async fn an_upload_in_parts_that_fails_is_withdrawn() {
    let (proxy, bucket, opened) = behind_a_proxy(1).await;
    proxy.next("partNumber=2", Fate::Cut, 2);
    let error = opened
        .site
        .put_pack(&name("v/packs/1"), body(20 << 20))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_determinate()),
        (Kind::Retry, true),
        "{error}"
    );
    assert_eq!(opened.site.head(&name("v/packs/1")).await.unwrap(), None);
    let unfinished = bucket
        .request(Method::GET, "", &[("uploads", "")], "")
        .await;
    assert!(
        unfinished.contains("<ListMultipartUploadsResult"),
        "{unfinished}"
    );
    let folder = opened.site.url().split(['/', '?']).nth(3).unwrap();
    assert!(!unfinished.contains(folder), "{unfinished}");
}

#[tokio::test]
async fn an_upload_in_parts_whose_end_was_lost_is_looked_for() {
    let (proxy, bucket, opened) = behind_a_proxy(1).await;
    proxy.next("?uploadId=", Fate::Lose, 1);
    // Sent again it is told of an upload that is gone, or of its own object, where the server knows the condition.
    opened
        .site
        .put_pack(&name("v/packs/1"), body(20 << 20))
        .await
        .unwrap();
    let found = opened.site.head(&name("v/packs/1")).await.unwrap();
    assert_eq!(found.unwrap().size, 20 << 20);
    let unfinished = bucket
        .request(Method::GET, "", &[("uploads", "")], "")
        .await;
    let folder = opened.site.url().split(['/', '?']).nth(3).unwrap();
    assert!(!unfinished.contains(folder), "{unfinished}");

    let (proxy, _, opened) = behind_a_proxy(0).await;
    proxy.next(
        "?uploadId=",
        Fate::Say(200, "<Error><Code>InvalidPart</Code></Error>"),
        1,
    );
    let error = opened
        .site
        .put_pack(&name("v/packs/1"), body(20 << 20))
        .await
        .unwrap_err();
    assert!(!error.is_determinate(), "{error}");
    assert!(error.to_string().contains("InvalidPart"), "{error}");
    assert_eq!(opened.site.head(&name("v/packs/1")).await.unwrap(), None);
}
