//! Asks people, and takes their answer.
//!
//! [`Asking`] is one exchange's way through the desk: for each rule that asks, what the worker
//! remembers ([`Ledger`]) or else a call; a grant is verified, and consumed where it covers one
//! exchange. Nothing but [`Outcome::Granted`] lets anything go: no answer, an answer that cannot be
//! read, and a grant that is for something else are all [`Outcome::Unavailable`].

pub(crate) mod grant;
mod ledger;

use std::{collections::VecDeque, time::Duration};

use contract::approval::{
    Answer, ApprovalState, Ask, AskFinding, CauseSet, Consume, Covers, Digest, MAX_SHOWN_BYTES,
    is_approval_id,
};
use serde::Serialize;

use crate::{
    config::Rule,
    exchange::Callout,
    headers::cut,
    identity::Fetch,
    provider::{ContentItem, Placed},
    time::UnixTime,
    worker::Worker,
};

pub(crate) use grant::{Grant, GrantError};
pub(crate) use ledger::{Ledger, Source};

/// How long the desk may take beyond the time that it was told to wait.
const GRACE: Duration = Duration::from_secs(5);

/// How long a call may take that does not wait for people.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer of the desk that is read: a grant and little else.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Longest reason of an approver that is shown.
const MAX_REASON_BYTES: usize = 300;

/// Longest name of an approver that is recorded.
const MAX_NAME_BYTES: usize = 256;

/// Who asks, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// The person, as on the wire.
    pub(crate) person: String,
    pub(crate) role: String,
    /// Decision id of the exchange.
    pub(crate) exchange: String,
    /// Name of the endpoint.
    pub(crate) endpoint: &'static str,
    pub(crate) model: String,
}

/// What one rule asks.
pub(crate) struct Question {
    rule: String,
    approvers: String,
    digest: Digest,
    covers: Covers,
    cause: CauseSet,
    shown: String,
    findings: Vec<AskFinding>,
}

impl Question {
    /// What a rule asks about its cause; `findings` are those that it speaks of.
    pub(crate) fn new<'i>(
        rule: &Rule,
        cause: impl Iterator<Item = &'i ContentItem>,
        findings: impl Iterator<Item = &'i Placed>,
    ) -> Self {
        let mut items = CauseSet::default();
        let mut shown = String::new();
        for item in cause {
            items.extend([item.digest]);
            if shown.len() < MAX_SHOWN_BYTES {
                let ContentItem {
                    role, kind, name, ..
                } = item;
                let head = [role, *kind, name].map(str::trim).join(" ");
                let lines = ["--- ", head.trim_end(), "\n", &item.excerpt, "\n"];
                shown.push_str(&lines.concat());
            }
        }
        shown.truncate(cut(&shown, MAX_SHOWN_BYTES).len());
        let finding = |placed: &Placed| AskFinding {
            detector: placed.finding.detector.to_owned(),
            place: placed.channel.clone(),
            length: placed.finding.length,
            fingerprint: placed.finding.fingerprint.clone(),
        };
        Self {
            rule: rule.name.clone(),
            approvers: rule.approvers.clone(),
            digest: rule.digest,
            covers: rule.covers,
            cause: items,
            shown,
            findings: findings.map(finding).collect(),
        }
    }
}

/// One exchange's way through the desk.
pub(crate) struct Asking {
    asker: Asker,
    /// Still to be asked.
    questions: VecDeque<Question>,
    /// Granted for one exchange, and not consumed yet, by id.
    unused: VecDeque<(String, Question)>,
    state: State,
    begun: UnixTime,
    trail: Trail,
}

/// What a record says of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    /// The last approval that was spoken of.
    pub(crate) id: Option<String>,
    /// Who decided it.
    pub(crate) by: Option<String>,
    /// Where it stood.
    pub(crate) state: &'static str,
    /// What a grant covers.
    pub(crate) covers: &'static str,
    /// Digest of the cause set that was asked about last.
    pub(crate) cause: Option<Digest>,
    /// Time that the caller has waited.
    pub(crate) held: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// They were just fetched.
    Fetched,
    /// As they are.
    Known,
}

