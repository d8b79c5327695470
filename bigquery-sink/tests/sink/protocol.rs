//! What the sink asks of BigQuery, and how it goes on when that fails.

use std::time::{Duration, Instant};

use axum::http::Method;
use bigquery_sink::{
    bigquery::{
        StorageErrorCode as Cause, Table, proto::append_rows_request::Rows, row_descriptor,
    },
    envoy::HttpEntry,
};
use contract::{Content, Envelope};
use prost::Message;
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    fake::{Fake, Fault, Poison},
    world::{Filter, PROJECT, Sink, carrying, eventually, free_port},
};

async fn world(more: &[&str]) -> (Fake, Sink, Filter) {
    let fake = Fake::start().await;
    let sink = Sink::start(fake.rest, fake.grpc, "audit", more).await;
    (fake, sink, Filter::new(1))
}

fn of_persons(filter: &mut Filter, persons: &[&str]) -> Vec<HttpEntry> {
    let record = |person: &&str| Envelope {
        kind: Some("close".into()),
        person: Some((*person).to_owned()),
        ..Envelope::default()
    };
    let mut seal = |person| carrying(&filter.seal(record(person), &Content::default()));
    persons.iter().map(&mut seal).collect()
}

/// Whether the table has rows 0 to `rows` once each, and which of them are tombstones.
fn tombstones(fake: &Fake, rows: usize) -> Vec<i64> {
    let table = fake.table();
    assert!(
        table
            .iter()
            .map(|row| row.2)
            .eq(0..i64::try_from(rows).unwrap()),
        "{table:?}"
    );
    table
        .into_iter()
        .filter(|row| row.0 == "tombstone")
        .map(|row| row.2)
        .collect()
}

#[tokio::test]
async fn requests_say_what_the_emulator_ignores() {
    let (fake, sink, mut filter) = world(&["--location", "EU", "--append-rows", "5"]).await;
    sink.send(filter.records(40)).await.unwrap();
    sink.drained(40.0).await;
    assert!(tombstones(&fake, 40).is_empty());
    let world = fake.world();

    let posted = |end: &str| -> &Value {
        let mut found = world.rest.iter().filter(|(method, path, _)| {
            *method == Method::POST && path == &format!("/bigquery/v2/projects/{PROJECT}/{end}")
        });
        &found
            .next()
            .unwrap_or_else(|| panic!("nothing posted to {end}"))
            .2
    };
    let table = posted("datasets/audit/tables");
    assert_eq!(table["requirePartitionFilter"], true);
    assert_eq!(
        table["timePartitioning"],
        json!({"type": "DAY", "field": "received_at"})
    );
    assert_eq!(
        table["clustering"]["fields"],
        json!(["person", "endpoint", "decision"])
    );
    let described = |field: &Value| {
        field["description"]
            .as_str()
            .is_some_and(|text| text.len() > 5)
    };
    assert!(
        table["schema"]["fields"]
            .as_array()
            .unwrap()
            .iter()
            .all(described)
    );
    assert_eq!(posted("datasets")["location"], "EU");
    let sql: Vec<&str> = world
        .rest
        .iter()
        .filter_map(|(_, _, body)| body["query"].as_str())
        .collect();
    let made = [
        ("VIEW", "exchanges"),
        ("TABLE FUNCTION", "exchanges_between"),
        ("VIEW", "findings"),
        ("TABLE FUNCTION", "findings_between"),
        ("VIEW", "repeats"),
        ("VIEW", "gaps"),
        ("VIEW", "epochs"),
        ("VIEW", "policies"),
        ("VIEW", "approvals"),
    ];
    assert_eq!(sql.len(), made.len());
    for (sql, (kind, name)) in sql.iter().zip(made) {
        let start = format!("CREATE OR REPLACE {kind} `{PROJECT}.audit_views.{name}`");
        assert!(sql.starts_with(&start), "{sql}");
        // each time that the table is read, its days are named: all of them, or those of the time
        let reads_table = sql.matches(".records`").count();
        let filter = match kind {
            "VIEW" => "received_at >= TIMESTAMP '",
            _ => "received_at >= TIMESTAMP_SUB(since",
        };
        assert_eq!(sql.matches(filter).count(), reads_table, "{sql}");
    }

    assert!(world.appends.len() >= 8);
    let mut offset = 0;
    for append in &world.appends {
        let Some(Rows::ProtoRows(data)) = &append.request.rows else {
            panic!("no rows")
        };
        assert_eq!(
            append.request.offset,
            Some(offset),
            "each row has its place"
        );
        offset += i64::try_from(data.rows.as_ref().unwrap().serialized_rows.len()).unwrap();
        assert!(
            append.route.starts_with("write_stream=projects%2F"),
            "{}",
            append.route
        );
        let schema = data
            .writer_schema
            .as_ref()
            .and_then(|schema| schema.proto_descriptor.clone());
        if append.place == 0 {
            assert!(
                append
                    .request
                    .write_stream
                    .ends_with("/tables/records/streams/s0")
            );
            assert_eq!(schema, Some(row_descriptor(Table::Records)));
            assert!(append.request.trace_id.starts_with("bigquery-sink:"));
        } else {
            assert_eq!((append.request.write_stream.as_str(), schema), ("", None));
        }
    }
    let connections = world
        .appends
        .iter()
        .filter(|append| append.place == 0)
        .count();
    assert_eq!(connections, 1, "one long connection");
}

