//! Lists of models: `GET /models`.
//!
//! What a client reads here decides which models it offers and how it speaks to each: a model that
//! is not listed is not used, and an endpoint that is not listed (`ws:/responses`) is not called.

use crate::json::{Container, Edits, Event, Span, Step, Value, walk};

use super::Unreadable;

/// Takes models and endpoints out of a list of models; all other bytes stay.
///
/// Of `{"data":[…]}`, entries leave whose `id` is not `allowed` (or is no string), and of each
/// entry's `supported_endpoints` all that are not in `endpoints`. An entry that supported
/// something and now supports nothing leaves too.
///
/// # Errors
///
/// [`Unreadable`] if the body is not JSON of this form.
pub fn restrict(
    body: &[u8],
    allowed: &dyn Fn(&str) -> bool,
    endpoints: &[&str],
) -> Result<Vec<u8>, Unreadable> {
    let mut entries: Vec<(Span, bool)> = Vec::new();
    let mut list_found = false;
    let mut edits = Edits::default();
    let mut entry = Entry::default();
    walk(body, &mut |path, event| {
        let steps = path.steps();
        match (&*steps, event) {
            ([], Event::Open(Container::Object)) => {}
            ([], Event::Open(_) | Event::Value(..)) => return Err(Unreadable::NotAnObject),
            ([Step::Key("data")], Event::Open(Container::Array)) => list_found = true,
            ([Step::Key("data")], Event::Open(_) | Event::Value(..)) => {
                return Err(Unreadable::WrongType);
            }
            ([Step::Key("data"), Step::Index(_)], Event::Open(_)) => {
                entry = Entry::default();
            }
            ([Step::Key("data"), Step::Index(_)], Event::Value(span, _)) => {
                entries.push((span, false));
            }
            ([Step::Key("data"), Step::Index(_), Step::Key("id")], Event::Value(_, value)) => {
                entry.allowed = matches!(value, Value::Text(id) if allowed(&id.decode()));
            }
            (
                [
                    Step::Key("data"),
                    Step::Index(_),
                    Step::Key("supported_endpoints"),
                    Step::Index(_),
                ],
                Event::Value(span, value),
            ) => {
                let kept = matches!(value, Value::Text(endpoint)
                    if endpoints.contains(&&*endpoint.decode()));
                entry.endpoints.push((span, kept));
            }
            (
                [
                    Step::Key("data"),
                    Step::Index(_),
                    Step::Key("supported_endpoints"),
                    Step::Index(_),
                ],
                Event::Close(_, span),
            ) => entry.endpoints.push((span, false)),
            ([Step::Key("data"), Step::Index(_)], Event::Close(_, span)) => {
                let none_left =
                    !entry.endpoints.is_empty() && entry.endpoints.iter().all(|(_, kept)| !kept);
                let kept = entry.allowed && !none_left;
                if kept {
                    remove(&entry.endpoints, &mut edits);
                }
                entries.push((span, kept));
            }
            _ => {}
        }
        Ok(())
    })?;
    if !list_found {
        return Err(Unreadable::WrongType);
    }
    remove(&entries, &mut edits);
    Ok(edits.apply(body))
}

/// What was read of the entry at hand.
#[derive(Default)]
struct Entry {
    allowed: bool,
    endpoints: Vec<(Span, bool)>,
}

/// Takes the elements of an array that are not kept out of it, with their commas.
fn remove(elements: &[(Span, bool)], edits: &mut Edits) {
    let (Some(first), Some(last)) = (elements.first(), elements.last()) else {
        return;
    };
    let last_kept = elements.iter().rposition(|(_, kept)| *kept);
    for [element, next] in elements.array_windows().take(last_kept.unwrap_or(0)) {
        if !element.1 {
            edits.replace(
                Span {
                    start: element.0.start,
                    end: next.0.start,
                },
                b"",
            );
        }
    }
    let tail = last_kept
        .and_then(|at| elements.get(at))
        .map_or(first.0.start, |kept| kept.0.end);
    if tail < last.0.end {
        edits.replace(
            Span {
                start: tail,
                end: last.0.end,
            },
            b"",
        );
    }
}

#[cfg(test)]
mod tests;
