//! What the sink asks of BigQuery, and how it goes on when that fails.

use axum::http::Method;
use bigquery_sink::{
    bigquery::{StorageErrorCode as Cause, proto::append_rows_request::Rows, row_descriptor},
    envoy::HttpEntry,
    spool::{Limits, Spool},
};
use contract::{Content, Envelope};
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
    assert_eq!(sql.len(), 3);
    for (sql, view) in sql.iter().zip(["exchanges", "findings", "gaps"]) {
        let start = format!("CREATE OR REPLACE VIEW `{PROJECT}.audit_views.{view}`");
        assert!(sql.starts_with(&start), "{sql}");
        let reads_table = sql.matches(".records`").count();
        assert_eq!(
            sql.matches("received_at >= TIMESTAMP").count(),
            reads_table,
            "{sql}"
        );
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
            assert_eq!(schema, Some(row_descriptor()));
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
        let spool = Spool::open(
            &sink.spool(),
            Limits {
                max_bytes: 1,
                min_free_bytes: 0,
            },
        )
        .unwrap();
        let dead = spool.dead_letters().unwrap();
        assert_eq!(
            dead.iter().map(|dead| dead.0).collect::<Vec<_>>(),
            [17, 18, 44]
        );
        assert!(
            dead.iter()
                .all(|dead| dead.1 == "rejected" && dead.2.len() > 100)
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
    let fake = Fake::start_on(rest, grpc).await;
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
