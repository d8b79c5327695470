//! The page of the evidence (pure).

use askama::Template;

use super::{Rows, tables::Table};

/// Rows of a table that the page shows.
const SHOWN_ROWS: usize = 200;

/// Longest cell that is not broken into lines, in bytes.
const SHORT: usize = 32;

#[derive(Debug, Template)]
#[template(path = "evidence.html")]
pub(super) struct Page<'a> {
    pub(super) project: &'a str,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) made_at: String,
    pub(super) version: &'static str,
    /// As in the report's document.
    pub(super) verdict: &'static str,
    /// The report for people.
    pub(super) verified: String,
    pub(super) parts: Vec<Part<'a>>,
    pub(super) policies: Vec<Policy>,
}

/// A table on the page.
#[derive(Debug)]
pub(super) struct Part<'a> {
    name: &'static str,
    title: &'static str,
    hint: &'static str,
    columns: Vec<String>,
    rows: Vec<Vec<Cell<'a>>>,
    /// Rows that are in the file alone.
    more: usize,
    /// The file has not all of them.
    is_cut: bool,
}

#[derive(Debug)]
struct Cell<'a> {
    text: &'a str,
    /// How it is set.
    class: &'static str,
}

/// A policy that was in force.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) digest: String,
    /// The folder has it.
    pub(super) is_recorded: bool,
}

impl<'a> Part<'a> {
    pub(super) fn new(table: &Table, rows: &'a Rows) -> Self {
        let cell = |text: &'a Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            let class = match text.len() {
                1.. if text.bytes().all(|byte| byte.is_ascii_digit()) => "number",
                ..=SHORT => "short",
                _ => "long",
            };
            Cell { text, class }
        };
        let shown = rows.lines.iter().take(SHOWN_ROWS);
        Self {
            name: table.name,
            title: table.title,
            hint: table.hint,
            columns: rows
                .columns
                .iter()
                .map(|name| name.replace('_', " "))
                .collect(),
            rows: shown.map(|row| row.iter().map(cell).collect()).collect(),
            more: rows.lines.len().saturating_sub(SHOWN_ROWS),
            is_cut: rows.is_cut,
        }
    }
}

impl Page<'_> {
    fn verdict(&self) -> (&'static str, &'static str) {
        match self.verdict {
            "complete" => ("good", "Complete: nothing is missing, altered or in doubt."),
            "undecided" => ("wait", "Undecided: there are no records of this time."),
            _ => ("bad", "Not complete: there are findings."),
        }
    }
}
