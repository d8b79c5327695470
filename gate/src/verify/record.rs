//! One row of the table, checked as far as it can be alone (pure).

use std::collections::BTreeMap;

use bigquery::Row as Columns;
use contract::{Column, ColumnKind, Envelope, MacKey, Order, checkpoint::Link, record_hash};
use prost::{
    Message,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};
use serde_json::Value;

use crate::orders::Recorded;

/// A row, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Whose row.
    pub(crate) sink_id: String,
    pub(crate) sink_seq: u64,
    /// In microseconds since 1970.
    pub(crate) received_at: i64,
    /// The envelope; what the columns say of kind and place, if there is none to trust.
    pub(crate) envelope: Envelope,
    /// Of a row that is as it was written.
    pub(crate) hash: Option<Link>,
    pub(crate) prev_hash: Vec<u8>,
    /// What was altered, in words.
    pub(crate) faults: Vec<String>,
    /// Whether it is a row of a sink that wrote no proofs.
    pub(crate) unproven: bool,
    /// Content columns that are empty, and were not.
    pub(crate) erased: u64,
    /// Whether it is sealed by a key that was not given.
    pub(crate) unknown_seal: bool,
}

/// How a column is asked for: bytes as base64, times in microseconds, of content its digest.
pub(crate) fn select(column: &Column) -> String {
    let name = &column.name;
    match column.kind {
        _ if column.content => format!("TO_BASE64(SHA256({name})) AS {name}"),
        ColumnKind::Bool | ColumnKind::Int64 | ColumnKind::String => name.clone(),
        ColumnKind::Bytes => format!("TO_BASE64({name}) AS {name}"),
        ColumnKind::Json => format!("IF({name} IS NULL, NULL, TO_JSON_STRING({name})) AS {name}"),
        ColumnKind::Timestamp => format!("UNIX_MICROS({name}) AS {name}"),
    }
}

/// Reads a row that was asked for by [`select`]; nothing if it has no place of its own.
pub(crate) fn read(row: &Columns, columns: &[Column], keys: &[MacKey]) -> Option<Row> {
    let mut found = Row {
        sink_id: row.text("sink_id")?.to_owned(),
        sink_seq: u64::try_from(row.int64("sink_seq")?).ok()?,
        received_at: row.int64("received_at")?,
        prev_hash: bytes(row, "prev_hash").unwrap_or_default(),
        ..Row::default()
    };
    let stored = bytes(row, "hash").and_then(|hash| Link::try_from(hash).ok());
    let envelope = bytes(row, "envelope");
    let fields = envelope.as_deref().and_then(fields);
    let decoded = envelope.as_deref().map(Envelope::decode);
    let (Some(envelope), Some(fields), Some(Ok(decoded))) = (envelope, fields, decoded) else {
        found.envelope = placed(row);
        found.unproven = stored.is_none() && matches!(found.envelope.kind(), "bare" | "tombstone");
        if !found.unproven {
            found
                .faults
                .push("its envelope is gone or cannot be read".into());
        }
        return Some(found);
    };
    found.envelope = decoded;
    let hash = record_hash(&found.prev_hash, &envelope);
    // What stands for a row that was refused later has that row's hash; the sink's chain proves it.
    let stands_for = found.envelope.kind() == "tombstone" && found.envelope.reason() == "rejected";
    if stored.is_none() || !stands_for && stored.is_some_and(|stored| stored[..] != hash) {
        found
            .faults
            .push("its hash does not fit its envelope".into());
    } else {
        found.hash = stored;
    }
    let differing: Vec<&str> = columns
        .iter()
        .filter(|column| is_envelope(column))
        .filter(|column| !same(column, fields.get(&column.number), row.text(&column.name)))
        .map(|column| column.name.as_str())
        .collect();
    if !differing.is_empty() {
        let names = differing.join(", ");
        found
            .faults
            .push(format!("its envelope says otherwise: {names}"));
    }
    let contents = [
        ("request_content", &found.envelope.request_content_sha256),
        ("response_content", &found.envelope.response_content_sha256),
    ];
    for (name, expected) in contents {
        match (bytes(row, name), expected) {
            (None, Some(_)) => found.erased += 1,
            (found, expected) if found == *expected => {}
            _ => found
                .faults
                .push(format!("{name} is not what was recorded")),
        }
    }
    let mac = bytes(row, "mac");
    if let (Some(mac), Some(hash), false) = (mac, &stored, keys.is_empty()) {
        let id = row.text("mac_key_id").unwrap_or_default();
        match keys.iter().find(|key| key.id == id) {
            None => found.unknown_seal = true,
            Some(key) if key.verify(hash, &mac) => {}
            Some(_) => found.faults.push("its seal does not verify".into()),
        }
    } else if !keys.is_empty() && bytes(row, "mac").is_none() && !of_sink(&found.envelope) {
        found.faults.push("it has no seal".into());
    }
    if !found.faults.is_empty() {
        found.hash = None;
    }
    Some(found)
}

