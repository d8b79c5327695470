//! Masks answers that come in one piece.

use std::rc::Rc;

use crate::json::{Container, Edits, Event, Value, walk};
use crate::mask::Masker;

use super::annotations::is_annotation;
use super::content::Content;
use super::item::{Items, OWN_TEXT, Watch};
use super::restore::{Restore, restore_whole};
use super::scan::{Scan, channel_name, looks_like_json};
use super::{Api, DueCalls, Limits, Place, ResponseFacts, Shown, Unreadable};

/// An answer whose secrets are masked.
pub struct MaskedResponse {
    /// The body to pass on; `None` if it stays as it came.
    pub body: Option<Vec<u8>>,
    /// What was learnt from it.
    pub facts: ResponseFacts,
    /// The tool calls in it that [`Watch`] asks for, in order.
    pub calls: DueCalls,
}

/// Masks an answer in the API's own form that is not a stream; values that the request showed in
/// files go back where the answer writes those.
///
/// # Errors
///
/// [`Unreadable`] if the body is not JSON.
pub fn mask_response(
    api: Api,
    masker: &Masker,
    body: &[u8],
    limits: &Limits,
    watch: &Watch,
    shown: Option<Rc<Shown>>,
) -> Result<MaskedResponse, Unreadable> {
    mask_json(Some(api), masker, body, limits, (watch, shown))
}

/// Masks a body of no known form, such as an error: all strings of JSON, or plain text.
///
/// # Errors
///
/// [`Unreadable`] if the body begins like JSON and is not, or is not UTF-8.
pub fn mask_plain(
    masker: &Masker,
    body: &[u8],
    limits: &Limits,
) -> Result<MaskedResponse, Unreadable> {
    if looks_like_json(body) {
        return mask_json(None, masker, body, limits, (&Watch::default(), None));
    }
    let text = std::str::from_utf8(body).map_err(|_| Unreadable::NotText)?;
    let mut scan = Scan::new(limits);
    let mut content = Content::new(limits);
    let masked = scan.mask(masker, text, || "body".to_owned());
    content.add_whole(|| "body".to_owned(), masked.as_deref().unwrap_or(text));
    let facts = scan.facts(&content, ResponseFacts::default());
    let sent = masked.map(|masked| {
        let mut sent = masked.into_bytes();
        scan.originals.put_back_plain(&mut sent);
        sent
    });
    Ok(MaskedResponse {
        body: sent,
        facts,
        calls: DueCalls::default(),
    })
}

/// Without an API, every string is a text of its own.
fn mask_json(
    api: Option<Api>,
    masker: &Masker,
    body: &[u8],
    limits: &Limits,
    (watch, shown): (&Watch, Option<Rc<Shown>>),
) -> Result<MaskedResponse, Unreadable> {
    let mut items = Items::new(watch);
    let mut scan = Scan::new(limits);
    let mut content = Content::new(limits);
    let mut edits = Edits::default();
    let mut learnt = ResponseFacts::default();
    walk(body, &mut |path, event| {
        let place = || api.map_or(Place::Text, |api| api.answer_place(&path.steps()));
        let part = || api.map_or(OWN_TEXT, |api| api.answer_part(&path.steps()));
        match event {
            Event::Key(span, key) => {
                scan.key(masker, path, (span, key), &mut edits);
            }
            Event::Open(_) | Event::Value(_, Value::Null) => {}
            Event::Value(span, value) if is_annotation(path) => {
                learnt.annotate(masker, path, value, scan.has_masked());
                if let Value::Text(text) = value {
                    scan.value(masker, Place::Text, path, (span, text), &mut edits);
                }
            }
            Event::Value(span, value) => match (place(), value) {
                (Place::Dropped, _) => {
                    if path.last_key().is_some_and(|key| key == "logprobs") {
                        edits.replace(span, b"null");
                    }
                }
                (place, Value::Text(text)) => {
                    let decoded = text.decode();
                    if let Place::Piece(_) = place {
                        let masked = scan.mask(masker, &decoded, || channel_name(path));
                        let kept = masked.as_deref().unwrap_or(&decoded);
                        content.add_whole(|| channel_name(path), kept);
                        if let Some(masked) = &masked {
                            edits.replace_text(span, masked);
                        }
                        if items.watches_calls() {
                            let found = masked.map(|masked| (masked, &scan.latest));
                            items.text(part(), text, found);
                        }
                        return Ok(());
                    }
                    learnt.done |= place == Place::Finish;
                    learnt.note(masker, place, &decoded);
                    if place == Place::CallName {
                        learnt.call(masker, &decoded);
                    }
                    if place == Place::Signed {
                        let masked = scan.signed(masker, &decoded, || channel_name(path));
                        let kept = masked.as_deref().unwrap_or(&decoded);
                        content.add_whole(|| channel_name(path), kept);
                        return Ok(());
                    }
                    let masked = scan.value(masker, place, path, (span, text), &mut edits);
                    if place == Place::CallName {
                        let name = masked.map_or_else(|| text.decode(), Into::into);
                        items.call_name(&name, None);
                    } else if items.watches_calls() {
                        let found = masked.map(|masked| (masked, &scan.latest));
                        items.text(part(), text, found);
                    }
                }
                (place, Value::Number(digits)) => learnt.count(place, digits),
                (_, Value::Null | Value::Bool(_)) => {}
            },
            Event::Close(container, span) => {
                if path.last_key().is_some_and(|key| key == "logprobs") && place() == Place::Dropped
                {
                    let nothing: &[u8] = match container {
                        Container::Array => b"[]",
                        Container::Object => b"null",
                    };
                    edits.replace(span, nothing);
                }
                if items.watches_calls() {
                    items.close(part(), span, body, &edits);
                }
            }
        }
        Ok::<_, Unreadable>(())
    })?;
    let calls = items.finish();
    let mut facts = scan.facts(&content, learnt);
    let mut sent = (!edits.is_empty()).then(|| edits.apply(body));
    if let Some((shown, api)) = shown.zip(api) {
        let mut restore = Restore::new(shown, masker, limits.max_held);
        let restored = restore_whole(api, &mut restore, sent.as_deref().unwrap_or(body));
        sent = restored.or(sent);
        facts.restore(&restore);
    }
    if let Some(sent) = &mut sent {
        scan.originals.put_back(sent, 0);
    }
    Ok(MaskedResponse {
        body: sent,
        facts,
        calls: DueCalls {
            calls: calls.items,
            overflow: calls.overflow,
        },
    })
}
