//! Anthropic's messages: `POST /v1/messages` and `/v1/messages/count_tokens`.
//!
//! An answer is a list of blocks, each of which begins, grows by deltas and stops. Blocks of
//! thinking are signed: a changed one is refused when it comes back, so these are looked at and
//! left as they are.

use crate::json::Step::{self, Index, Key};
use crate::json::push_string;

use super::item::{OWN_TEXT, Part};
use super::stream::{Ends, Field, Form, Spot, push_named};
use super::{Count, Place, Shape, UnscannedReason};

pub(super) const DECIDING_KEYS: &[&str] = &[
    "model",
    "messages",
    "system",
    "stream",
    "tools",
    "tool_choice",
];

pub(super) fn request_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("model")] => Place::Model,
        [Key("stream")] => Place::Stream,
        [Key("messages" | "tools")] => Place::List,
        [Key("tools"), Index(_), Key("name")] => Place::ToolName,
        [Key("container")] => Place::Reference,
        [Key("messages"), Index(_), Key("role")] => Place::Role,
        [Key("system"), Index(_), rest @ ..]
        | [
            Key("messages"),
            Index(_),
            Key("content"),
            Index(_),
            rest @ ..,
        ] => block_place(rest),
        _ => Place::Text,
    }
}

/// What stands in a block of content.
fn block_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("type" | "id" | "tool_use_id")]
        | [Key("cache_control"), ..]
        | [Key("source"), Key("type" | "media_type")] => Place::Name,
        [Key("name")] => Place::CallName,
        [Key("thinking")] => Place::Signed,
        [Key("signature")] => Place::Signature,
        // A block of thinking that nobody but the upstream can read.
        [Key("data")] => Place::Blob(UnscannedReason::Opaque),
        [Key("source"), Key("data")] => Place::Blob(UnscannedReason::File),
        [Key("source"), Key("url" | "file_id")] | [Key("file_id")] => Place::Reference,
        // Blocks in the result of a tool, or in a document.
        [Key("content"), Index(_), rest @ ..]
        | [Key("source"), Key("content"), Index(_), rest @ ..] => block_place(rest),
        _ => Place::Text,
    }
}

pub(super) fn request_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [Key("messages"), Index(_)] => Part::Message,
        [
            Key("messages"),
            Index(_),
            Key("content"),
            Index(_),
            rest @ ..,
        ] => block_part(rest),
        [Key("messages"), Index(_), ..] => OWN_TEXT,
        [Key("tools"), ..] => whose("system", "tool"),
        _ => whose("system", "text"),
    }
}

pub(super) fn answer_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [Key("content"), Index(_), rest @ ..] => block_part(rest),
        _ => OWN_TEXT,
    }
}

/// The parts of a block: text, a tool call, or the result of one.
fn block_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [] => Part::Block,
        [Key("input")] => Part::Arguments,
        [Key("input"), ..] => Part::InArguments,
        [Key("content"), ..] => whose("tool", "tool_result"),
        _ => OWN_TEXT,
    }
}

fn whose(role: &'static str, kind: &'static str) -> Part {
    Part::Text {
        role: Some(role),
        kind,
    }
}

/// What stands in a whole answer.
pub(super) fn answer_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("content"), Index(_), Key("text")] | [Key("content"), Index(_), Key("input"), ..] => {
            Place::Piece(Shape::Typed)
        }
        [Key("content"), Index(_), rest @ ..] => block_place(rest),
        [Key("model")] => Place::Model,
        [Key("stop_reason")] => Place::Finish,
        [Key("usage"), rest @ ..] => usage_place(rest),
        _ => Place::Text,
    }
}

fn usage_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("input_tokens")] => Place::Count(Count::Input),
        [Key("output_tokens")] => Place::Count(Count::Output),
        [Key("cache_read_input_tokens")] => Place::Count(Count::Cached),
        _ => Place::Text,
    }
}

/// What stands in an event, besides what [`spot`] knows.
pub(super) fn event_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("message"), rest @ ..] => match answer_place(rest) {
            // What a message begins with is whole.
            Place::Piece(_) => Place::Text,
            place => place,
        },
        [Key("content_block"), rest @ ..] => block_place(rest),
        [Key("delta"), Key("stop_reason")] => Place::Finish,
        [Key("delta"), Key("signature")] => Place::Signature,
        [Key("usage"), rest @ ..] => usage_place(rest),
        _ => Place::Text,
    }
}

