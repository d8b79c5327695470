//! What all exchanges of one worker share: configuration, detectors, keys, tokens and the chain.

use std::{collections::HashMap, rc::Rc, time::Duration};

use contract::{Chain, Content, Envelope, Epoch, MacKey};
use data_encoding::BASE64;
use hkdf::Hkdf;
use sha2::Sha256;

use crate::{
    approval::{CALL_TIMEOUT, Grant, GrantError, Ledger, grant},
    config::{Config, Direction},
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

/// The first of `kid:base64[,kid:base64]`; all must be well formed.
fn first_key(text: &str) -> Option<(String, Vec<u8>)> {
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
    keys.into_iter().next()
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
        let fits = self.pending_bytes.saturating_add(bytes) <= self.config.max_pending_bytes;
        if fits {
            self.pending_bytes += bytes;
        }
        fits
    }

    /// Gives back room that an exchange had taken.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
    }

    /// Seals a record with what is written in its request's content; gives its row but for the
    /// sink's stamp.
    pub(crate) fn seal(
        &mut self,
        envelope: Envelope,
        content: &Content,
        written: Vec<Written>,
        now: UnixTime,
    ) -> Vec<u8> {
        let sealed = self.chain.seal(envelope, content, &self.secrets.mac_key);
        for text in written {
            self.repeats.recorded(text, sealed.seq, now);
        }
        sealed.bytes
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
