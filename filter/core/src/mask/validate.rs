//! Tells values from placeholders, references, names and words.
//!
//! A pattern or a key name says that a value may be a secret; these checks say that it is none
//! after all. They look at the value alone, so that they never depend on where a text was cut.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};

use super::detector::{Check, Grade};
use super::placeholder::PREFIX;

/// Whether a token's proof stands; `prefix` is the length of its fixed beginning.
pub(super) fn proof_holds(check: Check, proof: &str, prefix: usize) -> bool {
    if proof.contains(PREFIX) || ends_in_placeholder(proof) {
        return false;
    }
    let body = proof.get(prefix..).unwrap_or(proof);
    match check {
        Check::Pattern => true,
        Check::Shape => !is_filled(body) && !is_published(proof),
        Check::Plain => !is_filled(body) && !is_published(proof) && !is_wordy(body),
        Check::Random => {
            !is_filled(body) && !is_published(proof) && !is_wordy(body) && is_mixed(body)
        }
        Check::Jwt => is_jwt_head(proof),
        Check::PemBase64 => {
            let whole = proof.len() / 4 * 4;
            proof
                .as_bytes()
                .get(..whole)
                .and_then(|head| BASE64_NOPAD.decode(head).ok())
                .is_some_and(|plain| contains(&plain, b"PRIVATE"))
        }
    }
}

/// Whether the proof may end within the beginning of a placeholder, which stands behind no word.
fn ends_in_placeholder(proof: &str) -> bool {
    (1..PREFIX.len()).any(|length| {
        PREFIX
            .get(..length)
            .and_then(|part| proof.strip_suffix(part))
            .is_some_and(|rest| !rest.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    })
}

/// Whether the value behind a key name is a secret.
///
/// `quoted` tells whether quotes enclose it, `strict` whether the way from the key to the value
/// is weak evidence.
pub(super) fn value_holds(grade: Grade, value: &str, quoted: bool, strict: bool) -> bool {
    if value.contains(PREFIX) || is_reference(value) || is_stuffing(value) || is_published(value) {
        return false;
    }
    match grade {
        Grade::Header => quoted_less_words(value) && is_generated(value, 24),
        Grade::Basic => is_basic(value) || is_generated(value, 24),
        Grade::Generated if quoted && !strict && is_mixed_well(value) => is_generated(value, 12),
        Grade::Generated => is_generated(value, if strict { 20 } else { 16 }),
        Grade::Phrase => is_phrase(value),
        Grade::Opaque if strict => value.len() >= 12 && is_opaque(value),
        Grade::Opaque => is_opaque(value) || is_password(value, quoted, strict),
        Grade::Password => is_password(value, quoted, strict),
    }
}

/// Whether what stands between `user:` and `@` of a URL is a password.
pub(super) fn url_password_holds(value: &str) -> bool {
    if value.len() < 4 || value.contains(PREFIX) || is_reference(value) || is_stuffing(value) {
        return false;
    }
    let has_letter = value.bytes().any(|b| b.is_ascii_alphabetic());
    let has_other = value
        .bytes()
        .any(|b| !b.is_ascii_alphabetic() && !matches!(b, b'-' | b'_'));
    has_letter && has_other || value.len() >= 8 && (!is_wordy(value) || switches(value) >= 4)
}

/// Whether this is a secret access key behind its id.
pub(super) fn aws_secret_holds(value: &str) -> bool {
    value.len() == 40
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        && !is_stuffing(value)
        && !is_published(value)
        && !is_wordy(value)
        && value.bytes().any(|b| b.is_ascii_uppercase())
        && value.bytes().any(|b| b.is_ascii_lowercase())
}

/// Whether no short word or name is such a mixture: `x7Kq2LmV9wTb`.
fn is_mixed_well(value: &str) -> bool {
    let has = |class: fn(&u8) -> bool| value.bytes().any(|byte| class(&byte));
    has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && value.bytes().filter(u8::is_ascii_digit).count() >= 2
        && switches(value) >= 5
}

/// Words of a wallet: as many as there are in use, of three to eight letters, hardly one twice.
fn is_phrase(value: &str) -> bool {
    let words: Vec<&str> = value.split(' ').collect();
    let is_new = |(at, word): &(usize, &&str)| !words.iter().take(*at).any(|known| known == *word);
    matches!(words.len(), 12 | 15 | 18 | 21 | 24)
        && words.iter().enumerate().filter(is_new).count() * 4 >= words.len() * 3
        && words.iter().all(|word| {
            (3..=8).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase())
        })
}

