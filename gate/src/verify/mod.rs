//! `gate verify`: whether the audit is complete.

mod audit;
mod epoch;
mod record;
mod report;
mod table;
#[cfg(test)]
mod tests;

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use bigquery::{Client, Rows};
use contract::{
    Column, MacKey,
    checkpoint::{VerifyingKeys, read_seals},
};
use serde_json::{Value, json};

use crate::access::{self, Access, exact_time, micros, moment};

pub(crate) use self::{audit::Window, report::Report, table::WITHIN};

use self::{
    audit::{Audit, Place},
    table::{Hour, Table},
};

/// What to verify, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads the audit records of a time from BigQuery, computes their hashes and chains anew, and compares
them with what the sinks have signed. Says `complete`, or what was found:

  gap                 numbers missing in a worker's records or a sink's rows
  altered             a row that is not as it was written
  reordered           good rows that changed places, or one that was exchanged whole
  truncated           rows or records missing at the end, which a sink has signed for
  doubled             a number that stands twice
  open_without_close  an exchange that began and whose worker is gone
  ended_without_end   a worker that fell silent: what it held may be lost
  unsigned            rows that no valid checkpoint covers
  tombstone           what arrived and could not be stored as it was

Content that was erased by an order (gate erase) is counted and is no finding; content that was taken
away without one, or though a hold covers it, is `altered`.

Times are dates or RFC 3339, in UTC. Choose a --to some minutes ago: what belongs to a time arrives, and
is signed, a little after it. The public keys are in the sink's log when it starts. Rows that were
taken away at the very end, with the checkpoints after them, show only against the second copy of the
checkpoints (--checkpoints), the sink's --checkpoint-file.

Google's credentials are found where Google's own tools find them. With the environment variable
GATE_SINK_KEYS the records' seals are checked too.

Exit status: 0 complete, 1 findings, 2 wrong usage, 3 could not decide.

Example: gate verify --project acme-audit --from 2026-01-01 --to 2026-02-01 --keys public-keys \\
           --checkpoints checkpoints")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Dataset of table `records`
    #[arg(long, default_value = "copilot_audit")]
    pub(crate) dataset: String,
    /// First moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: i64,
    /// One past the last moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: i64,
    /// File of public keys, kid:base64, one a line
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// A public key; can be given several times
    #[arg(long, value_name = "KID:BASE64")]
    key: Vec<String>,
    /// The sinks' second copy of checkpoints; can be given several times
    #[arg(long, value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// How long rows may be on their way, and wait for a checkpoint: three times the sinks' interval
    /// and a little
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// How long a worker may be silent: some times the 10s between heartbeats
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    silence: Duration,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments and files, checked.
pub(crate) struct Question {
    pub(crate) client: Client,
    table: String,
    pub(crate) window: Window,
    /// It was to end later than now.
    is_open: bool,
    keys: Option<VerifyingKeys>,
    seals: Vec<MacKey>,
    /// Lines of the files.
    lines: Vec<(usize, String)>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let now = access::now();
    access::run(
        "gate verify",
        || question(arguments, now),
        async |question: Question| {
            let window = question.window;
            Ok((window, verify(question).await?))
        },
        |(window, report)| {
            let text = access::text(
                arguments.json,
                || document(arguments, &window, &report),
                || text(arguments, &window, &report),
            );
            (text, status(&report))
        },
    )
}

/// The report for programs.
pub(crate) fn document(arguments: &Arguments, window: &Window, report: &Report) -> Value {
    let (project, dataset) = (&arguments.access.project, &arguments.dataset);
    let (from, to) = (exact_time(window.from), exact_time(window.to));
    let about = json!({ "project": project, "dataset": dataset, "from": from, "to": to });
    report.document(&about)
}

/// The report for people.
pub(crate) fn text(arguments: &Arguments, window: &Window, report: &Report) -> String {
    let (project, dataset) = (&arguments.access.project, &arguments.dataset);
    let (from, to) = (exact_time(window.from), exact_time(window.to));
    report.text(&format!("{project}.{dataset} from {from} to {to}"))
}

/// Exit status.
pub(crate) fn status(report: &Report) -> u8 {
    if report.nothing() {
        crate::UNDECIDED
    } else {
        u8::from(!report.complete())
    }
}

pub(crate) fn question(arguments: &Arguments, now: i64) -> anyhow::Result<Question> {
    let to = arguments.to.min(now);
    if arguments.from >= to {
        bail!("--from: not before --to and now");
    }
    let (settle, silence) = (micros(arguments.settle), micros(arguments.silence));
    let window = Window {
        from: arguments.from,
        to,
        horizon: to.saturating_add(settle).min(now),
        settle,
        silence,
    };
    let mut texts = arguments.key.clone();
    if let Some(file) = &arguments.keys {
        texts.push(read_file(file)?);
    }
    let keys = (!texts.is_empty()).then(|| VerifyingKeys::read(&texts.join("\n")));
    let keys = keys
        .transpose()
        .map_err(|fault| anyhow!("--keys: {fault}"))?;
    if keys.as_ref().is_some_and(VerifyingKeys::is_empty) {
        bail!("--keys: there is none");
    }
    let seals = std::env::var("GATE_SINK_KEYS").unwrap_or_default();
    let seals = match seals.as_str() {
        "" => Vec::new(),
        text => read_seals(text).map_err(|fault| anyhow!("GATE_SINK_KEYS: {fault}"))?,
    };
    let mut lines = Vec::new();
    for file in &arguments.checkpoints {
        let text = read_file(file)?;
        let numbered = (1..).zip(text.lines().map(str::trim));
        let there = numbered.filter(|(_, line)| !line.is_empty());
        lines.extend(there.map(|(number, line)| (number, line.to_owned())));
    }
    Ok(Question {
        client: arguments.access.client("--dataset", &arguments.dataset)?,
        table: arguments.access.sql(&arguments.dataset, "records"),
        window,
        is_open: arguments.to > now,
        keys,
        seals,
        lines,
    })
}

