//! Values that are hidden by one level of base64, hex or percent signs.
//!
//! A run of characters is decoded, and a machine of its own reads what it hides; if that finds
//! something, the run is masked as a whole, under the fingerprints of what was found. A run longer
//! than [`ENCODED_CAP`] is judged by its beginning, so that no more of a stream waits.

use super::token::{Seen, look_for};
use super::{Run, TextMask, Verdict};
use crate::mask::bytes::{is_in_base64, is_in_parameter};
use crate::mask::canonical::{base64_decoded, hex_decoded, percent_decoded};
use crate::mask::detector::{Encoding, Tail};

/// Longest part of a run that is decoded, in bytes.
pub(in super::super) const ENCODED_CAP: usize = 1000;
/// More than a proof that a text is encoded.
const PROOF_CAP: usize = 64;
/// Bytes before the first percent sign that may tell what the run means: `password%3D`.
const MEANING: usize = 64;

impl TextMask {
    /// Looks for base64 and hex that begin here.
    pub(super) fn encoded(&mut self, run: &mut Run<'_>, before: u8) -> Verdict {
        if self.is_inner || is_in_base64(before) && !before.is_ascii_alphabetic() {
            return Verdict::Pass;
        }
        let bytes = run.text.as_bytes();
        if self.is_in_prose(bytes) && begins_word(bytes.get(self.at..).unwrap_or_default()) {
            return Verdict::Pass;
        }
        let masker = run.masker;
        let pattern = match look_for(masker.catalog().encoded(), run, self.at, PROOF_CAP) {
            Seen::More => return Verdict::Hold,
            Seen::Matches { found, .. } => found.last().map(|(_, pattern)| *pattern),
        };
        match pattern {
            Some(0) => self.run(run, Encoding::Base64, is_in_base64),
            Some(_) => self.run(run, Encoding::Hex, |byte| byte.is_ascii_hexdigit()),
            None => Verdict::Pass,
        }
    }

    /// Whether a word and a space stand before the place.
    fn is_in_prose(&self, bytes: &[u8]) -> bool {
        matches!(self.behind(bytes), Some([b' ', last, _]) if last.is_ascii_alphabetic() || last == b',')
    }

    /// Looks for a text with percent signs, of which the first is here.
    pub(super) fn percent(&mut self, run: &mut Run<'_>) -> Verdict {
        let rest = run.text.as_bytes().get(self.at..).unwrap_or_default();
        if self.is_inner || self.offset() < self.examined {
            return Verdict::Pass;
        }
        match rest {
            [_, first, second, ..] if [first, second].iter().all(|b| b.is_ascii_hexdigit()) => {
                self.run(run, Encoding::Percent, is_in_parameter)
            }
            [_] | [_, b'0'..=b'9' | b'A'..=b'F' | b'a'..=b'f'] if !run.is_final => Verdict::Hold,
            _ => Verdict::Pass,
        }
    }

    /// Decodes the run of characters that begins here, and masks it if it hides something.
    fn run(&mut self, run: &mut Run<'_>, encoding: Encoding, holds: fn(u8) -> bool) -> Verdict {
        let Some(detector) = run.masker.catalog().encoded_by(encoding) else {
            return Verdict::Pass;
        };
        let rest = run.text.as_bytes().get(self.at..).unwrap_or_default();
        let in_run = rest
            .iter()
            .take(ENCODED_CAP)
            .take_while(|byte| holds(**byte));
        let length = in_run.count();
        if length == rest.len() && length < ENCODED_CAP && !run.is_final {
            return Verdict::Hold;
        }
        let end = self.at + length;
        let from = match encoding {
            Encoding::Percent => self.meaning(run),
            Encoding::Base64 | Encoding::Hex => self.at,
        };
        let text = run.text.get(from..end).unwrap_or_default();
        let (plain, tail) = match encoding {
            Encoding::Base64 => (base64_decoded(text), Tail::Base64),
            Encoding::Hex => (hex_decoded(text), Tail::Alnum),
            Encoding::Percent => (percent_decoded(text), Tail::Percent),
        };
        if encoding == Encoding::Percent {
            self.examined = self.offset() + length as u64;
        }
        let known = (self.at - from) as u64;
        let mut hidden = inner(run, &plain, known);
        if encoding == Encoding::Percent && inner(run, text.as_bytes(), known).len() >= hidden.len()
        {
            hidden.clear(); // it shows without decoding
        }
        if hidden.is_empty() {
            return Verdict::Pass;
        }
        self.begin(run, detector, tail, end, false);
        self.hides(hidden);
        Verdict::Moved
    }

    /// Where the part of the run begins that stands before the first percent sign.
    fn meaning(&self, run: &Run<'_>) -> usize {
        let floor = self.back(self.at, MEANING);
        let before = run.text.as_bytes().get(floor..self.at).unwrap_or_default();
        let in_run = before
            .iter()
            .rev()
            .take_while(|byte| is_in_parameter(**byte));
        self.at - in_run.count()
    }
}

/// Fingerprints of what a text holds behind a place and may not stay.
fn inner(run: &Run<'_>, plain: &[u8], from: u64) -> Vec<String> {
    let text = match std::str::from_utf8(plain) {
        Ok(text) => text,
        Err(error) => plain
            .get(..error.valid_up_to())
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default(),
    };
    let mut findings = Vec::new();
    TextMask::inner(run.masker, text, &mut findings);
    let hidden = findings.into_iter();
    let hidden = hidden.filter(|it| it.offset + it.length > from && it.passed.is_none());
    hidden.map(|finding| finding.fingerprint).collect()
}

/// Whether a text begins as common words do (`and`, `by`, `all`, `end`, `file`) that base64 could
/// go on from: hardly any text in base64 begins so, and prose shall not wait for them.
fn begins_word(text: &[u8]) -> bool {
    matches!(
        text,
        [b'a', b'l' | b'n', ..]
            | [b'b', b'y', ..]
            | [b'e', b'l' | b'n' | b'x', ..]
            | [b'f', b'i', ..]
    )
}
