//! One request and its response: the only place that knows the order of the steps.
//!
//! Every call returns exactly one [`Step`]; do it before the next call.
//!
//! ```text
//! request    headers  endpoint → identity → policy (role)
//!            body     mask → policy (rules) → approval → credential → upstream
//! response   stream   mask → policy (tool calls) → approval, piece by piece
//!            whole    the same, once
//! end                 record
//! ```
//!
//! `request` and `response` are the two ways, `asking` is where both wait for people.

mod asking;
mod request;
mod response;

use std::{fmt, rc::Rc, time::Duration};

use crate::{
    approval::Asking,
    audit::{Closed, Draft, End},
    config::Issuer,
    delivery::Way,
    endpoint::Endpoint,
    headers::Headers,
    mask::Masker,
    provider::{Api, ResponseMask, Shown},
    reply::{LocalReply, Situation, reply_for},
    time::UnixTime,
    worker::Worker,
};

use request::Look;

pub use response::MAX_HELD_RESPONSE_BYTES;

/// What the host does next with the message it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Hold the message as it is and wait for more of it.
    Buffer,
    /// Change the message as the edits say, then hold it and wait for more of it.
    Hold(Edits),
    /// Hold the message, make this call, and pass the answer to [`Exchange::callout_reply`]. Of a
    /// response nothing is kept: the exchange has taken what the host held.
    Call(Callout),
    /// Let the message go, changed as the edits say.
    Forward(Edits),
    /// Answer the caller; the exchange is over.
    Reply(LocalReply),
}

/// Changes to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Headers to remove, before others are set.
    pub remove: Vec<String>,
    /// Headers to set, in place of all of that name.
    pub set: Vec<(String, String)>,
    /// Bytes in place of what the host holds or was just given.
    pub body: Option<Vec<u8>>,
}

/// An HTTP call that the filter makes. `Debug` leaves out what it carries.
#[derive(Clone, PartialEq, Eq)]
pub struct Callout {
    /// Envoy cluster.
    pub cluster: String,
    /// Method.
    pub method: &'static str,
    /// Host header.
    pub host: String,
    /// Path.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Body; empty means none.
    pub body: Vec<u8>,
    /// Time after which there is no answer.
    pub timeout: Duration,
}

impl Callout {
    /// A call without a body to where an issuer is.
    pub(crate) fn new(
        issuer: &Issuer,
        method: &'static str,
        path: &str,
        timeout: Duration,
    ) -> Self {
        Self {
            cluster: issuer.cluster.clone(),
            method,
            host: issuer.host.clone(),
            path: path.to_owned(),
            headers: vec![("accept".into(), "application/json".into())],
            body: Vec::new(),
            timeout,
        }
    }
}

impl fmt::Debug for Callout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callout")
            .field("cluster", &self.cluster)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Whether the response came from the upstream or was made by Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseSource {
    /// Envoy made it: the upstream could not be asked, or did not answer.
    Envoy,
    /// The upstream sent it.
    Upstream,
}

/// One request and its response.
pub struct Exchange {
    endpoint: Endpoint,
    draft: Draft,
    masker: Option<Masker>,
    /// Place of the caller's role in the configuration.
    role: Option<usize>,
    /// The caller, as the approval desk knows them.
    person: String,
    /// The model that was asked for.
    model: String,
    /// Values of the request that may go back into files; nothing if none may.
    shown: Option<Rc<Shown>>,
    /// Room that was taken at the worker for recorded content, in bytes.
    reserved: usize,
    /// When the caller last heard something of a stream.
    said_at: UnixTime,
    phase: Phase,
}

enum Phase {
    /// Nothing was seen yet.
    Start,
    /// The token's key set is being fetched; headers are kept for the second look.
    KeySet {
        issuer: usize,
        headers: Rc<Headers>,
        end: bool,
    },
    /// The request is held until its body is whole.
    Body { edits: Edits },
    /// The request is held until somebody has decided over it.
    AskingRequest(Box<AskingRequest>),
    /// The request is held until its record is durable.
    Recording {
        seq: i64,
        edits: Edits,
        stream: bool,
    },
    /// The upstream was asked.
    Upstream { stream: bool },
    /// A streamed answer is being masked; `first` leaves before anything else.
    Streaming {
        mask: Box<ResponseMask>,
        first: Vec<u8>,
    },
    /// The rest of a streamed answer is held until somebody has decided over its tool calls.
    AskingStream(Box<AskingStream>),
    /// An answer is held until it is whole.
    Holding {
        source: ResponseSource,
        stream: bool,
    },
    /// A whole answer is held until somebody has decided over its tool calls.
    AskingWhole(Box<AskingWhole>),
    /// What comes of the response is swallowed; `last` leaves in its place.
    Swallowing { last: Vec<u8> },
    /// The gateway answered itself.
    Replied,
}

/// A request that waits.
struct AskingRequest {
    asking: Asking,
    edits: Edits,
    stream: bool,
}

/// A streamed answer that waits.
struct AskingStream {
    asking: Asking,
    mask: Box<ResponseMask>,
    /// The call, if it was not made yet: something had to be let go before.
    call: Option<Callout>,
    /// Leaves before what waits.
    first: Vec<u8>,
    /// The host holds the response, so that it can be let go at any time.
    held: bool,
    /// The upstream has said all.
    ended: bool,
}

