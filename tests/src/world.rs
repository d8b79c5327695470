//! Everything together: [`World`].

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    bigquery::{BigQuery, DATASET, Emulator, Row, Table, VIEWS},
    caller::{Caller, Http},
    certs::Certificates,
    desk::{self, Approver, Desk},
    envoy::{self, Bootstrap, Envoy, Form},
    issuer::{Issuer, Mood},
    ports::{free, loopback},
    process::tail,
    sink::{self, Sink},
    upstream::Upstream,
    wait,
};

/// The gateway's domain in every world.
pub const DOMAIN: &str = "gw.test";

/// Token of the auditor `kim`.
pub const AUDITOR_TOKEN: &str = concat!("auditor-", "ofAWorldOfTests0");

/// BigQuery's project in every world.
pub const PROJECT: &str = "copilot-gate";

/// The GitHub credential in every world with a fake GitHub.
pub const CREDENTIAL: &str = concat!("gho_", "WorldOfTestsNotARealTokenAtAll000000");

/// Token of the officer who may order erasures and holds, in every world.
pub const OFFICER: &str = concat!("officer-of-tests-", "0123456789");

/// A gateway and its neighbours. Dropping it ends them all.
pub struct World {
    // dropped, and so ended, in this order
    envoy: Envoy,
    sink: Option<Sink>,
    desk: Option<Desk>,
    emulator: Option<Emulator>,
    upstream: Upstream,
    issuer: Issuer,
    audit: Option<Audit>,
    certificates: Certificates,
    /// How approvers' tokens end.
    approvers: String,
    folder: PathBuf,
    _folder: Option<TempDir>,
}

/// Where a world's records are.
#[derive(Clone, Debug)]
struct Audit {
    bigquery: BigQuery,
    dataset: String,
    views: String,
}

/// What a world is made of. Build with [`World::builder`].
pub struct Builder {
    bootstrap: Result<Bootstrap>,
    bare: bool,
    patches: Vec<Value>,
    changes: Vec<Change>,
    sink_changes: Vec<SinkChange>,
    form: Form,
    mood: Mood,
    settings: envoy::Settings,
    audit: AuditKind,
    desk: bool,
    lineage: bool,
    ports: Ports,
    keys: Keys,
    folder: Option<PathBuf>,
    tell: fn(&str),
}

type Change = Box<dyn FnOnce(&mut Bootstrap) + Send>;
type SinkChange = Box<dyn FnOnce(&mut sink::Settings) + Send>;

/// Whether a world keeps records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AuditKind {
    /// No sink, no emulator: quick.
    #[default]
    None,
    /// A sink and an emulator of its own.
    Own,
    /// A sink of its own, and the emulator that all worlds of this process share.
    Shared,
}

/// Where things listen; 0 is a free port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// The gateway.
    pub gateway: u16,
    /// Envoy's admin interface.
    pub admin: u16,
    /// The sink's access log service.
    pub sink_grpc: u16,
    /// The sink's HTTP interface.
    pub sink_http: u16,
    /// The approval desk.
    pub approvals: u16,
    /// The issuer.
    pub issuer: u16,
    /// The fake GitHub.
    pub github: u16,
    /// BigQuery's REST interface.
    pub bigquery_rest: u16,
    /// BigQuery's gRPC interface.
    pub bigquery_grpc: u16,
}

/// Secrets of filter, sink and desk, as their variables have them.
#[derive(Clone, Debug)]
pub struct Keys {
    /// `GATE_GITHUB_TOKEN`.
    pub credential: String,
    /// `GATE_FINGERPRINT_KEYS`.
    pub fingerprints: String,
    /// `GATE_SINK_KEYS`.
    pub sink: String,
    /// `GATE_CHECKPOINT_KEYS`.
    pub checkpoints: String,
    /// `GATE_AUDITOR_TOKEN`.
    pub auditor: String,
    /// `GATE_DESK_TOKEN`.
    pub desk: String,
    /// How the tokens of [`desk::APPROVERS`] end.
    pub approvers: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            credential: CREDENTIAL.to_owned(),
            fingerprints: format!("f1:{}", BASE64.encode(b"fingerprints of a test, 32 bytes")),
            sink: format!("s1:{}", BASE64.encode(b"between filter and sink 32 bytes")),
            checkpoints: format!("c1:{}", BASE64.encode(b"a seed of a test, 32 bytes long!")),
            auditor: AUDITOR_TOKEN.to_owned(),
            desk: desk::DESK_TOKEN.to_owned(),
            approvers: desk::APPROVERS_TOKEN.to_owned(),
        }
    }
}

