//! What files a request showed, as far as values were masked in them.

use std::collections::HashMap;

use crate::json::{Event, Path, Span, Step, Text, Value, walk};
use crate::mask::{Mark, Values};
use crate::provider::{Api, Unreadable};

use super::{CONTEXT, PATHS, READERS, blocks, context, may_be_path, run};

/// Most places that are kept.
const MAX_PLACES: usize = 1024;

/// Most places of values that a request is searched for.
const MAX_MARKS: usize = 4096;

/// The values of a request, and where it showed them in files. It lives as long as its exchange, and
/// cannot be printed.
#[derive(Default)]
pub struct Shown {
    pub(super) values: Values,
    /// They may go back into what the answer says.
    pub(super) tells: bool,
    places: Vec<Place>,
}

/// A value in a file.
#[derive(PartialEq, Eq)]
struct Place {
    path: String,
    /// What stood before it, masked: [`CONTEXT`] characters, or all.
    before: String,
    /// What follows it without a break, masked.
    after: String,
    value: usize,
}

impl Shown {
    /// Values that no file showed.
    pub(in crate::provider) fn values(values: Values) -> Self {
        Self {
            values,
            ..Self::default()
        }
    }

    /// The same, with values that may go back into what the answer says.
    #[must_use]
    pub fn telling(self) -> Self {
        Self {
            tells: true,
            ..self
        }
    }

    /// Whether nothing can go back into a file.
    pub(in crate::provider) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether a value was shown in this file with the same characters around it.
    pub(super) fn fits(&self, value: usize, path: &str, before: &str, after: &str) -> bool {
        let before = context(before);
        let fits = |place: &Place| {
            place.value == value
                && place.path == path
                && place.before == before
                && place.after == after
        };
        !path.is_empty() && self.places.iter().any(fits)
    }

    fn add(&mut self, path: &str, (before, after): (&str, &str), value: usize) {
        debug_assert!(before.chars().count() <= CONTEXT, "more than is compared");
        let place = Place {
            path: path.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            value,
        };
        if self.places.len() < MAX_PLACES && !self.places.contains(&place) {
            self.places.push(place);
        }
    }
}

/// A text with the values in it masked.
struct Masked {
    text: String,
    /// Where the values' placeholders stand, and which values.
    marks: Vec<(usize, usize)>,
}

/// Finds the files that a request shows, while it is read.
pub(in crate::provider) struct Files<'s> {
    api: Api,
    body: &'s [u8],
    shown: Shown,
    /// Places of values so far.
    marks: usize,
    message: Message<'s>,
    /// The block or the call at hand.
    block: Item<'s>,
    /// The files that calls read, by the calls' ids.
    read: HashMap<String, String>,
    /// How many calls there were.
    calls: usize,
    /// Texts that calls gave, by the calls' ids.
    results: Vec<(String, Masked)>,
}

/// A message, or an item of a list of them.
#[derive(Default)]
struct Message<'s> {
    role: Option<Text<'s>>,
    item: Item<'s>,
}

/// A call, its result, or a text.
#[derive(Default)]
struct Item<'s> {
    kind: Option<Text<'s>>,
    /// The call's id, in the call or in its result.
    id: Option<Text<'s>>,
    name: Option<Text<'s>>,
    arguments: Option<Arguments<'s>>,
    texts: Vec<Masked>,
}

enum Arguments<'s> {
    Text(Text<'s>),
    Value(Span),
}

impl<'s> Files<'s> {
    /// Begins a request; nothing is found in one of an API that has no files.
    pub(in crate::provider) fn new(api: Api, body: &'s [u8]) -> Option<Self> {
        let is_known = matches!(api, Api::Chat | Api::Messages | Api::Responses);
        is_known.then(|| Self {
            api,
            body,
            shown: Shown::default(),
            marks: 0,
            message: Message::default(),
            block: Item::default(),
            read: HashMap::new(),
            calls: 0,
            results: Vec::new(),
        })
    }

    /// Number of calls so far.
    pub(in crate::provider) fn calls(&self) -> usize {
        self.calls
    }

