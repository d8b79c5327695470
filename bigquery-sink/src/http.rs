//! `/metrics`, `/healthz`, `/readyz`, and which records of an epoch are durable. Nothing of a record
//! is shown.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use contract::Epoch;
use serde::Serialize;

use crate::{
    health::Health,
    metrics::Metrics,
    spool::{Places, Spool},
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
}

/// The HTTP service.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/epochs/{id}", get(epoch))
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
    let places = aside(pages, move |pages| pages.spool.places(epoch)).await?;
    let places = places.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let places = places.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(EpochPlaces { epoch: id, places }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Limits, SpoolError};

    #[tokio::test]
    async fn health_turns_bad_when_the_spool_fails() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            max_bytes: 1 << 20,
            min_free_bytes: 0,
        };
        let spool = Spool::open(folder.path(), limits).unwrap();
        let pages = Pages {
            metrics: Arc::default(),
            health: Arc::default(),
            spool: spool.clone(),
        };
        pages.health.table_seen();
        assert_eq!(healthz(State(pages.clone())).await.status(), 200);
        assert_eq!(readyz(State(pages.clone())).await.unwrap().status(), 200);
        spool.fail(SpoolError::Failed);
        assert_eq!(healthz(State(pages.clone())).await.status(), 503);
        assert_eq!(readyz(State(pages.clone())).await.unwrap().status(), 503);
    }
}
