//! What must come out the same natively and as wasm: fixed inputs with fixed results.
//!
//! `make test-wasm` runs these in V8. There numbers have 32 bits, and vector instructions and
//! alignment differ; everything else in the core is tested natively.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "test code"
)]

mod agreed;
mod messages;
mod table;

use std::rc::Rc;

use filter_core::mask::{Catalog, Finding, MaskKeys, Masker, Pack, TextMask};

/// Fewer than there are; more mean that some are not run.
const LEAST: usize = 450;

/// Runs all vectors and counts them; panics at the first that differs.
fn run_all() -> usize {
    table::run() + agreed::run() + messages::run()
}

#[test]
fn all_vectors_hold() {
    let count = run_all();
    assert!(count >= LEAST, "{count} vectors");
}

// On any other target the attribute compiles too, and then nothing is run.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
#[wasm_bindgen_test::wasm_bindgen_test]
fn all_vectors_hold_in_wasm() {
    let count = run_all();
    wasm_bindgen_test::console_log!("{count} vectors");
    assert!(count >= LEAST, "{count} vectors");
}

/// The masker whose placeholders and fingerprints stand in `vectors/mask.txt`.
fn masker() -> Masker {
    thread_local!(static MASKER: Masker = {
        let keys = MaskKeys {
            fingerprint_key_id: "k1".to_owned(),
            fingerprint_key: b"fingerprints".to_vec(),
            placeholder_key: b"placeholders".to_vec(),
        };
        let catalog = Catalog::of(Pack::ALL.into_iter().collect());
        Masker::new(Rc::new(catalog), &keys, "acme", "mia")
    });
    MASKER.with(Masker::clone)
}

/// Masks a text that arrives in pieces.
fn in_pieces<'a>(pieces: impl Iterator<Item = &'a str>) -> (String, Vec<Finding>) {
    let masker = masker();
    let (mut mask, mut out, mut findings) = (TextMask::new(), String::new(), Vec::new());
    for piece in pieces {
        mask.push(&masker, piece, &mut out, &mut findings);
    }
    mask.finish(&masker, &mut out, &mut findings);
    (out, findings)
}
