//! The door to BigQuery: tables and queries by REST, rows by the Storage Write API.

mod auth;
mod rest;
mod schema;
mod views;
mod write;

pub use auth::{Auth, AuthError};
pub use rest::{Rest, RestError};
pub use schema::{row_descriptor, table};
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
    /// Project id.
    pub project: String,
    /// Dataset of table `records`.
    pub dataset: String,
    /// Dataset of the views.
    pub views_dataset: String,
    /// Where datasets are made, such as `EU`; BigQuery's default if absent.
    pub location: Option<String>,
}

impl Target {
    /// The table in SQL.
    pub fn table_sql(&self) -> String {
        format!("`{}.{}.{TABLE}`", self.project, self.dataset)
    }

    /// A view in SQL.
    pub fn view_sql(&self, name: &str) -> String {
        format!("`{}.{}.{name}`", self.project, self.views_dataset)
    }

    /// The table in the Storage Write API.
    pub fn table_path(&self) -> String {
        format!(
            "projects/{}/datasets/{}/tables/{TABLE}",
            self.project, self.dataset
        )
    }
}

/// Name of the table.
pub const TABLE: &str = "records";
