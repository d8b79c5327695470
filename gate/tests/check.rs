//! `gate check` as an SRE runs it.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn gate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gate"))
        .args(arguments)
        .output()
        .unwrap()
}

fn gateway() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy/gateway.yaml")
}

/// The first fault of the shipped bootstrap with this in place of that.
fn fault(good: &str, bad: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let text = fs::read_to_string(gateway()).unwrap();
    fs::write(&file, text.replace(good, bad)).unwrap();
    let output = gate(&["check", "--json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{bad}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fault = document.pointer("/configurations/0/faults/0");
    fault.cloned().unwrap_or_default()
}

#[test]
fn the_shipped_bootstrap_is_good() {
    let output = gate(&["check", gateway().to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("good") && text.contains("deployment demo"),
        "{text}"
    );
}

#[test]
fn a_fault_in_a_bootstrap_is_named_with_its_path() {
    let fault = fault("subject_claim: sub", "subject_clam: sub");
    assert_eq!(fault["path"], "identity.issuers[0].subject_clam");
    assert_eq!(fault["reason"], "no such key, the nearest is subject_claim");
}

#[test]
fn faults_in_approvals_are_named() {
    let desk = "approvals: { cluster: approvals, public_url: \"https://desk.gw.test\", hold: 5m }";
    let asks = "then: ask_approval, approvers: security }";
    for (good, bad, path, reason) in [
        (
            "deployment: demo",
            format!("deployment: demo\n                            {desk}"),
            "approvals.hold",
            "not 1s to 4m",
        ),
        (
            "then: mask }",
            asks.to_owned(),
            "approvals",
            "missing: a rule demands ask_approval",
        ),
    ] {
        let fault = fault(good, &bad);
        assert_eq!(fault["path"], path, "{fault}");
        assert_eq!(fault["reason"], reason, "{fault}");
    }
}

#[test]
fn what_is_no_configuration_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.yaml");
    fs::write(&file, "a: 1\n").unwrap();
    let missing = folder.path().join("missing.yaml");
    let broken = folder.path().join("broken.yaml");
    fs::write(&broken, "a: [1\n").unwrap();
    for file in [file, missing, broken] {
        let output = gate(&["check", file.to_str().unwrap()]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.starts_with("gate check: "), "{text}");
    }
    assert_eq!(gate(&["chekc"]).status.code(), Some(2));
}
