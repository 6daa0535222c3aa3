//! What every site must do, as a suite that is run against each implementation.
//!
//! Each function is one behaviour: it opens a fresh site through a [`Factory`], asserts, and leaves nothing behind. The
//! macro [`conformance!`](crate::conformance!) makes a test of each. A failed assertion panics; these functions are
//! for tests only.
//!
//! Long because it is one suite, told from one place.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed};
use tokio::sync::Barrier;

use crate::error::Kind;
use crate::site::{ObjectInfo, Opened, Put, SiteReader};

/// Makes the sites that are tested.
#[async_trait]
pub trait Factory: Send + Sync {
    /// A site of its own for every call: empty, opened for writing.
    async fn open(&self, context: &Context) -> Opened;

    /// The site behind `url` once more, opened for reading.
    async fn open_reader(&self, context: &Context, url: &str) -> Arc<dyn SiteReader>;

    /// How many objects make more than one page.
    fn objects_many(&self) -> usize {
        1050
    }

    /// A pack that does not go in one request.
    fn pack_bytes(&self) -> usize {
        70 << 20
    }
}

/// Makes one test of each behaviour: `conformance!(memory, MemoryFactory)` gives `memory::create_only` and so on.
#[macro_export]
macro_rules! conformance {
    ($module:ident, $factory:expr) => {
        $crate::conformance!(@each $module, $factory, [
            create_only, create_race, read_your_write, ranges, heads, absent_is_an_answer, empty_object,
            list_in_name_order, list_behind_a_name, list_by_any_prefix, list_many_pages, list_folders,
            large_pack, delete_is_idempotent, damage_is_replaced, readers_see_what_writers_wrote, requests_are_counted
        ]);
    };
    (@each $module:ident, $factory:expr, [$($case:ident),*]) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $crate::conformance::$case(&$factory).await;
                }
            )*
        }
    };
}

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).expect("the suite writes proper names")
}

fn body(text: &str) -> Sealed {
    Sealed::copied(Bytes::copy_from_slice(text.as_bytes()))
}

async fn put(opened: &Opened, text: &str, content: &str) {
    let put = opened
        .site
        .put_new(&name(text), body(content))
        .await
        .expect("it can be created");
    assert_eq!(put, Put::Created, "{text} is new");
}

fn names(found: &[ObjectInfo]) -> Vec<&str> {
    found.iter().map(|info| info.name.as_str()).collect()
}

async fn list(opened: &Opened, prefix: &str) -> Vec<String> {
    let found = opened
        .site
        .list(prefix, None)
        .await
        .expect("it can be listed");
    found
        .into_iter()
        .map(|info| info.name.to_string())
        .collect()
}

async fn sweep(opened: Opened) {
    let found = opened.site.list("", None).await.expect("it can be listed");
    stream::iter(found)
        .for_each_concurrent(16, |info| {
            let sweeper = opened.sweeper.clone();
            async move { sweeper.delete(&info.name).await.expect("it can be deleted") }
        })
        .await;
    assert_eq!(list(&opened, "").await, [""; 0], "nothing is left");
}

/// A second create of the same object is told so, and changes nothing; a pack's too, where it goes in one request.
pub async fn create_only(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    put(&opened, "v/log/1", "one").await;
    for other in ["two", "one", ""] {
        let again = opened
            .site
            .put_new(&name("v/log/1"), body(other))
            .await
            .expect("it answers");
        assert_eq!(again, Put::Exists);
    }
    let pack = opened
        .site
        .put_pack(&name("v/log/1"), body("three"))
        .await
        .expect("it answers");
    assert_eq!(pack, Put::Exists);
    let stored = opened.site.get(&name("v/log/1")).await.expect("it answers");
    assert_eq!(stored.as_deref(), Some(&b"one"[..]));
    sweep(opened).await;
}

/// Of 32 who create one object at once, one at most is told that it succeeded, and its bytes are there.
pub async fn create_race(factory: &dyn Factory) {
    const RACERS: usize = 32;
    let context = Context::system();
    let opened = factory.open(&context).await;
    for round in 0..8 {
        let object = name(&format!("v/log/{round}"));
        let start = Arc::new(Barrier::new(RACERS));
        let racers = (0..RACERS).map(|racer| {
            let (site, object, start) = (opened.site.clone(), object.clone(), start.clone());
            context.spawn(async move {
                start.wait().await;
                (
                    racer,
                    site.put_new(&object, body(&format!("racer {racer}"))).await,
                )
            })
        });
        let mut winners = Vec::new();
        for task in join_all(racers).await {
            match task.expect("no racer panics") {
                (racer, Ok(Put::Created)) => winners.push(racer),
                (_, Ok(Put::Exists)) => {}
                (_, Err(error)) => assert_eq!(error.kind(), Kind::Retry, "{error}"),
            }
        }
        let stored = opened
            .site
            .get(&object)
            .await
            .expect("it answers")
            .expect("it is there");
        // None is fine: the winner's request may have been sent twice and answered the second time.
        assert!(winners.len() <= 1, "round {round}: {winners:?} all won");
        if let [winner] = winners.as_slice() {
            assert_eq!(stored, format!("racer {winner}"), "round {round}");
        }
    }
    sweep(opened).await;
}

