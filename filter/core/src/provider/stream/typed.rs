//! Events with a type: responses and Anthropic's messages.
//!
//! An event is about one text, one item or the answer. A delta's text goes through the text's
//! channel; what ends a text (its `.done`, its block's stop, its item's end, the answer's) sends
//! first what was kept back. Texts that repeat what was streamed are masked whole, which gives the
//! very characters that were streamed, and neither counted nor recorded twice.
//!
//! Where events are numbered, they stay numbered without gaps: one that is dropped or added here
//! moves the numbers of all that follow.

mod event;

use crate::json::push_string;
use crate::sse::Block;

use super::super::restore::{Goes, Restore, Tool, Writers, Writing};
use super::super::scan::is_name;
use super::super::{Api, Unreadable, messages, responses};
use super::{Dropped, Flow, Said, Shared};
use event::{Heard, Seen, read};

/// Most texts of an answer whose repeats are recognised.
const MAX_REMEMBERED: usize = 1024;

/// A text in an event.
#[derive(Debug)]
pub(in crate::provider) struct Spot {
    /// What it is; `None` if the event's type says it.
    pub(in crate::provider) field: Option<Field>,
    /// The item it belongs to; `None` if the event says it.
    pub(in crate::provider) item: Option<u64>,
    /// The part it belongs to; `None` if the event says it.
    pub(in crate::provider) part: Option<u64>,
    pub(in crate::provider) form: Form,
}

/// How much of a text stands in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Form {
    /// The next piece.
    Delta,
    /// All of it, or its beginning where the event begins an item.
    Whole,
}

/// What a text of an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Field {
    /// Arguments of a function.
    Arguments,
    /// A program to run.
    Code,
    /// Input of a tool.
    Input,
    /// By the word of the API.
    Other(Box<str>),
    /// Why the model says nothing else.
    Refusal,
    /// The model's thinking in short.
    Summary,
    /// What is said.
    Text,
    /// Signed: looked at and left as it is.
    Thinking,
}

/// What an event ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Ends {
    /// All texts.
    All,
    /// All texts and the answer.
    Answer,
    /// All texts of its item.
    Item,
    /// Nothing.
    Nothing,
    /// All texts of its part.
    Part,
    /// The text that its type names.
    Text,
}

/// Which text of an answer it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    field: Field,
    item: u64,
    part: u64,
}

impl Key {
    /// Whether the text says what a tool is called with.
    fn is_call(&self) -> bool {
        matches!(self.field, Field::Arguments | Field::Input)
    }

    fn name(&self, api: Api) -> String {
        match api {
            Api::Messages => messages::channel_name(&self.field, self.item),
            _ => responses::channel_name(&self.field, self.item, self.part),
        }
    }
}

/// A text of an answer.
struct Channel {
    key: Key,
    flow: Flow,
    /// What of a call's arguments, or of what is said, waits.
    writing: Writing,
    /// Values went back into it.
    restored: bool,
    /// It goes on.
    open: bool,
    /// All that was streamed of it.
    said: Said,
    /// What its deltas are called: a type without `.delta`, or the type of a block's delta.
    kind: String,
    /// Where its deltas say that they belong.
    place: Vec<u8>,
    /// Its number in the recorded content.
    content: usize,
}

impl Channel {
    fn new(key: Key) -> Self {
        Self {
            key,
            flow: Flow::default(),
            writing: Writing::default(),
            restored: false,
            open: false,
            said: Said::default(),
            kind: String::new(),
            place: Vec::new(),
            content: usize::MAX,
        }
    }

    /// What went back into the text so far, in a repeat of it.
    fn told(&self, restore: &mut Restore, text: &str, is_final: bool) -> Option<String> {
        restore.quietly(|restore| self.writing.told(restore, text, is_final, ""))
    }
}

/// The items of an answer.
#[derive(Default)]
pub(super) struct Typed {
    channels: Vec<Channel>,
    /// Items that call a tool, and its name, masked.
    called: Vec<(u64, String)>,
    writers: Writers<u64, MAX_REMEMBERED>,
    /// Items, and whether their text is said to the person.
    sayers: Vec<(u64, bool)>,
    progress: Progress,
    /// What the caller has seen, while the rest is held.
    shown: Progress,
    /// Events added here less those dropped.
    shift: i64,
}

