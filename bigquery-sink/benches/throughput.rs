//! What the sink takes, how soon it is durable, and what it does when BigQuery takes nothing.
//!
//! The sink, as it is released and with checkpoints, runs on one core; this program, which plays Envoy
//! and a BigQuery that keeps nothing, on another. Three questions:
//!
//! - *rates*: all records at once. Each rate is all records by the time from the first byte sent to the
//!   last record in that stage: received → durable → appended.
//! - *delay*: half of the rate of durable records, evenly. From the time at which a message was to be
//!   sent until the sink says of its last record that it is durable (`/v1/epochs`), which one stream's
//!   records are asked for, a few hundred times a second.
//! - *refused*: BigQuery asks for patience until the spool is full, and some seconds more. Then all
//!   that was sent has to arrive.
//!
//! ```text
//! cargo bench -p bigquery-sink --bench throughput -- [--json] [--runs N] [--bytes N] [--streams N]
//!     [--mib N] [--batch N] [--sink-core N] [--client-core N] [--code] [--lineage]
//! ```
//!
//! With `--bytes`, `--streams` or `--lineage` it measures rates and delay of that one case alone.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::format_push_string,
    clippy::string_slice,
    clippy::struct_excessive_bools,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a program for people who measure, on top of the tests' helpers"
)]

#[path = "../tests/sink/fake.rs"]
mod fake;
#[path = "../tests/sink/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use bigquery_sink::envoy::{
    HttpEntry, StreamAccessLogsMessage,
    access_log_service_client::AccessLogServiceClient,
    stream_access_logs_message::{HttpEntries, LogEntries},
};
use clap::Parser;
use contract::{Content, Envelope};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    fake::{Fake, Fault},
    world::{Filter, Sink, carrying, eventually, http},
};

#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// JSON on standard output, and the table on standard error
    #[arg(long)]
    json: bool,
    /// Length of a sealed record
    #[arg(long)]
    bytes: Option<usize>,
    /// Streams that Envoy has open, one for each of its workers
    #[arg(long)]
    streams: Option<u8>,
    /// All records of a run at once, in MiB
    #[arg(long, default_value_t = 160)]
    mib: usize,
    /// Most records of a message
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Runs; medians are told
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The sink's core
    #[arg(long, default_value_t = 1)]
    sink_core: usize,
    /// The core of everything else
    #[arg(long, default_value_t = 0)]
    client_core: usize,
    /// Holds the sink for so many seconds before the load, to attach a profiler
    #[arg(long, default_value_t = 0)]
    hold: u64,
    /// Answers are code in fences, not noise
    #[arg(long)]
    code: bool,
    /// Fingerprints are loaded too; their rate is told
    #[arg(long)]
    lineage: bool,
    /// Set by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Records of one length, over so many streams.
#[derive(Clone, Copy, Debug)]
struct Case {
    bytes: usize,
    streams: u8,
}

impl Case {
    fn name(self) -> String {
        format!("{}k_s{}", self.bytes >> 10, self.streams)
    }
}

/// Numbers of one run, by name.
type Numbers = BTreeMap<&'static str, f64>;

/// Time of the even load, and that of a full spool.
const EVEN: Duration = Duration::from_secs(3);
const FULL: Duration = Duration::from_secs(3);

/// Bytes of rows of a spool that is to become full.
const SPOOL_BYTES: usize = 64 << 20;

