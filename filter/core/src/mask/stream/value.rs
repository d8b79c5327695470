//! A value from its proof to its end, and the placeholder that leaves for it.

use super::token::{Seen, look_for};
use super::{Run, TextMask, Verdict};
use crate::mask::Finding;
use crate::mask::bytes::is_base64;
use crate::mask::canonical::{base64_of, canonical};
use crate::mask::catalog::{Catalog, pem};
use crate::mask::checksum;
use crate::mask::detector::{Number, Rule, Tail};
use crate::mask::originals::Original;
use crate::mask::placeholder::Seal;
use crate::secret::Secret;

/// Longest attempt at a line of a PEM block.
pub(in crate::mask) const LINE_CAP: usize = 300;
/// Longest PEM block: a BEGIN line without END does not take the rest of the text.
const PEM_CAP: u64 = 16 * 1024;

/// A value between its proof and its end.
#[derive(Clone)]
pub(super) struct Value {
    detector: usize,
    tail: Tail,
    offset: u64,
    seal: Seal,
    /// In a line of base64 of a PEM block.
    in_line: bool,
    /// What announced it is weak evidence.
    strict: bool,
    /// The value so far, if it is asked for.
    kept: Option<Kept>,
    /// Fingerprints of what it hides.
    hidden: Vec<String>,
}

/// A value, unless it is longer than may be kept.
#[derive(Clone, Default)]
struct Kept {
    text: String,
    is_cut: bool,
}

/// Most bytes of a value that are kept: more than the longest key.
const KEPT_CAP: usize = 16 * 1024;

impl Kept {
    fn add(&mut self, part: &str) {
        self.is_cut |= self.text.len() + part.len() > KEPT_CAP;
        if !self.is_cut {
            self.text.push_str(part);
        }
    }
}

impl Value {
    /// Takes a part whose canonical form is itself.
    fn take(&mut self, part: &str) {
        self.seal.update(part.as_bytes());
        self.keep(part);
    }

    fn keep(&mut self, part: &str) {
        if let Some(kept) = &mut self.kept {
            kept.add(part);
        }
    }
}

impl TextMask {
    /// Begins to mask a value that is certain up to `end`; `strict` tells of weak evidence.
    pub(super) fn begin(
        &mut self,
        run: &mut Run<'_>,
        detector: usize,
        tail: Tail,
        end: usize,
        strict: bool,
    ) {
        let Some(entry) = run.masker.catalog().entry(detector) else {
            self.at = end; // whatever is asked for, the machine goes on
            return;
        };
        let proof = run.text.get(self.at..end).unwrap_or_default();
        let mut seal = run.masker.sealer().begin(entry.name);
        seal.update_value(proof.as_bytes());
        seal.update_canonical(&canonical(&entry.rule, tail, proof));
        run.out
            .push_str(run.text.get(self.sent..self.at).unwrap_or_default());
        let in_line = tail == Tail::Pem && proof.bytes().next_back().is_some_and(is_base64);
        let goes_on = run.masker.passes().any() || run.masker.keeps();
        let is_wanted = goes_on || checksum::is_known(entry.name);
        let kept = is_wanted.then(|| {
            let mut kept = Kept::default();
            kept.add(proof);
            kept
        });
        self.value = Some(Box::new(Value {
            detector,
            tail,
            offset: self.offset(),
            seal,
            in_line,
            strict,
            kept,
            hidden: Vec::new(),
        }));
        self.at = end;
        self.sent = end;
    }

    /// Says what the value hides that was just begun, by its fingerprints.
    pub(super) fn hides(&mut self, fingerprints: Vec<String>) {
        if let Some(value) = &mut self.value {
            value.hidden = fingerprints;
        }
    }

