//! Every example and counter-example of the table of detectors, whole and cut.
//!
//! `vectors/mask.txt` has a line for each example, in order: its placeholder and its fingerprint.
//! Whoever adds an example finds its line in the failure of this test.

use filter_core::mask::Finding;

use super::{in_pieces, masker};

#[path = "../../src/mask/bytes.rs"]
#[allow(dead_code, reason = "one class counts here")]
mod bytes;
#[path = "../../src/mask/detector.rs"]
#[allow(dead_code, reason = "names and examples count here")]
mod detector;
#[path = "../../src/mask/patterns.rs"]
#[allow(dead_code, reason = "the table counts here")]
mod patterns;
#[path = "../../src/mask/personal.rs"]
mod personal;
#[path = "../../src/mask/structures.rs"]
mod structures;
#[path = "../../src/mask/vendors.rs"]
mod vendors;

const EXPECTED: &str = include_str!("../../vectors/mask.txt");

/// Runs all examples; gives their number.
pub(super) fn run() -> usize {
    let mut expected = EXPECTED.lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    let mut wrong = Vec::new();
    for detector in patterns::detectors() {
        for example in detector.examples {
            let (text, start, end) = unmarked(example);
            let (out, findings) = in_pieces([text.as_str()].into_iter());
            let placeholder = placeholder(detector.name, &out[start..]);
            let fingerprint = findings.first().map(|found| &found.fingerprint);
            let fingerprint = fingerprint.map_or("", String::as_str);
            let line = format!("{placeholder} {fingerprint}");
            if expected.next() != Some(line.as_str()) {
                wrong.push(line);
                continue;
            }
            let masked = format!("{}{placeholder}{}", &text[..start], &text[end..]);
            let found = findings.iter();
            let found = found.map(|it| (it.detector, it.offset, it.offset + it.length));
            let expected = (detector.name, start as u64, end as u64);
            assert!(found.eq([expected]), "{text}");
            check(&text, &masked, &findings);
            count += 1;
        }
        for example in detector.counter_examples {
            let text = format!("{example}\n");
            check(&text, &text, &[]);
            count += 1;
        }
    }
    let wrong = wrong.join("\n");
    assert!(wrong.is_empty(), "not in vectors/mask.txt here:\n{wrong}");
    assert_eq!(expected.next(), None, "more lines than examples");
    count
}

/// The placeholder that a text begins with.
fn placeholder<'a>(name: &str, text: &'a str) -> &'a str {
    text.get(.."MASKED_".len() + name.len() + "_".len() + 16)
        .unwrap_or_default()
}

/// Masks a text whole, in single characters, in pieces and in every cut in two.
fn check(text: &str, masked: &str, findings: &[Finding]) {
    let same = |(out, found): (String, Vec<Finding>), cut: &str| {
        assert_eq!(out, masked, "{cut}");
        assert_eq!(found, findings, "{cut}: {text}");
    };
    let mut found = Vec::new();
    let whole = masker().mask(text, &mut found);
    assert_eq!(whole.is_some(), !findings.is_empty(), "{text}");
    same((whole.unwrap_or_else(|| text.to_owned()), found), "whole");
    let characters: Vec<&str> = text
        .char_indices()
        .map(|(at, character)| &text[at..at + character.len_utf8()])
        .collect();
    for length in [1, 2, 3, 7, 19, 60] {
        let pieces: Vec<String> = characters.chunks(length).map(<[&str]>::concat).collect();
        let pieces = pieces.iter().map(String::as_str);
        same(in_pieces(pieces), &format!("pieces of {length}"));
    }
    for (at, _) in text.char_indices() {
        let (left, right) = text.split_at(at);
        same(
            in_pieces([left, right].into_iter()),
            &format!("cut at {at}"),
        );
    }
}

/// An example without its marks, and where its value is.
fn unmarked(example: &str) -> (String, usize, usize) {
    match example.split_once('«') {
        None => (format!("x {example} y"), 2, 2 + example.len()),
        Some((before, rest)) => {
            let (value, after) = rest.split_once('»').unwrap();
            let start = before.len();
            (
                format!("{before}{value}{after}"),
                start,
                start + value.len(),
            )
        }
    }
}
