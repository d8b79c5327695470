//! What the gateway costs: the same requests through Envoy with and without the filter, side by
//! side in one run, as `target/bench/report.json` and a table.
//!
//! Both sides are `envoy/gateway.yaml` with one worker; *bare* lacks the filter and the access log
//! that carries its records, and neither has TLS, which would make bare Envoy dearer and the ratios
//! kinder. The gate proves a token (seen before), masks with all detectors, seals records, sends them
//! to a sink that drops them, and keeps each until the sink has said that it is durable.
//!
//! Envoy has one processor, callers and upstream share the other. Sides alternate within each run,
//! so that whatever else the machine does meets both; differences and ratios are made within a run.

mod cpu;
mod load;
mod messages;
mod report;
pub mod upstream;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::{
    envoy::{self, Bootstrap, Envoy},
    issuer::Issuer,
    sink,
    world::Keys,
};
use cpu::Core;
use load::{Connection, Pace, Request, Timing};
use messages::New;
use report::{Numbers, Pair, quantile};
use upstream::Upstream;

pub use report::table;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Paired runs of each scenario.
    pub runs: usize,
    /// Time of one side in one run.
    pub window: Duration,
    /// Time before it that does not count.
    pub warm_up: Duration,
    /// Streams that are open at once.
    pub open_streams: usize,
    /// Paired runs of the scenarios that start Envoys of their own.
    pub cold_runs: usize,
    /// Requests that wait for a person at once.
    pub held: usize,
    /// Runs of the sink's own measurement.
    pub sink_runs: usize,
    /// The program that serves the upstream: `bench`.
    pub program: PathBuf,
    /// The one scenario to measure, of those with requests.
    pub only: Option<String>,
}

impl Settings {
    /// The usual: about ten minutes.
    pub fn full(program: PathBuf) -> Self {
        Self {
            runs: 5,
            window: Duration::from_millis(2500),
            warm_up: Duration::from_millis(300),
            open_streams: 500,
            cold_runs: 3,
            held: 100,
            sink_runs: 3,
            program,
            only: None,
        }
    }

    /// Under ninety seconds.
    pub fn quick(program: PathBuf) -> Self {
        Self {
            runs: 3,
            window: Duration::from_millis(900),
            warm_up: Duration::from_millis(200),
            cold_runs: 1,
            sink_runs: 1,
            ..Self::full(program)
        }
    }

    /// Only whether it works.
    pub fn smoke(program: PathBuf) -> Self {
        Self {
            runs: 1,
            window: Duration::from_millis(20),
            warm_up: Duration::ZERO,
            open_streams: 5,
            cold_runs: 0,
            held: 0,
            sink_runs: 0,
            program,
            only: None,
        }
    }
}

/// A way to use the gateway.
struct Scenario {
    name: &'static str,
    request: Request,
    callers: usize,
    pace: Pace,
    /// Records hold what was said.
    recorded: bool,
}

/// Requests each second of `chat_32k_rate`, well below what one worker can do.
const RATE: u32 = 200;

/// Bodies of whose two sizes the difference counts, in bytes.
const MASKING_SIZES: [usize; 2] = [128 << 10, 1152 << 10];

fn scenarios(token: &str) -> Vec<Scenario> {
    let chat = |wanted: &str, new| {
        let body = messages::chat(32 << 10, wanted == "paced", true, new);
        Request::new("/chat/completions", wanted, token, &body)
    };
    let ghost = || {
        let path = "/v1/engines/gpt-41-copilot/completions";
        Request::new(path, "ghost", token, &messages::ghost(4 << 10))
    };
    let scenario = |name, request, callers, pace| Scenario {
        name,
        request,
        callers,
        pace,
        recorded: true,
    };
    let lean = |name, callers| Scenario {
        recorded: false,
        ..scenario(name, chat("json", New::Last), callers, Pace::Closed)
    };
    vec![
        scenario("chat_32k_c1", chat("json", New::Last), 1, Pace::Closed),
        scenario("chat_32k_c8", chat("json", New::Last), 8, Pace::Closed),
        scenario(
            "chat_32k_rate",
            chat("json", New::Last),
            8,
            Pace::Rate(RATE),
        ),
        scenario("stream_200_c1", chat("paced", New::Last), 1, Pace::Closed),
        scenario("stream_200_c8", chat("paced", New::Last), 8, Pace::Closed),
        scenario("ghost_4k_c1", ghost(), 1, Pace::Closed),
        scenario("ghost_4k_c8", ghost(), 8, Pace::Closed),
        scenario("chat_32k_c1_first", chat("json", New::All), 1, Pace::Closed),
        lean("chat_32k_c1_lean", 1),
        lean("chat_32k_c8_lean", 8),
    ]
}

