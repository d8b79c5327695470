//! How many records a second the sink takes: received → durable → appended.
//!
//! The sink, as it is released, runs on one core; this program, which plays Envoy and a BigQuery
//! that keeps nothing, on another. Every rate is all records by the time from the first byte sent to
//! the last record in that stage.
//!
//! ```text
//! cargo bench -p bigquery-sink --bench throughput -- --json [--records N] [--bytes N] [--streams N]
//!     [--batch N] [--runs N] [--sink-core N] [--client-core N] [--code] [--lineage]
//! ```

#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::format_push_string,
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
    fs,
    process::Command,
    time::{Duration, Instant},
};

use bigquery_sink::envoy::{
    StreamAccessLogsMessage,
    access_log_service_client::AccessLogServiceClient,
    stream_access_logs_message::{HttpEntries, LogEntries},
};
use clap::Parser;
use contract::{Content, Envelope};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    fake::Fake,
    world::{Filter, Sink, carrying, eventually},
};

#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// One line of JSON instead of text
    #[arg(long)]
    json: bool,
    /// Records of a run
    #[arg(long, default_value_t = 60_000)]
    records: usize,
    /// Length of a sealed record
    #[arg(long, default_value_t = 4096)]
    bytes: usize,
    /// Streams that Envoy has open, one for each of its workers
    #[arg(long, default_value_t = 2)]
    streams: u8,
    /// Records of a message
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Runs; the median is told
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

fn main() {
    let arguments = Arguments::parse();
    let own = std::process::id().to_string();
    let core = arguments.client_core.to_string();
    let pinned = Command::new("taskset").args(["-acp", &core, &own]).output();
    let pinned = pinned.is_ok_and(|output| output.status.success());
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let mut runs = Vec::new();
    for _ in 0..arguments.runs {
        runs.push(runtime.block_on(run(&arguments)));
    }
    let median = |name: &str| {
        let mut values: Vec<f64> = runs.iter().map(|run| run[name].as_f64().unwrap()).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2].round()
    };
    let spread = |name: &str| {
        let values = runs.iter().map(|run| run[name].as_f64().unwrap().round());
        let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        json!([low, high])
    };
    let report = json!({
        "records": arguments.records,
        "record_bytes": arguments.bytes,
        "streams": arguments.streams,
        "runs": arguments.runs,
        "pinned": pinned,
        "received_per_s": median("received_per_s"),
        "durable_per_s": median("durable_per_s"),
        "appended_per_s": median("appended_per_s"),
        "cpu_us_per_record": median("cpu_us_per_record"),
        "peak_rss_mib": median("peak_rss_mib"),
        "lineage_per_s": median("lineage_per_s"),
        "lineage_behind_at_end": median("lineage_behind_at_end"),
        "lineage_skipped": median("lineage_skipped"),
        "fingerprints_per_record": median("fingerprints_per_record"),
        "cpu_us_per_record_with_lineage": median("cpu_us_per_record_with_lineage"),
        "spread": {
            "received_per_s": spread("received_per_s"),
            "durable_per_s": spread("durable_per_s"),
            "appended_per_s": spread("appended_per_s"),
        },
    });
    if arguments.json {
        println!("{report}");
    } else {
        println!("{report:#}");
    }
}

async fn run(arguments: &Arguments) -> Value {
    let fake = Fake::start().await;
    fake.world().forgetful = true;
    let core = arguments.sink_core.to_string();
    let more: &[&str] = if arguments.lineage {
        &["--lineage"]
    } else {
        &[]
    };
    let mut sink = Sink::prepare(fake.direct.0, fake.direct.1, "bench", more);
    sink.run_by(&["taskset", "-c", &core]).await;
    eventually("ready", async || {
        (sink.ready().await.0 == 200).then_some(())
    })
    .await;
    let loads: Vec<_> = (0..arguments.streams)
        .map(|stream| load(arguments, stream))
        .collect();
    let records = loads.iter().flatten().map(entries).sum::<usize>();
    let process = sink.id();
    tokio::time::sleep(Duration::from_secs(arguments.hold)).await;

    let before = cpu_us(process);
    let start = Instant::now();
    let mut sending = tokio::task::JoinSet::new();
    for load in loads {
        let url = sink.access_log_url();
        sending.spawn(async move {
            let mut client = AccessLogServiceClient::connect(url).await.unwrap();
            client
                .stream_access_logs(tokio_stream::iter(load))
                .await
                .unwrap();
            start.elapsed().as_secs_f64()
        });
    }
    let mut received = 0.0_f64;
    let mut durable = None;
    let appended = loop {
        while let Some(ended) = sending.try_join_next() {
            received = received.max(ended.unwrap());
        }
        let stored = sink.metric("sink_records_received_total").await;
        if durable.is_none() && stored >= records as f64 {
            durable = Some(start.elapsed().as_secs_f64());
        }
        let count = fake.world().count;
        if durable.is_some() && sending.is_empty() && count >= records as u64 {
            break start.elapsed().as_secs_f64();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let cpu = cpu_us(process) - before;
    let waiting = sink.metric("sink_lineage_waiting_records").await;
    while sink.metric("sink_lineage_waiting_records").await > 0.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let followed = start.elapsed().as_secs_f64();
    let cpu_followed = cpu_us(process) - before;
    let fingerprints = sink.metric("sink_lineage_rows_appended_total").await;
    let skipped = sink.metric("sink_lineage_skipped_records").await;
    assert!(fake.world().violations.is_empty());
    let rate = |seconds: f64| records as f64 / seconds;
    json!({
        "received_per_s": rate(received),
        "durable_per_s": rate(durable.unwrap()),
        "appended_per_s": rate(appended),
        "cpu_us_per_record": cpu / records as f64,
        "peak_rss_mib": peak_rss_mib(process),
        "lineage_per_s": rate(followed),
        "lineage_behind_at_end": waiting,
        "lineage_skipped": skipped,
        "fingerprints_per_record": fingerprints / records as f64,
        "cpu_us_per_record_with_lineage": cpu_followed / records as f64,
    })
}

/// Messages of one worker of Envoy. Content that does not compress well.
fn load(arguments: &Arguments, stream: u8) -> Vec<StreamAccessLogsMessage> {
    let mut filter = Filter::new(stream);
    let mut random = StdRng::seed_from_u64(stream.into());
    let mut lines = StdRng::seed_from_u64(stream.into());
    let mut text = |length: usize| -> String {
        (0..length)
            .map(|_| char::from(random.random_range(b' '..b'~')))
            .collect()
    };
    let mut record = |padding: usize| {
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
    let others = record(0).len() + 4;
    let padding = arguments.bytes.saturating_sub(others);
    let each = arguments.records / usize::from(arguments.streams);
    let entries: Vec<_> = (0..each).map(|_| carrying(&record(padding))).collect();
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

fn entries(message: &StreamAccessLogsMessage) -> usize {
    match &message.log_entries {
        Some(LogEntries::HttpLogs(logs)) => logs.log_entry.len(),
        _ => 0,
    }
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

fn peak_rss_mib(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1024.0
}