#[tokio::test]
async fn a_lost_answer_is_no_lost_and_no_doubled_row() {
    let (fake, sink, mut filter) = world(&["--append-wait-ms", "1"]).await;
    fake.world().faults.push_back(Fault::LoseAnswer);
    sink.send(filter.records(5)).await.unwrap();
    eventually("the answer got lost", async || {
        (fake.world().rows.len() == 5).then_some(())
    })
    .await;
    // More rows: what is sent next begins with known rows and ends with new ones.
    sink.send(filter.records(10)).await.unwrap();
    sink.drained(15.0).await;
    assert!(tombstones(&fake, 15).is_empty());
    let world = fake.world();
    let asked = |(_, _, body): &&(Method, String, Value)| {
        body["query"]
            .as_str()
            .is_some_and(|sql| sql.contains("MAX(sink_seq)"))
    };
    let question = &world
        .rest
        .iter()
        .find(asked)
        .expect("the table was asked")
        .2;
    assert!(
        question["query"]
            .as_str()
            .unwrap()
            .contains("received_at >="),
        "reads few partitions"
    );
    assert_eq!(world.finalized.len(), 0, "the stream is still good");
}

#[tokio::test]
async fn refused_rows_become_dead_letters_and_the_others_pass() {
    for poison in [Poison::Named, Poison::Unnamed] {
        let (fake, mut sink, mut filter) = world(&[]).await;
        fake.world().poison = poison;
        let mut persons = ["ana"; 60];
        persons[17] = "poison";
        persons[18] = "poison";
        persons[44] = "poison";
        sink.send(of_persons(&mut filter, &persons)).await.unwrap();
        sink.drained(60.0).await;
        assert_eq!(tombstones(&fake, 60), [17, 18, 44], "{poison:?}");
        assert_eq!(
            sink.metric("sink_dead_letters_total").await,
            3.0,
            "{poison:?}"
        );
        assert_eq!(sink.ready().await.0, 200);
        assert!(!sink.log().contains("poison"), "nothing of a row is logged");
        assert!(sink.stop().await.success());
        let listed = sink.dead_letters(None);
        let seqs: Vec<_> = listed.iter().map(|dead| &dead["sink_seq"]).collect();
        assert_eq!(seqs, [17, 18, 44]);
        let rejected = |dead: &Value| {
            dead["reason"] == "rejected"
                && dead["detail"].is_null()
                && dead["bytes"].as_u64() > Some(100)
        };
        assert!(listed.iter().all(rejected), "{listed:?}");
        let folder = tempfile::tempdir().unwrap();
        let exported = sink.dead_letters(Some(folder.path()));
        let kept = std::fs::read(folder.path().join("17.bin")).unwrap();
        assert_eq!(
            Envelope::decode(kept.as_slice()).unwrap().person(),
            "poison"
        );
        let said = match poison {
            Poison::Named => "person: poison cannot be stored",
            Poison::Unnamed => "INVALID_ARGUMENT",
        };
        assert_eq!(exported[0]["detail"], said);
        sink.run().await;
        assert_eq!(
            sink.ready().await.1["dead_letters"],
            3,
            "also after a restart"
        );
    }
}

