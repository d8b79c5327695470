//! Headers of a message as plain values.

/// Names in lower case and values, in their order; pseudo-headers among them.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Takes pairs as they arrived.
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The value, if the name stands exactly once.
    pub fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// The target's path, without its query.
    pub fn path(&self) -> &str {
        let target = self.one(":path").unwrap_or_default();
        target.split(['?', '#']).next().unwrap_or_default()
    }

    /// Whether the body is encoded in any way but `identity`.
    pub fn encoded(&self) -> bool {
        self.count("content-encoding") > 0 && self.one("content-encoding") != Some("identity")
    }

    /// How often the name stands.
    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// All names, also repeated ones.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// All names and values but pseudo-headers.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(name, _)| !name.starts_with(':'))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// An identifier that a client made: at most 128 of harmless characters, or nothing.
pub fn identifier(value: &str) -> Option<String> {
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/@+()=; ".contains(&b);
    (!value.is_empty() && value.len() <= 128 && value.bytes().all(harmless))
        .then(|| value.to_owned())
}

/// The text cut at `limit` bytes, at the border of a character.
pub fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while end > 0 && !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_header_has_no_single_value() {
        let pair = |name: &str| (name.to_owned(), "v".to_owned());
        let headers = Headers::new(vec![pair("a"), pair("b"), pair("a")]);
        assert_eq!((headers.one("a"), headers.count("a")), (None, 2));
        assert_eq!(headers.one("b"), Some("v"));
        assert_eq!(headers.one("c"), None);
    }

    #[test]
    fn identifiers_are_short_and_harmless() {
        assert!(identifier("0b1f-22").is_some());
        assert!(identifier("GithubCopilot/1.539.0").is_some());
        for bad in ["", "a\nb", "a\"b", "ü", &"x".repeat(129)] {
            assert_eq!(identifier(bad), None, "{bad}");
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        assert_eq!(cut("aäb", 9), "aäb");
    }
}
