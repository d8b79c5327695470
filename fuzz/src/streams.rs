//! Event streams as an upstream writes them and as a caller reads them.

use std::collections::BTreeMap;

use filter_core::provider::Api;
use serde_json::{Value, json};

/// An API whose answers are streams of texts in pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Chat,
    Completions,
    Messages,
    Responses,
}

impl Form {
    /// The API that a byte names.
    pub fn of(byte: u8) -> Self {
        [
            Self::Chat,
            Self::Completions,
            Self::Messages,
            Self::Responses,
        ][usize::from(byte) % 4]
    }

    /// By the gateway's word.
    pub fn api(self) -> Api {
        match self {
            Self::Chat => Api::Chat,
            Self::Completions => Api::Completions,
            Self::Messages => Api::Messages,
            Self::Responses => Api::Responses,
        }
    }
}

/// Texts by where they stand: choice or item, and kind.
pub type Texts = BTreeMap<(u64, &'static str), String>;

/// Kinds of texts of each API.
fn kinds(api: Form) -> &'static [&'static str] {
    match api {
        Form::Chat => &["content", "refusal", "function_call", "tool0", "tool1"],
        Form::Completions => &["text"],
        Form::Messages => &["text", "thinking", "partial_json"],
        Form::Responses => &["output_text", "refusal", "summary", "arguments", "input"],
    }
}

/// Whether a text of this kind stays as it is.
pub fn is_signed(kind: &str) -> bool {
    kind == "thinking"
}

/// Writes the texts of an answer, in pieces.
pub struct Upstream {
    api: Form,
    pub stream: Vec<u8>,
    /// What was written.
    pub texts: Texts,
    /// Items that have begun, by number; the last is open.
    items: Vec<&'static str>,
    named: bool,
    number: u64,
}

impl Upstream {
    /// Begins an answer.
    pub fn new(api: Form, named: bool) -> Self {
        let mut upstream = Self {
            api,
            stream: Vec::new(),
            texts: Texts::new(),
            items: Vec::new(),
            named,
            number: 0,
        };
        match api {
            Form::Chat | Form::Completions => {}
            Form::Messages => {
                upstream.event(json!({ "type": "message_start", "message": {
                    "id": "m", "model": "m", "content": [], "usage": { "input_tokens": 1 } } }));
                upstream.event(json!({ "type": "ping" }));
            }
            Form::Responses => upstream.event(json!({ "type": "response.created", "response": {
                "id": "r", "model": "m", "status": "in_progress", "output": [] } })),
        }
        upstream
    }

