//! Where the text sits in each API's messages, and how it is masked in place.
//!
//! One module per API (`chat`, `completions`) says what stands at which path and writes that API's
//! own form; the rest is shared: [`mask_request`] and [`mask_response`] for whole messages,
//! [`ResponseMask`] for event streams, [`models::restrict`] for lists of models.
//!
//! What is decided here:
//!
//! - **Nothing unseen.** A string is text unless its API says otherwise: an unknown field is masked
//!   like a known one. What stays (roles, types, ids, names) stays only if it looks like a name:
//!   visible ASCII, at most [`MAX_NAME_BYTES`]. Blobs stay only where an API has them, if they are
//!   long base64, and are counted as [`Unscanned`]. Numbers are not text.
//! - **Keys** of objects are masked like strings; a mask there is a finding with `(key)` in its
//!   channel. Keys of up to 16 letters are skipped, no secret is that short and plain.
//! - **Channels** are named by path. A key that is not a short plain word is shown as `*`, so that
//!   a name never carries content.
//! - **Keys that decide** (`model`, `stream`, …) in another spelling (`Model`) are refused: some
//!   readers take them for the same.
//! - A string with a finding is written anew, with lone surrogates as U+FFFD; all other bytes stay.

mod chat;
mod completions;
pub mod models;
mod request;
mod response;
mod stream;

use crate::json::{Edits, JsonError, Path, Span, Step, Text};
use crate::mask::{Finding, Masker};
use crate::sse::SseError;

pub use chat::{chat_stream_text, chat_text};
pub use completions::{completion_empty, completion_stream_empty};
pub use request::{MaskedRequest, mask_request};
pub use response::{MaskedResponse, mask_plain, mask_response};
pub use stream::ResponseMask;

/// Longest string that may pass as a name.
pub const MAX_NAME_BYTES: usize = 256;

/// Shortest base64 that counts as a blob; a shorter one is masked as text.
const MIN_BLOB_BYTES: usize = 128;

/// Longest shown name of a channel.
const MAX_CHANNEL_BYTES: usize = 120;

/// An API whose messages can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `POST /chat/completions`
    Chat,
    /// `POST /v1/engines/{engine}/completions`: ghost text and its panel.
    Completions,
}

impl Api {
    fn request_place(self, steps: &[Step<'_>]) -> Place {
        match self {
            Self::Chat => chat::request_place(steps),
            Self::Completions => completions::request_place(steps),
        }
    }

    /// Root keys of a request of which no other spelling is taken.
    fn deciding_keys(self) -> &'static [&'static str] {
        match self {
            Self::Chat => chat::DECIDING_KEYS,
            Self::Completions => completions::DECIDING_KEYS,
        }
    }

    fn answer_place(self, steps: &[Step<'_>]) -> Place {
        match self {
            Self::Chat => chat::answer_place(steps),
            Self::Completions => completions::event_place(steps),
        }
    }

    fn event_place(self, steps: &[Step<'_>]) -> Place {
        match self {
            Self::Chat => chat::event_place(steps),
            Self::Completions => completions::event_place(steps),
        }
    }

    /// Whether an event with this root key is one that the API is known to send.
    fn knows_event(self, key: &str) -> bool {
        match self {
            Self::Chat => chat::EVENT_KEYS.contains(&key),
            Self::Completions => completions::EVENT_KEYS.contains(&key),
        }
    }
}

/// Bounds of what is kept for one message or stream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest event of a stream, in bytes; a longer one cannot be read.
    pub max_event_bytes: usize,
    /// Findings that are kept; all are counted.
    pub max_findings: usize,
    /// Most bytes of recorded answer text, as written in JSON.
    pub max_content: usize,
    /// Most texts that a stream may carry side by side; with more it cannot be read.
    pub max_channels: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_event_bytes: 1 << 20,
            max_findings: 256,
            max_content: 1 << 20,
            max_channels: 64,
        }
    }
}

/// Why a message cannot be read, so that what is in it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not JSON, or JSON that readers may take differently.
    #[error("cannot read JSON: {0}")]
    Json(#[from] JsonError),
    /// The event stream breaks its limits.
    #[error("cannot read the event stream: {0}")]
    Stream(#[from] SseError),
    /// The value is not an object.
    #[error("the message is not an object")]
    NotAnObject,
    /// A value on which decisions depend has another type than it must have.
    #[error("a value that decides has the wrong type")]
    WrongType,
    /// A key on which decisions depend is there in another spelling.
    #[error("a key that decides is spelt differently")]
    OtherSpelling,
    /// Text is not UTF-8.
    #[error("text that is not UTF-8")]
    NotText,
    /// A stream carries more texts side by side than are kept apart.
    #[error("too many texts in one stream")]
    TooManyChannels,
}

/// A finding and the text it was in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What was found.
    pub finding: Finding,
    /// The text's place, `messages[2].content`; at most 120 bytes, no content.
    pub channel: String,
}