fn main() {
    let arguments = Arguments::parse();
    let own = std::process::id().to_string();
    let core = arguments.client_core.to_string();
    let pinned = Command::new("taskset").args(["-acp", &core, &own]).output();
    let pinned = pinned.is_ok_and(|output| output.status.success());
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();

    let alone = arguments.bytes.is_some() || arguments.streams.is_some() || arguments.lineage;
    let cases: Vec<Case> = if alone {
        vec![Case {
            bytes: arguments.bytes.unwrap_or(4 << 10),
            streams: arguments.streams.unwrap_or(1),
        }]
    } else {
        let sizes = [4 << 10, 64 << 10].into_iter();
        let case = |bytes| [1, 8].map(|streams| Case { bytes, streams });
        sizes.flat_map(case).collect()
    };
    let mut runs: BTreeMap<usize, Vec<Numbers>> = BTreeMap::new();
    for _ in 0..arguments.runs {
        // side by side, so that what else the machine does meets them all
        for (place, case) in cases.iter().enumerate() {
            let numbers = runtime.block_on(run(&arguments, *case));
            runs.entry(place).or_default().push(numbers);
        }
    }
    let mut report = Map::new();
    for (case, runs) in cases.iter().zip(runs.values()) {
        report.insert(case.name(), summary(runs));
    }
    let mut table = rates(&report);
    if !alone {
        let refused = summary(&[runtime.block_on(refused(&arguments))]);
        table += &format!("BigQuery takes nothing: {}\n", told(&refused));
        report.insert("refused".into(), refused);
    }
    report.insert("runs".into(), json!(arguments.runs));
    report.insert("pinned".into(), json!(pinned));
    if arguments.json {
        println!("{}", Value::Object(report));
        eprint!("{table}");
    } else {
        print!("{table}");
    }
}

/// Medians, and beside them the lowest and the highest.
fn summary(runs: &[Numbers]) -> Value {
    let (mut medians, mut spreads) = (Map::new(), Map::new());
    for name in runs[0].keys() {
        let mut values: Vec<f64> = runs.iter().map(|run| rounded(run[name])).collect();
        values.sort_by(f64::total_cmp);
        medians.insert((*name).into(), json!(values[values.len() / 2]));
        spreads.insert((*name).into(), json!([values[0], values[values.len() - 1]]));
    }
    medians.insert("spread".into(), Value::Object(spreads));
    Value::Object(medians)
}

/// Four digits that count.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap()
}

/// Numbers of the table, in their order, and what they are called there.
const COLUMNS: [(&str, &str); 8] = [
    ("received_per_s", "received/s"),
    ("durable_per_s", "durable/s"),
    ("appended_per_s", "appended/s"),
    ("cpu_us_per_record", "CPU us each"),
    ("peak_rss_mib", "peak MiB"),
    ("even_per_s", "evenly/s"),
    ("delay_ms_p50", "delay p50 ms"),
    ("delay_ms_p99", "p99 ms"),
];

/// The table of all cases.
fn rates(report: &Map<String, Value>) -> String {
    let mut table = format!("{:>10}", "sink");
    for (_, title) in COLUMNS {
        table += &format!(" {title:>12}");
    }
    for (name, case) in report {
        table += &format!("\n{name:>10}");
        for (name, _) in COLUMNS {
            table += &format!(" {:>12}", case[name].as_f64().unwrap());
        }
        let more = case.as_object().unwrap().iter();
        for (name, value) in more.filter(|(name, _)| name.contains("lineage")) {
            table += &format!(" {name} {value}");
        }
    }
    table + "\n"
}

/// Names and numbers in one line.
fn told(numbers: &Value) -> String {
    let numbers = numbers.as_object().unwrap().iter();
    let numbers = numbers.filter(|(name, _)| *name != "spread");
    let each: Vec<String> = numbers
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    each.join(", ")
}

/// A sink on its core, with a BigQuery that keeps nothing.
async fn start(arguments: &Arguments, more: &[&str]) -> (Fake, Sink) {
    let fake = Fake::start().await;
    fake.world().forgetful = true;
    let core = arguments.sink_core.to_string();
    let sink = Sink::prepare(fake.direct.0, fake.direct.1, "bench", more);
    let mut sink = sink
        .with(&["--checkpoint-interval", "1s"])
        .with_checkpoints();
    sink.run_by(&["taskset", "-c", &core]).await;
    eventually("ready", async || {
        (sink.ready().await.0 == 200).then_some(())
    })
    .await;
    (fake, sink)
}

