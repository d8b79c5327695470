//! What masking costs and how much it holds back, as tables for people.
//!
//! ```text
//! cargo bench -p filter-core --bench masking [-- hold] [-- linear] [-- memory] [-- speed]
//! ```
//!
//! Times are processor times of this thread, so that a busy machine disturbs them little.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unchecked_time_subtraction,
    clippy::unwrap_used,
    reason = "a program for people who measure"
)]

mod hold;
mod linear;
mod memory;
mod speed;
mod texts;

use std::{rc::Rc, time::Duration};

use filter_core::mask::{Catalog, Finding, MaskKeys, Masker, TextMask};
use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let parts: [(&str, fn()); 4] = [
        ("hold", hold::run),
        ("speed", speed::run),
        ("memory", memory::run),
        ("linear", linear::run),
    ];
    let named = |name: &str| wanted.iter().any(|word| word == name);
    let all = !parts.iter().any(|(name, _)| named(name));
    for (name, run) in parts {
        if all || named(name) {
            run();
        }
    }
}

/// A masker; its detectors are compiled once.
fn masker() -> Masker {
    thread_local!(static MASKER: Masker = {
        let keys = MaskKeys {
            fingerprint_key_id: "k1".to_owned(),
            fingerprint_key: b"fingerprints".to_vec(),
            placeholder_key: b"placeholders".to_vec(),
        };
        Masker::new(Rc::new(Catalog::new()), &keys, "acme", "mia")
    });
    MASKER.with(Masker::clone)
}

/// Processor time of one call: the shortest of several that take a while together.
fn time(mut run: impl FnMut()) -> Duration {
    let (start, mut best) = (cpu(), Duration::MAX);
    for round in 0..1000 {
        let from = cpu();
        run();
        best = best.min(cpu() - from);
        if round >= 2 && cpu() - start > Duration::from_millis(60) || best.as_secs() > 0 {
            break;
        }
    }
    best
}

fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("no negative time")
}

/// Masks a text in pieces; gives the bytes that leave and the number of findings.
fn in_pieces<'a>(pieces: impl Iterator<Item = &'a str>) -> (usize, usize) {
    let masker = masker();
    let (mut mask, mut out) = (TextMask::new(), String::new());
    let (mut findings, mut left): (Vec<Finding>, _) = (Vec::new(), 0);
    for piece in pieces {
        mask.push(&masker, piece, &mut out, &mut findings);
        left += out.len();
        out.clear();
    }
    mask.finish(&masker, &mut out, &mut findings);
    (left + out.len(), findings.len())
}
