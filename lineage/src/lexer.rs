//! Cuts a text into pieces without knowing its language.
//!
//! A snippet begins anywhere, so every rule looks at one line only, but for block comments: the same
//! line gives the same pieces in a suggestion, in a file and in a hunk of a diff. What a rule gets
//! wrong (`//` divides in Python) it gets wrong on both sides in the same way.
//!
//! - a comment runs from `//`, from `#` or `--` with a space before and behind, or from a `*` that
//!   begins a line, to the line's end; or from `/*` to `*/`;
//! - a line with four words one behind the other is prose, as in the middle of a long comment;
//! - a quoted text ends in its line; three quotes are passed over, so their text is read as lines.

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name, or a word that only some language reserves.
    Name,
    /// A word that most languages reserve.
    Keyword,
    /// A number.
    Number,
    /// What stands between quotes.
    Quoted,
    /// One character of anything else.
    Mark,
    /// A comment, or prose.
    Note,
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'t> {
    pub(crate) kind: Kind,
    pub(crate) text: &'t str,
    /// Counted from 0.
    pub(crate) line: u32,
}

/// The pieces of a text in their order; white space, quotes and line ends are in none.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut in_block = false;
    for (number, line) in text.lines().enumerate() {
        let mut reader = Line {
            rest: line,
            before: None,
            number: u32::try_from(number).unwrap_or(u32::MAX),
            pieces: &mut pieces,
        };
        in_block = reader.read(in_block);
    }
    pieces
}

struct Line<'t, 'p> {
    rest: &'t str,
    before: Option<char>,
    number: u32,
    pieces: &'p mut Vec<Piece<'t>>,
}

impl Line<'_, '_> {
    /// Reads all; takes and says whether a block comment is open.
    fn read(&mut self, mut in_block: bool) -> bool {
        let trimmed = self.rest.trim_start();
        let begins_inside = trimmed.starts_with('*') && !trimmed.starts_with("*/");
        if !in_block && (begins_inside && is_spaced(trimmed, 1) || is_prose(trimmed)) {
            // The end of a block comment may stand here all the same.
            let end = trimmed.find("*/").filter(|_| begins_inside);
            self.take(
                Kind::Note,
                end.map_or(self.rest.len(), |end| end + self.indent() + 2),
            );
        }
        while !self.rest.is_empty() {
            if in_block {
                let end = self.rest.find("*/");
                self.take(Kind::Note, end.map_or(self.rest.len(), |end| end + 2));
                in_block = end.is_none();
                continue;
            }
            let Some(letter) = self.rest.chars().next() else {
                break;
            };
            if self.rest.starts_with("/*") {
                in_block = true;
            } else if self.begins_note(letter) {
                self.take(Kind::Note, self.rest.len());
            } else if letter.is_whitespace() {
                self.skip(letter.len_utf8());
            } else if is_word(letter) {
                self.word(letter);
            } else if matches!(letter, '"' | '\'' | '`') {
                self.quoted(letter);
            } else {
                self.take(Kind::Mark, letter.len_utf8());
            }
        }
        in_block
    }

    fn indent(&self) -> usize {
        self.rest.len() - self.rest.trim_start().len()
    }

    fn begins_note(&self, letter: char) -> bool {
        let after_space = self.before.is_none_or(char::is_whitespace);
        match letter {
            '/' => self.rest.starts_with("//") && self.before != Some(':'),
            '#' => after_space && (self.rest.starts_with("##") || is_spaced(self.rest, 1)),
            '-' => after_space && self.rest.starts_with("--") && is_spaced(self.rest, 2),
            _ => false,
        }
    }

    fn word(&mut self, first: char) {
        let digits = first.is_ascii_digit();
        let goes_on = |letter: char| is_word(letter) || (digits && letter == '.');
        let end = self.rest.find(|letter| !goes_on(letter));
        let end = end.unwrap_or(self.rest.len());
        let word = self.rest.get(..end).unwrap_or_default();
        let kind = match () {
            () if digits => Kind::Number,
            () if is_keyword(word) => Kind::Keyword,
            () => Kind::Name,
        };
        self.take(kind, end);
    }

    fn quoted(&mut self, quote: char) {
        let tripled = [quote; 3];
        if self.rest.chars().take(3).eq(tripled) {
            return self.skip(3);
        }
        let inside = self.rest.get(1..).unwrap_or_default();
        // Rust's lifetimes have no second quote.
        let lifetime = quote == '\'' && matches!(self.before, Some('&' | '<'));
        let mut escaped = false;
        let end = inside.char_indices().find(|(_, letter)| {
            let ends = *letter == quote && !escaped;
            escaped = *letter == '\\' && !escaped;
            ends
        });
        match end {
            Some((end, _)) if !lifetime => {
                self.skip(1);
                self.take(Kind::Quoted, end);
                self.skip(1);
            }
            _ => self.skip(1),
        }
    }

