//! The shapes of `/v1/messages`: blocks that begin, grow and stop, or one message.

use serde_json::{Value, json};

use super::{Choice, signature};

/// The events of a streamed answer, each with its `type`.
pub(super) fn events(asked: &Value, choice: &Choice) -> Vec<Value> {
    let begun = message(asked, &json!([]), &Value::Null);
    let mut events = vec![
        json!({"type": "message_start", "message": begun}),
        json!({"type": "ping"}),
    ];
    let mut blocks = 0;
    let mut block = |begun: Value, deltas: Vec<Value>| {
        let index = blocks;
        blocks += 1;
        events.push(json!({"type": "content_block_start", "index": index, "content_block": begun}));
        for delta in deltas {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    };
    let deltas = |kind: &str, field: &str, parts: &[String]| -> Vec<Value> {
        let delta = |part: &String| Value::from_iter([("type", json!(kind)), (field, json!(part))]);
        parts.iter().map(delta).collect()
    };
    if !choice.reasoning.is_empty() {
        let mut parts = deltas("thinking_delta", "thinking", &choice.reasoning);
        let proof = signature(&choice.reasoning.concat());
        parts.push(json!({"type": "signature_delta", "signature": proof}));
        block(
            json!({"type": "thinking", "thinking": "", "signature": ""}),
            parts,
        );
    }
    if !choice.text.is_empty() || choice.tools.is_empty() {
        let parts = deltas("text_delta", "text", &choice.text);
        block(json!({"type": "text", "text": ""}), parts);
    }
    for (number, tool) in choice.tools.iter().enumerate() {
        let id = format!("toolu_{number}");
        let begun = json!({"type": "tool_use", "id": id, "name": tool.name, "input": {}});
        let parts = deltas("input_json_delta", "partial_json", &tool.arguments);
        block(begun, parts);
    }
    let delta = json!({"stop_reason": stop(choice), "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": usage()}));
    events.push(json!({"type": "message_stop"}));
    events
}

/// An answer that is not streamed.
pub(super) fn whole(asked: &Value, choice: &Choice) -> Value {
    let mut content = Vec::new();
    if !choice.reasoning.is_empty() {
        let text = choice.reasoning.concat();
        let proof = signature(&text);
        content.push(json!({"type": "thinking", "thinking": text, "signature": proof}));
    }
    if !choice.text.is_empty() || choice.tools.is_empty() {
        content.push(json!({"type": "text", "text": choice.text.concat()}));
    }
    for (number, tool) in choice.tools.iter().enumerate() {
        let input: Value = serde_json::from_str(&tool.arguments.concat()).unwrap_or_default();
        let id = format!("toolu_{number}");
        content.push(json!({"type": "tool_use", "id": id, "name": tool.name, "input": input}));
    }
    message(asked, &json!(content), &json!(stop(choice)))
}

fn message(asked: &Value, content: &Value, stop: &Value) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"],
        "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage(),
    })
}

fn stop(choice: &Choice) -> &str {
    match choice.finish.as_deref() {
        Some(reason) => reason,
        None if choice.tools.is_empty() => "end_turn",
        None => "tool_use",
    }
}

fn usage() -> Value {
    json!({
        "input_tokens": 42, "output_tokens": 7,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
    })
}
