//! `holdfast.v1.Operations`: status, failover, verification without keys.

use holdfast_format::pack::verify_pack;
use holdfast_format::{Hash, ObjectName, SiteName, SnapshotId};
use holdfast_proto::v1;
use holdfast_proto::v1::operations_server::Operations;
use holdfast_proto::v1::verify_progress::Kind as Said;
use holdfast_store::SiteReader;
use holdfast_vault::fold::catalog::PackInfo;
use holdfast_vault::{LogReader, State};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Service;
use super::convert::{self, Answer, answer, site_name};
use crate::error::{Error, Result, status};
use crate::failover;
use crate::salvage::Salvaged;
use crate::vault::Vault;
use crate::vault::collector::BringBack;

type Sender = mpsc::Sender<std::result::Result<v1::VerifyProgress, Status>>;

#[tonic::async_trait]
impl Operations for Service {
    type VerifyStream = ReceiverStream<std::result::Result<v1::VerifyProgress, Status>>;

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let slots = self.node.list();
        answer(Ok(v1::StatusResponse {
            coordinator: self.node.options.name.clone(),
            version: self.node.options.version.clone(),
            started_millis: self.node.started_millis,
            now_millis: self.node.context.now_millis(),
            placement: self.node.options.placement.clone(),
            vaults: slots
                .iter()
                .map(|slot| convert::vault(&self.node, slot))
                .collect(),
        }))
    }

    async fn failover(
        &self,
        request: Request<v1::FailoverRequest>,
    ) -> Answer<v1::FailoverResponse> {
        answer(self.fail_over(request.into_inner()).await)
    }

    async fn failback(
        &self,
        request: Request<v1::FailbackRequest>,
    ) -> Answer<v1::FailbackResponse> {
        answer(self.fail_back(request.into_inner()).await)
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> std::result::Result<Response<Self::VerifyStream>, Status> {
        let (to, from) = mpsc::channel(64);
        let service = self.clone();
        self.node.context.spawn(async move {
            if let Err(error) = service.check(request.into_inner(), &to).await {
                let _ = to.send(Err(status(&error))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(from)))
    }
}

impl Service {
    async fn fail_over(&self, request: v1::FailoverRequest) -> Result<v1::FailoverResponse> {
        let slot = self.node.find(&request.vault)?;
        let to = site_name(&request.to)?;
        let plan = failover::plan(&self.node, &slot, &to).await?;
        let mut response = v1::FailoverResponse {
            from: plan.from.to_string(),
            to: to.to_string(),
            drained: plan.primary_answers,
            left_behind: plan.left_behind.clone(),
            loss_known_none: plan.loses_nothing,
            done: false,
            vault: None,
        };
        if request.plan_only {
            return Ok(response);
        }
        if !plan.loses_nothing && !request.accept_loss {
            return Err(Error::Invalid(format!(
                "site {} does not answer, and what would be left behind there is not known to be nothing: {}. Bring it \
                 back, or go on without it with --accept-loss; what it holds comes back with `holdfast failback`",
                plan.from, plan.left_behind
            )));
        }
        let vault = failover::carry_out(&self.node, &slot, &to, &plan).await?;
        response.done = true;
        response.vault = Some(convert::open_vault(&self.node, &vault));
        Ok(response)
    }

    async fn fail_back(&self, request: v1::FailbackRequest) -> Result<v1::FailbackResponse> {
        let vault = self.node.vault(&request.vault)?;
        let names: Vec<SiteName> = match request.site.is_empty() {
            false => vec![site_name(&request.site)?],
            true => vault
                .standings()
                .into_iter()
                .filter(|(_, standing)| standing.diverged || !standing.reachable)
                .map(|(name, _)| name)
                .collect(),
        };
        let mut response = v1::FailbackResponse::default();
        for name in &names {
            let salvaged = self.bring_back(&vault, name).await?;
            response.snapshots_salvaged += salvaged.snapshots;
            response.records_salvaged += salvaged.records;
            response.notes.extend(salvaged.notes);
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
                let slot = self.node.find(&request.vault)?;
                let plan = failover::plan(&self.node, &slot, &site).await?;
                failover::carry_out(&self.node, &slot, &site, &plan).await?
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

    async fn bring_back(&self, vault: &Arc<Vault>, site: &SiteName) -> Result<Salvaged> {
        let gone = || Error::Fenced("this coordinator no longer owns the vault".into());
        let collector = vault
            .collector()
            .ok_or_else(|| Error::Unavailable("the vault is still being opened".into()))?;
        let (reply, back) = tokio::sync::oneshot::channel();
        let message = BringBack {
            node: self.node.clone(),
            site: site.clone(),
            reply,
        };
        collector.tell(message).await.map_err(|_| gone())?;
        back.await.map_err(|_| gone())?
    }

    async fn check(&self, request: v1::VerifyRequest, to: &Sender) -> Result<()> {
        let vault = self.node.vault(&request.vault)?;
        let members: Vec<SiteName> = match request.site.is_empty() {
            true => vault.state().catalog.members.keys().cloned().collect(),
            false => vec![site_name(&request.site)?],
        };
        let mut check = Check {
            vault: vault.clone(),
            to,
            objects: 0,
            total: 0,
            bytes: 0,
            findings: 0,
            repaired: 0,
        };
        let per_site = vault.state().catalog.packs.len() as u64;
        check.total = per_site * members.len() as u64;
        for name in &members {
            match self.node.sites.open(name).await {
                Ok(opened) => check.site(name, opened.site, &request).await?,
                Err(error) => {
                    check
                        .find(name, "(site)", &error.to_string(), false, vec![])
                        .await?
                }
            }
        }
        let done = v1::VerifyDone {
            objects: check.objects,
            bytes: check.bytes,
            findings: check.findings,
            repaired: check.repaired,
        };
        tell(to, Said::Done(done)).await
    }
}

async fn tell(to: &Sender, kind: Said) -> Result<()> {
    to.send(Ok(v1::VerifyProgress { kind: Some(kind) }))
        .await
        .map_err(|_| Error::Unavailable("the client is gone".into()))
}

/// A verification under way.
struct Check<'a> {
    vault: Arc<Vault>,
    to: &'a Sender,
    objects: u64,
    total: u64,
    bytes: u64,
    findings: u64,
    repaired: u64,
}

impl Check<'_> {
    async fn find(
        &mut self,
        site: &SiteName,
        object: &str,
        what: &str,
        repaired: bool,
        needed_by: Vec<SnapshotId>,
    ) -> Result<()> {
        self.findings += 1;
        self.repaired += u64::from(repaired);
        let finding = v1::VerifyFinding {
            site: site.to_string(),
            object: object.into(),
            what: what.into(),
            repaired,
            snapshots: needed_by.iter().map(|id| id.0.to_vec().into()).collect(),
        };
        tell(self.to, Said::Finding(finding)).await
    }

    async fn site(
        &mut self,
        name: &SiteName,
        site: Arc<dyn holdfast_store::Site>,
        request: &v1::VerifyRequest,
    ) -> Result<()> {
        let reader: Arc<dyn SiteReader> = site;
        let vault = self.vault.clone();
        // The whole log, from its first record: every link and signature.
        let mut log = LogReader::new(reader.clone(), vault.header.vault);
        let mut state = State::start(vault.header.clone());
        if let Err(error) = log.follow(&mut state).await {
            self.find(name, "log", &error.to_string(), false, vec![])
                .await?;
        }
        let (packs, keys) = {
            let state = vault.state();
            let packs: Vec<PackInfo> = state
                .catalog
                .packs
                .values()
                .filter(|p| p.condemned.is_none())
                .cloned()
                .collect();
            let keys: Vec<_> = state
                .catalog
                .keys
                .values()
                .filter(|k| k.condemned.is_none())
                .cloned()
                .collect();
            (packs, keys)
        };
        let head = state.chain.head;
        for key in keys
            .iter()
            .filter(|key| head.is_some_and(|head| key.added <= head))
        {
            let object = ObjectName::session_key(
                vault.header.vault,
                key.reference.key,
                key.reference.generation,
            );
            let what = match reader.get(&object).await {
                Ok(Some(bytes)) if Hash::of(&bytes) == key.reference.hash => None,
                Ok(Some(_)) => Some("it does not have the hash that the log gives".to_owned()),
                Ok(None) => Some("it is missing".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(what) = what {
                self.find(name, object.as_str(), &what, false, vec![])
                    .await?;
            }
        }
        for pack in packs
            .iter()
            .filter(|pack| head.is_some_and(|head| pack.added <= head))
        {
            let sampled = request.sample_percent <= 0.0 || in_sample(pack, request.sample_percent);
            let object = ObjectName::pack(vault.header.vault, pack.id);
            let what = match request.read_data && sampled {
                true => read_pack(reader.as_ref(), &object, pack).await,
                false => look_at_pack(reader.as_ref(), &object, pack).await,
            };
            self.objects += 1;
            if request.read_data && sampled {
                self.bytes += pack.len;
            }
            if let Some(what) = what {
                let repaired = request.repair
                    && match crate::repair::pack(&vault, name, pack).await {
                        Ok(()) => true,
                        Err(error) => {
                            tracing::error!(site = %name, %error, "the copy was not repaired");
                            false
                        }
                    };
                self.find(name, object.as_str(), &what, repaired, vec![])
                    .await?;
            }
            if self.objects.is_multiple_of(16) {
                let count = v1::VerifyCount {
                    objects: self.objects,
                    objects_total: self.total,
                    bytes: self.bytes,
                };
                tell(self.to, Said::Count(count)).await?;
            }
        }
        Ok(())
    }
}

/// Whether a pack is in a sample of so many per cent: by its footer's hash, so that a run can be repeated.
fn in_sample(pack: &PackInfo, percent: f64) -> bool {
    let hash = &pack.footer_hash.0;
    let number = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
    f64::from(number) < percent / 100.0 * f64::from(u32::MAX)
}

async fn read_pack(site: &dyn SiteReader, name: &ObjectName, pack: &PackInfo) -> Option<String> {
    match site.get(name).await {
        Ok(Some(bytes)) => verify_pack(pack.id, pack.footer_hash, &bytes)
            .err()
            .map(|error| error.to_string()),
        Ok(None) => Some("it is missing".into()),
        Err(error) => Some(error.to_string()),
    }
}

async fn look_at_pack(site: &dyn SiteReader, name: &ObjectName, pack: &PackInfo) -> Option<String> {
    match site.head(name).await {
        Ok(Some(info)) if info.size == pack.len => None,
        Ok(Some(info)) => Some(format!("it has {} bytes, not {}", info.size, pack.len)),
        Ok(None) => Some("it is missing".into()),
        Err(error) => Some(error.to_string()),
    }
}
