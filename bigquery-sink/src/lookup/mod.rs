//! `POST /v1/fingerprints`: under which fingerprints records hold a secret that an auditor has.
//!
//! Who may ask can try passwords here, so that each question needs a token, there are few in a
//! minute, and none is answered before it is on disk as a row of kind `lookup`: who asked, and for
//! which fingerprints. The value itself goes nowhere.

mod auditors;
mod limit;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use contract::{Envelope, RECORD_VERSION};
use filter_core::{
    mask::{MaskKeys, Recorded, is_detector_name, recorded_as},
    worker::{FINGERPRINT_KEYS, fingerprint_keys},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use self::{
    auditors::Auditor,
    limit::{Asker, Limits, Wait},
};
use crate::{
    row::{Origin, proven},
    writer::Writer,
};

/// Name of the environment variable that says who may ask.
pub const AUDITORS: &str = "GATE_AUDITORS";

/// Who may ask, and the keys of the answers.
#[derive(Clone, Debug)]
pub struct Settings {
    auditors: Vec<Auditor>,
    keys: Vec<MaskKeys>,
}

impl Settings {
    /// Reads the values of [`FINGERPRINT_KEYS`] and [`AUDITORS`]; without auditors there are none.
    ///
    /// # Errors
    ///
    /// What is wrong, without what was written.
    pub fn read(keys: Option<&str>, auditors: Option<&str>) -> Result<Option<Self>, String> {
        let Some(auditors) = auditors.filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        let auditors = auditors::read(auditors).map_err(|fault| format!("{AUDITORS}: {fault}"))?;
        let keys = keys.filter(|text| !text.trim().is_empty());
        let keys = keys.ok_or_else(|| {
            format!("{FINGERPRINT_KEYS}: not set; {AUDITORS} have nothing to ask without")
        })?;
        let keys = fingerprint_keys(keys).map_err(|fault| fault.to_string())?;
        Ok(Some(Self { auditors, keys }))
    }
}

/// Answers auditors.
pub struct Lookups {
    settings: Option<Settings>,
    deployment: Option<String>,
    limits: Mutex<Limits>,
    writer: Writer,
}

impl Lookups {
    /// Answers by `settings`; without, it says that there are none.
    pub fn new(settings: Option<Settings>, deployment: Option<String>, writer: Writer) -> Self {
        let auditors = settings.as_ref().map_or(0, |it| it.auditors.len());
        Self {
            limits: Mutex::new(Limits::new(auditors, PER_AUDITOR, OVERALL)),
            settings,
            deployment,
            writer,
        }
    }
}

/// The part of the HTTP service that auditors ask.
pub fn router(lookups: Lookups) -> Router {
    Router::new()
        .route("/v1/fingerprints", post(fingerprints))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(lookups))
}

/// What an auditor sends; cannot be printed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    value: String,
    detector: Option<String>,
}

/// Why there is no answer.
struct Refusal {
    status: StatusCode,
    /// As in the record.
    reason: &'static str,
    sentence: &'static str,
}

async fn fingerprints(
    State(lookups): State<Arc<Lookups>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Some(settings) = &lookups.settings else {
        return (StatusCode::SERVICE_UNAVAILABLE, NOT_CONFIGURED).into_response();
    };
    let place = bearer(&headers).and_then(|token| auditors::find(&settings.auditors, token));
    let auditor = place.and_then(|place| settings.auditors.get(place));
    let asker = place.map_or(Asker::Unknown, Asker::Auditor);
    let taken = {
        let mut limits = lookups
            .limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        limits.take(asker, Instant::now())
    };
    let person = auditor.map(|auditor| auditor.name.clone());
    if let Err(Wait { time, refused }) = taken {
        if refused < RECORDED_REFUSALS {
            let written = lookups.record(person, &Err(&TOO_MANY)).await;
            if let Err(refusal) = written {
                return refusal.into_response();
            }
        } else if refused == RECORDED_REFUSALS {
            warn!("look-ups are refused by the limit: no more of them are recorded in this minute");
        }
        let seconds = HeaderValue::from(time.as_secs().max(1));
        let mut answer = TOO_MANY.into_response();
        answer.headers_mut().insert(header::RETRY_AFTER, seconds);
        return answer;
    }
    let result = match auditor {
        None => Err(&UNAUTHORIZED),
        Some(_) => answer(settings, body).await,
    };
    if let Err(refusal) = lookups
        .record(person, &result.as_deref().map_err(|it| *it))
        .await
    {
        return refusal.into_response();
    }
    match result {
        Ok(found) => Json(json!({ "fingerprints": list(&found) })).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Reads the question and answers it.
async fn answer(
    settings: &Settings,
    body: Result<Bytes, BytesRejection>,
) -> Result<Vec<Recorded>, &'static Refusal> {
    let body = body.map_err(|_| &TOO_LONG)?;
    let question: Question = serde_json::from_slice(&body).map_err(|_| &MALFORMED)?;
    let Question { value, detector } = question;
    if value.is_empty() {
        return Err(&MALFORMED);
    }
    if detector
        .as_ref()
        .is_some_and(|name| !is_detector_name(name))
    {
        return Err(&NO_DETECTOR);
    }
    let keys = settings.keys.clone();
    // a long value takes a moment
    let found =
        tokio::task::spawn_blocking(move || recorded_as(&value, detector.as_deref(), &keys));
    let found = found.await.map_err(|_| &BROKEN)?;
    if found.len() > MAX_FOUND {
        return Err(&MANY);
    }
    Ok(found)
}

impl Lookups {
    /// Writes down who asked for what, before anything is answered.
    async fn record(
        &self,
        person: Option<String>,
        result: &Result<&[Recorded], &Refusal>,
    ) -> Result<(), &'static Refusal> {
        let (found, status, reason) = match result {
            Ok(found) => (*found, StatusCode::OK, None),
            Err(refusal) => (&[][..], refusal.status, Some(refusal.reason.to_owned())),
        };
        let decision = if result.is_ok() { "allow" } else { "deny" };
        let envelope = Envelope {
            version: Some(RECORD_VERSION),
            kind: Some("lookup".into()),
            deployment: self.deployment.clone(),
            event_at: Some(crate::now()),
            person,
            decision: Some(decision.into()),
            reason,
            status: Some(status.as_u16().into()),
            findings: Some(list(found).to_string()),
            findings_count: i64::try_from(found.len()).ok(),
            ..Envelope::default()
        };
        let rows = vec![(Origin::Lookup, proven(&envelope))];
        match timeout(PATIENCE, self.writer.write_durably(rows)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(&NOT_RECORDED),
        }
    }
}

