//! What was found in a text, for when the same text comes again; values are not kept.

use std::ops::Range;

use crate::secret::Secret;

use super::originals::Original;
use super::{Finding, Masker};

/// Most findings of a text that are kept.
const MOST: usize = 8;

/// All that was found in one text by one masker, which lets the same values pass.
#[derive(Debug)]
pub(crate) struct Known {
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    /// Without the value.
    finding: Finding,
    /// Where it stands.
    span: Range<usize>,
    placeholder: String,
    /// The value is short enough to stay or to go back.
    is_whole: bool,
}

impl Known {
    /// Masks the text in which this was found, as [`Masker::mask`] does; `None`, without findings, if
    /// it does not fit the text.
    pub(crate) fn mask(&self, text: &str, findings: &mut Vec<Finding>) -> Option<String> {
        let mut masked = String::with_capacity(text.len());
        let mut again = Vec::with_capacity(self.found.len());
        let mut read = 0;
        for found in &self.found {
            if found.span.start >= read {
                masked.push_str(text.get(read..found.span.start)?);
                masked.push_str(&found.placeholder);
                read = found.span.end;
            }
            let value = text.get(found.span.clone())?;
            again.push(Finding {
                original: found.is_whole.then(|| Original {
                    placeholder: found.placeholder.clone(),
                    value: Secret::new(value.to_owned()),
                }),
                ..found.finding.clone()
            });
        }
        masked.push_str(text.get(read..)?);
        findings.append(&mut again);
        Some(masked)
    }
}

impl Masker {
    /// What was found in a text of which `masked` was made; `None` if that is too much to keep, or if
    /// the text cannot be masked by it.
    pub(crate) fn known(&self, text: &str, masked: &str, findings: &[Finding]) -> Option<Known> {
        if findings.len() > MOST || !self.keeps() {
            return None;
        }
        let mut found: Vec<Found> = Vec::with_capacity(findings.len());
        // how far text and masked text are read
        let (mut read, mut told) = (0, 0);
        for finding in findings {
            let start = usize::try_from(finding.offset).ok()?;
            let end = start.checked_add(usize::try_from(finding.length).ok()?)?;
            let same = found.last().filter(|it| it.span == (start..end));
            let placeholder = if let Some(same) = same {
                same.placeholder.clone() // what one encoded value hides
            } else {
                told += start.checked_sub(read)?;
                let rest = masked.get(told..)?;
                let (length, _) = self.placeholder(rest)?;
                (read, told) = (end, told + length);
                rest.get(..length)?.to_owned()
            };
            found.push(Found {
                finding: Finding {
                    original: None,
                    ..finding.clone()
                },
                span: start..end,
                placeholder,
                is_whole: finding.original.is_some(),
            });
        }
        let known = Known { found };
        let mut again = Vec::with_capacity(findings.len());
        let is_same = known.mask(text, &mut again).as_deref() == Some(masked);
        (is_same && again == findings).then_some(known)
    }
}

#[cfg(test)]
mod tests;
