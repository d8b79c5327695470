//! One form for a value that is written in many: what its fingerprint is made of.

use std::borrow::Cow;

use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};

use super::detector::{Rule, Tail};
use super::numbers::compact;

/// What the fingerprint of a value is made of that shows itself by `proof`. What goes on behind it is
/// its own canonical form, but for the lines of a PEM block.
pub(super) fn canonical<'p>(rule: &Rule, tail: Tail, proof: &'p str) -> Cow<'p, [u8]> {
    match (rule, tail) {
        (_, Tail::Pem) => first_line(proof).as_bytes().into(),
        (Rule::Personal { .. }, _) => compact(proof).into_bytes().into(),
        (Rule::Url, _) => percent_decoded(proof).into(),
        _ => proof.as_bytes().into(),
    }
}

/// The base64 of the first line that a PEM block's proof shows.
fn first_line(proof: &str) -> &str {
    let body = proof.rsplit_once("-----").map_or("", |(_, body)| body);
    if body.contains(": ") {
        ""
    } else {
        body.get(body.len().saturating_sub(16)..).unwrap_or("")
    }
}

/// The base64 in a line, without what surrounds it.
pub(super) fn base64_of(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut before = ' ';
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\\' {
            characters.next_if(|next| matches!(next, 'n' | 'r' | 't'));
        }
        // a plus between strings joins them
        let mut is_inside = || {
            before.is_ascii_alphanumeric()
                || characters.peek().is_some_and(char::is_ascii_alphanumeric)
        };
        if character.is_ascii_alphanumeric()
            || matches!(character, '/' | '=')
            || character == '+' && is_inside()
        {
            plain.push(character);
        }
        before = character;
    }
    plain
}

/// What a text in base64 says, as far as it is whole.
pub(super) fn base64_decoded(text: &str) -> Vec<u8> {
    let standard = text.bytes().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    });
    let mut letters: Vec<u8> = standard.collect();
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    // the last letters may hold bits that say nothing
    let rest = letters.len() % 4;
    letters.resize(letters.len().next_multiple_of(4), b'A');
    let mut plain = BASE64.decode(&letters).unwrap_or_default();
    plain.truncate(plain.len() - if rest == 0 { 0 } else { 4 - rest }.min(plain.len()));
    plain
}

/// What hex digits say, as far as they are whole.
pub(super) fn hex_decoded(digits: &str) -> Vec<u8> {
    let whole = digits.len() / 2 * 2;
    let digits = digits.as_bytes().get(..whole).unwrap_or_default();
    HEXUPPER_PERMISSIVE.decode(digits).unwrap_or_default()
}

/// A part of a URL without percent signs that stand for bytes.
pub(super) fn percent_decoded(value: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%'
            && let Some((digits, after)) = after.split_first_chunk::<2>()
            && let Ok(decoded) = HEXUPPER_PERMISSIVE.decode(digits)
        {
            plain.extend(decoded);
            rest = after;
        } else {
            plain.push(byte);
        }
    }
    plain
}