/// The order that a good row of a sink is, if it is one.
pub(crate) fn order(row: &Row) -> Option<Recorded> {
    let envelope = &row.envelope;
    if row.hash.is_none() || envelope.kind() != "order" || envelope.epoch.is_some() {
        return None;
    }
    let order: Order = serde_json::from_str(envelope.directive()).ok()?;
    (order.check().is_ok() && order.kind.name() == envelope.decision()).then(|| Recorded {
        order,
        officer: envelope.person().to_owned(),
        received_at: row.received_at,
        sink_id: row.sink_id.clone(),
        sink_seq: row.sink_seq,
    })
}

/// Whether the sink itself writes such records.
fn of_sink(envelope: &Envelope) -> bool {
    matches!(
        envelope.kind(),
        "bare" | "tombstone" | "checkpoint" | "lookup" | "order"
    )
}

/// What the columns say of a row whose envelope says nothing.
fn placed(row: &Columns) -> Envelope {
    let text = |name: &str| row.text(name).map(str::to_owned);
    Envelope {
        kind: text("kind"),
        reason: text("reason"),
        epoch: text("epoch"),
        seq: row.int64("seq"),
        open_seq: row.int64("open_seq"),
        event_at: row.int64("event_at"),
        ..Envelope::default()
    }
}

fn is_envelope(column: &Column) -> bool {
    matches!(column.number, 1..=59 | 80..=99)
}

/// A field's value on the wire.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// Whether a column shows its field. An empty text and none at all are the same to a reader.
fn same(column: &Column, field: Option<&Field>, found: Option<&str>) -> bool {
    match (field, found) {
        (None, found) => found.is_none_or(str::is_empty),
        (Some(Field::Bytes(bytes)), None) => bytes.is_empty(),
        (Some(Field::Number(_)), None) => false,
        (Some(Field::Number(number)), Some(text)) => match column.kind {
            ColumnKind::Bool => text.eq_ignore_ascii_case("true") == (*number != 0),
            _ => text.parse() == Ok(number.cast_signed()),
        },
        (Some(Field::Bytes(bytes)), Some(text)) => match column.kind {
            ColumnKind::Bytes => decode(text).as_ref() == Some(bytes),
            ColumnKind::Json => {
                let (is, was) = (serde_json::from_str(text), serde_json::from_slice(bytes));
                matches!((is, was), (Ok(is), Ok(was)) if same_json(&is, &was))
            }
            _ => text.as_bytes() == bytes,
        },
    }
}

/// Whether two values are the same to BigQuery, which keeps no order of names and writes numbers in
/// its own way.
fn same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_json(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let both = |(name, one)| other.get(name).is_some_and(|other| same_json(one, other));
            one.len() == other.len() && one.iter().all(both)
        }
        _ => one == other,
    }
}

/// The fields of a message by number; of a repeated one the last, as readers take it.
fn fields(mut message: &[u8]) -> Option<BTreeMap<i32, Field>> {
    let mut fields = BTreeMap::new();
    while message.has_remaining() {
        let (number, wire) = decode_key(&mut message).ok()?;
        let field = match wire {
            WireType::Varint => Field::Number(decode_varint(&mut message).ok()?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
                let bytes = message.get(..length)?.to_vec();
                message.advance(length);
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        fields.insert(i32::try_from(number).ok()?, field);
    }
    Some(fields)
}

fn bytes(row: &Columns, name: &str) -> Option<Vec<u8>> {
    decode(row.text(name)?)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    data_encoding::BASE64.decode(text.as_bytes()).ok()
}
