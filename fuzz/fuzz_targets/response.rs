//! Answers as event streams: any cut gives the same bytes, and the caller's texts are masked.
//!
//! Input: the API, one byte for the way, two for the cut, then what it says:
//!
//! - 0: a stream as it comes;
//! - 1: pieces of texts that alternate: 0xff and a byte begin a piece and name its channel, the rest
//!   is text as [`fuzz::text`] reads it. The way also says how the stream ends.

#![no_main]

use std::collections::BTreeMap;
use std::rc::Rc;

use filter_core::provider::{Api, Limits, ResponseMask, Unreadable};
use filter_core::sse::{Decoder, Part, SseError};
use fuzz::bodies::APIS;
use fuzz::streams::{Channel, end, event, hear};
use fuzz::{cuts, head, mask, masker, text};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

const LIMITS: Limits = Limits {
    max_event_bytes: 1 << 14,
    max_findings: 4,
    max_content: 2048,
    max_channels: 8,
};

fuzz_target!(|data: &[u8]| {
    let Some(([api, way, a, b], rest)) = head::<4>(data) else {
        return;
    };
    let api = APIS[usize::from(api) % APIS.len()];
    let seed = u16::from_le_bytes([a, b]);
    if way & 1 == 0 {
        any_cut_is_the_same(api, rest, seed, way & 2 != 0);
        return;
    }
    let mut texts: BTreeMap<Channel, String> = BTreeMap::new();
    let mut stream = Vec::new();
    for part in rest.split(|byte| *byte == 0xff) {
        let Some((name, piece)) = part.split_first() else {
            continue;
        };
        let (channel, piece) = (Channel::of(api, *name), text(piece));
        stream.extend_from_slice(&event(api, channel, &piece));
        texts.entry(channel).or_default().push_str(&piece);
    }
    stream.extend_from_slice(&end(
        api,
        &texts.keys().copied().collect::<Vec<_>>(),
        way >> 1,
    ));
    if stream.len() > 1 << 16 {
        return;
    }
    let (out, error) = any_cut_is_the_same(api, &stream, seed, false);
    assert_eq!(error, None, "a good stream cannot be read");
    let mut expected = texts;
    for text in expected.values_mut() {
        *text = mask(text).0;
    }
    expected.retain(|_, text| !text.is_empty());
    assert_eq!(hear(api, &out), expected);
});

/// Masks a stream whole and in pieces; the bytes, the facts and the error are the same.
fn any_cut_is_the_same(
    api: Api,
    stream: &[u8],
    seed: u16,
    is_stopped: bool,
) -> (Vec<u8>, Option<Unreadable>) {
    let whole = run(api, &[stream], is_stopped);
    for cut in cuts(stream, seed) {
        let cut = run(api, &cut, is_stopped);
        assert_eq!(
            String::from_utf8_lossy(&cut.0),
            String::from_utf8_lossy(&whole.0)
        );
        assert_eq!((cut.1, cut.2), (whole.1, whole.2.clone()));
    }
    let (out, error, _) = whole;
    check_events(&out);
    (out, error)
}

/// The bytes that leave, the error, and all that was learnt.
fn run(api: Api, pieces: &[&[u8]], is_stopped: bool) -> (Vec<u8>, Option<Unreadable>, String) {
    let mut mask = ResponseMask::new(api, masker(), &LIMITS, Rc::default());
    let mut out = Vec::new();
    let mut error = None;
    for piece in pieces {
        error = mask.push(piece, &mut out).err();
        assert!(
            mask.held() <= 1024 * LIMITS.max_channels,
            "{} bytes are held",
            mask.held()
        );
        assert!(mask.recorded() <= LIMITS.max_content);
        if error.is_some() {
            let before = out.len();
            assert_eq!(mask.push(b"data: more\n\n", &mut out).err(), error);
            assert_eq!(out.len(), before, "something leaves after an error");
            break;
        }
    }
    if is_stopped || error.is_some() {
        mask.end_readably("The gateway ended this answer.", &mut out);
    } else {
        mask.finish(&mut out);
    }
    let facts = mask.into_facts();
    assert_eq!(
        facts.findings.len() as u64,
        facts.findings_count.min(LIMITS.max_findings as u64)
    );
    assert!(
        facts
            .findings
            .iter()
            .all(|placed| placed.channel.len() <= 120)
    );
    assert!(
        facts.content.len() <= LIMITS.max_content + 2,
        "too much content"
    );
    serde_json::from_str::<Vec<Value>>(&facts.content).expect("recorded content is a list");
    (out, error, format!("{facts:?}"))
}

/// What leaves is whole events, and each that looks like JSON is JSON.
fn check_events(out: &[u8]) {
    let mut decoder = Decoder::new(usize::MAX);
    let mut check = |part: Part<'_>| {
        if let Part::Block(block) = part {
            let data = block.data().unwrap_or_default();
            if data.trim_ascii_start().starts_with(b"{") {
                assert!(
                    serde_json::from_slice::<IgnoredAny>(&data).is_ok(),
                    "an event is broken"
                );
            }
            let end = block.lines().last().expect("a line");
            assert!(end.text.is_empty(), "half an event leaves");
        }
        Ok::<_, SseError>(())
    };
    decoder.push(out, &mut check).expect("no limit");
    decoder.finish(&mut check).expect("no limit");
}
