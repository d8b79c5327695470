//! Where the text sits in each API's messages, and how it is masked in place.
//!
//! One module per API (`chat`, `code`, `completions`, `messages`, `responses`) says what stands at which path and writes that API's
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

mod annotations;
mod chat;
mod code;
mod completions;
mod content;
mod history;
mod item;
mod messages;
pub mod models;
mod record;
mod request;
mod response;
mod responses;
mod restore;
mod scan;
mod stream;

use std::collections::BTreeMap;

use crate::json::{JsonError, Step};
use crate::mask::{Finding, Masker};
use crate::sse::SseError;

pub use annotations::Annotation;
pub use chat::{chat_stream_text, chat_text};
pub use completions::{completion_empty, completion_stream_empty};
pub use item::{CallPattern, ContentItem, Watch};
pub use messages::{message_stream_text, message_text};
pub use request::{MaskedRequest, mask_request};
pub use response::{MaskedResponse, mask_plain, mask_response};
pub use responses::{response_stream_text, response_text};
pub use restore::{Shown, Written};
pub use stream::{AnswerRule, Detectors, DueCalls, ResponseMask};

use item::Part;
use restore::Restore;
use scan::is_name;
use stream::{Ends, Spot};

/// Longest string that may pass as a name.
pub const MAX_NAME_BYTES: usize = 256;

/// Most tool calls of an answer whose names are kept.
pub const MAX_TOOL_CALLS: usize = 64;

/// An API whose messages can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `POST /chat/completions`
    Chat,
    /// `POST /embeddings`; also chunks, search and match of code.
    Code,
    /// `POST /v1/engines/{engine}/completions`: ghost text and its panel.
    Completions,
    /// `POST /external/code/ingest*`: files in base64.
    Ingest,
    /// `POST /mcp*`: JSON-RPC.
    Mcp,
    /// `POST /v1/messages`, Anthropic's.
    Messages,
    /// `POST /responses`
    Responses,
}