/// How far an answer is.
#[derive(Clone, Default)]
struct Progress {
    /// It has begun.
    started: bool,
    /// It has ended.
    ended: bool,
    /// Items that have begun and not stopped.
    begun: Vec<u64>,
    /// First number that no item has.
    next_item: u64,
    /// Number of the next event.
    next_number: u64,
}

impl Typed {
    /// Takes an event of JSON.
    pub(super) fn event(
        &mut self,
        shared: &mut Shared,
        block: &Block<'_>,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        if !shared.hold.is_holding() {
            self.shown.clone_from(&self.progress);
        }
        let mut seen = read(shared, data)?;
        let api = shared.api;
        shared.facts.unknown_events += u64::from(!api.knows_type(&seen.kind));
        let ends = api.ends(&seen.kind);
        self.follow(shared, &seen, ends)?;
        self.end(shared, &seen, ends, out);
        let begins = api.begins(&seen.kind);
        let texts = std::mem::take(&mut seen.texts);
        let only_text = texts.len() == 1 && !seen.more && ends == Ends::Nothing;
        let mut held_back = false;
        for text in texts {
            if text.spot.form == Form::Delta || begins {
                held_back |= self.piece(shared, &mut seen, &text)?;
            } else {
                self.repeat(shared, &mut seen, &text);
            }
        }
        if let Some(input) = seen.input(data) {
            shared
                .hold
                .arguments((seen.item.unwrap_or(0), None), &input);
        }
        shared.check()?;
        shared.hold.begin();
        match ends {
            Ends::All | Ends::Answer => shared.hold.end(None),
            Ends::Item if !begins => shared.hold.end(Some(seen.item.unwrap_or(0))),
            Ends::Item | Ends::Nothing | Ends::Part | Ends::Text => {}
        }
        let plain = |line: &[u8]| line.is_empty() || line.starts_with(b"event:");
        let only_data = || {
            let mut lines = block.lines();
            lines.all(|line| line.data().is_some() || plain(line.text))
        };
        if held_back && only_text && !begins && only_data() {
            self.shift -= i64::from(seen.number.is_some());
            return Ok(());
        }
        if let Some((span, number)) = seen.number {
            let number = number.saturating_add_signed(self.shift);
            self.progress.next_number = number.saturating_add(1);
            if self.shift != 0 {
                seen.edits.replace(span, number.to_string().as_bytes());
            }
        }
        if seen.edits.is_empty() {
            return shared.block(block, None, out);
        }
        shared.block(block, Some(&seen.edits.apply(data)), out)
    }

    /// Ends all texts.
    pub(super) fn flush(&mut self, shared: &mut Shared, out: &mut Vec<u8>) {
        for at in 0..self.channels.len() {
            self.finish(shared, at, None, out);
        }
    }

    /// Says something of ours, and ends the answer, unless the caller has seen it end.
    pub(super) fn end_readably(
        &mut self,
        shared: &mut Shared,
        text: &str,
        dropped: &Dropped,
        out: &mut Vec<u8>,
    ) {
        let model = shared.facts.model.as_deref().unwrap_or_default();
        let progress = if dropped.any {
            &mut self.shown
        } else {
            &mut self.progress
        };
        match (shared.api, progress.started) {
            _ if progress.ended => {}
            (Api::Messages, false) => out.extend(messages::message_stream_text(model, text)),
            (Api::Messages, true) => {
                for item in &progress.begun {
                    messages::push_stop(out, *item);
                }
                messages::push_block(out, progress.next_item, text);
                // A client goes on with the calls that it has seen.
                let calls = !dropped.passed.is_empty();
                messages::push_end(out, if calls { "tool_use" } else { "end_turn" });
            }
            (_, false) => out.extend(responses::response_stream_text(model, text)),
            (_, true) => {
                let number = &mut progress.next_number;
                responses::push_message(out, progress.next_item, text, number);
                // Clients show the answer again as it stands in the last event.
                let shown = self.channels.iter().filter(|channel| {
                    channel.kind == "response.output_text" && channel.key.item < progress.next_item
                });
                let Shared {
                    content, restore, ..
                } = shared;
                let shown = shown.filter_map(|channel| {
                    let text = content.text(channel.content)?;
                    let restore = restore.as_mut();
                    let told =
                        restore.and_then(|restore| channel.told(restore, &text, !channel.open));
                    Some(responses::item(&told.unwrap_or(text), "completed"))
                });
                let mut items: Vec<Vec<u8>> = shown.collect();
                items.push(responses::item(text, "completed"));
                let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
                responses::push_completed(out, model, &items, number);
            }
        }
        progress.ended = true;
        self.progress.ended = true;
    }

    /// Bytes of text kept back at the moment, over all channels.
    pub(super) fn held(&self) -> usize {
        self.channels
            .iter()
            .map(|channel| channel.flow.held() + channel.writing.held())
            .sum()
    }

    /// Notes whether the text of the event's item is said to the person. What was thinking once never
    /// is.
    fn note_sayer(&mut self, api: Api, seen: &Seen<'_>) {
        let says = match (api, &*seen.item_kind) {
            _ if seen.kind.starts_with("response.reasoning") => false,
            (_, "") => return,
            (Api::Messages, kind) => kind == "text",
            (_, kind) => kind == "message",
        };
        let item = seen.item.unwrap_or(0);
        let mut sayers = self.sayers.iter_mut();
        if let Some((_, before)) = sayers.find(|(sayer, _)| *sayer == item) {
            *before &= says;
        } else if self.sayers.len() < MAX_REMEMBERED {
            self.sayers.push((item, says));
        }
    }

    /// Notes how far the answer is, and which tools it calls.
    fn follow(
        &mut self,
        shared: &mut Shared,
        seen: &Seen<'_>,
        ends: Ends,
    ) -> Result<(), Unreadable> {
        if shared.restore.as_ref().is_some_and(Restore::tells) {
            self.note_sayer(shared.api, seen);
        }
        let progress = &mut self.progress;
        progress.started |= !matches!(&*seen.kind, "" | "error" | "ping");
        let item = seen.item.unwrap_or(0);
        if seen.item.is_some() {
            progress.next_item = progress.next_item.max(item.saturating_add(1));
        }
        if shared.api.begins(&seen.kind) && ends == Ends::Item {
            if progress.begun.len() >= shared.max_channels {
                return Err(Unreadable::TooManyChannels);
            }
            if !progress.begun.contains(&item) {
                progress.begun.push(item);
            }
        } else if ends == Ends::Item {
            progress.begun.retain(|begun| *begun != item);
        }
        if ends == Ends::Answer {
            progress.ended = true;
            shared.facts.done = true;
        }
        for (place, name) in &seen.calls {
            if shared.restore.is_some() && place.is_none() {
                match &*seen.item_kind {
                    "function_call" | "tool_use" => self.writers.note(item, name, false),
                    "custom_tool_call" => self.writers.note(item, name, true),
                    _ => {}
                }
            }
            let item = place.unwrap_or(item);
            if self
                .called
                .iter()
                .any(|(called, known)| (*called, known) == (item, name))
            {
                continue;
            }
            if self.called.len() >= MAX_REMEMBERED {
                return Err(Unreadable::TooManyChannels);
            }
            self.called.push((item, name.clone()));
            shared.facts.call(&shared.masker, name);
            shared.hold.name((item, None), name);
        }
        Ok(())
    }

    /// Ends the texts that an event ends.
    fn end(&mut self, shared: &mut Shared, seen: &Seen<'_>, ends: Ends, out: &mut Vec<u8>) {
        let (item, part) = (seen.item.unwrap_or(0), seen.part.unwrap_or(0));
        let (field, _) = responses::subject(&seen.kind);
        for at in 0..self.channels.len() {
            let Some(key) = self.channels.get(at).map(|channel| &channel.key) else {
                continue;
            };
            let ended = match ends {
                Ends::All | Ends::Answer => true,
                Ends::Item => key.item == item,
                Ends::Nothing => false,
                Ends::Part => (key.item, key.part) == (item, part),
                Ends::Text => (key.item, key.part) == (item, part) && key.field == field,
            };
            if ended {
                self.finish(shared, at, seen.number.map(|(_, number)| number), out);
            }
        }
    }

    /// Ends a text: what was kept back leaves in a delta of its own, before the event with `number`.
    fn finish(&mut self, shared: &mut Shared, at: usize, number: Option<u64>, out: &mut Vec<u8>) {
        let Some(channel) = self.channels.get_mut(at).filter(|channel| channel.open) else {
            return;
        };
        channel.open = false;
        let mut rest = channel.flow.finish(shared);
        let api = shared.api;
        let signed = channel.key.field == Field::Thinking;
        shared.place(signed, || channel.key.name(api));
        shared.content.add(channel.content, &rest);
        if channel.key.is_call() && !rest.is_empty() {
            shared.hold.arguments((channel.key.item, None), &rest);
        }
        if let Some(restore) = &mut shared.restore {
            let goes = goes(&self.writers, &self.sayers, &channel.key);
            let name = || channel.key.name(api);
            channel.writing.push(restore, goes, &mut rest, name);
            let before = restore.restored;
            rest += &channel.writing.finish(restore, goes.is_some(), name);
            channel.restored |= restore.restored > before;
        }
        if rest.is_empty() || signed {
            return;
        }
        if api == Api::Messages {
            let key = match &channel.key.field {
                Field::Input => "partial_json",
                Field::Other(key) => key,
                _ => "text",
            };
            messages::push_delta(out, channel.key.item, (&channel.kind, key), &rest);
            return;
        }
        push_named(out, &format!("{}.delta", channel.kind), |out| {
            if number.is_some() || self.progress.next_number > 0 {
                let number = number.map_or(self.progress.next_number, |number| {
                    number.saturating_add_signed(self.shift)
                });
                out.extend_from_slice(format!(",\"sequence_number\":{number}").as_bytes());
                self.shift += 1;
                self.progress.next_number = number.saturating_add(1);
            }
            out.extend_from_slice(&channel.place);
            out.extend_from_slice(b",\"delta\":");
            push_string(out, &rest);
            if channel.key.field == Field::Text {
                out.extend_from_slice(b",\"logprobs\":[]");
            }
        });
    }

    /// Sends a piece through its channel; says whether all of it stays back.
    fn piece(
        &mut self,
        shared: &mut Shared,
        seen: &mut Seen<'_>,
        heard: &Heard<'_>,
    ) -> Result<bool, Unreadable> {
        let key = seen.key(&heard.spot);
        let found = self.find(&key);
        if found.is_none() && heard.text.is_empty() {
            return Ok(false);
        }
        let at = match found {
            Some(at) => at,
            None => self.open(shared, key)?,
        };
        let open = self.channels.iter().filter(|channel| channel.open).count();
        let Some(channel) = self.channels.get_mut(at) else {
            return Ok(false);
        };
        if !channel.open {
            if open >= shared.max_channels {
                return Err(Unreadable::TooManyChannels);
            }
            channel.open = true;
        }
        if heard.spot.form == Form::Delta || channel.kind.is_empty() {
            seen.describe(shared.api, &channel.key.field, &mut channel.kind);
        }
        let mut output = String::new();
        let mut changed = channel
            .flow
            .push(shared, &heard.text, &mut output, &mut channel.said);
        let signed = channel.key.field == Field::Thinking;
        let api = shared.api;
        shared.place(signed, || channel.key.name(api));
        shared.content.add(channel.content, &output);
        if channel.key.is_call() {
            shared.hold.arguments((channel.key.item, None), &output);
        }
        if let Some(restore) = &mut shared.restore
            && !channel.writing.is_plain()
        {
            let goes = goes(&self.writers, &self.sayers, &channel.key);
            let name = || channel.key.name(api);
            changed |= channel.writing.push(restore, goes, &mut output, name);
        }
        if signed || !changed {
            return Ok(false);
        }
        channel.place.clear();
        if channel.flow.waits() || channel.writing.waits() {
            channel.place.extend_from_slice(&seen.place);
        }
        seen.edits.replace_text(heard.span, &output);
        Ok(output.is_empty())
    }

    /// Masks a text that stands whole, mostly one that was streamed before.
    fn repeat(&mut self, shared: &mut Shared, seen: &mut Seen<'_>, heard: &Heard<'_>) {
        let text = heard.text.decode();
        if text.is_empty() {
            return;
        }
        let key = seen.key(&heard.spot);
        let name = key.name(shared.api);
        let masked = shared
            .scan
            .mask_again(&shared.masker, &text, || name.clone());
        let said = Said::all(&text);
        let sent = masked.as_deref().unwrap_or(&text);
        let (restored, told) = if key.is_call() {
            (self.restored(shared, &key, said, sent), None)
        } else {
            self.told(shared, &key, said, sent)
        };
        if let Some(sent) = restored.as_ref().or(masked.as_ref()) {
            seen.edits.replace_text(heard.span, sent);
        }
        let restored = restored.is_some();
        let (item, is_call) = (key.item, key.is_call());
        let channel = self.find(&key).and_then(|at| self.channels.get_mut(at));
        match channel {
            Some(channel) if channel.said == said => return,
            Some(channel) => {
                channel.said = said;
                channel.restored = restored;
                if let Some(told) = told.filter(|_| !channel.open) {
                    channel.writing = told;
                }
                if is_call {
                    // Whoever reads the repeat calls something else: that is a call of its own.
                    let place = (item, Some(said.number()));
                    let mut names = self.called.iter().filter(|(called, _)| *called == item);
                    let name = names.next_back().map_or("", |(_, name)| name);
                    shared.hold.name(place, name);
                    shared.hold.arguments(place, sent);
                }
            }
            None => {
                if is_call {
                    shared.hold.arguments((item, None), sent);
                }
                self.remember(Channel {
                    said,
                    restored,
                    writing: told.unwrap_or_default(),
                    ..Channel::new(key)
                });
            }
        }
        shared.content.add_whole(|| name, sent);
    }

    /// What the answer says and stands whole, with what goes back into it: in a repeat what went back
    /// before. Gives the text's state if it is a new one.
    fn told(
        &self,
        shared: &mut Shared,
        key: &Key,
        said: Said,
        sent: &str,
    ) -> (Option<String>, Option<Writing>) {
        let Some(restore) = &mut shared.restore else {
            return (None, None);
        };
        let name = key.name(shared.api);
        if let Some(channel) = self.find(key).and_then(|at| self.channels.get(at))
            && channel.said == said
        {
            return (channel.told(restore, sent, true), None);
        }
        let writing = Writing::begun(restore, goes(&self.writers, &self.sayers, key));
        (writing.told(restore, sent, true, &name), Some(writing))
    }

    /// A call's arguments that stand whole, with what goes back into them: in a repeat what went back
    /// before.
    fn restored(&self, shared: &mut Shared, key: &Key, said: Said, sent: &str) -> Option<String> {
        let restore = shared.restore.as_mut().filter(|_| key.is_call())?;
        let tool = tool_of(&self.writers, key)?;
        let name = key.name(shared.api);
        match self.find(key).and_then(|at| self.channels.get(at)) {
            Some(channel) if channel.said == said => {
                let again = |restore: &mut Restore| restore.call(tool, sent, &name);
                channel.restored.then(|| restore.quietly(again)).flatten()
            }
            Some(_) | None => restore.call(tool, sent, &name),
        }
    }

    fn find(&self, key: &Key) -> Option<usize> {
        self.channels.iter().position(|channel| channel.key == *key)
    }

    fn open(&mut self, shared: &mut Shared, key: Key) -> Result<usize, Unreadable> {
        let content = shared.content.open(key.name(shared.api));
        self.remember(Channel {
            content,
            ..Channel::new(key)
        });
        self.channels
            .len()
            .checked_sub(1)
            .ok_or(Unreadable::TooManyChannels)
    }

    fn remember(&mut self, channel: Channel) {
        if self.channels.len() >= MAX_REMEMBERED
            && let Some(oldest) = self.channels.iter().position(|channel| !channel.open)
        {
            self.channels.remove(oldest);
        }
        self.channels.push(channel);
    }
}

