//! gRPC services over a node. Wire types are turned into ours here and go no further.

mod backup;
pub(crate) mod convert;
mod operations;
mod restore;
mod retention;
mod vaults;
mod verification;

use std::sync::Arc;

use holdfast_proto::v1::backup_server::BackupServer;
use holdfast_proto::v1::operations_server::OperationsServer;
use holdfast_proto::v1::restore_server::RestoreServer;
use holdfast_proto::v1::retention_server::RetentionServer;
use holdfast_proto::v1::vaults_server::VaultsServer;
use tonic::service::Routes;

use crate::node::Node;

pub use backup::{Requests as SessionRequests, Sender as SessionAnswers};
pub use restore::{Requests as FetchRequests, Sender as FetchAnswers};

/// The largest message that is taken or sent: a frame of the largest chunk, or a long list.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// All services of a node. Its methods are those of the generated traits: whoever lives in the same process (a simulation)
/// calls them as they stand, without a transport.
#[derive(Debug, Clone)]
pub struct Service {
    node: Arc<Node>,
}

impl Service {
    /// The services of a node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Does work of several steps to its end, even if whoever asked for it is gone by then. tonic drops a call whose
    /// client hangs up: a failover that ends between its seal and its claim leaves a site that has to be brought back.
    async fn to_its_end<T, F>(&self, work: impl FnOnce(Self) -> F) -> crate::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = crate::Result<T>> + Send + 'static,
    {
        let done = self.node.context.spawn(work(self.clone())).await;
        done.map_err(|error| crate::Error::Bug(format!("what was asked for ended: {error}")))?
    }
}

/// All services of a node, with reflection (both versions) and health.
pub async fn routes(node: Arc<Node>) -> crate::Result<Routes> {
    let service = Service::new(node);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<VaultsServer<Service>>().await;
    health.set_serving::<BackupServer<Service>>().await;
    health.set_serving::<RestoreServer<Service>>().await;
    health.set_serving::<RetentionServer<Service>>().await;
    health.set_serving::<OperationsServer<Service>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(holdfast_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let bug = |error: tonic_reflection::server::Error| crate::Error::Bug(error.to_string());
    let v1 = reflection().build_v1().map_err(bug)?;
    // Python's grpcio-reflection speaks only this one.
    let v1alpha = reflection().build_v1alpha().map_err(bug)?;
    macro_rules! sized {
        ($server:ident) => {
            $server::new(service.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
    }
    Ok(Routes::new(sized!(VaultsServer))
        .add_service(sized!(BackupServer))
        .add_service(sized!(RestoreServer))
        .add_service(sized!(RetentionServer))
        .add_service(sized!(OperationsServer))
        .add_service(health_service)
        .add_service(v1)
        .add_service(v1alpha))
}
