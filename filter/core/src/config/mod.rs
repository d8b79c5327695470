//! The configuration as the filter uses it, and the one way to it from what a person wrote.
//!
//! It arrives as text (JSON, first byte `{`) or as a serialised `google.protobuf.Struct`; both give
//! the same [`Config`] with the same policy digest. A faulty configuration is refused whole, with
//! every fault's path and reason.

use std::{collections::HashSet, rc::Rc, time::Duration};

use contract::approval::{self, Covers};
use prost::Message;
use prost_types::{Struct, value::Kind};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use wildmatch::WildMatch;

use crate::{
    provider::{CallPattern, Watch},
    time::UnixTime,
};

mod detectors;
mod raw;

pub use detectors::Detectors;
pub use raw::{Direction, Mode, RawConfig, Restore, RoleEndpoint, WhenFull};

use raw::{
    Day, Enforcement, RawAction, RawApprovals, RawCovers, RawExemption, RawFindings, RawIssuer,
    RawRole, RawRule, RawToolCall,
};

/// Largest configuration that is read.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

/// Most values that somebody may vouch for.
const MAX_EXEMPTIONS: usize = 1000;

/// Longest glob over names and arguments of tools.
const MAX_GLOB_CHARS: usize = 256;

/// The checked configuration.
#[derive(Debug)]
pub struct Config {
    /// Name of the deployment.
    pub deployment: String,
    /// Where clients find the gateway.
    pub hosts: Hosts,
    /// Accepted issuers.
    pub issuers: Vec<Issuer>,
    /// Environment variable with the GitHub credential.
    pub credential_env: String,
    /// Roles; the first that fits counts.
    pub roles: Vec<Role>,
    /// Rules without those that are off.
    pub rules: Rc<[Rule]>,
    /// The gateway's detectors and those of the deployment.
    pub detectors: Detectors,
    /// Values that somebody vouches for.
    pub exemptions: Vec<Exemption>,
    /// Until when the rules are not in force; the epoch if they are.
    pub observed_until: UnixTime,
    /// Where values go back in answers.
    pub restore: Restore,
    /// How people are asked; there if a rule asks.
    pub approvals: Option<Approvals>,
    /// What the rules want to know of requests.
    pub watch: Watch,
    /// What the rules want to know of answers.
    pub watch_answers: Rc<Watch>,
    /// Most bytes of masked content in a record, per direction.
    pub max_content_bytes: usize,
    /// Most bytes that a worker keeps of open exchanges and of records that are not durable.
    pub max_pending_bytes: usize,
    /// The sink that says what is durable, if one does.
    pub sink: Option<Sink>,
    /// Largest request body in bytes.
    pub max_request_bytes: usize,
    /// All of it in canonical JSON: sorted keys, defaults filled in.
    pub policy: String,
    /// SHA-256 of `policy`, in hex.
    pub policy_digest: String,
}

/// Where clients find the gateway.
#[derive(Clone, Debug)]
pub struct Hosts {
    domain: String,
    port: u16,
}

/// A sink that says what is durable.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Envoy cluster of its HTTP interface.
    pub cluster: String,
    /// Whether nothing goes upstream before its record is durable.
    pub strict: bool,
    /// Whether exchanges are refused while a worker can keep no more.
    pub refuses: bool,
}

/// One accepted issuer.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Exact `iss`.
    pub issuer: String,
    /// Accepted `aud` values.
    pub audiences: HashSet<String>,
    /// Claim that names the person.
    pub subject_claim: String,
    /// Claim that lists groups.
    pub groups_claim: String,
    /// Envoy cluster of the key set.
    pub cluster: String,
    /// Path of the key set.
    pub path: String,
    /// Host header of the call.
    pub host: String,
    /// Age at which the set is fetched again.
    pub refresh: Duration,
    /// Age up to which an old set is used.
    pub grace: Duration,
}

/// What a group of people may do.
#[derive(Clone, Debug)]
pub struct Role {
    /// Name.
    pub name: String,
    /// Groups that have it.
    pub groups: HashSet<String>,
    /// Whether everybody has it.
    pub everybody: bool,
    /// Endpoints.
    pub endpoints: Vec<RoleEndpoint>,
    models: Vec<WildMatch>,
}

