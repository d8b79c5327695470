//! Placeholders and fingerprints: what stands for a value in texts and in records.
//!
//! `MASKED_<KIND>_<16 characters of A-Z2-7>`, 80 bits of
//! HMAC-SHA-256(HKDF-SHA-256(placeholder key, info), KIND name ‖ 0 ‖ value), where `info` is
//! "gate.placeholder.v1", deployment and person, each behind its length in four bytes. So it is the
//! same in all texts of one person and tells nothing about the value to others. Fingerprints use
//! another key: base32 of HMAC-SHA-256("v1" ‖ 0 ‖ name ‖ 0 ‖ canonical value) cut to 96 bits.

use std::fmt;

use data_encoding::{BASE32_NOPAD, Encoding};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How every placeholder begins.
pub(crate) const PREFIX: &str = "MASKED_";
/// Length of the end of a placeholder: `_` and the digest.
pub(super) const DIGEST_LENGTH: usize = 17;
const PLACEHOLDER_BYTES: usize = 10;
const FINGERPRINT_BYTES: usize = 12;

/// Keys of placeholders and fingerprints; cannot be printed.
#[derive(Clone, Default)]
pub struct MaskKeys {
    /// Name of the fingerprint key, shown in each fingerprint.
    pub fingerprint_key_id: String,
    /// Key of fingerprints.
    pub fingerprint_key: Vec<u8>,
    /// Key from which each person's placeholder key is derived; not the fingerprint key.
    pub placeholder_key: Vec<u8>,
}

impl fmt::Debug for MaskKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MaskKeys")
            .field("fingerprint_key_id", &self.fingerprint_key_id)
            .finish_non_exhaustive()
    }
}

/// The keys of one person, ready for use.
#[derive(Clone)]
pub(super) struct Sealer {
    key_id: String,
    placeholder: Hmac<Sha256>,
    fingerprint: Hmac<Sha256>,
}

impl Sealer {
    pub(super) fn new(keys: &MaskKeys, deployment: &str, person: &str) -> Self {
        let mut info = Vec::new();
        for part in ["gate.placeholder.v1", deployment, person] {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            info.extend_from_slice(&length.to_be_bytes());
            info.extend_from_slice(part.as_bytes());
        }
        let mut derived = [0_u8; 32];
        let keys_of_person = Hkdf::<Sha256>::new(None, &keys.placeholder_key);
        // 32 bytes are one block: expanding cannot fail
        let _ok = keys_of_person.expand(&info, &mut derived);
        Self {
            key_id: keys.fingerprint_key_id.clone(),
            placeholder: keyed(&derived),
            fingerprint: keyed(&keys.fingerprint_key),
        }
    }

    /// Starts on a value of this detector.
    pub(super) fn begin(&self, detector: &str) -> Seal {
        let mut seal = Seal {
            placeholder: self.placeholder.clone(),
            fingerprint: self.fingerprint.clone(),
        };
        seal.placeholder.update(detector.as_bytes());
        seal.placeholder.update(&[0]);
        seal.fingerprint.update(b"v1\0");
        seal.fingerprint.update(detector.as_bytes());
        seal.fingerprint.update(&[0]);
        seal
    }

    /// Ends a value; gives its placeholder and its fingerprint.
    pub(super) fn end(&self, seal: Seal, kind: &str) -> (String, String) {
        let digest = seal.placeholder.finalize().into_bytes();
        let short = digest.get(..PLACEHOLDER_BYTES).unwrap_or_default();
        let placeholder = format!("{PREFIX}{kind}_{}", BASE32_NOPAD.encode(short));
        let digest = seal.fingerprint.finalize().into_bytes();
        let short = digest.get(..FINGERPRINT_BYTES).unwrap_or_default();
        let base32: &Encoding = &BASE32_NOPAD;
        let fingerprint = format!(
            "{}:{}",
            self.key_id,
            base32.encode(short).to_ascii_lowercase()
        );
        (placeholder, fingerprint)
    }
}

