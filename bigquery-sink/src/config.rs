//! Arguments as written, and as checked.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ::bigquery::{Endpoint, Url, is_name};
use clap::Parser;
use contract::{
    MacKey,
    checkpoint::{self, SigningKeys},
};

use crate::{
    bigquery::{Options, Retention, Table, Target},
    lineage, spool, tls, upload,
};

/// Takes audit records from Envoy's gRPC access log, keeps them on disk until BigQuery has them,
/// and loads them there exactly once.
///
/// Keys that records are sealed with come from the environment variable GATE_SINK_KEYS, as
/// kid:base64, several separated by commas. Checkpoints, by which auditors see that no row is missing,
/// are signed with the first key of GATE_CHECKPOINT_KEYS, written in the same way, each an Ed25519 seed
/// of 32 bytes; without it there are none. GATE_AUDITORS, name:token of at least 16 characters, several
/// separated by commas, may ask /v1/fingerprints how records name a secret that they have, by the
/// filter's keys in GATE_FINGERPRINT_KEYS. GATE_OFFICERS, written in the same way, may order by
/// /v1/orders that recorded content is erased or stays. Google's credentials are found where Google's own tools
/// find them (GOOGLE_APPLICATION_CREDENTIALS, or the metadata server).
#[derive(Clone, Debug, Parser)]
#[expect(
    clippy::doc_markdown,
    reason = "the help shows the comments as they are"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
#[command(
    name = "bigquery-sink",
    version,
    max_term_width = 100,
    after_help = "bigquery-sink dead-letters --help: what could not be loaded as it was"
)]
pub struct Arguments {
    /// Address of the access log service that Envoy sends to (gRPC); of this host alone, but for mTLS
    #[arg(long, env = "SINK_LISTEN_ACCESS_LOG", default_value = "127.0.0.1:9811")]
    pub listen_access_log: SocketAddr,

    /// Address of records that are posted, /metrics, /healthz and /readyz; of this host alone, but for
    /// mTLS
    #[arg(long, env = "SINK_LISTEN_HTTP", default_value = "127.0.0.1:9812")]
    pub listen_http: SocketAddr,

    /// Address of /metrics, /healthz and /readyz alone, plain text, for probes without a certificate
    #[arg(long, env = "SINK_LISTEN_PROBES", value_name = "ADDR")]
    pub listen_probes: Option<SocketAddr>,

    /// Certificate of the sink for both listeners, PEM, with those between it and its authority; read
    /// again every minute
    #[arg(long, env = "SINK_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key, PEM
    #[arg(long, env = "SINK_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Authorities of the certificates that Envoy has to show, PEM
    #[arg(long, env = "SINK_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// Allows listeners without TLS that other hosts reach: for meshes whose sidecar does mTLS
    #[arg(long, env = "SINK_ALLOW_PLAIN_LISTENERS")]
    pub allow_plain_listeners: bool,

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

    /// Policy tag of the columns that hold content,
    /// projects/P/locations/L/taxonomies/T/policyTags/G: who reads them needs the right of a
    /// fine-grained reader, through the views too
    #[arg(long, env = "SINK_CONTENT_POLICY_TAG", value_name = "RESOURCE")]
    pub content_policy_tag: Option<String>,

    /// Key that new tables are encrypted with, projects/P/locations/L/keyRings/R/cryptoKeys/K
    #[arg(long, env = "SINK_KMS_KEY", value_name = "RESOURCE")]
    pub kms_key: Option<String>,

    /// Days after which BigQuery deletes rows of `records` and `lineage`, 30 to 10000; if not given,
    /// tables stay as they are, and new ones keep rows for ever
    #[arg(long, env = "SINK_RETENTION", value_name = "DAYS",
        value_parser = clap::value_parser!(u16).range(30..=10_000))]
    pub retention: Option<u16>,

    /// Lets `--retention` make tables keep rows for less time than they do: BigQuery deletes what is
    /// older at once. For one start, not for the service's settings
    #[arg(long, requires = "retention")]
    pub shorten_retention: bool,

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

    /// Time between two signed checkpoints, if rows came meanwhile: 60s, 500ms; 100ms to 1h
    #[arg(long, env = "SINK_CHECKPOINT_INTERVAL", value_name = "TIME", default_value = "60s",
        value_parser = interval)]
    pub checkpoint_interval: Duration,

    /// File to which each checkpoint is appended as a line, besides being a row; best on another disk,
    /// where nobody can change what is written
    #[arg(long, env = "SINK_CHECKPOINT_FILE", value_name = "FILE")]
    pub checkpoint_file: Option<PathBuf>,
    /// Loads fingerprints of the code in answers into table `lineage`, for `gate lookup code`
    #[arg(long, env = "SINK_LINEAGE")]
    pub lineage: bool,

    /// Bytes of records that stay on disk until their fingerprints are loaded; beyond, the oldest
    /// are let go without
    #[arg(long, env = "SINK_LINEAGE_MAX_BYTES", default_value_t = 1 << 30)]
    pub lineage_max_bytes: u64,
}