    /// Takes in what belongs to the value; ends it where it ends.
    pub(super) fn go_on(&mut self, run: &mut Run<'_>) -> Verdict {
        let Some(value) = &mut self.value else {
            return Verdict::Pass;
        };
        let bytes = run.text.as_bytes();
        let tail = value.tail;
        if tail == Tail::Pem {
            return self.go_on_in_pem(run);
        }
        let rest = bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| tail.holds(**byte)).count();
        value.take(run.text.get(self.at..self.at + length).unwrap_or_default());
        self.at += length;
        self.sent = self.at;
        let after = (rest.get(length), rest.get(length + 1));
        match after {
            _ if tail == Tail::Exact => {}
            (None, _) if !run.is_final => return Verdict::Hold,
            (Some(b'.'), None) if tail == Tail::Dotted && !run.is_final => return Verdict::Hold,
            (Some(b'.'), Some(next)) if tail == Tail::Dotted && tail.holds(*next) => {
                value.take(".");
                self.at += 1;
                self.sent = self.at;
                return Verdict::Moved;
            }
            _ => {}
        }
        self.end_value(run);
        Verdict::Moved
    }

    fn go_on_in_pem(&mut self, run: &mut Run<'_>) -> Verdict {
        let offset = self.offset();
        let Some(value) = &mut self.value else {
            return Verdict::Pass;
        };
        let bytes = run.text.as_bytes();
        if value.in_line {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let length = rest.iter().take_while(|byte| is_base64(**byte)).count();
            value.take(run.text.get(self.at..self.at + length).unwrap_or_default());
            self.at += length;
            self.sent = self.at;
            value.in_line = length == rest.len();
            if value.in_line && !run.is_final {
                return Verdict::Hold;
            }
        }
        if offset - value.offset > PEM_CAP {
            self.end_value(run);
            return Verdict::Moved;
        }
        let (found, is_cut) = match look_for(run.masker.catalog().pem(), run, self.at, LINE_CAP) {
            Seen::More => return Verdict::Hold,
            Seen::Matches { found, is_cut } => (found, is_cut),
        };
        let (end, pattern) = match found.last() {
            Some((end, pattern)) => (*end, *pattern),
            // cut off in a line
            None if is_cut => (bytes.len(), pem::END),
            None => {
                self.end_value(run);
                return Verdict::Moved;
            }
        };
        let part = run.text.get(self.at..end).unwrap_or_default();
        value.seal.update_value(part.as_bytes());
        value.keep(part);
        if pattern == pem::BODY || pattern == pem::LAST {
            let line = part.split_once("-----").map_or(part, |(line, _)| line);
            value.seal.update_canonical(base64_of(line).as_bytes());
        }
        value.in_line = pattern == pem::BODY;
        self.at = end;
        self.sent = end;
        if matches!(pattern, pem::END | pem::LAST) {
            self.end_value(run);
        }
        Verdict::Moved
    }

    fn end_value(&mut self, run: &mut Run<'_>) {
        let Some(value) = self.value.take() else {
            return;
        };
        let Value {
            detector,
            offset,
            seal,
            strict,
            kept,
            mut hidden,
            ..
        } = *value;
        if let Some(entry) = run.masker.catalog().entry(detector) {
            let (placeholder, fingerprint) = run.masker.sealer().end(seal, &entry.kind);
            run.out.push_str(&placeholder);
            if hidden.is_empty() {
                hidden.push(fingerprint);
            }
            let whole = kept.filter(|kept| !kept.is_cut).map(|kept| kept.text);
            let checksum = match entry.rule {
                Rule::Personal { number, .. } => (number != Number::Ssn).then_some(true),
                _ => whole
                    .as_ref()
                    .and_then(|it| checksum::holds(entry.name, it)),
            };
            for fingerprint in hidden {
                let passes = run.masker.passes().of(entry.name, &fingerprint);
                let keeps = run.masker.keeps() || passes.is_some();
                let original = whole.clone().filter(|_| keeps);
                run.findings.push(Finding {
                    detector: entry.name,
                    offset,
                    length: self.offset() - offset,
                    fingerprint,
                    confidence: entry.confidence(strict, checksum),
                    checksum,
                    passed: passes.filter(|_| original.is_some()),
                    original: original.map(|value| Original {
                        placeholder: placeholder.clone(),
                        value: Secret::new(value),
                    }),
                });
            }
        }
        self.forget_context(run.masker.catalog(), Some(detector));
    }

    /// Makes the present place a new beginning: a value of this detector is behind it, masked now
    /// or before.
    pub(super) fn forget_context(&mut self, catalog: &Catalog, detector: Option<usize>) {
        self.floor = self.offset();
        self.last = detector;
        self.object = self.object.map(|object| object.renewed(self.offset()));
        self.name = None;
        self.pending = None;
        self.armed = None;
        if detector.is_some() && detector == catalog.aws_id() {
            self.arm_pair(catalog);
        }
    }
}
