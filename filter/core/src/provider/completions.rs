//! Engine completions: ghost text and its panel.

use crate::json::Step::{self, Index, Key};
use crate::json::push_string;

use super::item::Part;
use super::stream::Channel;
use super::{Place, Shape};

pub(super) const DECIDING_KEYS: &[&str] = &["model", "prompt", "suffix", "stream"];

pub(super) const EVENT_KEYS: &[&str] = &["choices", "error"];

pub(super) fn request_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("model")] => Place::Model,
        [Key("stream")] => Place::Stream,
        [Key("prompt" | "suffix"), ..] => Place::Prompt,
        [Key("extra"), Key("language")] => Place::Name,
        _ => Place::Text,
    }
}

/// All of it is the user's.
pub(super) fn request_part(_: &[Step<'_>]) -> Part {
    Part::Text {
        role: Some("user"),
        kind: "text",
    }
}

pub(super) fn event_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("model")] => Place::Model,
        [Key("id" | "object" | "created" | "system_fingerprint")] => Place::Envelope,
        [Key("obfuscation")] | [Key("choices"), Index(_), Key("p")] => Place::Padding,
        [Key("choices"), Index(_), Key("index")] => Place::ChoiceIndex,
        [Key("choices"), Index(_), Key("text")] => Place::Piece(Shape::Text),
        [Key("choices"), Index(_), Key("finish_reason")] => Place::Finish,
        [Key("choices"), Index(_), Key("logprobs"), ..] => Place::Dropped,
        _ => Place::Text,
    }
}

/// Appends the choice of an event that carries a piece of a channel's text.
pub(super) fn push_piece(out: &mut Vec<u8>, channel: &Channel, text: &str) {
    push_choice(out, channel.choice, text, "null");
}

/// Appends the choice of an event that ends a choice normally.
pub(super) fn push_end(out: &mut Vec<u8>, choice: u64) {
    push_choice(out, choice, "", "\"stop\"");
}

fn push_choice(out: &mut Vec<u8>, choice: u64, text: &str, finish_reason: &str) {
    out.extend_from_slice(b"{\"text\":");
    push_string(out, text);
    let rest = format!(",\"index\":{choice},\"finish_reason\":{finish_reason},\"logprobs\":null}}");
    out.extend_from_slice(rest.as_bytes());
}

/// The root values of an event of ours.
pub(super) fn envelope() -> Vec<u8> {
    b"\"id\":\"gate\",\"object\":\"text_completion\",\"created\":0,\"model\":\"\"".to_vec()
}

/// An answer of ours as a stream: no suggestion.
pub fn completion_stream_empty() -> Vec<u8> {
    let mut out = Vec::new();
    super::stream::push_event(&mut out, &envelope(), |out| push_end(out, 0));
    out.extend_from_slice(super::stream::DONE_EVENT);
    out
}

/// An answer of ours in one piece: no suggestion.
pub fn completion_empty() -> Vec<u8> {
    let mut out = b"{".to_vec();
    out.extend_from_slice(&envelope());
    out.extend_from_slice(b",\"choices\":[");
    push_end(&mut out, 0);
    out.extend_from_slice(b"]}");
    out
}
