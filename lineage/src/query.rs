//! Which suggestions a code may come from.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::scheme::{Method, NOTES, SCHEMES, SHAPE, SHORT, Scheme, TEXT, WHOLE};

/// Code whose origin is asked for, as fingerprints.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Where each fingerprint of each scheme stands.
    places: HashMap<(&'static str, i64), Vec<Lines>>,
    /// Lines with something in them.
    lines: usize,
    parts: usize,
}

/// A stored fingerprint that is one of the query's.
#[derive(Clone, Debug)]
pub struct Row<K> {
    /// Which suggestion it is of.
    pub suggestion: K,
    /// Who was given it.
    pub person: String,
    /// Name of the scheme.
    pub scheme: String,
    /// The fingerprint.
    pub fingerprint: i64,
    /// How many the suggestion has in that scheme.
    pub fingerprints: u64,
}

/// A suggestion that the code may come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<K> {
    /// Which one.
    pub suggestion: K,
    /// What speaks for it, strongest first.
    pub evidence: Vec<Evidence>,
    /// Lines of the query that it explains.
    pub lines: Vec<Lines>,
    /// Part of the suggestion that was found in the query, 0 to 1, by the strongest scheme.
    pub found: f64,
    /// Part of the query's lines that it explains, 0 to 1.
    pub explained: f64,
}

/// Lines of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lines {
    /// Number of the part, as [`Query::add`] gave it.
    pub part: usize,
    /// First line, counted from 0.
    pub first: u32,
    /// Last line.
    pub last: u32,
}

/// What one scheme says.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Name of the scheme.
    pub scheme: &'static str,
    /// Common fingerprints.
    pub hits: u64,
    /// Fingerprints of the suggestion, without those in the query that are common.
    pub of: u64,
}

/// What is needed for a match in one scheme.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Name of the scheme.
    pub scheme: &'static str,
    /// Least number of common fingerprints.
    pub hits: u64,
    /// Least part of the smaller of the two sets that is common, 0 to 1.
    pub share: f64,
}

impl Limit {
    /// Chosen with `examples/measure`; `docs/auditor.md` tells what they find and mistake.
    pub const ALL: [Self; 5] = [
        Self::new(WHOLE.name, 1, 1.0),
        Self::new(TEXT.name, 4, 0.3),
        Self::new(SHORT.name, 4, 0.7),
        Self::new(NOTES.name, 8, 0.8),
        Self::new(SHAPE.name, 6, 0.5),
    ];

    const fn new(scheme: &'static str, hits: u64, share: f64) -> Self {
        Self {
            scheme,
            hits,
            share,
        }
    }

    /// Whether `hits` of two sets' fingerprints are enough.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn passes(&self, hits: u64, of: u64, asked: u64) -> bool {
        hits >= self.hits && hits as f64 >= self.share * of.min(asked) as f64
    }
}

impl Query {
    /// Adds code that stands together: a file, or the added lines of a hunk. Gives its number.
    pub fn add(&mut self, code: &str) -> usize {
        let part = self.parts;
        self.parts += 1;
        self.lines += code.lines().filter(|line| !line.trim().is_empty()).count();
        let plain = without_banners(code);
        for scheme in SCHEMES {
            let of_all = scheme.method == Method::Whole;
            for found in scheme.fingerprints(if of_all { code } else { &plain }) {
                let places = self.places.entry((scheme.name, found.value)).or_default();
                let (first, last) = found.lines;
                places.push(Lines { part, first, last });
            }
        }
        part
    }

    /// All fingerprints, each once, in their order.
    pub fn fingerprints(&self) -> BTreeSet<i64> {
        self.places.keys().map(|(_, value)| *value).collect()
    }

