//! The programs of this repository and where they are, the sink first of all.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    bigquery::{DATASET, VIEWS},
    process::Process,
    wait,
};

/// A running sink.
#[derive(Debug)]
pub struct Sink {
    process: Process,
    settings: Settings,
}

/// Where a sink listens, what it keeps and where it loads to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Envoy streams its access log to.
    pub access_log: SocketAddr,
    /// Metrics, health and records.
    pub http: SocketAddr,
    /// The durable queue.
    pub spool: PathBuf,
    /// BigQuery's project.
    pub project: String,
    /// Dataset of the table.
    pub dataset: String,
    /// Dataset of the views.
    pub views: String,
    /// BigQuery's REST interface.
    pub rest: SocketAddr,
    /// BigQuery's gRPC interface.
    pub grpc: SocketAddr,
    /// The deployment whose records it takes.
    pub deployment: String,
    /// `kid:base64`, shared with the filter.
    pub keys: String,
    /// `kid:base64`, shared with the filter: what fingerprints are made with.
    pub fingerprint_keys: String,
    /// `name:token`, who may ask for fingerprints.
    pub auditors: String,
    /// `kid:base64`, what checkpoints are signed with.
    pub checkpoint_keys: String,
    /// `name:token`, who may order erasures and holds.
    pub officers: String,
    /// Whether code in answers is fingerprinted.
    pub lineage: bool,
    /// Time between two checkpoints.
    pub checkpoint_interval: &'static str,
    /// Bytes of rows that the spool holds, if not the usual.
    pub spool_max_bytes: Option<u64>,
    /// Certificate, key and authority of those who may connect, and where probes are then.
    pub tls: Option<([PathBuf; 3], SocketAddr)>,
}

impl Settings {
    /// The usual datasets.
    #[must_use]
    pub fn usual_datasets(mut self) -> Self {
        DATASET.clone_into(&mut self.dataset);
        VIEWS.clone_into(&mut self.views);
        self
    }

    /// The file of checkpoints, beside the spool.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.spool.with_file_name("checkpoints")
    }

    /// A page for probes.
    fn probe(&self, page: &str) -> String {
        let address = self.tls.as_ref().map_or(self.http, |(_, probes)| *probes);
        format!("http://{address}/{page}")
    }
}

impl Sink {
    /// Starts it and waits until it is ready; its output goes to `folder`.
    pub async fn start(settings: Settings, folder: &Path) -> Result<Self> {
        let mut command = Command::new(program("bigquery-sink")?);
        command
            .args(["--listen-access-log", &settings.access_log.to_string()])
            .args(["--listen-http", &settings.http.to_string()])
            .arg("--spool")
            .arg(&settings.spool)
            .args(["--project", &settings.project])
            .args(["--dataset", &settings.dataset])
            .args(["--views-dataset", &settings.views])
            .args(["--bigquery-rest", &format!("http://{}", settings.rest)])
            .args(["--bigquery-grpc", &format!("http://{}", settings.grpc)])
            .args(["--deployment", &settings.deployment])
            .args(["--checkpoint-interval", settings.checkpoint_interval])
            .arg("--checkpoint-file")
            .arg(settings.checkpoints())
            .args(settings.lineage.then_some("--lineage"))
            .env("GATE_SINK_KEYS", &settings.keys)
            .env("GATE_FINGERPRINT_KEYS", &settings.fingerprint_keys)
            .env("GATE_AUDITORS", &settings.auditors)
            .env("GATE_CHECKPOINT_KEYS", &settings.checkpoint_keys)
            .env("GATE_OFFICERS", &settings.officers);
        if let Some(bytes) = settings.spool_max_bytes {
            command.args(["--spool-max-bytes", &bytes.to_string()]);
        }
        if let Some(([certificate, key, authority], probes)) = &settings.tls {
            command
                .args(["--listen-probes", &probes.to_string()])
                .arg("--tls-cert")
                .arg(certificate)
                .arg("--tls-key")
                .arg(key)
                .arg("--tls-client-ca")
                .arg(authority);
        }
        let process = Process::start("bigquery-sink", command, &folder.join("sink.log"))?;
        let mut sink = Self { process, settings };
        let http = crate::client::client().build()?;
        let ready = sink.settings.probe("readyz");
        wait::within(START, "answer from the sink's /readyz", async || {
            sink.process.check()?;
            let answer = http.get(&ready).send().await;
            Ok(answer
                .is_ok_and(|answer| answer.status() == 200)
                .then_some(()))
        })
        .await?;
        Ok(sink)
    }

    /// What it was started with, to start it again.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its metrics as text.
    pub async fn metrics(&self) -> Result<String> {
        let url = self.settings.probe("metrics");
        let http = crate::client::client().build()?;
        Ok(http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?)
    }

    /// A gauge or counter without labels.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let metrics = self.metrics().await?;
        let mut values = metrics.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = values
            .find(|(of, _)| *of == name)
            .with_context(|| format!("no metric {name}"))?;
        Ok(value.parse()?)
    }

    /// The last record of an epoch before which none is missing on its disk; -1 if the first is.
    pub async fn durable_through(&self, epoch: &str) -> Result<i64> {
        let url = format!("http://{}/v1/epochs/{epoch}", self.settings.http);
        let http = crate::client::client().build()?;
        let answer = http.get(url).send().await?.error_for_status()?;
        let told: serde_json::Value = answer.json().await?;
        told["durable_through"].as_i64().context("no number")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, to end it in one way or another.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// First start: it makes tables and views.
const START: Duration = Duration::from_mins(1);

/// The repository's root.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// What `make setup` installs: `CACHE`, or `.cache` in the repository.
pub fn cache() -> PathBuf {
    env::var_os("CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from)
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// A program of this repository.
pub fn program(name: &str) -> Result<PathBuf> {
    let file = target().join("debug").join(name);
    ensure!(file.exists(), "there is no {} (make build)", file.display());
    Ok(file)
}

/// The Wasm module.
pub fn module() -> Result<PathBuf> {
    let file = target().join("wasm32-wasip1/wasm/filter.wasm");
    ensure!(file.exists(), "there is no {} (make wasm)", file.display());
    Ok(file)
}
