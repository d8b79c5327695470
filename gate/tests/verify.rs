//! `gate verify` as it is called; what it finds is tested beside its code.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::{Command, Output};

const KEY: &str = "c1:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";

fn verify(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_gate"))
        .args(["verify", "--project", "p"])
        .args(arguments)
        .env_remove("GATE_SINK_KEYS")
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn wrong_usage_ends_with_2_and_says_why() {
    let time = ["--from", "2026-01-01", "--to", "2026-02-01T00:00:00Z"];
    let cases: [(&[&str], &str); 7] = [
        (&["--from", "yesterday", "--to", "2026-01-01"], "--from"),
        (&["--from", "2026-01-01", "--to", "2026-01-01"], "--from"),
        (&["--dataset", "a`b"], "--dataset"),
        (&["--key", "c1:AAEC"], "--keys: key 1"),
        (&["--keys", "no/such/file"], "no/such/file"),
        (&["--checkpoints", "no/such/file"], "no/such/file"),
        (&["--bigquery-rest", "http://bigquery.example"], "https"),
    ];
    for (arguments, word) in cases {
        let times: &[&str] = if arguments.contains(&"--to") {
            &[]
        } else {
            &time
        };
        let (code, said) = verify(&[times, arguments].concat());
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn without_an_answer_it_does_not_decide() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let time = ["--from", "2026-01-01", "--to", "2026-01-02"];
    let (code, said) = verify(&[&time[..], &["--key", KEY, "--bigquery-rest", &url]].concat());
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("no connection"), "{said}");
}
