//! The coordinator of the demo: a real node with a real socket, as `holdfast coordinator` runs it, in this process.
//!
//! State: the node, the task that serves it. It ends in good order; what it listens on is a unix socket in the demo's
//! own folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast_agent::client::{Connection, Endpoint, TlsFiles};
use holdfast_coordinator::Node;
use holdfast_coordinator::serve::{Address, Listener, serve};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::folder::Scratch;
use super::sites::{OFFSITE, ONSITE, url};
use crate::args::NamedUrl;
use crate::call::Call;
use crate::coordinator::{Settings, start_node};
use crate::failure::{Failure, Outcome};

/// The coordinator's data folder.
pub(super) const DATA: &str = "coordinator";

/// The kernel takes no longer path of a socket (108 bytes with the end), and ours needs its name.
const SOCKET_PATH_MAX: usize = 100;

/// Giving up vaults in order takes no longer, unless something hangs.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// See the module header.
#[derive(Debug)]
pub(super) struct Stage {
    node: Arc<Node>,
    serving: JoinHandle<holdfast_coordinator::Result<()>>,
    socket: PathBuf,
    /// Where the socket is if the demo's own folder has too long a name.
    _elsewhere: Option<tempfile::TempDir>,
}

impl Stage {
    /// Starts a coordinator over the two sites.
    pub(super) async fn start(call: &Call, scratch: &Scratch) -> Outcome<Self> {
        let data = scratch.at(DATA);
        std::fs::create_dir(&data).map_err(|error| Failure::file(&data, error))?;
        let site = |name: &str| -> Outcome<NamedUrl> {
            Ok(NamedUrl {
                name: name.parse()?,
                url: url(scratch.path(), name),
            })
        };
        let settings = Settings::usual(data.clone(), vec![site(ONSITE)?, site(OFFSITE)?]);
        let (socket, elsewhere) = socket_in(&data)?;
        let address = Address::Unix(socket.clone());
        let listener = Listener::bind(&address).await.map_err(Failure::new)?;
        let told = vec![listener.address()];
        let stop = CancellationToken::new();
        let node = start_node(&call.context, &settings, told, stop).await?;
        let serving = call.context.spawn(serve(node.clone(), listener));
        Ok(Self {
            node,
            serving,
            socket,
            _elsewhere: elsewhere,
        })
    }

    /// The way to it, as every client goes.
    pub(super) async fn connect(&self) -> Outcome<Connection> {
        let endpoint = Endpoint::Unix(self.socket.clone());
        Ok(Connection::open(&[endpoint], &TlsFiles::default()).await?)
    }

    /// Stops it: vaults are given up in order.
    pub(super) async fn stop(self) -> Outcome<()> {
        let stopped = async {
            self.node.shut_down().await;
            self.serving.await
        };
        match tokio::time::timeout(STOP_WITHIN, stopped).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(Failure::new(error)),
            Ok(Err(error)) => Err(Failure::new(error)),
            Err(_) => Err(Failure::new("the coordinator does not stop")),
        }
    }
}

fn socket_in(data: &Path) -> Outcome<(PathBuf, Option<tempfile::TempDir>)> {
    let usual = data.join("holdfast.sock");
    if usual.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok((usual, None));
    }
    let elsewhere = tempfile::Builder::new()
        .prefix("holdfast-demo-")
        .tempdir_in("/tmp")
        .map_err(|error| Failure::file(Path::new("/tmp"), error))?;
    Ok((elsewhere.path().join("holdfast.sock"), Some(elsewhere)))
}
