//! Turns an access log entry into the row to store (pure).
//!
//! An entry that carries a sealed record gives the record's own bytes; an entry without one gives a
//! `bare` record of what Envoy knew; what cannot be trusted or loaded gives a `tombstone`, and its
//! bytes become a dead letter. Every entry gives exactly one row.

use bytes::Bytes;
use contract::{
    Envelope, Epoch, MacKey, Proof, RECORD_VERSION, RecordError, checkpoint::Link, record_hash,
};
use prost::Message;
use prost_types::{Any, Duration, Timestamp};

use crate::{
    envoy::{Common, HttpEntry, ResponseFlags, request::Method},
    spool::Entry,
};

/// What a row came from; the label of `sink_records_received_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An entry without a record of ours.
    Bare,
    /// A question of an auditor to the sink itself.
    Lookup,
    /// An officer's order.
    Order,
    /// A sealed record that verified.
    Record,
    /// A record that did not.
    Tombstone,
}

/// Turns entries into rows.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Keys that a record may be sealed by.
    pub keys: Vec<MacKey>,
    /// Written into rows that have no record of their own.
    pub deployment: Option<String>,
    /// Longest row, without stamp; a row has to fit into one request.
    pub max_row_bytes: usize,
}

impl Rows {
    /// The row of an access log entry. `now` is in microseconds since 1970.
    pub fn of(&self, mut entry: HttpEntry, now: i64) -> (Origin, Entry) {
        let state = entry
            .common_properties
            .as_mut()
            .and_then(|common| common.filter_state_objects.remove(contract::FILTER_STATE));
        match state {
            None => (Origin::Bare, self.bare(&entry, now)),
            Some(Any { type_url, value }) => {
                let value = Bytes::from(value);
                let is_bytes = type_url.ends_with("/google.protobuf.BytesValue");
                // a part of the same memory
                match Bytes::decode(value.clone()) {
                    Ok(row) if is_bytes => self.of_record(row, now),
                    _ => (Origin::Tombstone, self.tombstone("not_bytes", value, now)),
                }
            }
        }
    }

    /// The row of a sealed record that came by itself. `now` is in microseconds since 1970.
    pub fn of_record(&self, row: Bytes, now: i64) -> (Origin, Entry) {
        match self.record(row.clone()) {
            Ok(entry) => (Origin::Record, entry),
            Err(reason) => (Origin::Tombstone, self.tombstone(reason, row, now)),
        }
    }

    fn record(&self, row: Bytes) -> Result<Entry, &'static str> {
        let (envelope, proof) = contract::open(&row, &self.keys).map_err(|error| match error {
            RecordError::Unparsable => "unparsable",
            RecordError::Malformed => "malformed",
            RecordError::UnknownKey => "unknown_key",
            RecordError::BadSeal => "bad_seal",
        })?;
        let epoch = data_encoding::HEXLOWER.decode(envelope.epoch().as_bytes());
        let epoch = epoch
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("no_place")?;
        let seq = envelope
            .seq
            .filter(|seq| (0..i64::MAX).contains(seq))
            .ok_or("no_place")?;
        if row.len() > self.max_row_bytes {
            return Err("too_long");
        }
        if !loadable(&envelope) {
            return Err("not_loadable");
        }
        Ok(Entry {
            row,
            hash: Link::try_from(proof.hash()).map_err(|_| "malformed")?,
            place: Some((Epoch(epoch), seq)),
            ..Entry::default()
        })
    }

    fn bare(&self, entry: &HttpEntry, now: i64) -> Entry {
        let common = entry.common_properties.clone().unwrap_or_default();
        let request = entry.request.clone().unwrap_or_default();
        let response = entry.response.clone().unwrap_or_default();
        let path = if request.original_path.is_empty() {
            &request.path
        } else {
            &request.original_path
        };
        let path = path
            .split(|byte| matches!(byte, b'?' | b'#'))
            .next()
            .unwrap_or_default();
        let method = request.request_method();
        let method = (method != Method::Unspecified).then(|| method.as_str_name().to_owned());
        let status = response.response_code.map_or(0, i64::from);
        let envelope = Envelope {
            version: Some(RECORD_VERSION),
            kind: Some("bare".into()),
            deployment: self.deployment.clone(),
            event_at: Some(now),
            method,
            path: text(path),
            host: text(&request.authority),
            reason: text(reason(&response.response_code_details, &common).as_bytes()),
            status: Some(status),
            started_at: common.start_time.as_ref().and_then(micros),
            duration_ms: lasted(&common).and_then(millis),
            request_bytes: i64::try_from(request.request_body_bytes).ok(),
            response_bytes: i64::try_from(response.response_body_bytes).ok(),
            request_id: text(&request.request_id),
            client_address: client_address(&common),
            ..Envelope::default()
        };
        proven(&envelope)
    }

    fn tombstone(&self, reason: &'static str, bytes: Bytes, now: i64) -> Entry {
        let envelope = Envelope {
            deployment: self.deployment.clone(),
            event_at: Some(now),
            ..Envelope::default()
        };
        Entry {
            dead: Some((reason, bytes)),
            ..proven(&tombstone(envelope, reason))
        }
    }
}

/// The row of a record that the sink itself writes: its proof has no record before it and no seal.
pub(crate) fn proven(envelope: &Envelope) -> Entry {
    let mut row = envelope.encode_to_vec();
    let hash = record_hash(&[], &row);
    let proof = Proof {
        envelope: Some(row.clone()),
        hash: Some(hash.clone()),
        ..Proof::default()
    };
    row.extend(proof.encode_to_vec());
    Entry {
        row: row.into(),
        hash: Link::try_from(hash).unwrap_or_default(), // SHA-256 has the length of a link
        ..Entry::default()
    }
}

