//! What filter and desk say to each other: arguments have one form for one meaning.
//!
//! Input: arguments of a tool call, or a message of the desk.

#![no_main]

use contract::approval::{Answer, Ask, DecisionBody, GrantClaims, canonical_arguments};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    stays::<Answer>(data);
    stays::<Ask>(data);
    stays::<DecisionBody>(data);
    stays::<GrantClaims>(data);

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let canonical = canonical_arguments(text);
    assert_eq!(canonical_arguments(&canonical), canonical, "twice");
    let (Ok(value), Ok(other)) = (parse(text), parse(&canonical)) else {
        assert_eq!(canonical, text, "what cannot be read stays");
        return;
    };
    assert_eq!(value, other, "another meaning");
    if has_fraction(&value) || canonical != value.to_string() {
        // Kept as it was, for a number or a key that readers may take differently.
        return;
    }
    for spelling in [
        serde_json::to_string_pretty(&value).unwrap(),
        escaped(&value.to_string()),
        format!(" {text}\n"),
    ] {
        assert_eq!(canonical_arguments(&spelling), canonical, "{spelling}");
    }
});

fn parse(text: &str) -> Result<Value, ()> {
    serde_json::from_str(text).map_err(|_| ())
}

/// Whether a number in it is no whole one.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(list) => list.iter().any(has_fraction),
        Value::Object(map) => map.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// A message that was read is read again as the same.
fn stays<T: Serialize + DeserializeOwned + PartialEq>(data: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(data) {
        let again = serde_json::to_vec(&message).unwrap();
        assert!(serde_json::from_slice::<T>(&again).unwrap() == message);
    }
}

/// The same JSON with each letter `a` of its strings escaped, but for those of other escapes.
fn escaped(json: &str) -> String {
    let (mut text, mut inside) = (String::new(), false);
    let mut rest = json.chars();
    while let Some(char) = rest.next() {
        match char {
            '\\' => {
                let kind = rest.next();
                text.push(char);
                text.extend(kind);
                if kind == Some('u') {
                    text.extend(rest.by_ref().take(4));
                }
            }
            'a' if inside => text.push_str("\\u0061"),
            other => {
                inside ^= other == '"';
                text.push(other);
            }
        }
    }
    text
}
