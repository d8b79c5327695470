use proptest::prelude::*;

use super::*;

/// All strings, as decoded, with their paths.
fn texts(source: &[u8]) -> Result<Vec<(String, String)>, JsonError> {
    let mut texts = Vec::new();
    walk(source, &mut |path, event| {
        if let Event::Value(_, Value::Text(text)) = event {
            texts.push((shown(path), text.decode().into_owned()));
        }
        Ok::<_, JsonError>(())
    })?;
    Ok(texts)
}

fn shown(path: &Path<'_>) -> String {
    path.iter().fold(String::new(), |shown, step| match step {
        Step::Key(key) => format!("{shown}.{key}"),
        Step::Index(index) => format!("{shown}[{index}]"),
    })
}

fn check(source: &[u8]) -> Result<(), JsonError> {
    texts(source).map(|_| ())
}

#[test]
fn each_string_is_reported_with_its_path() {
    let source =
        br#" {"a":[{"b":"x"},"y",[["z"]]],"\u0063":{"d\n":"\u00e4\/\ud83d\ude00"},"e":[],"f":{}} "#;
    let expected = [
        (".a[0].b", "x"),
        (".a[1]", "y"),
        (".a[2][0][0]", "z"),
        (".c.d\n", "ä/😀"),
    ];
    let found = texts(source).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn spans_cover_exactly_the_value() {
    let source = br#"{"a": [1, -2.5e+3 ,true,null, "q\"" ], "b" : {"c":false}}"#;
    let mut spans = Vec::new();
    walk(source, &mut |_, event| {
        if let Event::Key(span, _) | Event::Value(span, _) | Event::Close(_, span) = event {
            spans.push(std::str::from_utf8(&source[span.start..span.end]).unwrap());
        }
        Ok::<_, JsonError>(())
    })
    .unwrap();
    let array = r#"[1, -2.5e+3 ,true,null, "q\"" ]"#;
    let all = std::str::from_utf8(source).unwrap();
    let expected = [
        r#""a""#,
        "1",
        "-2.5e+3",
        "true",
        "null",
        r#""q\"""#,
        array,
        r#""b""#,
        r#""c""#,
        "false",
        r#"{"c":false}"#,
        all,
    ];
    assert_eq!(spans, expected);
}

#[test]
fn what_is_not_strict_json_is_refused() {
    let malformed: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"[",
        b"]",
        b"}",
        b"[1,]",
        b"{\"a\":1,}",
        b"{,}",
        b"[,]",
        b"{\"a\"}",
        b"{\"a\" 1}",
        b"{a:1}",
        b"'a'",
        b"[01]",
        b"-",
        b"1.",
        b".5",
        b"1e",
        b"+1",
        b"1e+",
        b"tru",
        b"nul",
        b"True",
        b"NaN",
        b"\"",
        b"\"a",
        b"\"\\x\"",
        b"\"\\u12g4\"",
        b"\"\\u123\"",
        b"\"a\nb\"",
        b"\"\t\"",
        b"[1 2]",
        b"[1}",
        b"{\"a\":1]",
        b"\"\\",
        b"\"\\u",
        b"[\"a\":1]",
        b"//x\n1",
        b"\xef\xbb\xbf{}",
        b"\"\0\"",
        b"\x0c1",
    ];
    for source in malformed {
        let error = check(source).unwrap_err();
        let shown = String::from_utf8_lossy(source);
        assert!(
            matches!(error, JsonError::Malformed { .. }),
            "{shown:?}: {error:?}"
        );
    }
    let others: &[(&[u8], JsonError)] = &[
        (b"1 2", JsonError::Trailing),
        (b"{}{}", JsonError::Trailing),
        (b"[]]", JsonError::Trailing),
        (b"\"\xff\"", JsonError::Encoding),
        (b"\"\xed\xa0\x80\"", JsonError::Encoding),
        (b"{\"a\":1,\"a\":2}", JsonError::DuplicateKey),
        (b"{\"a\":1,\"\\u0061\":2}", JsonError::DuplicateKey),
        (
            b"[{\"x\":{\"b\":1,\"c\":{},\"b\":2}}]",
            JsonError::DuplicateKey,
        ),
    ];
    for (source, expected) in others {
        assert_eq!(
            check(source),
            Err(*expected),
            "{:?}",
            String::from_utf8_lossy(source)
        );
    }
}

