//! `holdfast.v1.Retention`: policies, the trash, holds, collection.

use holdfast_format::HoldId;
use holdfast_format::fact::{
    Cover, HoldPlaced, HoldReleased, PolicySet, SnapshotsRecovered, SnapshotsTrashed,
};
use holdfast_policy::{Fate, Policy, Retention as Rules};
use holdfast_proto::v1;
use holdfast_proto::v1::collect_progress::Kind as Said;
use holdfast_proto::v1::place_hold_request::Cover as Asked;
use holdfast_proto::v1::retention_server::Retention;
use holdfast_vault::Proposal;
use holdfast_vault::collect::sweep::Waiting;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Service;
use super::convert::{self, Answer, answer, hold_id, session_id, source_name};
use crate::error::{Error, Result, status};
use crate::vault::collector::{Collect, Progress, Report, Work};
use crate::vault::keeper::Expire;

/// A collection that waits for a site is tried again when the condemning record stands everywhere, as far as the
/// replicators know, and after this pause in any case.
const WAIT_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

#[tonic::async_trait]
impl Retention for Service {
    type CollectStream = ReceiverStream<std::result::Result<v1::CollectProgress, Status>>;

    async fn set_policy(
        &self,
        request: Request<v1::SetPolicyRequest>,
    ) -> Answer<v1::SetPolicyResponse> {
        answer(self.policy(request.into_inner()).await)
    }

    async fn forget(&self, request: Request<v1::ForgetRequest>) -> Answer<v1::ForgetResponse> {
        answer(self.forget_snapshots(request.into_inner()).await)
    }

    async fn recover(&self, request: Request<v1::RecoverRequest>) -> Answer<v1::RecoverResponse> {
        answer(self.recover_snapshots(request.into_inner()).await)
    }

    async fn expire(&self, request: Request<v1::ExpireRequest>) -> Answer<v1::ExpireResponse> {
        answer(self.expire_now(request.into_inner()).await)
    }

    async fn place_hold(&self, request: Request<v1::PlaceHoldRequest>) -> Answer<v1::Hold> {
        answer(self.place(request.into_inner()).await)
    }

    async fn release_hold(&self, request: Request<v1::ReleaseHoldRequest>) -> Answer<v1::Hold> {
        answer(self.release(request.into_inner()).await)
    }

    async fn list_holds(
        &self,
        request: Request<v1::ListHoldsRequest>,
    ) -> Answer<v1::ListHoldsResponse> {
        let reached = self.node.reach(&request.get_ref().vault).await;
        answer(reached.map(|vault| {
            let state = vault.state();
            let holds = state
                .catalog
                .holds
                .iter()
                .map(|(id, hold)| convert::hold(id, hold))
                .collect();
            v1::ListHoldsResponse { holds }
        }))
    }

    async fn collect(
        &self,
        request: Request<v1::CollectRequest>,
    ) -> std::result::Result<Response<Self::CollectStream>, Status> {
        let (to, from) = mpsc::channel(16);
        let service = self.clone();
        let request = request.into_inner();
        // Who is to be asked elsewhere learns it before there is a stream.
        let reached = self.node.reach(&request.vault).await;
        reached.map_err(|error| status(&error))?;
        self.node.context.spawn(async move {
            if let Err(error) = service.run_collection(request, &to).await {
                let _ = to.send(Err(status(&error))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(from)))
    }
}

impl Service {
    async fn policy(&self, request: v1::SetPolicyRequest) -> Result<v1::SetPolicyResponse> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let mut warnings = Vec::new();
        if !request.text.is_empty() {
            let policy = Policy::parse(&request.text)
                .map_err(|e| Error::Invalid(format!("the policy: {e}")))?;
            warnings = policy.reserved();
        }
        vault
            .append(Proposal::Policy(PolicySet {
                text: request.text,
                who: request.who,
            }))
            .await?;
        Ok(v1::SetPolicyResponse { warnings })
    }

    async fn forget_snapshots(&self, request: v1::ForgetRequest) -> Result<v1::ForgetResponse> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let text = vault.state().catalog.policy.clone();
        let policy = match text.is_empty() {
            true => None,
            false => Some(
                Policy::parse(&text)
                    .map_err(|e| Error::Invalid(format!("the vault's policy: {e}")))?,
            ),
        };
        let mut snapshots = Vec::new();
        for bytes in &request.snapshots {
            let id = session_id(bytes)?;
            let found = vault
                .state()
                .catalog
                .snapshots
                .get(&id)
                .map(|s| s.source.clone());
            let source = found.ok_or_else(|| Error::Missing(format!("snapshot {id}")))?;
            let now = vault.state().next_time(self.node.context.now_millis());
            let rules = policy
                .as_ref()
                .map_or_else(Rules::default, |policy| policy.effective(source.as_str()));
            let until_millis = if request.purge {
                now
            } else {
                rules.trash_ends_millis(now)
            };
            let why = if request.why.is_empty() {
                "forgotten".into()
            } else {
                request.why.clone()
            };
            let fact = SnapshotsTrashed {
                snapshots: vec![id],
                why,
                who: request.who.clone(),
                until_millis,
            };
            vault.append(Proposal::Trash(fact)).await?;
            snapshots.extend(convert::snapshot(&vault, &id));
        }
        Ok(v1::ForgetResponse { snapshots })
    }