#[tokio::test]
async fn when_all_is_refused_no_row_is_blamed() {
    let (fake, sink, mut filter) = world(&[]).await;
    fake.world().refuse_all = true;
    sink.send(filter.records(30)).await.unwrap();
    eventually("tombstones were tried", async || {
        (sink.log().matches("no row is to blame").count() >= 3).then_some(())
    })
    .await;
    fake.world().refuse_all = false; // within the pause after it
    sink.drained(30.0).await;
    assert!(tombstones(&fake, 30).is_empty());
    assert_eq!(sink.metric("sink_dead_letters_total").await, 0.0);
}

#[tokio::test]
async fn a_closed_stream_is_followed_by_another() {
    let (fake, sink, mut filter) = world(&["--append-rows", "10"]).await;
    sink.send(filter.records(25)).await.unwrap();
    sink.drained(25.0).await;
    for (code, cause) in [
        (Code::InvalidArgument, Cause::StreamFinalized),
        (Code::NotFound, Cause::StreamNotFound),
        (Code::OutOfRange, Cause::OffsetOutOfRange),
        (Code::FailedPrecondition, Cause::Unspecified),
    ] {
        fake.world().faults.push_back(Fault::Refuse(code, cause));
        let before = fake.world().rows.len();
        sink.send(filter.records(25)).await.unwrap();
        eventually("rows are in the table", async || {
            (fake.world().rows.len() == before + 25).then_some(())
        })
        .await;
    }
    sink.drained(125.0).await;
    assert!(tombstones(&fake, 125).is_empty());
    assert_eq!(
        fake.world().finalized.len(),
        3,
        "closed before they are left, but for OUT_OF_RANGE"
    );
}

#[tokio::test]
async fn failures_that_pass_are_waited_for() {
    // One request at a time, so that each failure hits an attempt of its own.
    let more = ["--append-rows", "10", "--appends-in-flight", "1"];
    let (fake, sink, mut filter) = world(&more).await;
    fake.world().faults.extend([
        Fault::End(Code::Unavailable),
        Fault::Refuse(Code::Internal, Cause::Unspecified),
        Fault::Refuse(Code::ResourceExhausted, Cause::Unspecified),
        Fault::End(Code::Unknown),
        Fault::Refuse(Code::Aborted, Cause::Unspecified),
        Fault::End(Code::PermissionDenied),
    ]);
    sink.send(filter.records(50)).await.unwrap();
    sink.drained(50.0).await;
    assert!(tombstones(&fake, 50).is_empty());
    let metrics = sink.page("metrics").await.unwrap().1;
    for code in [
        "UNAVAILABLE",
        "INTERNAL",
        "RESOURCE_EXHAUSTED",
        "UNKNOWN",
        "ABORTED",
    ] {
        assert!(
            metrics.contains(&format!("sink_append_errors_total{{code=\"{code}\"}} 1")),
            "{code}"
        );
    }
}

