//! Responses: `POST /responses`.
//!
//! An answer is a list of output items; a text belongs to an item and, in it, to a part. The stream
//! sends each text in pieces and then repeats it up to four times: in its own `.done`, in its
//! part's, in its item's, and in the event that ends the answer.

use crate::json::Step::{self, Index, Key};
use crate::json::push_string;

use super::item::{OWN_TEXT, Part};
use super::stream::{Ends, Field, Form, Spot, push_named};
use super::{Count, Place, Shape, UnscannedReason};

pub(super) const DECIDING_KEYS: &[&str] = &[
    "model",
    "instructions",
    "input",
    "stream",
    "tools",
    "tool_choice",
    "previous_response_id",
    "conversation",
];

pub(super) fn request_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("model")] => Place::Model,
        [Key("stream")] => Place::Stream,
        [Key("tools")] => Place::List,
        [Key("tools"), Index(_), Key("name")] => Place::ToolName,
        [Key("previous_response_id" | "conversation" | "prompt")] => Place::Elsewhere,
        [Key("input"), Index(_)] => Place::Item,
        [Key("input"), Index(_), Key("type")] => Place::ItemKind,
        [Key("input"), Index(_), rest @ ..] => item_place(rest),
        _ => Place::Text,
    }
}

/// What stands in an item, of a request or of an answer, besides its texts.
fn item_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("role")] => Place::Role,
        [Key("name")] => Place::CallName,
        [Key("type" | "id" | "call_id" | "status" | "phase")]
        | [
            Key("content" | "summary" | "output"),
            Index(_),
            Key("type" | "detail"),
        ] => Place::Name,
        [Key("encrypted_content")] => Place::Blob(UnscannedReason::Opaque),
        [Key("result")] | [.., Key("image_url")] | [.., Key("image_url"), Key("url")] => {
            Place::Blob(UnscannedReason::Image)
        }
        [.., Key("file_data")] => Place::Blob(UnscannedReason::File),
        [.., Key("input_audio"), Key("data")] => Place::Blob(UnscannedReason::Audio),
        [.., Key("file_id" | "file_url")] => Place::Reference,
        [Key("content"), Index(_), Key("logprobs"), ..] => Place::Dropped,
        _ => Place::Text,
    }
}

pub(super) fn request_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [Key("input"), Index(_), rest @ ..] => item_part(rest),
        [Key("input"), ..] => whose("user", "text"),
        [Key("tools"), ..] => whose("system", "tool"),
        _ => whose("system", "text"),
    }
}

pub(super) fn answer_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [Key("output"), Index(_), rest @ ..] => item_part(rest),
        _ => OWN_TEXT,
    }
}

/// The parts of an item: a message, a tool call or the result of one.
fn item_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [] => Part::Message,
        [Key("content" | "summary"), Index(_)] => Part::Block,
        [Key("arguments" | "input" | "action")] => Part::Arguments,
        [Key("action"), ..] => Part::InArguments,
        [Key("output"), ..] => whose("tool", "tool_result"),
        [Key("summary" | "code"), ..] => whose("assistant", "text"),
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
        [Key("model")] => Place::Model,
        [Key("status")] | [Key("incomplete_details"), Key("reason")] => Place::Finish,
        [Key("usage"), rest @ ..] => match rest {
            [Key("input_tokens")] => Place::Count(Count::Input),
            [Key("output_tokens")] => Place::Count(Count::Output),
            [Key("input_tokens_details"), Key("cached_tokens")] => Place::Count(Count::Cached),
            _ => Place::Text,
        },
        [Key("output"), Index(_), rest @ ..] if item_text(rest).is_some() => {
            Place::Piece(Shape::Typed)
        }
        [Key("output"), Index(_), rest @ ..] => item_place(rest),
        _ => Place::Text,
    }
}

/// What stands in an event, besides what [`spot`] knows.
pub(super) fn event_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("response"), rest @ ..] => answer_place(rest),
        [Key("item"), rest @ ..] => item_place(rest),
        [Key("obfuscation")] => Place::Padding,
        [Key("partial_image_b64")] => Place::Blob(UnscannedReason::Image),
        [Key("logprobs"), ..] | [Key("part"), Key("logprobs"), ..] => Place::Dropped,
        _ => Place::Text,
    }
}

