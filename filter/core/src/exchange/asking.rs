//! Where an exchange waits for people: before its request goes upstream, and before a tool call in
//! its answer reaches the caller.
//!
//! Only [`Outcome::Granted`] lets anything go. While a stream waits, the caller hears a comment
//! every [`COMMENT_PERIOD`] as long as the upstream sends; after its end there is nothing that could
//! carry one.

use std::time::Duration;

use crate::{
    approval::{Asker, Asking, Next, Outcome, Question},
    config::{Action, Direction},
    endpoint::Endpoint,
    policy::{self, Rules},
    provider::{self, ContentItem, DueCalls, Placed, ResponseMask},
    reply::{LocalReply, Situation},
    spoken,
    time::UnixTime,
    worker::Worker,
};

use super::{
    AskingRequest, AskingStream, AskingWhole, Callout, Edits, Exchange, Phase, Step, forward_body,
};

/// How often a caller who waits in a stream hears something.
const COMMENT_PERIOD: Duration = Duration::from_secs(10);

/// What a caller who waits hears.
const COMMENT: &[u8] = b": waiting for approval\n\n";

/// What the texts call what was asked for.
const REQUEST: &str = "This request";
const TOOL_CALL: &str = "A tool call of this answer";

/// What is said in place of calls that may not pass.
struct Verdict {
    decision: &'static str,
    reason: &'static str,
    text: String,
}

/// What happens to calls of an answer.
enum Calls {
    Pass,
    Drop(Verdict),
    Ask(Box<Asking>, Callout),
}

impl Exchange {
    /// Asks for a request that is ready to be let go with these edits.
    pub(super) fn ask_for_request(
        &mut self,
        worker: &mut Worker,
        questions: Vec<Question>,
        edits: Edits,
        stream: bool,
        now: UnixTime,
    ) -> Step {
        let (asking, next) = Asking::begin(worker, self.asker(worker), questions, now);
        let waiting = AskingRequest {
            asking,
            edits,
            stream,
        };
        self.request_next(worker, Box::new(waiting), next, now)
    }

    pub(super) fn request_answered(
        &mut self,
        worker: &mut Worker,
        mut waiting: Box<AskingRequest>,
        answer: Option<(u16, &[u8])>,
        now: UnixTime,
    ) -> Step {
        let next = waiting.asking.reply(worker, answer, now);
        self.request_next(worker, waiting, next, now)
    }

    fn request_next(
        &mut self,
        worker: &mut Worker,
        waiting: Box<AskingRequest>,
        next: Next,
        now: UnixTime,
    ) -> Step {
        let outcome = match next {
            Next::Call(call) => {
                self.phase = Phase::AskingRequest(waiting);
                return Step::Call(call);
            }
            Next::Done(outcome) => outcome,
        };
        self.draft.approval(waiting.asking.trail());
        match outcome {
            Outcome::Granted => self.let_go(worker, waiting.edits, waiting.stream, now),
            Outcome::Refused(told) => {
                let reason = told.state.name();
                self.reply(Situation::Denied, reason, &told.text(REQUEST))
            }
            Outcome::Unavailable(reason) => self.unavailable(reason, DESK_TEXT),
            Outcome::Pending(told) if self.endpoint == Endpoint::Embeddings => {
                // There is no text in such an answer.
                let step = self.reply(Situation::Denied, "approval", &told.text(REQUEST));
                self.draft.decided("pending", "approval");
                step
            }
            Outcome::Pending(told) => {
                let Some(api) = self.api() else {
                    return self.unavailable("state", "The gateway lost track of the request.");
                };
                self.phase = Phase::Replied;
                self.draft.decided("pending", "approval");
                let (id, model) = (self.draft.decision_id(), &self.model);
                let text = spoken::said(&told.text(REQUEST), &id);
                let body = provider::text_answer(api, model, &text, waiting.stream);
                Step::Reply(LocalReply::new(200, kind(waiting.stream), body, &id))
            }
        }
    }

    /// Decides over the calls for which a stream waits, if there are any, and takes the next step.
    /// `out` leaves now.
    pub(super) fn stream_step(
        &mut self,
        worker: &mut Worker,
        mut mask: Box<ResponseMask>,
        mut out: Vec<u8>,
        ended: bool,
        now: UnixTime,
    ) -> Step {
        while let Some(due) = mask.take_due() {
            match self.calls(worker, &due, now) {
                Calls::Pass => mask.release(&mut out),
                Calls::Drop(verdict) => {
                    self.end_stream(worker.rules(now), &mut mask, &verdict, &mut out);
                    return forward_body(out);
                }
                Calls::Ask(asking, call) => {
                    let let_go = !out.is_empty() && !ended;
                    let (first, call, step) = if let_go {
                        (Vec::new(), Some(call), forward_body(out))
                    } else {
                        (out, None, Step::Call(call))
                    };
                    self.phase = Phase::AskingStream(Box::new(AskingStream {
                        asking: *asking,
                        mask,
                        call,
                        first,
                        held: !let_go,
                        ended,
                    }));
                    return step;
                }
            }
        }
        if ended {
            let facts = mask.facts();
            self.draft.response_facts(&facts, worker.rules(now));
            self.phase = Phase::Swallowing { last: Vec::new() };
        } else {
            // A long call may take the upstream longer to write than clients are patient.
            if out.is_empty() && mask.is_holding() && now.since(self.said_at) >= COMMENT_PERIOD {
                out.extend_from_slice(COMMENT);
            }
            if !out.is_empty() {
                self.said_at = now;
            }
            let first = Vec::new();
            self.phase = Phase::Streaming { mask, first };
        }
        forward_body(out)
    }