enum State {
    /// The desk was asked.
    Asked,
    /// The desk's keys are being fetched, for this answer.
    Keys(Box<Answer>),
    /// The grant is being consumed.
    Consuming,
    /// There is nothing to wait for.
    Done,
}

/// What happens next.
pub(crate) enum Next {
    Call(Callout),
    Done(Outcome),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything asked may pass.
    Granted,
    /// Nobody has decided yet.
    Pending(Told),
    /// Somebody refused, or the time to use a grant is over.
    Refused(Told),
    /// The desk was not there, or not to be understood; why, as a short code.
    Unavailable(&'static str),
}

/// What a person is told about an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) rule: String,
    pub(crate) approvers: String,
    pub(crate) id: String,
    /// Page for the approver.
    pub(crate) url: String,
    pub(crate) state: ApprovalState,
    /// What the approver said, in one line.
    pub(crate) reason: String,
}

impl Told {
    /// The sentence for the person who waits.
    pub(crate) fn text(&self, what: &str) -> String {
        let Self {
            rule,
            approvers,
            id,
            url,
            reason,
            ..
        } = self;
        let because = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason}")
        };
        match self.state {
            ApprovalState::Pending => format!(
                "{what} waits for approval by {approvers} (rule {rule}). Nothing of it was passed \
                 on. Approvers decide about {id} at {url} - once it is granted, write \"go on\"."
            ),
            ApprovalState::Refused => {
                format!("{what} was refused by {approvers} (rule {rule}, {id}){because}")
            }
            ApprovalState::Consumed => format!(
                "{what} needs an approval of its own (rule {rule}): {id} was for one request and is \
                 used. Send it again to ask anew."
            ),
            ApprovalState::Cancelled
            | ApprovalState::Expired
            | ApprovalState::Granted
            | ApprovalState::Revoked => format!(
                "{what} needs approval by {approvers} (rule {rule}), and {id} is not valid any \
                 more{because}. Send it again to ask anew."
            ),
        }
    }
}

impl Asking {
    /// Asks all questions, one after the other.
    pub(crate) fn begin(
        worker: &mut Worker,
        asker: Asker,
        questions: Vec<Question>,
        now: UnixTime,
    ) -> (Self, Next) {
        let mut asking = Self {
            asker,
            questions: questions.into(),
            unused: VecDeque::new(),
            state: State::Done,
            begun: now,
            trail: Trail::default(),
        };
        let next = asking.ask(worker, now);
        (asking, next)
    }

    /// Takes the answer to the last call: status and body, or `None` if there was none.
    pub(crate) fn reply(
        &mut self,
        worker: &mut Worker,
        answer: Option<(u16, &[u8])>,
        now: UnixTime,
    ) -> Next {
        self.trail.held = now.since(self.begun);
        match std::mem::replace(&mut self.state, State::Done) {
            State::Asked => match read(answer) {
                Some(answer) => self.answered(worker, answer, Keys::Known, now),
                None => unavailable("desk"),
            },
            State::Keys(waiting) => {
                let fetched = worker.desk_keys_reply(answer, now);
                match fetched {
                    Ok(()) => self.answered(worker, *waiting, Keys::Fetched, now),
                    Err(_) => unavailable("desk_keys"),
                }
            }
            State::Consuming => self.consumed(worker, answer),
            State::Done => unavailable("desk"),
        }
    }

    /// What a record says of it.
    pub(crate) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// What a record says of it if it ends without an answer.
    pub(crate) fn left(&self, now: UnixTime) -> Trail {
        Trail {
            held: now.since(self.begun),
            ..self.trail.clone()
        }
    }

