//! Gathers the facts of an exchange into its record.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use contract::{Content, Envelope};
use data_encoding::{Encoding, Specification};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    approval::Trail,
    config::{Action, Direction},
    endpoint::Endpoint,
    exchange::ResponseSource,
    headers::{Headers, cut, identifier},
    identity::Identity,
    json::Span,
    mask::{Finding, Masker, Passed},
    policy::{self, Rules, Verdict},
    provider::{Annotation, Detectors, MaskedRequest, Placed, ResponseFacts},
    repeats::{Digest, Written},
    time::UnixTime,
};

/// Longest path in a record, in bytes.
const MAX_PATH_BYTES: usize = 256;

/// Most entries of the list of what was not scanned.
const MAX_UNSCANNED: usize = 64;

/// How the host saw the exchange end.
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    /// Status that the caller got; 0 if it got none.
    pub status: u16,
    /// Whether the caller left before the end.
    pub caller_left: bool,
}

/// A sealed close record and the envelope it was made from.
#[derive(Debug)]
pub struct Closed {
    /// Row bytes but for the sink's stamp.
    pub record: Rc<Vec<u8>>,
    /// The facts, for metrics.
    pub envelope: Envelope,
    /// Findings by direction and detector, for metrics.
    pub findings: FindingCounts,
}

/// Numbers of findings by direction and detector, both from closed lists.
pub type FindingCounts = BTreeMap<(&'static str, &'static str), u64>;

/// The facts of an exchange so far.
#[derive(Debug)]
pub(crate) struct Draft {
    envelope: Envelope,
    content: Content,
    /// Longer texts of the request's content.
    written: Vec<Written>,
    /// As JSON, with commas between.
    findings: String,
    findings_count: u64,
    by_detector: FindingCounts,
    unscanned: Vec<Value>,
    unscanned_bytes: u64,
    response_bytes: u64,
    masked: bool,
    progress: Progress,
    started_at: UnixTime,
    decision_id: String,
}

/// How far an exchange got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// No request was seen.
    Nothing,
    /// A request was seen.
    Begun,
    /// It was let go to the upstream.
    Forwarded,
    /// The answer came to its end.
    Complete,
}

impl Draft {
    pub(crate) fn new(random: [u8; 10], now: UnixTime) -> Self {
        let decision_id = decision_id(random, now);
        Self {
            envelope: Envelope {
                kind: Some("close".into()),
                decision_id: Some(decision_id.clone()),
                started_at: Some(now.micros()),
                ..Envelope::default()
            },
            content: Content::default(),
            written: Vec::new(),
            findings: String::new(),
            findings_count: 0,
            by_detector: FindingCounts::new(),
            unscanned: Vec::new(),
            unscanned_bytes: 0,
            response_bytes: 0,
            masked: false,
            progress: Progress::Nothing,
            started_at: now,
            decision_id,
        }
    }

    pub(crate) fn decision_id(&self) -> String {
        self.decision_id.clone()
    }

    /// Whether a request was seen.
    pub(crate) fn begun(&self) -> bool {
        self.progress >= Progress::Begun
    }

    pub(crate) fn request(
        &mut self,
        endpoint: Endpoint,
        headers: &Headers,
        path: &str,
        client_address: &str,
        masker: &Masker,
    ) {
        self.progress = Progress::Begun;
        // What a caller can write freely is masked before it is recorded.
        let quiet = |text: &str| {
            let masked = masker.mask(text, &mut Vec::new());
            masked.unwrap_or_else(|| text.to_owned())
        };
        let id = |name: &str| headers.one(name).and_then(identifier).map(|id| quiet(&id));
        let envelope = &mut self.envelope;
        envelope.endpoint = Some(endpoint.name().into());
        envelope.method = id(":method");
        envelope.path = Some(cut(&quiet(cut(path, 4 * MAX_PATH_BYTES)), MAX_PATH_BYTES).into());
        envelope.host = id(":authority");
        envelope.request_id = id("x-request-id");
        envelope.session_id = id("x-client-session-id").or_else(|| id("vscode-sessionid"));
        envelope.interaction_id = id("x-interaction-id");
        envelope.agent_task_id = id("x-agent-task-id");
        envelope.initiator = id("x-initiator");
        envelope.client = id("user-agent").or_else(|| id("editor-version"));
        envelope.repository = id("x-github-repository-nwo");
        envelope.client_address = identifier(client_address);
        if endpoint == Endpoint::Completions {
            let engine = path.split('/').nth(3).unwrap_or_default();
            envelope.model = identifier(engine).map(|engine| quiet(&engine));
        }
    }

    pub(crate) fn identity(&mut self, identity: &Identity) {
        self.envelope.person = Some(identity.subject.clone());
        self.envelope.issuer = Some(identity.issuer.clone());
    }

