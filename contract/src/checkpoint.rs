//! What the sink signs about its rows.
//!
//! Each row of a sink has a link, which covers all rows before it:
//!
//! `link = SHA-256("gate.row.v1" ‖ previous link ‖ sink_seq ‖ received_at ‖ hash)`
//!
//! with numbers as 64 bits, big-endian, `hash` the row's [`Proof::hash`](crate::Proof), and an empty
//! previous link before the first. A checkpoint is a JWT of type [`CHECKPOINT_TYPE`] that says the
//! link after so many rows, and how far each epoch is durable. Who has one, and a table that gives
//! the same link, knows that no row up to there was taken away, put in, moved or exchanged.

use jwt_simple::prelude::{
    Audiences, Ed25519KeyPair, Ed25519PublicKey, EdDSAKeyPairLike, EdDSAPublicKeyLike,
    HeaderOptions, JWTClaims, Token, UnixTimeStamp, VerificationOptions,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::MacKey;

/// `typ` of a checkpoint.
pub const CHECKPOINT_TYPE: &str = "gate-checkpoint+jwt";

/// Longest checkpoint that is read.
pub const MAX_CHECKPOINT_BYTES: usize = 1 << 20;

/// A link of a sink's chain.
pub type Link = [u8; 32];

/// The link of a row; `previous` is `None` for the chain's first.
pub fn row_link(previous: Option<&Link>, sink_seq: u64, received_at: i64, hash: &[u8]) -> Link {
    let mut hasher = Sha256::new();
    hasher.update(b"gate.row.v1");
    hasher.update(previous.map_or(&[][..], |link| link));
    hasher.update(sink_seq.to_be_bytes());
    hasher.update(received_at.to_be_bytes());
    hasher.update(hash);
    hasher.finalize().into()
}

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose rows.
    pub sink_id: String,
    /// How many: those of `sink_seq` 0 to one below.
    pub rows: u64,
    /// `sink_seq` of the chain's first row; above 0 if older rows came before there was a chain.
    pub since: u64,
    /// Link of the last row, in hex; empty if the chain has none yet.
    pub link: String,
    /// When the last row arrived, in microseconds since 1970.
    pub received_at: i64,
    /// How many of the rows are tombstones.
    pub tombstones: u64,
    /// Epochs of which records came since the checkpoint before.
    pub epochs: Vec<EpochClaim>,
}

/// How far the records of an epoch are durable in this sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochClaim {
    /// The epoch in hex.
    pub epoch: String,
    /// Number of records without a hole: those of `seq` 0 to one below.
    pub next: i64,
    /// Hash of the last of them in hex; absent if it came before there was a chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// First and one past the last of each range beyond a hole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ahead: Vec<(i64, i64)>,
    /// Whether there are more such ranges than are told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A checkpoint whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// When it was signed, in seconds since 1970.
    pub issued_at: u64,
    /// What it says.
    pub claims: Claims,
}

/// Keys that checkpoints are signed with; cannot be printed.
pub struct SigningKeys(Vec<(String, Ed25519KeyPair)>);

/// Keys that checkpoints are verified with.
#[derive(Clone, Default)]
pub struct VerifyingKeys(Vec<(String, Ed25519PublicKey)>);

/// A checkpoint could not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign the checkpoint")]
pub struct NotSigned;

/// Why a text is not a checkpoint that one of the keys signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a token of this type.
    #[error("it is not a checkpoint")]
    Malformed,
    /// No key of this name.
    #[error("it is signed by the unknown key {0}")]
    UnknownKey(String),
    /// Something was changed, or another key of the same name signed it.
    #[error("its signature does not verify")]
    BadSignature,
}

impl SigningKeys {
    /// Reads `kid:base64[,kid:base64]`, each an Ed25519 seed of 32 bytes; the first signs.
    ///
    /// # Errors
    ///
    /// Which key is wrong and why, without what was written.
    pub fn read(text: &str) -> Result<Self, String> {
        let pair = |id: &str, seed: &[u8]| {
            let key = Ed25519KeyPair::from_der(&[PKCS8, seed].concat()).ok()?;
            Some(key.with_key_id(id))
        };
        read_keys(text, "an Ed25519 seed of 32 bytes", pair).map(Self)
    }

    /// The public half of each key, as `kid:base64`.
    pub fn published(&self) -> Vec<String> {
        let key = |(id, key): &(String, Ed25519KeyPair)| {
            let public = data_encoding::BASE64.encode(&key.public_key().to_bytes());
            format!("{id}:{public}")
        };
        self.0.iter().map(key).collect()
    }

