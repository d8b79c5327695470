//! How the commands reach the audit in BigQuery, and what they have in common.

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{anyhow, bail};
use bigquery::{Auth, Client, Endpoint, Url, is_name};
use serde_json::Value;

/// Where BigQuery is.
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// Project that holds the datasets
    #[arg(long)]
    pub(crate) project: String,
    /// Where the dataset is, such as EU; BigQuery finds it out if not given
    #[arg(long)]
    location: Option<String>,
    /// REST API; http is for an emulator and sends no credentials
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://bigquery.googleapis.com",
        display_order = LAST
    )]
    bigquery_rest: Url,
    /// Allows http to hosts other than this one
    #[arg(long, display_order = LAST)]
    allow_insecure_emulator: bool,
}

impl Access {
    /// Checks the arguments, with a dataset and the option that names it, and prepares for questions;
    /// to be called once.
    pub(crate) fn client(&self, option: &str, dataset: &str) -> anyhow::Result<Client> {
        check("--project", &self.project, &['-', '.', ':'], 100)?;
        check_dataset(option, dataset)?;
        if let Some(location) = &self.location {
            check("--location", location, &['-'], 40)?;
        }
        let url = self.bigquery_rest.clone();
        let endpoint = Endpoint::new(url, self.allow_insecure_emulator)
            .map_err(|fault| anyhow!("--bigquery-rest: {fault}"))?;
        if rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
        {
            bail!("a TLS provider was installed before");
        }
        let auth = if endpoint.emulator {
            Auth::anonymous()
        } else {
            Auth::default_credentials()?
        };
        let (project, location) = (self.project.clone(), self.location.clone());
        Ok(Client::new(endpoint, auth, project, location)?)
    }

    /// A table or view of a dataset, as SQL names it.
    pub(crate) fn sql(&self, dataset: &str, table: &str) -> String {
        format!("`{}.{dataset}.{table}`", self.project)
    }
}

/// Checks the name of a dataset, given by this option.
pub(crate) fn check_dataset(option: &str, name: &str) -> anyhow::Result<()> {
    check(option, name, &['_'], 1024)
}

fn check(option: &str, name: &str, more: &[char], longest: usize) -> anyhow::Result<()> {
    if !is_name(name, more, longest) {
        bail!("{option}: not a valid name");
    }
    Ok(())
}

/// Prepares, asks and shows the answer, as `show` makes text and exit status of it. What cannot be
/// prepared is wrong usage, what cannot be asked or shown is not decided; both are said.
pub(crate) fn run<P, A>(
    command: &str,
    prepare: impl FnOnce() -> anyhow::Result<P>,
    ask: impl AsyncFnOnce(P) -> anyhow::Result<A>,
    show: impl FnOnce(A) -> (String, u8),
) -> ExitCode {
    let prepared = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return crate::report(command, &error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(ask(prepared)),
        Err(error) => Err(error.into()),
    };
    let (text, status) = match answer {
        Ok(answer) => show(answer),
        Err(error) => {
            crate::report(command, &error);
            return ExitCode::from(crate::UNDECIDED);
        }
    };
    let shown = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::from(shown.map_or(crate::UNDECIDED, |()| status))
}

/// An answer as programs want it, or as people do.
pub(crate) fn text(
    json: bool,
    document: impl FnOnce() -> Value,
    report: impl FnOnce() -> String,
) -> String {
    if json {
        format!("{}\n", document())
    } else {
        report()
    }
}

/// Microseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    micros(since.unwrap_or_default())
}

/// First moment and one past the last that are asked for: up to now, and so long, if none is given.
pub(crate) fn range(from: Option<i64>, to: Option<i64>, long: Duration) -> (i64, i64) {
    let to = to.unwrap_or_else(now);
    let from = from.unwrap_or(to.saturating_sub(micros(long)));
    (from, to)
}

/// A time as people read it.
pub(crate) fn time(at: i64) -> String {
    humantime::format_rfc3339_seconds(moment_of(at)).to_string()
}

/// A time to the microsecond.
pub(crate) fn exact_time(at: i64) -> String {
    humantime::format_rfc3339_micros(moment_of(at)).to_string()
}

fn moment_of(at: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at).unwrap_or_default())
}

/// Reads a date or a time of RFC 3339, in UTC, as microseconds since 1970.
pub(crate) fn moment(text: &str) -> Result<i64, String> {
    let text = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    let found = humantime::parse_rfc3339_weak(&text).map_err(|error| error.to_string())?;
    let since = found.duration_since(UNIX_EPOCH);
    since.map(micros).map_err(|error| error.to_string())
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Place in the help of what few people need.
const LAST: usize = 900;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_or_moments() {
        assert_eq!(moment("1970-01-02"), Ok(86_400_000_000));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(1_000_000));
        assert!(moment("yesterday").is_err());
    }
}
