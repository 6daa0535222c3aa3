//! The operator: what people and their scripts ask of a coordinator, through its services.
//!
//! State: none; the model is told what was asked and what was answered. A request that fails is no failure of the history.

use std::sync::Arc;
use std::time::Duration;

use holdfast_coordinator::services::Service;
use holdfast_format::{HoldId, SnapshotId};
use holdfast_proto::v1;
use holdfast_proto::v1::collect_progress::Kind as Said;
use holdfast_proto::v1::operations_server::Operations;
use holdfast_proto::v1::place_hold_request::Cover;
use holdfast_proto::v1::retention_server::Retention;
use holdfast_proto::v1::verify_progress::Kind as Found;
use tokio_stream::StreamExt;
use tonic::{Request, Status};

use crate::route::{Route, TURNS_MAX, is_elsewhere};
use crate::world::World;

/// How long the operator waits for an answer.
const PATIENCE: Duration = Duration::from_secs(600);

/// Who is logged.
const WHO: &str = "operator";

/// Failovers that a person asked for are counted as these.
pub const BY_A_PERSON: &str = "failovers that a person asked for";

/// What came of a request.
pub type Asked<T> = Result<T, String>;

async fn within<T>(asked: impl Future<Output = Result<T, Status>>) -> Asked<T> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer".into()),
    }
}

/// Asks a coordinator, and where clients find the owner by themselves the one that it names instead.
async fn ask<T, R, F>(world: &World, request: R, ask: impl Fn(Service, Request<R>) -> F) -> Asked<T>
where
    R: Clone,
    F: Future<Output = Result<T, Status>>,
{
    let nobody = || "nobody listens".to_owned();
    if !world.follows() {
        let service = world.service(WHO).ok_or_else(nobody)?;
        return within(ask(service, Request::new(request))).await;
    }
    let route = Route::new(WHO);
    let mut turns = 0;
    loop {
        let process = route.process(world).ok_or_else(nobody)?;
        let asking = ask(process.service.clone(), Request::new(request.clone()));
        let asked = tokio::time::timeout(PATIENCE, asking);
        match asked.await {
            Ok(Ok(answer)) => return Ok(answer),
            // What may have been done is not asked again.
            Ok(Err(status)) if turns < TURNS_MAX && is_elsewhere(&status) => {
                if !route.turn(world, &status) {
                    return Err(status.message().to_owned());
                }
                turns += 1;
            }
            Ok(Err(status)) => return Err(status.message().to_owned()),
            Err(_) => return Err("no answer".into()),
        }
    }
}

/// Forgets a snapshot, without a time in the trash.
pub async fn forget(world: &Arc<World>, id: SnapshotId) -> Asked<()> {
    world.model().forget(&id);
    let request = v1::ForgetRequest {
        vault: world.vault_name(),
        snapshots: vec![id.0.to_vec().into()],
        who: WHO.into(),
        why: "simulated".into(),
        purge: true,
    };
    ask(world, request, |service, request| async move {
        service.forget(request).await
    })
    .await?;
    world.model().forgot(&id);
    Ok(())
}

/// Puts a snapshot into the trash. It has to be there until its time is over, and to the model it is as if nothing had been done.
pub async fn trash(world: &Arc<World>, id: SnapshotId) -> Asked<()> {
    let request = v1::ForgetRequest {
        vault: world.vault_name(),
        snapshots: vec![id.0.to_vec().into()],
        who: WHO.into(),
        why: "simulated".into(),
        purge: false,
    };
    ask(world, request, |service, request| async move {
        service.forget(request).await
    })
    .await
    .map(drop)
}

/// Takes a snapshot out of the trash.
pub async fn recover(world: &Arc<World>, id: SnapshotId) -> Asked<()> {
    let before = world.model().recovering(&id);
    let request = v1::RecoverRequest {
        vault: world.vault_name(),
        snapshots: vec![id.0.to_vec().into()],
        who: WHO.into(),
    };
    ask(world, request, |service, request| async move {
        service.recover(request).await
    })
    .await?;
    world.model().recover(&id, before);
    Ok(())
}

/// Places a hold on a snapshot.
pub async fn hold(world: &Arc<World>, id: SnapshotId) -> Asked<()> {
    let request = v1::PlaceHoldRequest {
        vault: world.vault_name(),
        cover: Some(Cover::Snapshot(id.0.to_vec().into())),
        why: "simulated".into(),
        who: WHO.into(),
    };
    let placed = ask(world, request, |service, request| async move {
        service.place_hold(request).await
    })
    .await?;
    let bytes = placed.into_inner().id;
    if let Ok(bytes) = <[u8; 16]>::try_from(&bytes[..]) {
        world.model().hold(HoldId(bytes), id);
    }
    Ok(())
}

/// Releases a hold.
pub async fn release(world: &Arc<World>, hold: HoldId) -> Asked<()> {
    world.model().release(&hold);
    let request = v1::ReleaseHoldRequest {
        vault: world.vault_name(),
        hold: hold.0.to_vec().into(),
        who: WHO.into(),
    };
    ask(world, request, |service, request| async move {
        service.release_hold(request).await
    })
    .await
    .map(drop)
}