impl World {
    /// The gateway as shipped, without a sink.
    ///
    /// # Panics
    ///
    /// When something does not start; the message says what and shows its log.
    pub async fn start() -> Self {
        Self::builder().start().await.unwrap()
    }

    /// As [`World::start`], with a sink and the shared emulator.
    ///
    /// # Panics
    ///
    /// When something does not start; the message says what and shows its log.
    pub async fn with_audit() -> Self {
        Self::builder().audit().start().await.unwrap()
    }

    /// A world to be changed before it starts.
    pub fn builder() -> Builder {
        Builder {
            bootstrap: Bootstrap::gateway(),
            bare: false,
            patches: Vec::new(),
            changes: Vec::new(),
            sink_changes: Vec::new(),
            form: Form::default(),
            mood: Mood::default(),
            settings: envoy::Settings::default(),
            audit: AuditKind::default(),
            desk: false,
            lineage: false,
            ports: Ports::default(),
            keys: Keys::default(),
            folder: None,
            tell: |_| {},
        }
    }

    /// A client of `person`, an engineer, over HTTP/2.
    pub fn caller(&self, person: &str) -> Caller {
        self.stranger(Http::Two)
            .with_token(self.issuer.token(person).sign())
    }

    /// A client without a token.
    pub fn stranger(&self, http: Http) -> Caller {
        Caller::new(DOMAIN, self.gateway(), &self.certificates.authority, http).unwrap()
    }

    /// Where the gateway takes connections.
    pub fn gateway(&self) -> SocketAddr {
        self.envoy.listener("gateway").unwrap()
    }

    /// The issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The fake GitHub.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Envoy.
    pub fn envoy(&mut self) -> &mut Envoy {
        &mut self.envoy
    }

    /// The sink, to end it or to read its metrics.
    ///
    /// # Panics
    ///
    /// In a world without audit.
    pub fn sink(&mut self) -> &mut Sink {
        self.sink.as_mut().expect("a world with audit")
    }

    /// Starts the sink again after its end, with the same spool.
    pub async fn restart_sink(&mut self) -> Result<()> {
        let sink = self.sink.take().context("a world without audit")?;
        let settings = sink.settings().clone();
        drop(sink);
        self.sink = Some(Sink::start(settings, &self.folder).await?);
        Ok(())
    }

    /// The approval desk, to end it or to read its metrics.
    ///
    /// # Panics
    ///
    /// In a world without a desk.
    pub fn desk(&mut self) -> &mut Desk {
        self.desk.as_mut().expect("a world with a desk")
    }

    /// Starts the desk again after its end, with the same data.
    pub async fn restart_desk(&mut self) -> Result<()> {
        let desk = self.desk.take().context("a world without a desk")?;
        let settings = desk.settings().clone();
        drop(desk);
        self.desk = Some(Desk::start(settings).await?);
        Ok(())
    }

    /// One of [`desk::APPROVERS`].
    ///
    /// # Panics
    ///
    /// In a world without a desk.
    pub fn approver(&self, name: &str) -> Approver {
        let desk = self.desk.as_ref().expect("a world with a desk");
        desk.approver(desk::token(name, &self.approvers))
    }

    /// The certificates.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The world's files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The emulator of its own.
    pub fn emulator(&mut self) -> Option<&mut Emulator> {
        self.emulator.as_mut()
    }

    /// The rows of a query, once there are any. Tables are written as everywhere,
    /// `copilot_audit.records` and `copilot_audit_views.exchanges`.
    ///
    /// # Panics
    ///
    /// When there are none in time, or in a world without audit.
    pub async fn rows(&self, sql: &str) -> Vec<Row> {
        self.rows_when(sql, |rows| !rows.is_empty()).await
    }

    /// The rows of a query, once they are as they should be.
    ///
    /// # Panics
    ///
    /// As [`World::table_when`].
    pub async fn rows_when(&self, sql: &str, good: impl Fn(&[Row]) -> bool) -> Vec<Row> {
        self.table_when(sql, good).await.rows
    }

