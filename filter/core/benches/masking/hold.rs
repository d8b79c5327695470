//! How many bytes wait after each piece of 1 to 10 characters.

use filter_core::mask::TextMask;

use super::{masker, texts};

pub(super) fn run() {
    println!("## Held after each piece of 1 to 10 characters, bytes\n");
    println!("| Text | KB | Findings | Mean | Median | 99 % | 99.9 % | Most | Nothing held |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    row("code", &texts::code());
    row("prose", &texts::prose());
    row("code with secrets", &texts::code_with_secrets());
    println!();
}

fn row(name: &str, text: &str) {
    let masker = masker();
    let (mut mask, mut out, mut findings) = (TextMask::new(), String::new(), Vec::new());
    let mut held = Vec::new();
    for piece in texts::pieces(text) {
        mask.push(&masker, piece, &mut out, &mut findings);
        held.push(mask.held());
    }
    held.sort_unstable();
    let part = |of_thousand: usize| held[(held.len() - 1) * of_thousand / 1000];
    println!(
        "| {name} | {} | {} | {:.1} | {} | {} | {} | {} | {:.0} % |",
        text.len() / 1000,
        findings.len(),
        held.iter().sum::<usize>() as f64 / held.len() as f64,
        part(500),
        part(990),
        part(999),
        part(1000),
        100.0 * held.iter().filter(|bytes| **bytes == 0).count() as f64 / held.len() as f64,
    );
}