/// Base64 as Kubernetes writes it.
fn is_opaque(value: &str) -> bool {
    value.len() >= 8
        && (switches(value) >= 2 || value.ends_with('='))
        && BASE64.decode(value.as_bytes()).is_ok()
}

fn is_password(value: &str, quoted: bool, strict: bool) -> bool {
    let least = if strict { 8 } else { 6 };
    if value.len() < least || value.bytes().any(|b| b.is_ascii_whitespace()) {
        return false;
    }
    if is_path(value) || is_pattern(value) || names_itself(value) || is_dotted_name(value) {
        return false;
    }
    if !quoted && is_code(value) || value.starts_with([')', ',']) {
        return false;
    }
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    // labels end like this: `Password:*`, `Wrong password!`
    let closing = |c: char| matches!(c, '.' | ':' | '?' | '*' | ',') || c == '!' && digits == 0;
    let special = value
        .trim_end_matches(closing)
        .bytes()
        .filter(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'_' | b'-' | b'.' | b'/' | b':'))
        .count();
    if letters == 0 {
        return false;
    }
    let mixture = switches(value);
    if strict && !quoted && value.starts_with('-') {
        return false;
    }
    if digits == 0 && special == 0 {
        let least = if quoted { 9 } else { 12 };
        let is_chosen = value.len() >= 12 && quoted && !strict;
        return !is_wordy(value) && (is_chosen || value.len() >= least && mixture >= 4);
    }
    if quoted && !strict {
        return true;
    }
    // without quotes it may be code: `token2`, `utf8`, `a+b`
    let has_cases = value.bytes().any(|b| b.is_ascii_uppercase())
        && value.bytes().any(|b| b.is_ascii_lowercase());
    if digits == 0 {
        return mixture >= 4 && !is_wordy(value);
    }
    let looks_chosen = value.len() >= 8 && digits >= 3 && (has_cases || !strict || digits >= 4);
    special > 0 || mixture >= 3 || value.len() >= 16 || looks_chosen
}

/// Generated values: long enough, letters and digits mixed, no words.
fn is_generated(value: &str, least: usize) -> bool {
    if value.len() < least || value.len() > 400 {
        return false;
    }
    if value
        .bytes()
        .any(|b| !b.is_ascii_graphic() || matches!(b, b'"' | b'\'' | b'`' | b'\\'))
    {
        return false;
    }
    if is_path(value) || is_pattern(value) || is_dotted_name(value) || names_itself(value) {
        return false;
    }
    is_mixed(value) && !is_wordy(value)
}

fn quoted_less_words(value: &str) -> bool {
    !value.bytes().any(|b| b.is_ascii_whitespace())
}

/// Letters and digits in a mixture, of enough different characters.
fn is_mixed(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let wanted = (value.len() / 4).clamp(5, 10);
    let is_varied = distinct(value) >= wanted;
    if digits == 0 {
        // letters only: cases must change in the way no word does
        return value.len() >= 12 && is_varied && switches(value) * 4 >= value.len();
    }
    letters > 0 && is_varied && switches(value) >= 3
}

/// Changes between lower case, upper case and digits.
fn switches(value: &str) -> usize {
    let class = |b: u8| match b {
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 3,
        _ => 0,
    };
    value
        .as_bytes()
        .windows(2)
        .filter(|pair| match pair {
            [a, b] => class(*a) != 0 && class(*b) != 0 && class(*a) != class(*b),
            _ => false,
        })
        .count()
}

fn distinct(value: &str) -> usize {
    let mut seen = 0_u128;
    for byte in value.bytes() {
        seen |= 1_u128.checked_shl(u32::from(byte)).unwrap_or(0);
    }
    seen.count_ones() as usize
}