/// What was created is read, looked at and listed at once.
pub async fn read_your_write(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    for round in 0..20 {
        let (text, content) = (format!("v/log/{round:020}"), format!("record {round}"));
        put(&opened, &text, &content).await;
        let stored = opened.site.get(&name(&text)).await.expect("it answers");
        assert_eq!(stored.as_deref(), Some(content.as_bytes()));
        let info = opened
            .site
            .head(&name(&text))
            .await
            .expect("it answers")
            .expect("it is there");
        assert_eq!(info.size, content.len() as u64);
        assert_eq!(list(&opened, "v/log/").await.last(), Some(&text));
    }
    sweep(opened).await;
}

/// Ranges are exact, at the start, in the middle and at the end; behind the end they are errors, never short.
pub async fn ranges(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    let content: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
    let object = name("v/packs/1");
    opened
        .site
        .put_pack(&object, Sealed::copied(content.clone().into()))
        .await
        .expect("it is created");
    for range in [
        0..1,
        0..10_000,
        5_000..5_100,
        9_999..10_000,
        7..7,
        10_000..10_000,
    ] {
        let part = opened
            .site
            .get_range(&object, range.clone())
            .await
            .expect("it answers");
        let expected = &content[range.start as usize..range.end as usize];
        assert_eq!(part.as_deref(), Some(expected), "{range:?}");
    }
    for range in [9_999..10_001, 10_000..10_001, 20_000..20_010, 0..10_001] {
        let error = opened
            .site
            .get_range(&object, range.clone())
            .await
            .expect_err("it is too short");
        assert_eq!(error.kind(), Kind::Corrupt, "{range:?}: {error}");
    }
    for range in [0..10, 3..3] {
        let absent = opened
            .site
            .get_range(&name("v/packs/2"), range)
            .await
            .expect("it answers");
        assert_eq!(absent, None);
    }
    sweep(opened).await;
}

/// A look and a listing agree on name, size and time.
pub async fn heads(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    put(&opened, "v/vault", "header").await;
    let info = opened
        .site
        .head(&name("v/vault"))
        .await
        .expect("it answers")
        .expect("it is there");
    assert_eq!((info.name.as_str(), info.size), ("v/vault", 6));
    let listed = opened
        .site
        .list("v/", None)
        .await
        .expect("it can be listed");
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].name, listed[0].size), (&info.name, info.size));
    let apart = (listed[0].modified_millis - info.modified_millis).abs();
    assert!(
        apart < 1000,
        "times agree to the second that HTTP gives: {apart} ms"
    );
    let now = Context::system().now_millis();
    assert!(
        (now - info.modified_millis).abs() < 60_000,
        "it was written just now: {info:?}"
    );
    sweep(opened).await;
}

/// An object that is absent is a value, also where its name is a folder's or lies below an object's.
pub async fn absent_is_an_answer(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    put(&opened, "v/log/1", "one").await;
    for text in ["v/log/2", "v/log", "v/log/1/x", "w/log/1", "w"] {
        assert_eq!(
            opened.site.get(&name(text)).await.expect("it answers"),
            None,
            "{text}"
        );
        assert_eq!(
            opened.site.head(&name(text)).await.expect("it answers"),
            None,
            "{text}"
        );
    }
    assert_eq!(list(&opened, "w/").await, [""; 0]);
    assert_eq!(
        opened.site.list_folders("w/").await.expect("it answers"),
        [""; 0]
    );
    sweep(opened).await;
}

/// An object without bytes is an object.
pub async fn empty_object(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    put(&opened, "v/empty", "").await;
    let object = name("v/empty");
    assert_eq!(
        opened.site.get(&object).await.expect("it answers"),
        Some(Bytes::new())
    );
    assert_eq!(
        opened
            .site
            .get_range(&object, 0..0)
            .await
            .expect("it answers"),
        Some(Bytes::new())
    );
    let info = opened
        .site
        .head(&object)
        .await
        .expect("it answers")
        .expect("it is there");
    assert_eq!(info.size, 0);
    let error = opened
        .site
        .get_range(&object, 0..1)
        .await
        .expect_err("it is too short");
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert_eq!(
        opened
            .site
            .put_new(&object, body("x"))
            .await
            .expect("it answers"),
        Put::Exists
    );
    sweep(opened).await;
}