/// Measures all there is and gives the report; says on the way what it is doing.
pub async fn run(settings: &Settings, tell: fn(&str)) -> Result<Value> {
    let mut bench = Bench::start(settings.clone(), tell).await?;
    let token = bench.issuer.token("ana").sign();
    let mut sides = Sides::start(&bench, &bench.gate, "warm").await?;
    sides.wait_until_ready(&request(&token, false))?;
    let mut lean = Sides::start(&bench, &bench.gate_without_content(), "lean").await?;
    lean.wait_until_ready(&request(&token, false))?;

    let mut scenarios = scenarios(&token);
    if let Some(only) = &settings.only {
        let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name).collect();
        scenarios.retain(|scenario| scenario.name == only);
        ensure!(
            !scenarios.is_empty(),
            "no scenario {only}; there are {names:?}"
        );
    }
    let mut pairs: BTreeMap<&str, Vec<Pair>> = BTreeMap::new();
    for run in 0..settings.runs {
        for scenario in &scenarios {
            tell(&format!(
                "run {}/{}: {}",
                run + 1,
                settings.runs,
                scenario.name
            ));
            let sides = if scenario.recorded { &sides } else { &lean };
            let pair = sides.pair(run % 2 == 1, |side| side.measure(scenario, settings))?;
            pairs.entry(scenario.name).or_default().push(pair);
        }
    }
    let mut results: Map<String, Value> = pairs
        .iter()
        .map(|(name, pairs)| ((*name).to_owned(), report::scenario(pairs)))
        .collect();
    if settings.only.is_none() {
        tell("masking of large bodies");
        let masking = masking(&sides, &lean, settings, &token)?;
        results.insert("masking".to_owned(), masking);
    }
    lean.stop();
    bench.upstream.wait_for_log().await?;
    sides.stop();
    if settings.only.is_some() {
        return Ok(finished(settings, &results));
    }

    if settings.cold_runs > 0 {
        let (open, start) = open_streams(&mut bench, &token).await?;
        results.insert(format!("open_{}", settings.open_streams), open);
        results.insert("start".to_owned(), start);
        let held = held(&mut bench, &token).await?;
        results.insert(format!("held_{}", settings.held), held);
    }
    if settings.sink_runs > 0 {
        tell("the sink: under three minutes, of each run half a minute");
        results.insert("sink".to_owned(), sink_rates(settings.sink_runs)?);
    }

    Ok(finished(settings, &results))
}

fn finished(settings: &Settings, results: &Map<String, Value>) -> Value {
    json!({
        "commit": commit(),
        "machine": cpu::machine(),
        "runs": settings.runs,
        "scenarios": results,
    })
}

/// What all sides share.
struct Bench {
    settings: Settings,
    upstream: Upstream,
    issuer: Issuer,
    folder: tempfile::TempDir,
    bare: Bootstrap,
    gate: Bootstrap,
    tell: fn(&str),
}

impl Bench {
    async fn start(settings: Settings, tell: fn(&str)) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gate-bench-").tempdir()?;
        let upstream = Upstream::start(&settings.program, folder.path())?;
        let issuer = Issuer::start(0).await?;

