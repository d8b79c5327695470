//! Events of chats and completions: a list of choices, each with pieces of its texts.

mod event;

use crate::json::push_string;
use crate::sse::Block;

use super::super::restore::{Goes, Writers, Writing};
use super::super::scan::shown_key;
use super::super::{Api, MAX_TOOL_CALLS, Shape, Unreadable, chat, code, completions};
use super::{CallPlace, DONE_EVENT, Dropped, Flow, Said, Shared};
use event::{Piece, Reader, Seen};

/// A text that goes on over the events of a stream.
pub(in crate::provider) struct Channel {
    pub(in crate::provider) shape: Shape,
    /// Number of the choice.
    pub(in crate::provider) choice: u64,
    /// Number of the tool call in it; 0 where there are none.
    pub(in crate::provider) tool: u64,
    /// The key under which the text stands.
    pub(in crate::provider) field: String,
    flow: Flow,
    /// What of a call's arguments, or of what is said, waits.
    writing: Writing,
    /// Root values of the last event with a piece, while text is kept back.
    envelope: Vec<u8>,
    /// Its last piece in the event at hand.
    piece: Option<usize>,
    /// Its number in the recorded content.
    content: usize,
}

impl Channel {
    fn name(&self) -> String {
        let Self { choice, tool, .. } = self;
        match self.shape {
            Shape::Delta => format!("choices[{choice}].delta.{}", shown_key(&self.field)),
            Shape::FunctionCall => format!("choices[{choice}].delta.function_call.arguments"),
            Shape::ToolCall => {
                format!("choices[{choice}].delta.tool_calls[{tool}].function.arguments")
            }
            Shape::Text | Shape::Typed => format!("choices[{choice}].text"),
        }
    }

    /// The call whose arguments the text is.
    fn call_place(&self) -> Option<CallPlace> {
        match self.shape {
            Shape::ToolCall => Some((self.choice, Some(self.tool))),
            Shape::FunctionCall => Some((self.choice, None)),
            Shape::Delta | Shape::Text | Shape::Typed => None,
        }
    }

    /// Where its text goes, if values may go back into it.
    fn goes<'w>(&self, writers: &'w Writers<CallPlace, MAX_TOOL_CALLS>) -> Option<Goes<'w>> {
        if let Some(place) = self.call_place() {
            return writers.tool(&place).map(Goes::ToFile);
        }
        let is_said = match self.shape {
            Shape::Delta => self.field == "content",
            Shape::Text => true,
            Shape::FunctionCall | Shape::ToolCall | Shape::Typed => false,
        };
        is_said.then_some(Goes::ToPerson)
    }
}

/// The choices of an answer.
#[derive(Default)]
pub(super) struct Choices {
    channels: Vec<Channel>,
    /// Numbers of the choices, and whether each has ended.
    ended: Vec<(u64, bool)>,
    /// Calls whose tool's name is noted.
    called: Vec<CallPlace>,
    writers: Writers<CallPlace, MAX_TOOL_CALLS>,
    /// Root values of the last event.
    envelope: Vec<u8>,
}

