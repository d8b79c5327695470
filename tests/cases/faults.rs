//! P9 and P10 under load: whatever becomes of the sink or of Envoy, no record is lost or doubled that
//! was kept, and callers feel it only where the configuration says so.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use e2e::{
    bigquery::Row,
    caller::{Answer as Seen, chat},
    relay::Relay,
    upstream::{Answer, End, Rule, Script},
    wait,
    world::{Builder, World},
};
use futures::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    delivery::{GAPS, number, strict},
    verify::{settle, verify},
};

/// Callers that ask again and again.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<(Vec<Asked>, bool)>>,
}

/// One answer.
struct Asked {
    decision_id: String,
    /// Time to the first byte of its body.
    took: Duration,
}

impl From<&Seen> for Asked {
    fn from(answer: &Seen) -> Self {
        Self {
            decision_id: answer.header("x-gate-decision-id").to_owned(),
            took: answer.first_byte().unwrap(),
        }
    }
}

impl Load {
    fn start(world: &World) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = (0..4).map(|_| {
            let (ana, stop) = (world.caller("ana"), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = ana.chat("hello").await.ok().filter(|seen| seen.whole);
                    let Some(answer) = answer else {
                        return (asked, true);
                    };
                    assert_eq!(answer.status, 200, "{}", answer.body_text());
                    asked.push(Asked::from(&answer));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                (asked, false)
            })
        });
        Self {
            callers: callers.collect(),
            stop,
        }
    }

    /// Ends it: all that was answered, and nobody was cut off.
    async fn stop(self) -> Vec<Asked> {
        let (asked, cut) = self.end().await;
        assert_eq!(cut, 0, "callers were cut off");
        asked
    }

    /// Ends it: all that was answered, and how many callers were cut off.
    async fn end(self) -> (Vec<Asked>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut all, mut cut) = (Vec::new(), 0);
        for caller in self.callers {
            let (asked, was_cut) = caller.await.unwrap();
            all.extend(asked);
            cut += usize::from(was_cut);
        }
        (all, cut)
    }
}

/// A setting of who runs the tests, in seconds or times.
fn told(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |told| told.parse().unwrap())
}

/// The sum of a metric of the filter over its labels.
async fn counted(world: &mut World, name: &str) -> u64 {
    let stats = world.envoy().stats().await.unwrap();
    let of_name = stats.iter().filter(|(metric, _)| metric.contains(name));
    of_name.map(|(_, value)| value).sum()
}

/// The one row of counts `n` and `different`, once `n` is so much; as long as it grows, that takes
/// what it takes.
async fn counts(world: &World, sql: &str, wanted: usize) -> (i64, i64) {
    let wanted = i64::try_from(wanted).unwrap();
    let mut last = -1;
    loop {
        let grown = wait::within(GROWTH, "more rows", async || {
            let table = world.query(sql).await.ok();
            let row: Option<Row> = table.and_then(|table| table.rows.into_iter().next());
            Ok(row.filter(|row| number(row, "n") > last))
        });
        let grown = grown.await;
        let row = grown.unwrap_or_else(|error| panic!("{error}; {last} of {wanted}: {sql}"));
        last = number(&row, "n");
        if last >= wanted {
            return (last, number(&row, "different"));
        }
    }
}

/// A request to BigQuery that came to nothing is made again after a minute.
const GROWTH: Duration = Duration::from_secs(90);

/// The decision ids of exchanges of this kind.
async fn exchanges(world: &World, kind: &str) -> BTreeSet<String> {
    let sql =
        format!("SELECT decision_id FROM copilot_audit_views.exchanges WHERE kind = '{kind}'");
    let rows = world.query(&sql).await.unwrap().rows;
    let id = |row: &Row| row["decision_id"].as_str().unwrap().to_owned();
    rows.iter().map(id).collect()
}

/// Each of these exchanges has its records, once, and no number is missing.
async fn assert_whole(world: &mut World, asked: &[Asked]) {
    let sql = "SELECT COUNT(*) AS n, COUNT(DISTINCT decision_id) AS different \
               FROM copilot_audit_views.exchanges WHERE kind = 'close'";
    let (n, different) = counts(world, sql, asked.len()).await;
    assert_eq!(n, different, "an exchange stands twice");
    wait::until("all records durable", async || {
        let waiting = counted(world, "gate_records_unacknowledged").await;
        (waiting == 0).then_some(())
    })
    .await
    .unwrap();
    world
        .rows_when(GAPS, |rows| number(&rows[0], "missing") == 0)
        .await;
    // what is missing at the end is no gap
    wait::within(GROWTH, "record of an exchange", async || {
        let there = exchanges(world, "close").await;
        let is_there = |asked: &Asked| there.contains(&asked.decision_id);
        Ok(asked.iter().all(is_there).then_some(()))
    })
    .await
    .unwrap();
    let sql = "SELECT COUNT(*) AS n, COUNT(DISTINCT seq) AS different \
               FROM copilot_audit.records WHERE epoch IS NOT NULL AND kind != 'checkpoint'";
    let (n, different) = counts(world, sql, asked.len()).await;
    assert_eq!(n, different, "a record stands twice");
    assert_eq!(counted(world, "gate_records_given_up_total").await, 0);
    let log = world.envoy().log();
    assert!(!log.contains("panicked"), "{log}");
}

