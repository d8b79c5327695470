//! Masks requests.

use std::collections::BTreeMap;

use crate::json::{
    Container, Edits, Event, Path, Span, Step, Text, Value, Visit, object_length, walk_over,
};
use crate::mask::{Finding, Masker};
use crate::repeats::{Digest, Element, Texts};
use crate::time::UnixTime;

use super::history::History;
use super::item::{ContentItem, Items, Part, Watch};
use super::record::Record;
use super::restore::{Files, Shown};
use super::scan::{Scan, channel_name, is_blob, is_name};
use super::{Api, Limits, Place, Placed, Unreadable, Unscanned, UnscannedReason};

/// A request whose secrets are masked, and what policy wants to know about it.
pub struct MaskedRequest {
    /// The body to send, masked but for values that stay; `None` if it stays as it came.
    pub body: Option<Vec<u8>>,
    /// The masked body as it is recorded: with references in place of texts that stand in earlier
    /// records. Empty if nothing shall be recorded.
    pub recorded: Vec<u8>,
    /// The longer texts in it, and where they stand.
    pub texts: Vec<(Digest, Span)>,
    /// The model asked for.
    pub model: Option<String>,
    /// Whether the answer shall be a stream.
    pub stream: bool,
    /// The first findings, at most [`Limits::max_findings`].
    pub findings: Vec<Placed>,
    /// All findings.
    pub findings_count: u64,
    /// All findings by detector, but for values that somebody vouches for.
    pub by_detector: BTreeMap<&'static str, u64>,
    /// Whether a text was changed.
    pub has_masked: bool,
    /// What was not looked at.
    pub unscanned: Vec<Unscanned>,
    /// Bytes of text that was looked at.
    pub scanned_bytes: u64,
    /// Names of the tools offered to the model, in order.
    pub tools: Vec<String>,
    /// The items that [`Watch`] asks for, in order.
    pub items: Vec<ContentItem>,
    /// Whether there are more of them than are kept.
    pub items_overflow: bool,
    /// What may go back into files that the answer writes, or into what it says; nothing unless the
    /// masker keeps values.
    pub shown: Shown,
}

/// Masks all text in a request, takes out what the gateway itself had said in the history, and reads
/// what decisions need. `texts` are those that the person has sent before.
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
    watch: &Watch,
    (texts, now): (Texts<'_>, UnixTime),
) -> Result<MaskedRequest, Unreadable> {
    let mut reader = Reader {
        api,
        masker,
        body,
        scan: Scan::new(limits),
        edits: Edits::default(),
        record: Record::new(texts, now),
        items: Items::new(watch),
        history: History::default(),
        signed: SignedTexts::default(),
        files: if masker.keeps() {
            Files::new(api, body)
        } else {
            None
        },
        item_says: false,
        model: None,
        stream: false,
        tools: Vec::new(),
        element: None,
    };
    walk_over(body, &mut reader)?;
    let Reader {
        scan,
        mut edits,
        mut history,
        record,
        files,
        ..
    } = reader;
    history.end(&mut edits);
    let (recorded, texts) = match limits.max_content {
        0 => (Vec::new(), Vec::new()),
        _ => record.finish(body, &edits),
    };
    let has_masked = scan.has_masked();
    let kept = reader.items.finish();
    let sent = (!edits.is_empty()).then(|| {
        let mut sent = edits.apply(body);
        scan.originals.put_back(&mut sent, 0);
        sent
    });
    let values = scan.values;
    let shown = match files {
        Some(files) => files.finish(values),
        None => Shown::values(values),
    };
    Ok(MaskedRequest {
        shown,
        body: sent.filter(|sent| sent != body),
        has_masked,
        recorded,
        texts,
        model: reader.model,
        stream: reader.stream,
        findings: scan.findings,
        findings_count: scan.findings_count,
        by_detector: scan.by_detector,
        unscanned: scan.unscanned,
        scanned_bytes: scan.scanned,
        tools: reader.tools,
        items: kept.items,
        items_overflow: kept.overflow,
    })
}

/// One walk through a request.
struct Reader<'w, 's> {
    api: Api,
    masker: &'w Masker,
    body: &'s [u8],
    scan: Scan,
    edits: Edits,
    record: Record<'w>,
    items: Items<'w, 's>,
    history: History,
    signed: SignedTexts,
    /// What files it shows, if values are kept.
    files: Option<Files<'s>>,
    /// The item at hand is more than a reference.
    item_says: bool,
    model: Option<String>,
    stream: bool,
    tools: Vec<String>,
    /// The element of a list that is being read.
    element: Option<Reading>,
}

