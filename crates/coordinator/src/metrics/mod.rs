//! Metrics for Prometheus, over plain HTTP: `/metrics`, and `/livez` and `/readyz` for whoever supervises the process.
//!
//! State: none. Every figure is asked for when it is wanted, and nothing is kept of a vault that is gone. It tells names of
//! vaults, sites and sources; it holds no secret and changes nothing.

mod node;
mod page;
mod vault;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use self::page::Page;
use crate::error::Result;
use crate::node::Node;
use crate::serve::bind_tcp;

/// Binds. A used port is an error that says so.
pub async fn bind(at: SocketAddr) -> Result<TcpListener> {
    bind_tcp(at).await
}

/// Serves until its task is ended. It goes on while the node stops, and is not waited for: whoever asks without an end keeps
/// nobody from stopping.
pub async fn serve(node: Arc<Node>, listener: TcpListener) {
    let routes = Router::new()
        .route("/metrics", get(tell))
        .route("/livez", get(|| async { "it lives\n" }))
        .route("/readyz", get(is_ready))
        .with_state(node);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "metrics are served no longer; start the coordinator again to have them back");
    }
}

async fn tell(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let mut page = Page::default();
    node::tell(&node, &mut page).await;
    vault::tell(&node, &mut page);
    ([(header::CONTENT_TYPE, page::CONTENT_TYPE)], page.text())
}

/// It serves from the moment on when it listens, until it gives its vaults up.
async fn is_ready(State(node): State<Arc<Node>>) -> (StatusCode, &'static str) {
    match node.stop.is_cancelled() {
        false => (StatusCode::OK, "it is ready\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "it stops\n"),
    }
}
