//! `gate stream`: texts that arrive in pieces, as the filter masks an answer.

use std::process::ExitCode;

use filter_core::mask::TextMask;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    lines,
    masks::{PacksArgument, masker},
    report,
};

/// How to read and write.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads lines of JSON from standard input, {\"id\": …, \"pieces\": [\"…\", …]}, and writes for each
{\"id\": …, \"out\": [\"…\", …], \"held_max\": N}: what leaves with each piece and at the end, and the most
bytes that were kept back between two pieces.")]
pub(crate) struct Arguments {
    /// Lines of JSON; the only form there is
    #[arg(long, required = true)]
    jsonl: bool,
    #[command(flatten)]
    packs: PacksArgument,
}

#[derive(Deserialize)]
struct Question {
    id: Value,
    pieces: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let masker = masker(&arguments.packs);
    let answer = |question: Question| {
        let (mut mask, mut findings, mut held_max) = (TextMask::new(), Vec::new(), 0);
        let mut out = Vec::new();
        for piece in &question.pieces {
            let mut left = String::new();
            mask.push(&masker, piece, &mut left, &mut findings);
            held_max = held_max.max(mask.held());
            out.push(left);
        }
        let mut left = String::new();
        mask.finish(&masker, &mut left, &mut findings);
        out.push(left);
        json!({ "id": question.id, "out": out, "held_max": held_max })
    };
    let (input, out) = (std::io::stdin().lock(), std::io::stdout().lock());
    let wanted = "{\"id\": …, \"pieces\": [\"…\"]}";
    match lines::answer(input, out, wanted, answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report("gate stream", &error),
    }
}
