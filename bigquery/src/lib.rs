//! BigQuery's REST API, as the sink and the command line need it: who we are, calls, queries whose
//! rows come page by page.
//!
//! A process that uses it installs a TLS provider of rustls first.

#![warn(missing_docs)]

mod auth;
mod client;
mod endpoint;
mod query;

pub use auth::{Auth, AuthError};
pub use client::{Client, Error};
pub use endpoint::{Endpoint, is_name};
pub use query::{Parameter, Row, Rows};
/// Methods and addresses as [`Client`] takes them.
pub use reqwest::{Method, Url};