    /// Signs a checkpoint. `issued_at` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`NotSigned`], which should not happen.
    pub fn sign(
        &self,
        claims: Claims,
        deployment: Option<&str>,
        issued_at: u64,
    ) -> Result<String, NotSigned> {
        let (_, key) = self.0.first().ok_or(NotSigned)?;
        let claims = JWTClaims {
            issued_at: Some(UnixTimeStamp::from_secs(issued_at)),
            expires_at: None,
            invalid_before: None,
            issuer: None,
            subject: None,
            audiences: deployment.map(|name| Audiences::AsString(name.to_owned())),
            jwt_id: None,
            nonce: None,
            custom: claims,
        };
        let header = HeaderOptions {
            signature_type: Some(CHECKPOINT_TYPE.to_owned()),
            ..HeaderOptions::default()
        };
        let signed = key.sign_with_options(claims, &header);
        signed.map_err(|_| NotSigned)
    }
}

impl VerifyingKeys {
    /// Reads `kid:base64`, separated by commas or line ends, each an Ed25519 public key; what follows
    /// a `#` is passed over.
    ///
    /// # Errors
    ///
    /// Which key is wrong and why.
    pub fn read(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(|line| {
            let (line, _) = line.split_once('#').unwrap_or((line, ""));
            line.trim().trim_matches(',')
        });
        let text: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let key = |id: &str, bytes: &[u8]| {
            let key = Ed25519PublicKey::from_bytes(bytes).ok()?;
            Some(key.with_key_id(id))
        };
        read_keys(&text.join(","), "an Ed25519 public key of 32 bytes", key).map(Self)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks type and signature of a checkpoint; it has no end, and the clock plays no part.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub fn verify(&self, token: &str) -> Result<Checkpoint, CheckpointError> {
        let (id, unverified) = inspect(token)?;
        let (_, key) = self
            .0
            .iter()
            .find(|(name, _)| *name == id)
            .ok_or(CheckpointError::UnknownKey(id))?;
        let options = VerificationOptions {
            accept_future: true,
            required_signature_type: Some(CHECKPOINT_TYPE.to_owned()),
            max_token_length: Some(MAX_CHECKPOINT_BYTES),
            artificial_time: Some(UnixTimeStamp::from_secs(unverified.issued_at)),
            ..VerificationOptions::default()
        };
        let claims: JWTClaims<Claims> = key
            .verify_token(token, Some(options))
            .map_err(|_| CheckpointError::BadSignature)?;
        Ok(Checkpoint {
            issued_at: claims.issued_at.unwrap_or_default().as_secs(),
            claims: claims.custom,
        })
    }
}

/// The key's id, and what the checkpoint says without any check of its signature.
///
/// # Errors
///
/// [`CheckpointError::Malformed`].
pub fn inspect(token: &str) -> Result<(String, Checkpoint), CheckpointError> {
    #[derive(Deserialize)]
    struct Unverified {
        iat: u64,
        #[serde(flatten)]
        claims: Claims,
    }
    if token.len() > MAX_CHECKPOINT_BYTES {
        return Err(CheckpointError::Malformed);
    }
    let header = Token::decode_metadata(token).map_err(|_| CheckpointError::Malformed)?;
    let id = header.key_id().ok_or(CheckpointError::Malformed)?;
    if header.algorithm() != "EdDSA" || header.signature_type() != Some(CHECKPOINT_TYPE) {
        return Err(CheckpointError::Malformed);
    }
    let body = token.split('.').nth(1).unwrap_or_default();
    let body = data_encoding::BASE64URL_NOPAD.decode(body.as_bytes());
    let found: Option<Unverified> = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok());
    let found = found.ok_or(CheckpointError::Malformed)?;
    let checkpoint = Checkpoint {
        issued_at: found.iat,
        claims: found.claims,
    };
    Ok((id.to_owned(), checkpoint))
}

/// Reads keys as environment variables hold them: `kid:base64[,kid:base64]`. `key` makes one of its
/// bytes, which are to be what `wanted` says.
///
/// # Errors
///
/// Which key is wrong and why, without what was written.
pub fn read_keys<K>(
    text: &str,
    wanted: &str,
    key: impl Fn(&str, &[u8]) -> Option<K>,
) -> Result<Vec<(String, K)>, String> {
    let mut keys: Vec<(String, K)> = Vec::new();
    for (place, part) in text.split(',').enumerate() {
        let fault = |what: &str| format!("key {}: {what}", place + 1);
        let (id, bytes) = part
            .trim()
            .split_once(':')
            .ok_or_else(|| fault("not kid:base64"))?;
        let bytes = data_encoding::BASE64
            .decode(bytes.as_bytes())
            .or_else(|_| data_encoding::BASE64_NOPAD.decode(bytes.as_bytes()))
            .map_err(|_| fault("not base64"))?;
        if id.is_empty() || keys.iter().any(|(other, _)| other == id) {
            return Err(fault("its id is empty or used twice"));
        }
        let key = key(id, &bytes).ok_or_else(|| fault(&format!("not {wanted}")))?;
        keys.push((id.to_owned(), key));
    }
    Ok(keys)
}