/// What of a message was passed on without a look, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unscanned {
    /// What it is.
    pub reason: UnscannedReason,
    /// How many of them.
    pub count: u64,
    /// Their bytes, together.
    pub bytes: u64,
}

/// Why something was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnscannedReason {
    /// Sound, encoded.
    Audio,
    /// A file, encoded.
    File,
    /// An image, encoded.
    Image,
    /// What only the upstream can read.
    Opaque,
    /// A prompt given as token numbers.
    Tokens,
}

impl UnscannedReason {
    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::File => "file",
            Self::Image => "image",
            Self::Opaque => "opaque",
            Self::Tokens => "tokens",
        }
    }
}

/// What was learnt from an answer.
#[derive(Clone, Debug, Default)]
pub struct ResponseFacts {
    /// The first findings, at most [`Limits::max_findings`].
    pub findings: Vec<Placed>,
    /// All findings.
    pub findings_count: u64,
    /// The masked texts: a JSON list of `{"channel", "text"}`, cut at [`Limits::max_content`].
    pub content: String,
    /// Whether text is missing from `content`.
    pub content_truncated: bool,
    /// What was not looked at.
    pub unscanned: Vec<Unscanned>,
    /// The model that answered, by its own word.
    pub model: Option<String>,
    /// Whether the answer came to its end: a finish reason or `[DONE]` was seen.
    pub done: bool,
    /// Events with data; 0 for an answer in one piece.
    pub events: u64,
    /// Events of a form that the API is not known to send; masked like any other.
    pub unknown_events: u64,
}

/// What stands at a path, by the word of an API's module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Text on its own; the default.
    Text,
    /// A piece of a text that goes on in the next event.
    Piece(Shape),
    /// A role, type, id or name: stays.
    Name,
    /// Filling without meaning: stays, and an event with nothing else may go.
    Padding,
    /// A value at the root that is repeated in each event: stays.
    Envelope,
    /// The model's name.
    Model,
    /// Whether the answer shall be a stream.
    Stream,
    /// Name of a tool that the model may call.
    ToolName,
    /// An array, or nothing.
    List,
    /// Long base64: stays, counted.
    Blob(UnscannedReason),
    /// Text, or numbers that stand for text.
    Prompt,
    /// Number of a choice; without it its position counts.
    ChoiceIndex,
    /// Number of a tool call; without it its position counts.
    ToolIndex,
    /// Why a choice ended; ends its texts.
    Finish,
    /// Repeats text in another form: set to null, with all in it.
    Dropped,
}

/// The form of an event that carries a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A string in a chat's `delta`.
    Delta,
    /// Arguments of a chat's `function_call`.
    FunctionCall,
    /// Arguments in a chat's `tool_calls`.
    ToolCall,
    /// A completion's `text`.
    Text,
}

/// Masks texts on their own and counts.
#[derive(Default)]
struct Scan {
    findings: Vec<Placed>,
    findings_count: u64,
    unscanned: Vec<Unscanned>,
    max_findings: usize,
    fresh: Vec<Finding>,
}

impl Scan {
    fn new(limits: &Limits) -> Self {
        Self {
            max_findings: limits.max_findings,
            ..Self::default()
        }
    }

    /// Masks a text as a whole; `None` if it stays.
    fn mask(
        &mut self,
        masker: &Masker,
        text: &str,
        channel: impl FnOnce() -> String,
    ) -> Option<String> {
        let masked = masker.mask(text, &mut self.fresh);
        self.place(channel);
        masked
    }

