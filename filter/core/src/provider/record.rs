//! What is recorded of a request: its longer texts once, then references to them.

use crate::json::{Edits, Span, Text};
use crate::repeats::{Digest, Texts};
use crate::time::UnixTime;

/// The record of one request, while it is read.
pub(super) struct Record<'w> {
    pub(super) seen: Texts<'w>,
    now: UnixTime,
    references: Edits,
    /// Texts without a reference.
    fresh: Vec<(Digest, Span)>,
    /// All texts.
    texts: Vec<(Digest, Span)>,
}

impl<'w> Record<'w> {
    pub(super) fn new(seen: Texts<'w>, now: UnixTime) -> Self {
        Self {
            seen,
            now,
            references: Edits::default(),
            fresh: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Takes note of a text; gives its digest if it is worth one.
    pub(super) fn text(&mut self, span: Span, text: Text<'_>) -> Option<Digest> {
        let digest = self.seen.digest(text.raw())?;
        self.known_text(span, digest);
        Some(digest)
    }

    /// Takes note of a text by its digest.
    pub(super) fn known_text(&mut self, span: Span, digest: Digest) {
        self.texts.push((digest, span));
        match self.seen.reference(digest, self.now) {
            Some(reference) => self.references.replace_text(span, &reference),
            None => self.fresh.push((digest, span)),
        }
    }

    /// Takes what is recorded of a text that goes upstream as it came.
    pub(super) fn masked(&mut self, span: Span, masked: &str) {
        self.references.replace_text(span, masked);
    }

    /// The longer texts so far, in order.
    pub(super) fn texts(&self) -> &[(Digest, Span)] {
        &self.texts
    }

    /// The content, and where the fresh texts stand in it.
    pub(super) fn finish(mut self, body: &[u8], edits: &Edits) -> (Vec<u8>, Vec<(Digest, Span)>) {
        self.references.under(edits);
        let spans: Vec<Span> = self.fresh.iter().map(|(_, span)| *span).collect();
        let (content, places) = self.references.apply_and_find(body, &spans);
        let fresh = self.fresh.into_iter().zip(places);
        let fresh = fresh.filter_map(|((digest, _), place)| Some((digest, place?)));
        (content, fresh.collect())
    }
}

#[cfg(test)]
mod tests;
