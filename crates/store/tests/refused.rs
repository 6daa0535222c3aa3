//! Servers that do not create atomically are refused when a site is opened for writing, and nothing stays there.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

mod servers;

use holdfast_context::Context;
use holdfast_store::{Kind, open_for_reading, open_for_writing};

use servers::{Bucket, fresh, site};

async fn check(variable: &str) {
    let (context, bucket) = (Context::system(), Bucket::of_careless(variable));
    let url = bucket.url(&fresh(&context));
    let error = open_for_writing(&context, site(), &url, &bucket.options())
        .await
        .expect_err("it is refused");
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    let text = error.to_string();
    for says in [
        "probing site tested at s3://",
        "does not create atomically: it answered success to a second create of the same object",
        "use a server that is known to work",
    ] {
        assert!(text.contains(says), "{says:?} in {text}");
    }
    // What was written there by other means can be read all the same.
    let reader = open_for_reading(&context, site(), &url, &bucket.options())
        .await
        .unwrap();
    let left = reader.list("", None).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn rclone_is_refused() {
    check("HOLDFAST_TEST_RCLONE").await;
}

#[tokio::test]
async fn s3rver_is_refused() {
    check("HOLDFAST_TEST_S3RVER").await;
}
