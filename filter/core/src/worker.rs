//! What all exchanges of one worker share: configuration, detectors, keys, tokens and the chain.

use std::{collections::HashMap, rc::Rc, time::Duration};

use contract::{Chain, Content, Envelope, Epoch, MacKey};
use data_encoding::BASE64;
use hkdf::Hkdf;
use sha2::Sha256;

use crate::{
    approval::{CALL_TIMEOUT, Grant, GrantError, Ledger, grant},
    config::{Config, Direction, Sink},
    delivery::{self, Answer, Counts, Need, Outbox, Told, Way},
    exchange::Callout,
    identity::{Fetch, Identity, IdentityError, KeySetError, KeyStore, TokenCache},
    mask::{Catalog, MaskKeys, Masker, Passes},
    policy::{self, Rules},
    provider,
    repeats::{Repeats, Written},
    secret::Secret,
    time::UnixTime,
};

/// Name of the environment variable with the fingerprint keys.
pub const FINGERPRINT_KEYS: &str = "GATE_FINGERPRINT_KEYS";

/// Name of the environment variable with the keys that seal records.
pub const SINK_KEYS: &str = "GATE_SINK_KEYS";

/// Name of the environment variable with the token for the approval desk.
pub const DESK_TOKEN: &str = "GATE_DESK_TOKEN";

/// Fewest bytes of a key.
const MIN_KEY_BYTES: usize = 16;

/// How often a worker says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Shortest time between two heartbeats: one says when a worker has nothing to do any more.
const REST: Duration = Duration::from_secs(1);

/// Persons whose keys are kept ready.
const MASKERS: usize = 1024;

/// What all exchanges of one worker share.
#[derive(Debug)]
pub struct Worker {
    /// The configuration in force.
    pub config: Config,
    catalog: Rc<Catalog>,
    /// By person; bounded.
    maskers: HashMap<String, Masker>,
    passes: PassesInForce,
    secrets: Secrets,
    keys: KeyStore,
    /// Keys of the approval desk.
    desk_keys: KeyStore,
    /// What is granted.
    pub(crate) ledger: Ledger,
    tokens: TokenCache,
    chain: Chain,
    /// What callers have sent before.
    pub(crate) repeats: Repeats,
    /// Bytes of content that open exchanges keep for their records.
    pending_bytes: usize,
    /// Records that are not durable yet.
    outbox: Outbox,
    /// Exchanges that have begun and not ended.
    exchanges: u64,
    life: Life,
}

/// How far a worker has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It had no record yet, and there is nothing to say: so is the one of Envoy's main thread.
    #[default]
    Rests,
    Lives,
    /// No exchange comes any more.
    Ends,
    /// It has said that it ended.
    Ended,
}

/// How a worker says that it lives.
#[derive(Debug, Default)]
struct Life {
    stage: Stage,
    /// When the last heartbeat was written.
    beat_at: UnixTime,
    /// The last record says that nothing was open and all before it durable.
    idle: bool,
}

/// The filter's secrets, from its environment.
#[derive(Debug)]
pub struct Secrets {
    mask_keys: MaskKeys,
    repeats_key: [u8; 16],
    mac_key: MacKey,
    credential: Option<Secret<String>>,
    desk_token: Option<Secret<String>>,
}

