//! `gate evidence`: a folder that an auditor can hand on.

mod page;
mod tables;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use askama::Template;
use bigquery::{Client, Parameter};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    access::{self, time},
    verify::{self, Question, Report, Window},
    views::between,
};

use self::{
    page::{Page, Part, Policy},
    tables::{MAX_ROWS, TABLES, Table},
};

/// Of which time, and where to write.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// Folder that is made; there must be none, or an empty one
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Dataset of the views
    #[arg(long, default_value = "copilot_audit_views")]
    views_dataset: String,
    #[command(flatten)]
    verify: verify::Arguments,
}

pub(crate) const HELP: &str = "\
Writes, for the records of a time, a folder with
  index.html     a page to read, print and hand on; it needs no other file
  verify.txt     whether the audit is complete, as `gate verify` says; verify.json for programs
  policies/      each policy that was in force, by its digest
  NAME.json      what is counted and listed on the page, all rows
  SHA256SUMS     digests of all of these: `sha256sum --check SHA256SUMS`

No content of exchanges is read or written. Names of persons stand in the lists of approvals and of who
asked for secrets. The digest of SHA256SUMS is printed: who keeps it elsewhere can tell later whether a
file was changed.

Google's credentials are found where Google's own tools find them. With the environment variable
GATE_SINK_KEYS the records' seals are checked too.

Exit status: 0 written and complete, 1 written with findings, 2 wrong usage, 3 could not decide; the
folder is written then as well if BigQuery could be asked.

Example: gate evidence --project acme-audit --from 2026-01-01 --to 2026-02-01 --keys public-keys \\
           --checkpoints checkpoints --out 2026-01";

