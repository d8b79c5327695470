//! Numbers of people and their accounts: told by their check digits, some also by the name before.

use super::token::{Seen, look_for};
use super::{Run, TextMask, Verdict, last_line};
use crate::mask::bytes::is_word;
use crate::mask::detector::{Rule, Tail};
use crate::mask::numbers;
use crate::mask::placeholder::PREFIX;

/// Longest attempt, in bytes: more than the longest account in groups.
pub(in crate::mask) const PERSONAL_CAP: usize = 48;
/// Bytes behind a number that may deny it.
pub(in crate::mask) const BEHIND: usize = 1 + PREFIX.len();
/// Words that may stand between a name and its number, at most so many.
const MAX_FILLERS: usize = 4;
/// Least digits of the number before in a table.
const LEAST_IN_TABLE: usize = 12;
/// How far the next number of a list may stand behind the one before.
const LIST_GAP: usize = 16;

impl TextMask {
    /// Reads a number that begins at the place, if the pack is on.
    pub(super) fn personal(&mut self, run: &mut Run<'_>) -> Verdict {
        let catalog = run.masker.catalog();
        let Some(tokens) = catalog.personal() else {
            return Verdict::Pass;
        };
        let bytes = run.text.as_bytes();
        let rest = bytes.get(self.at..).unwrap_or_default();
        let [before, second, _] = self.behind(bytes).unwrap_or([b' '; 3]);
        // in a longer number, a path, an address
        if matches!(before, b'-' | b'.' | b'+' | b'/' | b'@') {
            return Verdict::Pass;
        }
        let found = match look_for(&tokens.pattern, run, self.at, PERSONAL_CAP) {
            Seen::More => return Verdict::Hold,
            Seen::Matches { found, .. } => found,
        };
        for &(end, pattern) in found.iter().rev() {
            let owner = tokens.owners.get(pattern).copied().unwrap_or(usize::MAX);
            let Some(Rule::Personal { number, names, .. }) =
                catalog.entry(owner).map(|entry| entry.rule)
            else {
                continue;
            };
            let value = run.text.get(self.at..end).unwrap_or_default();
            let spaced = value.contains(' ');
            if spaced && before == b' ' && second.is_ascii_digit()
                || !numbers::holds(number, value)
                || !names.is_empty() && !self.is_announced(run, owner, names)
                || names.is_empty() && self.is_in_table(run, value)
            {
                continue;
            }
            let behind = rest.get(value.len()..).unwrap_or_default();
            match goes_on(behind, spaced, run.is_final) {
                None => return Verdict::Hold,
                Some(true) => {}
                Some(false) => {
                    self.begin(run, owner, Tail::Exact, end, false);
                    return Verdict::Moved;
                }
            }
        }
        Verdict::Pass
    }

    /// Whether one of the names stands before the place, or a number of the same kind.
    fn is_announced(&self, run: &Run<'_>, detector: usize, names: &[&str]) -> bool {
        let floor = self.back(self.at, LIST_GAP + 1);
        let between = run.text.get(floor..self.at);
        let between = between.filter(|gap| gap.len() <= LIST_GAP);
        if self.last == Some(detector)
            && between.is_some_and(|gap| !gap.contains(char::is_alphanumeric))
        {
            return true;
        }
        // of the line before, if only signs are between
        let before = self.text_before(run.text);
        let before = before.trim_end_matches(|c: char| !c.is_alphanumeric());
        names_end(last_line(before), names)
    }