    /// Ranks suggestions by the rows that have the query's fingerprints. Rows that came twice count
    /// once. Fingerprints of `common`, and those that more than [`COMMON_PERSONS`] were given, say
    /// nothing and are left out, on both sides: a suggestion that begins with a licence has to share
    /// what comes after it.
    pub fn rank<K: Clone + Ord>(
        &self,
        rows: &[Row<K>],
        common: &HashSet<i64>,
        limits: &[Limit],
    ) -> Vec<Candidate<K>> {
        let mut persons: HashMap<i64, HashSet<&str>> = HashMap::new();
        for row in rows {
            persons
                .entry(row.fingerprint)
                .or_default()
                .insert(&row.person);
        }
        let is_common = |value: &i64| {
            let many = persons
                .get(value)
                .is_some_and(|who| who.len() > COMMON_PERSONS);
            common.contains(value) || many
        };
        let mut asked: HashMap<&str, u64> = HashMap::new();
        for (scheme, value) in self.places.keys() {
            *asked.entry(scheme).or_default() += u64::from(!is_common(value));
        }
        let mut hits: BTreeMap<(&K, &str), Hits> = BTreeMap::new();
        for row in rows {
            let scheme = SCHEMES.iter().find(|scheme| scheme.name == row.scheme);
            let asked = |scheme: &&Scheme| {
                let place = (scheme.name, row.fingerprint);
                self.places.contains_key(&place)
            };
            if let Some(scheme) = scheme.filter(asked) {
                let entry = hits.entry((&row.suggestion, scheme.name)).or_default();
                if is_common(&row.fingerprint) {
                    entry.common.insert(row.fingerprint);
                } else {
                    entry.telling.insert(row.fingerprint);
                }
                entry.of = row.fingerprints;
            }
        }
        let mut candidates: BTreeMap<&K, Vec<(Evidence, &HashSet<i64>)>> = BTreeMap::new();
        for ((suggestion, scheme), hits) in &hits {
            let Some(limit) = limits.iter().find(|limit| limit.scheme == *scheme) else {
                continue;
            };
            let count = hits.telling.len() as u64;
            let of = hits.of.saturating_sub(hits.common.len() as u64);
            let asked = asked.get(scheme).copied().unwrap_or_default();
            if limit.passes(count, of, asked) {
                let evidence = Evidence {
                    scheme: limit.scheme,
                    hits: count,
                    of,
                };
                candidates
                    .entry(*suggestion)
                    .or_default()
                    .push((evidence, &hits.telling));
            }
        }
        let candidates = candidates.into_iter();
        let mut candidates: Vec<_> = candidates
            .map(|(suggestion, evidence)| self.candidate(suggestion, evidence))
            .collect();
        candidates.sort_by(|one, two| {
            let order = two.found.total_cmp(&one.found);
            order.then(two.explained.total_cmp(&one.explained))
        });
        candidates
    }

    fn candidate<K: Clone>(
        &self,
        suggestion: &K,
        mut evidence: Vec<(Evidence, &HashSet<i64>)>,
    ) -> Candidate<K> {
        let rank = |evidence: &Evidence| {
            SCHEMES
                .iter()
                .position(|scheme| scheme.name == evidence.scheme)
        };
        evidence.sort_by(|(one, _), (two, _)| {
            let order = two.share().total_cmp(&one.share());
            order.then(rank(one).cmp(&rank(two)))
        });
        let mut lines = BTreeSet::new();
        for (evidence, values) in &evidence {
            for value in *values {
                let places = self.places.get(&(evidence.scheme, *value));
                for place in places.into_iter().flatten() {
                    lines.extend((place.first..=place.last).map(|line| (place.part, line)));
                }
            }
        }
        let evidence: Vec<Evidence> = evidence.into_iter().map(|(evidence, _)| evidence).collect();
        Candidate {
            suggestion: suggestion.clone(),
            found: evidence.first().map_or(0.0, Evidence::share),
            evidence,
            explained: part_of(lines.len() as u64, self.lines as u64),
            lines: ranges(lines),
        }
    }
}

impl Evidence {
    /// Part of the suggestion's fingerprints that are common, 0 to 1.
    pub fn share(&self) -> f64 {
        part_of(self.hits, self.of)
    }
}

/// Fingerprints of a suggestion in one scheme that the query has.
#[derive(Default)]
struct Hits {
    telling: HashSet<i64>,
    common: HashSet<i64>,
    /// How many the suggestion has.
    of: u64,
}

/// The code with rows of stars, dashes and the like cut to two: they are long, equal everywhere, and
/// code where a snippet begins within a comment. Only the query is without them, so that what is
/// stored stays as it is.
fn without_banners(code: &str) -> String {
    let mut plain = String::with_capacity(code.len());
    let mut letters = code.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut run = 1;
        while BANNERS.contains(letter) && letters.next_if_eq(&letter).is_some() {
            run += 1;
        }
        for _ in 0..if run > LONGEST_OPERATOR { 2 } else { run } {
            plain.push(letter);
        }
    }
    plain
}

/// What rows under titles and around comments are made of.
const BANNERS: &str = "#*+-/=_~";

const LONGEST_OPERATOR: usize = 3;

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn part_of(some: u64, all: u64) -> f64 {
    (some as f64 / all.max(1) as f64).min(1.0)
}

/// Lines that follow each other, as ranges.
fn ranges(lines: BTreeSet<(usize, u32)>) -> Vec<Lines> {
    let mut ranges: Vec<Lines> = Vec::new();
    for (part, line) in lines {
        match ranges.last_mut() {
            Some(range) if range.part == part && line <= range.last.saturating_add(1) => {
                range.last = line;
            }
            _ => ranges.push(Lines {
                part,
                first: line,
                last: line,
            }),
        }
    }
    ranges
}

