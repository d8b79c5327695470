//! Under which fingerprints records hold a secret, for who has the secret and the keys.
//!
//! A fingerprint is made of the detector's name and the value's canonical form. Which detectors a
//! value meets depends on what stands around it and on the packs that are on. So the machine itself
//! reads the value: alone, and in the place of the value in every example of the table.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::canonical::canonical;
use super::catalog::Catalog;
use super::custom;
use super::detector::{Rule, Tail};
use super::packs::{Pack, Packs};
use super::patterns::detectors;
use super::placeholder::{MaskKeys, Sealer};
use super::{Finding, Masker};

/// What a secret may be recorded as.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recorded {
    /// Name of the detector that finds it.
    pub detector: String,
    /// As in [`Finding::fingerprint`].
    pub fingerprint: String,
}

/// All fingerprints of a value: those of each key, as whatever it is found. With a `detector` also as
/// that one, be it of the table or of a deployment's own, found or not.
pub fn recorded_as(value: &str, detector: Option<&str>, keys: &[MaskKeys]) -> Vec<Recorded> {
    let texts = texts(value);
    let mut all = BTreeSet::new();
    for packs in packs() {
        let catalog = Rc::new(Catalog::of(packs));
        for keys in keys {
            let masker = Masker::new(Rc::clone(&catalog), keys, "", "");
            for text in &texts {
                text.read(&masker, &mut all);
            }
        }
    }
    if let Some(detector) = detector {
        let sealed = keys.iter().filter_map(|keys| sealed(value, detector, keys));
        all.extend(sealed);
    }
    all.into_iter().collect()
}

/// Whether a detector may have this name.
pub fn is_detector_name(name: &str) -> bool {
    custom::is_name(name)
}

/// Sets of packs, in which different detectors meet a value: what one takes another never sees.
fn packs() -> impl Iterator<Item = Packs> {
    let single = Pack::ALL
        .into_iter()
        .map(|pack| [pack].into_iter().collect());
    [Pack::ALL.into_iter().collect(), Packs::default()]
        .into_iter()
        .chain(single)
}

/// A text with the value in it.
struct Text {
    whole: String,
    /// Where the value begins, if other words stand around it.
    start: Option<usize>,
    /// The least length of a finding that is the value and not another's beginning.
    length: usize,
}

impl Text {
    fn within(before: &str, value: &str, after: &str) -> Self {
        Self {
            whole: format!("{before}{value}{after}"),
            start: Some(before.len()),
            length: value.trim_end_matches(['.', ':', ' ']).len(),
        }
    }

    fn read(&self, masker: &Masker, all: &mut BTreeSet<Recorded>) {
        let mut findings = Vec::new();
        masker.mask(&self.whole, &mut findings);
        let found = findings
            .into_iter()
            .filter(|finding| self.is_value(finding));
        all.extend(found.map(|finding| Recorded {
            detector: finding.detector.to_owned(),
            fingerprint: finding.fingerprint,
        }));
    }

    fn is_value(&self, finding: &Finding) -> bool {
        let of = |place: usize| u64::try_from(place).unwrap_or(u64::MAX);
        self.start
            .is_none_or(|start| finding.offset == of(start) && finding.length >= of(self.length))
    }
}

fn texts(value: &str) -> Vec<Text> {
    let mut texts = vec![Text {
        whole: value.to_owned(),
        start: None,
        length: 0,
    }];
    if value.is_empty() || value.len() > MAX_NAMED_BYTES {
        return texts;
    }
    let encoded = percent_encoded(value);
    for detector in detectors() {
        for example in detector.examples {
            let Some((before, rest)) = example.split_once('«') else {
                continue;
            };
            let after = rest.split_once('»').map_or("", |(_, after)| after);
            texts.push(Text::within(before, value, after));
            if matches!(detector.rule, Rule::Url) && encoded != value {
                texts.push(Text::within(before, &encoded, after));
            }
        }
        if let Rule::Named { names, .. } = detector.rule {
            let name = names.first().copied().unwrap_or_default();
            texts.push(Text::within(&format!("{name} = \""), value, "\"\n"));
            texts.push(Text::within(&format!("{name}="), value, "\n"));
        }
    }
    texts
}

/// The fingerprint that a value has as this, whether or not it would be found; nothing of what only
/// the machine can read.
fn sealed(value: &str, detector: &str, keys: &MaskKeys) -> Option<Recorded> {
    let of_table = detectors().find(|it| it.name == detector);
    let canonical = match of_table.map(|it| it.rule) {
        Some(
            Rule::Encoded(_)
            | Rule::Token {
                tail: Tail::Pem, ..
            },
        ) => return None,
        Some(rule) => canonical(&rule, Tail::Exact, value),
        None => value.as_bytes().into(),
    };
    let sealer = Sealer::new(keys, "", "");
    let mut seal = sealer.begin(detector);
    seal.update_canonical(&canonical);
    let (_, fingerprint) = sealer.end(seal, "");
    Some(Recorded {
        detector: detector.to_owned(),
        fingerprint,
    })
}

/// A value as a URL carries it.
fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
        }
    }
    encoded
}

/// Longest value that is tried behind names: what follows a name is shorter.
const MAX_NAMED_BYTES: usize = 4096;
