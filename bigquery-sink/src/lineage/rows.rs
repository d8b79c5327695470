//! From a row of `records` to rows of `lineage` (pure).

use ::lineage::suggestions;
use bytes::Bytes;
use contract::{Column, ColumnKind, Content, Envelope, Stamp};
use prost::Message;

/// One fingerprint. [`columns`] has the same fields.
#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(int64, optional, tag = "1")]
    received_at: Option<i64>,
    #[prost(string, optional, tag = "2")]
    scheme: Option<String>,
    #[prost(int64, optional, tag = "3")]
    fingerprint: Option<i64>,
    #[prost(int64, optional, tag = "4")]
    suggestion: Option<i64>,
    #[prost(int64, optional, tag = "5")]
    fingerprints: Option<i64>,
    #[prost(string, optional, tag = "6")]
    epoch: Option<String>,
    #[prost(int64, optional, tag = "7")]
    seq: Option<i64>,
    #[prost(string, optional, tag = "8")]
    decision_id: Option<String>,
    #[prost(string, optional, tag = "9")]
    person: Option<String>,
    #[prost(string, optional, tag = "10")]
    issuer: Option<String>,
    #[prost(string, optional, tag = "11")]
    model: Option<String>,
    #[prost(string, optional, tag = "12")]
    sink_id: Option<String>,
    #[prost(int64, optional, tag = "13")]
    sink_seq: Option<i64>,
}

/// The columns of table `lineage`.
pub fn columns() -> Vec<Column> {
    use ColumnKind::{Int64, String, Timestamp};
    let columns = [
        (
            "received_at",
            Timestamp,
            "When the sink took the record; the table's partition.",
        ),
        (
            "scheme",
            String,
            "How the fingerprint was made: whole, text or shape, and a version.",
        ),
        (
            "fingerprint",
            Int64,
            "Hash of a part of a suggestion, 64 bits.",
        ),
        (
            "suggestion",
            Int64,
            "Number of the suggestion within the record, from 0.",
        ),
        (
            "fingerprints",
            Int64,
            "How many fingerprints the suggestion has in this scheme.",
        ),
        ("epoch", String, "Life of one worker VM, as in the record."),
        ("seq", Int64, "Place of the record in its epoch."),
        ("decision_id", String, "Decision id that the caller saw."),
        (
            "person",
            String,
            "Who was given the suggestion, as in the record.",
        ),
        ("issuer", String, "Issuer that vouched for the person."),
        (
            "model",
            String,
            "Model that answered by its own word, or the one asked for.",
        ),
        ("sink_id", String, "Random id of the sink's spool."),
        ("sink_seq", Int64, "Place of the record in that spool."),
    ];
    let numbered = columns.into_iter().zip(1..);
    numbered
        .map(|((name, kind, description), number)| Column {
            name: name.to_owned(),
            number,
            kind,
            description: description.to_owned(),
            content: false,
        })
        .collect()
}

/// The fingerprints of a record, in an order that depends on the record alone; at most [`MAX_ROWS`].
pub fn rows_of(record: &Bytes) -> Vec<Bytes> {
    let content = Content::decode(record.clone()).unwrap_or_default();
    let Some(answer) = content.response_content else {
        return Vec::new();
    };
    let suggestions = suggestions(&answer);
    if suggestions.is_empty() {
        return Vec::new();
    }
    let (Ok(envelope), Ok(stamp)) = (
        Envelope::decode(record.clone()),
        Stamp::decode(record.clone()),
    ) else {
        return Vec::new();
    };
    let same = Row {
        received_at: stamp.received_at,
        epoch: envelope.epoch,
        seq: envelope.seq,
        decision_id: envelope.decision_id,
        person: envelope.person,
        issuer: envelope.issuer,
        model: envelope.response_model.or(envelope.model),
        sink_id: stamp.sink_id,
        sink_seq: stamp.sink_seq,
        ..Row::default()
    };
    let same = same.encode_to_vec();
    let mut rows = Vec::new();
    for (number, suggestion) in suggestions.iter().enumerate() {
        let found = suggestion.fingerprints();
        let count: usize = found.iter().map(|(_, values)| values.len()).sum();
        if rows.len() + count > MAX_ROWS {
            break;
        }
        for (scheme, values) in found {
            for fingerprint in &values {
                let own = Row {
                    scheme: Some(scheme.name.to_owned()),
                    fingerprint: Some(*fingerprint),
                    suggestion: i64::try_from(number).ok(),
                    fingerprints: i64::try_from(values.len()).ok(),
                    ..Row::default()
                };
                rows.push([own.encode_to_vec(), same.clone()].concat().into());
            }
        }
    }
    rows
}

