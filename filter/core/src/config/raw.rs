//! The configuration as a person writes it.
//!
//! No field is a float; numbers may be decimal strings, durations and sizes are strings with a
//! unit, because Envoy carries a structured configuration as a protobuf `Struct`, in which every
//! number is a double.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The whole configuration of the filter.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Version of this schema, `v1`.
    pub version: Version,
    /// Name of the deployment, 1 to 40 of `a-z`, `0-9` and `-`. Stands in every record and key.
    pub deployment: String,
    /// Whether decisions take effect.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Last day of observing, in UTC: `2027-01-31`; needed where they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observe_until: Option<Day>,
    /// Names under which clients reach the gateway.
    pub hosts: RawHosts,
    /// How callers prove who they are.
    pub identity: RawIdentity,
    /// What the gateway shows upstream in place of the caller's token.
    pub credential: RawCredential,
    /// What people may do, by group; the first role that fits counts. Not empty.
    pub roles: Vec<RawRole>,
    /// How secrets are masked.
    #[serde(default)]
    pub masking: RawMasking,
    /// What happens when something is found; the strongest action wins.
    #[serde(default)]
    pub rules: Vec<RawRule>,
    /// How people are asked; needed where a rule asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<RawApprovals>,
    /// How exchanges are recorded.
    #[serde(default)]
    pub audit: RawAudit,
    /// Bounds.
    #[serde(default)]
    pub limits: RawLimits,
    /// What happens to clients' telemetry; only `drop` so far.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// What happens to what the gateway does not know.
    #[serde(default)]
    pub unknown: RawUnknown,
}

/// Version of the schema.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// The first.
    V1,
}

/// Whether decisions take effect.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// They do.
    #[default]
    Enforce,
    /// What the rules would do is recorded and not done, and nothing is masked but in records.
    Observe,
}

/// What happens to telemetry of clients.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Telemetry {
    /// Answered here, recorded as dropped, sent nowhere.
    #[default]
    Drop,
}

/// Names under which clients reach the gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawHosts {
    /// Domain of the gateway: `gw.example`; clients also use `api.`, `proxy.`, `telemetry.` and
    /// `origin-tracker.` in front of it.
    pub domain: String,
    /// Port that clients use. 1 to 65535, default 443.
    #[serde(default = "default_port")]
    pub port: Number,
}

/// How callers prove who they are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawIdentity {
    /// Issuers whose tokens are accepted. Not empty.
    pub issuers: Vec<RawIssuer>,
}

/// One OpenID provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawIssuer {
    /// Exact `iss` of accepted tokens, a URL.
    pub issuer: String,
    /// Accepted `aud` values; one must match. Not empty.
    pub audiences: Vec<String>,
    /// Claim that names the person, stable and never reused. Default `sub`.
    #[serde(default = "default_subject_claim")]
    pub subject_claim: String,
    /// Claim that lists groups. Default `groups`.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Where the issuer's keys are.
    pub key_set: RawKeySet,
}

/// Where an issuer's key set is fetched.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawKeySet {
    /// Envoy cluster of the issuer.
    pub cluster: String,
    /// Path of the key set (RFC 7517), with `/` in front.
    pub path: String,
    /// Host header of the call. Default: the issuer's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Age at which the set is fetched again, with its unit: `10m`. 10 s to 24 h.
    #[serde(default = "default_refresh")]
    pub refresh: DurationText,
    /// Age up to which a set that cannot be fetched again is used. `refresh` to 7 days.
    #[serde(default = "default_grace")]
    pub grace: DurationText,
}

/// What the gateway shows upstream.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawCredential {
    /// Name of the environment variable that holds the credential.
    pub env: String,
    /// Whose it is; only `shared` so far: one for all callers, attached to model endpoints alone.
    #[serde(default)]
    pub kind: CredentialKind,
}

/// Whose credential it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// One for all callers.
    #[default]
    Shared,
}

/// What a group of people may do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawRole {
    /// Name, stands in records.
    pub name: String,
    /// Groups that have the role; `*` is everybody. Not empty.
    pub groups: Vec<String>,
    /// Endpoints: `chat`, `completions`, `embeddings`. Not empty.
    pub endpoints: Vec<RoleEndpoint>,
    /// Models by name, `*` stands for any characters. Not empty.
    pub models: Vec<String>,
}

/// Endpoints that a role may hold.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleEndpoint {
    /// Chat completions, responses and messages: which of them a client speaks is the model's.
    Chat,
    /// Ghost text.
    Completions,
    /// Numbers that stand for texts.
    Embeddings,
}

/// How secrets are masked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawMasking {
    /// Packs of detectors that are on: `vendors`, `structures`, `generic`, `pii`. Not empty; default
    /// all but `pii`.
    #[serde(default = "default_packs", skip_serializing_if = "are_default_packs")]
    pub packs: Vec<RawPack>,
    /// Detectors of the deployment's own, 64 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom: Vec<RawCustom>,
    /// Values that pass because somebody vouches for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exemptions: Vec<RawExemption>,
    /// Where originals go back.
    #[serde(default)]
    pub restore: Restore,
}

