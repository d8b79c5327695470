//! Values that stay as they are: by a rule for their detector, by an exemption of their own, or
//! because all do for now.

use std::collections::HashSet;

/// Why a value stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Somebody vouches for this very value, known by its fingerprint.
    Exempt,
    /// A rule lets all values of its detector pass.
    Rule,
    /// Nothing is in force.
    Observed,
}

/// Which values stay.
#[derive(Clone, Debug, Default)]
pub struct Passes {
    /// Detectors whose values stay.
    pub detectors: HashSet<&'static str>,
    /// Fingerprints of values that stay.
    pub exempt: HashSet<String>,
    /// All values stay.
    pub all: bool,
}

impl Passes {
    /// Whether some value may stay.
    pub(super) fn any(&self) -> bool {
        self.all || !self.detectors.is_empty() || !self.exempt.is_empty()
    }

    /// Why this value stays, if it does.
    pub(super) fn of(&self, detector: &str, fingerprint: &str) -> Option<Passed> {
        if self.exempt.contains(fingerprint) {
            Some(Passed::Exempt)
        } else if self.all {
            Some(Passed::Observed)
        } else {
            self.detectors.contains(detector).then_some(Passed::Rule)
        }
    }
}