    /// Takes what stands at a path; `marks` are the values in it, if it is a text, of all `values`.
    pub(in crate::provider) fn see(
        &mut self,
        path: &Path<'s>,
        event: Event<'s>,
        marks: &[Mark],
        values: &Values,
    ) {
        let steps = path.steps();
        match event {
            Event::Value(_, Value::Text(text)) => {
                let found = Found {
                    text,
                    marks,
                    values,
                };
                match self.api {
                    Api::Chat => self.chat(&steps, &found),
                    Api::Messages => self.messages(&steps, &found),
                    _ => self.responses(&steps, &found),
                }
            }
            Event::Close(_, span) => match (self.api, &*steps) {
                (
                    Api::Chat,
                    [
                        Step::Key("messages"),
                        Step::Index(_),
                        Step::Key("tool_calls"),
                        Step::Index(_),
                    ],
                )
                | (
                    Api::Messages,
                    [
                        Step::Key("messages"),
                        Step::Index(_),
                        Step::Key("content"),
                        Step::Index(_),
                    ],
                ) => {
                    let item = std::mem::take(&mut self.block);
                    self.close(item);
                }
                (
                    Api::Messages,
                    [
                        Step::Key("messages"),
                        Step::Index(_),
                        Step::Key("content"),
                        Step::Index(_),
                        Step::Key("input"),
                    ],
                ) => self.block.arguments = Some(Arguments::Value(span)),
                (Api::Chat | Api::Messages, [Step::Key("messages"), Step::Index(_)])
                | (Api::Responses, [Step::Key("input"), Step::Index(_)]) => {
                    let message = std::mem::take(&mut self.message);
                    self.close_message(message, values);
                }
                _ => {}
            },
            Event::Key(..) | Event::Open(_) | Event::Value(..) => {}
        }
    }

