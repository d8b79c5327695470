//! Says in words what the table of detectors holds, for people who read what is masked and why.

use super::detector::{Check, Detector, Encoding, Grade, Number, Rule, Start, Tail};
use super::packs::{self, Pack};
use super::stream::{BEHIND, ENCODED_CAP, LINE_CAP, TOKEN_CAP};
use super::value_end::VALUE_CAP;

/// One detector, as its page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The name in findings; in upper case, in placeholders.
    pub name: &'static str,
    /// What kind of detector it is.
    pub class: Class,
    /// The pack that it belongs to.
    pub pack: Pack,
    /// How a value begins, as a pattern; the key names; or the place where it stands.
    pub form: String,
    /// What must hold besides the form.
    pub check: &'static str,
    /// The most bytes that are kept back in a stream until the detector has decided.
    pub held_bytes: usize,
}

/// Kinds of detectors, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A vendor's token, which shows itself by its form.
    VendorToken,
    /// A form that no vendor owns: blocks, web tokens, addresses, commands.
    Structure,
    /// What stands behind a key name.
    NamedValue,
    /// A number of a person or an account.
    PersonalNumber,
}

impl Class {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::VendorToken => "vendor token",
            Self::Structure => "structure",
            Self::NamedValue => "named value",
            Self::PersonalNumber => "personal number",
        }
    }
}

/// All detectors, in the order of the table.
pub fn descriptions() -> impl Iterator<Item = Description> {
    packs::detectors().map(|(pack, detector)| describe(pack, detector))
}

fn describe(pack: Pack, detector: &Detector) -> Description {
    let class = match pack {
        Pack::Vendors => Class::VendorToken,
        Pack::Structures | Pack::Generic | Pack::Pii => Class::Structure,
    };
    let (class, form, check, held_bytes) = match detector.rule {
        Rule::Token {
            proof,
            start,
            tail,
            check,
        } => {
            let place = match start {
                Start::Opening => ", behind a quote, bracket, `=` or `:`",
                Start::Word => "",
            };
            let least = if tail == Tail::Pem { LINE_CAP } else { 0 };
            let held = longest(proof).clamp(least, TOKEN_CAP);
            (
                class,
                format!("`{proof}`{place}"),
                words_of_check(check),
                held,
            )
        }
        Rule::Named { names, grade } => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            let grade = words_of_grade(grade);
            (Class::NamedValue, names.join(", "), grade, VALUE_CAP)
        }
        Rule::Personal {
            number,
            proof,
            names,
        } => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            let place = if names.is_empty() {
                String::new()
            } else {
                format!(", behind {}", names.join(", "))
            };
            let form = format!("`{proof}`{place}");
            let held = longest(proof) + BEHIND;
            (Class::PersonalNumber, form, words_of_number(number), held)
        }
        Rule::Url => at("the password in `scheme://user:password@`", PASSWORD),
        Rule::Command => at("the value of a command's option for a password", PASSWORD),
        Rule::Fields => at("the last field of `host:port:base:user:password`", PASSWORD),
        Rule::Jwk => at("private members of an object with `\"kty\"`", GENERATED),
        Rule::Kubernetes => at("values of `data` and `stringData` of a `Secret`", OPAQUE),
        Rule::Encoded(encoding) => (
            Class::Structure,
            words_of_encoding(encoding).to_owned(),
            "what it hides is found by another detector",
            ENCODED_CAP,
        ),
        Rule::AwsPair => at(
            "what follows an AWS access key id",
            "40 characters of base64, no words",
        ),
    };
    Description {
        name: detector.name,
        class,
        pack,
        form,
        check,
        held_bytes,
    }
}

fn at(place: &str, check: &'static str) -> (Class, String, &'static str, usize) {
    (Class::Structure, place.to_owned(), check, VALUE_CAP)
}

const PASSWORD: &str = "no placeholder, reference, path or plain words";
const GENERATED: &str = "long, letters and digits mixed, no words";
const OPAQUE: &str = "base64, or as a password";