/// Reads the keys that records are sealed with, `kid:base64[,kid:base64]` of at least 16 bytes.
///
/// # Errors
///
/// As [`read_keys`].
pub fn read_seals(text: &str) -> Result<Vec<MacKey>, String> {
    let key = |id: &str, key: &[u8]| (key.len() >= 16).then(|| MacKey::new(id, key));
    let keys = read_keys(text, "16 bytes or more", key)?;
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// What stands before the seed in an Ed25519 private key (RFC 8410 §7).
const PKCS8: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "c1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const OTHER: &str = "c1:HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn claims() -> Claims {
        Claims {
            sink_id: "ab".repeat(16),
            rows: 7,
            since: 0,
            link: "cd".repeat(32),
            received_at: 1_800_000_000_000_000,
            tombstones: 1,
            epochs: vec![EpochClaim {
                epoch: "01".repeat(16),
                next: 5,
                hash: Some("ef".repeat(32)),
                ahead: vec![(6, 8)],
                partial: false,
            }],
        }
    }

    fn public(keys: &SigningKeys) -> VerifyingKeys {
        VerifyingKeys::read(&keys.published().join("\n")).unwrap()
    }

    #[test]
    fn a_checkpoint_verifies_with_the_public_half_of_its_key() {
        let keys = SigningKeys::read(SEED).unwrap();
        let token = keys.sign(claims(), Some("acme"), 1_800_000_000).unwrap();
        let found = public(&keys).verify(&token).unwrap();
        assert_eq!((found.issued_at, &found.claims), (1_800_000_000, &claims()));
        assert_eq!(inspect(&token).unwrap(), ("c1".to_owned(), found));
    }

    #[test]
    fn a_changed_checkpoint_and_foreign_keys_are_refused() {
        let keys = SigningKeys::read(SEED).unwrap();
        let token = keys.sign(claims(), None, 1).unwrap();
        let other = public(&SigningKeys::read(OTHER).unwrap());
        assert_eq!(other.verify(&token), Err(CheckpointError::BadSignature));
        let renamed = public(&SigningKeys::read(&SEED.replace("c1", "c2")).unwrap());
        let unknown = CheckpointError::UnknownKey("c1".into());
        assert_eq!(renamed.verify(&token), Err(unknown));
        let (head, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let mut more = claims();
        more.rows += 1;
        let forged = keys.sign(more, None, 1).unwrap();
        let body = forged.split('.').nth(1).unwrap();
        let forged = format!("{head}.{body}.{signature}");
        assert_eq!(
            public(&keys).verify(&forged),
            Err(CheckpointError::BadSignature)
        );
        for bad in ["", "a.b.c", head] {
            assert_eq!(
                public(&keys).verify(bad),
                Err(CheckpointError::Malformed),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_token_of_another_type_is_no_checkpoint() {
        let keys = SigningKeys::read(SEED).unwrap();
        let (_, key) = keys.0.first().unwrap();
        let claims = JWTClaims {
            issued_at: Some(UnixTimeStamp::from_secs(1)),
            expires_at: None,
            invalid_before: None,
            issuer: None,
            subject: None,
            audiences: None,
            jwt_id: None,
            nonce: None,
            custom: claims(),
        };
        let token = key
            .sign_with_options(claims, &HeaderOptions::default())
            .unwrap();
        assert_eq!(
            public(&keys).verify(&token),
            Err(CheckpointError::Malformed)
        );
    }

    #[test]
    fn keys_are_read_and_faults_do_not_repeat_them() {
        let two = format!("{SEED},{}", OTHER.replace("c1", "c2"));
        assert_eq!(SigningKeys::read(&two).unwrap().published().len(), 2);
        for bad in [
            "",
            "nonsense",
            "c1:!!",
            "c1:AAEC",
            &format!("{SEED},{SEED}"),
        ] {
            let fault = SigningKeys::read(bad).err().unwrap();
            assert!(fault.starts_with("key "), "{fault}");
            assert!(!fault.contains("nonsense") && !fault.contains("AAEC"));
        }
        let text = format!(
            "# of the sinks in Europe\n\n{} # first\n",
            SigningKeys::read(SEED).unwrap().published()[0]
        );
        assert!(!VerifyingKeys::read(&text).unwrap().is_empty());
    }

    #[test]
    fn a_link_covers_each_of_its_parts() {
        let base = row_link(None, 1, 2, &[3; 32]);
        let others = [
            row_link(Some(&base), 1, 2, &[3; 32]),
            row_link(None, 2, 2, &[3; 32]),
            row_link(None, 1, 3, &[3; 32]),
            row_link(None, 1, 2, &[4; 32]),
        ];
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(
            data_encoding::HEXLOWER.encode(&base),
            "c237d17c5e73a998dacbfd08a3d7398d296888b1343b1ecdf38512199b3cabe6",
            "others compute it too"
        );
    }
}
