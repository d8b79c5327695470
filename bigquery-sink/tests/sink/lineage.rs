//! Fingerprints of code, beside the records.

use std::time::Duration;

use bigquery_sink::{bigquery::StorageErrorCode as Cause, envoy::HttpEntry, lineage::rows_of};
use bytes::Bytes;
use contract::{Content, Envelope};
use prost::Message;
use serde_json::json;
use tonic::Code;

use crate::{
    fake::{Fake, Fault, Origin},
    world::{Emulator, Filter, Sink, carrying, dataset, eventually},
};

/// Records of answers with code; every third has none.
fn answers(filter: &mut Filter, count: u32, model: &str) -> Vec<HttpEntry> {
    let mut answer = |number: u32| {
        let name = format!("{model}_{number}").replace(' ', "_");
        let code = format!("fn {name}(a: u64) -> u64 {{\n    a * {number} + {name}(a - 1)\n}}\n");
        let text = match number % 3 {
            0 => "no code".to_owned(),
            _ => format!("So:\n```rust\n{code}```\nand\n```\n{code}{code}```"),
        };
        let envelope = Envelope {
            kind: Some("close".into()),
            person: Some("ana".into()),
            model: Some(model.into()),
            ..Envelope::default()
        };
        let content = Content {
            response_content: Some(
                json!([{ "channel": "choices[0].delta.content", "text": text }]).to_string(),
            ),
            ..Content::default()
        };
        carrying(&filter.seal(envelope, &content))
    };
    (0..count).map(&mut answer).collect()
}

/// The rows that the table should have by the records that it has.
fn wanted(fake: &Fake) -> Vec<Bytes> {
    let mut rows: Vec<Bytes> = fake.world().rows.iter().flat_map(rows_of).collect();
    rows.sort();
    rows
}

async fn complete(fake: &Fake) {
    eventually("all fingerprints are there", async || {
        let wanted = wanted(fake).len();
        (fake.world().lineage.len() >= wanted).then_some(())
    })
    .await;
    let mut found = fake.world().lineage.clone();
    found.sort();
    assert_eq!(found, wanted(fake));
    assert!(!found.is_empty());
    assert_eq!(fake.world().violations, [""; 0]);
}