/// A value on its way through both digests.
#[derive(Clone)]
pub(super) struct Seal {
    placeholder: Hmac<Sha256>,
    fingerprint: Hmac<Sha256>,
}

impl Seal {
    /// Takes a part of the value whose canonical form is itself.
    pub(super) fn update(&mut self, part: &[u8]) {
        self.update_value(part);
        self.update_canonical(part);
    }

    /// Takes a part of the value as it stands in the text.
    pub(super) fn update_value(&mut self, part: &[u8]) {
        self.placeholder.update(part);
    }

    /// Takes a part of the value's canonical form.
    pub(super) fn update_canonical(&mut self, part: &[u8]) {
        self.fingerprint.update(part);
    }
}

/// What stands at the start of `text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A placeholder of this many bytes.
    Is(usize),
    /// The text ends too early to tell.
    More,
    Not,
}

/// Looks for a placeholder at the start of `text`; `kinds` is the closed list.
pub(super) fn look(text: &[u8], is_final: bool, is_kind: impl Fn(&[u8]) -> bool) -> Look {
    // more than the longest kind needs
    const LONGEST: usize = 80;
    let prefix = PREFIX.as_bytes();
    let shared = text.iter().zip(prefix).take_while(|(a, b)| a == b).count();
    if shared < prefix.len() {
        return if shared == text.len() && !is_final {
            Look::More
        } else {
            Look::Not
        };
    }
    let run = text
        .iter()
        .take(LONGEST)
        .take_while(|&&b| is_word(b))
        .count();
    if run == text.len() && run < LONGEST && !is_final {
        return Look::More;
    }
    let body = text.get(prefix.len()..run).unwrap_or_default();
    let ends = (0..body.len()).filter(|at| body.get(*at) == Some(&b'_'));
    for kind_length in ends {
        let (kind, rest) = body.split_at_checked(kind_length).unwrap_or_default();
        let Some((digest, after)) = rest.split_at_checked(DIGEST_LENGTH) else {
            break;
        };
        let is_digest = digest
            .iter()
            .skip(1)
            .all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
        // what follows a key's END may be glued to it
        let goes_on = matches!(after.first(), Some(b'A'..=b'Z' | b'0'..=b'9'));
        if is_digest && !goes_on && is_kind(kind) {
            return Look::Is(prefix.len() + kind_length + DIGEST_LENGTH);
        }
    }
    Look::Not
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length; the short form is the same key with zeros behind it
    Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&[0; 64].into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_recognised_exactly() {
        let is_kind = |kind: &[u8]| matches!(kind, b"TOKEN" | b"JWT");
        let cases = [
            ("MASKED_TOKEN_ABCDEFGHIJKLMNOP", true, Look::Is(29)),
            ("MASKED_TOKEN_ABCDEFGHIJKLMNOP\"", false, Look::Is(29)),
            ("MASKED_TOKEN_ABCDEFGHIJKLMNOP_x\"", false, Look::Is(29)),
            ("MASKED_TOKEN_ABCDEFGHIJKLMNOP", false, Look::More),
            ("MASKED_TO", false, Look::More),
            ("MAS", false, Look::More),
            ("MAS", true, Look::Not),
            ("MASKED_TOKEN_ABCDEFGHIJKLMNOPkey\"", false, Look::Is(29)),
            ("MASKED_TOKEN_ABCDEFGHIJKLMNOPQ\"", false, Look::Not),
            ("MASKED_TOKEN_ABCDEFGHIJKLMNO1\"", false, Look::Not),
            ("MASKED_TOKEN_abcdefghijklmnop\"", false, Look::Not),
            ("MASKED_OTHER_ABCDEFGHIJKLMNOP\"", false, Look::Not),
            ("MASKED_TOKEN_ABCDEFGHIJKLMN\"", false, Look::Not),
        ];
        for (text, is_final, expected) in cases {
            assert_eq!(
                look(text.as_bytes(), is_final, is_kind),
                expected,
                "{text} {is_final}"
            );
        }
    }
}
