//! `gate lookup code`: from which recorded suggestion may this code come?

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, ensure};
use bigquery::{Client, Error, Parameter, Row};
use lineage::{COMMON_PERSONS, Candidate, Limit, Query, added, common};
use serde_json::{Value, json};

use crate::access::{self, Access, moment, range, time};

/// The code, and where to ask.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Compares fingerprints of the code with those of all code that recorded answers held, as loaded by a
sink that runs with --lineage. Finds code also after edits: other layout, other names, other comments,
parts of it. What it says is evidence, not proof: two people, or a person and a model, may write the
same. Read the record of a decision id before anything follows from it.

Of a diff the added lines are looked up, hunk by hunk. A few lines that everybody writes find nothing.

Google's credentials are found where Google's own tools find them. Times are dates or RFC 3339, in
UTC, of when the answer was recorded.

Exit status: 0 candidates were found, 1 none was, 2 wrong usage, 3 BigQuery could not be asked.

Examples: gate lookup code --project acme-audit src/orders.rs
          git show 1f2e3d | gate lookup code --project acme-audit --diff -")]
pub(crate) struct Arguments {
    /// Files of code; - is standard input
    #[arg(required_unless_present = "diff")]
    files: Vec<PathBuf>,
    /// A unified diff whose added lines are looked up; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    diff: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
    /// Dataset of table `lineage`
    #[arg(long, default_value = "copilot_audit")]
    dataset: String,
    /// First moment; a year ago if not given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<i64>,
    /// One past the last moment; now if not given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<i64>,
    /// Most candidates that are shown
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Code that stands together.
struct Part {
    file: String,
    /// Number of each line in its file; 0 if unknown.
    lines: Vec<u32>,
}

/// Which suggestion: epoch, seq, number.
type Key = (String, i64, i64);

/// What a row says of the record besides.
struct Record {
    decision_id: String,
    person: String,
    issuer: String,
    model: String,
    received_at: i64,
}

struct Answer {
    candidates: Vec<Candidate<Key>>,
    records: BTreeMap<Key, Record>,
    parts: Vec<Part>,
    asked: usize,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    access::run(
        "gate lookup code",
        || {
            let client = arguments.access.client("--dataset", &arguments.dataset)?;
            Ok((client, code(arguments)?))
        },
        async |(client, (query, parts))| ask(arguments, &client, &query, parts).await,
        |answer| {
            let text = access::text(
                arguments.json,
                || document(&answer, arguments.limit),
                || report(&answer, arguments.limit),
            );
            (text, u8::from(answer.candidates.is_empty()))
        },
    )
}

/// Reads the code and makes its fingerprints.
fn code(arguments: &Arguments) -> anyhow::Result<(Query, Vec<Part>)> {
    let mut query = Query::default();
    let mut parts = Vec::new();
    if let Some(diff) = &arguments.diff {
        for part in added(&read(diff)?) {
            query.add(&part.text);
            parts.push(Part {
                file: part.file,
                lines: part.lines,
            });
        }
    }
    for path in &arguments.files {
        let text = read(path)?;
        query.add(&text);
        parts.push(Part {
            file: path.display().to_string(),
            lines: (1..).take(text.lines().count()).collect(),
        });
    }
    Ok((query, parts))
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        let read = io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes);
        read.context("cannot read standard input")?;
    } else {
        let file =
            fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.with_context(|| format!("cannot read {}", path.display()))?;
    }
    ensure!(
        u64::try_from(bytes.len()).is_ok_and(|bytes| bytes <= MAX_BYTES),
        "{} is longer than 4 MiB",
        path.display()
    );
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn ask(
    arguments: &Arguments,
    client: &Client,
    query: &Query,
    parts: Vec<Part>,
) -> anyhow::Result<Answer> {
    let (from, to) = range(arguments.from, arguments.to, A_YEAR);
    let sql = sql(&arguments.access.sql(&arguments.dataset, "lineage"));
    let fingerprints: Vec<i64> = query.fingerprints().into_iter().collect();
    let mut rows = Vec::new();
    let mut records = BTreeMap::new();
    for some in fingerprints.chunks(FINGERPRINTS_AT_ONCE) {
        let parameters = [
            Parameter::Int64("from", from),
            Parameter::Int64("to", to),
            Parameter::Int64s("fingerprints", some),
        ];
        let mut found = client
            .query("look up fingerprints", &sql, &parameters, PAGE_ROWS)
            .await
            .context("cannot ask table `lineage`")?;
        while let Some(row) = found.next().await? {
            let (key, record, row) =
                read_row(&row).ok_or(Error::Strange("look up fingerprints"))?;
            records.entry(key).or_insert(record);
            rows.push(row);
            ensure!(
                rows.len() <= MAX_ROWS,
                "too much is found; give fewer files, or a shorter time"
            );
        }
    }
    Ok(Answer {
        candidates: query.rank(&rows, &common(), &Limit::ALL),
        records,
        parts,
        asked: fingerprints.len(),
    })
}

/// Rows of what was asked for, without what more persons were given than [`COMMON_PERSONS`].
fn sql(table: &str) -> String {
    format!(
        "WITH found AS (\n  \
         SELECT scheme, fingerprint, fingerprints, epoch, seq, suggestion, decision_id, person, issuer, \
         model, received_at\n  FROM {table}\n  \
         WHERE received_at >= TIMESTAMP_MICROS(@from) AND received_at < TIMESTAMP_MICROS(@to)\n    \
         AND fingerprint IN UNNEST(@fingerprints))\n\
         SELECT scheme, fingerprint, fingerprints, epoch, seq, suggestion, decision_id, person, issuer, \
         model, UNIX_MICROS(received_at) AS received_us\nFROM found\n\
         WHERE fingerprint NOT IN (\n  SELECT fingerprint FROM found GROUP BY fingerprint \
         HAVING COUNT(DISTINCT person) > {COMMON_PERSONS})"
    )
}

