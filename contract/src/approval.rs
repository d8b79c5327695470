//! What the filter and the approval desk say to each other.
//!
//! The filter asks ([`Ask`], `POST /v1/approvals`), the desk answers ([`Answer`]), and a grant is a
//! token that the desk signed ([`GrantClaims`]). What is granted is not a request but its *items*: a
//! text, a tool call, a tool result, each known by its digest, so that the same words in a later turn
//! are recognised and other words are not.
//!
//! ```text
//! item digest   SHA-256("gate.item.v1"  ‖ len(role) ‖ role ‖ len(kind) ‖ kind ‖ len(name) ‖ name ‖ len(text) ‖ text)
//! cause digest  SHA-256("gate.cause.v1" ‖ count ‖ digest ‖ digest ‖ …)      sorted, each once
//! ```
//!
//! `len` and `count` are u64 big-endian, of bytes of UTF-8. Digests are lower-case hex in JSON. The
//! vectors in `vectors/approval.json` hold both ends to this.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// `typ` of a grant's token: it is good for nothing else.
pub const GRANT_TYPE: &str = "gate-grant+jwt";

/// `alg` of a grant's token.
pub const GRANT_ALGORITHM: &str = "EdDSA";

/// Longest token of a grant, in bytes: room for [`MAX_CAUSE_ITEMS`] items.
pub const MAX_GRANT_BYTES: usize = 128 * 1024;

/// Most items that one approval may be asked for; with more there is nothing to ask, only to refuse.
pub const MAX_CAUSE_ITEMS: usize = 1024;

/// Most bytes of masked content that an approver is shown; the desk cuts the rest off.
pub const MAX_SHOWN_BYTES: usize = 64 * 1024;

/// Largest body of an [`Ask`] that the desk reads, in bytes.
pub const MAX_ASK_BYTES: usize = 1024 * 1024;

/// Longest time that the desk holds an answer back, in milliseconds.
pub const MAX_WAIT_MS: u64 = 300_000;

/// How the id of an approval starts; ten letters of base32 (A-Z, 2-7) follow.
pub const APPROVAL_ID_PREFIX: &str = "AP-";

/// Whether `text` has the form of an approval's id, such as `AP-7KQ2ZXW4MB`.
pub fn is_approval_id(text: &str) -> bool {
    text.strip_prefix(APPROVAL_ID_PREFIX).is_some_and(|rest| {
        rest.len() == 10 && rest.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
    })
}

/// A person on the wire: `<issuer>#<subject>`, the issuer's URL without a fragment.
///
/// The first `#` ends the issuer, so two persons are the same if and only if the strings are.
pub fn person(issuer: &str, subject: &str) -> String {
    format!("{issuer}#{subject}")
}

/// A SHA-256 digest; 64 lower-case hex digits in text and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// What is not 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lower-case hex digits")]
pub struct NotADigest;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotADigest),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut digest = [0; 32];
        if pairs.len() != digest.len() || !rest.is_empty() {
            return Err(NotADigest);
        }
        for (to, [high, low]) in digest.iter_mut().zip(pairs) {
            *to = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A piece of a request that a rule can fire on.
///
/// Ids, times and sampling parameters are not in it: the same words in another turn are the same item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: &'a str,
    /// `text`, `tool_call`, `tool_result`, or another name of the API's own.
    pub kind: &'a str,
    /// The tool's name, or nothing.
    pub name: &'a str,
    /// Masked text; of a tool call its arguments as [`canonical_arguments`] gives them.
    pub text: &'a str,
}

impl Item<'_> {
    /// The item's digest; see the module.
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(b"gate.item.v1");
        for part in [self.role, self.kind, self.name, self.text] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Digest(hasher.finalize().into())
    }
}

/// The items that made a rule fire: sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CauseSet(BTreeSet<Digest>);

