//! Reads key names: which of them announce a secret.

/// Words of which every key name contains one, by their first letter: only names with one of them
/// are read. Letters, but for `?` and `_`, that have the same last five bits share a row.
pub(super) const ANCHORS: [(u8, &[&str]); 13] = [
    (b'?', &["?code=", "_pat"]), // signs of one row
    (b'a', &["apiversion", "auth"]),
    (b'b', &["bearer", "basic"]),
    (b'c', &["connect.s", "cred", "crv"]),
    (b'd', &["default"]),
    (b'i', &["identified"]),
    (b'k', &["key", "kty"]),
    (b'l', &["login("]),
    (b'm', &["mnemonic", "mysql"]),
    (b'p', &["pass", "pdo(", "pw", "psk"]),
    (
        b's',
        &["secret", "secure", "salt", "seed", "sess", "sig", "sonar"],
    ),
    (b't', &["token"]),
    (b'v', &["value"]),
];

/// Whether the name contains an anchor, in any case.
pub(super) fn has_anchor(name: &[u8]) -> bool {
    name.len() <= LONGEST
        && (0..name.len()).any(|at| name.get(at..).is_some_and(starts_with_anchor))
}

/// Whether an anchor stands at the start, in any case.
pub(super) fn starts_with_anchor(text: &[u8]) -> bool {
    const STARTS: [[Start; ROW]; 32] = starts();
    let mut first = [0; 4];
    for (to, byte) in first.iter_mut().zip(text) {
        *to = *byte;
    }
    let row = usize::from(first[0] & 31);
    let first = u32::from_le_bytes(first) | LOWER;
    let fits = |start: &Start| first & start.mask == start.letters;
    if !STARTS.get(row).is_some_and(|row| row.iter().any(fits)) {
        return false; // nearly always
    }
    let mut rows = ANCHORS.iter();
    let anchors = rows.find(|(letter, _)| usize::from(letter & 31) == row);
    anchors.is_some_and(|(_, anchors)| {
        anchors.iter().any(|anchor| {
            let start = text.get(..anchor.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(anchor.as_bytes()))
        })
    })
}

/// Most anchors of a row.
const ROW: usize = 8;
/// The bit of lower case in each of four letters.
const LOWER: u32 = 0x2020_2020;

/// The first four letters of an anchor, or all that it has.
#[derive(Clone, Copy)]
struct Start {
    letters: u32,
    mask: u32,
}

/// The beginnings of the anchors by the last five bits of the first letter.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn starts() -> [[Start; ROW]; 32] {
    // no letters are these
    const NONE: Start = Start {
        letters: 0,
        mask: u32::MAX,
    };
    let mut starts = [[NONE; ROW]; 32];
    let mut row = 0;
    while row < ANCHORS.len() {
        let (letter, anchors) = ANCHORS[row];
        let mut number = 0;
        while number < anchors.len() {
            let anchor = anchors[number].as_bytes();
            let (mut letters, mut mask, mut at) = (0, 0, 0);
            while at < anchor.len() && at < 4 {
                letters |= ((anchor[at] | 0x20) as u32) << (8 * at);
                mask |= 0xff << (8 * at);
                at += 1;
            }
            starts[(letter & 31) as usize][number] = Start { letters, mask };
            number += 1;
        }
        row += 1;
    }
    starts
}

/// Longest key name that is read, in bytes.
pub(super) const LONGEST: usize = 64;

/// Words that deny, wherever they stand in the name.
const DENIED: [&str; 51] = [
    "public",
    "publishable",
    "csrf",
    "lock",
    "change",
    "authenticity",
    "verification",
    "xsrf",
    "next",
    "page",
    "continuation",
    "cancel",
    "cancellation",
    "sha",
    "sha1",
    "sha256",
    "sha512",
    "md",
    "md5",
    "hash",
    "hashed",
    "checksum",
    "digest",
    "etag",
    "commit",
    "integrity",
    "fingerprint",
    "signature",
    "keyboard",
    "cache",
    "sort",
    "primary",
    "foreign",
    "partition",
    "idempotency",
    "cursor",
    "sync",
    "synchronization",
    "count",
    "max",
    "min",
    "num",
    "total",
    "is",
    "has",
    "no",
    "use",
    "hide",
    "show",
    "reset",
    "forgot",
];

/// Names that no word denies.
const PRIMARY: [&str; 4] = [
    "cosmosprimarykey",
    "cosmosdbprimarykey",
    "storageprimarykey",
    "primaryaccesskey",
];

