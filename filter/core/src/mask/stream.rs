//! The machine: reads the text of one channel and lets out what is decided.
//!
//! `at` divides the text into what is decided and what is not. At each place the machine either
//! passes a byte, masks a value, or holds because the answer depends on text that has not come.
//! Every such answer is a function of the text before the place and of the text behind it up to
//! where the answer is certain, never of where the text was cut: this is why any cut gives the same
//! result, and why the whole text needs no other function.
//!
//! What waits is only a token whose automaton is alive, or a value behind a key name, and both are
//! bounded. An open end is not held: the value's digest takes it in as it comes, and the
//! placeholder goes out where the value ends. Nothing before the end of the last masked value is
//! looked at again, so a text and its masked form are read alike.
//!
//! `token`, `encoded`, `personal`, `named` and `option` find where a value begins, `value` takes it to
//! its end.

mod encoded;
mod named;
mod object;
mod option;
mod personal;
mod token;
mod value;

use std::fmt;

use super::bytes::{is_name, is_word};
use super::catalog::Catalog;
use super::detector::{Grade, Start};
use super::names::{LONGEST, starts_with_anchor};
use super::turns::turn;
use super::{Finding, Masker};

pub(super) use self::encoded::ENCODED_CAP;
pub(super) use self::personal::BEHIND;
pub(super) use self::token::TOKEN_CAP;
pub(super) use self::value::LINE_CAP;

use self::named::Armed;
use self::object::Object;
use self::value::Value;

/// Bytes of a name that count, from its end: of a longer one nothing but its length.
const NAME: usize = LONGEST + 2;
/// How far before a place, or before the name that ends there, words may tell what stands there.
const BACK: usize = 160;
/// Bytes of decided text that stay for looking back, with one byte before a name.
const CONTEXT: usize = NAME + BACK;
/// Long pieces are read in parts of this size, so that no second copy of a big text exists.
const PART: usize = 16 * 1024;

/// The state of one channel between pieces.
#[derive(Clone, Default)]
pub struct TextMask {
    /// Context and held text.
    text: String,
    /// Offset of `text` in the channel.
    base: u64,
    /// End of the decided text.
    at: usize,
    /// End of the text that has left; `sent <= at`.
    sent: usize,
    /// End of the last masked value: nothing before it counts.
    floor: u64,
    /// The detector of that value.
    last: Option<usize>,
    /// Start of the present name.
    name: Option<u64>,
    /// A key name whose value may follow.
    armed: Option<Armed>,
    /// The last key name and where it ended, for `name: X, value: Y`.
    pending: Option<(usize, Grade, u64)>,
    /// An object that the text is in, whose members are secrets.
    object: Option<Object>,
    /// A value that is being masked.
    value: Option<Box<Value>>,
    /// End of the last run with percent signs that was decoded.
    examined: u64,
    /// The text is what a run of another text hides: nothing in it is decoded.
    is_inner: bool,
}

/// What became of the text at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It depends on text that has not come.
    Hold,
    /// A value starts here, or a placeholder was passed: the place has moved.
    Moved,
    /// Nothing here.
    Pass,
}

impl TextMask {
    /// Starts a channel.
    pub fn new() -> Self {
        Self::default()
    }

