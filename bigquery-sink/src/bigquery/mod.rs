//! The door to BigQuery: tables and queries by REST, rows by the Storage Write API.

mod options;
mod rest;
mod schema;
mod table;
mod views;
mod write;

pub use ::bigquery::{Auth, Endpoint};
pub use options::{Conflict, Options, Retention};
pub use rest::{Rest, RestError};
pub use schema::{row_descriptor, table};
pub use table::Table;
pub use write::{Appends, Flight, Storage, answer_of};

pub use proto::storage_error::StorageErrorCode;

/// The part of the Storage Write API that the sink speaks, generated.
#[allow(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("google.cloud.bigquery.storage.v1");
}

/// Where rows and views are. All names are checked, they go into SQL as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which table is spoken of.
    pub table: Table,
    /// Project id.
    pub project: String,
    /// Dataset of the tables.
    pub dataset: String,
    /// Dataset of the views.
    pub views_dataset: String,
    /// Where datasets are made, such as `EU`; BigQuery's default if absent.
    pub location: Option<String>,
}

impl Target {
    /// The same place, another table.
    #[must_use]
    pub fn of(&self, table: Table) -> Self {
        Self {
            table,
            ..self.clone()
        }
    }

    /// The table in SQL.
    pub fn table_sql(&self) -> String {
        format!("`{}.{}.{}`", self.project, self.dataset, self.table.name())
    }

    /// A view in SQL.
    pub fn view_sql(&self, name: &str) -> String {
        format!("`{}.{}.{name}`", self.project, self.views_dataset)
    }

    /// The table in the Storage Write API.
    pub fn table_path(&self) -> String {
        format!(
            "projects/{}/datasets/{}/tables/{}",
            self.project,
            self.dataset,
            self.table.name()
        )
    }
}
