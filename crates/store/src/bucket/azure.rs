//! How the client of a site at Azure Blob Storage is put together.

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use super::credentials;
use crate::error::Result;
use crate::url::BucketUrl;

/// The host of a storage account.
pub(super) fn authority(url: &BucketUrl) -> String {
    format!("{}.blob.core.windows.net", account(url))
}

fn account(url: &BucketUrl) -> &str {
    url.account.as_deref().unwrap_or_default()
}

/// A client's parts, but for what all dialects share. The account's key comes from a file; else the environment is
/// asked for a key, a signature or a principal, and the machine for its identity if it has none of these.
pub(super) fn builder(url: &BucketUrl) -> Result<MicrosoftAzureBuilder> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account(url))
        .with_container_name(&url.bucket);
    if let Some(endpoint) = &url.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/').into());
    }
    match &url.key_file {
        Some(path) => Ok(builder.with_credentials(credentials::of_azure(path)?)),
        None => Ok(of_environment(builder)),
    }
}

fn of_environment(builder: MicrosoftAzureBuilder) -> MicrosoftAzureBuilder {
    [
        ("AZURE_STORAGE_ACCOUNT_KEY", AzureConfigKey::AccessKey),
        ("AZURE_STORAGE_SAS_TOKEN", AzureConfigKey::SasKey),
        ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
        ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
        ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
        ("AZURE_AUTHORITY_HOST", AzureConfigKey::AuthorityHost),
        (
            "AZURE_FEDERATED_TOKEN_FILE",
            AzureConfigKey::FederatedTokenFile,
        ),
        ("IDENTITY_ENDPOINT", AzureConfigKey::MsiEndpoint),
    ]
    .into_iter()
    .fold(builder, |builder, (variable, key)| {
        match std::env::var(variable) {
            Ok(value) if !value.is_empty() => builder.with_config(key, value),
            _ => builder,
        }
    })
}