/// Sets a policy that keeps the last few of each source.
pub async fn set_policy(world: &Arc<World>, last: usize) -> Asked<()> {
    world.model().keep_last(last);
    let text = format!(
        "version = 1\ntime_zone = \"UTC\"\nmin_age = \"0\"\ntrash = \"5min\"\nexpire_share_max = 1.0\n[keep]\nlast = {last}\n"
    );
    let request = v1::SetPolicyRequest {
        vault: world.vault_name(),
        text,
        who: WHO.into(),
    };
    ask(world, request, |service, request| async move {
        service.set_policy(request).await
    })
    .await
    .map(drop)
}

/// Confirms the clock.
pub async fn confirm(world: &Arc<World>) -> Asked<()> {
    let request = v1::ExpireRequest {
        vault: world.vault_name(),
        apply: true,
        confirm: true,
        who: WHO.into(),
    };
    ask(world, request, |service, request| async move {
        service.expire(request).await
    })
    .await
    .map(drop)
}

/// Collects; with `wait`, until it is done at every member. Whether it was.
pub async fn collect(world: &Arc<World>, wait: bool) -> Asked<bool> {
    let request = v1::CollectRequest {
        vault: world.vault_name(),
        dry_run: false,
        wait,
        who: WHO.into(),
        unused_percent_max: None,
        end_sessions: false,
    };
    ask(world, request, |service, request| async move {
        let mut said = service.collect(request).await?.into_inner();
        let mut done = false;
        while let Some(one) = said.next().await {
            let kind = one?.kind;
            if let Some(Said::Step(step)) = &kind {
                tracing::info!(what = step.what, "collect");
            }
            done |= matches!(kind, Some(Said::Done(_)));
        }
        Ok(done)
    })
    .await
}

/// Verifies every object at every site, and repairs. How much was found and how much of it repaired.
pub async fn verify(world: &Arc<World>, repair: bool) -> Asked<(u64, u64, Vec<String>)> {
    let request = v1::VerifyRequest {
        vault: world.vault_name(),
        site: String::new(),
        read_data: true,
        sample_percent: 0.0,
        repair,
        send_data: false,
    };
    ask(world, request, |service, request| async move {
        let mut said = service.verify(request).await?.into_inner();
        let (mut findings, mut repaired, mut open) = (0, 0, Vec::new());
        while let Some(one) = said.next().await {
            match one?.kind {
                Some(Found::Done(done)) => (findings, repaired) = (done.findings, done.repaired),
                Some(Found::Finding(found)) if !found.repaired => {
                    open.push(format!("{} {}: {}", found.site, found.object, found.what));
                }
                _ => {}
            }
        }
        Ok((findings, repaired, open))
    })
    .await
}

/// Fails over to a site.
pub async fn fail_over(world: &Arc<World>, to: &str, accept_loss: bool) -> Asked<()> {
    world.trace.count(BY_A_PERSON);
    let request = v1::FailoverRequest {
        vault: world.vault_name(),
        to: to.into(),
        accept_loss,
        plan_only: false,
        who: WHO.into(),
    };
    ask(world, request, |service, request| async move {
        service.failover(request).await
    })
    .await
    .map(drop)
}

/// Brings back what was left behind: one site, or all.
pub async fn fail_back(world: &Arc<World>, site: &str) -> Asked<u64> {
    let request = v1::FailbackRequest {
        vault: world.vault_name(),
        site: site.into(),
        make_primary: false,
        who: WHO.into(),
    };
    let answer = ask(world, request, |service, request| async move {
        service.failback(request).await
    })
    .await?;
    Ok(answer.into_inner().snapshots_salvaged)
}

/// Fails over every vault that has a site: what it would leave behind is asked first, and only what was to be expected is done.
///
/// There is one vault. A command that was ended half-way is given again.
pub async fn fail_over_all(world: &Arc<World>, to: &str, accept_loss: bool) -> Asked<()> {
    world.trace.count(BY_A_PERSON);
    let request = |plan_only: bool| v1::FailoverRequest {
        vault: world.vault_name(),
        to: to.into(),
        accept_loss: accept_loss && !plan_only,
        plan_only,
        who: WHO.into(),
    };
    let looking = ask(world, request(true), |service, request| async move {
        service.failover(request).await
    });
    let plan = looking.await?.into_inner();
    let loses_nothing = plan.loss_known_none && plan.target_lacks.is_empty();
    if !accept_loss && !loses_nothing {
        return Err("something would be left behind".into());
    }
    let moving = ask(world, request(false), |service, request| async move {
        service.failover(request).await
    });
    moving.await.map(drop)
}

/// Lets the vault be moved without a person.
pub async fn let_move(world: &Arc<World>, accept_loss: Duration) -> Asked<()> {
    let text = format!(
        "version = 1\n[failover]\nafter = \"30s\"\naccept_loss = \"{}s\"\n",
        accept_loss.as_secs()
    );
    let request = v1::SetPolicyRequest {
        vault: world.vault_name(),
        text,
        who: WHO.into(),
    };
    ask(world, request, |service, request| async move {
        service.set_policy(request).await
    })
    .await
    .map(drop)
}

/// Has placement made again from the sites. What is left to do, for people.
pub async fn rebuild_placement(world: &Arc<World>) -> Asked<Vec<String>> {
    let request = v1::RebuildPlacementRequest { who: WHO.into() };
    let rebuilt = ask(world, request, |service, request| async move {
        service.rebuild_placement(request).await
    });
    let lines = rebuilt.await?.into_inner().vaults.into_iter();
    let troubles = lines.map(|line| line.trouble);
    Ok(troubles.filter(|trouble| !trouble.is_empty()).collect())
}
