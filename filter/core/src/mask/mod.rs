//! Finds secrets in text and puts placeholders in their place.
//!
//! The text of a channel (one JSON string, or one choice's text over all events of a stream)
//! arrives in pieces. A piece may end inside a secret, so a [`TextMask`] keeps back what a detector
//! still needs, 1,024 characters at most. Cutting the text elsewhere never changes the result; a
//! whole text goes through the same machine in one piece.
//!
//! `vendors`, `structures` and `personal` are the table of detectors, `stream` is the machine that it drives.

mod bytes;
mod canonical;
mod catalog;
mod checksum;
mod custom;
mod describe;
mod detector;
mod gap;
mod known;
mod names;
mod numbers;
mod originals;
mod packs;
mod passes;
mod patterns;
mod personal;
mod placeholder;
mod recorded;
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
pub use self::custom::{Custom, CustomCheck, CustomError, Customs, MAX_CUSTOM};
pub use self::describe::{Class, Description, descriptions};
pub(crate) use self::known::Known;
pub(crate) use self::originals::{Mark, Originals, Values};
pub use self::packs::{Pack, Packs};
pub use self::passes::{Passed, Passes};
pub use self::placeholder::MaskKeys;
pub use self::recorded::{Recorded, is_detector_name, recorded_as};
pub use self::stream::TextMask;

pub(crate) use self::placeholder::PREFIX;
use self::placeholder::Sealer;

/// The closed list of detectors, by name.
pub fn detector_names() -> impl Iterator<Item = &'static str> {
    patterns::detectors().map(|detector| detector.name)
}

/// The same, each with its pack.
pub fn detector_packs() -> impl Iterator<Item = (Pack, &'static str)> {
    packs::detectors().map(|(pack, detector)| (pack, detector.name))
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
    /// How sure it is that this is a secret.
    pub confidence: Confidence,
    /// Whether the value's checksum is right; `None` where its kind has none that is known.
    pub checksum: Option<bool>,
    /// Why the value stays as it is, if it does.
    pub passed: Option<Passed>,
    /// The value, if it stays or may go back.
    original: Option<originals::Original>,
}

/// How sure it is that a finding is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// It follows a key name in prose or in code that may mean something else.
    Low,
    /// It follows a key name.
    Medium,
    /// Its own form shows it.
    High,
    /// Its checksum proves it.
    Certain,
}

impl Confidence {
    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Certain => "certain",
        }
    }
}

/// Masks for one person: the catalogue and the keys of placeholders and fingerprints.
#[derive(Clone)]
pub struct Masker {
    inner: Rc<Inner>,
    passes: Rc<Passes>,
    /// Findings bring the values along that were masked.
    keeps: bool,
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
            passes: Rc::default(),
            keeps: false,
        }
    }

    /// The same, with values that stay as they are.
    #[must_use]
    pub fn passing(&self, passes: Rc<Passes>) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
            passes,
            keeps: self.keeps,
        }
    }

    /// The same, with findings that bring along what was masked, for `Values`.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// Masks a whole text; `None` if nothing is found in it.
    ///
    /// Values that may stay are masked as well: `Originals` puts them back where the text leaves.
    pub fn mask(&self, text: &str, findings: &mut Vec<Finding>) -> Option<String> {
        TextMask::whole(self, text, findings)
    }

    /// The length of the placeholder with which a text begins, whoever's it is, and the detector that
    /// it names.
    pub(crate) fn placeholder(&self, text: &str) -> Option<(usize, &'static str)> {
        let placeholder::Look::Is(length) = self.look(text, true) else {
            return None;
        };
        let catalog = self.catalog();
        let kind = PREFIX.len()..length - placeholder::DIGEST_LENGTH;
        let kind = text.as_bytes().get(kind).unwrap_or_default();
        let entry = catalog.entry(catalog.detector_of(kind)?)?;
        Some((length, entry.name))
    }

    /// Whether more of a text has to come to tell if it begins with a placeholder.
    pub(crate) fn may_be_placeholder(&self, text: &str) -> bool {
        self.look(text, false) == placeholder::Look::More
    }

    fn look(&self, text: &str, is_final: bool) -> placeholder::Look {
        let is_kind = |kind: &[u8]| self.catalog().detector_of(kind).is_some();
        placeholder::look(text.as_bytes(), is_final, is_kind)
    }

    fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    fn passes(&self) -> &Passes {
        &self.passes
    }

    /// Whether findings bring along what was masked.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps
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
