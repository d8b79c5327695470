//! Envoy's access log service: log entries in, rows into the spool.
//!
//! The protocol has no acknowledgement, so all that can be done for what is on the way is to take
//! it fast and to say "wait" in time: a stream is read only while the spool's writer has room, which
//! closes the HTTP/2 window towards Envoy. Nothing is dropped here.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use crate::{
    envoy::{
        StreamAccessLogsMessage, StreamAccessLogsResponse,
        access_log_service_server::{AccessLogService, AccessLogServiceServer},
        stream_access_logs_message::LogEntries,
    },
    metrics::Metrics,
    row::Rows,
    writer::Writer,
};

/// Takes access logs; a clone is the same service.
#[derive(Clone)]
pub struct Receiver {
    rows: Arc<Rows>,
    writer: Writer,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
}

impl Receiver {
    /// Makes a service that ends its streams once `stop` says so.
    pub fn new(
        rows: Arc<Rows>,
        writer: Writer,
        metrics: Arc<Metrics>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            rows,
            writer,
            metrics,
            stop,
        }
    }

    /// The gRPC service.
    pub fn into_service(self) -> AccessLogServiceServer<Self> {
        AccessLogServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Takes what a stream brings until it ends or the sink is to stop.
    async fn take_all(
        mut self,
        mut stream: Streaming<StreamAccessLogsMessage>,
    ) -> Result<(), Status> {
        let metrics = Arc::clone(&self.metrics);
        let _open = Open::new(&metrics);
        loop {
            let message = tokio::select! {
                message = stream.message() => message?,
                _ = self.stop.wait_for(|stop| *stop) => break,
            };
            let Some(message) = message else {
                return Ok(());
            };
            self.take(message).await?;
        }
        // What Envoy has sent already is still taken, what it would send next is not awaited.
        let end = Instant::now() + LAST_READ;
        while let Ok(Ok(Some(message))) = timeout(LAST_WAIT, stream.message()).await {
            self.take(message).await?;
            if Instant::now() >= end {
                break;
            }
        }
        Ok(())
    }

    async fn take(&self, message: StreamAccessLogsMessage) -> Result<(), Status> {
        let entries = match message.log_entries {
            Some(LogEntries::HttpLogs(logs)) => logs.log_entry,
            Some(LogEntries::TcpLogs(logs)) => {
                // The gate has no TCP listener; somebody else's logs are not audit records.
                warn!(entries = logs.log_entry.len(), "ignored TCP log entries");
                return Ok(());
            }
            None => return Ok(()),
        };
        let now = crate::now();
        let rows = entries
            .into_iter()
            .map(|entry| self.rows.of(entry, now))
            .collect();
        self.writer
            .write(rows)
            .await
            .map_err(|_| Status::unavailable("the spool is closed"))
    }
}

#[tonic::async_trait]
impl AccessLogService for Receiver {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        // In a task of its own: this call is dropped when Envoy goes away, and with it would go a
        // message that waits for room.
        let task = tokio::spawn(self.clone().take_all(request.into_inner()));
        let result = task
            .await
            .unwrap_or_else(|_| Err(Status::internal("the task has ended")));
        if let Err(status) = &result {
            debug!(code = ?Status::code(status), "access log stream ended");
        }
        result.map(|()| Response::new(StreamAccessLogsResponse {}))
    }
}

/// Counts a stream for as long as it lives, however it ends.
struct Open<'a>(&'a Metrics);

impl<'a> Open<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.stream_opened();
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.stream_closed();
    }
}

/// Largest message of log entries; Envoy sends what its buffer holds at once.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// How long a stream is quiet before it is closed for a stop.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// How long a stream that is never quiet is read before it is closed for a stop.
const LAST_READ: Duration = Duration::from_secs(1);