/// Most rows of one record: they go into one request, which the service bounds at 10 MB.
pub const MAX_ROWS: usize = 8192;

#[cfg(test)]
mod tests {
    use prost_types::field_descriptor_proto::Type;
    use serde_json::json;

    use super::*;
    use crate::bigquery::{Table, row_descriptor};

    fn record(texts: &[&str]) -> Bytes {
        let list = texts
            .iter()
            .map(|text| json!({ "channel": "choices[0].text", "text": text }));
        let content = Content {
            response_content: Some(json!(list.collect::<Vec<_>>()).to_string()),
            ..Content::default()
        };
        let envelope = Envelope {
            epoch: Some("e".into()),
            seq: Some(3),
            decision_id: Some("gd_1".into()),
            person: Some("ana".into()),
            model: Some("gpt".into()),
            ..Envelope::default()
        };
        let stamp = Stamp {
            received_at: Some(5),
            sink_id: Some("s".into()),
            sink_seq: Some(7),
        };
        let parts = [
            envelope.encode_to_vec(),
            content.encode_to_vec(),
            stamp.encode_to_vec(),
        ];
        parts.concat().into()
    }

    const CODE: &str = "let total = items.iter().map(|item| item.price).sum::<u64>();";

    #[test]
    fn each_fingerprint_is_a_row_that_says_whose_it_is() {
        let rows = rows_of(&record(&["x", CODE, &CODE.replace("total", "sum")]));
        let rows: Vec<Row> = rows
            .into_iter()
            .map(|row| Row::decode(row).unwrap())
            .collect();
        assert!(rows.len() > 6);
        let of = |number| {
            rows.iter()
                .filter(move |row| row.suggestion == Some(number))
        };
        assert!(of(0).count() > 2 && of(1).count() > 2 && of(2).next().is_none());
        for row in &rows {
            let same = of(row.suggestion()).filter(|other| other.scheme == row.scheme);
            assert_eq!(row.fingerprints(), i64::try_from(same.count()).unwrap());
            assert_eq!(
                (row.epoch(), row.seq(), row.decision_id()),
                ("e", 3, "gd_1")
            );
            assert_eq!(
                (row.person(), row.model(), row.received_at()),
                ("ana", "gpt", 5)
            );
            assert_eq!((row.sink_id(), row.sink_seq()), ("s", 7));
        }
    }

    #[test]
    fn records_without_code_have_no_rows() {
        assert!(rows_of(&Bytes::new()).is_empty());
        assert!(rows_of(&Bytes::from_static(b"\xff\xff")).is_empty());
        assert!(rows_of(&record(&["}"])).is_empty());
    }

    #[test]
    fn a_record_has_so_many_rows_that_they_fit_into_a_request() {
        let line = |number: usize| format!("f{number}({number} * g({number}) - {});\n", number * 3);
        let text = (0..2000).map(line).collect::<Vec<_>>().concat();
        let rows = rows_of(&record(&[text.as_str(); 64]));
        assert!(rows.len() > MAX_ROWS - 512 && rows.len() <= MAX_ROWS);
    }

    #[test]
    fn columns_are_the_rows_fields() {
        let row = Row {
            received_at: Some(1),
            scheme: Some("a".into()),
            fingerprint: Some(1),
            suggestion: Some(1),
            fingerprints: Some(1),
            epoch: Some("a".into()),
            seq: Some(1),
            decision_id: Some("a".into()),
            person: Some("a".into()),
            issuer: Some("a".into()),
            model: Some("a".into()),
            sink_id: Some("a".into()),
            sink_seq: Some(1),
        };
        // A number of one byte, and a text of two: tag and value.
        let bytes = row.encode_to_vec();
        let mut bytes = bytes.iter();
        for field in row_descriptor(Table::Lineage).field {
            let tag = *bytes.next().unwrap();
            assert_eq!(i32::from(tag >> 3), field.number(), "{}", field.name());
            let text = field.r#type() == Type::String;
            assert_eq!(tag & 7, if text { 2 } else { 0 }, "{}", field.name());
            bytes.nth(usize::from(text));
        }
        assert!(bytes.next().is_none());
    }
}