/// Arguments and environment, checked.
#[derive(Clone)]
pub struct Config {
    /// Where Envoy connects to.
    pub listen_access_log: SocketAddr,
    /// Where the filter, people and probes connect to.
    pub listen_http: SocketAddr,
    /// Where probes connect to that have no certificate.
    pub listen_probes: Option<SocketAddr>,
    /// For the first two.
    pub tls: Option<tls::Files>,
    /// The spool's folder.
    pub spool: PathBuf,
    /// The spool's bounds.
    pub spool_limits: spool::Limits,
    /// Datasets.
    pub target: Target,
    /// How tables are made and kept.
    pub options: Options,
    /// REST API.
    pub rest: Endpoint,
    /// Storage Write API.
    pub grpc: Endpoint,
    /// Keys of the records' seals.
    pub keys: Vec<MacKey>,
    /// For rows without a record.
    pub deployment: Option<String>,
    /// Sizes of appends.
    pub append: upload::Limits,
    /// Keys that checkpoints are signed with.
    pub checkpoint_keys: Option<Arc<SigningKeys>>,
    /// Time between two checkpoints.
    pub checkpoint_interval: Duration,
    /// Where they are kept a second time.
    pub checkpoint_file: Option<PathBuf>,
    /// Sizes of appends of fingerprints, if they are wanted.
    pub lineage: Option<lineage::Limits>,
    /// Bytes of records that may wait for these.
    pub lineage_max_bytes: u64,
}

impl Arguments {
    /// Checks all; `keys` is the value of `GATE_SINK_KEYS`, `checkpoint_keys` that of
    /// `GATE_CHECKPOINT_KEYS`.
    ///
    /// # Errors
    ///
    /// One sentence for each fault.
    pub fn check(
        self,
        keys: Option<&str>,
        checkpoint_keys: Option<&str>,
    ) -> Result<Config, Vec<String>> {
        let mut faults = Vec::new();
        let checkpoint_keys = checkpoint_keys
            .filter(|keys| !keys.is_empty())
            .map(SigningKeys::read)
            .transpose()
            .map_err(|fault| faults.push(format!("GATE_CHECKPOINT_KEYS: {fault}")))
            .unwrap_or_default();
        let keys = match keys.filter(|keys| !keys.is_empty()) {
            None => Err("GATE_SINK_KEYS: not set; records could not be verified".to_owned()),
            Some(keys) => {
                checkpoint::read_seals(keys).map_err(|fault| format!("GATE_SINK_KEYS: {fault}"))
            }
        };
        let keys = keys.map_err(|fault| faults.push(fault)).unwrap_or_default();
        let tls = match (self.tls_cert, self.tls_key, self.tls_client_ca) {
            (Some(certificate), Some(key), Some(client_ca)) => Some(tls::Files {
                certificate,
                key,
                client_ca,
            }),
            (None, None, None) => {
                let addresses = [
                    ("--listen-access-log", self.listen_access_log),
                    ("--listen-http", self.listen_http),
                ];
                for (option, address) in addresses {
                    let inside = address.ip().to_canonical().is_loopback();
                    if !inside && !self.allow_plain_listeners {
                        faults.push(format!(
                            "{option}: other hosts reach {address}, and records would cross the \
                             network unprotected: give --tls-cert, --tls-key and --tls-client-ca, or \
                             --allow-plain-listeners where a sidecar does mTLS"
                        ));
                    }
                }
                None
            }
            _ => {
                faults.push(
                    "--tls-cert, --tls-key and --tls-client-ca: give all three or none".to_owned(),
                );
                None
            }
        };
        let mut name = |option: &str, value: &str, more: &[char], longest: usize| {
            if !is_name(value, more, longest) {
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
        let mut resource = |option: &str, value: Option<&str>, parts: &[&str]| {
            if value.is_some_and(|value| !is_resource(value, parts)) {
                let form = parts.iter().map(|part| format!("{part}/…"));
                let form = form.collect::<Vec<_>>().join("/");
                faults.push(format!("{option}: not of the form {form}"));
            }
        };
        let (tag, key) = (self.content_policy_tag.as_deref(), self.kms_key.as_deref());
        resource("--content-policy-tag", tag, &POLICY_TAG);
        resource("--kms-key", key, &KMS_KEY);
        let mut endpoint = |option: &str, url: Url| {
            Endpoint::new(url, self.allow_insecure_emulator)
                .map_err(|fault| faults.push(format!("{option}: {fault}")))
                .ok()
        };
        let rest = endpoint("--bigquery-rest", self.bigquery_rest);
        let grpc = endpoint("--bigquery-grpc", self.bigquery_grpc);
        let (Some(rest), Some(grpc), true) = (rest, grpc, faults.is_empty()) else {
            return Err(faults);
        };
        Ok(Config {
            listen_access_log: self.listen_access_log,
            listen_http: self.listen_http,
            listen_probes: self.listen_probes,
            tls,
            spool: self.spool,
            spool_limits: spool::Limits {
                max_bytes: self.spool_max_bytes,
                min_free_bytes: self.spool_min_free_bytes,
            },
            target: Target {
                table: Table::Records,
                project: self.project,
                dataset: self.dataset,
                views_dataset: self.views_dataset,
                location: self.location,
            },
            options: Options {
                content_policy_tag: self.content_policy_tag,
                kms_key: self.kms_key,
                retention: self.retention.map(|days| Retention {
                    days,
                    shorten: self.shorten_retention,
                }),
            },
            rest,
            grpc,
            keys,
            deployment: self.deployment,
            lineage: self.lineage.then(|| lineage::Limits {
                rows: LINEAGE_ROWS,
                bytes: usize::try_from(self.append_bytes).unwrap_or(usize::MAX),
                patience: Duration::from_millis(self.append_patience_ms.into()),
            }),
            lineage_max_bytes: self.lineage_max_bytes,
            append: upload::Limits {
                rows: self.append_rows.into(),
                bytes: usize::try_from(self.append_bytes).unwrap_or(usize::MAX),
                wait: Duration::from_millis(self.append_wait_ms.into()),
                in_flight: self.appends_in_flight.into(),
                patience: Duration::from_millis(self.append_patience_ms.into()),
            },
            checkpoint_keys: checkpoint_keys.map(Arc::new),
            checkpoint_interval: self.checkpoint_interval,
            checkpoint_file: self.checkpoint_file,
        })
    }
}

impl Config {
    /// Longest row without stamp: it has to fit into a request with its stamp and framing.
    pub fn max_row_bytes(&self) -> usize {
        self.append.bytes.saturating_sub(1024)
    }
}

/// A time with its unit; a bare number is seconds.
fn interval(text: &str) -> Result<Duration, String> {
    let found = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string())?,
    };
    let bounds = Duration::from_millis(100)..=Duration::from_hours(1);
    let fits = bounds.contains(&found);
    fits.then_some(found)
        .ok_or_else(|| "100ms to 1h".to_owned())
}