/// Words in any spelling: `my-secret-name`, `someLongIdentifier2`, `API_TOKEN_V1`.
///
/// Three of four pairs of letters in words and identifiers are among the third of all pairs that
/// is common; in random text it is one of three.
fn is_wordy(value: &str) -> bool {
    let mut letters = 0_usize;
    let mut digits = 0_usize;
    let mut groups = 0_usize;
    let mut pairs = 0_usize;
    let mut common = 0_usize;
    let mut before = b' ';
    for byte in value.bytes() {
        if byte.is_ascii_alphabetic() {
            letters += 1;
            let starts = before.is_ascii_lowercase() && byte.is_ascii_uppercase();
            if before.is_ascii_alphabetic() && !starts {
                pairs += 1;
                common += usize::from(is_common(before, byte));
            }
        } else if byte.is_ascii_digit() {
            digits += 1;
            groups += usize::from(!before.is_ascii_digit());
        }
        before = byte;
    }
    pairs >= 3
        && common * 100 >= pairs * 72
        && groups * 10 <= value.len().max(10)
        && digits * 4 <= letters
}

/// Whether a pair of letters is common in words.
fn is_common(first: u8, second: u8) -> bool {
    let row = usize::from(first.to_ascii_lowercase().wrapping_sub(b'a'));
    let second = second.to_ascii_lowercase();
    COMMON
        .get(row)
        .is_some_and(|row| row.bytes().any(|letter| letter == second))
}

/// What commonly follows a, b, c … in words and identifiers: 230 pairs, 94 % of all in source code.
const COMMON: [&str; 26] = [
    "bcdfgiklmnprstuvy",
    "aeiloru",
    "acehiklorstu",
    "adeilorsu",
    "acdefgilmnpqrstvx",
    "aefilou",
    "ehinoru",
    "aeiort",
    "abcdefglmnoprstvxz",
    "",
    "ei",
    "adeilostuy",
    "aeimopsu",
    "acdefgiknostuv",
    "bcdgiklmnoprstuvw",
    "aeiloprstu",
    "u",
    "acdegiklmnorstuvy",
    "acehiopstuy",
    "acehilorstuy",
    "abcefilmnprst",
    "aei",
    "aehinor",
    "pt",
    "np",
    "e",
];

/// Filled in to show a form, or a word that says so: `xxxx`, `test`, `none`.
fn is_stuffing(value: &str) -> bool {
    is_filled(value)
        || value
            .to_ascii_lowercase()
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|part| SHORT_WORDS.contains(&part) && part.len() * 8 >= value.len())
}

/// Filled in to show a form: `xxxx`, `1234567890`, `your-key`, `…`.
fn is_filled(value: &str) -> bool {
    if value.contains("...") || value.contains('…') || value.contains("***") {
        return true;
    }
    let bytes = value.as_bytes();
    let mut repeated = 1_usize;
    let mut ascending = 1_usize;
    for pair in bytes.windows(2) {
        let [a, b] = pair else { continue };
        repeated = if a == b { repeated + 1 } else { 1 };
        let next = a.checked_add(1) == Some(*b) && a.is_ascii_alphanumeric();
        ascending = if next { ascending + 1 } else { 1 };
        // long values may repeat by chance or by padding
        if repeated >= 5 && repeated * 8 >= bytes.len().min(64) && !matches!(a, b'A' | b'=') {
            return true;
        }
        if ascending >= 6 && ascending * 3 >= bytes.len() {
            return true;
        }
    }
    let lower = value.to_ascii_lowercase();
    LONG_WORDS.iter().any(|word| lower.contains(word))
        || KEYBOARD.iter().any(|row| lower.contains(row))
}

const LONG_WORDS: [&str; 16] = [
    "example",
    "placeholder",
    "changeme",
    "change_me",
    "change-me",
    "redacted",
    "replace",
    "dummy",
    "insert_",
    "insert-",
    "your_",
    "your-",
    "yoursecret",
    "yourpassword",
    "goes_here",
    "xxxx",
];
const SHORT_WORDS: [&str; 19] = [
    "your",
    "todo",
    "fixme",
    "fake",
    "here",
    "none",
    "null",
    "undefined",
    "true",
    "false",
    "sample",
    "secret",
    "password",
    "token",
    "string",
    "masked",
    "hidden",
    "removed",
    "test",
];
const KEYBOARD: [&str; 4] = ["qwertyuiop", "asdfghjkl", "123456789", "abcdefghij"];

