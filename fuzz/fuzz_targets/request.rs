//! Requests, and answers in one piece: what leaves is JSON, holds no secret, and stays as it is
//! when it is masked again.
//!
//! Input: the API, one byte for the way, then what it says:
//!
//! - 0: a body as it comes;
//! - 1: changes to a body of the API, three bytes each: place, change, argument; so that texts with
//!   secrets stand wherever the API has a place.

#![no_main]

use contract::Epoch;
use filter_core::mask::Masker;
use filter_core::provider::{
    Api, Limits, Placed, Unreadable, Unscanned, mask_plain, mask_request, mask_response, models,
};
use filter_core::repeats::{Repeats, Written};
use filter_core::time::UnixTime;
use fuzz::bodies::{APIS, body, change, decoded, encode_contents, strings, watch};
use fuzz::{PLANTED, head, masker};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

const LIMITS: Limits = Limits {
    max_event_bytes: 1 << 16,
    max_findings: 64,
    max_content: 2048,
    max_channels: 8,
    max_held: 1 << 14,
};

const NOW: UnixTime = UnixTime(1_800_000_000_000_000);

fuzz_target!(init: { std::hint::black_box(masker()); }, |data: &[u8]| {
    let Some(([api, way], rest)) = head::<2>(data) else {
        return;
    };
    let api = APIS[usize::from(api) % APIS.len()];
    if way & 1 == 0 {
        for mask in [request, answer, plain] {
            stays(api, mask, rest);
        }
        models_stay(rest);
        return;
    }
    let is_answer = way & 2 != 0;
    let mut tree = body(api, is_answer);
    let mut planted = Vec::new();
    for step in rest.as_chunks::<3>().0.iter().take(16) {
        planted.extend(change(&mut tree, *step));
    }
    if api == Api::Ingest && !is_answer {
        encode_contents(&mut tree);
    }
    let written = write(&tree, way & 4 != 0);
    let Some((out, passed)) = stays(api, if is_answer { answer } else { request }, &written) else {
        return;
    };
    if passed {
        // A signed text may keep what is found in it.
        return;
    }
    let seen = serde_json::from_slice::<Value>(&out).expect("a body that was JSON stays JSON");
    for text in strings(&seen) {
        let inside = decoded(text).filter(|_| api == Api::Ingest && !is_answer);
        for at in &planted {
            let leaves = |text: &str| text.contains(PLANTED[*at].1);
            assert!(!leaves(text), "planted secret {at} leaves: {text:?}");
            assert!(!inside.as_deref().is_some_and(leaves), "planted secret {at} leaves encoded");
        }
    }
});

/// What is left of a message, and what was counted.
struct Masked {
    body: Option<Vec<u8>>,
    findings: Vec<Placed>,
    count: u64,
    /// What must not change when the message is masked again.
    read: String,
}

fn request(api: Api, masker: &Masker, body: &[u8]) -> Result<Masked, Unreadable> {
    let mut repeats = Repeats::new(&[7; 16], Epoch([1; 16]));
    let turn = |repeats: &mut Repeats| {
        let texts = (repeats.of("somebody"), NOW);
        mask_request(api, masker, body, &LIMITS, &watch(), texts)
    };
    let masked = turn(&mut repeats)?;
    let again = turn(&mut repeats)?;
    assert!(again.body == masked.body && again.findings == masked.findings);
    assert_eq!(again.scanned_bytes, masked.scanned_bytes);
    let recorded = String::from_utf8(masked.recorded).unwrap();
    for written in Written::find(&recorded, &masked.texts) {
        repeats.recorded(written, 0, NOW);
    }
    let later = turn(&mut repeats)?;
    assert!(later.body == masked.body && later.texts.is_empty());
    assert!(serde_json::from_slice::<IgnoredAny>(&later.recorded).is_ok());
    let passed = masked.findings.iter().filter(|placed| placed.passed);
    assert!(
        masked.by_detector.values().sum::<u64>() + passed.count() as u64 >= masked.findings_count
    );
    for item in &masked.items {
        assert!(item.role.len() <= 128 && item.name.len() <= 128);
    }
    Ok(Masked {
        read: format!(
            "{:?} {} {:?}",
            masked.model,
            masked.stream,
            unscanned(&masked.unscanned)
        ),
        body: masked.body,
        findings: masked.findings,
        count: masked.findings_count,
    })
}

