//! `gate lookup secret` and `gate session` against a sink and a table that are played here.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test code: a failure should stop it, at once and loudly"
)]

mod common;

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use common::Seen;

const CANARY: &str = concat!("CanaryXq7", "!Zk2LmX9vTb");
const TOKEN: &str = concat!("ana-token-", "0123456789");

/// Answers each connection's one request with this.
fn serve(status: u16, answer: &Value) -> (u16, Seen) {
    let answer = answer.clone();
    common::serve(status, move |_| answer.clone())
}

/// A page of a query: names, and rows of text.
fn page(names: &[&str], rows: &[Vec<Option<&str>>]) -> Value {
    let row = |cells: &Vec<Option<&str>>| {
        let cells: Vec<Value> = cells.iter().map(|cell| json!({ "v": cell })).collect();
        json!({ "f": cells })
    };
    let fields: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "jobComplete": true,
        "jobReference": { "jobId": "j" },
        "schema": { "fields": fields },
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn gate(arguments: &[&str], bigquery: u16, token: Option<&str>, input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gate"));
    command
        .args(arguments)
        .args(["--bigquery-rest", &format!("http://127.0.0.1:{bigquery}")])
        .env_remove("GATE_AUDITOR_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(token) = token {
        command.env("GATE_AUDITOR_TOKEN", token);
    }
    let mut process = command.spawn().unwrap();
    // who refuses its arguments reads nothing
    let _written = process.stdin.take().unwrap().write_all(input.as_bytes());
    let output = process.wait_with_output().unwrap();
    for said in [&output.stdout, &output.stderr] {
        let said = String::from_utf8_lossy(said);
        assert!(!said.contains(CANARY) && !said.contains(TOKEN), "{said}");
    }
    output
}

fn secret(sink: u16, bigquery: u16, more: &[&str]) -> Output {
    let sink = format!("http://127.0.0.1:{sink}");
    let mut arguments = vec!["lookup", "secret", "--project", "p", "--sink", &sink];
    arguments.extend(more);
    gate(&arguments, bigquery, Some(TOKEN), &format!("{CANARY}\n"))
}

fn told() -> Value {
    json!({ "fingerprints": [
        { "detector": "password", "fingerprint": "f1:aaaa" },
        { "detector": "password", "fingerprint": "f2:bbbb" },
    ] })
}

const FOUND: [&str; 10] = [
    "person",
    "issuer",
    "direction",
    "action",
    "detector",
    "endpoint",
    "model",
    "repository",
    "decision_id",
    "at_us",
];

fn finding<'a>(person: &'a str, action: &'a str, id: &'a str, at: &'a str) -> Vec<Option<&'a str>> {
    let cells = [
        person,
        "https://i",
        "request",
        action,
        "password",
        "chat",
        "gpt",
        "acme/shop",
        id,
        at,
    ];
    cells.into_iter().map(Some).collect()
}

#[test]
fn exposures_of_a_secret_are_told_and_the_secret_goes_to_the_sink_alone() {
    let rows = [
        finding("ana", "mask", "gd_1", "1000000"),
        finding("ana", "mask", "gd_2", "3000000"),
        finding("bo", "exempt", "gd_3", "2000000"),
    ];
    let (sink, asked) = serve(200, &told());
    let (bigquery, queries) = serve(200, &page(&FOUND, &rows));
    let output = secret(sink, bigquery, &["--detector", "acme-badge"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "found 3 times with 2 persons, from 1970-01-01T00:00:01Z to 1970-01-01T00:00:03Z; 1 times",
        "1. ana (https://i)  request  chat  gpt",
        "masked as password, 2 times",
        "gd_1, gd_2",
        "NOT masked: exempt",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let asked = asked.lock().unwrap()[0].clone();
    let (head, body) = &asked;
    assert!(head.starts_with("POST /v1/fingerprints "), "{head}");
    assert!(head.contains(&format!("Bearer {TOKEN}")), "{head}");
    assert_eq!(*body, json!({ "value": CANARY, "detector": "acme-badge" }));
    let queries = queries.lock().unwrap().clone();
    let parameters = &queries[0].1["queryParameters"];
    assert_eq!(
        parameters[2]["parameterType"]["arrayType"]["type"],
        "STRING"
    );
    let values = json!([{ "value": "f1:aaaa" }, { "value": "f2:bbbb" }]);
    assert_eq!(parameters[2]["parameterValue"]["arrayValues"], values);
    assert!(!format!("{queries:?}").contains(CANARY));

    let output = secret(sink, bigquery, &["--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["findings"], &document["unmasked"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(
        document["exposures"][0]["decision_ids"],
        json!(["gd_1", "gd_2"])
    );
}

#[test]
fn a_secret_that_is_nowhere_ends_with_1_and_a_failure_with_3() {
    let (sink, _) = serve(200, &told());
    let (bigquery, _) = serve(200, &page(&FOUND, &[]));
    assert_eq!(secret(sink, bigquery, &[]).status.code(), Some(1));
    let (nothing, _) = serve(200, &json!({ "fingerprints": [] }));
    let output = secret(nothing, 1, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("do not take this for a secret"), "{text}");
    let (limited, _) = serve(429, &json!("too many look-ups"));
    let output = secret(limited, bigquery, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("429") && said.contains("too many look-ups"),
        "{said}"
    );
    assert_eq!(secret(1, bigquery, &[]).status.code(), Some(3));
    assert_eq!(secret(sink, 1, &[]).status.code(), Some(3));
}

#[test]
fn wrong_usage_ends_with_2() {
    let here = "http://127.0.0.1:1";
    let long = "x".repeat(49 << 10);
    let cases = [
        ([here, "p", "v"], None, CANARY, "GATE_AUDITOR_TOKEN"),
        ([here, "p", "v"], Some("a b"), CANARY, "GATE_AUDITOR_TOKEN"),
        ([here, "p", "v"], Some(TOKEN), "\n", "standard input"),
        ([here, "p", "v"], Some(TOKEN), long.as_str(), "48 KiB"),
        ([here, "p`", "v"], Some(TOKEN), CANARY, "--project"),
        ([here, "p", "v`"], Some(TOKEN), CANARY, "--views-dataset"),
        (
            ["http://sink.example", "p", "v"],
            Some(TOKEN),
            CANARY,
            "--sink",
        ),
    ];
    for ([sink, project, views], token, input, word) in cases {
        let arguments = [
            "lookup",
            "secret",
            "--sink",
            sink,
            "--project",
            project,
            "--views-dataset",
            views,
        ];
        let output = gate(&arguments, 1, token, input);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{word}: {said}");
    }
    for arguments in [
        &["session", "", "--project", "p"][..],
        &["session", "s1"],
        &["session", "s1", "--project", "p", "--limit", "0"],
        &[
            "session",
            "s1",
            "--project",
            "p",
            "--from",
            "2026-02-01",
            "--to",
            "2026-01-01",
        ],
        &["lookup", "secret", CANARY, "--project", "p", "--sink", here],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gate"));
        let output = command
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_conversation_is_told_turn_by_turn() {
    let names = [
        "decision_id",
        "session_id",
        "interaction_id",
        "person",
        "issuer",
        "endpoint",
        "model",
        "decision",
        "rule",
        "findings",
        "tool_calls",
        "approval_id",
        "approval_state",
        "held_ms",
        "ended",
        "duration_ms",
        "input_tokens",
        "output_tokens",
        "request_content",
        "response_content",
        "at_us",
    ];
    let findings = r#"[{"detector":"github-pat","direction":"request","action":"mask"}]"#;
    let asked = r#"{"messages":[{"role":"user","content":"why?"}]}"#;
    let answered = r#"[{"channel":"choices[0]","text":"Because.\u001b[2J"}]"#;
    let row = |id, turn, at| {
        let cells = [
            id,
            "s1",
            turn,
            "ana",
            "https://i",
            "chat",
            "gpt",
            "mask",
            "secrets",
            findings,
            r#"["read_file"]"#,
            "AP-1",
            "granted",
            "30",
            "complete",
            "1200",
            "10",
            "20",
            asked,
            answered,
            at,
        ];
        cells.into_iter().map(Some).collect::<Vec<_>>()
    };
    let rows = [row("gd_1", "t1", "1000000"), row("gd_2", "t2", "2000000")];
    let (bigquery, queries) = serve(200, &page(&names, &rows));
    let output = gate(
        &["session", "gd_1", "--project", "p", "--content"],
        bigquery,
        None,
        "",
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "gd_1: 2 exchanges of 1 persons",
        "Turn 1\n  1970-01-01T00:00:01Z  gd_1  ana  chat gpt\n",
        "mask by secrets; complete after 1200 ms; 10 tokens asked, 20 answered",
        "found github-pat in the request: mask",
        "calls read_file",
        "approval AP-1 granted, waited for 30 ms",
        "user:\n      why?",
        "answered (choices[0]):\n      Because. [2J",
        "Turn 2\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    {
        let queries = queries.lock().unwrap();
        let sql = queries[1].1["query"].as_str().unwrap();
        assert!(
            sql.contains("session_id = @id AND person = @person"),
            "{sql}"
        );
        assert!(
            sql.contains("request_content") && sql.contains("LIMIT 501"),
            "{sql}"
        );
    }
    let arguments = ["session", "s1", "--project", "p", "--limit", "1", "--json"];
    let output = gate(&arguments, bigquery, None, "");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["complete"], false);
    let exchanges = document["exchanges"].as_array().unwrap();
    assert_eq!(exchanges.len(), 1);
    assert_eq!(exchanges[0]["findings"][0]["detector"], "github-pat");
    assert_eq!(exchanges[0]["duration_ms"], 1200);
    assert!(
        exchanges[0].get("asked").is_none(),
        "content is not asked for"
    );
    let queries = queries.lock().unwrap();
    let sql = queries.last().unwrap().1["query"].as_str().unwrap();
    assert!(!sql.contains("_content"), "{sql}");
}

#[test]
fn a_conversation_that_is_not_there_ends_with_1() {
    let (bigquery, _) = serve(200, &page(&["decision_id"], &[]));
    let of = |port| {
        gate(&["session", "s1", "--project", "p"], port, None, "")
            .status
            .code()
    };
    assert_eq!((of(bigquery), of(1)), (Some(1), Some(3)));
}