/// Rates, then delay.
async fn run(arguments: &Arguments, case: Case) -> Numbers {
    let more: &[&str] = if arguments.lineage {
        &["--lineage"]
    } else {
        &[]
    };
    let (fake, sink) = start(arguments, more).await;
    let count = (arguments.mib << 20) / case.bytes / usize::from(case.streams);
    let loads: Vec<_> = (0..case.streams)
        .map(|stream| load(arguments, case.bytes, stream, count))
        .collect();
    let records = (count * usize::from(case.streams)) as f64;
    let process = sink.id();
    sleep(Duration::from_secs(arguments.hold)).await;

    let before = cpu_us(process);
    let start = Instant::now();
    let mut sending = send(&sink, loads);
    let mut received = 0.0_f64;
    let mut durable = None;
    let appended = loop {
        while let Some(ended) = sending.try_join_next() {
            received = received.max(ended.unwrap().duration_since(start).as_secs_f64());
        }
        let stored = sink.metric("sink_records_received_total").await;
        if durable.is_none() && stored >= records {
            durable = Some(start.elapsed().as_secs_f64());
        }
        if durable.is_some() && sending.is_empty() && loaded(&fake, &sink).await >= records {
            break start.elapsed().as_secs_f64();
        }
        sleep(Duration::from_millis(20)).await;
    };
    let cpu = cpu_us(process) - before;
    let rate = |seconds: f64| records / seconds;
    let durable = rate(durable.unwrap());
    let mut numbers = Numbers::from([
        ("received_per_s", rate(received)),
        ("durable_per_s", durable),
        ("appended_per_s", rate(appended)),
        ("cpu_us_per_record", cpu / records),
        ("peak_rss_mib", rss_mib(process, "VmHWM")),
    ]);
    if arguments.lineage {
        let waiting = sink.metric("sink_lineage_waiting_records").await;
        while sink.metric("sink_lineage_waiting_records").await > 0.0 {
            sleep(Duration::from_millis(20)).await;
        }
        let rows = sink.metric("sink_lineage_rows_appended_total").await;
        let skipped = sink.metric("sink_lineage_skipped_records").await;
        numbers.extend([
            ("lineage_per_s", rate(start.elapsed().as_secs_f64())),
            ("lineage_behind_at_end", waiting),
            ("lineage_skipped", skipped),
            ("fingerprints_per_record", rows / records),
            (
                "cpu_us_per_record_with_lineage",
                (cpu_us(process) - before) / records,
            ),
        ]);
    }
    numbers.extend(delay(arguments, case, &sink, durable / 2.0).await);
    assert!(fake.world().violations.is_empty());
    numbers
}

/// Records in the table, without the sink's own.
async fn loaded(fake: &Fake, sink: &Sink) -> f64 {
    let count = fake.world().count as f64;
    count - sink.metric("sink_checkpoints_total").await
}

/// Sends each load on a stream of its own; each tells when all of it was taken.
fn send(sink: &Sink, loads: Vec<Vec<StreamAccessLogsMessage>>) -> JoinSet<Instant> {
    let send = async move |url: String, load: Vec<StreamAccessLogsMessage>| {
        let mut client = AccessLogServiceClient::connect(url).await.unwrap();
        let load = tokio_stream::iter(load);
        client.stream_access_logs(load).await.unwrap();
        Instant::now()
    };
    let sending = loads.into_iter();
    sending
        .map(|load| send(sink.access_log_url(), load))
        .collect()
}

