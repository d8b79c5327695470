//! The API for the filter and for approvers' programs, probes and metrics.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, FromRequest, Path, Query, Request, State, rejection::BytesRejection,
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use contract::approval::{
    Answer, Ask, Consume, DecisionBody, DeskError, MAX_ASK_BYTES, Revocations,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    desk::{Desk, Fault, OwnedDecision},
    guard::Guard,
    ledger::LedgerError,
    session::Sessions,
    state::Refusal,
    store::StoreError,
};

/// What every handler needs; a clone is the same.
#[derive(Clone)]
pub struct App {
    /// The desk.
    pub desk: Arc<Desk>,
    /// Who may call.
    pub guard: Arc<Guard>,
    /// Who has signed in.
    pub sessions: Arc<Sessions>,
    /// Whether browsers come by TLS.
    pub tls: bool,
}

/// The API without the guard around it.
pub fn router() -> Router<App> {
    let asks = Router::new()
        .route("/v1/approvals", post(ask).get(list))
        .layer(DefaultBodyLimit::max(MAX_ASK_BYTES));
    Router::new()
        .route("/v1/approvals/{id}", get(look))
        .route("/v1/approvals/{id}/consume", post(consume))
        .route("/v1/approvals/{id}/decision", post(decide))
        .route("/v1/keys", get(keys))
        .route("/v1/revocations", get(revocations))
        .layer(DefaultBodyLimit::max(MAX_SMALL_BYTES))
        .merge(asks)
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
}

/// A refused or failed call: one status, one code of a closed list, one sentence.
pub struct Failure {
    /// Status.
    pub status: StatusCode,
    /// Code.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self {
            status,
            code,
            message: message.to_owned(),
        }
    }

    /// Counts it.
    #[must_use]
    pub fn counted(self, app: &App) -> Self {
        app.desk.metrics.failed(self.code);
        self
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let (status, code) = match &fault {
            Fault::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            Fault::WrongDeployment => (StatusCode::FORBIDDEN, "wrong_deployment"),
            Fault::Ledger(error) => match error {
                LedgerError::Unknown => (StatusCode::NOT_FOUND, "unknown_approval"),
                LedgerError::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many_pending"),
                LedgerError::Refused(refusal) => match refusal {
                    Refusal::NotNow(_) => (StatusCode::CONFLICT, "not_in_this_state"),
                    Refusal::NotForOne => (StatusCode::CONFLICT, "not_for_one_exchange"),
                    Refusal::Stale => (StatusCode::CONFLICT, "stale_version"),
                    Refusal::OwnRequest => (StatusCode::FORBIDDEN, "own_request"),
                    Refusal::Reason => (StatusCode::BAD_REQUEST, "reason_needed"),
                },
                LedgerError::Store(StoreError::Overloaded) => {
                    (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
                }
                LedgerError::NoId | LedgerError::Store(_) => {
                    (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
                }
            },
            Fault::NoRandom | Fault::NotSigned(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
        };
        // what the database said is for the log
        let message = match fault {
            Fault::Ledger(LedgerError::Store(_) | LedgerError::NoId) => {
                "the desk cannot store or read just now; try again".to_owned()
            }
            other => other.to_string(),
        };
        Self {
            status,
            code,
            message,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = DeskError {
            code: self.code.to_owned(),
            message: self.message,
        };
        let mut response = (self.status, Json(error)).into_response();
        let also = match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Some((header::RETRY_AFTER, "1"))
            }
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        };
        if let Some((name, value)) = also {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}

type Answered<T> = Result<Json<T>, Failure>;

async fn ask(State(app): State<App>, headers: HeaderMap, request: Request) -> Answered<Answer> {
    app.filter_only(&headers)?;
    let ask: Ask = body(&app, request).await?;
    app.done(app.desk.ask(ask).await)
}

/// For the filter with the grant, for approvers without.
async fn look(
    State(app): State<App>,
    headers: HeaderMap,
    Path(id): Path<String>,
    query: Result<Query<Wait>, axum::extract::rejection::QueryRejection>,
) -> Answered<Answer> {
    if let Some(approver) = app.guard.approver(&headers) {
        let seen = app.desk.view(&id, approver.to_owned()).await;
        return app.done(seen.map(|(approval, _)| app.desk.without_grant(&approval)));
    }
    app.filter_only(&headers)?;
    let Ok(Query(wait)) = query else {
        return Err(app.failure(StatusCode::BAD_REQUEST, "invalid", "wait_ms: not a number"));
    };
    app.done(app.desk.look(&id, wait.wait_ms).await)
}

async fn consume(
    State(app): State<App>,
    headers: HeaderMap,
    Path(id): Path<String>,
    request: Request,
) -> Answered<Answer> {
    app.filter_only(&headers)?;
    let Consume { exchange } = body(&app, request).await?;
    app.done(app.desk.consume(&id, exchange).await)
}

async fn decide(
    State(app): State<App>,
    headers: HeaderMap,
    Path(id): Path<String>,
    request: Request,
) -> Answered<Answer> {
    let approver = app.approver_only(&headers)?;
    let body: DecisionBody = body(&app, request).await?;
    let decision = OwnedDecision {
        approver,
        verdict: body.verdict,
        reason: body.reason,
        version: body.version,
    };
    app.done(app.desk.decide(&id, decision).await)
}

async fn list(State(app): State<App>, headers: HeaderMap) -> Answered<List> {
    app.approver_only(&headers)?;
    let listed = app.desk.list(true).await.map(|(approvals, pending)| List {
        pending,
        approvals: approvals
            .iter()
            .map(|(approval, _)| Listed {
                answer: app.desk.without_grant(approval),
                person: approval.terms.person.clone(),
                role: approval.role.clone(),
                endpoint: approval.endpoint.clone(),
                model: approval.model.clone(),
                rule: approval.rule.clone(),
                approvers: approval.approvers.clone(),
                asked_at: approval.asked_at,
            })
            .collect(),
    });
    app.done(listed)
}

async fn keys(State(app): State<App>, headers: HeaderMap) -> Answered<Value> {
    app.filter_only(&headers)?;
    Ok(Json(app.desk.keys.published().clone()))
}

async fn revocations(
    State(app): State<App>,
    headers: HeaderMap,
    query: Result<Query<After>, axum::extract::rejection::QueryRejection>,
) -> Answered<Revocations> {
    app.filter_only(&headers)?;
    let Ok(Query(after)) = query else {
        return Err(app.failure(StatusCode::BAD_REQUEST, "invalid", "after: not a number"));
    };
    app.done(app.desk.revocations(after.after).await)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(app): State<App>) -> Response {
    let works = app.desk.pending().await.is_ok() && !app.desk.store.failing();
    if works {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the database fails\n").into_response()
    }
}

async fn metrics(State(app): State<App>) -> Result<Response, StatusCode> {
    let pending = app.desk.pending().await.unwrap_or_default();
    let text = app.desk.metrics.render(app.desk.waiters.count(), pending);
    let text = text.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, format)], text).into_response())
}

