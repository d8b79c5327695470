//! Reads one event with a type.
//!
//! Texts that belong to a channel are noted for later, since what says to which one may stand
//! behind them; all other texts are masked at once.

use std::borrow::Cow;

use crate::json::{Container, Edits, Event, Path, Span, Step, Text, Value, walk};

use super::super::super::annotations::is_annotation;
use super::super::super::scan::is_name;
use super::super::super::{Api, Place, Unreadable, responses};
use super::super::Shared;
use super::{Field, Key, Spot};

/// What an event holds, besides what was masked at once.
#[derive(Default)]
pub(super) struct Seen<'a> {
    pub(super) edits: Edits,
    /// Its `type`.
    pub(super) kind: Cow<'a, str>,
    /// The `type` of its delta.
    delta_kind: Cow<'a, str>,
    pub(super) texts: Vec<Heard<'a>>,
    /// The `type` of the item that it begins or ends.
    pub(super) item_kind: Cow<'a, str>,
    /// The item that it is about.
    pub(super) item: Option<u64>,
    /// The part of the item.
    pub(super) part: Option<u64>,
    /// Its number, and where that stands.
    pub(super) number: Option<(Span, u64)>,
    /// What says where it belongs, each with a comma before it.
    pub(super) place: Vec<u8>,
    /// Tools that are called, with the items that the path names.
    pub(super) calls: Vec<(Option<u64>, String)>,
    /// A tool's input that stands whole in the event that begins its block.
    input: Option<Span>,
    /// It has more to say than text.
    pub(super) more: bool,
}

/// A text of a channel.
pub(super) struct Heard<'a> {
    pub(super) spot: Spot,
    pub(super) span: Span,
    pub(super) text: Text<'a>,
}

impl Seen<'_> {
    /// Which text of the answer stands at a spot.
    pub(super) fn key(&self, spot: &Spot) -> Key {
        let field = spot.field.clone();
        Key {
            field: field.unwrap_or_else(|| responses::subject(&self.kind).0),
            item: spot.item.or(self.item).unwrap_or(0),
            part: spot.part.or(self.part).unwrap_or(0),
        }
    }

    /// A tool's input that stands whole, masked.
    pub(super) fn input(&self, data: &[u8]) -> Option<String> {
        let span = self.input.filter(|span| span.length() > "{}".len())?;
        String::from_utf8(self.edits.within(span, data)).ok()
    }

    /// Writes what the deltas of this text are called.
    pub(super) fn describe(&self, api: Api, field: &Field, kind: &mut String) {
        let name = match (api, field) {
            (Api::Messages, Field::Text) => "text_delta",
            (Api::Messages, Field::Input) => "input_json_delta",
            (Api::Messages, _) => &self.delta_kind,
            (_, Field::Text) if self.kind.starts_with("response.content_part") => {
                "response.output_text"
            }
            (_, Field::Summary) if self.kind.starts_with("response.reasoning_summary_part") => {
                "response.reasoning_summary_text"
            }
            (_, Field::Arguments) => "response.function_call_arguments",
            (_, Field::Input) => "response.custom_tool_call_input",
            _ => responses::subject(&self.kind).1,
        };
        if kind != name {
            kind.clear();
            kind.push_str(name);
        }
    }
}

/// Reads the data of an event.
pub(super) fn read<'a>(shared: &mut Shared, data: &'a [u8]) -> Result<Seen<'a>, Unreadable> {
    let mut seen = Seen::default();
    walk(data, &mut |path, event| see(shared, &mut seen, path, event))?;
    Ok(seen)
}

fn see<'a>(
    shared: &mut Shared,
    seen: &mut Seen<'a>,
    path: &Path<'a>,
    event: Event<'a>,
) -> Result<(), Unreadable> {
    match event {
        Event::Open(_) | Event::Value(_, Value::Null) => {}
        Event::Key(span, key) => {
            shared
                .scan
                .key(&shared.masker, path, (span, key), &mut seen.edits);
        }
        Event::Close(container, span) => {
            let empty = span.length() <= 2;
            if let [Step::Key("content_block"), Step::Key("input")] = *path.steps() {
                seen.input = Some(span);
            }
            if container == Container::Array && !empty && is_dropped_whole(shared.api, path) {
                seen.edits.replace(span, b"[]");
            }
        }
        Event::Value(span, value) => {
            if path.depth() == 1 && root_value(shared, seen, path, (span, value))? {
                return Ok(());
            }
            if is_annotation(path) {
                let shifted = shared.scan.has_masked();
                shared.facts.annotate(&shared.masker, path, value, shifted);
            }
            value_at(shared, seen, path, (span, value));
        }
    }
    Ok(())
}

