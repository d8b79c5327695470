//! Takes audit records from Envoy's access log, keeps them on disk and loads them into BigQuery.
//!
//! ```text
//! Envoy ─► receive ─► row ─► writer ─► spool ─► upload ─► bigquery
//!                              └ checkpoint
//! ```
//!
//! Exactly once from the moment a row is durable: see [`spool`] and [`upload`]. Beside it [`lineage`] reads
//! the rows that BigQuery has, and loads fingerprints of the code in them; [`lookup`] answers auditors,
//! [`orders`] takes down what officers order; both stand behind one `guard`.

pub mod bigquery;
pub mod checkpoint;
pub mod config;
mod guard;
pub mod health;
pub mod http;
pub mod lineage;
pub mod lookup;
pub mod metrics;
pub mod orders;
pub mod receive;
pub mod retry;
pub mod row;
pub mod serve;
pub mod spool;
pub mod tls;
pub mod upload;
pub mod writer;

/// The part of Envoy's access log service that the sink reads, generated.
#[allow(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated"
)]
pub mod envoy {
    tonic::include_proto!("envoy.service.accesslog.v3");
}

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Waits until the sink is to stop, also if nobody is left to say so.
pub(crate) async fn stopped(mut stop: tokio::sync::watch::Receiver<bool>) {
    let _gone = stop.wait_for(|stop| *stop).await;
}
