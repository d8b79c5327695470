//! A small HTTP server (HTTP/1.1 and h2c on one port) that can vanish and come back.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::ports::loopback;

/// An answer's body; an error in it cuts the connection (or resets the stream).
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a handler gives back; an error cuts the connection before any header.
pub type Answered = io::Result<Response<Body>>;

type Handler = dyn Fn(Request<Incoming>, SocketAddr) -> BoxFuture<'static, Answered> + Send + Sync;

/// A server on 127.0.0.1.
pub struct Server {
    address: SocketAddr,
    handler: Arc<Handler>,
    accepted: Arc<AtomicUsize>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Listens on `port`, or on a free one if it is 0. The handler gets each request with the
    /// address of its connection's other end.
    pub async fn start<H>(port: u16, handler: H) -> Result<Self>
    where
        H: Fn(Request<Incoming>, SocketAddr) -> BoxFuture<'static, Answered>
            + Send
            + Sync
            + 'static,
    {
        let mut server = Self {
            address: loopback(port),
            handler: Arc::new(handler),
            accepted: Arc::default(),
            task: Mutex::default(),
        };
        let listener = TcpListener::bind(server.address)
            .await
            .with_context(|| format!("cannot listen on {}", server.address))?;
        server.address = listener.local_addr()?;
        server.run(listener);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Cuts all connections and refuses new ones.
    pub async fn down(&self) {
        let task = self.task.lock().unwrap().take();
        if let Some(task) = task {
            task.abort();
            drop(task.await);
        }
    }

    /// Listens again on the same port.
    pub async fn up(&self) -> Result<()> {
        self.down().await;
        self.run(TcpListener::bind(self.address).await?);
        Ok(())
    }

    fn run(&self, listener: TcpListener) {
        let (handler, accepted) = (Arc::clone(&self.handler), Arc::clone(&self.accepted));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // dropped, and so cut, with this task
            loop {
                let Ok((stream, peer)) = listener.accept().await else {
                    continue;
                };
                accepted.fetch_add(1, Ordering::SeqCst);
                // pieces of an answer must leave as they were cut
                drop(stream.set_nodelay(true));
                let handler = Arc::clone(&handler);
                connections.spawn(async move {
                    let service = service_fn(move |request| handler(request, peer));
                    let mut builder = auto::Builder::new(TokioExecutor::new());
                    builder.http1().half_close(false);
                    // a cut connection is what some handlers want
                    drop(
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
                while connections.try_join_next().is_some() {}
            }
        });
        *self.task.lock().unwrap() = Some(task);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }
}

/// A body that is sent whole.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer in JSON.
pub fn json(status: u16, value: &serde_json::Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-github-request-id", "FAKE:1")
        .body(whole(value.to_string()))
        .expect("a status and fixed headers")
}
