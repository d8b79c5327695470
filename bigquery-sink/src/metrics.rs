//! What the sink counts, in Prometheus' text format. Labels come from closed lists only.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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
    checkpoints: Counter,
    checkpoints_not_written: Counter,
    checkpoint_age: Seconds,
    /// When the last checkpoint was made, in microseconds since 1970; 0 if none is wanted.
    checkpoint_at: AtomicI64,
    lineage: Lineage,
}

/// What happens to fingerprints.
#[derive(Default)]
struct Lineage {
    appended: Counter,
    failures: Counter,
    refused: Counter,
    waiting: Gauge,
    waiting_bytes: Gauge,
    skipped: Gauge,
}

type Label = [(&'static str, &'static str); 1];
type Seconds = Gauge<f64, AtomicU64>;

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let received = Family::default();
        let help = "Log entries that are durable, by what they carried: record, bare, tombstone; lookup for questions of auditors";
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
        let checkpoints = Counter::default();
        let help = "Signed checkpoints that are durable";
        registry.register("sink_checkpoints", help, checkpoints.clone());
        let checkpoints_not_written = Counter::default();
        let help = "Failures to write a checkpoint into the file for them; it is tried again";
        registry.register(
            "sink_checkpoint_file_errors",
            help,
            checkpoints_not_written.clone(),
        );
        let checkpoint_age = Seconds::default();
        let help = "Time since the last checkpoint while rows wait for the next; else 0";
        registry.register_with_unit(
            "sink_checkpoint_age",
            help,
            Unit::Seconds,
            checkpoint_age.clone(),
        );
        let lineage = Lineage::register(&mut registry);
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
            checkpoints,
            checkpoints_not_written,
            checkpoint_age,
            checkpoint_at: AtomicI64::new(0),
            lineage,
        }
    }
}

impl Metrics {
    /// A group of entries is durable.
    pub fn stored(&self, origins: &[Origin], entries: &[Entry], appended: Appended) {
        for origin in origins {
            let kind = match origin {
                Origin::Bare => "bare",
                Origin::Lookup => "lookup",
                Origin::Order => "order",
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

    /// BigQuery has these many fingerprints more.
    pub fn lineage_appended(&self, rows: u64) {
        self.lineage.appended.inc_by(rows);
    }

    /// Fingerprints did not get through.
    pub fn lineage_failed(&self) {
        self.lineage.failures.inc();
    }

    /// The fingerprints of a record were refused.
    pub fn lineage_refused(&self) {
        self.lineage.refused.inc();
    }

    /// Envoy opened an access log stream.
    pub fn stream_opened(&self) {
        self.streams.inc();
    }

    /// An access log stream ended.
    pub fn stream_closed(&self) {
        self.streams.dec();
    }

    /// Checkpoints are to be made from `now` on.
    pub fn checkpoints_wanted(&self, now: i64) {
        self.checkpoint_at.store(now, Ordering::Relaxed);
    }

    /// A checkpoint is durable.
    pub fn checkpoint_made(&self, now: i64) {
        self.checkpoints.inc();
        self.checkpoint_at.store(now, Ordering::Relaxed);
    }

    /// A checkpoint could not be written into the file.
    pub fn checkpoint_not_written(&self) {
        self.checkpoints_not_written.inc();
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
        let age = match self.checkpoint_at.load(Ordering::Relaxed) {
            at if at > 0 && status.uncovered => seconds_since(at, now),
            _ => 0.0,
        };
        self.checkpoint_age.set(age);
        let kept = spool.kept();
        self.lineage.waiting.set(gauge(kept.rows));
        self.lineage.waiting_bytes.set(gauge(kept.bytes));
        self.lineage.skipped.set(gauge(kept.skipped));
        if let Ok(oldest) = spool.oldest() {
            self.oldest_unacked
                .set(oldest.map_or(0.0, |at| seconds_since(at, now)));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Lineage {
    fn register(registry: &mut Registry) -> Self {
        let lineage = Self::default();
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        let help = "Fingerprints that BigQuery has";
        counter("sink_lineage_rows_appended", help, &lineage.appended);
        let help = "Times that fingerprints did not get through";
        counter("sink_lineage_failures", help, &lineage.failures);
        let help = "Records whose fingerprints BigQuery refused and that were passed over";
        counter("sink_lineage_refused", help, &lineage.refused);
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        let help = "Records that BigQuery has and whose fingerprints it has not";
        gauge("sink_lineage_waiting_records", help, &lineage.waiting);
        let help = "Bytes of these records on the spool's disk";
        gauge("sink_lineage_waiting_bytes", help, &lineage.waiting_bytes);
        let help =
            "Records let go without fingerprints, for want of room, since the spool was made";
        gauge("sink_lineage_skipped_records", help, &lineage.skipped);
        lineage
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
