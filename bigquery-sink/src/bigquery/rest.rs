//! Datasets, table, views and queries, by BigQuery's REST API.

use ::bigquery::{Auth, Client, Endpoint, Error, Method, Parameter};
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::{
    Conflict, Options, Table, Target, schema,
    views::{self, View},
};

/// Speaks to the REST API.
#[derive(Clone, Debug)]
pub struct Rest {
    client: Client,
    target: Target,
    options: Options,
    emulator: bool,
}

/// There is no table that takes our rows. Nothing of a row is in here.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The API did not do what it was asked.
    #[error(transparent)]
    Api(#[from] Error),
    /// The table cannot become as it is wanted, and a person has to decide.
    #[error("table {table}: {conflict}")]
    Conflict {
        /// The table's name.
        table: &'static str,
        /// What is in the way, and what to do.
        conflict: Conflict,
    },
    /// The table cannot hold our rows.
    #[error("column {0} of the table has another type")]
    OtherType(String),
}

impl Rest {
    /// A client for the API at `endpoint`.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn new(
        endpoint: Endpoint,
        auth: Auth,
        target: Target,
        options: Options,
    ) -> Result<Self, Error> {
        let (project, location) = (target.project.clone(), target.location.clone());
        let emulator = endpoint.emulator;
        let client = Client::new(endpoint, auth, project, location)?;
        Ok(Self {
            client,
            target,
            options,
            emulator,
        })
    }

    /// Makes what is missing of datasets, table and columns, changes what the options want
    /// otherwise, and puts the views of `records` up to date. Views that cannot be made or
    /// authorized are only warned about: rows do not need them.
    ///
    /// # Errors
    ///
    /// [`RestError`] if there is no table that takes our rows.
    pub async fn prepare(&self) -> Result<(), RestError> {
        self.ensure_dataset(&self.target.dataset).await?;
        self.ensure_table().await?;
        if self.target.table != Table::Records {
            return Ok(());
        }
        if let Err(error) = self.ensure_views().await {
            warn!(%error, "cannot bring the views up to date");
            return Ok(());
        }
        if let Err(error) = self.authorize_views().await {
            warn!(
                %error,
                dataset = self.target.dataset,
                "cannot authorize the views, so that auditors need a right on the dataset of the \
                 tables: give the sink bigquery.datasets.update on it and start it again, or \
                 authorize each view there yourself"
            );
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
        let answer = self
            .client
            .run(
                "read the watermark",
                &views::watermark(&self.target),
                &[
                    Parameter::Int64("oldest", oldest),
                    Parameter::String("sink_id", sink_id),
                ],
            )
            .await?;
        match answer.pointer("/rows/0/f/0/v") {
            Some(Value::Null) => Ok(None),
            Some(Value::String(value)) => value
                .parse()
                .map(Some)
                .map_err(|_| Error::Strange("read the watermark").into()),
            _ => Err(Error::Strange("read the watermark").into()),
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
        let made = self.create("make the dataset", &["datasets"], body);
        made.await.map(|_| ())
    }

    async fn ensure_table(&self) -> Result<(), RestError> {
        let path = self.table_path();
        let what = "find the table";
        if let Some(table) = self.call(what, Method::GET, &path, None).await? {
            return self.update_table(&table).await;
        }
        info!("making the table");
        let all = ["datasets", &self.target.dataset, "tables"];
        let body = schema::table(&self.target, &self.options);
        if self.create("make the table", &all, body).await? == Made::Now {
            return Ok(());
        }
        // Another sink made it meanwhile, perhaps otherwise.
        match self.call(what, Method::GET, &path, None).await? {
            Some(table) => self.update_table(&table).await,
            None => Err(Error::Strange(what).into()),
        }
    }

    /// Brings a table that is there up to date.
    async fn update_table(&self, table: &Value) -> Result<(), RestError> {
        let mut fields = match table.pointer("/schema/fields") {
            Some(Value::Array(fields)) => fields.clone(),
            _ => Vec::new(),
        };
        let columns = self.target.table.columns();
        let mut missing = Vec::new();
        for column in &columns {
            let name = Some(column.name.as_str());
            match fields.iter().find(|field| field["name"].as_str() == name) {
                None => missing.push(column),
                Some(field) if same_type(&field["type"], schema::rest_type(column.kind)) => {}
                Some(_) => return Err(RestError::OtherType(column.name.clone())),
            }
        }
        let conflict = |conflict| RestError::Conflict {
            table: self.target.table.name(),
            conflict,
        };
        self.options.same_key(table).map_err(conflict)?;
        let partitioning = self.options.expiration(table).map_err(conflict)?;
        let tagged = self.options.tag(&columns, &mut fields);

        if !missing.is_empty() {
            info!(columns = missing.len(), "adding columns to the table");
        }
        for column in &missing {
            let sql = views::add_column(&self.target, column);
            self.client.run("add a column", &sql, &[]).await?;
            fields.push(schema::field(column, &self.options));
        }
        let mut changes = Map::new();
        // ALTER knows no description for an added column everywhere, the patch brings it.
        if tagged || !missing.is_empty() {
            changes.insert("schema".into(), json!({ "fields": fields }));
        }
        if let Some(partitioning) = partitioning {
            changes.insert("timePartitioning".into(), partitioning);
        }
        if changes.is_empty() {
            return Ok(());
        }
        let what = "update the table";
        let body = Some(changes.into());
        let path = self.table_path();
        let patched = self.call(what, Method::PATCH, &path, body).await?;
        patched
            .map(|_| ())
            .ok_or_else(|| Error::Strange(what).into())
    }

    fn table_path(&self) -> [&str; 4] {
        let name = self.target.table.name();
        ["datasets", &self.target.dataset, "tables", name]
    }

    async fn ensure_views(&self) -> Result<(), RestError> {
        self.ensure_dataset(&self.target.views_dataset).await?;
        for view in views::all(&self.target) {
            self.client.run("make a view", &view.sql, &[]).await?;
        }
        Ok(())
    }

    /// Lets the views read the tables, so that who reads the views needs no right on these.
    async fn authorize_views(&self) -> Result<(), Error> {
        if self.target.views_dataset == self.target.dataset {
            return Ok(()); // who may read the one may read the other
        }
        let what = "authorize the views";
        let path = ["datasets", &self.target.dataset];
        for _ in 0..AUTHORIZE_TRIES {
            let found = self
                .client
                .call(what, Method::GET, &path, &WITH_CONDITIONS, None)
                .await?
                .ok_or(Error::Strange(what))?;
            // The list is written as a whole: without what is there now, others would lose theirs.
            // The emulator leaves an empty list out, BigQuery one that we may not see.
            let access = match found.get("access") {
                None if self.emulator => Some(&[][..]),
                access => access.and_then(Value::as_array).map(Vec::as_slice),
            };
            let etag = found.get("etag").and_then(Value::as_str);
            let (Some(access), Some(etag)) = (access, etag) else {
                return Err(Error::Strange(what));
            };
            let missing: Vec<Value> = views::all(&self.target)
                .iter()
                .map(|view| self.entry(view))
                .filter(|entry| !access.iter().any(|one| is_same(one, entry)))
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            info!(views = missing.len(), "authorizing views");
            let all: Vec<&Value> = access.iter().chain(&missing).collect();
            let body = json!({ "access": all });
            match self
                .client
                .patch(what, &path, &WITH_CONDITIONS, etag, body)
                .await
            {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => return Err(Error::Strange(what)),
                // Somebody else changed it meanwhile.
                Err(Error::Refused { status: 412, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Refused {
            what,
            status: 412,
            reason: String::new(),
        })
    }

    /// A view or function in a dataset's list of who may read it.
    fn entry(&self, view: &View) -> Value {
        let (kind, id) = if view.is_function {
            ("routine", "routineId")
        } else {
            ("view", "tableId")
        };
        json!({ kind: {
            "projectId": self.target.project,
            "datasetId": self.target.views_dataset,
            id: view.name,
        } })
    }

    async fn create(
        &self,
        what: &'static str,
        path: &[&str],
        body: Value,
    ) -> Result<Made, RestError> {
        match self.call(what, Method::POST, path, Some(body)).await {
            Ok(Some(_)) => Ok(Made::Now),
            Err(Error::Refused { status: 409, .. }) => Ok(Made::ByAnother),
            Ok(None) => Err(Error::Strange(what).into()),
            Err(error) => Err(error.into()),
        }
    }

    async fn call(
        &self,
        what: &'static str,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<Option<Value>, Error> {
        self.client.call(what, method, path, &[], body).await
    }
}

/// Whether two entries of the list are of one view or function.
fn is_same(one: &Value, other: &Value) -> bool {
    let of = |entry: &Value, kind| entry.get(kind).filter(|it| !it.is_null()).cloned();
    let same = |kind| of(one, kind).is_some() && of(one, kind) == of(other, kind);
    same("view") || same("routine")
}

/// Who made a thing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Another sink was faster.
    ByAnother,
    /// We.
    Now,
}

/// How often a dataset that others change meanwhile is read and written again.
const AUTHORIZE_TRIES: usize = 4;

/// Entries with conditions are shown and kept from this version of the list on.
const WITH_CONDITIONS: [(&str, &str); 1] = [("accessPolicyVersion", "3")];

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
