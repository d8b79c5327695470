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

use std::fmt;

use regex_automata::dfa::Automaton as _;

use super::bytes::{is_base64, is_name, is_opening, is_word};
use super::canonical::{base64_of, first_line, percent_decoded};
use super::catalog::{Catalog, Pattern, pem};
use super::detector::{Check, Grade, Rule, Start, Tail};
use super::gap::{Gap, Next};
use super::names::{LONGEST, Name, has_anchor, starts_with_anchor};
use super::placeholder::{DIGEST_LENGTH, Look, PREFIX, Seal, look};
use super::turns::turn;
use super::validate::{aws_secret_holds, proof_holds, url_password_holds, value_holds};
use super::value_end::{End, bare_end, quoted_end, url_password_end};
use super::{Finding, Masker};

/// Bytes of decided text that stay for looking back: more than the longest key name.
const CONTEXT: usize = 96;
/// Longest attempt at a token, in bytes; what is undecided then is no token.
const TOKEN_CAP: usize = 512;
/// Longest attempt at a line of a PEM block.
const LINE_CAP: usize = 300;
/// Longest PEM block: a BEGIN line without END does not take the rest of the text.
const PEM_CAP: u64 = 16 * 1024;
/// How far a value may stand behind its key name, and behind the name in `name: X, value: Y`.
const REACH: u64 = 96;
const PENDING_REACH: u64 = 160;
/// Least part of a value that a text cut off in a token must show.
const LEAST_CUT: usize = 8;
/// Long pieces are read in parts of this size, so that no second copy of a big text exists.
const PART: usize = 16 * 1024;

/// The state of one channel between pieces.
#[derive(Default)]
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
    /// Start of the present name.
    name: Option<u64>,
    /// A key name whose value may follow.
    armed: Option<Armed>,
    /// The last key name and where it ended, for `name: X, value: Y`.
    pending: Option<(usize, Grade, u64)>,
    /// A value that is being masked.
    value: Option<Box<Value>>,
}

/// A key name, and the way to its value.
#[derive(Clone, Copy)]
struct Armed {
    detector: usize,
    grade: Grade,
    gap: Gap,
    since: u64,
    /// The key stands behind `<`.
    tag: bool,
    /// The way to the value is weak evidence.
    strict: bool,
}

/// A value between its proof and its end.
struct Value {
    detector: usize,
    tail: Tail,
    offset: u64,
    seal: Seal,
    /// In a line of base64 of a PEM block.
    in_line: bool,
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

/// What an automaton saw.
enum Seen {
    More,
    /// Ends and patterns, shortest first, and whether the text ended before the automaton did.
    Matches {
        found: Vec<(usize, usize)>,
        is_cut: bool,
    },
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
        let mut mask = Self::new();
        let (before, mut out) = (findings.len(), String::new());
        let mut run = Run {
            masker,
            text,
            is_final: true,
            out: &mut out,
            findings,
        };
        while mask.step(&mut run) != Verdict::Hold {}
        (findings.len() > before).then(|| {
            out.push_str(text.get(mask.sent..).unwrap_or_default());
            out
        })
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
            if self.armed.is_none() {
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
        let mut from = self.at.saturating_sub(1);
        while let Some((at, reasons)) = catalog.next_turn(bytes, from) {
            if self.stops(reasons, at, catalog, bytes) {
                return self.find_name(bytes);
            }
            from = at + 1;
        }
        self.at = last;
        self.find_name(bytes);
    }

    /// Moves to the pair of bytes at `at`, or to its second; says whether something may begin there.
    fn stops(&mut self, reasons: u8, at: usize, catalog: &Catalog, bytes: &[u8]) -> bool {
        self.at = at;
        let rest = bytes.get(at..).unwrap_or_default();
        if reasons & turn::UNNAMED != 0
            || reasons & turn::ANCHOR != 0 && starts_with_anchor(rest)
            || reasons & turn::TOKEN != 0
                && self.is_boundary(bytes)
                && (rest.starts_with(b"MA") || catalog.tokens(Start::Word).pattern.may_match(rest))
        {
            return true;
        }
        self.at = at + 1;
        let rest = rest.get(1..).unwrap_or_default();
        let openings = &catalog.tokens(Start::Opening).pattern;
        reasons & turn::URL != 0 || reasons & turn::OPENING != 0 && openings.may_match(rest)
    }