/// Whether `text` names a thing of Google's: each of `parts` with a name behind it.
fn is_resource(text: &str, parts: &[&str]) -> bool {
    let words: Vec<&str> = text.split('/').collect();
    words.len() == 2 * parts.len()
        && words.chunks(2).zip(parts).all(|(words, part)| {
            words.first() == Some(part)
                && words
                    .last()
                    .is_some_and(|name| is_name(name, &['-', '_', '.', ':'], 100))
        })
}

const POLICY_TAG: [&str; 4] = ["projects", "locations", "taxonomies", "policyTags"];

const KMS_KEY: [&str; 4] = ["projects", "locations", "keyRings", "cryptoKeys"];

/// Rows of a request: they are short.
const LINEAGE_ROWS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn check(arguments: &[&str], keys: Option<&str>) -> Result<Config, Vec<String>> {
        let all = ["bigquery-sink", "--spool", "s", "--project", "p"];
        let all = all.iter().chain(arguments);
        Arguments::try_parse_from(all).unwrap().check(keys, None)
    }

    #[test]
    fn defaults_are_the_real_bigquery() {
        let config = check(&[], Some(KEY)).unwrap();
        assert_eq!(config.rest.url.as_str(), "https://bigquery.googleapis.com/");
        assert_eq!((config.rest.emulator, config.grpc.emulator), (false, false));
        assert_eq!(config.listen_access_log, "127.0.0.1:9811".parse().unwrap());
        assert_eq!(config.listen_http, "127.0.0.1:9812".parse().unwrap());
        assert_eq!(config.target.table_sql(), "`p.copilot_audit.records`");
        assert_eq!(config.append.bytes, 9 << 20);
    }

    #[test]
    fn faults_are_named_by_their_option() {
        let cases: [(&[&str], &str); 12] = [
            (&["--content-policy-tag", "t"], "--content-policy-tag"),
            (
                &[
                    "--content-policy-tag",
                    "projects/p/locations/eu/taxonomies/1/policyTags/",
                ],
                "--content-policy-tag",
            ),
            (
                &[
                    "--kms-key",
                    "projects/p/locations/eu/taxonomies/1/policyTags/2",
                ],
                "--kms-key",
            ),
            (
                &[
                    "--kms-key",
                    "projects/p/locations/eu/keyRings/r/cryptoKeys/k'",
                ],
                "--kms-key",
            ),
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
            let faults = check(arguments, Some(KEY)).err().unwrap();
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
                check(&["--bigquery-grpc", url], Some(KEY))
                    .unwrap()
                    .grpc
                    .emulator,
                "{url}"
            );
        }
        let far = [
            "--bigquery-grpc",
            "http://emulator:9060",
            "--allow-insecure-emulator",
        ];
        assert!(check(&far, Some(KEY)).unwrap().grpc.emulator);
    }

    #[test]
    fn other_hosts_reach_no_listener_without_tls() {
        let files = ["--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a"];
        for (arguments, option) in [
            (
                &["--listen-access-log", "0.0.0.0:1"][..],
                "--listen-access-log",
            ),
            (&["--listen-http", "[::]:1"], "--listen-http"),
            (&["--listen-http", "10.0.0.1:1"], "--listen-http"),
            (&files[..2], "--tls-cert"),
            (&files[..4], "--tls-cert"),
            (&files[2..], "--tls-cert"),
        ] {
            let faults = check(arguments, Some(KEY)).err().unwrap();
            assert_eq!(faults.len(), 1, "{arguments:?}");
            assert!(faults[0].starts_with(option), "{faults:?}");
        }
        let everywhere = [
            "--listen-access-log",
            "0.0.0.0:1",
            "--listen-http",
            "[::]:2",
        ];
        let with = |more: &[&str]| check(&[&everywhere, more].concat(), Some(KEY)).unwrap();
        assert!(with(&files).tls.is_some());
        assert!(with(&["--allow-plain-listeners"]).tls.is_none());
        let inside = ["--listen-access-log", "[::1]:1"];
        assert!(check(&inside, Some(KEY)).is_ok());
        let mapped = ["--listen-http", "[::ffff:127.0.0.1]:1"];
        assert!(check(&mapped, Some(KEY)).is_ok());
    }

    #[test]
    fn options_of_tables_are_whole_names_and_safe_numbers() {
        let tag = "projects/example.com:p/locations/eu/taxonomies/1/policyTags/2";
        let key = "projects/p/locations/eu/keyRings/r/cryptoKeys/k_1";
        let all = [
            "--content-policy-tag",
            tag,
            "--kms-key",
            key,
            "--retention",
            "30",
        ];
        let options = check(&all, Some(KEY)).unwrap().options;
        assert_eq!(options.content_policy_tag.as_deref(), Some(tag));
        assert_eq!(options.kms_key.as_deref(), Some(key));
        let retention = Retention {
            days: 30,
            shorten: false,
        };
        assert_eq!(options.retention, Some(retention));
        assert_eq!(check(&[], Some(KEY)).unwrap().options, Options::default());
        for bad in [
            &["--retention", "29"][..],
            &["--retention", "10001"],
            &["--shorten-retention"],
        ] {
            let all = ["bigquery-sink", "--spool", "s", "--project", "p"];
            assert!(Arguments::try_parse_from(all.iter().chain(bad)).is_err());
        }
    }

    #[test]
    fn the_interval_of_checkpoints_has_a_unit() {
        let of = |text: &str| interval(text).map(|found| found.as_millis());
        assert_eq!(
            (of("60s"), of("5"), of("500ms")),
            (Ok(60_000), Ok(5_000), Ok(500))
        );
        for bad in ["", "0", "2h", "soon", "-1s"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_checkpoint_key_is_a_seed_of_32_bytes() {
        let check = |keys: &str| {
            let all = ["bigquery-sink", "--spool", "s", "--project", "p"];
            let arguments = Arguments::try_parse_from(all).unwrap();
            arguments.check(Some(KEY), Some(keys))
        };
        assert!(check(KEY).unwrap().checkpoint_keys.is_some());
        assert!(check("").unwrap().checkpoint_keys.is_none());
        let faults = check("k1:AAECAwQFBgcICQoLDA0ODw==").err().unwrap();
        assert!(
            faults[0].starts_with("GATE_CHECKPOINT_KEYS: key 1"),
            "{faults:?}"
        );
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
            let faults = check(&[], bad).err().unwrap();
            assert!(faults[0].starts_with("GATE_SINK_KEYS"), "{faults:?}");
            assert!(!faults[0].contains("nonsense") && !faults[0].contains("AAEC"));
        }
    }
}
