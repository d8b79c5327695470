//! Texts to measure with: the repository's own code and prose, and the detectors' examples.

use std::{fs, path::Path};

#[path = "../../src/mask/bytes.rs"]
#[allow(dead_code, reason = "one class counts here")]
mod bytes;
#[path = "../../src/mask/detector.rs"]
#[allow(dead_code, reason = "only examples count here")]
mod detector;
#[path = "../../src/mask/patterns.rs"]
#[allow(dead_code, reason = "only the table counts here")]
mod patterns;
#[path = "../../src/mask/personal.rs"]
mod personal;
#[path = "../../src/mask/structures.rs"]
mod structures;
#[path = "../../src/mask/vendors.rs"]
mod vendors;

/// Source code in several languages, without tests.
pub(super) fn code() -> String {
    let folders = [
        "filter",
        "bigquery-sink",
        "approvals",
        "gate",
        "contract",
        "tests",
    ];
    let mut text = String::new();
    for folder in folders {
        add(
            &root().join(folder),
            &["rs", "py", "mjs", "proto", "html"],
            &mut text,
        );
    }
    text
}

/// Pages for people.
pub(super) fn prose() -> String {
    let mut text = String::new();
    add(&root().join("docs"), &["md"], &mut text);
    text
}

/// The code with a secret in about every kilobyte of it.
pub(super) fn code_with_secrets() -> String {
    let code = code();
    let mut text = String::new();
    let mut examples = examples().cycle();
    let mut since = 0;
    for line in code.lines() {
        text.push_str(line);
        text.push('\n');
        since += line.len();
        if since > 1024 {
            text.push_str(&examples.next().expect("there are examples"));
            text.push('\n');
            since = 0;
        }
    }
    text
}

/// Every text in which a detector of the default packs finds something.
fn examples() -> impl Iterator<Item = String> + Clone {
    let all: Vec<String> = patterns::detectors()
        .filter(|detector| !matches!(detector.rule, detector::Rule::Personal { .. }))
        .flat_map(|detector| detector.examples)
        .map(|example| example.replace(['«', '»'], ""))
        .collect();
    all.into_iter()
}

/// Pieces of 1 to 10 characters, the same each time.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    let mut state = 7_u32;
    let mut rest = text;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (state >> 16) as usize % 10 + 1;
        let end = rest.char_indices().nth(length);
        let (piece, after) = rest.split_at(end.map_or(rest.len(), |(end, _)| end));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Appends all files below, in order.
fn add(folder: &Path, endings: &[&str], text: &mut String) {
    let skipped = [
        "node_modules",
        "target",
        "vendors.rs",
        "structures.rs",
        "tests.rs",
        "cases",
    ];
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("a folder of the repository")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if skipped.contains(&name) {
            continue;
        }
        if path.is_dir() {
            add(&path, endings, text);
        } else if ending.is_some_and(|ending| endings.contains(&ending)) {
            text.push_str(&fs::read_to_string(&path).expect("a text"));
        }
    }
}
