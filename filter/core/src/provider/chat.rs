//! Chat completions: `POST /chat/completions`.

use crate::json::Step::{self, Index, Key};
use crate::json::push_string;

use super::item::{OWN_TEXT, Part};
use super::stream::Channel;
use super::{Count, Place, Shape, UnscannedReason};

pub(super) const DECIDING_KEYS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "tools",
    "functions",
    "tool_choice",
];

pub(super) const EVENT_KEYS: &[&str] = &[
    "choices",
    "copilot_annotations",
    "copilot_confirmation",
    "copilot_errors",
    "copilot_references",
    "error",
];

pub(super) fn request_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("model")] => Place::Model,
        [Key("stream")] => Place::Stream,
        [Key("messages" | "tools" | "functions")] => Place::List,
        [Key("messages"), Index(_), rest @ ..] => message_place(rest),
        [Key("tools"), Index(_), Key("function"), Key("name")]
        | [Key("functions"), Index(_), Key("name")] => Place::ToolName,
        [Key("tools"), Index(_), Key("type")]
        | [Key("tool_choice" | "function_call" | "reasoning_effort")]
        | [
            Key("tool_choice" | "function_call"),
            ..,
            Key("type" | "name"),
        ]
        | [Key("response_format"), Key("type")] => Place::Name,
        _ => Place::Text,
    }
}

/// What stands in a message, of a request or of a whole answer.
fn message_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("role")] => Place::Role,
        [
            Key("tool_calls"),
            Index(_),
            Key("function" | "custom"),
            Key("name"),
        ]
        | [Key("function_call"), Key("name")] => Place::CallName,
        [Key("name" | "tool_call_id" | "cot_id")]
        | [Key("content"), Index(_), Key("type")]
        | [
            Key("content"),
            Index(_),
            Key("image_url"),
            Key("detail" | "media_type"),
        ]
        | [Key("content"), Index(_), Key("input_audio"), Key("format")]
        | [Key("content"), Index(_), Key("file"), Key("file_id")]
        | [Key("tool_calls"), Index(_), Key("id" | "type")]
        | [Key("audio"), Key("id")] => Place::Name,
        [Key("content"), Index(_), Key("image_url")]
        | [Key("content"), Index(_), Key("image_url"), Key("url")] => {
            Place::Blob(UnscannedReason::Image)
        }
        [Key("content"), Index(_), Key("input_audio"), Key("data")]
        | [Key("audio"), Key("data")] => Place::Blob(UnscannedReason::Audio),
        [Key("content"), Index(_), Key("file"), Key("file_data")] => {
            Place::Blob(UnscannedReason::File)
        }
        [Key(key)] if OPAQUE.contains(key) => Place::Blob(UnscannedReason::Opaque),
        [Key(key)] if is_text(key) => Place::Piece(Shape::Delta),
        [
            Key("tool_calls"),
            Index(_),
            Key("function"),
            Key("arguments"),
        ] => Place::Piece(Shape::ToolCall),
        [Key("function_call"), Key("arguments")] => Place::Piece(Shape::FunctionCall),
        _ => Place::Text,
    }
}

pub(super) fn request_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [Key("messages"), Index(_), rest @ ..] => message_part(rest),
        [Key("tools" | "functions"), ..] => Part::Text {
            role: Some("system"),
            kind: "tool",
        },
        _ => Part::Text {
            role: Some("user"),
            kind: "text",
        },
    }
}

pub(super) fn answer_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [Key("choices"), Index(_), Key("message"), rest @ ..] => message_part(rest),
        _ => OWN_TEXT,
    }
}

/// The parts of a message, of a request or of a whole answer.
fn message_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [] => Part::Message,
        [Key("content"), Index(_)] => Part::Block,
        [Key("tool_calls"), Index(_)] | [Key("function_call")] => Part::Call,
        [
            Key("tool_calls"),
            Index(_),
            Key("function"),
            Key("arguments"),
        ]
        | [Key("tool_calls"), Index(_), Key("custom"), Key("input")]
        | [Key("function_call"), Key("arguments")] => Part::Arguments,
        [Key("tool_calls" | "function_call"), ..] => Part::Text {
            role: Some("assistant"),
            kind: "tool_call",
        },
        _ => OWN_TEXT,
    }
}

pub(super) fn answer_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("choices"), Index(_), Key("message"), rest @ ..] => message_place(rest),
        // A stream's form in a whole answer: no piece, since nothing follows.
        [Key("choices"), Index(_), Key("delta"), ..] => Place::Text,
        _ => event_place(steps),
    }
}

