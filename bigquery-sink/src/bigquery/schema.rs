//! The shape of table `records`, for the REST API and for the rows (pure).

use contract::{Column, ColumnKind};
use prost_types::{
    DescriptorProto, FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use serde_json::{Value, json};

use super::{Options, Table, Target};

/// The table as the REST API wants it for `tables.insert`.
pub fn table(target: &Target, options: &Options) -> Value {
    let columns = target.table.columns();
    let fields: Vec<Value> = columns.iter().map(|one| field(one, options)).collect();
    let mut partitioning = json!({ "type": "DAY", "field": "received_at" });
    if let (Some(retention), Some(object)) = (options.retention, partitioning.as_object_mut()) {
        object.insert("expirationMs".into(), retention.rest());
    }
    let mut table = json!({
        "tableReference": {
            "projectId": target.project, "datasetId": target.dataset, "tableId": target.table.name(),
        },
        "description": target.table.description(),
        "schema": { "fields": fields },
        "timePartitioning": partitioning,
        "requirePartitionFilter": true,
        "clustering": { "fields": target.table.clustering() },
    });
    if let (Some(key), Some(object)) = (&options.kms_key, table.as_object_mut()) {
        let encryption = json!({ "kmsKeyName": key });
        object.insert("encryptionConfiguration".into(), encryption);
    }
    table
}

/// One column as the REST API wants it.
pub(super) fn field(column: &Column, options: &Options) -> Value {
    let mut field = json!({
        "name": column.name,
        "type": rest_type(column.kind),
        "mode": "NULLABLE",
        "description": column.description,
    });
    if let (Some(tag), Some(object)) = (options.tag_of(column), field.as_object_mut()) {
        object.insert("policyTags".into(), json!({ "names": [tag] }));
    }
    field
}

/// The type's name in the REST API.
pub(super) fn rest_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Bool => "BOOLEAN",
        ColumnKind::Bytes => "BYTES",
        ColumnKind::Int64 => "INTEGER",
        ColumnKind::Json => "JSON",
        ColumnKind::String => "STRING",
        ColumnKind::Timestamp => "TIMESTAMP",
    }
}

/// The type's name in SQL.
pub(super) fn sql_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Bool => "BOOL",
        ColumnKind::Bytes => "BYTES",
        ColumnKind::Int64 => "INT64",
        ColumnKind::Json => "JSON",
        ColumnKind::String => "STRING",
        ColumnKind::Timestamp => "TIMESTAMP",
    }
}

/// How a row's bytes are to be read; columns are found by name.
pub fn row_descriptor(table: Table) -> DescriptorProto {
    let field = |column: Column| {
        let kind = match column.kind {
            ColumnKind::Bool => Type::Bool,
            ColumnKind::Bytes => Type::Bytes,
            ColumnKind::Int64 | ColumnKind::Timestamp => Type::Int64,
            ColumnKind::Json | ColumnKind::String => Type::String,
        };
        FieldDescriptorProto {
            name: Some(column.name),
            number: Some(column.number),
            label: Some(Label::Optional.into()),
            r#type: Some(kind.into()),
            ..FieldDescriptorProto::default()
        }
    };
    DescriptorProto {
        name: Some("Row".into()),
        field: table.columns().into_iter().map(field).collect(),
        ..DescriptorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_partitioned_clustered_and_described() {
        let target = Target {
            table: Table::Records,
            project: "p".into(),
            dataset: "d".into(),
            views_dataset: "v".into(),
            location: None,
        };
        let table = table(&target, &Options::default());
        assert_eq!(
            table["timePartitioning"],
            json!({"type": "DAY", "field": "received_at"})
        );
        assert_eq!(table["requirePartitionFilter"], true);
        assert_eq!(
            table["clustering"]["fields"],
            json!(["person", "endpoint", "decision"])
        );
        let fields = table["schema"]["fields"].as_array().unwrap();
        assert_eq!(fields.len(), contract::columns().len());
        assert!(
            fields
                .iter()
                .all(|field| field["description"] != "" && field["mode"] == "NULLABLE")
        );
    }

    #[test]
    fn row_descriptor_carries_json_as_text_and_times_as_numbers() {
        let row = row_descriptor(Table::Records);
        let of = |name: &str| row.field.iter().find(|field| field.name() == name).unwrap();
        for (name, number, kind) in [
            ("findings", 27, Type::String),
            ("received_at", 100, Type::Int64),
            ("hash", 62, Type::Bytes),
            ("content_truncated", 40, Type::Bool),
            ("person", 8, Type::String),
        ] {
            assert_eq!(
                (of(name).number(), of(name).r#type()),
                (number, kind),
                "{name}"
            );
        }
        assert!(
            row.field
                .iter()
                .all(|field| field.label() == Label::Optional)
        );
    }
}
