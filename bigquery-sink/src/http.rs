//! `/metrics`, `/healthz`, `/readyz`, records that are posted, and which records of an epoch are
//! durable. Nothing of a record is shown.

use std::{collections::HashSet, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use contract::Epoch;
use serde::Serialize;

use crate::{
    health::Health,
    metrics::Metrics,
    row::Rows,
    spool::{Places, Spool, SpoolError},
    writer::Writer,
};

/// What the pages are made of.
#[derive(Clone)]
pub struct Pages {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What BigQuery said.
    pub health: Arc<Health>,
    /// The queue.
    pub spool: Spool,
    /// Reads records that are posted.
    pub rows: Arc<Rows>,
    /// Takes them.
    pub writer: Writer,
}

/// The HTTP service for who has no certificate: nothing of a record can be learned or changed.
pub fn probes(pages: Pages) -> Router {
    looks().with_state(pages)
}

fn looks() -> Router<Pages> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
}

/// The HTTP service.
pub fn router(pages: Pages) -> Router {
    looks()
        .route("/v1/epochs/{id}", get(epoch))
        .route("/v1/records", post(records))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(pages)
}

/// The spool's state is behind a lock that is held while the disk syncs, hence the other thread.
async fn aside<T: Send + 'static>(
    pages: Pages,
    work: impl FnOnce(&Pages) -> T + Send + 'static,
) -> Result<T, StatusCode> {
    tokio::task::spawn_blocking(move || work(&pages))
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn metrics(State(pages): State<Pages>) -> Result<Response, StatusCode> {
    let text = aside(pages, |pages| {
        pages.metrics.render(&pages.spool, crate::now())
    })
    .await?
    .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, format)], text).into_response())
}

/// 503 once a write failed; the process ends soon after.
async fn healthz(State(pages): State<Pages>) -> Response {
    if pages.spool.failed() {
        (StatusCode::SERVICE_UNAVAILABLE, "the spool has failed\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

async fn readyz(State(pages): State<Pages>) -> Result<Response, StatusCode> {
    let readiness = aside(pages, |pages| {
        pages.health.readiness(&pages.spool, Instant::now())
    })
    .await?;
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(readiness)).into_response())
}

/// The answer of `/v1/epochs/{id}`.
#[derive(Serialize)]
struct EpochPlaces {
    /// 32 hex digits.
    epoch: String,
    #[serde(flatten)]
    places: Places,
}

/// What is told here is on disk: it survives a crash and gets into BigQuery.
async fn epoch(
    State(pages): State<Pages>,
    Path(id): Path<String>,
) -> Result<Json<EpochPlaces>, StatusCode> {
    let epoch = data_encoding::HEXLOWER.decode(id.as_bytes());
    let epoch = epoch.ok().and_then(|bytes| bytes.try_into().ok());
    let epoch = Epoch(epoch.ok_or(StatusCode::NOT_FOUND)?);
    let places = places(pages, vec![epoch]).await?;
    let one = places.into_iter().next();
    one.map(Json).ok_or(StatusCode::NOT_FOUND)
}

/// What is durable of epochs; of those that are not known, nothing is said.
async fn places(pages: Pages, epochs: Vec<Epoch>) -> Result<Vec<EpochPlaces>, StatusCode> {
    let places = aside(pages, move |pages| {
        let mut known = Vec::new();
        for epoch in epochs {
            if let Some(places) = pages.spool.places(epoch)? {
                let epoch = epoch.to_string();
                known.push(EpochPlaces { epoch, places });
            }
        }
        Ok::<_, SpoolError>(known)
    });
    places.await?.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

/// The answer of `/v1/records`: what is durable of each epoch that a record was of.
#[derive(Serialize)]
struct Taken {
    epochs: Vec<EpochPlaces>,
}

/// Takes sealed records, each behind its length as protobuf delimits messages. The answer comes when
/// they are durable; what is no record is kept as a dead letter, as if the access log had brought it.
async fn records(State(pages): State<Pages>, body: Bytes) -> Result<Json<Taken>, StatusCode> {
    let records = delimited(body).ok_or(StatusCode::BAD_REQUEST)?;
    let now = crate::now();
    let rows: Vec<_> = records
        .into_iter()
        .map(|record| pages.rows.of_record(record, now))
        .collect();
    let epochs: HashSet<Epoch> = rows
        .iter()
        .filter_map(|(_, entry)| entry.place.map(|(epoch, _)| epoch))
        .collect();
    if !rows.is_empty() {
        let written = pages.writer.write_durably(rows).await;
        written.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    }
    let epochs = places(pages, epochs.into_iter().collect()).await?;
    Ok(Json(Taken { epochs }))
}

/// The messages of a body, which share its memory; `None` if it is cut.
fn delimited(mut body: Bytes) -> Option<Vec<Bytes>> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let length = prost::decode_length_delimiter(&mut body).ok()?;
        if length > body.len() {
            return None;
        }
        messages.push(body.split_to(length));
    }
    Some(messages)
}

/// Largest body of records: the filter sends 4 MiB, or one record that is longer.
const MAX_BODY_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_apart_at_their_lengths() {
        let of = |body: &'static [u8]| delimited(Bytes::from_static(body));
        assert_eq!(of(b""), Some(Vec::new()));
        let two = vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        assert_eq!(of(b"\x02ab\x01c"), Some(two));
        let cut: [&[u8]; 3] = [b"\x02a", b"\xff", &[0xff; 11]];
        assert!(cut.into_iter().all(|body| of(body).is_none()));
    }
    use crate::spool::Limits;

    #[tokio::test]
    async fn health_turns_bad_when_the_spool_fails() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            max_bytes: 1 << 20,
            min_free_bytes: 0,
        };
        let spool = Spool::open(folder.path(), limits).unwrap();
        let (writer, _writing) = Writer::start(spool.clone(), Arc::default(), None);
        let pages = Pages {
            metrics: Arc::default(),
            health: Arc::default(),
            spool: spool.clone(),
            rows: Arc::new(Rows {
                keys: Vec::new(),
                deployment: None,
                max_row_bytes: 1 << 20,
            }),
            writer,
        };
        pages.health.table_seen();
        assert_eq!(healthz(State(pages.clone())).await.status(), 200);
        assert_eq!(readyz(State(pages.clone())).await.unwrap().status(), 200);
        spool.fail(SpoolError::Failed);
        assert_eq!(healthz(State(pages.clone())).await.status(), 503);
        assert_eq!(readyz(State(pages.clone())).await.unwrap().status(), 503);
    }
}