/// An element of a list, and where the reader was before it.
struct Reading {
    digest: Digest,
    start: usize,
    left: [u64; 6],
    scanned: u64,
    texts: usize,
    tools: usize,
}

impl<'s> Visit<'s, Unreadable> for Reader<'_, 's> {
    fn see(&mut self, path: &Path<'s>, event: Event<'s>) -> Result<(), Unreadable> {
        self.scan.marks.clear();
        match event {
            Event::Open(container) => self.open(path, container)?,
            Event::Key(span, key) => self.key(path, span, key)?,
            Event::Value(_, _) if path.depth() == 0 => return Err(Unreadable::NotAnObject),
            Event::Value(span, value) => self.value(path, span, value)?,
            Event::Close(container, span) => self.close(path, container, span)?,
        }
        if let Some(files) = &mut self.files {
            files.see(path, event, &self.scan.marks, &self.scan.values);
        }
        if let (Event::Close(_, span), 2) = (event, path.depth()) {
            self.close_element(span);
        }
        Ok(())
    }

    fn pass_over(&mut self, path: &Path<'s>, at: usize, rest: &'s str) -> Option<usize> {
        if path.depth() != 2 {
            return None;
        }
        let steps = path.steps();
        let &[Step::Key(list), Step::Index(_)] = &*steps else {
            return None;
        };
        let length = object_length(rest)?;
        let seen = &mut self.record.seen;
        let digest = seen.element_digest(self.api as u8, list, rest.get(..length)?)?;
        let Some(known) = seen.element(digest) else {
            self.element = Some(Reading {
                digest,
                start: at,
                left: self.left(),
                scanned: self.scan.scanned,
                texts: self.record.texts().len(),
                tools: self.tools.len(),
            });
            return None;
        };
        self.scan.scanned += known.scanned;
        self.tools.extend_from_slice(&known.tools);
        for (text, span) in &known.texts {
            self.record.known_text(span.moved(at), *text);
        }
        if self.api.request_part(&steps) == Part::Message {
            let span = Span {
                start: at,
                end: at + length,
            };
            self.history.other(span, &mut self.edits);
        }
        Some(length)
    }
}

