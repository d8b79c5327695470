//! Puts values that were masked in a request back into files that its answer writes, and into what
//! it says where that is configured ([`answers`]).
//!
//! A model that was shown a masked file writes placeholders where the values stood. One goes back
//! into a file only where all of this holds:
//!
//! - the request of this very exchange held the value, and it was masked there;
//! - the placeholder stands in what a tool of [`WRITERS`] writes: under a key of [`CONTENTS`] or in
//!   the lines of a patch, never in a path, a command, a link or a text;
//! - the request showed the value in the very file that is written: in what a tool of [`READERS`]
//!   read there, or in a block of the prompt that names the file;
//! - the [`CONTEXT`] characters before it are those that stood before the value, or all, up to the
//!   beginning, and what follows it without a space or a quote is the same too, so that the rest of
//!   an address or a command cannot be changed. Both are compared as text, masked.
//!
//! A call is decided over as a whole, at its end: arguments that are not JSON, that have a key
//! twice or more than one path get nothing back. So what a stream sends of a writing call waits
//! from its first placeholder on ([`Writing`]). What somebody else decides over, and what is
//! recorded, is the masked form.

mod answers;
mod arguments;
mod blocks;
mod patch;
mod shown;
mod surroundings;
#[cfg(test)]
mod tests;
mod whole;
mod writing;

use std::rc::Rc;

use crate::mask::{Masker, PREFIX, Values};

pub(super) use self::shown::Files;
pub use self::shown::Shown;
use self::surroundings::Surroundings;
pub(super) use self::whole::restore_whole;
pub(super) use self::writing::{Goes, Tool, Writers, Writing};

/// Tools of known clients that write files: of VS Code and its kin, of the command line, of
/// Anthropic.
const WRITERS: &[&str] = &[
    "apply_patch",
    "create",
    "create_file",
    "edit",
    "edit_file",
    "insert_edit_into_file",
    "multi_replace_string_in_file",
    "replace_string_in_file",
    "str_replace_based_edit_tool",
    "str_replace_editor",
    "write",
    "write_file",
];

/// Tools of known clients that show a file as it is.
const READERS: &[&str] = &[
    "read",
    "read_file",
    "str_replace_based_edit_tool",
    "str_replace_editor",
    "view",
];

/// Keys under which files' texts stand: new ones, and old ones that they replace.
const CONTENTS: &[&str] = &[
    "code",
    "content",
    "file_text",
    "insert_text",
    "newString",
    "new_str",
    "new_string",
    "oldString",
    "old_str",
    "old_string",
];

/// Keys under which lists of such changes stand.
const LISTS: &[&str] = &["edits", "replacements"];

/// The tool whose text names the files.
const PATCH: &str = "apply_patch";

/// Keys under which a file's path stands.
const PATHS: &[&str] = &["filePath", "file_path", "path"];

/// Characters before a value that must be the same.
const CONTEXT: usize = 24;

/// Longest text directly behind a value, in bytes.
const MAX_RUN: usize = 256;

/// Longest arguments in which something may go back.
const MAX_ARGUMENTS: usize = 256 * 1024;

/// Most findings about placeholders in written files and told texts.
const MAX_WRITTEN: usize = 256;

/// What an answer may put back, and what it has.
pub(super) struct Restore {
    shown: Rc<Shown>,
    masker: Masker,
    /// Bytes of arguments that may still be kept.
    room: usize,
    /// What the answer's texts so far end with.
    said: Surroundings,
    /// How many texts of the answer were begun.
    texts: usize,
    /// What became of placeholders in files that are written, and which values went back into texts.
    pub(super) written: Vec<Written>,
    /// How many values went back.
    pub(super) restored: u64,
    /// How many placeholders stay in files.
    pub(super) left: u64,
}

/// A placeholder in a file that is written, or one in a text for which the value went back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The detector that the placeholder names.
    pub detector: &'static str,
    /// Its place in the masked arguments or text, in bytes.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// The fingerprint of its value, if the request held that.
    pub fingerprint: Option<String>,
    /// Their channel.
    pub channel: String,
    /// Whether the value went back.
    pub restored: bool,
}

impl Restore {
    pub(super) fn new(shown: Rc<Shown>, masker: &Masker, room: usize) -> Self {
        Self {
            shown,
            masker: masker.clone(),
            room,
            said: Surroundings::default(),
            texts: 0,
            written: Vec::new(),
            restored: 0,
            left: 0,
        }
    }

    /// Does something that is noted already.
    pub(super) fn quietly<T>(&mut self, again: impl FnOnce(&mut Self) -> T) -> T {
        let (written, counts) = (self.written.len(), (self.restored, self.left));
        let said = self.said;
        let result = again(self);
        self.written.truncate(written);
        (self.restored, self.left) = counts;
        self.said = said;
        result
    }

    /// Whether values may go back into what the answer says.
    pub(super) fn tells(&self) -> bool {
        self.shown.tells
    }

    fn values(&self) -> &Values {
        &self.shown.values
    }

    fn note(&mut self, written: Written) {
        if written.restored {
            self.restored += 1;
        } else {
            self.left += 1;
        }
        if self.written.len() < MAX_WRITTEN {
            self.written.push(written);
        }
    }
}

/// Whether a tool writes files.
fn is_writer(tool: &str) -> bool {
    WRITERS.contains(&tool)
}

/// Whether some reader may take a key for one of [`PATHS`].
fn may_be_path(key: &str) -> bool {
    let plain: String = key
        .chars()
        .filter(|character| !matches!(character, '_' | '-'))
        .map(|character| character.to_ascii_lowercase())
        .collect();
    matches!(
        &*plain,
        "file" | "filename" | "filepath" | "path" | "targetfile" | "targetpath" | "uri"
    )
}

/// Where a placeholder may begin in a text, or at its end.
fn placeholder_start(text: &str) -> Option<usize> {
    if let Some(at) = memchr::memmem::find(text.as_bytes(), PREFIX.as_bytes()) {
        return Some(at);
    }
    let begins = |length: &usize| text.ends_with(PREFIX.get(..*length).unwrap_or_default());
    let begun = (1..PREFIX.len()).rev().find(begins)?;
    Some(text.len() - begun)
}

/// What a text begins with, up to a space, a quote or the like; `None` if that is too long.
fn run(text: &str) -> Option<&str> {
    let ends = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || matches!(character, '"' | '\'' | '`' | '\\' | '<' | '>')
    };
    let end = text.find(ends).unwrap_or(text.len());
    text.get(..end).filter(|run| run.len() <= MAX_RUN)
}

/// The last characters of a text, [`CONTEXT`] at most.
fn context(text: &str) -> &str {
    let start = text.char_indices().rev().nth(CONTEXT - 1);
    text.get(start.map_or(0, |(at, _)| at)..)
        .unwrap_or_default()
}
