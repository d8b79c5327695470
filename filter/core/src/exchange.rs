//! One request and its response: the only place that knows the order of the steps.
//!
//! Every call returns exactly one [`Step`]; do it before the next call.

use std::rc::Rc;

use crate::{
    answers,
    audit::{Closed, Draft, End},
    config::Action,
    credential,
    endpoint::Endpoint,
    headers::Headers,
    identity::{self, Fetch, Identity, IdentityError},
    mask::Masker,
    policy,
    provider::{self, Api, PassedRule, ResponseMask, Unreadable},
    reply::{LocalReply, Situation, reply_for, signed},
    time::UnixTime,
    worker::Worker,
};

/// Largest response that is held to be masked whole, in bytes; a stream has no such bound.
pub const MAX_HELD_RESPONSE_BYTES: usize = 16 << 20;

/// Headers of an answer that do not reach the caller.
const DROPPED: [&str; 5] = ["content-length", "location", "link", "set-cookie", "etag"];

/// Largest part of a request that is held while its caller is not proven yet, in bytes.
const MAX_UNPROVEN_BYTES: usize = 1 << 20;

/// Said in place of an answer with a secret in text that must not be changed.
const SIGNED_TEXT: &str = "The model's signed thinking holds a secret, and a rule refuses that.";

/// What the host does next with the message it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Hold the message and wait for more of it.
    Buffer,
    /// Change the headers as the edits say, then hold the message until it is whole.
    Hold(Edits),
    /// Hold the message, make this call, and pass the answer to [`Exchange::callout_reply`].
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

/// An HTTP call that the filter makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// Envoy cluster.
    pub cluster: String,
    /// Host header.
    pub host: String,
    /// Path.
    pub path: String,
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
    /// Room that was taken at the worker for recorded content, in bytes.
    reserved: usize,
    phase: Phase,
}

/// Which look at a token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// The second, after the key set was fetched.
    Again,
    /// The first.
    First,
    /// The second, though the key set could not be fetched.
    InVain,
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
    /// The upstream was asked.
    Upstream { stream: bool },
    /// A streamed answer is being masked.
    Streaming(Box<ResponseMask>),
    /// An answer is held until it is whole.
    Holding { source: ResponseSource },
    /// The rest of the stream is swallowed.
    Swallowing,
    /// The gateway answered itself.
    Replied,
}

impl Exchange {
    /// Starts an exchange; `random` are 80 random bits for its decision id.
    pub fn new(random: [u8; 10], now: UnixTime) -> Self {
        Self {
            endpoint: Endpoint::Unknown,
            draft: Draft::new(random, now),
            masker: None,
            role: None,
            reserved: 0,
            phase: Phase::Start,
        }
    }

    /// Takes the request's headers; `end` says that no body follows.
    pub fn request_headers(
        &mut self,
        worker: &mut Worker,
        headers: Headers,
        client_address: &str,
        end: bool,
        now: UnixTime,
    ) -> Step {
        let method = headers.one(":method").unwrap_or_default();
        let path = headers.path();
        self.endpoint = Endpoint::of(method, path);
        let anonymous = worker.masker("");
        self.draft
            .request(self.endpoint, &headers, path, client_address, &anonymous);
        if headers.count("upgrade") > 0 {
            let text = "Connections cannot be upgraded here; use plain HTTP.";
            return self.reply(Situation::Denied, "upgrade", text);
        }
        if self.endpoint == Endpoint::Telemetry {
            return self.drop_telemetry(headers.one(":method"), &headers);
        }
        self.identify(worker, Rc::new(headers), end, Look::First, now)
    }

    /// Takes the answer to the call of the last [`Step::Call`]: its status and body, or `None` if
    /// there was no answer.
    pub fn callout_reply(
        &mut self,
        worker: &mut Worker,
        answer: Option<(u16, &[u8])>,
        now: UnixTime,
    ) -> Step {
        let Phase::KeySet {
            issuer,
            headers,
            end,
        } = std::mem::replace(&mut self.phase, Phase::Start)
        else {
            return Step::Buffer;
        };
        let look = match worker.key_set_reply(issuer, answer, now) {
            Ok(()) => Look::Again,
            Err(_) => Look::InVain,
        };
        self.identify(worker, headers, end, look, now)
    }

