//! Messages of each API, and changes to them.

use std::ops::Range;

use data_encoding::BASE64;
use filter_core::provider::{Api, CallPattern, Watch};
use serde_json::{Value, json};
use wildmatch::WildMatch;

use crate::{PLANTED, text};

/// All APIs.
pub const APIS: [Api; 4] = [Api::Chat, Api::Completions, Api::Messages, Api::Responses];

/// Everything that can be asked for is asked for: items with findings, and calls of some tools.
pub fn watch() -> Watch {
    let pattern = |rule, name, arguments| CallPattern {
        rule,
        name: WildMatch::new(name),
        arguments: WildMatch::new(arguments),
    };
    Watch {
        items: true,
        calls: vec![pattern(0, "f", "*b*"), pattern(1, "g*", "*")],
    }
}

/// A request of an API, or an answer in one piece, in which most of its places are filled.
pub fn body(api: Api, is_answer: bool) -> Value {
    match (api, is_answer) {
        (Api::Chat, false) => chat_request(),
        (Api::Chat, true) => chat_answer(),
        (Api::Completions, false) => completions_request(),
        (Api::Completions, true) => completions_answer(),
        (Api::Messages, false) => messages_request(),
        (Api::Messages, true) => messages_answer(),
        (Api::Responses, false) => responses_request(),
        (Api::Responses, true) => responses_answer(),
        (Api::Mcp, false) => mcp_request(),
        (Api::Mcp, true) => mcp_answer(),
        (Api::Code | Api::Ingest, false) => code_request(),
        (Api::Code | Api::Ingest, true) => code_answer(),
    }
}

fn chat_request() -> Value {
    json!({
        "model": "gpt-4.1", "stream": true, "temperature": 0.1, "n": 1, "user": "u",
        "reasoning_effort": "high", "tool_choice": { "type": "function", "name": "f" },
        "response_format": { "type": "json_object" }, "stop": ["x"], "logit_bias": { "17": 1 },
        "messages": [
            { "role": "system", "content": "Be brief.", "name": "s" },
            { "role": "user", "content": [
                { "type": "text", "text": "Hello" },
                { "type": "image_url", "image_url": { "url": "https://h.example/i", "detail": "low" } },
                { "type": "input_audio", "input_audio": { "data": "AAAA", "format": "wav" } },
                { "type": "file", "file": { "file_id": "f1", "file_data": "AAAA", "filename": "a" } },
            ], "copilot_cache_control": { "type": "ephemeral" } },
            { "role": "assistant", "content": null, "refusal": "no", "reasoning_text": "why",
              "reasoning_opaque": "AAAA", "cot_id": "c", "cot_summary": "s", "audio": { "id": "a" },
              "function_call": { "name": "f", "arguments": "{}" },
              "tool_calls": [{ "id": "c1", "type": "function",
                  "function": { "name": "f", "arguments": "{\"a\":\"b\"}" } }] },
            { "role": "tool", "tool_call_id": "c1", "content": "done" },
        ],
        "tools": [{ "type": "function", "function": { "name": "f", "description": "does",
            "parameters": { "type": "object", "properties": { "a": { "default": "b" } } } } }],
        "functions": [{ "name": "g", "description": "does" }],
    })
}

fn chat_answer() -> Value {
    json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4.1",
        "system_fingerprint": "fp", "service_tier": "default", "obfuscation": "xx",
        "choices": [{ "index": 0, "finish_reason": "stop", "logprobs": { "content": [{ "token": "a" }] },
            "message": { "role": "assistant", "content": "Hello", "refusal": null,
                "reasoning_text": "why", "reasoning_opaque": "AAAA",
                "function_call": { "name": "f", "arguments": "{}" },
                "tool_calls": [{ "id": "c1", "type": "function",
                    "function": { "name": "f", "arguments": "{}" } }] },
            "delta": { "content": "odd" } }],
        "usage": { "prompt_tokens": 1 }, "copilot_references": [{ "type": "x", "data": { "t": "u" } }],
        "error": { "message": "m" },
    })
}

fn completions_request() -> Value {
    json!({
        "model": "ghost", "stream": true, "prompt": "// a\n", "suffix": "}", "max_tokens": 1,
        "stop": ["\n"], "nwo": "a/b", "extra": { "language": "rust", "trim_by_indentation": true,
            "context": ["Path: a"], "next_indent": 0, "prompt_tokens": 1 },
    })
}

