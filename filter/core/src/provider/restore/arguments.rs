//! What goes back into the arguments of one call.

use crate::json::{self, Edits, Event, Path, Span, Step, Text, Value, walk};
use crate::mask::PREFIX;
use crate::provider::Unreadable;

use super::{
    CONTENTS, LISTS, MAX_ARGUMENTS, PATCH, PATHS, Restore, Tool, Written, may_be_path, patch, run,
};

/// An object of the arguments that may name a file: the root, or an element of a list.
type Owner = Option<(usize, usize)>;

/// What the arguments say.
#[derive(Default)]
struct Read<'a> {
    /// Texts with placeholders.
    contents: Vec<(Owner, Span, Text<'a>)>,
    /// Texts of patches with placeholders.
    patches: Vec<(Span, Text<'a>)>,
    /// Paths, each with its object; `None` is one that cannot be told.
    paths: Vec<(Owner, Option<String>)>,
}

impl Restore {
    /// Puts values back into what a tool is called with: JSON, or the plain text of a custom tool.
    pub(in crate::provider) fn call(
        &mut self,
        tool: &Tool,
        text: &str,
        channel: &str,
    ) -> Option<String> {
        match (tool.custom, &*tool.name) {
            (false, name) => self.arguments(name, text, channel),
            (true, PATCH) => self.patch(text, 0, channel),
            (true, _) => None,
        }
    }

    /// Puts values back into the masked arguments of a call; `None` if nothing goes back.
    fn arguments(&mut self, tool: &str, arguments: &str, channel: &str) -> Option<String> {
        if !super::is_writer(tool) || !arguments.contains(PREFIX) {
            return None;
        }
        let mut read = Read::default();
        let walked = walk::<Unreadable>(arguments.as_bytes(), &mut |path, event| {
            read.see(tool, path, event);
            Ok(())
        });
        if walked.is_err() || arguments.len() > MAX_ARGUMENTS {
            self.leave(arguments, channel);
            return None;
        }
        let mut edits = Edits::default();
        for (owner, span, text) in &read.contents {
            let path = read.path(*owner);
            self.content(&mut edits, path, (*span, *text), channel);
        }
        for (span, text) in &read.patches {
            let decoded = text.decode();
            if let Some(patched) = self.patch(&decoded, span.start + 1, channel) {
                edits.replace_text(*span, &patched);
            }
        }
        if edits.is_empty() {
            return None;
        }
        String::from_utf8(edits.apply(arguments.as_bytes())).ok()
    }

    /// Puts values back into a patch; `offset` is where it stands. `None` if nothing goes back.
    fn patch(&mut self, text: &str, offset: usize, channel: &str) -> Option<String> {
        let mut out = String::new();
        let mut copied = 0;
        for place in patch::places(text) {
            let at = place.at;
            let Some((length, detector)) = self.placeholder(text.get(at..)?) else {
                continue;
            };
            let value = self.values().find(text.get(at..at + length)?);
            let after = text.get(at + length..).and_then(run);
            let fits = value.zip(after).filter(|(value, after)| {
                self.shown.fits(*value, &place.path, &place.before, after)
            });
            let fits = fits.map(|(value, _)| value);
            self.written(value, (detector, offset + at, length), channel, fits);
            if let Some(value) = fits.and_then(|value| self.values().value(value)) {
                // A patch has one line for each: a value of several lines would break it.
                let value = patch::lines(value.expose(), place.mark);
                out.push_str(text.get(copied..at)?);
                out.push_str(&value);
                copied = at + length;
            }
        }
        if copied == 0 {
            return None;
        }
        out.push_str(text.get(copied..)?);
        Some(out)
    }

    /// Notes that placeholders stay.
    pub(super) fn leave(&mut self, arguments: &str, channel: &str) {
        for at in memchr::memmem::find_iter(arguments.as_bytes(), PREFIX) {
            let found = arguments
                .get(at..)
                .and_then(|found| self.placeholder(found));
            if let Some((length, detector)) = found {
                let placeholder = arguments.get(at..at + length).unwrap_or_default();
                let value = self.values().find(placeholder);
                self.written(value, (detector, at, length), channel, None);
            }
        }
    }

    fn content(
        &mut self,
        edits: &mut Edits,
        path: Option<&str>,
        (span, text): (Span, Text<'_>),
        channel: &str,
    ) {
        let raw = text.raw();
        let mut before = String::new();
        let mut out = b"\"".to_vec();
        let (mut read, mut changed) = (0, false);
        for at in memchr::memmem::find_iter(raw.as_bytes(), PREFIX) {
            // `M` is part of no escape, so what stands before it ends between two characters.
            let Some((length, detector)) = raw.get(at..).and_then(|it| self.placeholder(it)) else {
                continue;
            };
            let Some(part) = text.part(read..at) else {
                continue; // within the last one
            };
            before.push_str(&part.decode());
            out.extend_from_slice(part.raw().as_bytes());
            read = at + length;
            let placeholder = raw.get(at..read).unwrap_or_default();
            let value = self.values().find(placeholder);
            let after = raw.get(read..).and_then(written_run);
            let fits = value.zip(after).filter(|(value, after)| {
                let path = path.unwrap_or_default();
                self.shown.fits(*value, path, &before, after)
            });
            let fits = fits.map(|(value, _)| value);
            self.written(
                value,
                (detector, span.start + 1 + at, length),
                channel,
                fits,
            );
            match fits.and_then(|value| self.values().value(value)) {
                Some(value) => {
                    json::push_escaped(&mut out, value.expose());
                    changed = true;
                }
                None => out.extend_from_slice(placeholder.as_bytes()),
            }
            before.push_str(placeholder);
        }
        if changed {
            out.extend_from_slice(raw.get(read..).unwrap_or_default().as_bytes());
            out.push(b'"');
            edits.replace(span, &out);
        }
    }

    /// The placeholder with which a text begins.
    fn placeholder(&self, text: &str) -> Option<(usize, &'static str)> {
        self.masker.placeholder(text)
    }

    fn written(
        &mut self,
        value: Option<usize>,
        (detector, offset, length): (&'static str, usize, usize),
        channel: &str,
        fits: Option<usize>,
    ) {
        let fingerprint = value.and_then(|value| self.values().fingerprint(value));
        self.note(Written {
            detector,
            offset: offset as u64,
            length: length as u64,
            fingerprint: fingerprint.map(str::to_owned),
            channel: channel.to_owned(),
            restored: fits.is_some(),
        });
    }
}

/// What a text that is written in JSON begins with, up to a break; `None` if an escape there may
/// stand for something that is none.
fn written_run(raw: &str) -> Option<&str> {
    let run = run(raw)?;
    let mut after = raw.get(run.len()..)?.chars();
    let breaks = match after.next() {
        Some('\\') => matches!(after.next(), Some('n' | 'r' | 't' | '"' | '\\')),
        _ => true,
    };
    breaks.then_some(run)
}

impl<'a> Read<'a> {
    fn see(&mut self, tool: &str, path: &Path<'a>, event: Event<'a>) {
        let steps = path.steps();
        let (owner, key) = match *steps {
            [Step::Key(key)] => (None, key),
            [Step::Key(list), Step::Index(index), Step::Key(key)] => {
                let Some(list) = LISTS.iter().position(|known| *known == list) else {
                    return;
                };
                (Some((list, index)), key)
            }
            _ => return,
        };
        let text = match event {
            Event::Value(span, Value::Text(text)) => Some((span, text)),
            Event::Value(..) | Event::Close(..) => None,
            Event::Key(..) | Event::Open(_) => return,
        };
        if may_be_path(key) {
            let text = text.filter(|_| PATHS.contains(&key));
            let named = text.map(|(_, text)| text.decode().into_owned());
            self.paths.push((owner, named));
        } else if let Some((span, text)) = text.filter(|(_, text)| text.raw().contains(PREFIX)) {
            if tool == PATCH {
                if owner.is_none() && key == "input" {
                    self.patches.push((span, text));
                }
            } else if CONTENTS.contains(&key) {
                self.contents.push((owner, span, text));
            }
        }
    }

    /// The one file that an object names, by itself or by the root.
    fn path(&self, owner: Owner) -> Option<&str> {
        let mut all = self
            .paths
            .iter()
            .filter(|(named, _)| named.is_none() || *named == owner);
        let (_, path) = all.next()?;
        let path = path.as_deref().filter(|path| !path.is_empty());
        path.filter(|_| all.next().is_none())
    }
}