    fn take(&mut self, kind: Kind, bytes: usize) {
        let (text, _) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        if !text.trim().is_empty() {
            self.pieces.push(Piece {
                kind,
                text,
                line: self.number,
            });
        }
        self.skip(bytes);
    }

    fn skip(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.before = passed.chars().next_back().or(self.before);
        self.rest = rest;
    }
}

/// Whether nothing or white space stands at this place.
fn is_spaced(text: &str, at: usize) -> bool {
    let next = text.get(at..).and_then(|rest| rest.chars().next());
    next.is_none_or(char::is_whitespace)
}

/// Whether words follow each other as they do in sentences and not in code.
fn is_prose(line: &str) -> bool {
    let mut run = 0;
    for word in line.split_ascii_whitespace() {
        // A comma or a full stop ends a word of a sentence; no word of code looks like that.
        let bare = word.trim_end_matches([',', '.', ':', ';']);
        let plain = !bare.is_empty() && bare.chars().all(char::is_alphabetic);
        run = if plain && !is_keyword(bare) {
            run + 1
        } else {
            0
        };
        if run >= PROSE_WORDS {
            return true;
        }
    }
    false
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.binary_search(&word).is_ok()
}

const PROSE_WORDS: usize = 4;

/// Words that many languages reserve and that are hardly names in others; sorted.
const KEYWORDS: &[&str] = &[
    "False",
    "None",
    "True",
    "abstract",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "bool",
    "boolean",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "const",
    "continue",
    "crate",
    "def",
    "default",
    "del",
    "delete",
    "do",
    "double",
    "dyn",
    "elif",
    "else",
    "enum",
    "except",
    "export",
    "extends",
    "extern",
    "false",
    "final",
    "finally",
    "float",
    "fn",
    "for",
    "from",
    "func",
    "function",
    "global",
    "goto",
    "if",
    "impl",
    "implements",
    "import",
    "in",
    "inline",
    "instanceof",
    "int",
    "interface",
    "is",
    "lambda",
    "let",
    "long",
    "loop",
    "match",
    "mod",
    "mut",
    "namespace",
    "new",
    "nil",
    "nonlocal",
    "not",
    "null",
    "or",
    "override",
    "package",
    "pass",
    "private",
    "protected",
    "pub",
    "public",
    "raise",
    "ref",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "super",
    "switch",
    "template",
    "this",
    "throw",
    "throws",
    "trait",
    "true",
    "try",
    "typedef",
    "typeof",
    "undefined",
    "union",
    "unsafe",
    "unsigned",
    "use",
    "using",
    "var",
    "virtual",
    "void",
    "volatile",
    "where",
    "while",
    "with",
    "yield",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, text: &str) -> Vec<&str> {
        let found = pieces(text).into_iter().filter(|piece| piece.kind == kind);
        found.map(|piece| piece.text.trim()).collect()
    }

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn comments_of_many_languages_are_notes() {
        let cases = [
            ("x = 1  # one", "# one"),
            ("SELECT 1 -- one", "-- one"),
            ("x(); // one", "// one"),
            ("x(/* one */);", "/* one */"),
            ("  * one of a long comment", "* one of a long comment"),
            (
                "Returns the first of all, or none.",
                "Returns the first of all, or none.",
            ),
        ];
        for (text, note) in cases {
            assert_eq!(of(Kind::Note, text), [note], "{text}");
        }
        assert_eq!(of(Kind::Note, "a /* b\nc\n d */ e"), ["/* b", "c", "d */"]);
    }

    #[test]
    fn what_looks_like_a_comment_is_none() {
        for text in [
            "#include <x.h>",
            "#[derive(Debug)]",
            "i--; j --;",
            "see = http://x",
            "'// no', \"# no\"",
            "pub(crate) async unsafe extern fn f()",
            "* pointer = 3",
        ] {
            let notes = of(Kind::Note, text);
            let wanted: &[&str] = if text.starts_with("* ") { &[text] } else { &[] };
            assert_eq!(notes, wanted, "{text}"); // a line of a comment looks like the last one
        }
    }

    #[test]
    fn quotes_end_in_their_line_and_lifetimes_have_none() {
        assert_eq!(
            of(Kind::Quoted, r#"f('a', "b\"c", `d`)"#),
            ["a", r#"b\"c"#, "d"]
        );
        assert_eq!(of(Kind::Quoted, "&'a str, Cow<'a, str>"), [""; 0]);
        assert_eq!(
            of(Kind::Name, "\"\"\"Opens it\"\"\"\nx = 'open"),
            ["Opens", "it", "x", "open"]
        );
    }
}