impl<'s> Reader<'_, 's> {
    /// What elements leave behind, in numbers that then change: findings, bytes that were not looked
    /// at, edits, items, words of the gateway, calls.
    fn left(&self) -> [u64; 6] {
        let unscanned = self.scan.unscanned.iter().map(|it| it.count).sum();
        let calls = self.files.as_ref().map_or(0, Files::calls);
        [
            self.scan.findings_count,
            unscanned,
            self.edits.count() as u64,
            self.items.count() as u64,
            self.history.taken as u64,
            calls as u64,
        ]
    }

    /// Keeps an element that has left nothing behind.
    fn close_element(&mut self, span: Span) {
        let Some(element) = self.element.take() else {
            return;
        };
        if element.start != span.start || element.left != self.left() {
            return;
        }
        let texts = self.record.texts().get(element.texts..).unwrap_or_default();
        let texts = texts
            .iter()
            .map(|(text, at)| (*text, at.behind(span.start)));
        let known = Element {
            scanned: self.scan.scanned - element.scanned,
            texts: texts.collect(),
            tools: self.tools.get(element.tools..).unwrap_or_default().to_vec(),
        };
        self.record.seen.add_element(element.digest, known);
    }

    fn open(&mut self, path: &Path<'s>, container: Container) -> Result<(), Unreadable> {
        match path.depth() {
            0 if container != Container::Object => return Err(Unreadable::NotAnObject),
            1 => match self.api.request_place(&path.steps()) {
                Place::Model | Place::Stream => return Err(Unreadable::WrongType),
                Place::Elsewhere => return Err(Unreadable::Elsewhere),
                Place::List if container != Container::Array => return Err(Unreadable::WrongType),
                _ => {}
            },
            2 => {
                self.item_says = container == Container::Array;
                if self.api.request_part(&path.steps()) == Part::Message {
                    self.history.open();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn key(&mut self, path: &Path<'s>, span: Span, key: Text<'s>) -> Result<(), Unreadable> {
        if path.depth() == 0 && is_other_spelling(&key.decode(), self.api.deciding_keys()) {
            return Err(Unreadable::OtherSpelling);
        }
        self.item_says |= path.depth() == 2 && !matches!(&*key.decode(), "id" | "type");
        let masked = self
            .scan
            .key(self.masker, path, (span, key), &mut self.edits);
        if let Some(masked) = masked {
            let part = match self.api.request_part(&path.steps()) {
                Part::Arguments => Part::InArguments,
                part => part,
            };
            self.items
                .text(part, key, Some((masked, &self.scan.latest)));
        }
        Ok(())
    }

    fn value(&mut self, path: &Path<'s>, span: Span, value: Value<'s>) -> Result<(), Unreadable> {
        let steps = path.steps();
        match (self.api.request_place(&steps), value) {
            (Place::Model, Value::Text(name)) if is_name(&name.decode()) => {
                self.model = Some(name.decode().into_owned());
            }
            (Place::Stream, Value::Bool(wanted)) => self.stream = wanted,
            (Place::Stream | Place::List | Place::Elsewhere, Value::Null) => {}
            (Place::Elsewhere, _) => return Err(Unreadable::Elsewhere),
            (Place::ItemKind, Value::Text(kind)) if kind.decode() == "item_reference" => {
                return Err(Unreadable::Elsewhere);
            }
            (Place::Model | Place::Stream | Place::List, _) => return Err(Unreadable::WrongType),
            (place, Value::Text(text)) => self.text(place, path, &steps, (span, text)),
            (Place::Prompt, Value::Number(_)) => {
                self.scan.skip(UnscannedReason::Tokens, span.length());
            }
            (_, Value::Null | Value::Bool(_) | Value::Number(_)) => {}
        }
        if path.depth() == 2 && self.api.request_part(&steps) == Part::Message {
            self.history.other(span, &mut self.edits);
        }
        Ok(())
    }

    fn text(
        &mut self,
        place: Place,
        path: &Path<'s>,
        steps: &[Step<'_>],
        (span, text): (Span, Text<'s>),
    ) {
        let named = matches!(
            place,
            Place::Name | Place::Role | Place::CallName | Place::ItemKind
        );
        if path.depth() > 2 && !named && !text.is_empty() {
            if self.is_own(path, steps, (span, text)) {
                return;
            }
            self.history.more();
        }
        let digest = self.record.text(span, text);
        if place == Place::Signed {
            let part = self.api.request_part(steps);
            self.signed.hold(
                &mut self.scan,
                self.masker,
                path,
                (span, &text.decode()),
                part,
            );
            return;
        }
        if place == Place::Signature && is_blob(&text.decode()) {
            self.signed.signatures.push(path.depth());
        }
        let masked = match digest {
            // of other places it is open whether they are looked at
            Some(digest) if matches!(place, Place::Piece(_) | Place::Prompt | Place::Text) => {
                self.known_text(digest, path, (span, text))
            }
            _ => self
                .scan
                .value(self.masker, place, path, (span, text), &mut self.edits),
        };
        if place == Place::Encoded {
            self.scan.marks.clear(); // they stand in what is encoded
        }
        let name = || {
            masked
                .as_deref()
                .map_or_else(|| text.decode(), |masked| masked.to_owned().into())
        };
        match place {
            Place::Role => self.items.role(&name()),
            Place::CallName => {
                self.history.more();
                let found = masked.is_some().then_some(&self.scan.latest);
                self.items.call_name(&name(), found);
            }
            Place::ToolName => {
                let name = text.decode();
                self.tools.push(if is_name(&name) {
                    name.into_owned()
                } else {
                    "*".to_owned()
                });
            }
            _ => {}
        }
        if place != Place::CallName && (masked.is_some() || self.items.watches_calls()) {
            let part = self.api.request_part(steps);
            let found = masked.map(|masked| (masked, &self.scan.latest));
            self.items.text(part, text, found);
        }
    }

    /// Masks a text; what is known to be in it is not searched again.
    fn known_text(
        &mut self,
        digest: Digest,
        path: &Path<'s>,
        (span, text): (Span, Text<'s>),
    ) -> Option<String> {
        let (masker, scan) = (self.masker, &mut self.scan);
        let texts = &mut self.record.seen;
        if let Some(length) = texts.clean(digest) {
            scan.scanned += length;
            return None;
        }
        let text = text.decode();
        let known = texts.found(digest);
        let known = known.and_then(|it| it.mask(&text, &mut scan.fresh));
        let masked = known.or_else(|| {
            let masked = masker.mask(&text, &mut scan.fresh);
            match &masked {
                Some(masked) => texts.add_found(digest, masker.known(&text, masked, &scan.fresh)),
                None => texts.add_clean(digest, text.len()),
            }
            masked
        });
        scan.scanned += text.len() as u64;
        scan.place(|| channel_name(path));
        self.edits.replace_text(span, masked.as_ref()?);
        masked
    }

    /// Takes a text that ends as ours do; whether it is ours shows with its message's role.
    fn is_own(
        &mut self,
        path: &Path<'s>,
        steps: &[Step<'_>],
        (span, text): (Span, Text<'s>),
    ) -> bool {
        let part = self.api.request_part(steps);
        if !text.may_be_ours() || !matches!(part, Part::Text { role: None, .. }) {
            return false;
        }
        let is_block = |end: usize| {
            let above = steps.get(..end);
            above.is_some_and(|above| self.api.request_part(above) == Part::Block)
        };
        let in_block = (1..steps.len()).any(is_block);
        let text = text.decode();
        self.history
            .take((span, &text), part, in_block, || channel_name(path))
    }

    fn close(
        &mut self,
        path: &Path<'s>,
        container: Container,
        span: Span,
    ) -> Result<(), Unreadable> {
        let depth = path.depth();
        if depth == 2 && !self.item_says && self.api.request_place(&path.steps()) == Place::Item {
            return Err(Unreadable::Elsewhere);
        }
        if container == Container::Object {
            let Self {
                signed,
                scan,
                edits,
                items,
                record,
                ..
            } = self;
            signed.close(
                scan,
                depth + 1,
                (edits, record),
                &mut |part, masked, found| {
                    items.found(part, masked, found);
                },
            );
        }
        if !(2..=MAX_PART_DEPTH).contains(&depth) {
            return Ok(());
        }
        let part = self.api.request_part(&path.steps());
        match part {
            Part::Block => self.history.block(span),
            Part::Message => self.close_message(span),
            Part::Arguments | Part::Call | Part::InArguments | Part::Text { .. } => {}
        }
        self.items.close(part, span, self.body, &self.edits);
        Ok(())
    }

    fn close_message(&mut self, span: Span) {
        let assistant = self.items.is_assistant();
        for own in self.history.close(span, assistant, &mut self.edits) {
            let text = if assistant { own.left() } else { &own.text };
            let masked = self.scan.mask(self.masker, text, || own.channel.clone());
            if assistant || masked.is_some() {
                let sent = masked.as_deref().unwrap_or(text);
                self.edits.replace_text(own.span, sent);
            }
            if let Some(masked) = masked {
                self.items.found(own.part, masked, &self.scan.latest);
            }
        }
    }
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
    masked: String,
    findings: Vec<Finding>,
    channel: String,
    part: Part,
}

impl SignedTexts {
    fn hold(
        &mut self,
        scan: &mut Scan,
        masker: &Masker,
        path: &Path<'_>,
        (span, text): (Span, &str),
        part: Part,
    ) {
        if let (Some(masked), findings) = scan.look(masker, text) {
            self.texts.push(SignedText {
                depth: path.depth(),
                span,
                masked,
                findings,
                channel: channel_name(path),
                part,
            });
        }
    }

    /// Ends an object whose values stand at this depth; tells `found` what was found, and where.
    fn close(
        &mut self,
        scan: &mut Scan,
        depth: usize,
        (edits, record): (&mut Edits, &mut Record<'_>),
        found: &mut impl FnMut(Part, String, &BTreeMap<&'static str, u64>),
    ) {
        let is_signed = self.signatures.pop_if(|at| *at >= depth).is_some();
        while let Some(text) = self.texts.pop_if(|text| text.depth >= depth) {
            scan.fresh = text.findings;
            let masked = text.masked;
            if is_signed {
                scan.place_passed(|| text.channel);
                record.masked(text.span, &masked);
            } else {
                scan.place(|| text.channel);
                edits.replace_text(text.span, &masked);
            }
            found(text.part, masked, &scan.latest);
        }
    }
}

/// Deepest path of an object that means something to items.
const MAX_PART_DEPTH: usize = 6;

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

#[cfg(test)]
mod tests;
