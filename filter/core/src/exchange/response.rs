//! The response's way: mask, policy, approval.

use std::rc::Rc;

use crate::{
    config::{Action, Direction},
    endpoint::Endpoint,
    headers::Headers,
    policy::{self, Rules},
    provider::{self, AnswerRule, Detectors, DueCalls, ResponseMask, Unreadable},
    reply::{Situation, reply_for},
    spoken,
    time::UnixTime,
    worker::Worker,
};

use super::{Edits, Exchange, Phase, ResponseSource, Step, forward_body};

/// Largest response that is held to be masked whole, in bytes; a stream has no such bound.
pub const MAX_HELD_RESPONSE_BYTES: usize = 16 << 20;

/// Headers of an answer that do not reach the caller.
const DROPPED: [&str; 5] = ["content-length", "location", "link", "set-cookie", "etag"];

/// Said in place of an answer with a secret in text that must not be changed.
const SIGNED_TEXT: &str = "The model's signed thinking holds a secret, and a rule refuses that.";

impl Exchange {
    /// Takes the response's headers; `end` says that no body follows.
    pub fn response_headers(
        &mut self,
        worker: &mut Worker,
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
            self.phase = Phase::Holding { source, stream };
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
            self.phase = Phase::Swallowing { last: Vec::new() };
            self.draft.complete();
            return Step::Forward(edits);
        }
        let events = headers
            .one("content-type")
            .is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"));
        // What is not a stream is masked whole, whatever it says that it is.
        match (self.api(), self.masker.clone()) {
            (Some(api), Some(masker)) if stream && events && status == 200 => {
                let mut mask = ResponseMask::new(
                    api,
                    masker.passing(worker.passes(Direction::Answer, now)),
                    &worker.provider_limits(),
                    worker.config.watch_answers.clone(),
                )
                .with_rule(answer_rule(worker, now));
                if let Some(shown) = self.shown.take() {
                    mask = mask.restoring(shown);
                }
                let (mask, first) = (Box::new(mask), Vec::new());
                self.said_at = now;
                self.phase = Phase::Streaming { mask, first };
                Step::Forward(edits)
            }
            _ => {
                self.phase = Phase::Holding { source, stream };
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
    pub fn response_body(
        &mut self,
        worker: &mut Worker,
        chunk: &[u8],
        end: bool,
        now: UnixTime,
    ) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Start) {
            Phase::Streaming { mut mask, first } => {
                self.draft.response_bytes(chunk.len());
                let mut out = first;
                out.reserve(chunk.len() + 64);
                if let Err(error) = self.push(worker, &mut mask, chunk, &mut out) {
                    self.break_stream(worker, &mut mask, (error, chunk.len()), &mut out, now);
                    return forward_body(out);
                }
                if end {
                    mask.finish(&mut out);
                }
                self.stream_step(worker, mask, out, end, now)
            }
            Phase::AskingStream(waiting) => self.waiting_stream(worker, waiting, chunk, end, now),
            Phase::Holding { source, stream } => {
                self.draft.response_bytes(chunk.len());
                self.whole_response(worker, chunk, source, stream, now)
            }
            Phase::Swallowing { last } => {
                self.phase = Phase::Swallowing { last: Vec::new() };
                forward_body(last)
            }
            other => {
                self.phase = other;
                Step::Forward(Edits::default())
            }
        }
    }

    /// Sends a piece of a stream through its mask, and takes room for what of it is recorded.
    pub(super) fn push(
        &mut self,
        worker: &mut Worker,
        mask: &mut ResponseMask,
        chunk: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        let recorded = mask.recorded();
        let pushed = mask.push(chunk, out);
        let more = mask.recorded() - recorded;
        if worker.reserve(more) {
            self.reserved += more;
        } else {
            mask.stop_recording();
        }
        pushed
    }

