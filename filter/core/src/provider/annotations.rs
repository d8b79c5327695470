//! What the upstream notes on an answer: `copilot_annotations`.
//!
//! Copilot marks places of an answer: weak code (`CodeVulnerability`), code that is public under a
//! licence (`IPCodeCitations`). In a message these are lists by kind, on an event or a choice; for
//! the record only what names them is kept, never the code that they quote.

use serde_json::{Map, Value as Json};

use crate::headers;
use crate::json::{Path, Step, Value};
use crate::mask::Masker;

use super::ResponseFacts;
use super::scan::is_name;

/// Most annotations that are kept.
const MAX_ANNOTATIONS: usize = 64;

/// Longest value of an annotation.
const MAX_VALUE_BYTES: usize = 256;

/// Most values of an annotation.
const MAX_VALUES: usize = 16;

/// The key under which they stand.
const KEY: &str = "copilot_annotations";

/// Values that name an annotation.
const NAMES: &[&str] = &["id", "ip_type", "license", "type", "ui_type", "url"];

/// Values that say where it belongs: characters of the text so far.
const NUMBERS: &[&str] = &["end_offset", "id", "start_offset"];

/// A note of the upstream on a place of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The event that it stood in.
    event: u64,
    /// Its number in the list of its kind.
    index: usize,
    kind: String,
    values: Map<String, Json>,
}

impl Annotation {
    /// For the record: `kind`, then what was kept. `shifted` says that a mask stood before, so that
    /// offsets point elsewhere in the text that the caller has.
    pub fn to_json(&self) -> Json {
        let mut values = self.values.clone();
        values.insert("kind".to_owned(), Json::from(self.kind.clone()));
        Json::Object(values)
    }
}

impl ResponseFacts {
    /// Notes a value if it belongs to an annotation.
    pub(super) fn annotate(
        &mut self,
        masker: &Masker,
        path: &Path<'_>,
        value: Value<'_>,
        shifted: bool,
    ) {
        let steps = path.steps();
        let Some(at) = steps.iter().position(|step| *step == Step::Key(KEY)) else {
            return;
        };
        let (Some(Step::Key(kind)), Some(Step::Index(index)), Some(Step::Key(leaf))) =
            (steps.get(at + 1), steps.get(at + 2), steps.last())
        else {
            return;
        };
        let kept = match value {
            Value::Text(text) if NAMES.contains(leaf) => {
                let text = text.decode();
                let masked = masker.mask(&text, &mut Vec::new());
                let text = masked.as_deref().unwrap_or(&text);
                Json::from(headers::cut(text, MAX_VALUE_BYTES))
            }
            Value::Number(digits) if NUMBERS.contains(leaf) => match digits.parse::<u64>() {
                Ok(number) => Json::from(number),
                Err(_) => return,
            },
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::Text(_) => return,
        };
        let plain = is_name(kind) && masker.mask(kind, &mut Vec::new()).is_none();
        let kind = if plain { headers::cut(kind, 40) } else { "*" };
        let event = self.events;
        let known = self
            .annotations
            .iter()
            .position(|one| (one.event, one.index, &*one.kind) == (event, *index, kind));
        let at = known.unwrap_or(self.annotations.len());
        if known.is_none() {
            if self.annotations.len() >= MAX_ANNOTATIONS {
                return;
            }
            let mut values = Map::new();
            if shifted {
                values.insert("shifted".to_owned(), Json::from(true));
            }
            self.annotations.push(Annotation {
                event,
                index: *index,
                kind: kind.to_owned(),
                values,
            });
        }
        if let Some(annotation) = self.annotations.get_mut(at)
            && annotation.values.len() < MAX_VALUES
        {
            // Of several addresses the first.
            annotation.values.entry((*leaf).to_owned()).or_insert(kept);
        }
    }
}

/// Whether the path leads into annotations.
pub(super) fn is_annotation(path: &Path<'_>) -> bool {
    path.depth() >= 4 && path.iter().any(|step| step == Step::Key(KEY))
}
