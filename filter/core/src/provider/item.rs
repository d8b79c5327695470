//! Content items: what of a message a rule can fire on, known by its digest.
//!
//! An item is a text (system text, message part, tool result, …) or a tool call with its name and
//! arguments. Only those that somebody may ask about are kept: texts and calls with findings, and
//! calls that match a pattern of [`Watch`]. A digest is made when the message ends, since its role
//! may stand behind its text; of the text itself only an excerpt stays.
//!
//! What belongs to which item is the word of an API's module, [`Part`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use contract::approval::{Digest, Item, MAX_CAUSE_ITEMS, MAX_SHOWN_BYTES, canonical_arguments};
use wildmatch::WildMatch;

use crate::headers;
use crate::json::{Edits, Span, Text};

use super::Detectors;

/// Longest arguments that are put into canonical form and looked at; longer ones match any pattern.
const MAX_CALL_BYTES: usize = 64 * 1024;

/// Longest role and name of an item.
const MAX_WORD_BYTES: usize = 128;

/// What of a message policy wants to know besides its findings.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Whether items with findings are wanted.
    pub items: bool,
    /// Tool calls that are wanted.
    pub calls: Vec<CallPattern>,
}

/// Tool calls by name and arguments.
#[derive(Clone, Debug)]
pub struct CallPattern {
    /// Number under which a match is reported.
    pub rule: usize,
    /// Glob over the tool's name.
    pub name: WildMatch,
    /// Glob over the arguments: masked, in canonical form.
    pub arguments: WildMatch,
}

impl Watch {
    /// Whether a call of a tool with this name may be wanted, by its arguments.
    pub(super) fn watches(&self, name: &str) -> bool {
        self.calls.iter().any(|pattern| pattern.name.matches(name))
    }

    fn met(&self, name: &str, arguments: &str) -> Vec<usize> {
        let long = arguments.len() > MAX_CALL_BYTES;
        let patterns = self.calls.iter().filter(|pattern| {
            pattern.name.matches(name) && (long || pattern.arguments.matches(arguments))
        });
        patterns.map(|pattern| pattern.rule).collect()
    }
}

/// An item of a message that somebody may ask about.
#[derive(Clone, PartialEq, Eq)]
pub struct ContentItem {
    /// What it is known by.
    pub digest: Digest,
    /// `system`, `user`, `assistant`, `tool` or another of the API.
    pub role: String,
    /// `text`, `tool_call`, `tool_result` or `tool`.
    pub kind: &'static str,
    /// The tool's name, masked, or nothing.
    pub name: String,
    /// The beginning of its text, masked.
    pub excerpt: String,
    /// Its findings, by detector.
    pub by_detector: BTreeMap<&'static str, u64>,
    /// Numbers of the patterns that it matches.
    pub met: Vec<usize>,
}

/// What stands at a path of a message to its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An element of the list of messages; its role stands in it, and its items end with it.
    Message,
    /// An element of a message's list of parts.
    Block,
    /// An object with the name and the arguments of a tool call, if that is no message or block.
    Call,
    /// A tool call's arguments: a string, or a container.
    Arguments,
    /// Something in such a container.
    InArguments,
    /// Text.
    Text {
        /// Whose it is; `None` is the message's own role.
        role: Option<&'static str>,
        /// Of which kind; `text` of the role `tool` becomes `tool_result`.
        kind: &'static str,
    },
}

/// Text of the message's own role.
pub(super) const OWN_TEXT: Part = Part::Text {
    role: None,
    kind: "text",
};

/// Collects the items of a message as it is walked through.
pub(super) struct Items<'w, 's> {
    watch: &'w Watch,
    kept: Kept,
    role: Option<String>,
    /// Texts of the message at hand.
    texts: Vec<FoundText>,
    call: Call<'s>,
}

/// Items that are kept, within their bounds.
pub(super) struct Kept {
    pub(super) items: Vec<ContentItem>,
    /// There were more.
    pub(super) overflow: bool,
    /// Bytes of excerpts that may still be kept.
    room: usize,
}

struct FoundText {
    role: Option<&'static str>,
    kind: &'static str,
    text: String,
    by_detector: Detectors,
}

/// A tool call of which not all has been seen.
#[derive(Default)]
struct Call<'s> {
    name: Option<String>,
    arguments: Option<Arguments<'s>>,
    by_detector: Detectors,
}

enum Arguments<'s> {
    Masked(String),
    Text(Text<'s>),
    Value(Span),
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            overflow: false,
            room: MAX_SHOWN_BYTES,
        }
    }
}

impl Kept {
    /// Keeps a call if it has findings or matches a pattern.
    pub(super) fn call(
        &mut self,
        watch: &Watch,
        name: &str,
        arguments: &str,
        by_detector: Detectors,
    ) {
        let found = watch.items && !by_detector.is_empty();
        if !found && !watch.watches(name) {
            return;
        }
        let text = if arguments.len() > MAX_CALL_BYTES {
            Cow::Borrowed(arguments)
        } else {
            canonical_arguments(arguments)
        };
        let met = watch.met(name, &text);
        if found || !met.is_empty() {
            let (role, kind) = ("assistant", "tool_call");
            let item = Item {
                role,
                kind,
                name,
                text: &text,
            };
            self.push(item, kind, by_detector, met);
        }
    }