    /// Asks the next question that the worker does not know the answer to. When all are answered,
    /// consumes what is for one exchange.
    fn ask(&mut self, worker: &mut Worker, now: UnixTime) -> Next {
        loop {
            let Some(question) = self.questions.front() else {
                return self.consume(worker);
            };
            let key = self.key(question);
            if question.cause.is_empty() {
                return unavailable("no_cause");
            }
            self.trail.covers = question.covers.name();
            self.trail.cause = Some(question.cause.digest());
            if let Some(source) = worker.ledger.covers(key, &question.cause, now) {
                self.trail.id = Some(source.approval.clone());
                self.trail.by.clone_from(&source.by);
                self.trail.state = "remembered";
                self.questions.pop_front();
                continue;
            }
            let Some(call) = self.ask_call(worker, question, now) else {
                return unavailable("desk");
            };
            self.trail.state = "waiting";
            self.state = State::Asked;
            return Next::Call(call);
        }
    }

    fn ask_call(&self, worker: &Worker, question: &Question, now: UnixTime) -> Option<Callout> {
        let config = worker.config.approvals.as_ref()?;
        let wait = config.hold.saturating_sub(now.since(self.begun));
        let ask = Ask {
            deployment: worker.config.deployment.clone(),
            person: self.asker.person.clone(),
            role: self.asker.role.clone(),
            exchange: self.asker.exchange.clone(),
            endpoint: self.asker.endpoint.to_owned(),
            model: self.asker.model.clone(),
            rule: question.rule.clone(),
            rule_digest: question.digest,
            policy_digest: worker.config.policy_digest.parse().ok()?,
            cause_items: question.cause.items().collect(),
            masked_content: question.shown.clone(),
            findings: question.findings.clone(),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(0),
            covers: question.covers,
            grant_s: config.grant.as_secs(),
            remember_s: config.remember.as_secs(),
            pending_s: config.pending.as_secs(),
            approvers: question.approvers.clone(),
        };
        let call = worker.desk_call("POST", "/v1/approvals", wait + GRACE)?;
        with_body(call, &ask)
    }

    fn answered(&mut self, worker: &mut Worker, answer: Answer, keys: Keys, now: UnixTime) -> Next {
        let Some(question) = self.questions.front() else {
            return unavailable("desk");
        };
        self.trail.id = Some(answer.id.clone());
        self.trail.by = answer.decided_by.as_deref().map(name);
        self.trail.state = answer.state.name();
        match answer.state {
            ApprovalState::Granted => {}
            ApprovalState::Pending => {
                return Next::Done(Outcome::Pending(told(worker, question, &answer)));
            }
            ApprovalState::Cancelled
            | ApprovalState::Consumed
            | ApprovalState::Expired
            | ApprovalState::Refused
            | ApprovalState::Revoked => {
                return Next::Done(Outcome::Refused(told(worker, question, &answer)));
            }
        }
        let token = answer.grant.as_deref().unwrap_or_default();
        let grant = match worker.verify_grant(token, &self.asker.person, now) {
            Ok(grant) => grant,
            Err(GrantError::UnknownKey { id }) => {
                return self.fetch_keys(worker, answer, &id, keys, now);
            }
            Err(GrantError::Refused) => {
                self.trail.state = "bad_grant";
                return unavailable("grant");
            }
        };
        let (endpoint, model) = (self.asker.endpoint, &self.asker.model);
        let fits = grant.id == answer.id
            && grant.claims.covers == question.covers
            && (grant.claims).cover(question.digest, endpoint, model, &question.cause);
        if !fits {
            self.trail.state = "bad_grant";
            return unavailable("grant");
        }
        let key = self.key(question);
        match (question.covers, self.questions.pop_front()) {
            (Covers::Exchange, Some(question)) => self.unused.push_back((grant.id, question)),
            (Covers::Content | Covers::Exchange, _) => {
                let source = Source {
                    approval: grant.id,
                    by: self.trail.by.clone(),
                };
                let items = grant.claims.items.into_iter();
                worker
                    .ledger
                    .remember(key, items, source, grant.expires_at, now);
            }
        }
        self.ask(worker, now)
    }