    /// Says how much of the request's body the host holds so far.
    pub fn request_size(&mut self, worker: &Worker, bytes: usize) -> Step {
        self.draft.request_bytes(bytes);
        if matches!(self.phase, Phase::KeySet { .. }) && bytes > MAX_UNPROVEN_BYTES {
            let text = "The keys of the identity provider are not there yet; try again soon.";
            return self.unavailable("key_set", text);
        }
        if bytes > worker.config.max_request_bytes {
            self.draft.unscanned("request", "too_large", bytes);
            let text = "The request is larger than the gateway may read.";
            return self.reply(Situation::Unreadable, "too_large", text);
        }
        Step::Buffer
    }

    /// Takes the request's body, whole.
    pub fn request_body(&mut self, worker: &mut Worker, body: &[u8]) -> Step {
        let Phase::Body { edits } = std::mem::replace(&mut self.phase, Phase::Start) else {
            return Step::Buffer;
        };
        let too_large = self.request_size(worker, body.len());
        if too_large != Step::Buffer {
            return too_large;
        }
        let (Some(api), Some(masker)) = (self.api(), self.masker.clone()) else {
            return self.unavailable("state", "The gateway lost track of the request.");
        };
        let limits = worker.provider_limits();
        let masked = match provider::mask_request(api, &masker, body, &limits, &worker.config.watch)
        {
            Ok(masked) => masked,
            Err(Unreadable::Elsewhere) => {
                self.draft.unscanned("request", "elsewhere", body.len());
                let text = "The request goes on from something that only GitHub keeps, such as \
                            previous_response_id, so it cannot be checked; send all of it.";
                return self.reply(Situation::Unreadable, "elsewhere", text);
            }
            Err(_) => {
                self.draft.unscanned("request", "unreadable", body.len());
                let text = "The request is not what this endpoint takes, so it cannot be checked.";
                return self.reply(Situation::Unreadable, "malformed", text);
            }
        };
        // Ghost text names its engine in the path, and may name a model in the body as well.
        let engine = (self.endpoint == Endpoint::Completions).then(|| self.draft.model_name());
        let models = masked.model.iter().chain(&engine);
        for model in models.clone() {
            if masker.mask(model, &mut Vec::new()).is_some() {
                let text = "The name of the model is none.";
                return self.reply(Situation::Unreadable, "model", text);
            }
        }
        if let Some(model) = &masked.model {
            self.draft.model(model);
        }
        if models.clone().next().is_none() || !models.clone().all(|it| self.allows(worker, it)) {
            let text = "Your role may not use this model.";
            return self.reply(Situation::Denied, "model", text);
        }
        let verdict = policy::decide(&worker.config.rules, &masked.by_detector, &masked.items);
        self.draft.request_findings(&masked, &verdict);
        let content = masked.body.as_deref().unwrap_or(body);
        let room = content.len().min(limits.max_content);
        if self.reserve(worker, room) {
            self.draft.request_content(content, limits.max_content);
        } else {
            self.draft.content_missing();
        }
        if verdict.action >= Action::AskApproval {
            let rule = verdict.rule.unwrap_or_default();
            let text = format!(
                "The request holds {} secret(s), and rule {rule} refuses that. \
                 Remove them and try again.",
                masked.findings_count
            );
            return self.reply(Situation::Denied, "findings", &text);
        }
        let mut edits = match self.upstream_edits(worker, edits) {
            Ok(edits) => edits,
            Err(step) => return step,
        };
        edits.body = match verdict.action {
            Action::Allow => masked.unmasked,
            Action::Mask | Action::AskApproval | Action::Deny => masked.body,
        };
        if edits.body.is_some() {
            edits.remove.push("content-length".into());
        }
        self.phase = Phase::Upstream {
            stream: masked.stream,
        };
        Step::Forward(edits)
    }

