//! From a text to fingerprints.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::{
    lexer::{Kind, Piece, pieces},
    winnow::winnow,
};

/// How a text becomes fingerprints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// Stands with each stored fingerprint. Has to change when anything of the result does.
    pub name: &'static str,
    /// What of the text is hashed.
    pub method: Method,
    /// Bytes or tokens that are hashed together.
    pub length: usize,
    /// Of so many hashes in a row one is kept.
    pub window: usize,
}

/// What of a text is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Runs of bytes of the comments, without white space and punctuation.
    Notes,
    /// Runs of tokens. A name counts by which name of the run it is, so that only a change of who
    /// equals whom changes the hash; words of languages, numbers and quoted texts by themselves.
    Shape,
    /// Runs of bytes of the code, without white space and semicolons.
    Text,
    /// All bytes but white space, as one.
    Whole,
}

/// All of a suggestion.
pub const WHOLE: Scheme = Scheme {
    name: "whole.1",
    method: Method::Whole,
    length: 1,
    window: 1,
};

/// Characters of a longer suggestion. Length and window are those of the design's prototype.
pub const TEXT: Scheme = Scheme {
    name: "text24.1",
    method: Method::Text,
    length: 24,
    window: 16,
};

/// Characters of comments: they stay when names change, and say less than code, since licences and
/// what documentation is made of stand everywhere.
pub const NOTES: Scheme = Scheme {
    name: "notes24.1",
    method: Method::Notes,
    length: 24,
    window: 16,
};

/// Characters of a short suggestion: runs that fit into it.
pub const SHORT: Scheme = Scheme {
    name: "text16.1",
    method: Method::Text,
    length: 16,
    window: 8,
};

/// Tokens without names. Of lengths from 7 to 20 this one finds most of code with other names and
/// deleted lines at the same share of false matches (`examples/measure.rs`).
pub const SHAPE: Scheme = Scheme {
    name: "shape12.1",
    method: Method::Shape,
    length: 12,
    window: 4,
};

/// All that a query needs.
pub const SCHEMES: [Scheme; 5] = [WHOLE, TEXT, SHORT, NOTES, SHAPE];

/// One hash and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// 64 bits, as BigQuery's INT64 has them.
    pub value: i64,
    /// First and last line, counted from 0.
    pub lines: (u32, u32),
}

impl Scheme {
    /// The fingerprints of a text, in its order; equal ones may come again.
    pub fn fingerprints(&self, text: &str) -> Vec<Fingerprint> {
        match self.method {
            Method::Shape => self.of_shape(text),
            Method::Notes | Method::Text => self.of_text(text),
            Method::Whole => of_whole(text).into_iter().collect(),
        }
    }

    fn of_text(&self, text: &str) -> Vec<Fingerprint> {
        let notes = self.method == Method::Notes;
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        for piece in pieces(text) {
            if (piece.kind == Kind::Note) != notes || piece.text == ";" {
                continue; // a semicolon is optional in some languages
            }
            bytes.extend(piece.text.bytes().filter(|byte| {
                !(byte.is_ascii_whitespace() || notes && byte.is_ascii_punctuation())
            }));
            lines.resize(bytes.len(), piece.line);
        }
        let hashes: Vec<u64> = bytes.windows(self.length).map(hash).collect();
        self.pick(&hashes, &lines, |_| true)
    }

    fn of_shape(&self, text: &str) -> Vec<Fingerprint> {
        let tokens = tokens(&pieces(text));
        let lines: Vec<u32> = tokens.iter().map(|token| token.line).collect();
        let mut names: Vec<u64> = Vec::with_capacity(self.length);
        let mut bytes = Vec::new();
        let of_run = |run: &[Token]| {
            names.clear();
            bytes.clear();
            for token in run {
                let value = match token.value {
                    Value::Word(word) => word,
                    Value::Name(name) => {
                        let known = names.iter().position(|other| *other == name);
                        if known.is_none() {
                            names.push(name);
                        }
                        known.unwrap_or(names.len() - 1) as u64
                    }
                };
                bytes.push(u8::from(matches!(token.value, Value::Name(_))));
                bytes.extend(value.to_le_bytes());
            }
            hash(&bytes)
        };
        let hashes: Vec<u64> = tokens.windows(self.length).map(of_run).collect();
        // A list of names looks like every other.
        let tells = |place: usize| {
            let run = tokens.get(place..place + self.length).unwrap_or_default();
            run.iter().any(|token| !token.common)
        };
        self.pick(&hashes, &lines, tells)
    }

    fn pick(
        &self,
        hashes: &[u64],
        lines: &[u32],
        tells: impl Fn(usize) -> bool,
    ) -> Vec<Fingerprint> {
        let picked = winnow(hashes, self.window).into_iter();
        let found = picked.filter(|place| tells(*place)).filter_map(|place| {
            let last = place + self.length - 1;
            Some(Fingerprint {
                value: hashes.get(place)?.cast_signed(),
                lines: (*lines.get(place)?, *lines.get(last)?),
            })
        });
        found.collect()
    }
}

struct Token {
    value: Value,
    /// A name, or what stands between names.
    common: bool,
    line: u32,
}

enum Value {
    Name(u64),
    Word(u64),
}

