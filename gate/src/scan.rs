//! `gate scan`: secrets in files, directories and standard input.

use std::{
    fmt::Write as _,
    fs,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use filter_core::mask::{Finding, Masker};
use serde::Deserialize;
use serde_json::{Value, json};
use walkdir::WalkDir;

use crate::{
    lines,
    masks::{PacksArgument, masker},
    report,
};

/// Larger files are not read, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A file with a NUL in its first bytes is not text.
const BINARY_BYTES: usize = 8 << 10;

/// Files between two signs of life.
const PROGRESS: usize = 500;

/// What to scan, and how to say it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Finds what the gateway would mask in a text, with its code and its detectors. Secrets are named by
place, kind and length, and never shown. Directories are read whole, but for those named .git; links
are not followed. Files that are not text, or larger than 64 MiB, are counted and not read.

With --jsonl each line of standard input is {\"id\": …, \"text\": \"…\"}, and each line of output
{\"id\": …, \"spans\": [[START, END, \"DETECTOR\"], …], \"masked\": \"…\"}, with offsets in bytes of UTF-8.

Exit status: 0, also with findings, 1 with findings and --fail-on-findings, 2 wrong usage, 3 something
could not be read.

Examples: gate scan src .env
          git diff | gate scan --fail-on-findings")]
pub(crate) struct Arguments {
    /// Files and directories; none, or `-`, is standard input
    paths: Vec<PathBuf>,
    /// Print one JSON document
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,
    /// Read and write lines of JSON
    #[arg(long, conflicts_with = "paths")]
    jsonl: bool,
    /// Exit with 1 if there are findings
    #[arg(long)]
    fail_on_findings: bool,
    #[command(flatten)]
    packs: PacksArgument,
}

#[derive(Deserialize)]
struct Question {
    id: Value,
    text: String,
}

/// What was found so far.
#[derive(Default)]
struct Scan {
    found: Vec<Found>,
    texts: usize,
    bytes: u64,
    not_text: usize,
    too_large: usize,
    /// What could not be read, and why.
    unread: Vec<String>,
}

/// A finding, and where it is.
struct Found {
    place: String,
    line: usize,
    column: usize,
    finding: Finding,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let masker = masker(&arguments.packs);
    if arguments.jsonl {
        return answer_lines(&masker, arguments.fail_on_findings);
    }
    let scan = match scan(&masker, &arguments.paths) {
        Ok(scan) => scan,
        Err(error) => return report("gate scan", &error),
    };
    let text = if arguments.json {
        format!("{}\n", scan.document())
    } else {
        scan.report()
    };
    let mut err = io::stderr().lock();
    for unread in &scan.unread {
        let _written = writeln!(err, "gate scan: {unread}").is_ok();
    }
    if io::stdout().write_all(text.as_bytes()).is_err() || !scan.unread.is_empty() {
        return ExitCode::from(crate::UNDECIDED);
    }
    status(arguments.fail_on_findings && !scan.found.is_empty())
}

fn status(negative: bool) -> ExitCode {
    ExitCode::from(u8::from(negative))
}

fn answer_lines(masker: &Masker, fail_on_findings: bool) -> ExitCode {
    let mut any = false;
    let answer = |question: Question| {
        let mut findings = Vec::new();
        let masked = masker.mask(&question.text, &mut findings);
        any |= !findings.is_empty();
        let span = |it: &Finding| json!([it.offset, it.offset + it.length, it.detector]);
        let spans: Vec<Value> = findings.iter().map(span).collect();
        let masked = masked.unwrap_or(question.text);
        json!({ "id": question.id, "spans": spans, "masked": masked })
    };
    let (input, out) = (io::stdin().lock(), io::stdout().lock());
    let wanted = "{\"id\": …, \"text\": \"…\"}";
    match lines::answer(input, out, wanted, answer) {
        Ok(()) => status(fail_on_findings && any),
        Err(error) => report("gate scan", &error),
    }
}

fn scan(masker: &Masker, paths: &[PathBuf]) -> anyhow::Result<Scan> {
    let mut scan = Scan::default();
    let standard = [PathBuf::from("-")];
    let paths = if paths.is_empty() { &standard } else { paths };
    for path in paths {
        ensure!(
            path == Path::new("-") || path.exists(),
            "there is no {}",
            path.display()
        );
    }
    let shows = io::stderr().is_terminal();
    let tell = |text: &str| {
        let mut err = io::stderr().lock();
        let _written = shows && write!(err, "\r{text:24}\r").is_ok();
    };
    let mut files = 0_usize;
    for path in paths {
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes);
            read.context("cannot read standard input")?;
            scan.text(masker, "-", &bytes);
            continue;
        }
        let inside = WalkDir::new(path).sort_by_file_name();
        let wanted = inside
            .into_iter()
            .filter_entry(|entry| entry.file_name() != ".git");
        for entry in wanted {
            match entry {
                Ok(entry) if entry.file_type().is_file() => scan.file(masker, entry.path()),
                Ok(_) => {}
                Err(error) => scan.unread.push(error.to_string()),
            }
            files += 1;
            if files.is_multiple_of(PROGRESS) {
                tell(&format!("{files} files"));
            }
        }
    }
    if files >= PROGRESS {
        tell(""); // the report begins on a clean line
    }
    Ok(scan)
}

impl Scan {
    fn file(&mut self, masker: &Masker, path: &Path) {
        let place = path.display().to_string();
        match fs::metadata(path) {
            Ok(facts) if facts.len() > MAX_FILE_BYTES => self.too_large += 1,
            Ok(_) => match fs::read(path) {
                Ok(bytes) => self.text(masker, &place, &bytes),
                Err(error) => self.unread.push(format!("cannot read {place}: {error}")),
            },
            Err(error) => self.unread.push(format!("cannot read {place}: {error}")),
        }
    }

    fn text(&mut self, masker: &Masker, place: &str, bytes: &[u8]) {
        if bytes.iter().take(BINARY_BYTES).any(|byte| *byte == 0) {
            self.not_text += 1;
            return;
        }
        self.texts += 1;
        self.bytes += bytes.len() as u64;
        let text = String::from_utf8_lossy(bytes);
        let mut findings = Vec::new();
        masker.mask(&text, &mut findings);
        let (mut at, mut line) = (0, 1);
        for finding in findings {
            let offset = usize::try_from(finding.offset).unwrap_or(usize::MAX);
            let before = text.get(at..offset).unwrap_or_default();
            line += before.matches('\n').count();
            at = offset;
            let start = text.get(..offset).unwrap_or_default();
            let start = start.rsplit_once('\n').map_or(start, |(_, start)| start);
            self.found.push(Found {
                place: place.to_owned(),
                line,
                column: start.chars().count() + 1,
                finding,
            });
        }
    }

    /// One line for each finding, and one for all.
    fn report(&self) -> String {
        let mut text = String::new();
        for found in &self.found {
            let Found {
                place,
                line,
                column,
                finding,
            } = found;
            let (detector, length) = (finding.detector, finding.length);
            let _written = writeln!(text, "{place}:{line}:{column}: {detector}, {length} bytes");
        }
        let _written = write!(
            text,
            "{} secret(s) in {} text(s) of {} bytes",
            self.found.len(),
            self.texts,
            self.bytes
        );
        for (count, why) in [(self.not_text, "not text"), (self.too_large, "too large")] {
            if count > 0 {
                let _written = write!(text, "; {count} not read: {why}");
            }
        }
        text.push('\n');
        text
    }

    fn document(&self) -> Value {
        let findings = self.found.iter().map(|found| {
            json!({
                "place": found.place,
                "line": found.line,
                "column": found.column,
                "detector": found.finding.detector,
                "offset": found.finding.offset,
                "length": found.finding.length,
            })
        });
        json!({
            "findings": findings.collect::<Vec<_>>(),
            "texts": self.texts,
            "bytes": self.bytes,
            "not_text": self.not_text,
            "too_large": self.too_large,
            "unread": self.unread,
        })
    }
}
