//! The table of all detectors, and the automata made from it.
//!
//! The table drives everything: the automata, what is held back, the closed list of placeholders,
//! and the tests.

use std::cell::RefCell;
use std::fmt;

use regex_automata::Anchored;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::DFA;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

use super::bytes::is_opening;
use super::clean::CleanTexts;
use super::detector::{Detector, Grade, Rule, Start};
use super::names::{Name, may_be_anchor, may_be_anchored};
use super::patterns::{detectors, proofs};

/// The compiled detectors; made once per worker, from automata that `build.rs` has made.
pub struct Catalog {
    words: Tokens,
    openings: Tokens,
    pem: Pattern,
    /// Where the machine looks closer.
    turns: Turns,
    /// Key names, in the order of the table: ends of names, the grade of values, the detector.
    named: Vec<(&'static [&'static str], Grade, usize)>,
    /// In the order of the table.
    detectors: Vec<Entry>,
    url: usize,
    command: usize,
    fields: usize,
    aws_pair: usize,
    aws_id: usize,
    /// Texts in which these detectors found nothing.
    pub(super) clean: RefCell<CleanTexts>,
}

/// A detector and what is derived from it.
pub(super) struct Entry {
    pub(super) detector: &'static Detector,
    /// The name as placeholders carry it.
    pub(super) kind: String,
    /// The fixed beginning of a token.
    pub(super) prefix: String,
}

/// Several proofs in one automaton.
pub(super) struct Tokens {
    pub(super) pattern: Pattern,
    /// Detector of each pattern.
    pub(super) owners: Vec<usize>,
}

/// An automaton and the state it starts in.
pub(super) struct Pattern {
    pub(super) dfa: DFA<&'static [u32]>,
    pub(super) start: StateID,
    /// Pairs of bytes with which a match can begin: one bit each, so that most words cost one look.
    pairs: Vec<u64>,
}

/// Why the machine looks closer at a place; most places give no reason.
pub(super) mod turn {
    /// The first may begin a token.
    pub(in super::super) const TOKEN: u8 = 1;
    /// The first may begin an anchor of a key name.
    pub(in super::super) const ANCHOR: u8 = 2;
    /// The first may belong to what announces a password without a name.
    pub(in super::super) const UNNAMED: u8 = 4;
    /// The second may end `://`.
    pub(in super::super) const URL: u8 = 8;
    /// The second may begin a token that stands behind the first only.
    pub(in super::super) const OPENING: u8 = 16;
}

/// What a PEM block goes on with; numbers of its first patterns; the other is a header line.
pub(super) mod pem {
    /// The END line.
    pub(in super::super) const END: usize = 0;
    /// A short last line and the END line.
    pub(in super::super) const LAST: usize = 1;
    /// The beginning of a line of base64.
    pub(in super::super) const BODY: usize = 2;
}

/// An automaton that `build.rs` has made, where its numbers must stand.
macro_rules! automaton {
    ($name:literal) => {{
        static BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
            env!("OUT_DIR"),
            "/",
            $name,
            ".dfa"
        )));
        &BYTES.0
    }};
}

/// At a place where 32-bit numbers may stand.
#[repr(C, align(4))]
struct Aligned<T: ?Sized>(T);

impl Catalog {
    /// Reads the built-in detectors.
    pub fn new() -> Self {
        let mut entries = Vec::new();
        let mut named = Vec::new();
        for (at, detector) in detectors().enumerate() {
            let mut prefix = String::new();
            match detector.rule {
                Rule::Token { proof, .. } => prefix = fixed_prefix(proof),
                Rule::Named { names, grade } => named.push((names, grade, at)),
                Rule::AwsPair | Rule::Command | Rule::Fields | Rule::Url => {}
            }
            let kind = detector.name.to_ascii_uppercase().replace('-', "_");
            entries.push(Entry {
                detector,
                kind,
                prefix,
            });
        }
        let words = Tokens::new(Start::Word, automaton!("words"));
        let find = |fits: fn(&Detector) -> bool| {
            let place = entries.iter().position(|entry| fits(entry.detector));
            place.unwrap_or(usize::MAX)
        };
        Self {
            url: find(|detector| matches!(detector.rule, Rule::Url)),
            command: find(|detector| matches!(detector.rule, Rule::Command)),
            fields: find(|detector| matches!(detector.rule, Rule::Fields)),
            aws_pair: find(|detector| matches!(detector.rule, Rule::AwsPair)),
            aws_id: find(|detector| detector.name == "aws-access-key-id"),
            turns: Turns::new(&words.pattern),
            words,
            openings: Tokens::new(Start::Opening, automaton!("openings")),
            pem: Pattern::new(automaton!("pem")),
            named,
            detectors: entries,
            clean: RefCell::default(),
        }
    }

