//! Reads one event of a stream.
//!
//! Pieces of channels are noted for later, since the numbers that say to which channel they belong
//! may stand behind them; all other texts are masked at once.

use std::borrow::Cow;

use crate::json::{Container, Edits, Event, Path, Span, Step, Text, Value, walk};
use crate::mask::Masker;

use super::super::super::annotations::is_annotation;
use super::super::super::scan::{Scan, is_name};
use super::super::super::{Api, Place, ResponseFacts, Shape, Unreadable};
use super::CallPlace;

/// What an event of JSON holds, besides what was masked at once.
#[derive(Default)]
pub(super) struct Seen<'a> {
    pub(super) edits: Edits,
    pub(super) pieces: Vec<Piece<'a>>,
    /// Position and number of choices that have a number.
    choices: Vec<(usize, u64)>,
    /// Positions of choice and tool call, and its number.
    tools: Vec<(usize, usize, u64)>,
    /// Positions of choice and tool call, and the name of the tool, masked.
    calls: Vec<(usize, Option<usize>, String)>,
    /// Positions of the choices that end.
    pub(super) ended: Vec<usize>,
    /// Positions of all choices.
    pub(super) positions: usize,
    /// Root values that each event repeats, by key.
    pub(super) envelope: Vec<(Cow<'a, str>, Span)>,
    /// It has more to say than text.
    pub(super) more: bool,
    /// The API is known to send such events.
    pub(super) known: bool,
}

/// A piece of a channel's text.
pub(super) struct Piece<'a> {
    pub(super) shape: Shape,
    position: usize,
    tool_position: usize,
    pub(super) field: Cow<'a, str>,
    pub(super) span: Span,
    pub(super) text: Text<'a>,
    /// What leaves in its place.
    pub(super) output: String,
    pub(super) changed: bool,
}

impl Seen<'_> {
    /// The number of the choice at a position: its own, or else the position.
    pub(super) fn choice(&self, position: usize) -> u64 {
        let numbered = self.choices.iter().find(|choice| choice.0 == position);
        numbered.map_or(position as u64, |choice| choice.1)
    }

    /// The number of a tool call: its own, or else its position.
    fn tool(&self, position: usize, tool_position: usize) -> u64 {
        let mut tools = self.tools.iter();
        let numbered = tools.find(|tool| (tool.0, tool.1) == (position, tool_position));
        numbered.map_or(tool_position as u64, |tool| tool.2)
    }

    /// The numbers of choice and tool call to which a piece belongs.
    pub(super) fn place(&self, piece: usize) -> Option<(u64, u64)> {
        let piece = self.pieces.get(piece)?;
        let tool = match piece.shape {
            Shape::ToolCall => self.tool(piece.position, piece.tool_position),
            Shape::Delta | Shape::FunctionCall | Shape::Text | Shape::Typed => 0,
        };
        Some((self.choice(piece.position), tool))
    }

    /// The calls that the event names, and those that it only has arguments of.
    pub(super) fn calls(&self) -> impl Iterator<Item = (CallPlace, &str)> {
        let named = self.calls.iter().map(|(position, tool_position, name)| {
            let tool = tool_position.map(|tool| self.tool(*position, tool));
            ((self.choice(*position), tool), name.as_str())
        });
        let pieces = (0..self.pieces.len()).filter_map(|number| {
            let (choice, tool) = self.place(number)?;
            let tool = match self.pieces.get(number)?.shape {
                Shape::ToolCall => Some(tool),
                Shape::FunctionCall => None,
                Shape::Delta | Shape::Text | Shape::Typed => return None,
            };
            Some(((choice, tool), ""))
        });
        named.chain(pieces)
    }
}

/// Reads events.
pub(super) struct Reader<'r> {
    pub(super) api: Api,
    pub(super) masker: &'r Masker,
    pub(super) scan: &'r mut Scan,
    pub(super) facts: &'r mut ResponseFacts,
    /// Most choices, and most tool calls, in one event.
    pub(super) max_channels: usize,
}