/// The text of an answer that stands at this path of an event.
pub(super) fn spot(steps: &[Step<'_>]) -> Option<Spot> {
    let (field, form) = match steps {
        [Key("content_block"), Key("text")] => (Field::Text, Form::Whole),
        [Key("content_block"), Key("thinking")] => (Field::Thinking, Form::Whole),
        [Key("delta"), Key("text")] => (Field::Text, Form::Delta),
        [Key("delta"), Key("partial_json")] => (Field::Input, Form::Delta),
        [Key("delta"), Key("thinking")] => (Field::Thinking, Form::Delta),
        [
            Key("delta"),
            Key("type" | "stop_reason" | "stop_sequence" | "signature"),
        ] => return None,
        [Key("delta"), Key(other)] => (Field::Other((*other).into()), Form::Delta),
        _ => return None,
    };
    let (field, item, part) = (Some(field), None, Some(0));
    Some(Spot {
        field,
        item,
        part,
        form,
    })
}

/// Which texts an event of this type ends.
pub(super) fn ends(kind: &str) -> Ends {
    match kind {
        "content_block_start" | "content_block_stop" => Ends::Item,
        "message_start" | "message_delta" | "error" => Ends::All,
        "message_stop" => Ends::Answer,
        _ => Ends::Nothing,
    }
}

/// Whether an event of this type may begin a text that goes on in later ones.
pub(super) fn begins(kind: &str) -> bool {
    kind == "content_block_start"
}

/// Whether the API is known to send events of this type.
pub(super) fn knows(kind: &str) -> bool {
    matches!(
        kind,
        "content_block_delta"
            | "content_block_start"
            | "content_block_stop"
            | "error"
            | "message_delta"
            | "message_start"
            | "message_stop"
            | "ping"
    )
}

/// Name of a text in records.
pub(super) fn channel_name(field: &Field, item: u64) -> String {
    let key = match field {
        Field::Text => "text",
        Field::Input => "input",
        Field::Thinking => "thinking",
        Field::Arguments | Field::Code | Field::Other(_) | Field::Refusal | Field::Summary => "*",
    };
    format!("content[{item}].{key}")
}

/// An answer of ours in one piece.
pub fn message_text(model: &str, text: &str) -> Vec<u8> {
    let mut content = b"{\"type\":\"text\",\"text\":".to_vec();
    push_string(&mut content, text);
    content.push(b'}');
    let mut out = Vec::new();
    push_message(&mut out, model, &content, "\"end_turn\"");
    out
}

/// An answer of ours as a stream.
pub fn message_stream_text(model: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    push_start(&mut out, model);
    push_block(&mut out, 0, text);
    push_end(&mut out, "end_turn");
    out
}

/// Appends the event that begins an answer.
pub(super) fn push_start(out: &mut Vec<u8>, model: &str) {
    push_named(out, "message_start", |out| {
        out.extend_from_slice(b",\"message\":");
        push_message(out, model, b"", "null");
    });
}

/// Appends the events of a block that says `text`.
pub(super) fn push_block(out: &mut Vec<u8>, index: u64, text: &str) {
    push_named(out, "content_block_start", |out| {
        let rest =
            format!(",\"index\":{index},\"content_block\":{{\"type\":\"text\",\"text\":\"\"}}");
        out.extend_from_slice(rest.as_bytes());
    });
    push_delta(out, index, ("text_delta", "text"), text);
    push_stop(out, index);
}

/// Appends a piece of a block's text.
pub(super) fn push_delta(out: &mut Vec<u8>, index: u64, (kind, key): (&str, &str), text: &str) {
    push_named(out, "content_block_delta", |out| {
        out.extend_from_slice(format!(",\"index\":{index},\"delta\":{{\"type\":").as_bytes());
        push_string(out, kind);
        out.push(b',');
        push_string(out, key);
        out.push(b':');
        push_string(out, text);
        out.push(b'}');
    });
}

/// Appends the end of a block.
pub(super) fn push_stop(out: &mut Vec<u8>, index: u64) {
    push_named(out, "content_block_stop", |out| {
        out.extend_from_slice(format!(",\"index\":{index}").as_bytes());
    });
}

/// Appends the events that end an answer.
pub(super) fn push_end(out: &mut Vec<u8>, reason: &str) {
    push_named(out, "message_delta", |out| {
        let rest = format!(
            ",\"delta\":{{\"stop_reason\":\"{reason}\",\"stop_sequence\":null}},\
             \"usage\":{{\"output_tokens\":0}}"
        );
        out.extend_from_slice(rest.as_bytes());
    });
    push_named(out, "message_stop", |_| ());
}

fn push_message(out: &mut Vec<u8>, model: &str, content: &[u8], stop_reason: &str) {
    out.extend_from_slice(
        b"{\"id\":\"gate\",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
    );
    push_string(out, model);
    out.extend_from_slice(b",\"content\":[");
    out.extend_from_slice(content);
    let rest = format!(
        "],\"stop_reason\":{stop_reason},\"stop_sequence\":null,\
         \"usage\":{{\"input_tokens\":0,\"output_tokens\":0}}}}"
    );
    out.extend_from_slice(rest.as_bytes());
}