    async fn recover_snapshots(&self, request: v1::RecoverRequest) -> Result<v1::RecoverResponse> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let ids = request
            .snapshots
            .iter()
            .map(|bytes| session_id(bytes))
            .collect::<Result<Vec<_>>>()?;
        vault
            .append(Proposal::Recover(SnapshotsRecovered {
                snapshots: ids.clone(),
                who: request.who,
            }))
            .await?;
        Ok(v1::RecoverResponse {
            snapshots: ids
                .iter()
                .filter_map(|id| convert::snapshot(&vault, id))
                .collect(),
        })
    }

    async fn expire_now(&self, request: v1::ExpireRequest) -> Result<v1::ExpireResponse> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let keeper = vault
            .keeper()
            .ok_or_else(|| Error::Unavailable("the vault is still being opened".into()))?;
        let (reply, verdict) = oneshot::channel();
        let message = Expire {
            apply: request.apply,
            confirm: request.confirm,
            who: request.who,
            reply,
        };
        let gone = || Error::Fenced("this coordinator no longer owns the vault".into());
        keeper.tell(message).await.map_err(|_| gone())?;
        let verdict = verdict.await.map_err(|_| gone())??;
        let state = vault.state();
        let decisions = verdict.decisions.iter().map(|(id, decision)| {
            let snapshot = state.catalog.snapshots.get(id);
            v1::Decision {
                snapshot: id.0.to_vec().into(),
                source: snapshot.map(|s| s.source.to_string()).unwrap_or_default(),
                time_millis: snapshot.map_or(0, |s| s.time_millis),
                keep: !decision.expires(),
                reasons: match &decision.fate {
                    Fate::Keep(reasons) => reasons.iter().map(ToString::to_string).collect(),
                    Fate::Expire(reason) => vec![reason.to_string()],
                },
            }
        });
        Ok(v1::ExpireResponse {
            decisions: decisions.collect(),
            waiting: verdict.waiting,
        })
    }

    async fn place(&self, request: v1::PlaceHoldRequest) -> Result<v1::Hold> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let cover = match request.cover {
            Some(Asked::WholeVault(true)) => Cover::Vault,
            Some(Asked::Source(name)) => Cover::Source(source_name(&name)?),
            Some(Asked::Snapshot(id)) => Cover::Snapshot(session_id(&id)?),
            _ => {
                return Err(Error::Invalid(
                    "a hold covers the vault, a source or a snapshot; say which".into(),
                ));
            }
        };
        if request.why.trim().is_empty() {
            return Err(Error::Invalid("a hold needs a reason".into()));
        }
        let hold = HoldId(self.node.context.random());
        let fact = HoldPlaced {
            hold,
            cover,
            why: request.why,
            who: request.who,
            until_millis: None,
            by_restore: false,
        };
        vault.append(Proposal::Hold(fact)).await?;
        let state = vault.state();
        let placed = state
            .catalog
            .holds
            .get(&hold)
            .map(|placed| convert::hold(&hold, placed));
        placed.ok_or_else(|| Error::Bug("the hold was placed and is not there".into()))
    }

    async fn release(&self, request: v1::ReleaseHoldRequest) -> Result<v1::Hold> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let hold = hold_id(&request.hold)?;
        let before = vault
            .state()
            .catalog
            .holds
            .get(&hold)
            .map(|placed| convert::hold(&hold, placed));
        vault
            .append(Proposal::Release(HoldReleased {
                hold,
                who: request.who,
            }))
            .await?;
        before.ok_or_else(|| Error::Missing(format!("hold {hold}")))
    }

    async fn run_collection(
        &self,
        request: v1::CollectRequest,
        to: &mpsc::Sender<std::result::Result<v1::CollectProgress, Status>>,
    ) -> Result<()> {
        let unused_percent_max = request.unused_percent_max.map(percent).transpose()?;
        if request.end_sessions && request.dry_run {
            return Err(Error::Invalid(
                "a dry run changes nothing, and so ends no sessions: ask for one of both".into(),
            ));
        }
        // Planned and condemned once; after that it only waits for the sites.
        let mut what = match request.dry_run {
            true => Work::Plan,
            false => Work::All,
        };
        loop {
            let vault = self.node.reach(&request.vault).await?;
            let work = vault.work();
            let collector = vault
                .collector()
                .ok_or_else(|| Error::Unavailable("the vault is still being opened".into()))?;
            let (progress, mut said) = mpsc::channel(16);
            let (reply, done) = oneshot::channel();
            let message = Collect {
                what,
                unused_percent_max,
                end_sessions: request.end_sessions,
                who: request.who.clone(),
                progress,
                reply,
            };
            let gone = || Error::Fenced("this coordinator no longer owns the vault".into());
            collector.tell(message).await.map_err(|_| gone())?;
            while let Some(progress) = said.recv().await {
                let message = v1::CollectProgress {
                    kind: Some(wire(progress)),
                };
                to.send(Ok(message))
                    .await
                    .map_err(|_| Error::Unavailable("the client is gone".into()))?;
            }
            let done = done.await.map_err(|_| gone())??;
            if done || !request.wait {
                return Ok(());
            }
            what = Work::Sweep;
            drop(work);
            let waits = Waiting::of(&vault.state()).last();
            let condemned_everywhere = async {
                match waits.filter(|&at| !vault.is_everywhere(at)) {
                    Some(at) => vault.wait_everywhere(at).await,
                    None => std::future::pending().await,
                }
            };
            // Either way the sites themselves are asked next. An owner that is none any more waits the pause out.
            tokio::select! {
                Ok(()) = condemned_everywhere => {}
                () = tokio::time::sleep(WAIT_PAUSE) => {}
            }
        }
    }
}

