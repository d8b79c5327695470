//! The detectors of a configuration: those of the gateway, and its own.

use std::{fmt, rc::Rc};

use wildmatch::WildMatch;

use crate::mask::{
    Catalog, Custom, CustomCheck, Customs, MAX_CUSTOM, MaskKeys, Masker, Pack, Packs,
    detector_names, detector_packs,
};

use super::Faults;
use super::raw::{RawCheck, RawCustom, RawMasking, RawPack};

/// Longest example, in bytes.
const MAX_EXAMPLE_BYTES: usize = 4096;
/// Most examples and counter-examples of a detector, each.
const MAX_EXAMPLES: usize = 64;

/// All detectors that a configuration knows.
#[derive(Default)]
pub struct Detectors {
    packs: Packs,
    customs: Option<Rc<Customs>>,
    /// The table with `customs`, with which their examples were tried.
    tried: Option<Rc<Catalog>>,
}

impl fmt::Debug for Detectors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Detectors")
            .field("packs", &self.packs)
            .field("customs", &self.customs)
            .finish_non_exhaustive()
    }
}

impl Detectors {
    /// Reads which packs are on, compiles the detectors of a configuration and tries their examples.
    pub(super) fn of(raw: &RawMasking, faults: &mut Faults) -> Self {
        faults.check(!raw.packs.is_empty(), "masking.packs", "empty");
        for (place, pack) in raw.packs.iter().enumerate() {
            let mut before = raw.packs.iter().take(place);
            let twice = before.any(|before| before == pack);
            let path = format!("masking.packs[{place}]");
            faults.check(!twice, &path, "this pack stands twice");
        }
        let none = Self {
            packs: raw.packs.iter().map(|pack| pack_of(*pack)).collect(),
            ..Self::default()
        };
        let all = &raw.custom;
        let path = |place: usize, key: &str| format!("masking.custom[{place}]{key}");
        faults.check(all.len() <= MAX_CUSTOM, "masking.custom", "more than 64");
        let customs: Vec<Custom<'_>> = all.iter().take(MAX_CUSTOM).map(custom).collect();
        if customs.is_empty() {
            return none;
        }
        let customs = match Customs::compile(&customs) {
            Ok(customs) => Rc::new(customs),
            Err((place, error)) => {
                faults.check(false, &path(place, ""), &error.to_string());
                return none;
            }
        };
        let catalog = Rc::new(Catalog::of(none.packs).with(Rc::clone(&customs)));
        let masker = Masker::new(Rc::clone(&catalog), &MaskKeys::default(), "", "");
        for (place, raw) in all.iter().enumerate() {
            let anchor = raw.anchor.as_deref().unwrap_or_default();
            let begins = customs.begins_with(place, anchor);
            let reason = "the pattern does not begin with these characters";
            faults.check(begins, &path(place, ".anchor"), reason);
            faults.check(!raw.examples.is_empty(), &path(place, ".examples"), "empty");
            for (list, key, wanted) in [
                (&raw.examples, "examples", true),
                (&raw.counter_examples, "counter_examples", false),
            ] {
                let few = list.len() <= MAX_EXAMPLES;
                faults.check(few, &path(place, &format!(".{key}")), "more than 64");
                for (number, text) in list.iter().enumerate().take(MAX_EXAMPLES) {
                    let mut findings = Vec::new();
                    let short = text.len() <= MAX_EXAMPLE_BYTES;
                    if short {
                        masker.mask(text, &mut findings);
                    }
                    let mut found = findings.iter().map(|finding| finding.detector);
                    let reason = match (short, wanted) {
                        (false, _) => "longer than 4 KiB",
                        (true, true) => "the detector finds nothing in it",
                        (true, false) => "the detector finds something in it",
                    };
                    faults.check(
                        short && found.any(|name| name == raw.name) == wanted,
                        &path(place, &format!(".{key}[{number}]")),
                        reason,
                    );
                }
            }
        }
        Self {
            customs: Some(customs),
            tried: Some(catalog),
            ..none
        }
    }

    /// The names of those that find something: of packs that are on, and of the deployment's own.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let customs = self.customs.iter().flat_map(|customs| customs.names());
        let on = detector_packs().filter(|(pack, _)| self.packs.has(*pack));
        on.map(|(_, name)| name).chain(customs)
    }

    /// Whether a glob names detectors, but none of a pack that is on.
    pub(super) fn are_off(&self, glob: &str) -> bool {
        let glob = WildMatch::new(glob);
        let named = |name: &str| glob.matches(name);
        detector_names().any(named) && !self.names().any(named)
    }

    /// Those that globs name.
    pub(super) fn named(&self, globs: &[String]) -> Vec<&'static str> {
        let globs: Vec<WildMatch> = globs.iter().map(|glob| WildMatch::new(glob)).collect();
        let named = |name: &&str| globs.iter().any(|glob| glob.matches(name));
        self.names().filter(named).collect()
    }

    /// The table that finds them.
    pub fn catalog(&self) -> Rc<Catalog> {
        let tried = self.tried.as_ref().map(Rc::clone);
        tried.unwrap_or_else(|| Rc::new(Catalog::of(self.packs)))
    }
}

fn pack_of(raw: RawPack) -> Pack {
    match raw {
        RawPack::Vendors => Pack::Vendors,
        RawPack::Structures => Pack::Structures,
        RawPack::Generic => Pack::Generic,
        RawPack::Pii => Pack::Pii,
    }
}

fn custom(raw: &RawCustom) -> Custom<'_> {
    Custom {
        name: &raw.name,
        pattern: &raw.pattern,
        check: match raw.check {
            RawCheck::None => CustomCheck::None,
            RawCheck::Plain => CustomCheck::Plain,
            RawCheck::Random => CustomCheck::Random,
        },
    }
}
