//! What the upstream says: the answer's content, how its bytes are cut, how it ends.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use data_encoding::BASE64;
use flate2::{Compression, write::GzEncoder};
use futures::{
    future::{Either, select},
    stream,
};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Response, body::Frame, header::HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use super::{ENDLESS, Progress, github};
use crate::server::Answered;

/// What to answer to which request. An [`Answer`] alone is a script too.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The first that fits answers.
    pub rules: Vec<Rule>,
    /// The model endpoints' answer where no rule fits.
    pub otherwise: Answer,
}

/// An answer for some requests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Part of the path; empty fits all.
    pub path: String,
    /// How often the rule serves; without it for ever.
    pub times: Option<u32>,
    /// What it answers.
    pub answer: Answer,
}

/// One answer. In JSON every field may be left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// More header fields, or other values for the usual ones.
    pub headers: BTreeMap<String, String>,
    /// The content.
    pub say: Say,
    /// How the body's bytes are cut into pieces.
    pub cut: Cut,
    /// How it ends.
    pub end: End,
    /// Lines of an event stream end in CR LF.
    pub crlf: bool,
    /// Characters beyond ASCII are written as `\uXXXX`.
    pub escape: bool,
    /// The body is compressed though nobody asked for it.
    pub gzip: bool,
    /// Milliseconds before the headers.
    pub wait_ms: u64,
    /// Milliseconds between pieces; without a pause, pieces may travel together.
    pub pause_ms: u64,
    /// Trailers, behind the body.
    pub trailers: BTreeMap<String, String>,
}

/// The content of an answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// As an agent: the model calls the tool if it is offered, and says the rest when it has the
    /// result (or no such tool).
    Agent(ToolCall, Choice),
    /// An answer of the model.
    Choices(Vec<Choice>),
    /// The last user message, or the prompt, back word by word.
    #[default]
    Echo,
    /// These `data` of an event stream.
    Events(Vec<String>),
    /// These bytes.
    Raw(String),
}

/// One choice of an answer; each string of a list is an event of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choice {
    /// Text.
    pub text: Vec<String>,
    /// Reasoning, before the text.
    pub reasoning: Vec<String>,
    /// Tool calls, after the text.
    pub tools: Vec<ToolCall>,
    /// `finish_reason`, if not the usual one.
    pub finish: Option<String>,
}

/// A tool call with its arguments in fragments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolCall {
    /// Name of the function.
    pub name: String,
    /// Parts of the arguments' JSON.
    pub arguments: Vec<String>,
}

/// How bytes are cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// At these places.
    At(Vec<usize>),
    /// Every so many bytes, in the middle of whatever is there.
    Every(usize),
    /// After each event.
    #[default]
    Events,
    /// Nowhere.
    Whole,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// As it should.
    #[default]
    Clean,
    /// Cut after so many pieces.
    Cut(usize),
    /// Cut before any header.
    NoAnswer,
    /// Never: the pieces come again and again.
    Never,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::new(),
            say: Say::default(),
            cut: Cut::default(),
            end: End::default(),
            crlf: false,
            escape: false,
            gzip: false,
            wait_ms: 0,
            pause_ms: 0,
            trailers: BTreeMap::new(),
        }
    }
}

impl From<Answer> for Script {
    fn from(otherwise: Answer) -> Self {
        Self {
            rules: Vec::new(),
            otherwise,
        }
    }
}

impl From<Vec<Rule>> for Script {
    fn from(rules: Vec<Rule>) -> Self {
        Self {
            rules,
            otherwise: Answer::default(),
        }
    }
}

impl Answer {
    /// The model says `text`, word by word.
    pub fn text(text: &str) -> Self {
        Self::choices([Choice::text(words(text))])
    }

    /// The model says these parts, an event each.
    pub fn parts<T: Into<String>>(parts: impl IntoIterator<Item = T>) -> Self {
        Self::choices([Choice::text(parts)])
    }

    /// The model gives several choices, in turns.
    pub fn choices(choices: impl IntoIterator<Item = Choice>) -> Self {
        Self {
            say: Say::Choices(choices.into_iter().collect()),
            ..Self::default()
        }
    }

    /// The model calls a tool; its arguments come `fragment` characters at a time.
    pub fn tool(name: &str, arguments: &str, fragment: usize) -> Self {
        Self::choices([Choice::call(ToolCall::new(name, arguments, fragment))])
    }

