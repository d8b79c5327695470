//! The shapes of GitHub Copilot's answers.

use serde_json::{Value, json};

use super::Choice;

/// Whether the path belongs to a model endpoint, whose answers are scripted.
pub(super) fn is_model_endpoint(path: &str) -> bool {
    path.ends_with("/completions") || path.ends_with("/responses") || path.ends_with("/messages")
}

/// What a person wrote last: the last user message's text, or the prompt.
pub(super) fn last_words(asked: &Value) -> String {
    if let Some(prompt) = asked["prompt"].as_str() {
        return prompt.to_owned();
    }
    let messages = asked["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let content = messages
        .iter()
        .rev()
        .find(|message| message["role"] == "user")
        .map_or(&Value::Null, |message| &message["content"]);
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => String::new(),
    }
}

/// The events of a streamed answer, without `[DONE]`. The choices take turns.
pub(super) fn events(path: &str, asked: &Value, choices: &[Choice]) -> Vec<Value> {
    if path.contains("/engines/") {
        return in_turns(choices, |index, choice| {
            let event = |text: &str, finish: Value| {
                completion(
                    &json!([{"index": index, "text": text, "finish_reason": finish, "p": "aaaa"}]),
                )
            };
            let mut events: Vec<Value> = choice
                .text
                .iter()
                .map(|text| event(text, Value::Null))
                .collect();
            events.push(event("", json!(finish(choice))));
            events
        });
    }
    let filtered = json!({"hate": {"filtered": false, "severity": "safe"}});
    let mut events = vec![json!({
        "choices": [], "created": 0, "id": "",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": filtered}],
    })];
    events.extend(in_turns(choices, |index, choice| {
        let event = |delta: Value, finish: Value| {
            json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                "model": asked["model"],
                "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
            })
        };
        let mut events = Vec::new();
        for text in &choice.reasoning {
            events.push(event(
                json!({"role": "assistant", "reasoning_text": text}),
                Value::Null,
            ));
        }
        for text in &choice.text {
            events.push(event(
                json!({"role": "assistant", "content": text}),
                Value::Null,
            ));
        }
        for (number, tool) in choice.tools.iter().enumerate() {
            let id = format!("call_{index}_{number}");
            let head = json!({
                "index": number, "id": id, "type": "function",
                "function": {"name": tool.name, "arguments": ""},
            });
            events.push(event(
                json!({"role": "assistant", "content": null, "tool_calls": [head]}),
                Value::Null,
            ));
            for part in &tool.arguments {
                let call = json!({"index": number, "function": {"arguments": part}});
                events.push(event(json!({"tool_calls": [call]}), Value::Null));
            }
        }
        events.push(event(json!({"content": null}), json!(finish(choice))));
        events
    }));
    if let Some(last) = events.last_mut() {
        last["usage"] = usage();
    }
    events
}

/// An answer that is not streamed.
pub(super) fn whole(path: &str, asked: &Value, choices: &[Choice]) -> Value {
    if path.contains("/engines/") {
        let choices = choices.iter().enumerate().map(|(index, choice)| {
            json!({"index": index, "text": choice.text.concat(), "finish_reason": finish(choice)})
        });
        return completion(&choices.collect());
    }
    let choices = choices.iter().enumerate().map(|(index, choice)| {
        let mut message = json!({"role": "assistant", "content": choice.text.concat()});
        if !choice.reasoning.is_empty() {
            message["reasoning_text"] = json!(choice.reasoning.concat());
        }
        if !choice.tools.is_empty() {
            let calls = choice.tools.iter().enumerate().map(|(number, tool)| {
                json!({
                    "id": format!("call_{index}_{number}"), "type": "function",
                    "function": {"name": tool.name, "arguments": tool.arguments.concat()},
                })
            });
            message["tool_calls"] = calls.collect();
        }
        json!({"index": index, "message": message, "finish_reason": finish(choice)})
    });
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1,
        "model": asked["model"], "choices": choices.collect::<Value>(), "usage": usage(),
    })
}

/// The endpoints that a script does not change. `domain` is the host, without scheme, that token
/// and user answers point to; empty for none.
pub(super) fn fixed(method: &str, path: &str, domain: &str) -> Option<Value> {
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
        _ => return None,
    })
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
    json!([
        model("gpt-4.1", "chat", json!(["/chat/completions"])),
        model("gpt-4o-mini", "chat", json!(["/chat/completions"])),
        model(
            "gpt-5.3-codex",
            "chat",
            json!(["/responses", "ws:/responses"])
        ),
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

fn completion(choices: &Value) -> Value {
    json!({
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-41-copilot",
        "choices": choices,
    })
}

fn usage() -> Value {
    json!({"prompt_tokens": 42, "completion_tokens": 7, "total_tokens": 49})
}

fn finish(choice: &Choice) -> &str {
    match &choice.finish {
        Some(reason) => reason,
        None if choice.tools.is_empty() => "stop",
        None => "tool_calls",
    }
}

/// The events of each choice, one of each in turn.
fn in_turns(choices: &[Choice], events: impl Fn(usize, &Choice) -> Vec<Value>) -> Vec<Value> {
    let mut queues: Vec<_> = choices
        .iter()
        .enumerate()
        .map(|(index, choice)| events(index, choice).into_iter())
        .collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(queues.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}
