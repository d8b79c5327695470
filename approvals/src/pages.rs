//! Pages for people.
use axum::Router;

use crate::api::App;

/// The pages without the guard around them.
pub fn router() -> Router<App> {
    Router::new()
}
