//! Finds the end of a value behind a key name.

use super::bytes::is_bare;

/// Longest value behind a key name, in bytes.
pub(super) const VALUE_CAP: usize = 400;
/// How far behind an `@` of a URL another one may stand, in bytes.
const HOST_CAP: usize = 64;
/// Longest escape before a quote that is read, with the quote.
const ESCAPES: usize = 8;

/// Where a value ends.
pub(super) enum End {
    /// Behind the text that has come.
    More,
    /// At this byte.
    At(usize),
    /// It is none: too long, a call, another line.
    Never,
}

/// The end of a value in quotes that starts at `at`.
pub(super) fn quoted_end(bytes: &[u8], is_final: bool, at: usize, quote: u8, escaped: bool) -> End {
    let mut end = at;
    loop {
        if end - at > VALUE_CAP {
            return End::Never;
        }
        match (bytes.get(end), bytes.get(end + 1)) {
            (None, _) if is_final => return End::At(end),
            (None, _) => return End::More,
            (Some(b'\n' | b'\r'), _) => return End::Never,
            (Some(b'\\'), None) if !is_final => return End::More,
            (Some(b'\\'), _) if escaped => {
                // the quote may be escaped more than once
                let rest = bytes.get(end..).unwrap_or_default().iter().take(ESCAPES);
                return match rest.clone().find(|byte| **byte != b'\\') {
                    Some(byte) if *byte == quote => End::At(end),
                    None if rest.len() < ESCAPES && !is_final => End::More,
                    _ => End::Never,
                };
            }
            (Some(b'\\'), Some(_)) => end += 2,
            (Some(byte), _) if *byte == quote => {
                return if escaped { End::Never } else { End::At(end) };
            }
            _ => end += 1,
        }
    }
}

/// The end of a value without quotes.
pub(super) fn bare_end(bytes: &[u8], is_final: bool, at: usize) -> End {
    match run_end(bytes, is_final, at, is_bare) {
        End::At(end) if matches!(bytes.get(end), Some(b'(' | b'[' | b'{')) => End::Never,
        end => end,
    }
}

/// The end of words with spaces between them.
pub(super) fn words_end(bytes: &[u8], is_final: bool, at: usize) -> End {
    run_end(bytes, is_final, at, |byte| {
        byte.is_ascii_lowercase() || byte == b' '
    })
}

/// The end of a run of such bytes.
fn run_end(bytes: &[u8], is_final: bool, at: usize, holds: fn(u8) -> bool) -> End {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().take(VALUE_CAP + 1).position(|b| !holds(*b));
    match end {
        Some(end) => End::At(at + end),
        None if rest.len() > VALUE_CAP => End::Never,
        None if is_final => End::At(bytes.len()),
        None => End::More,
    }
}

/// The end of a URL's password: the last `@` before the path, since people forget to encode it.
pub(super) fn url_password_end(bytes: &[u8], is_final: bool, at: usize) -> End {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut found = None;
    for (index, &byte) in rest.iter().enumerate().take(VALUE_CAP + 1) {
        let ends = !byte.is_ascii_graphic()
            || matches!(
                byte,
                b'/' | b'?' | b'"' | b'\'' | b'`' | b'\\' | b'<' | b'>'
            )
            || found.is_some() && matches!(byte, b',' | b';' | b')' | b']' | b'}' | b'|')
            || found.is_some_and(|before| index - before > HOST_CAP);
        match byte {
            _ if ends => return found.map_or(End::Never, |index| End::At(at + index)),
            b'@' => found = Some(index),
            _ => {}
        }
    }
    match found {
        _ if rest.len() <= VALUE_CAP && !is_final => End::More,
        Some(index) => End::At(at + index),
        None => End::Never,
    }
}
