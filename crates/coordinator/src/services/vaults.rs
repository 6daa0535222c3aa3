//! `holdfast.v1.Vaults`: vaults and their sites.

use holdfast_format::codec::LEVEL;
use holdfast_format::fact::{MemberJoined, MemberLeft, PolicySet, RecipientsSet};
use holdfast_format::{
    Certificate, Generation, Hash, KeyId, ObjectName, Sealed, SiteName, VaultHeader, VaultId,
};
use holdfast_placement::SiteEntry;
use holdfast_policy::Policy;
use holdfast_proto::v1::vaults_server::Vaults;
use holdfast_proto::v1::{self};
use holdfast_vault::Proposal;
use holdfast_vault::log::reader::list_vaults;
use holdfast_vault::log::writer::put_same;
use tonic::Request;

use super::Service;
use super::convert::{self, Answer, answer, id16, site_name};
use crate::error::{Error, Result, from_placement};
use crate::repair;
use crate::vault::{Vault, herald};

#[tonic::async_trait]
impl Vaults for Service {
    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Answer<v1::DescribeResponse> {
        let sites = self
            .node
            .sites
            .list()
            .into_iter()
            .map(|(name, url, trouble)| v1::KnownSite {
                name: name.to_string(),
                url,
                trouble,
            });
        answer(Ok(v1::DescribeResponse {
            coordinator: self.node.options.name.clone(),
            writer_public: self.node.options.key.public().0.to_vec().into(),
            version: self.node.options.version.clone(),
            level: u32::from(LEVEL),
            sites: sites.collect(),
        }))
    }

    async fn list_vaults(
        &self,
        _: Request<v1::ListVaultsRequest>,
    ) -> Answer<v1::ListVaultsResponse> {
        let (vaults, _) = convert::vaults(&self.node).await;
        answer(Ok(v1::ListVaultsResponse { vaults }))
    }

    async fn get_vault(&self, request: Request<v1::GetVaultRequest>) -> Answer<v1::Vault> {
        let reached = self.node.reach_slot(&request.get_ref().vault).await;
        answer(reached.map(|slot| convert::vault(&self.node, &slot)))
    }

    async fn create_vault(&self, request: Request<v1::CreateVaultRequest>) -> Answer<v1::Vault> {
        let request = request.into_inner();
        let work = |service: Self| async move { service.create(request).await };
        answer(self.to_its_end(work).await)
    }

    async fn attach_vault(&self, request: Request<v1::AttachVaultRequest>) -> Answer<v1::Vault> {
        let request = request.into_inner();
        let work = |service: Self| async move { service.attach(request).await };
        answer(self.to_its_end(work).await)
    }

    async fn add_site(&self, request: Request<v1::AddSiteRequest>) -> Answer<v1::Vault> {
        let request = request.into_inner();
        let work = |service: Self| async move { service.add_site(request).await };
        answer(self.to_its_end(work).await)
    }

    async fn remove_site(&self, request: Request<v1::RemoveSiteRequest>) -> Answer<v1::Vault> {
        let request = request.into_inner();
        let work = |service: Self| async move { service.remove_site(request).await };
        answer(self.to_its_end(work).await)
    }

    async fn set_recipients(
        &self,
        request: Request<v1::SetRecipientsRequest>,
    ) -> Answer<v1::Vault> {
        answer(self.set_recipients(request.into_inner()).await)
    }

    async fn get_key_object(
        &self,
        request: Request<v1::GetKeyObjectRequest>,
    ) -> Answer<v1::GetKeyObjectResponse> {
        answer(self.key_object(request.into_inner()).await)
    }
}

/// Reads the vault's id out of a header object that a client sent, and checks it.
fn own_header(object: &[u8]) -> Result<VaultHeader> {
    VaultHeader::open_any(object).map_err(Error::from)
}

