//! Edits of a snippet as people make them, with a lexer of its own: what is measured must not help
//! to measure.

use std::collections::HashMap;

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

/// What a lexer has to know of a language.
pub struct Language {
    pub extensions: &'static [&'static str],
    pub line_comments: &'static [&'static str],
    pub block_comments: Option<(&'static str, &'static str)>,
    pub long_quotes: &'static [&'static str],
    pub quotes: &'static str,
    pub keywords: &'static [&'static str],
    /// What a text begins in the middle of: the mark that opened it, or nothing.
    pub inside: &'static str,
}

impl Language {
    /// A language by its short name.
    pub fn of(name: &str) -> Self {
        let c_like = Self {
            extensions: &["h", "c"],
            line_comments: &["//"],
            block_comments: Some(("/*", "*/")),
            long_quotes: &[],
            quotes: "\"'",
            keywords: C,
            inside: "",
        };
        match name {
            "python" => Self {
                extensions: &["py"],
                line_comments: &["#"],
                block_comments: None,
                long_quotes: &["\"\"\"", "'''"],
                quotes: "\"'",
                keywords: PYTHON,
                inside: "",
            },
            "rust" => Self {
                extensions: &["rs"],
                quotes: "\"",
                keywords: RUST,
                ..c_like
            },
            "javascript" => Self {
                extensions: &["js", "mjs", "cjs"],
                long_quotes: &["`"],
                keywords: JAVASCRIPT,
                ..c_like
            },
            "typescript" => Self {
                extensions: &["ts", "tsx"],
                long_quotes: &["`"],
                keywords: JAVASCRIPT,
                ..c_like
            },
            "go" => Self {
                extensions: &["go"],
                long_quotes: &["`"],
                keywords: GO,
                ..c_like
            },
            "java" => Self {
                extensions: &["java"],
                long_quotes: &["\"\"\""],
                keywords: JAVA,
                ..c_like
            },
            _ => c_like,
        }
    }
}

/// All edits.
pub const KINDS: &[&str] = &[
    "none",
    "layout",
    "30 % of names",
    "all names",
    "all names, no comments",
    "half copied",
    "quarter copied",
    "15 % of lines less",
    "30 % of names, layout, lines",
    "all names, layout, lines",
];

/// The snippet after an edit.
///
/// `inside` is what [`inside`] said of the text before it.
pub fn apply(
    kind: &str,
    snippet: &str,
    inside: &'static str,
    language: &Language,
    random: &mut StdRng,
) -> String {
    let language = &Language {
        inside,
        ..*language
    };
    match kind {
        "layout" => reformat(snippet, language, random),
        "30 % of names" => rename(snippet, language, 0.3, random),
        "all names" => rename(snippet, language, 1.0, random),
        "all names, no comments" => {
            without_comments(&rename(snippet, language, 1.0, random), language)
        }
        "half copied" => part(snippet, 2, random),
        "quarter copied" => part(snippet, 4, random),
        "15 % of lines less" => fewer_lines(snippet, 0.15, random),
        "30 % of names, layout, lines" => {
            let text = rename(snippet, language, 0.3, random);
            reformat(&fewer_lines(&text, 0.15, random), language, random)
        }
        "all names, layout, lines" => {
            let text = rename(snippet, language, 1.0, random);
            reformat(&fewer_lines(&text, 0.15, random), language, random)
        }
        _ => snippet.to_owned(),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Name,
    Comment,
    Quoted,
}

/// The mark that opened the long comment or quoted text in which a text ends, or nothing.
pub fn inside(text: &str, language: &Language) -> &'static str {
    let last = parts(text, language).last().map_or("", |(_, part)| *part);
    let block = language.block_comments.into_iter();
    let quotes = language.long_quotes.iter().map(|quote| (*quote, *quote));
    let open = block.chain(quotes).find(|(open, close)| {
        let rest = last.strip_prefix(open);
        rest.is_some_and(|rest| !rest.ends_with(close))
    });
    open.map_or("", |(open, _)| open)
}

/// Cuts a snippet; all parts together are the snippet.
fn parts<'t>(text: &'t str, language: &Language) -> Vec<(Kind, &'t str)> {
    let mut parts = Vec::new();
    let mut at = 0;
    if !language.inside.is_empty() {
        let block = language.block_comments;
        let block = block.filter(|(open, _)| *open == language.inside);
        let close = block.map_or(language.inside, |(_, close)| close);
        let kind = if close == "`" {
            Kind::Quoted
        } else {
            Kind::Comment // Python's are of three quotes
        };
        at = text.find(close).map_or(text.len(), |end| end + close.len());
        parts.push((kind, &text[..at]));
    }
    while let Some(letter) = text[at..].chars().next() {
        let rest = &text[at..];
        let to_line_end = rest.find('\n').unwrap_or(rest.len());
        let (kind, length) = if language
            .line_comments
            .iter()
            .any(|mark| rest.starts_with(mark))
        {
            (Kind::Comment, to_line_end)
        } else if let Some((open, close)) = language
            .block_comments
            .filter(|(open, _)| rest.starts_with(open))
        {
            let end = rest[open.len()..].find(close);
            (
                Kind::Comment,
                end.map_or(rest.len(), |end| end + open.len() + close.len()),
            )
        } else if let Some(quote) = language
            .long_quotes
            .iter()
            .find(|quote| rest.starts_with(**quote))
        {
            let end = rest[quote.len()..].find(quote);
            (
                Kind::Quoted,
                end.map_or(rest.len(), |end| end + 2 * quote.len()),
            )
        } else if language.quotes.contains(letter) {
            let mut escaped = false;
            let end = rest[1..to_line_end.max(1)].find(|other: char| {
                let ends = other == letter && !escaped;
                escaped = other == '\\' && !escaped;
                ends
            });
            (Kind::Quoted, end.map_or(1, |end| end + 2))
        } else if letter.is_alphabetic() || letter == '_' {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let kind = if language.keywords.contains(&&rest[..end]) {
                Kind::Code
            } else {
                Kind::Name
            };
            (kind, end)
        } else if letter.is_ascii_digit() {
            (
                Kind::Code,
                rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len()),
            )
        } else {
            (Kind::Code, letter.len_utf8())
        };
        parts.push((kind, &rest[..length]));
        at += length;
    }
    parts
}

