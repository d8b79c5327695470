//! Real Envoy, started from a bootstrap that is patched for one run.

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    certs::Certificates,
    ports::{REFUSED, loopback},
    process::{Process, tail},
    sink, wait,
};

/// Cold start with a large module on a busy machine.
const START: Duration = Duration::from_secs(90);

/// Envoy's configuration as a value.
#[derive(Clone, Debug)]
pub struct Bootstrap(pub Value);

impl Bootstrap {
    /// Reads YAML.
    pub fn from_yaml(text: &str) -> Result<Self> {
        Ok(Self(serde_saphyr::from_str(text)?))
    }

    /// Reads a YAML file.
    pub fn from_file(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::from_yaml(&text).with_context(|| format!("cannot understand {}", file.display()))
    }

    /// `envoy/gateway.yaml`: the gateway as it is shipped.
    pub fn gateway() -> Result<Self> {
        Self::from_file(&sink::repository().join("envoy/gateway.yaml"))
    }

    /// The same way through Envoy without a filter, for the harness's own tests.
    pub fn bare() -> Self {
        Self::from_yaml(include_str!("../fixtures/bare.yaml")).expect("checked by a test")
    }

    /// Replaces clusters by those of the same name in `file`, as `envoy/upstream-github.yaml`
    /// gives them: a list, or a bootstrap with `static_resources.clusters`.
    pub fn replace_clusters(&mut self, file: &Path) -> Result<()> {
        let with = Self::from_file(file)?.0;
        let clusters = ["", "/clusters", "/static_resources/clusters"]
            .iter()
            .find_map(|place| with.pointer(place).and_then(Value::as_array))
            .with_context(|| format!("{} names no clusters", file.display()))?;
        for cluster in clusters {
            let name = &cluster["name"];
            let place = self
                .clusters()
                .iter_mut()
                .find(|old| old["name"] == *name)
                .with_context(|| format!("there is no cluster {name} to replace"))?;
            *place = cluster.clone();
        }
        Ok(())
    }

    /// Moves the listener of that name; port 0 lets Envoy choose.
    pub fn listener(&mut self, name: &str, address: SocketAddr) -> Result<()> {
        let listeners = self.0["static_resources"]["listeners"].as_array_mut();
        let listener = listeners
            .into_iter()
            .flatten()
            .find(|listener| listener["name"] == name)
            .with_context(|| format!("there is no listener {name}"))?;
        listener["address"] = socket_address(address);
        Ok(())
    }

    /// Moves all listeners to ports of Envoy's choice.
    pub fn listeners_anywhere(&mut self) {
        let listeners = self.0["static_resources"]["listeners"].as_array_mut();
        for listener in listeners.into_iter().flatten() {
            if listener["address"]["socket_address"].is_object() {
                listener["address"] = socket_address(loopback(0));
            }
        }
    }

    /// Moves the admin interface; port 0 lets Envoy choose.
    pub fn admin(&mut self, address: SocketAddr) {
        self.0["admin"] = json!({"address": socket_address(address)});
    }

    /// Sends the cluster of that name elsewhere. Does nothing if there is none.
    pub fn cluster(&mut self, name: &str, address: SocketAddr) {
        for cluster in self.clusters() {
            if cluster["name"] == name {
                let endpoint = json!({"endpoint": {"address": socket_address(address)}});
                cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": [endpoint]}]);
            }
        }
    }

    /// Gives the cluster of that name a transport socket.
    pub fn transport_socket(&mut self, cluster: &str, socket: &Value) {
        for it in self.clusters() {
            if it["name"] == cluster {
                it["transport_socket"] = socket.clone();
            }
        }
    }

