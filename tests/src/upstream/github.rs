//! What GitHub Copilot is asked, and its answers around the models.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Choice, chat, messages, responses};

/// Whether the path belongs to a model endpoint, whose answers are scripted.
pub(super) fn is_model_endpoint(path: &str) -> bool {
    path.ends_with("/completions") || path.ends_with("/responses") || path.ends_with("/messages")
}

/// Whether each event of the path's streams is named, by its `type`; these end without `[DONE]`.
pub(super) fn names_events(path: &str) -> bool {
    path.ends_with("/responses") || path.ends_with("/messages")
}

/// The events of a streamed answer, without `[DONE]`. Where an API knows one choice, the others
/// are left out.
pub(super) fn events(path: &str, asked: &Value, choices: &[Choice]) -> Vec<Value> {
    let first = choices.first().cloned().unwrap_or_default();
    if path.ends_with("/responses") {
        responses::events(asked, &first)
    } else if path.ends_with("/messages") {
        messages::events(asked, &first)
    } else {
        chat::events(path, asked, choices)
    }
}

/// An answer that is not streamed.
pub(super) fn whole(path: &str, asked: &Value, choices: &[Choice]) -> Value {
    let first = choices.first().cloned().unwrap_or_default();
    if path.ends_with("/responses") {
        responses::whole(asked, &first)
    } else if path.ends_with("/messages") {
        messages::whole(asked, &first)
    } else {
        chat::whole(path, asked, choices)
    }
}

/// What a person wrote last: the last text of a user, or the prompt.
pub(super) fn last_words(asked: &Value) -> String {
    for field in ["prompt", "input"] {
        if let Some(text) = asked[field].as_str() {
            return text.to_owned();
        }
    }
    let text = |item: &Value| match &item["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect()
        }
        _ => String::new(),
    };
    items(asked)
        .iter()
        .rev()
        .filter(|item| item["role"] == "user")
        .map(text)
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// Whether the asker offers a tool of that name.
pub(super) fn offers(asked: &Value, tool: &str) -> bool {
    let tools = asked["tools"].as_array().map_or(&[][..], Vec::as_slice);
    tools
        .iter()
        .any(|offer| offer["name"] == tool || offer["function"]["name"] == tool)
}

/// Whether the history ends with results of the model's tool calls.
pub(super) fn brings_results(asked: &Value) -> bool {
    let result = |item: &Value| {
        let part = |part: &Value| part["type"] == "tool_result";
        item["role"] == "tool"
            || item["type"] == "function_call_output"
            || item["content"]
                .as_array()
                .is_some_and(|parts| parts.iter().any(part))
    };
    let models = |item: &Value| item["role"] == "assistant" || item["type"] == "function_call";
    let items = items(asked);
    let behind = items.iter().rposition(models).map_or(0, |last| last + 1);
    items[behind..].iter().any(result)
}

/// The history: `messages`, or `input` where it is a list.
fn items(asked: &Value) -> &[Value] {
    let list = |field: &str| asked[field].as_array().map(Vec::as_slice);
    list("messages")
        .or_else(|| list("input"))
        .unwrap_or_default()
}

/// The endpoints that a script does not change. `domain` is the host, without scheme, that token
/// and user answers point to; empty for none.
pub(super) fn fixed(method: &str, path: &str, asked: &Value, domain: &str) -> Option<Value> {
    let endpoints = if domain.is_empty() {
        Value::Null
    } else {
        json!({
            "api": format!("https://{domain}"),
            "proxy": format!("https://proxy.{domain}"),
            "telemetry": format!("https://telemetry.{domain}"),
            "origin-tracker": format!("https://origin-tracker.{domain}"),
        })
    };
    Some(match (method, path) {
        ("GET", "/copilot_internal/v2/token") => json!({
            "token": format!("tid=fake;exp=4102444800;sku=copilot_enterprise_seat;chat=1:{}", "0".repeat(64)),
            "expires_at": 4_102_444_800_u64, "refresh_in": 1500,
            "sku": "copilot_enterprise_seat", "individual": false, "chat_enabled": true,
            "annotations_enabled": true, "code_quote_enabled": true, "codesearch": true,
            "copilotignore_enabled": false, "public_suggestions": "enabled",
            "telemetry": "disabled", "tracking_id": "0".repeat(32),
            "enterprise_list": [1], "organization_list": ["0".repeat(32)],
            "limited_user_quotas": null, "limited_user_reset_date": null,
            "endpoints": endpoints,
        }),
        ("GET", "/copilot_internal/user") => json!({
            "login": "octo-ana", "access_type_sku": "copilot_enterprise_seat",
            "copilot_plan": "enterprise", "chat_enabled": true, "is_mcp_enabled": true,
            "assigned_date": "2025-01-01T00:00:00Z", "can_signup_for_limited": false,
            "analytics_tracking_id": "0".repeat(32), "organization_login_list": ["acme"],
            "organization_list": [{"login": "acme", "name": "Acme"}],
            "quota_reset_date": "2099-01-01",
            "quota_snapshots": {
                "chat": quota("chat"), "completions": quota("completions"),
                "premium_interactions": quota("premium_interactions"),
            },
            "endpoints": endpoints,
        }),
        ("GET", path) if path.starts_with("/copilot_internal/content_exclusion") => json!([]),
        (_, path) if path.starts_with("/copilot_internal/") => json!({}),
        ("GET", "/user") => json!({"login": "octo-ana", "id": 1, "name": "Ana", "email": null}),
        ("GET", "/models") => json!({"object": "list", "data": models()}),
        ("GET", "/embeddings/models") => {
            json!({"models": [{"id": "metis-1024-I16-Binary", "active": true}]})
        }
        ("GET", "/telemetry") => json!({
            "Features": [], "Flights": {}, "Configs": [{"Id": "vscode", "Parameters": {}}],
            "ParameterGroups": [], "FlightingVersion": 1, "ImpressionId": "", "AssignmentContext": "",
        }),
        ("POST", "/telemetry") => json!({"itemsReceived": 1, "itemsAccepted": 1, "errors": []}),
        ("GET", "/agents") => json!({"agents": []}),
        ("POST", "/embeddings" | "/v1/embeddings") => embeddings(asked),
        ("POST", "/mcp" | "/mcp/readonly") => remote_procedure(asked),
        _ => return None,
    })
}