    /// Takes the next piece of a stream that waits.
    pub(super) fn waiting_stream(
        &mut self,
        worker: &mut Worker,
        mut waiting: Box<AskingStream>,
        chunk: &[u8],
        end: bool,
        now: UnixTime,
    ) -> Step {
        self.draft.response_bytes(chunk.len());
        let mut out = std::mem::take(&mut waiting.first);
        let pushed = self.push(worker, &mut waiting.mask, chunk, &mut out);
        if let Err(error) = pushed {
            self.draft.approval(&waiting.asking.left(now));
            self.break_stream(
                worker,
                &mut waiting.mask,
                (error, chunk.len()),
                &mut out,
                now,
            );
            return forward_body(out);
        }
        if end {
            waiting.mask.finish(&mut out);
            waiting.ended = true;
        }
        waiting.first = out;
        let step = if let Some(call) = waiting.call.take() {
            waiting.held = true;
            Step::Call(call)
        } else if !end && now.since(self.said_at) >= COMMENT_PERIOD {
            self.said_at = now;
            waiting.held = false;
            forward_body(COMMENT.to_vec())
        } else {
            waiting.held = true;
            Step::Hold(Edits {
                body: Some(Vec::new()),
                ..Edits::default()
            })
        };
        self.phase = Phase::AskingStream(waiting);
        step
    }

    pub(super) fn stream_answered(
        &mut self,
        worker: &mut Worker,
        mut waiting: Box<AskingStream>,
        answer: Option<(u16, &[u8])>,
        now: UnixTime,
    ) -> Step {
        let outcome = match waiting.asking.reply(worker, answer, now) {
            Next::Call(call) => {
                self.phase = Phase::AskingStream(waiting);
                return Step::Call(call);
            }
            Next::Done(outcome) => outcome,
        };
        self.draft.approval(waiting.asking.trail());
        let AskingStream {
            mut mask,
            first: mut out,
            held,
            ended,
            ..
        } = *waiting;
        let step = if outcome == Outcome::Granted {
            mask.release(&mut out);
            self.stream_step(worker, mask, out, ended, now)
        } else {
            self.end_stream(worker.rules(now), &mut mask, &verdict(&outcome), &mut out);
            forward_body(out)
        };
        if held {
            return step;
        }
        // The host holds nothing that could be let go: the next piece will be.
        self.postpone(step)
    }

    /// Keeps what was to leave now for the next piece.
    fn postpone(&mut self, step: Step) -> Step {
        if let Phase::AskingStream(waiting) = &mut self.phase {
            waiting.held = false;
        }
        let Step::Forward(Edits {
            body: Some(body), ..
        }) = step
        else {
            return step;
        };
        match &mut self.phase {
            Phase::Streaming { first, .. } => *first = body,
            Phase::AskingStream(waiting) => waiting.first = body,
            Phase::Swallowing { last } => *last = body,
            _ => {}
        }
        Step::Buffer
    }

    /// Decides over the calls of a whole answer; `body` is what is let go if they may pass.
    pub(super) fn whole_step(
        &mut self,
        worker: &mut Worker,
        due: &DueCalls,
        body: Vec<u8>,
        stream: bool,
        now: UnixTime,
    ) -> Step {
        match self.calls(worker, due, now) {
            Calls::Pass => {
                self.draft.complete();
                forward_body(body)
            }
            Calls::Drop(verdict) => self.whole_text(&verdict, stream),
            Calls::Ask(asking, call) => {
                self.phase = Phase::AskingWhole(Box::new(AskingWhole {
                    asking: *asking,
                    body,
                    stream,
                }));
                Step::Call(call)
            }
        }
    }

    pub(super) fn whole_answered(
        &mut self,
        worker: &mut Worker,
        mut waiting: Box<AskingWhole>,
        answer: Option<(u16, &[u8])>,
        now: UnixTime,
    ) -> Step {
        let outcome = match waiting.asking.reply(worker, answer, now) {
            Next::Call(call) => {
                self.phase = Phase::AskingWhole(waiting);
                return Step::Call(call);
            }
            Next::Done(outcome) => outcome,
        };
        self.draft.approval(waiting.asking.trail());
        self.phase = Phase::Swallowing { last: Vec::new() };
        if outcome == Outcome::Granted {
            self.draft.complete();
            return forward_body(waiting.body);
        }
        self.whole_text(&verdict(&outcome), waiting.stream)
    }