/// Takes a value at the root that says what the event is about; false if it is none.
fn root_value<'a>(
    shared: &mut Shared,
    seen: &mut Seen<'a>,
    path: &Path<'a>,
    (span, value): (Span, Value<'a>),
) -> Result<bool, Unreadable> {
    let Some(key) = path.last_key() else {
        return Ok(false);
    };
    let number = |value: &Value<'_>| match value {
        Value::Number(digits) => digits.parse().map_err(|_| Unreadable::WrongType),
        Value::Bool(_) | Value::Null | Value::Text(_) => Err(Unreadable::WrongType),
    };
    match (&**key, value) {
        ("type", Value::Text(text)) => {
            let name = text.decode();
            if !is_name(&name) {
                return Ok(false);
            }
            seen.kind = name;
            // A name with a secret in it is masked like any text.
            shared.scan.value(
                &shared.masker,
                Place::Name,
                path,
                (span, text),
                &mut seen.edits,
            );
            return Ok(true);
        }
        ("sequence_number", Value::Number(digits)) => {
            seen.number = digits.parse().ok().map(|number| (span, number));
            return Ok(true);
        }
        ("output_index" | "index", _) => seen.item = Some(number(&value)?),
        ("content_index" | "summary_index", _) => seen.part = Some(number(&value)?),
        ("item_id", Value::Text(text)) if is_id(&text.decode()) => {
            let id = text.decode();
            let masked = shared
                .scan
                .mask_again(&shared.masker, &id, || "item_id".to_owned());
            if let Some(masked) = &masked {
                seen.edits.replace_text(span, masked);
            }
            push_place(seen, key, |out| {
                crate::json::push_string(out, masked.as_deref().unwrap_or(&id));
            });
            return Ok(true);
        }
        _ => return Ok(false),
    }
    if let Value::Number(digits) = value {
        push_place(seen, key, |out| out.extend_from_slice(digits.as_bytes()));
    }
    Ok(true)
}

fn push_place(seen: &mut Seen<'_>, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    seen.place
        .extend_from_slice(format!(",\"{key}\":").as_bytes());
    value(&mut seen.place);
}

fn value_at<'a>(
    shared: &mut Shared,
    seen: &mut Seen<'a>,
    path: &Path<'a>,
    (span, value): (Span, Value<'a>),
) {
    let steps = path.steps();
    let text = match value {
        Value::Text(text) => text,
        Value::Number(digits) => {
            let place = shared.api.event_place(&steps);
            shared.facts.count(place, digits);
            seen.more |= place != Place::Dropped;
            return;
        }
        Value::Bool(_) | Value::Null => {
            seen.more |= shared.api.event_place(&steps) != Place::Dropped;
            return;
        }
    };
    if let Some(spot) = shared.api.spot(&steps) {
        seen.texts.push(Heard { spot, span, text });
        return;
    }
    let place = shared.api.event_place(&steps);
    if let [Step::Key("delta"), Step::Key("type")] = *steps {
        seen.delta_kind = text.decode();
    } else {
        seen.more |= place != Place::Padding;
    }
    if let [Step::Key("content_block" | "item"), Step::Key("type")] = *steps {
        seen.item_kind = text.decode();
    }
    if place == Place::Dropped {
        return;
    }
    shared.facts.note(&shared.masker, place, &text.decode());
    let masked =
        shared
            .scan
            .value_again(&shared.masker, place, path, (span, text), &mut seen.edits);
    if place == Place::CallName {
        let item = match *steps {
            [
                Step::Key("response"),
                Step::Key("output"),
                Step::Index(item),
                ..,
            ] => Some(item as u64),
            _ => None,
        };
        let name = masked.unwrap_or_else(|| text.decode().into_owned());
        seen.calls.push((item, name));
    }
}

/// Whether it may be the id of an item; Copilot's are long.
fn is_id(text: &str) -> bool {
    const MAX_ID_BYTES: usize = 4096;
    text.len() <= MAX_ID_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether the list at the path is dropped, and not only as part of another.
fn is_dropped_whole(api: Api, path: &Path<'_>) -> bool {
    let steps = path.steps();
    match steps.split_last() {
        Some((Step::Key(_), parent)) => {
            api.event_place(&steps) == Place::Dropped && api.event_place(parent) != Place::Dropped
        }
        Some((Step::Index(_), _)) | None => false,
    }
}
