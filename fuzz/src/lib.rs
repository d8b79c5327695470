//! What the fuzz targets share: a masker, texts with secrets in them, and ways to cut.

pub mod bodies;
pub mod grant;
pub mod identity;
pub mod streams;

use std::rc::Rc;

use filter_core::mask::{Catalog, Finding, MaskKeys, Masker, TextMask};

/// Texts in which a detector finds the second string, wherever the text stands on its own.
pub const PLANTED: [(&str, &str); 7] = [
    (
        concat!(
            "deploy with ghp",
            "_Zx81Kq0pLm5vBn2wRt7yUa3sDf9gHj4eCiO6 now"
        ),
        concat!("ghp", "_Zx81Kq0pLm5vBn2wRt7yUa3sDf9gHj4eCiO6"),
    ),
    (
        concat!("id: AKIA", "BJ6R5MDZ3IDV7PNW, region: eu"),
        concat!("AKIA", "BJ6R5MDZ3IDV7PNW"),
    ),
    (
        concat!("a\nDB_PASSWORD = \"", "hunter2-Xq\"\nb"),
        concat!("hunter", "2-Xq"),
    ),
    (
        concat!(
            "curl -H 'Authorization: Bearer ",
            "tYX25GTMPi1eRpqrW6sF1xLASxqt' x"
        ),
        concat!("tYX25GTMPi1eRpqr", "W6sF1xLASxqt"),
    ),
    (
        concat!("see postgres://app:", "S3cr3t-pw9@db.example/x for it"),
        concat!("S3cr3t", "-pw9"),
    ),
    (
        concat!(
            "k -----BEGIN ",
            "PRIVATE KEY-----\nMIIBVgIBADANBgkqhkiG9w0BAQEFQ2xhc3NpY2FsTXVzaWNJc0dyZWF0\n",
            "c3Npbm5FbmQ=\n-----END PRIVATE KEY----- e"
        ),
        concat!(
            "MIIBVgIBADANBgkqhkiG9w0BAQEF",
            "Q2xhc3NpY2FsTXVzaWNJc0dyZWF0"
        ),
    ),
    (
        concat!(
            "key sk-ant",
            "-api03-q7Zk2LmX9vB4nR8tY1wP5sD3fG6hJ0kC2xV7bN4mQ9eT5yU8iO1pA3zL6wS-aB4cD7eF2gH5AA here"
        ),
        concat!(
            "q7Zk2LmX9vB4nR8tY1wP5s",
            "D3fG6hJ0kC2xV7bN4mQ9eT5yU8iO1pA3zL6wS"
        ),
    ),
];

/// What a byte from 0x80 on stands for in [`text`], besides the values of [`PLANTED`].
const FRAGMENTS: [&str; 57] = [
    "é",
    "🦀",
    "\u{fffd}",
    "\u{feff}",
    "password",
    "token",
    "api_key",
    "secret = \"",
    "password: ",
    "DB_PASSWORD=",
    "Authorization: ",
    "Bearer ",
    "Basic ",
    "https://",
    "postgres://user:",
    "value",
    "default = ",
    "MASKED_",
    "MASKED_PASSWORD_",
    "MASKED_PASSWORD_ABCDEFGHIJKLMNOP",
    "MASKED_GITHUB_PAT_ABCDEFGHIJKLMNOP",
    "-----BEGIN ",
    "-----END ",
    "PRIVATE KEY-----",
    "eyJ",
    "ghp_",
    "AKIA",
    "sk-ant-api03-",
    "glpat-",
    "xoxb-",
    "npm_",
    "ops_eyJ",
    "SG.",
    "hvs.",
    "pypi-",
    "https://hooks.slack.com/services/",
    "was ",
    "string = ",
    "auth",
    "\r\n",
    "%20",
    "\\n",
    "\\\"",
    "=>",
    "-p ",
    "-u ",
    "curl ",
    "login ",
    ":5432:",
    "db:",
    "key: ",
    "export ",
    "${TOKEN}",
    "AWS_SECRET_ACCESS_KEY=",
    "{\"password\":\"",
    "eyJhbGciOiJIUzI1NiJ9.",
    "AccountKey=",
];

/// A text from bytes: ASCII stands for itself, all other bytes for fragments that detectors know.
///
/// So a seed may be plain text, and a mutation of one byte may plant half a secret.
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match usize::from(*byte) {
            ascii @ 0..0x80 => text.push(char::from(ascii as u8)),
            other => {
                let at = other - 0x80;
                let value = PLANTED
                    .get(at / 2)
                    .map(|(text, value)| [value, text][at % 2]);
                let fragment = value.or_else(|| FRAGMENTS.get(at - 2 * PLANTED.len()));
                text.push_str(fragment.unwrap_or(&" "));
            }
        }
    }
    text
}

/// A masker for tests; its detectors are compiled once.
pub fn masker() -> Masker {
    thread_local!(static MASKER: Masker = {
        let keys = MaskKeys {
            fingerprint_key_id: "k1".to_owned(),
            fingerprint_key: b"a key of tests, nothing else....".to_vec(),
            placeholder_key: b"another key of tests, no more...".to_vec(),
        };
        Masker::new(Rc::new(Catalog::new()), &keys, "test", "somebody")
    });
    MASKER.with(Masker::clone)
}

/// The masked text and its findings.
pub fn mask(text: &str) -> (String, Vec<Finding>) {
    let mut findings = Vec::new();
    let masked = masker().mask(text, &mut findings);
    (masked.unwrap_or_else(|| text.to_owned()), findings)
}

/// Masks a text that arrives in pieces; checks after each what is held, and that what has left stays.
pub fn mask_pieces<'a>(pieces: impl Iterator<Item = &'a str>) -> (String, Vec<Finding>) {
    let masker = masker();
    let (mut mask, mut out, mut findings) = (TextMask::new(), String::new(), Vec::new());
    let mut left = String::new();
    for piece in pieces {
        mask.push(&masker, piece, &mut out, &mut findings);
        assert!(mask.held() <= 1024, "{} bytes are held", mask.held());
        let more = out.strip_prefix(&left).expect("what has left stays");
        left.push_str(more);
    }
    mask.finish(&masker, &mut out, &mut findings);
    assert!(out.starts_with(&left), "what has left stays");
    assert_eq!(mask.held(), 0);
    (out, findings)
}

/// Three ways of cutting: byte by byte, once, and into pieces of many lengths.
pub fn cuts(bytes: &[u8], seed: u16) -> [Vec<&[u8]>; 3] {
    let once = bytes.split_at(usize::from(seed) % (bytes.len() + 1));
    [
        bytes.chunks(1).collect(),
        vec![once.0, once.1],
        pieces(bytes, seed),
    ]
}

/// Pieces of 0 to 63 bytes, the same for the same seed.
pub fn pieces(bytes: &[u8], seed: u16) -> Vec<&[u8]> {
    let mut state = u32::from(seed) | 1 << 16;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = [2, 8, 64][(state >> 28) as usize % 3];
        let (piece, after) = rest.split_at(((state >> 16) as usize % most).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The first bytes of the input, which choose what is tried; the rest is what is tried.
pub fn head<const N: usize>(data: &[u8]) -> Option<([u8; N], &[u8])> {
    let (head, rest) = data.split_first_chunk()?;
    Some((*head, rest))
}