fn read_row(row: &Row) -> Option<(Key, Record, lineage::Row<Key>)> {
    let text = |name: &str| row.text(name).unwrap_or_default().to_owned();
    let key = (text("epoch"), row.int64("seq")?, row.int64("suggestion")?);
    let record = Record {
        decision_id: text("decision_id"),
        person: text("person"),
        issuer: text("issuer"),
        model: text("model"),
        received_at: row.int64("received_us")?,
    };
    let found = lineage::Row {
        suggestion: key.clone(),
        person: record.person.clone(),
        scheme: text("scheme"),
        fingerprint: row.int64("fingerprint")?,
        fingerprints: u64::try_from(row.int64("fingerprints")?).ok()?,
    };
    Some((key, record, found))
}

fn report(answer: &Answer, limit: usize) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        let _written = writeln!(text, "{line}").is_ok();
    };
    if answer.candidates.is_empty() {
        line(format!(
            "No recorded suggestion is like this code ({} fingerprints asked for).",
            answer.asked
        ));
        return text;
    }
    let count = answer.candidates.len();
    line(format!(
        "{count} suggestions are like this code: evidence, not proof."
    ));
    for (place, candidate) in answer.candidates.iter().take(limit).enumerate() {
        let Some(record) = answer.records.get(&candidate.suggestion) else {
            continue;
        };
        line(format!(
            "\n{}. {}  {}  {}  {}",
            place + 1,
            record.decision_id,
            record.person,
            time(record.received_at),
            record.model,
        ));
        line(format!(
            "   {} of the suggestion is in the code, {} of the code in the suggestion ({})",
            percent(candidate.found),
            percent(candidate.explained),
            schemes(candidate),
        ));
        for (file, lines) in places(answer, candidate) {
            line(format!("   {file}: {}", lines.join(", ")));
        }
    }
    if count > limit {
        line(format!("\n{} more are not shown (--limit).", count - limit));
    }
    text
}

fn schemes(candidate: &Candidate<Key>) -> String {
    let evidence = candidate.evidence.iter();
    let words = evidence.map(|found| format!("{} {}/{}", found.scheme, found.hits, found.of));
    words.collect::<Vec<_>>().join(", ")
}

fn document(answer: &Answer, limit: usize) -> Value {
    let candidate = |candidate: &Candidate<Key>| {
        let record = answer.records.get(&candidate.suggestion)?;
        let (epoch, seq, suggestion) = &candidate.suggestion;
        let evidence = candidate
            .evidence
            .iter()
            .map(|found| json!({ "scheme": found.scheme, "hits": found.hits, "of": found.of }));
        let lines = places(answer, candidate).into_iter();
        let lines = lines.map(|(file, lines)| json!({ "file": file, "lines": lines }));
        Some(json!({
            "decision_id": record.decision_id,
            "person": record.person,
            "issuer": record.issuer,
            "received_at": time(record.received_at),
            "model": record.model,
            "epoch": epoch,
            "seq": seq,
            "suggestion": suggestion,
            "found": candidate.found,
            "explained": candidate.explained,
            "evidence": evidence.collect::<Vec<_>>(),
            "code": lines.collect::<Vec<_>>(),
        }))
    };
    let shown = answer.candidates.iter().take(limit).filter_map(candidate);
    json!({
        "note": "evidence, not proof",
        "asked": answer.asked,
        "found": answer.candidates.len(),
        "candidates": shown.collect::<Vec<_>>(),
    })
}

/// Files, and ranges of lines in them that a candidate explains.
fn places(answer: &Answer, candidate: &Candidate<Key>) -> Vec<(String, Vec<String>)> {
    let mut places: Vec<(String, Vec<String>)> = Vec::new();
    for range in &candidate.lines {
        let Some(part) = answer.parts.get(range.part) else {
            continue;
        };
        let number = |line: u32| {
            let line = part.lines.get(usize::try_from(line).ok()?)?;
            (*line > 0).then_some(*line)
        };
        let lines = match (number(range.first), number(range.last)) {
            (Some(first), Some(last)) if first != last => format!("{first}-{last}"),
            (Some(line), _) => line.to_string(),
            _ => "added lines".to_owned(),
        };
        match places.last_mut() {
            Some((file, ranges)) if *file == part.file => ranges.push(lines),
            _ => places.push((part.file.clone(), vec![lines])),
        }
    }
    places
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of 0 to 1"
)]
fn percent(share: f64) -> String {
    format!("{} %", (share * 100.0).round() as u32)
}

const A_YEAR: Duration = Duration::from_hours(365 * 24);

/// Longest file or diff.
const MAX_BYTES: u64 = 4 << 20;

/// A request may have 10 MB; these are some 300 KB.
const FINGERPRINTS_AT_ONCE: usize = 5_000;

const PAGE_ROWS: u32 = 10_000;

/// Rows that are ranked at most.
const MAX_ROWS: usize = 2_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_reads_few_partitions_and_blocks() {
        let sql = sql("`p.d.lineage`");
        for part in [
            "`p.d.lineage`",
            "received_at >=",
            "received_at <",
            "IN UNNEST(@fingerprints)",
        ] {
            assert!(sql.contains(part), "{sql}");
        }
    }
}