/// A vector for each input, as numbers or, if asked so, as base64 of their bytes.
fn embeddings(asked: &Value) -> Value {
    let inputs = match &asked["input"] {
        Value::Array(inputs) => inputs.len(),
        _ => 1,
    };
    let vector = [0.5_f32, -0.25, 0.125, 1.0];
    let bytes: Vec<u8> = vector.iter().flat_map(|part| part.to_le_bytes()).collect();
    let vector = match asked["encoding_format"].as_str() {
        Some("base64") => json!(BASE64.encode(&bytes)),
        _ => json!(vector),
    };
    let data = (0..inputs)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": vector}));
    json!({
        "object": "list", "model": asked["model"], "data": data.collect::<Value>(),
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    })
}

/// MCP: one tool, which gives its arguments back as text.
fn remote_procedure(asked: &Value) -> Value {
    let result = match asked["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": asked["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "fake", "version": "1"},
        }),
        Some("tools/list") => json!({"tools": [{
            "name": "repeat", "description": "Gives its arguments back",
            "inputSchema": {"type": "object"},
        }]}),
        Some("tools/call") => json!({
            "content": [{"type": "text", "text": asked["params"]["arguments"].to_string()}],
            "isError": false,
        }),
        _ => json!({}),
    };
    json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})
}

fn models() -> Value {
    let model = |id: &str, kind: &str, endpoints: Value| {
        let mut model = json!({
            "id": id, "name": id, "object": "model", "vendor": "Fake", "version": id,
            "preview": false, "model_picker_enabled": kind == "chat",
            "is_chat_default": id == "gpt-4.1", "is_chat_fallback": id == "gpt-4.1",
            "billing": {"is_premium": false, "multiplier": 0},
            "policy": {"state": "enabled", "terms": ""},
            "capabilities": {
                "family": id, "type": kind, "object": "model_capabilities",
                "tokenizer": "o200k_base",
                "limits": {
                    "max_context_window_tokens": 264_000, "max_output_tokens": 64_000,
                    "max_prompt_tokens": 200_000,
                },
                "supports": {"streaming": true, "tool_calls": true, "parallel_tool_calls": true},
            },
        });
        if endpoints.is_array() {
            model["supported_endpoints"] = endpoints;
        }
        model
    };
    let (chat, responses, messages) = ("/chat/completions", "/responses", "/v1/messages");
    json!([
        model("gpt-4.1", "chat", json!([chat])),
        model("gpt-4o-mini", "chat", json!([chat])),
        model("gpt-5-mini", "chat", json!([chat, responses])),
        model("gpt-5.4", "chat", json!([responses])),
        model("gpt-5.3-codex", "chat", json!([responses, "ws:/responses"])),
        model("claude-sonnet-4.6", "chat", json!([chat, messages])),
        model("claude-haiku-4.5", "chat", json!([chat, messages])),
        model("gpt-41-copilot", "completion", Value::Null),
        model("text-embedding-3-small", "embeddings", Value::Null),
    ])
}

fn quota(name: &str) -> Value {
    json!({
        "entitlement": 1000, "remaining": 990, "quota_remaining": 990, "percent_remaining": 99,
        "unlimited": true, "overage_count": 0, "overage_permitted": false, "quota_id": name,
    })
}