impl Choices {
    /// Takes an event of JSON.
    pub(super) fn event(
        &mut self,
        shared: &mut Shared,
        block: &Block<'_>,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        let reader = Reader {
            api: shared.api,
            max_channels: shared.max_channels,
            masker: &shared.masker,
            scan: &mut shared.scan,
            facts: &mut shared.facts,
        };
        let mut seen = reader.read(data)?;
        shared.facts.unknown_events += u64::from(!seen.known);
        self.keep_envelope(&seen, data);
        self.keep_choices(shared, &seen)?;
        for (place, name) in seen.calls() {
            if shared.restore.is_some() && !name.is_empty() {
                self.writers.note(place, name, false);
            }
            shared.hold.name(place, name);
            if !name.is_empty() && !self.called.contains(&place) {
                if self.called.len() < MAX_TOOL_CALLS {
                    self.called.push(place);
                }
                shared.facts.call(&shared.masker, name);
            }
        }
        let mut ended = Vec::new();
        self.end_calls(shared, &mut seen, &mut ended);
        shared.hold.begin_behind(ended, out);
        for number in 0..seen.pieces.len() {
            self.piece(shared, &mut seen, number)?;
        }
        self.end_calls(shared, &mut seen, out);
        for position in &seen.ended {
            let choice = seen.choice(*position);
            self.end(shared, Some((choice, &mut seen.pieces)), out);
            shared.hold.end(Some(choice));
        }
        shared.check()?;
        let mut changed = false;
        let mut empty = !seen.pieces.is_empty();
        for channel in &mut self.channels {
            if channel.piece.take().is_some() {
                channel.envelope.clear();
                if channel.flow.waits() || channel.writing.waits() {
                    channel.envelope.extend_from_slice(&self.envelope);
                }
            }
        }
        for piece in seen.pieces {
            empty &= piece.output.is_empty();
            if piece.changed {
                changed = true;
                seen.edits.replace_text(piece.span, &piece.output);
            }
        }
        let only_data = || {
            block
                .lines()
                .all(|line| line.text.is_empty() || line.data().is_some())
        };
        if changed && empty && !seen.more && seen.ended.is_empty() && only_data() {
            return Ok(());
        }
        if seen.edits.is_empty() {
            return shared.block(block, None, out);
        }
        shared.block(block, Some(&seen.edits.apply(data)), out)
    }

    /// Sends a piece through its channel.
    fn piece(
        &mut self,
        shared: &mut Shared,
        seen: &mut Seen<'_>,
        number: usize,
    ) -> Result<(), Unreadable> {
        let Some((choice, tool)) = seen.place(number) else {
            return Ok(());
        };
        let Some(piece) = seen.pieces.get_mut(number) else {
            return Ok(());
        };
        let found = self.channels.iter().position(|channel| {
            (channel.shape, channel.choice, channel.tool) == (piece.shape, choice, tool)
                && channel.field == piece.field
        });
        let found = match found {
            Some(found) => found,
            None => self.open(shared, piece.shape, choice, tool, &piece.field)?,
        };
        let Some(channel) = self.channels.get_mut(found) else {
            return Ok(());
        };
        piece.changed =
            channel
                .flow
                .push(shared, &piece.text, &mut piece.output, &mut Said::default());
        channel.piece = Some(number);
        shared.scan.place(|| channel.name());
        shared.content.add(channel.content, &piece.output);
        if let Some(place) = channel.call_place() {
            shared.hold.arguments(place, &piece.output);
        }
        if let Some(restore) = &mut shared.restore
            && !channel.writing.is_plain()
        {
            let goes = channel.goes(&self.writers);
            let mut writing = std::mem::take(&mut channel.writing);
            piece.changed |= writing.push(restore, goes, &mut piece.output, || channel.name());
            channel.writing = writing;
        }
        Ok(())
    }

    /// Ends the arguments that wait while another call of their choice begins: there are clients that
    /// would take what comes later for that one's.
    /// One of which the event has a piece has to take that first.
    fn end_calls(&mut self, shared: &mut Shared, seen: &mut Seen<'_>, out: &mut Vec<u8>) {
        let Some(restore) = &mut shared.restore else {
            return;
        };
        if !self.channels.iter().any(|channel| channel.writing.waits()) {
            return;
        }
        let places: Vec<CallPlace> = seen.calls().map(|(place, _)| place).collect();
        for channel in &mut self.channels {
            let Some(place) = channel.call_place().filter(|_| channel.writing.waits()) else {
                continue;
            };
            let is_other = |other: &CallPlace| other.0 == place.0 && *other != place;
            let goes_on = channel.piece.is_none() && places.contains(&place);
            if goes_on || !places.iter().any(is_other) {
                continue;
            }
            let same = self.writers.tool(&place).is_some();
            let mut writing = std::mem::take(&mut channel.writing);
            let rest = writing.finish(restore, same, || channel.name());
            channel.writing = writing;
            let piece = channel.piece.and_then(|piece| seen.pieces.get_mut(piece));
            if let Some(piece) = piece {
                piece.output.push_str(&rest);
                piece.changed = true;
            } else {
                push_event(out, &channel.envelope, |out| {
                    chat::push_piece(out, channel, &rest);
                });
            }
        }
    }

    fn open(
        &mut self,
        shared: &mut Shared,
        shape: Shape,
        choice: u64,
        tool: u64,
        field: &str,
    ) -> Result<usize, Unreadable> {
        if self.channels.len() >= shared.max_channels {
            return Err(Unreadable::TooManyChannels);
        }
        let mut channel = Channel {
            shape,
            choice,
            tool,
            field: field.to_owned(),
            flow: Flow::default(),
            writing: Writing::default(),
            envelope: Vec::new(),
            piece: None,
            content: 0,
        };
        channel.content = shared.content.open(channel.name());
        self.channels.push(channel);
        Ok(self.channels.len() - 1)
    }

    /// Ends all channels.
    pub(super) fn flush(&mut self, shared: &mut Shared, out: &mut Vec<u8>) {
        self.end(shared, None, out);
    }

    /// Ends the channels of a choice, or of all: what they kept back goes into the piece that the
    /// event at hand has of them, or leaves in an event of its own.
    fn end(
        &mut self,
        shared: &mut Shared,
        ended: Option<(u64, &mut Vec<Piece<'_>>)>,
        out: &mut Vec<u8>,
    ) {
        let (choice, mut pieces) = match ended {
            Some((choice, pieces)) => (Some(choice), Some(pieces)),
            None => (None, None),
        };
        for channel in &mut self.channels {
            if choice.is_some_and(|choice| choice != channel.choice) {
                continue;
            }
            let mut rest = channel.flow.finish(shared);
            shared.scan.place(|| channel.name());
            shared.content.add(channel.content, &rest);
            let place = channel.call_place();
            if let Some(place) = place {
                shared.hold.arguments(place, &rest);
            }
            if let Some(restore) = &mut shared.restore {
                let goes = channel.goes(&self.writers);
                let mut writing = std::mem::take(&mut channel.writing);
                writing.push(restore, goes, &mut rest, || channel.name());
                rest += &writing.finish(restore, goes.is_some(), || channel.name());
                // Arguments that come now are another call's, a text goes on.
                if place.is_none() {
                    channel.writing = writing;
                }
            }
            if rest.is_empty() {
                continue;
            }
            let piece = channel.piece.zip(pieces.as_mut());
            match piece.and_then(|(number, pieces)| pieces.get_mut(number)) {
                Some(piece) => {
                    piece.output.push_str(&rest);
                    piece.changed = true;
                }
                None => push_event(out, &channel.envelope, |out| {
                    if shared.api == Api::Chat {
                        chat::push_piece(out, channel, &rest);
                    } else {
                        completions::push_piece(out, channel, &rest);
                    }
                }),
            }
        }
    }

    /// Ends all choices that the caller has not seen end, the first one with a text of ours.
    pub(super) fn end_readably(
        &mut self,
        shared: &Shared,
        text: &str,
        dropped: &Dropped,
        out: &mut Vec<u8>,
    ) {
        if shared.api == Api::Mcp {
            return code::push_error(out, text);
        }
        let mut open: Vec<u64> = self
            .ended
            .iter()
            .filter(|(choice, ended)| !ended || dropped.ended.contains(choice))
            .map(|(choice, _)| *choice)
            .collect();
        if self.ended.is_empty() {
            open.push(0);
        }
        if self.envelope.is_empty() {
            self.envelope = if shared.api == Api::Chat {
                chat::envelope(shared.facts.model.as_deref().unwrap_or_default())
            } else {
                completions::envelope()
            };
        }
        for (number, choice) in open.into_iter().enumerate() {
            if shared.api != Api::Chat {
                push_event(out, &self.envelope, |out| {
                    completions::push_end(out, choice);
                });
                continue;
            }
            if number == 0 {
                push_event(out, &self.envelope, |out| {
                    chat::push_text(out, choice, text);
                });
            }
            // A client goes on with the calls that it has seen.
            let reason = if dropped.passed.contains(&choice) {
                "tool_calls"
            } else {
                "stop"
            };
            push_event(out, &self.envelope, |out| {
                chat::push_end(out, choice, reason);
            });
        }
        out.extend_from_slice(DONE_EVENT);
    }

    /// Bytes of text kept back at the moment, over all channels.
    pub(super) fn held(&self) -> usize {
        self.channels
            .iter()
            .map(|channel| channel.flow.held() + channel.writing.held())
            .sum()
    }

    fn keep_envelope(&mut self, seen: &Seen<'_>, data: &[u8]) {
        if seen.envelope.is_empty() {
            return;
        }
        self.envelope.clear();
        for (field, span) in &seen.envelope {
            if !self.envelope.is_empty() {
                self.envelope.push(b',');
            }
            push_string(&mut self.envelope, field);
            self.envelope.push(b':');
            self.envelope
                .extend_from_slice(data.get(span.start..span.end).unwrap_or_default());
        }
    }

    /// Notes which choices there are and which have ended.
    fn keep_choices(&mut self, shared: &mut Shared, seen: &Seen<'_>) -> Result<(), Unreadable> {
        for position in 0..seen.positions {
            let number = seen.choice(position);
            let ended = seen.ended.contains(&position);
            shared.facts.done |= ended;
            let room = self.ended.len() < shared.max_channels;
            match self.ended.iter_mut().find(|(choice, _)| *choice == number) {
                Some((_, was)) => *was |= ended,
                None if !room => return Err(Unreadable::TooManyChannels),
                None => self.ended.push((number, ended)),
            }
        }
        Ok(())
    }
}

/// Appends an event with these root values and one choice.
pub(in crate::provider) fn push_event(
    out: &mut Vec<u8>,
    envelope: &[u8],
    choice: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(b"data: {");
    out.extend_from_slice(envelope);
    if !envelope.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(b"\"choices\":[");
    choice(out);
    out.extend_from_slice(b"]}\n\n");
}