fn words_of_check(check: Check) -> &'static str {
    match check {
        Check::Jwt => "the first part is JSON with `alg`",
        Check::Pattern => "the form alone",
        Check::PemBase64 => "decodes to a private key's block",
        Check::Plain => "no placeholder, no words",
        Check::Random => "no placeholder, no words, letters and digits mixed",
        Check::Shape => "no placeholder",
    }
}

fn words_of_grade(grade: Grade) -> &'static str {
    match grade {
        Grade::Basic => "decodes to `user:password`",
        Grade::Generated => GENERATED,
        Grade::Header => "24 characters or more without words",
        Grade::Opaque => OPAQUE,
        Grade::Password => PASSWORD,
        Grade::Phrase => "12 to 24 short words",
    }
}

fn words_of_encoding(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Base64 => "base64 of a text, 24 characters or more, in its first 1,000",
        Encoding::Hex => "hex digits of a text, 32 or more, in the first 1,000",
        Encoding::Percent => "a URL's parameter from its first `%` on, in 1,000 characters",
    }
}

fn words_of_number(number: Number) -> &'static str {
    match number {
        Number::Card => "issuer, length and Luhn digit",
        Number::Iban => "country, its form, mod 97",
        Number::Ssn => "no area, group or serial that is not given out",
        Number::Bsn => "mod 11",
        Number::Nir => "month, mod 97",
        Number::Dni => "check letter, mod 23",
        Number::Pesel => "date, check digit",
        Number::CodiceFiscale => "check letter",
        Number::Cpf => "two check digits, mod 11",
        Number::Snils => "two check digits, mod 101",
        Number::Aadhaar => "Verhoeff digit",
        Number::SteuerId => "repeated digits, mod 11, 10",
        Number::Resident => "date, mod 11-2",
    }
}

/// The length of the longest text that a pattern of the table fits.
fn longest(pattern: &str) -> usize {
    let mut rest = pattern.chars().peekable();
    alternatives(&mut rest)
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn alternatives(rest: &mut Rest<'_>) -> usize {
    let (mut best, mut sum) = (0_usize, 0_usize);
    while let Some(character) = rest.next() {
        let length = match character {
            ')' => break,
            '|' => {
                best = best.max(sum);
                sum = 0;
                continue;
            }
            '(' => {
                while rest.next_if(|c| matches!(c, '?' | ':')).is_some() {}
                alternatives(rest)
            }
            '[' => {
                let mut before = '[';
                for inner in rest.by_ref() {
                    let is_end = inner == ']' && before != '\\';
                    before = if before == '\\' { '[' } else { inner };
                    if is_end {
                        break;
                    }
                }
                1
            }
            '\\' => {
                rest.next();
                1
            }
            _ => 1,
        };
        sum = sum.saturating_add(length.saturating_mul(repeats(rest)));
    }
    best.max(sum)
}

/// The most repeats that the next quantifier allows.
fn repeats(rest: &mut Rest<'_>) -> usize {
    match rest.peek() {
        Some('?') => {
            rest.next();
            1
        }
        Some('*' | '+') => {
            rest.next();
            TOKEN_CAP
        }
        Some('{') => {
            let range: String = rest.by_ref().take_while(|c| *c != '}').collect();
            let last = range.rsplit([',', '{']).next().unwrap_or_default();
            last.parse().unwrap_or(TOKEN_CAP)
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_text_of_a_pattern_is_counted() {
        for (pattern, length) in [
            ("ghp_[A-Za-z0-9]{29}", 33),
            (r"(?:ab|c\.d)?x{2,5}", 8),
            (r"[\]a-]{3}z", 4),
            ("a{10,}", TOKEN_CAP),
        ] {
            assert_eq!(longest(pattern), length, "{pattern}");
        }
    }

    #[test]
    fn nothing_is_held_beyond_the_bound() {
        for it in descriptions() {
            assert!((8..=1024).contains(&it.held_bytes), "{it:?}");
        }
    }

    #[test]
    fn every_detector_is_described() {
        let names: Vec<_> = descriptions().map(|it| it.name).collect();
        assert!(names.iter().copied().eq(crate::mask::detector_names()));
    }
}