/// What happens when something is found, or a tool is called.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Name.
    pub name: String,
    /// When it matches.
    pub condition: Condition,
    /// What is demanded.
    pub action: Action,
    /// Whether it takes effect; never `Off`.
    pub mode: Mode,
    /// Who is asked; empty if nobody is.
    pub approvers: String,
    /// What a grant covers.
    pub covers: Covers,
    /// SHA-256 of the rule's canonical JSON: another rule is another question.
    pub digest: approval::Digest,
}

/// When a rule matches.
#[derive(Clone, Debug)]
pub enum Condition {
    /// A request has findings.
    Findings {
        /// How many at least.
        at_least: u64,
        /// Where they are.
        direction: Direction,
        /// Detectors that count; empty means all.
        detectors: Vec<&'static str>,
    },
    /// A tool is called; the pattern of [`Watch::calls`] has the rule's number.
    ToolCall,
}

/// A value that passes.
#[derive(Clone, Debug)]
pub struct Exemption {
    /// Its fingerprint.
    pub fingerprint: String,
    /// When it does not pass any more.
    pub end: UnixTime,
}

/// How people are asked.
#[derive(Clone, Debug)]
pub struct Approvals {
    /// Envoy cluster of the desk.
    pub cluster: String,
    /// The desk's URL for approvers.
    pub public_url: String,
    /// How long a caller waits.
    pub hold: Duration,
    /// How long the desk waits for a decision.
    pub pending: Duration,
    /// Time in which a grant must be used first.
    pub grant: Duration,
    /// How long a used grant of content stays good.
    pub remember: Duration,
    /// The desk as the issuer of grants.
    pub issuer: Issuer,
}

/// What a rule demands; the greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The text passes as it is.
    Allow,
    /// Findings are replaced by placeholders.
    Mask,
    /// A person decides.
    AskApproval,
    /// The exchange is refused.
    Deny,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: `rules[2].when.findings`; `.` is the whole.
    pub path: String,
    /// What is wrong, without the value.
    pub reason: String,
}

