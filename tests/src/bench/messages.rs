//! What callers send and what the upstream answers: fixed texts of fixed sizes.
//!
//! Requests are shaped as the language server's: code in many small messages, with line ends
//! escaped, and two planted secrets, so that the body leaves changed.

use serde_json::{Value, json};

/// Events of a streamed answer.
pub(super) const EVENTS: usize = 200;

/// Characters in each of them.
pub(super) const EVENT_CHARS: usize = 10;

/// Stands in texts that no request before had; callers number it.
pub(super) const TURN: &str = "turn 0000000000";

/// Which texts of a request are new.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum New {
    /// All, as in a conversation that the gateway has not seen.
    All,
    /// The last message, as in a conversation that goes on.
    Last,
}

const GITHUB: &str = concat!("ghp_", "q7Zk2LmX9vTb4RnW8sYc1dHf3gJk5pQr6tUv");
const AWS: &str = concat!("AKIA", "Q3EGRZ7TWLXN5V2P");

/// Source code, logs and prose of about so many bytes; another `seed` gives another text.
pub(super) fn code(bytes: usize, seed: usize) -> String {
    let parts: Vec<&str> = include_str!("../../fixtures/bench.txt")
        .split("\n\n")
        .collect();
    let mut text = String::new();
    for turn in seed.. {
        let part = parts[turn % parts.len()];
        text.push_str(&part.replace('@', &(10 + turn * 7 % 89).to_string()));
        text.push_str("\n\n");
        if text.len() >= bytes {
            break;
        }
    }
    text.truncate(text.floor_char_boundary(bytes));
    text
}

/// Texts of a chat request.
const TEXTS: usize = 11;

/// Bytes of each text of a chat request of about so many.
fn text_bytes(bytes: usize) -> usize {
    bytes.saturating_sub(2_600) / TEXTS
}

/// Bytes of text, decoded, by which requests with [`New::All`] and [`New::Last`] differ.
pub(super) fn known_bytes(bytes: usize) -> usize {
    text_bytes(bytes) * (TEXTS - 1)
}

/// A chat request of about so many bytes, with or without secrets.
pub(super) fn chat(bytes: usize, stream: bool, secrets: bool, new: New) -> Vec<u8> {
    let content = text_bytes(bytes);
    let text = |number: usize| match (number, new) {
        (10, _) | (_, New::All) => json!(format!("{TURN}\n{}", code(content, number * 5))),
        (_, New::Last) => json!(code(content, number * 5)),
    };
    let mut messages = vec![json!({"role": "system", "content": text(0)})];
    for number in 1..10 {
        let role = if number % 2 == 1 { "user" } else { "assistant" };
        messages.push(json!({"role": role, "content": text(number)}));
    }
    let arguments = json!({"path": "src/store/index.rs", "startLine": 1, "endLine": 120});
    messages.push(
        json!({"role": "assistant", "content": null, "tool_calls": [{
            "id": "call_01", "type": "function",
            "function": {"name": "read_file", "arguments": arguments.to_string()},
        }]}),
    );
    messages.push(json!({"role": "tool", "tool_call_id": "call_01", "content": text(10)}));
    if secrets {
        plant(&mut messages[5]["content"], GITHUB);
        plant(&mut messages[11]["content"], AWS);
    }
    let tool = |name: &str, about: &str| {
        json!({"type": "function", "function": {"name": name, "description": about, "parameters": {
            "type": "object", "required": ["path"],
            "properties": {"path": {"type": "string", "description": "Where, from the root."}},
        }}})
    };
    let request = json!({
        "model": "gpt-4.1", "messages": messages, "stream": stream, "temperature": 0, "top_p": 1,
        "n": 1, "max_tokens": 16384, "tool_choice": "auto", "intent": true,
        "tools": [
            tool("read_file", "Reads a part of a file; ask for large parts rather than many small."),
            tool("list_dir", "Lists what is in a folder; names that end in a slash are folders."),
        ],
    });
    request.to_string().into_bytes()
}

