//! What the etcd tests start for themselves: servers, certificates, a line that can be cut.

pub(crate) mod certificates;
pub(crate) mod line;
pub(crate) mod server;
