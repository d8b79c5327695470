//! `POST /v1/fingerprints`: under which fingerprints records hold a secret that an auditor has.
//!
//! Who may ask can try passwords here, so that each question needs a token, there are few in a
//! minute, and none is answered before it is on disk as a row of kind `lookup`: who asked, and for
//! which fingerprints. The value itself goes nowhere.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use contract::Envelope;
use filter_core::{
    mask::{MaskKeys, Recorded, is_detector_name, recorded_as},
    worker::{FINGERPRINT_KEYS, fingerprint_keys},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    guard::{Answer, Guard, People, Questions, Refusal, refusal},
    row::Origin,
    writer::Writer,
};

/// Name of the environment variable that says who may ask.
pub const AUDITORS: &str = "GATE_AUDITORS";

/// Who may ask, and the keys of the answers.
#[derive(Clone, Debug)]
pub struct Settings {
    auditors: People,
    keys: Vec<MaskKeys>,
}

impl Settings {
    /// Reads the values of [`FINGERPRINT_KEYS`] and [`AUDITORS`]; without auditors there are none.
    ///
    /// # Errors
    ///
    /// What is wrong, without what was written.
    pub fn read(keys: Option<&str>, auditors: Option<&str>) -> Result<Option<Self>, String> {
        let Some(auditors) = People::read(AUDITORS, auditors)? else {
            return Ok(None);
        };
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
    keys: Vec<MaskKeys>,
    guard: Guard,
}

impl Lookups {
    /// Answers by `settings`; without, it says that there are none.
    pub fn new(settings: Option<Settings>, deployment: Option<String>, writer: Writer) -> Self {
        let (auditors, keys) = settings.map(|it| (it.auditors, it.keys)).unzip();
        let questions = Questions {
            origin: Origin::Lookup,
            row: row(&[]),
            not_configured: NOT_CONFIGURED,
            unknown_token: "not an auditor's token",
            too_many: "too many look-ups; wait as long as retry-after says",
            not_recorded: "the look-up cannot be recorded, so it is not answered",
        };
        Self {
            keys: keys.unwrap_or_default(),
            guard: Guard::new(questions, auditors, deployment, writer),
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

async fn fingerprints(
    State(lookups): State<Arc<Lookups>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let told = async {
        let found = answer(&lookups.keys, body).await?;
        Ok(Answer {
            row: Envelope {
                decision: Some("allow".into()),
                ..row(&found)
            },
            body: json!({ "fingerprints": list(&found) }),
        })
    };
    lookups.guard.answer(&headers, told).await
}

/// Reads the question and answers it.
async fn answer(
    keys: &[MaskKeys],
    body: Result<Bytes, BytesRejection>,
) -> Result<Vec<Recorded>, Refusal> {
    let body = body.map_err(|_| TOO_LONG)?;
    let question: Question = serde_json::from_slice(&body).map_err(|_| MALFORMED)?;
    let Question { value, detector } = question;
    if value.is_empty() {
        return Err(MALFORMED);
    }
    if detector
        .as_ref()
        .is_some_and(|name| !is_detector_name(name))
    {
        return Err(NO_DETECTOR);
    }
    let keys = keys.to_vec();
    // a long value takes a moment
    let found =
        tokio::task::spawn_blocking(move || recorded_as(&value, detector.as_deref(), &keys));
    let found = found.await.map_err(|_| BROKEN)?;
    if found.len() > MAX_FOUND {
        return Err(MANY);
    }
    Ok(found)
}

/// What the record says of the fingerprints.
fn row(found: &[Recorded]) -> Envelope {
    Envelope {
        kind: Some("lookup".into()),
        findings: Some(list(found).to_string()),
        findings_count: i64::try_from(found.len()).ok(),
        ..Envelope::default()
    }
}

fn list(found: &[Recorded]) -> Value {
    let entry = |it: &Recorded| json!({ "detector": it.detector, "fingerprint": it.fingerprint });
    found.iter().map(entry).collect()
}

const NOT_CONFIGURED: &str =
    "look-ups are not configured: the sink needs GATE_AUDITORS and GATE_FINGERPRINT_KEYS";

const TOO_LONG: Refusal = refusal(
    StatusCode::PAYLOAD_TOO_LARGE,
    "too_long",
    "the question is longer than 64 KiB, or broke off",
);

const MALFORMED: Refusal = refusal(
    StatusCode::BAD_REQUEST,
    "malformed",
    "not {\"value\":\"…\",\"detector\":\"…\"} with a value; detector may be left out",
);

const NO_DETECTOR: Refusal = refusal(
    StatusCode::BAD_REQUEST,
    "no_detector",
    "no detector can have this name",
);

const MANY: Refusal = refusal(
    StatusCode::BAD_REQUEST,
    "many",
    "there are many secrets in this value; ask for one",
);

const BROKEN: Refusal = refusal(
    StatusCode::INTERNAL_SERVER_ERROR,
    "broken",
    "the value could not be read",
);

/// Longest question.
const MAX_BODY_BYTES: usize = 64 << 10;

/// Most fingerprints of an answer.
const MAX_FOUND: usize = 1000;

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
