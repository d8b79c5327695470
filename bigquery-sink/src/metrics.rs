//! What the sink counts, in Prometheus' text format. Labels come from closed lists only.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tonic::Code;

use crate::{
    row::Origin,
    spool::{Appended, Entry, Spool},
};

/// All metrics; one named method for each thing that happens.
pub struct Metrics {
    registry: Registry,
    received: Family<Label, Counter>,
    repeats: Counter,
    dead_letters: Family<Label, Counter>,
    appended: Counter,
    append_errors: Family<Label, Counter>,
    lag: Seconds,
    oldest_unacked: Seconds,
    spool_records: Gauge,
    spool_bytes: Gauge,
    spool_full: Gauge,
    dead_letters_kept: Gauge,
    streams: Gauge,
}

type Label = [(&'static str, &'static str); 1];
type Seconds = Gauge<f64, AtomicU64>;

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let received = Family::default();
        let help = "Log entries that are durable, by what they carried: record, bare, tombstone";
        registry.register("sink_records_received", help, received.clone());
        let repeats = Counter::default();
        let help = "Received records that were stored before and so dropped";
        registry.register("sink_dropped_repeats", help, repeats.clone());
        let dead_letters = Family::default();
        let help = "Records kept aside with a tombstone in their place, by reason";
        registry.register("sink_dead_letters", help, dead_letters.clone());
        let appended = Counter::default();
        let help = "Rows that BigQuery has, by its answer or by the table itself";
        registry.register("sink_rows_appended", help, appended.clone());
        let append_errors = Family::default();
        let help = "Appends that failed, by gRPC status code";
        registry.register("sink_append_errors", help, append_errors.clone());
        let lag = Seconds::default();
        let help = "Time between the arrival and the acknowledgement of the row acknowledged last";
        registry.register_with_unit("sink_upload_lag", help, Unit::Seconds, lag.clone());
        let oldest_unacked = Seconds::default();
        let help = "Age of the oldest row that BigQuery has not acknowledged; 0 without one";
        registry.register_with_unit(
            "sink_oldest_unacked",
            help,
            Unit::Seconds,
            oldest_unacked.clone(),
        );
        let spool_records = Gauge::default();
        let help = "Durable rows that BigQuery has not acknowledged";
        registry.register("sink_spool_records", help, spool_records.clone());
        let spool_bytes = Gauge::default();
        registry.register(
            "sink_spool_bytes",
            "Bytes of these rows",
            spool_bytes.clone(),
        );
        let spool_full = Gauge::default();
        let help = "1 while rows wait for room in the spool or on its disk";
        registry.register("sink_spool_full", help, spool_full.clone());
        let dead_letters_kept = Gauge::default();
        let help = "Dead letters in the spool, also those from before the last start";
        registry.register("sink_dead_letters_kept", help, dead_letters_kept.clone());
        let streams = Gauge::default();
        let help = "Access log streams that Envoy has open";
        registry.register("sink_access_log_streams", help, streams.clone());
        Self {
            registry,
            received,
            repeats,
            dead_letters,
            appended,
            append_errors,
            lag,
            oldest_unacked,
            spool_records,
            spool_bytes,
            spool_full,
            dead_letters_kept,
            streams,
        }
    }
}

impl Metrics {
    /// A group of entries is durable.
    pub fn stored(&self, origins: &[Origin], entries: &[Entry], appended: Appended) {
        for origin in origins {
            let kind = match origin {
                Origin::Bare => "bare",
                Origin::Record => "record",
                Origin::Tombstone => "tombstone",
            };
            self.received.get_or_create(&[("kind", kind)]).inc();
        }
        for (reason, _) in entries.iter().filter_map(|entry| entry.dead.as_ref()) {
            self.dead_letter(reason);
        }
        self.repeats.inc_by(appended.repeats);
    }

    /// A record became a dead letter.
    pub fn dead_letter(&self, reason: &'static str) {
        self.dead_letters.get_or_create(&[("reason", reason)]).inc();
    }

    /// BigQuery has these many rows more.
    pub fn appended(&self, rows: u64) {
        self.appended.inc_by(rows);
    }

    /// The row that BigQuery took last had arrived so long before.
    pub fn lagged(&self, seconds: f64) {
        self.lag.set(seconds);
    }

    /// An append failed.
    pub fn append_failed(&self, code: Code) {
        self.append_errors
            .get_or_create(&[("code", code_name(code))])
            .inc();
    }

    /// Envoy opened an access log stream.
    pub fn stream_opened(&self) {
        self.streams.inc();
    }

    /// An access log stream ended.
    pub fn stream_closed(&self) {
        self.streams.dec();
    }

    /// All of it as text, with what `spool` holds at `now` (microseconds since 1970).
    ///
    /// # Errors
    ///
    /// Only if formatting fails.
    pub fn render(&self, spool: &Spool, now: i64) -> Result<String, std::fmt::Error> {
        let status = spool.status();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.spool_records
            .set(gauge(status.next_seq.saturating_sub(status.first_unacked)));
        self.spool_bytes.set(gauge(status.bytes));
        self.spool_full.set(i64::from(status.full));
        self.dead_letters_kept.set(gauge(status.dead));
        if let Ok(oldest) = spool.oldest() {
            self.oldest_unacked
                .set(oldest.map_or(0.0, |at| seconds_since(at, now)));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Seconds between two times in microseconds, not below 0.
#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
pub fn seconds_since(then: i64, now: i64) -> f64 {
    now.saturating_sub(then).max(0) as f64 / 1e6
}

/// The name of a status code as gRPC's specification writes it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
