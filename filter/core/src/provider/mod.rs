//! Where the text sits in each API's messages, and how it is masked in place.
//!
//! One module per API (`chat`, `completions`) says what stands at which path and writes that API's
//! own form; the rest is shared: [`mask_request`] and [`mask_response`] for whole messages,
//! [`ResponseMask`] for event streams, [`models::restrict`] for lists of models.
//!
//! What is decided here:
//!
//! - **Nothing unseen.** A string is text unless its API says otherwise: an unknown field is masked
//!   like a known one, and so are names and ids. What stays (models, what fills up) looks like a name:
//!   visible ASCII, at most [`MAX_NAME_BYTES`]. Blobs stay only where an API has them, if they are
//!   long base64, and are counted as [`Unscanned`]. Numbers are not text.
//! - **Keys** of objects are masked like strings; a mask there is a finding with `(key)` in its
//!   channel. Keys of up to 24 letters are skipped, no secret is that short and plain.
//! - **Channels** are named by path. A key that is not a short plain word is shown as `*`, so that
//!   a name never carries content.
//! - **Keys that decide** (`model`, `stream`, …) in another spelling (`Model`) are refused: some
//!   readers take them for the same.
//! - A string with a finding is written anew, with lone surrogates as U+FFFD; all other bytes stay.

mod chat;
mod completions;
mod content;
mod history;
mod item;
pub mod models;
mod request;
mod response;
mod scan;
mod stream;

use item::Part;

use crate::json::{JsonError, Step};
use crate::mask::Finding;
use crate::sse::SseError;

pub use chat::{chat_stream_text, chat_text};
pub use completions::{completion_empty, completion_stream_empty};
pub use item::{CallPattern, ContentItem, Watch};
pub use request::{MaskedRequest, mask_request};
pub use response::{MaskedResponse, mask_plain, mask_response};
pub use stream::{DueCalls, ResponseMask};

/// Longest string that may pass as a name.
pub const MAX_NAME_BYTES: usize = 256;

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

    /// To which content item something in a request belongs.
    fn request_part(self, steps: &[Step<'_>]) -> Part {
        match self {
            Self::Chat => chat::request_part(steps),
            Self::Completions => completions::request_part(steps),
        }
    }

    /// To which content item something in a whole answer belongs.
    fn answer_part(self, steps: &[Step<'_>]) -> Part {
        match self {
            Self::Chat => chat::answer_part(steps),
            Self::Completions => item::OWN_TEXT,
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
    /// Most bytes of recorded answer texts, as written in JSON with their channels.
    pub max_content: usize,
    /// Most texts that a stream may carry side by side; with more it cannot be read.
    pub max_channels: usize,
    /// Most bytes of a stream that wait for a decision over a tool call.
    pub max_held: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_event_bytes: 1 << 20,
            max_findings: 256,
            max_content: 1 << 20,
            max_channels: 64,
            max_held: 1 << 20,
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
    /// More of an answer would have to wait for a decision than is held.
    #[error("more than may be held")]
    TooMuchHeld,
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
    /// Bytes of text that was looked at.
    pub scanned_bytes: u64,
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
    /// A type, id or name: stays.
    Name,
    /// Whose the message is: stays.
    Role,
    /// Name of the tool that a call calls: stays.
    CallName,
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

#[cfg(test)]
pub(crate) mod tests;