/// A pack of detectors.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RawPack {
    /// Vendors' tokens.
    Vendors,
    /// Forms that no vendor owns, and key names that say whose value they announce.
    Structures,
    /// Key names that say no more than that a secret follows.
    Generic,
    /// Payment cards, accounts, and ids of nations.
    Pii,
}

/// A detector of the deployment's own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawCustom {
    /// Name in findings and rules, and in upper case in placeholders: 3 to 40 of `a-z`, `0-9`, `-`
    /// and `_`.
    pub name: String,
    /// The value as a regular expression over ASCII that begins with at least 3 fixed characters, for
    /// 8 to 256 characters.
    pub pattern: String,
    /// The characters with which the pattern begins. Default: as many as it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    /// What else the value must look like.
    #[serde(default)]
    pub check: RawCheck,
    /// Texts in which it finds something; at least one.
    pub examples: Vec<String>,
    /// Texts in which it finds nothing.
    #[serde(default)]
    pub counter_examples: Vec<String>,
}

/// What a value must look like besides its pattern.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RawCheck {
    /// Nothing else.
    None,
    /// No placeholder, and not made of words.
    #[default]
    Plain,
    /// The same, with letters and digits mixed.
    Random,
}

/// A value that passes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawExemption {
    /// The finding's fingerprint, as records have it: `key id:base32`.
    pub fingerprint: String,
    /// Who vouches for it. Not empty.
    pub owner: String,
    /// Why it may pass. Not empty.
    pub reason: String,
    /// Last day on which it passes, in UTC: `2027-01-31`.
    pub until: Day,
}

/// Whether originals go back in place of placeholders.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Restore {
    /// Also into the text of answers, but for links and the like.
    Answers,
    /// Into files that an answer writes, where the request showed them.
    #[default]
    InPlace,
    /// Never.
    Off,
}

/// What happens when something is found in a request, or a tool is called.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    /// Name, stands in records and answers.
    pub name: String,
    /// When the rule matches.
    pub when: RawWhen,
    /// What it demands.
    pub then: RawAction,
    /// Who is asked, as they call themselves: `security`. Needed with `ask_approval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<String>,
    /// What a grant covers.
    #[serde(default)]
    pub covers: RawCovers,
    /// `enforce` takes effect, `shadow` is recorded only, `off` does nothing.
    #[serde(default)]
    pub mode: Mode,
}

/// When a rule matches.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawWhen {
    /// Number and kind of findings of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<RawFindings>,
    /// A call in a model's answer, and in the history of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call: Option<RawToolCall>,
}

/// Tool calls that a rule looks for. In both, `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawToolCall {
    /// Name of the tool, up to 256 characters.
    pub name: String,
    /// The arguments as masked JSON with sorted keys and without spaces, up to 256 characters.
    /// Default `*`. Arguments over 64 KiB match whatever is said here.
    #[serde(default = "default_arguments")]
    pub arguments: String,
}

/// What a grant covers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RawCovers {
    /// What fired the rule, in any later exchange of the person, for `approvals.remember`.
    #[default]
    Content,
    /// One exchange.
    Exchange,
}

/// Where a rule looks for findings.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// In answers.
    Answer,
    /// In both, each on its own.
    Any,
    /// In requests.
    #[default]
    Request,
}

/// Findings that a rule looks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawFindings {
    /// How many at least, 1 to 256.
    pub at_least: Number,
    /// Detectors that count, by name, `*` stands for any characters; empty means all.
    #[serde(default)]
    pub detectors: Vec<String>,
    /// Where they are: `request`, `answer` or `any`. Default `request`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub direction: Direction,
}

/// What a rule demands.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RawAction {
    /// The text passes as it is.
    Allow,
    /// Findings are replaced by placeholders.
    Mask,
    /// The exchange is refused.
    Deny,
    /// A person decides.
    AskApproval,
}

/// Whether a rule takes effect.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It is only recorded.
    Shadow,
    /// It is left out.
    Off,
}

/// How people are asked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawApprovals {
    /// Envoy cluster of the approval desk.
    pub cluster: String,
    /// URL of the desk for approvers, without `/` at the end.
    pub public_url: String,
    /// How long a caller is kept waiting for a decision, 1 s to 4 min. Default `50s`: some clients
    /// give up after a minute.
    #[serde(default = "default_hold")]
    pub hold: DurationText,
    /// How long the desk waits for a decision, 1 min to 7 days. Default `24h`.
    #[serde(default = "default_day")]
    pub pending: DurationText,
    /// Time in which a grant must be used first, 1 min to 24 h. Default `15m`.
    #[serde(default = "default_grant")]
    pub grant: DurationText,
    /// How long a grant of content stays good once it was used, 1 min to 7 days. Default `24h`.
    #[serde(default = "default_day")]
    pub remember: DurationText,
    /// How many have to grant; only 1 so far.
    #[serde(default = "default_quorum")]
    pub quorum: Number,
}