        let mut gate = Bootstrap::gateway()?;
        let mut configuration = gate.filter();
        configuration["identity"]["issuers"][0]["issuer"] = json!(issuer.url());
        gate.set_filter(&configuration, envoy::Form::default());
        gate.module(&sink::module()?);
        gate.without_tls();
        gate.listeners_anywhere();
        gate.admin(crate::ports::loopback(0));
        let known = [
            ("copilot_api", upstream.address),
            ("copilot_proxy", upstream.address),
            ("identity_provider", issuer.address()),
            ("bigquery_sink", upstream.control),
            ("bigquery_sink_http", upstream.control),
            ("approvals", upstream.control),
        ];
        envoy::isolate(&mut gate, &known);
        let mut bare = gate.clone();
        bare.without_filter();
        Ok(Self {
            settings,
            upstream,
            issuer,
            folder,
            bare,
            gate,
            tell,
        })
    }

    /// The gate with another configuration.
    fn gate_with(&self, change: impl FnOnce(&mut Value)) -> Bootstrap {
        let mut gate = self.gate.clone();
        let mut configuration = gate.filter();
        change(&mut configuration);
        gate.set_filter(&configuration, envoy::Form::default());
        gate
    }

    /// The gate with records that do not hold what was said.
    fn gate_without_content(&self) -> Bootstrap {
        self.gate_with(|configuration| configuration["audit"] = json!({"max_content": "0B"}))
    }
}

/// The two Envoys.
struct Sides {
    bare: Side,
    gate: Side,
}

/// One of them.
struct Side {
    envoy: Envoy,
    address: SocketAddr,
    process: u32,
    ready_ms: f64,
}

impl Sides {
    async fn start(bench: &Bench, gate: &Bootstrap, name: &str) -> Result<Self> {
        let folder = bench.folder.path();
        Ok(Self {
            bare: Side::start(&bench.bare, &folder.join(format!("{name}-bare"))).await?,
            gate: Side::start(gate, &folder.join(format!("{name}-gate"))).await?,
        })
    }