/// Published in documentation.
fn is_published(value: &str) -> bool {
    value.contains("EXAMPLE") || value == "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY"
}

/// Stands for a value that is kept elsewhere.
fn is_reference(value: &str) -> bool {
    let bytes = value.as_bytes();
    let has = |marks: &[&str]| marks.iter().any(|mark| value.contains(mark));
    // in long random values the short ones may stand by chance
    if has(&["${", "{{", "}}", "<%", "%>", "#{"])
        || value.len() < 20 && has(&["$(", "$[", "{0}", "{}", "%s", "%(", "\\("])
        || value.starts_with("$(")
    {
        return true;
    }
    let encloses = |open: u8, close: u8| {
        bytes.first() == Some(&open) && bytes.last() == Some(&close) && bytes.len() > 1
    };
    if encloses(b'<', b'>') || encloses(b'[', b']') || encloses(b'{', b'}') || encloses(b'%', b'%')
    {
        return true;
    }
    if value.starts_with("&lt;") && value.ends_with("&gt;") {
        return true;
    }
    if encloses(b'@', b'@') || encloses(b'_', b'_') {
        return true;
    }
    if let Some(name) = value.strip_prefix(['$', '@', '%', '&', ':', '!']) {
        let rest = name.strip_prefix(['$', '{', '(']).unwrap_or(name);
        if rest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'}'))
            && (is_wordy(rest) || rest.len() < 4)
        {
            return true;
        }
    }
    let starts = |prefix: &&str| {
        value
            .get(..prefix.len())
            .is_some_and(|p| p.eq_ignore_ascii_case(prefix))
    };
    REFERENCES.iter().any(starts)
}

const REFERENCES: [&str; 34] = [
    "op://",
    "vault:",
    "vault/",
    "arn:",
    "env:",
    "env.",
    "file:",
    "http://",
    "https://",
    "secret://",
    "projects/",
    "ref+",
    "var.",
    "data.",
    "local.",
    "module.",
    "process.env",
    "os.environ",
    "os.getenv",
    "getenv",
    "std::env",
    "env[",
    "config.",
    "config[",
    "self.",
    "this.",
    "secrets.",
    "request.",
    "req.",
    "options.",
    "props.",
    "settings.",
    "urn:",
    "sha256:",
];

/// A file or a place in a tree.
fn is_path(value: &str) -> bool {
    if ["/", "./", "../", "~/", "C:\\"]
        .iter()
        .any(|start| value.starts_with(start))
    {
        return is_wordy(value) || value.len() < 30 && value.matches('/').count() > 1;
    }
    value.contains("://")
        || [
            ".pem", ".key", ".json", ".yaml", ".yml", ".txt", ".env", ".crt", ".p12", ".jks", ".js",
        ]
        .iter()
        .any(|end| value.ends_with(end))
}

/// A regular expression, a format, code.
fn is_pattern(value: &str) -> bool {
    [
        "[a-z", "[A-Z", "[0-9", "[^", "(?", ".*", ".+", "\\d", "\\w", "\\s", "()", "=>", "->",
        "::", "</", "/>",
    ]
    .iter()
    .any(|mark| value.contains(mark))
        || value.starts_with('^') && value.ends_with('$')
}

/// `65536u32`, `0x1F_u8`, `ALGO_WPA2_PSK`, `size=1`: of these no password is made.
fn is_code(value: &str) -> bool {
    let number = value.trim_start_matches('-');
    let digits = number.strip_prefix("0x").unwrap_or(number);
    let is_number = [
        "u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize", "f32", "f64", "L",
        "UL", "",
    ]
    .iter()
    .filter_map(|suffix| digits.strip_suffix(suffix))
    .any(|digits| {
        let hex = number.len() > digits.len() && number.starts_with("0x");
        digits.bytes().all(|b| match b {
            b'a'..=b'f' | b'A'..=b'F' => hex,
            b'0'..=b'9' | b'_' | b'.' => true,
            _ => false,
        })
    });
    let mut parts = value.split('_');
    let is_constant = value.contains('_')
        && value
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && parts.all(|part| part.bytes().filter(u8::is_ascii_digit).count() * 2 <= part.len());
    let is_argument = value.split_once('=').is_some_and(|(name, argument)| {
        argument.len() < 8
            && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            && name.len() > 1
    });
    is_number || is_constant || is_argument
}

