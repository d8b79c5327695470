//! Remembers texts in which nothing was found: clients send all of a conversation with each turn.
//!
//! What is kept of a text is a digest of 128 bits under a key of its person, which nobody outside can
//! compute: no caller can make two texts with the same one, nor learn what others have sent. The
//! detectors say the same of the same text each time, so a text that was clean is clean.

use std::collections::HashSet;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Texts kept in each of two generations, over all persons: about 1 MB in all.
const GENERATION: usize = 16 * 1024;

/// Shorter texts are as quickly looked at, in bytes.
const WORTH: usize = 64;

/// What is kept of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Digest(u128);

/// A person's key of digests.
#[derive(Clone)]
pub(super) struct DigestKey([u8; 16]);

impl DigestKey {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// The digest of a text; `None` if it is not worth one.
    pub(super) fn digest(&self, text: &str) -> Option<Digest> {
        (text.len() >= WORTH).then(|| {
            let mut hasher = SipHasher13::new_with_key(&self.0);
            hasher.write(text.as_bytes());
            Digest(hasher.finish128().as_u128())
        })
    }
}

/// Texts that are known to be clean; those of the last turns stay.
#[derive(Default)]
pub(super) struct CleanTexts {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
}

impl CleanTexts {
    /// Whether the text is known; if so, it counts as used.
    pub(super) fn knows(&mut self, text: Digest) -> bool {
        let aged = !self.young.contains(&text) && self.old.contains(&text);
        if aged {
            self.add(text);
        }
        aged || self.young.contains(&text)
    }

    /// Keeps a text; forgets those that were not used for long.
    pub(super) fn add(&mut self, text: Digest) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        let key = DigestKey::new([7; 16]);
        key.digest(&format!("{number:0WORTH$}")).unwrap()
    }

    #[test]
    fn texts_in_use_stay_and_others_are_forgotten() {
        let mut texts = CleanTexts::default();
        texts.add(digest(0));
        texts.add(digest(1));
        for number in 2..2 * GENERATION {
            texts.add(digest(number));
            if number % 1_000 == 0 {
                assert!(texts.knows(digest(0)), "{number}");
            }
        }
        assert!(!texts.knows(digest(1)));
        assert!(texts.young.len() + texts.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn digests_differ_by_key_and_short_texts_have_none() {
        let text = "x".repeat(WORTH);
        let [one, other] = [1, 2].map(|byte| DigestKey::new([byte; 16]).digest(&text));
        assert_ne!(one, other);
        let short = "x".repeat(WORTH - 1);
        assert_eq!(DigestKey::new([1; 16]).digest(&short), None);
    }
}
