//! How records of one epoch are chained and sealed.
//!
//! `hash = SHA-256("gate.record.v1" ‖ prev_hash ‖ SHA-256(envelope))`, where `prev_hash` is empty
//! for the first record of an epoch, and `mac = HMAC-SHA-256(key, hash)`. The hash covers no
//! content: erasing content leaves the chain whole.

use std::fmt;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::{Content, Envelope, Proof, RECORD_VERSION};

/// Life of one worker VM: 128 random bits, shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub [u8; 16]);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key for sealing records, shared by filter and sink; cannot be printed.
#[derive(Clone)]
pub struct MacKey {
    /// Name of the key, stored beside each MAC.
    pub id: String,
    mac: Hmac<Sha256>,
}

impl MacKey {
    /// Makes a key from its name and its bytes, of which there should be 32.
    pub fn new(id: &str, key: &[u8]) -> Self {
        let mut block = [0; 64]; // the block length of SHA-256; longer keys are hashed (RFC 2104)
        let digest = Sha256::digest(key);
        let key = if key.len() > block.len() {
            &digest[..]
        } else {
            key
        };
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        Self {
            id: id.to_owned(),
            mac: Hmac::new(&block.into()),
        }
    }

    fn seal(&self, hash: &[u8]) -> Vec<u8> {
        let mut mac = self.mac.clone();
        mac.update(hash);
        mac.finalize().into_bytes().to_vec()
    }

    /// Whether `seal` is the [`Proof::mac`] of a record with this hash.
    pub fn verify(&self, hash: &[u8], seal: &[u8]) -> bool {
        let mut mac = self.mac.clone();
        mac.update(hash);
        mac.verify_slice(seal).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKey({})", self.id)
    }
}

/// The records of one epoch, as their writer keeps them.
#[derive(Clone, Debug)]
pub struct Chain {
    epoch: Epoch,
    next_seq: i64,
    last_hash: Vec<u8>,
}

/// A record ready to be sent: row bytes but for the sink's stamp.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Place in the epoch.
    pub seq: i64,
    /// `Envelope ‖ Proof ‖ Content`, encoded.
    pub bytes: Vec<u8>,
}

impl Chain {
    /// Starts an epoch.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            next_seq: 0,
            last_hash: Vec::new(),
        }
    }

    /// The epoch that this chain belongs to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Appends a record: fills in version, epoch, seq and content digests, chains and seals it.
    pub fn seal(&mut self, mut envelope: Envelope, content: &Content, key: &MacKey) -> Sealed {
        let seq = self.next_seq;
        let digest = |text: &Option<String>| {
            text.as_ref()
                .map(|text| Sha256::digest(text.as_bytes()).to_vec())
        };
        envelope.version = Some(RECORD_VERSION);
        envelope.epoch = Some(self.epoch.to_string());
        envelope.seq = Some(seq);
        envelope.request_content_sha256 = digest(&content.request_content);
        envelope.response_content_sha256 = digest(&content.response_content);
        let mut bytes = envelope.encode_to_vec();
        let hash = record_hash(&self.last_hash, &bytes);
        let proof = Proof {
            envelope: Some(bytes.clone()),
            prev_hash: Some(std::mem::replace(&mut self.last_hash, hash.clone())),
            mac: Some(key.seal(&hash)),
            hash: Some(hash),
            mac_key_id: Some(key.id.clone()),
        };
        bytes.reserve(proof.encoded_len() + content.encoded_len());
        // A vector never lacks room.
        let _whole = proof.encode(&mut bytes).is_ok() && content.encode(&mut bytes).is_ok();
        self.next_seq += 1;
        Sealed { seq, bytes }
    }
}

/// `SHA-256("gate.record.v1" ‖ prev_hash ‖ SHA-256(envelope))`.
pub fn record_hash(prev_hash: &[u8], envelope: &[u8]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(b"gate.record.v1");
    hasher.update(prev_hash);
    hasher.update(Sha256::digest(envelope));
    hasher.finalize().to_vec()
}

/// Why bytes are not a record that this key holder sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not the encoding of a row.
    #[error("cannot parse the record")]
    Unparsable,
    /// A part is missing or does not belong where it stands.
    #[error("the record's parts do not fit together")]
    Malformed,
    /// No key of this name.
    #[error("the record is sealed by an unknown key")]
    UnknownKey,
    /// Hash or MAC do not verify.
    #[error("the record's seal does not verify")]
    BadSeal,
}

