//! The shapes of chat completions and of ghost text.

use serde_json::{Value, json};

use super::Choice;

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
