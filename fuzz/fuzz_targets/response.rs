//! Answers as event streams: any cut gives the same bytes, and the caller's texts are masked.
//!
//! Input: the API, one byte for the way, two for the cut, then what it says:
//!
//! - 0: a stream as it comes;
//! - 1: pieces of texts that alternate: 0xff and a byte begin a piece and name its text, the rest is
//!   text as [`fuzz::text`] reads it. The way also says how the stream ends.

#![no_main]

use std::rc::Rc;

use filter_core::provider::{Api, Limits, ResponseMask, Unreadable, Watch};
use filter_core::sse::{Decoder, Part, SseError};
use fuzz::bodies::{APIS, watch};
use fuzz::streams::{Form, Upstream, hear, is_signed};
use fuzz::{cuts, head, mask, masker, text};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

const LIMITS: Limits = Limits {
    max_event_bytes: 1 << 14,
    max_findings: 4,
    max_content: 2048,
    max_channels: 8,
    max_held: 1 << 14,
};

fuzz_target!(init: { std::hint::black_box(masker()); }, |data: &[u8]| {
    let Some(([api, way, a, b], rest)) = head::<4>(data) else {
        return;
    };
    let seed = u16::from_le_bytes([a, b]);
    if way & 1 == 0 {
        let api = APIS[usize::from(api) % APIS.len()];
        any_cut_is_the_same(api, rest, seed, way & 2 != 0);
        return;
    }
    let form = Form::of(api);
    let mut upstream = Upstream::new(form, way & 8 != 0);
    for part in rest.split(|byte| *byte == 0xff).take(64) {
        if let Some((name, piece)) = part.split_first() {
            upstream.piece(*name, &text(piece));
        }
    }
    upstream.end(way >> 4);
    if upstream.stream.len() > 1 << 15 {
        return;
    }
    let (out, error) = any_cut_is_the_same(form.api(), &upstream.stream, seed, false);
    let limits = [
        Unreadable::Stream(SseError::TooLong { limit: LIMITS.max_event_bytes }),
        Unreadable::TooManyChannels,
        Unreadable::TooMuchHeld,
    ];
    if error.is_some_and(|error| limits.contains(&error)) {
        return;
    }
    assert_eq!(error, None, "a good stream cannot be read");
    let mut expected = upstream.texts;
    for ((_, kind), text) in &mut expected {
        if !is_signed(kind) {
            *text = mask(text).0;
        }
    }
    expected.retain(|_, text| !text.is_empty());
    assert_eq!(hear(form, &out), expected);
});

/// Masks a stream whole and in pieces; the bytes, the facts and the error are the same.
fn any_cut_is_the_same(
    api: Api,
    stream: &[u8],
    seed: u16,
    is_stopped: bool,
) -> (Vec<u8>, Option<Unreadable>) {
    let none = Rc::default();
    let whole = run(api, &[stream], is_stopped, &none);
    for cut in cuts(stream, seed) {
        let cut = run(api, &cut, is_stopped, &none);
        assert_eq!(
            String::from_utf8_lossy(&cut.0),
            String::from_utf8_lossy(&whole.0)
        );
        assert_eq!((cut.1, cut.2), (whole.1, whole.2.clone()));
    }
    let (out, error, facts) = whole;
    check_events(&out);
    // Whoever lets every call go at once sees the same, unless too much had to wait.
    for pieces in [&[stream][..], &stream.chunks(7).collect::<Vec<_>>()] {
        let held = run(api, pieces, is_stopped, &Rc::new(watch()));
        check_events(&held.0);
        if held.1 == error && !is_stopped && error.is_none() {
            assert_eq!(
                String::from_utf8_lossy(&held.0),
                String::from_utf8_lossy(&out)
            );
            assert_eq!(held.2, facts);
        }
    }
    (out, error)
}

/// The bytes that leave, the error, and all that was learnt.
fn run(
    api: Api,
    pieces: &[&[u8]],
    is_stopped: bool,
    watch: &Rc<Watch>,
) -> (Vec<u8>, Option<Unreadable>, String) {
    let mut mask = ResponseMask::new(api, masker(), &LIMITS, Rc::clone(watch));
    let mut out = Vec::new();
    let mut error = None;
    for piece in pieces {
        error = mask.push(piece, &mut out).err();
        while mask.take_due().is_some() {
            mask.release(&mut out);
        }
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
        while mask.take_due().is_some() {
            mask.release(&mut out);
        }
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
