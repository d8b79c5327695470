//! Starts and watches the processes of a test, and plays Envoy.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bigquery_sink::envoy::{
    Common, HttpEntry, StreamAccessLogsMessage,
    access_log_service_client::AccessLogServiceClient,
    stream_access_logs_message::{HttpEntries, LogEntries},
};
use bytes::Bytes;
use contract::{
    Chain, Content, Envelope, Epoch, MacKey, Proof, Stamp,
    checkpoint::{Checkpoint, Link, SigningKeys, VerifyingKeys, row_link},
};
use prost::Message;
use prost_types::Any;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub const PROJECT: &str = "test-project";
pub const KEYS: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub const CHECKPOINT_KEYS: &str = "c1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Waits for a condition; the deadline is for a busy machine.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn http() -> reqwest::Client {
    static TLS: LazyLock<()> = LazyLock::new(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
    });
    LazyLock::force(&TLS);
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

/// A port for a program that is started later, perhaps again and again: one of those that are not
/// given to connections that go out, and no other test's.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let from = u16::try_from(std::process::id() % 200 * 100).unwrap();
        let port = 10_000 + (from + number % 2_000) % 22_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A name that no other test uses, for a dataset of its own.
pub fn dataset() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("audit_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The BigQuery emulator.
pub struct Emulator {
    process: Option<Child>,
    folder: TempDir,
    pub rest: u16,
    pub grpc: u16,
}

impl Emulator {
    /// One for all tests that do not end it; goes away with this process.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Emulator> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Starts one of the test's own.
    pub async fn start() -> Self {
        let mut emulator = Self::prepare();
        emulator.run().await;
        emulator
    }

    /// One that does not run yet. It keeps files, so that it can be killed and started again.
    pub fn prepare() -> Self {
        Self {
            process: None,
            folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            rest: free_port(),
            grpc: free_port(),
        }
    }

    pub async fn run(&mut self) {
        let cache =
            std::env::var_os("CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from);
        let python = cache.join("venv/bin/python");
        assert!(
            python.exists(),
            "no Python with the emulator at {}: run `make setup`, or set CACHE to the folder that \
             holds `venv`",
            python.display()
        );
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let process = Command::new(python)
            .arg(repository().join("tests/emulator/bqemu.py"))
            .args([
                "start",
                "--project",
                PROJECT,
                "--log-level",
                "warning",
                "--persistent",
            ])
            .args([
                "--rest-port",
                &self.rest.to_string(),
                "--grpc-port",
                &self.grpc.to_string(),
            ])
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .env("BQEMU_EXIT_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        eventually("the emulator answers", async || self.get("datasets").await).await;
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!(
            "http://127.0.0.1:{}/bigquery/v2/projects/{PROJECT}/{path}",
            self.rest
        )
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        let answer = http().get(self.url(path)).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }

    /// Rows of a query, every value as text.
    pub async fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let body = json!({ "query": sql, "useLegacySql": false, "maxResults": 10_000 });
        let answer = http()
            .post(self.url("queries"))
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{sql}: {answer}");
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value["v"].as_str().map(str::to_owned);
        rows.iter()
            .map(|row| row["f"].as_array().unwrap().iter().map(text).collect())
            .collect()
    }

    /// The one number that a query gives; `None` before there is a table.
    pub async fn number(&self, sql: &str) -> u64 {
        self.query(sql).await[0][0]
            .as_ref()
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            print_end(&self.folder.path().join("log"), "emulator");
        }
    }
}

/// The program under test.
pub struct Sink {
    process: Option<Child>,
    arguments: Vec<String>,
    checkpoint_keys: String,
    environment: Vec<(&'static str, String)>,
    folder: TempDir,
    access_log: u16,
    /// Where pages are read.
    http: u16,
    /// With TLS, the port of HTTP; 0 without.
    https: u16,
}

impl Sink {
    /// Starts one that loads into `dataset`.
    pub async fn start(rest: u16, grpc: u16, dataset: &str, more: &[&str]) -> Self {
        let mut sink = Self::prepare(rest, grpc, dataset, more);
        sink.run().await;
        sink
    }

    /// One that does not run yet.
    pub fn prepare(rest: u16, grpc: u16, dataset: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (access_log, http) = (free_port(), free_port());
        let mut arguments: Vec<String> = [
            "--project",
            PROJECT,
            "--deployment",
            "acme",
            "--dataset",
            dataset,
            "--views-dataset",
            &format!("{dataset}_views"),
            "--bigquery-rest",
            &format!("http://127.0.0.1:{rest}"),
            "--bigquery-grpc",
            &format!("http://127.0.0.1:{grpc}"),
            "--listen-access-log",
            &format!("127.0.0.1:{access_log}"),
            "--listen-http",
            &format!("127.0.0.1:{http}"),
            "--spool",
            &folder.path().join("spool").display().to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Self {
            process: None,
            arguments,
            checkpoint_keys: String::new(),
            environment: Vec::new(),
            folder,
            access_log,
            http,
            https: 0,
        }
    }

    pub async fn run(&mut self) {
        self.run_by(&[]).await;
    }

    /// From the next run on checkpoints are signed.
    pub fn with_checkpoints(mut self) -> Self {
        CHECKPOINT_KEYS.clone_into(&mut self.checkpoint_keys);
        self
    }

    /// From the next run on a variable is set.
    pub fn with_environment(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Takes the last arguments away for the next run.
    pub fn forget_arguments(&mut self, number: usize) {
        self.arguments.truncate(self.arguments.len() - number);
    }

    /// More arguments for the next run.
    pub fn with(mut self, more: &[&str]) -> Self {
        let more = more.iter().map(|argument| (*argument).to_owned());
        self.arguments.extend(more);
        self
    }

    /// Starts it and does not wait: perhaps it ends.
    pub fn try_run(&mut self) {
        self.spawn(&[]);
    }

    /// Waits until it has prepared the table.
    pub async fn until_ready(&self) {
        eventually("the sink is ready", async || {
            (self.page("readyz").await?.0 == 200).then_some(())
        })
        .await;
    }

    /// Runs it by another program.
    pub async fn run_by(&mut self, words: &[&str]) {
        self.spawn(words);
        eventually("the sink answers", async || {
            (self.page("healthz").await?.0 == 200).then_some(())
        })
        .await;
    }

    fn spawn(&mut self, words: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let sink = env!("CARGO_BIN_EXE_bigquery-sink");
        let words: Vec<&str> = words.iter().copied().chain([sink]).collect();
        let process = Command::new(words[0])
            .args(&words[1..])
            .args(&self.arguments)
            .env("GATE_SINK_KEYS", KEYS)
            .env("GATE_CHECKPOINT_KEYS", &self.checkpoint_keys)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.process.as_mut().unwrap().try_wait().unwrap()?;
        self.process = None;
        Some(ended)
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let id = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        eventually("the sink ends", async || process.try_wait().unwrap()).await
    }

    /// Its process id; it has to run.
    pub fn id(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Where Envoy sends to.
    pub fn access_log_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.access_log)
    }

    /// A page of its HTTP service.
    pub fn url(&self, page: &str) -> String {
        format!("http://127.0.0.1:{}/{page}", self.http)
    }

    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// What `bigquery-sink dead-letters` lists; the sink has to be stopped.
    pub fn dead_letters(&self, export: Option<&Path>) -> Vec<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bigquery-sink"));
        command.arg("dead-letters").arg("--spool").arg(self.spool());
        if let Some(folder) = export {
            command.arg("--export").arg(folder);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// From the next run on its listeners want certificates; probes do not need one.
    pub fn with_tls(self, certificate: &Path, key: &Path, client_ca: &Path) -> Self {
        let probes = free_port();
        let text = |path: &Path| path.display().to_string();
        let mut sink = self.with(&[
            "--listen-probes",
            &format!("127.0.0.1:{probes}"),
            "--tls-cert",
            &text(certificate),
            "--tls-key",
            &text(key),
            "--tls-client-ca",
            &text(client_ca),
        ]);
        sink.https = std::mem::replace(&mut sink.http, probes);
        sink
    }

    /// Its ports with TLS: of the access log, of HTTP.
    pub fn tls_ports(&self) -> (u16, u16) {
        (self.access_log, self.https)
    }

    pub async fn page(&self, page: &str) -> Option<(u16, String)> {
        let answer = http().get(self.url(page)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// What `/readyz` says, and its body.
    pub async fn ready(&self) -> (u16, Value) {
        let (status, body) = self.page("readyz").await.unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.page("metrics").await.unwrap();
        text.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Waits until all that was received is in BigQuery.
    pub async fn drained(&self, received: f64) {
        eventually("all is in BigQuery", async || {
            let done = self.metric("sink_records_received_total").await >= received
                && self.metric("sink_spool_records").await < 1.0;
            done.then_some(())
        })
        .await;
    }

    /// Plays Envoy: sends entries over one stream, some at a time. Ends when the sink took them,
    /// or with an error when it went away.
    pub async fn send(&self, entries: Vec<HttpEntry>) -> Result<(), tonic::Status> {
        let messages: Vec<StreamAccessLogsMessage> = entries
            .chunks(10)
            .map(|chunk| StreamAccessLogsMessage {
                log_entries: Some(LogEntries::HttpLogs(HttpEntries {
                    log_entry: chunk.to_vec(),
                })),
            })
            .collect();
        let url = self.access_log_url();
        let connected = AccessLogServiceClient::connect(url).await;
        let mut client = connected.map_err(|_| tonic::Status::unavailable("nobody listens"))?;
        client
            .stream_access_logs(tokio_stream::iter(messages))
            .await?;
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        if std::thread::panicking() {
            print_end(&self.folder.path().join("log"), "sink");
        }
    }
}

/// A worker of the filter, as far as the sink can tell.
pub struct Filter {
    chain: Chain,
    key: MacKey,
}

impl Filter {
    pub fn new(epoch: u8) -> Self {
        let key: Vec<u8> = (0..32).collect();
        Self {
            chain: Chain::new(Epoch([epoch; 16])),
            key: MacKey::new("k1", &key),
        }
    }

    pub fn seal(&mut self, envelope: Envelope, content: &Content) -> Vec<u8> {
        self.chain.seal(envelope, content, &self.key).bytes
    }

    /// Ordinary close records.
    pub fn records(&mut self, number: usize) -> Vec<HttpEntry> {
        let record = |place: usize| Envelope {
            kind: Some("close".into()),
            deployment: Some("acme".into()),
            event_at: Some(bigquery_sink::now()),
            person: Some(format!("person-{}", place % 7)),
            endpoint: Some("chat".into()),
            decision: Some("allow".into()),
            ..Envelope::default()
        };
        let content = Content {
            request_content: Some("x".repeat(400)),
            response_content: Some("[]".into()),
        };
        (0..number)
            .map(|place| carrying(&self.seal(record(place), &content)))
            .collect()
    }
}

/// An access log entry that carries a record as Envoy wraps it.
pub fn carrying(record: &[u8]) -> HttpEntry {
    let any = Any {
        type_url: "type.googleapis.com/google.protobuf.BytesValue".into(),
        value: record.to_vec().encode_to_vec(),
    };
    HttpEntry {
        common_properties: Some(Common {
            filter_state_objects: [(contract::FILTER_STATE.to_owned(), any)].into(),
            ..Common::default()
        }),
        ..HttpEntry::default()
    }
}

/// The public halves of [`CHECKPOINT_KEYS`].
pub fn public_keys() -> VerifyingKeys {
    let keys = SigningKeys::read(CHECKPOINT_KEYS).unwrap();
    VerifyingKeys::read(&keys.published().join(",")).unwrap()
}

/// The checkpoints among all rows of a sink, in the order of their numbers; each fits the rows before
/// it.
pub fn proven(rows: Vec<Bytes>) -> Vec<Checkpoint> {
    let mut link: Option<Link> = None;
    let mut found = Vec::new();
    for (place, row) in (0..).zip(rows) {
        let stamp = Stamp::decode(row.clone()).unwrap();
        let envelope = Envelope::decode(row.clone()).unwrap();
        let proof = Proof::decode(row).unwrap();
        assert_eq!(stamp.sink_seq(), place);
        let place = u64::try_from(place).unwrap();
        if envelope.kind() == "checkpoint" {
            let checkpoint = public_keys().verify(envelope.checkpoint()).unwrap();
            let claims = &checkpoint.claims;
            assert_eq!((claims.rows, claims.since), (place, 0));
            assert_eq!(claims.sink_id, stamp.sink_id());
            let expected = link.map(|link| data_encoding::HEXLOWER.encode(&link));
            assert_eq!(claims.link, expected.unwrap_or_default(), "row {place}");
            found.push(checkpoint);
        }
        let at = stamp.received_at();
        link = Some(row_link(link.as_ref(), place, at, proof.hash()));
    }
    found
}

/// Waits until all that was received is covered by a checkpoint, and loaded.
pub async fn covered(sink: &Sink, received: f64) {
    eventually("all rows are covered and loaded", async || {
        let ready = sink.metric("sink_records_received_total").await >= received
            && sink.metric("sink_checkpoint_age_seconds").await == 0.0
            && sink.metric("sink_spool_records").await < 1.0;
        ready.then_some(())
    })
    .await;
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn print_end(log: &Path, of: &str) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    eprintln!("--- end of the {of}'s log");
    for line in lines.iter().skip(lines.len().saturating_sub(40)) {
        eprintln!("{}", line.chars().take(400).collect::<String>());
    }
}
