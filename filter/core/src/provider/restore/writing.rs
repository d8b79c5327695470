//! The arguments of one call of a stream, or a text that it says.

use crate::mask::PREFIX;

use super::answers::Telling;
use super::{MAX_ARGUMENTS, Restore, is_writer, placeholder_start};

/// What is known of a call's arguments, or of a text.
#[derive(Default)]
pub(in crate::provider) enum Writing {
    /// Nothing of them came.
    #[default]
    New,
    /// They write no file, or are too long: nothing goes back.
    Plain,
    /// They write a file.
    Kept(Kept),
    /// It is said to the person.
    Told(Box<Telling>),
}

/// A tool that writes files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) struct Tool {
    pub(in crate::provider) name: String,
    /// It takes plain text.
    pub(in crate::provider) custom: bool,
}

/// Where a text of the answer goes, if values may go back into it.
#[derive(Clone, Copy)]
pub(in crate::provider) enum Goes<'a> {
    /// Into a file: it is what this tool is called with.
    ToFile(&'a Tool),
    /// To the person, to whom the answer says it.
    ToPerson,
}

/// Calls of a stream by where they stand, each with its tool if that writes files; without one if
/// it was named in two ways. `MOST` calls are noted.
pub(in crate::provider) struct Writers<K, const MOST: usize> {
    calls: Vec<(K, Option<Tool>)>,
}

impl<K, const MOST: usize> Default for Writers<K, MOST> {
    fn default() -> Self {
        Self { calls: Vec::new() }
    }
}

impl<K: PartialEq, const MOST: usize> Writers<K, MOST> {
    /// Notes the name of a call's tool. It may come again, but never another one.
    pub(in crate::provider) fn note(&mut self, call: K, name: &str, custom: bool) {
        let tool = is_writer(name).then(|| Tool {
            name: name.to_owned(),
            custom,
        });
        if let Some((_, known)) = self.calls.iter_mut().find(|(known, _)| *known == call) {
            if *known != tool {
                *known = None;
            }
        } else if self.calls.len() < MOST {
            self.calls.push((call, tool));
        }
    }

    /// The tool that a call calls, if it writes files.
    pub(in crate::provider) fn tool(&self, call: &K) -> Option<&Tool> {
        let known = self.calls.iter().find(|(known, _)| known == call);
        known.and_then(|(_, tool)| tool.as_ref())
    }
}

/// Masked arguments so far.
pub(in crate::provider) struct Kept {
    tool: Tool,
    text: String,
    /// How much of it has left. From the first placeholder on all waits.
    sent: usize,
}

impl Writing {
    /// Begins a text that goes there.
    pub(in crate::provider) fn begun(restore: &mut Restore, goes: Option<Goes<'_>>) -> Self {
        let begun = match goes {
            None => None,
            Some(Goes::ToFile(tool)) => Some(Self::Kept(Kept {
                tool: tool.clone(),
                text: String::new(),
                sent: 0,
            })),
            Some(Goes::ToPerson) => restore.telling().map(|it| Self::Told(Box::new(it))),
        };
        begun.unwrap_or(Self::Plain)
    }

    /// Takes the next piece; what of it may leave stays in `piece`. Says whether `piece` was changed.
    pub(in crate::provider) fn push(
        &mut self,
        restore: &mut Restore,
        goes: Option<Goes<'_>>,
        piece: &mut String,
        channel: impl FnOnce() -> String,
    ) -> bool {
        if piece.is_empty() {
            return false;
        }
        if let Self::New = self {
            *self = Self::begun(restore, goes);
        }
        let kept = match self {
            Self::Kept(kept) => kept,
            Self::Told(telling) => return telling.read(restore, piece, false, channel),
            Self::New | Self::Plain => return false,
        };
        let waited = kept.sent < kept.text.len();
        let fits = piece.len() <= restore.room && kept.text.len() + piece.len() <= MAX_ARGUMENTS;
        if !fits {
            restore.room += kept.text.len();
            restore.leave(&kept.text, &channel());
            piece.insert_str(0, kept.text.get(kept.sent..).unwrap_or_default());
            *self = Self::Plain;
            return waited;
        }
        restore.room -= piece.len();
        kept.text.push_str(piece);
        let end = kept.end(restore);
        piece.clear();
        piece.push_str(kept.text.get(kept.sent..end).unwrap_or_default());
        kept.sent = end;
        waited || end < kept.text.len()
    }

    /// Puts values back into the same text from its beginning; `None` if all of it leaves as it is.
    pub(in crate::provider) fn told(
        &self,
        restore: &mut Restore,
        text: &str,
        is_final: bool,
        channel: &str,
    ) -> Option<String> {
        match self {
            Self::Told(telling) => telling.again().told(restore, text, is_final, channel),
            Self::Kept(_) | Self::New | Self::Plain => None,
        }
    }

    /// Ends the arguments or the text; gives what is still to leave. `same` says that all of a call
    /// was about the same tool.
    pub(in crate::provider) fn finish(
        &mut self,
        restore: &mut Restore,
        same: bool,
        channel: impl FnOnce() -> String,
    ) -> String {
        let kept = match self {
            Self::Kept(kept) => kept,
            Self::Told(telling) => {
                let mut rest = String::new();
                telling.read(restore, &mut rest, true, channel);
                return rest;
            }
            Self::New | Self::Plain => return String::new(),
        };
        restore.room += kept.text.len();
        let Kept { tool, text, sent } = kept;
        let restored = if !text.contains(PREFIX) {
            None
        } else if same {
            restore.call(tool, text, &channel())
        } else {
            restore.leave(text, &channel());
            None
        };
        let text = restored.as_deref().unwrap_or(text);
        let rest = text.get(*sent..).unwrap_or_default().to_owned();
        *self = Self::Plain;
        rest
    }

    /// Whether something of them is still to leave.
    pub(in crate::provider) fn waits(&self) -> bool {
        self.held() > 0
    }

    /// Whether nothing goes back, whatever comes.
    pub(in crate::provider) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Bytes that are still to leave.
    pub(in crate::provider) fn held(&self) -> usize {
        match self {
            Self::Kept(kept) => kept.text.len() - kept.sent,
            Self::Told(telling) => telling.held(),
            Self::New | Self::Plain => 0,
        }
    }
}

impl Kept {
    /// Up to where the text may leave: its first placeholder, or what may become one.
    fn end(&self, restore: &Restore) -> usize {
        let rest = self.text.get(self.sent..).unwrap_or_default();
        if restore.shown.is_empty() {
            return self.text.len();
        }
        self.sent + placeholder_start(rest).unwrap_or(rest.len())
    }
}
