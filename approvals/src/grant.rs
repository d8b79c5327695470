//! The desk's signing keys, and the grants that they sign.
//!
//! `keys.json` in the data folder, readable for the desk alone, is a key set (RFC 7517). Its first key
//! signs and has its private half; all are published. A key that is replaced keeps its public half
//! only: what it signed stays good, nothing more can be signed with it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use contract::approval::{GRANT_ALGORITHM, GRANT_TYPE, GrantClaims};
use jwt_simple::prelude::{
    Audiences, Ed25519KeyPair, Ed25519PublicKey, EdDSAKeyPairLike, HeaderOptions, JWTClaims,
    UnixTimeStamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{ledger::Delivery, state::Seconds};

/// The keys of a desk.
pub struct Keys {
    signing: Ed25519KeyPair,
    published: Value,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("cannot use the keys' file: {0}")]
    File(#[from] io::Error),
    /// It is not what the desk has written.
    #[error("the keys' file holds something else")]
    Malformed,
}

/// A grant could not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign the grant")]
pub struct NotSigned;

/// The file.
#[derive(Serialize, Deserialize)]
struct Written {
    keys: Vec<Map<String, Value>>,
}

impl Keys {
    /// Reads the keys in `folder`, or makes the first; with `rotate` puts a new one before them.
    ///
    /// # Errors
    ///
    /// [`KeysError`]; a file that cannot be read is never replaced.
    pub fn open(folder: &Path, rotate: bool) -> Result<Self, KeysError> {
        let file = folder.join(FILE);
        let mut written = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| KeysError::Malformed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Written { keys: Vec::new() },
            Err(error) => return Err(error.into()),
        };
        if rotate || written.keys.is_empty() {
            for key in &mut written.keys {
                key.remove("d");
            }
            written.keys.insert(0, generate()?);
            written.keys.truncate(MAX_KEYS);
            replace(folder, &written)?;
        }
        let first = written.keys.first().cloned().map(Value::Object);
        let signing = Ed25519KeyPair::from_jwk(&first.ok_or(KeysError::Malformed)?.to_string())
            .map_err(|_| KeysError::Malformed)?;
        let published: Result<Vec<Value>, KeysError> = written.keys.iter().map(published).collect();
        Ok(Self {
            signing,
            published: json!({ "keys": published? }),
        })
    }

    /// The public halves as a key set (RFC 7517).
    pub fn published(&self) -> &Value {
        &self.published
    }

    /// Signs a granted approval.
    ///
    /// # Errors
    ///
    /// [`NotSigned`], which should not happen.
    pub fn sign(
        &self,
        delivery: &Delivery,
        domain: &str,
        deployment: &str,
        now: Seconds,
    ) -> Result<String, NotSigned> {
        let approval = &delivery.approval;
        let at = |seconds: Seconds| -> UnixTimeStamp {
            UnixTimeStamp::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        let claims = JWTClaims {
            issued_at: Some(at(now)),
            expires_at: Some(at(approval.standing.ends_at)),
            invalid_before: None,
            issuer: Some(domain.to_owned()),
            subject: Some(approval.terms.person.clone()),
            audiences: Some(Audiences::AsString(deployment.to_owned())),
            jwt_id: Some(approval.id.clone()),
            nonce: None,
            custom: GrantClaims {
                rule_digest: approval.rule_digest,
                endpoint: approval.endpoint.clone(),
                model: approval.model.clone(),
                items: delivery.items.items().collect(),
                covers: approval.terms.covers,
            },
        };
        let header = HeaderOptions {
            signature_type: Some(GRANT_TYPE.to_owned()),
            ..HeaderOptions::default()
        };
        let signed = self.signing.sign_with_options(claims, &header);
        signed.map_err(|_| NotSigned)
    }
}

fn generate() -> Result<Map<String, Value>, KeysError> {
    let pair = Ed25519KeyPair::generate();
    let name = pair.public_key().jwk_thumbprint();
    serde_json::from_str(&pair.with_key_id(&name).to_jwk()).map_err(|_| KeysError::Malformed)
}

/// A key without its private half, with what a reader may want to know; the closed list of fields sees
/// to it that nothing else gets out.
fn published(key: &Map<String, Value>) -> Result<Value, KeysError> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "alg": GRANT_ALGORITHM, "use": "sig",
        "kid": text("kid").ok_or(KeysError::Malformed)?,
        "x": text("x").ok_or(KeysError::Malformed)?,
    });
    Ed25519PublicKey::from_jwk(&jwk.to_string()).map_err(|_| KeysError::Malformed)?;
    Ok(jwk)
}

/// Writes the file anew: whole on disk under another name first, so that a crash leaves one of the two.
fn replace(folder: &Path, written: &Written) -> Result<(), KeysError> {
    let next = folder.join(format!("{FILE}.next"));
    let json = serde_json::to_vec_pretty(written).map_err(|_| KeysError::Malformed)?;
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(&json)?;
    file.sync_all()?;
    fs::rename(&next, folder.join(FILE))?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

const FILE: &str = "keys.json";

/// Keys that are published: the one that signs, and those whose grants may still be good.
const MAX_KEYS: usize = 4;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ids(keys: &Keys) -> Vec<String> {
        let keys = keys.published()["keys"].as_array().unwrap();
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_key_is_made_once_and_kept_for_the_desk_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = ids(&Keys::open(folder.path(), false).unwrap());
        let again = Keys::open(folder.path(), false).unwrap();
        assert_eq!(first, ids(&again));
        let mode = fs::metadata(folder.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let private = fs::read_to_string(folder.path().join(FILE)).unwrap();
        let private: Value = serde_json::from_str(&private).unwrap();
        let secret = private["keys"][0]["d"].as_str().unwrap();
        assert!(!again.published().to_string().contains(secret));
    }

    #[test]
    fn a_replaced_key_is_still_published_and_signs_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let old = ids(&Keys::open(folder.path(), false).unwrap()).remove(0);
        let rotated = Keys::open(folder.path(), true).unwrap();
        assert_eq!(ids(&rotated).len(), 2);
        assert_eq!(ids(&rotated)[1], old);
        let private = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(private.matches("\"d\"").count(), 1);
        for _ in 0..5 {
            Keys::open(folder.path(), true).unwrap();
        }
        assert_eq!(
            ids(&Keys::open(folder.path(), false).unwrap()).len(),
            MAX_KEYS
        );
    }

    #[test]
    fn a_file_that_is_no_key_set_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["", "{}", "{\"keys\":[{\"kty\":\"OKP\"}]}", "nonsense"] {
            fs::write(folder.path().join(FILE), bad).unwrap();
            assert!(Keys::open(folder.path(), false).is_err(), "{bad}");
            assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), bad);
        }
    }
}