/// The row that stands in the place of one that BigQuery refused: it says which record it was, as
/// far as that is known to load, and nothing else of it. Its proof has the hash of the row that was, so
/// that the sink's chain stays whole.
pub fn tombstone_of(row: &[u8], reason: &'static str) -> Vec<u8> {
    let was = Envelope::decode(row).unwrap_or_default();
    let kept = Envelope {
        deployment: was.deployment,
        epoch: was.epoch,
        seq: was.seq,
        event_at: was.event_at,
        decision_id: was.decision_id,
        ..Envelope::default()
    };
    let mut row_bytes = tombstone(kept, reason).encode_to_vec();
    let hash = Proof::decode(row).unwrap_or_default().hash;
    let proof = Proof {
        hash: Some(hash.unwrap_or_else(|| record_hash(&[], &row_bytes))),
        envelope: Some(row_bytes.clone()),
        ..Proof::default()
    };
    row_bytes.extend(proof.encode_to_vec());
    row_bytes
}

fn tombstone(mut envelope: Envelope, reason: &'static str) -> Envelope {
    envelope.version = Some(RECORD_VERSION);
    envelope.kind = Some("tombstone".into());
    envelope.reason = Some(reason.into());
    envelope
}

/// Whether BigQuery takes the values of a record that our own filter wrote: what it refuses spoils
/// a whole request.
fn loadable(envelope: &Envelope) -> bool {
    let json = |text: &Option<String>| {
        text.as_ref()
            .is_none_or(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
    };
    let time = |at: Option<i64>| at.is_none_or(|at| TIMESTAMPS.contains(&at));
    json(&envelope.findings)
        && json(&envelope.unscanned)
        && time(envelope.event_at)
        && time(envelope.started_at)
}

/// Envoy's own words for how it ended: the details, then the flags that are set.
fn reason(details: &[u8], common: &Common) -> String {
    let flags = common
        .response_flags
        .iter()
        .flat_map(flags)
        .map(str::to_owned);
    text(details)
        .into_iter()
        .chain(flags)
        .collect::<Vec<_>>()
        .join(", ")
}

fn flags(flags: &ResponseFlags) -> impl Iterator<Item = &'static str> {
    [
        (flags.failed_local_healthcheck, "failed local health check"),
        (flags.no_healthy_upstream, "no healthy upstream"),
        (flags.upstream_request_timeout, "upstream request timeout"),
        (flags.local_reset, "local reset"),
        (flags.upstream_remote_reset, "upstream reset"),
        (
            flags.upstream_connection_failure,
            "upstream connection failure",
        ),
        (
            flags.upstream_connection_termination,
            "upstream connection termination",
        ),
        (flags.upstream_overflow, "upstream overflow"),
        (flags.no_route_found, "no route found"),
        (flags.delay_injected, "delay injected"),
        (flags.fault_injected, "fault injected"),
        (flags.rate_limited, "rate limited"),
        (flags.unauthorized_details.is_some(), "unauthorized"),
        (flags.rate_limit_service_error, "rate limit service error"),
        (
            flags.downstream_connection_termination,
            "downstream connection termination",
        ),
        (
            flags.upstream_retry_limit_exceeded,
            "upstream retry limit exceeded",
        ),
        (flags.stream_idle_timeout, "stream idle timeout"),
        (
            flags.invalid_envoy_request_headers,
            "invalid envoy request headers",
        ),
        (flags.downstream_protocol_error, "downstream protocol error"),
        (
            flags.upstream_max_stream_duration_reached,
            "upstream max stream duration reached",
        ),
        (flags.response_from_cache_filter, "response from cache"),
        (flags.no_filter_config_found, "no filter config found"),
        (flags.duration_timeout, "duration timeout"),
        (flags.upstream_protocol_error, "upstream protocol error"),
        (flags.no_cluster_found, "no cluster found"),
        (flags.overload_manager, "overload manager"),
        (flags.dns_resolution_failure, "dns resolution failure"),
        (flags.downstream_remote_reset, "downstream reset"),
    ]
    .into_iter()
    .filter_map(|(set, word)| set.then_some(word))
}

fn client_address(common: &Common) -> Option<String> {
    let address = common
        .downstream_remote_address
        .as_ref()
        .or(common.downstream_direct_remote_address.as_ref())?;
    let socket = address.socket_address.as_ref()?;
    Some(format!("{}:{}", text(&socket.address)?, socket.port_value))
}

fn lasted(common: &Common) -> Option<&Duration> {
    common
        .duration
        .as_ref()
        .or(common.time_to_last_downstream_tx_byte.as_ref())
}

fn micros(at: &Timestamp) -> Option<i64> {
    let micros = at
        .seconds
        .checked_mul(1_000_000)?
        .checked_add(i64::from(at.nanos) / 1_000)?;
    TIMESTAMPS.contains(&micros).then_some(micros)
}

fn millis(lasted: &Duration) -> Option<i64> {
    lasted
        .seconds
        .checked_mul(1_000)?
        .checked_add(i64::from(lasted.nanos) / 1_000_000)
}

/// A column's text cut at 256 bytes, with U+FFFD for what is no UTF-8; nothing for an empty one.
fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let cut = text
        .get(..text.floor_char_boundary(MAX_TEXT_BYTES))
        .unwrap_or_default();
    (!cut.is_empty()).then(|| cut.to_owned())
}

const MAX_TEXT_BYTES: usize = 256;

/// Microseconds of the years 1 to 9999, which is all that a TIMESTAMP holds.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

#[cfg(test)]
mod tests;