    pub(crate) fn role(&mut self, name: &str) {
        self.envelope.role = Some(name.to_owned());
    }

    pub(crate) fn model(&mut self, model: &str) {
        self.envelope.model = identifier(model);
    }

    pub(crate) fn model_name(&self) -> String {
        self.envelope.model().to_owned()
    }

    pub(crate) fn request_bytes(&mut self, bytes: usize) {
        self.envelope.request_bytes = i64::try_from(bytes).ok();
    }

    pub(crate) fn request_findings(
        &mut self,
        masked: &MaskedRequest,
        verdict: &Verdict,
        rules: Rules<'_>,
    ) {
        let action = match verdict.action {
            Action::Allow => "allow",
            Action::Mask => "mask",
            Action::AskApproval => "ask_approval",
            Action::Deny => "deny",
        };
        self.masked |= verdict.action != Action::Deny && masked.has_masked;
        self.findings_count += masked.findings_count;
        self.add_findings(&masked.findings, "request", action, |detector, stays| {
            verdict.rule_of(rules, Direction::Request, detector, stays)
        });
        self.count("request", &masked.by_detector);
        for entry in &masked.unscanned {
            self.unscanned("request", entry.reason.name(), whole(entry.bytes));
        }
        self.scanned(masked.scanned_bytes);
        self.rule(verdict);
        self.shadowed(verdict);
    }

    /// Rules in shadow that would have demanded more.
    pub(crate) fn shadowed(&mut self, verdict: &Verdict) {
        for rule in &verdict.shadowed {
            let all = self.envelope.shadowed.get_or_insert_default();
            if all.split(',').all(|known| known != rule) {
                all.push_str(if all.is_empty() { "" } else { "," });
                all.push_str(rule);
            }
        }
    }

    /// The rule that decided, if one did.
    pub(crate) fn rule(&mut self, verdict: &Verdict) {
        if verdict.rule.is_some() {
            self.envelope.rule.clone_from(&verdict.rule);
        }
    }

    /// What became of asking people.
    pub(crate) fn approval(&mut self, trail: &Trail) {
        let envelope = &mut self.envelope;
        envelope.approval_id.clone_from(&trail.id);
        envelope.approved_by.clone_from(&trail.by);
        envelope.approval_state = Some(trail.state.to_owned());
        envelope.approval_covers = Some(trail.covers.to_owned());
        envelope.cause_sha256 = trail.cause.map(|digest| digest.0.to_vec());
        let held = envelope.held_ms.unwrap_or(0);
        envelope.held_ms = Some(held + millis(trail.held));
    }

    /// Keeps what is recorded of the request, cut at `most` bytes, and where its texts stand in it.
    pub(crate) fn request_content(
        &mut self,
        content: Vec<u8>,
        texts: &[(Digest, Span)],
        most: usize,
    ) {
        let Ok(mut content) = String::from_utf8(content) else {
            return self.content_missing();
        };
        let kept = cut(&content, most).len();
        self.truncated(kept < content.len());
        content.truncate(kept);
        self.written = Written::find(&content, texts);
        self.content.request_content = Some(content);
    }

    /// There was no room for content.
    pub(crate) fn content_missing(&mut self) {
        self.truncated(true);
    }

    pub(crate) fn response(
        &mut self,
        status: u16,
        source: ResponseSource,
        headers: &Headers,
        now: UnixTime,
    ) {
        match source {
            ResponseSource::Envoy => self.decided("unavailable", "upstream"),
            ResponseSource::Upstream => {
                self.envelope.upstream_status = Some(status.into());
                self.envelope.upstream_request_id =
                    headers.one("x-github-request-id").and_then(identifier);
            }
        }
        self.envelope.first_byte_ms = Some(millis(now.since(self.started_at)));
    }

    pub(crate) fn upstream_ok(&self) -> bool {
        self.envelope.upstream_status == Some(200)
    }

    pub(crate) fn response_bytes(&mut self, bytes: usize) {
        self.response_bytes += bytes as u64;
    }

