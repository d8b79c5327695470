//! Detectors of the deployment's own: patterns from the configuration.
//!
//! A pattern begins with fixed characters, is of ASCII and of bounded length, and looks at nothing
//! around it. So it becomes one more automaton beside those of the build: read once, held no longer
//! than its value, and never slower for what a caller sends.

use std::cell::RefCell;
use std::fmt;

use regex_automata::MatchKind;
use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_syntax::hir::{Hir, HirKind};

use super::catalog::{Entry, Pattern, Tokens};
use super::detector::{Check, Rule, Start, Tail};
use super::patterns::detectors;

/// Most detectors of a deployment.
pub const MAX_CUSTOM: usize = 64;
/// Longest pattern as it is written, in bytes.
const MAX_PATTERN_BYTES: usize = 512;
/// Longest value, in bytes.
const MAX_VALUE_BYTES: usize = 256;
/// Shortest value, in bytes.
const MIN_VALUE_BYTES: usize = 8;
/// Least fixed characters at the beginning.
const MIN_ANCHOR_BYTES: usize = 3;
/// Most bytes of the automaton of all patterns.
const MAX_AUTOMATON_BYTES: usize = 2 << 20;
/// Different names of detectors that a worker may see in its life.
const MAX_NAMES: usize = 1024;

/// What a value must look like besides its pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CustomCheck {
    /// Nothing else.
    None,
    /// No placeholder, and not made of words.
    #[default]
    Plain,
    /// The same, with letters and digits mixed.
    Random,
}

/// A detector as the configuration has it.
#[derive(Clone, Copy, Debug)]
pub struct Custom<'c> {
    /// Its name.
    pub name: &'c str,
    /// Its pattern.
    pub pattern: &'c str,
    /// What else must hold.
    pub check: CustomCheck,
}

/// Why a detector cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustomError {
    /// The name has other characters, or is too long.
    #[error("not a name of 3 to 40 of a-z, 0-9, - and _ that begins with a letter")]
    Name,
    /// A detector of the gateway, or another one, has it.
    #[error("another detector has this name")]
    NameTaken,
    /// There were too many names.
    #[error("too many different names; start the gateway anew")]
    TooManyNames,
    /// The pattern is not a regular expression over ASCII.
    #[error("not a regular expression over ASCII")]
    Pattern,
    /// It asks for what stands around the value.
    #[error("looks at what stands around the value: leave ^, $ and \\b out")]
    Around,
    /// A value may be short or long without bound.
    #[error("a value must have 8 to 256 characters: bound each repetition")]
    Length,
    /// It may begin with anything.
    #[error("does not begin with at least 3 fixed characters")]
    Anchor,
    /// All patterns together need too much memory.
    #[error("the patterns are too large together: shorten their repetitions")]
    TooLarge,
}

/// All detectors of a deployment, compiled.
pub struct Customs {
    tokens: Tokens<dense::DFA<Vec<u32>>>,
    entries: Vec<Entry>,
}

impl Customs {
    /// Compiles detectors.
    ///
    /// # Errors
    ///
    /// The place of the first detector that cannot be taken, and why.
    pub fn compile(all: &[Custom<'_>]) -> Result<Self, (usize, CustomError)> {
        let first = detectors().count();
        let mut entries: Vec<Entry> = Vec::new();
        for (place, custom) in all.iter().enumerate() {
            let entry = entry(custom, &entries).map_err(|error| (place, error))?;
            entries.push(entry);
        }
        let patterns: Vec<&str> = all.iter().map(|custom| custom.pattern).collect();
        let dfa = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .match_kind(MatchKind::All)
                    .accelerate(false)
                    .start_kind(StartKind::Anchored)
                    .dfa_size_limit(Some(MAX_AUTOMATON_BYTES))
                    .determinize_size_limit(Some(2 * MAX_AUTOMATON_BYTES)),
            )
            .syntax(ascii())
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_AUTOMATON_BYTES)))
            .build_many(&patterns)
            .map_err(|_| (all.len().saturating_sub(1), CustomError::TooLarge))?;
        Ok(Self {
            tokens: Tokens {
                pattern: Pattern::of(dfa),
                owners: (first..first + all.len()).collect(),
            },
            entries,
        })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.name)
    }

    /// Whether the pattern of the detector at a place begins with these characters.
    pub fn begins_with(&self, place: usize, anchor: &str) -> bool {
        let entry = self.entries.get(place);
        entry.is_some_and(|entry| entry.prefix.starts_with(anchor))
    }

    pub(super) fn tokens(&self) -> &Tokens<dense::DFA<Vec<u32>>> {
        &self.tokens
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl fmt::Debug for Customs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.names()).finish()
    }
}

fn ascii() -> syntax::Config {
    syntax::Config::new().unicode(false)
}

