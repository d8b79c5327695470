//! The BigQuery emulator and its SQL.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::{
    ports::{free, loopback},
    process::Process,
    sink::{cache, repository},
    wait,
};

/// Dataset of table `records`.
pub const DATASET: &str = "copilot_audit";

/// Dataset of the views.
pub const VIEWS: &str = "copilot_audit_views";

/// Python programs are slow to start.
const START: Duration = Duration::from_secs(90);

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    rest: SocketAddr,
    grpc: SocketAddr,
    project: String,
}

/// A row: column → value.
pub type Row = Map<String, Value>;

impl Emulator {
    /// Starts one that forgets everything at its end, on free ports.
    pub async fn ephemeral(project: &str, folder: &Path) -> Result<Self> {
        Self::start(free()?, free()?, project, None, folder).await
    }

    /// Starts one on these ports, with its data in `data` or nowhere; its output goes to
    /// `folder`.
    pub async fn start(
        rest: u16,
        grpc: u16,
        project: &str,
        data: Option<PathBuf>,
        folder: &Path,
    ) -> Result<Self> {
        let python = cache().join("venv/bin/python");
        ensure!(
            python.exists(),
            "there is no {} (make setup)",
            python.display()
        );
        let mut command = Command::new(python);
        command
            .arg(repository().join("tests/emulator/bqemu.py"))
            .arg("start")
            .args(["--rest-port", &rest.to_string()])
            .args(["--grpc-port", &grpc.to_string()])
            .args(["--project", project]);
        match data {
            Some(data) => command.args(["--persistent", "--data-dir"]).arg(data),
            None => command.arg("--ephemeral"),
        };
        let process = Process::start("the emulator", command, &folder.join("bigquery.log"))?;
        let mut emulator = Self {
            process,
            rest: loopback(rest),
            grpc: loopback(grpc),
            project: project.to_owned(),
        };
        let bigquery = emulator.client();
        wait::within(START, "answer from the emulator", async || {
            emulator.process.check()?;
            Ok(bigquery.query("SELECT 1 AS one").await.ok())
        })
        .await?;
        Ok(emulator)
    }

    /// Its REST interface.
    pub fn rest(&self) -> SocketAddr {
        self.rest
    }

    /// Its gRPC interface.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// The project it serves.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// For asking it.
    pub fn client(&self) -> BigQuery {
        BigQuery {
            rest: self.rest,
            project: self.project.clone(),
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, to end it early.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// A way to ask BigQuery.
#[derive(Clone, Debug)]
pub struct BigQuery {
    /// REST interface.
    pub rest: SocketAddr,
    /// Project to ask in.
    pub project: String,
}

impl BigQuery {
    /// The rows of a query.
    pub async fn query(&self, sql: &str) -> Result<Vec<Row>> {
        let url = format!(
            "http://{}/bigquery/v2/projects/{}/queries",
            self.rest, self.project
        );
        let http = crate::client::client()
            .timeout(wait::DEADLINE)
            .build()?;
        let question = json!({"query": sql, "useLegacySql": false, "maxResults": 10_000});
        let answer = http.post(url).json(&question).send().await?;
        let status = answer.status();
        let answer: Value = answer
            .json()
            .await
            .context("BigQuery does not answer in JSON")?;
        if !status.is_success() {
            bail!("BigQuery answers {status}: {}", answer["error"]["message"]);
        }
        ensure!(
            answer["jobComplete"] != false,
            "BigQuery wants more time than a test query should take"
        );
        let fields = answer["schema"]["fields"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        Ok(rows
            .iter()
            .map(|row| {
                fields
                    .iter()
                    .zip(row["f"].as_array().into_iter().flatten())
                    .map(|(field, cell)| {
                        let name = field["name"].as_str().unwrap_or_default().to_owned();
                        let kind = field["type"].as_str().unwrap_or_default();
                        (name, typed(kind, &cell["v"]))
                    })
                    .collect()
            })
            .collect())
    }
}

/// REST gives every value as text.
fn typed(kind: &str, value: &Value) -> Value {
    match (kind, value.as_str()) {
        ("INTEGER" | "INT64", Some(text)) => text.parse::<i64>().map_or(json!(text), |n| json!(n)),
        ("FLOAT" | "FLOAT64", Some(text)) => text.parse::<f64>().map_or(json!(text), |n| json!(n)),
        ("BOOLEAN" | "BOOL", Some(text)) => json!(text == "true"),
        ("JSON", Some(text)) => serde_json::from_str(text).unwrap_or(json!(text)),
        _ => value.clone(),
    }
}

/// Rows as a table for people.
pub fn table(rows: &[Row]) -> String {
    let Some(first) = rows.first() else {
        return "(no rows)\n".to_owned();
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.replace('\n', "⏎"),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let names: Vec<&String> = first.keys().collect();
    let mut lines = vec![names.iter().map(|name| (*name).clone()).collect::<Vec<_>>()];
    lines.extend(
        rows.iter()
            .map(|row| names.iter().map(|name| text(&row[*name])).collect()),
    );
    let widths: Vec<usize> = (0..names.len())
        .map(|column| {
            let widths = lines.iter().map(|line| line[column].chars().count());
            widths.max().unwrap_or_default().min(WIDEST)
        })
        .collect();
    let mut table = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let mut cell = cell.clone();
            if cell.chars().count() > *width {
                cell = cell.chars().take(width - 1).chain(['…']).collect();
            }
            table.extend([format!("{cell:<width$}"), "  ".to_owned()]);
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
        if number == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            table.push_str(&rule.join("  "));
            table.push('\n');
        }
    }
    table
}

/// Characters of the widest column.
const WIDEST: usize = 60;
