//! Masks answers that arrive as an event stream.
//!
//! Each text of the stream (a choice's content, one tool call's arguments, …) is a channel with its
//! own [`TextMask`]; any number of them may alternate. A piece of text leaves in the event it came
//! in; what a detector still needs stays back and leaves with the channel's next piece. When a
//! channel ends (finish reason of its choice, `[DONE]`, end of the stream), what stayed back goes
//! into the ending event if that has a piece of the channel, and else into an event of the same
//! form before it. So the texts that the caller puts together are the mask of the whole texts,
//! wherever the stream was cut.
//!
//! An event that carried only text, all of which stays back, is dropped; any other stays, with an
//! empty text. `logprobs` are set to null, they repeat the tokens. Data that begin like JSON must
//! be JSON; other data, comments and all other lines are masked line by line. An event that the
//! upstream cut off is dropped, as the standard asks of readers, unless its data are complete.
//!
//! From the first event of a tool call that [`Watch`] asks for, everything waits: [`take_due`]
//! gives the calls when they are complete, and then [`release`] or [`end_readably`] is called.
//!
//! [`take_due`]: ResponseMask::take_due
//! [`release`]: ResponseMask::release
//! [`end_readably`]: ResponseMask::end_readably

mod event;
mod hold;

use std::rc::Rc;

use crate::json::push_string;
use crate::mask::{Finding, Masker, TextMask};
use crate::sse::{Block, Decoder, Line, Part};

use super::content::Content;
use super::scan::{Scan, looks_like_json, shown_key};
use super::{Api, ContentItem, Limits, ResponseFacts, Shape, Unreadable, Watch, chat, completions};
use event::{Piece, Reader, Seen};
use hold::{CallPlace, Dropped, Hold};

/// The end of a stream of either API.
pub(super) const DONE_EVENT: &[u8] = b"data: [DONE]\n\n";

/// Masks one answer as it arrives.
///
/// What [`push`](Self::push) and [`finish`](Self::finish) append are whole events at all times.
pub struct ResponseMask {
    decoder: Decoder,
    stream: Stream,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Open,
    Failed(Unreadable),
    Closed,
}

impl ResponseMask {
    /// Starts an answer.
    pub fn new(api: Api, masker: Masker, limits: &Limits, watch: Rc<Watch>) -> Self {
        Self {
            decoder: Decoder::new(limits.max_event_bytes),
            stream: Stream {
                api,
                masker,
                scan: Scan::new(limits),
                content: Content::new(limits),
                max_channels: limits.max_channels,
                channels: Vec::new(),
                choices: Vec::new(),
                envelope: Vec::new(),
                model: None,
                finished: false,
                said_done: false,
                events: 0,
                unknown_events: 0,
                hold: Hold::new(watch, limits.max_held),
            },
            state: State::Open,
        }
    }

