//! The table of all detectors, and the automata made from it.
//!
//! The table drives everything: the automata, what is held back, the closed list of placeholders,
//! and the tests.

use std::fmt;
use std::rc::Rc;

use regex_automata::Anchored;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::DFA;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

use super::Confidence;
use super::custom::Customs;
use super::detector::{Detector, Encoding, Grade, Rule, Start};
use super::names::Name;
use super::packs::{self, Pack, Packs};
use super::patterns::{name_ends, numbers, proofs};
use super::turns::{Places, Turns};

/// The compiled detectors; made once per worker, from automata that the build script has made.
pub struct Catalog {
    words: Tokens,
    openings: Tokens,
    pem: Pattern,
    encoded: Pattern,
    /// Where the machine looks closer.
    turns: Turns,
    /// Ends of key names, read from the last letter on.
    name_ends: Pattern,
    /// Detector and grade of each end, in the order of the table.
    named: Vec<(usize, Grade, &'static str)>,
    /// In the order of the table.
    detectors: Vec<Entry>,
    /// Detectors that are not in an automaton, if they are on.
    url: Option<usize>,
    command: Option<usize>,
    fields: Option<usize>,
    jwk: Option<usize>,
    kubernetes: Option<usize>,
    base64: Option<usize>,
    hex: Option<usize>,
    percent: Option<usize>,
    aws_pair: Option<usize>,
    aws_id: Option<usize>,
    /// Numbers of people and accounts, if they are looked for.
    personal: Option<Tokens>,
    /// Those of the deployment's own.
    customs: Option<Rc<Customs>>,
}

/// A detector and what is derived from it.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    /// The name as placeholders carry it.
    pub(super) kind: String,
    /// The fixed beginning of a token.
    pub(super) prefix: String,
    /// Whether it finds anything: its pack is on.
    pub(super) is_on: bool,
}

impl Entry {
    fn of(detector: &Detector, is_on: bool) -> Self {
        let mut prefix = String::new();
        if let Rule::Token { proof, .. } = detector.rule {
            prefix = fixed_prefix(proof);
        }
        Self {
            name: detector.name,
            rule: detector.rule,
            kind: Self::kind_of(detector.name),
            prefix,
            is_on,
        }
    }

    /// A detector's name as placeholders carry it.
    pub(super) fn kind_of(name: &str) -> String {
        name.to_ascii_uppercase().replace('-', "_")
    }

    /// How sure it is that what was found is a secret; `strict` tells of weak evidence.
    pub(super) fn confidence(&self, strict: bool, checksum: Option<bool>) -> Confidence {
        match self.rule {
            _ if checksum == Some(true) => Confidence::Certain,
            Rule::AwsPair | Rule::Encoded(_) | Rule::Token { .. } | Rule::Url => Confidence::High,
            _ if strict => Confidence::Low,
            Rule::Command
            | Rule::Fields
            | Rule::Jwk
            | Rule::Kubernetes
            | Rule::Named { .. }
            | Rule::Personal { .. } => Confidence::Medium,
        }
    }
}

/// Several proofs in one automaton.
pub(super) struct Tokens<D = Built> {
    pub(super) pattern: Pattern<D>,
    /// Detector of each pattern.
    pub(super) owners: Vec<usize>,
}

/// An automaton that the build script has made.
pub(super) type Built = DFA<&'static [u32]>;

/// An automaton and the state it starts in.
pub(super) struct Pattern<D = Built> {
    pub(super) dfa: D,
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

/// An automaton that the build script has made, where its numbers must stand.
macro_rules! automaton {
    ($name:literal) => {{
        static BYTES: &Aligned<[u8]> =
            &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name)));
        &BYTES.0
    }};
}

/// At a place where 32-bit numbers may stand.
#[repr(C, align(4))]
struct Aligned<T: ?Sized>(T);

impl Catalog {
    /// Reads the built-in detectors; the packs of the default are on.
    pub fn new() -> Self {
        Self::of(Packs::default())
    }

    /// Reads the built-in detectors; those of other packs find nothing.
    pub fn of(packs: Packs) -> Self {
        let words = Tokens::new(proofs(Start::Word), automaton!("words"));
        let openings = Tokens::new(proofs(Start::Opening), automaton!("openings"));
        let find = |fits: fn(&Detector) -> bool| {
            packs::detectors().position(|(pack, detector)| packs.has(pack) && fits(detector))
        };
        let is_personal = packs.has(Pack::Pii);
        let turns = if is_personal {
            automaton!("turns-personal")
        } else {
            automaton!("turns")
        };
        Self {
            url: find(|detector| matches!(detector.rule, Rule::Url)),
            command: find(|detector| matches!(detector.rule, Rule::Command)),
            fields: find(|detector| matches!(detector.rule, Rule::Fields)),
            jwk: find(|detector| matches!(detector.rule, Rule::Jwk)),
            kubernetes: find(|detector| matches!(detector.rule, Rule::Kubernetes)),
            base64: find(|detector| matches!(detector.rule, Rule::Encoded(Encoding::Base64))),
            hex: find(|detector| matches!(detector.rule, Rule::Encoded(Encoding::Hex))),
            percent: find(|detector| matches!(detector.rule, Rule::Encoded(Encoding::Percent))),
            aws_pair: find(|detector| matches!(detector.rule, Rule::AwsPair)),
            aws_id: find(|detector| detector.name == "aws-access-key-id"),
            turns: Turns::new(turns),
            personal: is_personal.then(|| Tokens::new(numbers(), automaton!("personal"))),
            words,
            openings,
            pem: Pattern::new(automaton!("pem")),
            encoded: Pattern::new(automaton!("encoded")),
            name_ends: Pattern::new(automaton!("names")),
            named: name_ends().collect(),
            detectors: packs::detectors()
                .map(|(pack, detector)| Entry::of(detector, packs.has(pack)))
                .collect(),
            customs: None,
        }
    }