    /// What the rules say of the calls of an answer.
    fn calls(&mut self, worker: &mut Worker, due: &DueCalls, now: UnixTime) -> Calls {
        let none = std::collections::BTreeMap::new();
        let verdict = policy::decide(worker.rules(now), Direction::Answer, &none, &due.calls);
        let denied = |reason, text: String| {
            Calls::Drop(Verdict {
                decision: Situation::Denied.decision(),
                reason,
                text,
            })
        };
        self.draft.rule(&verdict);
        let rule = verdict.rule.clone().unwrap_or_default();
        if due.overflow {
            let text = format!("{TOOL_CALL} is one of more than can be asked for.");
            return denied("too_many_calls", text);
        }
        match verdict.action {
            Action::Allow | Action::Mask => Calls::Pass,
            Action::Deny => {
                let text = format!("{TOOL_CALL} was left out: rule {rule} refuses it.");
                denied("tool_call", text)
            }
            Action::AskApproval => {
                let questions = questions(worker, &verdict, &due.calls, &[]);
                let (asking, next) = Asking::begin(worker, self.asker(worker), questions, now);
                match next {
                    Next::Call(call) => Calls::Ask(Box::new(asking), call),
                    Next::Done(outcome) => {
                        self.draft.approval(asking.trail());
                        match outcome {
                            Outcome::Granted => Calls::Pass,
                            other => Calls::Drop(self::verdict(&other)),
                        }
                    }
                }
            }
        }
    }

    /// Ends a stream in which calls were dropped.
    fn end_stream(
        &mut self,
        rules: Rules<'_>,
        mask: &mut ResponseMask,
        verdict: &Verdict,
        out: &mut Vec<u8>,
    ) {
        let text = spoken::added(&verdict.text, &self.draft.decision_id());
        mask.end_readably(&text, out);
        self.draft.response_facts(&mask.facts(), rules);
        self.draft.decided(verdict.decision, verdict.reason);
        self.phase = Phase::Swallowing { last: Vec::new() };
    }

    /// Answers in place of a whole answer whose calls were dropped.
    fn whole_text(&mut self, verdict: &Verdict, stream: bool) -> Step {
        let Some(api) = self.api() else {
            return self.unavailable("state", "The gateway lost track of the request.");
        };
        self.draft.decided(verdict.decision, verdict.reason);
        let (id, model) = (self.draft.decision_id(), &self.model);
        let text = spoken::said(&verdict.text, &id);
        let body = provider::text_answer(api, model, &text, stream);
        Step::Forward(Edits {
            set: vec![("content-type".into(), kind(stream).into())],
            body: Some(body),
            ..Edits::default()
        })
    }

    fn asker(&self, worker: &Worker) -> Asker {
        let role = self.role.and_then(|role| worker.config.roles.get(role));
        Asker {
            person: self.person.clone(),
            role: role.map(|role| role.name.clone()).unwrap_or_default(),
            exchange: self.draft.decision_id(),
            endpoint: self.endpoint.name(),
            model: self.model.clone(),
        }
    }
}

/// What each rule asks that wants somebody asked.
pub(super) fn questions(
    worker: &Worker,
    verdict: &policy::Verdict,
    items: &[ContentItem],
    findings: &[Placed],
) -> Vec<Question> {
    let rules = verdict.asking.iter();
    let rules = rules.filter_map(|place| Some((*place, worker.config.rules.get(*place)?)));
    rules
        .map(|(place, rule)| {
            let cause = policy::cause(place, rule, items);
            let findings = findings
                .iter()
                .filter(|placed| policy::covers(rule, Direction::Request, placed.finding.detector));
            Question::new(rule, cause, findings)
        })
        .collect()
}

/// Content type of an answer.
fn kind(stream: bool) -> &'static str {
    if stream {
        "text/event-stream"
    } else {
        "application/json"
    }
}

const DESK_TEXT: &str =
    "An approval is needed, and the approval desk cannot be reached; try again soon.";

fn verdict(outcome: &Outcome) -> Verdict {
    let (situation, reason, text) = match outcome {
        Outcome::Pending(told) => ("pending", "approval", told.text(TOOL_CALL)),
        Outcome::Refused(told) => {
            let decision = Situation::Denied.decision();
            (decision, told.state.name(), told.text(TOOL_CALL))
        }
        Outcome::Unavailable(reason) => {
            let decision = Situation::Unavailable.decision();
            let text = format!("{TOOL_CALL} was left out. {DESK_TEXT}");
            (decision, *reason, text)
        }
        Outcome::Granted => ("allow", "", String::new()),
    };
    Verdict {
        decision: situation,
        reason,
        text,
    }
}
