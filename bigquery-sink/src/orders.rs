//! `POST /v1/orders`: what an officer orders over recorded content, see [`Order`].
//!
//! The sink only writes it down, as a row of kind `order` that is on disk before the answer. Content is
//! taken away by `gate erase`, in BigQuery, and `gate verify` compares both.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use contract::{Envelope, Order};
use serde_json::json;

use crate::{
    guard::{Answer, Guard, People, Questions, Refusal, refusal},
    row::Origin,
    writer::Writer,
};

/// Name of the environment variable that says who may order.
pub const OFFICERS: &str = "GATE_OFFICERS";

/// Who may order.
#[derive(Clone, Debug)]
pub struct Settings(People);

impl Settings {
    /// Reads the value of [`OFFICERS`]; without officers there are none.
    ///
    /// # Errors
    ///
    /// What is wrong, without what was written.
    pub fn read(officers: Option<&str>) -> Result<Option<Self>, String> {
        Ok(People::read(OFFICERS, officers)?.map(Self))
    }
}

/// Takes orders.
pub struct Orders(Guard);

impl Orders {
    /// Takes them by `settings`; without, it says that there are none.
    pub fn new(settings: Option<Settings>, deployment: Option<String>, writer: Writer) -> Self {
        let questions = Questions {
            origin: Origin::Order,
            row: Envelope {
                kind: Some("order".into()),
                ..Envelope::default()
            },
            not_configured: "orders are not configured: the sink needs GATE_OFFICERS",
            unknown_token: "not an officer's token",
            too_many: "too many orders; wait as long as retry-after says",
            not_recorded: "the order cannot be recorded, so it is not taken",
        };
        let officers = settings.map(|Settings(officers)| officers);
        Self(Guard::new(questions, officers, deployment, writer))
    }
}

/// The part of the HTTP service that officers use.
pub fn router(orders: Orders) -> Router {
    Router::new()
        .route("/v1/orders", post(take))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(orders))
}

/// Answers with the `event_at` of the row, in microseconds since 1970.
async fn take(
    State(orders): State<Arc<Orders>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let taken = async {
        let order = read(body)?;
        let event_at = crate::now();
        let directive = serde_json::to_string(&order).map_err(|_| MALFORMED)?;
        Ok(Answer {
            row: Envelope {
                kind: Some("order".into()),
                event_at: Some(event_at),
                decision: Some(order.kind.name().into()),
                directive: Some(directive),
                ..Envelope::default()
            },
            body: json!({ "event_at": event_at }),
        })
    };
    orders.0.answer(&headers, taken).await
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<Order, Refusal> {
    let body = body.map_err(|_| TOO_LONG)?;
    let order: Order = serde_json::from_slice(&body).map_err(|_| MALFORMED)?;
    let checked = order.check();
    checked.map_err(|fault| refusal(StatusCode::BAD_REQUEST, "malformed", fault))?;
    Ok(order)
}

const TOO_LONG: Refusal = refusal(
    StatusCode::PAYLOAD_TOO_LARGE,
    "too_long",
    "the order is longer than 16 KiB, or broke off",
);

const MALFORMED: Refusal = refusal(
    StatusCode::BAD_REQUEST,
    "malformed",
    "not {\"kind\":…,\"order\":…} with what the kind needs",
);

/// Longest order.
const MAX_BODY_BYTES: usize = 16 << 10;