    /// Notes an answer, and what the rules say of its findings.
    pub(crate) fn response_facts(&mut self, facts: &ResponseFacts, rules: Rules<'_>) {
        let verdict = policy::decide(rules, Direction::Answer, &facts.by_detector, &[]);
        if verdict.action == Action::Deny || self.envelope.rule.is_none() {
            self.rule(&verdict);
        }
        self.shadowed(&verdict);
        self.masked |= facts.has_masked;
        self.findings_count += facts.findings_count;
        self.add_findings(&facts.findings, "response", "mask", |detector, stays| {
            verdict.rule_of(rules, Direction::Answer, detector, stays)
        });
        self.count("response", &facts.by_detector);
        self.files(facts);
        for entry in &facts.unscanned {
            self.unscanned("response", entry.reason.name(), whole(entry.bytes));
        }
        self.scanned(facts.scanned_bytes);
        let envelope = &mut self.envelope;
        let tokens = |tokens: Option<u64>| tokens.and_then(|tokens| i64::try_from(tokens).ok());
        envelope.input_tokens = tokens(facts.usage.input);
        envelope.output_tokens = tokens(facts.usage.output);
        envelope.cached_tokens = tokens(facts.usage.cached);
        envelope.response_model = facts.model.as_deref().and_then(identifier);
        envelope.finish_reason = facts.finish.as_deref().and_then(identifier);
        let list = |list: Vec<Value>| (!list.is_empty()).then(|| Value::Array(list).to_string());
        envelope.tool_calls = list(facts.tool_calls.iter().map(|name| json!(name)).collect());
        envelope.annotations = list(facts.annotations.iter().map(Annotation::to_json).collect());
        self.content.response_content = Some(facts.content.clone());
        if facts.done {
            self.complete();
        }
        self.truncated(facts.content_truncated);
    }

    pub(crate) fn unscanned(&mut self, direction: &str, reason: &str, bytes: usize) {
        self.unscanned_bytes += bytes as u64;
        if self.unscanned.len() < MAX_UNSCANNED {
            let entry = json!({ "direction": direction, "reason": reason, "bytes": bytes });
            self.unscanned.push(entry);
        }
    }

    fn scanned(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.envelope.scanned_bytes.unwrap_or(0);
        self.envelope.scanned_bytes = Some(before.saturating_add(bytes));
    }

    pub(crate) fn complete(&mut self) {
        self.progress = Progress::Complete;
    }

    /// The answer did not get to the caller, though it came to its end.
    pub(crate) fn incomplete(&mut self) {
        self.progress = self.progress.min(Progress::Forwarded);
    }

    /// The request was let go to the upstream.
    pub(crate) fn forwarded(&mut self) {
        self.progress = Progress::Forwarded;
    }

    /// What was on its way did not get there.
    pub(crate) fn failed(&mut self, reason: &str) {
        self.progress = self.progress.min(Progress::Forwarded);
        self.decided("unavailable", reason);
    }

    /// What was decided other than to let the request pass, and why.
    pub(crate) fn decided(&mut self, decision: &str, reason: &str) {
        self.envelope.decision = Some(decision.to_owned());
        if !reason.is_empty() {
            self.envelope.reason = Some(reason.to_owned());
        }
    }

    /// The record of a request that is about to go upstream. It takes the request's content along.
    pub(crate) fn open(&mut self) -> (Envelope, Content, Vec<Written>) {
        self.tally();
        let envelope = Envelope {
            kind: Some("open".into()),
            decision: Some(self.let_pass().into()),
            ..self.envelope.clone()
        };
        let content = Content {
            request_content: self.content.request_content.take(),
            ..Content::default()
        };
        (envelope, content, std::mem::take(&mut self.written))
    }

    /// Where the open record stands.
    pub(crate) fn opened(&mut self, seq: i64) {
        self.envelope.open_seq = Some(seq);
    }