/// The text of an answer that stands at this path of an event.
pub(super) fn spot(steps: &[Step<'_>]) -> Option<Spot> {
    let spot = |field, item, part, form| {
        Some(Spot {
            field,
            item,
            part,
            form,
        })
    };
    match steps {
        [Key("delta")] => spot(None, None, None, Form::Delta),
        [Key("text" | "code")] | [Key("part"), Key("text")] => spot(None, None, None, Form::Whole),
        [Key("refusal")] | [Key("part"), Key("refusal")] => {
            spot(Some(Field::Refusal), None, None, Form::Whole)
        }
        [Key("arguments")] => spot(Some(Field::Arguments), None, None, Form::Whole),
        [Key("input")] => spot(Some(Field::Input), None, None, Form::Whole),
        [Key("item"), rest @ ..] => {
            let (field, part) = item_text(rest)?;
            spot(Some(field), None, Some(part), Form::Whole)
        }
        [Key("response"), Key("output"), Index(item), rest @ ..] => {
            let (field, part) = item_text(rest)?;
            spot(Some(field), Some(*item as u64), Some(part), Form::Whole)
        }
        _ => None,
    }
}

/// The text of an item, and in which part it is.
fn item_text(steps: &[Step<'_>]) -> Option<(Field, u64)> {
    match steps {
        [Key("content"), Index(part), Key("text")] => Some((Field::Text, *part as u64)),
        [Key("content"), Index(part), Key("refusal")] => Some((Field::Refusal, *part as u64)),
        [Key("summary"), Index(part), Key("text")] => Some((Field::Summary, *part as u64)),
        [Key("arguments")] => Some((Field::Arguments, 0)),
        [Key("input")] => Some((Field::Input, 0)),
        [Key("code")] => Some((Field::Code, 0)),
        _ => None,
    }
}

/// The text that an event of this type is about, and the type without `.delta` or `.done`.
pub(super) fn subject(kind: &str) -> (Field, &str) {
    let stem = kind
        .strip_suffix(".delta")
        .or_else(|| kind.strip_suffix(".done"))
        .unwrap_or(kind);
    let field = match stem.strip_prefix("response.").unwrap_or(stem) {
        "output_text" | "reasoning_text" | "content_part" | "content_part.added" => Field::Text,
        "refusal" => Field::Refusal,
        "function_call_arguments" | "mcp_call_arguments" | "mcp_call.arguments" => Field::Arguments,
        "custom_tool_call_input" => Field::Input,
        "reasoning_summary_text"
        | "reasoning_summary"
        | "reasoning_summary_part"
        | "reasoning_summary_part.added" => Field::Summary,
        "code_interpreter_call_code" | "code_interpreter_call.code" => Field::Code,
        _ => Field::Other(stem.into()),
    };
    (field, stem)
}

/// Which texts an event of this type ends, or begins anew.
pub(super) fn ends(kind: &str) -> Ends {
    match kind {
        "response.output_item.added" | "response.output_item.done" => Ends::Item,
        "response.content_part.added" | "response.reasoning_summary_part.added" => Ends::Nothing,
        "response.content_part.done" | "response.reasoning_summary_part.done" => Ends::Part,
        "error" => Ends::All,
        _ if is_last(kind) => Ends::Answer,
        _ if last_word(kind) == "done" => Ends::Text,
        _ => Ends::Nothing,
    }
}

/// Whether an event of this type may begin a text that goes on in later ones.
pub(super) fn begins(kind: &str) -> bool {
    last_word(kind) == "added"
}

fn last_word(kind: &str) -> &str {
    kind.rsplit('.').next().unwrap_or_default()
}

fn is_last(kind: &str) -> bool {
    matches!(
        kind,
        "response.completed" | "response.failed" | "response.incomplete"
    )
}

/// Whether the API is known to send events of this type.
pub(super) fn knows(kind: &str) -> bool {
    const STEMS: &[&str] = &[
        "code_interpreter_call",
        "code_interpreter_call_code",
        "completed",
        "content_part",
        "created",
        "custom_tool_call_input",
        "failed",
        "file_search_call",
        "function_call_arguments",
        "image_generation_call",
        "in_progress",
        "incomplete",
        "mcp_call",
        "mcp_call_arguments",
        "mcp_list_tools",
        "output_item",
        "output_text",
        "queued",
        "reasoning_summary_part",
        "reasoning_summary_text",
        "reasoning_text",
        "refusal",
        "web_search_call",
    ];
    let stem = kind
        .strip_prefix("response.")
        .and_then(|rest| rest.split('.').next());
    kind == "error" || stem.is_some_and(|stem| STEMS.contains(&stem))
}

/// Name of a text in records.
pub(super) fn channel_name(field: &Field, item: u64, part: u64) -> String {
    match field {
        Field::Text => format!("output[{item}].content[{part}].text"),
        Field::Refusal => format!("output[{item}].content[{part}].refusal"),
        Field::Summary => format!("output[{item}].summary[{part}].text"),
        Field::Arguments => format!("output[{item}].arguments"),
        Field::Input => format!("output[{item}].input"),
        Field::Code => format!("output[{item}].code"),
        Field::Thinking => format!("output[{item}].thinking"),
        Field::Other(_) => format!("output[{item}].*"),
    }
}

/// An answer of ours in one piece.
pub fn response_text(model: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let item = item(text, "completed");
    push_response(&mut out, model, "completed", &[&item]);
    out
}

/// An answer of ours as a stream.
pub fn response_stream_text(model: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut number = 0;
    push_start(&mut out, model, &mut number);
    push_message(&mut out, 0, text, &mut number);
    push_completed(&mut out, model, &[&item(text, "completed")], &mut number);
    out
}

/// Appends the events that begin an answer; counts `number` up.
pub(super) fn push_start(out: &mut Vec<u8>, model: &str, number: &mut u64) {
    for kind in ["response.created", "response.in_progress"] {
        push_numbered(out, kind, number, |out| {
            out.extend_from_slice(b",\"response\":");
            push_response(out, model, "in_progress", &[]);
        });
    }
}

/// Appends the events of an item that says `text`.
pub(super) fn push_message(out: &mut Vec<u8>, index: u64, text: &str, number: &mut u64) {
    let at_item = format!(",\"output_index\":{index},\"item\":").into_bytes();
    let at_part =
        format!(",\"item_id\":\"gate\",\"output_index\":{index},\"content_index\":0,").into_bytes();
    let part = |text: &str| {
        let mut part = b"\"part\":".to_vec();
        push_part(&mut part, text);
        part
    };
    let string = |key: &str, text: &str| {
        let mut out = format!("\"{key}\":").into_bytes();
        push_string(&mut out, text);
        out.extend_from_slice(b",\"logprobs\":[]");
        out
    };
    let events = [
        ("output_item.added", &at_item, item("", "in_progress")),
        ("content_part.added", &at_part, part("")),
        ("output_text.delta", &at_part, string("delta", text)),
        ("output_text.done", &at_part, string("text", text)),
        ("content_part.done", &at_part, part(text)),
        ("output_item.done", &at_item, item(text, "completed")),
    ];
    for (kind, head, tail) in events {
        push_numbered(out, &format!("response.{kind}"), number, |out| {
            out.extend_from_slice(head);
            out.extend_from_slice(&tail);
        });
    }
}

/// Appends the event that ends an answer with these items.
pub(super) fn push_completed(out: &mut Vec<u8>, model: &str, output: &[&[u8]], number: &mut u64) {
    push_numbered(out, "response.completed", number, |out| {
        out.extend_from_slice(b",\"response\":");
        push_response(out, model, "completed", output);
    });
}

/// A message of ours; the text is left out while the message is not complete.
pub(super) fn item(text: &str, status: &str) -> Vec<u8> {
    let head = format!(
        "{{\"id\":\"gate\",\"type\":\"message\",\"status\":\"{status}\",\"role\":\"assistant\",\"content\":["
    );
    let mut out = head.into_bytes();
    if !text.is_empty() {
        push_part(&mut out, text);
    }
    out.extend_from_slice(b"]}");
    out
}

fn push_part(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"{\"type\":\"output_text\",\"text\":");
    push_string(out, text);
    out.extend_from_slice(b",\"annotations\":[],\"logprobs\":[]}");
}

fn push_response(out: &mut Vec<u8>, model: &str, status: &str, output: &[&[u8]]) {
    let head = format!(
        "{{\"id\":\"gate\",\"object\":\"response\",\"created_at\":0,\"status\":\"{status}\",\"model\":"
    );
    out.extend_from_slice(head.as_bytes());
    push_string(out, model);
    out.extend_from_slice(b",\"output\":[");
    out.extend_from_slice(&output.join(&b","[..]));
    out.extend_from_slice(
        b"],\"error\":null,\"incomplete_details\":null,\"instructions\":null,\"metadata\":{},\
          \"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"tools\":[],\"usage\":\
          {\"input_tokens\":0,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":0,\
          \"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":0}}",
    );
}

fn push_numbered(out: &mut Vec<u8>, kind: &str, number: &mut u64, rest: impl FnOnce(&mut Vec<u8>)) {
    push_named(out, kind, |out| {
        out.extend_from_slice(format!(",\"sequence_number\":{number}").as_bytes());
        rest(out);
    });
    *number += 1;
}