/// `user.password.v2`, `api.token`: segments of plain words with dots between.
fn is_dotted_name(value: &str) -> bool {
    value.contains('.')
        && value.split('.').all(|part| {
            let name = part.trim_end_matches(|c: char| c.is_ascii_digit());
            !name.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
                && name.bytes().all(|b| !b.is_ascii_digit())
        })
        && value
            .split('.')
            .all(|part| is_wordy(part) || part.len() < 4)
}

/// Says what it is instead of being it: `password1`, `db_password`, `my-secret-key-2`.
fn names_itself(value: &str) -> bool {
    if value.contains("PrivateKey") || value.contains("PublicKey") {
        return true;
    }
    let mut rest = value.to_ascii_lowercase();
    let before = rest.len();
    for word in [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "username",
        "credential",
        "pass",
        "key",
    ] {
        if rest.contains(word) {
            rest = rest.replace(word, "");
        }
    }
    if rest.len() == before {
        return false;
    }
    let kept = rest.bytes().filter(u8::is_ascii_alphanumeric).count();
    kept < 5
        || rest
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.' | b':'))
}

fn is_basic(value: &str) -> bool {
    let plain = BASE64
        .decode(value.as_bytes())
        .or_else(|_| BASE64_NOPAD.decode(value.trim_end_matches('=').as_bytes()));
    let Ok(plain) = plain else { return false };
    let Some(colon) = plain.iter().position(|b| *b == b':') else {
        return false;
    };
    let is_text = plain
        .iter()
        .all(|b| b.is_ascii_graphic() || *b == b' ' || *b >= 0x80);
    let Some(password) = plain
        .get(colon + 1..)
        .and_then(|p| std::str::from_utf8(p).ok())
    else {
        return false;
    };
    is_text && password.len() >= 4 && !is_reference(password) && !is_stuffing(password)
}

fn is_jwt_head(proof: &str) -> bool {
    let Some((head, _)) = proof.split_once('.') else {
        return false;
    };
    BASE64URL_NOPAD
        .decode(head.as_bytes())
        .ok()
        .and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok())
        .is_some_and(|json| json.get("alg").is_some())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_any_spelling_are_told_from_random_text() {
        for words in [
            "my-secret-name",
            "someLongIdentifierName",
            "API_TOKEN_VERSION_1",
            "com.corporate.Keys",
        ] {
            assert!(is_wordy(words), "{words}");
        }
        for random in [
            "q7Zk2LmX9vTb4RnW",
            "fwvig1qbun0o219axhpe7k234hbxsf",
            "PIdJWrIMLBWsEjlXoBfBirZwiuHl",
        ] {
            assert!(!is_wordy(random), "{random}");
        }
    }

    #[test]
    fn stuffing_is_recognised() {
        for value in [
            "xxxxxxxx",
            "your-api-key",
            "********",
            "sk-...",
            "REPLACE_ME",
            "12345678",
        ] {
            assert!(is_stuffing(value), "{value}");
        }
        for value in ["hunter2-Xq", "Gl4cier-2020!", "q7Zk2LmX9vTb4RnW"] {
            assert!(!is_stuffing(value), "{value}");
        }
    }

    #[test]
    fn references_are_recognised() {
        for value in [
            "${DB_PASSWORD}",
            "$DB_PASSWORD",
            "{{ pw }}",
            "<your-key>",
            "%PASSWORD%",
            "op://a/b/c",
        ] {
            assert!(is_reference(value), "{value}");
        }
        for value in ["$2a$Xq9!", "hunter2-Xq", "p@ss9W0rd"] {
            assert!(!is_reference(value), "{value}");
        }
    }
}