#[test]
fn a_key_is_found_twice_among_many() {
    let object = |count: usize, last: usize| {
        let keys: Vec<_> = (0..count).map(|key| format!("\"k{key}\":0")).collect();
        format!("{{{},\"k{last}\":1}}", keys.join(","))
    };
    for count in [1, 7, 8, 9, 50, 3000] {
        assert_eq!(check(object(count, count).as_bytes()), Ok(()), "{count}");
        assert_eq!(
            check(object(count, 0).as_bytes()),
            Err(JsonError::DuplicateKey),
            "{count}"
        );
        let last = count - 1;
        assert_eq!(
            check(object(count, last).as_bytes()),
            Err(JsonError::DuplicateKey),
            "{count}"
        );
    }
}

#[test]
fn sixty_four_containers_may_be_open_but_no_more() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(check(nested(MAX_DEPTH).as_bytes()), Ok(()));
    assert_eq!(
        check(nested(MAX_DEPTH + 1).as_bytes()),
        Err(JsonError::TooDeep)
    );
    let objects = format!("{}1{}", "{\"a\":".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH));
    assert_eq!(check(objects.as_bytes()), Ok(()));
    assert_eq!(
        check("[".repeat(1_000_000).as_bytes()),
        Err(JsonError::TooDeep)
    );
}

#[test]
fn steps_of_a_deep_path_are_cut_not_lost() {
    let source = format!("{}1{}", "[".repeat(20), "]".repeat(20));
    walk(source.as_bytes(), &mut |path, event| {
        if let Event::Value(..) = event {
            assert_eq!((path.steps().len(), path.depth()), (MAX_STEPS, 20));
        }
        Ok::<_, JsonError>(())
    })
    .unwrap();
}