fn completions_answer() -> Value {
    json!({
        "id": "c", "object": "text_completion", "created": 1, "model": "ghost", "obfuscation": "x",
        "choices": [{ "index": 0, "text": "let a", "finish_reason": "stop", "p": "aa",
            "logprobs": { "tokens": ["a"] } }],
        "error": { "message": "m" },
    })
}

fn messages_request() -> Value {
    json!({
        "model": "claude-4", "stream": true, "max_tokens": 9, "container": "c", "metadata": { "user_id": "u" },
        "system": [{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }],
        "messages": [
            { "role": "user", "content": "Hello" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "why", "signature": "AAAA" },
                { "type": "redacted_thinking", "data": "AAAA" },
                { "type": "text", "text": "Hm.", "citations": [{ "cited_text": "t" }] },
                { "type": "tool_use", "id": "t1", "name": "f", "input": { "a": "b", "n": [1, "c"] } } ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": [{ "type": "text", "text": "done" }] },
                { "type": "tool_result", "tool_use_id": "t2", "content": "done", "is_error": false },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } },
                { "type": "document", "title": "d", "source": { "type": "content",
                    "content": [{ "type": "text", "text": "x" }] } },
                { "type": "image", "source": { "type": "url", "url": "https://h.example/i" } } ] },
        ],
        "tools": [{ "name": "f", "description": "does", "input_schema": { "type": "object" } }],
        "tool_choice": { "type": "auto" },
    })
}

fn messages_answer() -> Value {
    json!({
        "id": "m", "type": "message", "role": "assistant", "model": "claude-4",
        "content": [
            { "type": "thinking", "thinking": "why", "signature": "AAAA" },
            { "type": "text", "text": "Hello" },
            { "type": "tool_use", "id": "t1", "name": "f", "input": { "a": "b" } },
        ],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": { "input_tokens": 1, "output_tokens": 2 }, "error": { "message": "m" },
    })
}

fn responses_request() -> Value {
    json!({
        "model": "gpt-5", "stream": true, "instructions": "Be brief.", "store": false,
        "previous_response_id": null, "include": ["reasoning.encrypted_content"],
        "input": [
            { "role": "user", "content": "Hello" },
            { "type": "message", "role": "user", "content": [
                { "type": "input_text", "text": "Hello" },
                { "type": "input_image", "image_url": "https://h.example/i", "detail": "low" },
                { "type": "input_file", "file_data": "AAAA", "filename": "a" } ] },
            { "type": "reasoning", "id": "r", "summary": [{ "type": "summary_text", "text": "why" }],
              "encrypted_content": "AAAA" },
            { "type": "message", "role": "assistant", "id": "m", "status": "completed",
              "content": [{ "type": "output_text", "text": "Hm.", "annotations": [], "logprobs": [] }] },
            { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\":\"b\"}" },
            { "type": "function_call_output", "call_id": "c1", "output": "done" },
            { "type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x" },
            { "type": "custom_tool_call_output", "call_id": "c2", "output": [{ "type": "input_text", "text": "y" }] },
            { "type": "local_shell_call", "action": { "type": "exec", "command": ["ls"], "env": { "A": "b" } } },
        ],
        "tools": [{ "type": "function", "name": "f", "description": "does",
            "parameters": { "type": "object" }, "strict": true }],
        "text": { "format": { "type": "text" } }, "reasoning": { "effort": "high" },
    })
}

fn responses_answer() -> Value {
    json!({
        "id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-5",
        "instructions": "Be brief.", "error": null, "incomplete_details": { "reason": "x" },
        "output": [
            { "type": "reasoning", "id": "r", "summary": [{ "type": "summary_text", "text": "why" }],
              "encrypted_content": "AAAA" },
            { "type": "message", "role": "assistant", "id": "m", "status": "completed", "content": [
                { "type": "output_text", "text": "Hm.", "annotations": [{ "url": "u" }],
                  "logprobs": [{ "token": "a" }] },
                { "type": "refusal", "refusal": "no" } ] },
            { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
            { "type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x" },
            { "type": "code_interpreter_call", "code": "x", "outputs": [{ "logs": "y" }] },
            { "type": "image_generation_call", "result": "AAAA" },
        ],
        "usage": { "input_tokens": 1, "output_tokens": 2 },
    })
}

fn code_request() -> Value {
    json!({
        "model": "embedding", "input": ["fn main", "let a"], "dimensions": 8, "prompt": "find",
        "content": "let a = 1;", "path": "src/a.rs", "hash": "ab12", "geo_filter": { "path": "b" },
        "docs": [{ "content": "let b = 2;", "path": "b.rs" }],
    })
}

fn code_answer() -> Value {
    json!({
        "data": [{ "embedding": [0.5, -1], "index": 0 }, { "embedding": "AAAA" }],
        "chunks": [{ "text": "let a", "range": { "start": 1 } }], "content": "let c = 3;",
        "usage": { "prompt_tokens": 1 },
    })
}

fn mcp_request() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "f", "arguments": { "a": "b", "list": ["c"] }, "_meta": { "t": "u" } },
    })
}

