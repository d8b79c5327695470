//! The configuration: text and `Struct` mean the same, faults can be read, nothing panics.
//!
//! Input: bytes as Envoy hands them over. A list of JSON is a list of changes to the example: each
//! `[where, value]` puts a value at the place of that number.

#![no_main]

use filter_core::config::{Config, Fault};
use libfuzzer_sys::fuzz_target;
use prost::Message;
use prost_types::{ListValue, Struct, value::Kind};
use serde_json::Value;

const EXAMPLE: &[u8] = include_bytes!("../../filter/core/src/config/example.json");

fuzz_target!(|data: &[u8]| {
    let read = Config::from_bytes(data);
    if let Err(faults) = &read {
        check(faults);
    }
    let tree = match serde_json::from_slice(data) {
        Ok(Value::Array(changes)) => changed(&changes),
        Ok(tree) => tree,
        _ => return,
    };
    if !tree.is_object() {
        return;
    }
    let text = Config::from_bytes(tree.to_string().as_bytes());
    assert_eq!(digest(&text), digest(&Config::from_value(tree.clone())));
    if let Err(faults) = &text {
        check(faults);
    }
    if let Some(Kind::StructValue(tree)) = proto(&tree).and_then(|value| value.kind) {
        let tree = Config::from_bytes(&tree.encode_to_vec());
        assert_eq!(digest(&tree), digest(&text), "text and Struct differ");
    }
});

fn digest(read: &Result<Config, Vec<Fault>>) -> Result<&str, Vec<Fault>> {
    match read {
        Ok(config) => {
            assert_eq!(config.policy_digest.len(), 64);
            Ok(&config.policy_digest)
        }
        Err(faults) => Err(faults.clone()),
    }
}

/// A fault is one line that a person can read.
fn check(faults: &[Fault]) {
    assert!(!faults.is_empty());
    for fault in faults {
        assert!(!fault.path.is_empty() && !fault.reason.is_empty());
        let line = fault.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(!fault.reason.contains("cAnArY"), "a value is quoted");
        assert!(line.len() < 1_000, "a fault of {} bytes", line.len());
    }
}

/// The example with changes.
fn changed(changes: &[Value]) -> Value {
    let mut tree: Value = serde_json::from_slice(EXAMPLE).unwrap();
    for change in changes.iter().take(8) {
        if let Some([place, value]) = change.as_array().map(Vec::as_slice)
            && let Some(place) = place.as_u64()
            && let Some(at) = nth(&mut tree, &mut (place % 80))
        {
            match (at, value) {
                // Keys are added, not taken away.
                (Value::Object(map), Value::Object(more)) => map.extend(more.clone()),
                (at, value) => *at = value.clone(),
            }
        }
    }
    tree
}

/// The value of this number, counted from the root.
fn nth<'a>(tree: &'a mut Value, number: &mut u64) -> Option<&'a mut Value> {
    if *number == 0 {
        return Some(tree);
    }
    *number -= 1;
    match tree {
        Value::Array(list) => list.iter_mut().find_map(|value| nth(value, number)),
        Value::Object(map) => map.values_mut().find_map(|value| nth(value, number)),
        _ => None,
    }
}

/// As Envoy's `Struct`; `None` if it has numbers that a double or the schema does not know.
fn proto(value: &Value) -> Option<prost_types::Value> {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => {
            let whole = number
                .as_i64()
                .filter(|whole| whole.unsigned_abs() < 1 << 53)?;
            Kind::NumberValue(whole as f64)
        }
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(ListValue {
            values: list.iter().map(proto).collect::<Option<_>>()?,
        }),
        Value::Object(map) => Kind::StructValue(Struct {
            fields: map
                .iter()
                .map(|(key, value)| Some((key.clone(), proto(value)?)))
                .collect::<Option<_>>()?,
        }),
    };
    Some(prost_types::Value { kind: Some(kind) })
}
