//! Nothing that is durable is lost or doubled, whoever is killed.

use bigquery_sink::{
    envoy::HttpEntry,
    spool::{Limits, Spool},
};
use contract::{Content, Envelope};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::{
    fake::Fake,
    world::{Emulator, Filter, PROJECT, Sink, carrying, dataset, eventually, free_port},
};

const SMALL_APPENDS: [&str; 4] = ["--append-rows", "20", "--append-wait-ms", "5"];

#[tokio::test]
async fn a_killed_sink_goes_on_where_it_was() {
    let emulator = Emulator::shared().await;
    let dataset = dataset();
    let mut sink = Sink::start(emulator.rest, emulator.grpc, &dataset, &SMALL_APPENDS).await;
    for (round, kill_at) in [150_f64, 40.0, 300.0].into_iter().enumerate() {
        let mut filter = Filter::new(u8::try_from(round).unwrap());
        let rows = filter.records(1000);
        let sending = sink.send(rows);
        let watching = eventually("enough rows are in BigQuery", async || {
            (sink.metric("sink_rows_appended_total").await >= kill_at).then_some(())
        });
        // The stream may be through before, or break with the sink.
        let (_sent, ()) = tokio::join!(sending, watching);
        let counted = sink.metric("sink_records_received_total").await;
        sink.kill();
        let durable = Spool::open(
            &sink.spool(),
            Limits {
                max_bytes: 1,
                min_free_bytes: 0,
            },
        );
        let durable = durable.unwrap().status();
        let before = u64::try_from(round).unwrap() * 1000;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let counted_before_kill = counted <= (durable.next_seq - before) as f64;
        assert!(
            counted_before_kill,
            "{counted} were counted, {durable:?} are durable"
        );
        assert!(
            durable.first_unacked < durable.next_seq,
            "killed too late to show anything"
        );
        sink.run().await;
        eventually("all is loaded", async || {
            (sink.metric("sink_spool_records").await < 1.0).then_some(())
        })
        .await;
        assert_exactly(emulator, &dataset, durable.next_seq).await;
    }
}

#[tokio::test]
async fn a_killed_bigquery_makes_no_loss_and_no_repeat() {
    let mut emulator = Emulator::start().await;
    let dataset = dataset();
    let sink = Sink::start(emulator.rest, emulator.grpc, &dataset, &SMALL_APPENDS).await;
    let mut filter = Filter::new(1);
    let mut sent = 0.0;
    for round in 1..=2 {
        sink.send(filter.records(800)).await.unwrap();
        sent += 800.0;
        eventually("appends are under way", async || {
            let appended = sink.metric("sink_rows_appended_total").await;
            (appended >= sent - 700.0 && appended < sent).then_some(())
        })
        .await;
        emulator.kill();
        let errors = sink.metric("sink_append_errors_total").await;
        eventually("the sink notices", async || {
            (sink.metric("sink_append_errors_total").await > errors).then_some(())
        })
        .await;
        emulator.run().await; // without its streams, they are only in memory
        sink.drained(sent).await;
        assert_exactly(&emulator, &dataset, round * 800).await;
    }
    let opened = sink.log().matches("opened a write stream").count();
    assert!(
        opened >= 3,
        "{opened} streams: the emulator's streams did not vanish"
    );
    assert_eq!(
        sink.metric("sink_dead_letters_total").await,
        0.0,
        "no row is to blame"
    );
}

/// What a disk that fails in the middle of a write does: files may not grow beyond 64 MiB.
#[tokio::test]
async fn a_disk_that_fails_ends_the_sink_and_loses_nothing_durable() {
    let (rest, grpc) = (free_port(), free_port());
    let mut sink = Sink::prepare(rest, grpc, "audit", &[]);
    let limited = [
        "sh",
        "-c",
        r#"trap '' XFSZ; ulimit -f 131072; exec "$@""#,
        "sh",
    ];
    sink.run_by(&limited).await;
    let mut filter = Filter::new(1);
    let mut random = StdRng::seed_from_u64(1);
    // Text that does not compress, or the files would not grow.
    let text = (0..300_000).map(|_| char::from(random.random_range(b'#'..b'~')));
    let content = Content {
        request_content: Some(text.collect()),
        response_content: None,
    };
    let mut large = || carrying(&filter.seal(Envelope::default(), &content));
    let epoch = format!("v1/epochs/{}", "01".repeat(16));
    let mut durable = -1;
    let mut sent: Vec<HttpEntry> = Vec::new();
    let ended = loop {
        assert!(sent.len() < 1500, "the disk does not fail");
        let some: Vec<HttpEntry> = (0..10).map(|_| large()).collect();
        sent.extend(some.clone());
        let _broken = sink.send(some).await;
        if let Some((200, told)) = sink.page(&epoch).await {
            let told: Value = serde_json::from_str(&told).unwrap();
            durable = told["durable_through"].as_i64().unwrap();
        }
        if let Some(ended) = sink.ended() {
            break ended;
        }
    };
    assert_eq!(ended.code(), Some(1));
    assert!(
        sink.log().contains("cannot write to the spool"),
        "it says so"
    );
    assert!(durable > 0, "{durable}");

    let fake = Fake::start_on(rest, grpc, None).await;
    sink.run().await;
    sink.drained(0.0).await;
    let places: Vec<i64> = fake.places().into_iter().map(|(_, seq)| seq).collect();
    assert!(
        places
            .iter()
            .copied()
            .eq(0..i64::try_from(places.len()).unwrap())
    );
    assert!(i64::try_from(places.len()).unwrap() > durable);
    let rows = sent.len();
    for some in sent.chunks(10) {
        sink.send(some.to_vec()).await.unwrap();
    }
    eventually("the others have come", async || {
        (fake.world().rows.len() >= rows).then_some(())
    })
    .await;
    let places: Vec<i64> = fake.places().into_iter().map(|(_, seq)| seq).collect();
    assert!(
        places.into_iter().eq(0..i64::try_from(rows).unwrap()),
        "none is doubled"
    );
}

async fn assert_exactly(emulator: &Emulator, dataset: &str, rows: u64) {
    let sql = format!(
        "SELECT COUNT(*), COUNT(DISTINCT sink_seq), COUNT(DISTINCT CONCAT(epoch, CAST(seq AS STRING))), \
         MAX(sink_seq) + 1 FROM `{PROJECT}.{dataset}.records`"
    );
    let rows = Some(rows.to_string());
    assert_eq!(
        emulator.query(&sql).await[0],
        [rows.clone(), rows.clone(), rows.clone(), rows]
    );
}