/// `KILLS=50` kills it so often.
#[tokio::test]
async fn p9_nothing_is_lost_while_the_sink_is_killed_under_load() {
    let least = told("KILLS", 3);
    let mut world = World::with_audit().await;
    let load = Load::start(&world);
    let (mut kills, mut resent) = (0, 0);
    // one that comes between two flushes of the log costs nothing
    while kills < least || resent == 0 {
        tokio::time::sleep(Duration::from_millis(300 + 170 * (kills % 5))).await;
        world.sink().process().kill();
        world.restart_sink().await.unwrap();
        kills += 1;
        resent = counted(&mut world, "gate_records_resent_total").await;
    }
    let asked = load.stop().await;
    assert_whole(&mut world, &asked).await;
    let asked = asked.len();
    println!("{kills} kills, {asked} exchanges, {resent} records sent again, none lost");
}

/// `PAUSE=60` lets it hang for a minute; else it is until two calls had no answer in time.
#[tokio::test]
async fn p9_nothing_is_lost_while_the_sink_hangs_under_load() {
    let least = Duration::from_secs(told("PAUSE", 0));
    let mut world = World::with_audit().await;
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.sink().process().freeze();
    let began = Instant::now();
    let late = wait::within(least + wait::DEADLINE, "calls without answer", async || {
        let late = counted(&mut world, "gate_record_calls_total.result=bad").await;
        Ok((late >= 2 && began.elapsed() >= least).then_some(late))
    })
    .await
    .unwrap();
    let hung = began.elapsed();
    world.sink().process().thaw();
    let asked = load.stop().await;
    let slowest = asked.iter().map(|asked| asked.took).max().unwrap();
    assert!(slowest < CALL, "a caller waited {slowest:?}");
    assert_whole(&mut world, &asked).await;
    println!(
        "{hung:?}, {late} calls without answer, {} exchanges",
        asked.len()
    );
}

/// How long each of a slow sink's bytes is under way.
const THERE: Duration = Duration::from_millis(300);

