//! What an answer says, in any of the model APIs, streamed or not.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Answer;

impl Answer {
    /// The text; of the first choice, where there are several.
    pub fn text(&self) -> String {
        self.texts().remove(&0).unwrap_or_default()
    }

    /// Text of each choice, of what was streamed where it was streamed.
    pub fn texts(&self) -> BTreeMap<u64, String> {
        let mut texts = BTreeMap::new();
        let mut add = |index, text: &Value| {
            let text = text.as_str().unwrap_or_default();
            texts
                .entry(index)
                .or_insert_with(String::new)
                .push_str(text);
        };
        for body in self.bodies() {
            for choice in list(&body["choices"]) {
                let text = [
                    &choice["text"],
                    &choice["delta"]["content"],
                    &choice["message"]["content"],
                ];
                let text = text.into_iter().find(|text| text.is_string());
                add(number(&choice["index"]), text.unwrap_or(&Value::Null));
            }
            match body["type"].as_str() {
                Some("response.output_text.delta") => add(0, &body["delta"]),
                Some("content_block_delta") => add(0, &body["delta"]["text"]),
                Some("message") => list(&body["content"]).for_each(|block| add(0, &block["text"])),
                _ => {
                    for part in list(&body["output"]).flat_map(|item| list(&item["content"])) {
                        add(0, &part["text"]);
                    }
                }
            }
        }
        texts
    }

    /// The reasoning, as far as it is shown.
    pub fn reasoning(&self) -> String {
        let mut reasoning = String::new();
        for body in self.bodies() {
            let choices = list(&body["choices"]);
            let choices = choices.map(|choice| &choice["delta"]["reasoning_text"]);
            let blocks = list(&body["content"]).map(|block| &block["thinking"]);
            let items = list(&body["output"]).flat_map(|item| list(&item["summary"]));
            let streamed = match body["type"].as_str() {
                Some("response.reasoning_summary_text.delta") => &body["delta"],
                _ => &body["delta"]["thinking"],
            };
            let texts = choices.chain(blocks).chain(items.map(|part| &part["text"]));
            reasoning.extend(texts.chain([streamed]).filter_map(Value::as_str));
        }
        reasoning
    }

    /// Tool calls: (choice, call) → (name, arguments), fragments joined.
    pub fn tool_calls(&self) -> BTreeMap<(u64, u64), (String, String)> {
        let mut calls = BTreeMap::new();
        let mut add = |choice, call, name: &Value, arguments: &str| {
            let known: &mut (String, String) = calls.entry((choice, call)).or_default();
            known.0.push_str(name.as_str().unwrap_or_default());
            known.1.push_str(arguments);
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for body in self.bodies() {
            for choice in list(&body["choices"]) {
                let given = list(&choice["delta"]["tool_calls"]);
                let given = given.chain(list(&choice["message"]["tool_calls"]));
                for (place, call) in given.enumerate() {
                    let place = call["index"].as_u64().unwrap_or(place as u64);
                    let (name, arguments) =
                        (&call["function"]["name"], &call["function"]["arguments"]);
                    add(number(&choice["index"]), place, name, &text(arguments));
                }
            }
            for (place, item) in list(&body["output"]).enumerate() {
                if item["type"] == "function_call" {
                    add(0, place as u64, &item["name"], &text(&item["arguments"]));
                }
            }
            for (place, block) in list(&body["content"]).enumerate() {
                if block["type"] == "tool_use" {
                    let input = block["input"].to_string();
                    add(0, place as u64, &block["name"], &input);
                }
            }
            let begun = match body["type"].as_str() {
                Some("response.output_item.added") => &body["item"],
                _ => &body["content_block"],
            };
            let place = number(&body["output_index"]).max(number(&body["index"]));
            if begun["type"] == "function_call" || begun["type"] == "tool_use" {
                add(0, place, &begun["name"], "");
            }
            if body["type"] == "response.function_call_arguments.delta" {
                add(0, place, &Value::Null, &text(&body["delta"]));
            }
            if let Some(part) = body["delta"]["partial_json"].as_str() {
                add(0, place, &Value::Null, part);
            }
        }
        calls
    }

    /// The copies of its text that a stream of `/responses` carries besides what it streamed.
    pub fn repeats(&self) -> Vec<String> {
        let mut repeats = Vec::new();
        let content = |item: &Value| -> String {
            let parts = list(&item["content"]).filter_map(|part| part["text"].as_str());
            parts.collect()
        };
        for body in self.bodies() {
            match body["type"].as_str() {
                Some("response.output_text.done") => repeats.push(body["text"].clone()),
                Some("response.content_part.done") => repeats.push(body["part"]["text"].clone()),
                Some("response.output_item.done") if body["item"]["type"] == "message" => {
                    repeats.push(content(&body["item"]).into());
                }
                Some("response.completed") => {
                    let text: String = list(&body["response"]["output"]).map(content).collect();
                    repeats.push(text.into());
                }
                _ => {}
            }
        }
        let text = |text: Value| text.as_str().unwrap_or_default().to_owned();
        repeats.into_iter().map(text).collect()
    }

    /// `finish_reason` of each choice.
    pub fn finishes(&self) -> BTreeMap<u64, String> {
        let mut finishes = BTreeMap::new();
        for body in self.bodies() {
            for choice in list(&body["choices"]) {
                if let Some(reason) = choice["finish_reason"].as_str() {
                    finishes.insert(number(&choice["index"]), reason.to_owned());
                }
            }
        }
        finishes
    }

    /// The events, or the one body of an answer without events.
    fn bodies(&self) -> Vec<Value> {
        let events = self.events();
        if events.is_empty() {
            return vec![self.json()];
        }
        let events = events.iter();
        events
            .filter_map(|data| serde_json::from_str(data).ok())
            .collect()
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