    /// Takes the next bytes of the answer; appends to `out` what may leave.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] from the first event on that cannot be read; nothing leaves after it. What
    /// was appended before is masked and may be sent, followed by [`end_readably`](Self::end_readably).
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
        match self.state {
            State::Closed => return Ok(()),
            State::Failed(error) => return Err(error),
            State::Open => {}
        }
        let stream = &mut self.stream;
        let pushed = self.decoder.push(chunk, &mut |part| {
            let before = out.len();
            let done = stream.part(part, out);
            stream.hold.settle(before, out)?;
            done
        });
        if let Err(error) = pushed {
            self.state = State::Failed(error);
        }
        pushed
    }

    /// Ends the answer; appends what was kept back. Nothing leaves after it or after an error.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let State::Open = self.state {
            let stream = &mut self.stream;
            let before = out.len();
            // What cannot be read of a cut event is not sent, so nothing is lost with the error.
            self.decoder
                .finish(&mut |part| stream.last_part(part, out))
                .unwrap_or_default();
            stream.flush(None, out);
            stream.hold.end(None);
            if stream.hold.settle(before, out).is_err() {
                out.truncate(before);
            }
        }
        self.state = State::Closed;
    }

    /// The tool calls over which somebody has to decide before more leaves; `None` if there are
    /// none, or if a decision is out.
    pub fn take_due(&mut self) -> Option<DueCalls> {
        let due = self.stream.hold.take_due()?;
        Some(DueCalls {
            calls: due.items,
            overflow: due.overflow,
        })
    }

    /// The calls of the last [`take_due`](Self::take_due) may pass; appends what waited for them,
    /// unless it has to wait for others.
    pub fn release(&mut self, out: &mut Vec<u8>) {
        self.stream.hold.release(out);
    }

    /// Ends the answer with a text of ours and a normal end, in the API's own form.
    ///
    /// For a stream that may not go on, also after an error. What was kept back is not sent.
    /// Ghost text gets the end without the text, as it would become code. Nothing is appended to
    /// an answer that has said `[DONE]`.
    pub fn end_readably(&mut self, text: &str, out: &mut Vec<u8>) {
        let dropped = self.stream.hold.drop_held();
        if dropped.any || !matches!(self.state, State::Closed) {
            self.stream.end_readably(text, &dropped, out);
        }
        self.state = State::Closed;
    }

    /// What was learnt so far.
    pub fn facts(&self) -> ResponseFacts {
        let stream = &self.stream;
        ResponseFacts {
            findings: stream.scan.findings.clone(),
            findings_count: stream.scan.findings_count,
            content: stream.content.to_json(),
            content_truncated: stream.content.truncated,
            unscanned: stream.scan.unscanned.clone(),
            model: stream.model.clone(),
            done: stream.finished,
            events: stream.events,
            unknown_events: stream.unknown_events,
        }
    }

    /// What was learnt.
    pub fn into_facts(self) -> ResponseFacts {
        self.facts()
    }

    /// Bytes of text kept for the record so far.
    pub fn recorded(&self) -> usize {
        self.stream.content.kept
    }

    /// Keeps no more text for the record, and says there that some is missing.
    pub fn stop_recording(&mut self) {
        self.stream.content.close();
    }

    /// Bytes of text kept back at the moment, over all channels.
    pub fn held(&self) -> usize {
        self.stream
            .channels
            .iter()
            .map(|channel| channel.mask.held())
            .sum()
    }
}

/// A text that goes on over the events of a stream.
pub(super) struct Channel {
    pub(super) shape: Shape,
    /// Number of the choice.
    pub(super) choice: u64,
    /// Number of the tool call in it; 0 where there are none.
    pub(super) tool: u64,
    /// The key under which the text stands.
    pub(super) field: String,
    mask: TextMask,
    /// First half of a surrogate pair that the last piece ended with.
    carry: Option<u16>,
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
            Shape::Text => format!("choices[{choice}].text"),
        }
    }

    /// The call whose arguments the text is.
    fn call_place(&self) -> Option<CallPlace> {
        match self.shape {
            Shape::ToolCall => Some((self.choice, Some(self.tool))),
            Shape::FunctionCall => Some((self.choice, None)),
            Shape::Delta | Shape::Text => None,
        }
    }

    /// Ends the text; a later piece begins a new one.
    fn finish(&mut self, masker: &Masker, findings: &mut Vec<Finding>) -> String {
        let mut out = String::new();
        if self.carry.take().is_some() {
            self.mask.push(masker, "\u{fffd}", &mut out, findings);
        }
        self.mask.finish(masker, &mut out, findings);
        self.mask = TextMask::new();
        out
    }
}

/// All of an answer but its bytes.
struct Stream {
    api: Api,
    masker: Masker,
    scan: Scan,
    content: Content,
    max_channels: usize,
    channels: Vec<Channel>,
    /// Numbers of the choices, and whether each has ended.
    choices: Vec<(u64, bool)>,
    /// Root values of the last event.
    envelope: Vec<u8>,
    model: Option<String>,
    finished: bool,
    said_done: bool,
    events: u64,
    unknown_events: u64,
    hold: Hold,
}

/// Tool calls over which somebody has to decide.
pub struct DueCalls {
    /// The calls.
    pub calls: Vec<ContentItem>,
    /// Whether there are more than are kept.
    pub overflow: bool,
}

