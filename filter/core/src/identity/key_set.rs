//! Key sets of issuers (RFC 7517): parsed, kept, and fetched again in time.

use std::{collections::HashMap, time::Duration};

use jwt_simple::prelude::{
    ECDSAP256PublicKeyLike, ES256PublicKey, Ed25519PublicKey, EdDSAPublicKeyLike, JWTClaims,
    RS256PublicKey, RSAPublicKeyLike, VerificationOptions,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{config::Issuer, time::UnixTime};

/// Largest key set that is read, in bytes.
const MAX_KEY_SET_BYTES: usize = 256 * 1024;

/// Most keys that are kept of one set.
const MAX_KEYS: usize = 64;

/// Least time between two fetches that unknown key ids ask for.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(1);

/// How long a key id that a fresh set does not have is not asked for again.
const UNKNOWN_KEY_REMEMBERED: Duration = Duration::from_secs(30);

/// Most such key ids that are remembered per issuer.
const MAX_UNKNOWN_KEYS: usize = 256;

/// Longest pause after failed fetches.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Exchanges of one worker that may wait for the same first key set, each with a callout.
const MAX_WAITING: u32 = 64;

/// The keys of one issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// A key that can verify.
#[derive(Debug)]
pub(crate) struct Key {
    id: Option<String>,
    public: PublicKey,
}

#[derive(Debug)]
enum PublicKey {
    EdDsa(Ed25519PublicKey),
    Es256(ES256PublicKey),
    Rs256(Box<RS256PublicKey>),
}

/// Why bytes are not a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Larger than 256 KiB.
    #[error("the key set is too large")]
    TooLarge,
    /// Not a JSON object with `keys`.
    #[error("cannot parse the key set")]
    Malformed,
    /// No answer, or not status 200.
    #[error("cannot fetch the key set")]
    Unreachable,
    /// No key of a supported kind.
    #[error("the key set has no usable key")]
    Empty,
}

#[derive(Deserialize)]
struct RawKeySet {
    keys: Vec<Map<String, Value>>,
}

impl KeySet {
    /// Reads a key set; keys of unsupported kinds or for encryption are left out.
    ///
    /// # Errors
    ///
    /// [`KeySetError`]; a set without a usable key is an error, so that it never replaces one
    /// that works.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let raw: RawKeySet = serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        let keys: Vec<Key> = raw.keys.iter().filter_map(Key::of).take(MAX_KEYS).collect();
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self { keys })
    }

    /// The key of this id and algorithm; without an id the only key of the algorithm.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: &str) -> Option<&Key> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.algorithm() == algorithm)
            .filter(|key| id.is_none() || key.id.as_deref() == id);
        let first = fitting.next()?;
        (id.is_some() || fitting.next().is_none()).then_some(first)
    }
}

impl Key {
    fn of(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let id = text("kid").map(str::to_owned);
        let kind = (text("kty")?, text("crv"), text("alg"));
        let json = Value::Object(jwk.clone()).to_string();
        let public = match kind {
            ("RSA", _, None | Some("RS256")) => PublicKey::Rs256(Box::new(rsa(jwk)?)),
            ("EC", Some("P-256"), None | Some("ES256")) => {
                PublicKey::Es256(ES256PublicKey::from_jwk(&json).ok()?)
            }
            ("OKP", Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
                PublicKey::EdDsa(Ed25519PublicKey::from_jwk(&json).ok()?)
            }
            _ => return None,
        };
        Some(Self { id, public })
    }

    fn algorithm(&self) -> &'static str {
        match self.public {
            PublicKey::EdDsa(_) => "EdDSA",
            PublicKey::Es256(_) => "ES256",
            PublicKey::Rs256(_) => "RS256",
        }
    }

    pub(crate) fn verify<C: Serialize + DeserializeOwned>(
        &self,
        token: &str,
        options: VerificationOptions,
    ) -> Result<JWTClaims<C>, jwt_simple::Error> {
        let options = Some(options);
        match &self.public {
            PublicKey::EdDsa(key) => key.verify_token(token, options),
            PublicKey::Es256(key) => key.verify_token(token, options),
            PublicKey::Rs256(key) => key.verify_token(token, options),
        }
    }
}

fn rsa(jwk: &Map<String, Value>) -> Option<RS256PublicKey> {
    let part = |name: &str| {
        let text = jwk.get(name)?.as_str()?;
        data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok()
    };
    RS256PublicKey::from_components(&part("n")?, &part("e")?).ok()
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The key sets of all issuers of one worker, in the order of the configuration.
#[derive(Debug)]
pub struct KeyStore {
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    set: Option<KeySet>,
    fetched_at: UnixTime,
    next_fetch: UnixTime,
    next_for_unknown_key: UnixTime,
    /// Digests of key ids that the set does not have, and until when that is believed.
    unknown: HashMap<[u8; 32], UnixTime>,
    /// Digest of the set's bytes.
    digest: Option<[u8; 32]>,
    failures: u32,
    /// Callouts of exchanges that are under way.
    waiting: u32,
}

/// What an exchange may do about a key that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The issuer was asked a moment ago and does not have it.
    InVain,
    /// Too many are asking; later it may.
    Later,
    /// It may fetch the set.
    Now,
}