pub(super) fn event_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("model")] => Place::Model,
        [Key("id" | "object" | "created" | "system_fingerprint")] => Place::Envelope,
        [Key("obfuscation")] => Place::Padding,
        [Key("service_tier")] => Place::Name,
        [Key("usage"), rest @ ..] => match rest {
            [Key("prompt_tokens")] => Place::Count(Count::Input),
            [Key("completion_tokens")] => Place::Count(Count::Output),
            [Key("prompt_tokens_details"), Key("cached_tokens")] => Place::Count(Count::Cached),
            _ => Place::Text,
        },
        [Key("choices"), Index(_), rest @ ..] => match rest {
            [Key("index")] => Place::ChoiceIndex,
            [Key("finish_reason")] => Place::Finish,
            [Key("logprobs"), ..] => Place::Dropped,
            [Key("delta"), Key("tool_calls"), Index(_), Key("index")] => Place::ToolIndex,
            [Key("delta"), delta @ ..] => message_place(delta),
            _ => Place::Text,
        },
        _ => Place::Text,
    }
}

/// Strings of a message that only the upstream can read.
const OPAQUE: &[&str] = &["reasoning_opaque", "encrypted_content", "signature"];

/// Whether a string of a delta is a piece of text.
fn is_text(key: &str) -> bool {
    matches!(
        key,
        "content" | "refusal" | "reasoning" | "thinking" | "cot_summary"
    ) || key.starts_with("reasoning_")
}

/// Appends the choice of an event that carries a piece of a channel's text.
pub(super) fn push_piece(out: &mut Vec<u8>, channel: &Channel, text: &str) {
    out.extend_from_slice(format!("{{\"index\":{},\"delta\":{{", channel.choice).as_bytes());
    match channel.shape {
        Shape::Delta | Shape::Text | Shape::Typed => {
            push_string(out, &channel.field);
            out.push(b':');
            push_string(out, text);
        }
        Shape::FunctionCall => {
            out.extend_from_slice(b"\"function_call\":{\"arguments\":");
            push_string(out, text);
            out.push(b'}');
        }
        Shape::ToolCall => {
            let head = format!(
                "\"tool_calls\":[{{\"index\":{},\"function\":{{\"arguments\":",
                channel.tool
            );
            out.extend_from_slice(head.as_bytes());
            push_string(out, text);
            out.extend_from_slice(b"}}]");
        }
    }
    out.extend_from_slice(b"},\"finish_reason\":null}");
}

/// Appends the choice of an event that says something in a choice without a word so far.
pub(super) fn push_text(out: &mut Vec<u8>, choice: u64, text: &str) {
    let head = format!("{{\"index\":{choice},\"delta\":{{\"role\":\"assistant\",\"content\":");
    out.extend_from_slice(head.as_bytes());
    push_string(out, text);
    out.extend_from_slice(b"},\"finish_reason\":null}");
}

/// Appends the choice of an event that ends a choice normally.
pub(super) fn push_end(out: &mut Vec<u8>, choice: u64, reason: &str) {
    let end = format!("{{\"index\":{choice},\"delta\":{{}},\"finish_reason\":\"{reason}\"}}");
    out.extend_from_slice(end.as_bytes());
}

/// The root values of an event of ours.
pub(super) fn envelope(model: &str) -> Vec<u8> {
    root(model, "chat.completion.chunk")
}

fn root(model: &str, object: &str) -> Vec<u8> {
    let mut out =
        format!("\"id\":\"gate\",\"object\":\"{object}\",\"created\":0,\"model\":").into_bytes();
    push_string(&mut out, model);
    out
}

/// An answer of ours as a stream: one text, a normal end, `[DONE]`.
pub fn chat_stream_text(model: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let envelope = envelope(model);
    super::stream::push_event(&mut out, &envelope, |out| push_text(out, 0, text));
    super::stream::push_event(&mut out, &envelope, |out| push_end(out, 0, "stop"));
    out.extend_from_slice(super::stream::DONE_EVENT);
    out
}

/// An answer of ours in one piece.
pub fn chat_text(model: &str, text: &str) -> Vec<u8> {
    let mut out = b"{".to_vec();
    out.extend_from_slice(&root(model, "chat.completion"));
    out.extend_from_slice(
        b",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":",
    );
    push_string(&mut out, text);
    out.extend_from_slice(
        b"},\"finish_reason\":\"stop\"}],\
          \"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}",
    );
    out
}