    /// What a query gives, once its rows are as they should be.
    ///
    /// # Panics
    ///
    /// When they are not in time, with the rows that there are; or in a world without audit.
    pub async fn table_when(&self, sql: &str, good: impl Fn(&[Row]) -> bool) -> Table {
        let mut last = String::new();
        let rows = wait::until("matching rows", async || match self.query(sql).await {
            Ok(table) if good(&table.rows) => Some(table),
            other => {
                last = format!("{other:?}");
                None
            }
        })
        .await;
        match rows {
            Ok(rows) => rows,
            Err(error) => {
                let log = self.sink.as_ref().map(Sink::log).unwrap_or_default();
                panic!(
                    "{error}; {sql} gives {last}; the sink says:\n{}",
                    tail(&log)
                )
            }
        }
    }

    /// What a query gives now. Exchanges that still run are left out, unless it speaks of `kind`
    /// or of a time.
    pub async fn query(&self, sql: &str) -> Result<Table> {
        let audit = self.audit.as_ref().context("a world without audit")?;
        let exchanges = format!("{VIEWS}.exchanges");
        let ended = format!("(SELECT * FROM {exchanges} WHERE kind != 'open')");
        let speaks = sql.contains("kind") || sql.contains("_between(");
        let sql = if speaks {
            sql.to_owned()
        } else {
            sql.replace(&exchanges, &ended)
        };
        let sql = sql
            .replace(&format!("{VIEWS}."), &format!("{}.", audit.views))
            .replace(&format!("{DATASET}."), &format!("{}.", audit.dataset));
        audit.bigquery.query(&sql).await
    }

    /// Everything that a secret must not be in: all files, logs, metrics, Envoy's configuration,
    /// the spool's bytes and the rows. Name and bytes.
    pub async fn artefacts(&self) -> Vec<(String, Vec<u8>)> {
        let mut artefacts = Vec::new();
        files(&self.folder, &mut artefacts);
        for page in ["/stats", "/stats/prometheus", "/config_dump", "/clusters"] {
            let text = self.envoy.ask(page).await.unwrap_or_default();
            artefacts.push((format!("envoy {page}"), text.into_bytes()));
        }
        if let Some(sink) = &self.sink {
            let text = sink.metrics().await.unwrap_or_default();
            artefacts.push(("sink /metrics".to_owned(), text.into_bytes()));
            let rows = self
                .query(&format!("SELECT * FROM {DATASET}.records"))
                .await;
            let rows = rows
                .map(|table| json!(table.rows).to_string())
                .unwrap_or_default();
            artefacts.push(("rows".to_owned(), rows.into_bytes()));
        }
        if let Some(desk) = &self.desk {
            let text = desk.metrics().await.unwrap_or_default();
            artefacts.push(("desk /metrics".to_owned(), text.into_bytes()));
        }
        artefacts
    }

    /// Names of the artefacts that contain `secret`.
    pub async fn leaks(&self, secret: &str) -> Vec<String> {
        let secret = secret.as_bytes();
        let mut artefacts = self.artefacts().await;
        artefacts.retain(|(_, bytes)| bytes.windows(secret.len()).any(|part| part == secret));
        artefacts.into_iter().map(|(name, _)| name).collect()
    }

    /// Ends everything in the order that loses nothing.
    pub fn stop(mut self) {
        self.envoy.stop();
        if let Some(desk) = &mut self.desk {
            desk.process().stop();
        }
        if let Some(sink) = &mut self.sink {
            sink.process().stop();
        }
        if let Some(emulator) = &mut self.emulator {
            emulator.process().stop();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("─── Envoy's log ───\n{}", tail(&self.envoy.log()));
            if let Some(sink) = &self.sink {
                eprintln!("─── the sink's log ───\n{}", tail(&sink.log()));
            }
            if let Some(desk) = &self.desk {
                eprintln!("─── the desk's log ───\n{}", tail(&desk.log()));
            }
        }
    }
}