/// All that is written.
struct Evidence {
    window: Window,
    report: Report,
    tables: Vec<(&'static Table, Rows)>,
    policies: BTreeMap<String, Option<String>>,
}

/// Rows of a table.
#[derive(Debug, Default)]
struct Rows {
    columns: Vec<String>,
    lines: Vec<Vec<Option<String>>>,
    /// There are more.
    is_cut: bool,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let now = access::now();
    access::run(
        "gate evidence",
        || prepare(arguments, now),
        async |question| {
            let evidence = ask(arguments, question).await?;
            let digest = write(arguments, &evidence, now)?;
            Ok((evidence, digest))
        },
        |(evidence, digest)| {
            let status = verify::status(&evidence.report);
            (told(arguments, &evidence, &digest), status)
        },
    )
}

fn prepare(arguments: &Arguments, now: i64) -> anyhow::Result<Question> {
    access::check_dataset("--views-dataset", &arguments.views_dataset)?;
    let out = &arguments.out;
    match fs::read_dir(out).map(|mut entries| entries.next().is_some()) {
        Ok(false) => {}
        Ok(true) => bail!("--out {}: the folder is not empty", out.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => bail!("--out {}: {error}", out.display()),
    }
    verify::question(&arguments.verify, now)
}

async fn ask(arguments: &Arguments, question: Question) -> anyhow::Result<Evidence> {
    let (client, window) = (question.client.clone(), question.window);
    let report = verify::verify(question).await?;
    let access = &arguments.verify.access;
    let view = |name: &str| access.sql(&arguments.views_dataset, name);
    let records = access.sql(&arguments.verify.dataset, "records");
    let mut tables = Vec::new();
    for table in &TABLES {
        let sql = table.statement(|name| between(&view(name)), &records);
        let rows = rows(&client, &sql, window).await;
        let rows = rows.with_context(|| format!("cannot ask for {}", table.name))?;
        tables.push((table, rows));
    }
    let of = tables.iter().find(|(table, _)| table.name == "policies");
    let digests: Vec<&str> = of
        .into_iter()
        .flat_map(|(_, rows)| &rows.lines)
        .filter_map(|row| row.first()?.as_deref())
        .collect();
    let policies = policies(&client, &tables::policies(&view("epochs")), &digests).await?;
    Ok(Evidence {
        window,
        report,
        tables,
        policies,
    })
}

async fn rows(client: &Client, sql: &str, window: Window) -> Result<Rows, bigquery::Error> {
    let time = [
        Parameter::Int64("from", window.from),
        Parameter::Int64("to", window.to),
    ];
    let mut found = client.query("make a list", sql, &time, PAGE_ROWS).await?;
    let mut all = Rows::default();
    while let Some(row) = found.next().await? {
        if all.lines.len() == MAX_ROWS {
            all.is_cut = true;
            break;
        }
        if all.columns.is_empty() {
            all.columns = row.iter().map(|(name, _)| name.to_owned()).collect();
        }
        let cells = row.iter().map(|(_, value)| value.map(str::to_owned));
        all.lines.push(cells.collect());
    }
    Ok(all)
}

/// The text of each policy; `None` where no worker recorded it, or something else than has this digest.
async fn policies(
    client: &Client,
    sql: &str,
    digests: &[&str],
) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let none = digests.iter().map(|digest| ((*digest).to_owned(), None));
    let mut policies: BTreeMap<String, Option<String>> = none.collect();
    if digests.is_empty() {
        return Ok(policies);
    }
    let asked = [Parameter::Strings("digests", digests)];
    let mut found = client
        .query("read the policies", sql, &asked, PAGE_ROWS)
        .await?;
    while let Some(row) = found.next().await? {
        let (Some(digest), Some(text)) = (row.text("policy_digest"), row.text("policy")) else {
            continue;
        };
        // BigQuery keeps JSON in an order of its own; ours is that of the keys
        let policy: Option<Value> = serde_json::from_str(text).ok();
        let Some(policy) = policy else { continue };
        if hex(policy.to_string().as_bytes()) == digest {
            policies.insert(digest.to_owned(), Some(policy.to_string()));
        }
    }
    Ok(policies)
}

/// Writes the folder, whole or not at all; gives the digest of the digests.
fn write(arguments: &Arguments, evidence: &Evidence, now: i64) -> anyhow::Result<String> {
    let out = &arguments.out;
    let mut name = out.file_name().context("--out: not a folder")?.to_owned();
    name.push(".part");
    let part = out.with_file_name(name);
    let kept = |error: io::Error| anyhow!("cannot write {}: {error}", part.display());
    if part.exists() {
        bail!(
            "{} is left of a run that broke off; remove it",
            part.display()
        );
    }
    let files = files(arguments, evidence, now)?;
    let line = |(name, bytes): (&String, &Vec<u8>)| [&hex(bytes), "  ", name, "\n"].concat();
    let digests: String = files.iter().map(line).collect();
    fs::create_dir_all(part.join("policies")).map_err(kept)?;
    for (name, bytes) in &files {
        fs::write(part.join(name), bytes).map_err(kept)?;
    }
    fs::write(part.join(SUMS), &digests).map_err(kept)?;
    put(&part, out).with_context(|| format!("cannot make {}", out.display()))?;
    Ok(hex(digests.as_bytes()))
}

/// Puts the finished folder where it is wanted, in place of an empty one.
fn put(part: &Path, out: &Path) -> io::Result<()> {
    match fs::remove_dir(out) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::rename(part, out)
}

/// Name and bytes of each file, in the order of names.
fn files(
    arguments: &Arguments,
    evidence: &Evidence,
    now: i64,
) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let Evidence {
        window,
        report,
        tables,
        policies,
    } = evidence;
    let verified = verify::text(&arguments.verify, window, report);
    let document = verify::document(&arguments.verify, window, report);
    let mut files = BTreeMap::new();
    files.insert("verify.json".to_owned(), pretty(&document)?);
    for (table, rows) in tables {
        files.insert(format!("{}.json", table.name), pretty(&list(rows))?);
    }
    for (digest, text) in policies {
        if let Some(text) = text
            && bigquery::is_name(digest, &[], 64)
        {
            let name = format!("policies/{digest}.json");
            files.insert(name, text.clone().into_bytes());
        }
    }
    let parts = tables.iter().map(|(table, rows)| Part::new(table, rows));
    let policy = |(digest, text): (&String, &Option<String>)| Policy {
        digest: digest.clone(),
        is_recorded: text.is_some(),
    };
    let page = Page {
        project: &arguments.verify.access.project,
        from: time(window.from),
        to: time(window.to),
        made_at: time(now),
        version: env!("CARGO_PKG_VERSION"),
        verdict: report.verdict(),
        verified: verified.clone(),
        parts: parts.collect(),
        policies: policies.iter().map(policy).collect(),
    };
    files.insert("verify.txt".to_owned(), verified.into_bytes());
    files.insert("index.html".to_owned(), page.render()?.into_bytes());
    Ok(files)
}

/// Rows as objects.
fn list(rows: &Rows) -> Value {
    let object = |row: &Vec<Option<String>>| {
        let cells = rows.columns.iter().zip(row);
        let cells = cells.map(|(name, cell)| (name.clone(), json!(cell)));
        Value::Object(cells.collect::<Map<_, _>>())
    };
    let all: Vec<Value> = rows.lines.iter().map(object).collect();
    json!({ "rows": all, "more_rows": rows.is_cut })
}

fn pretty(value: &Value) -> anyhow::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn told(arguments: &Arguments, evidence: &Evidence, digest: &str) -> String {
    let out = arguments.out.display().to_string();
    if arguments.verify.json {
        let told = json!({
            "folder": out,
            "sha256": digest,
            "verify": verify::document(&arguments.verify, &evidence.window, &evidence.report),
        });
        return format!("{told}\n");
    }
    let verified = verify::text(&arguments.verify, &evidence.window, &evidence.report);
    format!("{verified}\n{out} is written; its {SUMS} has the SHA-256\n{digest}\n")
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

const SUMS: &str = "SHA256SUMS";

/// Rows that are fetched at once.
const PAGE_ROWS: u32 = 5_000;
