//! Everything that one asks of a coordinator besides moving data, call by call, in this crate's types.

mod collection;
mod failover;
mod retention;
mod site;
mod verification;

use std::time::Duration;

use bytes::Bytes;
use holdfast_format::{Generation, Hash, KeyId, PublicKey, VaultId};
use holdfast_proto::v1;
use tonic::Request;

pub use collection::{CollectOptions, CollectPlan, CollectStep, Collecting};
pub use failover::{FailbackReport, FailoverPlan, FailoverReport, RebuiltVault};
pub use retention::{Expiring, HoldCover, HoldInfo, RetentionDecision};
pub use site::Attaching;
pub use verification::{Finding, VerifiedFrame, VerifyOptions, VerifyStep, Verifying};

use super::status::{nonsense, refused};
use super::{Connection, SnapshotInfo, VaultInfo};
use crate::error::Result;

/// Questions that the coordinator answers from memory have this long. What it has to do something for has no limit:
/// a dead connection is found by its keep-alive.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// See the module header.
#[derive(Debug, Clone)]
pub struct Admin {
    connection: Connection,
}

/// A coordinator's own description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub coordinator: String,
    /// The key that signs its records.
    pub writer: PublicKey,
    /// Its release.
    pub version: String,
    /// The highest format level that it reads.
    pub level: u32,
    /// The sites that it knows.
    pub sites: Vec<KnownSite>,
}

/// A site that a coordinator knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSite {
    /// Its name.
    pub name: String,
    /// Where it is, without credentials.
    pub url: String,
    /// Why it cannot be used; empty when it can.
    pub trouble: String,
}

/// What a coordinator says of itself and its vaults.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusInfo {
    /// Its name.
    pub coordinator: String,
    /// Its release.
    pub version: String,
    /// When it started: milliseconds since 1970 UTC, by its clock.
    pub started_millis: i64,
    /// What its clock shows.
    pub now_millis: i64,
    /// `embedded`, or etcd's endpoints.
    pub placement: String,
    /// The vaults that it knows.
    pub vaults: Vec<VaultInfo>,
    /// Checks of itself that failed since it started; 0 unless something is very wrong.
    pub invariants_broken: u64,
    /// All coordinators that live in the same placement store; empty if that does not answer.
    pub coordinators: Vec<CoordinatorLine>,
    /// Why the placement store does not answer; empty if it does.
    pub placement_trouble: String,
}

/// A coordinator that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorLine {
    /// Its name.
    pub name: String,
    /// Where it answers, best first.
    pub addresses: Vec<String>,
    /// When it started: milliseconds since 1970 UTC, by its clock.
    pub started_millis: i64,
}

/// A key object.
#[derive(Debug, Clone)]
pub struct KeyObject {
    /// Its bytes.
    pub object: Bytes,
    /// Which generation of recipients it is sealed to.
    pub generation: Generation,
    /// BLAKE3 of the object, as the log gives it.
    pub hash: Hash,
}

/// The objects of a new vault, each made by the client.
#[derive(Debug, Clone)]
pub struct NewVaultObjects {
    /// The object `vault`.
    pub header: Bytes,
    /// The object `keys/vault/1`.
    pub vault_key: Bytes,
    /// The signed list of recipients.
    pub recipients: Bytes,
    /// The certificate of the coordinator's key.
    pub certificate: Bytes,
}

fn line(wire: v1::Coordinator) -> CoordinatorLine {
    CoordinatorLine {
        name: wire.name,
        addresses: wire.addresses,
        started_millis: wire.started_millis,
    }
}