fn rename(text: &str, language: &Language, share: f64, random: &mut StdRng) -> String {
    let mut names: HashMap<&str, String> = HashMap::new();
    let mut out = String::new();
    for (kind, part) in parts(text, language) {
        if kind != Kind::Name {
            out.push_str(part);
            continue;
        }
        let new = names.entry(part).or_insert_with(|| {
            if random.random_bool(share) {
                name(random)
            } else {
                part.to_owned()
            }
        });
        out.push_str(new);
    }
    out
}

fn name(random: &mut StdRng) -> String {
    let length = random.random_range(3..12);
    let letters = b"abcdefghijklmnopqrstuvwxyz";
    (0..length)
        .map(|_| char::from(*letters.choose(random).unwrap()))
        .collect::<String>()
        + "_q"
}

fn without_comments(text: &str, language: &Language) -> String {
    let code = parts(text, language)
        .into_iter()
        .filter(|(kind, part)| *kind != Kind::Comment && !part.starts_with("\"\"\""));
    code.map(|(_, part)| part).collect()
}

fn reformat(text: &str, language: &Language, random: &mut StdRng) -> String {
    let mut out = String::new();
    for (kind, part) in parts(text, language) {
        match part {
            "," if random.random_bool(0.3) => out.push_str(",\n        "),
            "(" | ")" | "=" | "[" | "+" if random.random_bool(0.3) => {
                out.push_str(part);
                out.push(' ');
            }
            " " if kind == Kind::Code && out.ends_with(['\n', ' ']) => out.push_str("  "),
            _ => out.push_str(part),
        }
    }
    out
}

fn part(text: &str, of: usize, random: &mut StdRng) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let length = (lines.len() / of).max(2).min(lines.len());
    let start = random.random_range(0..=lines.len() - length);
    lines[start..start + length].join("\n")
}

fn fewer_lines(text: &str, share: f64, random: &mut StdRng) -> String {
    let kept = text.lines().filter(|_| !random.random_bool(share));
    kept.collect::<Vec<_>>().join("\n")
}

const PYTHON: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];
const RUST: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "Self", "static", "struct", "super", "trait", "true", "type",
    "unsafe", "use", "where", "while", "bool", "char", "str", "u8", "u16", "u32", "u64", "u128",
    "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64",
];
const JAVASCRIPT: &[&str] = &[
    "abstract",
    "any",
    "arguments",
    "as",
    "async",
    "await",
    "boolean",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "declare",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "from",
    "function",
    "get",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "namespace",
    "new",
    "null",
    "number",
    "of",
    "package",
    "private",
    "protected",
    "public",
    "readonly",
    "return",
    "set",
    "static",
    "string",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "type",
    "typeof",
    "undefined",
    "var",
    "void",
    "while",
    "with",
    "yield",
];
const GO: &[&str] = &[
    "break",
    "case",
    "chan",
    "const",
    "continue",
    "default",
    "defer",
    "else",
    "fallthrough",
    "for",
    "func",
    "go",
    "goto",
    "if",
    "import",
    "interface",
    "map",
    "package",
    "range",
    "return",
    "select",
    "struct",
    "switch",
    "type",
    "var",
    "nil",
    "true",
    "false",
];
const JAVA: &[&str] = &[
    "abstract",
    "assert",
    "boolean",
    "break",
    "byte",
    "case",
    "catch",
    "char",
    "class",
    "const",
    "continue",
    "default",
    "do",
    "double",
    "else",
    "enum",
    "extends",
    "final",
    "finally",
    "float",
    "for",
    "goto",
    "if",
    "implements",
    "import",
    "instanceof",
    "int",
    "interface",
    "long",
    "native",
    "new",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "short",
    "static",
    "strictfp",
    "super",
    "switch",
    "synchronized",
    "this",
    "throw",
    "throws",
    "transient",
    "try",
    "void",
    "volatile",
    "while",
    "true",
    "false",
    "null",
];
const C: &[&str] = &[
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else",
    "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register", "return",
    "short", "signed", "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned",
    "void", "volatile", "while", "define", "include", "ifdef", "ifndef", "endif", "elif", "undef",
    "error", "pragma", "defined",
];
