//! Which endpoint a request is for: a closed list; everything else is unknown.

use crate::config::RoleEndpoint;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Chat completions.
    Chat,
    /// Ghost text.
    Completions,
    /// Numbers that stand for texts.
    Embeddings,
    /// Anthropic's messages.
    Messages,
    /// The list of models.
    Models,
    /// What acts with a person's own rights at GitHub, such as MCP and the workspace index.
    Personal,
    /// Responses.
    Responses,
    /// Telemetry and experiment assignments of clients.
    Telemetry,
    /// The exchange of a sign-in token for a Copilot token.
    Token,
    /// Anything else.
    Unknown,
    /// Who the caller is, as GitHub says it.
    User,
    /// What the caller's Copilot seat allows.
    Seat,
}

impl Endpoint {
    /// The endpoint of a normalised path, without its query, and a method.
    pub fn of(method: &str, path: &str) -> Self {
        let engine = path
            .strip_prefix("/v1/engines/")
            .and_then(|rest| rest.strip_suffix("/completions"))
            .is_some_and(|engine| !engine.is_empty() && !engine.contains('/'));
        match (method, path) {
            ("POST", "/chat/completions" | "/v1/chat/completions") => Self::Chat,
            ("POST", "/responses" | "/v1/responses") => Self::Responses,
            ("POST", "/v1/messages" | "/v1/messages/count_tokens") => Self::Messages,
            ("POST", _) if engine => Self::Completions,
            ("POST", "/embeddings" | "/v1/embeddings") => Self::Embeddings,
            ("GET", "/models") => Self::Models,
            ("GET" | "POST", "/telemetry") => Self::Telemetry,
            ("GET", "/copilot_internal/v2/token") => Self::Token,
            ("GET", "/copilot_internal/user") => Self::Seat,
            ("GET", "/user") => Self::User,
            _ if is_personal(path) => Self::Personal,
            _ => Self::Unknown,
        }
    }

    /// Name in records, metrics and roles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::Models => "models",
            Self::Personal => "personal",
            Self::Responses => "responses",
            Self::Telemetry => "telemetry",
            Self::Token => "token",
            Self::Unknown => "unknown",
            Self::User => "user",
            Self::Seat => "seat",
        }
    }

    /// What a role must hold to use it; `None` if any role will do.
    pub fn needs(self) -> Option<RoleEndpoint> {
        match self {
            Self::Chat | Self::Messages | Self::Responses => Some(RoleEndpoint::Chat),
            Self::Completions => Some(RoleEndpoint::Completions),
            Self::Embeddings => Some(RoleEndpoint::Embeddings),
            _ => None,
        }
    }

    /// Paths that the gateway inspects, as `/models` lists them.
    pub fn inspected() -> &'static [&'static str] {
        &["/chat/completions", "/responses", "/v1/messages"]
    }
}

/// Whether only a person's own credential may be shown there.
fn is_personal(path: &str) -> bool {
    const PATHS: &[&str] = &["/agents", "/chunks", "/graphql", "/mcp"];
    const TREES: &[&str] = &[
        "/agents/",
        "/embeddings/code/",
        "/external/",
        "/mcp/",
        "/repos/",
        "/twirp/github.snippy.v1.SnippyAPI/",
        "/user/",
    ];
    PATHS.contains(&path) || TREES.iter().any(|tree| path.starts_with(tree))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_methods_and_paths_are_known() {
        let cases = [
            ("POST", "/chat/completions", Endpoint::Chat),
            ("GET", "/chat/completions", Endpoint::Unknown),
            ("POST", "/chat/completions/", Endpoint::Unknown),
            ("POST", "/x/chat/completions", Endpoint::Unknown),
            (
                "POST",
                "/v1/engines/gpt-41/completions",
                Endpoint::Completions,
            ),
            ("POST", "/v1/engines//completions", Endpoint::Unknown),
            ("POST", "/v1/engines/a/b/completions", Endpoint::Unknown),
            ("POST", "/v1/engines/completions", Endpoint::Unknown),
            ("GET", "/models", Endpoint::Models),
            ("POST", "/models", Endpoint::Unknown),
            ("GET", "/models/gpt-4.1", Endpoint::Unknown),
            ("POST", "/telemetry", Endpoint::Telemetry),
            ("GET", "/copilot_internal/v2/token", Endpoint::Token),
            ("GET", "/copilot_internal/v2/nltoken", Endpoint::Unknown),
            ("GET", "/user", Endpoint::User),
            ("POST", "/responses", Endpoint::Responses),
            ("POST", "/v1/responses", Endpoint::Responses),
            ("GET", "/responses", Endpoint::Unknown),
            ("POST", "/responses/resp_1/cancel", Endpoint::Unknown),
            ("POST", "/v1/messages", Endpoint::Messages),
            ("POST", "/v1/messages/count_tokens", Endpoint::Messages),
            ("POST", "/v1/messages/batches", Endpoint::Unknown),
            ("POST", "/messages", Endpoint::Unknown),
            ("POST", "/embeddings", Endpoint::Embeddings),
            ("GET", "/embeddings/models", Endpoint::Unknown),
            ("POST", "/embeddings/code/search", Endpoint::Personal),
            ("POST", "/chunks", Endpoint::Personal),
            ("POST", "/graphql", Endpoint::Personal),
            ("GET", "/repos/a/b", Endpoint::Personal),
            ("POST", "/mcp", Endpoint::Personal),
            ("POST", "/mcp/readonly", Endpoint::Personal),
            ("POST", "/mcpx", Endpoint::Unknown),
            ("GET", "/user/repos", Endpoint::Personal),
            ("POST", "/external/code/ingest/batch", Endpoint::Personal),
            (
                "POST",
                "/twirp/github.snippy.v1.SnippyAPI/Match",
                Endpoint::Personal,
            ),
        ];
        for (method, path, endpoint) in cases {
            assert_eq!(Endpoint::of(method, path), endpoint, "{method} {path}");
        }
    }
}
