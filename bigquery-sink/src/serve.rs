//! HTTP/1.1 for callers that may be gone before they are answered.
//!
//! An Envoy that stops hands over its last records and closes the connection at once. What such a
//! caller has sent whole is taken all the same, which `axum::serve` would not do: it drops a request
//! as soon as it sees the end of its connection.

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown, service::TowerToHyperService};
use tokio::{select, sync::watch, task::JoinHandle};
use tracing::debug;

/// Serves pages until `stop` says so and requests that came until then are answered.
pub fn serve<L: Listener>(
    mut listener: L,
    pages: Router,
    mut stop: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let mut http = http1::Builder::new();
    http.half_close(true);
    let service = TowerToHyperService::new(pages);
    tokio::spawn(async move {
        let open = GracefulShutdown::new();
        loop {
            select! {
                (stream, _) = listener.accept() => {
                    let connection = http.serve_connection(TokioIo::new(stream), service.clone());
                    let connection = open.watch(connection);
                    tokio::spawn(async move {
                        if let Err(error) = connection.await {
                            debug!(%error, "a connection ended early");
                        }
                    });
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        open.shutdown().await;
    })
}
