use std::rc::Rc;

use proptest::prelude::*;

use super::super::tests::{detectors, masker, text, unmarked};
use super::super::{Finding, Masker, Passes};

fn masked(masker: &Masker, text: &str) -> (Option<String>, Vec<Finding>) {
    let mut findings = Vec::new();
    (masker.mask(text, &mut findings), findings)
}

/// Masks a text by what was found in it before; `None` if that is not kept.
fn again(masker: &Masker, text: &str) -> Option<(Option<String>, Vec<Finding>)> {
    let (masked, findings) = masked(masker, text);
    let known = masker.known(text, &masked?, &findings)?;
    let mut findings = Vec::new();
    Some((known.mask(text, &mut findings), findings))
}

#[test]
fn what_was_found_in_an_example_is_kept() {
    let masker = masker().keeping();
    for detector in detectors() {
        for example in detector.examples {
            let (text, ..) = unmarked(example);
            let again = again(&masker, &text);
            assert!(again == Some(masked(&masker, &text)), "{text}");
        }
    }
}

#[test]
fn nothing_is_kept_of_many_findings_or_by_who_keeps_no_values() {
    let token = concat!("ghp", "_jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk ");
    let keeping = masker().keeping();
    assert!(again(&keeping, &token.repeat(super::MOST)).is_some());
    assert!(again(&keeping, &token.repeat(super::MOST + 1)).is_none());
    assert!(again(&masker(), token).is_none());
}

#[test]
fn what_does_not_fit_a_text_masks_nothing_of_it() {
    let token = concat!("é ghp", "_jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk ");
    let masker = masker().keeping();
    let (made, findings) = masked(&masker, token);
    let known = masker.known(token, &made.unwrap(), &findings).unwrap();
    let mut findings = Vec::new();
    for other in ["", "short", "ééééééééééééééééééééééééééééééééé"]
    {
        assert_eq!(known.mask(other, &mut findings), None);
    }
    assert!(findings.is_empty());
}

proptest! {
    #[test]
    fn a_known_text_is_masked_as_if_it_were_read(text in text(), all in any::<bool>()) {
        let masker = masker().keeping();
        let (_, findings) = masked(&masker, &text);
        let exempt = findings.iter().step_by(2).map(|it| it.fingerprint.clone());
        let detectors = findings.iter().skip(1).step_by(3).map(|it| it.detector);
        let masker = masker.passing(Rc::new(Passes {
            exempt: exempt.collect(),
            detectors: detectors.collect(),
            all,
        }));
        if let Some(known) = again(&masker, &text) {
            prop_assert_eq!(known, masked(&masker, &text));
        }
    }
}
