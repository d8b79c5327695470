//! One token against the configured issuers and their key sets.

use data_encoding::BASE64URL_NOPAD;
use jwt_simple::prelude::{Duration, JWTClaims, Token, VerificationOptions};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{CLOCK_LEEWAY, Identity, IdentityError, KeyStore, MAX_TOKEN_BYTES};
use crate::{config::Issuer, time::UnixTime};

/// Longest subject, in bytes.
const MAX_SUBJECT_BYTES: usize = 256;

/// Most groups that are read from a token.
const MAX_GROUPS: usize = 1_000;

/// What a token says before anything is verified; only good for finding the key.
#[derive(Deserialize)]
struct UnverifiedClaims {
    iss: String,
}

pub(super) fn key_id(token: &str) -> Option<String> {
    let header = Token::decode_metadata(token).ok()?;
    header.key_id().map(str::to_owned)
}

pub(super) fn verify(
    token: &str,
    issuers: &[Issuer],
    keys: &KeyStore,
    now: UnixTime,
) -> Result<Identity, IdentityError> {
    let header = Token::decode_metadata(token).map_err(|_| IdentityError::Malformed)?;
    let payload = token.split('.').nth(1).unwrap_or_default();
    let claims = BASE64URL_NOPAD
        .decode(payload.as_bytes())
        .ok()
        .and_then(|json| serde_json::from_slice::<UnverifiedClaims>(&json).ok())
        .ok_or(IdentityError::Malformed)?;
    let index = issuers
        .iter()
        .position(|issuer| issuer.issuer == claims.iss)
        .ok_or(IdentityError::UnknownIssuer)?;
    let issuer = issuers.get(index).ok_or(IdentityError::UnknownIssuer)?;
    let set = keys
        .usable(index, issuer, now)
        .ok_or(IdentityError::NoKeySet { issuer: index })?;
    let key = set
        .find(header.key_id(), header.algorithm())
        .ok_or(IdentityError::UnknownKey { issuer: index })?;
    let options = VerificationOptions {
        allowed_issuers: Some([issuer.issuer.clone()].into()),
        allowed_audiences: Some(issuer.audiences.clone()),
        time_tolerance: Some(Duration::from_secs(CLOCK_LEEWAY.as_secs())),
        max_token_length: Some(MAX_TOKEN_BYTES),
        artificial_time: Some(Duration::from_secs(now.seconds())),
        ..VerificationOptions::default()
    };
    let claims: JWTClaims<Map<String, Value>> =
        key.verify(token, options).map_err(|error| reason(&error))?;
    let expires_at = claims.expires_at.ok_or(IdentityError::Expired)?;
    let subject = match issuer.subject_claim.as_str() {
        "sub" => claims.subject.as_deref(),
        other => claims.custom.get(other).and_then(Value::as_str),
    };
    let subject = subject
        .filter(|text| (1..=MAX_SUBJECT_BYTES).contains(&text.len()))
        .filter(|text| !text.chars().any(char::is_control))
        .ok_or(IdentityError::Refused)?;
    Ok(Identity {
        issuer: issuer.issuer.clone(),
        subject: subject.to_owned(),
        groups: groups(claims.custom.get(&issuer.groups_claim)),
        expires_at: UnixTime::from_seconds(expires_at.as_secs()),
    })
}

fn groups(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many
            .iter()
            .take(MAX_GROUPS)
            .filter_map(|group| group.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

fn reason(error: &jwt_simple::Error) -> IdentityError {
    use jwt_simple::JWTError;
    match error.downcast_ref::<JWTError>() {
        Some(
            JWTError::TokenHasExpired
            | JWTError::TokenNotValidYet
            | JWTError::ClockDrift
            | JWTError::TokenIsTooOld,
        ) => IdentityError::Expired,
        _ => IdentityError::Refused,
    }
}
