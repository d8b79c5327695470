//! An officer orders something over recorded content.

use contract::{Envelope, Proof};
use prost::Message;
use serde_json::{Value, json};

use crate::{
    fake::Fake,
    world::{Sink, eventually, http},
};

const DPO: &str = concat!("dpo-token-", "0123456789");
const ANA: &str = concat!("ana-token-", "0123456789");
const CANARY: &str = "canary in a reason";

async fn world() -> (Fake, Sink) {
    let fake = Fake::start().await;
    let mut sink = Sink::prepare(fake.rest, fake.grpc, "audit", &[])
        .with_environment("GATE_OFFICERS", &format!("dpo@acme.example:{DPO}"))
        .with_environment("GATE_AUDITORS", &format!("ana:{ANA}"))
        .with_environment("GATE_FINGERPRINT_KEYS", "f1:EBESExQVFhcYGRobHB0eHw==");
    sink.run().await;
    (fake, sink)
}

/// Status and body of an answer.
async fn order(sink: &Sink, token: Option<&str>, body: String) -> (u16, String) {
    let mut request = http().post(sink.url("v1/orders")).body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn erase() -> Value {
    json!({
        "kind": "erase", "order": "DPO-2026-17", "person": "ana", "issuer": "https://login.example",
        "from": 1_700_000_000_000_000_i64, "to": 1_800_000_000_000_000_i64, "reason": CANARY,
    })
}

/// Rows of orders that BigQuery has, as many as are awaited.
async fn rows(fake: &Fake, count: usize) -> Vec<Envelope> {
    eventually("the orders are loaded", async || {
        let rows = fake.world().rows.clone();
        let envelopes = rows.into_iter().map(|row| Envelope::decode(row).unwrap());
        let orders: Vec<_> = envelopes.filter(|it| it.kind() == "order").collect();
        (orders.len() >= count).then_some(orders)
    })
    .await
}

#[tokio::test]
async fn orders_are_rows_of_the_sinks_chain_with_all_that_they_say() {
    let (fake, sink) = world().await;
    let orders = [
        erase(),
        json!({ "kind": "erased", "order": "DPO-2026-17", "rows": 12 }),
        json!({ "kind": "hold", "order": "HOLD-1", "person": "bo", "reason": "a case" }),
        json!({ "kind": "release", "order": "HOLD-1", "reason": "case closed" }),
    ];
    let mut told = Vec::new();
    for one in &orders {
        let (status, body) = order(&sink, Some(DPO), one.to_string()).await;
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        told.push(body["event_at"].as_i64().unwrap());
    }
    let rows = rows(&fake, 4).await;
    for ((row, one), at) in rows.iter().zip(&orders).zip(told) {
        assert_eq!(row.person(), "dpo@acme.example");
        assert_eq!(row.decision(), one["kind"]);
        assert_eq!((row.reason(), row.status(), row.event_at()), ("", 200, at));
        let directive: Value = serde_json::from_str(row.directive()).unwrap();
        assert_eq!(directive, *one);
        assert_eq!((row.epoch(), row.findings()), ("", ""));
    }
    let first = fake.world().rows.first().cloned().unwrap();
    assert!(Proof::decode(first).unwrap().hash.is_some());
    assert_eq!(
        sink.metric("sink_records_received_total{kind=\"order\"}")
            .await,
        4.0
    );
}

#[tokio::test]
async fn what_is_not_an_officers_order_is_refused_and_recorded() {
    let (fake, mut sink) = world().await;
    let with = |name: &str, value: Value| {
        let mut order = erase();
        order[name] = value;
        order.to_string()
    };
    let questions = [
        (None, erase().to_string(), 401),
        (Some(ANA), erase().to_string(), 401),
        (Some(CANARY), erase().to_string(), 401),
        (Some(DPO), String::new(), 400),
        (Some(DPO), with("kind", json!("forget")), 400),
        (Some(DPO), with("more", json!(CANARY)), 400),
        (Some(DPO), with("order", json!("no id")), 400),
        (Some(DPO), with("reason", json!("x".repeat(501))), 400),
        (
            Some(DPO),
            with("from", json!(1_900_000_000_000_000_i64)),
            400,
        ),
        (Some(DPO), with("reason", json!("x".repeat(17 << 10))), 413),
    ];
    let mut said = String::new();
    for (place, (token, body, expected)) in questions.iter().enumerate() {
        let (status, answer) = order(&sink, *token, body.clone()).await;
        assert_eq!(status, *expected, "{place}: {answer}");
        said += &answer;
    }
    let rows = rows(&fake, questions.len()).await;
    for (place, row) in rows.iter().enumerate() {
        let (person, reason) = match place {
            0..3 => ("", "unknown_token"),
            3..9 => ("dpo@acme.example", "malformed"),
            _ => ("dpo@acme.example", "too_long"),
        };
        let found = (row.person(), row.decision(), row.reason(), row.directive());
        assert_eq!(found, (person, "deny", reason, ""), "{place}");
    }
    let answer = http().post(sink.url("v1/fingerprints")).bearer_auth(DPO);
    let answer = answer.body("{\"value\":\"x\"}").send().await.unwrap();
    assert_eq!(answer.status(), 401, "an officer is not an auditor");
    assert!(sink.stop().await.success());
    said += &sink.log();
    for secret in [DPO, ANA, CANARY] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[tokio::test]
async fn orders_are_limited() {
    let (_fake, sink) = world().await;
    for _ in 0..30 {
        assert_eq!(order(&sink, Some(DPO), "{}".into()).await.0, 400);
    }
    let (status, body) = order(&sink, Some(DPO), erase().to_string()).await;
    assert_eq!(status, 429, "{body}");
}

#[tokio::test]
async fn an_order_is_on_disk_before_it_is_answered() {
    let fake = Fake::start().await;
    let mut sink = Sink::prepare(fake.rest, fake.grpc, "audit", &[])
        .with_environment("GATE_OFFICERS", &format!("dpo:{DPO}"));
    sink.run().await;
    let (status, body) = order(&sink, Some(DPO), erase().to_string()).await;
    assert_eq!(status, 200, "{body}");
    sink.kill();
    sink.run().await;
    assert_eq!(rows(&fake, 1).await[0].decision(), "erase");
}

#[tokio::test]
async fn without_officers_there_are_no_orders() {
    let fake = Fake::start().await;
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &[]).await;
    let (status, body) = order(&sink, Some(DPO), erase().to_string()).await;
    assert_eq!(status, 503);
    assert!(body.contains("GATE_OFFICERS"), "{body}");
}

#[test]
fn wrong_officers_are_wrong_usage() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bigquery-sink"))
        .args(["--spool", "s", "--project", "p"])
        .env("GATE_SINK_KEYS", crate::world::KEYS)
        .env("GATE_OFFICERS", "dpo:canary")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("GATE_OFFICERS: entry 1") && !said.contains("canary"));
}
