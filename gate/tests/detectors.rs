//! `gate detectors` and the page that it writes.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::{fs, path::Path, process::Command};

fn gate(arguments: &[&str]) -> String {
    let gate = Command::new(env!("CARGO_BIN_EXE_gate"))
        .arg("detectors")
        .args(arguments)
        .output()
        .unwrap();
    assert!(gate.status.success());
    String::from_utf8(gate.stdout).unwrap()
}

#[test]
fn page_is_what_the_command_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/detectors.md");
    let written = fs::read_to_string(page).unwrap();
    assert!(
        written == gate(&["--markdown"]),
        "write the page anew: cargo run -p gate -- detectors --markdown > docs/detectors.md"
    );
}

#[test]
fn every_form_of_the_table_names_every_detector() {
    let (table, json) = (gate(&[]), gate(&["--json"]));
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    let detectors = document["detectors"].as_array().unwrap();
    assert_eq!(table.lines().count(), detectors.len());
    for (line, detector) in table.lines().zip(detectors) {
        assert!(line.starts_with(detector["name"].as_str().unwrap()));
    }
}