    /// The model calls a tool that it is offered and, once it has the result, says `text`.
    pub fn agent(name: &str, arguments: &str, text: &str) -> Self {
        let call = ToolCall::new(name, arguments, 12);
        Self {
            say: Say::Agent(call, Choice::text(words(text))),
            ..Self::default()
        }
    }

    /// An answer that is not the model's.
    pub fn raw(status: u16, body: &str) -> Self {
        Self {
            status,
            say: Say::Raw(body.to_owned()),
            ..Self::default()
        }
    }

    /// Somewhere else.
    pub fn redirect(location: &str) -> Self {
        Self::raw(307, "").header("location", location)
    }

    /// Adds or replaces a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Cuts the bytes.
    #[must_use]
    pub fn cut(mut self, cut: Cut) -> Self {
        self.cut = cut;
        self
    }

    /// Ends differently.
    #[must_use]
    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Rests between pieces.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Rests before the headers.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The body's pieces and its content type, as they will be sent for this request.
    pub fn pieces(&self, path: &str, asked: &Value) -> (Vec<Bytes>, &'static str) {
        let streamed = asked["stream"] == true;
        let made;
        let choices: &[Choice] = match &self.say {
            Say::Agent(tool, choice) => {
                let calls = github::offers(asked, &tool.name) && !github::brings_results(asked);
                made = [if calls {
                    Choice::call(tool.clone())
                } else {
                    choice.clone()
                }];
                &made
            }
            Say::Choices(choices) => choices,
            Say::Echo => {
                made = [Choice::text(words(&github::last_words(asked)))];
                &made
            }
            Say::Events(_) | Say::Raw(_) => &[],
        };
        let (events, content_type): (Vec<String>, _) = match &self.say {
            Say::Raw(body) => (vec![body.clone()], "application/json"),
            Say::Events(data) => (self.frame(path, data), "text/event-stream"),
            _ if streamed => {
                let data = github::events(path, asked, choices);
                let mut data: Vec<String> = data.iter().map(|event| self.encode(event)).collect();
                if !github::names_events(path) {
                    data.push("[DONE]".to_owned());
                }
                (self.frame(path, &data), "text/event-stream")
            }
            _ => {
                let whole = github::whole(path, asked, choices);
                (vec![self.encode(&whole)], "application/json")
            }
        };
        let events: Vec<Vec<u8>> = events.into_iter().map(String::into_bytes).collect();
        let pieces = if self.gzip {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&events.concat()).expect("memory takes all");
            self.cut
                .apply(vec![gzip.finish().expect("memory takes all")])
        } else {
            self.cut.apply(events)
        };
        (pieces, content_type)
    }

    /// Sends it; `progress` is told how far it got.
    pub(super) async fn send(
        self,
        path: &str,
        asked: &Value,
        progress: Arc<Mutex<Progress>>,
    ) -> Answered {
        tokio::time::sleep(Duration::from_millis(self.wait_ms)).await;
        if self.end == End::NoAnswer {
            *progress.lock().unwrap() = Progress::Finished;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let (pieces, content_type) = self.pieces(path, asked);
        let mut answer = Response::builder().status(self.status);
        let usual = [
            ("content-type", content_type),
            ("x-github-request-id", "FAKE:1"),
            ("content-encoding", "gzip"),
        ];
        for (name, value) in usual {
            if !self.headers.contains_key(name) && (self.gzip || name != "content-encoding") {
                answer = answer.header(name, value);
            }
        }
        for (name, value) in &self.headers {
            answer = answer.header(name, value);
        }
        let (frames, mut body) = mpsc::channel(1);
        tokio::spawn(async move {
            let gone = frames.closed();
            let sent = pin!(self.play(pieces, &frames));
            let end = match select(sent, pin!(gone)).await {
                Either::Left(_) => Progress::Finished,
                Either::Right(_) => Progress::Abandoned,
            };
            *progress.lock().unwrap() = end;
        });
        answer
            .body(
                StreamBody::new(stream::poll_fn(move |context| body.poll_recv(context)))
                    .boxed_unsync(),
            )
            .map_err(io::Error::other)
    }

    /// Sends the pieces at their times, then the end. Who reads no more is noticed outside.
    async fn play(&self, pieces: Vec<Bytes>, frames: &mpsc::Sender<io::Result<Frame<Bytes>>>) {
        let pause = Duration::from_millis(self.pause_ms);
        let send = async |frame| drop(frames.send(frame).await);
        let rounds = if self.end == End::Never {
            usize::MAX
        } else {
            1
        };
        let last = match self.end {
            End::Cut(after) => after,
            _ => usize::MAX,
        };
        let begun = Instant::now();
        for round in 0..rounds {
            for (number, piece) in pieces.iter().take(last).enumerate() {
                if round + number > 0 {
                    tokio::time::sleep(pause).await;
                }
                send(Ok(Frame::data(piece.clone()))).await;
            }
            if begun.elapsed() > ENDLESS {
                break;
            }
        }
        if matches!(self.end, End::Cut(_)) {
            tokio::time::sleep(FLUSH).await;
            send(Err(io::ErrorKind::ConnectionReset.into())).await;
        } else if !self.trailers.is_empty() {
            let trailers = self.trailers.iter().map(|(name, value)| {
                let name: HeaderName = name.parse().expect("a header name");
                (name, value.parse().expect("a header value"))
            });
            send(Ok(Frame::trailers(trailers.collect()))).await;
        }
    }

    /// Writes `data` as events, with their names where the path's streams have them.
    fn frame(&self, path: &str, data: &[String]) -> Vec<String> {
        let end = if self.crlf { "\r\n" } else { "\n" };
        let name = |data: &str| {
            let event: Value = serde_json::from_str(data).unwrap_or_default();
            let name = event["type"]
                .as_str()
                .filter(|_| github::names_events(path));
            name.map_or_else(String::new, |name| format!("event: {name}{end}"))
        };
        data.iter()
            .map(|data| format!("{}data: {data}{end}{end}", name(data)))
            .collect()
    }

    fn encode(&self, value: &Value) -> String {
        let text = value.to_string();
        if !self.escape {
            return text;
        }
        let mut escaped = String::with_capacity(text.len());
        for character in text.chars() {
            if character.is_ascii() {
                escaped.push(character);
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(escaped, "\\u{unit:04x}").expect("memory takes all");
                }
            }
        }
        escaped
    }
}

