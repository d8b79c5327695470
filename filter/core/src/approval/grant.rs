//! Verifies the desk's grants.

use contract::approval::{GRANT_ALGORITHM, GRANT_TYPE, GrantClaims, MAX_GRANT_BYTES};
use jwt_simple::prelude::{Duration, JWTClaims, Token, VerificationOptions};

use crate::{
    config::Issuer,
    identity::{CLOCK_LEEWAY, KeyStore},
    time::UnixTime,
};

/// A verified grant.
pub(crate) struct Grant {
    /// The approval's id.
    pub(crate) id: String,
    pub(crate) expires_at: UnixTime,
    /// What it is for; whether that fits is still to be seen.
    pub(crate) claims: GrantClaims,
}

/// Why a token is not a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GrantError {
    /// Its key is not known (yet).
    UnknownKey {
        /// The key's id.
        id: String,
    },
    /// Another kind of token, signature, issuer, audience, person or time.
    Refused,
}

/// Checks that the desk, `issuer`, has signed a grant for the person, and that it is valid now.
pub(crate) fn verify(
    token: &str,
    issuer: &Issuer,
    keys: &KeyStore,
    person: &str,
    now: UnixTime,
) -> Result<Grant, GrantError> {
    if token.len() > MAX_GRANT_BYTES {
        return Err(GrantError::Refused);
    }
    let header = Token::decode_metadata(token).map_err(|_| GrantError::Refused)?;
    let id = header.key_id().filter(|id| id.len() <= 256);
    let id = id.ok_or(GrantError::Refused)?;
    if header.algorithm() != GRANT_ALGORITHM || header.signature_type() != Some(GRANT_TYPE) {
        return Err(GrantError::Refused);
    }
    let unknown = || GrantError::UnknownKey { id: id.to_owned() };
    let set = keys.usable(0, issuer, now).ok_or_else(unknown)?;
    let key = set.find(Some(id), GRANT_ALGORITHM).ok_or_else(unknown)?;
    let options = VerificationOptions {
        allowed_issuers: Some([issuer.issuer.clone()].into()),
        allowed_audiences: Some(issuer.audiences.clone()),
        required_subject: Some(person.to_owned()),
        required_key_id: Some(id.to_owned()),
        required_signature_type: Some(GRANT_TYPE.to_owned()),
        time_tolerance: Some(Duration::from_secs(CLOCK_LEEWAY.as_secs())),
        max_token_length: Some(MAX_GRANT_BYTES),
        artificial_time: Some(Duration::from_secs(now.seconds())),
        ..VerificationOptions::default()
    };
    let claims: JWTClaims<GrantClaims> = key
        .verify(token, options)
        .map_err(|_| GrantError::Refused)?;
    let expires_at = claims.expires_at.ok_or(GrantError::Refused)?;
    Ok(Grant {
        id: claims.jwt_id.ok_or(GrantError::Refused)?,
        expires_at: UnixTime::from_seconds(expires_at.as_secs()),
        claims: claims.custom,
    })
}
