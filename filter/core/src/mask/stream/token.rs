//! Tokens: what an automaton recognises where it begins.

use regex_automata::dfa::Automaton;

use super::{Run, TextMask, Verdict};
use crate::mask::bytes::{is_opening, is_word};
use crate::mask::catalog::{Pattern, Tokens};
use crate::mask::detector::{Check, Rule, Start, Tail};
use crate::mask::placeholder::{DIGEST_LENGTH, Look, PREFIX, look};
use crate::mask::turns::turn;
use crate::mask::validate::proof_holds;

/// Longest attempt at a token, in bytes; what is undecided then is no token.
pub(in crate::mask) const TOKEN_CAP: usize = 512;
/// Least part of a value that a text cut off in a token must show.
const LEAST_CUT: usize = 8;
/// Least fixed beginning of a token that is masked though it is cut.
const LEAST_PREFIX: usize = 4;

/// More text is needed.
pub(super) struct Cut;

/// What an automaton saw.
pub(super) enum Seen {
    More,
    /// Ends and patterns, shortest first, and whether the text ended before the automaton did.
    Matches {
        found: Vec<(usize, usize)>,
        is_cut: bool,
    },
}

impl TextMask {
    /// Whether a token may start here.
    pub(super) fn is_boundary(&self, bytes: &[u8]) -> bool {
        let back = |count: usize| self.at.checked_sub(count).and_then(|at| bytes.get(at));
        let Some(before) = back(1) else {
            return true;
        };
        if is_word(*before) && back(2) != Some(&b'\\') && back(3) != Some(&b'%') {
            return false; // in a word, and no escape ends here: nearly always
        }
        let Some([before, escape, percent]) = self.behind(bytes) else {
            return false;
        };
        if bytes.get(self.at) == Some(&b'-') {
            return before != b'-' && !is_word(before);
        }
        !is_word(before)
            || escape == b'\\' && matches!(before, b'n' | b'r' | b't')
            || percent == b'%' && escape.is_ascii_hexdigit() && before.is_ascii_hexdigit()
    }

    pub(super) fn token(&mut self, run: &mut Run<'_>, byte: u8) -> Verdict {
        if byte == b'M' {
            let verdict = self.placeholder(run, 0);
            if verdict != Verdict::Pass {
                return verdict;
            }
        }
        let before = self
            .behind(run.text.as_bytes())
            .map_or(b' ', |[before, ..]| before);
        if byte == b'e' && before == b'-' {
            // only a JWT starts so, and behind a dash this is the middle of one: without this,
            // `eyJ-eyJ-eyJ-` costs an attempt of full length at each dash
            return Verdict::Pass;
        }
        let masker = run.masker;
        let catalog = masker.catalog();
        let reasons = catalog.begins(run.text.as_bytes(), self.at);
        let mut verdict = Verdict::Pass;
        if reasons & turn::TOKEN != 0 {
            verdict = self.attempt(run, catalog.tokens(Start::Word));
            if verdict == Verdict::Pass
                && let Some(customs) = catalog.customs()
            {
                verdict = self.attempt(run, customs.tokens());
            }
        }
        let opens = self.at == 0 || is_opening(before);
        if verdict == Verdict::Pass && opens && reasons & turn::OPENING != 0 {
            verdict = self.attempt(run, catalog.tokens(Start::Opening));
        }
        if verdict == Verdict::Pass && reasons & turn::TOKEN != 0 {
            verdict = self.personal(run);
        }
        if verdict == Verdict::Pass && reasons & turn::ENCODED != 0 {
            verdict = self.encoded(run, before);
        }
        verdict
    }

    /// Passes a placeholder that stands so many bytes behind the place.
    pub(super) fn placeholder(&mut self, run: &Run<'_>, behind: usize) -> Verdict {
        let catalog = run.masker.catalog();
        let from = self.at + behind;
        let rest = run.text.as_bytes().get(from..).unwrap_or_default();
        match look(rest, run.is_final, |kind| {
            catalog.detector_of(kind).is_some()
        }) {
            Look::Is(length) => {
                let kind = rest.get(PREFIX.len()..length - DIGEST_LENGTH);
                let detector = catalog.detector_of(kind.unwrap_or_default());
                self.at = from + length;
                self.forget_context(catalog, detector);
                Verdict::Moved
            }
            Look::More => Verdict::Hold,
            Look::Not => Verdict::Pass,
        }
    }

