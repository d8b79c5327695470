//! What the gateway says in place of a model, and how it is known again.
//!
//! A person reads such a text as the model's answer, and the client sends it back with every later
//! turn. It has a form of its own, so that it can be taken out of the history before anything goes
//! upstream, and before anything is decided over it:
//!
//! ```text
//! [Copilot Gate] One line of text. (decision gd_0123456789abcdefghijklmnop)
//! ```

/// How a text of ours begins.
const MARK: &str = "[Copilot Gate] ";

/// What stands before the id at its end.
const BEFORE_ID: &str = " (decision gd_";

/// Letters of a decision id behind `gd_`.
const ID_LETTERS: usize = 26;

/// Last bytes of a text that show whether it can be one of ours, with room for white space.
pub(crate) const TAIL_BYTES: usize = BEFORE_ID.len() + ID_LETTERS + 1 + 16;

/// A message as the gateway says it in an answer; `message` is one line.
pub(crate) fn said(message: &str, decision_id: &str) -> String {
    format!("{MARK}{message} (decision {decision_id})")
}

/// As [`said`], behind what a model has said.
pub(crate) fn added(message: &str, decision_id: &str) -> String {
    format!("\n\n{}", said(message, decision_id))
}

/// Whether a text that ends with these bytes can end with one of ours; they may be escaped.
pub(crate) fn may_be_ours(tail: &[u8]) -> bool {
    memchr::memmem::find(tail, BEFORE_ID.as_bytes()).is_some()
}

/// What is left of an assistant's text without what the gateway has added at its end; `None` if
/// that is all of it.
///
/// Only a line of the whole form is taken for ours: with the mark at its start and a decision id at
/// its end. What looks like it and has no id is the model's own.
pub(crate) fn without_ours(text: &str) -> Option<&str> {
    let mut left = text;
    while let Some(before) = before_ours(left) {
        left = before;
    }
    (left.len() < text.len()).then_some(left)
}

fn before_ours(text: &str) -> Option<&str> {
    let line_end = text.trim_end();
    let inside = line_end.strip_suffix(')')?;
    let id_start = inside.len().checked_sub(ID_LETTERS)?;
    let (said, id) = inside.split_at_checked(id_start)?;
    let is_id = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'v');
    if !id.bytes().all(is_id) || !said.ends_with(BEFORE_ID) {
        return None;
    }
    let line_start = said.rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let (before, line) = said.split_at_checked(line_start)?;
    line.starts_with(MARK).then(|| before.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "gd_0123456789abcdefghijklmnop";

    #[test]
    fn what_we_say_is_known_again() {
        let said = said("Waits for somebody.", ID);
        let added = added("Left out.", ID);
        let cases = [
            (said.clone(), Some("")),
            (format!("{said}\n"), Some("")),
            (format!("{said}{added}"), Some("")),
            (format!("Let me look.{added}"), Some("Let me look.")),
            (
                format!("Let me look.{added}{added}\n\n"),
                Some("Let me look."),
            ),
        ];
        for (text, left) in cases {
            assert_eq!(without_ours(&text), left, "{text}");
            let tail = &text.as_bytes()[text.len().saturating_sub(TAIL_BYTES)..];
            assert!(may_be_ours(tail), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_ours_stays() {
        let said = said("Waits.", ID);
        let cases = [
            String::new(),
            "hello".to_owned(),
            format!("{said} And more."),
            format!("He wrote {said}"),
            said.replace("gd_0", "gd_Z"),
            said.replace("gd_0", "gd_"),
            said.replace("[Copilot Gate]", "[Copilot]"),
            said.replace("(decision", "decision"),
            said.replace("] ", "]\n"),
        ];
        for text in cases {
            assert_eq!(without_ours(&text), None, "{text}");
        }
    }
}
