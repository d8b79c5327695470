//! Event streams as an upstream writes them and as a caller reads them.

use std::collections::BTreeMap;

use filter_core::provider::Api;
use serde_json::{Value, json};

/// A text of an answer: its choice and its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel {
    choice: u64,
    kind: usize,
}

/// Where the kinds of a chat's texts stand in a choice; the last two are calls of tools.
const CHAT: [&str; 5] = [
    "/delta/content",
    "/delta/refusal",
    "/delta/function_call/arguments",
    "/delta/tool_calls/0",
    "/delta/tool_calls/1",
];

impl Channel {
    /// The channel that a byte names; a few, so that most alternate.
    pub fn of(api: Api, byte: u8) -> Self {
        let choice = u64::from(byte & 1);
        match api {
            Api::Chat if choice == 0 => Self {
                choice,
                kind: usize::from(byte >> 1) % CHAT.len(),
            },
            Api::Chat => Self { choice, kind: 0 },
            Api::Completions => Self {
                choice: u64::from(byte) % 6,
                kind: 0,
            },
        }
    }
}

/// An event with a piece of a channel's text.
pub fn event(api: Api, channel: Channel, piece: &str) -> Vec<u8> {
    let index = channel.choice;
    let choice = match api {
        Api::Completions => json!({ "index": index, "text": piece, "finish_reason": null }),
        Api::Chat => {
            let delta = match channel.kind {
                0 => json!({ "content": piece }),
                1 => json!({ "refusal": piece }),
                2 => json!({ "function_call": { "arguments": piece } }),
                kind => json!({ "tool_calls": [
                    { "index": kind - 3, "function": { "arguments": piece } }] }),
            };
            json!({ "index": index, "delta": delta, "finish_reason": null })
        }
    };
    data(&json!({ "id": "c", "model": "m", "choices": [choice] }))
}

/// The end of a stream: finish reasons, `[DONE]`, both or neither.
pub fn end(api: Api, channels: &[Channel], way: u8) -> Vec<u8> {
    let mut out = Vec::new();
    if way & 1 != 0 {
        let mut choices: Vec<_> = channels.iter().map(|channel| channel.choice).collect();
        choices.dedup();
        for choice in choices {
            let mut last = json!({ "index": choice, "finish_reason": "stop" });
            match (api, way & 4) {
                (Api::Chat, 0) => last["delta"] = json!({ "content": "" }),
                (Api::Chat, _) => last["delta"] = json!({}),
                (Api::Completions, _) => last["text"] = json!(""),
            }
            out.extend(data(&json!({ "id": "c", "choices": [last] })));
        }
    }
    if way & 2 != 0 {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
    out
}

fn data(event: &Value) -> Vec<u8> {
    format!("data: {event}\n\n").into_bytes()
}

/// The texts that a caller puts together, without the empty ones.
pub fn hear(api: Api, stream: &[u8]) -> BTreeMap<Channel, String> {
    let mut heard: BTreeMap<Channel, String> = BTreeMap::new();
    let stream = std::str::from_utf8(stream).expect("a stream is UTF-8");
    for line in stream.lines() {
        let Some(event) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            assert!(line.is_empty() || line == "data: [DONE]", "{line}");
            continue;
        };
        let event: Value = serde_json::from_str(event).expect("an event is JSON");
        for choice in event["choices"].as_array().expect("choices") {
            let index = choice["index"].as_u64().expect("an index");
            let mut add = |kind: usize, text: &Value| {
                if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
                    let channel = Channel {
                        choice: index,
                        kind,
                    };
                    heard.entry(channel).or_default().push_str(text);
                }
            };
            match api {
                Api::Completions => add(0, &choice["text"]),
                Api::Chat => {
                    for (kind, pointer) in CHAT.iter().enumerate().take(3) {
                        add(kind, choice.pointer(pointer).unwrap_or(&Value::Null));
                    }
                    for call in choice["delta"]["tool_calls"]
                        .as_array()
                        .into_iter()
                        .flatten()
                    {
                        let kind = 3 + call["index"].as_u64().expect("an index") as usize;
                        add(kind, &call["function"]["arguments"]);
                    }
                }
            }
        }
    }
    heard
}
