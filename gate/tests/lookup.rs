//! `gate lookup code` against a table that is played here.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test code: a failure should stop it, at once and loudly"
)]

mod common;

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use lineage::Suggestion;
use serde_json::{Value, json};

const CODE: &str = "fn mean(values: &[f64]) -> Option<f64> {\n    if values.is_empty() {\n        return None;\n    }\n    let sum: f64 = values.iter().copied().filter(|value| value.is_finite()).sum();\n    Some(sum / values.len() as f64)\n}\n\nfn spread(values: &[f64]) -> Option<(f64, f64)> {\n    let low = values.iter().copied().reduce(f64::min)?;\n    let high = values.iter().copied().reduce(f64::max)?;\n    (low <= high).then_some((low, high))\n}\n";

/// The answer of a table that has the fingerprints of `CODE` to a query.
fn answer(body: &Value) -> Value {
    let asked = body["queryParameters"].as_array().unwrap();
    let asked = asked
        .iter()
        .find(|one| one["name"] == "fingerprints")
        .unwrap();
    assert_eq!(asked["parameterType"]["arrayType"]["type"], "INT64");
    let asked = asked["parameterValue"]["arrayValues"].as_array().unwrap();
    let mut rows = Vec::new();
    for (scheme, values) in (Suggestion { text: CODE.into() }).fingerprints() {
        let count = values.len().to_string();
        for value in values.iter().map(ToString::to_string) {
            if asked.iter().any(|asked| asked["value"] == value.as_str()) {
                let cells = [
                    scheme.name,
                    &value,
                    &count,
                    "e1",
                    "7",
                    "0",
                    "gd_1",
                    "ana",
                    "https://i",
                    "gpt",
                    "1000000",
                ];
                rows.push(json!({ "f": cells.map(|cell| json!({ "v": cell })) }));
            }
        }
    }
    let names = [
        "scheme",
        "fingerprint",
        "fingerprints",
        "epoch",
        "seq",
        "suggestion",
        "decision_id",
        "person",
        "issuer",
        "model",
        "received_us",
    ];
    json!({
        "jobComplete": true,
        "jobReference": { "jobId": "j" },
        "schema": { "fields": names.map(|name| json!({ "name": name, "type": "STRING" })) },
        "rows": rows,
    })
}

/// A table that is asked once by each connection.
fn table() -> u16 {
    common::serve(200, answer).0
}

fn lookup(port: u16, arguments: &[&str], input: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_gate"))
        .args(["lookup", "code", "--project", "p"])
        .args(["--bigquery-rest", &format!("http://127.0.0.1:{port}")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    process.wait_with_output().unwrap()
}

#[test]
fn renamed_code_in_a_file_names_its_suggestion() {
    let renamed = CODE.replace("values", "samples").replace("sum", "all");
    let file = format!("use std::fmt;\n\nstruct Unrelated;\n\n{renamed}");
    let output = lookup(table(), &["-"], &file);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "evidence, not proof",
        "gd_1",
        "ana",
        "1970-01-01T00:00:01Z",
        "gpt",
        "shape12.1",
        "-: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_diff_is_asked_for_what_it_adds() {
    let added: String = CODE
        .lines()
        .map(|line| ["+", line, "\n"].concat())
        .collect();
    let count = CODE.lines().count();
    let diff = format!(
        "--- a/x.rs\n+++ b/x.rs\n@@ -40,1 +40,{} @@\n context\n{added}",
        count + 1
    );
    let output = lookup(table(), &["--diff", "-", "--json"], &diff);
    assert_eq!(output.status.code(), Some(0));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let candidate = &document["candidates"][0];
    assert_eq!(candidate["decision_id"], "gd_1");
    assert_eq!(candidate["found"], 1.0);
    assert_eq!(
        candidate["code"],
        json!([{ "file": "x.rs", "lines": ["41-53"] }])
    );
    assert_eq!(candidate["evidence"][0]["scheme"], "whole.1");
}

#[test]
fn other_code_is_a_negative_finding_and_no_answer_is_none() {
    let other =
        "fn main() {\n    let config = Config::read(path)?;\n    println!(\"{config:?}\");\n}\n";
    let output = lookup(table(), &["-"], other);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("No recorded suggestion"));
    assert_eq!(lookup(1, &["-"], other).status.code(), Some(3));
    assert_eq!(lookup(1, &["no such file"], "").status.code(), Some(2));
    assert_eq!(
        lookup(1, &["-", "--dataset", "a`b"], "").status.code(),
        Some(2)
    );
}
