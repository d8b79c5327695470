//! `gate scan` and `gate stream` as a developer and a script run them.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const SECRET: &str = concat!("ghp_", "Zx81Kq0pLm5vBn2wRt7yUa3sDf9gHj4eCiO6");

fn gate(arguments: &[&str], input: &str) -> Output {
    let mut gate = Command::new(env!("CARGO_BIN_EXE_gate"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gate.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = gate.wait_with_output().unwrap();
    for said in [&output.stdout, &output.stderr] {
        let said = String::from_utf8_lossy(said);
        assert!(!said.contains(SECRET), "{said}");
    }
    output
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A directory with a secret in two files, one of them hidden, and things that are not read.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    };
    write(
        "src/app.py",
        format!("# ü\nKEY = \"{SECRET}\"\n").as_bytes(),
    );
    write(".env", format!("A=1\nTOKEN={SECRET}\n").as_bytes());
    write("src/plain.py", b"print('hello')\n");
    write("image.bin", format!("\0{SECRET}").as_bytes());
    write(".git/config", SECRET.as_bytes());
    folder
}

fn path(folder: &Path) -> String {
    folder.to_str().unwrap().to_owned()
}

#[test]
fn secrets_of_a_directory_are_listed_by_place() {
    let folder = project();
    let root = path(folder.path());
    let output = gate(&["scan", &root], "");
    assert_eq!(output.status.code(), Some(0));
    let expected = format!(
        "{root}/.env:2:7: github-pat, 40 bytes\n\
         {root}/src/app.py:2:8: github-pat, 40 bytes\n\
         2 secret(s) in 3 text(s) of 120 bytes; 1 not read: not text\n"
    );
    assert_eq!(said(&output), expected);
    let output = gate(&["scan", "--fail-on-findings", &root], "");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_document_has_offsets_and_counts() {
    let folder = project();
    let file = path(&folder.path().join("src/app.py"));
    let output = gate(&["scan", "--json", &file], "");
    let document: Value = serde_json::from_str(&said(&output)).unwrap();
    let finding = json!({
        "place": file, "line": 2, "column": 8, "detector": "github-pat", "offset": 12, "length": 40,
    });
    assert_eq!(document["findings"], json!([finding]));
    assert_eq!(
        (&document["texts"], &document["not_text"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn standard_input_is_read_and_clean_text_is_no_finding() {
    let output = gate(
        &["scan", "--fail-on-findings"],
        &format!("+TOKEN={SECRET}\n"),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).starts_with("-:1:8: github-pat"));
    let output = gate(&["scan", "--fail-on-findings", "-"], "nothing here\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(said(&output), "0 secret(s) in 1 text(s) of 13 bytes\n");
}

#[test]
fn lines_are_answered_with_spans_and_masked_text() {
    let text = format!("ü {SECRET} end");
    let lines = format!(
        "{}\n\n{}\n",
        json!({"id": 7, "text": text}),
        json!({"id": "b", "text": "x"})
    );
    let output = gate(&["scan", "--jsonl"], &lines);
    assert_eq!(output.status.code(), Some(0));
    let said = said(&output);
    let answers: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers[0]["id"], 7);
    assert_eq!(answers[0]["spans"], json!([[3, 43, "github-pat"]]));
    let masked = answers[0]["masked"].as_str().unwrap();
    assert!(
        masked.starts_with("ü MASKED_GITHUB_PAT_") && masked.ends_with(" end"),
        "{masked}"
    );
    assert_eq!(answers[1], json!({"id": "b", "spans": [], "masked": "x"}));
    let output = gate(&["scan", "--jsonl", "--fail-on-findings"], &lines);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn pieces_leave_as_the_whole_would() {
    let text = format!("use {SECRET} for it");
    let whole = gate(
        &["scan", "--jsonl"],
        &json!({"id": 1, "text": text}).to_string(),
    );
    let whole: Value = serde_json::from_str(&said(&whole)).unwrap();
    let pieces: Vec<String> = text.chars().map(String::from).collect();
    let output = gate(
        &["stream", "--jsonl"],
        &json!({"id": 1, "pieces": pieces}).to_string(),
    );
    assert_eq!(output.status.code(), Some(0));
    let answer: Value = serde_json::from_str(&said(&output)).unwrap();
    let out: Vec<&str> = answer["out"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(out.len(), pieces.len() + 1);
    assert_eq!(out.concat(), whole["masked"].as_str().unwrap());
    assert_eq!(
        out[..4].concat(),
        "use ",
        "plain text leaves with its piece"
    );
    let held = answer["held_max"].as_u64().unwrap();
    assert!((30..=64).contains(&held), "{held}");
}

#[test]
fn packs_are_those_of_a_gateway_or_as_wanted() {
    let line = json!({"id": 1, "text": concat!("card 4539 2752", " 6018 1599, password = \"hunter2-Xq\"")});
    let pieces = json!({"id": 1, "pieces": [line["text"]]});
    for (packs, found) in [
        (&[][..], &["password"][..]),
        (&["--packs", "pii"], &["payment-card"]),
        (&["--packs", "generic,pii"], &["payment-card", "password"]),
    ] {
        let output = gate(&[&["scan", "--jsonl"], packs].concat(), &line.to_string());
        let answer: Value = serde_json::from_str(&said(&output)).unwrap();
        let spans = answer["spans"].as_array().unwrap().iter();
        assert!(
            spans
                .map(|span| span[2].as_str().unwrap())
                .eq(found.iter().copied())
        );
        let output = gate(
            &[&["stream", "--jsonl"], packs].concat(),
            &pieces.to_string(),
        );
        let streamed: Value = serde_json::from_str(&said(&output)).unwrap();
        let out = streamed["out"].as_array().unwrap().iter();
        let out: String = out.filter_map(Value::as_str).collect();
        assert_eq!(answer["masked"], out);
    }
    let wrong = gate(&["scan", "--packs", "names"], "");
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn what_cannot_be_read_is_said() {
    let missing = gate(&["scan", "/nonexistent/at/all"], "");
    assert_eq!(missing.status.code(), Some(2));
    for (command, line) in [
        ("scan", SECRET),
        ("stream", SECRET),
        ("stream", "{\"id\": 1}"),
    ] {
        let output = gate(&[command, "--jsonl"], &format!("\n{line}\n"));
        assert_eq!(output.status.code(), Some(2), "{command}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.starts_with(&format!("gate {command}: line 2 is not {{")),
            "{error}"
        );
    }
    for wrong in [
        &["stream"][..],
        &["scan", "--jsonl", "src"],
        &["scan", "--json", "--jsonl"],
    ] {
        assert_eq!(gate(wrong, "").status.code(), Some(2), "{wrong:?}");
    }
}