/// Where a text goes, if values may go back into it.
fn goes<'w>(
    writers: &'w Writers<u64, MAX_REMEMBERED>,
    sayers: &[(u64, bool)],
    key: &Key,
) -> Option<Goes<'w>> {
    if key.is_call() {
        tool_of(writers, key).map(Goes::ToFile)
    } else {
        let is_said = key.field == Field::Text && sayers.contains(&(key.item, true));
        is_said.then_some(Goes::ToPerson)
    }
}

/// The tool whose arguments a text is, if it writes files.
fn tool_of<'t>(writers: &'t Writers<u64, MAX_REMEMBERED>, key: &Key) -> Option<&'t Tool> {
    let tool = writers.tool(&key.item);
    // The plain text of a custom tool is an input, and so are the arguments of Anthropic's.
    tool.filter(|tool| !tool.custom || key.field == Field::Input)
}

/// Appends an event of this type: `event` line and data; `rest` begins with a comma or is empty.
pub(in crate::provider) fn push_named(
    out: &mut Vec<u8>,
    kind: &str,
    rest: impl FnOnce(&mut Vec<u8>),
) {
    // What a name is made of needs no escape but these two, and a type with them is none of ours.
    let safe = is_name(kind) && !kind.contains(['"', '\\']);
    let kind = if safe { kind } else { "unknown" };
    out.extend_from_slice(format!("event: {kind}\ndata: {{\"type\":\"{kind}\"").as_bytes());
    rest(out);
    out.extend_from_slice(b"}\n\n");
}

#[cfg(test)]
mod tests;
