//! P9 and P10: records are kept until they are durable, and nothing passes without one if so
//! configured.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use e2e::{
    bigquery::Row,
    caller::{Answer as Seen, Http, chat},
    certs::Mutual,
    ports,
    sink::repository,
    upstream::{Answer, End},
    wait,
    world::{Builder, World},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const CLOSED: &str =
    "SELECT * FROM copilot_audit_views.exchanges WHERE kind = 'close' ORDER BY seq";
const OPENED: &str = "SELECT * FROM copilot_audit_views.exchanges WHERE kind = 'open'";
pub(crate) const GAPS: &str =
    "SELECT COALESCE(SUM(missing), 0) AS missing FROM copilot_audit_views.gaps";

pub(crate) fn strict() -> Builder {
    World::builder()
        .audit()
        .configure(json!({ "audit": { "strict": true } }))
}

pub(crate) fn number(row: &Row, column: &str) -> i64 {
    row.get(column).and_then(Value::as_i64).unwrap_or(-1)
}

/// Begins an exchange whose answer has no end; gives its open record and what becomes of it.
pub(crate) async fn unfinished(world: &World, text: &str) -> (Row, JoinHandle<Result<Seen>>) {
    let endless = Answer::text("on and on ").end(End::Never);
    world
        .upstream()
        .script(endless.pause(Duration::from_millis(20)));
    let (ana, text) = (world.caller("ana"), text.to_owned());
    let asks = tokio::spawn(async move { ana.chat(&text).await });
    let mut rows = world.rows_when(OPENED, |rows| !rows.is_empty()).await;
    (rows.remove(0), asks)
}

/// All exchanges are in the table, and nothing is missing.
async fn assert_whole(world: &World, exchanges: usize) {
    let rows = world
        .rows_when(CLOSED, |rows| rows.len() >= exchanges)
        .await;
    assert_eq!(rows.len(), exchanges);
    let gaps = world.rows_when(GAPS, |rows| number(&rows[0], "missing") == 0);
    gaps.await;
}

