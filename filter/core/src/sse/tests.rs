use proptest::prelude::*;

use super::*;

/// The parts, as kind and bytes.
fn parts(pieces: &[&[u8]], limit: usize) -> Result<Vec<(char, Vec<u8>)>, SseError> {
    let mut parts = Vec::new();
    let mut decoder = Decoder::new(limit);
    let mut take = |part: Part<'_>| {
        parts.push(match part {
            Part::Block(block) => ('B', block.raw.to_vec()),
            Part::Comment(line) => ('C', [line.text, line.end].concat()),
            Part::Filler(raw) => ('F', raw.to_vec()),
        });
        Ok(())
    };
    for piece in pieces {
        decoder.push(piece, &mut take)?;
    }
    decoder.finish(&mut take)?;
    Ok(parts)
}

fn shown(stream: &[u8]) -> String {
    let parts = parts(&[stream], 1 << 20).unwrap();
    let parts = parts
        .iter()
        .map(|(kind, raw)| format!("{kind}({})", raw.escape_ascii()));
    parts.collect::<Vec<_>>().join(" ")
}

#[test]
fn streams_are_cut_into_their_parts() {
    let cases: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"data: a\n\ndata: b\n\n", r"B(data: a\n\n) B(data: b\n\n)"),
        (
            b"data: a\r\n\r\ndata: b\r\n\r\n",
            r"B(data: a\r\n\r) F(\n) B(data: b\r\n\r) F(\n)",
        ),
        (b"data: a\r\rdata: b\r\r", r"B(data: a\r\r) B(data: b\r\r)"),
        (
            b"data: a\r\n\ndata: b\n\r\n",
            r"B(data: a\r\n\n) B(data: b\n\r) F(\n)",
        ),
        (
            b"data: a\n\n\n\ndata: b",
            r"B(data: a\n\n) F(\n) F(\n) B(data: b)",
        ),
        (
            b": one\n: two\r\n\ndata: a\n: in\n\n",
            r"C(: one\n) C(: two\r) F(\n) F(\n) B(data: a\n: in\n\n)",
        ),
        (
            b"event: e\nid: 1\nretry: 5\n\n",
            r"B(event: e\nid: 1\nretry: 5\n\n)",
        ),
        (
            b"\xef\xbb\xbfdata: a\n\n",
            r"F(\xef\xbb\xbf) B(data: a\n\n)",
        ),
        (b"\xef\xbb", r"B(\xef\xbb)"),
        (
            b"data: a\n\n\xef\xbb\xbfdata: b\n\n",
            r"B(data: a\n\n) B(\xef\xbb\xbfdata: b\n\n)",
        ),
        (b": cut", r"C(: cut)"),
        (b"data: a\n", r"B(data: a\n)"),
    ];
    for (stream, expected) in cases {
        assert_eq!(&shown(stream), expected, "{}", stream.escape_ascii());
    }
}

#[test]
fn data_lines_are_joined_and_others_are_not_data() {
    let cases: &[(&[u8], Option<&[u8]>)] = &[
        (b"data: a\n\n", Some(b"a")),
        (b"data:a\n\n", Some(b"a")),
        (b"data:  a \r\n\r\n", Some(b" a ")),
        (b"data\n\n", Some(b"")),
        (b"data:\ndata: \n\n", Some(b"\n")),
        (
            b"data: {\"a\":\r\nevent: x\r\ndata: 1}\r\n\r\n",
            Some(b"{\"a\":\n1}"),
        ),
        (b"database: a\n\n", None),
        (b"Data: a\n\n", None),
        (b" data: a\n\n", None),
        (b"event: data: a\n: data\n\n", None),
    ];
    for (raw, expected) in cases {
        assert_eq!(
            Block { raw }.data().as_deref(),
            *expected,
            "{}",
            raw.escape_ascii()
        );
    }
}

#[test]
fn an_event_over_the_limit_is_refused_however_it_arrives() {
    let event = b"data: 0123456789\n\n";
    let length = event.len();
    assert_eq!(parts(&[event, event], length).unwrap().len(), 2);
    let error = Err(SseError::TooLong { limit: length - 1 });
    assert_eq!(parts(&[event], length - 1), error);
    let bytes: Vec<_> = event.chunks(1).collect();
    assert_eq!(parts(&bytes, length - 1), error);
    assert_eq!(
        parts(&[b"data: never ending, never ending"], 20),
        Err(SseError::TooLong { limit: 20 })
    );
}

#[test]
fn a_part_leaves_with_its_last_byte() {
    for event in [
        "data: a\n\n",
        "data: a\r\r",
        "data: a\r\n\r",
        "\n",
        ": alive\n",
        ": alive\r",
    ] {
        let mut seen = 0;
        let mut decoder = Decoder::new(100);
        decoder
            .push(event.as_bytes(), &mut |_| {
                seen += 1;
                Ok::<_, SseError>(())
            })
            .unwrap();
        assert_eq!(seen, 1, "{event:?}");
    }
}

/// Streams of lines with all line ends.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "",
        "",
        "data: a",
        "data: {\"x\":\"ä\"}",
        ": ping",
        "event: e",
        "data",
        "\u{feff}",
        "x",
    ]);
    let end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    prop::collection::vec((line, end), 0..20).prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|(line, end)| [line, end])
            .collect::<String>()
            .into_bytes()
    })
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut borders: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    borders.extend([0, bytes.len()]);
    borders.sort_unstable();
    borders
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_parts(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = parts(&[&stream], 1 << 20);
        prop_assert_eq!(&parts(&cut(&stream, &cuts), 1 << 20), &whole);
        prop_assert_eq!(&parts(&stream.chunks(1).collect::<Vec<_>>(), 1 << 20), &whole);
    }

    #[test]
    fn parts_put_together_are_the_stream(bytes in prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(b"\r\n:d \xef\xbb\xbf".to_vec())], 0..60)
    ) {
        let parts = parts(&[&bytes], 1 << 20).unwrap();
        prop_assert_eq!(parts.into_iter().flat_map(|(_, raw)| raw).collect::<Vec<_>>(), bytes);
    }

    #[test]
    fn lines_put_together_are_the_block(raw in prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(b"\r\n:data ".to_vec())], 0..60)
    ) {
        let lines: Vec<_> = Block { raw: &raw }.lines().flat_map(|line| [line.text, line.end].concat()).collect();
        prop_assert_eq!(lines, raw);
    }
}