    /// Writes the next piece of the text that a byte names.
    pub fn piece(&mut self, name: u8, piece: &str) {
        let kinds = kinds(self.api);
        let choice = u64::from(name & 1);
        let kind = kinds[usize::from(name >> 1) % kinds.len()];
        let key = match self.api {
            Form::Chat if choice == 1 => (1, "content"),
            Form::Chat => (0, kind),
            Form::Completions => (u64::from(name % 6), "text"),
            // The same kind again goes on; another one, or an odd name, begins an item.
            Form::Messages | Form::Responses => {
                if self.items.last() != Some(&kind) || choice == 1 {
                    self.end_item();
                    self.begin_item(kind);
                }
                (self.items.len() as u64 - 1, kind)
            }
        };
        self.texts.entry(key).or_default().push_str(piece);
        match self.api {
            Form::Chat => {
                let delta = match key.1 {
                    "function_call" => json!({ "function_call": { "arguments": piece } }),
                    "tool0" => {
                        json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] })
                    }
                    "tool1" => {
                        json!({ "tool_calls": [{ "index": 1, "function": { "arguments": piece } }] })
                    }
                    kind => json!({ kind: piece }),
                };
                self.event(json!({ "id": "c", "model": "m", "choices": [
                    { "index": key.0, "delta": delta, "finish_reason": null }] }));
            }
            Form::Completions => self.event(json!({ "id": "c", "choices": [
                { "index": key.0, "text": piece, "finish_reason": null }] })),
            Form::Messages => {
                let delta = match kind {
                    "text" => json!({ "type": "text_delta", "text": piece }),
                    "thinking" => json!({ "type": "thinking_delta", "thinking": piece }),
                    _ => json!({ "type": "input_json_delta", "partial_json": piece }),
                };
                self.event(
                    json!({ "type": "content_block_delta", "index": key.0, "delta": delta }),
                );
            }
            Form::Responses => {
                let (stem, _) = stem(kind);
                self.item_event(&format!("{stem}.delta"), "delta", &json!(piece));
            }
        }
    }

    /// Ends the answer: well, with a part of what belongs to it, or not at all.
    pub fn end(&mut self, way: u8) {
        match self.api {
            Form::Chat | Form::Completions => {
                if way & 1 != 0 {
                    let mut choices: Vec<_> = self.texts.keys().map(|key| key.0).collect();
                    choices.dedup();
                    for choice in choices {
                        let mut last = json!({ "index": choice, "finish_reason": "stop" });
                        match (self.api, way & 4) {
                            (Form::Completions, _) => last["text"] = json!(""),
                            (_, 0) => last["delta"] = json!({ "content": "" }),
                            _ => last["delta"] = json!({}),
                        }
                        self.event(json!({ "id": "c", "choices": [last] }));
                    }
                }
                if way & 2 != 0 {
                    self.stream.extend_from_slice(b"data: [DONE]\n\n");
                }
            }
            Form::Messages | Form::Responses if way & 1 == 0 => {}
            Form::Messages => {
                self.end_item();
                self.event(
                    json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" },
                    "usage": { "output_tokens": 2 } }),
                );
                self.event(json!({ "type": "message_stop" }));
            }
            Form::Responses => {
                self.end_item();
                let output: Vec<_> = (0..self.items.len())
                    .map(|at| self.item(at, true))
                    .collect();
                self.event(json!({ "type": "response.completed", "response": {
                    "id": "r", "model": "m", "status": "completed", "output": output } }));
            }
        }
    }

    fn begin_item(&mut self, kind: &'static str) {
        let index = self.items.len();
        self.items.push(kind);
        if self.api == Form::Messages {
            let block = match kind {
                "text" => json!({ "type": "text", "text": "" }),
                "thinking" => json!({ "type": "thinking", "thinking": "", "signature": "" }),
                _ => json!({ "type": "tool_use", "id": "t", "name": "f", "input": {} }),
            };
            self.event(
                json!({ "type": "content_block_start", "index": index, "content_block": block }),
            );
            return;
        }
        let item = self.item(index, false);
        self.event(
            json!({ "type": "response.output_item.added", "output_index": index, "item": item }),
        );
        if kind == "output_text" {
            self.item_event(
                "content_part.added",
                "part",
                &json!({ "type": "output_text", "text": "" }),
            );
        }
    }

    fn end_item(&mut self) {
        let Some(index) = self.items.len().checked_sub(1) else {
            return;
        };
        if self.api == Form::Messages {
            self.event(json!({ "type": "content_block_stop", "index": index }));
            return;
        }
        let kind = self.items[index];
        let text = json!(
            self.texts
                .get(&(index as u64, kind))
                .map_or("", String::as_str)
        );
        let (stem, key) = stem(kind);
        self.item_event(&format!("{stem}.done"), key, &text);
        if kind == "output_text" {
            self.item_event(
                "content_part.done",
                "part",
                &json!({ "type": "output_text", "text": text }),
            );
        }
        let item = self.item(index, true);
        self.event(
            json!({ "type": "response.output_item.done", "output_index": index, "item": item }),
        );
    }

    /// An output item of responses, with its text if it is whole.
    fn item(&self, index: usize, whole: bool) -> Value {
        let kind = self.items[index];
        let said = self.texts.get(&(index as u64, kind)).filter(|_| whole);
        let text = said.map_or("", String::as_str);
        match kind {
            "output_text" => {
                json!({ "type": "message", "content": [{ "type": "output_text", "text": text }] })
            }
            "refusal" => {
                json!({ "type": "message", "content": [{ "type": "refusal", "refusal": text }] })
            }
            "summary" => {
                json!({ "type": "reasoning", "summary": [{ "type": "summary_text", "text": text }] })
            }
            "arguments" => {
                json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": text })
            }
            _ => json!({ "type": "custom_tool_call", "call_id": "c", "name": "g", "input": text }),
        }
    }

    /// An event about the last item.
    fn item_event(&mut self, kind: &str, key: &str, value: &Value) {
        let index = self.items.len() - 1;
        let part = if kind.starts_with("reasoning") {
            "summary_index"
        } else {
            "content_index"
        };
        self.event(
            json!({ "type": format!("response.{kind}"), "item_id": format!("i{index}"),
            "output_index": index, part: 0, key: value }),
        );
    }

    fn event(&mut self, mut event: Value) {
        if self.api == Form::Responses {
            event["sequence_number"] = json!(self.number);
            self.number += 1;
        }
        if let Some(kind) = event["type"].as_str().filter(|_| self.named) {
            self.stream
                .extend_from_slice(format!("event: {kind}\n").as_bytes());
        }
        self.stream
            .extend_from_slice(format!("data: {event}\n\n").as_bytes());
    }
}

