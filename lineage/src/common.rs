//! Fingerprints that stand in code of many people.

use std::collections::HashSet;

/// What stands in many files of public packages, and so says nothing about where code comes from.
///
/// Made by `examples/measure --files 100000 --at-most 10000 --write-common` of packages in Rust,
/// Python, JavaScript, Go, Java and C, one language after the other: of each the 10,000 that most
/// owners of packages have, and at least three. The owners are those on which nothing is measured. To
/// be made anew when a scheme changes.
pub fn common() -> HashSet<i64> {
    let (values, _) = COMMON.as_chunks();
    values
        .iter()
        .map(|bytes| i64::from_le_bytes(*bytes))
        .collect()
}

/// Sorted numbers of 8 bytes, the least byte first.
const COMMON: &[u8] = include_bytes!("common.bin");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Query;

    #[test]
    fn an_idiom_is_common_and_code_of_ones_own_is_not() {
        let of = |code: &str| {
            let mut query = Query::default();
            query.add(code);
            query.fingerprints()
        };
        let common = common();
        let idiom = "impl fmt::Display for Error {\n    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {\n        match self {";
        assert!(of(idiom).iter().any(|value| common.contains(value)));
        let own = include_str!("common.rs");
        let known = of(own)
            .iter()
            .filter(|value| common.contains(value))
            .count();
        assert!(known * 5 < of(own).len(), "{known}");
    }
}
