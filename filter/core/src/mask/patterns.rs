//! Which patterns go into which automaton.
//!
//! Also read by `build.rs`, which makes the automata: 0.2 s of work that no worker does again.

use super::detector::{Detector, Rule, Start};
use super::structures::STRUCTURES;
use super::vendors::VENDORS;

/// The table of all detectors, in order.
pub(super) fn detectors() -> impl Iterator<Item = &'static Detector> {
    VENDORS.iter().chain(&STRUCTURES)
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
