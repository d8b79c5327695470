//! The columns of table `records`, read from the proto file's descriptor.

use prost_types::{
    FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type,
};

/// BigQuery type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// BYTES.
    Bytes,
    /// BOOL.
    Bool,
    /// INT64.
    Int64,
    /// JSON, carried as a string.
    Json,
    /// STRING.
    String,
    /// TIMESTAMP, carried as an int64 of microseconds since 1970.
    Timestamp,
}

/// One column of table `records`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name of the field and of the column.
    pub name: String,
    /// Field number in the row's bytes.
    pub number: i32,
    /// Type of the column.
    pub kind: ColumnKind,
    /// What the column holds, for the auditor.
    pub description: String,
    /// Whether the column holds masked content, which erasure may empty.
    pub content: bool,
}

/// All columns in the order of their numbers.
pub fn columns() -> Vec<Column> {
    let Ok(set) = <FileDescriptorSet as prost::Message>::decode(DESCRIPTOR) else {
        return Vec::new(); // generated together with this code; a test reads it
    };
    let mut columns: Vec<Column> = set.file.iter().flat_map(of_file).collect();
    columns.sort_by_key(|column| column.number);
    columns
}

fn of_file(file: &FileDescriptorProto) -> impl Iterator<Item = Column> {
    let locations = file
        .source_code_info
        .as_ref()
        .map_or(&[][..], |info| &info.location);
    let comment = move |message: usize, field: usize| -> String {
        let path = [4, message, 2, field].map(|part| i32::try_from(part).unwrap_or(-1));
        locations
            .iter()
            .find(|location| location.path == path)
            .map(|location| location.leading_comments().trim().to_owned())
            .unwrap_or_default()
    };
    file.message_type
        .iter()
        .enumerate()
        .flat_map(move |(index, message)| {
            let content = message.name() == "Content";
            message
                .field
                .iter()
                .enumerate()
                .map(move |(place, field)| column(field, comment(index, place), content))
        })
}

fn column(field: &FieldDescriptorProto, description: String, content: bool) -> Column {
    let kind = match field.r#type() {
        Type::Bool => ColumnKind::Bool,
        Type::Bytes => ColumnKind::Bytes,
        Type::Int64 if field.name().ends_with("_at") => ColumnKind::Timestamp,
        Type::Int64 => ColumnKind::Int64,
        _ if description.ends_with("(JSON)") => ColumnKind::Json,
        _ => ColumnKind::String,
    };
    Column {
        name: field.name().to_owned(),
        number: field.number(),
        kind,
        description,
        content,
    }
}

const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_column_has_a_description_and_a_number_of_its_own() {
        let columns = columns();
        assert!(columns.len() > 45);
        for column in &columns {
            assert!(!column.description.is_empty(), "{}", column.name);
        }
        let numbers: HashSet<i32> = columns.iter().map(|column| column.number).collect();
        let names: HashSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!((numbers.len(), names.len()), (columns.len(), columns.len()));
    }

    #[test]
    fn kinds_follow_from_names_and_comments() {
        let of = |name: &str| columns().into_iter().find(|column| column.name == name);
        let cases = [
            ("received_at", ColumnKind::Timestamp),
            ("seq", ColumnKind::Int64),
            ("findings", ColumnKind::Json),
            ("person", ColumnKind::String),
            ("hash", ColumnKind::Bytes),
            ("content_truncated", ColumnKind::Bool),
        ];
        for (name, kind) in cases {
            assert_eq!(of(name).map(|column| column.kind), Some(kind), "{name}");
        }
        assert!(of("request_content").is_some_and(|column| column.content));
    }

    #[test]
    fn fields_are_only_of_types_that_a_row_may_have() {
        let set = <FileDescriptorSet as prost::Message>::decode(DESCRIPTOR).unwrap();
        for message in &set.file[0].message_type {
            for field in &message.field {
                let allowed = matches!(
                    field.r#type(),
                    Type::Bool | Type::Bytes | Type::Int64 | Type::String
                );
                assert!(allowed && field.proto3_optional(), "{}", field.name());
            }
        }
    }
}
