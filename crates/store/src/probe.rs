//! Proves that a site creates atomically, before anybody writes to it.
//!
//! The log's safety rests on one property: of all who create an object, one succeeds, and the others are told so.
//! Several common S3 servers answer success and overwrite, and one lets all racers win. So a site is asked each
//! time it is opened for writing: one create over an object that is there, then rounds of racers, whose stored bytes
//! must be the single winner's.
//!
//! All of it happens below `holdfast-probe/`, under random names, and is deleted, whatever comes out. It tells a
//! server that lacks the property from one that has it; it cannot prove that a server always has it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed};
use tokio::sync::Barrier;

use crate::error::{Error, Kind, Result};
use crate::site::{Opened, Put, Site};

/// Rounds of racers.
const ROUNDS: usize = 16;

/// Racers of one round, each in a request of its own.
const RACERS: u64 = 8;

/// Rounds without a winner that are put up with; those are answered "exists" for a racer's own write, sent twice.
const INCONCLUSIVE_MAX: usize = 4;

/// Scratch objects of a probe that died are left to the living for this long.
const DEBRIS_AGE: Duration = Duration::from_secs(24 * 3600);

/// Everything that a probe makes starts with this.
const PREFIX: &str = "holdfast-probe/";

/// Probes a site that was probed before in this process: whether it answers, takes a create, and refuses a second one.
pub(crate) async fn prove_again(context: &Context, opened: &Opened) -> Result<()> {
    let name = ObjectName::probe(&format!("{}-again", scratch_id(context)))
        .map_err(|error| Error::new(Kind::Bug, "probing a site", error.to_string()))?;
    let found = create_over(&opened.site, &name).await;
    let swept = opened.sweeper.delete(&name).await;
    found?;
    swept.map(drop)
}

