//! Masks texts that stand on their own, and counts what was found and what was not looked at.

use std::collections::BTreeMap;

use data_encoding::BASE64;

use crate::json::{Edits, Path, Span, Step, Text};
use crate::mask::{Finding, Mark, Masker, Originals, Passed, Values};

use super::content::Content;
use super::{Limits, MAX_NAME_BYTES, Place, Placed, ResponseFacts, Unscanned, UnscannedReason};

/// Shortest base64 that counts as a blob; a shorter one is masked as text.
const MIN_BLOB_BYTES: usize = 128;

/// Longest key that is not looked at if it is all letters; no detector wants so little.
const MAX_PLAIN_KEY_BYTES: usize = 24;

/// Longest shown name of a channel.
pub(super) const MAX_CHANNEL_BYTES: usize = 120;

/// Masks texts on their own and counts.
#[derive(Default)]
pub(super) struct Scan {
    /// The first findings.
    pub(super) findings: Vec<Placed>,
    /// All findings.
    pub(super) findings_count: u64,
    /// All findings by detector, a closed list, but for values that somebody vouches for.
    pub(super) by_detector: BTreeMap<&'static str, u64>,
    /// Findings whose values stay where the text leaves.
    pub(super) stayed: u64,
    /// Those values.
    pub(super) originals: Originals,
    /// Values that were masked, if the masker brings them along.
    pub(super) values: Values,
    /// Where they stood in the last text.
    pub(super) marks: Vec<Mark>,
    /// Findings in texts that stay as they are, by detector.
    pub(super) passed: BTreeMap<&'static str, u64>,
    pub(super) unscanned: Vec<Unscanned>,
    /// Bytes of text that was looked at.
    pub(super) scanned: u64,
    /// Findings that have no place yet.
    pub(super) fresh: Vec<Finding>,
    /// What is looked at may be a repeat.
    again: bool,
    /// Findings by detector of the last text that had any.
    pub(super) latest: BTreeMap<&'static str, u64>,
    max_findings: usize,
}