impl Admin {
    /// Asks over a connection.
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
        }
    }

    /// Who the coordinator is and which sites it knows.
    pub async fn describe(&self) -> Result<Description> {
        let request = soon(v1::DescribeRequest {});
        let answer = self.connection.vaults().describe(request).await;
        let answer = answer.map_err(|status| refused(&self.connection.to(), &status))?;
        let wire = answer.into_inner();
        let writer: [u8; 32] = wire.writer_public[..]
            .try_into()
            .map_err(|_| nonsense("its key has the wrong length"))?;
        let site = |site: v1::KnownSite| KnownSite {
            name: site.name,
            url: site.url,
            trouble: site.trouble,
        };
        Ok(Description {
            coordinator: wire.coordinator,
            writer: PublicKey(writer),
            version: wire.version,
            level: wire.level,
            sites: wire.sites.into_iter().map(site).collect(),
        })
    }

    /// What the coordinator says of itself and its vaults.
    pub async fn status(&self) -> Result<StatusInfo> {
        let request = soon(v1::StatusRequest {});
        let answer = self.connection.operations().status(request).await;
        let answer = answer.map_err(|status| refused(&self.connection.to(), &status))?;
        let wire = answer.into_inner();
        Ok(StatusInfo {
            coordinator: wire.coordinator,
            version: wire.version,
            started_millis: wire.started_millis,
            now_millis: wire.now_millis,
            placement: wire.placement,
            vaults: wire
                .vaults
                .into_iter()
                .map(VaultInfo::read)
                .collect::<Result<_>>()?,
            invariants_broken: wire.invariants_broken,
            coordinators: wire.coordinators.into_iter().map(line).collect(),
            placement_trouble: wire.placement_trouble,
        })
    }

    /// All vaults.
    pub async fn vaults(&self) -> Result<Vec<VaultInfo>> {
        let request = soon(v1::ListVaultsRequest {});
        let answer = self.connection.vaults().list_vaults(request).await;
        let answer = answer.map_err(|status| refused(&self.connection.to(), &status))?;
        let vaults = answer.into_inner().vaults;
        vaults.into_iter().map(VaultInfo::read).collect()
    }

    /// One vault, by name or id.
    pub async fn vault(&self, vault: &str) -> Result<VaultInfo> {
        let request = soon(v1::GetVaultRequest {
            vault: vault.into(),
        });
        let answer = self.connection.vaults().get_vault(request).await;
        let answer = answer.map_err(|status| refused(&named(vault), &status))?;
        VaultInfo::read(answer.into_inner())
    }

    /// Creates a vault of objects that the client made. The first site is the primary.
    pub async fn create_vault(
        &self,
        name: &str,
        objects: NewVaultObjects,
        sites: Vec<String>,
        policy: String,
        who: &str,
    ) -> Result<VaultInfo> {
        let request = v1::CreateVaultRequest {
            header: objects.header,
            vault_key: objects.vault_key,
            recipients: objects.recipients,
            certificate: objects.certificate,
            sites,
            policy,
            who: who.into(),
        };
        let answer = self.connection.vaults().create_vault(request).await;
        let answer = answer.map_err(|status| refused(&named(name), &status))?;
        VaultInfo::read(answer.into_inner())
    }

    /// Replaces the recipients.
    pub async fn set_recipients(
        &self,
        vault: VaultId,
        vault_key: Bytes,
        recipients: Bytes,
        session_keys: Vec<Bytes>,
        who: &str,
    ) -> Result<VaultInfo> {
        let request = v1::SetRecipientsRequest {
            vault: vault.to_string(),
            vault_key,
            recipients,
            session_keys,
            who: who.into(),
        };
        let answer = self.connection.vaults().set_recipients(request).await;
        let answer = answer.map_err(|status| refused("the list of recipients", &status))?;
        VaultInfo::read(answer.into_inner())
    }

    /// A key object: of a session's key, or of the vault's own secrets. Generation 0 asks for the current one.
    /// The hash is what the coordinator says; compare it with one that is signed, or named by the log.
    pub async fn key_object(
        &self,
        vault: &str,
        key: Option<KeyId>,
        generation: Generation,
    ) -> Result<KeyObject> {
        let request = soon(v1::GetKeyObjectRequest {
            vault: vault.into(),
            key: key.map(|key| key.0.to_vec().into()).unwrap_or_default(),
            generation: generation.0,
        });
        let what = || match key {
            Some(key) => format!("key object {key}"),
            None => "the vault's key object".to_owned(),
        };
        let answer = self.connection.vaults().get_key_object(request).await;
        let wire = answer
            .map_err(|status| refused(&what(), &status))?
            .into_inner();
        Ok(KeyObject {
            object: wire.object,
            generation: Generation(wire.generation),
            hash: Hash::from_slice(&wire.hash).map_err(nonsense)?,
        })
    }

    /// The snapshots of a vault, or of one source, that are not in the trash.
    pub async fn snapshots(&self, vault: &str, source: Option<&str>) -> Result<Vec<SnapshotInfo>> {
        self.list(vault, source, false).await
    }

    /// Those that are in the trash.
    pub async fn trash(&self, vault: &str, source: Option<&str>) -> Result<Vec<SnapshotInfo>> {
        self.list(vault, source, true).await
    }

    async fn list(
        &self,
        vault: &str,
        source: Option<&str>,
        trash: bool,
    ) -> Result<Vec<SnapshotInfo>> {
        let request = soon(v1::ListSnapshotsRequest {
            vault: vault.into(),
            source: source.unwrap_or_default().into(),
            trash,
        });
        let answer = self.connection.restore().list_snapshots(request).await;
        let answer = answer.map_err(|status| refused(&named(vault), &status))?;
        let mut all = SnapshotInfo::read_all(answer.into_inner().snapshots)?;
        all.sort_by_key(|info| (info.time_millis, info.id));
        Ok(all)
    }
}

/// A question that is answered from memory.
fn soon<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_WAIT);
    request
}

/// A vault, for messages.
fn named(vault: &str) -> String {
    format!("vault {vault:?}")
}