    /// Masks a text that is all of its channel; `None` if it stays as it is.
    pub(super) fn whole(
        masker: &Masker,
        text: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<String> {
        let (before, mut out) = (findings.len(), String::new());
        let mask = Self::new().read(masker, text, &mut out, findings);
        (findings.len() > before).then(|| {
            out.push_str(text.get(mask.sent..).unwrap_or_default());
            out
        })
    }

    /// Finds what stands in a text that was encoded.
    fn inner(masker: &Masker, text: &str, findings: &mut Vec<Finding>) {
        let mask = Self {
            is_inner: true,
            ..Self::default()
        };
        mask.read(masker, text, &mut String::new(), findings);
    }

    /// Reads a whole text; appends to `out` what is decided but for its end.
    fn read(
        mut self,
        masker: &Masker,
        text: &str,
        out: &mut String,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut run = Run {
            masker,
            text,
            is_final: true,
            out,
            findings,
        };
        while self.step(&mut run) != Verdict::Hold {}
        self
    }

    /// Takes the next piece of the channel's text; appends to `out` what may leave.
    pub fn push(
        &mut self,
        masker: &Masker,
        piece: &str,
        out: &mut String,
        findings: &mut Vec<Finding>,
    ) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (part, after) = rest
                .split_at_checked(rest.floor_char_boundary(PART))
                .unwrap_or((rest, ""));
            self.text.push_str(part);
            self.scan(masker, false, out, findings);
            self.forget();
            rest = after;
        }
    }

    /// Ends the channel's text; appends to `out` all that was kept back.
    pub fn finish(&mut self, masker: &Masker, out: &mut String, findings: &mut Vec<Finding>) {
        self.scan(masker, true, out, findings);
        *self = Self::default();
    }

    /// Bytes kept back at the moment.
    pub fn held(&self) -> usize {
        self.text.len().saturating_sub(self.at)
    }

    /// Whether something may still leave at the end, be it only a placeholder.
    pub fn waits(&self) -> bool {
        self.held() > 0 || self.value.is_some()
    }

    /// Bytes of memory behind the text.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Drops decided text that nothing looks back at.
    fn forget(&mut self) {
        let keep = self
            .text
            .floor_char_boundary(self.at.saturating_sub(CONTEXT));
        self.text.drain(..keep);
        self.base += keep as u64;
        self.at -= keep;
        self.sent = self.sent.saturating_sub(keep);
        if self.text.capacity() > 4 * PART / 3 {
            self.text.shrink_to(PART / 8);
        }
    }

    fn scan(
        &mut self,
        masker: &Masker,
        is_final: bool,
        out: &mut String,
        findings: &mut Vec<Finding>,
    ) {
        let text = std::mem::take(&mut self.text);
        let mut run = Run {
            masker,
            text: &text,
            is_final,
            out,
            findings,
        };
        while self.step(&mut run) != Verdict::Hold {}
        if self.value.is_none() {
            run.out
                .push_str(text.get(self.sent..self.at).unwrap_or_default());
        }
        self.sent = self.at;
        self.text = text;
    }

    /// Decides about the text at the present place; holds at the end of the text.
    fn step(&mut self, run: &mut Run<'_>) -> Verdict {
        if self.value.is_some() {
            return self.go_on(run);
        }
        let bytes = run.text.as_bytes();
        let Some(&byte) = bytes.get(self.at) else {
            return Verdict::Hold;
        };
        if !is_name(byte) && self.name.is_some() {
            self.end_name(run, byte);
        }
        if self.is_boundary(bytes) {
            let verdict = self.token(run, byte);
            if verdict != Verdict::Pass {
                return verdict;
            }
        }
        if byte == b'%' {
            let verdict = self.percent(run);
            if verdict != Verdict::Pass {
                return verdict;
            }
        }
        if byte == b'-' && self.name.is_none() {
            let verdict = self.glued_option(run);
            if verdict != Verdict::Pass {
                return verdict;
            }
        }
        if self.armed.is_some() {
            let verdict = self.read_gap(run, byte);
            if verdict != Verdict::Pass {
                return verdict;
            }
        }
        self.pass(run.masker.catalog(), bytes, byte);
        Verdict::Moved
    }

    /// Passes the byte; in a word, the rest of the word.
    fn pass(&mut self, catalog: &Catalog, bytes: &[u8], byte: u8) {
        if !is_name(byte) {
            if byte == b'/' && self.ends_scheme(bytes) {
                self.arm_url(catalog);
            }
            self.at += 1;
            if self.armed.is_none() && self.object.is_none() {
                self.skip(catalog, bytes);
            }
            return;
        }
        if self.name.is_none() {
            self.name = Some(self.offset());
        }
        if !is_word(byte) {
            self.at += 1;
            return;
        }
        let rest = bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| is_word(**byte)).count();
        // a token may start behind an escape: `\nghp_…`, `%20ghp_…`
        self.at += match self.behind(bytes) {
            Some([b'\\', ..] | [_, b'%', _]) => 1,
            Some([b'%', ..]) => length.min(2),
            _ => length,
        };
    }

    /// Goes on to the next place where something may begin, or to the last byte: whether something
    /// does may depend on the byte behind it. No name is being read and no value is expected.
    fn skip(&mut self, catalog: &Catalog, bytes: &[u8]) {
        let last = self.at.max(bytes.len().saturating_sub(1));
        let from = self.at.saturating_sub(1);
        let start = self.at;
        for (at, reasons) in catalog.turns(bytes, from) {
            if self.stops(reasons, at, start, catalog, bytes) {
                return self.find_name(bytes);
            }
        }
        self.at = last;
        self.find_name(bytes);
    }

    /// Moves to the place at `at`, or to one shortly behind it, not before `start`; says whether
    /// something may begin there.
    fn stops(
        &mut self,
        reasons: u16,
        at: usize,
        start: usize,
        catalog: &Catalog,
        bytes: &[u8],
    ) -> bool {
        self.at = at;
        let rest = bytes.get(at..).unwrap_or_default();
        if reasons & turn::ANCHOR != 0 && starts_with_anchor(rest) {
            // the name stands behind the sign of a query
            self.at += usize::from(rest.starts_with(b"?"));
            return true;
        }
        // the byte before `start` was looked at
        let is_new = at >= start;
        if reasons & turn::TOKEN != 0
            && is_new
            && self.is_boundary(bytes)
            && (rest.starts_with(b"MA") || catalog.may_begin(rest))
            || reasons & turn::ENCODED != 0
                && is_new
                && self.is_boundary(bytes)
                && catalog.encoded().may_match(rest)
        {
            return true;
        }
        if reasons & turn::OTHER != 0 {
            // an option of a command, a port before a colon; `://`; a token may follow an escape
            let ahead = match rest {
                [b'-', b'a' | b'p' | b'P' | b'u' | b'w', ..] | [b'0'..=b'9', b':', ..] => Some(0),
                // a token may also begin with the letters of the escape
                [b'/', b'/', ..] | [b'\\', b'n' | b'r' | b't', ..] => Some(1),
                [b'%', digits @ ..] if digits.iter().take(2).all(u8::is_ascii_hexdigit) => {
                    // it may be the one that was just passed
                    Some(usize::from(at < start))
                }
                _ => None,
            };
            if let Some(ahead) = ahead {
                self.at = at + ahead;
                return true;
            }
        }
        self.at = at + 1;
        let rest = rest.get(1..).unwrap_or_default();
        let openings = &catalog.tokens(Start::Opening).pattern;
        reasons & turn::OPENING != 0 && openings.may_match(rest)
    }

    /// Finds the start of the name to which the byte before the place belongs.
    fn find_name(&mut self, bytes: &[u8]) {
        let floor = self.back(self.at, NAME);
        let before = bytes.get(floor..self.at).unwrap_or_default();
        let length = before
            .iter()
            .rev()
            .take_while(|byte| is_name(**byte))
            .count();
        self.name = (length > 0).then(|| self.offset() - length as u64);
    }

    /// The three bytes before the place, none of them of a masked value.
    fn behind(&self, bytes: &[u8]) -> Option<[u8; 3]> {
        let back = |count: usize| {
            let at = self.at.checked_sub(count)?;
            (self.base + at as u64 >= self.floor)
                .then(|| bytes.get(at).copied())
                .flatten()
        };
        Some([back(1)?, back(2).unwrap_or(b' '), back(3).unwrap_or(b' ')])
    }

    /// Where looking back from a place ends: so many bytes before it, and behind what was masked.
    fn back(&self, to: usize, most: usize) -> usize {
        let floor = usize::try_from(self.floor.saturating_sub(self.base)).unwrap_or(usize::MAX);
        floor.max(to.saturating_sub(most)).min(to)
    }

    /// The text before the place as far as every cut lets the machine look back.
    fn text_before<'a>(&self, text: &'a str) -> &'a str {
        part(text, self.back(self.at, BACK), self.at)
    }

    /// Offset of the place in the channel.
    fn offset(&self) -> u64 {
        self.base + self.at as u64
    }
}

/// A part of the text, from a character's beginning on.
fn part(text: &str, from: usize, to: usize) -> &str {
    text.get(text.ceil_char_boundary(from)..to)
        .unwrap_or_default()
}

/// The last line of a text, with those that it continues.
fn last_line(text: &str) -> &str {
    let ends = text.match_indices('\n').rev();
    let mut ends = ends.filter(|(at, _)| {
        let before = text.get(..*at).unwrap_or_default();
        !before.trim_end_matches('\r').ends_with('\\')
    });
    ends.next()
        .and_then(|(at, _)| text.get(at + 1..))
        .unwrap_or(text)
}

impl fmt::Debug for TextMask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TextMask")
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

/// One call of the machine: its input, and where results go.
struct Run<'a> {
    masker: &'a Masker,
    text: &'a str,
    is_final: bool,
    out: &'a mut String,
    findings: &'a mut Vec<Finding>,
}