    fn attempt(&mut self, run: &mut Run<'_>, tokens: &Tokens<impl Automaton>) -> Verdict {
        let catalog = run.masker.catalog();
        let (found, is_cut) = match look_for(&tokens.pattern, run, self.at, TOKEN_CAP) {
            Seen::More => return Verdict::Hold,
            Seen::Matches { found, is_cut } => (found, is_cut),
        };
        let longest = found.last().map_or(self.at, |(end, _)| *end);
        let Ok(limit) = self.next_placeholder(run, longest) else {
            return Verdict::Hold;
        };
        for &(end, pattern) in found.iter().rev().filter(|(end, _)| *end <= limit) {
            let Some(&owner) = tokens.owners.get(pattern) else {
                continue;
            };
            let Some(entry) = catalog.entry(owner) else {
                continue;
            };
            let Rule::Token { tail, check, .. } = entry.rule else {
                continue;
            };
            let in_blob =
                self.at > 0 && matches!(self.behind(run.text.as_bytes()), Some([b'+' | b'/', ..]));
            if check == Check::Random && in_blob {
                continue;
            }
            let next = run.text.as_bytes().get(end);
            let goes_on = end < limit && next.is_some_and(|byte| is_word(*byte));
            if tail == Tail::Exact && goes_on {
                continue;
            }
            let proof = run.text.get(self.at..end).unwrap_or_default();
            if proof_holds(check, proof, entry.prefix.len()) {
                self.begin(run, owner, tail, end, false);
                return Verdict::Moved;
            }
        }
        if is_cut && found.is_empty() {
            return self.cut_token(run, &tokens.owners);
        }
        Verdict::Pass
    }

    /// Where the first placeholder behind the place begins, if before `end`: what stands before it
    /// was read without it when it was put there. `usize::MAX` if there is none.
    pub(super) fn next_placeholder(&self, run: &Run<'_>, end: usize) -> Result<usize, Cut> {
        let catalog = run.masker.catalog();
        let bytes = run.text.as_bytes();
        for from in self.at + 1..end {
            let rest = bytes.get(from..).unwrap_or_default();
            if rest.first() != Some(&b'M') {
                continue;
            }
            match look(rest, run.is_final, |kind| {
                catalog.detector_of(kind).is_some()
            }) {
                Look::Is(_) => return Ok(from),
                Look::More => return Err(Cut),
                Look::Not => {}
            }
        }
        Ok(usize::MAX)
    }

    /// A text that ends in a token: enough of it is masked as well.
    fn cut_token(&mut self, run: &mut Run<'_>, owners: &[usize]) -> Verdict {
        let catalog = run.masker.catalog();
        let rest = run.text.get(self.at..).unwrap_or_default();
        if rest.len() < LEAST_PREFIX + LEAST_CUT {
            return Verdict::Pass; // nearly always
        }
        let fitting = owners.iter().filter(|owner| {
            catalog
                .entry(**owner)
                .is_some_and(|entry| match entry.rule {
                    Rule::Token { tail, check, .. } => {
                        let prefix = entry.prefix.as_str();
                        tail != Tail::Pem
                            && !matches!(check, Check::Jwt | Check::PemBase64)
                            && prefix.len() >= LEAST_PREFIX
                            && !prefix.ends_with("://") // of any address
                            && rest.len() >= prefix.len() + LEAST_CUT
                            && rest.starts_with(prefix)
                            && proof_holds(check, rest, prefix.len())
                            && proof_holds(Check::Plain, rest, prefix.len())
                    }
                    _ => false,
                })
        });
        let best =
            fitting.max_by_key(|owner| catalog.entry(**owner).map(|entry| entry.prefix.len()));
        let Some(&owner) = best else {
            return Verdict::Pass;
        };
        self.begin(run, owner, Tail::Exact, run.text.len(), false);
        Verdict::Moved
    }
}

/// Steps an automaton from `at` until it is dead, has seen `cap` bytes, or lacks text.
pub(super) fn look_for(
    pattern: &Pattern<impl Automaton>,
    run: &Run<'_>,
    at: usize,
    cap: usize,
) -> Seen {
    let dfa = &pattern.dfa;
    let mut state = pattern.start;
    let mut found = Vec::new();
    let rest = run.text.as_bytes().get(at..).unwrap_or_default();
    for (index, &byte) in rest.iter().take(cap).enumerate() {
        state = dfa.next_state(state, byte);
        if dfa.is_special_state(state) {
            if !dfa.is_match_state(state) {
                return Seen::Matches {
                    found,
                    is_cut: false,
                };
            }
            // a match shows one byte late
            for number in 0..dfa.match_len(state) {
                found.push((at + index, dfa.match_pattern(state, number).as_usize()));
            }
        }
    }
    if rest.len() >= cap {
        return Seen::Matches {
            found,
            is_cut: false,
        };
    }
    if !run.is_final {
        return Seen::More;
    }
    state = dfa.next_eoi_state(state);
    if dfa.is_match_state(state) {
        for number in 0..dfa.match_len(state) {
            found.push((run.text.len(), dfa.match_pattern(state, number).as_usize()));
        }
    }
    Seen::Matches {
        found,
        is_cut: true,
    }
}