impl KeyStore {
    /// A store without any set.
    pub fn new(issuers: usize) -> Self {
        Self {
            slots: (0..issuers).map(|_| Slot::default()).collect(),
        }
    }

    /// Issuers whose set should be fetched now; each is named once until its time comes again.
    pub fn due(&mut self, issuers: &[Issuer], now: UnixTime) -> Vec<usize> {
        let mut due = Vec::new();
        for (index, (slot, issuer)) in self.slots.iter_mut().zip(issuers).enumerate() {
            if slot.next_fetch <= now {
                // Set again by `accept`; if no answer ever comes, the next try is this far away.
                slot.next_fetch = now + issuer.refresh.min(MAX_PAUSE);
                due.push(index);
            }
        }
        due
    }

    /// Whether an exchange may fetch the set itself: for a token whose key is not in it, or, without
    /// a key id, because there is no set yet. Rate-limited; while one asks, others may join.
    pub fn may_fetch(&mut self, issuer: usize, key: Option<&str>, now: UnixTime) -> Fetch {
        let Some(slot) = self.slots.get_mut(issuer) else {
            return Fetch::Later;
        };
        if let Some(key) = key {
            let known = slot.unknown.get(&digest(key.as_bytes()));
            if known.is_some_and(|until| now < *until) {
                return Fetch::InVain;
            }
            if slot.waiting == 0 {
                if now < slot.next_for_unknown_key {
                    return Fetch::Later;
                }
                slot.next_for_unknown_key = now + UNKNOWN_KEY_PAUSE;
            }
        }
        if slot.waiting >= MAX_WAITING {
            return Fetch::Later;
        }
        slot.waiting += 1;
        Fetch::Now
    }

    /// Remembers that a set that was just fetched does not have this key.
    pub fn in_vain(&mut self, issuer: usize, key: &str, now: UnixTime) {
        let Some(slot) = self.slots.get_mut(issuer) else {
            return;
        };
        if slot.unknown.len() >= MAX_UNKNOWN_KEYS {
            slot.unknown.clear();
        }
        let until = now + UNKNOWN_KEY_REMEMBERED;
        slot.unknown.insert(digest(key.as_bytes()), until);
    }

    /// Takes the answer to a fetch; says whether the set is another than before. A bad answer never
    /// replaces a good set.
    ///
    /// # Errors
    ///
    /// Why the answer is not a key set.
    pub fn accept(
        &mut self,
        issuer: usize,
        refresh: Duration,
        answer: Result<&[u8], KeySetError>,
        now: UnixTime,
    ) -> Result<bool, KeySetError> {
        let Some(slot) = self.slots.get_mut(issuer) else {
            return Ok(false);
        };
        slot.waiting = 0;
        match answer.and_then(|bytes| Ok((KeySet::parse(bytes)?, digest(bytes)))) {
            Ok((set, digest)) => {
                let changed = slot.digest != Some(digest);
                if changed {
                    slot.unknown.clear();
                }
                slot.set = Some(set);
                slot.digest = Some(digest);
                slot.fetched_at = now;
                slot.failures = 0;
                slot.next_fetch = now + refresh;
                Ok(changed)
            }
            Err(error) => {
                slot.failures = slot.failures.saturating_add(1);
                let pause = Duration::from_secs(1 << slot.failures.min(6)).min(MAX_PAUSE);
                slot.next_fetch = now + pause;
                Err(error)
            }
        }
    }

    /// The issuer's set unless it is older than the configured grace.
    pub(crate) fn usable(&self, index: usize, issuer: &Issuer, now: UnixTime) -> Option<&KeySet> {
        let slot = self.slots.get(index)?;
        let set = slot.set.as_ref()?;
        (now.since(slot.fetched_at) <= issuer.grace).then_some(set)
    }

    /// Until when a verified token of the issuer may be taken from a cache.
    pub(super) fn end_of_proof(
        &self,
        issuers: &[Issuer],
        name: &str,
        expires_at: UnixTime,
        now: UnixTime,
    ) -> UnixTime {
        let end_of_grace = issuers
            .iter()
            .zip(&self.slots)
            .find(|(issuer, _)| issuer.issuer == name)
            .map_or(now, |(issuer, slot)| slot.fetched_at + issuer.grace);
        expires_at.min(end_of_grace)
    }
}