    /// Takes the response's headers; `end` says that no body follows.
    pub fn response_headers(
        &mut self,
        worker: &Worker,
        headers: &Headers,
        source: ResponseSource,
        end: bool,
        now: UnixTime,
    ) -> Step {
        let Phase::Upstream { stream } = self.phase else {
            // Our own answer on its way out, or one that Envoy made before we were asked.
            return Step::Forward(Edits::default());
        };
        let status = headers.one(":status").and_then(|text| text.parse().ok());
        let status: u16 = status.unwrap_or(0);
        self.draft.response(status, source, headers, now);
        let set = vec![("x-gate-decision-id".into(), self.draft.decision_id())];
        let mut edits = Edits {
            remove: DROPPED
                .iter()
                .filter(|name| headers.count(name) > 0)
                .map(|name| (*name).to_owned())
                .collect(),
            set,
            body: None,
        };
        if source == ResponseSource::Envoy {
            edits
                .set
                .push(("content-type".into(), "application/json".into()));
            self.phase = Phase::Holding { source };
            return if end {
                Step::Forward(edits)
            } else {
                Step::Hold(edits)
            };
        }
        if matches!(status, 401 | 403) {
            // The credential is ours: the caller's client must not drop its own token.
            return self.unavailable(
                "credential",
                "GitHub did not accept the gateway's credential.",
            );
        }
        if (300..400).contains(&status) {
            return self.unavailable(
                "redirect",
                "GitHub answered with a redirect, which is not followed.",
            );
        }
        if headers.encoded() {
            self.draft.unscanned("response", "encoding", 0);
            let text = "GitHub's answer is encoded in a way that cannot be checked.";
            return self.reply(Situation::Unreadable, "response_encoding", text);
        }
        if end {
            self.phase = Phase::Swallowing;
            self.draft.complete();
            return Step::Forward(edits);
        }
        let events = headers
            .one("content-type")
            .is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"));
        // What is not a stream is masked whole, whatever it says that it is.
        match (self.api(), self.masker.clone()) {
            (Some(api), Some(masker)) if stream && events && status == 200 => {
                let mask = ResponseMask::new(
                    api,
                    masker,
                    &worker.provider_limits(),
                    worker.config.watch_answers.clone(),
                )
                .with_passed_rule(passed_rule(worker));
                self.phase = Phase::Streaming(Box::new(mask));
                Step::Forward(edits)
            }
            _ => {
                self.phase = Phase::Holding { source };
                Step::Hold(edits)
            }
        }
    }