impl Reader<'_> {
    /// Reads the data of an event.
    pub(super) fn read(mut self, data: &[u8]) -> Result<Seen<'_>, Unreadable> {
        let mut seen = Seen::default();
        walk(data, &mut |path, event| self.see(&mut seen, path, event))?;
        Ok(seen)
    }

    /// Looks at one thing of an event of JSON; closed texts are masked at once.
    fn see<'a>(
        &mut self,
        seen: &mut Seen<'a>,
        path: &Path<'a>,
        event: Event<'a>,
    ) -> Result<(), Unreadable> {
        let (span, value) = match event {
            Event::Open(container) => {
                if container == Container::Object
                    && let [Step::Key("choices"), Step::Index(position)] = *path.steps()
                {
                    seen.positions = position + 1;
                    if seen.positions > self.max_channels {
                        return Err(Unreadable::TooManyChannels);
                    }
                }
                return Ok(());
            }
            Event::Key(span, key) => {
                seen.known |= path.depth() == 0 && self.api.knows_event(&key.decode());
                self.scan
                    .key(self.masker, path, (span, key), &mut seen.edits);
                return Ok(());
            }
            Event::Close(_, span) => {
                if is_dropped_whole(self.api, path) {
                    seen.edits.replace(span, b"null");
                }
                return Ok(());
            }
            Event::Value(span, value) => (span, value),
        };
        if is_annotation(path) {
            let shifted = self.scan.has_masked();
            self.facts.annotate(self.masker, path, value, shifted);
        }
        let steps = path.steps();
        let place = self.api.event_place(&steps);
        let mut indexes = steps.iter().filter_map(|step| match step {
            Step::Index(index) => Some(*index),
            Step::Key(_) => None,
        });
        let (position, tool) = (indexes.next().unwrap_or(0), indexes.next());
        let tool_position = tool.unwrap_or(0);
        let field = || path.last_key().cloned().unwrap_or_default();
        match (place, value) {
            (Place::Dropped, Value::Null) => {}
            (Place::Dropped, _) => {
                if is_dropped_whole(self.api, path) {
                    seen.edits.replace(span, b"null");
                }
            }
            (_, Value::Null) => {}
            (Place::ChoiceIndex, Value::Number(number)) => {
                seen.choices.push((position, index(number)?));
            }
            (Place::ToolIndex, Value::Number(number)) => {
                if seen.tools.len() >= self.max_channels {
                    return Err(Unreadable::TooManyChannels);
                }
                seen.tools.push((position, tool_position, index(number)?));
            }
            (Place::ChoiceIndex | Place::ToolIndex, _) => return Err(Unreadable::WrongType),
            (Place::Piece(shape), Value::Text(text)) => {
                let (field, output, changed) = (field(), String::new(), false);
                let piece = Piece {
                    shape,
                    position,
                    tool_position,
                    field,
                    span,
                    text,
                    output,
                    changed,
                };
                seen.pieces.push(piece);
            }
            (Place::Envelope | Place::Model, Value::Text(text)) => {
                let name = text.decode();
                if is_name(&name) {
                    seen.envelope.push((field(), span));
                    self.facts.note(self.masker, place, &name);
                } else {
                    self.scan
                        .value(self.masker, place, path, (span, text), &mut seen.edits);
                }
            }
            (Place::Envelope, Value::Number(_)) => seen.envelope.push((field(), span)),
            (place, Value::Text(text)) => {
                if place == Place::Finish && !text.is_empty() {
                    seen.ended.push(position);
                    self.facts.note(self.masker, place, &text.decode());
                }
                seen.more |= !(place == Place::Padding || text.is_empty());
                let masked =
                    self.scan
                        .value(self.masker, place, path, (span, text), &mut seen.edits);
                if place == Place::CallName {
                    if seen.calls.len() >= self.max_channels {
                        return Err(Unreadable::TooManyChannels);
                    }
                    let name = masked.unwrap_or_else(|| text.decode().into_owned());
                    seen.calls.push((position, tool, name));
                }
            }
            (Place::Padding, _) => {}
            (place, Value::Number(digits)) => {
                self.facts.count(place, digits);
                seen.more = true;
            }
            (_, Value::Bool(_)) => seen.more = true,
        }
        Ok(())
    }
}

/// Whether the value at the path is dropped, and not only as part of another.
fn is_dropped_whole(api: Api, path: &Path<'_>) -> bool {
    let steps = path.steps();
    match steps.split_last() {
        Some((Step::Key(_), parent)) => {
            api.event_place(&steps) == Place::Dropped && api.event_place(parent) != Place::Dropped
        }
        Some((Step::Index(_), _)) | None => false,
    }
}

fn index(number: &str) -> Result<u64, Unreadable> {
    number.parse().map_err(|_| Unreadable::WrongType)
}
