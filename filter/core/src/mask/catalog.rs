//! The table of all detectors, and the automata made from it.
//!
//! The table drives everything: the automata, what is held back, the closed list of placeholders,
//! and the tests.

use std::fmt;

use regex_automata::Anchored;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::DFA;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

use super::detector::{Detector, Grade, Rule, Start};
use super::names::Name;
use super::patterns::{detectors, proofs};
use super::turns::Turns;

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
    jwk: usize,
    kubernetes: usize,
    aws_pair: usize,
    aws_id: usize,
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
                Rule::AwsPair
                | Rule::Command
                | Rule::Fields
                | Rule::Jwk
                | Rule::Kubernetes
                | Rule::Url => {}
            }
            let kind = detector.name.to_ascii_uppercase().replace('-', "_");
            entries.push(Entry {
                detector,
                kind,
                prefix,
            });
        }
        let words = Tokens::new(Start::Word, automaton!("words"));
        let openings = Tokens::new(Start::Opening, automaton!("openings"));
        let find = |fits: fn(&Detector) -> bool| {
            let place = entries.iter().position(|entry| fits(entry.detector));
            place.unwrap_or(usize::MAX)
        };
        Self {
            url: find(|detector| matches!(detector.rule, Rule::Url)),
            command: find(|detector| matches!(detector.rule, Rule::Command)),
            fields: find(|detector| matches!(detector.rule, Rule::Fields)),
            jwk: find(|detector| matches!(detector.rule, Rule::Jwk)),
            kubernetes: find(|detector| matches!(detector.rule, Rule::Kubernetes)),
            aws_pair: find(|detector| matches!(detector.rule, Rule::AwsPair)),
            aws_id: find(|detector| detector.name == "aws-access-key-id"),
            turns: Turns::new(&words.pattern, &openings.pattern),
            words,
            openings,
            pem: Pattern::new(automaton!("pem")),
            named,
            detectors: entries,
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

    /// The next place from this one on to look closer at, and why: bits of [`turn`](super::turns::turn).
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

    pub(super) fn jwk(&self) -> usize {
        self.jwk
    }

    pub(super) fn kubernetes(&self) -> usize {
        self.kubernetes
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
        Self { dfa, start }
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
