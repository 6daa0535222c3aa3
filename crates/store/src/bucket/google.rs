//! How the client of a site at Google Cloud Storage is put together. Untried on the real thing: there is no emulator that
//! keeps its rules, so that the probe alone says whether it works.

use object_store::gcp::GoogleCloudStorageBuilder;

use crate::url::BucketUrl;

/// The host of all buckets.
pub(super) const AUTHORITY: &str = "storage.googleapis.com";

/// A client's parts, but for what all dialects share. The service account's key comes from a file; else it is the
/// application's default credentials, or the machine's own.
pub(super) fn builder(url: &BucketUrl) -> GoogleCloudStorageBuilder {
    let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(&url.bucket);
    if let Some(endpoint) = &url.endpoint {
        builder = builder.with_base_url(endpoint.as_str().trim_end_matches('/'));
    }
    if let Some(path) = &url.key_file {
        return builder.with_service_account_path(path.display().to_string());
    }
    match std::env::var("GOOGLE_APPLICATION_CREDENTIALS") {
        Ok(path) if !path.is_empty() => builder.with_application_credentials(path),
        _ => builder,
    }
}
