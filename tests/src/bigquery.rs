//! The BigQuery emulator and its SQL.

use std::{
    fmt::{self, Display, Formatter},
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

/// What a query gives.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Names of the columns, in the query's order.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
}

impl BigQuery {
    /// Asks and waits for the answer.
    pub async fn query(&self, sql: &str) -> Result<Table> {
        let url = format!(
            "http://{}/bigquery/v2/projects/{}/queries",
            self.rest, self.project
        );
        let http = crate::client::client().timeout(wait::DEADLINE).build()?;
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
        let fields = list(&answer["schema"]["fields"]);
        // the emulator answers 200 to what it cannot understand
        if let Some(error) = answer["errors"][0]["message"].as_str()
            && fields.is_empty()
        {
            bail!("BigQuery answers: {error}");
        }
        ensure!(
            answer["jobComplete"] != false,
            "BigQuery wants more time than a test query should take"
        );
        let text = |field: &Value, name: &str| field[name].as_str().unwrap_or_default().to_owned();
        let row = |row: &Value| {
            fields
                .iter()
                .zip(list(&row["f"]))
                .map(|(field, cell)| (text(field, "name"), typed(&text(field, "type"), &cell["v"])))
                .collect()
        };
        Ok(Table {
            columns: fields.iter().map(|field| text(field, "name")).collect(),
            rows: list(&answer["rows"]).iter().map(row).collect(),
        })
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
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

/// For people, in columns.
impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let text = |value: Option<&Value>| match value {
            Some(Value::String(text)) => text.replace('\n', "⏎"),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let mut lines = vec![self.columns.clone()];
        for row in &self.rows {
            lines.push(
                self.columns
                    .iter()
                    .map(|name| text(row.get(name)))
                    .collect(),
            );
        }
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let widths = lines.iter().map(|line| line[column].chars().count());
                widths.max().unwrap_or_default().min(WIDEST)
            })
            .collect();
        lines.insert(1, widths.iter().map(|width| "─".repeat(*width)).collect());
        for line in lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| {
                if cell.chars().count() > *width {
                    cell.chars().take(width - 1).chain(['…']).collect()
                } else {
                    format!("{cell:<width$}")
                }
            });
            let line = cells.collect::<Vec<String>>().join("  ");
            writeln!(out, "{}", line.trim_end())?;
        }
        if self.rows.is_empty() {
            writeln!(out, "(no rows)")?;
        }
        Ok(())
    }
}

/// Characters of the widest column.
const WIDEST: usize = 60;
