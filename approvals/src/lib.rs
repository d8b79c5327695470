//! The approval desk: keeps what waits for a person, shows it to approvers, and signs what they grant.
//!
//! ```text
//! filter ──► api ─► desk ─► ledger ─► store ─► SQLite: approvals, items, history
//! people ──► pages ──┘        │
//!                      state, history, grant
//! ```
//!
//! The filter asks and waits; an approver looks and decides; the answer carries a signed grant. What is
//! not granted does not pass: a desk that is away, full or in doubt answers with an error, and the
//! filter takes that for a refusal.

pub mod api;
pub mod config;
pub mod desk;
pub mod grant;
pub mod guard;
pub mod history;
pub mod ledger;
pub mod metrics;
pub mod pages;
pub mod session;
pub mod state;
pub mod store;
pub mod waiters;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> state::Seconds {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    state::Seconds::try_from(since.as_secs()).unwrap_or(state::Seconds::MAX)
}