    /// Whether this is one of the long numbers that stand in a table of source code.
    fn is_in_table(&self, run: &Run<'_>, value: &str) -> bool {
        let before = self.text_before(run.text);
        let number = before.trim_ascii_end().strip_suffix(',');
        let digits = number.map_or(0, |number| {
            let digits = number.bytes().rev();
            digits.take_while(u8::is_ascii_digit).count()
        });
        digits >= LEAST_IN_TABLE
            && before.ends_with(|c: char| c.is_ascii_whitespace())
            && value.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// Whether a number goes on behind what was read of it; `None` if more text tells.
fn goes_on(behind: &[u8], spaced: bool, is_final: bool) -> Option<bool> {
    let (Some(first), second) = (behind.first(), behind.get(1)) else {
        return is_final.then_some(false);
    };
    match first {
        b'+' | b'@' => Some(true),
        b'-' | b'.' => match second {
            Some(second) => Some(is_word(*second)),
            None => is_final.then_some(false),
        },
        b' ' if spaced => {
            let behind = behind.get(1..).unwrap_or_default();
            let digits = behind.iter().take_while(|byte| byte.is_ascii_digit());
            let (digits, length) = (digits.count(), behind.len());
            // a placeholder may stand for another number, which was masked before
            let mark = PREFIX.as_bytes();
            if digits >= 4 || behind.starts_with(mark) {
                return Some(true);
            }
            let open = digits == length || mark.starts_with(behind);
            (is_final || !open).then_some(false)
        }
        byte => Some(is_word(*byte)),
    }
}

/// Whether one of the names ends the text, but for signs and words such as `number is`.
fn names_end(text: &str, names: &[&str]) -> bool {
    let (plain, starts) = words(text);
    let mut to = plain.len();
    for start in starts.iter().rev().take(MAX_FILLERS + 1) {
        let upto = plain.get(..to).unwrap_or_default();
        let ends_in = |text: &str, name: &str| {
            let before = text.strip_suffix(name).map(str::len);
            before.is_some_and(|before| !name.is_ascii() || starts.contains(&before))
        };
        let one = upto.strip_suffix('s').unwrap_or_default(); // of `ssns`
        if names
            .iter()
            .any(|name| ends_in(upto, name) || ends_in(one, name))
        {
            return true;
        }
        let word = plain.get(*start..to).unwrap_or_default();
        if !FILLERS.contains(&word) && word.chars().count() > 1 {
            return false;
        }
        to = *start;
    }
    false
}

/// The letters of a text in lower case, and where a word of any spelling starts in them.
fn words(text: &str) -> (String, Vec<usize>) {
    let (mut plain, mut starts) = (String::new(), Vec::new());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character.is_alphabetic() {
            let next_is_lower = rest.peek().is_some_and(|next| next.is_lowercase());
            if !before.is_alphabetic()
                || character.is_uppercase() && (!before.is_uppercase() || next_is_lower)
            {
                starts.push(plain.len());
            }
            plain.extend(character.to_lowercase());
        }
        before = character;
    }
    (plain, starts)
}

/// Words that may stand between a name and its number.
const FILLERS: [&str; 32] = [
    "number", "no", "nr", "num", "id", "is", "was", "value", "code", "of", "the", "string", "str",
    "text", "to", "for", "static", "const", "char", "varchar", "equals", "default", "and", "or",
    "numero", "número", "numéro", "nummer", "numer", "ist", "est", "es",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_code_and_prose() {
        let names = &["ssn", "socialsecurity"];
        for text in [
            "ssn: ",
            "\"ssn\": \"",
            "SSN#",
            "customerSSN = '",
            "user_ssn: &'static str = \"",
            "social_security_number=",
            "My social security number is ",
            "SocialSecurityNumber(\"",
            "<ssn>",
            "ssn2 = ",
            "ssns: [",
        ] {
            assert!(names_end(text, names), "{text}");
        }
        for text in [
            "",
            "lessn: ",
            "ssn of my neighbour, whom I asked: ",
            "session: ",
            "phone ",
        ] {
            assert!(!names_end(text, names), "{text}");
        }
        assert!(names_end("我的身份证号：", &["身份证号"]));
    }

    #[test]
    fn what_goes_on_is_told_as_soon_as_it_can_be() {
        for (behind, spaced, goes) in [
            ("", false, None),
            ("a", false, Some(true)),
            (",", false, Some(false)),
            ("-", false, None),
            ("-a", false, Some(true)),
            (". ", false, Some(false)),
            (" 1234", false, Some(false)),
            (" 123", true, None),
            (" 123 ", true, Some(false)),
            (" 1234", true, Some(true)),
            (" MAS", true, None),
            (" MASKED_", true, Some(true)),
        ] {
            assert_eq!(goes_on(behind.as_bytes(), spaced, false), goes, "{behind}");
        }
    }
}
