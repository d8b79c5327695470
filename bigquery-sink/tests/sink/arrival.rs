//! Rows arrive in the emulator as they were sent, and the views show them.

use std::collections::BTreeMap;

use bigquery_sink::{
    envoy::{HttpEntry, Request, Response},
    spool::{Limits, Spool},
};
use contract::{Column, ColumnKind, Content, Envelope};
use serde_json::json;

use crate::world::{Emulator, Filter, PROJECT, Sink, carrying, dataset, eventually, http};

#[tokio::test]
async fn every_column_arrives_with_its_value() {
    let emulator = Emulator::shared().await;
    let dataset = dataset();
    let sink = Sink::start(emulator.rest, emulator.grpc, &dataset, &[]).await;
    let mut filter = Filter::new(1);
    filter.seal(Envelope::default(), &Content::default()); // so that prev_hash is not empty
    let content = Content {
        request_content: Some("{\"prompt\":\"grüße\\n\"}".into()),
        response_content: Some("[\"a\",\"b\"]".into()),
    };
    let record = filter.seal(full_envelope(), &content);
    sink.send(vec![carrying(&record)]).await.unwrap();
    sink.drained(1.0).await;

    let columns = contract::columns();
    let select: Vec<String> = columns.iter().map(as_text).collect();
    let sql = format!(
        "SELECT {} FROM `{PROJECT}.{dataset}.records` WHERE received_at > TIMESTAMP '2020-01-01 00:00:00+00'",
        select.join(", ")
    );
    let rows = emulator.query(&sql).await;
    assert_eq!(rows.len(), 1);
    let sent = fields(&record);
    for (column, found) in columns.iter().zip(&rows[0]) {
        let found = found
            .as_deref()
            .unwrap_or_else(|| panic!("{} is NULL", column.name));
        match column.name.as_str() {
            "received_at" => {
                let age = bigquery_sink::now() - found.parse::<i64>().unwrap();
                assert!((0..120_000_000).contains(&age), "{age}");
            }
            "sink_id" => assert_eq!(found.len(), 32),
            "sink_seq" => assert_eq!(found, "0"),
            name => {
                let sent = sent.get(&column.number).unwrap_or_else(|| {
                    panic!("{name} is not in the test's record: add it to `full_envelope`")
                });
                match column.kind {
                    ColumnKind::Bytes => assert_eq!(found, hex(&sent.1), "{name}"),
                    ColumnKind::Bool => assert_eq!(found == "true", sent.0 == 1, "{name}"),
                    ColumnKind::Int64 | ColumnKind::Timestamp => {
                        assert_eq!(found, sent.0.to_string(), "{name}");
                    }
                    ColumnKind::String => assert_eq!(found.as_bytes(), sent.1, "{name}"),
                    ColumnKind::Json => {
                        let parse = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text);
                        let (found, sent) = (parse(found.as_bytes()), parse(&sent.1));
                        assert_eq!(found.unwrap(), sent.unwrap(), "{name}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn two_thousand_records_are_two_thousand_rows() {
    let emulator = Emulator::shared().await;
    let dataset = dataset();
    let sink = Sink::start(emulator.rest, emulator.grpc, &dataset, &[]).await;
    let (mut one, mut two) = (Filter::new(1), Filter::new(2));
    let (first, second) = tokio::join!(sink.send(one.records(1000)), sink.send(two.records(1000)));
    first.unwrap();
    second.unwrap();
    sink.drained(2000.0).await;
    let counts = emulator
        .query(&format!(
            "SELECT COUNT(*), COUNT(DISTINCT CONCAT(epoch, '/', CAST(seq AS STRING))), \
             COUNT(DISTINCT sink_seq), MIN(sink_seq), MAX(sink_seq), COUNT(DISTINCT hash) \
             FROM `{PROJECT}.{dataset}.records`"
        ))
        .await;
    let expected = ["2000", "2000", "2000", "0", "1999", "2000"];
    assert_eq!(counts[0], expected.map(|text| Some(text.to_owned())));
    let metrics = sink.page("metrics").await.unwrap().1;
    assert!(
        metrics.contains("sink_records_received_total{kind=\"record\"} 2000"),
        "{metrics}"
    );
    assert!(
        metrics.contains("sink_rows_appended_total 2000"),
        "{metrics}"
    );
    assert_eq!(
        sink.ready().await,
        (
            200,
            json!({"ready": true, "spool": "ok", "bigquery": "ok", "waiting": 0, "oldest_s": 0,
                "dead_letters": 0})
        )
    );
}

#[tokio::test]
async fn views_show_exchanges_findings_and_gaps() {
    let emulator = Emulator::shared().await;
    let dataset = dataset();
    let one = Sink::start(emulator.rest, emulator.grpc, &dataset, &[]).await;
    let two = Sink::start(emulator.rest, emulator.grpc, &dataset, &[]).await;
    let mut filter = Filter::new(3);
    let findings = json!([
        {"detector": "github_token", "direction": "request", "channel": "prompt", "offset": 7,
         "length": 40, "fingerprint": "abc", "action": "mask", "rule": "secrets"},
        {"detector": "aws_key", "direction": "response", "channel": "text", "offset": 0,
         "length": 20, "fingerprint": "def", "action": "mask", "rule": null},
    ]);
    let with_findings = Envelope {
        kind: Some("close".into()),
        person: Some("ana".into()),
        findings: Some(findings.to_string()),
        ..Envelope::default()
    };
    let mut records = filter.records(6);
    records.push(carrying(&filter.seal(with_findings, &Content::default())));
    records.remove(0); // the first of an epoch may be missing too
    records.remove(2);
    // One sink takes all of it and one repeat, the other one part of the same.
    let mut again = records.clone();
    again.push(records[0].clone());
    one.send(again).await.unwrap();
    two.send(records.clone().split_off(3)).await.unwrap();
    one.send(vec![HttpEntry::default()]).await.unwrap();
    one.drained(7.0).await;
    two.drained(2.0).await;
    let views = format!("{PROJECT}.{dataset}_views");
    let text = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap).collect::<Vec<_>>();

    let sql = format!("SELECT kind, COUNT(*) FROM `{views}.exchanges` GROUP BY kind ORDER BY kind");
    let rows: Vec<_> = emulator.query(&sql).await.into_iter().map(text).collect();
    assert_eq!(rows, [["bare", "1"], ["close", "5"]]);
    assert_eq!(one.metric("sink_dropped_repeats_total").await, 1.0);

    let sql = format!(
        "SELECT person, detector, direction, channel, fingerprint, action, \
         IFNULL(finding_rule, '-'), finding_offset, finding_length FROM `{views}.findings` ORDER BY finding_offset DESC"
    );
    let rows: Vec<_> = emulator.query(&sql).await.into_iter().map(text).collect();
    let expected = [
        [
            "ana",
            "github_token",
            "request",
            "prompt",
            "abc",
            "mask",
            "secrets",
            "7",
            "40",
        ],
        [
            "ana", "aws_key", "response", "text", "def", "mask", "-", "0", "20",
        ],
    ];
    assert_eq!(rows, expected);

    let listed = emulator.get(&format!("datasets/{dataset}")).await.unwrap();
    let authorized = listed["access"].as_array().unwrap().iter();
    let authorized: Vec<_> = authorized
        .filter_map(|one| one["view"]["tableId"].as_str())
        .collect();
    assert_eq!(
        authorized,
        [
            "exchanges",
            "findings",
            "repeats",
            "gaps",
            "epochs",
            "policies",
            "approvals"
        ]
    );
    let now = "TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 MINUTE)";
    for (since, until) in [
        ("2020-01-01", now),
        ("2020-01-02", "TIMESTAMP '2020-01-03'"),
    ] {
        let name = |view: &str| format!("`{views}.{view}`(TIMESTAMP '{since}', {until})");
        for (view, function) in [
            ("exchanges", name("exchanges_between")),
            ("findings", name("findings_between")),
        ] {
            let count = |from: &str| format!("SELECT CAST(COUNT(*) AS STRING) AS n FROM {from}");
            let all = emulator.query(&count(&format!("`{views}.{view}`"))).await;
            let between = emulator.query(&count(&function)).await;
            let expected = if until == now {
                all
            } else {
                vec![vec![Some("0".to_owned())]]
            };
            assert_eq!(between, expected, "{function}");
        }
    }

    let sql = format!(
        "SELECT kind, source, first_missing, last_missing, missing FROM `{views}.gaps` \
         ORDER BY kind, first_missing"
    );
    let rows: Vec<_> = emulator.query(&sql).await.into_iter().map(text).collect();
    let epoch = "03".repeat(16);
    assert_eq!(
        rows,
        [
            ["epoch", &epoch, "0", "0", "1"],
            ["epoch", &epoch, "3", "3", "1"]
        ]
    );

    let sql = format!(
        "DELETE FROM `{PROJECT}.{dataset}.records` WHERE sink_seq = 0 OR sink_seq = 1 AND kind = 'x'"
    );
    emulator.query(&sql).await;
    let sql = format!("SELECT first_missing, last_missing FROM `{views}.gaps` WHERE kind = 'sink'");
    let rows: Vec<_> = emulator.query(&sql).await.into_iter().map(text).collect();
    assert_eq!(
        rows,
        [["0", "0"], ["0", "0"]],
        "a row that was taken away is seen for both sinks"
    );
}

#[tokio::test]
async fn foreign_and_tampered_entries_are_accounted_for() {
    let emulator = Emulator::shared().await;
    let dataset = dataset();
    let mut sink = Sink::start(emulator.rest, emulator.grpc, &dataset, &[]).await;
    let mut filter = Filter::new(1);
    let bare = HttpEntry {
        request: Some(Request {
            request_method: 3,
            authority: "gw.example".into(),
            path: "/chat?secret=hush".into(),
            ..Request::default()
        }),
        response: Some(Response {
            response_code: Some(503),
            response_code_details: "filter_chain_not_found".into(),
            ..Response::default()
        }),
        ..HttpEntry::default()
    };
    let good = filter.seal(full_envelope(), &Content::default());
    let mut tampered = good.clone();
    let person = tampered
        .windows(3)
        .position(|bytes| bytes == b"ana")
        .unwrap();
    tampered[person] = b'i';
    sink.send(vec![bare, carrying(&tampered), carrying(&good)])
        .await
        .unwrap();
    sink.drained(3.0).await;
    let sql = format!(
        "SELECT kind, COALESCE(reason, ''), COALESCE(path, ''), COALESCE(person, ''), deployment, \
         CAST(COALESCE(status, 0) AS STRING) FROM `{PROJECT}.{dataset}.records` ORDER BY sink_seq"
    );
    let rows: Vec<Vec<String>> = emulator
        .query(&sql)
        .await
        .into_iter()
        .map(|row| row.into_iter().map(Option::unwrap).collect())
        .collect();
    assert_eq!(
        rows[0],
        ["bare", "filter_chain_not_found", "/chat", "", "acme", "503"]
    );
    assert_eq!(rows[1], ["tombstone", "malformed", "", "", "acme", "0"]);
    assert_eq!(
        rows[2][3], "ana",
        "the true record is not taken for a repeat"
    );
    let metrics = sink.page("metrics").await.unwrap().1;
    assert!(
        metrics.contains("sink_dead_letters_total{reason=\"malformed\"} 1"),
        "{metrics}"
    );
    for what in ["ana", "hush", "/chat"] {
        assert!(!sink.log().contains(what), "{what} is in the log");
    }
    assert!(sink.stop().await.success());
    let folder = tempfile::tempdir().unwrap();
    let listed = sink.dead_letters(Some(folder.path()));
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["sink_seq"], &listed[0]["reason"]),
        (&json!(1), &json!("malformed"))
    );
    let kept = std::fs::read(folder.path().join("1.bin")).unwrap();
    assert!(kept.ends_with(&tampered), "its bytes are kept");
}

#[tokio::test]
async fn an_older_table_gets_the_columns_that_it_lacks() {
    let emulator = Emulator::shared().await;
    let dataset = dataset();
    let body = json!({ "datasetReference": { "projectId": PROJECT, "datasetId": dataset } });
    let post = async |path: &str, body: &serde_json::Value| {
        let answer = http()
            .post(emulator.url(path))
            .json(body)
            .send()
            .await
            .unwrap();
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
    };
    post("datasets", &body).await;
    let target = bigquery_sink::bigquery::Target {
        project: PROJECT.into(),
        dataset: dataset.clone(),
        views_dataset: String::new(),
        table: bigquery_sink::bigquery::Table::Records,
        location: None,
    };
    let mut table =
        bigquery_sink::bigquery::table(&target, &bigquery_sink::bigquery::Options::default());
    let fields = table["schema"]["fields"].as_array_mut().unwrap();
    fields.retain(|field| field["name"] != "initiator" && field["name"] != "unscanned");
    fields.push(json!({ "name": "of_a_newer_sink", "type": "STRING", "mode": "NULLABLE" }));
    post(&format!("datasets/{dataset}/tables"), &table).await;

    let sink = Sink::start(emulator.rest, emulator.grpc, &dataset, &[]).await;
    let record = Filter::new(1).seal(full_envelope(), &Content::default());
    sink.send(vec![carrying(&record)]).await.unwrap();
    sink.drained(1.0).await;
    let sql = format!(
        "SELECT initiator, JSON_VALUE(unscanned, '$[0].reason'), of_a_newer_sink \
         FROM `{PROJECT}.{dataset}.records`"
    );
    let rows = emulator.query(&sql).await;
    assert_eq!(
        rows,
        [[Some("user".to_owned()), Some("too_long".to_owned()), None]]
    );
    let table = emulator
        .get(&format!("datasets/{dataset}/tables/records"))
        .await
        .unwrap();
    let fields = table["schema"]["fields"].as_array().unwrap();
    let added = fields
        .iter()
        .find(|field| field["name"] == "initiator")
        .unwrap();
    assert_eq!(added["description"], "Who began the turn: user or agent.");
}

#[tokio::test]
async fn a_sink_waits_for_a_bigquery_that_is_not_there_yet() {
    let mut emulator = Emulator::prepare();
    let dataset = dataset();
    let mut sink = Sink::start(emulator.rest, emulator.grpc, &dataset, &[]).await;
    let mut filter = Filter::new(1);
    sink.send(filter.records(50)).await.unwrap();
    eventually("records are durable", async || {
        (sink.metric("sink_spool_records").await > 49.0).then_some(())
    })
    .await;
    let (status, body) = sink.ready().await;
    assert_eq!(
        (status, &body["ready"], &body["spool"]),
        (503, &json!(false), &json!("ok"))
    );
    assert!(
        body["bigquery"]
            .as_str()
            .unwrap()
            .starts_with("table not seen yet"),
        "{body}"
    );
    assert_eq!(
        sink.page("healthz").await.unwrap().0,
        200,
        "it is alive all the same"
    );
    assert!(sink.metric("sink_oldest_unacked_seconds").await > 0.0);

    assert!(
        sink.stop().await.success(),
        "a stop does not wait for a BigQuery that is not there"
    );
    sink.run().await;
    assert_eq!(sink.metric("sink_spool_records").await, 50.0);
    emulator.run().await;
    eventually("ready", async || {
        (sink.ready().await.0 == 200).then_some(())
    })
    .await;
    eventually("all is loaded", async || {
        (sink.metric("sink_spool_records").await < 1.0).then_some(())
    })
    .await;
    let sql = format!("SELECT COUNT(DISTINCT sink_seq) FROM `{PROJECT}.{dataset}.records`");
    assert_eq!(emulator.number(&sql).await, 50);
}

#[tokio::test]
async fn a_stop_leaves_nothing_behind() {
    let emulator = Emulator::shared().await;
    let dataset = dataset();
    // Rows would wait long for others, were it not for the stop.
    let mut sink = Sink::start(
        emulator.rest,
        emulator.grpc,
        &dataset,
        &["--append-wait-ms", "60000"],
    )
    .await;
    eventually("ready", async || {
        (sink.ready().await.0 == 200).then_some(())
    })
    .await;
    sink.send(Filter::new(1).records(120)).await.unwrap();
    assert!(sink.stop().await.success());
    let sql = format!("SELECT COUNT(DISTINCT sink_seq) FROM `{PROJECT}.{dataset}.records`");
    assert_eq!(emulator.number(&sql).await, 120);
    let spool = Spool::open(
        &sink.spool(),
        Limits {
            max_bytes: 1,
            min_free_bytes: 0,
        },
    )
    .unwrap();
    assert_eq!(
        (spool.status().first_unacked, spool.status().next_seq),
        (120, 120)
    );
}

/// Each column of the envelope with a value of its own.
fn full_envelope() -> Envelope {
    let text = |text: &str| Some(text.to_owned());
    Envelope {
        kind: text("close"),
        deployment: text("acme"),
        event_at: Some(1_800_000_000_123_456),
        decision_id: text("gd_0123456789abcdefghijklmnop"),
        person: text("ana"),
        issuer: text("https://login.example"),
        role: text("engineer"),
        endpoint: text("chat"),
        method: text("POST"),
        path: text("/chat/completions"),
        host: text("api.example"),
        model: text("gpt-x"),
        decision: text("mask"),
        reason: text("findings"),
        rule: text("secrets"),
        policy_digest: text(&"ab".repeat(32)),
        status: Some(200),
        upstream_status: Some(201),
        started_at: Some(1_799_999_999_000_001),
        duration_ms: Some(5_000_000_000),
        first_byte_ms: Some(120),
        request_bytes: Some(321),
        response_bytes: Some(654),
        findings: text("[{\"detector\":\"x\",\"offset\":3}]"),
        findings_count: Some(1),
        unscanned: text("[{\"reason\":\"too_long\",\"bytes\":9}]"),
        unscanned_bytes: Some(9),
        request_id: text("r-1"),
        session_id: text("s-1"),
        interaction_id: text("i-1"),
        agent_task_id: text("t-1"),
        client: text("vscode/1.100 ünïcode"),
        client_address: text("10.0.0.1:1234"),
        repository: text("acme/widgets"),
        content_truncated: Some(true),
        ended: text("complete"),
        upstream_request_id: text("u-1"),
        initiator: text("user"),
        shadowed: text("trial"),
        annotations: text("[{\"kind\":\"CodeVulnerability\"}]"),
        input_tokens: Some(42),
        output_tokens: Some(7),
        cached_tokens: Some(5),
        response_model: text("gpt-4.1-2025"),
        finish_reason: text("stop"),
        scanned_bytes: Some(975),
        tool_calls: text("[\"bash\"]"),
        approval_id: text("AP-ABCDEFGHIJ"),
        approval_state: text("granted"),
        approval_covers: text("content"),
        cause_sha256: Some(vec![3; 32]),
        held_ms: Some(1_500),
        open_seq: Some(6),
        unacknowledged: Some(2),
        checkpoint: Some("ey".into()),
        approved_by: text("bo"),
        policy: Some(r#"{"rules":[]}"#.into()),
        directive: Some("{\"kind\":\"hold\",\"from\":1800000000000000}".into()),
        ..Envelope::default()
    }
}

/// An SQL expression for a column's value as text.
fn as_text(column: &Column) -> String {
    let name = &column.name;
    match column.kind {
        ColumnKind::Bool | ColumnKind::Int64 => format!("CAST({name} AS STRING)"),
        ColumnKind::Bytes => format!("TO_HEX({name})"),
        ColumnKind::Json => format!("TO_JSON_STRING({name})"),
        ColumnKind::String => name.clone(),
        ColumnKind::Timestamp => format!("CAST(UNIX_MICROS({name}) AS STRING)"),
    }
}

/// The fields of a message by number, each as number and as bytes: an own small reading of the
/// wire format, so that the test does not trust the code that it tests.
fn fields(mut message: &[u8]) -> BTreeMap<i32, (u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (head, tail) = bytes.split_at(length);
        *bytes = tail;
        head.iter()
            .rev()
            .fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }
    let mut found = BTreeMap::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        let mut bytes = Vec::new();
        if tag & 7 == 2 {
            let (head, tail) = message.split_at(usize::try_from(value).unwrap());
            (bytes, message) = (head.to_vec(), tail);
        }
        found.insert(i32::try_from(tag >> 3).unwrap(), (value, bytes));
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
