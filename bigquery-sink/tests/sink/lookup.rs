//! An auditor asks how records name a secret.

use std::{collections::BTreeSet, rc::Rc};

use contract::Envelope;
use filter_core::{
    mask::{Catalog, Finding, MaskKeys, Masker},
    worker::fingerprint_keys,
};
use prost::Message;
use serde_json::{Value, json};

use crate::{
    fake::Fake,
    world::{Sink, eventually, http},
};

const KEYS: &str = "f2:AAECAwQFBgcICQoLDA0ODw==,f1:EBESExQVFhcYGRobHB0eHw==";
const ANA: &str = concat!("ana-token-", "0123456789");
const BO: &str = concat!("bo-token-", "01234567890");
const CANARY: &str = concat!("CanaryXq7", "!Zk2LmX9vTb");

async fn world() -> (Fake, Sink) {
    let fake = Fake::start().await;
    let auditors = format!("ana:{ANA},https://login.example#bo:{BO}");
    let mut sink = Sink::prepare(fake.rest, fake.grpc, "audit", &[])
        .with_environment("GATE_AUDITORS", &auditors)
        .with_environment("GATE_FINGERPRINT_KEYS", KEYS);
    sink.run().await;
    (fake, sink)
}

/// Status, `retry-after` and body of an answer.
async fn ask(sink: &Sink, token: Option<&str>, body: String) -> (u16, Option<String>, String) {
    let mut request = http().post(sink.url("v1/fingerprints")).body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    let wait = answer.headers().get("retry-after");
    let wait = wait.map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), wait, answer.text().await.unwrap())
}