impl Builder {
    /// Without the filter: for tests of the harness itself.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bootstrap = Ok(Bootstrap::bare());
        self.bare = true;
        self
    }

    /// Changes the filter's configuration: a JSON merge patch (RFC 7396), so lists are replaced
    /// whole and null takes a key away.
    #[must_use]
    pub fn configure(mut self, patch: Value) -> Self {
        self.patches.push(patch);
        self
    }

    /// Changes anything in Envoy's bootstrap, after everything else.
    #[must_use]
    pub fn bootstrap(mut self, change: impl FnOnce(&mut Bootstrap) + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Changes what the sink is started with, after everything else.
    #[must_use]
    pub fn sink(mut self, change: impl FnOnce(&mut sink::Settings) + Send + 'static) -> Self {
        self.sink_changes.push(Box::new(change));
        self
    }

    /// Replaces clusters by those of the same name in a file.
    #[must_use]
    pub fn replace_clusters(mut self, file: &Path) -> Self {
        self.bootstrap = self.bootstrap.and_then(|mut bootstrap| {
            bootstrap.replace_clusters(file)?;
            Ok(bootstrap)
        });
        self
    }

    /// How the filter's configuration is written.
    #[must_use]
    pub fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// How the issuer answers from the beginning.
    #[must_use]
    pub fn mood(mut self, mood: Mood) -> Self {
        self.mood = mood;
        self
    }

    /// Envoy's worker threads; 1 unless told otherwise.
    #[must_use]
    pub fn concurrency(mut self, threads: u32) -> Self {
        self.settings.concurrency = threads;
        self
    }

    /// With a sink and the emulator that worlds share, in datasets of its own.
    #[must_use]
    pub fn audit(mut self) -> Self {
        self.audit = AuditKind::Shared;
        self
    }

    /// With fingerprints of the code in answers.
    #[must_use]
    pub fn lineage(mut self) -> Self {
        self.lineage = true;
        self
    }

    /// With an approval desk.
    #[must_use]
    pub fn desk(mut self) -> Self {
        self.desk = true;
        self
    }

    /// With a sink and an emulator of its own.
    #[must_use]
    pub fn own_emulator(mut self) -> Self {
        self.audit = AuditKind::Own;
        self
    }

    /// Where things listen.
    #[must_use]
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }

    /// Secrets of filter, sink and desk.
    #[must_use]
    pub fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// Keeps everything in this folder beyond the world's end: keys, certificates, spool, tables.
    #[must_use]
    pub fn folder(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Says what it is doing.
    #[must_use]
    pub fn tell(mut self, tell: fn(&str)) -> Self {
        self.tell = tell;
        self
    }

    /// Starts everything.
    pub async fn start(self) -> Result<World> {
        let mut bootstrap = self.bootstrap?;
        let (folder, temporary) = if let Some(folder) = &self.folder {
            (folder.clone(), None)
        } else {
            let temporary = tempfile::Builder::new().prefix("gate-").tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        };
        let lasting = self.folder.is_some();
        fs::create_dir_all(&folder)?;
        let certificates = Certificates::in_folder(&folder.join("certs"), DOMAIN)?;

        let issuer = if lasting {
            Issuer::persistent(self.ports.issuer, &folder.join("issuer.json")).await?
        } else {
            Issuer::start(self.ports.issuer).await?
        };
        issuer.set_mood(self.mood);
        let upstream = Upstream::start(self.ports.github).await?;
        upstream.set_github(DOMAIN);

        let mut configuration = bootstrap.filter();
        let approvals = loopback(or_free(self.ports.approvals)?);
        if !self.bare {
            if self.desk {
                let url = format!("http://{approvals}");
                configuration["approvals"] = json!({"cluster": "approvals", "public_url": url});
            }
            configuration["identity"]["issuers"][0]["issuer"] = json!(issuer.url());
            if self.audit == AuditKind::None {
                configuration["audit"] = json!({}); // nobody would say what is durable
            }
            for patch in &self.patches {
                merge(&mut configuration, patch);
            }
            bootstrap.set_filter(&configuration, self.form);
            bootstrap.module(&sink::module()?);
        }

        let mut emulator = None;
        let mut audit = None;
        let mut sink = None;
        let mut known = vec![
            ("copilot_api", upstream.address()),
            ("copilot_proxy", upstream.address()),
            ("identity_provider", issuer.address()),
        ];
        if self.audit != AuditKind::None {
            (self.tell)("the BigQuery emulator");
            let (grpc, found) = match self.audit {
                AuditKind::Shared => shared_emulator().await?,
                AuditKind::Own | AuditKind::None => {
                    let data = lasting.then(|| folder.join("bigquery"));
                    let rest = or_free(self.ports.bigquery_rest)?;
                    let grpc = or_free(self.ports.bigquery_grpc)?;
                    let started = Emulator::start(rest, grpc, PROJECT, data, &folder).await?;
                    let found = (started.grpc(), Audit::usual(started.client()));
                    emulator = Some(started);
                    found
                }
            };
            (self.tell)("bigquery-sink");
            let mut settings = sink::Settings {
                access_log: loopback(or_free(self.ports.sink_grpc)?),
                http: loopback(or_free(self.ports.sink_http)?),
                spool: folder.join("spool"),
                project: PROJECT.to_owned(),
                dataset: found.dataset.clone(),
                views: found.views.clone(),
                rest: found.bigquery.rest,
                grpc,
                deployment: deployment(&configuration),
                keys: self.keys.sink.clone(),
                fingerprint_keys: self.keys.fingerprints.clone(),
                auditors: format!("kim:{}", self.keys.auditor),
                checkpoint_keys: self.keys.checkpoints.clone(),
                officers: format!("dpo:{OFFICER}"),
                lineage: lasting || self.lineage,
                checkpoint_interval: if lasting { "60s" } else { "500ms" },
                spool_max_bytes: None,
                tls: None,
            };
            for change in self.sink_changes {
                change(&mut settings);
            }
            known.push(("bigquery_sink", settings.access_log));
            known.push(("bigquery_sink_http", settings.http));
            sink = Some(Sink::start(settings, &folder).await?);
            audit = Some(found);
        }

        let mut desk = None;
        if self.desk {
            (self.tell)("the approval desk");
            let settings = desk::Settings {
                listen: approvals,
                data: folder.join("approvals"),
                deployment: deployment(&configuration),
                domain: DOMAIN.to_owned(),
                desk_token: self.keys.desk.clone(),
                approvers: desk::approvers(&issuer.url(), &self.keys.approvers),
                folder: folder.clone(),
            };
            known.push(("approvals", settings.listen));
            desk = Some(Desk::start(settings).await?);
        }

        (self.tell)("Envoy with the filter");
        bootstrap.listeners_anywhere();
        bootstrap.listener("gateway", loopback(self.ports.gateway))?;
        bootstrap.admin(loopback(self.ports.admin));
        bootstrap.certificates(&certificates);
        envoy::isolate(&mut bootstrap, &known);
        for change in self.changes {
            change(&mut bootstrap);
        }
        let mut settings = self.settings;
        settings.environment.extend(
            [
                ("GATE_GITHUB_TOKEN", self.keys.credential),
                ("GATE_FINGERPRINT_KEYS", self.keys.fingerprints),
                ("GATE_SINK_KEYS", self.keys.sink),
                ("GATE_DESK_TOKEN", self.keys.desk),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        settings.working_folder.clone_from(&folder);
        let envoy = Envoy::start(&bootstrap, &settings, &folder).await?;

        Ok(World {
            envoy,
            sink,
            desk,
            emulator,
            upstream,
            issuer,
            audit,
            certificates,
            approvers: self.keys.approvers,
            folder,
            _folder: temporary,
        })
    }
}

impl Audit {
    fn usual(bigquery: BigQuery) -> Self {
        Self {
            bigquery,
            dataset: DATASET.to_owned(),
            views: VIEWS.to_owned(),
        }
    }
}

/// The emulator that worlds of this process share, and datasets that nobody has used.
async fn shared_emulator() -> Result<(SocketAddr, Audit)> {
    static EMULATOR: OnceCell<Emulator> = OnceCell::const_new();
    static WORLDS: AtomicU32 = AtomicU32::new(1);
    let emulator = EMULATOR
        .get_or_try_init(|| async {
            let folder = sink::target().join("e2e");
            fs::create_dir_all(&folder)?;
            Emulator::ephemeral(PROJECT, &folder).await
        })
        .await?;
    let world = WORLDS.fetch_add(1, Ordering::SeqCst);
    let audit = Audit {
        bigquery: emulator.client(),
        dataset: format!("{DATASET}_{world}"),
        views: format!("{VIEWS}_{world}"),
    };
    Ok((emulator.grpc(), audit))
}

fn deployment(configuration: &Value) -> String {
    let deployment = configuration["deployment"].as_str();
    deployment.unwrap_or("demo").to_owned()
}

fn or_free(port: u16) -> Result<u16> {
    if port == 0 { free() } else { Ok(port) }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(object) = target.as_object_mut() {
                object.remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}