impl Stream {
    fn part(&mut self, part: Part<'_>, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        match part {
            Part::Filler(raw) => {
                out.extend_from_slice(raw);
                Ok(())
            }
            Part::Comment(line) => self.line(&line, out),
            Part::Block(block) => match block.data() {
                None => self.block(&block, None, out),
                Some(data) => self.event(&block, &data, out),
            },
        }
    }

    /// The part that the end of the stream leaves incomplete.
    fn last_part(&mut self, part: Part<'_>, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let Part::Block(block) = part else {
            return Ok(());
        };
        let Some(data) = block.data().filter(|data| looks_like_json(data)) else {
            return Ok(());
        };
        let before = out.len();
        self.event(&block, &data, out)?;
        if out.len() > before {
            let missing = if out.ends_with(b"\n\n") { 0 } else { 2 };
            out.extend(std::iter::repeat_n(b'\n', missing));
        }
        Ok(())
    }

    fn event(
        &mut self,
        block: &Block<'_>,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        self.events += 1;
        if data.trim_ascii() == b"[DONE]" {
            self.flush(None, out);
            self.hold.end(None);
            (self.finished, self.said_done) = (true, true);
            return self.block(block, None, out);
        }
        if looks_like_json(data) {
            return self.json(block, data, out);
        }
        self.unknown_events += 1;
        let text = std::str::from_utf8(data).map_err(|_| Unreadable::NotText)?;
        let masked = self.scan.mask(&self.masker, text, || "data".to_owned());
        self.block(block, masked.as_deref().map(str::as_bytes), out)
    }

    fn json(
        &mut self,
        block: &Block<'_>,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        let Self {
            api, max_channels, ..
        } = *self;
        let reader = Reader {
            api,
            max_channels,
            masker: &self.masker,
            scan: &mut self.scan,
        };
        let mut seen = reader.read(data)?;
        self.unknown_events += u64::from(!seen.known);
        if self.model.is_none() {
            self.model = seen.model.take();
        }
        self.keep_envelope(&seen, data);
        self.keep_choices(&seen)?;
        for (place, name) in seen.calls() {
            self.hold.name(place, name);
        }
        self.hold.begin();
        for number in 0..seen.pieces.len() {
            self.piece(&mut seen, number)?;
        }
        for position in &seen.ended {
            let choice = seen.choice(*position);
            self.flush(Some((choice, &mut seen.pieces)), out);
            self.hold.end(Some(choice));
        }
        let mut changed = false;
        let mut empty = !seen.pieces.is_empty();
        for channel in &mut self.channels {
            if channel.piece.take().is_some() {
                channel.envelope.clear();
                if channel.mask.held() > 0 || channel.carry.is_some() {
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
            return self.block(block, None, out);
        }
        self.block(block, Some(&seen.edits.apply(data)), out)
    }

    /// Sends a piece through its channel.
    fn piece(&mut self, seen: &mut Seen<'_>, number: usize) -> Result<(), Unreadable> {
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
            None => self.open(piece.shape, choice, tool, &piece.field)?,
        };
        let Some(channel) = self.channels.get_mut(found) else {
            return Ok(());
        };
        let carried = channel.carry.is_some();
        let text = piece.text.decode_piece(&mut channel.carry, true);
        channel
            .mask
            .push(&self.masker, &text, &mut piece.output, &mut self.scan.fresh);
        channel.piece = Some(number);
        piece.changed = carried || channel.carry.is_some() || piece.output != text;
        self.scan.place(|| channel.name());
        self.content.add(channel.content, &piece.output);
        if let Some(place) = channel.call_place() {
            self.hold.arguments(place, &piece.output);
        }
        Ok(())
    }

    fn open(
        &mut self,
        shape: Shape,
        choice: u64,
        tool: u64,
        field: &str,
    ) -> Result<usize, Unreadable> {
        if self.channels.len() >= self.max_channels {
            return Err(Unreadable::TooManyChannels);
        }
        let mut channel = Channel {
            shape,
            choice,
            tool,
            field: field.to_owned(),
            mask: TextMask::new(),
            carry: None,
            envelope: Vec::new(),
            piece: None,
            content: 0,
        };
        channel.content = self.content.open(channel.name());
        self.channels.push(channel);
        Ok(self.channels.len() - 1)
    }

    /// Ends the channels of a choice, or of all: what they kept back goes into the piece that the
    /// event at hand has of them, or leaves in an event of its own.
    fn flush(&mut self, ended: Option<(u64, &mut Vec<Piece<'_>>)>, out: &mut Vec<u8>) {
        let (choice, mut pieces) = match ended {
            Some((choice, pieces)) => (Some(choice), Some(pieces)),
            None => (None, None),
        };
        for channel in &mut self.channels {
            if choice.is_some_and(|choice| choice != channel.choice) {
                continue;
            }
            let rest = channel.finish(&self.masker, &mut self.scan.fresh);
            self.scan.place(|| channel.name());
            if rest.is_empty() {
                continue;
            }
            self.content.add(channel.content, &rest);
            if let Some(place) = channel.call_place() {
                self.hold.arguments(place, &rest);
            }
            let piece = channel.piece.zip(pieces.as_mut());
            match piece.and_then(|(number, pieces)| pieces.get_mut(number)) {
                Some(piece) => {
                    piece.output.push_str(&rest);
                    piece.changed = true;
                }
                None => push_event(out, &channel.envelope, |out| match self.api {
                    Api::Chat => chat::push_piece(out, channel, &rest),
                    Api::Completions => completions::push_piece(out, channel, &rest),
                }),
            }
        }
    }

    fn end_readably(&mut self, text: &str, dropped: &Dropped, out: &mut Vec<u8>) {
        if self.said_done && !dropped.any {
            return;
        }
        let mut open: Vec<u64> = self
            .choices
            .iter()
            .filter(|(choice, ended)| !ended || dropped.ended.contains(choice))
            .map(|(choice, _)| *choice)
            .collect();
        if self.choices.is_empty() {
            open.push(0);
        }
        if self.envelope.is_empty() {
            self.envelope = match self.api {
                Api::Chat => chat::envelope(self.model.as_deref().unwrap_or_default()),
                Api::Completions => completions::envelope(),
            };
        }
        for (number, choice) in open.into_iter().enumerate() {
            match self.api {
                Api::Chat => {
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
                Api::Completions => {
                    push_event(out, &self.envelope, |out| {
                        completions::push_end(out, choice);
                    });
                }
            }
        }
        out.extend_from_slice(DONE_EVENT);
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
    fn keep_choices(&mut self, seen: &Seen<'_>) -> Result<(), Unreadable> {
        for position in 0..seen.positions {
            let number = seen.choice(position);
            let ended = seen.ended.contains(&position);
            self.finished |= ended;
            let room = self.choices.len() < self.max_channels;
            match self
                .choices
                .iter_mut()
                .find(|(choice, _)| *choice == number)
            {
                Some((_, was)) => *was |= ended,
                None if !room => return Err(Unreadable::TooManyChannels),
                None => self.choices.push((number, ended)),
            }
        }
        Ok(())
    }

    /// Appends a block with other data, or with its own; its other lines are masked.
    fn block(
        &mut self,
        block: &Block<'_>,
        data: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        let before = out.len();
        let mut replacement = data;
        for line in block.lines() {
            if line.data().is_none() {
                if let Err(error) = self.line(&line, out) {
                    // Half an event would take in what is sent after it.
                    out.truncate(before);
                    return Err(error);
                }
            } else if data.is_none() {
                out.extend_from_slice(line.text);
                out.extend_from_slice(line.end);
            } else if let Some(replacement) = replacement.take() {
                for value in replacement.split(|byte| *byte == b'\n') {
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(value);
                    out.extend_from_slice(if line.end.is_empty() { b"\n" } else { line.end });
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let text = std::str::from_utf8(line.text).map_err(|_| Unreadable::NotText)?;
        match self.scan.mask(&self.masker, text, || "line".to_owned()) {
            Some(masked) => out.extend_from_slice(masked.as_bytes()),
            None => out.extend_from_slice(line.text),
        }
        out.extend_from_slice(line.end);
        Ok(())
    }
}

/// Appends an event with these root values and one choice.
pub(super) fn push_event(out: &mut Vec<u8>, envelope: &[u8], choice: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"data: {");
    out.extend_from_slice(envelope);
    if !envelope.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(b"\"choices\":[");
    choice(out);
    out.extend_from_slice(b"]}\n\n");
}

#[cfg(test)]
mod tests;