/// What the shape is made of: without comments, and without commas and semicolons that may be left
/// out; operators of two characters as one.
fn tokens(pieces: &[Piece<'_>]) -> Vec<Token> {
    let code = pieces.iter().filter(|piece| piece.kind != Kind::Note);
    let code: Vec<&Piece<'_>> = code.collect();
    let mut tokens = Vec::with_capacity(code.len());
    let mut rest = code.as_slice();
    while let [piece, others @ ..] = rest {
        rest = others;
        let next = others.first().map_or("", |next| next.text);
        let mark = piece.kind == Kind::Mark;
        let needless = piece.text == ";" || piece.text == "," && matches!(next, ")" | "]" | "}");
        if mark && needless {
            continue;
        }
        let pair = others
            .first()
            .filter(|other| mark && other.kind == Kind::Mark);
        let pair = pair.map(|other| [piece.text, other.text].concat());
        let word = match pair.filter(|pair| PAIRS.contains(&pair.as_str())) {
            Some(pair) => {
                rest = others.split_first().map_or(&[], |(_, rest)| rest);
                hash(pair.as_bytes())
            }
            None => hash(piece.text.as_bytes()),
        };
        let name = piece.kind == Kind::Name;
        tokens.push(Token {
            value: if name {
                Value::Name(word)
            } else {
                Value::Word(word)
            },
            common: name || mark && matches!(piece.text, "," | "."),
            line: piece.line,
        });
    }
    tokens
}

fn of_whole(text: &str) -> Option<Fingerprint> {
    let bytes = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let bytes: Vec<u8> = bytes.collect();
    let last = text.lines().count().saturating_sub(1);
    (!bytes.is_empty()).then(|| Fingerprint {
        value: hash(&bytes).cast_signed(),
        lines: (0, u32::try_from(last).unwrap_or(u32::MAX)),
    })
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Operators that count as one token.
const PAIRS: &[&str] = &[
    "!=", "#[", "&&", "()", "+=", "-=", "->", "..", "::", "<=", "==", "=>", ">=", "||",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    fn values(scheme: Scheme, text: &str) -> HashSet<i64> {
        let found = scheme.fingerprints(text).into_iter();
        found.map(|found| found.value).collect()
    }

    #[derive(Deserialize)]
    struct Vector {
        scheme: String,
        text: String,
        fingerprints: Vec<i64>,
    }

    #[test]
    fn fingerprints_are_those_of_all_earlier_versions() {
        let vectors = include_str!("../vectors/fingerprints.json");
        let vectors: Vec<Vector> = serde_json::from_str(vectors).unwrap();
        assert!(vectors.len() >= 8);
        for vector in vectors {
            let scheme = SCHEMES.iter().find(|scheme| scheme.name == vector.scheme);
            let found = scheme.unwrap().fingerprints(&vector.text).into_iter();
            let found: Vec<i64> = found.map(|found| found.value).collect();
            assert_eq!(
                found, vector.fingerprints,
                "{} {}",
                vector.scheme, vector.text
            );
        }
    }

    #[test]
    fn shape_is_blind_to_names_layout_and_comments() {
        let one = "for item in items:\n    if item.price > limit:  # dear\n        total += item.price * rate\n    else:\n        rest.append(item)\n";
        let two = "for x in xs:\n  if x.cost > most :\n    sum += x.cost*factor\n  else:\n    others.push(x)\n";
        assert!(!values(SHAPE, one).is_empty());
        assert_eq!(values(SHAPE, one), values(SHAPE, two));
    }

    #[test]
    fn shape_sees_which_names_are_the_same() {
        let one = "a = f(b, c); d = g(b, a); return d + b - c * a";
        let two = "a = f(b, c); d = g(c, a); return d + c - b * a";
        assert_ne!(values(SHAPE, one), values(SHAPE, two));
    }

    #[test]
    fn lists_of_names_have_no_shape() {
        let list = "a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s";
        assert!(values(SHAPE, list).is_empty());
    }

    #[test]
    fn text_is_blind_to_layout_and_comments_count_by_themselves() {
        let one = "let total = items.iter().map(|item| item.price).sum();\n// Dear ones are counted twice, as they said.\n";
        let two = "let total =\n  items.iter()\n  .map(|item| item.price)\n  .sum()\n\n/* Dear ones are\n * counted twice, as they said */";
        assert_eq!(values(TEXT, one), values(TEXT, two));
        assert!(!values(NOTES, one).is_empty());
        assert_eq!(values(NOTES, one), values(NOTES, two));
        assert_eq!(values(WHOLE, "a b\n c"), values(WHOLE, "abc"));
    }

    #[test]
    fn fingerprints_know_their_lines() {
        let found = TEXT.fingerprints("\n\nlet first = second.third(fourth)\n");
        assert!(!found.is_empty() && found.iter().all(|found| found.lines == (2, 2)));
    }

    proptest! {
        #[test]
        fn a_common_run_of_characters_gives_a_common_fingerprint(
            run in "[a-z=+.(){}]{39,60}", before in "[a-z=+ .\n]{0,80}", after in "[a-z=+ .\n]{0,80}",
            elsewhere in "[a-z=+ .\n]{0,80}",
        ) {
            let one = format!("{before}\n{run}\n{after}");
            let two = format!("{elsewhere}\n{run}");
            // Prose is hashed apart from code.
            let lines = pieces(&one).into_iter().chain(pieces(&two)).all(|piece| piece.kind != Kind::Note);
            prop_assume!(lines);
            prop_assert!(!values(TEXT, &one).is_disjoint(&values(TEXT, &two)));
            prop_assert!(!values(SHORT, &one).is_disjoint(&values(SHORT, &two)));
        }

        #[test]
        fn any_text_is_read(text in any::<String>()) {
            for scheme in SCHEMES {
                let lines = u32::try_from(text.lines().count()).unwrap();
                for found in scheme.fingerprints(&text) {
                    prop_assert!(found.lines.0 <= found.lines.1 && found.lines.1 < lines.max(1));
                }
            }
        }
    }
}