    fn chat(&mut self, steps: &[Step<'_>], found: &Found<'_, 's>) {
        let text = found.text;
        let [Step::Key("messages"), Step::Index(_), rest @ ..] = steps else {
            return;
        };
        match rest {
            [Step::Key("role")] => self.message.role = Some(text),
            [Step::Key("tool_call_id")] => self.message.item.id = Some(text),
            [Step::Key("content")] | [Step::Key("content"), Step::Index(_), Step::Key("text")] => {
                let masked = self.masked(found);
                self.message.item.texts.extend(masked);
            }
            [Step::Key("tool_calls"), Step::Index(_), rest @ ..] => match rest {
                [Step::Key("id")] => self.block.id = Some(text),
                [Step::Key("function"), Step::Key("name")] => self.block.name = Some(text),
                [Step::Key("function"), Step::Key("arguments")] => {
                    self.block.arguments = Some(Arguments::Text(text));
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn messages(&mut self, steps: &[Step<'_>], found: &Found<'_, 's>) {
        let text = found.text;
        let [Step::Key("messages"), Step::Index(_), rest @ ..] = steps else {
            return;
        };
        match rest {
            [Step::Key("role")] => self.message.role = Some(text),
            [Step::Key("content")] | [Step::Key("content"), Step::Index(_), Step::Key("text")] => {
                let masked = self.masked(found);
                self.message.item.texts.extend(masked);
            }
            [Step::Key("content"), Step::Index(_), rest @ ..] => match rest {
                [Step::Key("type")] => self.block.kind = Some(text),
                [Step::Key("id" | "tool_use_id")] => self.block.id = Some(text),
                [Step::Key("name")] => self.block.name = Some(text),
                [Step::Key("content")]
                | [Step::Key("content"), Step::Index(_), Step::Key("text")] => {
                    let masked = self.masked(found);
                    self.block.texts.extend(masked);
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn responses(&mut self, steps: &[Step<'_>], found: &Found<'_, 's>) {
        let text = found.text;
        let item = &mut self.message.item;
        match steps {
            [Step::Key("input")] => {
                let masked = self.masked(found);
                if let Some(masked) = masked {
                    self.prompt(&masked, found.values);
                }
            }
            [Step::Key("input"), Step::Index(_), rest @ ..] => match rest {
                [Step::Key("role")] => self.message.role = Some(text),
                [Step::Key("type")] => item.kind = Some(text),
                [Step::Key("call_id")] => item.id = Some(text),
                [Step::Key("name")] => item.name = Some(text),
                [Step::Key("arguments")] => item.arguments = Some(Arguments::Text(text)),
                [Step::Key("content" | "output")]
                | [
                    Step::Key("content" | "output"),
                    Step::Index(_),
                    Step::Key("text"),
                ] => {
                    let masked = self.masked(found);
                    self.message.item.texts.extend(masked);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Takes a call or its result.
    fn close(&mut self, item: Item<'s>) {
        let kind = item.kind.map(|kind| kind.decode());
        let is_call = match self.api {
            Api::Chat => true,
            Api::Messages => kind.as_deref() == Some("tool_use"),
            _ => kind.as_deref() == Some("function_call"),
        };
        let Some(id) = item.id.map(|id| id.decode().into_owned()) else {
            return;
        };
        if is_call {
            self.calls += 1;
            let name = item.name.map(|name| name.decode());
            if let (Some(name), Some(arguments)) = (name, item.arguments) {
                let path = match arguments {
                    Arguments::Text(text) => read_path(&name, text.decode().as_bytes()),
                    Arguments::Value(span) => {
                        let value = self.body.get(span.start..span.end);
                        read_path(&name, value.unwrap_or_default())
                    }
                };
                // Of two calls with one id nobody knows which one read.
                let path = path.filter(|_| !self.read.contains_key(&id));
                self.read.insert(id, path.unwrap_or_default());
            }
            return;
        }
        if matches!(
            kind.as_deref(),
            Some("tool_result" | "function_call_output")
        ) {
            let results = item.texts.into_iter().map(|text| (id.clone(), text));
            self.results.extend(results);
        }
    }

    fn close_message(&mut self, message: Message<'s>, values: &Values) {
        let role = message.role.map(|role| role.decode());
        match (self.api, role.as_deref()) {
            (Api::Chat, Some("tool")) => {
                if let Some(id) = message.item.id {
                    let id = id.decode().into_owned();
                    let texts = message.item.texts.into_iter();
                    self.results.extend(texts.map(|text| (id.clone(), text)));
                }
            }
            (_, Some("user")) => {
                for text in &message.item.texts {
                    self.prompt(text, values);
                }
            }
            (Api::Responses, None) => self.close(message.item),
            _ => {}
        }
    }

    /// Takes the files of a prompt.
    fn prompt(&mut self, masked: &Masked, values: &Values) {
        for (at, value) in &masked.marks {
            let before = masked.text.get(..*at).unwrap_or_default();
            if let Some((path, content)) = blocks::block(before)
                && let Some(after) = after(masked, (*at, *value), values)
            {
                for before in blocks::readings(content) {
                    self.shown.add(&path, (&before, after), *value);
                }
            }
        }
    }

    /// What the whole request shows.
    pub(in crate::provider) fn finish(self, values: Values) -> Shown {
        let mut shown = self.shown;
        for (id, masked) in &self.results {
            let Some(path) = self.read.get(id).filter(|path| !path.is_empty()) else {
                continue;
            };
            for (at, value) in &masked.marks {
                let before = masked.text.get(..*at).unwrap_or_default();
                let Some(after) = after(masked, (*at, *value), &values) else {
                    continue;
                };
                for before in blocks::readings(before) {
                    shown.add(path, (&before, after), *value);
                }
            }
        }
        shown.values = values;
        shown
    }

    /// The text, masked, if there are values in it, and room.
    fn masked(&mut self, found: &Found<'_, 's>) -> Option<Masked> {
        let more = found.marks.len();
        if more == 0 || self.marks + more > MAX_MARKS {
            return None;
        }
        self.marks += more;
        let text = found.text.decode();
        let mut masked = String::with_capacity(text.len());
        let mut places = Vec::with_capacity(more);
        let mut copied = 0;
        for mark in found.marks {
            masked.push_str(text.get(copied..mark.start)?);
            places.push((masked.len(), mark.value));
            masked.push_str(found.values.placeholder(mark.value)?);
            copied = mark.end;
        }
        masked.push_str(text.get(copied..)?);
        Some(Masked {
            text: masked,
            marks: places,
        })
    }
}

/// A text, and what was found in it.
struct Found<'f, 's> {
    text: Text<'s>,
    marks: &'f [Mark],
    values: &'f Values,
}

/// What follows a value without a break.
fn after<'m>(masked: &'m Masked, (at, value): (usize, usize), values: &Values) -> Option<&'m str> {
    let placeholder = values.placeholder(value)?;
    run(masked.text.get(at + placeholder.len()..)?)
}

/// The one file that a call reads.
fn read_path(tool: &str, arguments: &[u8]) -> Option<String> {
    if !READERS.contains(&tool) {
        return None;
    }
    let mut paths = Vec::new();
    let mut shows = true;
    let walked = walk::<Unreadable>(arguments, &mut |path, event| {
        if let ([Step::Key(key)], Event::Value(_, value)) = (&*path.steps(), event) {
            let text = match value {
                Value::Text(text) => Some(text.decode().into_owned()),
                Value::Bool(_) | Value::Null | Value::Number(_) => None,
            };
            if *key == "command" {
                // The tools of one name for everything.
                shows = text.as_deref() == Some("view");
            } else if may_be_path(key) {
                paths.push(text.filter(|_| PATHS.contains(key)));
            }
        }
        Ok(())
    });
    walked.ok().filter(|()| shows && paths.len() == 1)?;
    paths.pop()?
}
