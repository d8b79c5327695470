//! The machine that masks text in pieces: any cut gives the mask of the whole text.
//!
//! Input: two bytes for the cut, then a text as [`fuzz::text`] reads it.

#![no_main]

use fuzz::{head, mask, mask_pieces, masker, pieces, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: { std::hint::black_box(masker()); }, |data: &[u8]| {
    let Some((seed, body)) = head::<2>(data) else {
        return;
    };
    let seed = u16::from_le_bytes(seed);
    let text = text(body);
    let whole = mask(&text);

    let characters = text
        .char_indices()
        .map(|(at, c)| &text[at..at + c.len_utf8()]);
    assert_eq!(mask_pieces(characters), whole, "by character");
    let (left, right) =
        text.split_at(text.floor_char_boundary(usize::from(seed) % (text.len() + 1)));
    assert_eq!(mask_pieces([left, right].into_iter()), whole, "in two");
    let mut at = 0;
    let cut = pieces(text.as_bytes(), seed).into_iter().map(|piece| {
        let (from, to) = (at, at + piece.len());
        at = to;
        &text[text.floor_char_boundary(from)..text.floor_char_boundary(to)]
    });
    assert_eq!(mask_pieces(cut), whole, "in many");

    let (out, findings) = whole;
    let (mut rest, mut at) = (out.as_str(), 0);
    for finding in &findings {
        let start = usize::try_from(finding.offset).unwrap();
        assert!(start >= at && finding.length > 0, "findings overlap");
        rest = rest
            .strip_prefix(&text[at..start])
            .expect("text before a finding stays");
        let kind = finding.detector.to_ascii_uppercase().replace('-', "_");
        rest = rest
            .strip_prefix(&format!("MASKED_{kind}_"))
            .expect("a placeholder");
        rest = &rest[16..];
        at = start + usize::try_from(finding.length).unwrap();
    }
    assert_eq!(rest, &text[at..], "text behind the last finding stays");
    assert_eq!(mask(&out), (out, Vec::new()), "masked twice");
});