fn answer(api: Api, masker: &Masker, body: &[u8]) -> Result<Masked, Unreadable> {
    let masked = mask_response(api, masker, body, &LIMITS, &watch(), None)?;
    let facts = masked.facts;
    check_content(&facts.content);
    Ok(Masked {
        read: format!(
            "{:?} {} {:?}",
            facts.model,
            facts.done,
            unscanned(&facts.unscanned)
        ),
        body: masked.body,
        findings: facts.findings,
        count: facts.findings_count,
    })
}

fn plain(_: Api, masker: &Masker, body: &[u8]) -> Result<Masked, Unreadable> {
    let masked = mask_plain(masker, body, &LIMITS)?;
    check_content(&masked.facts.content);
    Ok(Masked {
        read: String::new(),
        body: masked.body,
        findings: masked.facts.findings,
        count: masked.facts.findings_count,
    })
}

fn check_content(content: &str) {
    serde_json::from_str::<Vec<Value>>(content).expect("recorded content is a list");
    assert!(
        content.len() <= LIMITS.max_content + 2,
        "too much content: {}",
        content.len()
    );
}

/// What was not looked at; a reference that holds a secret is shorter when masked.
fn unscanned(unscanned: &[Unscanned]) -> Vec<(&'static str, u64)> {
    let counts = unscanned.iter().map(|one| (one.reason.name(), one.count));
    counts.collect()
}

/// Masks a body twice: what leaves the first time is JSON if it was, and stays the second time.
fn stays(
    api: Api,
    mask: fn(Api, &Masker, &[u8]) -> Result<Masked, Unreadable>,
    body: &[u8],
) -> Option<(Vec<u8>, bool)> {
    let masker = masker();
    let Ok(first) = mask(api, &masker, body) else {
        return None;
    };
    assert_eq!(
        first.findings.len() as u64,
        first.count.min(LIMITS.max_findings as u64)
    );
    for placed in &first.findings {
        assert!(placed.channel.len() <= 120 && placed.finding.length > 0);
    }
    // What stays because it is signed is found again; the kept findings tell, if all are kept.
    let open = |masked: &Masked| {
        let passed = masked.findings.iter().filter(|placed| placed.passed);
        masked.count - passed.count() as u64
    };
    let all_kept = first.findings.len() as u64 == first.count;
    let found = open(&first);
    assert!(
        found == 0 || !all_kept || first.body.is_some(),
        "found, but not masked"
    );
    let out = first.body.unwrap_or_else(|| body.to_vec());
    let is_json = |bytes: &[u8]| serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
    assert!(is_json(&out) || !is_json(body), "JSON is broken");
    let second = match mask(api, &masker, &out) {
        Ok(second) => second,
        // Two keys of one object may be masked to the same only if one of them was a placeholder.
        Err(error) => panic!("what leaves cannot be read: {error}"),
    };
    if all_kept {
        assert_eq!(open(&second), 0, "found when masked again");
        assert_eq!(second.count, first.count - found);
    }
    let again = second.body.as_deref().unwrap_or(&out);
    assert_eq!(
        String::from_utf8_lossy(again),
        String::from_utf8_lossy(&out),
        "changed when masked again"
    );
    assert_eq!(second.read, first.read);
    Some((out, first.count > found || !all_kept))
}

/// Takes models out of a list twice: what leaves the first time is JSON, and stays.
fn models_stay(body: &[u8]) {
    let restrict = |body: &[u8]| {
        let allowed = |model: &str| model.starts_with("gpt");
        models::restrict(body, &allowed, &["/chat/completions"])
    };
    if let Ok(out) = restrict(body) {
        assert_eq!(restrict(&out).as_ref(), Ok(&out));
    }
}

/// JSON as it is, or with every letter of its strings escaped.
fn write(tree: &Value, escaped: bool) -> Vec<u8> {
    let text = tree.to_string();
    if !escaped {
        return text.into_bytes();
    }
    let mut out = String::new();
    let (mut inside, mut after_backslash) = (false, 0);
    for character in text.chars() {
        match character {
            _ if after_backslash > 0 => {
                after_backslash -= 1;
                // the four digits of an escape stay too
                after_backslash += if character == 'u' { 4 } else { 0 };
                out.push(character);
            }
            '\\' => {
                after_backslash = 1;
                out.push(character);
            }
            '"' => {
                inside = !inside;
                out.push(character);
            }
            'a'..='z' | 'A'..='Z' if inside => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)))
            }
            _ => out.push(character),
        }
    }
    out.into_bytes()
}
