//! Values that go back into the text of an answer (`masking.restore: answers`).
//!
//! A placeholder in what the answer says to the person becomes the value again only where all of
//! this holds:
//!
//! - the request of this very exchange held the value, and it was masked there;
//! - nothing before it can take it into an address, a link or a tag ([`Surroundings`]), and what
//!   follows ends it: a space, a quote, a bracket or the like;
//! - the value would be found there again: the text comes back in the next request.
//!
//! What is looked at is the text as it leaves, with the values, since somebody else may have
//! written a value. A placeholder waits until it is complete and the character behind it is there.

use std::cell::LazyCell;
use std::rc::Rc;

use crate::mask::{Finding, PREFIX, TextMask};
use crate::secret::Secret;

use super::surroundings::Surroundings;
use super::{Restore, Written, placeholder_start};

/// Most bytes of values that go back into one text.
const MAX_TOLD: usize = 64 * 1024;

/// Most texts of an answer into which values go back.
const MAX_TEXTS: usize = 64;

/// A text of an answer, on its way to the person.
pub(in crate::provider) struct Telling {
    /// What stood before its first character, and how much may go back.
    start: (Surroundings, usize),
    before: Surroundings,
    /// Bytes of values that may still go back.
    room: usize,
    /// Reads what leaves as the next request would be read.
    next: TextMask,
    /// Bytes that left.
    left: usize,
    /// Bytes that came, masked, but for those that are kept.
    read: usize,
    /// What may be a placeholder, and what follows it.
    kept: String,
}

impl Restore {
    /// Begins a text of the answer; `None` if nothing goes back into such.
    pub(super) fn telling(&mut self) -> Option<Telling> {
        if !self.tells() {
            return None;
        }
        self.texts = self.texts.saturating_add(1);
        let room = if self.texts > MAX_TEXTS { 0 } else { MAX_TOLD };
        // Clients show the texts of an answer as one.
        Some(Telling::new((self.said, room)))
    }

    /// Puts values back into a text that stands whole; `None` if nothing goes back.
    pub(in crate::provider) fn tell(&mut self, text: &str, channel: &str) -> Option<String> {
        self.telling()?.told(self, text, true, channel)
    }
}

impl Telling {
    fn new(start: (Surroundings, usize)) -> Self {
        let (before, room) = start;
        Self {
            start,
            before,
            room,
            next: TextMask::new(),
            left: 0,
            read: 0,
            kept: String::new(),
        }
    }

    /// The same text once more, from its beginning.
    pub(super) fn again(&self) -> Self {
        Self::new(self.start)
    }

    /// Puts values back into what there is of the text; `None` if all of it leaves as it is.
    pub(super) fn told(
        mut self,
        restore: &mut Restore,
        text: &str,
        is_final: bool,
        channel: &str,
    ) -> Option<String> {
        let mut told = text.to_owned();
        self.read(restore, &mut told, is_final, || channel.to_owned());
        (told != text).then_some(told)
    }

    /// Takes the next piece; what may leave stays in `piece`. Says whether that was changed.
    pub(super) fn read(
        &mut self,
        restore: &mut Restore,
        piece: &mut String,
        is_final: bool,
        channel: impl FnOnce() -> String,
    ) -> bool {
        let is_plain = self.kept.is_empty() && placeholder_start(piece).is_none();
        if is_plain {
            self.leave(restore, piece, piece.len());
        } else {
            let mut text = std::mem::take(&mut self.kept);
            text.push_str(piece);
            piece.clear();
            let channel = LazyCell::new(channel);
            let mut rest = text.as_str();
            while let Some(at) = placeholder_start(rest) {
                let (before, found) = rest.split_at_checked(at).unwrap_or((rest, ""));
                self.leave(restore, before, before.len());
                piece.push_str(before);
                rest = found;
                let Some(length) = self.decide(restore, found, is_final, piece, &channel) else {
                    break;
                };
                rest = found.get(length..).unwrap_or_default();
            }
            if placeholder_start(rest) == Some(0) {
                rest.clone_into(&mut self.kept);
            } else {
                self.leave(restore, rest, rest.len());
                piece.push_str(rest);
            }
        }
        restore.said = self.before;
        !is_plain
    }