fn list(found: &[Recorded]) -> Value {
    let entry = |it: &Recorded| json!({ "detector": it.detector, "fingerprint": it.fingerprint });
    found.iter().map(entry).collect()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl IntoResponse for &Refusal {
    fn into_response(self) -> Response {
        (self.status, self.sentence).into_response()
    }
}

const NOT_CONFIGURED: &str =
    "look-ups are not configured: the sink needs GATE_AUDITORS and GATE_FINGERPRINT_KEYS\n";

const fn refusal(status: StatusCode, reason: &'static str, sentence: &'static str) -> Refusal {
    Refusal {
        status,
        reason,
        sentence,
    }
}

const UNAUTHORIZED: Refusal = refusal(
    StatusCode::UNAUTHORIZED,
    "unknown_token",
    "not an auditor's token\n",
);

const TOO_MANY: Refusal = refusal(
    StatusCode::TOO_MANY_REQUESTS,
    "too_many",
    "too many look-ups; wait as long as retry-after says\n",
);

const TOO_LONG: Refusal = refusal(
    StatusCode::PAYLOAD_TOO_LARGE,
    "too_long",
    "the question is longer than 64 KiB, or broke off\n",
);

const MALFORMED: Refusal = refusal(
    StatusCode::BAD_REQUEST,
    "malformed",
    "not {\"value\":\"…\",\"detector\":\"…\"} with a value; detector may be left out\n",
);

const NO_DETECTOR: Refusal = refusal(
    StatusCode::BAD_REQUEST,
    "no_detector",
    "no detector can have this name\n",
);

const MANY: Refusal = refusal(
    StatusCode::BAD_REQUEST,
    "many",
    "there are many secrets in this value; ask for one\n",
);

const BROKEN: Refusal = refusal(
    StatusCode::INTERNAL_SERVER_ERROR,
    "broken",
    "the value could not be read\n",
);

const NOT_RECORDED: Refusal = refusal(
    StatusCode::SERVICE_UNAVAILABLE,
    "not_recorded",
    "the look-up cannot be recorded, so it is not answered\n",
);

/// Longest question.
const MAX_BODY_BYTES: usize = 64 << 10;

/// Most fingerprints of an answer.
const MAX_FOUND: usize = 1000;

/// Questions in a minute of one auditor; of those that are none, together.
const PER_AUDITOR: u32 = 30;

/// Questions in a minute of all auditors.
const OVERALL: u32 = 60;

/// Refusals by the limit in a minute that are recorded, of one auditor and of those that are none:
/// who has no token must not fill the table.
const RECORDED_REFUSALS: u32 = 30;

/// How long the spool may take to write the record.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "f1:AAECAwQFBgcICQoLDA0ODw==,f0:EBESExQVFhcYGRobHB0eHw==";

    #[test]
    fn look_ups_need_auditors_and_keys() {
        let auditors = format!("ana:{}", "t".repeat(16));
        let auditors = Some(auditors.as_str());
        assert!(Settings::read(Some(KEYS), None).unwrap().is_none());
        assert!(Settings::read(Some(KEYS), Some("")).unwrap().is_none());
        let settings = Settings::read(Some(KEYS), auditors).unwrap().unwrap();
        assert_eq!(settings.keys.len(), 2);
        let shown = format!("{settings:?}");
        assert!(
            !shown.contains("ttt") && !shown.contains("[0, 1"),
            "{shown}"
        );
        for keys in [None, Some(""), Some("f1:canary")] {
            let fault = Settings::read(keys, auditors).unwrap_err();
            assert!(fault.starts_with(FINGERPRINT_KEYS), "{fault}");
            assert!(!fault.contains("canary"), "{fault}");
        }
    }
}