#[tokio::test]
async fn p9_the_request_travels_with_the_open_record_and_the_answer_with_the_close_record() {
    let world = World::with_audit().await;
    world.upstream().script(Answer::text("Here you are."));
    world.caller("ana").chat("what is asked").await.unwrap();
    let rows = world.rows_when(CLOSED, |rows| !rows.is_empty()).await;
    let text = |column: &str| rows[0].get(column).cloned().unwrap_or_default().to_string();
    assert!(text("request_content").contains("what is asked"));
    assert!(text("response_content").contains("Here you are."));
    let sql = "SELECT kind, seq, reason, request_content IS NULL AS bare, open_seq, decision \
               FROM copilot_audit.records WHERE kind NOT IN ('heartbeat', 'checkpoint') ORDER BY seq";
    let rows = world.rows_when(sql, |rows| rows.len() >= 3).await;
    let kinds: Vec<&str> = rows
        .iter()
        .map(|row| row["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["epoch", "open", "close"]);
    assert_eq!(rows[0]["reason"], "start");
    assert_eq!(number(&rows[0], "seq"), 0);
    assert_eq!(
        (&rows[1]["bare"], &rows[2]["bare"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(rows[2]["open_seq"], rows[1]["seq"]);
    assert_eq!(rows[1]["decision"], "allow");
}

#[tokio::test]
async fn p9_what_the_access_log_loses_is_sent_again() {
    let world = World::builder()
        .audit()
        .bootstrap(|bootstrap| {
            // nobody listens there
            bootstrap.cluster("bigquery_sink", "127.0.0.1:1".parse().unwrap());
        })
        .start()
        .await
        .unwrap();
    let ana = world.caller("ana");
    for _ in 0..5 {
        ana.chat("hello").await.unwrap();
    }
    assert_whole(&world, 5).await;
}

#[tokio::test]
async fn p9_an_exchange_that_dies_with_its_worker_is_known_by_its_open_record() {
    let mut world = World::with_audit().await;
    let (row, asks) = unfinished(&world, "the last words").await;
    world.envoy().process().kill();
    let _cut = asks.await.unwrap();
    assert_eq!(row["person"], "ana");
    let content = row["request_content"].as_str().unwrap();
    assert!(content.contains("the last words"), "{content}");
    assert_eq!(world.rows(OPENED).await.len(), 1);
}

#[tokio::test]
async fn p9_a_worker_says_that_it_lives_and_when_nothing_is_open() {
    let world = World::with_audit().await;
    world.caller("ana").chat("hello").await.unwrap();
    let sql = "SELECT reason, unacknowledged, policy_digest FROM copilot_audit.records \
               WHERE kind = 'heartbeat' AND reason = 'idle' \
               AND seq > (SELECT MAX(seq) FROM copilot_audit.records WHERE kind = 'close')";
    let rows = world.rows_when(sql, |rows| !rows.is_empty()).await;
    assert_eq!(number(&rows[0], "unacknowledged"), 0);
    assert_eq!(rows[0]["policy_digest"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn p10_nothing_goes_upstream_before_its_record_is_durable() {
    let mut world = strict().start().await.unwrap();
    let ana = world.caller("ana");
    world.upstream().script(Answer::text("Here you are."));
    let answer = ana.chat("hello").await.unwrap();
    assert_eq!(
        (answer.status, answer.text()),
        (200, "Here you are.".into())
    );
    assert_whole(&world, 1).await;

    world.upstream().forget();
    world.sink().process().freeze();
    let waiting = {
        let ana = ana.clone();
        tokio::spawn(async move { ana.chat("wait for it").await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        world.upstream().requests().len(),
        0,
        "the record is not durable"
    );
    world.sink().process().thaw();
    assert_eq!(waiting.await.unwrap().unwrap().status, 200);
    assert_eq!(world.upstream().requests().len(), 1);
    assert_whole(&world, 2).await;
}

/// The manual's way from Envoy to a sink on another host, with files of `folder`.
fn to_another_host(folder: &Path) -> Value {
    let manual = fs::read_to_string(repository().join("docs/operator.md")).unwrap();
    let examples = manual.split("```text\n").skip(1);
    let mut sockets = examples.filter(|example| example.starts_with("transport_socket:"));
    let example = sockets.next().unwrap().split("```").next().unwrap();
    let folder = format!("{}/", folder.display());
    let example = example.replace("/etc/gate/", &folder);
    serde_saphyr::from_str::<Value>(&example).unwrap()["transport_socket"].clone()
}

/// A world whose sink wants certificates; Envoy shows those of `gateway`.
async fn with_tls(sink: Mutual, gateway: &Path) -> World {
    let socket = to_another_host(gateway);
    strict()
        .sink(move |settings| {
            let probes = ports::loopback(ports::free().unwrap());
            settings.tls = Some((sink.sink, probes));
        })
        .bootstrap(move |bootstrap| {
            for cluster in ["bigquery_sink", "bigquery_sink_http"] {
                bootstrap.transport_socket(cluster, &socket);
            }
        })
        .start()
        .await
        .unwrap()
}

/// Records that the sink has received.
async fn received(world: &mut World) -> f64 {
    let metrics = world.sink().metrics().await.unwrap();
    let lines = metrics.lines();
    let lines = lines.filter(|line| line.starts_with("sink_records_received_total"));
    lines
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn p9_records_reach_a_sink_on_another_host_as_the_manual_says() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Mutual::in_folder(folder.path()).unwrap();
    let mut world = with_tls(certificates, folder.path()).await;
    world.upstream().script(Answer::text("Here you are."));
    let answer = world.caller("ana").chat("hello").await.unwrap();
    assert_eq!(answer.status, 200);
    assert_whole(&world, 1).await;
    assert!(received(&mut world).await > 2.0);
}

#[tokio::test]
async fn p10_a_sink_is_told_nothing_by_or_of_strangers() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = Mutual::in_folder(ours.path()).unwrap();
    let stranger = Mutual::in_folder(theirs.path()).unwrap();
    let trusted = |from: &Mutual| fs::read(&from.gateway[2]).unwrap();
    // Envoy knows the sink, which does not know Envoy; then Envoy does not know the sink.
    for authority in [trusted(&sink), trusted(&stranger)] {
        fs::write(&stranger.gateway[2], authority).unwrap();
        let mut world = with_tls(sink.clone(), theirs.path()).await;
        let answer = world.caller("ana").chat("hello").await.unwrap();
        assert_eq!(answer.json()["error"]["code"], "gateway_unavailable");
        assert!(answer.body_text().contains("cannot record"));
        assert_eq!(world.upstream().requests().len(), 0);
        assert!(received(&mut world).await < 1.0);
    }
}

#[tokio::test]
async fn p10_without_a_sink_nothing_passes_and_everybody_is_told() {
    let mut world = strict().start().await.unwrap();
    world.sink().process().kill();
    world.upstream().forget();
    for http in [Http::One, Http::Two] {
        let token = world.caller("ana").token;
        let ana = world.stranger(http).with_token(token);
        let answer = ana.chat("hello").await.unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["code"], "gateway_unavailable");
        assert!(answer.body_text().contains("cannot record"));
        let ghost = ana.ghost("def add(a, b):\n").await.unwrap();
        assert_eq!(ghost.status, 200, "ghost text has nothing to suggest");
    }
    assert_eq!(world.upstream().requests().len(), 0);
    world.restart_sink().await.unwrap();
    world.upstream().script(Answer::text("Here again."));
    let ana = world.caller("ana");
    wait::until("an answer after the sink's return", async || {
        let answer = ana.chat("hello").await.unwrap();
        (answer.status == 200).then_some(())
    })
    .await
    .unwrap();
    // what was refused is recorded as well
    let refused = "SELECT decision, reason FROM copilot_audit_views.exchanges \
                   WHERE decision = 'unavailable' AND reason = 'audit'";
    world.rows_when(refused, |rows| rows.len() >= 4).await;
    world
        .rows_when(GAPS, |rows| number(&rows[0], "missing") == 0)
        .await;
}

#[tokio::test]
async fn p10_a_request_that_waited_for_people_waits_for_its_record_too() {
    let world = strict()
        .desk()
        .configure(json!({ "rules": [
            { "name": "ask", "when": { "findings": { "at_least": 1 } }, "then": "ask_approval",
              "approvers": "security" }
        ] }))
        .start()
        .await
        .unwrap();
    let secret = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");
    let ana = world.caller("ana");
    world.upstream().script(Answer::text("Here you are."));
    let asked = tokio::spawn(async move { ana.chat(&format!("explain {secret} ")).await });
    world.approver("bo").grant_next().await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap().text(), "Here you are.");
    let rows = world.rows_when(CLOSED, |rows| !rows.is_empty()).await;
    assert_eq!(rows[0]["approval_state"], "granted");
    assert!(number(&rows[0], "open_seq") > 0);
}

#[tokio::test]
async fn records_that_nobody_takes_are_bounded() {
    for (when_full, status) in [("drop_content", 200), ("refuse", 400)] {
        let mut world = World::builder()
            .audit()
            .concurrency(1)
            .configure(json!({ "audit": { "max_pending": "1MiB", "when_full": when_full } }))
            .start()
            .await
            .unwrap();
        world.sink().process().kill();
        let ana = world.caller("ana");
        let mut last = 0;
        for number in 0..12 {
            let body = chat(&format!("{number}: {}", "what is said here ".repeat(7_000)));
            world.upstream().script(Answer::text("ok"));
            last = ana.post("/chat/completions", &body).await.unwrap().status;
        }
        assert_eq!(last, status, "{when_full}");
        world.restart_sink().await.unwrap();
        let cut = if when_full == "refuse" {
            "reason = 'audit'"
        } else {
            "content_truncated AND request_content IS NULL"
        };
        let sql = format!("SELECT seq FROM copilot_audit_views.exchanges WHERE {cut}");
        world.rows_when(&sql, |rows| !rows.is_empty()).await;
        world
            .rows_when(GAPS, |rows| number(&rows[0], "missing") == 0)
            .await;
    }
}

/// Kinds and texts of what was said but for heartbeats and checkpoints, once there are so many.
async fn said(world: &World, records: usize) -> (Vec<String>, Vec<Row>) {
    let sql = "SELECT kind, reason, ended, request_content, response_content \
               FROM copilot_audit.records \
               WHERE kind NOT IN ('heartbeat', 'checkpoint') ORDER BY seq";
    let rows = world.rows_when(sql, |rows| rows.len() >= records).await;
    let kind = |row: &Row| row["kind"].as_str().unwrap().to_owned();
    (rows.iter().map(kind).collect(), rows)
}

#[tokio::test]
async fn p9_a_worker_that_is_told_to_stop_says_all_that_it_knows() {
    let mut world = World::with_audit().await;
    let (_, asks) = unfinished(&world, "the last words").await;
    world.envoy().stop();
    let _cut = asks.await.unwrap();
    let (kinds, rows) = said(&world, 4).await;
    assert_eq!(kinds, ["epoch", "open", "close", "epoch"]);
    assert_eq!(rows[3]["reason"], "end");
    let told = rows[2]["response_content"].to_string();
    assert!(told.contains("on and on"), "{told}");
}

#[tokio::test]
async fn p9_a_worker_that_is_told_to_stop_does_not_wait_for_the_sink() {
    let mut world = World::with_audit().await;
    let (_, asks) = unfinished(&world, "the first words").await;
    world.sink().process().freeze();
    world.upstream().script(Answer::text("Here you are."));
    let ana = world.caller("ana");
    assert_eq!(ana.chat("the last words").await.unwrap().status, 200);
    let envoy = world.envoy();
    let under_way = "cluster.bigquery_sink_http.upstream_rq_active";
    wait::until("a call that is not answered", async || {
        let stats = envoy.stats().await.ok()?;
        (stats.get(under_way) == Some(&1)).then_some(())
    })
    .await
    .unwrap();
    envoy.stop();
    let _cut = asks.await.unwrap();
    // all that it said is in the connections' buffers by now, and their other ends are closed
    world.sink().process().thaw();
    let (kinds, rows) = said(&world, 6).await;
    let told = format!("{rows:?}");
    for words in [
        "the first words",
        "the last words",
        "on and on",
        "Here you are.",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(rows[5]["reason"], "end");
    assert_eq!(kinds.len(), 6, "{kinds:?}");
}