/// How exchanges are recorded.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawAudit {
    /// Envoy cluster of the sink's HTTP interface, which says what is durable. Without it records
    /// only go by the access log, and nothing that is lost on the way is sent again.
    #[serde(default)]
    pub cluster: String,
    /// Whether nothing goes upstream before its record is durable. Default `false`.
    #[serde(default)]
    pub strict: bool,
    /// What happens while so much is not durable yet that `max_pending` is reached. Default
    /// `drop_content`.
    #[serde(default)]
    pub when_full: WhenFull,
    /// Most bytes of masked content in a record, per direction. Up to `3MiB`, default `1MiB`.
    #[serde(default = "default_max_content")]
    pub max_content: SizeText,
    /// Most bytes that a worker keeps: content of open exchanges, and records that are not durable
    /// yet. Beyond it records have no content and say so. `1MiB` to `1GiB`, default `64MiB`.
    #[serde(default = "default_max_pending")]
    pub max_pending: SizeText,
}

/// What a worker does that has as many records as it may keep.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Records without content.
    #[default]
    DropContent,
    /// Refuses further exchanges.
    Refuse,
}

/// Bounds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimits {
    /// Largest request body. Up to `16MiB`, which is the default.
    #[serde(default = "default_max_request")]
    pub max_request: SizeText,
}

/// What happens to what the gateway does not know.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawUnknown {
    /// Requests to unknown endpoints; only `deny` so far.
    #[serde(default)]
    pub endpoint: UnknownEndpoint,
    /// Events of unknown shape in a stream; only `pass_and_mark` so far: all their texts are
    /// masked, and they are counted.
    #[serde(default)]
    pub event: UnknownEvent,
}

/// Requests to unknown endpoints.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownEndpoint {
    /// Refused, counted and recorded.
    #[default]
    Deny,
}

/// Events of unknown shape.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownEvent {
    /// Masked, passed on and counted.
    #[default]
    PassAndMark,
}

impl Default for RawMasking {
    fn default() -> Self {
        Self {
            packs: default_packs(),
            custom: Vec::new(),
            exemptions: Vec::new(),
            restore: Restore::default(),
        }
    }
}

impl Default for RawAudit {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            strict: false,
            when_full: WhenFull::default(),
            max_content: default_max_content(),
            max_pending: default_max_pending(),
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            max_request: default_max_request(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_packs() -> Vec<RawPack> {
    vec![RawPack::Vendors, RawPack::Structures, RawPack::Generic]
}

/// Whether these are those of the default: left out where the policy's digest is made.
fn are_default_packs(packs: &[RawPack]) -> bool {
    packs == default_packs()
}

fn default_port() -> Number {
    Number(443)
}

fn default_subject_claim() -> String {
    "sub".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

fn default_refresh() -> DurationText {
    DurationText(Duration::from_mins(10))
}

fn default_grace() -> DurationText {
    DurationText(Duration::from_hours(24))
}

fn default_arguments() -> String {
    "*".to_owned()
}

fn default_hold() -> DurationText {
    DurationText(Duration::from_secs(50))
}

fn default_grant() -> DurationText {
    DurationText(Duration::from_mins(15))
}

fn default_day() -> DurationText {
    DurationText(Duration::from_hours(24))
}

fn default_quorum() -> Number {
    Number(1)
}

fn default_max_content() -> SizeText {
    SizeText(1 << 20)
}

fn default_max_pending() -> SizeText {
    SizeText(64 << 20)
}

fn default_max_request() -> SizeText {
    SizeText(16 << 20)
}

/// A whole number, also as a decimal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of 0 or more")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Number, E> {
                u64::try_from(value)
                    .map(Number)
                    .map_err(|_| E::custom("not a whole number of 0 or more"))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Number, E> {
                value
                    .parse()
                    .map(Number)
                    .map_err(|_| E::custom("not a whole number of 0 or more"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// A duration with its unit: `10m`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub Duration);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|_| de::Error::custom("not a duration with its unit, such as 10m"))
    }
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", self.0.as_millis()))
    }
}

/// A day: `2027-01-31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(
    /// Its first second, since 1970 in UTC.
    pub Duration,
);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let start = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok();
        let start = start.and_then(|start| start.duration_since(SystemTime::UNIX_EPOCH).ok());
        start
            .map(Self)
            .ok_or_else(|| de::Error::custom("not a day, such as 2027-01-31"))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let start = humantime::format_rfc3339(SystemTime::UNIX_EPOCH + self.0).to_string();
        serializer.serialize_str(start.split('T').next().unwrap_or_default())
    }
}

/// A size with its unit: `16MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeText(pub u64);

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_size::parse_size(text.as_bytes())
            .map(Self)
            .map_err(|_| de::Error::custom("not a size with its unit, such as 16MiB"))
    }
}

impl Serialize for SizeText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}B", self.0))
    }
}
