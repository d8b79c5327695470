//! Arguments as written, and as checked.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use contract::MacKey;
use reqwest::Url;

use crate::{bigquery::Target, spool, upload};

/// Takes audit records from Envoy's gRPC access log, keeps them on disk until BigQuery has them,
/// and loads them there exactly once.
///
/// Keys that records are sealed with come from the environment variable GATE_SINK_KEYS, as
/// kid:base64, several separated by commas. Google's credentials are found where Google's own tools
/// find them (GOOGLE_APPLICATION_CREDENTIALS, or the metadata server).
#[derive(Clone, Debug, Parser)]
#[expect(
    clippy::doc_markdown,
    reason = "the help shows the comments as they are"
)]
#[command(
    name = "bigquery-sink",
    version,
    max_term_width = 100,
    after_help = "bigquery-sink dead-letters --help: what could not be loaded as it was"
)]
pub struct Arguments {
    /// Address of the access log service that Envoy sends to (gRPC, plain text)
    #[arg(long, env = "SINK_LISTEN_ACCESS_LOG", default_value = "127.0.0.1:9811")]
    pub listen_access_log: SocketAddr,

    /// Address of /metrics, /healthz and /readyz
    #[arg(long, env = "SINK_LISTEN_HTTP", default_value = "127.0.0.1:9812")]
    pub listen_http: SocketAddr,

    /// Folder of the spool, on a disk that keeps what was synced; made if missing
    #[arg(long, env = "SINK_SPOOL", value_name = "DIR")]
    pub spool: PathBuf,

    /// Project that holds the datasets
    #[arg(long, env = "SINK_PROJECT")]
    pub project: String,

    /// Dataset of table `records`, made if missing
    #[arg(long, env = "SINK_DATASET", default_value = "copilot_audit")]
    pub dataset: String,

    /// Dataset of the views, made if missing
    #[arg(
        long,
        env = "SINK_VIEWS_DATASET",
        default_value = "copilot_audit_views"
    )]
    pub views_dataset: String,

    /// Where datasets are made, such as EU; BigQuery's default if not given
    #[arg(long, env = "SINK_LOCATION")]
    pub location: Option<String>,

    /// REST API; http is for an emulator and sends no credentials
    #[arg(
        long,
        env = "SINK_BIGQUERY_REST",
        value_name = "URL",
        default_value = "https://bigquery.googleapis.com"
    )]
    pub bigquery_rest: Url,

    /// Storage Write API; http is for an emulator and sends no credentials
    #[arg(
        long,
        env = "SINK_BIGQUERY_GRPC",
        value_name = "URL",
        default_value = "https://bigquerystorage.googleapis.com"
    )]
    pub bigquery_grpc: Url,

    /// Allows http to hosts other than this one: rows then cross the network unprotected
    #[arg(long)]
    pub allow_insecure_emulator: bool,

    /// Deployment written into rows that do not come with a record of the filter
    #[arg(long, env = "SINK_DEPLOYMENT")]
    pub deployment: Option<String>,

    /// Bytes of rows that the spool holds before Envoy has to wait
    #[arg(long, env = "SINK_SPOOL_MAX_BYTES", default_value_t = 16 << 30)]
    pub spool_max_bytes: u64,

    /// Bytes that stay free on the spool's disk; with less Envoy has to wait
    #[arg(long, env = "SINK_SPOOL_MIN_FREE_BYTES", default_value_t = 512 << 20)]
    pub spool_min_free_bytes: u64,

    /// Most rows of a request to BigQuery, 1 to 10000
    #[arg(long, env = "SINK_APPEND_ROWS", default_value_t = 500,
        value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub append_rows: u16,

    /// Most bytes of rows of a request to BigQuery, 65536 to 9437184; a longer row is a dead letter
    #[arg(long, env = "SINK_APPEND_BYTES", default_value_t = 9 << 20,
        value_parser = clap::value_parser!(u32).range(65_536..=9_437_184))]
    pub append_bytes: u32,

    /// Longest time in milliseconds that a row waits for others to fill a request, 0 to 60000
    #[arg(long, env = "SINK_APPEND_WAIT_MS", default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub append_wait_ms: u32,

    /// Most requests to BigQuery without an answer, 1 to 64
    #[arg(long, env = "SINK_APPENDS_IN_FLIGHT", default_value_t = 4,
        value_parser = clap::value_parser!(u8).range(1..=64))]
    pub appends_in_flight: u8,

    /// Longest time in milliseconds that a request to BigQuery waits for its answer before it is
    /// sent again, 1000 to 600000
    #[arg(long, env = "SINK_APPEND_PATIENCE_MS", default_value_t = 60_000,
        value_parser = clap::value_parser!(u32).range(1_000..=600_000))]
    pub append_patience_ms: u32,
}

