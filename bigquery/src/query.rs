//! Queries, and their rows page by page.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Client, Error};

/// A named parameter of a query, `@name` in its SQL.
#[derive(Clone, Debug)]
pub enum Parameter<'a> {
    /// INT64.
    Int64(&'a str, i64),
    /// ARRAY of INT64.
    Int64s(&'a str, &'a [i64]),
    /// STRING.
    String(&'a str, &'a str),
    /// ARRAY of STRING.
    Strings(&'a str, &'a [&'a str]),
}

/// The rows of a query in their order.
#[derive(Debug)]
pub struct Rows {
    client: Client,
    what: &'static str,
    page_size: u32,
    job: String,
    columns: Arc<[String]>,
    waiting: VecDeque<Value>,
    /// Of the page after those that wait.
    token: Option<String>,
}

/// One row; each value is text as the API writes it, or NULL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Option<String>>,
}

impl Rows {
    pub(crate) fn new(
        client: Client,
        what: &'static str,
        page_size: u32,
        mut first: Value,
    ) -> Result<Self, Error> {
        let fields = first.pointer("/schema/fields").and_then(Value::as_array);
        let fields = fields.ok_or(Error::Strange(what))?;
        let name = |field: &Value| field["name"].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            what,
            page_size,
            columns: fields.iter().map(name).collect(),
            job: job_of(&first).unwrap_or_default().to_owned(),
            waiting: rows_of(&mut first),
            token: token_of(&first),
            client,
        })
    }

    /// The next row; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`Error`], when a page cannot be fetched or read.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        while self.waiting.is_empty() {
            let Some(token) = self.token.take() else {
                return Ok(None);
            };
            let rows = self.page_size.to_string();
            let mut parameters = vec![("pageToken", token.as_str()), ("maxResults", &rows)];
            if let Some(location) = self.client.location() {
                parameters.push(("location", location));
            }
            let path = ["queries", self.job.as_str()];
            let found = self
                .client
                .call(self.what, Method::GET, &path, &parameters, None)
                .await?;
            let mut page = found.ok_or(Error::Strange(self.what))?;
            self.waiting = rows_of(&mut page);
            self.token = token_of(&page);
        }
        let Some(mut row) = self.waiting.pop_front() else {
            return Ok(None);
        };
        let Some(Value::Array(cells)) = row.get_mut("f").map(Value::take) else {
            return Err(Error::Strange(self.what));
        };
        if cells.len() != self.columns.len() {
            return Err(Error::Strange(self.what));
        }
        let value = |mut cell: Value| match cell.get_mut("v").map(Value::take) {
            Some(Value::String(text)) => Some(text),
            Some(Value::Null) | None => None,
            Some(other) => Some(other.to_string()),
        };
        Ok(Some(Row {
            columns: Arc::clone(&self.columns),
            values: cells.into_iter().map(value).collect(),
        }))
    }
}

impl Row {
    /// A column's value as text; `None` if it is NULL or not in the query.
    pub fn text(&self, column: &str) -> Option<&str> {
        let place = self.columns.iter().position(|name| name == column)?;
        self.values.get(place)?.as_deref()
    }

    /// A column's value as a whole number; `None` also if it is none.
    pub fn int64(&self, column: &str) -> Option<i64> {
        self.text(column)?.parse().ok()
    }

    /// Names and values in the query's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let names = self.columns.iter().map(String::as_str);
        names.zip(self.values.iter().map(Option::as_deref))
    }
}

/// A row of these names and values, for who tests what it does with rows.
impl FromIterator<(String, Option<String>)> for Row {
    fn from_iter<I: IntoIterator<Item = (String, Option<String>)>>(cells: I) -> Self {
        let (names, values): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        Self {
            columns: names.into(),
            values,
        }
    }
}

pub(crate) async fn run(
    client: &Client,
    what: &'static str,
    sql: &str,
    parameters: &[Parameter<'_>],
    page_size: Option<u32>,
) -> Result<Value, Error> {
    let end = Instant::now() + PATIENCE;
    let mut body = json!({
        "query": sql,
        "useLegacySql": false,
        "timeoutMs": 10_000,
        "parameterMode": "NAMED",
        "queryParameters": parameters.iter().map(Parameter::json).collect::<Vec<_>>(),
    });
    if let Some(body) = body.as_object_mut() {
        if let Some(location) = client.location() {
            body.insert("location".into(), json!(location));
        }
        if let Some(rows) = page_size {
            body.insert("maxResults".into(), json!(rows));
        }
    }
    let found = client
        .call(what, Method::POST, &["queries"], &[], Some(body))
        .await?;
    let mut answer = found.ok_or(Error::Strange(what))?;
    let rows = page_size.map(|rows| rows.to_string());
    while running(&answer) && Instant::now() < end {
        let job = job_of(&answer).ok_or(Error::Strange(what))?;
        let mut parameters = Vec::new();
        if let Some(location) = client.location() {
            parameters.push(("location", location));
        }
        if let Some(rows) = &rows {
            parameters.push(("maxResults", rows));
        }
        let found = client
            .call(what, Method::GET, &["queries", job], &parameters, None)
            .await?;
        answer = found.ok_or(Error::Strange(what))?;
    }
    if running(&answer) {
        return Err(Error::Strange(what));
    }
    Ok(answer)
}

impl Parameter<'_> {
    fn json(&self) -> Value {
        let list = |name: &str, kind: &str, values: Vec<Value>| {
            json!({
                "name": name,
                "parameterType": { "type": "ARRAY", "arrayType": { "type": kind } },
                "parameterValue": { "arrayValues": values },
            })
        };
        let (name, kind, value) = match self {
            Self::Int64s(name, values) => {
                let value = |value: &i64| json!({ "value": value.to_string() });
                return list(name, "INT64", values.iter().map(value).collect());
            }
            Self::Strings(name, values) => {
                let value = |value: &&str| json!({ "value": value });
                return list(name, "STRING", values.iter().map(value).collect());
            }
            Self::Int64(name, value) => (name, "INT64", value.to_string()),
            Self::String(name, value) => (name, "STRING", (*value).to_owned()),
        };
        json!({
            "name": name,
            "parameterType": { "type": kind },
            "parameterValue": { "value": value },
        })
    }
}

fn running(answer: &Value) -> bool {
    answer.get("jobComplete") == Some(&Value::Bool(false))
}

fn job_of(answer: &Value) -> Option<&str> {
    answer.pointer("/jobReference/jobId")?.as_str()
}

fn token_of(answer: &Value) -> Option<String> {
    let token = answer.get("pageToken")?.as_str()?;
    (!token.is_empty()).then(|| token.to_owned())
}

fn rows_of(answer: &mut Value) -> VecDeque<Value> {
    match answer.get_mut("rows").map(Value::take) {
        Some(Value::Array(rows)) => rows.into(),
        _ => VecDeque::new(),
    }
}

/// How long a query may run before its first rows.
const PATIENCE: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests;