fn mcp_answer() -> Value {
    json!({
        "jsonrpc": "2.0", "id": "1", "result": {
            "content": [{ "type": "text", "text": "t" }, { "type": "image", "data": "AAAA" },
                { "type": "resource", "resource": { "uri": "u", "text": "t", "blob": "AAAA" } }],
            "contents": [{ "uri": "u", "blob": "AAAA" }],
            "tools": [{ "name": "f", "description": "does" }], "isError": false },
        "error": { "code": 1, "message": "m" },
    })
}

/// Writes every text under `content` in base64, as files are sent to the index.
pub fn encode_contents(tree: &mut Value) {
    match tree {
        Value::Array(list) => list.iter_mut().for_each(encode_contents),
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "content" => {
                        *text = BASE64.encode(text.as_bytes())
                    }
                    value => encode_contents(value),
                }
            }
        }
        _ => {}
    }
}

/// The text that base64 stands for.
pub fn decoded(text: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(text.as_bytes()).ok()?).ok()
}

/// Changes one value: its number (two bytes) and what to do. Says which of [`PLANTED`] it put there.
pub fn change(tree: &mut Value, [place, more, what]: [u8; 3]) -> Option<usize> {
    let mut number = usize::from(place);
    let at = nth(tree, &mut number)?;
    let argument = usize::from(more);
    let planted = argument % PLANTED.len();
    let secret = PLANTED[planted].0;
    match (what % 8, at) {
        (0..=2, at) => {
            *at = Value::from(secret);
            return Some(planted);
        }
        (3 | 4, Value::Object(map)) => {
            map.insert(secret.to_owned(), Value::from(argument));
            return Some(planted);
        }
        (3 | 4, Value::Array(list)) => {
            list.push(Value::from(secret));
            return Some(planted);
        }
        (5, at) => {
            *at = match argument % 8 {
                0 => Value::Null,
                1 => Value::from(true),
                2 => Value::from(argument),
                3 => Value::from("A0b1".repeat(40)),
                4 => Value::from(format!("data:image/png;base64,{}", "A0b1".repeat(40))),
                5 => Value::from(vec![argument; 3]),
                6 => json!({ "type": "text", "text": "t" }),
                _ => Value::from(odd(&[more, place, what])),
            };
        }
        (6, Value::Object(map)) => {
            map.insert(odd(&[more, place]), Value::from(odd(&[what, more])));
        }
        // A copy of a value in another place of the same kind.
        (_, Value::Array(list)) => {
            if let Some(one) = list.get(argument % list.len().max(1)).cloned() {
                list.push(one);
            }
        }
        (_, Value::String(old)) => old.push_str(&odd(&[more])),
        _ => {}
    }
    None
}

/// A text without a secret in it, whatever stands beside it.
fn odd(bytes: &[u8]) -> String {
    const SECRETS: Range<u8> = 0x80..0x80 + 2 * PLANTED.len() as u8;
    let plain = |byte: &u8| if SECRETS.contains(byte) { b' ' } else { *byte };
    text(&bytes.iter().map(plain).collect::<Vec<_>>())
}

/// The value of this number, counted from the root.
fn nth<'a>(tree: &'a mut Value, number: &mut usize) -> Option<&'a mut Value> {
    if *number == 0 {
        return Some(tree);
    }
    *number -= 1;
    match tree {
        Value::Array(list) => list.iter_mut().find_map(|value| nth(value, number)),
        Value::Object(map) => map.values_mut().find_map(|value| nth(value, number)),
        _ => None,
    }
}

/// All strings and keys.
pub fn strings(tree: &Value) -> Vec<&str> {
    match tree {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().flat_map(strings).collect(),
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| std::iter::once(key.as_str()).chain(strings(value)))
            .collect(),
        _ => Vec::new(),
    }
}
