//! A wire between two neighbours: slow, or holding what is on it.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    join,
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

use crate::ports::loopback;

/// Takes connections in front of a neighbour. Bytes arrive there, and its answers come back, in
/// their order: so much later, and never while the relay holds them. Ends all of them when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    to: Arc<OnceLock<SocketAddr>>,
    holds: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens. Until [`Relay::lead`] says where to, connections are closed.
    pub async fn start(delay: Duration) -> Result<Arc<Self>> {
        let listener = TcpListener::bind(loopback(0)).await?;
        let address = listener.local_addr()?;
        let to = Arc::new(OnceLock::new());
        let holds = watch::Sender::new(false);
        let task = tokio::spawn(relay(listener, Arc::clone(&to), delay, holds.subscribe()));
        Ok(Arc::new(Self {
            address,
            to,
            holds,
            task,
        }))
    }

    /// Leads to this neighbour from now on; gives the address to connect to instead.
    pub fn lead(&self, to: SocketAddr) -> SocketAddr {
        self.to.set(to).expect("a relay leads to one neighbour");
        self.address
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing through while it holds; what came meanwhile goes on afterwards.
    pub fn hold(&self, holds: bool) {
        self.holds.send_replace(holds);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    listener: TcpListener,
    to: Arc<OnceLock<SocketAddr>>,
    delay: Duration,
    holds: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        if let Some(to) = to.get() {
            connections.spawn(connection(near, *to, delay, holds.clone()));
        }
    }
}

async fn connection(
    near: TcpStream,
    to: SocketAddr,
    delay: Duration,
    holds: watch::Receiver<bool>,
) -> Result<()> {
    let far = TcpStream::connect(to)
        .await
        .with_context(|| format!("nobody listens on {to}"))?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near, far) = (near.into_split(), far.into_split());
    join!(
        carry(near.0, far.1, delay, holds.clone()),
        carry(far.0, near.1, delay, holds)
    );
    Ok(())
}

/// One direction, to its end.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut holds: watch::Receiver<bool>,
) {
    let (under_way, mut arriving) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let reads = async move {
        let mut bytes = BytesMut::new();
        while from.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            let piece = (Instant::now() + delay, bytes.split().freeze());
            if under_way.send(piece).is_err() {
                return;
            }
        }
    };
    let writes = async move {
        while let Some((due, piece)) = arriving.recv().await {
            sleep_until(due).await;
            let free = holds.wait_for(|holds| !holds).await.is_ok();
            if !free || to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    join!(reads, writes);
}