#[tokio::test]
async fn a_pause_that_bigquery_asks_for_is_kept() {
    let (fake, sink, mut filter) = world(&[]).await;
    let pause = Duration::from_millis(1500); // six times the sink's own
    fake.world().faults.push_back(Fault::Quota(pause));
    let start = Instant::now();
    sink.send(filter.records(5)).await.unwrap();
    sink.drained(5.0).await;
    assert!(start.elapsed() >= pause);
    assert!(tombstones(&fake, 5).is_empty());
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_waited_for_without_end() {
    let (fake, sink, mut filter) = world(&["--append-patience-ms", "1000"]).await;
    fake.world().faults.push_back(Fault::Silence);
    sink.send(filter.records(5)).await.unwrap();
    sink.drained(5.0).await;
    assert!(tombstones(&fake, 5).is_empty());
    assert!(fake.world().violations.is_empty());
}

#[tokio::test]
async fn rows_that_arrive_after_the_connection_are_not_doubled() {
    let (fake, sink, mut filter) = world(&["--append-rows", "10"]).await;
    for late in [1, 300, 1500] {
        let late = Fault::Late(Duration::from_millis(late));
        fake.world().faults.push_back(late);
        let rows = fake.world().rows.len() + 30;
        sink.send(filter.records(30)).await.unwrap();
        eventually("rows are in the table", async || {
            (fake.world().rows.len() >= rows).then_some(())
        })
        .await;
    }
    sink.drained(90.0).await;
    assert!(tombstones(&fake, 90).is_empty());
    assert!(fake.world().violations.is_empty());
}

#[tokio::test]
async fn a_late_tombstone_does_not_take_the_place_of_its_row() {
    let (fake, sink, mut filter) = world(&[]).await;
    let refused = Fault::Refuse(Code::InvalidArgument, Cause::Unspecified);
    let late = Fault::Late(Duration::from_secs(2));
    // The row is refused; its tombstone gets stuck, is sent again, and refused too.
    fake.world().faults.extend([refused, late, refused]);
    sink.send(of_persons(&mut filter, &["ana"])).await.unwrap();
    sink.drained(1.0).await;
    eventually("the late tombstone has come", async || {
        (fake.world().late == 1).then_some(())
    })
    .await;
    assert!(tombstones(&fake, 1).is_empty());
    assert_eq!(fake.world().violations, [""; 0]);
    assert_eq!(
        fake.world().finalized.len(),
        1,
        "closed before the row came back"
    );
    assert_eq!(sink.metric("sink_dead_letters_kept").await, 0.0);
}

#[tokio::test]
async fn streams_that_end_by_themselves_are_followed_by_others() {
    let (fake, sink, mut filter) = world(&["--append-rows", "10"]).await;
    for (fault, rows) in [
        (Fault::Finalize, 25),
        (Fault::Expire, 50),
        (Fault::Expire, 75),
        (Fault::LoseStream, 100),
    ] {
        fake.world().faults.push_back(fault);
        sink.send(filter.records(25)).await.unwrap();
        eventually("rows are in the table", async || {
            (fake.world().rows.len() == rows).then_some(())
        })
        .await;
    }
    sink.drained(100.0).await;
    assert!(tombstones(&fake, 100).is_empty());
    assert_eq!(sink.log().matches("opened a write stream").count(), 5);
}

#[tokio::test]
async fn a_changed_schema_is_no_failure() {
    let (fake, sink, mut filter) = world(&[]).await;
    fake.world().faults.push_back(Fault::Notice);
    sink.send(filter.records(5)).await.unwrap();
    sink.drained(5.0).await;
    assert!(tombstones(&fake, 5).is_empty());
    assert_eq!(sink.metric("sink_append_errors_total").await, 0.0);
    assert!(sink.log().contains("the table's schema has changed"));
}

#[tokio::test]
async fn connections_of_limited_age_are_replaced() {
    let fake = Fake::start_on(0, 0, Some(Duration::from_millis(300))).await;
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &["--append-wait-ms", "1"]).await;
    let mut filter = Filter::new(1);
    for _ in 0..20 {
        sink.send(filter.records(50)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await; // so that they live through it
    }
    sink.drained(1000.0).await;
    assert!(tombstones(&fake, 1000).is_empty());
    let world = fake.world();
    let connections = world.appends.iter().filter(|append| append.place == 0);
    assert!(connections.count() > 2);
    assert!(world.violations.is_empty());
}

#[tokio::test]
async fn requests_stay_below_the_size_that_bigquery_takes() {
    let (fake, sink, mut filter) = world(&["--append-rows", "10000"]).await;
    fake.world().faults.push_back(Fault::End(Code::Unavailable)); // so that rows pile up
    let mut large = |_| {
        let content = Content {
            request_content: Some(format!("\"{}\"", "x".repeat(700_000))),
            ..Content::default()
        };
        carrying(&filter.seal(Envelope::default(), &content))
    };
    let entries: Vec<HttpEntry> = (0..40).map(&mut large).collect();
    for some in entries.chunks(4) {
        sink.send(some.to_vec()).await.unwrap();
    }
    sink.drained(40.0).await;
    assert!(tombstones(&fake, 40).is_empty());
    let world = fake.world();
    assert!(world.violations.is_empty(), "{:?}", world.violations);
    let sizes = world
        .appends
        .iter()
        .map(|append| append.request.encoded_len());
    assert!(sizes.max() > Some(5 << 20), "requests were filled");
}

#[tokio::test]
async fn bad_days_lose_and_double_nothing() {
    let more = [
        "--append-rows",
        "20",
        "--append-wait-ms",
        "5",
        "--append-patience-ms",
        "1000",
    ];
    let (fake, sink, mut filter) = world(&more).await;
    fake.world().storm(7, 150);
    for _ in 0..10 {
        sink.send(filter.records(60)).await.unwrap();
    }
    sink.drained(600.0).await;
    fake.world().weather = None;
    assert!(tombstones(&fake, 600).is_empty());
    let world = fake.world();
    assert!(world.violations.is_empty(), "{:?}", world.violations);
    assert!(world.happened.len() >= 4, "{:?}", world.happened);
    assert!(!sink.log().contains("xxxx"), "nothing of a row is logged");
}

#[tokio::test]
async fn a_spool_from_a_backup_does_not_pass_for_the_newest() {
    let (fake, mut sink, mut filter) = world(&[]).await;
    sink.send(filter.records(5)).await.unwrap();
    sink.drained(5.0).await;
    assert!(sink.stop().await.success());
    let backup = tempfile::tempdir().unwrap();
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(from)
            .arg(to)
            .status();
        assert!(copied.unwrap().success());
    };
    copy(&sink.spool(), backup.path());
    sink.run().await;
    sink.send(filter.records(5)).await.unwrap();
    sink.drained(5.0).await;
    assert!(sink.stop().await.success());
    std::fs::remove_dir_all(sink.spool()).unwrap();
    copy(&backup.path().join("spool"), &sink.spool());
    sink.run().await;
    sink.send(filter.records(3)).await.unwrap();
    eventually("it is noticed", async || {
        sink.log()
            .contains("rows of this sink that this spool never had")
            .then_some(())
    })
    .await;
    assert_eq!(
        sink.metric("sink_spool_records").await,
        3.0,
        "and nothing is forgotten"
    );
    assert_eq!(fake.world().rows.len(), 10);
}