/// Arguments and environment, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Envoy connects to.
    pub listen_access_log: SocketAddr,
    /// Where people and probes connect to.
    pub listen_http: SocketAddr,
    /// The spool's folder.
    pub spool: PathBuf,
    /// The spool's bounds.
    pub spool_limits: spool::Limits,
    /// Datasets.
    pub target: Target,
    /// REST API, and whether it is an emulator.
    pub rest: (Url, bool),
    /// Storage Write API, and whether it is an emulator.
    pub grpc: (Url, bool),
    /// Keys of the records' seals.
    pub keys: Vec<MacKey>,
    /// For rows without a record.
    pub deployment: Option<String>,
    /// Sizes of appends.
    pub append: upload::Limits,
}

impl Arguments {
    /// Checks all; `keys` is the value of `GATE_SINK_KEYS`.
    ///
    /// # Errors
    ///
    /// One sentence for each fault.
    pub fn check(self, keys: Option<&str>) -> Result<Config, Vec<String>> {
        let mut faults = Vec::new();
        let keys = match keys.filter(|keys| !keys.is_empty()) {
            None => Err("GATE_SINK_KEYS: not set; records could not be verified".to_owned()),
            Some(keys) => read_keys(keys),
        };
        let keys = keys.map_err(|fault| faults.push(fault)).unwrap_or_default();
        let mut name = |option: &str, value: &str, more: &[char], longest: usize| {
            let good = |letter: char| letter.is_ascii_alphanumeric() || more.contains(&letter);
            if value.is_empty() || value.len() > longest || !value.chars().all(good) {
                faults.push(format!("{option}: not a valid name"));
            }
        };
        name("--project", &self.project, &['-', '.', ':'], 100);
        name("--dataset", &self.dataset, &['_'], 1024);
        name("--views-dataset", &self.views_dataset, &['_'], 1024);
        if let Some(location) = &self.location {
            name("--location", location, &['-'], 40);
        }
        if let Some(deployment) = &self.deployment {
            let good = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-');
            if !(1..=40).contains(&deployment.len()) || !deployment.chars().all(good) {
                faults.push("--deployment: 1 to 40 of a-z, 0-9 and -".to_owned());
            }
        }
        let mut emulator = |option: &str, url: &Url| {
            let local = url.host_str().is_some_and(is_loopback);
            match url.scheme() {
                "https" => false,
                "http" if local || self.allow_insecure_emulator => true,
                "http" => {
                    faults.push(format!(
                        "{option}: http leaves this host; use https, or --allow-insecure-emulator"
                    ));
                    true
                }
                _ => {
                    faults.push(format!("{option}: neither https nor http"));
                    true
                }
            }
        };
        let rest = emulator("--bigquery-rest", &self.bigquery_rest);
        let grpc = emulator("--bigquery-grpc", &self.bigquery_grpc);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Config {
            listen_access_log: self.listen_access_log,
            listen_http: self.listen_http,
            spool: self.spool,
            spool_limits: spool::Limits {
                max_bytes: self.spool_max_bytes,
                min_free_bytes: self.spool_min_free_bytes,
            },
            target: Target {
                project: self.project,
                dataset: self.dataset,
                views_dataset: self.views_dataset,
                location: self.location,
            },
            rest: (self.bigquery_rest, rest),
            grpc: (self.bigquery_grpc, grpc),
            keys,
            deployment: self.deployment,
            append: upload::Limits {
                rows: self.append_rows.into(),
                bytes: usize::try_from(self.append_bytes).unwrap_or(usize::MAX),
                wait: Duration::from_millis(self.append_wait_ms.into()),
                in_flight: self.appends_in_flight.into(),
                patience: Duration::from_millis(self.append_patience_ms.into()),
            },
        })
    }
}

impl Config {
    /// Longest row without stamp: it has to fit into a request with its stamp and framing.
    pub fn max_row_bytes(&self) -> usize {
        self.append.bytes.saturating_sub(1024)
    }
}

