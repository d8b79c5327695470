//! Proves who the caller is, from a bearer token (OpenID Connect, RFC 7519).

use std::{collections::HashMap, time::Duration};

use sha2::{Digest, Sha256};

use crate::{config::Issuer, time::UnixTime};

mod jwt;
mod key_set;

pub use key_set::{Fetch, KeySet, KeySetError, KeyStore};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// How far the issuer's clock may differ from ours.
pub const CLOCK_LEEWAY: Duration = Duration::from_mins(1);

/// Verified tokens remembered per worker.
const VERIFIED_ENTRIES: usize = 4096;

/// Refused tokens remembered per worker; strangers can only push out each other's.
const REFUSED_ENTRIES: usize = 1024;

/// How long a refused token stays refused without another look.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// Who the caller was proven to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Issuer that vouches.
    pub issuer: String,
    /// Value of the configured subject claim; unique within the issuer.
    pub subject: String,
    /// Groups that the issuer lists.
    pub groups: Vec<String>,
    /// When the proof ends.
    pub expires_at: UnixTime,
}

impl Identity {
    /// One string for the person, different for every (issuer, subject).
    pub fn person_key(&self) -> String {
        format!("{}\n{}", self.issuer, self.subject)
    }
}

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No token, or more than one.
    #[error("no token was shown")]
    Missing,
    /// Not a token that could be verified at all.
    #[error("the token is not a signed JWT of a supported kind")]
    Malformed,
    /// `iss` is none of the configured issuers.
    #[error("the token's issuer is not accepted")]
    UnknownIssuer,
    /// `kid` is in no loaded key set; fetch the set of this issuer, then try once more.
    #[error("the token's key is not in the issuer's key set")]
    UnknownKey {
        /// Place of the issuer in the configuration.
        issuer: usize,
    },
    /// The issuer's key set was never loaded or is too old.
    #[error("the issuer's key set is not loaded")]
    NoKeySet {
        /// Place of the issuer in the configuration.
        issuer: usize,
    },
    /// `exp` has passed or is missing, or `nbf` is to come.
    #[error("the token is not valid now")]
    Expired,
    /// Signature, audience or a required claim is wrong.
    #[error("the token does not verify")]
    Refused,
}

/// Finds the token in a value of the `authorization` header: `Bearer …` or GitHub's `token …`.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    let token = token.trim();
    (known && !token.is_empty() && !token.contains(' ')).then_some(token)
}

/// The key id that a token names; `None` if it names none or cannot be read.
pub(crate) fn key_id(token: &str) -> Option<String> {
    jwt::key_id(token)
}

/// Tokens that were verified or refused before, by their SHA-256; bounded.
#[derive(Debug, Default)]
pub struct TokenCache {
    verified: HashMap<[u8; 32], (Identity, UnixTime)>,
    refused: HashMap<[u8; 32], (IdentityError, UnixTime)>,
}

impl TokenCache {
    /// Checks a token and says who sent it.
    ///
    /// # Errors
    ///
    /// [`IdentityError`]; `UnknownKey` and `NoKeySet` may be gone after the key set was fetched.
    pub fn verify(
        &mut self,
        token: &str,
        issuers: &[Issuer],
        keys: &KeyStore,
        now: UnixTime,
    ) -> Result<Identity, IdentityError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(IdentityError::Malformed);
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some((identity, until)) = self.verified.get(&digest)
            && now < *until
        {
            return Ok(identity.clone());
        }
        if let Some((error, until)) = self.refused.get(&digest)
            && now < *until
        {
            return Err(*error);
        }
        let result = jwt::verify(token, issuers, keys, now);
        match &result {
            Ok(identity) => {
                make_room(&mut self.verified, VERIFIED_ENTRIES, now);
                let until = keys.end_of_proof(issuers, &identity.issuer, identity.expires_at, now);
                self.verified.insert(digest, (identity.clone(), until));
            }
            Err(IdentityError::NoKeySet { .. } | IdentityError::UnknownKey { .. }) => {}
            Err(error) => {
                make_room(&mut self.refused, REFUSED_ENTRIES, now);
                self.refused.insert(digest, (*error, now + REFUSED_FOR));
            }
        }
        result
    }

    /// Forgets everything, as when a key set has changed.
    pub fn clear(&mut self) {
        self.verified.clear();
        self.refused.clear();
    }
}

fn make_room<T>(entries: &mut HashMap<[u8; 32], (T, UnixTime)>, most: usize, now: UnixTime) {
    if entries.len() >= most {
        entries.retain(|_, (_, until)| now < *until);
    }
    if entries.len() >= most {
        entries.clear();
    }
}

#[cfg(test)]
mod tests;
