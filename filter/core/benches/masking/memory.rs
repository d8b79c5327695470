//! Bytes of memory: tables of a worker, state of a channel.

use std::rc::Rc;

use filter_core::mask::{Catalog, TextMask};
use filter_core::provider::{Api, Limits, ResponseMask};

use super::{MEMORY, linear, masker};

/// What the build makes of the patterns; it lies in the module.
const AUTOMATA: [&[u8]; 5] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/words")),
    include_bytes!(concat!(env!("OUT_DIR"), "/openings")),
    include_bytes!(concat!(env!("OUT_DIR"), "/pem")),
    include_bytes!(concat!(env!("OUT_DIR"), "/names")),
    include_bytes!(concat!(env!("OUT_DIR"), "/turns")),
];

pub(super) fn run() {
    println!("## Memory, bytes\n");
    println!("| What | Bytes |");
    println!("| --- | ---: |");
    let automata: usize = AUTOMATA.iter().map(|bytes| bytes.len()).sum();
    let before = MEMORY.current_usage();
    let catalog = Catalog::new();
    println!("| tables in the module | {automata} |");
    println!(
        "| tables made by a worker | {} |",
        MEMORY.current_usage() - before
    );
    drop(catalog);
    println!("| a text, fresh | {} |", size_of::<TextMask>());
    let (most, _) = text("let x = compute(a, b); // and nothing waits \n");
    println!("| a text, nothing held | {most} |");
    let mut worst = (0, "");
    let mut held = 0;
    for part in linear::PARTS {
        let (most, most_held) = text(part);
        worst = worst.max((most, part));
        held = held.max(most_held);
    }
    println!("| a text, the most of hostile ones | {} |", worst.0);
    println!("| held of it, the most | {held} |");
    for (name, said) in [
        ("nothing held", "So it is. "),
        ("held", concat!("x ghp", "_jIUnA23PAKkQWF0oNem")),
        (
            "held long",
            "password = \"some words that never seem to come to their end, one by one, ",
        ),
    ] {
        println!("| a channel of a stream, {name} | {} |", channel(said));
    }
    println!();
}

/// The most memory of a text made of this part in small pieces, and the most that it holds.
fn text(part: &str) -> (usize, usize) {
    let masker = masker();
    let text = part.repeat(64 * 1024 / part.len());
    let mut out = String::with_capacity(4 * text.len());
    let mut findings = Vec::with_capacity(text.len());
    let before = MEMORY.current_usage();
    let mut mask = TextMask::new();
    let (mut most, mut held) = (0, 0);
    for character in text.chars() {
        let known = findings.len();
        let mut piece = [0; 4];
        mask.push(
            &masker,
            character.encode_utf8(&mut piece),
            &mut out,
            &mut findings,
        );
        if findings.len() == known {
            most = most.max(MEMORY.current_usage().saturating_sub(before));
        }
        findings.clear();
        held = held.max(mask.held());
    }
    (most + size_of::<TextMask>(), held)
}

/// Memory of one more channel of a stream that has said this.
fn channel(said: &str) -> usize {
    let text = said.replace('"', "\\\"");
    let stream = |tools: usize| -> String {
        let event = |tool| {
            linear::says(&format!(
                "\"tool_calls\":[{{\"index\":{tool},\"function\":{{\"arguments\":\"{text}\"}}}}]"
            ))
        };
        (0..tools).map(event).collect()
    };
    let memory = |tools: usize| {
        let stream = stream(tools);
        let mut out = Vec::with_capacity(2 * stream.len());
        let before = MEMORY.current_usage();
        let limits = Limits {
            max_content: 0,
            ..Limits::default()
        };
        let mut mask = ResponseMask::new(Api::Chat, masker(), &limits, Rc::default());
        for event in stream.split_inclusive("\n\n") {
            mask.push(event.as_bytes(), &mut out)
                .expect("a good stream");
        }
        MEMORY.current_usage() - before
    };
    (memory(61) - memory(1)) / 60
}
