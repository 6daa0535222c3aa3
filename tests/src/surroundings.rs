//! What `cargo xtask test` tells the tests by environment variables. One that is missing fails the test that asks:
//! nothing is skipped.

use std::path::PathBuf;

/// The variable's value.
///
/// # Panics
/// If it is not set, with what to do.
fn told(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set: run `cargo xtask test`, or start the servers with `cargo xtask servers`, set what \
             it prints, and set HOLDFAST_TEST_BINARY to the built holdfast"
        )
    })
}

/// The built binary.
pub fn binary() -> PathBuf {
    told("HOLDFAST_TEST_BINARY").into()
}

/// A placement URL in etcd, below a prefix that nobody else has.
pub fn etcd(prefix: &str) -> String {
    let url = told("HOLDFAST_TEST_ETCD");
    let hosts = url.trim_start_matches("http://").trim_end_matches('/');
    format!("etcd://{hosts}/{}-{prefix}", unique())
}

/// A Python with grpcio and grpcio-reflection.
pub fn python() -> PathBuf {
    told("HOLDFAST_TEST_PYTHON").into()
}

/// Whether long tests are to be short.
pub fn is_quick() -> bool {
    std::env::var_os("HOLDFAST_TEST_QUICK").is_some()
}

/// The S3 server.
#[derive(Debug, Clone)]
pub struct S3 {
    /// `http://HOST:PORT`.
    pub endpoint: String,
    /// Who asks.
    pub access_key: String,
    /// Who asks.
    pub secret_key: String,
    /// What requests are signed for.
    pub region: String,
    /// Two buckets.
    pub buckets: [String; 2],
}

/// The S3 server and its two buckets.
pub fn s3() -> S3 {
    S3 {
        endpoint: told("HOLDFAST_TEST_S3"),
        access_key: told("HOLDFAST_TEST_S3_ACCESS_KEY"),
        secret_key: told("HOLDFAST_TEST_S3_SECRET_KEY"),
        region: told("HOLDFAST_TEST_S3_REGION"),
        buckets: [
            told("HOLDFAST_TEST_S3_BUCKET_A"),
            told("HOLDFAST_TEST_S3_BUCKET_B"),
        ],
    }
}

impl S3 {
    /// The same server, reached at another address.
    #[must_use]
    pub fn at(self, endpoint: &str) -> Self {
        let endpoint = endpoint.to_owned();
        Self { endpoint, ..self }
    }

    /// A site in a bucket, below a prefix that nobody else has. The user's profile `test` has the keys.
    pub fn site(&self, bucket: usize, prefix: &str) -> String {
        format!(
            "s3://{}/{}-{prefix}?endpoint={}&region={}&profile=test",
            self.buckets[bucket],
            unique(),
            self.endpoint,
            self.region
        )
    }
}

/// The key of the account that [`azure`] is in; for a file that its URL names.
pub fn azure_key() -> String {
    told("HOLDFAST_TEST_AZURE_KEY")
}

/// A site at the Azure Blob server, below a prefix that nobody else has.
pub fn azure(prefix: &str, key_file: &str) -> String {
    format!(
        "az://{}/{}/{}-{prefix}?endpoint={}&key_file={key_file}",
        told("HOLDFAST_TEST_AZURE_ACCOUNT"),
        told("HOLDFAST_TEST_AZURE_CONTAINER"),
        unique(),
        told("HOLDFAST_TEST_AZURE")
    )
}

/// A mark that no other process and no other call has.
fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    format!("{}-{calls}", &random[..8])
}
