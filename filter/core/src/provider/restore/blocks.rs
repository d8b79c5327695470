//! Files in texts: as clients put them into prompts, and as tools show them.

use super::{PATHS, context};

/// What may stand before a value in a file, by the ways in which a tool's text can be read: as it
/// is, inside a fence, and without numbers of lines.
pub(super) fn readings(before: &str) -> Vec<String> {
    let mut all = vec![context(before).to_owned()];
    let mut inner = None;
    let mut at = 0;
    for line in before.split_inclusive('\n').take(MAX_HEAD_LINES) {
        at += line.len();
        if line.starts_with("```") && line.ends_with('\n') {
            inner = before.get(at..);
            break;
        }
    }
    all.extend(inner.map(|inner| context(inner).to_owned()));
    let plain = unnumbered(inner.unwrap_or(before));
    all.extend(plain.map(|plain| context(&plain).to_owned()));
    all.dedup();
    all
}

/// Lines that a client may put before a file, the fence included.
const MAX_HEAD_LINES: usize = 4;

/// Most lines before a value whose numbers are taken off.
const MAX_LINES: usize = 32;

/// The end of a text without the numbers of its lines, if all have one and they follow each other.
fn unnumbered(before: &str) -> Option<String> {
    let mut lines: Vec<&str> = before.split_inclusive('\n').rev().take(MAX_LINES).collect();
    lines.reverse();
    let mut plain = String::new();
    let mut last = None;
    for line in lines {
        let Some((number, rest)) = numbered(line) else {
            // What stands before the first line is no part of the file.
            (plain, last) = (String::new(), None);
            continue;
        };
        if last.is_some_and(|last: u64| last.checked_add(1) != Some(number)) {
            return None;
        }
        last = Some(number);
        plain.push_str(rest);
    }
    last.map(|_| plain)
}

/// The number of a line and what follows it: `  12<tab>`, `12→`, `12. `, `12: ` or `12| `.
fn numbered(line: &str) -> Option<(u64, &str)> {
    let line = line.trim_start_matches(' ');
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = line.split_at_checked(digits)?;
    let ends = ["\t", "→", ". ", ": ", "| "];
    let rest = ends.iter().find_map(|end| rest.strip_prefix(end))?;
    Some((number.parse().ok()?, rest))
}

/// The file in which a prompt's text stands at its end: its path, and the file's text so far.
///
/// Two forms are known: an element `attachment`, `file` or `file-content` with the path as an
/// attribute, and a fence whose first line is a comment `filepath: …`.
pub(super) fn block(before: &str) -> Option<(String, &str)> {
    let mut state = State::Outside;
    let mut at = 0;
    let mut named = None; // the path of the element that is open
    for line in before.split_inclusive('\n') {
        at += line.len();
        if !line.ends_with('\n') {
            break; // the line in which the value stands
        }
        let text = line.trim_end();
        state = match state {
            State::Fence(mark, ..) if text == mark => State::Outside,
            State::Fence(mark, None, start) if start + line.len() == at => {
                let path = commented(text).map(str::to_owned);
                let start = if path.is_some() { at } else { start };
                State::Fence(mark, path, start)
            }
            State::Fence(mark, path, start) => State::Fence(mark, path, start),
            State::Outside | State::Element(..) if text.starts_with("```") => {
                let length = text.bytes().take_while(|byte| *byte == b'`').count();
                let mark = text.get(..length).unwrap_or_default();
                State::Fence(mark, named.clone(), at)
            }
            State::Outside | State::Element(..) if text.starts_with("</") => {
                named = None;
                State::Outside
            }
            State::Outside | State::Element(..) if is_element(text) => {
                named = attribute(text).map(str::to_owned);
                named
                    .clone()
                    .map_or(State::Outside, |path| State::Element(path, at))
            }
            State::Outside => State::Outside,
            State::Element(path, start) => State::Element(path, start),
        };
    }
    match state {
        State::Fence(_, Some(path), start) | State::Element(path, start) => {
            Some((path, before.get(start..)?))
        }
        State::Fence(_, None, _) | State::Outside => None,
    }
}

enum State<'a> {
    Outside,
    /// In an element with a path that has no fence so far; where its text begins.
    Element(String, usize),
    /// In a fence: its mark, the path if it has one, where its text begins.
    Fence(&'a str, Option<String>, usize),
}

fn is_element(line: &str) -> bool {
    let names = ["<attachment ", "<file ", "<file-content "];
    line.ends_with('>') && names.iter().any(|name| line.starts_with(name))
}

/// The one path of an element.
fn attribute(line: &str) -> Option<&str> {
    let mut all = PATHS.iter().filter_map(|key| {
        let (_, rest) = line.split_once(&format!(" {key}=\""))?;
        rest.split_once('"').map(|(path, _)| path)
    });
    let path = all.next().filter(|path| !path.is_empty())?;
    all.next().is_none().then_some(path)
}

/// The path in a comment `# filepath: …`.
fn commented(line: &str) -> Option<&str> {
    let (mark, path) = line.split_once("filepath:")?;
    let is_mark = |mark: &str| matches!(mark, "#" | "//" | "--" | ";" | "<!--" | "/*");
    let path = path.trim_end_matches("-->").trim_end_matches("*/").trim();
    (is_mark(mark.trim()) && !path.is_empty()).then_some(path)
}