impl Api {
    fn request_place(self, steps: &[Step<'_>]) -> Place {
        match self {
            Self::Chat => chat::request_place(steps),
            Self::Code => code::code_place(steps),
            Self::Completions => completions::request_place(steps),
            Self::Ingest => code::ingest_place(steps),
            Self::Mcp => code::mcp_place(steps),
            Self::Messages => messages::request_place(steps),
            Self::Responses => responses::request_place(steps),
        }
    }

    /// To which content item something in a request belongs.
    fn request_part(self, steps: &[Step<'_>]) -> Part {
        match self {
            Self::Chat => chat::request_part(steps),
            Self::Code | Self::Ingest => code::code_part(steps),
            Self::Completions => completions::request_part(steps),
            Self::Mcp => code::mcp_part(steps),
            Self::Messages => messages::request_part(steps),
            Self::Responses => responses::request_part(steps),
        }
    }

    /// To which content item something in a whole answer belongs.
    fn answer_part(self, steps: &[Step<'_>]) -> Part {
        match self {
            Self::Chat => chat::answer_part(steps),
            Self::Code | Self::Completions | Self::Ingest | Self::Mcp => item::OWN_TEXT,
            Self::Messages => messages::answer_part(steps),
            Self::Responses => responses::answer_part(steps),
        }
    }

    /// Root keys of a request of which no other spelling is taken.
    fn deciding_keys(self) -> &'static [&'static str] {
        match self {
            Self::Chat => chat::DECIDING_KEYS,
            Self::Code | Self::Ingest | Self::Mcp => code::DECIDING_KEYS,
            Self::Completions => completions::DECIDING_KEYS,
            Self::Messages => messages::DECIDING_KEYS,
            Self::Responses => responses::DECIDING_KEYS,
        }
    }

    fn answer_place(self, steps: &[Step<'_>]) -> Place {
        match self {
            Self::Chat => chat::answer_place(steps),
            Self::Code => code::code_place(steps),
            Self::Completions => completions::event_place(steps),
            Self::Ingest => Place::Text,
            Self::Mcp => code::mcp_place(steps),
            Self::Messages => messages::answer_place(steps),
            Self::Responses => responses::answer_place(steps),
        }
    }

    fn event_place(self, steps: &[Step<'_>]) -> Place {
        match self {
            Self::Chat => chat::event_place(steps),
            Self::Code => code::code_place(steps),
            Self::Completions => completions::event_place(steps),
            Self::Ingest => Place::Text,
            Self::Mcp => code::mcp_place(steps),
            Self::Messages => messages::event_place(steps),
            Self::Responses => responses::event_place(steps),
        }
    }

    /// Whether its events have a type; otherwise they have choices.
    fn has_types(self) -> bool {
        matches!(self, Self::Messages | Self::Responses)
    }

    /// Whether an event with this root key is one that the API is known to send.
    fn knows_event(self, key: &str) -> bool {
        match self {
            Self::Chat => chat::EVENT_KEYS.contains(&key),
            Self::Completions => completions::EVENT_KEYS.contains(&key),
            Self::Code | Self::Ingest => false,
            Self::Mcp => key == "jsonrpc",
            Self::Messages | Self::Responses => key == "type",
        }
    }

    /// Whether the API is known to send events of this type.
    fn knows_type(self, kind: &str) -> bool {
        match self {
            Self::Messages => messages::knows(kind),
            _ => responses::knows(kind),
        }
    }

    /// The text of a channel that stands at this path of an event with a type.
    fn spot(self, steps: &[Step<'_>]) -> Option<Spot> {
        match self {
            Self::Messages => messages::spot(steps),
            _ => responses::spot(steps),
        }
    }

    /// What an event of this type ends.
    fn ends(self, kind: &str) -> Ends {
        match self {
            Self::Messages => messages::ends(kind),
            _ => responses::ends(kind),
        }
    }

    /// Whether an event of this type may begin a text that goes on in later ones.
    fn begins(self, kind: &str) -> bool {
        match self {
            Self::Messages => messages::begins(kind),
            _ => responses::begins(kind),
        }
    }
}

/// An answer of ours in an API's own form: a text and a normal end. Ghost text gets the end alone,
/// and so does what knows no text.
pub fn text_answer(api: Api, model: &str, text: &str, stream: bool) -> Vec<u8> {
    match (api, stream) {
        (Api::Chat, false) => chat_text(model, text),
        (Api::Chat, true) => chat_stream_text(model, text),
        (Api::Code | Api::Ingest | Api::Mcp, _) => b"{}".to_vec(),
        (Api::Completions, false) => completion_empty(),
        (Api::Completions, true) => completion_stream_empty(),
        (Api::Messages, false) => message_text(model, text),
        (Api::Messages, true) => message_stream_text(model, text),
        (Api::Responses, false) => response_text(model, text),
        (Api::Responses, true) => response_stream_text(model, text),
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
    /// It goes on from something that only the upstream has, such as an earlier answer.
    #[error("it refers to something that only the upstream has")]
    Elsewhere,
    /// A rule refuses what was found in a text that may not be changed.
    #[error("a finding in signed text")]
    Signed,
    /// A rule refuses what was found.
    #[error("a finding that a rule refuses")]
    Refused,
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
    /// Whether the text stays as it is all the same, since it is signed.
    pub passed: bool,
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
    /// Something that the upstream fetches.
    Reference,
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
            Self::Reference => "reference",
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
    /// All findings by detector, but for values that somebody vouches for.
    pub by_detector: BTreeMap<&'static str, u64>,
    /// Findings in signed texts, which stay as they are, by detector.
    pub passed: BTreeMap<&'static str, u64>,
    /// Whether a text was changed.
    pub has_masked: bool,
    /// The masked texts: a JSON list of `{"channel", "text"}`, cut at [`Limits::max_content`].
    pub content: String,
    /// Whether text is missing from `content`.
    pub content_truncated: bool,
    /// What was not looked at.
    pub unscanned: Vec<Unscanned>,
    /// Placeholders in files that it writes, the first ones.
    pub written: Vec<Written>,
    /// How many values went back into files.
    pub restored: u64,
    /// How many placeholders stay in files.
    pub left: u64,
    /// Bytes of text that was looked at.
    pub scanned_bytes: u64,
    /// The model that answered, by its own word.
    pub model: Option<String>,
    /// Why it ended, by its own word.
    pub finish: Option<String>,
    /// What it cost, in tokens.
    pub usage: Usage,
    /// Names of the tools that it calls, at most [`MAX_TOOL_CALLS`].
    pub tool_calls: Vec<String>,
    /// What the upstream noted on it.
    pub annotations: Vec<Annotation>,
    /// Whether the answer came to its end: a finish reason or `[DONE]` was seen.
    pub done: bool,
    /// Events with data; 0 for an answer in one piece.
    pub events: u64,
    /// Events of a form that the API is not known to send; masked like any other.
    pub unknown_events: u64,
}

/// Tokens, by the upstream's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the request.
    pub input: Option<u64>,
    /// Of the answer.
    pub output: Option<u64>,
    /// Of the request, from a cache.
    pub cached: Option<u64>,
}

impl ResponseFacts {
    /// Notes a text that says something about the answer.
    fn note(&mut self, masker: &Masker, place: Place, text: &str) {
        let kept = || {
            let named = !text.is_empty() && is_name(text);
            let named = named && masker.mask(text, &mut Vec::new()).is_none();
            named.then(|| text.to_owned())
        };
        match place {
            Place::Model if self.model.is_none() => self.model = kept(),
            Place::Finish if matches!(text, "in_progress" | "queued") => {}
            Place::Finish => self.finish = kept().or_else(|| self.finish.take()),
            _ => {}
        }
    }

    /// Notes a number that says something about the answer.
    fn count(&mut self, place: Place, digits: &str) {
        let Place::Count(count) = place else { return };
        let kept = match count {
            Count::Cached => &mut self.usage.cached,
            Count::Input => &mut self.usage.input,
            Count::Output => &mut self.usage.output,
        };
        *kept = digits.parse().ok().or(*kept);
    }

    /// Notes what became of placeholders in files.
    fn restore(&mut self, restore: &Restore) {
        self.written.clone_from(&restore.written);
        (self.restored, self.left) = (restore.restored, restore.left);
    }

    /// Notes the name of a tool that is called.
    fn call(&mut self, masker: &Masker, name: &str) {
        if self.tool_calls.len() < MAX_TOOL_CALLS {
            let plain = is_name(name) && masker.mask(name, &mut Vec::new()).is_none();
            self.tool_calls
                .push(if plain { name } else { "*" }.to_owned());
        }
    }
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
    /// Base64 of text: masked, and encoded again; of anything else: stays, counted.
    Encoded,
    /// Long base64: stays, counted.
    Blob(UnscannedReason),
    /// Text, or numbers that stand for text.
    Prompt,
    /// Nothing: it would refer to what only the upstream has.
    Elsewhere,
    /// An item, which must not be a mere reference.
    Item,
    /// What an item is.
    ItemKind,
    /// Names what the upstream fetches: counted.
    Reference,
    /// Text that stays as it is if its signature stands beside it.
    Signed,
    /// A signature: stays, counted.
    Signature,
    /// A number of tokens.
    Count(Count),
    /// Number of a choice; without it its position counts.
    ChoiceIndex,
    /// Number of a tool call; without it its position counts.
    ToolIndex,
    /// Why a choice ended; ends its texts.
    Finish,
    /// Repeats text in another form: set to null, with all in it.
    Dropped,
}

/// What is counted in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// The request, as far as it came from a cache.
    Cached,
    /// The request.
    Input,
    /// The answer.
    Output,
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
    /// A text of an API whose events have types.
    Typed,
}

#[cfg(test)]
pub(crate) mod tests;