impl CauseSet {
    /// The set's digest; see the module.
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(b"gate.cause.v1");
        hasher.update((self.0.len() as u64).to_be_bytes());
        for digest in &self.0 {
            hasher.update(digest.0);
        }
        Digest(hasher.finalize().into())
    }

    /// The items' digests in their order.
    pub fn items(&self) -> impl ExactSizeIterator<Item = Digest> {
        self.0.iter().copied()
    }

    /// Whether every item is one of `granted`. Nothing lies within anything, so an empty set that is
    /// asked about must be refused elsewhere.
    pub fn within(&self, granted: &Self) -> bool {
        self.0.is_subset(&granted.0)
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Digest> for CauseSet {
    fn from_iter<I: IntoIterator<Item = Digest>>(digests: I) -> Self {
        // one by one: to sort them first is much code for few
        let mut set = Self::default();
        set.extend(digests);
        set
    }
}

impl Extend<Digest> for CauseSet {
    fn extend<I: IntoIterator<Item = Digest>>(&mut self, digests: I) {
        self.0.extend(digests);
    }
}

/// Arguments of a tool call in one form: keys sorted by their bytes, no space, nothing else changed.
///
/// The text itself if that could hide a difference: not JSON, trailing text, deeper than 128, a
/// key twice in one object, or a number that a 64-bit float would round or that is read as another
/// when it was written.
pub fn canonical_arguments(text: &str) -> Cow<'_, str> {
    serde_json::from_str::<Canonical>(text)
        .ok()
        .and_then(|value| serde_json::to_string(&value).ok())
        .map_or(Cow::Borrowed(text), Cow::Owned)
}

/// JSON whose objects are sorted and have no key twice.
#[derive(Serialize)]
#[serde(untagged)]
enum Canonical {
    Null,
    Bool(bool),
    Natural(u64),
    Negative(i64),
    Real(f64),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl<'de> Deserialize<'de> for Canonical {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> de::Visitor<'de> for Reader {
    type Value = Canonical;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated keys")
    }

    fn visit_unit<E>(self) -> Result<Canonical, E> {
        Ok(Canonical::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Canonical, E> {
        Ok(Canonical::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Canonical, E> {
        Ok(Canonical::Natural(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Canonical, E> {
        Ok(Canonical::Negative(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Canonical, E> {
        // Far from 1 the reader may be off by the last bit, and then one value has two forms.
        let written = serde_json::to_string(&value).ok();
        let again = written.and_then(|text| serde_json::from_str(&text).ok());
        if value.abs() < EXACT_BELOW && again == Some(value) {
            Ok(Canonical::Real(value))
        } else {
            Err(E::custom("a number that is rounded"))
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Canonical, E> {
        Ok(Canonical::Text(value.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Canonical, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Canonical::List(values))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut object: A) -> Result<Canonical, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((key, value)) = object.next_entry::<String, Canonical>()? {
            if values.insert(key, value).is_some() {
                return Err(de::Error::custom("a key twice"));
            }
        }
        Ok(Canonical::Object(values))
    }
}

/// 2^53: below it a float has every whole number.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// What a grant lets pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Covers {
    /// The items, again and again for a while.
    #[default]
    Content,
    /// One exchange: the grant is consumed before anything is let go.
    Exchange,
}

impl Covers {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Content, Self::Exchange];

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Exchange => "exchange",
        }
    }
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Taken back before a decision.
    Cancelled,
    /// Granted for one exchange, which has used it.
    Consumed,
    /// Nobody decided in time, or the grant was not used in time.
    Expired,
    /// May pass.
    Granted,
    /// Nobody has decided yet.
    Pending,
    /// May not pass.
    Refused,
    /// Granted once, and taken back.
    Revoked,
}

impl ApprovalState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Cancelled,
        Self::Consumed,
        Self::Expired,
        Self::Granted,
        Self::Pending,
        Self::Refused,
        Self::Revoked,
    ];

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Consumed => "consumed",
            Self::Expired => "expired",
            Self::Granted => "granted",
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::Revoked => "revoked",
        }
    }
}

/// Body of `POST /v1/approvals`.
///
/// The desk ignores fields that it does not know. `Debug` is left out: it holds content.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Whose gateway asks.
    pub deployment: String,
    /// Who wants to send it, see [`person()`].
    pub person: String,
    /// The person's role at the gateway.
    pub role: String,
    /// Decision id of the exchange that is held, `gd_…`.
    pub exchange: String,
    /// Endpoint, as in records.
    pub endpoint: String,
    /// Model as the request names it; empty if it names none.
    pub model: String,
    /// Name of the rule that fired.
    pub rule: String,
    /// SHA-256 of the rule in canonical JSON: a changed rule asks again.
    pub rule_digest: Digest,
    /// Digest of the policy that holds the rule.
    pub policy_digest: Digest,
    /// The cause set: 1 to [`MAX_CAUSE_ITEMS`], in any order.
    pub cause_items: Vec<Digest>,
    /// What the approver is shown: masked, at most [`MAX_SHOWN_BYTES`].
    pub masked_content: String,
    /// What was found in it.
    #[serde(default)]
    pub findings: Vec<AskFinding>,
    /// How long the caller waits for a decision, at most [`MAX_WAIT_MS`].
    #[serde(default)]
    pub wait_ms: u64,
    /// What a grant would let pass.
    #[serde(default)]
    pub covers: Covers,
    /// Within how many seconds a grant must be used the first time.
    #[serde(default = "default_grant_s")]
    pub grant_s: u64,
    /// For how many seconds a used grant of content stays good.
    #[serde(default = "default_remember_s")]
    pub remember_s: u64,
    /// For how many seconds the desk waits for a decision.
    #[serde(default = "default_pending_s")]
    pub pending_s: u64,
    /// Group of approvers that the rule names, shown on the page.
    #[serde(default)]
    pub approvers: String,
}

/// A finding as an approver sees it: never the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskFinding {
    /// Name of the detector.
    pub detector: String,
    /// Where it was, in words: `messages[3].content`.
    #[serde(default)]
    pub place: String,
    /// Length of the value in bytes.
    #[serde(default)]
    pub length: u64,
    /// Keyed fingerprint, `key id:base32`.
    #[serde(default)]
    pub fingerprint: String,
}

fn default_grant_s() -> u64 {
    15 * 60
}

fn default_remember_s() -> u64 {
    24 * 60 * 60
}

fn default_pending_s() -> u64 {
    24 * 60 * 60
}

/// The desk's answer to an [`Ask`], to `GET /v1/approvals/{id}`, to a decision and to a consumption.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The approval, `AP-…`.
    pub id: String,
    /// Where it stands.
    pub state: ApprovalState,
    /// The signed grant; with `granted` alone, and for the filter alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Page for the approver.
    pub url: String,
    /// Until when the state holds unless somebody changes it, in seconds since 1970.
    pub expires_at: u64,
    /// What the approver said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The approver who decided; nobody did where other grants cover it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// Changes with every change; a decision names the one that it is about.
    #[serde(default)]
    pub version: u64,
}

/// Body of `POST /v1/approvals/{id}/consume`: 200 once, 409 ever after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consume {
    /// Decision id of the exchange that uses the grant.
    pub exchange: String,
}