#[tokio::test]
async fn a_table_that_lost_columns_gets_them_again() {
    let (fake, sink, mut filter) = world(&[]).await;
    eventually("ready", async || {
        (sink.ready().await.0 == 200).then_some(())
    })
    .await;
    {
        let mut world = fake.world();
        world.forget_table();
        world.faults.push_back(Fault::Refuse(
            Code::InvalidArgument,
            Cause::SchemaMismatchExtraFields,
        ));
    }
    sink.send(filter.records(3)).await.unwrap();
    sink.drained(3.0).await;
    assert!(tombstones(&fake, 3).is_empty());
    let made = |(method, path, _): &&(Method, String, Value)| {
        *method == Method::POST && path.ends_with("/tables")
    };
    assert_eq!(fake.world().rest.iter().filter(made).count(), 2);
}

#[tokio::test]
async fn a_full_spool_holds_rows_back_and_drops_none() {
    let (rest, grpc) = (free_port(), free_port());
    let sink = Sink::start(rest, grpc, "audit", &["--spool-max-bytes", "100000"]).await;
    let mut filter = Filter::new(1);
    for _ in 0..50 {
        sink.send(filter.records(10)).await.unwrap(); // about 7 kB each
    }
    eventually("the spool is full", async || {
        (sink.metric("sink_spool_full").await > 0.0).then_some(())
    })
    .await;
    let bytes = sink.metric("sink_spool_bytes").await;
    assert!(bytes < 100_000.0, "{bytes}");
    assert!(sink.metric("sink_records_received_total").await < 500.0);
    let said = sink.ready().await.1;
    assert!(
        said["spool"].as_str().unwrap().starts_with("no room"),
        "{said}"
    );
    let fake = Fake::start_on(rest, grpc, None).await;
    sink.drained(500.0).await;
    assert!(tombstones(&fake, 500).is_empty());
    assert_eq!(sink.metric("sink_spool_full").await, 0.0);
}

