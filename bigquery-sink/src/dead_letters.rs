//! `bigquery-sink dead-letters`: what could not be loaded as it was.

use std::{
    fs::OpenOptions,
    io::{Write, stdout},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use bigquery_sink::spool::{DeadLetter, Limits, Spool};
use clap::Parser;
use serde_json::json;

use crate::complain;

/// Lists dead letters, one line of JSON for each: number of the tombstone in table `records`, time
/// of arrival in microseconds since 1970, reason, length. The sink has to be stopped: a spool has
/// one user.
#[derive(Debug, Parser)]
#[command(name = "bigquery-sink dead-letters", max_term_width = 100)]
struct Arguments {
    /// Folder of the spool
    #[arg(long, env = "SINK_SPOOL", value_name = "DIR")]
    spool: PathBuf,

    /// Also writes what arrived into `DIR/SINK_SEQ.bin`, and adds BigQuery's own words to the lines:
    /// both may hold content of exchanges
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

/// The program.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse_from(std::env::args_os().skip(1));
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = &arguments.spool;
    ensure!(folder.is_dir(), "there is no spool in {}", folder.display());
    let limits = Limits {
        max_bytes: 0,
        min_free_bytes: 0,
    };
    let spool = Spool::open(folder, limits)
        .with_context(|| format!("cannot open the spool in {}", folder.display()))?;
    for letter in spool.dead_letters() {
        let letter = letter.context("cannot read a dead letter")?;
        let mut line = json!({
            "sink_id": spool.sink_id(),
            "sink_seq": letter.sink_seq,
            "received_at": letter.received_at,
            "reason": letter.reason,
            "bytes": letter.bytes.len(),
        });
        if let Some(folder) = &arguments.export {
            export(folder, &letter)?;
            if let Some(line) = line.as_object_mut() {
                line.insert("detail".into(), json!(letter.detail));
            }
        }
        writeln!(stdout(), "{line}").context("cannot write the list")?;
    }
    Ok(())
}

/// For the owner's eyes only.
fn export(folder: &Path, letter: &DeadLetter) -> anyhow::Result<()> {
    let file = folder.join(format!("{}.bin", letter.sink_seq));
    let open = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&file)?.write_all(&letter.bytes)
    };
    open().with_context(|| format!("cannot write {}", file.display()))
}