    /// Asks both until they answer well: key sets come a moment after the start.
    fn wait_until_ready(&self, request: &Request) -> Result<()> {
        for side in [&self.bare, &self.gate] {
            let deadline = Instant::now() + crate::wait::DEADLINE;
            while let Err(error) = Connection::open(side.address)?.exchange(request) {
                ensure!(Instant::now() < deadline, "{error}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Measures both, one after the other.
    fn pair(&self, gate_first: bool, measure: impl Fn(&Side) -> Result<Numbers>) -> Result<Pair> {
        let early = gate_first.then(|| measure(&self.gate)).transpose()?;
        let bare = measure(&self.bare)?;
        let gate = match early {
            Some(gate) => gate,
            None => measure(&self.gate)?,
        };
        Ok(Pair { bare, gate })
    }

    fn stop(&mut self) {
        self.bare.envoy.stop();
        self.gate.envoy.stop();
    }
}

impl Side {
    async fn start(bootstrap: &Bootstrap, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let keys = Keys::default();
        let environment = [
            ("GATE_GITHUB_TOKEN", keys.credential),
            ("GATE_FINGERPRINT_KEYS", keys.fingerprints),
            ("GATE_SINK_KEYS", keys.sink),
            ("GATE_DESK_TOKEN", keys.desk),
        ];
        let settings = envoy::Settings {
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            working_folder: folder.to_owned(),
            log_levels: "wasm:warning".to_owned(),
            ..envoy::Settings::default()
        };
        let start = Instant::now();
        let mut envoy = Envoy::start(bootstrap, &settings, folder).await?;
        let ready_ms = start.elapsed().as_secs_f64() * 1e3;
        let process = envoy.process().id();
        cpu::pin(process, Core::Envoy)?;
        Ok(Self {
            address: envoy.listener("gateway")?,
            envoy,
            process,
            ready_ms,
        })
    }

    fn measure(&self, scenario: &Scenario, settings: &Settings) -> Result<Numbers> {
        let run = |time| {
            let Scenario {
                request,
                callers,
                pace,
                ..
            } = scenario;
            load::run(self.address, request, *callers, *pace, time)
        };
        if settings.warm_up > Duration::ZERO && !scenario.request.paced {
            run(settings.warm_up)?;
        }
        let before = cpu::used_ns(self.process)?;
        let (timings, took) = run(settings.window)?;
        let used = cpu::used_ns(self.process)? - before;
        Ok(numbers(
            &timings,
            took,
            used,
            cpu::resident_kib(self.process)?,
        ))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "times and counts of a few seconds"
)]
fn numbers(timings: &[Timing], took: Duration, used_ns: u64, resident_kib: f64) -> Numbers {
    let count = timings.len() as f64;
    let mut numbers = Numbers::new();
    let mut quantiles = |name: &str, mut values: Vec<u64>, unit: f64| {
        values.sort_unstable();
        for (end, at) in [("p50", 0.5), ("p99", 0.99)] {
            let value = quantile(&values, at).map_or(f64::NAN, |value| value as f64 / unit);
            numbers.insert(format!("{name}.{end}"), value);
        }
    };
    let first = timings.iter().map(|timing| timing.first_byte);
    quantiles("ttfb_ms", first.collect(), 1e6);
    let all = |of: fn(&Timing) -> &Vec<u64>| timings.iter().flat_map(of).copied().collect();
    quantiles("event_gap_us", all(|timing| &timing.gaps), 1e3);
    quantiles("event_delay_us", all(|timing| &timing.delays), 1e3);
    let cpu_us = used_ns as f64 / 1e3 / count;
    let paced = timings.iter().any(|timing| !timing.delays.is_empty());
    let cpu_us_per_event = if paced {
        cpu_us / messages::EVENTS as f64
    } else {
        f64::NAN
    };
    numbers.extend([
        ("requests_per_s".to_owned(), count / took.as_secs_f64()),
        ("cpu_us_per_request".to_owned(), cpu_us),
        ("cpu_us_per_event".to_owned(), cpu_us_per_event),
        ("rss_mib".to_owned(), resident_kib / 1024.0),
    ]);
    numbers
}

/// How many bytes of request a processor masks in a second, without what they cost bare Envoy: from
/// JSON to JSON what a larger body costs more than a smaller one, and of text what new texts cost
/// more than those that were sent before, which are read and known again, but not masked.
fn masking(sides: &Sides, lean: &Sides, settings: &Settings, token: &str) -> Result<Value> {
    let [small, large] = MASKING_SIZES;
    let mut runs = Vec::new();
    for run in 0..settings.runs {
        let cost_us = |recorded: bool, size: usize, new: New| {
            let body = messages::chat(size, false, false, new);
            let scenario = Scenario {
                name: "masking",
                request: Request::new("/chat/completions", "json", token, &body),
                callers: 1,
                pace: Pace::Closed,
                recorded,
            };
            let sides = if recorded { sides } else { lean };
            let pair = sides.pair(run % 2 == 1, |side| side.measure(&scenario, settings))?;
            let cpu = |side: &Numbers| side.get("cpu_us_per_request").copied();
            let both = cpu(&pair.gate).zip(cpu(&pair.bare));
            both.map(|(gate, bare)| gate - bare).context("no time")
        };
        // bytes per microsecond are megabytes per second
        #[expect(clippy::cast_precision_loss, reason = "a few MiB")]
        let rate = |bytes: usize, cost_us: f64| bytes as f64 / cost_us;
        let recorded = cost_us(true, large, New::All)? - cost_us(true, small, New::All)?;
        let all = cost_us(false, large, New::All)?;
        let plain = all - cost_us(false, small, New::All)?;
        let text = all - cost_us(false, large, New::Last)?;
        let known = messages::known_bytes(large);
        runs.push(Numbers::from([
            ("mb_per_cpu_s".to_owned(), rate(large - small, recorded)),
            (
                "unrecorded_mb_per_cpu_s".to_owned(),
                rate(large - small, plain),
            ),
            ("text_mb_per_cpu_s".to_owned(), rate(known, text)),
        ]));
    }
    Ok(json!({"gate": report::side_of(&runs)}))
}

/// Memory of many streams that are open at once, and the time to start: with fresh Envoys, as the
/// memory of a VM never shrinks. Records keep no content here.
async fn open_streams(bench: &mut Bench, token: &str) -> Result<(Value, Value)> {
    let gate = bench.gate_without_content();
    let count = bench.settings.open_streams;
    let (mut open, mut start) = (Vec::new(), Vec::new());
    for run in 0..bench.settings.cold_runs {
        (bench.tell)(&format!(
            "{count} open streams, {}/{}",
            run + 1,
            bench.settings.cold_runs
        ));
        let mut sides = Sides::start(bench, &gate, &format!("cold-{run}")).await?;
        sides.wait_until_ready(&request(token, false))?;
        let mut pair = (Pair::default(), Pair::default());
        for (side, memory, started) in [
            (&sides.bare, &mut pair.0.bare, &mut pair.1.bare),
            (&sides.gate, &mut pair.0.gate, &mut pair.1.gate),
        ] {
            started.insert("ready_ms".to_owned(), side.ready_ms);
            let body = messages::chat(4 << 10, true, true, New::All);
            let request = Request::new("/chat/completions", "open", token, &body);
            let before = cpu::resident_kib(side.process)?;
            let mut connections = Vec::new();
            for _ in 0..count {
                let mut connection = Connection::open(side.address)?;
                connection.send(&request)?;
                connection.begin(1)?;
                connections.push(connection);
            }
            let after = cpu::resident_kib(side.process)?;
            bench.upstream.release().await?;
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            memory.insert("kib_per_stream".to_owned(), (after - before) / count as f64);
            memory.insert("rss_mib".to_owned(), after / 1024.0);
        }
        let above = pair.0.gate["kib_per_stream"] - pair.0.bare["kib_per_stream"];
        pair.0.gate.insert("kib_per_stream_added".to_owned(), above);
        open.push(pair.0);
        start.push(pair.1);
        sides.stop();
    }
    Ok((report::scenario(&open), report::scenario(&start)))
}

/// Requests that wait for a person, and what others feel of them.
async fn held(bench: &mut Bench, token: &str) -> Result<Value> {
    let desk = json!({"cluster": "approvals", "public_url": "https://desk.gw.test", "hold": "4m"});
    let findings = json!({"findings": {"at_least": 1}});
    let rule = json!({"name": "ask", "when": findings, "then": "ask_approval", "approvers": "all"});
    let gate = bench.gate_with(|configuration| {
        configuration["approvals"] = desk;
        configuration["rules"] = json!([rule]);
    });
    let settings = bench.settings.clone();
    let others = Scenario {
        name: "others",
        request: request(token, false),
        callers: 1,
        pace: Pace::Closed,
        recorded: true,
    };
    let asking = request(token, true);
    let mut pairs = Vec::new();
    for run in 0..settings.cold_runs {
        (bench.tell)(&format!(
            "{} held requests, {}/{}",
            settings.held,
            run + 1,
            settings.cold_runs
        ));
        let mut sides = Sides::start(bench, &gate, &format!("held-{run}")).await?;
        sides.wait_until_ready(&others.request)?;
        let alone = sides.gate.measure(&others, &settings)?;
        let before = cpu::resident_kib(sides.gate.process)?;
        let mut connections = Vec::new();
        for _ in 0..settings.held {
            let mut connection = Connection::open(sides.gate.address)?;
            connection.send(&asking)?;
            connections.push(connection);
        }
        bench.upstream.wait_for_asks(settings.held).await?;
        let after = cpu::resident_kib(sides.gate.process)?;
        let mut pair = sides.pair(false, |side| side.measure(&others, &settings))?;
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let each = (after - before) / settings.held as f64;
        pair.gate.insert("kib_per_held".to_owned(), each);
        for (path, value) in alone.iter().filter(|(path, _)| path.starts_with("ttfb_ms")) {
            pair.gate.insert(format!("alone_{path}"), *value);
        }
        bench.upstream.release().await?;
        sides.stop();
        pairs.push(pair);
    }
    Ok(report::scenario(&pairs))
}

/// A chat request of 32 KiB with an answer in one piece.
fn request(token: &str, secrets: bool) -> Request {
    let body = messages::chat(32 << 10, false, secrets, New::Last);
    Request::new("/chat/completions", "json", token, &body)
}

/// What the sink takes, by its own measurement, which shows its table on standard error.
fn sink_rates(runs: usize) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["bench", "--quiet", "--locked", "-p", "bigquery-sink"])
        .args(["--bench", "throughput", "--", "--json", "--runs"])
        .arg(runs.to_string())
        .current_dir(sink::repository())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the sink's measurement failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The commit that is measured; with a plus if files differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(sink::repository())
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let clean = git(&["status", "--porcelain", "-uno"]).is_some_and(|changes| changes.is_empty());
    if clean { commit } else { commit + "+" }
}