    /// Whether the host shall hold the response until it is whole.
    pub fn holds_response(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. })
    }

    /// Says how much of a held response the host has so far.
    pub fn response_size(&mut self, bytes: usize) -> Step {
        if bytes <= MAX_HELD_RESPONSE_BYTES {
            return Step::Buffer;
        }
        self.draft.unscanned("response", "too_large", bytes);
        let text = "GitHub's answer is larger than the gateway may hold.";
        self.reply(Situation::Unreadable, "response_too_large", text)
    }

    /// Takes the next piece of a streamed response, or all that the host holds of one that is held.
    pub fn response_body(&mut self, worker: &mut Worker, chunk: &[u8], end: bool) -> Step {
        match &mut self.phase {
            Phase::Streaming(mask) => {
                self.draft.response_bytes(chunk.len());
                let mut out = Vec::with_capacity(chunk.len() + 64);
                let recorded = mask.recorded();
                let pushed = mask.push(chunk, &mut out);
                let broken = pushed.is_err();
                let more = mask.recorded() - recorded;
                if worker.reserve(more) {
                    self.reserved += more;
                } else {
                    mask.stop_recording();
                }
                if broken {
                    let text = if pushed == Err(Unreadable::Signed) {
                        SIGNED_TEXT
                    } else {
                        "The rest of the answer could not be checked and was left out."
                    };
                    let text = signed(text, &self.draft.decision_id());
                    mask.end_readably(&text, &mut out);
                } else if end {
                    mask.finish(&mut out);
                }
                if broken || end {
                    self.draft.response_facts(&mask.facts());
                    self.phase = Phase::Swallowing;
                    if pushed == Err(Unreadable::Signed) {
                        self.draft.decided("deny", "signed");
                    } else if broken {
                        self.draft.unscanned("response", "unreadable", chunk.len());
                        self.draft.decided("unreadable", "response");
                    }
                }
                forward_body(out)
            }
            Phase::Holding { source } => {
                let source = *source;
                self.draft.response_bytes(chunk.len());
                self.whole_response(worker, chunk, source)
            }
            Phase::Swallowing => forward_body(Vec::new()),
            _ => Step::Forward(Edits::default()),
        }
    }

    /// Says that the host could not do the last step; what to answer if the caller has no answer yet.
    pub fn host_failed(&mut self) -> LocalReply {
        self.phase = Phase::Swallowing;
        self.draft.failed("host");
        let text = "The gateway could not pass the message on; try again soon.";
        let id = self.draft.decision_id();
        reply_for(self.endpoint, Situation::Unavailable, text, &id)
    }

    /// Ends the exchange and seals its record; `None` if the host never showed a request.
    pub fn finish(mut self, worker: &mut Worker, end: End, now: UnixTime) -> Option<Closed> {
        match &self.phase {
            Phase::Start if !self.draft.begun() => return None,
            Phase::Streaming(mask) => self.draft.response_facts(&mask.facts()),
            _ => {}
        }
        worker.release(self.reserved);
        let digest = worker.config.policy_digest.clone();
        let deployment = worker.config.deployment.clone();
        let (envelope, content) = self.draft.close(deployment, digest, end, now);
        Some(worker.seal(envelope, &content))
    }

    fn identify(
        &mut self,
        worker: &mut Worker,
        headers: Rc<Headers>,
        end: bool,
        look: Look,
        now: UnixTime,
    ) -> Step {
        let token = headers.one("authorization").and_then(identity::bearer);
        let result = token
            .ok_or(IdentityError::Missing)
            .and_then(|token| worker.verify(token, now));
        let (issuer, key) = match result {
            Ok(identity) => {
                let token = token.unwrap_or_default().to_owned();
                return self.authorise(worker, &headers, &identity, &token, end, now);
            }
            Err(IdentityError::UnknownKey { issuer }) => {
                let key = token.and_then(identity::key_id).unwrap_or_default();
                (issuer, Some(key))
            }
            Err(IdentityError::NoKeySet { issuer }) => (issuer, None),
            Err(error) => return self.unidentified(error),
        };
        // The key is not there. Whether that is the caller's fault shows when the set was fetched.
        let unknown = IdentityError::UnknownKey { issuer };
        let fetch = match look {
            Look::First => worker.may_fetch(issuer, key.as_deref(), now),
            Look::Again if key.is_some() => {
                worker.fetched_in_vain(issuer, key.as_deref().unwrap_or_default(), now);
                Fetch::InVain
            }
            Look::Again | Look::InVain => Fetch::Later,
        };
        match (fetch, worker.key_set_call(issuer)) {
            (Fetch::InVain, _) => self.unidentified(unknown),
            (Fetch::Now, Some(call)) => {
                self.phase = Phase::KeySet {
                    issuer,
                    headers,
                    end,
                };
                Step::Call(call)
            }
            (Fetch::Now | Fetch::Later, _) => {
                let text = "The keys of the identity provider are not there; try again soon.";
                self.unavailable("key_set", text)
            }
        }
    }

    fn unidentified(&mut self, error: IdentityError) -> Step {
        let (reason, text) = match error {
            IdentityError::Missing => ("no_token", "Sign in: no token was shown."),
            IdentityError::Expired => ("expired", "Sign in again: the token is not valid now."),
            IdentityError::UnknownIssuer => (
                "issuer",
                "Sign in with your company's account: the token's issuer is not accepted.",
            ),
            IdentityError::UnknownKey { .. } => (
                "unknown_key",
                "Sign in again: the token's key is not known.",
            ),
            IdentityError::Malformed | IdentityError::NoKeySet { .. } | IdentityError::Refused => {
                ("token", "Sign in again: the token does not verify.")
            }
        };
        self.reply(Situation::Unidentified, reason, text)
    }

    fn authorise(
        &mut self,
        worker: &mut Worker,
        headers: &Headers,
        identity: &Identity,
        token: &str,
        end: bool,
        now: UnixTime,
    ) -> Step {
        self.masker = Some(worker.masker(&identity.person_key()));
        let config = &worker.config;
        self.draft.identity(identity);
        self.role = policy::role_of(&config.roles, identity);
        let Some(role) = self.role.and_then(|role| config.roles.get(role)) else {
            let text = "You have no role at this gateway; ask for one of its groups.";
            return self.reply(Situation::Denied, "no_role", text);
        };
        self.draft.role(&role.name);
        if !policy::may_use(role, self.endpoint) {
            let text = "Your role does not include this feature of Copilot.";
            return self.reply(Situation::Denied, "endpoint", text);
        }
        let answer = match self.endpoint {
            Endpoint::Token => answers::token(identity, token, &config.hosts, now),
            Endpoint::Seat => answers::seat(identity, &config.hosts),
            Endpoint::User => answers::user(identity),
            Endpoint::Personal => {
                let text = "This part of Copilot acts with a person's own rights at GitHub, and \
                            the gateway has a shared credential; it is not available here.";
                return self.reply(Situation::Denied, "shared_credential", text);
            }
            Endpoint::Telemetry | Endpoint::Unknown => {
                let text = "This part of Copilot is not available through the gateway.";
                return self.reply(Situation::Denied, "unknown_endpoint", text);
            }
            Endpoint::Models => {
                if !end {
                    return self.reply(Situation::Unreadable, "body", "No body is expected here.");
                }
                let edits = self.header_edits(headers);
                return match self.upstream_edits(worker, edits) {
                    Ok(edits) => {
                        self.phase = Phase::Upstream { stream: false };
                        Step::Forward(edits)
                    }
                    Err(step) => step,
                };
            }
            Endpoint::Chat
            | Endpoint::Completions
            | Endpoint::Embeddings
            | Endpoint::Messages
            | Endpoint::Responses => {
                return self.await_body(worker, headers, end);
            }
        };
        self.phase = Phase::Replied;
        self.draft.decided("allow", "");
        Step::Reply(LocalReply::json(200, &answer, &self.draft.decision_id()))
    }

    fn await_body(&mut self, worker: &Worker, headers: &Headers, end: bool) -> Step {
        if end {
            let text = "The request has no body.";
            return self.reply(Situation::Unreadable, "no_body", text);
        }
        if headers.encoded() {
            self.draft.unscanned("request", "encoding", 0);
            let text = "The request is encoded in a way that cannot be checked; send it plain.";
            return self.reply(Situation::Unreadable, "encoding", text);
        }
        let announced = headers
            .one("content-length")
            .and_then(|text| text.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > worker.config.max_request_bytes) {
            return self.request_size(worker, announced.unwrap_or_default());
        }
        self.phase = Phase::Body {
            edits: self.header_edits(headers),
        };
        Step::Buffer
    }

    /// What of the caller's headers does not go upstream: proofs, what would ask for something else
    /// than was decided over, values with secrets, and the query.
    fn header_edits(&mut self, headers: &Headers) -> Edits {
        let mut edits = Edits {
            remove: credential::removed(headers),
            ..Edits::default()
        };
        for (name, value) in headers.fields() {
            if edits.remove.iter().any(|removed| removed == name) {
                continue;
            }
            let mut findings = Vec::new();
            let masker = self.masker.as_ref();
            if masker.is_some_and(|masker| masker.mask(value, &mut findings).is_some()) {
                self.draft.header_findings(name, findings);
                edits.remove.push(name.to_owned());
            }
        }
        let path = headers.path();
        let target = headers.one(":path").unwrap_or_default();
        if path.len() < target.len() {
            let dropped = target.len() - path.len();
            self.draft.unscanned("request", "query_dropped", dropped);
            edits.set.push((":path".to_owned(), path.to_owned()));
        }
        edits
    }

    fn upstream_edits(&mut self, worker: &Worker, mut edits: Edits) -> Result<Edits, Step> {
        let Some(credential) = worker.credential() else {
            let text = "The gateway has no GitHub credential.";
            return Err(self.unavailable("no_credential", text));
        };
        let mut set = |name: &str, value: String| {
            edits.remove.retain(|removed| removed != name);
            edits.set.push((name.to_owned(), value));
        };
        set("accept-encoding", "identity".to_owned());
        if credential::attached_to(self.endpoint) {
            set("authorization", credential::authorization(credential));
        }
        self.draft.forwarded();
        Ok(edits)
    }

    fn whole_response(&mut self, worker: &mut Worker, body: &[u8], source: ResponseSource) -> Step {
        self.phase = Phase::Swallowing;
        if source == ResponseSource::Envoy {
            let text = "GitHub could not be reached; try again soon.";
            let reply = reply_for(
                Endpoint::Models,
                Situation::Unavailable,
                text,
                &self.draft.decision_id(),
            );
            self.draft.complete();
            return forward_body(reply.body);
        }
        let too_large = self.response_size(body.len());
        if too_large != Step::Buffer {
            return too_large;
        }
        let Some(masker) = self.masker.clone() else {
            return self.unavailable("state", "The gateway lost track of the request.");
        };
        let limits = worker.provider_limits();
        let ok = self.draft.upstream_ok();
        let answer = match (self.endpoint, self.api()) {
            (Endpoint::Models, _) if ok => {
                let allowed = |model: &str| self.allows(worker, model);
                provider::models::restrict(body, &allowed, Endpoint::inspected())
                    .map(|body| (Some(body), None))
            }
            (_, Some(api)) if ok => {
                provider::mask_response(api, &masker, body, &limits, &worker.config.watch_answers)
                    .map(|masked| (masked.body, Some(masked.facts)))
            }
            _ => provider::mask_plain(&masker, body, &limits)
                .map(|masked| (masked.body, Some(masked.facts))),
        };
        let Ok((changed, facts)) = answer else {
            self.draft.unscanned("response", "unreadable", body.len());
            let text = "GitHub's answer could not be checked and was left out.";
            return self.reply(Situation::Unreadable, "response", text);
        };
        if let Some(mut facts) = facts {
            if !facts.passed.is_empty() && passed_rule(worker)(&facts.passed) {
                self.draft.response_facts(&facts);
                return self.reply(Situation::Denied, "signed", SIGNED_TEXT);
            }
            if !self.reserve(worker, facts.content.len()) {
                facts.content.clear();
                facts.content_truncated = true;
            }
            self.draft.response_facts(&facts);
        }
        self.draft.complete();
        Step::Forward(Edits {
            body: changed,
            ..Edits::default()
        })
    }

    fn drop_telemetry(&mut self, method: Option<&str>, headers: &Headers) -> Step {
        let bytes = headers
            .one("content-length")
            .and_then(|text| text.parse().ok());
        let answer = if method == Some("GET") {
            answers::no_experiments()
        } else {
            self.draft
                .unscanned("request", "telemetry_dropped", bytes.unwrap_or(0));
            answers::telemetry_taken()
        };
        self.phase = Phase::Replied;
        self.draft.decided("drop", "telemetry");
        Step::Reply(LocalReply::json(200, &answer, &self.draft.decision_id()))
    }

    fn reserve(&mut self, worker: &mut Worker, bytes: usize) -> bool {
        let fits = worker.reserve(bytes);
        if fits {
            self.reserved += bytes;
        }
        fits
    }

    fn allows(&self, worker: &Worker, model: &str) -> bool {
        self.role
            .and_then(|role| worker.config.roles.get(role))
            .is_some_and(|role| role.allows_model(model))
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

/// Whether the rules refuse findings that cannot be masked.
fn passed_rule(worker: &Worker) -> PassedRule {
    let rules = worker.config.rules.clone();
    Rc::new(move |findings| policy::decide(&rules, findings, &[]).action > Action::Mask)
}

fn forward_body(body: Vec<u8>) -> Step {
    Step::Forward(Edits {
        body: Some(body),
        ..Edits::default()
    })
}