#[test]
fn lone_surrogates_become_replacement_characters() {
    let cases = [
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ude00""#, "\u{fffd}"),
        (r#""a\ud83db""#, "a\u{fffd}b"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\uD83D\uDE00\u0000""#, "😀\0"),
    ];
    for (source, expected) in cases {
        assert_eq!(texts(source.as_bytes()).unwrap()[0].1, expected, "{source}");
    }
}

#[test]
fn a_surrogate_pair_cut_in_two_pieces_is_joined() {
    let cases = [
        (vec![r#""a\ud83d""#, r#""\ude00b""#], "a😀b"),
        (vec![r#""a\ud83d""#, r#""""#, r#""\ude00b""#], "a😀b"),
        (vec![r#""a\ud83d""#, r#""b""#], "a\u{fffd}b"),
        (vec![r#""a\ud83d""#], "a\u{fffd}"),
    ];
    for (pieces, expected) in cases {
        let mut carry = None;
        let mut out = String::new();
        for piece in &pieces {
            walk(piece.as_bytes(), &mut |_, event| {
                if let Event::Value(_, Value::Text(text)) = event {
                    out.push_str(&text.decode_piece(&mut carry, true));
                }
                Ok::<_, JsonError>(())
            })
            .unwrap();
        }
        push_high(&mut out, &mut carry);
        assert_eq!(out, expected, "{pieces:?}");
    }
}

#[test]
fn edits_change_their_spans_and_nothing_else() {
    let source = b" {\"a\" : \"one\",\"b\":\"two\" } ";
    let span = |part: &str| {
        let start = std::str::from_utf8(source).unwrap().find(part).unwrap();
        Span {
            start,
            end: start + part.len(),
        }
    };
    let mut edits = Edits::default();
    edits.replace(span("\"two\""), b"null");
    edits.replace_text(span("\"one\""), "1\"\\\n\u{1}ä");
    assert_eq!(
        String::from_utf8(edits.apply(source)).unwrap(),
        " {\"a\" : \"1\\\"\\\\\\n\\u0001ä\",\"b\":null } "
    );
    assert_eq!(Edits::default().apply(source), source);
}

/// JSON of any shape, as text with random white space and escapes.
fn json_text() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        "[a-z]{0,3}",
        any::<String>(),
        Just("\u{2028}\"\\".to_owned()),
        "\\PC{0,40}"
    ]
    .prop_map(|text| serde_json::to_string(&text).unwrap());
    let escaped = "(\\\\u00[0-7][0-9a-f]|\\\\[nrt\"/]|[ -!#-\\[\\]-~]){0,9}"
        .prop_map(|inside| format!("\"{inside}\""));
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        string.clone(),
        escaped,
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let space = "[ \n\r\t]{0,2}";
        let key = prop_oneof![
            string.clone(),
            "[a-f]{1,2}".prop_map(|key| format!("\"{key}\""))
        ];
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..6), space).prop_map(|(items, space)| format!(
                "[{space}{}{space}]",
                items.join(&format!("{space},"))
            )),
            (prop::collection::vec((key, inner), 0..12), space).prop_map(|(items, space)| {
                let items: Vec<_> = items
                    .iter()
                    .map(|(key, value)| format!("{key}{space}:{value}"))
                    .collect();
                format!("{{{space}{}{space}}}", items.join(","))
            }),
        ]
    })
}

fn agrees_with_serde_json(source: &[u8]) {
    let ours = check(source);
    let theirs = serde_json::from_slice::<serde_json::Value>(source);
    match (&ours, &theirs) {
        (Ok(()) | Err(JsonError::DuplicateKey | JsonError::TooDeep), Ok(_)) | (Err(_), Err(_)) => {}
        (Ok(()), Err(error)) => {
            let reason = error.to_string();
            let known = ["surrogate", "hex escape", "number out of range"];
            assert!(
                known.iter().any(|known| reason.contains(known)),
                "{reason}: {source:?}"
            );
        }
        (Err(error), Ok(_)) => panic!("{error:?}: {source:?}"),
    }
}

proptest! {
    #[test]
    fn accepts_what_serde_json_accepts(text in json_text()) {
        agrees_with_serde_json(text.as_bytes());
    }

    #[test]
    fn refuses_what_serde_json_refuses(
        text in json_text(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\0e.- u".to_vec())],
        how in 0..3,
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => { bytes.remove(at); }
        }
        agrees_with_serde_json(&bytes);
    }

    #[test]
    fn strings_are_decoded_as_serde_json_does(text in json_text()) {
        fn collect(value: &serde_json::Value, out: &mut Vec<String>) {
            match value {
                serde_json::Value::String(text) => out.push(text.clone()),
                serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
                serde_json::Value::Object(items) => items.values().for_each(|item| collect(item, out)),
                _ => {}
            }
        }
        if let (Ok(ours), Ok(value)) = (texts(text.as_bytes()), serde_json::from_str(&text)) {
            let mut theirs = Vec::new();
            collect(&value, &mut theirs);
            let mut ours: Vec<_> = ours.into_iter().map(|(_, text)| text).collect();
            ours.sort();
            theirs.sort();
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn written_strings_read_back(text in any::<String>()) {
        let mut out = Vec::new();
        push_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
        prop_assert_eq!(&texts(&out).unwrap()[0].1, &text);
    }

    #[test]
    fn replacing_each_value_by_itself_gives_the_same_bytes(text in json_text()) {
        let mut edits = Edits::default();
        let read = walk(text.as_bytes(), &mut |_, event| {
            if let Event::Value(span, _) = event {
                edits.replace(span, &text.as_bytes()[span.start..span.end]);
            }
            Ok::<_, JsonError>(())
        });
        if read.is_ok() {
            prop_assert_eq!(edits.apply(text.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn an_object_is_as_long_as_the_reader_says(text in json_text(), after in "[]}\\\\\", a]{0,4}") {
        let text = format!("{{\"key\":{text} }}");
        let mut length = None;
        let read = walk(text.as_bytes(), &mut |_, event| {
            if let Event::Close(_, span) = event {
                length = Some(span.end); // the last is that of the whole
            }
            Ok::<_, JsonError>(())
        });
        if read.is_ok() {
            prop_assert_eq!(object_length(&format!("{text}{after}")), length);
        }
    }

    #[test]
    fn no_text_makes_the_length_of_an_object_panic(text in any::<String>()) {
        let length = object_length(&text);
        prop_assert!(length.is_none_or(|length| length <= text.len()));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        agrees_with_serde_json(&bytes);
    }

    #[test]
    fn plain_length_is_what_a_plain_loop_finds(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        prop_assert_eq!(plain_length(&bytes), expected.unwrap_or(bytes.len()));
    }
}
