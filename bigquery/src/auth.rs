//! Who we are to Google.

use google_cloud_auth::credentials::{self, CacheableResource, Credentials};
use http::{Extensions, HeaderMap};

/// Makes the headers that prove it; a clone shares the cached token.
#[derive(Clone, Debug)]
pub struct Auth(Credentials);

/// No headers could be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The credentials that were found cannot be used.
    #[error("cannot use the default credentials: {0}")]
    Unusable(String),
    /// No token for now.
    #[error("cannot get a token: {0}")]
    NoToken(String),
}

impl Auth {
    /// Application default credentials: a key or federation file, or the metadata server.
    ///
    /// # Errors
    ///
    /// [`AuthError::Unusable`].
    pub fn default_credentials() -> Result<Self, AuthError> {
        credentials::Builder::default()
            .with_scopes([SCOPE])
            .build()
            .map(Self)
            .map_err(|error| AuthError::Unusable(error.to_string()))
    }

    /// Nobody: for an emulator.
    pub fn anonymous() -> Self {
        Self(credentials::anonymous::Builder::new().build())
    }

    /// Headers for one request; cached inside until they run out.
    ///
    /// # Errors
    ///
    /// [`AuthError::NoToken`].
    pub async fn headers(&self) -> Result<HeaderMap, AuthError> {
        match self.0.headers(Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()), // only if one sends a tag
            Err(error) => Err(AuthError::NoToken(error.to_string())),
        }
    }
}

const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";