    fn consume(&mut self, worker: &Worker) -> Next {
        let Some((id, _)) = self.unused.front() else {
            return Next::Done(Outcome::Granted);
        };
        let path = format!("/v1/approvals/{id}/consume");
        let exchange = self.asker.exchange.clone();
        let call = worker
            .desk_call("POST", &path, CALL_TIMEOUT)
            .and_then(|call| with_body(call, &Consume { exchange }));
        let Some(call) = call else {
            return unavailable("desk");
        };
        self.trail.id = Some(id.clone());
        self.state = State::Consuming;
        Next::Call(call)
    }

    fn fetch_keys(
        &mut self,
        worker: &mut Worker,
        answer: Answer,
        key: &str,
        keys: Keys,
        now: UnixTime,
    ) -> Next {
        match keys {
            Keys::Fetched => {
                worker.desk_keys_in_vain(key, now);
                self.trail.state = "bad_grant";
                unavailable("grant")
            }
            Keys::Known => match worker.desk_keys_call(key, now) {
                (Fetch::Now, Some(call)) => {
                    self.state = State::Keys(Box::new(answer));
                    Next::Call(call)
                }
                (Fetch::Now | Fetch::InVain | Fetch::Later, _) => unavailable("desk_keys"),
            },
        }
    }

    fn consumed(&mut self, worker: &Worker, answer: Option<(u16, &[u8])>) -> Next {
        let Some((id, question)) = self.unused.pop_front() else {
            return unavailable("desk");
        };
        if answer.is_some_and(|(status, _)| status == 409) {
            self.trail.state = ApprovalState::Consumed.name();
            let answer = Answer {
                id,
                state: ApprovalState::Consumed,
                grant: None,
                url: String::new(),
                expires_at: 0,
                reason: None,
                decided_by: None,
                version: 0,
            };
            return Next::Done(Outcome::Refused(told(worker, &question, &answer)));
        }
        let ours = |answer: &Answer| answer.id == id && answer.state == ApprovalState::Consumed;
        if !read(answer).as_ref().is_some_and(ours) {
            return unavailable("desk");
        }
        self.trail.state = ApprovalState::Granted.name();
        self.consume(worker)
    }

    fn key(&self, question: &Question) -> [u8; 32] {
        let Asker {
            person,
            endpoint,
            model,
            ..
        } = &self.asker;
        ledger::key(person, question.digest, endpoint, model)
    }
}

fn unavailable(reason: &'static str) -> Next {
    Next::Done(Outcome::Unavailable(reason))
}

fn with_body(mut call: Callout, body: &impl Serialize) -> Option<Callout> {
    call.body = serde_json::to_vec(body).ok()?;
    call.headers
        .push(("content-type".into(), "application/json".into()));
    Some(call)
}

fn read(answer: Option<(u16, &[u8])>) -> Option<Answer> {
    let body = match answer {
        Some((200, body)) if body.len() <= MAX_ANSWER_BYTES => body,
        _ => return None,
    };
    let answer: Answer = serde_json::from_slice(body).ok()?;
    is_approval_id(&answer.id).then_some(answer)
}

fn name(text: &str) -> String {
    cut(text, MAX_NAME_BYTES).to_owned()
}

fn told(worker: &Worker, question: &Question, answer: &Answer) -> Told {
    let public = worker.config.approvals.as_ref();
    let public = public.map_or("", |approvals| approvals.public_url.as_str());
    let own = |url: &str| {
        url.strip_prefix(public).is_some_and(|path| {
            path.starts_with('/') && path.len() <= 200 && path.bytes().all(|b| b.is_ascii_graphic())
        })
    };
    let reason = answer.reason.as_deref().unwrap_or_default();
    let line: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Told {
        rule: question.rule.clone(),
        approvers: question.approvers.clone(),
        id: answer.id.clone(),
        url: if own(&answer.url) {
            answer.url.clone()
        } else {
            public.to_owned()
        },
        state: answer.state,
        reason: cut(line.trim(), MAX_REASON_BYTES).to_owned(),
    }
}