/// Reads a sealed record and checks that its parts belong together.
///
/// # Errors
///
/// [`RecordError`] says which check failed; no part of the record may then be trusted.
pub fn open(bytes: &[u8], keys: &[MacKey]) -> Result<(Envelope, Proof), RecordError> {
    let proof = Proof::decode(bytes).map_err(|_| RecordError::Unparsable)?;
    let parts = (&proof.envelope, &proof.prev_hash, &proof.hash, &proof.mac);
    // An epoch's first record has a previous hash as well, an empty one.
    let (Some(envelope), Some(prev_hash), Some(hash), Some(mac)) = parts else {
        return Err(RecordError::Malformed);
    };
    // The row starts with the envelope, and what follows may only be proof and content.
    let rest = bytes
        .strip_prefix(envelope.as_slice())
        .ok_or(RecordError::Malformed)?;
    let content = Content::decode(rest).map_err(|_| RecordError::Unparsable)?;
    let mut expected = proof.encode_to_vec();
    expected.extend(content.encode_to_vec());
    if rest != expected {
        return Err(RecordError::Malformed);
    }
    let key = keys
        .iter()
        .find(|key| Some(&key.id) == proof.mac_key_id.as_ref())
        .ok_or(RecordError::UnknownKey)?;
    if record_hash(prev_hash, envelope) != *hash || !key.verify(hash, mac) {
        return Err(RecordError::BadSeal);
    }
    let decoded = Envelope::decode(envelope.as_slice()).map_err(|_| RecordError::Unparsable)?;
    let fits = |text: &Option<String>, digest: &Option<Vec<u8>>| {
        text.as_ref()
            .map(|text| Sha256::digest(text.as_bytes()).to_vec())
            == *digest
    };
    if !fits(&content.request_content, &decoded.request_content_sha256)
        || !fits(&content.response_content, &decoded.response_content_sha256)
    {
        return Err(RecordError::BadSeal);
    }
    Ok((decoded, proof))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MacKey {
        MacKey::new("k1", &[7; 32])
    }

    fn content() -> Content {
        Content {
            request_content: Some("{\"prompt\":\"hello\"}".into()),
            response_content: None,
        }
    }

    fn sealed() -> Vec<u8> {
        let envelope = Envelope {
            kind: Some("close".into()),
            person: Some("ana".into()),
            ..Envelope::default()
        };
        Chain::new(Epoch([1; 16]))
            .seal(envelope, &content(), &key())
            .bytes
    }

    #[test]
    fn a_sealed_record_opens_with_its_key() {
        let (envelope, proof) = open(&sealed(), &[key()]).unwrap();
        assert_eq!(envelope.person(), "ana");
        assert_eq!(envelope.seq(), 0);
        assert_eq!(envelope.epoch(), "01".repeat(16));
        assert!(proof.prev_hash().is_empty());
        let stored = Content::decode(sealed().as_slice()).unwrap();
        assert!(stored == content(), "the row's bytes hold the content");
    }

    #[test]
    fn each_record_carries_the_hash_of_the_one_before() {
        let mut chain = Chain::new(Epoch([1; 16]));
        let mut last = Vec::new();
        for seq in 0..5 {
            let record = chain.seal(Envelope::default(), &content(), &key());
            let (envelope, proof) = open(&record.bytes, &[key()]).unwrap();
            assert_eq!((record.seq, envelope.seq()), (seq, seq));
            assert_eq!(proof.prev_hash(), last);
            last = proof.hash().to_vec();
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_found() {
        let good = sealed();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert!(open(&bad, &[key()]).is_err(), "byte {place}");
        }
    }

    #[test]
    fn bytes_taken_out_anywhere_are_missed() {
        let good = sealed();
        for (place, length) in (0..good.len()).flat_map(|place| (1..=4).map(move |n| (place, n))) {
            let mut bad = good.clone();
            bad.drain(place..good.len().min(place + length));
            assert!(open(&bad, &[key()]).is_err(), "{length} bytes at {place}");
        }
    }

    #[test]
    fn columns_appended_behind_the_record_are_refused() {
        let mut bad = sealed();
        let forged = Envelope {
            person: Some("bo".into()),
            ..Envelope::default()
        };
        bad.extend(forged.encode_to_vec());
        assert_eq!(open(&bad, &[key()]), Err(RecordError::Malformed));
    }

    #[test]
    fn a_record_of_another_key_is_refused() {
        let other = MacKey::new("k1", &[8; 32]);
        assert_eq!(open(&sealed(), &[other]), Err(RecordError::BadSeal));
        let renamed = MacKey::new("k2", &[7; 32]);
        assert_eq!(open(&sealed(), &[renamed]), Err(RecordError::UnknownKey));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", key()), "MacKey(k1)");
    }
}