    /// The same, with detectors of the deployment's own.
    #[must_use]
    pub fn with(mut self, customs: Rc<Customs>) -> Self {
        for entry in customs.entries() {
            self.turns.add(entry.prefix.as_bytes());
            self.detectors.push(entry.clone());
        }
        self.customs = Some(customs);
        self
    }

    /// A detector that is on.
    pub(super) fn entry(&self, at: usize) -> Option<&Entry> {
        self.detectors.get(at).filter(|entry| entry.is_on)
    }

    pub(super) fn tokens(&self, start: Start) -> &Tokens {
        match start {
            Start::Word => &self.words,
            Start::Opening => &self.openings,
        }
    }

    /// The places from this one on to look closer at, and why: bits of [`turn`](super::turns::turn).
    pub(super) fn turns<'a>(&'a self, bytes: &'a [u8], from: usize) -> Places<'a> {
        self.turns.of(bytes, from)
    }

    /// What may begin at a place where a word may.
    pub(super) fn begins(&self, bytes: &[u8], at: usize) -> u16 {
        self.turns.begins(bytes, at)
    }

    /// Whether a token may begin where the text does.
    pub(super) fn may_begin(&self, text: &[u8]) -> bool {
        let custom = |customs: &Customs| customs.tokens().pattern.may_match(text);
        let number = |personal: &Tokens| personal.pattern.may_match(text);
        self.words.pattern.may_match(text)
            || self.customs().is_some_and(custom)
            || self.personal().is_some_and(number)
    }

    /// Numbers of people and accounts, if they are looked for.
    pub(super) fn personal(&self) -> Option<&Tokens> {
        self.personal.as_ref()
    }

    /// Tokens of the deployment's own.
    pub(super) fn customs(&self) -> Option<&Customs> {
        self.customs.as_deref()
    }

    pub(super) fn pem(&self) -> &Pattern {
        &self.pem
    }

    /// What begins like a text in base64 or hex; numbers of patterns as those of [`Encoding`]'s
    /// first ones.
    pub(super) fn encoded(&self) -> &Pattern {
        &self.encoded
    }

    /// The detector of values that are hidden so.
    pub(super) fn encoded_by(&self, encoding: Encoding) -> Option<usize> {
        match encoding {
            Encoding::Base64 => self.base64,
            Encoding::Hex => self.hex,
            Encoding::Percent => self.percent,
        }
    }

    pub(super) fn url(&self) -> Option<usize> {
        self.url
    }

    pub(super) fn command(&self) -> Option<usize> {
        self.command
    }

    pub(super) fn fields(&self) -> Option<usize> {
        self.fields
    }

    pub(super) fn jwk(&self) -> Option<usize> {
        self.jwk
    }

    pub(super) fn kubernetes(&self) -> Option<usize> {
        self.kubernetes
    }

    pub(super) fn aws_pair(&self) -> Option<usize> {
        self.aws_pair
    }

    pub(super) fn aws_id(&self) -> Option<usize> {
        self.aws_id
    }

    /// The detector that a key name announces, with the grade of its values.
    pub(super) fn named(&self, name: &Name) -> Option<(usize, Grade)> {
        let mut first = usize::MAX;
        let letters = name.text().iter().rev().copied();
        self.name_ends.matches(letters, |length, end| {
            let is_on = |detector| self.entry(detector).is_some();
            let fits = match self.named.get(end) {
                Some((detector, ..)) if !is_on(*detector) => false,
                Some((_, Grade::Basic, _)) => length == name.text().len(),
                Some((.., end)) => name.may_end_with(end),
                None => false,
            };
            if fits {
                first = first.min(end);
            }
        });
        let (detector, grade, _) = self.named.get(first)?;
        (!name.is_denied()).then_some((*detector, *grade))
    }

    /// The detector of passwords, with the grade of its values.
    pub(super) fn password(&self) -> Option<(usize, Grade)> {
        Name::read("password").and_then(|name| self.named(&name))
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
    fn new(proofs: impl Iterator<Item = (usize, &'static str)>, automaton: &'static [u8]) -> Self {
        Self {
            pattern: Pattern::new(automaton),
            owners: proofs.map(|(owner, _)| owner).collect(),
        }
    }
}

impl Pattern {
    fn new(automaton: &'static [u8]) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "written by the build script with the same library, and every test reads it"
        )]
        let (dfa, _) = DFA::from_bytes(automaton).expect("an automaton of the build script");
        Self::of(dfa)
    }
}

impl<D: Automaton> Pattern<D> {
    pub(super) fn of(dfa: D) -> Self {
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .unwrap_or_default();
        Self { dfa, start }
    }

    /// Tells the length and the pattern of each match that starts where the text does.
    fn matches(&self, text: impl Iterator<Item = u8>, mut found: impl FnMut(usize, usize)) {
        let mut state = self.start;
        let mut tell = |state, length| {
            for number in 0..self.dfa.match_len(state) {
                found(length, self.dfa.match_pattern(state, number).as_usize());
            }
        };
        let mut length = 0;
        for byte in text {
            state = self.dfa.next_state(state, byte);
            if self.dfa.is_special_state(state) {
                if !self.dfa.is_match_state(state) {
                    return;
                }
                tell(state, length); // a match shows one byte late
            }
            length += 1;
        }
        state = self.dfa.next_eoi_state(state);
        if self.dfa.is_match_state(state) {
            tell(state, length);
        }
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