    fn push(
        &mut self,
        item: Item<'_>,
        kind: &'static str,
        by_detector: Detectors,
        met: Vec<usize>,
    ) {
        if self.items.len() >= MAX_CAUSE_ITEMS {
            self.overflow = true;
            return;
        }
        let excerpt = start(item.text, self.room);
        self.room -= excerpt.len();
        self.items.push(ContentItem {
            digest: item.digest(),
            role: item.role.to_owned(),
            kind,
            name: item.name.to_owned(),
            excerpt: excerpt.to_owned(),
            by_detector,
            met,
        });
    }
}

impl<'w, 's> Items<'w, 's> {
    pub(super) fn new(watch: &'w Watch) -> Self {
        Self {
            watch,
            kept: Kept::default(),
            role: None,
            texts: Vec::new(),
            call: Call::default(),
        }
    }

    /// Number of items so far, also of those that are too many.
    pub(super) fn count(&self) -> usize {
        self.kept.items.len() + usize::from(self.kept.overflow)
    }

    /// Whether the message at hand is an answer of a model.
    pub(super) fn is_assistant(&self) -> bool {
        self.role.as_deref() == Some("assistant")
    }

    /// The role of the message at hand.
    pub(super) fn role(&mut self, role: &str) {
        self.role = Some(start(role, MAX_WORD_BYTES).to_owned());
    }

    /// The name of the call at hand, masked.
    pub(super) fn call_name(&mut self, name: &str, found: Option<&Detectors>) {
        self.call.name = Some(start(name, MAX_WORD_BYTES).to_owned());
        self.call.found(found);
    }

    /// Whether the parts of texts without findings matter too.
    pub(super) fn watches_calls(&self) -> bool {
        !self.watch.calls.is_empty()
    }

    /// A string, as it came, with what is sent in its place and its findings if it has any.
    pub(super) fn text(&mut self, part: Part, text: Text<'s>, found: Option<(String, &Detectors)>) {
        match (part, found) {
            (Part::Arguments, found) => {
                self.call.found(found.as_ref().map(|(_, found)| *found));
                let masked = found.map(|(masked, _)| masked);
                let text = masked.map_or(Arguments::Text(text), Arguments::Masked);
                self.call.arguments = Some(text);
            }
            (Part::InArguments, found) => self.call.found(found.map(|(_, found)| found)),
            (part, Some((masked, found))) => self.found(part, masked, found),
            (_, None) => {}
        }
    }

    /// A text with findings, masked.
    pub(super) fn found(&mut self, part: Part, masked: String, found: &Detectors) {
        if !self.watch.items {
            return;
        }
        let (role, kind) = match part {
            Part::Text { role, kind } => (role, kind),
            _ => (None, "text"),
        };
        self.texts.push(FoundText {
            role,
            kind,
            text: masked,
            by_detector: found.clone(),
        });
    }

    /// A container that ends. What `edits` hold so far stands in its source.
    pub(super) fn close(&mut self, part: Part, span: Span, source: &[u8], edits: &Edits) {
        match part {
            Part::Arguments => self.call.arguments = Some(Arguments::Value(span)),
            Part::Block | Part::Call => self.close_call(source, edits),
            Part::Message => {
                self.close_call(source, edits);
                self.close_texts();
                self.role = None;
            }
            Part::InArguments | Part::Text { .. } => {}
        }
    }

    /// The message's end.
    pub(super) fn finish(mut self) -> Kept {
        self.close_texts();
        self.kept
    }

    fn close_call(&mut self, source: &[u8], edits: &Edits) {
        let call = std::mem::take(&mut self.call);
        let name = call.name.unwrap_or_default();
        let found = self.watch.items && !call.by_detector.is_empty();
        let Some(arguments) = call.arguments else {
            if found {
                self.kept.call(self.watch, &name, "", call.by_detector);
            }
            return;
        };
        if !found && !self.watch.watches(&name) {
            return;
        }
        let arguments = match arguments {
            Arguments::Masked(masked) => Cow::Owned(masked),
            Arguments::Text(text) => text.decode(),
            Arguments::Value(span) => {
                let value = edits.within(span, source);
                Cow::Owned(String::from_utf8(value).unwrap_or_default())
            }
        };
        self.kept
            .call(self.watch, &name, &arguments, call.by_detector);
    }

    fn close_texts(&mut self) {
        let own = self.role.as_deref().unwrap_or_default();
        for found in self.texts.drain(..) {
            let role = found.role.unwrap_or(own);
            let kind = match (role, found.kind) {
                ("tool" | "function", "text") => "tool_result",
                (_, kind) => kind,
            };
            let item = Item {
                role: if role == "function" { "tool" } else { role },
                kind,
                name: "",
                text: &found.text,
            };
            self.kept.push(item, kind, found.by_detector, Vec::new());
        }
    }
}

impl Call<'_> {
    fn found(&mut self, found: Option<&Detectors>) {
        for (detector, count) in found.into_iter().flatten() {
            *self.by_detector.entry(detector).or_default() += count;
        }
    }
}

/// The start of a text, at most so many bytes long.
fn start(text: &str, most: usize) -> &str {
    headers::cut(text, most)
}

#[cfg(test)]
mod tests;