/// What more persons than this were given, everybody writes.
pub const COMMON_PERSONS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suggestion::Suggestion;

    const CODE: &str = "fn mean(values: &[f64]) -> Option<f64> {\n    if values.is_empty() {\n        return None;\n    }\n    let sum: f64 = values.iter().copied().filter(|value| value.is_finite()).sum();\n    Some(sum / values.len() as f64)\n}\n\nfn spread(values: &[f64]) -> Option<(f64, f64)> {\n    let low = values.iter().copied().reduce(f64::min)?;\n    let high = values.iter().copied().reduce(f64::max)?;\n    (low <= high).then_some((low, high))\n}\n";

    fn rows(suggestion: u8, person: &str, code: &str) -> Vec<Row<u8>> {
        let found = Suggestion { text: code.into() }.fingerprints().into_iter();
        found
            .flat_map(|(scheme, values)| {
                let fingerprints = values.len() as u64;
                values
                    .into_iter()
                    .map(move |fingerprint| (scheme, fingerprint, fingerprints))
            })
            .map(|(scheme, fingerprint, fingerprints)| Row {
                suggestion,
                person: person.into(),
                scheme: scheme.name.into(),
                fingerprint,
                fingerprints,
            })
            .collect()
    }

    fn rank(query: &Query, rows: &[Row<u8>]) -> Vec<Candidate<u8>> {
        let asked = query.fingerprints();
        let rows = rows.iter().filter(|row| asked.contains(&row.fingerprint));
        query.rank(
            &rows.cloned().collect::<Vec<_>>(),
            &HashSet::new(),
            &Limit::ALL,
        )
    }

    #[test]
    fn the_same_code_is_found_whole_and_its_lines_are_told() {
        let mut query = Query::default();
        query.add("// nothing to see");
        query.add(CODE);
        let found = rank(&query, &rows(7, "ana", CODE));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].evidence[0].scheme, "whole.1");
        assert!(found[0].found > 0.99 && found[0].explained > 0.8);
        let lines = Lines {
            part: 1,
            first: 0,
            last: 12,
        };
        assert_eq!(found[0].lines, [lines]);
    }

    #[test]
    fn renamed_code_in_a_file_is_found_by_its_shape() {
        let renamed = CODE.replace("values", "samples").replace("mean", "average");
        let renamed = renamed
            .replace("spread", "extent")
            .replace("low", "a")
            .replace("high", "b");
        let file = format!("use std::fmt;\n\nstruct Unrelated;\n\n{renamed}");
        let mut query = Query::default();
        query.add(&file);
        let found = rank(&query, &rows(1, "ana", CODE));
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .evidence
                .iter()
                .any(|evidence| evidence.scheme == SHAPE.name)
        );
        assert!(found[0].lines[0].first >= 4);
    }

    #[test]
    fn other_code_is_not_found() {
        let mut query = Query::default();
        query.add(
            "fn main() {\n    let config = Config::read()?;\n    println!(\"{config:?}\");\n}\n",
        );
        assert_eq!(rank(&query, &rows(1, "ana", CODE)), []);
    }

    #[test]
    fn what_everybody_was_given_says_nothing() {
        let mut query = Query::default();
        query.add(CODE);
        let many = 0..=u8::try_from(COMMON_PERSONS).unwrap();
        let many = many.flat_map(|number| rows(number, &format!("p{number}"), CODE));
        assert_eq!(rank(&query, &many.collect::<Vec<_>>()), []);
    }

    #[test]
    fn what_is_common_counts_on_neither_side() {
        let line =
            |line| format!("// Permission number {line} is granted to whoever reads this.\n");
        let licence = (0..12).map(line).collect::<Vec<_>>().concat();
        let rows = rows(1, "ana", &[&licence, CODE].concat());
        let mut query = Query::default();
        query.add(&licence);
        let common: HashSet<i64> = query.fingerprints().into_iter().collect();
        assert_eq!(query.rank(&rows, &common, &Limit::ALL), []);
        query.add(CODE);
        let asked = query.fingerprints();
        let rows: Vec<Row<u8>> = rows
            .into_iter()
            .filter(|row| asked.contains(&row.fingerprint))
            .collect();
        let found = query.rank(&rows, &common, &Limit::ALL);
        let evidence = found[0].evidence.iter();
        let notes = evidence
            .clone()
            .any(|evidence| evidence.scheme == NOTES.name);
        assert!(!notes && found[0].evidence[0].share() > 0.9);
    }

    #[test]
    fn rows_of_stars_say_nothing() {
        let stars = format!(" {}/\n\n", "*".repeat(76));
        let mut query = Query::default();
        query.add(&format!("{stars}int first(void);\n/{}\n", "*".repeat(76)));
        assert_eq!(rank(&query, &rows(1, "ana", &[&stars, CODE].concat())), []);
        assert_eq!(without_banners("a === b - -c // d"), "a === b - -c // d");
        assert_eq!(without_banners(" ****/\n#-----"), " **/\n#--");
    }

    #[test]
    fn rows_that_came_twice_count_once() {
        let mut query = Query::default();
        query.add(CODE);
        let once = rows(1, "ana", CODE);
        let twice = [once.clone(), once.clone()].concat();
        assert_eq!(rank(&query, &twice), rank(&query, &once));
    }
}
