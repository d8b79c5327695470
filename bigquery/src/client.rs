//! Calls of the REST API.

use std::time::Duration;

use reqwest::{Method, StatusCode, header::IF_MATCH};
use serde_json::Value;

use crate::{Auth, AuthError, Endpoint, Parameter, Rows, query};

/// Speaks to the REST API within one project; a clone shares connections and token.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    auth: Auth,
    project: String,
    location: Option<String>,
}

/// The API did not do what it was asked. Nothing of a row is in here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS cannot be set up.
    #[error("cannot set up the client: {0}")]
    Setup(#[from] reqwest::Error),
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
}

impl Client {
    /// A client for `project`. `location` is where queries run; BigQuery finds it out if absent.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`].
    pub fn new(
        endpoint: Endpoint,
        auth: Auth,
        project: String,
        location: Option<String>,
    ) -> Result<Self, Error> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_mins(1));
        if endpoint.emulator {
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build()?,
            endpoint,
            auth,
            project,
            location,
        })
    }

    /// Runs a statement to its end and gives the answer with its first page.
    ///
    /// # Errors
    ///
    /// [`Error`], also if it takes longer than some minutes.
    pub async fn run(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Value, Error> {
        query::run(self, what, sql, parameters, None).await
    }

    /// Runs a query and gives its rows, of which `page_rows` at most are fetched at a time.
    ///
    /// # Errors
    ///
    /// [`Error`], also if it takes longer than some minutes.
    pub async fn query(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[Parameter<'_>],
        page_rows: u32,
    ) -> Result<Rows, Error> {
        let first = query::run(self, what, sql, parameters, Some(page_rows)).await?;
        Rows::new(self.clone(), what, page_rows, first)
    }

    /// One call below the project; `None` if there is no such thing.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn call(
        &self,
        what: &'static str,
        method: Method,
        path: &[&str],
        parameters: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Option<Value>, Error> {
        self.send(what, method, path, parameters, None, body).await
    }

    /// Changes a thing if it is still as it was read with `etag`; if not, that is
    /// [`Error::Refused`] with status 412.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn patch(
        &self,
        what: &'static str,
        path: &[&str],
        parameters: &[(&str, &str)],
        etag: &str,
        body: Value,
    ) -> Result<Option<Value>, Error> {
        let (method, body) = (Method::PATCH, Some(body));
        self.send(what, method, path, parameters, Some(etag), body)
            .await
    }

    async fn send(
        &self,
        what: &'static str,
        method: Method,
        path: &[&str],
        parameters: &[(&str, &str)],
        etag: Option<&str>,
        body: Option<Value>,
    ) -> Result<Option<Value>, Error> {
        let mut url = self.endpoint.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            segments
                .extend(["bigquery", "v2", "projects", &self.project])
                .extend(path);
        }
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let mut request = self
            .http
            .request(method, url)
            .headers(self.auth.headers().await?);
        if let Some(etag) = etag {
            request = request.header(IF_MATCH, etag);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let no_answer = |error: reqwest::Error| {
            let why = match () {
                () if error.is_connect() => "no connection",
                () if error.is_timeout() => "no answer in time",
                () => "no answer that can be read",
            };
            Error::NoAnswer(what, why)
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
        Err(Error::Refused {
            what,
            status: status.as_u16(),
            reason: reason.filter(known).unwrap_or_default().to_owned(),
        })
    }

    /// Where queries run.
    pub(crate) fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }
}
