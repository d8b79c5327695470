//! Datasets, table, views and queries, by BigQuery's REST API.

use std::time::Duration;

use contract::columns;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Auth, AuthError, TABLE, Target, schema, views};

/// Speaks to the REST API.
#[derive(Clone, Debug)]
pub struct Rest {
    client: Client,
    url: Url,
    auth: Auth,
    target: Target,
}

/// The API did not do what it was asked. Nothing of a row is in here.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No token.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// No answer, or none that can be read.
    #[error("cannot {0}: {1}")]
    NoAnswer(&'static str, &'static str),
    /// An answer that says no.
    #[error("cannot {what}: status {status} {reason}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// HTTP status.
        status: u16,
        /// BigQuery's word for it, such as `accessDenied`.
        reason: String,
    },
    /// An answer without what was asked for.
    #[error("cannot {0}: the answer is not understood")]
    Strange(&'static str),
    /// The table cannot hold our rows.
    #[error("column {0} of the table has another type")]
    OtherType(String),
}

impl Rest {
    /// A client for the API at `url`. `direct` keeps it from using a proxy of the environment.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn new(url: Url, auth: Auth, target: Target, direct: bool) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_mins(1));
        if direct {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build()?,
            url,
            auth,
            target,
        })
    }

    /// Makes what is missing of datasets, table and columns, and puts the views up to date. Views
    /// that cannot be made are only warned about: rows do not need them.
    ///
    /// # Errors
    ///
    /// [`RestError`] if there is no table that takes our rows.
    pub async fn prepare(&self) -> Result<(), RestError> {
        self.ensure_dataset(&self.target.dataset).await?;
        self.ensure_table().await?;
        if let Err(error) = self.ensure_views().await {
            warn!(%error, "cannot bring the views up to date");
        }
        Ok(())
    }

    /// The greatest `sink_seq` of `sink_id` among rows received at `oldest` (microseconds since
    /// 1970) or later.
    ///
    /// # Errors
    ///
    /// [`RestError`].
    pub async fn watermark(&self, sink_id: &str, oldest: i64) -> Result<Option<u64>, RestError> {
        let parameter = |name: &str, kind: &str, value: String| {
            json!({
                "name": name,
                "parameterType": { "type": kind },
                "parameterValue": { "value": value },
            })
        };
        let answer = self
            .query(
                "read the watermark",
                &views::watermark(&self.target),
                json!([
                    parameter("oldest", "INT64", oldest.to_string()),
                    parameter("sink_id", "STRING", sink_id.to_owned()),
                ]),
            )
            .await?;
        match answer.pointer("/rows/0/f/0/v") {
            Some(Value::Null) => Ok(None),
            Some(Value::String(value)) => value
                .parse()
                .map(Some)
                .map_err(|_| RestError::Strange("read the watermark")),
            _ => Err(RestError::Strange("read the watermark")),
        }
    }

    async fn ensure_dataset(&self, dataset: &str) -> Result<(), RestError> {
        let what = "find the dataset";
        if self
            .call(what, Method::GET, &["datasets", dataset], None)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let mut body = json!({
            "datasetReference": { "projectId": self.target.project, "datasetId": dataset },
        });
        if let (Some(location), Some(body)) = (&self.target.location, body.as_object_mut()) {
            body.insert("location".into(), json!(location));
        }
        info!(dataset, "making the dataset");
        self.create("make the dataset", &["datasets"], body).await
    }

    async fn ensure_table(&self) -> Result<(), RestError> {
        let path = ["datasets", &self.target.dataset, "tables", TABLE];
        let Some(table) = self
            .call("find the table", Method::GET, &path, None)
            .await?
        else {
            info!("making the table");
            let path = ["datasets", &self.target.dataset, "tables"];
            return self
                .create("make the table", &path, schema::table(&self.target))
                .await;
        };
        let mut fields = match table.pointer("/schema/fields") {
            Some(Value::Array(fields)) => fields.clone(),
            _ => Vec::new(),
        };
        let mut missing = Vec::new();
        for column in columns() {
            let name = Some(column.name.as_str());
            match fields.iter().find(|field| field["name"].as_str() == name) {
                None => missing.push(column),
                Some(field) if same_type(&field["type"], schema::rest_type(column.kind)) => {}
                Some(_) => return Err(RestError::OtherType(column.name)),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        info!(columns = missing.len(), "adding columns to the table");
        for column in &missing {
            let sql = views::add_column(&self.target, column);
            self.query("add a column", &sql, json!([])).await?;
            fields.push(schema::field(column));
        }
        // ALTER knows no description for an added column everywhere, the patch brings it.
        let body = json!({ "schema": { "fields": fields } });
        let patched = self
            .call("describe the columns", Method::PATCH, &path, Some(body))
            .await?;
        patched
            .map(|_| ())
            .ok_or(RestError::Strange("describe the columns"))
    }

    async fn ensure_views(&self) -> Result<(), RestError> {
        self.ensure_dataset(&self.target.views_dataset).await?;
        for (_, sql) in views::statements(&self.target) {
            self.query("make a view", &sql, json!([])).await?;
        }
        Ok(())
    }

    /// Runs a query to its end and gives its first page.
    ///
    /// # Errors
    ///
    /// [`RestError`], also if it takes too long.
    async fn query(
        &self,
        what: &'static str,
        sql: &str,
        parameters: Value,
    ) -> Result<Value, RestError> {
        let end = Instant::now() + QUERY_PATIENCE;
        let mut body = json!({
            "query": sql,
            "useLegacySql": false,
            "timeoutMs": 10_000,
            "parameterMode": "NAMED",
            "queryParameters": parameters,
        });
        if let (Some(location), Some(body)) = (&self.target.location, body.as_object_mut()) {
            body.insert("location".into(), json!(location));
        }
        let found = self
            .call(what, Method::POST, &["queries"], Some(body))
            .await?;
        let mut answer = found.ok_or(RestError::Strange(what))?;
        while running(&answer) && Instant::now() < end {
            let job = answer
                .pointer("/jobReference/jobId")
                .and_then(Value::as_str);
            let path = ["queries", job.ok_or(RestError::Strange(what))?];
            let found = self.call(what, Method::GET, &path, None).await?;
            answer = found.ok_or(RestError::Strange(what))?;
        }
        if running(&answer) {
            return Err(RestError::Strange(what));
        }
        Ok(answer)
    }

    async fn create(
        &self,
        what: &'static str,
        path: &[&str],
        body: Value,
    ) -> Result<(), RestError> {
        match self.call(what, Method::POST, path, Some(body)).await {
            // 409: another sink was faster.
            Ok(Some(_)) | Err(RestError::Refused { status: 409, .. }) => Ok(()),
            Ok(None) => Err(RestError::Strange(what)),
            Err(error) => Err(error),
        }
    }

    /// One call; `None` if there is no such thing.
    async fn call(
        &self,
        what: &'static str,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<Option<Value>, RestError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            segments
                .extend(["bigquery", "v2", "projects", &self.target.project])
                .extend(path);
        }
        if let (Some(location), ["queries", _]) = (&self.target.location, path) {
            url.query_pairs_mut().append_pair("location", location);
        }
        let mut request = self
            .client
            .request(method, url)
            .headers(self.auth.headers().await?);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let no_answer = |error: reqwest::Error| {
            let why = match () {
                () if error.is_connect() => "no connection",
                () if error.is_timeout() => "no answer in time",
                () => "no answer that can be read",
            };
            RestError::NoAnswer(what, why)
        };
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if status.is_success() {
            return answer.json().await.map(Some).map_err(no_answer);
        }
        let fault: Value = answer.json().await.unwrap_or_default();
        let reason = fault
            .pointer("/error/errors/0/reason")
            .and_then(Value::as_str);
        let known = |reason: &&str| reason.len() < 40 && reason.chars().all(char::is_alphanumeric);
        Err(RestError::Refused {
            what,
            status: status.as_u16(),
            reason: reason.filter(known).unwrap_or_default().to_owned(),
        })
    }
}

fn running(answer: &Value) -> bool {
    answer.get("jobComplete") == Some(&Value::Bool(false))
}

/// Types have two names each in the API.
fn same_type(found: &Value, ours: &str) -> bool {
    let found = match found.as_str() {
        Some("INT64") => "INTEGER",
        Some("BOOL") => "BOOLEAN",
        Some(other) => other,
        None => return false,
    };
    found == ours
}

/// How long a query may take: they are all short.
const QUERY_PATIENCE: Duration = Duration::from_mins(2);
