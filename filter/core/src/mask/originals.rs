//! Values by the placeholders that stand for them: those that stay, and those that may go back.
//!
//! All texts are masked, so that records never hold a secret. Where a text leaves the gateway, the
//! placeholders of values that may stay become the values again ([`Originals`]). Values that were
//! masked in a request are kept while its exchange lasts ([`Values`]): where one may go back into an
//! answer is not decided here.

use crate::json;
use crate::secret::Secret;

use super::Finding;
use super::placeholder::PREFIX;

/// Most values that stay in one message; further ones are masked.
const MAX_ORIGINALS: usize = 256;

/// A value that stays, and its placeholder.
#[derive(Clone, Debug)]
pub(super) struct Original {
    pub(super) placeholder: String,
    pub(super) value: Secret<String>,
}

impl PartialEq for Original {
    fn eq(&self, other: &Self) -> bool {
        self.placeholder == other.placeholder // one placeholder, one value
    }
}

impl Eq for Original {}

/// The values of one message that stay.
#[derive(Default)]
pub(crate) struct Originals {
    all: Vec<Original>,
}

impl Originals {
    /// Takes the value of a finding, if it stays.
    pub(crate) fn take(&mut self, finding: &mut Finding) {
        if finding.passed.is_none() {
            finding.original = None;
        }
        let Some(original) = finding.original.take() else {
            return;
        };
        let known = self.all.contains(&original);
        if known || self.all.len() < MAX_ORIGINALS {
            self.all.extend((!known).then_some(original));
        } else {
            finding.passed = None;
        }
    }

    /// Puts the values back into JSON from `from` on.
    pub(crate) fn put_back(&self, json: &mut Vec<u8>, from: usize) {
        self.replace(json, from, json::push_escaped);
    }

    /// Puts the values back into a text that is no JSON.
    pub(crate) fn put_back_plain(&self, text: &mut Vec<u8>) {
        self.replace(text, 0, |out, value| {
            out.extend_from_slice(value.as_bytes());
        });
    }

    fn replace(&self, text: &mut Vec<u8>, from: usize, push: impl Fn(&mut Vec<u8>, &str)) {
        if self.all.is_empty() {
            return;
        }
        let Some(masked) = text.get(from..) else {
            return;
        };
        let mut out = Vec::with_capacity(masked.len());
        let mut rest = masked;
        while let Some(at) = memchr::memmem::find(rest, PREFIX.as_bytes()) {
            let (before, found) = rest.split_at_checked(at).unwrap_or((rest, b""));
            out.extend_from_slice(before);
            let fits = |original: &&Original| found.starts_with(original.placeholder.as_bytes());
            let length = if let Some(original) = self.all.iter().find(fits) {
                push(&mut out, original.value.expose());
                original.placeholder.len()
            } else {
                out.extend_from_slice(PREFIX.as_bytes());
                PREFIX.len()
            };
            rest = found.get(length..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        text.truncate(from);
        text.append(&mut out);
    }
}

/// Most values of a request that are kept.
const MAX_VALUES: usize = 256;

/// Most bytes of them, together.
const MAX_VALUE_BYTES: usize = 256 * 1024;

/// The values that were masked in one request, each once; none can be printed.
#[derive(Default)]
pub(crate) struct Values {
    all: Vec<Masked>,
    bytes: usize,
}

/// A value that was masked.
struct Masked {
    original: Original,
    fingerprint: String,
}

/// Where a kept value stood in a text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Which value.
    pub(crate) value: usize,
}

impl Values {
    /// Takes the value of a finding that was masked, if there is room; says where it stood.
    pub(crate) fn take(&mut self, finding: &mut Finding) -> Option<Mark> {
        if finding.passed.is_some() {
            return None;
        }
        let original = finding.original.take()?;
        let start = usize::try_from(finding.offset).ok()?;
        let length = usize::try_from(finding.length).ok()?;
        let known = self.find(&original.placeholder);
        let value = if let Some(value) = known {
            value
        } else {
            let bytes = self.bytes + original.value.expose().len();
            if self.all.len() >= MAX_VALUES || bytes > MAX_VALUE_BYTES {
                return None;
            }
            self.bytes = bytes;
            let fingerprint = finding.fingerprint.clone();
            self.all.push(Masked {
                original,
                fingerprint,
            });
            self.all.len() - 1
        };
        Some(Mark {
            start,
            end: start + length,
            value,
        })
    }

    /// The value for which a placeholder stands.
    pub(crate) fn find(&self, placeholder: &str) -> Option<usize> {
        let mut all = self.all.iter();
        all.position(|masked| masked.original.placeholder == placeholder)
    }

    /// What stands for a value.
    pub(crate) fn placeholder(&self, value: usize) -> Option<&str> {
        Some(&self.all.get(value)?.original.placeholder)
    }

    /// The fingerprint of a value.
    pub(crate) fn fingerprint(&self, value: usize) -> Option<&str> {
        Some(&self.all.get(value)?.fingerprint)
    }

    /// The value itself.
    pub(crate) fn value(&self, value: usize) -> Option<&Secret<String>> {
        Some(&self.all.get(value)?.original.value)
    }
}
