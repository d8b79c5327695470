//! The request's way: endpoint, identity, policy, mask, approval, credential.

use std::rc::Rc;

use contract::approval;

use crate::{
    answers,
    config::{Action, Direction, Restore},
    credential,
    endpoint::Endpoint,
    headers::Headers,
    identity::{self, Fetch, Identity, IdentityError},
    policy,
    provider::{self, Unreadable},
    reply::{LocalReply, Situation},
    time::UnixTime,
    worker::Worker,
};

use super::{AUDIT_TEXT, Edits, Exchange, Phase, Step, asking};

/// Largest part of a request that is held while its caller is not proven yet, in bytes.
const MAX_UNPROVEN_BYTES: usize = 1 << 20;

const NO_CREDENTIAL: &str = "The gateway has no GitHub credential.";

/// Which look at a token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The second, after the key set was fetched.
    Again,
    /// The first.
    First,
    /// The second, though the key set could not be fetched.
    InVain,
}

impl Exchange {
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
        worker.exchange_begun();
        if headers.count("upgrade") > 0 {
            let text = "Connections cannot be upgraded here; use plain HTTP.";
            return self.reply(Situation::Denied, "upgrade", text);
        }
        if worker.is_full() {
            return self.unavailable("audit", AUDIT_TEXT);
        }
        if self.endpoint == Endpoint::Telemetry {
            return self.drop_telemetry(headers.one(":method"), &headers);
        }
        self.identify(worker, Rc::new(headers), end, Look::First, now)
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
    pub fn request_body(&mut self, worker: &mut Worker, body: &[u8], now: UnixTime) -> Step {
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
        let mut masker = masker.passing(worker.passes(Direction::Request, now));
        if worker.config.restore != Restore::Off {
            masker = masker.keeping();
        }
        let limits = worker.provider_limits();
        let watch = &worker.config.watch;
        let texts = (worker.repeats.of(&self.person), now);
        let mut masked = match provider::mask_request(api, &masker, body, &limits, watch, texts) {
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
        self.model = models.clone().next().cloned().unwrap_or_default();
        if models.clone().next().is_none() || !models.clone().all(|it| self.allows(worker, it)) {
            let text = "Your role may not use this model.";
            return self.reply(Situation::Denied, "model", text);
        }
        let shown = std::mem::take(&mut masked.shown);
        self.shown = match worker.config.restore {
            Restore::Answers => Some(Rc::new(shown.telling())),
            Restore::InPlace => Some(Rc::new(shown)),
            Restore::Off => None,
        };
        let verdict = policy::decide(
            worker.rules(now),
            Direction::Request,
            &masked.by_detector,
            &masked.items,
        );
        self.draft
            .request_findings(&masked, &verdict, worker.rules(now));
        let most = limits.max_content;
        if most > 0 && self.reserve(worker, masked.recorded.len().min(most)) {
            let (content, texts) = (masked.recorded, masked.texts);
            self.draft.request_content(content, &texts, most);
        } else {
            self.draft.content_missing();
        }
        if verdict.action == Action::Deny {
            let rule = verdict.rule.unwrap_or_default();
            let found = match masked.findings_count {
                0 => "a tool call that a rule speaks of".to_owned(),
                count => format!("{count} secret(s)"),
            };
            let text = format!(
                "The request holds {found}, and rule {rule} refuses that. \
                 Remove them and try again."
            );
            return self.reply(Situation::Denied, "findings", &text);
        }
        if masked.items_overflow {
            let text = "The request holds more that rules speak of than can be told apart. \
                        Start a new conversation.";
            return self.reply(Situation::Denied, "too_many_items", text);
        }
        let Some(mut edits) = self.upstream_edits(worker, edits) else {
            return self.unavailable("no_credential", NO_CREDENTIAL);
        };
        edits.body = masked.body;
        if edits.body.is_some() {
            edits.remove.push("content-length".into());
        }
        if verdict.action != Action::AskApproval {
            return self.let_go(worker, edits, masked.stream, now);
        }
        if self.endpoint == Endpoint::Completions {
            // Ghost text cannot wait, and each keystroke would be another question.
            let text = "Ghost text does not wait for approval.";
            return self.reply(Situation::Denied, "needs_approval", text);
        }
        let findings = &masked.findings;
        let questions = asking::questions(worker, &verdict, &masked.items, findings);
        self.ask_for_request(worker, questions, edits, masked.stream, now)
    }

    pub(super) fn identify(
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
        self.person = approval::person(&identity.issuer, &identity.subject);
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
                    Some(edits) => self.let_go(worker, edits, false, now),
                    None => self.unavailable("no_credential", NO_CREDENTIAL),
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

    /// What goes upstream in place of what the caller has shown; `None` without a credential.
    fn upstream_edits(&self, worker: &Worker, mut edits: Edits) -> Option<Edits> {
        let credential = worker.credential()?;
        let mut set = |name: &str, value: String| {
            edits.remove.retain(|removed| removed != name);
            edits.set.push((name.to_owned(), value));
        };
        set("accept-encoding", "identity".to_owned());
        if credential::attached_to(self.endpoint) {
            set("authorization", credential::authorization(credential));
        }
        Some(edits)
    }

    /// Lets the request go, once its opening record is durable if that is demanded.
    pub(super) fn let_go(
        &mut self,
        worker: &mut Worker,
        edits: Edits,
        stream: bool,
        now: UnixTime,
    ) -> Step {
        if worker.config.sink.is_none() {
            return self.forward(edits, stream);
        }
        let (envelope, content, written) = self.draft.open();
        worker.release(std::mem::take(&mut self.reserved));
        let (seq, call) = worker.seal_opening(envelope, content, written, now);
        self.draft.opened(seq);
        let Some(call) = call else {
            return self.forward(edits, stream);
        };
        self.phase = Phase::Recording { seq, edits, stream };
        Step::Call(call)
    }

    pub(super) fn forward(&mut self, edits: Edits, stream: bool) -> Step {
        self.draft.forwarded();
        self.phase = Phase::Upstream { stream };
        Step::Forward(edits)
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

    pub(super) fn allows(&self, worker: &Worker, model: &str) -> bool {
        self.role
            .and_then(|role| worker.config.roles.get(role))
            .is_some_and(|role| role.allows_model(model))
    }
}
