//! Limits of a site on a real server: what waits, and what does not.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

mod servers;

use std::sync::Arc;

use futures::future::join_all;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed};
use holdfast_store::{Kind, Put, SiteOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use servers::{Bucket, site};

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn body(bytes: usize) -> Sealed {
    let content: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
    Sealed::copied(content.into())
}

#[tokio::test]
async fn the_log_goes_ahead_of_packs_in_both_directions() {
    let bucket = Bucket::of_server();
    let context = Context::system();
    let quick = bucket.open(&context, &bucket.options()).await;
    let pack = name("v/packs/00000000000000000001-a/0000000001");
    quick.site.put_pack(&pack, body(4 << 20)).await.unwrap();
    // Four minutes for one pack: whatever happens before that has not waited for it.
    let url = format!(
        "{}&upload_max=16KiB/s&download_max=16KiB/s&requests_max=2",
        quick.site.url()
    );
    let slow = holdfast_store::open_for_writing(&context, site(), &url, &bucket.options())
        .await
        .unwrap();
    let packs: Vec<_> = (2..6)
        .map(|n| {
            let (site, name) = (
                Arc::clone(&slow.site),
                name(&format!("v/packs/00000000000000000001-a/000000000{n}")),
            );
            context.spawn(async move { site.put_pack(&name, body(4 << 20)).await.map(drop) })
        })
        .collect();
    let reading = {
        let (site, pack) = (Arc::clone(&slow.site), pack.clone());
        context.spawn(async move { site.get(&pack).await.map(drop) })
    };
    for n in 0..20 {
        let record = name(&format!("v/log/{n}"));
        let put = slow.site.put_new(&record, body(1000)).await.unwrap();
        assert_eq!(put, Put::Created);
        let read = slow.site.get(&record).await.unwrap().unwrap();
        assert_eq!(read.len(), 1000);
        assert_eq!(slow.site.list("v/log/", None).await.unwrap().len(), n + 1);
    }
    for task in packs.iter().chain([&reading]) {
        assert!(!task.is_finished(), "packs wait");
        task.abort();
    }
}

#[tokio::test]
async fn what_goes_in_pieces_arrives_whole() {
    let bucket = Bucket::of_server();
    let context = Context::system();
    let limits = "&upload_max=64MiB/s&download_max=64MiB/s";
    let opened = bucket.open_with(&context, &bucket.options(), limits).await;
    // In one request, and in parts; both in pieces.
    for bytes in [0, 1, (64 << 10) + 1, 3 << 20, (17 << 20) + 3] {
        let pack = name(&format!("v/packs/00000000000000000001-b/{bytes}"));
        let content = body(bytes);
        opened.site.put_pack(&pack, content.clone()).await.unwrap();
        let stored = opened.site.get(&pack).await.unwrap().unwrap();
        assert!(stored == content.to_bytes(), "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_pack_that_two_write_goes_once() {
    let bucket = Bucket::of_server();
    let opened = bucket.open(&Context::system(), &bucket.options()).await;
    for bytes in [1 << 20, (17 << 20) + 3] {
        let pack = name(&format!("v/packs/00000000000000000001-c/{bytes}"));
        let before = opened.site.counters();
        let both = join_all((0..2).map(|_| opened.site.put_pack(&pack, body(bytes)))).await;
        let both: Vec<_> = both.into_iter().map(Result::unwrap).collect();
        assert_eq!(both, [Put::Created, Put::Exists]);
        let spent = opened.site.counters().since(&before);
        assert_eq!(spent.bytes_written, bytes as u64);
    }
}

/// A server that refuses everything, and counts.
async fn overloaded(context: &Context) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (within, counted) = (context.clone(), Arc::clone(&count));
    context.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            within.spawn(async move {
                let mut buffer = [0; 4096];
                // The head of a request without a body fits.
                while client.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let answer = "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n";
                    if client.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (endpoint, count)
}

#[tokio::test]
async fn a_server_that_is_overloaded_is_not_asked_five_times_as_much() {
    let context = Context::system();
    let (endpoint, count) = overloaded(&context).await;
    let bucket = Bucket::of_server().through(&endpoint);
    let reader = holdfast_store::open_for_reading(
        &context,
        site(),
        &bucket.url("x"),
        &SiteOptions {
            retries_max: 4,
            ..bucket.options()
        },
    )
    .await
    .unwrap();
    let asked = 400;
    let names: Vec<_> = (0..asked).map(|n| name(&format!("v/log/{n}"))).collect();
    let answers = join_all(names.iter().map(|name| reader.get(name))).await;
    let mut spent = 0;
    for (name, answer) in names.iter().zip(answers) {
        let error = answer.expect_err("there is no answer");
        assert_eq!(error.kind(), Kind::Retry);
        let text = error.to_string();
        for says in [name.as_str(), "at site tested", "the server answered 503"] {
            assert!(text.contains(says), "{says:?} in {text}");
        }
        spent += usize::from(text.contains("too many requests to this site fail"));
    }
    assert!(spent > 0, "the budget ends before the attempts do");
    let sent = count.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent < asked * 5, "{sent} requests");
}

#[tokio::test]
async fn bytes_and_requests_are_counted_by_kind() {
    let bucket = Bucket::of_server();
    let opened = bucket.open(&Context::system(), &bucket.options()).await;
    let before = opened.site.counters();
    opened
        .site
        .put_new(&name("v/log/1"), body(100))
        .await
        .unwrap();
    opened.site.get(&name("v/log/1")).await.unwrap();
    opened.site.head(&name("v/log/1")).await.unwrap();
    opened.site.list("v/", None).await.unwrap();
    opened.sweeper.delete(&name("v/log/1")).await.unwrap();
    let spent = opened.site.counters().since(&before);
    assert_eq!(
        (
            spent.puts,
            spent.gets,
            spent.heads,
            spent.lists,
            spent.deletes
        ),
        (1, 1, 1, 1, 1)
    );
    assert_eq!((spent.bytes_written, spent.bytes_read), (100, 100));
    assert_eq!((spent.failures, spent.retries), (0, 0));
}
