//! What was found, for people and as JSON (pure).

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Gap,
    Altered,
    Reordered,
    Truncated,
    Doubled,
    OpenWithoutClose,
    EndedWithoutEnd,
    Unsigned,
    Tombstone,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Altered => "altered",
            Self::Reordered => "reordered",
            Self::Truncated => "truncated",
            Self::Doubled => "doubled",
            Self::OpenWithoutClose => "open_without_close",
            Self::EndedWithoutEnd => "ended_without_end",
            Self::Unsigned => "unsigned",
            Self::Tombstone => "tombstone",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Gap => "numbers are missing between others that are there",
            Self::Altered => "a row is not as it was written",
            Self::Reordered => "rows are each good, and do not follow each other as they did",
            Self::Truncated => "a signed checkpoint covers what is not in the table",
            Self::Doubled => "a number stands twice",
            Self::OpenWithoutClose => "an exchange began, and nobody knows how it ended",
            Self::EndedWithoutEnd => "a worker fell silent: what it held may be lost",
            Self::Unsigned => "nobody has signed that these rows are all",
            Self::Tombstone => "what arrived could not be stored as it was",
        }
    }
}

/// One finding, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) class: Class,
    pub(crate) sentence: String,
    pub(crate) sink: Option<String>,
    /// First and last.
    pub(crate) sink_seq: Option<(u64, u64)>,
    pub(crate) epoch: Option<String>,
    /// First and last.
    pub(crate) seq: Option<(i64, i64)>,
    /// More that is known of it.
    pub(crate) more: Vec<(&'static str, Value)>,
}

impl Finding {
    pub(crate) fn new(class: Class, sentence: impl Into<String>) -> Self {
        Self {
            class,
            sentence: sentence.into(),
            sink: None,
            sink_seq: None,
            epoch: None,
            seq: None,
            more: Vec::new(),
        }
    }

    pub(crate) fn in_sink(mut self, sink: &str, first: u64, last: u64) -> Self {
        self.sink = Some(sink.to_owned());
        self.sink_seq = Some((first, last));
        self
    }

    pub(crate) fn in_epoch(mut self, epoch: &str, first: i64, last: i64) -> Self {
        self.epoch = Some(epoch.to_owned());
        self.seq = Some((first, last));
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.more.push((name, value.into()));
        self
    }

    fn document(&self) -> Value {
        let mut map = Map::new();
        map.insert("class".into(), json!(self.class.name()));
        map.insert("sentence".into(), json!(self.sentence));
        if let (Some(sink), Some((first, last))) = (&self.sink, self.sink_seq) {
            map.insert("sink_id".into(), json!(sink));
            map.insert("sink_seq".into(), json!([first, last]));
        }
        if let (Some(epoch), Some((first, last))) = (&self.epoch, self.seq) {
            map.insert("epoch".into(), json!(epoch));
            map.insert("seq".into(), json!([first, last]));
        }
        let more = self.more.iter().cloned();
        map.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(map)
    }
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    /// How many there are more than are kept.
    pub(crate) more_findings: u64,
    /// Harmless things that a reader should know.
    pub(crate) notes: Vec<String>,
    pub(crate) counts: Counts,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sinks: u64,
    pub(crate) epochs: u64,
    pub(crate) rows: u64,
    pub(crate) checkpoints: u64,
    /// Rows whose content, or a part of it, was erased.
    pub(crate) erased: u64,
    /// Records that two sinks took.
    pub(crate) repeats: u64,
}

impl Report {
    /// Adds a finding; after very many they are only counted.
    pub(crate) fn add(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more_findings += 1;
        }
    }

    /// Whether nothing is missing, altered or in doubt.
    pub(crate) fn complete(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether there was nothing to decide about.
    pub(crate) fn nothing(&self) -> bool {
        self.counts.rows == 0 && self.counts.checkpoints == 0
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match () {
            () if self.nothing() => "undecided",
            () if self.complete() => "complete",
            () => "not_complete",
        }
    }

    /// For programs.
    pub(crate) fn document(&self, about: &Value) -> Value {
        let counts = self.counts;
        json!({
            "verdict": self.verdict(),
            "about": about,
            "findings": self.findings.iter().map(Finding::document).collect::<Vec<_>>(),
            "more_findings": self.more_findings,
            "notes": self.notes,
            "counts": {
                "sinks": counts.sinks, "epochs": counts.epochs, "rows": counts.rows,
                "checkpoints": counts.checkpoints, "erased": counts.erased,
                "repeats": counts.repeats,
            },
        })
    }

    /// For people.
    pub(crate) fn text(&self, about: &str) -> String {
        let counts = self.counts;
        let mut text = format!(
            "{about}\n{} row(s) of {} sink(s), {} epoch(s) of workers, {} valid checkpoint(s)\n",
            counts.rows, counts.sinks, counts.epochs, counts.checkpoints
        );
        if self.nothing() {
            text.push_str("\nUndecided: there are no rows and no checkpoints.\n");
            return text;
        }
        if self.complete() {
            text.push_str(
                "\nComplete: no row is missing, altered or moved, and checkpoints sign for them.\n",
            );
        } else {
            let number = self.findings.len() as u64 + self.more_findings;
            let _whole = writeln!(text, "\nNot complete: {number} finding(s).").is_ok();
        }
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.class);
        for group in findings.chunk_by(|one, other| one.class == other.class) {
            let Some(class) = group.first().map(|finding| finding.class) else {
                continue;
            };
            let head = format!("\n{} ({}): {}", class.name(), group.len(), class.meaning());
            let _whole = writeln!(text, "{head}").is_ok();
            for finding in group {
                let _whole = writeln!(text, "  - {}", finding.sentence).is_ok();
            }
        }
        if self.more_findings > 0 {
            let _whole = writeln!(text, "\n… and {} more", self.more_findings).is_ok();
        }
        if !self.notes.is_empty() {
            text.push_str("\nTo know:\n");
            for note in &self.notes {
                let _whole = writeln!(text, "  - {note}").is_ok();
            }
        }
        text
    }
}

/// Findings that are told one by one.
const MAX_FINDINGS: usize = 10_000;