/// Reads `kid:base64[,kid:base64]`. The faults do not repeat what was written.
fn read_keys(text: &str) -> Result<Vec<MacKey>, String> {
    let fault = |place: usize, what: &str| format!("GATE_SINK_KEYS: key {}: {what}", place + 1);
    let mut keys: Vec<MacKey> = Vec::new();
    for (place, key) in text.split(',').enumerate() {
        let (id, key) = key
            .trim()
            .split_once(':')
            .ok_or_else(|| fault(place, "not kid:base64"))?;
        let key = data_encoding::BASE64
            .decode(key.as_bytes())
            .or_else(|_| data_encoding::BASE64_NOPAD.decode(key.as_bytes()))
            .map_err(|_| fault(place, "not base64"))?;
        if id.is_empty() || keys.iter().any(|other| other.id == id) {
            return Err(fault(place, "its id is empty or used twice"));
        }
        if key.len() < MIN_KEY_BYTES {
            return Err(fault(place, "shorter than 16 bytes"));
        }
        keys.push(MacKey::new(id, &key));
    }
    Ok(keys)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

const MIN_KEY_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn check(arguments: &[&str], keys: Option<&str>) -> Result<Config, Vec<String>> {
        let all = ["bigquery-sink", "--spool", "s", "--project", "p"];
        let all = all.iter().chain(arguments);
        Arguments::try_parse_from(all).unwrap().check(keys)
    }

    #[test]
    fn defaults_are_the_real_bigquery() {
        let config = check(&[], Some(KEY)).unwrap();
        assert_eq!(config.rest.0.as_str(), "https://bigquery.googleapis.com/");
        assert_eq!((config.rest.1, config.grpc.1), (false, false));
        assert_eq!(config.listen_access_log, "127.0.0.1:9811".parse().unwrap());
        assert_eq!(config.listen_http, "127.0.0.1:9812".parse().unwrap());
        assert_eq!(config.target.table_sql(), "`p.copilot_audit.records`");
        assert_eq!(config.append.bytes, 9 << 20);
    }

    #[test]
    fn faults_are_named_by_their_option() {
        let cases: [(&[&str], &str); 8] = [
            (&["--dataset", "a`b"], "--dataset"),
            (&["--views-dataset", ""], "--views-dataset"),
            (&["--deployment", "Acme"], "--deployment"),
            (&["--location", "EU'"], "--location"),
            (&["--bigquery-rest", "http://10.0.0.1"], "--bigquery-rest"),
            (
                &["--bigquery-rest", "http://127.0.0.1.evil.example"],
                "--bigquery-rest",
            ),
            (
                &["--bigquery-grpc", "http://example.com"],
                "--bigquery-grpc",
            ),
            (&["--bigquery-grpc", "ftp://127.0.0.1"], "--bigquery-grpc"),
        ];
        for (arguments, option) in cases {
            let faults = check(arguments, Some(KEY)).unwrap_err();
            assert_eq!(faults.len(), 1, "{arguments:?}");
            assert!(faults[0].starts_with(option), "{faults:?}");
        }
    }

    #[test]
    fn plain_http_is_for_this_host_or_said_to_be_wanted() {
        for url in [
            "http://127.0.0.1:9060",
            "http://[::1]:9060",
            "http://localhost:9060",
        ] {
            assert!(
                check(&["--bigquery-grpc", url], Some(KEY)).unwrap().grpc.1,
                "{url}"
            );
        }
        let far = [
            "--bigquery-grpc",
            "http://emulator:9060",
            "--allow-insecure-emulator",
        ];
        assert!(check(&far, Some(KEY)).unwrap().grpc.1);
    }

    #[test]
    fn keys_are_read_and_faults_do_not_repeat_them() {
        let two = format!("{KEY},k2:AAECAwQFBgcICQoLDA0ODw");
        let ids: Vec<_> = check(&[], Some(&two))
            .unwrap()
            .keys
            .into_iter()
            .map(|key| key.id)
            .collect();
        assert_eq!(ids, ["k1", "k2"]);
        let twice = format!("{KEY},{KEY}");
        for bad in [
            None,
            Some(""),
            Some("nonsense"),
            Some("k1:!!"),
            Some("k1:AAEC"),
            Some(&twice),
        ] {
            let faults = check(&[], bad).unwrap_err();
            assert!(faults[0].starts_with("GATE_SINK_KEYS"), "{faults:?}");
            assert!(!faults[0].contains("nonsense") && !faults[0].contains("AAEC"));
        }
    }
}
