//! What is signed about rows, and that the table proves it.

use bytes::Bytes;
use contract::{Envelope, Proof, Stamp, checkpoint::Checkpoint};
use prost::Message;

use crate::{
    fake::Fake,
    world::{Filter, Sink, covered, eventually, proven, public_keys},
};

const OFTEN: [&str; 2] = ["--checkpoint-interval", "100ms"];

async fn world(more: &[&str]) -> (Fake, Sink, Filter) {
    let fake = Fake::start().await;
    let more: Vec<&str> = OFTEN.iter().chain(more).copied().collect();
    let mut sink = Sink::prepare(fake.rest, fake.grpc, "audit", &more).with_checkpoints();
    sink.run().await;
    (fake, sink, Filter::new(1))
}

fn rows(fake: &Fake) -> Vec<Bytes> {
    let mut rows = fake.world().rows.clone();
    rows.sort_by_key(|row| Stamp::decode(row.clone()).unwrap().sink_seq());
    rows
}

#[tokio::test]
async fn checkpoints_are_rows_and_prove_those_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoints");
    let (fake, mut sink, mut filter) = world(&["--checkpoint-file", file.to_str().unwrap()]).await;
    for round in [20.0, 40.0, 60.0] {
        sink.send(filter.records(20)).await.unwrap();
        covered(&sink, round).await;
    }
    assert!(sink.metric("sink_checkpoints_total").await >= 3.0);
    sink.kill();
    sink.run().await;
    sink.send(filter.records(10)).await.unwrap();
    covered(&sink, 10.0).await;
    sink.send(filter.records(10)).await.unwrap();
    assert!(sink.stop().await.success());

    let found = proven(rows(&fake));
    let last = &found.last().unwrap().claims;
    let table = fake.table();
    assert_eq!(last.rows + 1, table.len() as u64, "a stop covers all");
    assert_eq!(table.iter().filter(|row| row.0 == "close").count(), 80);
    let epoch = last.epochs.first().unwrap();
    assert_eq!(
        (epoch.epoch.as_str(), epoch.next),
        ("01".repeat(16).as_str(), 80)
    );
    let hashes = rows(&fake).into_iter().filter_map(|row| {
        let envelope = Envelope::decode(row.clone()).unwrap();
        (envelope.kind() == "close" && envelope.seq() == 79)
            .then(|| data_encoding::HEXLOWER.encode(Proof::decode(row).unwrap().hash()))
    });
    assert_eq!(epoch.hash, hashes.last());

    let text = std::fs::read_to_string(&file).unwrap();
    let written: Vec<Checkpoint> = text
        .lines()
        .map(|line| public_keys().verify(line).unwrap())
        .collect();
    assert!(written.len() >= 4 && written.last() == found.last());
    assert!(!sink.log().contains("AAECAwQF"), "keys are not logged");
}

#[tokio::test]
async fn a_refused_row_leaves_its_hash_in_the_chain() {
    let (fake, mut sink, mut filter) = world(&[]).await;
    let poison = Envelope {
        kind: Some("close".into()),
        person: Some("poison".into()),
        ..Envelope::default()
    };
    let mut records = filter.records(5);
    let refused = filter.seal(poison, &contract::Content::default());
    records.push(crate::world::carrying(&refused));
    records.extend(filter.records(5));
    sink.send(records).await.unwrap();
    covered(&sink, 11.0).await;
    assert!(sink.stop().await.success());
    assert!(!proven(rows(&fake)).is_empty());
    let rows = rows(&fake);
    let tombstone = rows
        .into_iter()
        .find(|row| Envelope::decode(row.clone()).unwrap().kind() == "tombstone")
        .unwrap();
    let proof = Proof::decode(tombstone).unwrap();
    assert_eq!(proof.hash, Proof::decode(refused.as_slice()).unwrap().hash);
}

#[tokio::test]
async fn without_a_key_or_a_file_records_are_taken_all_the_same() {
    let fake = Fake::start().await;
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &OFTEN).await;
    let mut filter = Filter::new(1);
    sink.send(filter.records(5)).await.unwrap();
    sink.drained(5.0).await;
    assert_eq!(fake.table().len(), 5);
    assert_eq!(
        sink.log()
            .matches("GATE_CHECKPOINT_KEYS is not set")
            .count(),
        1
    );

    let folder = tempfile::tempdir().unwrap();
    let away = folder.path().join("away/checkpoints");
    let (fake, sink, mut filter) = world(&["--checkpoint-file", away.to_str().unwrap()]).await;
    sink.send(filter.records(5)).await.unwrap();
    eventually("it is told", async || {
        (sink.metric("sink_checkpoint_file_errors_total").await > 0.0).then_some(())
    })
    .await;
    std::fs::create_dir(folder.path().join("away")).unwrap();
    sink.send(filter.records(5)).await.unwrap();
    eventually("both are written", async || {
        let text = std::fs::read_to_string(&away).unwrap_or_default();
        (text.lines().count() >= 2).then_some(())
    })
    .await;
    covered(&sink, 10.0).await;
    assert!(proven(rows(&fake)).len() >= 2);
}
