//! Which patterns go into which automaton.
//!
//! Also read by the build script, which makes the automata: work that no worker does again.

use super::detector::{Detector, Grade, Rule, Start};
use super::personal::PERSONAL;
use super::structures::STRUCTURES;
use super::vendors::VENDORS;

/// The table of all detectors, in order.
pub(super) fn detectors() -> impl Iterator<Item = &'static Detector> {
    VENDORS.iter().chain(&STRUCTURES).chain(&PERSONAL)
}

/// Proofs of tokens with this start, each with its detector's place in the table.
pub(super) fn proofs(wanted: Start) -> impl Iterator<Item = (usize, &'static str)> {
    detectors()
        .enumerate()
        .filter_map(move |(place, detector)| match detector.rule {
            Rule::Token { proof, start, .. } if start == wanted => Some((place, proof)),
            _ => None,
        })
}

/// How numbers of people and accounts may be written, each with its detector's place in the table.
pub(super) fn numbers() -> impl Iterator<Item = (usize, &'static str)> {
    detectors()
        .enumerate()
        .filter_map(|(place, detector)| match detector.rule {
            Rule::Personal { proof, .. } => Some((place, proof)),
            _ => None,
        })
}

/// Ends of key names, each with its detector's place in the table and the grade of its values.
pub(super) fn name_ends() -> impl Iterator<Item = (usize, Grade, &'static str)> {
    detectors().enumerate().flat_map(|(place, detector)| {
        let (names, grade): (&[&str], _) = match detector.rule {
            Rule::Named { names, grade } => (names, grade),
            _ => (&[], Grade::Generated),
        };
        names.iter().map(move |name| (place, grade, *name))
    })
}