    pub(super) fn entry(&self, at: usize) -> Option<&Entry> {
        self.detectors.get(at)
    }

    pub(super) fn tokens(&self, start: Start) -> &Tokens {
        match start {
            Start::Word => &self.words,
            Start::Opening => &self.openings,
        }
    }

    /// The next place from this one on to look closer at, and why: bits of [`turn`].
    pub(super) fn next_turn(&self, bytes: &[u8], from: usize) -> Option<(usize, u8)> {
        self.turns.next(bytes, from)
    }

    pub(super) fn pem(&self) -> &Pattern {
        &self.pem
    }

    pub(super) fn url(&self) -> usize {
        self.url
    }

    pub(super) fn command(&self) -> usize {
        self.command
    }

    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    pub(super) fn aws_pair(&self) -> usize {
        self.aws_pair
    }

    pub(super) fn aws_id(&self) -> usize {
        self.aws_id
    }

    /// The detector that a key name announces, with the grade of its values.
    pub(super) fn named(&self, name: &Name) -> Option<(usize, Grade)> {
        let fits = |names: &[&str], grade| match grade {
            Grade::Basic => names.iter().any(|end| name.is(end)),
            _ => names.iter().any(|end| name.ends_with(end)),
        };
        let found = self
            .named
            .iter()
            .find(|(names, grade, _)| fits(names, *grade));
        found.map(|(_, grade, detector)| (*detector, *grade))
    }

    /// The detector whose placeholders are of this kind.
    pub(super) fn detector_of(&self, kind: &[u8]) -> Option<usize> {
        self.detectors
            .iter()
            .position(|entry| entry.kind.as_bytes() == kind)
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Catalog")
            .field("detectors", &self.detectors.len())
            .finish_non_exhaustive()
    }
}

impl Tokens {
    fn new(start: Start, automaton: &'static [u8]) -> Self {
        Self {
            pattern: Pattern::new(automaton),
            owners: proofs(start).map(|(owner, _)| owner).collect(),
        }
    }
}

