//! How tables are made and kept, and what that means for one that is there.
//!
//! What no option asks for stays as it is. What would delete rows or cannot be changed is a
//! [`Conflict`]: a person decides.

use contract::Column;
use serde_json::{Value, json};
use tracing::{info, warn};

/// What an operator wants of the tables. The names are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Policy tag of the columns with content.
    pub content_policy_tag: Option<String>,
    /// Key of Cloud KMS that new tables are encrypted with.
    pub kms_key: Option<String>,
    /// How long rows are kept; for ever if absent and the table does not say otherwise.
    pub retention: Option<Retention>,
}

/// How long rows are kept after they were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// In days.
    pub days: u16,
    /// Whether a table that keeps rows longer may be changed, which deletes rows at once.
    pub shorten: bool,
}

/// Why a table cannot become as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The table's key is found in the text, `none` if it has none.
    #[error(
        "it is encrypted with another key ({0}) than --kms-key says, which counts when a table is \
         made: give --kms-key the table's key, or leave it away, or change the table's key in \
         BigQuery first"
    )]
    OtherKey(String),
    /// Rows of the table do not go by themselves.
    #[error(
        "it is not partitioned by time, so that --retention cannot hold: leave --retention away, or \
         move the table elsewhere, and the sink makes another"
    )]
    NotPartitioned,
    /// So many days, or for ever, is longer than is wanted.
    #[error(
        "it keeps rows {found}, longer than --retention {wanted}: BigQuery would delete the rows that \
         are older at once; if that is wanted, start once with --shorten-retention"
    )]
    Shorter {
        /// How long it keeps them now.
        found: String,
        /// Days that are wanted.
        wanted: u16,
    },
}

impl Options {
    /// The policy tag that `column` is to have.
    pub(super) fn tag_of(&self, column: &Column) -> Option<&str> {
        let tag = self.content_policy_tag.as_deref();
        tag.filter(|_| column.content)
    }

    /// Gives fields of a table their policy tags; says whether one had another.
    pub(super) fn tag(&self, columns: &[Column], fields: &mut [Value]) -> bool {
        let mut changed = false;
        for field in fields {
            let name = field["name"].as_str();
            let column = columns.iter().find(|one| Some(one.name.as_str()) == name);
            let Some((column, tag)) = column.and_then(|one| Some((one, self.tag_of(one)?))) else {
                continue;
            };
            let wanted = json!({ "names": [tag] });
            let had = field.pointer("/policyTags/names/0").and_then(Value::as_str);
            match had {
                Some(had) if had == tag => continue,
                Some(had) => {
                    warn!(column = column.name, had, tag, "replacing a policy tag");
                }
                None => info!(column = column.name, tag, "setting a policy tag"),
            }
            if let Some(field) = field.as_object_mut() {
                field.insert("policyTags".into(), wanted);
                changed = true;
            }
        }
        changed
    }

    /// Whether a table is encrypted as is wanted.
    pub(super) fn same_key(&self, table: &Value) -> Result<(), Conflict> {
        let Some(wanted) = &self.kms_key else {
            return Ok(());
        };
        let found = table
            .pointer("/encryptionConfiguration/kmsKeyName")
            .and_then(Value::as_str);
        // BigQuery may name the key's version too.
        let key = found.and_then(|found| found.split("/cryptoKeyVersions/").next());
        if key == Some(wanted) {
            return Ok(());
        }
        Err(Conflict::OtherKey(found.unwrap_or("none").to_owned()))
    }

    /// The partitioning that a table has to get, if it has another.
    pub(super) fn expiration(&self, table: &Value) -> Result<Option<Value>, Conflict> {
        let Some(retention) = self.retention else {
            return Ok(None);
        };
        let Some(partitioning) = table["timePartitioning"].as_object() else {
            return Err(Conflict::NotPartitioned);
        };
        let wanted = retention.milliseconds();
        // 0 is never, as no value is; the API writes its long numbers as text.
        let found = match partitioning.get("expirationMs") {
            Some(Value::String(text)) => text.parse().unwrap_or(0),
            Some(value) => value.as_u64().unwrap_or(0),
            None => 0,
        };
        if found == wanted {
            return Ok(None);
        }
        let found_days = match found {
            0 => "for ever".to_owned(),
            found => format!("for {} days", found / DAY_MS),
        };
        let shorter = found == 0 || found > wanted;
        if shorter && !retention.shorten {
            return Err(Conflict::Shorter {
                found: found_days,
                wanted: retention.days,
            });
        }
        if shorter {
            warn!(
                had = found_days,
                days = retention.days,
                "rows are kept for less time"
            );
        } else {
            info!(
                had = found_days,
                days = retention.days,
                "rows are kept for longer"
            );
        }
        let mut partitioning = partitioning.clone();
        partitioning.insert("expirationMs".into(), retention.rest());
        Ok(Some(partitioning.into()))
    }
}

