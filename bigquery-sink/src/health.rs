//! Whether the sink does its work, and what hinders it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::spool::Spool;

/// What the uploader last saw of BigQuery.
#[derive(Debug, Default)]
pub struct Health(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    table: bool,
    /// Since when everything fails, and how it failed last.
    failing: Option<(Instant, String)>,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether both parts work.
    pub ready: bool,
    /// `ok`, or why the spool takes no records.
    pub spool: String,
    /// `ok`, or why rows do not get into BigQuery.
    pub bigquery: String,
    /// Durable rows that BigQuery has not acknowledged.
    pub waiting: u64,
    /// Whole seconds since the oldest of them arrived.
    pub oldest_s: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
}

impl Health {
    /// The table exists and has all columns.
    pub fn table_seen(&self) {
        let mut seen = self.seen();
        seen.table = true;
        seen.failing = None;
    }

    /// BigQuery took rows.
    pub fn succeeded(&self) {
        self.seen().failing = None;
    }

    /// BigQuery did not do what it was asked; `how` holds nothing of a row.
    pub fn failed(&self, how: String) {
        let mut seen = self.seen();
        let since = seen
            .failing
            .take()
            .map_or_else(Instant::now, |(since, _)| since);
        seen.failing = Some((since, how));
    }

    /// What works at `now`.
    pub fn readiness(&self, spool: &Spool, now: Instant) -> Readiness {
        let of_spool = if spool.failed() {
            "a write failed, the process has to be restarted"
        } else if spool.status().full {
            "no room: rows wait until BigQuery took others or the disk has space"
        } else {
            OK
        };
        let status = spool.status();
        let arrived = spool.oldest().ok().flatten();
        let oldest = arrived.map(|at| crate::now().saturating_sub(at) / 1_000_000);
        let seen = self.seen();
        let of_bigquery = match &seen.failing {
            Some((_, how)) if !seen.table => format!("table not seen yet: {how}"),
            None if !seen.table => "table not seen yet".to_owned(),
            Some((since, how)) if now.saturating_duration_since(*since) > PATIENCE => {
                let seconds = now.saturating_duration_since(*since).as_secs();
                format!("appends fail for {seconds} s: {how}")
            }
            _ => OK.to_owned(),
        };
        Readiness {
            ready: of_spool == OK && of_bigquery == OK,
            spool: of_spool.to_owned(),
            bigquery: of_bigquery,
            waiting: status.next_seq.saturating_sub(status.first_unacked),
            oldest_s: oldest.and_then(|age| age.try_into().ok()).unwrap_or(0),
            dead_letters: status.dead,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const OK: &str = "ok";

/// How long appends may fail before that counts; reconnecting alone takes a moment.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Limits;

    #[test]
    fn readiness_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            max_bytes: 1 << 20,
            min_free_bytes: 0,
        };
        let spool = Spool::open(folder.path(), limits).unwrap();
        let health = Health::default();
        let now = Instant::now();
        let bigquery = |later: u64| {
            let readiness = health.readiness(&spool, now + Duration::from_secs(later));
            assert_eq!(readiness.ready, readiness.bigquery == OK);
            readiness.bigquery
        };
        assert_eq!(bigquery(0), "table not seen yet");
        health.failed("status 503".into());
        assert_eq!(bigquery(0), "table not seen yet: status 503");
        health.table_seen();
        assert_eq!(bigquery(0), OK);
        health.failed("UNAVAILABLE".into());
        assert_eq!(bigquery(20), OK, "a short failure is no news");
        health.failed("ABORTED".into());
        assert_eq!(
            bigquery(60),
            "appends fail for 59 s: ABORTED",
            "time runs from the first failure"
        );
        health.succeeded();
        assert_eq!(bigquery(60), OK);
    }
}