fn entry(custom: &Custom<'_>, known: &[Entry]) -> Result<Entry, CustomError> {
    let name = name(custom.name)?;
    let kind = Entry::kind_of(name);
    let is_taken = |taken: &str| Entry::kind_of(taken) == kind;
    let mut names = detectors().map(|detector| detector.name);
    if names.any(is_taken) || known.iter().any(|entry| entry.kind == kind) {
        return Err(CustomError::NameTaken);
    }
    if custom.pattern.len() > MAX_PATTERN_BYTES {
        return Err(CustomError::Pattern);
    }
    let pattern = syntax::parse_with(custom.pattern, &ascii()).map_err(|_| CustomError::Pattern)?;
    let facts = pattern.properties();
    if !facts.look_set().is_empty() {
        return Err(CustomError::Around);
    }
    let length = facts.minimum_len().zip(facts.maximum_len());
    let fits = |(least, most)| least >= MIN_VALUE_BYTES && most <= MAX_VALUE_BYTES;
    if !length.is_some_and(fits) {
        return Err(CustomError::Length);
    }
    let prefix = beginning(&pattern);
    if prefix.len() < MIN_ANCHOR_BYTES || !prefix.is_ascii() {
        return Err(CustomError::Anchor);
    }
    let rule = Rule::Token {
        proof: "",
        start: Start::Word,
        tail: Tail::Exact,
        check: match custom.check {
            CustomCheck::None => Check::Pattern,
            CustomCheck::Plain => Check::Plain,
            CustomCheck::Random => Check::Random,
        },
    };
    Ok(Entry {
        name,
        rule,
        kind,
        prefix,
        is_on: true,
    })
}

/// The fixed characters that a pattern begins with.
fn beginning(pattern: &Hir) -> String {
    match pattern.kind() {
        HirKind::Literal(literal) => String::from_utf8_lossy(&literal.0).into_owned(),
        HirKind::Capture(capture) => beginning(&capture.sub),
        HirKind::Concat(parts) => parts.first().map(beginning).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Whether a detector may have this name.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    (3..=40).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(fits)
}

/// A name that lives as long as the worker: findings carry it without a copy. A worker sees few.
fn name(name: &str) -> Result<&'static str, CustomError> {
    thread_local!(static NAMES: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) });
    if !is_name(name) {
        return Err(CustomError::Name);
    }
    NAMES.with_borrow_mut(|names| {
        if let Some(known) = names.iter().find(|known| **known == name) {
            return Ok(*known);
        }
        if names.len() >= MAX_NAMES {
            return Err(CustomError::TooManyNames);
        }
        let new: &'static str = Box::leak(name.to_owned().into_boxed_str());
        names.push(new);
        Ok(new)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(name: &str, pattern: &str) -> Result<Customs, (usize, CustomError)> {
        let check = CustomCheck::Plain;
        Customs::compile(&[Custom {
            name,
            pattern,
            check,
        }])
    }

    #[test]
    fn what_cannot_be_taken_is_told_with_its_reason() {
        let cases = [
            ("Acme", "acme_[a-z0-9]{32}", CustomError::Name),
            ("a", "acme_[a-z0-9]{32}", CustomError::Name),
            ("github-pat", "acme_[a-z0-9]{32}", CustomError::NameTaken),
            ("github_pat", "acme_[a-z0-9]{32}", CustomError::NameTaken),
            ("acme-key", "acme_[a-z0-9]{32", CustomError::Pattern),
            ("acme-key", "acme_.{32}", CustomError::Pattern),
            ("acme-key", r"acme_\pL{32}", CustomError::Pattern),
            ("acme-key", r"(acme)_\1\1\1", CustomError::Pattern),
            ("acme-key", r"\bacme_[a-z0-9]{32}", CustomError::Around),
            ("acme-key", "^acme_[a-z0-9]{32}", CustomError::Around),
            ("acme-key", "acme_[a-z0-9]+", CustomError::Length),
            ("acme-key", "acme_[a-z0-9]{2}", CustomError::Length),
            ("acme-key", "acme_[a-z0-9]{300}", CustomError::Length),
            ("acme-key", "[a-z]{4}_[a-z0-9]{32}", CustomError::Anchor),
            ("acme-key", "ac[me]_[a-z0-9]{32}", CustomError::Anchor),
            ("acme-key", "(?i)acme_[a-z0-9]{32}", CustomError::Anchor),
            (
                "acme-key",
                "acme_(?:[a-z]{0,50}x){1,4}[a-z]{3,40}",
                CustomError::TooLarge,
            ),
        ];
        for (name, pattern, error) in cases {
            assert_eq!(compiled(name, pattern).err(), Some((0, error)), "{pattern}");
        }
    }

    #[test]
    fn two_detectors_have_two_names() {
        let custom = |name| Custom {
            name,
            pattern: "acme_[a-z0-9]{32}",
            check: CustomCheck::None,
        };
        let twice = Customs::compile(&[custom("acme-key"), custom("acme_key")]);
        assert_eq!(twice.err(), Some((1, CustomError::NameTaken)));
        let both = Customs::compile(&[custom("acme-key"), custom("acme-token")]).ok();
        let names = both.map(|both| both.names().collect::<Vec<_>>());
        assert_eq!(names, Some(vec!["acme-key", "acme-token"]));
    }
}