    /// Ends a stream that cannot be read on.
    pub(super) fn break_stream(
        &mut self,
        worker: &Worker,
        mask: &mut ResponseMask,
        (error, bytes): (Unreadable, usize),
        out: &mut Vec<u8>,
        now: UnixTime,
    ) {
        let facts = mask.facts();
        let text = match error {
            Unreadable::Signed => SIGNED_TEXT.to_owned(),
            Unreadable::Refused => refused(worker.rules(now), &facts.by_detector),
            _ => "The rest of the answer could not be checked and was left out.".to_owned(),
        };
        let text = spoken::added(&text, &self.draft.decision_id());
        mask.end_readably(&text, out);
        self.draft.response_facts(&facts, worker.rules(now));
        match error {
            Unreadable::Signed => self.draft.decided("deny", "signed"),
            Unreadable::Refused => self.draft.decided("deny", "findings"),
            _ => {
                self.draft.unscanned("response", "unreadable", bytes);
                self.draft.decided("unreadable", "response");
            }
        }
        self.phase = Phase::Swallowing { last: Vec::new() };
    }

    fn whole_response(
        &mut self,
        worker: &mut Worker,
        body: &[u8],
        source: ResponseSource,
        stream: bool,
        now: UnixTime,
    ) -> Step {
        self.phase = Phase::Swallowing { last: Vec::new() };
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
        let masker = masker.passing(worker.passes(Direction::Answer, now));
        let limits = worker.provider_limits();
        let ok = self.draft.upstream_ok();
        let answer = match (self.endpoint, self.api()) {
            (Endpoint::Models, _) if ok => {
                let allowed = |model: &str| self.allows(worker, model);
                provider::models::restrict(body, &allowed, Endpoint::inspected())
                    .map(|body| (Some(body), None, DueCalls::default()))
            }
            (_, Some(api)) if ok => {
                let watch = &worker.config.watch_answers;
                let shown = self.shown.take();
                provider::mask_response(api, &masker, body, &limits, watch, shown)
                    .map(|masked| (masked.body, Some(masked.facts), masked.calls))
            }
            _ => provider::mask_plain(&masker, body, &limits)
                .map(|masked| (masked.body, Some(masked.facts), masked.calls)),
        };
        let Ok((changed, facts, calls)) = answer else {
            self.draft.unscanned("response", "unreadable", body.len());
            let text = "GitHub's answer could not be checked and was left out.";
            return self.reply(Situation::Unreadable, "response", text);
        };
        if let Some(mut facts) = facts {
            match answer_rule(worker, now)(&facts.passed, &facts.by_detector) {
                Some(Unreadable::Signed) => {
                    self.draft.response_facts(&facts, worker.rules(now));
                    return self.reply(Situation::Denied, "signed", SIGNED_TEXT);
                }
                Some(_) => {
                    let text = refused(worker.rules(now), &facts.by_detector);
                    self.draft.response_facts(&facts, worker.rules(now));
                    return self.reply(Situation::Denied, "findings", &text);
                }
                None => {}
            }
            if !self.reserve(worker, facts.content.len()) {
                facts.content.clear();
                facts.content_truncated = true;
            }
            self.draft.response_facts(&facts, worker.rules(now));
        }
        if !calls.calls.is_empty() {
            let body = changed.unwrap_or_else(|| body.to_owned());
            return self.whole_step(worker, &calls, body, stream, now);
        }
        self.draft.complete();
        Step::Forward(Edits {
            body: changed,
            ..Edits::default()
        })
    }
}

/// What the caller is told in place of an answer that a rule refuses.
fn refused(rules: Rules<'_>, found: &Detectors) -> String {
    let verdict = policy::decide(rules, Direction::Answer, found, &[]);
    let rule = verdict.rule.unwrap_or_default();
    format!("The answer holds a secret, and rule {rule} refuses that.")
}

/// What the rules refuse: findings in texts that cannot be masked, about which nobody can be asked,
/// and findings that they deny.
fn answer_rule(worker: &Worker, now: UnixTime) -> AnswerRule {
    let all = worker.config.rules.clone();
    let observes = worker.rules(now).observes;
    Rc::new(move |signed, found| {
        let all = &all;
        let rules = Rules { all, observes };
        let action = |direction, found| policy::decide(rules, direction, found, &[]).action;
        if action(Direction::Any, signed) > Action::Mask {
            Some(Unreadable::Signed)
        } else {
            (action(Direction::Answer, found) == Action::Deny).then_some(Unreadable::Refused)
        }
    })
}
