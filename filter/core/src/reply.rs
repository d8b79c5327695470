//! What a caller sees when the gateway answers in place of the upstream.
//!
//! One table, from endpoint and situation to status and text. 401 is an identity answer and never a
//! policy answer; 402, 403 on model endpoints, 429 and 5xx are never decisions: clients hide the
//! text, drop tokens or retry on them.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{endpoint::Endpoint, provider};

/// An answer made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// HTTP status.
    pub status: u16,
    /// Headers without pseudo-headers and `content-length`.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// Why the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Policy refuses.
    Denied,
    /// Something that is needed to decide is not there.
    Unavailable,
    /// Nobody known sent it.
    Unidentified,
    /// The message cannot be read, so it cannot be scanned.
    Unreadable,
}

impl Situation {
    /// Name of the decision in records and metrics.
    pub fn decision(self) -> &'static str {
        match self {
            Self::Denied => "deny",
            Self::Unavailable => "unavailable",
            Self::Unidentified => "unidentified",
            Self::Unreadable => "unreadable",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Denied => "gateway_policy",
            Self::Unavailable => "gateway_unavailable",
            Self::Unidentified => "gateway_identity",
            Self::Unreadable => "gateway_unreadable",
        }
    }
}

/// The answer for an endpoint and a situation; `message` is for people.
pub fn reply_for(
    endpoint: Endpoint,
    situation: Situation,
    message: &str,
    decision_id: &str,
) -> LocalReply {
    let status = match (endpoint, situation) {
        (_, Situation::Unidentified) => 401,
        (Endpoint::Completions, _) => {
            let body = provider::completion_stream_empty();
            return LocalReply::new(200, "text/event-stream", body, decision_id);
        }
        (Endpoint::Chat | Endpoint::Embeddings | Endpoint::Messages | Endpoint::Responses, _)
        | (_, Situation::Unreadable) => 400,
        (_, Situation::Denied) => 403,
        (_, Situation::Unavailable) => 503,
    };
    let text = signed(message, decision_id);
    let code = situation.code();
    let notice = (endpoint == Endpoint::Token && situation == Situation::Denied).then(|| {
        json!({
            "message": text,
            "title": "Copilot Gate",
            "url": "",
            "notification_id": code,
        })
    });
    let body = ErrorBody {
        error: json!({ "type": "invalid_request_error", "code": code, "message": text }),
        error_details: notice,
        message: text,
        kind: "error",
    };
    let mut reply = LocalReply::json(status, &body, decision_id);
    if status == 503 {
        reply.headers.push(("retry-after".into(), "30".into()));
    }
    reply
}

/// An error in every shape that clients look for.
#[derive(Serialize)]
struct ErrorBody {
    /// First: the language server shows the body's first 160 bytes or so, and no more.
    message: String,
    error: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<Value>,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// The text as a person sees it: who says it, and under which decision it is found in the audit.
pub(crate) fn signed(message: &str, decision_id: &str) -> String {
    format!("{message} (Copilot Gate, decision {decision_id})")
}

impl LocalReply {
    /// A JSON answer.
    pub fn json(status: u16, body: &impl Serialize, decision_id: &str) -> Self {
        // Our own values have no keys that JSON cannot write.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self::new(status, "application/json", body, decision_id)
    }

    /// Any answer.
    pub(crate) fn new(status: u16, content_type: &str, body: Vec<u8>, decision_id: &str) -> Self {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            status,
            headers: vec![
                header("content-type", content_type),
                // Without it, clients take an error for a proxy's and hide its text.
                header("x-github-request-id", decision_id),
                header("x-gate-decision-id", decision_id),
            ],
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_the_table_has_its_status() {
        use Endpoint::{Chat, Completions, Messages, Models, Responses, Token, Unknown};
        use Situation::{Denied, Unavailable, Unidentified, Unreadable};
        let cases = [
            (Completions, Unidentified, 401),
            (Chat, Unidentified, 401),
            (Token, Unidentified, 401),
            (Unknown, Unidentified, 401),
            (Completions, Denied, 200),
            (Chat, Denied, 400),
            (Messages, Denied, 400),
            (Responses, Denied, 400),
            (Token, Denied, 403),
            (Unknown, Denied, 403),
            (Models, Denied, 403),
            (Completions, Unavailable, 200),
            (Chat, Unavailable, 400),
            (Messages, Unavailable, 400),
            (Responses, Unavailable, 400),
            (Token, Unavailable, 503),
            (Models, Unavailable, 503),
            (Completions, Unreadable, 200),
            (Chat, Unreadable, 400),
            (Unknown, Unreadable, 400),
        ];
        for (endpoint, situation, status) in cases {
            let reply = reply_for(endpoint, situation, "no", "gd_1");
            assert_eq!(reply.status, status, "{endpoint:?} {situation:?}");
            let has = |name: &str| reply.headers.iter().any(|(key, _)| key == name);
            assert!(has("x-github-request-id") && has("x-gate-decision-id"));
            assert_eq!(has("retry-after"), status == 503);
        }
    }

    #[test]
    fn an_error_is_readable_in_every_shape_that_clients_look_for() {
        let reply = reply_for(Endpoint::Token, Situation::Denied, "No role.", "gd_1");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let text = "No role. (Copilot Gate, decision gd_1)";
        assert_eq!(body["error"]["message"], text);
        assert_eq!(body["error"]["code"], "gateway_policy");
        assert_eq!(body["message"], text);
        assert_eq!(body["error_details"]["message"], text);
        assert!(reply.body.starts_with(b"{\"message\":"));
    }

    #[test]
    fn ghost_text_is_answered_by_nothing_to_suggest() {
        let reply = reply_for(Endpoint::Completions, Situation::Denied, "no", "gd_1");
        let body = String::from_utf8(reply.body).unwrap();
        assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
        assert!(!body.contains("no"), "{body}");
    }
}