    /// The decision over what passes.
    fn let_pass(&self) -> &'static str {
        if self.masked { "mask" } else { "allow" }
    }

    /// Writes down what was found and what was not scanned so far.
    fn tally(&mut self) {
        let envelope = &mut self.envelope;
        envelope.findings_count = i64::try_from(self.findings_count).ok();
        envelope.findings = Some(format!("[{}]", self.findings));
        envelope.unscanned = serde_json::to_string(&self.unscanned).ok();
        envelope.unscanned_bytes = i64::try_from(self.unscanned_bytes).ok();
    }

    pub(crate) fn close(mut self, end: End, now: UnixTime) -> (Envelope, Content, Vec<Written>) {
        self.tally();
        let passed = self.let_pass();
        let envelope = &mut self.envelope;
        let ended = match (&envelope.decision, end.caller_left) {
            (_, true) => "aborted",
            (Some(_), false) => "reply",
            (None, false) if self.progress == Progress::Complete => "complete",
            (None, false) => "cut",
        };
        envelope.ended = Some(ended.into());
        if envelope.decision.is_none() {
            let forwarded = self.progress >= Progress::Forwarded;
            envelope.decision = Some(if forwarded { passed } else { "none" }.into());
        }
        envelope.status = Some(end.status.into());
        envelope.duration_ms = Some(millis(now.since(self.started_at)));
        if envelope.upstream_status.is_some() {
            envelope.response_bytes = i64::try_from(self.response_bytes).ok();
        }
        (self.envelope, self.content, self.written)
    }

    /// A header with a secret was left out.
    pub(crate) fn header_findings(&mut self, name: &str, findings: Vec<Finding>) {
        let placed = findings.into_iter().map(|finding| Placed {
            finding,
            channel: format!("header {name}"),
            passed: false,
        });
        let placed: Vec<Placed> = placed.collect();
        self.masked = true;
        for placed in &placed {
            self.count("request", &[(placed.finding.detector, 1)].into());
        }
        self.findings_count += placed.len() as u64;
        self.add_findings(&placed, "request", "remove", |_, _| None);
    }

    /// Placeholders in files that an answer writes.
    fn files(&mut self, facts: &ResponseFacts) {
        self.findings_count += facts.restored + facts.left;
        for written in &facts.written {
            let (action, place) = if written.restored {
                ("restore", "restored")
            } else {
                ("placeholder", "file")
            };
            *self
                .by_detector
                .entry((place, written.detector))
                .or_default() += 1;
            self.add_finding(&FindingEntry {
                rule: None,
                detector: written.detector,
                direction: "response",
                channel: &written.channel,
                offset: written.offset,
                length: written.length,
                fingerprint: written.fingerprint.as_deref(),
                confidence: None,
                checksum: None,
                action,
            });
        }
    }

    fn count(&mut self, direction: &'static str, found: &Detectors) {
        for (detector, count) in found {
            *self.by_detector.entry((direction, detector)).or_default() += count;
        }
    }

    /// Findings by direction and detector so far.
    pub(crate) fn findings(&mut self) -> FindingCounts {
        std::mem::take(&mut self.by_detector)
    }

    fn truncated(&mut self, now: bool) {
        let before = self.envelope.content_truncated.unwrap_or(false);
        self.envelope.content_truncated = Some(before || now);
    }

    /// `rule_of` tells the rule of a detector's values, those that stay or the others.
    fn add_findings<'r>(
        &mut self,
        placed: &[Placed],
        direction: &str,
        action: &str,
        rule_of: impl Fn(&str, bool) -> Option<&'r str>,
    ) {
        for placed in placed {
            let finding = &placed.finding;
            let rule = match finding.passed {
                Some(Passed::Exempt | Passed::Observed) => None,
                passed => rule_of(finding.detector, passed.is_some()),
            };
            self.add_finding(&FindingEntry {
                rule,
                detector: finding.detector,
                direction,
                channel: &placed.channel,
                offset: finding.offset,
                length: finding.length,
                fingerprint: Some(&finding.fingerprint),
                confidence: Some(finding.confidence.name()),
                checksum: finding.checksum,
                action: match finding.passed {
                    _ if placed.passed => "pass",
                    Some(Passed::Exempt) => "exempt",
                    Some(Passed::Rule) => "allow",
                    Some(Passed::Observed) => "observe",
                    None => action,
                },
            });
        }
    }

    fn add_finding(&mut self, entry: &FindingEntry<'_>) {
        if let Ok(entry) = serde_json::to_string(entry) {
            self.findings
                .push_str(if self.findings.is_empty() { "" } else { "," });
            self.findings.push_str(&entry);
        }
    }
}

/// A finding as records show it.
#[derive(Serialize)]
struct FindingEntry<'e> {
    detector: &'static str,
    direction: &'e str,
    channel: &'e str,
    offset: u64,
    length: u64,
    fingerprint: Option<&'e str>,
    action: &'e str,
    rule: Option<&'e str>,
    confidence: Option<&'static str>,
    checksum: Option<bool>,
}

fn whole(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// `gd_` and 26 characters of base32 that sort by time: 48 bits of milliseconds, 80 random bits.
fn decision_id(random: [u8; 10], now: UnixTime) -> String {
    let millis = now.millis().to_be_bytes();
    let mut bits = [0; 16];
    for (to, from) in bits.iter_mut().zip(millis.iter().skip(2).chain(&random)) {
        *to = *from;
    }
    let mut id = "gd_".to_owned();
    if let Some(encoding) = sortable_base32() {
        id.push_str(&encoding.encode(&bits));
    }
    id
}

/// RFC 4648's `base32hex` in lower case: its order is that of the bits.
fn sortable_base32() -> Option<Encoding> {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("0123456789abcdefghijklmnopqrstuv");
    specification.encoding().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decision_ids_sort_by_time_and_differ() {
        let id = |millis: u64, byte| decision_id([byte; 10], UnixTime(millis * 1_000));
        assert_eq!(id(1, 0).len(), 3 + 26);
        assert!(id(1_800_000_000_000, 255) < id(1_800_000_000_001, 0));
        assert_ne!(id(1, 0), id(1, 1));
    }
}