/// Detectors and fingerprints of a good answer.
async fn fingerprints(sink: &Sink, question: Value) -> BTreeSet<(String, String)> {
    let (status, _, body) = ask(sink, Some(ANA), question.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = body["fingerprints"].as_array().unwrap().iter();
    found
        .map(|it| (text(&it["detector"]), text(&it["fingerprint"])))
        .collect()
}

/// What the filter finds with a key.
fn findings(text: &str, keys: &MaskKeys) -> Vec<Finding> {
    let mut findings = Vec::new();
    Masker::new(Rc::new(Catalog::new()), keys, "acme", "mia").mask(text, &mut findings);
    findings
}

/// Rows of look-ups that BigQuery has, as many as are awaited.
async fn rows(fake: &Fake, count: usize) -> Vec<Envelope> {
    eventually("the look-ups are loaded", async || {
        let rows = fake.world().rows.clone();
        let envelopes = rows.into_iter().map(|row| Envelope::decode(row).unwrap());
        let lookups: Vec<_> = envelopes.filter(|it| it.kind() == "lookup").collect();
        (lookups.len() >= count).then_some(lookups)
    })
    .await
}

#[tokio::test]
async fn fingerprints_are_those_that_the_filter_records() {
    let (_fake, sink) = world().await;
    let pat = concat!("ghp", "_jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk");
    let pem = concat!(
        "-----BEGIN ",
        "PRIVATE KEY-----\nMIIBVgIBADANBgkqhkiG9w0BAQEF\nQ2xhc3NpY2Fs\n-----END PRIVATE KEY-----\n"
    );
    let in_code = pem.trim_end().replace('\n', "\\n");
    let texts = [
        (pat, format!("see {pat}, please"), "github-pat"),
        (
            "Zephyr!1988",
            "DB_PASSWORD = \"Zephyr!1988\"".to_owned(),
            "password",
        ),
        (pem, format!("key: \"{in_code}\""), "private-key"),
        (
            "q7Zk/2LmX@9vT",
            "postgres://svc:q7Zk%2F2LmX%409vT@db.corp.internal:5432/crm".to_owned(),
            "url-password",
        ),
    ];
    let keys = fingerprint_keys(KEYS).unwrap();
    for (value, text, detector) in texts {
        let told = fingerprints(&sink, json!({ "value": value })).await;
        for keys in &keys {
            let found = findings(&text, keys);
            assert_eq!(found.len(), 1, "{detector}");
            let expected = (detector.to_owned(), found[0].fingerprint.clone());
            assert!(told.contains(&expected), "{expected:?} in {told:?}");
        }
    }
    let none = fingerprints(&sink, json!({ "value": "password" })).await;
    assert!(none.is_empty(), "{none:?}");
    let named = json!({ "value": "password", "detector": "acme-badge" });
    let named = fingerprints(&sink, named).await;
    let names: Vec<_> = named.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(names, ["acme-badge", "acme-badge"]);
}

#[tokio::test]
async fn each_question_is_a_row_and_the_value_is_nowhere() {
    let (fake, mut sink) = world().await;
    let good = json!({ "value": CANARY }).to_string();
    let long = json!({ "value": CANARY.repeat(3_400) }).to_string();
    let questions = [
        (None, good.clone(), 401),
        (Some(CANARY), good.clone(), 401),
        (Some(ANA), good, 200),
        (Some(ANA), format!("\"{CANARY}\""), 400),
        (Some(ANA), json!({ "value": [CANARY] }).to_string(), 400),
        (Some(ANA), json!({ "value": "" }).to_string(), 400),
        (
            Some(BO),
            json!({ "value": "x", "detector": CANARY }).to_string(),
            400,
        ),
        (Some(BO), long, 413),
    ];
    let mut said = String::new();
    for (token, body, expected) in questions {
        let (status, _, answer) = ask(&sink, token, body).await;
        assert_eq!(status, expected, "{answer}");
        said += &answer;
    }
    let rows = rows(&fake, 8).await;
    let of = |row: &Envelope| {
        let person = row.person().to_owned();
        (person, row.decision().to_owned(), row.reason().to_owned())
    };
    let of_rows: Vec<_> = rows.iter().map(of).collect();
    let bo = "https://login.example#bo";
    let expected = [
        ("", "deny", "unknown_token"),
        ("", "deny", "unknown_token"),
        ("ana", "allow", ""),
        ("ana", "deny", "malformed"),
        ("ana", "deny", "malformed"),
        ("ana", "deny", "malformed"),
        (bo, "deny", "no_detector"),
        (bo, "deny", "too_long"),
    ];
    let expected = expected.map(|(who, what, why)| (who.into(), what.into(), why.into()));
    assert_eq!(of_rows, expected);
    let findings: Value = serde_json::from_str(rows[2].findings()).unwrap();
    let first = &findings[0]["fingerprint"];
    assert!(first.as_str().unwrap().starts_with('f'), "{findings}");
    assert!(rows.iter().all(|row| row.event_at() > 0));

    assert!(sink.stop().await.success());
    let log = sink.log();
    let mut bytes = said.into_bytes();
    bytes.extend(log.as_bytes());
    bytes.extend(fake.world().rows.iter().flatten());
    for file in walk(&sink.spool()) {
        bytes.extend(std::fs::read(file).unwrap());
    }
    for secret in [CANARY, ANA, "AAECAwQFBgcICQoLDA0ODw"] {
        let found = bytes.windows(secret.len());
        let found = found.filter(|bytes| *bytes == secret.as_bytes());
        assert_eq!(found.count(), 0, "{secret}");
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[tokio::test]
async fn questions_are_limited_and_refusals_are_recorded_up_to_a_bound() {
    let (fake, sink) = world().await;
    for _ in 0..30 {
        assert_eq!(ask(&sink, Some(ANA), "{}".into()).await.0, 400);
    }
    let (status, wait, _) = ask(&sink, Some(ANA), "{}".into()).await;
    assert_eq!(status, 429);
    assert!((1..=60).contains(&wait.unwrap().parse::<u64>().unwrap()));
    assert_eq!(ask(&sink, Some(BO), "{}".into()).await.0, 400);
    for place in 0..70 {
        let expected = if place < 30 { 401 } else { 429 };
        assert_eq!(ask(&sink, None, "{}".into()).await.0, expected);
    }
    let rows = rows(&fake, 32 + 60).await;
    let of = |reason: &str| rows.iter().filter(|row| row.reason() == reason).count();
    assert_eq!(
        (of("malformed"), of("unknown_token"), of("too_many")),
        (31, 30, 31)
    );
    assert!(sink.log().contains("no more of them are recorded"));
}

#[tokio::test]
async fn without_auditors_there_are_no_look_ups() {
    let fake = Fake::start().await;
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &[]).await;
    let (status, _, body) = ask(&sink, Some(ANA), json!({ "value": CANARY }).to_string()).await;
    assert_eq!(status, 503);
    assert!(body.contains("GATE_AUDITORS"), "{body}");
}

#[test]
fn wrong_auditors_are_wrong_usage() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bigquery-sink"))
        .args(["--spool", "s", "--project", "p"])
        .env("GATE_SINK_KEYS", crate::world::KEYS)
        .env("GATE_FINGERPRINT_KEYS", KEYS)
        .env("GATE_AUDITORS", "ana:canary")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("GATE_AUDITORS: entry 1") && !said.contains("canary"));
}