/// What is wrong so far.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a fault if this is not good.
    #[inline(never)] // in so many places, it would be much to compile
    fn check(&mut self, good: bool, path: &str, reason: &str) {
        if !good {
            self.0.push(fault(path, reason));
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl Config {
    /// Reads a configuration as Envoy hands it over: text or a serialised `Struct`.
    ///
    /// # Errors
    ///
    /// All faults that could be found at once, each with its path.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Vec<Fault>> {
        if bytes.len() > MAX_CONFIG_BYTES {
            return Err(vec![fault(".", "larger than 1 MiB")]);
        }
        let value = if bytes.trim_ascii_start().starts_with(b"{") {
            serde_json::from_slice(bytes).or_else(|error| {
                // A `Struct` begins with the same two bytes, a line feed and a brace, if its first
                // entry is 123 bytes long. It never is JSON.
                let is_struct = bytes.starts_with(b"\n");
                let tree = is_struct.then(|| Struct::decode(bytes).ok()).flatten();
                let at = format!("line {} column {}", error.line(), error.column());
                tree.map(from_struct)
                    .ok_or_else(|| vec![fault(".", &format!("not JSON at {at}"))])
            })?
        } else {
            let tree = Struct::decode(bytes)
                .map_err(|_| vec![fault(".", "neither JSON nor a google.protobuf.Struct")])?;
            from_struct(tree)
        };
        Self::from_value(value)
    }

    /// Reads a configuration from a tree of values.
    ///
    /// # Errors
    ///
    /// As [`Config::from_bytes`].
    pub fn from_value(value: Value) -> Result<Self, Vec<Fault>> {
        let raw: RawConfig =
            serde_path_to_error::deserialize(value).map_err(|error| vec![shape_fault(&error)])?;
        Self::try_from(raw)
    }
}

impl Direction {
    /// Whether a rule for this direction speaks of the other one; of `any`, each does.
    pub fn includes(self, other: Self) -> bool {
        self == Self::Any || other == Self::Any || self == other
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = Vec<Fault>;

    fn try_from(raw: RawConfig) -> Result<Self, Vec<Fault>> {
        let policy = canonical(&raw);
        let policy_digest = data_encoding::HEXLOWER.encode(&Sha256::digest(policy.as_bytes()));
        let mut faults = Faults::default();
        check_people(&raw, &mut faults);
        let detectors = Detectors::of(&raw.masking, &mut faults);
        check_policy(&raw, &detectors, &mut faults);
        check_limits(&raw, &mut faults);
        if !faults.0.is_empty() {
            return Err(faults.0);
        }
        let approvals = raw.approvals.map(|approvals| {
            let (domain, deployment) = (&raw.hosts.domain, &raw.deployment);
            Approvals::of(approvals, domain, deployment)
        });
        let rules = raw.rules.iter().filter(|rule| rule.mode != Mode::Off);
        let calls: Vec<(CallPattern, Mode)> = rules
            .enumerate()
            .filter_map(|(number, rule)| {
                let pattern = call_pattern(number, rule.when.tool_call.as_ref()?);
                Some((pattern, rule.mode))
            })
            .collect();
        // An answer does not wait for a rule that decides nothing; it is recorded as history.
        let enforced = calls.iter().filter(|(_, mode)| *mode == Mode::Enforce);
        let watch_answers = Watch {
            items: false,
            calls: enforced.map(|(pattern, _)| pattern.clone()).collect(),
        };
        let rules: Vec<Rule> = {
            let rules = raw.rules.into_iter();
            rules
                .filter_map(|rule| Rule::of(rule, &detectors))
                .collect()
        };
        let asks = |rule: &Rule| rule.action == Action::AskApproval && rule.mode == Mode::Enforce;
        Ok(Self {
            approvals,
            watch: Watch {
                items: rules.iter().any(asks),
                calls: calls.into_iter().map(|(pattern, _)| pattern).collect(),
            },
            watch_answers: Rc::new(watch_answers),
            deployment: raw.deployment,
            hosts: Hosts {
                domain: raw.hosts.domain,
                port: u16::try_from(raw.hosts.port.0).unwrap_or(0),
            },
            issuers: raw.identity.issuers.into_iter().map(Issuer::from).collect(),
            credential_env: raw.credential.env,
            roles: raw.roles.into_iter().map(Role::from).collect(),
            rules: rules.into(),
            detectors,
            restore: raw.masking.restore,
            exemptions: raw
                .masking
                .exemptions
                .into_iter()
                .map(Exemption::from)
                .collect(),
            observed_until: raw.observe_until.map(end_of).unwrap_or_default(),
            max_content_bytes: usize::try_from(raw.audit.max_content.0).unwrap_or(0),
            max_pending_bytes: usize::try_from(raw.audit.max_pending.0).unwrap_or(0),
            sink: (!raw.audit.cluster.is_empty()).then(|| Sink {
                cluster: raw.audit.cluster,
                strict: raw.audit.strict,
                refuses: raw.audit.strict || raw.audit.when_full == WhenFull::Refuse,
            }),
            max_request_bytes: usize::try_from(raw.limits.max_request.0).unwrap_or(0),
            policy,
            policy_digest,
        })
    }
}

#[cfg(test)]
impl Config {
    /// A configuration for tests.
    pub(crate) fn example() -> Self {
        let value = serde_json::from_str(include_str!("example.json")).unwrap();
        Self::from_value(value).unwrap()
    }
}

impl Hosts {
    /// URL of the host that plays `role`: `https://api.gw.example`.
    pub fn url(&self, role: &str) -> String {
        let Self { domain, port } = self;
        if *port == 443 {
            format!("https://{role}.{domain}")
        } else {
            format!("https://{role}.{domain}:{port}")
        }
    }
}

impl Role {
    /// Whether the role may use the model.
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.iter().any(|glob| glob.matches(model))
    }
}

impl From<RawExemption> for Exemption {
    fn from(raw: RawExemption) -> Self {
        Self {
            fingerprint: raw.fingerprint,
            end: end_of(raw.until),
        }
    }
}

/// When a day is over.
fn end_of(day: Day) -> UnixTime {
    let end = day.0 + Duration::from_hours(24);
    UnixTime::from_seconds(end.as_secs())
}

impl From<RawRole> for Role {
    fn from(raw: RawRole) -> Self {
        Self {
            everybody: raw.groups.iter().any(|group| group == "*"),
            models: raw.models.iter().map(|glob| WildMatch::new(glob)).collect(),
            name: raw.name,
            groups: raw.groups.into_iter().collect(),
            endpoints: raw.endpoints,
        }
    }
}

impl Rule {
    fn of(raw: RawRule, detectors: &Detectors) -> Option<Self> {
        let action = match raw.then {
            RawAction::Allow => Action::Allow,
            RawAction::Mask => Action::Mask,
            RawAction::AskApproval => Action::AskApproval,
            RawAction::Deny => Action::Deny,
        };
        let digest = approval::Digest(sha256(&raw));
        let condition = raw.when.findings.map(|findings| Condition::Findings {
            at_least: findings.at_least.0,
            direction: findings.direction,
            detectors: detectors.named(&findings.detectors),
        });
        (raw.mode != Mode::Off).then_some(Self {
            name: raw.name,
            condition: condition.unwrap_or(Condition::ToolCall),
            action,
            mode: raw.mode,
            approvers: raw.approvers.unwrap_or_default(),
            covers: match raw.covers {
                RawCovers::Content => Covers::Content,
                RawCovers::Exchange => Covers::Exchange,
            },
            digest,
        })
    }
}

impl Approvals {
    fn of(raw: RawApprovals, domain: &str, deployment: &str) -> Self {
        Self {
            issuer: Issuer {
                issuer: domain.to_owned(),
                audiences: [deployment.to_owned()].into(),
                subject_claim: "sub".to_owned(),
                groups_claim: String::new(),
                cluster: raw.cluster.clone(),
                path: "/v1/keys".to_owned(),
                host: authority(&raw.public_url).unwrap_or_default().to_owned(),
                refresh: Duration::from_mins(10),
                grace: Duration::from_hours(24),
            },
            cluster: raw.cluster,
            public_url: raw.public_url,
            hold: raw.hold.0,
            pending: raw.pending.0,
            grant: raw.grant.0,
            remember: raw.remember.0,
        }
    }
}

/// Who signs in how, with what the gateway asks upstream, and who may what.
fn check_people(raw: &RawConfig, faults: &mut Faults) {
    let name = |text: &str| {
        (1..=40).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    faults.check(
        name(&raw.deployment),
        "deployment",
        "not 1 to 40 of a-z, 0-9 and -",
    );
    faults.check(
        host(&raw.hosts.domain),
        "hosts.domain",
        "not a host name in lower case",
    );
    faults.check(
        (1..=65_535).contains(&raw.hosts.port.0),
        "hosts.port",
        "not 1 to 65535",
    );
    faults.check(
        !raw.identity.issuers.is_empty(),
        "identity.issuers",
        "empty",
    );
    let mut seen = HashSet::new();
    for (index, issuer) in raw.identity.issuers.iter().enumerate() {
        let path = format!("identity.issuers[{index}]");
        let twice = !seen.insert(issuer.issuer.clone());
        faults.check(!twice, &path, "this issuer stands twice");
        check_issuer(issuer, &path, faults);
    }
    let env = &raw.credential.env;
    faults.check(
        env.starts_with("GATE_") && label(env),
        "credential.env",
        "not the name of an environment variable that starts with GATE_",
    );
    faults.check(
        !raw.roles.is_empty(),
        "roles",
        "empty: nobody could do anything",
    );
    let mut seen = HashSet::new();
    for (index, role) in raw.roles.iter().enumerate() {
        let path = format!("roles[{index}]");
        faults.check(label(&role.name), &format!("{path}.name"), "not a name");
        let twice = !seen.insert(role.name.clone());
        faults.check(!twice, &format!("{path}.name"), "this name stands twice");
        faults.check(!role.groups.is_empty(), &format!("{path}.groups"), "empty");
        faults.check(!role.models.is_empty(), &format!("{path}.models"), "empty");
        let endpoints = format!("{path}.endpoints");
        faults.check(!role.endpoints.is_empty(), &endpoints, "empty");
    }
}

/// What is masked, refused and asked about.
fn check_policy(raw: &RawConfig, detectors: &Detectors, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, rule) in raw.rules.iter().enumerate() {
        let path = format!("rules[{index}]");
        faults.check(label(&rule.name), &format!("{path}.name"), "not a name");
        let twice = !seen.insert(rule.name.clone());
        faults.check(!twice, &format!("{path}.name"), "this name stands twice");
        check_rule(rule, detectors, &path, faults);
    }
    match (raw.enforcement, raw.observe_until) {
        (Enforcement::Observe, None) => {
            faults.check(false, "observe_until", "missing: enforcement is observe");
        }
        (Enforcement::Enforce, Some(_)) => {
            faults.check(false, "observe_until", "only where enforcement is observe");
        }
        _ => {}
    }
    let mut seen = HashSet::new();
    for (index, exemption) in raw.masking.exemptions.iter().enumerate() {
        let path = format!("masking.exemptions[{index}]");
        let twice = !seen.insert(&exemption.fingerprint);
        faults.check(!twice, &path, "this fingerprint stands twice");
        check_exemption(exemption, &path, faults);
    }
    let many = raw.masking.exemptions.len() > MAX_EXEMPTIONS;
    faults.check(!many, "masking.exemptions", "more than 1000");
    let asks = |rule: &RawRule| matches!(rule.then, RawAction::AskApproval);
    if let Some(approvals) = &raw.approvals {
        check_approvals(approvals, faults);
    } else {
        let reason = "missing: a rule demands ask_approval";
        faults.check(!raw.rules.iter().any(asks), "approvals", reason);
    }
}

/// What is recorded, and how much at most.
fn check_limits(raw: &RawConfig, faults: &mut Faults) {
    let is_told = !raw.audit.cluster.is_empty();
    faults.check(
        is_told || !raw.audit.strict,
        "audit.cluster",
        "missing: audit.strict needs the sink's word",
    );
    faults.check(
        is_told || raw.audit.when_full == WhenFull::DropContent,
        "audit.cluster",
        "missing: audit.when_full needs the sink's word",
    );
    faults.check(
        raw.audit.max_content.0 <= 3 << 20,
        "audit.max_content",
        "more than 3MiB",
    );
    faults.check(
        (1 << 20..=1 << 30).contains(&raw.audit.max_pending.0),
        "audit.max_pending",
        "not 1MiB to 1GiB",
    );
    faults.check(
        (1..=16 << 20).contains(&raw.limits.max_request.0),
        "limits.max_request",
        "not 1 byte to 16MiB",
    );
}

/// A name of a role or rule, or of a variable.
fn label(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn call_pattern(rule: usize, raw: &RawToolCall) -> CallPattern {
    CallPattern {
        rule,
        name: WildMatch::new(&raw.name),
        arguments: WildMatch::new(&raw.arguments),
    }
}

/// Checks what a rule says of findings.
fn check_findings(
    rule: &RawRule,
    findings: &RawFindings,
    detectors: &Detectors,
    path: &str,
    faults: &mut Faults,
) {
    let at_least = findings.at_least.0;
    let place = format!("{path}.when.findings.at_least");
    faults.check((1..=256).contains(&at_least), &place, "not 1 to 256");
    let allows = matches!(rule.then, RawAction::Allow);
    let reason = "allow lets each value pass: not 1";
    faults.check(!allows || at_least == 1, &place, reason);
    for (number, glob) in findings.detectors.iter().enumerate() {
        let short = glob.len() <= MAX_GLOB_CHARS;
        let known = short && !detectors.named(std::slice::from_ref(glob)).is_empty();
        let reason = if short && detectors.are_off(glob) {
            "of no pack that is on: it finds nothing".to_owned()
        } else {
            format!("no such detector{}", nearest(glob, detectors.names()))
        };
        let place = format!("{path}.when.findings.detectors[{number}]");
        faults.check(known, &place, &reason);
    }
    let asks = matches!(rule.then, RawAction::AskApproval);
    faults.check(
        !asks || findings.direction == Direction::Request,
        &format!("{path}.when.findings.direction"),
        "a finding in an answer can be allowed, masked or denied; nobody is asked",
    );
}

/// Checks an exemption.
fn check_exemption(raw: &RawExemption, path: &str, faults: &mut Faults) {
    let good = raw
        .fingerprint
        .split_once(':')
        .is_some_and(|(key, digest)| {
            !key.is_empty()
                && digest.len() == 20
                && digest
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        });
    let place = format!("{path}.fingerprint");
    faults.check(
        good,
        &place,
        "not a fingerprint as records have it, key id:base32",
    );
    for (name, text) in [("owner", &raw.owner), ("reason", &raw.reason)] {
        let length = text.trim().chars().count();
        let place = format!("{path}.{name}");
        faults.check(
            (1..=200).contains(&length),
            &place,
            "not 1 to 200 characters",
        );
    }
}

fn check_rule(rule: &RawRule, detectors: &Detectors, path: &str, faults: &mut Faults) {
    let one = rule.when.findings.is_some() != rule.when.tool_call.is_some();
    faults.check(
        one,
        &format!("{path}.when"),
        "not one of findings and tool_call",
    );
    if let Some(findings) = &rule.when.findings {
        check_findings(rule, findings, detectors, path, faults);
    }
    if let Some(call) = &rule.when.tool_call {
        let glob = |text: &str| (1..=MAX_GLOB_CHARS).contains(&text.chars().count());
        let place = format!("{path}.when.tool_call");
        let reason = "not 1 to 256 characters";
        faults.check(glob(&call.name), &format!("{place}.name"), reason);
        faults.check(glob(&call.arguments), &format!("{place}.arguments"), reason);
        let decides = matches!(rule.then, RawAction::AskApproval | RawAction::Deny);
        let reason = "a tool call can be denied or asked for, nothing else";
        faults.check(decides, &format!("{path}.then"), reason);
    }
    let asks = matches!(rule.then, RawAction::AskApproval);
    let group = |text: &String| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    let named = rule.approvers.as_ref().is_some_and(group);
    let place = format!("{path}.approvers");
    faults.check(!asks || named, &place, "not a name, and a rule asks them");
    faults.check(asks || rule.approvers.is_none(), &place, "nobody is asked");
    faults.check(
        asks || rule.covers == RawCovers::Content,
        &format!("{path}.covers"),
        "nobody is asked",
    );
}

fn check_approvals(raw: &RawApprovals, faults: &mut Faults) {
    faults.check(!raw.cluster.is_empty(), "approvals.cluster", "empty");
    let plain = raw.public_url.len() <= 200 && raw.public_url.bytes().all(|b| b.is_ascii_graphic());
    faults.check(
        plain && authority(&raw.public_url).is_some() && !raw.public_url.ends_with('/'),
        "approvals.public_url",
        "not an http or https URL without / at its end",
    );
    let day = 86_400;
    for (name, value, range, reason) in [
        ("hold", raw.hold, 1..=240, "not 1s to 4m"),
        ("pending", raw.pending, 60..=7 * day, "not 1m to 7 days"),
        ("grant", raw.grant, 60..=day, "not 1m to 24h"),
        ("remember", raw.remember, 60..=7 * day, "not 1m to 7 days"),
    ] {
        let good = range.contains(&value.0.as_secs());
        faults.check(good, &format!("approvals.{name}"), reason);
    }
    let reason = "only 1 is available so far: one approver decides";
    faults.check(raw.quorum.0 == 1, "approvals.quorum", reason);
}

impl From<RawIssuer> for Issuer {
    fn from(raw: RawIssuer) -> Self {
        let host = raw
            .key_set
            .host
            .or_else(|| authority(&raw.issuer).map(str::to_owned));
        Self {
            host: host.unwrap_or_default(),
            issuer: raw.issuer,
            audiences: raw.audiences.into_iter().collect(),
            subject_claim: raw.subject_claim,
            groups_claim: raw.groups_claim,
            cluster: raw.key_set.cluster,
            path: raw.key_set.path,
            refresh: raw.key_set.refresh.0,
            grace: raw.key_set.grace.0,
        }
    }
}

fn check_issuer(raw: &RawIssuer, path: &str, faults: &mut Faults) {
    let url = authority(&raw.issuer).is_some();
    faults.check(url, &format!("{path}.issuer"), "not an http or https URL");
    let audiences = format!("{path}.audiences");
    faults.check(!raw.audiences.is_empty(), &audiences, "empty");
    let blank = raw.audiences.iter().any(String::is_empty);
    faults.check(!blank, &audiences, "an audience is empty");
    let subject = format!("{path}.subject_claim");
    faults.check(!raw.subject_claim.is_empty(), &subject, "empty");
    // Whoever can change these could become somebody else.
    let mutable = ["email", "preferred_username", "upn", "name", "nickname"];
    faults.check(
        !mutable.contains(&raw.subject_claim.as_str()),
        &subject,
        "names and addresses change hands: use a stable claim such as sub",
    );
    let set = &raw.key_set;
    faults.check(
        !set.cluster.is_empty(),
        &format!("{path}.key_set.cluster"),
        "empty",
    );
    faults.check(
        set.path.starts_with('/'),
        &format!("{path}.key_set.path"),
        "does not start with /",
    );
    faults.check(
        (10..=86_400).contains(&set.refresh.0.as_secs()),
        &format!("{path}.key_set.refresh"),
        "not 10s to 24h",
    );
    faults.check(
        set.grace.0 >= set.refresh.0 && set.grace.0.as_secs() <= 7 * 86_400,
        &format!("{path}.key_set.grace"),
        "not refresh to 7 days",
    );
}

fn authority(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    (!authority.is_empty() && !authority.contains(['@', ' '])).then_some(authority)
}

fn host(name: &str) -> bool {
    name.len() <= 200
        && name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn sha256(raw: &impl Serialize) -> [u8; 32] {
    Sha256::digest(canonical(raw).as_bytes()).into()
}

/// JSON with sorted keys and defaults filled in.
fn canonical(raw: &impl Serialize) -> String {
    // Through `Value`, whose maps are sorted by key.
    let value = serde_json::to_value(raw);
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn from_struct(tree: Struct) -> Value {
    let fields = tree.fields.into_iter();
    Value::Object(
        fields
            .map(|(key, value)| (key, from_proto(value)))
            .collect(),
    )
}

fn from_proto(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::StructValue(tree)) => from_struct(tree),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(from_proto).collect())
        }
        // A double that is a whole number prints without a fraction.
        Some(Kind::NumberValue(number)) => {
            let text = number.to_string();
            text.parse::<i64>()
                .map_or(Value::String(text), |whole| Value::Number(whole.into()))
        }
    }
}

