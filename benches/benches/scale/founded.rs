//! A vault in a folder: its site, the folder of its index's segments, the identity that opens it. Its secrets are no secrets, so
//! that another process can take it over.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::fact::MemberJoined;
use holdfast_format::fact::RecipientsSet;
use holdfast_format::key::Recipient;
use holdfast_format::{
    AgeIdentity, Certificate, ClaimNonce, Epoch, Generation, Hash, Identity, ObjectName, SecretKey,
    SiteName, VaultHeader, VaultId, VaultName, VaultSecrets,
};
use holdfast_store::{Opened, SiteOptions, open_for_writing};
use holdfast_vault::log::takeover::Claimant;
use holdfast_vault::log::writer::put_same;
use holdfast_vault::{
    Credentials, Draft, Outcome, Promises, Proposal, Refusal, SegmentCache, State, Takeover,
    Writer, open_state,
};
use tokio_util::sync::CancellationToken;

/// The vault.
pub(crate) const VAULT: VaultId = VaultId([7; 16]);

/// See the module.
#[derive(Debug)]
pub(crate) struct Founded {
    pub(crate) context: Context,
    pub(crate) site: Opened,
    pub(crate) cache: SegmentCache,
    pub(crate) recipients: Vec<Recipient>,
    folder: PathBuf,
}

fn root() -> SecretKey {
    SecretKey::new(&[1; 32])
}

/// The secrets behind its chunks' ids.
pub(crate) fn secrets() -> VaultSecrets {
    VaultSecrets::new([3; 32], [4; 32])
}

impl Founded {
    /// Opens the site and the folder of segments below `folder`.
    pub(crate) async fn at(folder: &Path) -> Self {
        let context = Context::system();
        let site = folder.join("site");
        std::fs::create_dir_all(&site).unwrap();
        let url = format!("file:{}", site.display());
        let name: SiteName = "onsite".parse().unwrap();
        let options = SiteOptions::default();
        let site = open_for_writing(&context, name, &url, &options)
            .await
            .unwrap();
        let cache = SegmentCache::Folder {
            path: folder.join("segments"),
            context: context.clone(),
        };
        Self {
            context,
            site,
            cache,
            recipients: Vec::new(),
            folder: folder.to_owned(),
        }
    }

    /// Makes the vault, and gives its writer.
    pub(crate) async fn new(folder: &Path) -> (Self, Writer) {
        let mut founded = Self::at(folder).await;
        let name: VaultName = "scale".parse().unwrap();
        let age = AgeIdentity::generate();
        founded.recipients = vec![Recipient::new("operator", &age.recipient()).unwrap()];
        let identity = Identity::new(VAULT, name.clone(), age, root());
        std::fs::write(founded.identity_path(), identity.to_text().as_bytes()).unwrap();
        let header = VaultHeader::new(VAULT, name, root().public(), founded.context.now_millis());
        let site = founded.site.site.clone();
        put_same(
            site.as_ref(),
            &ObjectName::header(VAULT),
            &header.seal(&root()),
        )
        .await
        .unwrap();
        let generation = Generation(1);
        let key = secrets()
            .seal(VAULT, generation, &founded.recipients)
            .unwrap();
        put_same(
            site.as_ref(),
            &ObjectName::vault_key(VAULT, generation),
            &key,
        )
        .await
        .unwrap();
        let recipients = RecipientsSet::sign(
            &root(),
            VAULT,
            generation,
            founded.recipients.clone(),
            Hash::of(&key.to_bytes()),
            0,
        );
        let mut writer = founded.writer(State::start(header), Epoch(1)).await;
        let member = MemberJoined {
            site: site.name().clone(),
            url: site.url().into(),
            who: "bench".into(),
        };
        let found = Proposal::Found {
            members: vec![member],
            recipients,
            policy: None,
        };
        propose(&founded, &mut writer, &found).await;
        (founded, writer)
    }

    fn identity_path(&self) -> PathBuf {
        self.folder.join("identity")
    }

    /// Who opens it.
    pub(crate) fn identity(&self) -> Identity {
        let text = std::fs::read(self.identity_path()).unwrap();
        Identity::read(&text, || unreachable!("it is not protected")).unwrap()
    }

    /// Takes the vault over.
    pub(crate) async fn writer(&self, state: State, epoch: Epoch) -> Writer {
        let key = SecretKey::new(&[2; 32]);
        let credentials = Credentials {
            coordinator: "bench".into(),
            certificate: Certificate::make(&root(), VAULT, key.public(), "bench", 0),
            key,
        };
        let nonce = ClaimNonce(self.context.random());
        let claimant = Claimant { epoch, nonce };
        let (site, stop) = (self.site.site.clone(), CancellationToken::new());
        let taken = Writer::take_over(&self.context, site, credentials, claimant, state, stop);
        match taken.await.unwrap() {
            Takeover::Owner(writer) => *writer,
            other => panic!("{other:?}"),
        }
    }

    /// Its state, as whoever opens it folds it.
    pub(crate) async fn state(&self) -> State {
        let site: Arc<dyn holdfast_store::SiteReader> = self.site.site.clone();
        open_state(&site, VAULT, &self.cache).await.unwrap()
    }

    /// Bytes of the objects whose names start so.
    pub(crate) async fn bytes_of(&self, folder: &str) -> u64 {
        let prefix = format!("{}{folder}/", ObjectName::vault_prefix(VAULT));
        let listed = self.site.site.list(&prefix, None).await.unwrap();
        listed.iter().map(|info| info.size).sum()
    }

    /// Saves the fold, and makes it count.
    pub(crate) async fn save(&self, writer: &mut Writer) {
        writer.settle(&self.cache).unwrap();
        let state = writer.state().read().unwrap().clone();
        let made = holdfast_vault::checkpoint::save(&state, &self.site, false).await;
        writer.append(vec![made.unwrap().into()]).await.unwrap();
    }
}

/// Checks a proposal as the writer does in its turn.
pub(crate) fn checked(
    founded: &Founded,
    writer: &Writer,
    proposal: &Proposal,
) -> Result<Draft, Refusal> {
    let mut draft = Draft::default();
    let state = writer.state().read().unwrap();
    let now = founded.context.now_millis();
    match draft.add(&state, &mut Promises::default(), now, proposal) {
        Outcome::Refused(refusal) => Err(refusal),
        Outcome::Taken | Outcome::Nothing | Outcome::Later => Ok(draft),
    }
}

/// Checks a proposal and appends its record.
pub(crate) async fn propose(founded: &Founded, writer: &mut Writer, proposal: &Proposal) {
    let draft = checked(founded, writer, proposal).unwrap();
    writer.append(draft.into_facts()).await.unwrap();
}