#[tokio::test]
async fn rows_are_loaded_also_without_the_right_to_make_views() {
    let fake = Fake::start().await;
    fake.world().refuse_views = true;
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &[]).await;
    sink.send(Filter::new(1).records(3)).await.unwrap();
    sink.drained(3.0).await;
    assert_eq!(sink.ready().await.0, 200);
    assert!(sink.log().contains("status 403 accessDenied"), "it says so");
}

#[test]
fn wrong_usage_ends_with_2_and_says_why() {
    let run = |arguments: &[&str], keys: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_bigquery-sink"))
            .args(arguments)
            .env("GATE_SINK_KEYS", keys)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let key = crate::world::KEYS;
    let cases: [(&[&str], &str, &str); 4] = [
        (&["--project", "p"], key, "--spool"),
        (&["--spool", "s", "--project", "p"], "", "GATE_SINK_KEYS"),
        (
            &["--spool", "s", "--project", "p", "--nonsense"],
            key,
            "--nonsense",
        ),
        (
            &[
                "--spool",
                "s",
                "--project",
                "p",
                "--bigquery-rest",
                "http://x.example",
            ],
            key,
            "https",
        ),
    ];
    for (arguments, keys, word) in cases {
        let (code, said) = run(arguments, keys);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn a_full_disk_holds_rows_back_until_there_is_room() {
    let fake = Fake::start().await;
    let full = ["--spool-min-free-bytes", "9000000000000000000"];
    let mut sink = Sink::start(fake.rest, fake.grpc, "audit", &full).await;
    let mut filter = Filter::new(1);
    let records = filter.records(5);
    sink.send(records.clone()).await.unwrap();
    eventually("it says so", async || {
        let said = sink.ready().await.1;
        said["spool"].as_str()?.starts_with("no room").then_some(())
    })
    .await;
    let epoch = format!("v1/epochs/{}", "01".repeat(16));
    assert_eq!(sink.page(&epoch).await.unwrap().0, 404, "none is durable");
    assert_eq!(sink.metric("sink_records_received_total").await, 0.0);
    sink.kill();
    sink.forget_arguments(full.len());
    sink.run().await;
    sink.send(records).await.unwrap();
    sink.drained(5.0).await;
    let (status, text) = sink.page(&epoch).await.unwrap();
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200);
    let expected =
        json!({"epoch": "01".repeat(16), "durable_through": 4, "highest": 4, "missing": []});
    assert_eq!(told, expected);
    for nobody in ["v1/epochs/x", "v1/epochs/00000000000000000000000000000000"] {
        assert_eq!(sink.page(nobody).await.unwrap().0, 404);
    }
}
