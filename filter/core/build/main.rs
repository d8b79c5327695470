//! Compiles the detectors' patterns to automata, and where they may begin to a table; the crate
//! includes both as bytes.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a build that cannot go on says so and ends; cargo reads what it prints"
)]

use std::{env, fs, path::Path};

use regex_automata::{
    MatchKind,
    dfa::{StartKind, dense},
    nfa::thompson,
    util::syntax,
};

use detector::Start;

#[path = "../src/mask/bytes.rs"]
#[allow(dead_code, reason = "two classes count here")]
mod bytes;
#[path = "../src/mask/detector.rs"]
#[allow(dead_code, reason = "only the patterns count here")]
mod detector;
#[path = "../src/mask/names.rs"]
#[allow(dead_code, reason = "only the anchors count here")]
mod names;
#[path = "../src/mask/patterns.rs"]
mod patterns;
#[path = "../src/mask/personal.rs"]
mod personal;
#[path = "../src/mask/structures.rs"]
mod structures;
mod table;
#[path = "../src/mask/turns.rs"]
#[allow(dead_code, reason = "only its measures count here")]
mod turns;
#[path = "../src/mask/vendors.rs"]
mod vendors;

/// An automaton on its way to a file.
type Automaton = dense::DFA<Vec<u32>>;

/// Separators in a PEM block: white space, escapes of it, quotes, and what joins strings.
const PEM_GAP: &str = r#"(?:[ \t\r\n"'+,]|\\+[nrt]|\\)"#;

fn main() {
    for file in [
        "bytes",
        "detector",
        "names",
        "patterns",
        "personal",
        "structures",
        "turns",
        "vendors",
    ] {
        println!("cargo::rerun-if-changed=src/mask/{file}.rs");
    }
    let proofs = |start| patterns::proofs(start).map(|(_, proof)| proof.to_owned());
    let words = automaton(&proofs(Start::Word).collect::<Vec<_>>());
    let openings = automaton(&proofs(Start::Opening).collect::<Vec<_>>());
    let ends = patterns::name_ends().map(|(.., end)| end.chars().rev().collect());
    let encoded = automaton(&encoded());
    let numbers = patterns::numbers().map(|(_, proof)| proof.to_owned());
    let personal = automaton(&numbers.collect::<Vec<_>>());
    write("turns", &table::of(&[&words], &openings, &encoded));
    write(
        "turns-personal",
        &table::of(&[&words, &personal], &openings, &encoded),
    );
    write("encoded", &bytes_of(&encoded));
    write("personal", &bytes_of(&personal));
    write("words", &bytes_of(&words));
    write("openings", &bytes_of(&openings));
    write("pem", &bytes_of(&automaton(&pem())));
    write(
        "names",
        &bytes_of(&automaton(&ends.collect::<Vec<String>>())),
    );
}

/// Writes what the crate includes.
fn write(name: &str, bytes: &[u8]) {
    let folder = env::var_os("OUT_DIR").expect("cargo names a folder");
    fs::write(Path::new(&folder).join(name), bytes).expect("a file");
}

/// One automaton for some patterns.
fn automaton(patterns: &[String]) -> Automaton {
    dense::Builder::new()
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .accelerate(false)
                .start_kind(StartKind::Anchored),
        )
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false))
        .build_many(patterns)
        .expect("every proof is a pattern")
}

/// An automaton in the byte order of the target.
fn bytes_of(dfa: &Automaton) -> Vec<u8> {
    let little = env::var("CARGO_CFG_TARGET_ENDIAN").is_ok_and(|order| order == "little");
    let (bytes, padding) = if little {
        dfa.to_bytes_little_endian()
    } else {
        dfa.to_bytes_big_endian()
    };
    bytes
        .get(padding..)
        .expect("less padding than bytes")
        .to_vec()
}

/// How a text begins in base64 and in hex, in the order of `mask::detector::Encoding`: bytes that are
/// printed, in three of four letters and in one of two digits. What is no text dies out at once.
fn encoded() -> [String; 2] {
    let base64 =
        "(?:[CDI-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-]){6}";
    let hex = "(?:[2-7][0-9A-Fa-f]|0[9AaDd]){16}";
    [base64.to_owned(), hex.to_owned()]
}

/// What a PEM block goes on with, in the order of `mask::catalog::pem`; the last is a header line.
fn pem() -> [String; 4] {
    let end = format!("{PEM_GAP}*-----END [A-Z0-9 ]{{1,40}}-----");
    [
        end.clone(),
        format!("{PEM_GAP}*[A-Za-z0-9+/=]{{1,23}}{end}"),
        format!("{PEM_GAP}*[A-Za-z0-9+/=]{{24}}"),
        format!("{PEM_GAP}*[A-Z][A-Za-z-]{{2,20}}: [ -\\[\\]-~]{{0,100}}(?:\\n|\\r|\\\\+[nr])"),
    ]
}
