//! Takes the gateway's own texts out of a request's history.
//!
//! Of an assistant's message that the gateway has added to, the addition is cut off. What says
//! nothing then goes whole: the part, or the message, with its comma.

use crate::json::{Edits, Span};
use crate::spoken;

use super::item::Part;

/// Own texts of the message at hand, and the list of messages around it.
#[derive(Default)]
pub(super) struct History {
    messages: Elements,
    own: Vec<OwnText>,
    /// Parts of the message at hand.
    blocks: Vec<Span>,
    /// The message says something that is not ours.
    says_more: bool,
    /// Texts that were taken so far.
    pub(super) taken: usize,
}

/// A text whose end has the form of ours; it counts only in an assistant's message.
pub(super) struct OwnText {
    pub(super) span: Span,
    pub(super) text: String,
    /// The text's bytes before ours begin.
    pub(super) left: usize,
    pub(super) part: Part,
    /// Its channel.
    pub(super) channel: String,
    /// Number of the part it stands in.
    block: Option<usize>,
}

impl OwnText {
    /// What is left of it.
    pub(super) fn left(&self) -> &str {
        self.text.get(..self.left).unwrap_or(&self.text)
    }
}

impl History {
    /// A message begins.
    pub(super) fn open(&mut self) {
        self.own.clear();
        self.blocks.clear();
        self.says_more = false;
    }

    /// Takes a text if its end has the form of ours: then it is not to be looked at before
    /// [`close`](Self::close).
    pub(super) fn take(
        &mut self,
        (span, text): (Span, &str),
        part: Part,
        in_block: bool,
        channel: impl FnOnce() -> String,
    ) -> bool {
        let Some(left) = spoken::without_ours(text) else {
            return false;
        };
        self.taken += 1;
        self.own.push(OwnText {
            span,
            left: left.len(),
            text: text.to_owned(),
            part,
            channel: channel(),
            block: in_block.then_some(self.blocks.len()),
        });
        true
    }

    /// The message at hand says something else.
    pub(super) fn more(&mut self) {
        self.says_more = true;
    }

    /// A part of a message ends.
    pub(super) fn block(&mut self, span: Span) {
        self.blocks.push(span);
    }

    /// A message ends; gives the texts that were taken, each with whether it is ours. What is to go
    /// whole is cut out.
    pub(super) fn close(&mut self, span: Span, assistant: bool, edits: &mut Edits) -> Vec<OwnText> {
        let own = std::mem::take(&mut self.own);
        let mut cut = |span| edits.replace(span, b"");
        let silent = |own: &OwnText| assistant && own.left == 0;
        let gone = !own.is_empty() && !self.says_more && own.iter().all(silent);
        self.messages.element(span, gone, &mut cut);
        if gone {
            return Vec::new();
        }
        let mut blocks = Elements::default();
        let silent_block = |number: usize| {
            let mut here = own.iter().filter(|own| own.block == Some(number));
            here.next().is_some_and(silent) && here.all(silent)
        };
        if own.iter().any(|own| silent(own) && own.block.is_some()) {
            for (number, span) in self.blocks.iter().enumerate() {
                blocks.element(*span, silent_block(number), &mut cut);
            }
            blocks.end(&mut cut);
        }
        own.into_iter()
            .filter(|own| !(silent(own) && own.block.is_some()))
            .collect()
    }

    /// An element of the list of messages that is none.
    pub(super) fn other(&mut self, span: Span, edits: &mut Edits) {
        self.messages
            .element(span, false, &mut |span| edits.replace(span, b""));
    }

    /// The list of messages has ended.
    pub(super) fn end(&mut self, edits: &mut Edits) {
        self.messages.end(&mut |span| edits.replace(span, b""));
    }
}

/// Elements of an array, some of which go, each with one comma.
#[derive(Default)]
struct Elements {
    kept: bool,
    /// End of the last element.
    last: Option<usize>,
    /// Start of the elements that go before the first that stays.
    first_gone: Option<usize>,
}

impl Elements {
    fn element(&mut self, span: Span, gone: bool, cut: &mut impl FnMut(Span)) {
        match (gone, self.kept, self.last) {
            (true, true, Some(last)) => cut(Span {
                start: last,
                end: span.end,
            }),
            (true, _, _) => self.first_gone = self.first_gone.or(Some(span.start)),
            (false, _, _) => {
                if let Some(start) = self.first_gone.take() {
                    cut(Span {
                        start,
                        end: span.start,
                    });
                }
                self.kept = true;
            }
        }
        self.last = Some(span.end);
    }

    fn end(&mut self, cut: &mut impl FnMut(Span)) {
        if let (Some(start), Some(end)) = (self.first_gone.take(), self.last) {
            cut(Span { start, end });
        }
    }
}
