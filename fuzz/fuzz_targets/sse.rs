//! The cutting of event streams: any cut gives the same parts, and parts are the stream.
//!
//! Input: two bytes for the cut, one for the longest event, then the stream.

#![no_main]

use filter_core::sse::{Decoder, Part, SseError};
use fuzz::{cuts, head};
use libfuzzer_sys::fuzz_target;

type Parts = Vec<(&'static str, Vec<u8>)>;

fuzz_target!(|data: &[u8]| {
    let Some(([a, b, limit], stream)) = head::<3>(data) else {
        return;
    };
    let limit = if limit < 0x80 {
        1 << 20
    } else {
        usize::from(limit) - 0x7e
    };
    let (whole, error) = parts(&[stream], limit);
    for cut in cuts(stream, u16::from_le_bytes([a, b])) {
        assert_eq!(parts(&cut, limit), (whole.clone(), error));
    }
    if let Some(SseError::TooLong { .. }) = error {
        assert!(stream.len() > limit);
        return;
    }
    let again: Vec<u8> = whole
        .iter()
        .flat_map(|(_, raw)| raw.iter().copied())
        .collect();
    assert_eq!(again, stream);
    let events: Vec<_> = whole.iter().filter(|(kind, _)| *kind == "block").collect();
    let data: Vec<_> = events
        .iter()
        .filter_map(|(_, raw)| Some(filter_core::sse::Block { raw }.data()?.into_owned()))
        .collect();
    assert_eq!(data, read(stream));
});

/// The parts of a stream that arrives in pieces, and why it cannot be read on.
fn parts(pieces: &[&[u8]], limit: usize) -> (Parts, Option<SseError>) {
    let mut parts = Vec::new();
    let mut take = |part: Part<'_>| {
        parts.push(match part {
            Part::Block(block) => ("block", block.raw.to_vec()),
            Part::Comment(line) => ("comment", [line.text, line.end].concat()),
            Part::Filler(raw) => ("filler", raw.to_vec()),
        });
        Ok::<_, SseError>(())
    };
    let mut decoder = Decoder::new(limit);
    let pushed = pieces
        .iter()
        .try_for_each(|piece| decoder.push(piece, &mut take));
    let finished = pushed.and_then(|()| decoder.finish(&mut take));
    (parts, finished.err())
}

/// The data of each event, read as the standard says, all at once.
fn read(stream: &[u8]) -> Vec<Vec<u8>> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut lines = vec![Vec::new()];
    let mut bytes = stream.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' | b'\n' => {
                if *byte == b'\r' {
                    bytes.next_if_eq(&&b'\n');
                }
                lines.push(Vec::new());
            }
            _ => lines.last_mut().unwrap().push(*byte),
        }
    }
    let blocks = lines.split(Vec::is_empty).map(|block| {
        let values = block.iter().filter_map(|line| match line.as_slice() {
            b"data" => Some(&[][..]),
            [b'd', b'a', b't', b'a', b':', b' ', value @ ..]
            | [b'd', b'a', b't', b'a', b':', value @ ..] => Some(value),
            _ => None,
        });
        values.map(<[u8]>::to_vec).collect::<Vec<_>>()
    });
    blocks
        .filter(|values| !values.is_empty())
        .map(|values| values.join(&b'\n'))
        .collect()
}
