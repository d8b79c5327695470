use super::*;

fn masker() -> Masker {
    let keys = MaskKeys {
        fingerprint_key_id: "k1".to_owned(),
        fingerprint_key: b"fingerprints".to_vec(),
        placeholder_key: b"placeholders".to_vec(),
    };
    thread_local!(static CATALOG: Rc<Catalog> = Rc::new(Catalog::new()));
    Masker::new(CATALOG.with(Rc::clone), &keys, "acme", "mia")
}

fn mask(text: &str) -> (String, Vec<Finding>) {
    let mut findings = Vec::new();
    let out = masker().mask(text, &mut findings);
    (out.unwrap_or_else(|| text.to_owned()), findings)
}

#[test]
fn every_example_is_found_and_no_counter_example() {
    let mut wrong = Vec::new();
    for entry in (0..)
        .map_while(|at| masker().catalog().entry(at).map(|_| at))
        .collect::<Vec<_>>()
    {
        let masker = masker();
        let detector = masker.catalog().entry(entry).unwrap().detector;
        for example in detector.examples {
            let (text, start, end) = unmarked(example);
            let (_, findings) = mask(&text);
            let found: Vec<_> = findings
                .iter()
                .map(|f| (f.detector, f.offset, f.offset + f.length))
                .collect();
            if found != [(detector.name, start as u64, end as u64)] {
                wrong.push(format!(
                    "{}: {start}..{end} is {found:?}: {text}",
                    detector.name
                ));
            }
        }
        for example in detector.counter_examples {
            let text = format!("{example}\n");
            let (_, findings) = mask(&text);
            if !findings.is_empty() {
                wrong.push(format!(
                    "{}: touched {example}: {findings:?}",
                    detector.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An example without its marks, and where its value is.
fn unmarked(example: &str) -> (String, usize, usize) {
    match example.split_once('«') {
        None => (format!("x {example} y"), 2, 2 + example.len()),
        Some((before, rest)) => {
            let (value, after) = rest.split_once('»').unwrap();
            (
                format!("{before}{value}{after}"),
                before.len(),
                before.len() + value.len(),
            )
        }
    }
}