fn scratch_id(context: &Context) -> String {
    let random = context.random::<16>();
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Probes a site. Leaves nothing behind, and on success tells nothing but that.
pub async fn probe(context: &Context, opened: &Opened) -> Result<()> {
    let id = scratch_id(context);
    let mut made = Vec::new();
    let found = rounds(context, &opened.site, &id, &mut made).await;
    let swept = join_all(made.iter().map(|name| opened.sweeper.delete(name))).await;
    found?;
    swept.into_iter().collect::<Result<()>>()?;
    sweep_debris(context, opened).await
}

async fn rounds(
    context: &Context,
    site: &Arc<dyn Site>,
    id: &str,
    made: &mut Vec<ObjectName>,
) -> Result<()> {
    let mut name = |round: &str| -> Result<ObjectName> {
        let name = ObjectName::probe(&format!("{id}-{round}"))
            .map_err(|error| Error::new(Kind::Bug, "probing a site", error.to_string()))?;
        made.push(name.clone());
        Ok(name)
    };
    create_over(site, &name("over")?).await?;
    let (mut round, mut inconclusive) = (0, 0);
    while round < ROUNDS {
        if race(
            context,
            site,
            &name(&format!("race-{}", round + inconclusive))?,
        )
        .await?
        {
            round += 1;
        } else if inconclusive < INCONCLUSIVE_MAX {
            inconclusive += 1;
        } else {
            return Err(Error::new(
                Kind::Retry,
                format!("probing site {}", site.name()),
                "of racing creates none was answered with success, several times",
            ));
        }
    }
    Ok(())
}

/// One create over an object that is there.
async fn create_over(site: &Arc<dyn Site>, name: &ObjectName) -> Result<()> {
    let (first, second) = (Sealed::probe(0), Sealed::probe(1));
    // Whether this says created or, having been sent twice, exists: it is there now.
    site.put_new(name, first.clone()).await?;
    let answer = site.put_new(name, second.clone()).await?;
    let stored = site.get(name).await?;
    if answer == Put::Exists && stored.as_ref() == Some(&first.to_bytes()) {
        return Ok(());
    }
    let did = match (answer, stored) {
        (Put::Created, Some(bytes)) if bytes == second.to_bytes() => {
            "it answered success to a second create of the same object and replaced it"
        }
        (Put::Created, Some(_)) => {
            "it answered success to a second create of the same object, although it kept the first"
        }
        (Put::Exists, Some(_)) => {
            "it refused a second create of the same object and replaced it all the same"
        }
        (_, None) => "an object that it had answered for could not be read back",
    };
    Err(refused(site, did))
}

/// One round of racers. False: nobody was told that they won, which proves nothing.
async fn race(context: &Context, site: &Arc<dyn Site>, name: &ObjectName) -> Result<bool> {
    // RACERS is a small constant.
    let start = Arc::new(Barrier::new(RACERS as usize));
    let racers = (0..RACERS).map(|racer| {
        let (site, name, start) = (Arc::clone(site), name.clone(), Arc::clone(&start));
        context.spawn(async move {
            start.wait().await;
            site.put_new(&name, Sealed::probe(racer)).await
        })
    });
    let mut winners = Vec::new();
    for (racer, task) in join_all(racers).await.into_iter().enumerate() {
        let answer =
            task.map_err(|error| Error::new(Kind::Bug, "probing a site", error.to_string()))?;
        match answer {
            Ok(Put::Created) => winners.push(Sealed::probe(racer as u64).to_bytes()),
            Ok(Put::Exists) => {}
            // A conflict or a busy server: that racer has not won, and the others decide.
            Err(error) if error.kind() == Kind::Retry && error.is_determinate() => {}
            Err(error) => return Err(error),
        }
    }
    let stored = site.get(name).await?;
    match (winners.as_slice(), stored) {
        ([winner], Some(bytes)) if *winner == bytes => Ok(true),
        ([_], Some(_)) => Err(refused(
            site,
            "of racing creates it told one that it won and stored another's bytes",
        )),
        ([_], None) => Err(refused(
            site,
            "an object that it had answered for could not be read back",
        )),
        ([], _) => Ok(false),
        (several, _) => Err(refused(
            site,
            &format!(
                "it answered success to {} of {RACERS} racing creates of the same object",
                several.len()
            ),
        )),
    }
}

fn refused(site: &Arc<dyn Site>, did: &str) -> Error {
    Error::new(
        Kind::Refused,
        format!("probing site {} at {}", site.name(), site.url()),
        format!(
            "the server does not create atomically: {did}; two coordinators could each believe that the vault is \
             theirs, and what one of them has acknowledged would be lost"
        ),
    )
    .next(
        "use a server that is known to work: Amazon S3, Ceph RGW with a bucket that keeps no versions (with versions \
         it overwrites), or a local folder with file:; garage, rclone serve s3, s3rver and s3s-fs are known not to",
    )
}

/// Deletes what probes that died have left. Not what may be a living one's: taking an object from under its race
/// would make a good server look bad.
async fn sweep_debris(context: &Context, opened: &Opened) -> Result<()> {
    let now = opened
        .site
        .now_hint_millis()
        .unwrap_or_else(|| context.now_millis());
    let age = i64::try_from(DEBRIS_AGE.as_millis()).unwrap_or(i64::MAX);
    for debris in opened.site.list(PREFIX, None).await? {
        if now.saturating_sub(debris.modified_millis) > age {
            opened.sweeper.delete(&debris.name).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use holdfast_format::SiteName;

    use super::*;
    use crate::memory::MemorySite;

    #[tokio::test]
    async fn a_good_site_passes_and_is_left_as_it_was() {
        let context = Context::system();
        let memory = MemorySite::create(&context, SiteName::new("m").unwrap(), "probe-good");
        let memory = Arc::new(memory);
        let opened = Opened {
            site: memory.clone(),
            sweeper: memory,
        };
        probe(&context, &opened).await.unwrap();
        assert_eq!(opened.site.list("", None).await.unwrap(), []);
        let counters = opened.site.counters();
        assert!(counters.puts >= 2 + 16 * 8, "{counters:?}");
    }
}
