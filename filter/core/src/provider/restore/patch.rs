//! Patches: one text that changes files, in the form that `apply_patch` takes.
//!
//! ```text
//! *** Begin Patch
//! *** Update File: src/app.env
//! @@
//!  a line that stays
//! -an old line
//! +a new line
//! *** End Patch
//! ```
//!
//! What stands before a place is read in the file's own lines: before the change for old ones, after
//! it for all others, from the beginning of the hunk.

use crate::mask::PREFIX;

/// Something that begins like a placeholder in a line of a file.
pub(super) struct Place {
    pub(super) path: String,
    /// The file's text before it, as far as the patch shows it.
    pub(super) before: String,
    /// Where it stands in the patch.
    pub(super) at: usize,
    /// With what its line begins.
    pub(super) mark: char,
}

/// Longest shown text before a place that is put together.
const MAX_BEFORE: usize = 512;

/// The places in a patch.
pub(super) fn places(patch: &str) -> Vec<Place> {
    let mut found = Vec::new();
    let mut path = None;
    let (mut old, mut new) = (String::new(), String::new());
    let mut at = 0;
    for line in patch.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let text = line.trim_end_matches('\n');
        if let Some(rest) = text.strip_prefix("*** ") {
            (old, new) = (String::new(), String::new());
            let file = ["Update File: ", "Add File: "]
                .iter()
                .find_map(|kind| rest.strip_prefix(kind));
            path = file.map(str::to_owned);
            continue;
        }
        let mark = match text.chars().next() {
            Some('@') => {
                (old, new) = (String::new(), String::new());
                continue;
            }
            Some(mark @ (' ' | '+' | '-')) => mark,
            None => ' ', // an empty line that stays
            Some(_) => {
                path = None; // nothing of a patch
                continue;
            }
        };
        let content = line.strip_prefix(mark).unwrap_or(line);
        for hit in memchr::memmem::find_iter(content.as_bytes(), PREFIX) {
            let (Some(path), Some(before)) = (&path, content.get(..hit)) else {
                continue;
            };
            let shown = if mark == '-' { &old } else { &new };
            found.push(Place {
                path: path.clone(),
                before: format!("{shown}{before}"),
                at: start + 1 + hit,
                mark,
            });
        }
        if mark != '+' {
            add(&mut old, content);
        }
        if mark != '-' {
            add(&mut new, content);
        }
    }
    found
}

/// A value as it stands in lines that begin with a mark.
pub(super) fn lines(value: &str, mark: char) -> String {
    value.replace('\n', &format!("\n{mark}"))
}

/// Adds a line; of a long text only the end is kept, which is more than is compared.
fn add(text: &mut String, line: &str) {
    text.push_str(line);
    if text.len() > 2 * MAX_BEFORE {
        let cut = text.floor_char_boundary(text.len() - MAX_BEFORE);
        text.drain(..cut);
    }
}