/// Body of `POST /v1/approvals/{id}/decision`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionBody {
    /// What is decided.
    pub verdict: Verdict,
    /// Why; must not be empty but to grant.
    #[serde(default)]
    pub reason: String,
    /// [`Answer::version`] that the approver saw; 409 if it is another by now.
    pub version: u64,
}

/// What an approver can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may pass.
    Grant,
    /// It may not.
    Refuse,
    /// It may no longer.
    Revoke,
}

/// Answer to `GET /v1/revocations?after=`: approvals whose grants are void before their `exp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// Ids, in the order of their revocation.
    pub revoked: Vec<String>,
    /// What to give as `after` the next time.
    pub next: u64,
}

/// Every error of the desk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeskError {
    /// One of a closed list, such as `stale_version`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What a grant's token says besides the registered claims.
///
/// Those are: `iss` the gateway's domain, `aud` the deployment, `sub` the person, `jti` the approval's
/// id, `iat`, and `exp`. The header has `typ` [`GRANT_TYPE`], `alg` [`GRANT_ALGORITHM`] and `kid`, a
/// key of `GET /v1/keys`. All of them must fit before a byte is let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantClaims {
    /// The rule, as in [`Ask::rule_digest`].
    pub rule_digest: Digest,
    /// The endpoint, as in [`Ask::endpoint`].
    pub endpoint: String,
    /// The model, as in [`Ask::model`].
    pub model: String,
    /// The granted items, sorted.
    pub items: Vec<Digest>,
    /// Whether it must be consumed first.
    pub covers: Covers,
}

impl GrantClaims {
    /// Whether the grant is for this rule, endpoint and model, and for every one of the `asked` items.
    /// An empty set is never covered.
    pub fn cover(&self, rule: Digest, endpoint: &str, model: &str, asked: &CauseSet) -> bool {
        !asked.is_empty()
            && self.rule_digest == rule
            && self.endpoint == endpoint
            && self.model == model
            && asked.within(&self.items.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests;
