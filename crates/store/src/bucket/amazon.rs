//! How the client of an S3 site is put together.

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};

use super::credentials;
use crate::error::Result;
use crate::options::SiteOptions;
use crate::url::BucketUrl;

/// Amazon's own host of a bucket.
pub(super) fn authority(url: &BucketUrl) -> String {
    format!("{}.s3.{}.amazonaws.com", url.bucket, region(url))
}

fn region(url: &BucketUrl) -> String {
    let region = url.region.clone().or_else(region_of_environment);
    region.unwrap_or_else(|| "us-east-1".into())
}

fn region_of_environment() -> Option<String> {
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|variable| {
            std::env::var(variable)
                .ok()
                .filter(|region| !region.is_empty())
        })
}

/// A client's parts, but for what all dialects share.
pub(super) fn builder(url: &BucketUrl, options: &SiteOptions) -> Result<AmazonS3Builder> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&url.bucket)
        .with_region(region(url))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Deletions in bulk are not understood by every server, and tell nothing of versions.
        .with_disable_bulk_delete(true)
        .with_virtual_hosted_style_request(url.endpoint.is_none());
    if let Some(endpoint) = &url.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    match credentials::of_s3(url, options)? {
        Some(credentials) => Ok(builder.with_credentials(credentials)),
        None => Ok(of_machine(builder)),
    }
}

/// Names what the environment says of a container's or a pod's credentials; without any of it, the instance is asked.
fn of_machine(builder: AmazonS3Builder) -> AmazonS3Builder {
    [
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            AmazonS3ConfigKey::WebIdentityTokenFile,
        ),
        ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
        ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
        (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
        ),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
        ),
    ]
    .into_iter()
    .fold(builder, |builder, (variable, key)| {
        match std::env::var(variable) {
            Ok(value) if !value.is_empty() => builder.with_config(key, value),
            _ => builder,
        }
    })
}