/// What is wrong with the filter's environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// The variable is not set, or Envoy does not hand it on.
    #[error("{0} is not set: name it in vm_config.environment_variables.host_env_keys")]
    Missing(&'static str),
    /// Not `kid:base64[,kid:base64]` with keys of at least 16 bytes.
    #[error("{0} is not kid:base64[,kid:base64] with keys of at least {MIN_KEY_BYTES} bytes")]
    Malformed(&'static str),
    /// Not a token of at least 16 visible characters.
    #[error("{0} is not a token of at least {MIN_KEY_BYTES} visible characters")]
    NoToken(&'static str),
}

impl Secrets {
    /// Reads the secrets through `lookup`, which gives the value of an environment variable.
    ///
    /// # Errors
    ///
    /// [`SecretsError`] names the variable. A missing GitHub credential is no error: exchanges
    /// that need it are refused.
    pub fn read(
        config: &Config,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SecretsError> {
        let first = |name: &'static str| {
            let text = lookup(name).ok_or(SecretsError::Missing(name))?;
            first_key(&text).ok_or(SecretsError::Malformed(name))
        };
        let (fingerprint_key_id, fingerprint_key) = first(FINGERPRINT_KEYS)?;
        let (id, key) = first(SINK_KEYS)?;
        let mut placeholder_key = vec![0; 32];
        let mut repeats_key = [0; 16];
        let keys = Hkdf::<Sha256>::new(None, &fingerprint_key);
        // Only fails for outputs over 255 hash lengths (RFC 5869 §2.3).
        keys.expand(b"gate.placeholder-key.v1", &mut placeholder_key)
            .and_then(|()| keys.expand(b"gate.repeats-key.v1", &mut repeats_key))
            .map_err(|_| SecretsError::Malformed(FINGERPRINT_KEYS))?;
        let mut desk_token = None;
        if config.approvals.is_some() {
            let text = lookup(DESK_TOKEN).ok_or(SecretsError::Missing(DESK_TOKEN))?;
            desk_token = Some(first_token(&text).ok_or(SecretsError::NoToken(DESK_TOKEN))?);
        }
        Ok(Self {
            desk_token,
            repeats_key,
            mask_keys: MaskKeys {
                fingerprint_key_id,
                fingerprint_key,
                placeholder_key,
            },
            mac_key: MacKey::new(&id, &key),
            credential: lookup(&config.credential_env)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
                .map(Secret::new),
        })
    }

    /// Whether there is a GitHub credential.
    pub fn has_credential(&self) -> bool {
        self.credential.is_some()
    }
}

/// The first of `token[,token]`: while one replaces another there are two.
fn first_token(text: &str) -> Option<Secret<String>> {
    let token = text.split(',').next()?.trim();
    let good = token.len() >= MIN_KEY_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| Secret::new(token.to_owned()))
}

/// The fingerprint keys in the value of [`FINGERPRINT_KEYS`]: the one in use, then those before it.
/// There are no placeholder keys in here.
///
/// # Errors
///
/// [`SecretsError::Malformed`].
pub fn fingerprint_keys(text: &str) -> Result<Vec<MaskKeys>, SecretsError> {
    let keys = all_keys(text).ok_or(SecretsError::Malformed(FINGERPRINT_KEYS))?;
    let keys = keys.into_iter().map(|(id, key)| MaskKeys {
        fingerprint_key_id: id,
        fingerprint_key: key,
        placeholder_key: Vec::new(),
    });
    Ok(keys.collect())
}

/// The first of `kid:base64[,kid:base64]`; all must be well formed.
fn first_key(text: &str) -> Option<(String, Vec<u8>)> {
    all_keys(text)?.into_iter().next()
}

/// All of `kid:base64[,kid:base64]`.
fn all_keys(text: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let mut keys = Vec::new();
    for part in text.trim().split(',') {
        let (id, key) = part.trim().split_once(':')?;
        let key = BASE64.decode(key.as_bytes()).ok()?;
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if id.is_empty() || !id.bytes().all(good) || key.len() < MIN_KEY_BYTES {
            return None;
        }
        keys.push((id.to_owned(), key));
    }
    Some(keys)
}

impl Worker {
    /// Starts a worker; `random` are 128 random bits for its epoch.
    pub fn new(config: Config, secrets: Secrets, random: [u8; 16]) -> Self {
        let epoch = Epoch(random);
        Self {
            keys: KeyStore::new(config.issuers.len()),
            desk_keys: KeyStore::new(usize::from(config.approvals.is_some())),
            ledger: Ledger::default(),
            catalog: config.detectors.catalog(),
            maskers: HashMap::new(),
            passes: PassesInForce::default(),
            tokens: TokenCache::default(),
            chain: Chain::new(epoch),
            repeats: Repeats::new(&secrets.repeats_key, epoch),
            pending_bytes: 0,
            outbox: Outbox::default(),
            exchanges: 0,
            life: Life::default(),
            secrets,
            config,
        }
    }

    /// Calls to make now so that key sets are there before they are needed, by issuer; the approval
    /// desk is the one behind the last issuer.
    pub fn key_sets_due(&mut self, now: UnixTime) -> Vec<(usize, Callout)> {
        let due = self.keys.due(&self.config.issuers, now);
        let calls = due.into_iter();
        let mut calls: Vec<(usize, Callout)> = calls
            .filter_map(|issuer| Some((issuer, self.key_set_call(issuer)?)))
            .collect();
        let desk = self.config.approvals.as_ref();
        let desk = desk.map(|approvals| std::slice::from_ref(&approvals.issuer));
        let due = self.desk_keys.due(desk.unwrap_or_default(), now);
        let desk = self.config.issuers.len();
        calls.extend(
            due.iter()
                .filter_map(|_| Some((desk, self.desk_keys_request()?))),
        );
        calls
    }

    /// Takes the answer to a key set's call: status and body, or `None` if there was none.
    ///
    /// # Errors
    ///
    /// Why the answer is not a key set; the set before it stays in use.
    pub fn key_set_reply(
        &mut self,
        issuer: usize,
        answer: Option<(u16, &[u8])>,
        now: UnixTime,
    ) -> Result<(), KeySetError> {
        let Some(refresh) = self.config.issuers.get(issuer).map(|issuer| issuer.refresh) else {
            return self.desk_keys_reply(answer, now);
        };
        let changed = self.keys.accept(issuer, refresh, key_set(answer), now)?;
        if changed {
            // A key that is gone vouches for nobody any more.
            self.tokens.clear();
        }
        Ok(())
    }

    pub(crate) fn key_set_call(&self, issuer: usize) -> Option<Callout> {
        let issuer = self.config.issuers.get(issuer)?;
        Some(Callout::new(issuer, "GET", &issuer.path, CALL_TIMEOUT))
    }

    /// A call to the approval desk, with the gateway's token.
    pub(crate) fn desk_call(
        &self,
        method: &'static str,
        path: &str,
        timeout: Duration,
    ) -> Option<Callout> {
        let token = self.secrets.desk_token.as_ref()?.expose();
        let desk = &self.config.approvals.as_ref()?.issuer;
        let mut call = Callout::new(desk, method, path, timeout);
        call.headers
            .push(("authorization".into(), format!("Bearer {token}")));
        Some(call)
    }

    fn desk_keys_request(&self) -> Option<Callout> {
        let path = &self.config.approvals.as_ref()?.issuer.path;
        self.desk_call("GET", path, CALL_TIMEOUT)
    }

    /// Whether an exchange may fetch the desk's keys now, and how.
    pub(crate) fn desk_keys_call(&mut self, key: &str, now: UnixTime) -> (Fetch, Option<Callout>) {
        let fetch = self.desk_keys.may_fetch(0, Some(key), now);
        (fetch, self.desk_keys_request())
    }

    pub(crate) fn desk_keys_reply(
        &mut self,
        answer: Option<(u16, &[u8])>,
        now: UnixTime,
    ) -> Result<(), KeySetError> {
        let desk = self.config.approvals.as_ref();
        let refresh = desk.map_or(Duration::ZERO, |desk| desk.issuer.refresh);
        let changed = self.desk_keys.accept(0, refresh, key_set(answer), now)?;
        if changed {
            // What a key vouched for that may be gone is asked for again.
            self.ledger = Ledger::default();
        }
        Ok(())
    }

    pub(crate) fn desk_keys_in_vain(&mut self, key: &str, now: UnixTime) {
        self.desk_keys.in_vain(0, key, now);
    }

    pub(crate) fn verify_grant(
        &self,
        token: &str,
        person: &str,
        now: UnixTime,
    ) -> Result<Grant, GrantError> {
        let desk = self.config.approvals.as_ref().ok_or(GrantError::Refused)?;
        grant::verify(token, &desk.issuer, &self.desk_keys, person, now)
    }

    pub(crate) fn may_fetch(&mut self, issuer: usize, key: Option<&str>, now: UnixTime) -> Fetch {
        self.keys.may_fetch(issuer, key, now)
    }

    pub(crate) fn fetched_in_vain(&mut self, issuer: usize, key: &str, now: UnixTime) {
        self.keys.in_vain(issuer, key, now);
    }

    pub(crate) fn verify(&mut self, token: &str, now: UnixTime) -> Result<Identity, IdentityError> {
        self.tokens
            .verify(token, &self.config.issuers, &self.keys, now)
    }

    pub(crate) fn masker(&mut self, person: &str) -> Masker {
        if let Some(masker) = self.maskers.get(person) {
            return masker.clone();
        }
        let masker = Masker::new(
            Rc::clone(&self.catalog),
            &self.secrets.mask_keys,
            &self.config.deployment,
            person,
        );
        if self.maskers.len() >= MASKERS {
            self.maskers.clear();
        }
        self.maskers.insert(person.to_owned(), masker.clone());
        masker
    }

    /// The rules, as far as they are in force now.
    pub(crate) fn rules(&self, now: UnixTime) -> Rules<'_> {
        Rules {
            all: &self.config.rules,
            observes: now < self.config.observed_until,
        }
    }

    /// The values that pass now in a direction.
    pub(crate) fn passes(&mut self, direction: Direction, now: UnixTime) -> Rc<Passes> {
        if self.passes.until <= now {
            self.passes = PassesInForce::of(&self.config, now);
            self.repeats.forget();
        }
        Rc::clone(match direction {
            Direction::Answer => &self.passes.answers,
            Direction::Any | Direction::Request => &self.passes.requests,
        })
    }

    pub(crate) fn credential(&self) -> Option<&Secret<String>> {
        self.secrets.credential.as_ref()
    }

    pub(crate) fn provider_limits(&self) -> provider::Limits {
        provider::Limits {
            max_content: self.config.max_content_bytes,
            ..provider::Limits::default()
        }
    }

    /// Takes room for content of an open exchange; says whether there was any.
    pub(crate) fn reserve(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.room();
        if fits {
            self.pending_bytes += bytes;
        }
        fits
    }

    /// Gives back room that an exchange had taken.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
    }

    /// Bytes that may still be kept.
    fn room(&self) -> usize {
        let kept = self.pending_bytes.saturating_add(self.outbox.bytes());
        self.config.max_pending_bytes.saturating_sub(kept)
    }

    /// Whether exchanges are refused because no more records can be kept: what is left is for those
    /// that have begun.
    pub(crate) fn is_full(&self) -> bool {
        let sink = self.config.sink.as_ref();
        sink.is_some_and(|sink| sink.refuses) && self.room() < self.config.max_pending_bytes / 4
    }

    /// An exchange began.
    pub(crate) fn exchange_begun(&mut self) {
        self.exchanges += 1;
    }

    /// An exchange ended.
    pub(crate) fn exchange_ended(&mut self) {
        self.exchanges = self.exchanges.saturating_sub(1);
    }

    /// Seals a record with what is written in its request's content, and keeps it until it is
    /// durable; gives its row but for the sink's stamp, and its place. Before the first of an epoch
    /// stands that the epoch begins.
    pub(crate) fn seal(
        &mut self,
        mut envelope: Envelope,
        mut content: Content,
        written: Vec<Written>,
        way: Way,
        now: UnixTime,
    ) -> (i64, Rc<Vec<u8>>) {
        let keeps = self.config.sink.is_some();
        if keeps && self.life.stage == Stage::Rests {
            self.life.stage = Stage::Lives;
            self.life.beat_at = now;
            self.say("epoch", "start", now);
        }
        envelope.deployment = Some(self.config.deployment.clone());
        envelope.policy_digest = Some(self.config.policy_digest.clone());
        envelope.event_at = Some(now.micros());
        let parts = [&content.request_content, &content.response_content];
        let length: usize = parts.into_iter().flatten().map(String::len).sum();
        let is_cut = keeps && length > self.room();
        if is_cut {
            content = Content::default();
            envelope.content_truncated = Some(true);
        }
        let sealed = self.chain.seal(envelope, &content, &self.secrets.mac_key);
        for text in written.into_iter().filter(|_| !is_cut) {
            self.repeats.recorded(text, sealed.seq, now);
        }
        let record = Rc::new(sealed.bytes);
        if keeps {
            // records without content are kept beyond the limit, up to twice as much
            let most = 2 * self.config.max_pending_bytes;
            self.outbox
                .keep(sealed.seq, Rc::clone(&record), way, most, now);
        }
        self.life.idle = false;
        (sealed.seq, record)
    }

    /// Seals the record of an exchange that is about to go upstream: its place, and the call to wait
    /// for if nothing goes upstream before it is durable.
    pub(crate) fn seal_opening(
        &mut self,
        envelope: Envelope,
        content: Content,
        written: Vec<Written>,
        now: UnixTime,
    ) -> (i64, Option<Callout>) {
        let strict = self.config.sink.as_ref().is_some_and(|sink| sink.strict);
        let way = if strict { Way::Underway } else { Way::Call };
        let (seq, record) = self.seal(envelope, content, written, way, now);
        let call = strict.then(|| {
            let mut body = Vec::new();
            delivery::delimited(&record, &mut body);
            self.sink_call("POST", "/v1/records", body)
        });
        (seq, call.flatten())
    }

    /// Takes the answer to the call of an opening record: whether the record is durable.
    pub(crate) fn opening_reply(&mut self, seq: i64, answer: Option<(u16, &[u8])>) -> bool {
        let told = self.acknowledged(answer);
        told.is_some_and(|told| told.iter().any(|told| told.has(seq)))
    }

    /// What to tell or ask the sink now. To be called now and then, after each answer at the
    /// latest after a fraction of a second.
    pub fn delivery_due(&mut self, now: UnixTime) -> Option<Callout> {
        self.config.sink.as_ref()?;
        self.live(now);
        match self.outbox.need(now)? {
            Need::Post(body) => self.sink_call("POST", "/v1/records", body),
            Need::Ask => {
                let path = format!("/v1/epochs/{}", self.chain.epoch());
                self.sink_call("GET", &path, Vec::new())
            }
        }
    }

    /// Takes the answer to the call of [`Worker::delivery_due`]; says whether it was one.
    pub fn delivery_reply(&mut self, answer: Option<(u16, &[u8])>, now: UnixTime) -> bool {
        // An epoch that the sink does not know: nothing of it is durable.
        let unknown = matches!(answer, Some((404, _)));
        let good = unknown || self.acknowledged(answer).is_some();
        self.outbox.called(good, now);
        good
    }

    /// Number of records that no sink has reported durable, and what became of others.
    pub fn delivery_state(&mut self) -> (usize, Counts) {
        (self.outbox.len(), self.outbox.take_counts())
    }

    /// No exchange comes any more: the epoch ends with the last one. Gives the calls that bring all
    /// that is kept to the sink; there may be no time for others.
    pub fn end(&mut self, now: UnixTime) -> Vec<Callout> {
        if self.life.stage == Stage::Lives {
            self.life.stage = Stage::Ends;
        }
        self.live(now);
        let bodies = self.outbox.last(now).into_iter();
        bodies
            .filter_map(|body| self.sink_call("POST", "/v1/records", body))
            .collect()
    }

    /// Whether all is said and durable.
    pub fn has_ended(&self) -> bool {
        self.config.sink.is_none() || self.life.stage == Stage::Ended && self.outbox.len() == 0
    }

    /// Forgets what is durable by the sink's word; what it said of this epoch, if it was an answer.
    fn acknowledged(&mut self, answer: Option<(u16, &[u8])>) -> Option<Vec<Told>> {
        let Some((200, body)) = answer else {
            return None;
        };
        let epochs = serde_json::from_slice::<Answer>(body).map(|answer| answer.epochs);
        let one = |_| serde_json::from_slice::<Told>(body).map(|told| vec![told]);
        let mut epochs = epochs.or_else(one).ok()?;
        let own = self.chain.epoch().to_string();
        epochs.retain(|told| told.epoch == own);
        for told in &epochs {
            self.outbox.acknowledge(told);
        }
        Some(epochs)
    }

    /// Writes what is due of the worker itself: that it lives, or that it ended.
    fn live(&mut self, now: UnixTime) {
        let is_idle = self.exchanges == 0 && self.outbox.len() == 0;
        let since = now.since(self.life.beat_at);
        let beats = since >= HEARTBEAT || is_idle && !self.life.idle && since >= REST;
        let (kind, reason, stage) = match self.life.stage {
            Stage::Ends if self.exchanges == 0 => ("epoch", "end", Stage::Ended),
            stage @ (Stage::Lives | Stage::Ends) if beats => {
                ("heartbeat", if is_idle { "idle" } else { "" }, stage)
            }
            Stage::Rests | Stage::Lives | Stage::Ends | Stage::Ended => return,
        };
        self.say(kind, reason, now);
        self.life = Life {
            stage,
            beat_at: now,
            idle: is_idle,
        };
    }

    /// Writes a record of the worker itself.
    fn say(&mut self, kind: &str, reason: &str, now: UnixTime) {
        let envelope = Envelope {
            kind: Some(kind.into()),
            reason: (!reason.is_empty()).then(|| reason.into()),
            unacknowledged: i64::try_from(self.outbox.len()).ok(),
            policy: (reason == "start").then(|| self.config.policy.clone()),
            ..Envelope::default()
        };
        self.seal(envelope, Content::default(), Vec::new(), Way::Call, now);
    }

    fn sink_call(&self, method: &'static str, path: &str, body: Vec<u8>) -> Option<Callout> {
        let Sink { cluster, .. } = self.config.sink.as_ref()?;
        Some(Callout {
            cluster: cluster.clone(),
            method,
            host: "sink".into(),
            path: path.into(),
            headers: vec![("content-type".into(), "application/octet-stream".into())],
            body,
            timeout: delivery::CALL_TIMEOUT,
        })
    }
}

