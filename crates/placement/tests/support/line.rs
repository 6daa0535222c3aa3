//! A TCP line to a server that a test can cut and mend.

use std::future::pending;

use holdfast_context::Context;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::server::free_port;

/// Listens on a port of its own and passes bytes on to another.
pub(crate) struct Line {
    context: Context,
    port: u16,
    target: u16,
    task: Option<JoinHandle<()>>,
    /// When this changes, every connection that exists stands still; `true`: so do those made later.
    frozen: watch::Sender<bool>,
}

impl Line {
    pub(crate) async fn to(target: u16) -> Self {
        let mut line = Self {
            context: Context::system(),
            port: free_port(),
            target,
            task: None,
            frozen: watch::Sender::new(false),
        };
        line.mend().await;
        line
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Breaks every connection; new ones are refused.
    pub(crate) async fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            assert!(task.await.is_err_and(|error| error.is_cancelled()));
        }
    }

    /// Has every connection stand still without closing it, as when a host loses power; new ones work.
    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(false);
    }

    /// Has every connection stand still, and new ones from the start.
    pub(crate) fn hang(&self) {
        self.frozen.send_replace(true);
    }

    pub(crate) async fn mend(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let (target, frozen) = (self.target, self.frozen.clone());
        self.task = Some(self.context.spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut frozen = frozen.subscribe();
                connections.spawn(async move {
                    if *frozen.borrow() {
                        pending::<()>().await;
                    }
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", target)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        Ok(()) = frozen.changed() => pending().await,
                    }
                });
            }
        }));
    }
}