    /// Decides about the beginning of `text`, which may be a placeholder; appends to `out` what
    /// leaves for it. Gives how much of `text` that was; `None` if more has to come.
    fn decide(
        &mut self,
        restore: &mut Restore,
        text: &str,
        is_final: bool,
        out: &mut String,
        channel: &LazyCell<String, impl FnOnce() -> String>,
    ) -> Option<usize> {
        if !is_final && restore.masker.may_be_placeholder(text) {
            return None;
        }
        let Some((length, detector)) = restore.masker.placeholder(text) else {
            let begun = text.get(..PREFIX.len()).unwrap_or(text);
            self.leave(restore, begun, begun.len());
            out.push_str(begun);
            return Some(begun.len());
        };
        let (placeholder, after) = text.split_at_checked(length)?;
        let is_ended = is_ended(after, is_final)?;
        let shown = Rc::clone(&restore.shown);
        let value = shown.values.find(placeholder);
        let value = value.filter(|_| is_ended && self.before.is_plain());
        let value = value.filter(|value| self.would_be_found(restore, *value, after));
        let said = value.and_then(|value| shown.values.value(value));
        let said = said.map_or(placeholder, |value| value.expose());
        if let Some(value) = value {
            self.room = self.room.saturating_sub(said.len());
            restore.note(Written {
                detector,
                offset: self.read as u64,
                length: length as u64,
                fingerprint: shown.values.fingerprint(value).map(str::to_owned),
                channel: String::clone(channel),
                restored: true,
            });
        }
        self.leave(restore, said, length);
        out.push_str(said);
        Some(length)
    }

    /// Whether the value would be masked here when the text comes back; `after` follows it.
    fn would_be_found(&self, restore: &Restore, value: usize, after: &str) -> bool {
        let values = restore.values();
        let Some(text) = values.value(value).map(Secret::expose) else {
            return false;
        };
        let (mut next, mut found) = (self.next.clone(), Vec::new());
        let (masker, mut out) = (&restore.masker, String::new());
        // No more of what follows, or the cut of the text would decide.
        let after = after.chars().next().map(String::from).unwrap_or_default();
        next.push(masker, text, &mut out, &mut found);
        next.push(masker, &after, &mut out, &mut found);
        next.finish(masker, &mut out, &mut found);
        let (offset, length) = (self.left as u64, text.len() as u64);
        let is_it = |finding: &Finding| {
            (finding.offset, finding.length) == (offset, length)
                && Some(&*finding.fingerprint) == values.fingerprint(value)
        };
        text.len() <= self.room && found.iter().any(is_it)
    }

    /// Moves on behind what leaves for `read` bytes.
    fn leave(&mut self, restore: &Restore, text: &str, read: usize) {
        self.before.pass(text);
        let (mut out, mut found) = (String::new(), Vec::new());
        self.next.push(&restore.masker, text, &mut out, &mut found);
        self.left += text.len();
        self.read += read;
    }

    /// Bytes that wait.
    pub(super) fn held(&self) -> usize {
        self.kept.len()
    }
}

/// Whether a value ends before this text; `None` if more of it has to come.
fn is_ended(text: &str, is_final: bool) -> Option<bool> {
    let mut text = text.chars();
    match (text.next(), text.next()) {
        (None, _) | (Some('.'), None) => is_final.then_some(true),
        (Some('.'), Some(after)) => Some(after.is_ascii_whitespace()),
        (Some(after), _) => Some(after.is_ascii_whitespace() || "\"'`,;)]}<*|".contains(after)),
    }
}