/// Listings are in the order of whole names: `-` and `.` sort before `/`, which sorts before digits and letters.
pub async fn list_in_name_order(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    let sorted = [
        "v/a-b/1", "v/a.b", "v/a/1", "v/a/2", "v/a/2-/x", "v/a0/1", "v/aa", "v/b", "w/a",
    ];
    for text in sorted.iter().rev() {
        put(&opened, text, text).await;
    }
    assert_eq!(list(&opened, "").await, sorted);
    assert_eq!(list(&opened, "v/a/").await, sorted[2..5]);
    sweep(opened).await;
}

/// A listing behind a name begins with the next one, whether that name is there or not.
pub async fn list_behind_a_name(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    let all: Vec<String> = (0..5)
        .flat_map(|e| (0..4).map(move |n| format!("v/log/{e}/{n}")))
        .collect();
    for text in &all {
        put(&opened, text, text).await;
    }
    for (after, expected) in [
        ("v/log/0/0", &all[1..]),
        ("v/log/2/3", &all[12..]),
        ("v/log/2/31", &all[12..]),
        ("v/log/2", &all[8..]),
        ("v/log/4/3", &[]),
        ("w", &[]),
        ("a", &all[..]),
    ] {
        let found = opened
            .site
            .list("v/log/", Some(&name(after)))
            .await
            .expect("it can be listed");
        assert_eq!(names(&found), expected, "after {after}");
    }
    let found = opened
        .site
        .list("v/log/3/", Some(&name("v/log/3/1")))
        .await
        .expect("it can be listed");
    assert_eq!(names(&found), &all[14..16]);
    sweep(opened).await;
}

/// A prefix is text: it need not end where a folder does.
pub async fn list_by_any_prefix(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    for text in [
        "v/checkpoints/0001-1",
        "v/checkpoints/0001-2",
        "v/checkpoints/0002-1",
        "v/vault",
        "vv/vault",
    ] {
        put(&opened, text, text).await;
    }
    assert_eq!(list(&opened, "v/checkpoints/0001-").await.len(), 2);
    assert_eq!(
        list(&opened, "v/checkpoints/0002-1").await,
        ["v/checkpoints/0002-1"]
    );
    assert_eq!(list(&opened, "v/v").await, ["v/vault"]);
    assert_eq!(list(&opened, "v").await.len(), 5);
    assert_eq!(list(&opened, "v/checkpoints/0003").await, [""; 0]);
    sweep(opened).await;
}

/// A listing is complete, however many pages the server makes of it.
pub async fn list_many_pages(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    let all: Vec<String> = (0..factory.objects_many())
        .map(|n| format!("v/log/{n:020}"))
        .collect();
    stream::iter(&all)
        .for_each_concurrent(32, |text| put(&opened, text, text))
        .await;
    assert_eq!(list(&opened, "v/log/").await, all);
    let middle = all.len() / 2;
    let found = opened
        .site
        .list("v/", Some(&name(&all[middle])))
        .await
        .expect("it can be listed");
    assert_eq!(names(&found), &all[middle + 1..]);
    sweep(opened).await;
}

/// Folders are those that hold something, in order, one level deep.
pub async fn list_folders(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    assert_eq!(
        opened.site.list_folders("").await.expect("it answers"),
        [""; 0]
    );
    for text in [
        "v/log/2/0",
        "v/log/1/0",
        "v/log/1/1",
        "v/log/x",
        "v/vault",
        "w/vault",
    ] {
        put(&opened, text, text).await;
    }
    let folders = async |prefix: &str| opened.site.list_folders(prefix).await.expect("it answers");
    assert_eq!(folders("").await, ["v", "w"]);
    assert_eq!(folders("v/").await, ["log"]);
    assert_eq!(folders("v/log/").await, ["1", "2"]);
    assert_eq!(folders("v/log/1/").await, [""; 0]);
    opened
        .sweeper
        .delete(&name("v/log/2/0"))
        .await
        .expect("it can be deleted");
    assert_eq!(folders("v/log/").await, ["1"]);
    sweep(opened).await;
}