    /// Names of clusters whose endpoint is an address on this machine.
    pub fn local_clusters(&mut self) -> Vec<String> {
        let local = |cluster: &&mut Value| cluster.to_string().contains("\"127.0.0.1\"");
        self.clusters()
            .iter_mut()
            .filter(local)
            .filter_map(|cluster| cluster["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Sets the certificate that listeners show.
    pub fn certificates(&mut self, certificates: &Certificates) {
        visit(&mut self.0["static_resources"]["listeners"], &mut |value| {
            if value.contains_key("tls_certificates") {
                let pair = json!({
                    "certificate_chain": {"filename": certificates.certificate},
                    "private_key": {"filename": certificates.key},
                });
                value.insert("tls_certificates".to_owned(), json!([pair]));
            }
        });
    }

    /// Sets the file of the Wasm module.
    pub fn module(&mut self, file: &Path) {
        visit(&mut self.0, &mut |value| {
            if value.contains_key("vm_id") && value.contains_key("code") {
                value.insert("code".to_owned(), json!({"local": {"filename": file}}));
            }
        });
    }

    /// The filter's configuration, null if there is no filter.
    pub fn filter(&self) -> Value {
        let mut found = Value::Null;
        let mut copy = self.0.clone();
        visit(&mut copy, &mut |value| {
            if value.get("root_id") == Some(&json!("gate")) {
                let configuration = &value["configuration"]["value"];
                found = match configuration.as_str() {
                    Some(text) => serde_json::from_str(text).unwrap_or_default(),
                    None => configuration.clone(),
                };
            }
        });
        found
    }

    /// Sets the filter's configuration in one of the two ways it may arrive.
    pub fn set_filter(&mut self, configuration: &Value, form: Form) {
        let configuration = match form {
            Form::Struct => json!({
                "@type": "type.googleapis.com/google.protobuf.Struct",
                "value": configuration,
            }),
            Form::Text => json!({
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": configuration.to_string(),
            }),
        };
        visit(&mut self.0, &mut |value| {
            if value.get("root_id") == Some(&json!("gate")) {
                value.insert("configuration".to_owned(), configuration.clone());
            }
        });
    }

    /// Takes TLS away from all listeners.
    pub fn without_tls(&mut self) {
        visit(&mut self.0["static_resources"]["listeners"], &mut |value| {
            value.remove("transport_socket");
        });
    }

    /// Takes the filter away, and the access logs that carry its records.
    pub fn without_filter(&mut self) {
        visit(&mut self.0["static_resources"]["listeners"], &mut |value| {
            value.remove("access_log");
            if let Some(filters) = value.get_mut("http_filters").and_then(Value::as_array_mut) {
                filters.retain(|filter| filter["name"] != "envoy.filters.http.wasm");
            }
        });
    }

    fn clusters(&mut self) -> &mut [Value] {
        self.0["static_resources"]["clusters"]
            .as_array_mut()
            .map_or(&mut [], Vec::as_mut_slice)
    }
}

/// How the filter's configuration is written in the bootstrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `google.protobuf.Struct`, as people write it.
    #[default]
    Struct,
    /// JSON in a `StringValue`.
    Text,
}

/// What Envoy is started with besides its bootstrap.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Worker threads.
    pub concurrency: u32,
    /// Environment, the filter's secrets among it.
    pub environment: BTreeMap<String, String>,
    /// Folder that relative paths start from.
    pub working_folder: PathBuf,
    /// `--component-log-level`.
    pub log_levels: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 1,
            environment: BTreeMap::new(),
            working_folder: sink::repository(),
            log_levels: "wasm:debug".to_owned(),
        }
    }
}

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
    http: reqwest::Client,
}