fn percent(told: u32) -> Result<u8> {
    let valid = u8::try_from(told).ok().filter(|percent| *percent <= 100);
    valid.ok_or_else(|| {
        Error::Invalid(format!(
            "a share of {told} per cent of unused bytes: give 0 to 100"
        ))
    })
}

fn wire(progress: Progress) -> Said {
    let plan = |report: &Report| v1::CollectPlan {
        snapshots: report.snapshots,
        chunks: report.chunks,
        packs_condemned: report.packs_condemned,
        packs_rewritten: report.packs_rewritten,
        packs_merged: report.packs_merged,
        dead_bytes: report.dead_bytes,
        copied_bytes: report.copied_bytes,
        freed_bytes: report.freed_bytes,
        live_chunks: report.live_chunks,
        blocked: report.blocked.clone(),
    };
    match progress {
        Progress::Plan(report) => Said::Plan(plan(&report)),
        Progress::Step(what) => Said::Step(v1::CollectStep { what }),
        Progress::Waiting { site, bytes, why } => Said::Waiting(v1::CollectWaiting {
            site: site.to_string(),
            bytes,
            why,
        }),
        Progress::Done(report) => Said::Done(v1::CollectDone {
            freed_bytes: report.freed_bytes,
            packs: report.packs_condemned,
        }),
    }
}