/// Values that pass, until the first of them does not any more.
#[derive(Debug, Default)]
struct PassesInForce {
    requests: Rc<Passes>,
    answers: Rc<Passes>,
    until: UnixTime,
}

impl PassesInForce {
    fn of(config: &Config, now: UnixTime) -> Self {
        let detectors: Vec<&str> = config.detectors.names().collect();
        let in_force = || config.exemptions.iter().filter(|it| it.end > now);
        let passes = |direction| {
            Rc::new(Passes {
                detectors: policy::passing(&config.rules, direction, &detectors),
                exempt: in_force().map(|it| it.fingerprint.clone()).collect(),
                all: now < config.observed_until,
            })
        };
        Self {
            requests: passes(Direction::Request),
            answers: passes(Direction::Answer),
            until: in_force()
                .map(|it| it.end)
                .chain(Some(config.observed_until).filter(|end| *end > now))
                .min()
                .unwrap_or(UnixTime(u64::MAX)),
        }
    }
}

fn key_set(answer: Option<(u16, &[u8])>) -> Result<&[u8], KeySetError> {
    match answer {
        Some((200, body)) => Ok(body),
        Some(_) | None => Err(KeySetError::Unreachable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_with_their_names() {
        let key = "MDEyMzQ1Njc4OWFiY2RlZg==";
        let cases = [
            (format!("k1:{key}"), Some("k1")),
            (format!("k2:{key},k1:{key}"), Some("k2")),
            (format!(" k2:{key}, k1:{key}\n"), Some("k2")),
            (format!("k2:{key},k1:short"), None),
            ("k1:c2hvcnQ=".to_owned(), None),
            (key.to_owned(), None),
            (format!(":{key}"), None),
            (String::new(), None),
        ];
        for (text, id) in cases {
            let read = first_key(&text);
            assert_eq!(read.as_ref().map(|(id, _)| id.as_str()), id, "{text}");
            let all = fingerprint_keys(&text);
            let parts = text.split(',').count();
            assert_eq!(all.map(|all| all.len()).ok(), id.map(|_| parts), "{text}");
        }
    }

    #[test]
    fn secrets_name_the_variable_that_is_missing() {
        let config = Config::example();
        let none = Secrets::read(&config, |_| None);
        assert_eq!(none.err(), Some(SecretsError::Missing(FINGERPRINT_KEYS)));
        let bad = Secrets::read(&config, |_| Some("k1:x".to_owned()));
        assert_eq!(bad.err(), Some(SecretsError::Malformed(FINGERPRINT_KEYS)));
    }
}
