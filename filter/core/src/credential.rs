//! Which headers go upstream: the caller's own proofs never do, ours only where they belong.

use crate::{endpoint::Endpoint, headers::Headers, secret::Secret};

/// Headers of the caller that never go upstream.
const REMOVED: &[&str] = &[
    "authorization",
    "cookie",
    "copilot-session-token",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "forwarded",
    // They would ask for something else than what was decided over.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    // They would ask for a part of the answer, or none.
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
];

/// Beginnings of names that never go upstream. `x-forwarded-proto` is not ours to remove: Envoy
/// needs it until the route is chosen, and takes it away itself (see `envoy/`).
const REMOVED_PREFIXES: &[&str] = &["x-gate-", "x-envoy-", "x-forwarded-"];

/// Whether a shared credential may be attached to the endpoint: a closed list.
pub(crate) fn attached_to(endpoint: Endpoint) -> bool {
    match endpoint {
        Endpoint::Chat
        | Endpoint::Completions
        | Endpoint::Embeddings
        | Endpoint::Messages
        | Endpoint::Models
        | Endpoint::Responses => true,
        Endpoint::Personal
        | Endpoint::Seat
        | Endpoint::Telemetry
        | Endpoint::Token
        | Endpoint::Unknown
        | Endpoint::User => false,
    }
}

/// Names of the caller's headers that have to go.
pub(crate) fn removed(headers: &Headers) -> Vec<String> {
    let goes = |name: &str| {
        REMOVED.contains(&name)
            || REMOVED_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix) && name != "x-forwarded-proto")
    };
    let mut names: Vec<String> = headers
        .names()
        .filter(|name| goes(name))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The value of `authorization` that upstream sees.
pub(crate) fn authorization(credential: &Secret<String>) -> String {
    format!("Bearer {}", credential.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_is_attached_to_model_endpoints_only() {
        let attached = |method, path| attached_to(Endpoint::of(method, path));
        assert!(attached("POST", "/chat/completions"));
        assert!(attached("POST", "/responses"));
        assert!(attached("POST", "/v1/messages"));
        assert!(attached("POST", "/embeddings"));
        assert!(attached("GET", "/models"));
        for path in [
            "/graphql",
            "/user",
            "/user/repos",
            "/repos/a/b",
            "/agents",
            "/twirp/github.snippy.v1.SnippyAPI/Match",
            "/mcp",
            "/mcp/readonly",
            "/external/code/ingest",
            "/chunks",
            "/embeddings/code/search",
            "/copilot_internal/v2/token",
            "/copilot_internal/user",
        ] {
            assert!(!attached("GET", path) && !attached("POST", path), "{path}");
        }
    }

    #[test]
    fn proofs_and_forged_headers_of_the_caller_are_removed() {
        let headers = Headers::new(
            [
                "authorization",
                "x-api-key",
                "x-gate-person",
                "x-envoy-original-path",
                "x-forwarded-for",
                "editor-version",
                "x-request-id",
            ]
            .map(|name| (name.to_owned(), "v".to_owned()))
            .into(),
        );
        assert_eq!(
            removed(&headers),
            [
                "authorization",
                "x-api-key",
                "x-envoy-original-path",
                "x-forwarded-for",
                "x-gate-person",
            ]
        );
    }
}
