//! Compiles the detectors' patterns to automata, which the crate includes as bytes.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a build that cannot go on says so and ends"
)]

use std::{env, fs, path::Path};

use regex_automata::{
    MatchKind,
    dfa::{StartKind, dense},
    nfa::thompson,
    util::syntax,
};

use detector::Start;

#[path = "src/mask/detector.rs"]
#[allow(dead_code, reason = "only the patterns count here")]
mod detector;
#[path = "src/mask/patterns.rs"]
mod patterns;
#[path = "src/mask/structures.rs"]
mod structures;
#[path = "src/mask/vendors.rs"]
mod vendors;

/// Separators in a PEM block: white space, escapes of it, quotes, and what joins strings.
const PEM_GAP: &str = r#"(?:[ \t\r\n"'+,]|\\+[nrt]|\\)"#;

fn main() {
    for file in ["detector", "patterns", "structures", "vendors"] {
        println!("cargo::rerun-if-changed=src/mask/{file}.rs");
    }
    let proofs = |start| patterns::proofs(start).map(|(_, proof)| proof.to_owned());
    write("words", &proofs(Start::Word).collect::<Vec<_>>());
    write("openings", &proofs(Start::Opening).collect::<Vec<_>>());
    write("pem", &pem());
}

/// Writes the automaton of some patterns to `NAME.dfa`, in the byte order of the target.
fn write(name: &str, patterns: &[String]) {
    let dfa = dense::Builder::new()
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .accelerate(false)
                .start_kind(StartKind::Anchored),
        )
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false))
        .build_many(patterns)
        .expect("every proof is a pattern");
    let little = env::var("CARGO_CFG_TARGET_ENDIAN").is_ok_and(|order| order == "little");
    let (bytes, padding) = if little {
        dfa.to_bytes_little_endian()
    } else {
        dfa.to_bytes_big_endian()
    };
    let bytes = bytes.get(padding..).expect("less padding than bytes");
    let folder = env::var_os("OUT_DIR").expect("cargo names a folder");
    fs::write(Path::new(&folder).join(name).with_extension("dfa"), bytes).expect("a file");
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
