//! Finds secrets in text and puts placeholders in their place.
//!
//! The text of a channel (one JSON string, or one choice's text over all events of a stream)
//! arrives in pieces. A piece may end inside a secret, so a [`TextMask`] keeps back what a detector
//! still needs, 1,024 characters at most. Cutting the text elsewhere never changes the result; a
//! whole text goes through the same machine in one piece.
//!
//! `vendors` and `structures` are the table of detectors, `stream` is the machine that it drives.

mod bytes;
mod canonical;
mod catalog;
mod describe;
mod detector;
mod gap;
mod names;
mod patterns;
mod placeholder;
mod stream;
mod structures;
#[cfg(test)]
mod tests;
mod turns;
mod validate;
mod value_end;
mod vendors;

use std::fmt;
use std::rc::Rc;

pub use self::catalog::Catalog;
pub use self::describe::{Class, Description, descriptions};
pub use self::placeholder::MaskKeys;
pub use self::stream::TextMask;

use self::placeholder::Sealer;

/// The closed list of detectors, by name.
pub fn detector_names() -> impl Iterator<Item = &'static str> {
    patterns::detectors().map(|detector| detector.name)
}

/// A secret that was found, without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the detector, from the closed list of the catalogue.
    pub detector: &'static str,
    /// Where the value starts: byte offset in the unmasked text of the channel.
    pub offset: u64,
    /// Length of the value in bytes.
    pub length: u64,
    /// `key id:base32`, HMAC-SHA-256 of the value cut to 96 bits.
    pub fingerprint: String,
}

/// Masks for one person: the catalogue and the keys of placeholders and fingerprints.
#[derive(Clone)]
pub struct Masker {
    inner: Rc<Inner>,
}

struct Inner {
    catalog: Rc<Catalog>,
    sealer: Sealer,
}

impl Masker {
    /// A masker whose placeholders are the same for all texts of one person.
    pub fn new(catalog: Rc<Catalog>, keys: &MaskKeys, deployment: &str, person: &str) -> Self {
        let sealer = Sealer::new(keys, deployment, person);
        Self {
            inner: Rc::new(Inner { catalog, sealer }),
        }
    }

    /// Masks a whole text; `None` if it stays as it is.
    pub fn mask(&self, text: &str, findings: &mut Vec<Finding>) -> Option<String> {
        TextMask::whole(self, text, findings)
    }

    fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Masker")
            .field("catalog", self.catalog())
            .finish_non_exhaustive()
    }
}