fn fault(path: &str, reason: &str) -> Fault {
    Fault {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The fault of a tree that does not have the schema's shape; names the nearest known key.
fn shape_fault(error: &serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let path = shown(&error.path().to_string());
    let text = error.inner().to_string();
    let Some(rest) = text.strip_prefix("unknown field `") else {
        return fault(&path, &quiet(&text));
    };
    // The last one: a key may say the same.
    let (key, rest) = rest.rsplit_once("`, expected ").unwrap_or((rest, ""));
    let known = rest.split('`').skip(1).step_by(2);
    fault(&path, &format!("no such key{}", nearest(key, known)))
}

/// A path as one short line; keys in it are as they were written.
fn shown(path: &str) -> String {
    const MAX_CHARACTERS: usize = 200;
    if path.is_empty() {
        return ".".to_owned();
    }
    let visible = |character: char| {
        if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    };
    path.chars().take(MAX_CHARACTERS).map(visible).collect()
}

/// `, the nearest is …`, if one of the known names is near.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    // Comparing costs memory by the product of both lengths.
    const MAX_NAME_BYTES: usize = 64;
    known
        .filter(|_| name.len() <= MAX_NAME_BYTES)
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3.max(name.len() / 3))
        .map(|(_, known)| format!(", the nearest is {known}"))
        .unwrap_or_default()
}

/// Serde's message without the value that it quotes.
fn quiet(text: &str) -> String {
    // The last one: a value may say the same.
    let Some((_, rest)) = text.rsplit_once(", expected ") else {
        return text.to_owned();
    };
    format!("expected {rest}")
}

#[cfg(test)]
mod tests;