impl Envoy {
    /// Starts it and waits until it takes requests. Its files go to `folder`.
    pub async fn start(bootstrap: &Bootstrap, settings: &Settings, folder: &Path) -> Result<Self> {
        let admin_file = folder.join("envoy-admin");
        drop(fs::remove_file(&admin_file));
        let mut command = command(bootstrap, settings, folder)?;
        command.arg("--admin-address-path").arg(&admin_file);
        let mut process = Process::start("envoy", command, &folder.join("envoy.log"))?;

        let http = crate::client::client().build()?;
        let admin: SocketAddr = wait::within(START, "Envoy's admin interface", async || {
            process.check()?;
            Ok(fs::read_to_string(&admin_file)
                .ok()
                .and_then(|text| text.trim().parse().ok()))
        })
        .await?;
        let ready = format!("http://{admin}/ready");
        let started = wait::within(START, "LIVE from Envoy", async || {
            process.check()?;
            let answer = http.get(&ready).send().await;
            Ok(answer
                .is_ok_and(|answer| answer.status() == 200)
                .then_some(()))
        })
        .await;
        if let Err(error) = started {
            bail!("{error}:\n{}", tail(&process.log()));
        }

        let mut envoy = Self {
            process,
            admin,
            listeners: BTreeMap::new(),
            http,
        };
        let listeners: Value = serde_json::from_str(&envoy.ask("/listeners?format=json").await?)?;
        for status in listeners["listener_statuses"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let place = &status["local_address"]["socket_address"];
            if let (Some(name), Some(port)) =
                (status["name"].as_str(), place["port_value"].as_u64())
            {
                let ip = place["address"].as_str().unwrap_or("127.0.0.1").parse()?;
                let port = u16::try_from(port)?;
                envoy
                    .listeners
                    .insert(name.to_owned(), SocketAddr::new(ip, port));
            }
        }
        Ok(envoy)
    }

    /// Checks a bootstrap without serving (`--mode validate`, which also configures the filter)
    /// and gives the log; fails with it if Envoy refuses.
    pub fn validate(bootstrap: &Bootstrap, settings: &Settings, folder: &Path) -> Result<String> {
        let mut command = command(bootstrap, settings, folder)?;
        command.args(["--mode", "validate"]);
        let mut process = Process::start("envoy", command, &folder.join("envoy-validate.log"))?;
        let status = process.wait(START)?;
        let log = process.log();
        ensure!(
            status.success(),
            "Envoy refuses the bootstrap:\n{}",
            tail(&log)
        );
        Ok(log)
    }

    /// Where the listener of that name takes connections.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        let found = self.listeners.get(name);
        found
            .copied()
            .with_context(|| format!("there is no listener {name}"))
    }

    /// Where the admin interface is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What the admin interface answers.
    pub async fn ask(&self, path: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.admin);
        Ok(self
            .http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?)
    }

    /// The counters and gauges, by name; histograms are left out.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        let text = self.ask("/stats").await?;
        Ok(text
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect())
    }

    /// The configuration as Envoy shows it to people with access to its admin interface.
    pub async fn config_dump(&self) -> Result<String> {
        self.ask("/config_dump").await
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, to look at or to end early.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process.stop();
    }
}

/// The Envoy binary: `ENVOY`, or the one that `make setup` installs.
pub fn binary() -> Result<PathBuf> {
    let file = match env::var_os("ENVOY") {
        Some(file) => PathBuf::from(file),
        None => sink::cache().join("venv/lib/python3.11/site-packages/envoy/_bin/envoy"),
    };
    ensure!(
        file.exists(),
        "there is no Envoy at {} (make setup)",
        file.display()
    );
    Ok(file)
}

fn command(bootstrap: &Bootstrap, settings: &Settings, folder: &Path) -> Result<Command> {
    // JSON, under a name that says so: Envoy goes by it
    let file = folder.join("envoy.json");
    fs::write(&file, format!("{:#}", bootstrap.0))?;
    let mut command = Command::new(binary()?);
    command
        .arg("--config-path")
        .arg(file)
        .args(["--concurrency", &settings.concurrency.to_string()])
        .args(["--disable-hot-restart", "--log-level", "warning"])
        .args(["--component-log-level", &settings.log_levels])
        .current_dir(&settings.working_folder)
        .envs(&settings.environment);
    Ok(command)
}

/// Points every cluster on this machine that is not in `known` to where nobody listens, so that
/// a case never talks to somebody else's neighbour.
pub fn isolate(bootstrap: &mut Bootstrap, known: &[(&str, SocketAddr)]) {
    for name in bootstrap.local_clusters() {
        let address = known
            .iter()
            .find_map(|(cluster, address)| (*cluster == name).then_some(*address));
        bootstrap.cluster(&name, address.unwrap_or(REFUSED));
    }
}

fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn visit(value: &mut Value, change: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            for part in object.values_mut() {
                visit(part, change);
            }
        }
        Value::Array(parts) => {
            for part in parts {
                visit(part, change);
            }
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}
