//! Packs of detectors, which a deployment turns on and off.

use super::detector::{Detector, Rule};
use super::personal::PERSONAL;
use super::structures::STRUCTURES;
use super::vendors::VENDORS;

/// A pack of detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pack {
    /// Vendors' tokens, and what is found by means of one.
    Vendors,
    /// Forms that no vendor owns, and key names that say whose value they announce.
    Structures,
    /// Key names that say no more than that a secret follows.
    Generic,
    /// Numbers of people and their accounts.
    Pii,
}

impl Pack {
    /// All packs.
    pub const ALL: [Self; 4] = [Self::Vendors, Self::Structures, Self::Generic, Self::Pii];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vendors => "vendors",
            Self::Structures => "structures",
            Self::Generic => "generic",
            Self::Pii => "pii",
        }
    }
}

/// Packs that are on; by default all but `pii`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packs(u8);

impl Packs {
    /// Whether a pack is on.
    pub fn has(self, pack: Pack) -> bool {
        self.0 & bit(pack) != 0
    }
}

impl Default for Packs {
    fn default() -> Self {
        [Pack::Vendors, Pack::Structures, Pack::Generic]
            .into_iter()
            .collect()
    }
}

impl FromIterator<Pack> for Packs {
    fn from_iter<I: IntoIterator<Item = Pack>>(packs: I) -> Self {
        Self(packs.into_iter().fold(0, |bits, pack| bits | bit(pack)))
    }
}

fn bit(pack: Pack) -> u8 {
    1 << (pack as u8)
}

/// Detectors of the table of structures whose key names tell nothing else.
const GENERIC: [&str; 6] = [
    "api-key",
    "encryption-key",
    "secret",
    "token",
    "password",
    "wifi-key",
];

/// The table of all detectors, each with its pack.
pub(super) fn detectors() -> impl Iterator<Item = (Pack, &'static Detector)> {
    let structures = STRUCTURES.iter().map(|it| match it.rule {
        // it stands behind a vendor's token and is not found without it
        Rule::AwsPair => (Pack::Vendors, it),
        _ if GENERIC.contains(&it.name) => (Pack::Generic, it),
        _ => (Pack::Structures, it),
    });
    let vendors = VENDORS.iter().map(|it| (Pack::Vendors, it));
    vendors
        .chain(structures)
        .chain(PERSONAL.iter().map(|it| (Pack::Pii, it)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::patterns;

    #[test]
    fn every_detector_has_a_pack_in_the_order_of_the_table() {
        let names = detectors().map(|(_, it)| it.name);
        assert!(names.eq(patterns::detectors().map(|it| it.name)));
        let generic = detectors().filter(|(pack, _)| *pack == Pack::Generic);
        assert_eq!(generic.count(), GENERIC.len());
    }
}
