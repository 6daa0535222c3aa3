//! What only an S3 server can do: lose its bucket, keep versions, not answer.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

mod servers;

use std::time::Duration;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed};
use holdfast_store::{
    Error, Kind, Put, SiteOptions, SiteReader, open_for_reading, open_for_writing,
};
use object_store::signer::Method;

use servers::{Bucket, fresh, site};

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn body(text: &str) -> Sealed {
    Sealed::copied(Bytes::copy_from_slice(text.as_bytes()))
}

async fn reader(url: &str, options: &SiteOptions) -> std::sync::Arc<dyn SiteReader> {
    open_for_reading(&Context::system(), site(), url, options)
        .await
        .unwrap()
}

/// Every way to ask fails alike, and none says that something is absent.
async fn assert_unknown(reader: &dyn SiteReader, kind: Kind) -> Error {
    let object = name("v/log/1");
    let errors = [
        reader.get(&object).await.map(|_| ()),
        reader.get_range(&object, 0..1).await.map(|_| ()),
        reader.get_range(&object, 1..1).await.map(|_| ()),
        reader.head(&object).await.map(|_| ()),
        reader.list("v/", None).await.map(|_| ()),
        reader.list_folders("").await.map(|_| ()),
    ];
    let mut last = None;
    for (index, error) in errors.into_iter().enumerate() {
        let error = error.expect_err(&format!("operation {index} fails"));
        assert_eq!(error.kind(), kind, "{index}: {error}");
        assert!(error.is_determinate(), "{index}: {error}");
        last = Some(error);
    }
    last.unwrap()
}

#[tokio::test]
async fn a_bucket_that_is_gone_is_not_a_bucket_without_the_object() {
    for (bucket, options) in [
        (Bucket::of_server(), Bucket::of_server().options()),
        (Bucket::of_moto("holdfast-s3").await, SiteOptions::default()),
    ] {
        let options = SiteOptions {
            credentials_file: bucket.options().credentials_file,
            ..options
        };
        let url = bucket
            .url("x")
            .replace("s3://holdfast", "s3://no-such-holdfast");
        let error = assert_unknown(&*reader(&url, &options).await, Kind::Invalid).await;
        assert!(error.to_string().contains("NoSuchBucket"), "{error}");
        let error = open_for_writing(&Context::system(), site(), &url, &options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_not_a_server_without_the_object() {
    let bucket = Bucket::of_server();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("s3://b/x?endpoint=http://{free}&profile=test");
    let options = SiteOptions {
        retries_max: 1,
        ..bucket.options()
    };
    let error = assert_unknown(&*reader(&url, &options).await, Kind::Retry).await;
    assert!(error.to_string().contains("no connection"), "{error}");
    let error = open_for_writing(&Context::system(), site(), &url, &options)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_determinate()),
        (Kind::Retry, true),
        "it was never sent"
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_and_a_write_there_is_indeterminate() {
    let bucket = Bucket::of_server();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "s3://b/x?endpoint=http://{}&profile=test",
        silent.local_addr().unwrap()
    );
    let options = SiteOptions {
        answer_timeout: Duration::from_millis(100),
        retries_max: 0,
        ..bucket.options()
    };
    let error = assert_unknown(&*reader(&url, &options).await, Kind::Retry).await;
    assert!(error.to_string().contains("in time"), "{error}");
    let error = open_for_writing(&Context::system(), site(), &url, &options)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_determinate()),
        (Kind::Retry, false),
        "it may have landed"
    );
    drop(silent);
}

#[tokio::test]
async fn wrong_keys_are_denied_and_never_shown() {
    let bucket = Bucket::of_server();
    let url = bucket.url("x");
    let file = bucket.options().credentials_file.unwrap();
    for (key, secret) in [
        (servers::given("HOLDFAST_TEST_S3_ACCESS_KEY"), "hunter2"),
        ("nobody".into(), "hunter2"),
    ] {
        std::fs::write(
            &file,
            format!("[test]\naws_access_key_id={key}\naws_secret_access_key={secret}\n"),
        )
        .unwrap();
        let error = assert_unknown(&*reader(&url, &bucket.options()).await, Kind::Denied).await;
        let mut text = format!("{error} {error:?}");
        let write = open_for_writing(&Context::system(), site(), &url, &bucket.options())
            .await
            .unwrap_err();
        assert_eq!((write.kind(), write.is_determinate()), (Kind::Denied, true));
        text.push_str(&format!("{write} {write:?}"));
        for never in [
            "hunter2",
            "Signature=",
            "AWS4-HMAC",
            "AWSAccessKeyId",
            "StringToSign",
        ] {
            assert!(!text.contains(never), "{never} in {text}");
        }
    }
}