/// How long records take to become durable, at this rate.
async fn delay(arguments: &Arguments, case: Case, sink: &Sink, per_s: f64) -> Numbers {
    let streams = usize::from(case.streams);
    let each = per_s / streams as f64;
    // Envoy sends what is there every so often, not a number
    let batch = arguments.batch.min((each / 50.0) as usize).max(1);
    let apart = Duration::from_secs_f64(batch as f64 / each);
    let messages = (EVEN.as_secs_f64() / apart.as_secs_f64()) as usize;
    let arguments = Arguments {
        batch,
        ..arguments.clone()
    };
    let loads: Vec<_> = (0..case.streams)
        .map(|stream| load(&arguments, case.bytes, FIRST + stream, messages * batch))
        .collect();
    let start = Instant::now() + Duration::from_millis(100);
    let due = move |message: usize, stream: usize| {
        let message = message as f64 + stream as f64 / streams as f64;
        start + apart.mul_f64(message)
    };
    let mut sending = JoinSet::new();
    for (stream, load) in loads.into_iter().enumerate() {
        let url = sink.access_log_url();
        let (messages, arriving) = mpsc::channel(4);
        sending.spawn(async move {
            for (number, message) in load.into_iter().enumerate() {
                tokio::time::sleep_until(due(number, stream).into()).await;
                messages.send(message).await.unwrap();
            }
        });
        sending.spawn(async move {
            let mut client = AccessLogServiceClient::connect(url).await.unwrap();
            let arriving = ReceiverStream::new(arriving);
            client.stream_access_logs(arriving).await.unwrap();
        });
    }
    let epoch = sink.url(&format!("v1/epochs/{}", format!("{FIRST:02x}").repeat(16)));
    let http = http();
    let mut waits = Vec::new();
    while waits.len() < messages {
        let answer = http.get(&epoch).send().await.unwrap();
        if let Ok(told) = answer.json::<Value>().await {
            let durable = usize::try_from(told["durable_through"].as_i64().unwrap() + 1).unwrap();
            let now = Instant::now();
            while waits.len() < durable / batch {
                waits.push(now.saturating_duration_since(due(waits.len(), 0)));
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
    sending.join_all().await;
    waits.sort_unstable();
    let at = |quantile: f64| {
        let place = ((waits.len() - 1) as f64 * quantile).round() as usize;
        waits[place].as_secs_f64() * 1e3
    };
    Numbers::from([
        ("even_per_s", per_s),
        ("delay_ms_p50", at(0.5)),
        ("delay_ms_p99", at(0.99)),
    ])
}

/// The epoch of the first stream of an even load.
const FIRST: u8 = 100;

/// What happens while BigQuery asks for patience, and afterwards.
async fn refused(arguments: &Arguments) -> Numbers {
    let limit = SPOOL_BYTES.to_string();
    let (fake, sink) = start(arguments, &["--spool-max-bytes", &limit]).await;
    let quota = Fault::Quota(Duration::from_millis(200));
    fake.world()
        .faults
        .extend(std::iter::repeat_n(quota, 10_000));
    let process = sink.id();
    let before = rss_mib(process, "VmRSS");
    let (streams, bytes) = (8, 4 << 10);
    // half as much again as the spool and the sink's memory hold
    let count = 3 * SPOOL_BYTES / 2 / bytes / usize::from(streams) + (48 << 20) / bytes / 8;
    let loads: Vec<_> = (0..streams)
        .map(|stream| load(arguments, bytes, stream, count))
        .collect();
    let records = (count * usize::from(streams)) as f64;
    let sending = send(&sink, loads);
    eventually("a full spool", async || {
        (sink.metric("sink_spool_full").await > 0.0).then_some(())
    })
    .await;
    sleep(Duration::from_secs(2)).await; // what is under way fills the sink's memory
    let stored = sink.metric("sink_records_received_total").await;
    let full = rss_mib(process, "VmRSS");
    sleep(FULL).await;
    let more = sink.metric("sink_records_received_total").await - stored;
    let still = rss_mib(process, "VmRSS");
    assert_eq!(fake.world().count, 0);
    fake.world().faults.clear();
    let start = Instant::now();
    eventually("all is in BigQuery", async || {
        (loaded(&fake, &sink).await >= records).then_some(())
    })
    .await;
    let drained = start.elapsed().as_secs_f64();
    sending.join_all().await;
    assert_eq!(sink.metric("sink_records_received_total").await, records);
    assert!(fake.world().violations.is_empty());
    Numbers::from([
        ("sent", records),
        (
            "lost",
            records - sink.metric("sink_records_received_total").await,
        ),
        ("rss_mib_before", before),
        ("rss_mib_full", full),
        ("rss_mib_full_after", still),
        ("received_per_s_full", more / FULL.as_secs_f64()),
        ("peak_rss_mib", rss_mib(process, "VmHWM")),
        ("seconds_until_loaded", drained),
    ])
}

/// Messages of one worker of Envoy, `count` records in all. Content that does not compress well.
fn load(
    arguments: &Arguments,
    bytes: usize,
    stream: u8,
    count: usize,
) -> Vec<StreamAccessLogsMessage> {
    let mut filter = Filter::new(stream);
    let mut random = StdRng::seed_from_u64(stream.into());
    let mut lines = StdRng::seed_from_u64(stream.into());
    let noise: String = (0..1 << 20)
        .map(|_| char::from(random.random_range(b' '..b'~')))
        .collect();
    let mut text = |length: usize| -> String {
        let start = random.random_range(0..noise.len() - length);
        noise[start..start + length].to_owned()
    };
    let mut record = |filter: &mut Filter, padding: usize| {
        let envelope = Envelope {
            kind: Some("close".into()),
            deployment: Some("acme".into()),
            event_at: Some(bigquery_sink::now()),
            person: Some("ana".into()),
            endpoint: Some("chat".into()),
            model: Some("gpt-4.1".into()),
            decision: Some("allow".into()),
            method: Some("POST".into()),
            path: Some("/chat/completions".into()),
            findings: Some("[]".into()),
            status: Some(200),
            ..Envelope::default()
        };
        let content = Content {
            request_content: Some(text(padding / 2)),
            response_content: Some(if arguments.code {
                answer(&mut lines, padding - padding / 2)
            } else {
                text(padding - padding / 2)
            }),
        };
        filter.seal(envelope, &content)
    };
    let others = record(&mut Filter::new(stream), 0).len() + 4;
    let padding = bytes.saturating_sub(others);
    let entries: Vec<HttpEntry> = (0..count)
        .map(|_| carrying(&record(&mut filter, padding)))
        .collect();
    let message = |some: &[_]| StreamAccessLogsMessage {
        log_entries: Some(LogEntries::HttpLogs(HttpEntries {
            log_entry: some.to_vec(),
        })),
    };
    entries.chunks(arguments.batch).map(message).collect()
}

/// An answer with code of about so many bytes.
fn answer(random: &mut StdRng, length: usize) -> String {
    let mut code = String::new();
    while code.len() < length {
        let mut name = || {
            let length = random.random_range(2..9);
            let letters = (0..length).map(|_| char::from(random.random_range(b'a'..=b'z')));
            letters.collect::<String>()
        };
        let (one, two, three) = (name(), name(), name());
        let number = random.random_range(0..9999);
        code += &match number % 4 {
            0 => format!("    if {one}.{two} > {number} {{\n"),
            1 => format!("        {one} = {two}({three}, \"{one}\");\n"),
            2 => format!("    }} else if {one} == {two} && {three}[{number}] {{\n"),
            _ => format!("    // {one} {two} {three}\n    return {two} - {one};\n"),
        };
    }
    let text = format!("So:\n```\n{code}```\n");
    json!([{ "channel": "choices[0].delta.content", "text": text }]).to_string()
}

/// Time that a process has used, of user and kernel.
fn cpu_us(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |place: usize| fields[place].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) * 10_000.0 // USER_HZ is 100 wherever we run
}

/// Memory of a process: `VmRSS` now, `VmHWM` at most.
fn rss_mib(process: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<f64>().unwrap() / 1024.0
}