impl Pattern {
    fn new(automaton: &'static [u8]) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "written by build.rs with the same library, and every test reads it"
        )]
        let (dfa, _) = DFA::from_bytes(automaton).expect("an automaton of build.rs");
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .unwrap_or_default();
        let mut pairs = vec![0_u64; 1 << 10];
        for first in 0..=u8::MAX {
            let state = dfa.next_state(start, first);
            if dfa.is_dead_state(state) {
                continue;
            }
            for second in 0..=u8::MAX {
                let (word, bit) = pair(first, second);
                if !dfa.is_dead_state(dfa.next_state(state, second))
                    && let Some(word) = pairs.get_mut(word)
                {
                    *word |= bit;
                }
            }
        }
        Self { dfa, start, pairs }
    }

    /// Whether a match may start where the text does: not if all of it is ruled out by its first
    /// bytes, as nearly always.
    pub(super) fn may_match(&self, text: &[u8]) -> bool {
        let mut state = self.start;
        for &byte in text {
            state = self.dfa.next_state(state, byte);
            if self.dfa.is_special_state(state) {
                return !self.dfa.is_dead_state(state);
            }
        }
        true
    }

    /// Whether a match can begin with these two bytes.
    pub(super) fn may_begin(&self, first: u8, second: u8) -> bool {
        let (word, bit) = pair(first, second);
        self.pairs.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// Word and bit of a pair of bytes.
fn pair(first: u8, second: u8) -> (usize, u64) {
    (
        usize::from(first) << 2 | usize::from(second >> 6),
        1 << (second & 63),
    )
}

/// Why to look closer at a place, by the three bytes that stand there.
struct Turns {
    /// For each pair of bytes the kind; the first is that without a reason.
    kinds: Box<[u8; 1 << 16]>,
    of_kind: Vec<Turn>,
}

/// What many pairs of bytes have in common.
#[derive(Clone, Default, PartialEq)]
struct Turn {
    reasons: u8,
    /// With which third bytes a token or an anchor goes on: one bit each.
    thirds: [u64; 4],
}

impl Turns {
    /// The kind of pairs for which there is no other kind left.
    const ANY: u8 = 1;

    fn new(words: &Pattern) -> Self {
        let any = Turn {
            reasons: u8::MAX,
            thirds: [u64::MAX; 4],
        };
        let mut of_kind = vec![Turn::default(), any];
        let kind_of = |pair: u16| {
            let [first, second] = pair.to_be_bytes();
            let turn = Turn::new(words, first, second);
            let known = of_kind.iter().position(|known| *known == turn);
            let kind = u8::try_from(known.unwrap_or(of_kind.len()));
            if known.is_none() && kind.is_ok() {
                of_kind.push(turn);
            }
            kind.unwrap_or(Self::ANY)
        };
        let kinds: Vec<u8> = (0..=u16::MAX).map(kind_of).collect();
        #[expect(clippy::expect_used, reason = "one for each number of 16 bits")]
        let kinds = kinds.try_into().expect("as many as pairs");
        Self { kinds, of_kind }
    }

    fn next(&self, bytes: &[u8], from: usize) -> Option<(usize, u8)> {
        let rest = bytes.get(from..)?;
        for (at, pair) in rest.array_windows().enumerate() {
            let kind = self.kinds.get(usize::from(u16::from_be_bytes(*pair)));
            let kind = kind.copied().unwrap_or(0);
            if kind != 0
                && let Some(turn) = self.of_kind.get(usize::from(kind))
            {
                let reasons = turn.reasons(rest.get(at + 2).copied());
                if reasons != 0 {
                    return Some((from + at, reasons));
                }
            }
        }
        None
    }
}

impl Turn {
    fn new(words: &Pattern, first: u8, second: u8) -> Self {
        let starts = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        // a placeholder of ours counts as a token
        let is_ours = [first, second] == *b"MA";
        let token = starts(first) && words.may_begin(first, second) || is_ours;
        let anchor = first.is_ascii_alphabetic() && may_be_anchor(first, second);
        // `-p`, `-u`, `--user`, a port before a colon
        let unnamed = matches!([first, second], [b'-', b'p' | b'u'] | [b'0'..=b'9', b':']);
        let reasons = [
            (token, turn::TOKEN),
            (anchor, turn::ANCHOR),
            (unnamed, turn::UNNAMED),
            ([first, second] == *b"//", turn::URL),
            (is_opening(first) && starts(second), turn::OPENING),
        ];
        let held = reasons.iter().filter(|(holds, _)| *holds);
        let mut turn = Self {
            reasons: held.fold(0, |all, (_, reason)| all | reason),
            thirds: [0; 4],
        };
        if turn.reasons & (turn::TOKEN | turn::ANCHOR) == 0 {
            return turn;
        }
        for third in 0..=u8::MAX {
            let start = [first, second, third];
            let goes_on =
                token && (is_ours || words.may_match(&start)) || anchor && may_be_anchored(start);
            if goes_on && let Some(word) = turn.thirds.get_mut(usize::from(third >> 6)) {
                *word |= 1 << (third & 63);
            }
        }
        turn
    }

    /// The reasons that this third byte leaves; at the end of a text all.
    fn reasons(&self, third: Option<u8>) -> u8 {
        let goes_on = third.is_none_or(|third| {
            let word = self.thirds.get(usize::from(third >> 6));
            word.is_some_and(|word| word >> (third & 63) & 1 != 0)
        });
        if goes_on {
            self.reasons
        } else {
            self.reasons & !(turn::TOKEN | turn::ANCHOR)
        }
    }
}

/// The literal beginning of a pattern.
fn fixed_prefix(proof: &str) -> String {
    let mut prefix = String::new();
    let mut rest = proof.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => prefix.extend(rest.next()),
            '[' | '(' | '{' | '.' | '?' | '*' | '+' | '|' => break,
            _ => prefix.push(character),
        }
    }
    prefix
}