#[tokio::test]
async fn the_servers_clock_is_known_once_it_has_answered() {
    let bucket = Bucket::of_server();
    let context = Context::system();
    let opened = bucket.open(&context, &bucket.options()).await;
    let apart = (opened.site.now_hint_millis().unwrap() - context.now_millis()).abs();
    assert!(apart < 5_000, "{apart} ms");
    assert_eq!(opened.site.space().unwrap(), None);
}

#[tokio::test]
async fn probing_leaves_nothing_behind() {
    let bucket = Bucket::of_server();
    let opened = bucket.open(&Context::system(), &bucket.options()).await;
    assert_eq!(opened.site.list("", None).await.unwrap(), []);
    let spent = opened.site.counters();
    assert!(spent.puts >= 130 && spent.failures == 0, "{spent:?}");
}

#[tokio::test]
async fn deleting_takes_all_versions() {
    let bucket = Bucket::of_moto("holdfast-versions").await;
    let enabled = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                   <Status>Enabled</Status></VersioningConfiguration>";
    bucket
        .request(Method::PUT, "", &[("versioning", "")], enabled)
        .await;
    let context = Context::system();
    let folder = fresh(&context);
    let url = bucket.url(&folder);
    let opened = open_for_writing(&context, site(), &url, &bucket.options())
        .await
        .unwrap();
    let versions = async || {
        let query = [("versions", ""), ("prefix", folder.as_str())];
        let page = bucket.request(Method::GET, "", &query, "").await;
        assert!(page.contains("<ListVersionsResult"), "{page}");
        page.matches("<VersionId>").count()
    };
    assert_eq!(versions().await, 0, "the probe took all of its own away");

    opened
        .site
        .put_new(&name("v/1"), body("one"))
        .await
        .unwrap();
    opened
        .site
        .put_new(&name("v/10"), body("ten"))
        .await
        .unwrap();
    // Somebody writes over it by hand, and deletes it by hand: it is hidden, not gone.
    let key = format!("{folder}/v/1");
    bucket.request(Method::PUT, &key, &[], "other").await;
    bucket.request(Method::DELETE, &key, &[], "").await;
    assert_eq!(opened.site.get(&name("v/1")).await.unwrap(), None);
    assert_eq!(
        versions().await,
        4,
        "two versions, a marker, and the neighbour"
    );
    opened.sweeper.delete(&name("v/1")).await.unwrap();
    assert_eq!(
        versions().await,
        1,
        "the neighbour, whose name starts alike, stays"
    );
    opened.sweeper.delete(&name("v/1")).await.unwrap();
    opened.sweeper.delete(&name("v/10")).await.unwrap();
    assert_eq!(versions().await, 0);
}

#[tokio::test]
async fn a_pack_in_parts_can_be_written_again() {
    let bucket = Bucket::of_moto("holdfast-uploads").await;
    let opened = bucket.open(&Context::system(), &bucket.options()).await;
    let large = Sealed::copied(Bytes::from(vec![1; 20 << 20]));
    // As a replicator does that was interrupted. This server knows the condition at an upload's end.
    for expected in [Put::Created, Put::Exists] {
        assert_eq!(
            opened
                .site
                .put_pack(&name("v/packs/1"), large.clone())
                .await
                .unwrap(),
            expected
        );
    }
    let unfinished = bucket
        .request(Method::GET, "", &[("uploads", "")], "")
        .await;
    assert!(unfinished.contains("<ListMultipartUploadsResult"));
    assert!(!unfinished.contains("<UploadId>"), "{unfinished}");
    let repaired = Sealed::copied(Bytes::from(vec![2; 20 << 20]));
    opened
        .sweeper
        .replace_damaged(&name("v/packs/1"), repaired)
        .await
        .unwrap();
    let stored = opened.site.get(&name("v/packs/1")).await.unwrap().unwrap();
    assert!(stored.iter().all(|byte| *byte == 2), "a repair replaces");
    assert_eq!(
        opened
            .site
            .head(&name("v/packs/1"))
            .await
            .unwrap()
            .unwrap()
            .size,
        20 << 20
    );
}