    /// Masks a string value by its place.
    fn value(
        &mut self,
        masker: &Masker,
        place: Place,
        path: &Path<'_>,
        (span, text): (Span, Text<'_>),
        edits: &mut Edits,
    ) {
        let text = text.decode();
        let stays = match place {
            Place::Name
            | Place::Padding
            | Place::Envelope
            | Place::Model
            | Place::ToolName
            | Place::Finish => is_name(&text),
            Place::Blob(reason) if is_blob(&text) => {
                self.skip(reason, span.length());
                true
            }
            Place::Text
            | Place::Prompt
            | Place::Piece(_)
            | Place::Stream
            | Place::List
            | Place::Blob(_)
            | Place::ChoiceIndex
            | Place::ToolIndex
            | Place::Dropped => false,
        };
        if !stays && let Some(masked) = self.mask(masker, &text, || channel_name(path)) {
            edits.replace_text(span, &masked);
        }
    }

    /// Masks a key; `path` is that of its object.
    fn key(
        &mut self,
        masker: &Masker,
        path: &Path<'_>,
        (span, key): (Span, Text<'_>),
        edits: &mut Edits,
    ) {
        let key = key.decode();
        let plain = key.len() <= 16
            && key
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !plain && let Some(masked) = self.mask(masker, &key, || channel_name(path) + "(key)") {
            edits.replace_text(span, &masked);
        }
    }

    /// Files the fresh findings under their channel.
    fn place(&mut self, channel: impl FnOnce() -> String) {
        if self.fresh.is_empty() {
            return;
        }
        let channel = channel();
        for finding in self.fresh.drain(..) {
            self.findings_count += 1;
            if self.findings.len() < self.max_findings {
                self.findings.push(Placed {
                    finding,
                    channel: channel.clone(),
                });
            }
        }
    }

    /// Counts something that is passed on without a look.
    fn skip(&mut self, reason: UnscannedReason, bytes: usize) {
        let bytes = bytes as u64;
        match self
            .unscanned
            .iter_mut()
            .find(|unscanned| unscanned.reason == reason)
        {
            Some(unscanned) => {
                unscanned.count += 1;
                unscanned.bytes += bytes;
            }
            None => self.unscanned.push(Unscanned {
                reason,
                count: 1,
                bytes,
            }),
        }
    }
}

/// Answer texts for the record: JSON list of `{"channel", "text"}` within a bound.
struct Content {
    texts: Vec<(String, Vec<u8>)>,
    room: usize,
    truncated: bool,
}

impl Content {
    fn new(limits: &Limits) -> Self {
        Self {
            texts: Vec::new(),
            room: limits.max_content,
            truncated: false,
        }
    }

    /// Opens a channel; texts are added under the number it gives.
    fn open(&mut self, channel: String) -> usize {
        self.texts.push((channel, Vec::new()));
        self.texts.len() - 1
    }

    /// Adds text to a channel, as much as there is room for.
    fn add(&mut self, channel: usize, text: &str) {
        if text.is_empty() || self.truncated {
            self.truncated |= !text.is_empty();
            return;
        }
        let Some((_, written)) = self.texts.get_mut(channel) else {
            return;
        };
        let before = written.len();
        crate::json::push_escaped(written, text);
        let added = written.len() - before;
        if added <= self.room {
            self.room -= added;
            return;
        }
        written.truncate(before);
        self.truncated = true;
        for character in text.chars() {
            let before = written.len();
            crate::json::push_escaped(written, character.encode_utf8(&mut [0; 4]));
            let added = written.len() - before;
            if added > self.room {
                written.truncate(before);
                self.room = 0;
                return;
            }
            self.room -= added;
        }
    }

    fn to_json(&self) -> String {
        let mut out = b"[".to_vec();
        for (channel, text) in self.texts.iter().filter(|(_, text)| !text.is_empty()) {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"channel\":");
            crate::json::push_string(&mut out, channel);
            out.extend_from_slice(b",\"text\":\"");
            out.extend_from_slice(text);
            out.extend_from_slice(b"\"}");
        }
        out.push(b']');
        String::from_utf8(out).unwrap_or_default()
    }
}

/// A path as shown in records: plain keys and indexes, other keys as `*`.
fn channel_name(path: &Path<'_>) -> String {
    let mut name = String::new();
    for step in path.iter() {
        let before = name.len();
        match step {
            Step::Key(key) => {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(shown_key(key));
            }
            Step::Index(index) => {
                name.push('[');
                name.push_str(&index.to_string());
                name.push(']');
            }
        }
        if name.len() > MAX_CHANNEL_BYTES - "…(key)".len() {
            name.truncate(before);
            name.push('…');
            break;
        }
    }
    name
}

/// The key if it is a short plain word, else `*`.
fn shown_key(key: &str) -> &str {
    let plain = key
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if plain && key.len() <= 24 { key } else { "*" }
}

/// Visible ASCII of at most [`MAX_NAME_BYTES`].
fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Long base64, or a data URL of it.
fn is_blob(text: &str) -> bool {
    const MAX_TYPE_BYTES: usize = 64;
    let payload = match text.strip_prefix("data:") {
        Some(url) => match url.split_once(";base64,") {
            Some((kind, payload)) if kind.len() <= MAX_TYPE_BYTES && is_name(kind) => payload,
            _ => return false,
        },
        None => text,
    };
    payload.len() >= MIN_BLOB_BYTES
        && payload.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=' | b'.')
        })
}

/// Whether a text would be taken for JSON, well-formed or not.
fn looks_like_json(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'[' | b'"'))
}

#[cfg(test)]
mod tests;
