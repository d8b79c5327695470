//! Masks requests.

use std::collections::BTreeMap;

use crate::json::{Container, Edits, Event, Path, Span, Value, walk};
use crate::mask::{Finding, Masker};

use super::scan::{Scan, channel_name, is_blob, is_name};
use super::{Api, Limits, Place, Placed, Unreadable, Unscanned, UnscannedReason};

/// A request whose secrets are masked, and what policy wants to know about it.
pub struct MaskedRequest {
    /// The body to send; `None` if it stays as it came.
    pub body: Option<Vec<u8>>,
    /// The model asked for.
    pub model: Option<String>,
    /// Whether the answer shall be a stream.
    pub stream: bool,
    /// The first findings, at most [`Limits::max_findings`].
    pub findings: Vec<Placed>,
    /// All findings.
    pub findings_count: u64,
    /// All findings by detector.
    pub by_detector: BTreeMap<&'static str, u64>,
    /// What was not looked at.
    pub unscanned: Vec<Unscanned>,
    /// Bytes of text that was looked at.
    pub scanned_bytes: u64,
    /// Names of the tools offered to the model, in order.
    pub tools: Vec<String>,
}

/// Masks all text in a request, and reads what decisions need.
///
/// `null` counts as absent for `stream`, `messages` and `tools`, but not for `model`.
///
/// # Errors
///
/// [`Unreadable`] if the body is not one JSON object, or if what decides is not what it must be.
pub fn mask_request(
    api: Api,
    masker: &Masker,
    body: &[u8],
    limits: &Limits,
) -> Result<MaskedRequest, Unreadable> {
    let mut scan = Scan::new(limits);
    let mut edits = Edits::default();
    let mut model = None;
    let mut stream = false;
    let mut tools = Vec::new();
    let mut signed = SignedTexts::default();
    let mut item_says = false;
    walk(body, &mut |path, event| {
        match event {
            Event::Open(container) => match path.depth() {
                0 if container != Container::Object => return Err(Unreadable::NotAnObject),
                1 => match api.request_place(&path.steps()) {
                    Place::Model | Place::Stream => return Err(Unreadable::WrongType),
                    Place::Elsewhere => return Err(Unreadable::Elsewhere),
                    Place::List if container != Container::Array => {
                        return Err(Unreadable::WrongType);
                    }
                    _ => {}
                },
                2 => item_says = container == Container::Array,
                _ => {}
            },
            Event::Key(span, key) => {
                if path.depth() == 0 && is_other_spelling(&key.decode(), api.deciding_keys()) {
                    return Err(Unreadable::OtherSpelling);
                }
                item_says |= path.depth() == 2 && !matches!(&*key.decode(), "id" | "type");
                scan.key(masker, path, (span, key), &mut edits);
            }
            Event::Value(_, _) if path.depth() == 0 => return Err(Unreadable::NotAnObject),
            Event::Value(span, value) => match (api.request_place(&path.steps()), value) {
                (Place::Model, Value::Text(name)) if is_name(&name.decode()) => {
                    model = Some(name.decode().into_owned());
                }
                (Place::Stream, Value::Bool(wanted)) => stream = wanted,
                (Place::Stream | Place::List | Place::Elsewhere, Value::Null) => {}
                (Place::Elsewhere, _) => return Err(Unreadable::Elsewhere),
                (Place::Item, Value::Text(kind)) if kind.decode() == "item_reference" => {
                    return Err(Unreadable::Elsewhere);
                }
                (Place::Signed, Value::Text(text)) => {
                    signed.hold(&mut scan, masker, path, (span, &text.decode()));
                }
                (Place::Model | Place::Stream | Place::List, _) => {
                    return Err(Unreadable::WrongType);
                }
                (place, Value::Text(text)) => {
                    if place == Place::Signature && is_blob(&text.decode()) {
                        signed.signatures.push(path.depth());
                    }
                    scan.value(masker, place, path, (span, text), &mut edits);
                    if place == Place::ToolName {
                        let name = text.decode();
                        tools.push(if is_name(&name) {
                            name.into_owned()
                        } else {
                            "*".to_owned()
                        });
                    }
                }
                (Place::Prompt, Value::Number(_)) => {
                    scan.skip(UnscannedReason::Tokens, span.length());
                }
                (_, Value::Null | Value::Bool(_) | Value::Number(_)) => {}
            },
            Event::Close(container, _) => {
                let depth = path.depth();
                if depth == 2 && !item_says && api.request_place(&path.steps()) == Place::Item {
                    return Err(Unreadable::Elsewhere);
                }
                if container == Container::Object {
                    signed.close(&mut scan, depth + 1, &mut edits);
                }
            }
        }
        Ok(())
    })?;
    Ok(MaskedRequest {
        body: (!edits.is_empty()).then(|| edits.apply(body)),
        model,
        stream,
        findings: scan.findings,
        findings_count: scan.findings_count,
        by_detector: scan.by_detector,
        unscanned: scan.unscanned,
        scanned_bytes: scan.scanned,
        tools,
    })
}

/// Texts whose signatures may stand behind them: until their object ends it is open whether they
/// may be changed.
#[derive(Default)]
struct SignedTexts {
    texts: Vec<SignedText>,
    /// Depths of the signatures in objects that have not ended.
    signatures: Vec<usize>,
}

struct SignedText {
    depth: usize,
    span: Span,
    masked: Option<String>,
    findings: Vec<Finding>,
    channel: String,
}

impl SignedTexts {
    fn hold(
        &mut self,
        scan: &mut Scan,
        masker: &Masker,
        path: &Path<'_>,
        (span, text): (Span, &str),
    ) {
        let (masked, findings) = scan.look(masker, text);
        if !findings.is_empty() {
            self.texts.push(SignedText {
                depth: path.depth(),
                span,
                masked,
                findings,
                channel: channel_name(path),
            });
        }
    }

    /// Ends an object whose values stand at this depth.
    fn close(&mut self, scan: &mut Scan, depth: usize, edits: &mut Edits) {
        let is_signed = self.signatures.pop_if(|at| *at >= depth).is_some();
        while let Some(text) = self.texts.pop_if(|text| text.depth >= depth) {
            scan.fresh = text.findings;
            if is_signed {
                scan.place_passed(|| text.channel);
            } else {
                scan.place(|| text.channel);
                if let Some(masked) = &text.masked {
                    edits.replace_text(text.span, masked);
                }
            }
        }
    }
}

/// Whether a reader that ignores case (as Go's does) would take the key for one that decides.
fn is_other_spelling(key: &str, deciding: &[&str]) -> bool {
    let folded = |character: char| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    deciding
        .iter()
        .any(|name| *name != key && key.chars().map(folded).eq(name.chars()))
}