impl Service {
    async fn create(&self, request: v1::CreateVaultRequest) -> Result<v1::Vault> {
        let header = own_header(&request.header)?;
        let certificate = Certificate::decode(&request.certificate)?;
        certificate.check(header.vault, &header.root)?;
        if certificate.writer != self.node.options.key.public() {
            return Err(Error::Denied(
                "the certificate is for another coordinator's key; ask this one for its key again"
                    .into(),
            ));
        }
        let recipients = RecipientsSet::decode(&request.recipients)?;
        recipients.check(header.vault, &header.root)?;
        if recipients.vault_key != Hash::of(&request.vault_key) {
            return Err(Error::Invalid(
                "the list of recipients names another key object than the one that came".into(),
            ));
        }
        let policy = match request.policy.is_empty() {
            true => None,
            false => {
                Policy::parse(&request.policy)
                    .map_err(|e| Error::Invalid(format!("the policy: {e}")))?;
                Some(PolicySet {
                    text: request.policy.clone(),
                    who: request.who.clone(),
                })
            }
        };
        let known = self.node.placement.vaults().await;
        let known = known.map_err(from_placement)?;
        let is_known = known.iter().any(|entry| entry.name == header.name);
        let slots = self.node.list();
        if is_known || slots.iter().any(|slot| slot.header.name == header.name) {
            return Err(Error::Invalid(format!(
                "vault {} exists already; choose another name",
                header.name
            )));
        }
        let names: Vec<SiteName> = request
            .sites
            .iter()
            .map(|name| site_name(name))
            .collect::<Result<_>>()?;
        let Some(primary) = names.first().cloned() else {
            return Err(Error::Invalid(
                "a vault needs at least one site; the first is its primary".into(),
            ));
        };
        let _joining = self.node.sites.turn().await;
        let mut members = Vec::new();
        for name in &names {
            if members.iter().any(|m: &MemberJoined| m.site == *name) {
                return Err(Error::Invalid(format!("site {name} is named twice")));
            }
            self.node.sites.open_beside(name, &names).await?;
            let url = self.node.sites.url(name).unwrap_or_default();
            members.push(MemberJoined {
                site: name.clone(),
                url,
                who: request.who.clone(),
            });
        }
        let site = self.node.sites.open(&primary).await?.site;
        self.node.reserve(header.vault).await?;
        // ORDER: the key object before the header: a folder without a header is no vault, and is found by nobody.
        let key = ObjectName::vault_key(header.vault, recipients.generation);
        put_same(
            site.as_ref(),
            &key,
            &Sealed::copied(request.vault_key.clone()),
        )
        .await?;
        let object = Sealed::copied(request.header.clone());
        put_same(site.as_ref(), &ObjectName::header(header.vault), &object).await?;
        let vault = self.node.adopt(header, primary, &certificate).await?;
        let _work = vault.work();
        vault
            .append(Proposal::Found {
                members,
                recipients,
                policy,
            })
            .await?;
        vault.follow_members();
        self.node.register_vault(&vault).await;
        Ok(convert::open_vault(&self.node, &vault))
    }

    async fn attach(&self, request: v1::AttachVaultRequest) -> Result<v1::Vault> {
        let name = site_name(&request.site)?;
        let mut joining = self.node.sites.turn().await;
        joining.know(&name, &request.url)?;
        let opened = self.node.sites.open(&name).await?;
        let vaults = list_vaults(opened.site.as_ref()).await?;
        if !vaults.is_empty() {
            joining.keep();
        }
        drop(joining);
        let mut found = Vec::new();
        for (id, header) in vaults {
            found.push((id, header?));
        }
        if !request.vault.is_empty() {
            let wanted = id16(&request.vault, "a vault id", VaultId)?;
            found.retain(|(id, _)| *id == wanted);
        }
        let header = match found.len() {
            1 => found.remove(0).1,
            0 => {
                return Err(Error::Missing(format!(
                    "the vault at site {name} ({})",
                    request.url
                )));
            }
            _ => {
                let names: Vec<String> = found
                    .iter()
                    .map(|(id, h)| format!("{} ({id})", h.name))
                    .collect();
                return Err(Error::Invalid(format!(
                    "several vaults lie at site {name}: {}; name one",
                    names.join(", ")
                )));
            }
        };
        if request.certificate.is_empty() {
            // The client asks what lies there before it certifies anything.
            return Ok(v1::Vault {
                id: header.vault.0.to_vec().into(),
                name: header.name.to_string(),
                root_public: header.root.0.to_vec().into(),
                state: "found".into(),
                ..v1::Vault::default()
            });
        }
        let certificate = Certificate::decode(&request.certificate)?;
        certificate.check(header.vault, &header.root)?;
        let entry = SiteEntry {
            name: name.clone(),
            url: request.url.clone(),
        };
        if let Err(error) = self.node.placement.put_site(&entry).await {
            tracing::warn!(%error, "the site is known until this coordinator stops; name it in its configuration");
        }
        self.node
            .placement
            .put_certificate(header.vault, &certificate.encode())
            .await
            .map_err(from_placement)?;
        self.node.find_and_take().await;
        let slot = self.node.find(&header.vault.to_string())?;
        Ok(convert::vault(&self.node, &slot))
    }