#[tokio::test]
async fn fingerprints_of_each_record_arrive_once_whatever_happens() {
    let fake = Fake::start().await;
    let mut sink = Sink::start(fake.rest, fake.grpc, "audit", &["--lineage"]).await;
    let mut filter = Filter::new(1);
    let faults = [
        Fault::LoseAnswer,
        Fault::WriteAndCut,
        Fault::Expire,
        Fault::Finalize,
        Fault::LoseStream,
        Fault::Late(Duration::from_millis(100)),
        Fault::Cut,
        Fault::Refuse(Code::Unavailable, Cause::Unspecified),
        Fault::Refuse(Code::FailedPrecondition, Cause::StreamFinalized),
        Fault::End(Code::Internal),
    ];
    let mut sent = 0;
    for (round, fault) in faults.into_iter().enumerate() {
        fake.world().lineage_faults.push_back(fault);
        sink.send(answers(&mut filter, 7, "gpt")).await.unwrap();
        sent += 7;
        eventually("the records arrive", async || {
            (fake.world().count >= sent).then_some(())
        })
        .await;
        if round % 3 == 2 {
            sink.kill();
            sink.run().await;
        }
    }
    complete(&fake).await;
    assert_eq!(sink.stop().await.code(), Some(0));
    sink.run().await;
    sink.send(answers(&mut filter, 5, "gpt")).await.unwrap();
    eventually("the records arrive", async || {
        (fake.world().count >= sent + 5).then_some(())
    })
    .await;
    complete(&fake).await;
    eventually("nothing waits", async || {
        (sink.metric("sink_lineage_waiting_records").await < 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_table_that_refuses_fingerprints_hinders_no_record() {
    let fake = Fake::start().await;
    fake.world().refuse_lineage = Some(Code::PermissionDenied);
    let mut sink = Sink::start(fake.rest, fake.grpc, "audit", &["--lineage"]).await;
    let mut filter = Filter::new(1);
    sink.send(answers(&mut filter, 30, "gpt")).await.unwrap();
    sink.drained(30.0).await;
    assert_eq!(fake.world().rows.len(), 30);
    assert!(sink.metric("sink_lineage_waiting_records").await > 0.0);
    assert_eq!(sink.metric("sink_spool_bytes").await, 0.0);
    // What waits is there after a crash too.
    sink.kill();
    fake.world().refuse_lineage = None;
    sink.run().await;
    complete(&fake).await;
}

#[tokio::test]
async fn records_that_wait_too_long_for_their_fingerprints_are_let_go_and_counted() {
    let fake = Fake::start().await;
    fake.world().refuse_lineage = Some(Code::PermissionDenied);
    let more = ["--lineage", "--lineage-max-bytes", "4000"];
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &more).await;
    let mut filter = Filter::new(1);
    for _ in 0..4 {
        sink.send(answers(&mut filter, 10, "gpt")).await.unwrap();
    }
    sink.drained(40.0).await;
    let waiting = sink.metric("sink_lineage_waiting_bytes").await;
    assert!(waiting > 0.0 && waiting <= 4000.0, "{waiting}");
    let skipped = sink.metric("sink_lineage_skipped_records").await;
    let waiting = sink.metric("sink_lineage_waiting_records").await;
    assert_eq!(skipped + waiting, 40.0);
    fake.world().refuse_lineage = None;
    eventually("the others arrive", async || {
        (sink.metric("sink_lineage_waiting_records").await < 1.0).then_some(())
    })
    .await;
    let world = fake.world();
    let oldest = world
        .lineage
        .iter()
        .map(|row| Origin::decode(row.clone()).unwrap().sink_seq);
    assert!(oldest.min().unwrap() >= 20);
}

#[tokio::test]
async fn a_record_whose_fingerprints_are_refused_is_passed_over() {
    let fake = Fake::start().await;
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &["--lineage"]).await;
    let mut filter = Filter::new(1);
    let mut entries = answers(&mut filter, 6, "gpt");
    entries.extend(answers(&mut filter, 2, "lineage poison"));
    entries.extend(answers(&mut filter, 6, "gpt"));
    sink.send(entries).await.unwrap();
    sink.drained(14.0).await;
    eventually("nothing waits", async || {
        (sink.metric("sink_lineage_waiting_records").await < 1.0).then_some(())
    })
    .await;
    assert_eq!(sink.metric("sink_lineage_refused_total").await, 1.0);
    let world = fake.world();
    let records = world
        .lineage
        .iter()
        .map(|row| Origin::decode(row.clone()).unwrap().sink_seq);
    let mut records: Vec<i64> = records.collect();
    records.dedup();
    assert_eq!(records, [1, 2, 4, 5, 9, 10, 12, 13]);
}

#[tokio::test]
async fn without_the_option_nothing_is_made_or_kept() {
    let fake = Fake::start().await;
    let mut sink = Sink::start(fake.rest, fake.grpc, "audit", &["--lineage"]).await;
    fake.world().refuse_lineage = Some(Code::PermissionDenied);
    let mut filter = Filter::new(1);
    sink.send(answers(&mut filter, 9, "gpt")).await.unwrap();
    sink.drained(9.0).await;
    sink.kill();
    sink.forget_arguments(1);
    sink.run().await;
    assert_eq!(sink.metric("sink_lineage_waiting_bytes").await, 0.0);
    sink.send(answers(&mut filter, 9, "gpt")).await.unwrap();
    eventually("the records arrive", async || {
        (fake.world().count >= 18).then_some(())
    })
    .await;
    assert!(fake.world().lineage.is_empty());
}

#[tokio::test]
async fn the_table_is_one_that_can_be_asked() {
    let emulator = Emulator::shared().await;
    let dataset = dataset();
    let sink = Sink::start(emulator.rest, emulator.grpc, &dataset, &["--lineage"]).await;
    let mut filter = Filter::new(1);
    sink.send(answers(&mut filter, 20, "gpt")).await.unwrap();
    sink.drained(20.0).await;
    eventually("nothing waits", async || {
        (sink.metric("sink_lineage_waiting_records").await < 1.0).then_some(())
    })
    .await;
    let rows = sink.metric("sink_lineage_rows_appended_total").await;
    let sql = format!(
        "SELECT COUNT(*), COUNT(DISTINCT epoch || CAST(seq AS STRING)), COUNT(DISTINCT suggestion) \
         FROM {dataset}.lineage WHERE received_at >= TIMESTAMP '2020-01-01T00:00:00Z'"
    );
    let found = emulator.query(&sql).await.swap_remove(0);
    let found: Vec<f64> = found
        .iter()
        .flatten()
        .map(|value| value.parse().unwrap())
        .collect();
    assert_eq!(found, [rows, 13.0, 2.0]);
}