impl ToolCall {
    /// A call whose arguments come `fragment` characters at a time.
    pub fn new(name: &str, arguments: &str, fragment: usize) -> Self {
        let characters: Vec<char> = arguments.chars().collect();
        Self {
            name: name.to_owned(),
            arguments: characters
                .chunks(fragment.max(1))
                .map(|part| part.iter().collect())
                .collect(),
        }
    }
}

impl Choice {
    /// A choice that is one tool call.
    pub fn call(tool: ToolCall) -> Self {
        Self {
            tools: vec![tool],
            ..Self::default()
        }
    }

    /// A choice of text in parts, an event each.
    pub fn text<T: Into<String>>(parts: impl IntoIterator<Item = T>) -> Self {
        Self {
            text: parts.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

impl Cut {
    fn apply(&self, events: Vec<Vec<u8>>) -> Vec<Bytes> {
        let pieces: Vec<Vec<u8>> = match self {
            Self::Events => events,
            Self::Whole => vec![events.concat()],
            Self::Every(size) => events
                .concat()
                .chunks((*size).max(1))
                .map(<[u8]>::to_vec)
                .collect(),
            Self::At(places) => {
                let whole = events.concat();
                let mut borders = places.clone();
                borders.extend([0, whole.len()]);
                borders.retain(|place| *place <= whole.len());
                borders.sort_unstable();
                borders
                    .windows(2)
                    .map(|border| whole[border[0]..border[1]].to_vec())
                    .collect()
            }
        };
        pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .map(Bytes::from)
            .collect()
    }
}

/// What stands as the model's signature below `thinking`; another text has another one.
pub fn signature(thinking: &str) -> String {
    let mut bytes = Vec::new();
    for part in 0..12_u8 {
        let mut hasher = DefaultHasher::new();
        (part, thinking).hash(&mut hasher);
        bytes.extend(hasher.finish().to_be_bytes());
    }
    BASE64.encode(&bytes)
}

/// The text cut behind its spaces, as models tend to send it.
pub fn words(text: &str) -> Vec<String> {
    text.split_inclusive(char::is_whitespace)
        .map(str::to_owned)
        .collect()
}

/// What was sent has left within this time, so that a cut does not take it back.
const FLUSH: Duration = Duration::from_millis(30);
