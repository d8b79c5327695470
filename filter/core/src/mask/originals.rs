//! Values that stay, by the placeholders that stand for them until a text leaves.
//!
//! All texts are masked, so that records never hold a secret. Where a text leaves the gateway, the
//! placeholders of values that may stay become the values again.

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
        if self.all.is_empty() {
            return;
        }
        let Some(masked) = json.get(from..) else {
            return;
        };
        let mut out = Vec::with_capacity(masked.len());
        let mut rest = masked;
        while let Some(at) = memchr::memmem::find(rest, PREFIX.as_bytes()) {
            let (before, found) = rest.split_at_checked(at).unwrap_or((rest, b""));
            out.extend_from_slice(before);
            let fits = |original: &&Original| found.starts_with(original.placeholder.as_bytes());
            let length = if let Some(original) = self.all.iter().find(fits) {
                json::push_escaped(&mut out, original.value.expose());
                original.placeholder.len()
            } else {
                out.extend_from_slice(PREFIX.as_bytes());
                PREFIX.len()
            };
            rest = found.get(length..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        json.truncate(from);
        json.append(&mut out);
    }
}