    async fn add_site(&self, request: v1::AddSiteRequest) -> Result<v1::Vault> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let name = site_name(&request.site)?;
        let mut joining = self.node.sites.turn().await;
        // ORDER: before the name is given to another place. The vault's owner would bring that place level, as the member it is not.
        let members: Vec<SiteName> = vault.state().catalog.members.keys().cloned().collect();
        if members.contains(&name) {
            return Err(Error::Invalid(format!(
                "site {name} belongs to vault {} already. If another place shall take its own, run `holdfast site remove` first; \
                 `holdfast vault attach --site` says where it is",
                vault.header.name
            )));
        }
        if !request.url.is_empty() {
            joining.know(&name, &request.url)?;
        }
        self.open_to_join(&vault, &name).await?;
        let opened = self.node.sites.open_beside(&name, &members).await?;
        joining.keep();
        let header = ObjectName::header(vault.header.vault);
        let is_empty = opened.site.head(&header).await?.is_none();
        if let (true, Some(held)) = (is_empty, vault.progress_of(&name)) {
            // It was a member before, and was emptied since: whoever adds it wants it filled.
            tracing::warn!(
                vault = %vault.header.name, site = %name, %held,
                "the site was a member before and held records up to this one; it is empty, and is filled anew"
            );
            herald::takes_for_new(&vault, self.node.placement.as_ref(), &name).await?;
        }
        if !request.url.is_empty() {
            let entry = SiteEntry {
                name: name.clone(),
                url: request.url.clone(),
            };
            if let Err(error) = self.node.placement.put_site(&entry).await {
                tracing::warn!(%error, "the site is known until this coordinator stops; name it in its configuration");
            }
        }
        let url = self.node.sites.url(&name).unwrap_or_default();
        vault
            .append(Proposal::Join(MemberJoined {
                site: name.clone(),
                url,
                who: request.who,
            }))
            .await?;
        if is_empty {
            // ORDER: once it is a member, of which this can be said. What is damaged is so until then.
            vault.unread_all(&name, "site add").await?;
        }
        vault.follow_members();
        self.node.register_vault(&vault).await;
        Ok(convert::open_vault(&self.node, &vault))
    }

    /// What is open may be a disk that was replaced or emptied since another vault left it. Where no vault is there any more it is
    /// opened anew, and may become a new site; else only if it is the same site still.
    async fn open_to_join(&self, vault: &Vault, name: &SiteName) -> Result<()> {
        let told = self.node.placement.vaults().await.map_err(from_placement)?;
        let is_told = (told.iter())
            .any(|entry| entry.vault != vault.header.vault && entry.sites.contains(name));
        let open = self.node.list().into_iter().filter_map(|slot| slot.vault);
        let mut others = open.filter(|other| other.header.vault != vault.header.vault);
        let is_here = others.any(|other| other.state().catalog.members.contains_key(name));
        match is_told || is_here {
            true => {
                self.node.sites.doubt(name);
                Ok(())
            }
            false => self.node.sites.reopen(name).await.map(drop),
        }
    }

    async fn remove_site(&self, request: v1::RemoveSiteRequest) -> Result<v1::Vault> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let site = site_name(&request.site)?;
        vault
            .append(Proposal::Leave(MemberLeft {
                site,
                who: request.who,
                why: request.why,
            }))
            .await?;
        vault.follow_members();
        self.node.register_vault(&vault).await;
        Ok(convert::open_vault(&self.node, &vault))
    }

    async fn set_recipients(&self, request: v1::SetRecipientsRequest) -> Result<v1::Vault> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        let set = RecipientsSet::decode(&request.recipients)?;
        set.check(vault.header.vault, &vault.header.root)?;
        if set.vault_key != Hash::of(&request.vault_key) {
            return Err(Error::Invalid(
                "the list of recipients names another key object than the one that came".into(),
            ));
        }
        // ORDER: the key object stands before the record that names it.
        let name = ObjectName::vault_key(vault.header.vault, set.generation);
        put_same(
            vault.primary.site.as_ref(),
            &name,
            &Sealed::copied(request.vault_key),
        )
        .await?;
        vault.append(Proposal::Recipients(set)).await?;
        Ok(convert::open_vault(&self.node, &vault))
    }

    async fn key_object(
        &self,
        request: v1::GetKeyObjectRequest,
    ) -> Result<v1::GetKeyObjectResponse> {
        let vault = self.node.reach(&request.vault).await?;
        let _work = vault.work();
        if request.key.is_empty() {
            let (generation, object) = repair::vault_key(&vault).await?;
            if request.generation != 0 && Generation(request.generation) != generation {
                return Err(Error::Missing(format!(
                    "generation {} of the vault's key object (the current one is {})",
                    request.generation, generation.0
                )));
            }
            return Ok(v1::GetKeyObjectResponse {
                generation: generation.0,
                hash: Hash::of(&object).0.to_vec().into(),
                object,
            });
        }
        let key = id16(&request.key, "a key id", KeyId)?;
        let known = {
            let state = vault.state();
            state.catalog.keys.get(&key).map(|info| info.reference)
        };
        let reference = known.ok_or_else(|| Error::Missing(format!("key {key}")))?;
        let name = ObjectName::session_key(vault.header.vault, key, reference.generation);
        let is_good = repair::has_hash(reference.hash);
        Ok(v1::GetKeyObjectResponse {
            object: repair::good_copy(&vault, &name, is_good).await?,
            generation: reference.generation.0,
            hash: reference.hash.0.to_vec().into(),
        })
    }
}
