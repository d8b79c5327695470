//! What an officer orders over a person's recorded content, as column `directive` of a row of kind
//! `order` keeps it.

use serde::{Deserialize, Serialize};

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// A person's content is to be taken away.
    Erase,
    /// That was done.
    Erased,
    /// A person's content is to stay, whatever is ordered else.
    Hold,
    /// All holds of this id end.
    Release,
}

impl OrderKind {
    /// As in column `decision`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Erase => "erase",
            Self::Erased => "erased",
            Self::Hold => "hold",
            Self::Release => "release",
        }
    }
}

/// An order. It speaks of records by when they arrived (`received_at`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is ordered.
    pub kind: OrderKind,
    /// Id by which people know it: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub order: String,
    /// Whose content, of an erasure and of a hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Issuer that vouched for the person; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// First moment, in microseconds since 1970; the first of all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// One past the last moment. Without it an erasure ends where it was ordered, and a hold does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Why, for people; not of what was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Rows that lost content, of what was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl Order {
    /// Checks that it says what its kind has to say, and no more, within bounds.
    ///
    /// # Errors
    ///
    /// What is wrong, without what was written.
    pub fn check(&self) -> Result<(), &'static str> {
        if !is_order_id(&self.order) {
            return Err("order: not 1 to 64 of A-Z, a-z, 0-9, ., _ and -");
        }
        let is_about_a_person = match self.kind {
            OrderKind::Erase | OrderKind::Hold => true,
            OrderKind::Erased | OrderKind::Release => false,
        };
        let is_scoped = self.issuer.is_some() || self.from.is_some() || self.to.is_some();
        if self.person.is_some() != is_about_a_person || is_scoped && !is_about_a_person {
            return Err("person: for erase and hold, and so are issuer, from and to");
        }
        let is_done = self.kind == OrderKind::Erased;
        if self.rows.is_some() != is_done || self.reason.is_some() == is_done {
            return Err("reason: for erase, hold and release; rows: for erased");
        }
        for text in [&self.person, &self.issuer].into_iter().flatten() {
            if !is_text(text, MAX_NAME_CHARS) {
                return Err("person, issuer: not 1 to 1000 characters without control characters");
            }
        }
        if let Some(reason) = &self.reason
            && !is_text(reason, MAX_REASON_CHARS)
        {
            return Err("reason: not 1 to 500 characters without control characters");
        }
        let times = [self.from, self.to].into_iter().flatten();
        if !times.into_iter().all(|at| TIMES.contains(&at)) {
            return Err("from, to: not in microseconds of the years 1970 to 9999");
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err("from: not before to");
        }
        if self.rows.is_some_and(|rows| i64::try_from(rows).is_err()) {
            return Err("rows: not a number of rows");
        }
        Ok(())
    }
}

fn is_order_id(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&id.len()) && id.bytes().all(good)
}

fn is_text(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control)
}

const MAX_NAME_CHARS: usize = 1000;

const MAX_REASON_CHARS: usize = 500;

/// What SQL can turn into a TIMESTAMP, from 1970 on.
const TIMES: std::ops::RangeInclusive<i64> = 0..=253_402_300_799_999_999;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(order: Value) -> Result<(), String> {
        let order: Order = serde_json::from_value(order).map_err(|error| error.to_string())?;
        order.check().map_err(str::to_owned)
    }

    #[test]
    fn orders_say_what_their_kind_has_to_say() {
        let erase =
            json!({ "kind": "erase", "order": "DPO-1", "person": "ana", "reason": "asked" });
        let with = |name: &str, value: Value| {
            let mut order = erase.clone();
            order[name] = value;
            order
        };
        let good = [
            erase.clone(),
            with("kind", json!("hold")),
            with("issuer", json!("https://login.example")),
            with("reason", json!("ä".repeat(500))),
            json!({ "kind": "hold", "order": "H.1_a", "person": "b", "from": 1, "to": 2, "reason": "r" }),
            json!({ "kind": "release", "order": "H-1", "reason": "case closed" }),
            json!({ "kind": "erased", "order": "DPO-1", "rows": 0 }),
        ];
        for order in good {
            assert_eq!(checked(order.clone()), Ok(()), "{order}");
        }
        let bad = [
            with("kind", json!("keep")),
            with("order", json!("")),
            with("order", json!("a b")),
            with("order", json!("a".repeat(65))),
            with("person", json!("")),
            with("person", json!(" ")),
            with("person", json!("a\u{0}b")),
            with("person", json!("a".repeat(1001))),
            with("person", Value::Null),
            with("issuer", json!("")),
            with("reason", json!("ä".repeat(501))),
            with("reason", Value::Null),
            with("rows", json!(1)),
            with("from", json!(-1)),
            with("to", json!(i64::MAX)),
            with("to", json!("2026-01-01")),
            with("more", json!(1)),
            json!({ "kind": "hold", "order": "H", "person": "b", "from": 2, "to": 2, "reason": "r" }),
            json!({ "kind": "release", "order": "H" }),
            json!({ "kind": "release", "order": "H", "person": "b", "reason": "r" }),
            json!({ "kind": "release", "order": "H", "to": 1, "reason": "r" }),
            json!({ "kind": "erased", "order": "H" }),
            json!({ "kind": "erased", "order": "H", "rows": 1, "reason": "r" }),
            json!({ "kind": "erased", "order": "H", "rows": u64::MAX }),
        ];
        for order in bad {
            assert!(checked(order.clone()).is_err(), "{order}");
        }
    }

    #[test]
    fn what_is_absent_is_not_written() {
        let order = json!({ "kind": "release", "order": "H-1", "reason": "case closed" });
        let read: Order = serde_json::from_value(order.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), order);
        assert_eq!(read.kind.name(), "release");
    }
}