/// A whole answer that waits.
struct AskingWhole {
    asking: Asking,
    body: Vec<u8>,
    stream: bool,
}

impl Exchange {
    /// Starts an exchange; `random` are 80 random bits for its decision id.
    pub fn new(random: [u8; 10], now: UnixTime) -> Self {
        Self {
            endpoint: Endpoint::Unknown,
            draft: Draft::new(random, now),
            masker: None,
            role: None,
            person: String::new(),
            model: String::new(),
            shown: None,
            reserved: 0,
            said_at: now,
            phase: Phase::Start,
        }
    }

    /// Takes the answer to the call of the last [`Step::Call`]: its status and body, or `None` if
    /// there was no answer. One that nobody waits for any more changes nothing.
    pub fn callout_reply(
        &mut self,
        worker: &mut Worker,
        answer: Option<(u16, &[u8])>,
        now: UnixTime,
    ) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Start) {
            Phase::KeySet {
                issuer,
                headers,
                end,
            } => {
                let look = match worker.key_set_reply(issuer, answer, now) {
                    Ok(()) => Look::Again,
                    Err(_) => Look::InVain,
                };
                self.identify(worker, headers, end, look, now)
            }
            Phase::AskingRequest(waiting) => self.request_answered(worker, waiting, answer, now),
            Phase::Recording { seq, edits, stream } => {
                if worker.opening_reply(seq, answer) {
                    self.forward(edits, stream)
                } else {
                    self.unavailable("audit", AUDIT_TEXT)
                }
            }
            Phase::AskingStream(waiting) => self.stream_answered(worker, waiting, answer, now),
            Phase::AskingWhole(waiting) => self.whole_answered(worker, waiting, answer, now),
            other => {
                self.phase = other;
                Step::Buffer
            }
        }
    }

    /// Whether the exchange waits for people.
    pub fn waits(&self) -> bool {
        matches!(
            self.phase,
            Phase::AskingRequest(_) | Phase::AskingStream(_) | Phase::AskingWhole(_)
        )
    }

    /// Says that the host could not do the last step; what to answer if the caller has no answer yet.
    pub fn host_failed(&mut self) -> LocalReply {
        self.phase = Phase::Swallowing { last: Vec::new() };
        self.draft.failed("host");
        let text = "The gateway could not pass the message on; try again soon.";
        let id = self.draft.decision_id();
        reply_for(self.endpoint, Situation::Unavailable, text, &id)
    }

    /// Ends the exchange and seals its record; `None` if the host never showed a request.
    pub fn finish(mut self, worker: &mut Worker, end: End, now: UnixTime) -> Option<Closed> {
        let rules = worker.rules(now);
        match self.phase {
            Phase::Start if !self.draft.begun() => return None,
            Phase::Streaming { mask, .. } => self.draft.response_facts(&mask.facts(), rules),
            Phase::AskingRequest(waiting) => self.draft.approval(&waiting.asking.left(now)),
            Phase::AskingWhole(waiting) => {
                self.draft.incomplete();
                self.draft.approval(&waiting.asking.left(now));
            }
            Phase::AskingStream(waiting) => {
                self.draft.response_facts(&waiting.mask.facts(), rules);
                self.draft.incomplete();
                self.draft.approval(&waiting.asking.left(now));
            }
            _ => {}
        }
        worker.release(self.reserved);
        if self.draft.begun() {
            worker.exchange_ended();
        }
        let findings = self.draft.findings();
        let (envelope, content, written) = self.draft.close(end, now);
        let (_, record) = worker.seal(envelope.clone(), content, written, Way::Underway, now);
        Some(Closed {
            record,
            envelope,
            findings,
        })
    }

    fn reserve(&mut self, worker: &mut Worker, bytes: usize) -> bool {
        let fits = worker.reserve(bytes);
        if fits {
            self.reserved += bytes;
        }
        fits
    }

    /// The API whose text the endpoint carries.
    fn api(&self) -> Option<Api> {
        match self.endpoint {
            Endpoint::Chat => Some(Api::Chat),
            Endpoint::Completions => Some(Api::Completions),
            Endpoint::Embeddings => Some(Api::Code),
            Endpoint::Messages => Some(Api::Messages),
            Endpoint::Responses => Some(Api::Responses),
            _ => None,
        }
    }

    fn unavailable(&mut self, reason: &'static str, text: &str) -> Step {
        self.reply(Situation::Unavailable, reason, text)
    }

    fn reply(&mut self, situation: Situation, reason: &'static str, text: &str) -> Step {
        self.phase = Phase::Replied;
        self.draft.decided(situation.decision(), reason);
        let id = self.draft.decision_id();
        Step::Reply(reply_for(self.endpoint, situation, text, &id))
    }
}

const AUDIT_TEXT: &str = "The gateway cannot record this exchange now; try again soon.";

fn forward_body(body: Vec<u8>) -> Step {
    Step::Forward(Edits {
        body: Some(body),
        ..Edits::default()
    })
}