/// A pack that goes in several parts comes back whole.
pub async fn large_pack(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    let size = factory.pack_bytes();
    let mut content: Vec<u8> = Vec::with_capacity(size + 8);
    while content.len() < size {
        content.extend_from_slice(
            &(content.len() as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_le_bytes(),
        );
    }
    content.truncate(size);
    let content = Bytes::from(content);
    let object = name("v/packs/1/1");
    let put = opened
        .site
        .put_pack(&object, Sealed::copied(content.clone()))
        .await
        .expect("it is written");
    assert_eq!(put, Put::Created);
    let info = opened
        .site
        .head(&object)
        .await
        .expect("it answers")
        .expect("it is there");
    assert_eq!(info.size, size as u64);
    let end = size as u64;
    let tail = opened
        .site
        .get_range(&object, end - 1000..end)
        .await
        .expect("it answers");
    assert_eq!(tail.as_deref(), Some(&content[size - 1000..]));
    let whole = opened
        .site
        .get(&object)
        .await
        .expect("it answers")
        .expect("it is there");
    assert!(whole == content, "all {size} bytes come back");
    sweep(opened).await;
}

/// What was deleted is gone from everywhere; deleting it again, or what never was, is fine; its neighbours stay.
pub async fn delete_is_idempotent(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    for text in ["v/packs/1/1", "v/packs/1/10", "v/packs/1/2"] {
        put(&opened, text, text).await;
    }
    for _ in 0..2 {
        opened
            .sweeper
            .delete(&name("v/packs/1/1"))
            .await
            .expect("it can be deleted");
        assert_eq!(
            opened
                .site
                .get(&name("v/packs/1/1"))
                .await
                .expect("it answers"),
            None
        );
        assert_eq!(
            opened
                .site
                .head(&name("v/packs/1/1"))
                .await
                .expect("it answers"),
            None
        );
        assert_eq!(list(&opened, "").await, ["v/packs/1/10", "v/packs/1/2"]);
    }
    for never in ["v/packs/1/3", "v/packs/9/1", "never"] {
        opened
            .sweeper
            .delete(&name(never))
            .await
            .expect("it is fine that it is absent");
    }
    put(&opened, "v/packs/1/1", "again").await;
    sweep(opened).await;
}

/// Good bytes take the place of damaged or missing ones, small and large, and nothing else changes.
pub async fn damage_is_replaced(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    put(&opened, "v/packs/1/1", "damaged").await;
    put(&opened, "v/packs/1/2", "neighbour").await;
    let large = Bytes::from(vec![7; factory.pack_bytes() / 8]);
    for good in [Bytes::from_static(b"good"), large, Bytes::new()] {
        for target in ["v/packs/1/1", "v/packs/2/missing"] {
            opened
                .sweeper
                .replace_damaged(&name(target), Sealed::copied(good.clone()))
                .await
                .expect("it can be replaced");
            let there = opened.site.get(&name(target)).await.expect("it answers");
            assert!(there.is_some_and(|there| there == good));
        }
    }
    let neighbour = opened.site.get(&name("v/packs/1/2")).await;
    let neighbour = neighbour.expect("it answers");
    assert_eq!(neighbour.as_deref(), Some(&b"neighbour"[..]));
    assert_eq!(
        list(&opened, "").await,
        ["v/packs/1/1", "v/packs/1/2", "v/packs/2/missing"]
    );
    sweep(opened).await;
}

/// A reader has the site's name and URL, and sees what is there.
pub async fn readers_see_what_writers_wrote(factory: &dyn Factory) {
    let context = Context::system();
    let opened = factory.open(&context).await;
    put(&opened, "v/vault", "header").await;
    let reader = factory.open_reader(&context, opened.site.url()).await;
    assert_eq!(reader.url(), opened.site.url());
    let header = reader.get(&name("v/vault")).await.expect("it answers");
    assert_eq!(header.as_deref(), Some(&b"header"[..]));
    assert_eq!(reader.list_folders("").await.expect("it answers"), ["v"]);
    put(&opened, "v/log/1", "record").await;
    let found = reader.list("v/", None).await.expect("it can be listed");
    assert_eq!(names(&found), ["v/log/1", "v/vault"]);
    sweep(opened).await;
}

/// Requests and bytes are counted.
pub async fn requests_are_counted(factory: &dyn Factory) {
    let opened = factory.open(&Context::system()).await;
    let before = opened.site.counters();
    put(&opened, "v/vault", "header").await;
    opened.site.get(&name("v/vault")).await.expect("it answers");
    opened
        .site
        .get_range(&name("v/vault"), 0..2)
        .await
        .expect("it answers");
    opened
        .site
        .head(&name("v/vault"))
        .await
        .expect("it answers");
    opened.site.list("v/", None).await.expect("it answers");
    opened
        .sweeper
        .delete(&name("v/vault"))
        .await
        .expect("it answers");
    let spent = opened.site.counters().since(&before);
    assert_eq!(
        (
            spent.puts,
            spent.gets,
            spent.heads,
            spent.lists,
            spent.deletes
        ),
        (1, 2, 1, 1, 1)
    );
    assert_eq!(
        (spent.bytes_written, spent.bytes_read, spent.failures),
        (6, 8, 0)
    );
    assert_eq!(spent.requests(), 6);
    sweep(opened).await;
}
