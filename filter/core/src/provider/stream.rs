//! Masks answers that arrive as an event stream.
//!
//! Each text of the stream (a choice's content, one tool call's arguments, …) is a channel with its
//! own [`TextMask`](crate::mask::TextMask); any number of them may alternate. A piece of text leaves in the event it came
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

mod choices;
mod flow;
mod hold;
mod typed;

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::mask::Masker;
use crate::sse::{Block, Decoder, Line, Part};

use super::content::Content;
use super::restore::{Restore, Shown};
use super::scan::{Scan, looks_like_json};
use super::{Api, ContentItem, Limits, ResponseFacts, Unreadable, Watch};
use choices::Choices;
use flow::{Flow, Said};
use hold::{CallPlace, Dropped, Hold};
use typed::Typed;

pub(super) use choices::{Channel, push_event};
pub(super) use typed::{Ends, Field, Form, Spot, push_named};

/// The end of a stream of chats and completions.
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
                shared: Shared {
                    api,
                    masker,
                    scan: Scan::new(limits),
                    content: Content::new(limits),
                    max_channels: limits.max_channels,
                    facts: ResponseFacts::default(),
                    rule: None,
                    judged: 0,
                    restore: None,
                    max_held: limits.max_held,
                    hold: Hold::new(watch, limits.max_held),
                },
                choices: Choices::default(),
                typed: Typed::default(),
                said_done: false,
            },
            state: State::Open,
        }
    }

    /// Ends the answer when the rule says so of what was found.
    #[must_use]
    pub fn with_rule(mut self, rule: AnswerRule) -> Self {
        self.stream.shared.rule = Some(rule);
        self
    }

    /// Puts values that the request showed in files back where the answer writes those.
    #[must_use]
    pub fn restoring(mut self, shown: Rc<Shown>) -> Self {
        let shared = &mut self.stream.shared;
        shared.restore = Some(Restore::new(shown, &shared.masker, shared.max_held));
        self
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
            stream.shared.scan.originals.put_back(out, before);
            stream.shared.hold.settle(before, out)?;
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
            stream.flush(out);
            stream.shared.scan.originals.put_back(out, before);
            if stream.shared.hold.settle(before, out).is_err() {
                out.truncate(before);
            }
        }
        self.state = State::Closed;
    }

    /// The tool calls over which somebody has to decide before more leaves; `None` if there are
    /// none, or if a decision is out.
    pub fn take_due(&mut self) -> Option<DueCalls> {
        let due = self.stream.shared.hold.take_due()?;
        Some(DueCalls {
            calls: due.items,
            overflow: due.overflow,
        })
    }

    /// Whether what leaves waits, for the rest of a tool call or for a decision over one.
    pub fn is_holding(&self) -> bool {
        self.stream.shared.hold.is_holding()
    }

    /// The calls of the last [`take_due`](Self::take_due) may pass; appends what waited for them,
    /// unless it has to wait for others.
    pub fn release(&mut self, out: &mut Vec<u8>) {
        self.stream.shared.hold.release(out);
    }

    /// Ends the answer with a text of ours and a normal end, in the API's own form.
    ///
    /// For a stream that may not go on, also after an error. What was kept back is not sent.
    /// Ghost text gets the end without the text, as it would become code. Nothing is appended to
    /// an answer that has said `[DONE]`.
    pub fn end_readably(&mut self, text: &str, out: &mut Vec<u8>) {
        let dropped = self.stream.shared.hold.drop_held();
        if dropped.any || !matches!(self.state, State::Closed) {
            self.stream.end_readably(text, &dropped, out);
        }
        self.state = State::Closed;
    }

    /// What was learnt so far.
    pub fn facts(&self) -> ResponseFacts {
        let shared = &self.stream.shared;
        let mut facts = shared.scan.facts(&shared.content, shared.facts.clone());
        if let Some(restore) = &shared.restore {
            facts.restore(restore);
        }
        facts
    }

    /// What was learnt.
    pub fn into_facts(self) -> ResponseFacts {
        self.facts()
    }

    /// Bytes of text kept for the record so far.
    pub fn recorded(&self) -> usize {
        self.stream.shared.content.kept
    }

    /// Keeps no more text for the record, and says there that some is missing.
    pub fn stop_recording(&mut self) {
        self.stream.shared.content.close();
    }

    /// Bytes of text kept back at the moment, over all channels.
    pub fn held(&self) -> usize {
        self.stream.choices.held() + self.stream.typed.held()
    }
}

/// All of an answer but its bytes.
struct Stream {
    shared: Shared,
    choices: Choices,
    typed: Typed,
    said_done: bool,
}

/// Findings, counted by detector.
pub type Detectors = BTreeMap<&'static str, u64>;

/// Whether findings end an answer, and as what: those in texts that may not be changed, and all.
pub type AnswerRule = Rc<dyn Fn(&Detectors, &Detectors) -> Option<Unreadable>>;

/// What every event of an answer needs.
struct Shared {
    api: Api,
    masker: Masker,
    scan: Scan,
    content: Content,
    max_channels: usize,
    facts: ResponseFacts,
    rule: Option<AnswerRule>,
    /// How many findings the rule knows.
    judged: u64,
    restore: Option<Restore>,
    max_held: usize,
    hold: Hold,
}

/// Tool calls over which somebody has to decide.
#[derive(Default)]
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
            Part::Comment(line) => self.shared.line(&line, out),
            Part::Block(block) => match block.data() {
                None => self.shared.block(&block, None, out),
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
        self.shared.facts.events += 1;
        if data.trim_ascii() == b"[DONE]" {
            self.flush(out);
            (self.shared.facts.done, self.said_done) = (true, true);
            return self.shared.block(block, None, out);
        }
        if looks_like_json(data) {
            let shared = &mut self.shared;
            return if shared.api.has_types() {
                self.typed.event(shared, block, data, out)
            } else {
                self.choices.event(shared, block, data, out)
            };
        }
        let shared = &mut self.shared;
        shared.facts.unknown_events += 1;
        let text = std::str::from_utf8(data).map_err(|_| Unreadable::NotText)?;
        let masked = shared.scan.mask(&shared.masker, text, || "data".to_owned());
        shared.block(block, masked.as_deref().map(str::as_bytes), out)
    }

    /// Ends all texts.
    fn flush(&mut self, out: &mut Vec<u8>) {
        self.choices.flush(&mut self.shared, out);
        self.typed.flush(&mut self.shared, out);
        self.shared.hold.end(None);
    }

    fn end_readably(&mut self, text: &str, dropped: &Dropped, out: &mut Vec<u8>) {
        if self.shared.api.has_types() {
            self.typed
                .end_readably(&mut self.shared, text, dropped, out);
        } else if !self.said_done || dropped.any {
            self.choices.end_readably(&self.shared, text, dropped, out);
        }
    }
}

impl Shared {
    /// Files the fresh findings; those of a signed text as passed.
    fn place(&mut self, signed: bool, channel: impl FnOnce() -> String) {
        if signed {
            self.scan.place_passed(channel);
        } else {
            self.scan.place(channel);
        }
    }

    /// Whether what was found lets the answer go on.
    fn check(&mut self) -> Result<(), Unreadable> {
        let before = std::mem::replace(&mut self.judged, self.scan.findings_count);
        let Some(rule) = self.rule.as_ref().filter(|_| before < self.judged) else {
            return Ok(());
        };
        rule(&self.scan.passed, &self.scan.by_detector).map_or(Ok(()), Err)
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

#[cfg(test)]
mod tests;
