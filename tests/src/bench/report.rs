//! Numbers of several runs: medians, spreads, what the gate adds, `report.json`, the table.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value, json};

/// Numbers of one side in one run, by path: `ttfb_ms.p50`.
pub(super) type Numbers = BTreeMap<String, f64>;

/// What belongs together: the two sides of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair {
    /// Envoy without the filter.
    pub bare: Numbers,
    /// Envoy with the filter.
    pub gate: Numbers,
}

/// Numbers of which the difference counts, and what it is called.
const ADDED: [(&str, &str); 4] = [
    ("ttfb_ms.", "ttfb_added_ms."),
    ("event_gap_us.", "event_gap_added_us."),
    ("event_delay_us.", "event_delay_added_us."),
    ("ready_ms", "ready_added_ms"),
];

/// Numbers of which the ratio counts.
const RATIOS: [&str; 4] = [
    "requests_per_s",
    "cpu_us_per_request",
    "cpu_us_per_event",
    "rss_mib",
];

/// A value of a sorted list at a quantile from 0 to 1; `None` of an empty one.
pub(super) fn quantile(sorted: &[u64], quantile: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let place = ((sorted.len().saturating_sub(1)) as f64 * quantile).round() as usize;
    sorted.get(place).copied()
}

/// Middle, lowest and highest.
fn summary(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    };
    let (low, high) = (sorted.first(), sorted.last());
    (
        median,
        low.copied().unwrap_or(f64::NAN),
        high.copied().unwrap_or(f64::NAN),
    )
}

/// A scenario of `report.json`: each number the median of all runs, with its spread beside it.
/// Differences and ratios are made within each run.
pub(super) fn scenario(pairs: &[Pair]) -> Value {
    let sides = |side: fn(&Pair) -> Numbers| -> Value {
        side_of(&pairs.iter().map(side).collect::<Vec<_>>())
    };
    json!({
        "bare": sides(|pair| pair.bare.clone()),
        "gate": sides(|pair| {
            let mut numbers = pair.gate.clone();
            for (path, value) in &pair.gate {
                for (of, added) in ADDED {
                    if let (Some(rest), Some(bare)) = (path.strip_prefix(of), pair.bare.get(path)) {
                        numbers.insert(format!("{added}{rest}"), value - bare);
                    }
                }
            }
            numbers
        }),
        "ratio": sides(|pair| {
            let ratios = RATIOS.iter().filter_map(|name| {
                let (bare, gate) = (pair.bare.get(*name)?, pair.gate.get(*name)?);
                Some(((*name).to_owned(), gate / bare))
            });
            ratios.collect()
        }),
    })
}

/// One list of numbers a run, as medians with spreads.
pub(super) fn side_of(runs: &[Numbers]) -> Value {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (path, value) in runs.iter().flatten() {
        values.entry(path).or_default().push(*value);
    }
    let (mut medians, mut spreads) = (Map::new(), Map::new());
    for (path, values) in values {
        let (median, low, high) = summary(&values);
        put(&mut medians, path, json!(rounded(median)));
        put(&mut spreads, path, json!([rounded(low), rounded(high)]));
    }
    if !spreads.is_empty() {
        medians.insert("spread".to_owned(), Value::Object(spreads));
    }
    Value::Object(medians)
}

fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(object.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| json!({}));
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

/// Four digits that count; no number at all becomes null.
fn rounded(value: f64) -> Option<f64> {
    if !value.is_finite() {
        return None;
    }
    format!("{value:.3e}").parse().ok()
}

/// The table for people.
pub fn table(report: &Value) -> String {
    let mut out = String::new();
    let number = |value: &Value, path: &str| -> String {
        match value.pointer(path).and_then(Value::as_f64) {
            Some(number) if number.abs() >= 100.0 => format!("{number:.0}"),
            Some(number) if number.abs() >= 10.0 => format!("{number:.1}"),
            Some(number) => format!("{number:.2}"),
            None => "-".to_owned(),
        }
    };
    let columns = [
        ("TTFB bare", "/bare/ttfb_ms/p50"),
        ("+p50 ms", "/gate/ttfb_added_ms/p50"),
        ("+p99 ms", "/gate/ttfb_added_ms/p99"),
        ("CPU us bare", "/bare/cpu_us_per_request"),
        ("CPU x", "/ratio/cpu_us_per_request"),
        ("req/s bare", "/bare/requests_per_s"),
        ("req/s x", "/ratio/requests_per_s"),
        ("event +p50 us", "/gate/event_delay_added_us/p50"),
        ("event p99 us", "/gate/event_delay_us/p99"),
        ("gap +p50 us", "/gate/event_gap_added_us/p50"),
        ("RSS MiB", "/gate/rss_mib"),
    ];
    let mut line = |cells: &mut dyn Iterator<Item = (usize, String)>| {
        for (width, cell) in cells {
            let _written = write!(out, "{cell:>width$} ");
        }
        out.push('\n');
    };
    let width = |title: &str| title.len().max(9);
    let heads = columns
        .iter()
        .map(|(title, _)| (width(title), (*title).to_owned()));
    line(&mut std::iter::once((17, "scenario".to_owned())).chain(heads));
    let scenarios = report["scenarios"].as_object().into_iter().flatten();
    let (timed, others): (Vec<_>, Vec<_>) =
        scenarios.partition(|(_, value)| value["bare"]["ttfb_ms"].is_object());
    for (name, value) in timed {
        let cells = columns
            .iter()
            .map(|(title, path)| (width(title), number(value, path)));
        line(&mut std::iter::once((17, name.clone())).chain(cells));
    }
    // the sink measures itself, and has shown its own table
    for (name, value) in others.into_iter().filter(|(name, _)| *name != "sink") {
        let mut value = value.clone();
        without_spread(&mut value);
        let _written = writeln!(out, "{name:>17} {value}");
    }
    out
}

fn without_spread(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.remove("spread");
        object.values_mut().for_each(without_spread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_medians_with_spreads_and_ratios_are_made_within_a_run() {
        let run = |bare: f64, gate: f64| {
            let side = |cpu: f64| {
                Numbers::from([
                    ("cpu_us_per_request".to_owned(), cpu),
                    ("ttfb_ms.p50".to_owned(), cpu / 100.0),
                ])
            };
            Pair {
                bare: side(bare),
                gate: side(gate),
            }
        };
        let value = scenario(&[run(100.0, 200.0), run(200.0, 300.0), run(100.0, 300.0)]);
        assert_eq!(value["bare"]["cpu_us_per_request"], json!(100.0));
        assert_eq!(
            value["bare"]["spread"]["cpu_us_per_request"],
            json!([100.0, 200.0])
        );
        assert_eq!(value["gate"]["ttfb_ms"]["p50"], json!(3.0));
        assert_eq!(value["gate"]["ttfb_added_ms"]["p50"], json!(1.0));
        assert_eq!(value["ratio"]["cpu_us_per_request"], json!(2.0));
        assert_eq!(
            value["ratio"]["spread"]["cpu_us_per_request"],
            json!([1.5, 3.0])
        );
    }

    #[test]
    fn quantiles_are_values_of_the_list() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&sorted, 0.0), Some(1));
        assert_eq!(quantile(&sorted, 0.5), Some(51));
        assert_eq!(quantile(&sorted, 0.99), Some(99));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