/// A request for ghost text of about so many bytes, with secrets.
pub(super) fn ghost(bytes: usize) -> Vec<u8> {
    let mut prompt = json!(format!(
        "# Path: store.rs\n# {TURN}\n{}",
        code(bytes * 3 / 4, 3)
    ));
    plant(&mut prompt, GITHUB);
    plant(&mut prompt, AWS);
    let request = json!({
        "prompt": prompt, "suffix": code(bytes / 8, 4), "max_tokens": 500, "temperature": 0,
        "top_p": 1, "n": 1, "stop": ["\ndef ", "\nclass ", "\n\n#"], "stream": true,
        "extra": {"language": "rust", "next_indent": 4, "trim_by_indentation": true,
            "prompt_tokens": 900, "suffix_tokens": 120},
    });
    request.to_string().into_bytes()
}

/// Puts a line with a secret into the middle of a text.
fn plant(text: &mut Value, secret: &str) {
    let Some(old) = text.as_str() else { return };
    let middle = old[..old.floor_char_boundary(old.len() / 2)]
        .rfind('\n')
        .unwrap_or(0);
    let (before, after) = old.split_at(middle);
    *text = json!(format!("{before}\nexport DEPLOY = \"{secret}\"{after}"));
}

/// A chat's answer in one piece, 2.3 KB.
pub(super) fn answer() -> Vec<u8> {
    let answer = json!({
        "id": "chatcmpl-C8f2", "object": "chat.completion", "created": 1_770_000_000,
        "model": "gpt-4.1-2025-04-14", "system_fingerprint": "fp_b3f1157249",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": code(1_900, 6),
        }}],
        "usage": {"prompt_tokens": 9120, "completion_tokens": 540, "total_tokens": 9660},
    });
    answer.to_string().into_bytes()
}

/// Event `number` of a streamed chat: whole words, as models send them. What a gateway keeps back of a
/// word cut at its first letters would be measured as the time to the next event.
pub(super) fn event(number: usize) -> Vec<u8> {
    const PIECES: [&str; 10] = [
        " Each page",
        " of a list",
        " begins by",
        " its third",
        " new entry",
        " and shows",
        " ten older",
        " rows then",
        " until one",
        " is empty.",
    ];
    let text = PIECES[number % PIECES.len()];
    let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
    format!("data: {}\n\n", chunk(&choice)).into_bytes()
}

/// The end of a streamed chat: the choice's end, then the times at which its events were sent, as
/// numbers of the usage, then `[DONE]`.
pub(super) fn end(sent: &[u64]) -> Vec<u8> {
    let mut usage = chunk(&json!({"index": 0, "delta": {}, "finish_reason": null}));
    usage["choices"] = json!([]);
    usage["usage"] = json!({"prompt_tokens": 9120, "completion_tokens": 540, "sent_ns": sent});
    let end = chunk(&json!({"index": 0, "delta": {}, "finish_reason": "stop"}));
    format!("data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n").into_bytes()
}

fn chunk(choice: &Value) -> Value {
    json!({
        "id": "chatcmpl-C8f2", "object": "chat.completion.chunk", "created": 1_770_000_000,
        "model": "gpt-4.1-2025-04-14", "system_fingerprint": "fp_b3f1157249",
        "choices": [choice],
    })
}

/// A ghost text's answer: eight events and the end.
pub(super) fn ghost_answer() -> Vec<u8> {
    let text = [
        "let rows", " = self", ".rows", ".iter()", ".rev()", ".skip(", "first", ");",
    ];
    let choice = |text: &str, reason: Value| json!({"text": text, "index": 0, "finish_reason": reason, "logprobs": null});
    let mut choices: Vec<Value> = text.iter().map(|text| choice(text, Value::Null)).collect();
    choices.push(choice("", json!("stop")));
    let events = choices
        .iter()
        .map(|choice| format!("data: {}\n\n", ghost_chunk(choice)));
    let events: String = events.chain(["data: [DONE]\n\n".to_owned()]).collect();
    events.into_bytes()
}

fn ghost_chunk(choice: &Value) -> Value {
    json!({"id": "cmpl-C8f2", "created": 1_770_000_000, "model": "gpt-41-copilot", "choices": [choice]})
}
