//! `holdfast.v1.Operations`: status, failover, failback, verification without keys.

use holdfast_format::SiteName;
use holdfast_proto::v1;
use holdfast_proto::v1::operations_server::Operations;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::{self, Answer, answer, site_name};
use super::{Service, verification};
use crate::error::{Error, Result, status};
use crate::failover::{self, Accepted};
use crate::node::Slot;
use crate::repair;
use crate::salvage::{Emptied, Salvaged};
use crate::vault::Vault;
use crate::vault::collector::BringBack;

/// What a verification says waits for the client to take it: frames of up to some MiB may be among it.
const VERIFY_ANSWERS_MAX: usize = 8;

#[tonic::async_trait]
impl Operations for Service {
    type VerifyStream = ReceiverStream<std::result::Result<v1::VerifyProgress, Status>>;

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        // A placement store that does not answer hides nothing of what is known here, and is told of.
        let asked = self.node.placement.coordinators();
        let (asked, vaults) = tokio::join!(
            tokio::time::timeout(convert::PLACEMENT_WAIT, asked),
            convert::vaults(&self.node)
        );
        let (vaults, trouble) = vaults;
        let (coordinators, placement_trouble) = match asked {
            Ok(Ok(coordinators)) => (coordinators, trouble),
            Ok(Err(error)) => (Vec::new(), error.to_string()),
            Err(_) => (Vec::new(), convert::no_answer()),
        };
        answer(Ok(v1::StatusResponse {
            coordinator: self.node.options.name.clone(),
            version: self.node.options.version.clone(),
            started_millis: self.node.started_millis,
            now_millis: self.node.context.now_millis(),
            placement: self.node.options.placement.clone(),
            vaults,
            placement_trouble,
            coordinators: coordinators
                .into_iter()
                .map(|one| v1::Coordinator {
                    name: one.name,
                    addresses: one.addresses,
                    started_millis: one.started_millis,
                })
                .collect(),
            invariants_broken: holdfast_vault::invariant::breaches(),
        }))
    }

    async fn failover(
        &self,
        request: Request<v1::FailoverRequest>,
    ) -> Answer<v1::FailoverResponse> {
        let request = request.into_inner();
        let work = |service: Self| async move { service.fail_over(request).await };
        answer(self.to_its_end(work).await)
    }

    async fn failback(
        &self,
        request: Request<v1::FailbackRequest>,
    ) -> Answer<v1::FailbackResponse> {
        let request = request.into_inner();
        let work = |service: Self| async move { service.fail_back(request).await };
        answer(self.to_its_end(work).await)
    }

    async fn rebuild_placement(
        &self,
        request: Request<v1::RebuildPlacementRequest>,
    ) -> Answer<v1::RebuildPlacementResponse> {
        let who = request.into_inner().who;
        let work = |service: Self| async move {
            tracing::warn!(who, "the placement store is rebuilt from the sites");
            service.node.rebuild_placement().await
        };
        let rebuilt = self.to_its_end(work).await;
        answer(rebuilt.map(|vaults| v1::RebuildPlacementResponse {
            vaults: vaults.into_iter().map(convert::rebuilt).collect(),
        }))
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> std::result::Result<Response<Self::VerifyStream>, Status> {
        let (to, from) = mpsc::channel(VERIFY_ANSWERS_MAX);
        let service = self.clone();
        let request = request.into_inner();
        // Who is to be asked elsewhere learns it before there is a stream.
        let reached = self.node.reach(&request.vault).await;
        reached.map_err(|error| status(&error))?;
        self.node.context.spawn(async move {
            if let Err(error) = verification::run(&service.node, request, &to).await {
                let _ = to.send(Err(status(&error))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(from)))
    }
}

impl Service {
    async fn fail_over(&self, request: v1::FailoverRequest) -> Result<v1::FailoverResponse> {
        let slot = self.node.reach_slot(&request.vault).await?;
        let to = site_name(&request.to)?;
        let mut plan = failover::plan(&self.node, &slot, &to).await?;
        // What the sites hold between them need not be left behind.
        if plan.is_damaged && !request.plan_only && self.node.mend_logs(&slot.header).await? > 0 {
            plan = failover::plan(&self.node, &slot, &to).await?;
        }
        // Whoever accepts a loss is not kept waiting for the lists of a large vault.
        let target_lacks = match request.accept_loss || plan.from == to {
            true => String::new(),
            false => failover::lacks(&self.node, slot.header.vault, &to, &plan).await?,
        };
        let mut response = v1::FailoverResponse {
            from: plan.from.to_string(),
            to: to.to_string(),
            drained: plan.primary_answers,
            left_behind: plan.left_behind.clone(),
            loss_known_none: plan.loses_nothing,
            done: false,
            vault: None,
            target_lacks: target_lacks.clone(),
        };
        if request.plan_only {
            return Ok(response);
        }
        check_copy(&slot, &to, &target_lacks)?;
        if !plan.loses_nothing && !request.accept_loss {
            return Err(Error::Invalid(format!(
                "site {} {}, and what would be left behind there is not known to be nothing: {}. Bring it \
                 back, or go on without it with --accept-loss; what it holds comes back with `holdfast failback`",
                plan.from, plan.why_not, plan.left_behind
            )));
        }
        let accepted = match request.accept_loss {
            true => Accepted::Anything,
            false => Accepted::Nothing,
        };
        let vault = failover::carry_out(&self.node, &slot, &to, &plan, accepted).await?;
        response.done = true;
        response.vault = Some(convert::open_vault(&self.node, &vault));
        Ok(response)
    }

    async fn fail_back(&self, request: v1::FailbackRequest) -> Result<v1::FailbackResponse> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let (names, emptied): (Vec<SiteName>, _) = match request.site.is_empty() {
            false => (vec![site_name(&request.site)?], Emptied::Filled),
            true => {
                let primary = vault.primary.site.name();
                let own = repair::own_branch(&vault).await?.map(|_| primary.clone());
                let standings = vault.standings().into_iter();
                let away = standings.filter(|(_, s)| s.diverged || !s.reachable);
                let names = own.into_iter().chain(away.map(|(name, _)| name));
                (names.collect(), Emptied::Refused)
            }
        };
        let mut response = v1::FailbackResponse::default();
        for name in &names {
            match self.bring_back(&vault, name, emptied).await {
                Ok(salvaged) => {
                    response.snapshots_salvaged += salvaged.snapshots;
                    response.records_salvaged += salvaged.records;
                    response.notes.extend(salvaged.notes);
                }
                // Of several, one that is not back yet keeps nobody waiting.
                Err(error @ Error::Unavailable(_)) if names.len() > 1 => {
                    let note = format!("site {name} is not back yet: {error}");
                    response.notes.push(note);
                }
                Err(error) => return Err(error),
            }
        }
        let target = match request.site.is_empty() {
            false => names.first().cloned(),
            true if names.len() == 1 => names.first().cloned(),
            true => None,
        };
        let vault = match (request.make_primary, target) {
            (false, _) => vault,
            (true, Some(site)) if site == *vault.primary.site.name() => vault,
            (true, Some(site)) => {
                let head = vault.state().chain.head;
                if let Some(head) = head {
                    vault.wait_everywhere(head).await?;
                }
                let slot = self.node.reach_slot(&request.vault).await?;
                let plan = failover::plan(&self.node, &slot, &site).await?;
                let id = slot.header.vault;
                let lacks = failover::lacks(&self.node, id, &site, &plan).await?;
                check_copy(&slot, &site, &lacks)?;
                if !Accepted::Nothing.covers(&plan) {
                    return Err(Error::Invalid(format!(
                        "site {site} is brought back and follows, but did not become the primary: {} would be left behind \
                         at {}; ask again once `holdfast status` says that nothing is lacking there",
                        plan.left_behind, plan.from
                    )));
                }
                failover::carry_out(&self.node, &slot, &site, &plan, Accepted::Nothing).await?
            }
            (true, None) => {
                return Err(Error::Invalid(
                    "no single site was left behind: name the one that becomes the primary with --site".into(),
                ));
            }
        };
        response.vault = Some(convert::open_vault(&self.node, &vault));
        Ok(response)
    }

    async fn bring_back(
        &self,
        vault: &Arc<Vault>,
        site: &SiteName,
        emptied: Emptied,
    ) -> Result<Salvaged> {
        let gone = || Error::Fenced("this coordinator no longer owns the vault".into());
        let collector = vault
            .collector()
            .ok_or_else(|| Error::Unavailable("the vault is still being opened".into()))?;
        let (reply, back) = tokio::sync::oneshot::channel();
        let message = BringBack {
            node: self.node.clone(),
            site: site.clone(),
            emptied,
            reply,
        };
        collector.tell(message).await.map_err(|_| gone())?;
        back.await.map_err(|_| gone())?
    }
}

/// A copy that lacks something does not become the primary without a word.
fn check_copy(slot: &Slot, to: &SiteName, lacks: &str) -> Result<()> {
    if lacks.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the copy at site {to} fails verification: {lacks}. `holdfast verify --vault {0} --site {to} --repair` mends it from another \
         site, as long as one has what is missing; or go on with `holdfast failover --vault {0} --to {to} --accept-loss`, and what is \
         missing is missing from restores",
        slot.header.name
    )))
}