    /// Finds the start of the name to which the byte before the place belongs.
    fn find_name(&mut self, bytes: &[u8]) {
        let floor = usize::try_from(self.floor.saturating_sub(self.base)).unwrap_or(usize::MAX);
        // of a longer one nothing but its length counts
        let floor = floor.max(self.at.saturating_sub(LONGEST + 2)).min(self.at);
        let before = bytes.get(floor..self.at).unwrap_or_default();
        let length = before
            .iter()
            .rev()
            .take_while(|byte| is_name(**byte))
            .count();
        self.name = (length > 0).then(|| self.offset() - length as u64);
    }

    // --- tokens -------------------------------------------------------------------------------

    /// Whether a token may start here.
    fn is_boundary(&self, bytes: &[u8]) -> bool {
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

    fn token(&mut self, run: &mut Run<'_>, byte: u8) -> Verdict {
        let rest = run.text.as_bytes().get(self.at..).unwrap_or_default();
        if byte == b'M' {
            match look(rest, run.is_final, |kind| {
                run.masker.catalog().detector_of(kind).is_some()
            }) {
                Look::Is(length) => {
                    let kind = rest
                        .get(PREFIX.len()..length - DIGEST_LENGTH)
                        .unwrap_or_default();
                    let catalog = run.masker.catalog();
                    let detector = catalog.detector_of(kind);
                    self.at += length;
                    self.forget_context(catalog, detector);
                    return Verdict::Moved;
                }
                Look::More => return Verdict::Hold,
                Look::Not => {}
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
        let verdict = self.attempt(run, Start::Word);
        let opens = self.at == 0 || is_opening(before);
        if verdict == Verdict::Pass && opens {
            return self.attempt(run, Start::Opening);
        }
        verdict
    }

    fn attempt(&mut self, run: &mut Run<'_>, start: Start) -> Verdict {
        let catalog = run.masker.catalog();
        let tokens = catalog.tokens(start);
        let (found, is_cut) = match look_for(&tokens.pattern, run, self.at, TOKEN_CAP) {
            Seen::More => return Verdict::Hold,
            Seen::Matches { found, is_cut } => (found, is_cut),
        };
        for &(end, pattern) in found.iter().rev() {
            let Some(&owner) = tokens.owners.get(pattern) else {
                continue;
            };
            let Some(entry) = catalog.entry(owner) else {
                continue;
            };
            let Rule::Token { tail, check, .. } = entry.detector.rule else {
                continue;
            };
            let in_blob =
                self.at > 0 && matches!(self.behind(run.text.as_bytes()), Some([b'+' | b'/', ..]));
            if check == Check::Random && in_blob {
                continue;
            }
            let goes_on = run.text.as_bytes().get(end).is_some_and(|b| is_word(*b));
            if tail == Tail::Exact && goes_on {
                continue;
            }
            let proof = run.text.get(self.at..end).unwrap_or_default();
            if proof_holds(check, proof, entry.prefix.len()) {
                self.begin(run, owner, tail, end);
                return Verdict::Moved;
            }
        }
        if is_cut && found.is_empty() {
            return self.cut_token(run, &tokens.owners);
        }
        Verdict::Pass
    }

    /// A text that ends in a token: enough of it is masked as well.
    fn cut_token(&mut self, run: &mut Run<'_>, owners: &[usize]) -> Verdict {
        let catalog = run.masker.catalog();
        let rest = run.text.get(self.at..).unwrap_or_default();
        let fitting = owners.iter().filter(|owner| {
            catalog
                .entry(**owner)
                .is_some_and(|entry| match entry.detector.rule {
                    Rule::Token { tail, check, .. } => {
                        let prefix = entry.prefix.as_str();
                        tail != Tail::Pem
                            && !matches!(check, Check::Jwt | Check::PemBase64)
                            && prefix.len() >= 4
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
        self.begin(run, owner, Tail::Exact, run.text.len());
        Verdict::Moved
    }

    // --- values behind key names --------------------------------------------------------------

    /// Reads a name that ends here, before `byte`.
    fn end_name(&mut self, run: &Run<'_>, byte: u8) {
        let Some(start) = self.name.take() else {
            return;
        };
        // words are passed whole, and one may have gone beyond the reach of what came before
        let passed = |armed: &Armed| self.offset().saturating_sub(armed.since);
        self.armed = self.armed.filter(|armed| passed(armed) <= REACH);
        let from = start
            .checked_sub(self.base)
            .and_then(|from| usize::try_from(from).ok());
        let raw = from
            .and_then(|from| run.text.get(from..self.at))
            .unwrap_or_default();
        if let Some(armed) = &mut self.armed {
            if matches!(armed.gap, Gap::UrlUser | Gap::UrlPassword) {
                return;
            }
            armed.end_filler(raw, byte);
        }
        let since = self.offset();
        if !has_anchor(raw.as_bytes()) {
            let before = || from.map_or("", |from| self.line_before(run.text, from));
            if let Some((detector, gap)) = unnamed(run.masker.catalog(), raw, before, byte) {
                let grade = Grade::Password;
                self.armed = Some(Armed {
                    detector,
                    grade,
                    gap,
                    since,
                    tag: false,
                    strict: true,
                });
            }
            return;
        }
        let is_tag = from
            .and_then(|from| from.checked_sub(1))
            .and_then(|before| run.text.as_bytes().get(before))
            == Some(&b'<');
        let gap = Gap::AfterKey {
            closed: false,
            spaced: false,
        };
        if matches!(raw, "value" | "default" | "Value" | "VALUE" | "val") {
            if let Some((detector, grade, ended)) = self.pending
                && since - ended <= PENDING_REACH
            {
                self.armed = Some(Armed {
                    detector,
                    grade,
                    gap,
                    since,
                    tag: is_tag,
                    strict: true,
                });
            }
            return;
        }
        // a segment of `arn:…:secret:name`
        if byte == b':' && run.text.as_bytes().get(from.unwrap_or(0).wrapping_sub(1)) == Some(&b':')
        {
            return;
        }
        let named = Name::read(raw).and_then(|name| run.masker.catalog().named(&name));
        if let Some((detector, grade)) = named {
            self.armed = Some(Armed {
                detector,
                grade,
                gap,
                since,
                tag: is_tag,
                strict: false,
            });
            if matches!(grade, Grade::Password | Grade::Generated) {
                self.pending = Some((detector, grade, since));
            }
        }
    }

    /// The line before this place as far as every cut lets the machine look back.
    fn line_before<'a>(&self, text: &'a str, to: usize) -> &'a str {
        const BACK: usize = 64;
        let floor = self.floor.saturating_sub(self.base);
        let floor = usize::try_from(floor).unwrap_or(usize::MAX);
        let from = text.ceil_char_boundary(to.saturating_sub(BACK).max(floor).min(to));
        let before = text.get(from..to).unwrap_or_default();
        before.rsplit_once('\n').map_or(before, |(_, line)| line)
    }

    fn read_gap(&mut self, run: &mut Run<'_>, byte: u8) -> Verdict {
        let Some(armed) = self.armed else {
            return Verdict::Pass;
        };
        if self.offset() - armed.since > REACH {
            self.armed = None;
            return Verdict::Pass;
        }
        match armed.gap {
            Gap::Open {
                quote,
                escaped,
                strict,
            } => self.quoted(run, armed, quote, escaped, strict || armed.strict),
            Gap::UrlPassword => self.url_password(run, armed),
            gap => match gap.read(byte, armed.tag) {
                Next::Stay(gap) => {
                    self.armed = Some(Armed { gap, ..armed });
                    Verdict::Pass
                }
                Next::Dead => {
                    self.armed = None;
                    Verdict::Pass
                }
                Next::Bare { strict } => self.bare(run, armed, byte, strict || armed.strict),
            },
        }
    }

    fn quoted(
        &mut self,
        run: &mut Run<'_>,
        armed: Armed,
        quote: u8,
        escaped: bool,
        strict: bool,
    ) -> Verdict {
        let end = match quoted_end(run.text.as_bytes(), run.is_final, self.at, quote, escaped) {
            End::More => return Verdict::Hold,
            End::At(end) => Some(end),
            End::Never => None,
        };
        if let Some(end) = end {
            let value = run.text.get(self.at..end).unwrap_or_default();
            if value_holds(armed.grade, value, true, strict) {
                self.begin(run, armed.detector, Tail::Exact, end);
                return Verdict::Moved;
            }
        }
        let goes_on = armed.grade == Grade::Header;
        self.armed = goes_on.then_some(Armed {
            gap: Gap::Filler {
                after_operator: true,
            },
            ..armed
        });
        Verdict::Pass
    }

    fn bare(&mut self, run: &mut Run<'_>, armed: Armed, byte: u8, strict: bool) -> Verdict {
        let end = match bare_end(run.text.as_bytes(), run.is_final, self.at) {
            End::More => return Verdict::Hold,
            End::At(end) => Some(end),
            End::Never => None,
        };
        if let Some(end) = end {
            let value = run.text.get(self.at..end).unwrap_or_default();
            let is_short = value.ends_with("..");
            let value = value.trim_end_matches(['.', ':']);
            let is_secret = !is_short
                && match armed.gap {
                    Gap::AwsPair => aws_secret_holds(value),
                    _ => value_holds(armed.grade, value, false, strict),
                };
            if is_secret {
                self.begin(run, armed.detector, Tail::Exact, self.at + value.len());
                return Verdict::Moved;
            }
        }
        let after_operator = matches!(armed.gap, Gap::AfterOperator { .. });
        let gap = match armed.gap {
            Gap::AwsPair => None,
            _ if is_name(byte) => Some(Gap::Filler { after_operator }),
            _ if after_operator && matches!(byte, b'&' | b'[' | b'*') => Some(Gap::Type),
            _ => None,
        };
        self.armed = gap.map(|gap| Armed { gap, ..armed });
        Verdict::Pass
    }

    fn url_password(&mut self, run: &mut Run<'_>, armed: Armed) -> Verdict {
        match url_password_end(run.text.as_bytes(), run.is_final, self.at) {
            End::More => return Verdict::Hold,
            End::At(end) => {
                let value = run.text.get(self.at..end).unwrap_or_default();
                if url_password_holds(value) {
                    self.begin(run, armed.detector, Tail::Exact, end);
                    return Verdict::Moved;
                }
            }
            End::Never => {}
        }
        self.armed = None;
        Verdict::Pass
    }

    /// Whether the slash at the place is the last of `://`.
    fn ends_scheme(&self, bytes: &[u8]) -> bool {
        matches!(self.behind(bytes), Some([b'/', b':', letter]) if letter.is_ascii_alphanumeric())
    }

    fn arm_url(&mut self, catalog: &Catalog) {
        self.armed = Some(Armed {
            detector: catalog.url(),
            grade: Grade::Password,
            gap: Gap::UrlUser,
            since: self.offset() + 1,
            tag: false,
            strict: false,
        });
        // the slash itself is passed by the caller, not read by the gap
    }

    // --- masking ------------------------------------------------------------------------------

    /// Begins to mask a value that is certain up to `end`.
    fn begin(&mut self, run: &mut Run<'_>, detector: usize, tail: Tail, end: usize) {
        let Some(entry) = run.masker.catalog().entry(detector) else {
            return;
        };
        let proof = run.text.get(self.at..end).unwrap_or_default();
        let mut seal = run.masker.sealer().begin(entry.detector.name);
        seal.update_value(proof.as_bytes());
        match (&entry.detector.rule, tail) {
            (_, Tail::Pem) => seal.update_canonical(first_line(proof).as_bytes()),
            (Rule::Url, _) => seal.update_canonical(&percent_decoded(proof)),
            _ => seal.update_canonical(proof.as_bytes()),
        }
        run.out
            .push_str(run.text.get(self.sent..self.at).unwrap_or_default());
        let in_line = tail == Tail::Pem && !first_line(proof).is_empty();
        self.value = Some(Box::new(Value {
            detector,
            tail,
            offset: self.offset(),
            seal,
            in_line,
        }));
        self.at = end;
        self.sent = end;
    }

    /// Takes in what belongs to the value; ends it where it ends.
    fn go_on(&mut self, run: &mut Run<'_>) -> Verdict {
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
        value.seal.update(rest.get(..length).unwrap_or_default());
        self.at += length;
        self.sent = self.at;
        let after = (rest.get(length), rest.get(length + 1));
        match after {
            _ if tail == Tail::Exact => {}
            (None, _) if !run.is_final => return Verdict::Hold,
            (Some(b'.'), None) if tail == Tail::Dotted && !run.is_final => return Verdict::Hold,
            (Some(b'.'), Some(next)) if tail == Tail::Dotted && tail.holds(*next) => {
                value.seal.update(b".");
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
            value.seal.update(rest.get(..length).unwrap_or_default());
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
            ..
        } = *value;
        if let Some(entry) = run.masker.catalog().entry(detector) {
            let (placeholder, fingerprint) = run.masker.sealer().end(seal, &entry.kind);
            run.out.push_str(&placeholder);
            let length = self.offset() - offset;
            let detector = entry.detector.name;
            run.findings.push(Finding {
                detector,
                offset,
                length,
                fingerprint,
            });
        }
        self.forget_context(run.masker.catalog(), Some(detector));
    }

    /// Makes the present place a new beginning: a value of this detector is behind it, masked now
    /// or before.
    fn forget_context(&mut self, catalog: &Catalog, detector: Option<usize>) {
        let since = self.offset();
        self.floor = since;
        self.name = None;
        self.pending = None;
        let is_id = detector == Some(catalog.aws_id());
        self.armed = is_id.then_some(Armed {
            detector: catalog.aws_pair(),
            grade: Grade::Generated,
            gap: Gap::AwsPair,
            since,
            tag: false,
            strict: true,
        });
    }

    /// Offset of the place in the channel.
    fn offset(&self) -> u64 {
        self.base + self.at as u64
    }
}

impl fmt::Debug for TextMask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TextMask")
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

impl Armed {
    /// Reads a word between the key and the value, which ended before `byte`.
    fn end_filler(&mut self, word: &str, byte: u8) {
        let Gap::Filler { after_operator } = self.gap else {
            return;
        };
        let is_quote = matches!(byte, b'"' | b'\'' | b'`');
        self.gap = match word {
            "was" | "is" | "to" if !after_operator => {
                self.strict = true;
                Gap::AfterKey {
                    closed: false,
                    spaced: true,
                }
            }
            "Basic" | "basic" | "Bearer" | "bearer" | "Token" | "token" | "ApiKey"
                if self.grade == Grade::Header =>
            {
                Gap::AfterOperator { operator: b' ' }
            }
            "b" | "r" | "u" | "f" | "L" | "N" | "rb" | "br" | "u8"
                if after_operator && is_quote =>
            {
                Gap::AfterOperator { operator: b' ' }
            }
            _ => Gap::Type,
        };
    }
}

/// What announces a password without a name: an option of a command, a port between colons.
/// `before` gives the line before the name.
fn unnamed<'a>(
    catalog: &Catalog,
    raw: &str,
    before: impl Fn() -> &'a str,
    byte: u8,
) -> Option<(usize, Gap)> {
    match raw {
        "-p" if byte == b' '
            && ["login", "sshpass"]
                .iter()
                .any(|word| before().contains(word)) =>
        {
            Some((
                catalog.command(),
                Gap::AfterKey {
                    closed: false,
                    spaced: false,
                },
            ))
        }
        "-u" | "--user" if byte == b' ' && before().contains("curl") => {
            Some((catalog.command(), Gap::Account))
        }
        _ if byte == b':'
            && matches!(raw.len(), 4 | 5)
            && raw.bytes().all(|digit| digit.is_ascii_digit())
            && ends_in_host(before()) =>
        {
            Some((catalog.fields(), Gap::Fields { colons: 3 }))
        }
        _ => None,
    }
}

/// Whether a host name and a colon end here, and no other colon is before them.
fn ends_in_host(before: &str) -> bool {
    let Some(before) = before.strip_suffix(':') else {
        return false;
    };
    let rest = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "-.*".contains(c));
    let host = before.get(rest.len()..).unwrap_or_default();
    !rest.ends_with(':') && host.bytes().any(|byte| !byte.is_ascii_digit())
}

/// One call of the machine: its input, and where results go.
struct Run<'a> {
    masker: &'a Masker,
    text: &'a str,
    is_final: bool,
    out: &'a mut String,
    findings: &'a mut Vec<Finding>,
}

/// Steps an automaton from `at` until it is dead, has seen `cap` bytes, or lacks text.
fn look_for(pattern: &Pattern, run: &Run<'_>, at: usize, cap: usize) -> Seen {
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
