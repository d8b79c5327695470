//! The shapes of `/responses`: typed events that repeat what they streamed, or one answer.

use serde_json::{Value, json};

use super::{Choice, signature};

/// The events of a streamed answer, each with its `type`. The last repeats the whole output.
pub(super) fn events(asked: &Value, choice: &Choice) -> Vec<Value> {
    let mut events = Events::default();
    let begun = response(asked, "in_progress", &json!([]));
    events.add("response.created", json!({"response": begun}));
    events.add("response.in_progress", json!({"response": begun}));
    let output = output(choice);
    let mut call = choice.tools.iter();
    for (index, item) in output.iter().enumerate() {
        match item["type"].as_str() {
            Some("reasoning") => events.reasoning(index, item, &choice.reasoning),
            Some("message") => events.message(index, item, &choice.text),
            _ => {
                let parts = call.next().map_or(&[][..], |tool| &tool.arguments);
                events.call(index, item, parts);
            }
        }
        let done = json!({"output_index": index, "item": item});
        events.add("response.output_item.done", done);
    }
    let kind = format!("response.{}", status(choice));
    let whole = whole(asked, choice);
    events.add(&kind, json!({"response": whole}));
    events.0
}

/// An answer that is not streamed.
pub(super) fn whole(asked: &Value, choice: &Choice) -> Value {
    response(asked, status(choice), &json!(output(choice)))
}

#[derive(Default)]
struct Events(Vec<Value>);

impl Events {
    fn add(&mut self, kind: &str, mut event: Value) {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(self.0.len());
        self.0.push(event);
    }

    fn begin(&mut self, index: usize, item: &Value, empty: (&str, Value)) {
        let mut item = item.clone();
        item["status"] = json!("in_progress");
        item[empty.0] = empty.1;
        let added = json!({"output_index": index, "item": item});
        self.add("response.output_item.added", added);
    }

    fn reasoning(&mut self, index: usize, item: &Value, parts: &[String]) {
        self.begin(index, item, ("summary", json!([])));
        let place = |mut event: Value| {
            event["item_id"] = item["id"].clone();
            event["output_index"] = json!(index);
            event["summary_index"] = json!(0);
            event
        };
        let part = |text: &str| json!({"part": {"type": "summary_text", "text": text}});
        let text = parts.concat();
        let name = |end: &str| format!("response.reasoning_summary_{end}");
        self.add(&name("part.added"), place(part("")));
        for part in parts {
            self.add(&name("text.delta"), place(json!({"delta": part})));
        }
        self.add(&name("text.done"), place(json!({"text": text})));
        self.add(&name("part.done"), place(part(&text)));
    }

    fn message(&mut self, index: usize, item: &Value, parts: &[String]) {
        self.begin(index, item, ("content", json!([])));
        let place = |mut event: Value| {
            event["item_id"] = item["id"].clone();
            event["output_index"] = json!(index);
            event["content_index"] = json!(0);
            event
        };
        let text = parts.concat();
        let added = place(json!({"part": text_part("")}));
        self.add("response.content_part.added", added);
        for part in parts {
            let delta = place(json!({"delta": part, "logprobs": []}));
            self.add("response.output_text.delta", delta);
        }
        let done = place(json!({"text": text, "logprobs": []}));
        self.add("response.output_text.done", done);
        let done = place(json!({"part": text_part(&text)}));
        self.add("response.content_part.done", done);
    }

    fn call(&mut self, index: usize, item: &Value, parts: &[String]) {
        self.begin(index, item, ("arguments", json!("")));
        let place = |mut event: Value| {
            event["item_id"] = item["id"].clone();
            event["output_index"] = json!(index);
            event
        };
        let name = |end: &str| format!("response.function_call_arguments.{end}");
        for part in parts {
            self.add(&name("delta"), place(json!({"delta": part})));
        }
        let done = json!({"arguments": item["arguments"], "name": item["name"]});
        self.add(&name("done"), place(done));
    }
}

/// The items of the answer, whole.
fn output(choice: &Choice) -> Vec<Value> {
    let mut output = Vec::new();
    if !choice.reasoning.is_empty() {
        let text = choice.reasoning.concat();
        output.push(json!({
            "id": "rs_1", "type": "reasoning", "encrypted_content": signature(&text),
            "summary": [{"type": "summary_text", "text": text}],
        }));
    }
    if !choice.text.is_empty() || choice.tools.is_empty() {
        output.push(json!({
            "id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
            "content": [text_part(&choice.text.concat())],
        }));
    }
    for (number, tool) in choice.tools.iter().enumerate() {
        output.push(json!({
            "id": format!("fc_{number}"), "type": "function_call", "status": "completed",
            "call_id": format!("call_0_{number}"), "name": tool.name,
            "arguments": tool.arguments.concat(),
        }));
    }
    output
}

fn response(asked: &Value, status: &str, output: &Value) -> Value {
    let details = json!({"reason": "content_filter"});
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": status,
        "model": asked["model"], "output": output, "error": null,
        "incomplete_details": if status == "incomplete" { details } else { Value::Null },
        "instructions": null, "metadata": {}, "parallel_tool_calls": true, "temperature": 1,
        "tool_choice": "auto", "tools": [], "top_p": 1,
        "usage": if status == "in_progress" { Value::Null } else { usage() },
    })
}

/// The end of the answer: `completed`, or a [`Choice::finish`] in this API's words.
fn status(choice: &Choice) -> &str {
    match choice.finish.as_deref() {
        None | Some("stop") => "completed",
        Some(other) => other,
    }
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn usage() -> Value {
    json!({
        "input_tokens": 42, "output_tokens": 7, "total_tokens": 49,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    })
}