/// Load for some seconds while the sink is slow; how long callers waited, the fastest first.
async fn slow(builder: Builder) -> Vec<Duration> {
    let logs = Relay::start(THERE).await.unwrap();
    let posts = Relay::start(THERE).await.unwrap();
    let (to_logs, to_posts) = (Arc::clone(&logs), Arc::clone(&posts));
    let (log, post) = (logs.address(), posts.address());
    let builder = builder
        .sink(move |sink| {
            to_logs.lead(sink.access_log);
            to_posts.lead(sink.http);
        })
        .bootstrap(move |bootstrap| {
            bootstrap.cluster("bigquery_sink", log);
            bootstrap.cluster("bigquery_sink_http", post);
        });
    let mut world = builder.start().await.unwrap();
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = load.stop().await;
    assert_whole(&mut world, &asked).await;
    let mut took: Vec<Duration> = asked.iter().map(|asked| asked.took).collect();
    took.sort_unstable();
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_nobody_waits_for_a_slow_sink_and_nothing_is_lost() {
    let took = slow(World::builder().audit()).await;
    // a single one may be late: others use the machine too
    assert!(took[took.len() / 2] < THERE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_strict_callers_wait_for_a_slow_sink_and_nothing_is_lost() {
    let took = slow(strict()).await;
    assert!(took[0] >= 2 * THERE, "{took:?}");
}

/// How long the filter waits for the sink's answer.
const CALL: Duration = Duration::from_secs(5);

/// A world whose sink has no room, because BigQuery takes nothing; with the relay before BigQuery.
async fn full(builder: Builder) -> (World, Arc<Relay>) {
    let bigquery = Relay::start(Duration::ZERO).await.unwrap();
    let to_bigquery = Arc::clone(&bigquery);
    let builder = builder.sink(move |sink| {
        sink.grpc = to_bigquery.lead(sink.grpc);
        sink.spool_max_bytes = Some(FULL);
    });
    let mut world = builder.start().await.unwrap();
    bigquery.hold(true);
    world.upstream().script(Answer::text("Here you are."));
    let ana = world.caller("ana");
    let fills = tokio::spawn(async move {
        while ana.post("/chat/completions", &long()).await.unwrap().status == 200 {}
    });
    let sink = world.sink();
    wait::until("a full spool", async || {
        let full = sink.metric("sink_spool_full").await.unwrap();
        (full > 0.0).then_some(())
    })
    .await
    .unwrap();
    fills.abort();
    world.upstream().forget();
    (world, bigquery)
}

/// Bytes of rows in a spool that is full after a few long requests.
const FULL: u64 = 200 << 10;

/// A request of 60 KB, no two the same: what was said before is not recorded again.
fn long() -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    chat(&format!("number {number} is what is said here ").repeat(1_700))
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_while_the_sink_is_full_nothing_passes_and_everybody_is_told() {
    let (mut world, bigquery) = full(strict()).await;
    let ana = world.caller("ana");
    let mut asked = Vec::new();
    for answer in join_all((0..4).map(|_| ana.chat("hello"))).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["code"], "gateway_unavailable");
        assert!(answer.body_text().contains("cannot record"));
        asked.push(Asked::from(&answer));
    }
    assert_eq!(world.upstream().requests().len(), 0);
    bigquery.hold(false);
    let answer = wait::until("an answer when there is room again", async || {
        let answer = ana.chat("hello").await.unwrap();
        (answer.status == 200).then_some(answer)
    });
    asked.push(Asked::from(&answer.await.unwrap()));
    assert_whole(&mut world, &asked).await;
}

/// Fills what a worker may keep while the sink is full, until callers see `status`; in the end all
/// is there, and rows as `cut` says.
async fn kept_and_bounded(when_full: &str, status: u16, cut: &str) {
    let audit = json!({ "max_pending": "1MiB", "when_full": when_full });
    let builder = World::builder().audit();
    let (mut world, bigquery) = full(builder.configure(json!({ "audit": audit }))).await;
    let ana = world.caller("ana");
    let mut asked = Vec::new();
    let mut last = 0;
    for _ in 0..24 {
        let answer = ana.post("/chat/completions", &long()).await.unwrap();
        asked.push(Asked::from(&answer));
        last = answer.status;
    }
    assert_eq!(last, status);
    assert!(counted(&mut world, "gate_records_unacknowledged").await > 10);
    bigquery.hold(false);
    assert_whole(&mut world, &asked).await;
    let sql = format!("SELECT seq FROM copilot_audit_views.exchanges WHERE {cut}");
    world.rows(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_while_the_sink_is_full_records_are_kept_up_to_a_limit_without_content_beyond() {
    let cut = "content_truncated AND request_content IS NULL";
    kept_and_bounded("drop_content", 200, cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_while_the_sink_is_full_records_are_kept_up_to_a_limit_and_callers_refused_beyond() {
    kept_and_bounded("refuse", 400, "reason = 'audit'").await;
}

#[tokio::test]
async fn p9_what_was_open_when_envoy_was_killed_under_load_is_told_and_nothing_else() {
    let began = SystemTime::now();
    let mut world = World::with_audit().await;
    let endless = Answer::text("on and on ").end(End::Never);
    world.upstream().script(Script {
        rules: vec![Rule {
            times: Some(3),
            answer: endless.pause(Duration::from_millis(20)),
            ..Rule::default()
        }],
        ..Script::default()
    });
    let ana = world.caller("ana");
    let body = chat("say on").to_string();
    let json = [("content-type", "application/json")];
    let mut endless = Vec::new();
    for _ in 0..3 {
        let answer = ana.open("POST", "/chat/completions", &json, body.clone());
        endless.push(answer.await.unwrap());
    }
    let id = |answer: &Response| {
        answer.headers()["x-gate-decision-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    let ids: BTreeSet<String> = endless.iter().map(id).collect();
    let load = Load::start(&world);
    let rows = world.rows("SELECT DISTINCT epoch FROM copilot_audit.records WHERE kind = 'open'");
    let epoch = rows.await[0]["epoch"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let durable = world.sink().durable_through(&epoch).await.unwrap();
    world.envoy().process().kill();
    let (asked, _cut) = load.end().await;
    assert!(durable > 10 && asked.len() > 10, "{durable}");
    settle().await;

    let verified = verify(&mut world, began);
    let mut open = BTreeSet::new();
    for finding in verified.report["findings"].as_array().unwrap() {
        match finding["class"].as_str().unwrap() {
            "open_without_close" => {
                open.insert(finding["decision_id"].as_str().unwrap().to_owned());
            }
            "ended_without_end" => assert_eq!(finding["epoch"], epoch),
            // what was on its way need not have come in its order
            "gap" => assert!(finding["seq"][0].as_i64().unwrap() > durable, "{finding}"),
            _ => panic!("{finding}"),
        }
    }
    assert_eq!(verified.status, 1);
    assert!(open.is_superset(&ids), "{open:?}");
    assert_eq!(open, exchanges(&world, "open").await);
    let sql = format!(
        "SELECT COUNT(DISTINCT seq) AS n FROM copilot_audit.records \
         WHERE epoch = '{epoch}' AND seq <= {durable}"
    );
    let rows = world.query(&sql).await.unwrap().rows;
    assert_eq!(
        number(&rows[0], "n"),
        durable + 1,
        "what was acknowledged is there"
    );
}