/// Words that may stand behind the telling one: `DB_PASSWORD_PROD`, `api_key_2`.
const SUFFIXES: [&str; 21] = [
    "prod",
    "production",
    "staging",
    "stage",
    "dev",
    "test",
    "live",
    "old",
    "new",
    "backup",
    "value",
    "string",
    "str",
    "plain",
    "env",
    "v",
    "qa",
    "uat",
    "local",
    "sandbox",
    "readonly",
];

/// A key name, lower case without separators, and where its words start.
#[derive(Debug)]
pub(super) struct Name {
    text: [u8; LONGEST],
    length: usize,
    /// A bit for each place in `text` where a word starts.
    starts: u64,
}

impl Name {
    /// Reads the identifier that ends where `raw` ends; `None` if no secret can have this name.
    pub(super) fn read(raw: &str) -> Option<Self> {
        let bytes = raw.as_bytes();
        if !bytes.last()?.is_ascii_alphanumeric() || raw.len() > LONGEST {
            return None;
        }
        let mut name = Self {
            text: [0; LONGEST],
            length: 0,
            starts: 0,
        };
        let mut before = b'_';
        for (at, &byte) in bytes.iter().enumerate() {
            if !byte.is_ascii_alphanumeric() {
                before = b'_';
                continue;
            }
            let next_is_lower = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            let starts = before == b'_'
                || byte.is_ascii_uppercase() && (!before.is_ascii_uppercase() || next_is_lower)
                || byte.is_ascii_digit() && !before.is_ascii_digit();
            name.starts |= u64::from(starts) << name.length;
            *name.text.get_mut(name.length)? = byte.to_ascii_lowercase();
            name.length += 1;
            before = byte;
        }
        while let Some(start) = name.last_start() {
            let last = name.text.get(start..name.length).unwrap_or_default();
            let falls = last.iter().all(u8::is_ascii_digit)
                || SUFFIXES.iter().any(|suffix| suffix.as_bytes() == last);
            if !falls || start == 0 {
                break;
            }
            name.length = start;
            name.starts &= !(1 << start);
        }
        Some(name)
    }

    /// The letters and digits, in lower case.
    pub(super) fn text(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// Whether a word denies that this is a secret's name.
    pub(super) fn is_denied(&self) -> bool {
        let text = self.text();
        if PRIMARY.iter().any(|name| text.ends_with(name.as_bytes())) {
            return false;
        }
        let mut rest = self.text();
        let mut starts = self.starts;
        while let Some(start) = starts.checked_ilog2() {
            let (before, word) = usize::try_from(start)
                .ok()
                .and_then(|start| rest.split_at_checked(start))
                .unwrap_or_default();
            if DENIED.iter().any(|denied| denied.as_bytes() == word) {
                return true;
            }
            starts &= !(1 << start);
            rest = before;
        }
        false
    }

    /// Whether this end of the name announces a secret; a short one must start a word.
    pub(super) fn may_end_with(&self, end: &str) -> bool {
        const ONE_WORD: &str = "sessionid";
        const WHOLE: [&str; 2] = ["session", "sig"];
        if WHOLE.contains(&end) {
            return self.length == end.len();
        }
        let Some(at) = self.length.checked_sub(end.len()) else {
            return false;
        };
        if end == ONE_WORD && self.last_start() != Some(at) {
            // `sessionId` is an id in code, `sessionid` a cookie
            return false;
        }
        end.len() >= 6 || self.starts >> at & 1 != 0
    }

    fn last_start(&self) -> Option<usize> {
        usize::try_from(self.starts.checked_ilog2()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_spelling() {
        for raw in [
            "DB_PASSWORD",
            "dbPassword",
            "db-password",
            "db.password",
            "password_2",
            "DB_PASSWORD_PROD",
        ] {
            assert!(
                Name::read(raw).is_some_and(|name| announces(&name, "password")),
                "{raw}"
            );
        }
        for raw in ["redisPass", "LDAP_PASS", "pass"] {
            assert!(
                Name::read(raw).is_some_and(|name| announces(&name, "pass")),
                "{raw}"
            );
        }
    }

    #[test]
    fn other_names_are_denied() {
        for raw in [
            "compass",
            "bypass",
            "password_hash",
            "publicToken",
            "nextPageToken",
            "password_field",
        ] {
            let denied = Name::read(raw).is_none_or(|name| {
                !["pass", "password", "token"]
                    .iter()
                    .any(|end| announces(&name, end))
            });
            assert!(denied, "{raw}");
        }
    }

    fn announces(name: &Name, end: &str) -> bool {
        name.text().ends_with(end.as_bytes()) && name.may_end_with(end) && !name.is_denied()
    }
}