impl Retention {
    /// As the REST API wants it.
    pub(super) fn rest(self) -> Value {
        json!(self.milliseconds().to_string())
    }

    fn milliseconds(self) -> u64 {
        u64::from(self.days) * DAY_MS
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn keeping(days: u16, shorten: bool) -> Options {
        let retention = Some(Retention { days, shorten });
        Options {
            retention,
            ..Options::default()
        }
    }

    #[test]
    fn rows_are_never_kept_shorter_by_accident() {
        let ms = |days: u64| json!((days * DAY_MS).to_string());
        let table = |expiration: Value| json!({ "timePartitioning": { "type": "DAY", "field": "at", "expirationMs": expiration } });
        // (what the table has, days wanted, whether the flag is needed)
        for (found, days, dangerous) in [
            (json!(null), 400, true),
            (json!("0"), 400, true),
            (ms(401), 400, true),
            (json!(401 * DAY_MS), 400, true),
            (ms(30), 400, false),
        ] {
            let table = table(found.clone());
            let plain = keeping(days, false).expiration(&table);
            assert_eq!(plain.is_err(), dangerous, "{found}");
            let changed = keeping(days, true).expiration(&table).unwrap().unwrap();
            let wanted = json!({ "type": "DAY", "field": "at", "expirationMs": ms(days.into()) });
            assert_eq!(changed, wanted, "{found}");
        }
        assert_eq!(keeping(400, true).expiration(&table(ms(400))), Ok(None));
        assert_eq!(Options::default().expiration(&table(ms(5))), Ok(None));
        let refused = keeping(30, true).expiration(&json!({}));
        assert_eq!(refused, Err(Conflict::NotPartitioned));
    }

    #[test]
    fn a_key_may_be_named_with_its_version() {
        let key = "projects/p/locations/eu/keyRings/r/cryptoKeys/k";
        let options = Options {
            kms_key: Some(key.into()),
            ..Options::default()
        };
        let with = |name: String| json!({ "encryptionConfiguration": { "kmsKeyName": name } });
        assert_eq!(options.same_key(&with(key.into())), Ok(()));
        let version = with(format!("{key}/cryptoKeyVersions/3"));
        assert_eq!(options.same_key(&version), Ok(()));
        for (table, found) in [
            (json!({}), "none".to_owned()),
            (with(format!("{key}2")), format!("{key}2")),
        ] {
            let conflict = options.same_key(&table).unwrap_err();
            assert_eq!(conflict, Conflict::OtherKey(found));
            assert!(conflict.to_string().contains("--kms-key"));
            assert_eq!(Options::default().same_key(&table), Ok(()));
        }
    }

    #[test]
    fn only_content_is_tagged_and_other_tags_stay() {
        let tag = "projects/p/locations/eu/taxonomies/1/policyTags/2";
        let options = Options {
            content_policy_tag: Some(tag.into()),
            ..Options::default()
        };
        let columns = contract::columns();
        let names = ["person", "request_content", "response_content", "theirs"];
        let field = |name: &str| json!({ "name": name, "policyTags": { "names": ["other"] } });
        let mut fields = names.map(field);
        assert!(options.tag(&columns, &mut fields));
        let tags: Vec<&str> = fields
            .iter()
            .filter_map(|field| field.pointer("/policyTags/names/0")?.as_str())
            .collect();
        assert_eq!(tags, ["other", tag, tag, "other"]);
        assert!(!options.tag(&columns, &mut fields), "nothing is left to do");
        assert!(!Options::default().tag(&columns, &mut fields));
    }
}