/// What the events of a kind are called, and where the whole text stands in the last of them.
fn stem(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "output_text" => ("output_text", "text"),
        "refusal" => ("refusal", "refusal"),
        "summary" => ("reasoning_summary_text", "text"),
        "arguments" => ("function_call_arguments", "arguments"),
        _ => ("custom_tool_call_input", "input"),
    }
}

/// The texts that a caller puts together, without the empty ones. Repeats are what was said.
pub fn hear(api: Form, stream: &[u8]) -> Texts {
    let mut heard = Texts::new();
    let mut next_number = 0;
    let stream = std::str::from_utf8(stream).expect("a stream is UTF-8");
    for line in stream.lines() {
        let Some(event) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            let plain = line.is_empty() || line.starts_with("event: ") || line == "data: [DONE]";
            assert!(plain, "{line}");
            continue;
        };
        let event: Value = serde_json::from_str(event).expect("an event is JSON");
        match api {
            Form::Chat | Form::Completions => hear_choices(api, &event, &mut heard),
            Form::Messages => hear_block(&event, &mut heard),
            Form::Responses => {
                assert_eq!(event["sequence_number"], next_number, "events are numbered");
                next_number += 1;
                hear_item(&event, &mut heard);
            }
        }
    }
    heard.retain(|_, text| !text.is_empty());
    heard
}

fn hear_choices(api: Form, event: &Value, heard: &mut Texts) {
    for choice in event["choices"].as_array().expect("choices") {
        let index = choice["index"].as_u64().expect("an index");
        let mut add = |kind: &'static str, text: &Value| {
            heard
                .entry((index, kind))
                .or_default()
                .push_str(text.as_str().unwrap_or_default());
        };
        if api == Form::Completions {
            add("text", &choice["text"]);
            continue;
        }
        let delta = &choice["delta"];
        add("content", &delta["content"]);
        add("refusal", &delta["refusal"]);
        add("function_call", &delta["function_call"]["arguments"]);
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let kind = if call["index"] == 0 { "tool0" } else { "tool1" };
            add(kind, &call["function"]["arguments"]);
        }
    }
}

fn hear_block(event: &Value, heard: &mut Texts) {
    let Some(index) = event["index"].as_u64() else {
        return;
    };
    for kind in kinds(Form::Messages) {
        for text in [&event["delta"][kind], &event["content_block"][kind]] {
            heard
                .entry((index, kind))
                .or_default()
                .push_str(text.as_str().unwrap_or_default());
        }
    }
}

fn hear_item(event: &Value, heard: &mut Texts) {
    let name = event["type"].as_str().expect("a type");
    let index = event["output_index"].as_u64().unwrap_or_default();
    for kind in kinds(Form::Responses) {
        let (stem, key) = stem(kind);
        let text = heard.entry((index, kind)).or_default();
        if name == format!("response.{stem}.delta") {
            text.push_str(event["delta"].as_str().expect("a delta"));
        }
        if name == format!("response.{stem}.done") {
            assert_eq!(event[key], text.as_str(), "a repeat differs");
        }
    }
    if name == "response.content_part.done" {
        assert_eq!(
            event["part"]["text"],
            heard[&(index, "output_text")].as_str(),
            "a repeat differs"
        );
    }
    let done = name == "response.output_item.done";
    let items = event["response"]["output"]
        .as_array()
        .into_iter()
        .flatten()
        .zip(0..);
    for (item, index) in items.chain(done.then_some((&event["item"], index))) {
        let content = &item["content"][0];
        let repeats = [
            ("output_text", &content["text"]),
            ("refusal", &content["refusal"]),
            ("summary", &item["summary"][0]["text"]),
            ("arguments", &item["arguments"]),
            ("input", &item["input"]),
        ];
        for (kind, text) in repeats {
            let said = heard.get(&(index, kind)).map_or("", String::as_str);
            assert!(
                text.is_null() || text == said,
                "a repeat differs: {text} of {said}"
            );
        }
    }
}