fn read_file(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

pub(crate) async fn verify(question: Question) -> anyhow::Result<Report> {
    let Question {
        client,
        table,
        window,
        is_open,
        keys,
        seals,
        lines,
    } = question;
    let Window { from, horizon, .. } = window;
    let columns = contract::columns();
    let table = Table::new(client, table, &columns);
    let mut audit = Audit::new(window, keys);
    let mut progress = Progress::default();

    let mut rows = table.orders(access::now()).await?;
    let mut orders = Vec::new();
    while let Some(row) = rows.next().await? {
        let row = record::read(&row, &columns, &seals);
        orders.extend(row.as_ref().and_then(record::order));
    }
    audit.orders(orders.into_iter().collect());

    let lately = from.saturating_sub(LATELY);
    let mut take = |token: &str, place: &Place| audit.checkpoint(token, place);
    let earlier = from.saturating_sub(EARLIER);
    table
        .checkpoints(earlier, lately, Some(1), &mut take)
        .await?;
    table.checkpoints(lately, horizon, None, &mut take).await?;
    for (number, line) in &lines {
        audit.checkpoint(line, &Place::File(*number));
    }
    let lead_ins = audit.start();
    let hours = table.hours(from, horizon).await?;
    let mut sinks: Vec<&str> = hours.iter().map(|hour| hour.sink_id.as_str()).collect();
    sinks.sort_unstable();
    sinks.dedup();
    for sink in sinks {
        if audit.unanchored(sink) {
            let last = table.before(sink, from).await?;
            audit.before(sink, last);
        }
    }
    let opened = |epoch: &str, seq: i64, open| audit.open_before(epoch, seq, open);
    table.open(lately, from, opened).await?;
    for lead_in in &lead_ins {
        let rows = table.lead_in(lead_in, from).await?;
        read(rows, &mut audit, &columns, &seals, &mut progress).await?;
    }
    progress.expected = hours.iter().map(|hour| hour.rows).sum();
    for (start, end) in parts(&hours, from, horizon) {
        let rows = table.rows(start, end).await?;
        read(rows, &mut audit, &columns, &seals, &mut progress).await?;
    }
    for names in audit.unanchored_epochs().chunks(1000) {
        for (name, last) in table.epochs_before(names, earlier, from).await? {
            audit.epoch_before(&name, last);
        }
    }
    progress.end();
    let mut report = audit.finish();
    if is_open {
        let note = format!("Verified up to {}, which is now.", exact_time(window.to));
        report.notes.push(note);
    }
    Ok(report)
}

async fn read(
    mut rows: Rows,
    audit: &mut Audit,
    columns: &[Column],
    seals: &[MacKey],
    progress: &mut Progress,
) -> anyhow::Result<()> {
    while let Some(row) = rows.next().await? {
        audit.row(record::read(&row, columns, seals).as_ref());
        progress.step();
    }
    Ok(())
}

/// Cuts the time into parts of whole hours with so many rows that BigQuery likes to sort them.
fn parts(hours: &[Hour], from: i64, to: i64) -> Vec<(i64, i64)> {
    let mut parts = Vec::new();
    let (mut start, mut rows) = (from, 0);
    for hour in hours {
        if rows > 0 && rows + hour.rows > ROWS_OF_A_PART && hour.start > start {
            parts.push((start, hour.start));
            (start, rows) = (hour.start, 0);
        }
        rows += hour.rows;
    }
    parts.push((start, to));
    parts
}

/// Tells a person how far it is.
#[derive(Default)]
struct Progress {
    rows: u64,
    expected: u64,
}

impl Progress {
    fn step(&mut self) {
        self.rows += 1;
        if self.rows.is_multiple_of(10_000) {
            self.tell("\r", "");
        }
    }

    fn end(&self) {
        if self.rows >= 10_000 {
            self.tell("\r", "\n");
        }
    }

    fn tell(&self, start: &str, end: &str) {
        let mut err = std::io::stderr().lock();
        // A log wants lines.
        let (start, end) = if err.is_terminal() {
            (start, end)
        } else {
            ("", "\n")
        };
        let (rows, expected) = (self.rows, self.expected);
        let _written = write!(err, "{start}{rows} of about {expected} rows{end}").is_ok();
    }
}

/// How long before the window all checkpoints are read: epochs that were idle since then begin at
/// their first record in the window.
const LATELY: i64 = 2 * 24 * 3_600_000_000;

/// How long before the window the last checkpoint of a sink is looked for.
const EARLIER: i64 = 35 * 24 * 3_600_000_000;

/// Rows that BigQuery is asked to sort at once.
const ROWS_OF_A_PART: u64 = 500_000;