impl Scan {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_findings: limits.max_findings,
            ..Self::default()
        }
    }

    /// Masks a text as a whole; `None` if it stays.
    pub(super) fn mask(
        &mut self,
        masker: &Masker,
        text: &str,
        channel: impl FnOnce() -> String,
    ) -> Option<String> {
        self.scanned += text.len() as u64;
        let masked = masker.mask(text, &mut self.fresh);
        self.place(channel);
        masked
    }

    /// Masks a text whose findings are filed later.
    pub(super) fn look(&mut self, masker: &Masker, text: &str) -> (Option<String>, Vec<Finding>) {
        self.scanned += text.len() as u64;
        let mut findings = Vec::new();
        (masker.mask(text, &mut findings), findings)
    }

    /// Looks at a text that stays as it is; gives the text for the record, if that differs.
    pub(super) fn signed(
        &mut self,
        masker: &Masker,
        text: &str,
        channel: impl FnOnce() -> String,
    ) -> Option<String> {
        self.scanned += text.len() as u64;
        let masked = masker.mask(text, &mut self.fresh);
        self.place_passed(channel);
        masked
    }

    /// Masks a text that may repeat another one of the same name; what is found in the same place
    /// of it is not counted again.
    pub(super) fn mask_again(
        &mut self,
        masker: &Masker,
        text: &str,
        channel: impl FnOnce() -> String,
    ) -> Option<String> {
        self.scanned += text.len() as u64;
        let masked = masker.mask(text, &mut self.fresh);
        self.place_again(channel);
        masked
    }

    /// As [`value`](Self::value), for a value that may be a repeat.
    pub(super) fn value_again(
        &mut self,
        masker: &Masker,
        place: Place,
        path: &Path<'_>,
        (span, text): (Span, Text<'_>),
        edits: &mut Edits,
    ) -> Option<String> {
        let fresh = std::mem::replace(&mut self.again, true);
        let masked = self.value(masker, place, path, (span, text), edits);
        self.again = fresh;
        masked
    }

    /// Masks a string value by its place; gives what is sent in its place if it has findings.
    pub(super) fn value(
        &mut self,
        masker: &Masker,
        place: Place,
        path: &Path<'_>,
        (span, text): (Span, Text<'_>),
        edits: &mut Edits,
    ) -> Option<String> {
        let text = text.decode();
        if place == Place::Encoded
            && let Some(plain) = decoded(&text)
        {
            let masked = self.mask(masker, &plain, || channel_name(path))?;
            edits.replace_text(span, &BASE64.encode(masked.as_bytes()));
            return Some(masked);
        }
        let stays = match place {
            Place::Encoded if is_blob(&text) => {
                self.skip(UnscannedReason::File, span.length());
                true
            }
            Place::Padding | Place::Envelope | Place::Model | Place::Finish => is_name(&text),
            Place::Blob(reason) if is_blob_of(reason, &text) => {
                self.skip(reason, span.length());
                true
            }
            Place::Reference => {
                self.skip(UnscannedReason::Reference, span.length());
                false
            }
            Place::Signature if is_blob(&text) => {
                self.skip(UnscannedReason::Opaque, span.length());
                true
            }
            Place::Text
            | Place::Name
            | Place::Role
            | Place::CallName
            | Place::Count(_)
            | Place::Elsewhere
            | Place::Encoded
            | Place::Item
            | Place::ItemKind
            | Place::Signature
            | Place::Signed
            | Place::ToolName
            | Place::Prompt
            | Place::Piece(_)
            | Place::Stream
            | Place::List
            | Place::Blob(_)
            | Place::ChoiceIndex
            | Place::ToolIndex
            | Place::Dropped => false,
        };
        if stays {
            return None;
        }
        let masked = self.mask(masker, &text, || channel_name(path))?;
        edits.replace_text(span, &masked);
        Some(masked)
    }

    /// Masks a key; `path` is that of its object. Gives the masked key if it has findings.
    pub(super) fn key(
        &mut self,
        masker: &Masker,
        path: &Path<'_>,
        (span, key): (Span, Text<'_>),
        edits: &mut Edits,
    ) -> Option<String> {
        let key = key.decode();
        let plain = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let plain = key.len() <= MAX_PLAIN_KEY_BYTES && key.bytes().all(plain);
        if plain {
            return None;
        }
        let masked = self.mask(masker, &key, || channel_name(path) + "(key)")?;
        edits.replace_text(span, &masked);
        Some(masked)
    }

    /// What was learnt from an answer, with what was found in it.
    pub(super) fn facts(&self, content: &Content, learnt: ResponseFacts) -> ResponseFacts {
        ResponseFacts {
            findings: self.findings.clone(),
            findings_count: self.findings_count,
            content: content.to_json(),
            content_truncated: content.truncated,
            unscanned: self.unscanned.clone(),
            scanned_bytes: self.scanned,
            passed: self.passed.clone(),
            by_detector: self.by_detector.clone(),
            has_masked: self.has_masked(),
            ..learnt
        }
    }

    /// Whether a text was changed.
    pub(super) fn has_masked(&self) -> bool {
        self.findings_count > self.passed.values().sum::<u64>() + self.stayed
    }

    /// Files the fresh findings under their channel.
    pub(super) fn place(&mut self, channel: impl FnOnce() -> String) {
        if self.again {
            self.place_again(channel);
        } else {
            self.place_all(false, channel);
        }
    }

    /// Files the fresh findings of a text that stays as it is.
    pub(super) fn place_passed(&mut self, channel: impl FnOnce() -> String) {
        for finding in &self.fresh {
            *self.passed.entry(finding.detector).or_default() += 1;
        }
        self.place_all(true, channel);
    }

    /// Files those of the fresh findings that are not filed in the same place.
    pub(super) fn place_again(&mut self, channel: impl FnOnce() -> String) {
        if self.fresh.is_empty() {
            return;
        }
        let channel = channel();
        let filed = &self.findings;
        self.fresh.retain(|finding| {
            let same = |placed: &Placed| placed.finding == *finding && placed.channel == channel;
            !filed.iter().any(same)
        });
        self.place_all(false, || channel);
    }

    fn place_all(&mut self, passed: bool, channel: impl FnOnce() -> String) {
        if self.fresh.is_empty() {
            return;
        }
        let channel = channel();
        self.latest.clear();
        for mut finding in self.fresh.drain(..) {
            self.findings_count += 1;
            if !passed {
                self.marks.extend(self.values.take(&mut finding));
            }
            self.originals.take(&mut finding);
            self.stayed += u64::from(finding.passed.is_some() && !passed);
            if finding.passed != Some(Passed::Exempt) {
                *self.latest.entry(finding.detector).or_default() += 1;
                *self.by_detector.entry(finding.detector).or_default() += 1;
            }
            if self.findings.len() < self.max_findings {
                self.findings.push(Placed {
                    finding,
                    channel: channel.clone(),
                    passed,
                });
            }
        }
    }

    /// Counts something that is passed on without a look.
    pub(super) fn skip(&mut self, reason: UnscannedReason, bytes: usize) {
        let bytes = bytes as u64;
        match self
            .unscanned
            .iter_mut()
            .find(|unscanned| unscanned.reason == reason)
        {
            Some(unscanned) => {
                unscanned.count += 1;
                unscanned.bytes += bytes;
            }
            None => self.unscanned.push(Unscanned {
                reason,
                count: 1,
                bytes,
            }),
        }
    }
}

/// A path as shown in records: plain keys and indexes, other keys as `*`.
pub(super) fn channel_name(path: &Path<'_>) -> String {
    let mut name = String::new();
    for step in path.iter() {
        let before = name.len();
        match step {
            Step::Key(key) => {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(shown_key(key));
            }
            Step::Index(index) => {
                name.push('[');
                name.push_str(&index.to_string());
                name.push(']');
            }
        }
        if name.len() > MAX_CHANNEL_BYTES - "…(key)".len() {
            name.truncate(before);
            name.push('…');
            break;
        }
    }
    name
}

/// The key if it is a short plain word, else `*`.
pub(super) fn shown_key(key: &str) -> &str {
    let plain = key
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if plain && key.len() <= 24 { key } else { "*" }
}

/// Visible ASCII of at most [`MAX_NAME_BYTES`].
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The text that is encoded as base64.
fn decoded(text: &str) -> Option<String> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    String::from_utf8(bytes).ok()
}

/// A blob of a kind: what is not for the upstream alone is in plain base64.
fn is_blob_of(reason: UnscannedReason, text: &str) -> bool {
    let url_safe = |byte| matches!(byte, b'-' | b'_' | b'.');
    let opaque = reason == UnscannedReason::Opaque;
    let payload = text.rsplit(',').next().unwrap_or_default();
    is_blob(text) && (opaque || !payload.bytes().any(url_safe))
}

/// Long base64, or a data URL of it.
pub(super) fn is_blob(text: &str) -> bool {
    pub(super) const MAX_TYPE_BYTES: usize = 64;
    let payload = match text.strip_prefix("data:") {
        Some(url) => match url.split_once(";base64,") {
            Some((kind, payload)) if kind.len() <= MAX_TYPE_BYTES && is_name(kind) => payload,
            _ => return false,
        },
        None => text,
    };
    payload.len() >= MIN_BLOB_BYTES
        && payload.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=' | b'.')
        })
}

/// Whether a text would be taken for JSON, well-formed or not.
pub(super) fn looks_like_json(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'[' | b'"'))
}