/// What waits, for approvers' programs.
#[derive(Serialize)]
struct List {
    pending: u64,
    approvals: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    answer: Answer,
    person: String,
    role: String,
    endpoint: String,
    model: String,
    rule: String,
    approvers: String,
    asked_at: i64,
}

#[derive(Deserialize)]
struct Wait {
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

impl App {
    fn filter_only(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.guard.is_filter(headers) {
            return Ok(());
        }
        let message = "the gateway's token is needed";
        Err(self.failure(StatusCode::UNAUTHORIZED, "unauthenticated", message))
    }

    fn approver_only(&self, headers: &HeaderMap) -> Result<String, Failure> {
        let approver = self.guard.approver(headers).map(str::to_owned);
        let message = "an approver's token is needed";
        approver.ok_or_else(|| self.failure(StatusCode::UNAUTHORIZED, "unauthenticated", message))
    }

    fn failure(&self, status: StatusCode, code: &'static str, message: &str) -> Failure {
        Failure::new(status, code, message).counted(self)
    }

    fn done<T>(&self, done: Result<T, Fault>) -> Answered<T> {
        done.map(Json)
            .map_err(|fault| Failure::from(fault).counted(self))
    }
}

/// The body as JSON, whatever it is said to be.
async fn body<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, Failure> {
    let bytes = Bytes::from_request(request, &()).await;
    let bytes = bytes.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(inner)
            if inner.status() == StatusCode::PAYLOAD_TOO_LARGE =>
        {
            app.failure(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is too large",
            )
        }
        _ => app.failure(
            StatusCode::BAD_REQUEST,
            "invalid",
            "the body did not arrive",
        ),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        // where, but not what: serde's own words can hold what was sent
        let message = format!("the body cannot be read at column {}", error.column());
        app.failure(StatusCode::BAD_REQUEST, "invalid", &message)
    })
}

/// Largest body of everything but an ask.
const MAX_SMALL_BYTES: usize = 16 * 1024;
