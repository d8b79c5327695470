//! Reads key names: which of them announce a secret.

/// Words of which every key name contains one, by their first letter: only names with one of them
/// are read.
pub(super) const ANCHORS: [(u8, &[&str]); 10] = [
    (b'a', &["auth"]),
    (b'b', &["bearer", "basic"]),
    (b'c', &["connect.s", "cred"]),
    (b'd', &["default"]),
    (b'i', &["identified"]),
    (b'k', &["key", "kty"]),
    (b'p', &["pass", "pw", "psk"]),
    (b's', &["secret", "secure", "salt", "sess"]),
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
    const ROWS: [&[&str]; 32] = rows();
    let row = text
        .first()
        .and_then(|first| ROWS.get(usize::from(first & 31)));
    row.is_some_and(|anchors| {
        anchors.iter().any(|anchor| {
            let start = text.get(..anchor.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(anchor.as_bytes()))
        })
    })
}

/// The anchors by their first letter, without its case.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn rows() -> [&'static [&'static str]; 32] {
    let mut rows: [&[&str]; 32] = [&[]; 32];
    let mut row = 0;
    while row < ANCHORS.len() {
        rows[(ANCHORS[row].0 & 31) as usize] = ANCHORS[row].1;
        row += 1;
    }
    rows
}

/// Whether an anchor may start with these bytes, or is one with something behind it.
pub(super) fn may_be_anchored(start: &[u8]) -> bool {
    let anchors = ANCHORS.iter().flat_map(|(_, anchors)| *anchors);
    anchors.into_iter().any(|anchor| {
        let pairs = anchor.bytes().zip(start);
        pairs
            .into_iter()
            .all(|(want, byte)| byte.eq_ignore_ascii_case(&want))
    })
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
const SUFFIXES: [&str; 15] = [
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
];

/// A key name, lower case without separators, and where its words start.
#[derive(Debug, Default)]
pub(super) struct Name {
    text: String,
    /// Starts of words in `text`.
    starts: Vec<usize>,
}

impl Name {
    /// Reads the identifier that ends where `raw` ends; `None` if no secret can have this name.
    pub(super) fn read(raw: &str) -> Option<Self> {
        let mut name = Self::default();
        let mut before = b'_';
        let bytes = raw.as_bytes();
        if !bytes.last()?.is_ascii_alphanumeric() || raw.len() > LONGEST {
            return None;
        }
        for (at, &byte) in bytes.iter().enumerate() {
            if !byte.is_ascii_alphanumeric() {
                before = b'_';
                continue;
            }
            let next_is_lower = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            let starts = before == b'_'
                || byte.is_ascii_uppercase() && (!before.is_ascii_uppercase() || next_is_lower)
                || byte.is_ascii_digit() && !before.is_ascii_digit();
            if starts {
                name.starts.push(name.text.len());
            }
            name.text.push(char::from(byte.to_ascii_lowercase()));
            before = byte;
        }
        while let Some(&start) = name.starts.last() {
            let last = name.text.get(start..).unwrap_or_default();
            let falls = SUFFIXES.contains(&last) || last.bytes().all(|b| b.is_ascii_digit());
            if !falls || start == 0 {
                break;
            }
            name.text.truncate(start);
            name.starts.pop();
        }
        let mut ends = name.starts.iter().skip(1).copied().chain([name.text.len()]);
        let is_denied = name.starts.iter().any(|&start| {
            let end = ends.next().unwrap_or(start);
            name.text
                .get(start..end)
                .is_some_and(|word| DENIED.contains(&word))
        });
        let is_known = PRIMARY.iter().any(|end| name.text.ends_with(end));
        (!is_denied || is_known).then_some(name)
    }

    /// Whether the name ends with this one; short ones must start a word.
    pub(super) fn ends_with(&self, end: &str) -> bool {
        const ONE_WORD: &str = "sessionid";
        let Some(at) = self.text.len().checked_sub(end.len()) else {
            return false;
        };
        if end == ONE_WORD && self.starts.last() != Some(&at) {
            // `sessionId` is an id in code, `sessionid` a cookie
            return false;
        }
        self.text.ends_with(end) && (end.len() >= 6 || self.starts.contains(&at))
    }

    /// Whether this is the whole name.
    pub(super) fn is(&self, whole: &str) -> bool {
        self.text == whole
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
                Name::read(raw).is_some_and(|name| name.ends_with("password")),
                "{raw}"
            );
        }
        for raw in ["redisPass", "LDAP_PASS", "pass"] {
            assert!(
                Name::read(raw).is_some_and(|name| name.ends_with("pass")),
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
                    .any(|end| name.ends_with(end))
            });
            assert!(denied, "{raw}");
        }
    }
}
