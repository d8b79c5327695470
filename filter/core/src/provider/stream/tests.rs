use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::tests::{SECRET, masked, masker};
use super::super::{Annotation, Usage};
use super::*;

/// What a caller makes of a stream: texts by choice, kind and tool call.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    texts: BTreeMap<(u64, String, u64), String>,
    ended: Vec<u64>,
    done: bool,
    /// All other events, as they came.
    other: Vec<String>,
}

/// Reads a stream as the callers do; written without the code under test.
fn hear(stream: &[u8]) -> Heard {
    let stream = std::str::from_utf8(stream).unwrap();
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
    let mut heard = Heard::default();
    for block in lines.split("\n\n") {
        let data: Vec<_> = block
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .collect();
        if data.is_empty() {
            continue;
        }
        let data = data
            .iter()
            .map(|line| line.strip_prefix(' ').unwrap_or(line));
        let data = data.collect::<Vec<_>>().join("\n");
        assert!(!heard.done, "an event after [DONE]: {data}");
        if data == "[DONE]" {
            heard.done = true;
            continue;
        }
        let Ok(event) = serde_json::from_str::<Json>(&data) else {
            heard.other.push(data);
            continue;
        };
        let choices = event["choices"].as_array().cloned().unwrap_or_default();
        if choices.is_empty() {
            heard.other.push(data);
        }
        for choice in choices {
            let index = choice["index"].as_u64().unwrap();
            let mut add = |field: &str, tool: u64, text: &Json| {
                if let Some(text) = text.as_str() {
                    assert!(
                        !heard.ended.contains(&index) || text.is_empty(),
                        "text after the end"
                    );
                    heard
                        .texts
                        .entry((index, field.to_owned(), tool))
                        .or_default()
                        .push_str(text);
                }
            };
            add("text", 0, &choice["text"]);
            for field in ["content", "refusal", "reasoning_content"] {
                add(field, 0, &choice["delta"][field]);
            }
            add(
                "function_call",
                0,
                &choice["delta"]["function_call"]["arguments"],
            );
            for call in choice["delta"]["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
            {
                add(
                    "tool",
                    call["index"].as_u64().unwrap(),
                    &call["function"]["arguments"],
                );
            }
            if choice["finish_reason"].is_string() {
                heard.ended.push(index);
            }
        }
    }
    heard.texts.retain(|_, text| !text.is_empty());
    heard
}

fn response(api: Api) -> ResponseMask {
    ResponseMask::new(api, masker(), &Limits::default(), Rc::default())
}

/// Masks a stream in pieces; checks on the way that what has left stays and how much is held.
fn through(api: Api, pieces: &[&[u8]]) -> (Vec<u8>, ResponseFacts) {
    let mut mask = response(api);
    let (mut out, mut left) = (Vec::new(), Vec::new());
    for piece in pieces {
        mask.push(piece, &mut out)
            .unwrap_or_else(|error| panic!("{error}"));
        let more = out.strip_prefix(left.as_slice()).expect("it stays");
        left.extend_from_slice(more);
        assert!(mask.held() <= 1024 * 8, "{}", mask.held());
    }
    mask.finish(&mut out);
    assert!(out.starts_with(&left), "it stays");
    (out, mask.into_facts())
}

fn text_through(api: Api, stream: &str) -> String {
    String::from_utf8(through(api, &[stream.as_bytes()]).0).unwrap()
}

/// One event of chat with this inside of its choice.
fn chat_event(choice: &str) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":[{{{choice}}}]}}\n\n"
    )
}

fn says(text: &str) -> String {
    chat_event(&format!(
        "\"index\":0,\"delta\":{{\"content\":{}}}",
        json!(text)
    ))
}

const STOP: &str =
    "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

/// A stream with two choices, three tool calls, escapes, and all that upstream adds.
fn sample(line_end: &str) -> Vec<u8> {
    let (head, tail) = SECRET.split_at(11);
    let escaped = tail.replacen('q', "\\u0071", 1);
    let filter = r#""content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}"#;
    let events = [
        "\u{feff}: welcome".to_owned(),
        r#"data: {"choices":[],"created":0,"id":"","prompt_filter_results":[{"prompt_index":0}]}"#
            .to_owned(),
        chat_event(&format!(
            r#""index":0,"delta":{{"role":"assistant","content":"Ä😀 "}},{filter}"#
        )),
        chat_event(&format!(r#""index":0,"delta":{{"content":"key {head}"}}"#)),
        chat_event(r#""delta":{"content":"two\ud83d"},"index":1"#),
        chat_event(&format!(
            r#""index":0,"finish_reason":null,"delta":{{"content":"{escaped}"}}"#
        )),
        ": ping".to_owned(),
        chat_event(r#""index":1,"delta":{"content":"\ude00\n"}"#),
        chat_event(
            r#""index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"bash","arguments":""}}]}"#,
        ),
        chat_event(&format!(
            r#""index":0,"delta":{{"tool_calls":[{{"index":0,"function":{{"arguments":"{{\"k\":\"{head}"}}}},{{"index":2,"function":{{"arguments":"{head}"}}}}]}}"#
        )),
        chat_event(&format!(
            r#""index":0,"delta":{{"tool_calls":[{{"function":{{"arguments":"{tail}\"}}"}},"index":0}},{{"index":1,"function":{{"arguments":"[1]"}}}}]}}"#
        )),
        chat_event(&format!(r#""index":1,"delta":{{"content":"{SECRET}"}}"#)),
        chat_event(&format!(
            r#""index":0,"delta":{{"tool_calls":[{{"index":2,"function":{{"arguments":"{tail}"}}}}]}}"#
        )),
        chat_event(r#""index":0,"delta":{"content":null},"finish_reason":"tool_calls""#),
        format!(
            "event: message\nid: 7\ndata: {{\"id\":\"c1\",\ndata: \"choices\":[{{\"index\":1,\"delta\":{{\"content\":\".{SECRET}\"}},\ndata:\"finish_reason\":\"stop\"}}],\"usage\":{{\"total_tokens\":3}}}}"
        ),
        "data: [DONE]".to_owned(),
    ];
    let stream: String = events
        .iter()
        .flat_map(|event| [event.trim_end(), "\n\n"])
        .collect();
    stream.replace('\n', line_end).into_bytes()
}

#[test]
fn every_cut_of_the_wire_gives_the_same_bytes() {
    for line_end in ["\n", "\r\n", "\r"] {
        let stream = sample(line_end);
        let (whole, facts) = through(Api::Chat, &[&stream]);
        let heard = hear(&whole);
        let of = |choice, field: &str, tool| &heard.texts[&(choice, field.to_owned(), tool)];
        assert_eq!(of(0, "content", 0), &format!("Ä😀 key {}", masked(SECRET)));
        assert_eq!(
            of(1, "content", 0),
            &format!("two😀\n{0}.{0}", masked(SECRET))
        );
        assert_eq!(
            of(0, "tool", 0),
            &format!("{{\"k\":\"{}\"}}", masked(SECRET))
        );
        assert_eq!(
            (of(0, "tool", 1), of(0, "tool", 2)),
            (&"[1]".to_owned(), &masked(SECRET))
        );
        assert!(heard.done && heard.ended == [0, 1]);
        assert_eq!(heard.other.len(), 1);
        assert_eq!(
            (facts.findings_count, facts.unknown_events, facts.done),
            (5, 0, true)
        );
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            assert_eq!(
                through(Api::Chat, &[head, tail]).0,
                whole,
                "{line_end:?} cut at {at}"
            );
        }
        for size in [1, 2, 3, 7] {
            let pieces: Vec<_> = stream.chunks(size).collect();
            let (out, again) = through(Api::Chat, &pieces);
            assert_eq!(out, whole, "{line_end:?} in pieces of {size}");
            assert_eq!(
                (again.content, again.findings),
                (facts.content.clone(), facts.findings.clone())
            );
        }
    }
}

#[test]
fn what_the_upstream_notes_on_an_answer_is_kept_without_the_code() {
    let note = json!({
        "CodeVulnerability": [{"id": 3, "start_offset": 4, "end_offset": 17,
            "details": {"type": "sql-injection", "description": "why"}}],
        "IPCodeCitations": [{"id": 4, "start_offset": 0, "end_offset": 9, "citations": {
            "snippet": "let x = 1;", "license": "MIT", "url": format!("https://h/{SECRET}"), "ip_type": "LICENSE"}}],
    });
    let events = [
        says(&format!("a {SECRET} b")),
        chat_event(&format!("\"index\":0,\"delta\":{{\"content\":\"c\",\"copilot_annotations\":{note}}}")),
        chat_event(&format!("\"index\":0,\"delta\":{{}},\"copilot_annotations\":{note},\"finish_reason\":\"length\"")),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\n".to_owned(),
    ];
    let (out, facts) = through(Api::Chat, &[events.concat().as_bytes()]);
    assert!(!String::from_utf8(out).unwrap().contains(SECRET));
    let kept: Vec<_> = facts.annotations.iter().map(Annotation::to_json).collect();
    let expected = [
        json!({"kind": "CodeVulnerability", "id": 3, "start_offset": 4, "end_offset": 17,
            "type": "sql-injection", "shifted": true}),
        json!({"kind": "IPCodeCitations", "id": 4, "start_offset": 0, "end_offset": 9,
            "license": "MIT", "url": format!("https://h/{}", masked(SECRET)), "ip_type": "LICENSE", "shifted": true}),
    ];
    assert_eq!(kept, [expected.clone(), expected].concat());
    assert_eq!(facts.finish.as_deref(), Some("length"));
    let usage = Usage {
        input: Some(9),
        output: Some(4),
        cached: Some(2),
    };
    assert_eq!(facts.usage, usage);
    assert!(facts.scanned_bytes > 40);
}

#[test]
fn facts_name_the_channels_and_hold_the_masked_texts() {
    let (_, facts) = through(Api::Chat, &[&sample("\n")]);
    assert_eq!(facts.model.as_deref(), Some("m"));
    let content: Json = serde_json::from_str(&facts.content).unwrap();
    let expected = json!([
        {"channel": "choices[0].delta.content", "text": format!("Ä😀 key {}", masked(SECRET))},
        {"channel": "choices[1].delta.content", "text": format!("two😀\n{0}.{0}", masked(SECRET))},
        {"channel": "choices[0].delta.tool_calls[0].function.arguments", "text": format!("{{\"k\":\"{}\"}}", masked(SECRET))},
        {"channel": "choices[0].delta.tool_calls[2].function.arguments", "text": masked(SECRET)},
        {"channel": "choices[0].delta.tool_calls[1].function.arguments", "text": "[1]"},
    ]);
    assert_eq!(content, expected);
    let mut places: Vec<_> = facts
        .findings
        .iter()
        .map(|it| (it.channel.as_str(), it.finding.offset))
        .collect();
    places.sort_unstable();
    let expected = [
        ("choices[0].delta.content", 11),
        ("choices[0].delta.tool_calls[0].function.arguments", 6),
        ("choices[0].delta.tool_calls[2].function.arguments", 0),
        ("choices[1].delta.content", 8),
        ("choices[1].delta.content", 49),
    ];
    assert_eq!(places, expected);
}

#[test]
fn events_without_findings_pass_byte_by_byte() {
    let stream = concat!(
        "\u{feff}: hi\r\n\r\nid:1\r\ndata:{ \"choices\" : [] ,\"usage\":null }\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\u00e4 \\/.\"},\"index\":0}]}\n\n",
        "event: x\ndata: {\"copilot_references\":[{\"id\":\"r\",\"data\":{\"url\":\"https:\\/\\/h\"}}]}\n\n",
        "retry: 5\n\n\n\ndata: hello\n\ndata: 7\n\ndata\n\n",
        "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"delta\":{\"content\":\"\"}}]}\n\n",
        "data:  [DONE] \r\r",
    );
    let (out, facts) = through(Api::Chat, &[stream.as_bytes()]);
    assert_eq!(String::from_utf8(out).unwrap(), stream);
    assert_eq!(
        (facts.events, facts.unknown_events, facts.done),
        (8, 3, true)
    );
}

#[test]
fn held_text_leaves_in_an_event_of_the_same_form_before_the_end() {
    let start = concat!("ghp_", "Zx81");
    let flush = chat_event(&format!(
        "\"index\":0,\"delta\":{{\"content\":\"{start}\"}},\"finish_reason\":null"
    ));
    let cases = [
        (says(start) + STOP, flush.clone() + STOP),
        (
            says(start) + "data: [DONE]\n\n",
            flush.clone() + "data: [DONE]\n\n",
        ),
        (says(start), flush.clone()),
        // The ending event has a piece of its own: the held text goes there.
        (
            says(start)
                + &chat_event(r#""index":0,"delta":{"content":" b c"},"finish_reason":"stop""#),
            chat_event(&format!(
                r#""index":0,"delta":{{"content":"{start} b c"}},"finish_reason":"stop""#
            )),
        ),
        // The first event says more than its text, so it stays.
        (
            chat_event(&format!(
                r#""index":0,"delta":{{"role":"assistant","content":"{start}"}}"#
            )) + STOP,
            chat_event(r#""index":0,"delta":{"role":"assistant","content":""}"#) + &flush + STOP,
        ),
        // So does one with other lines, which the reader counts on.
        (
            format!("id: 7\n{}{STOP}", says(start)),
            format!("id: 7\n{}{flush}{STOP}", says("")),
        ),
        // An empty reason is none.
        (
            chat_event(&format!(
                r#""index":0,"delta":{{"content":"{start}"}},"finish_reason":"""#
            )) + &says("x "),
            says(&format!("{start}x ")),
        ),
        // The end of another choice ends nothing here.
        (
            says(start) + &STOP.replace("\"index\":0", "\"index\":1") + &says("-") + STOP,
            STOP.replace("\"index\":0", "\"index\":1") + &says(&format!("{start}-")) + STOP,
        ),
    ];
    for (stream, expected) in cases {
        assert_eq!(text_through(Api::Chat, &stream), expected, "{stream}");
    }
}

#[test]
fn held_text_of_each_form_can_be_flushed() {
    let start = concat!("ghp_", "Zx81");
    let forms = [
        (
            Api::Chat,
            r#""index":3,"delta":{"refusal":"S"},"finish_reason":null"#,
        ),
        (
            Api::Chat,
            r#""index":0,"delta":{"reasoning_text":"S"},"finish_reason":null"#,
        ),
        (
            Api::Chat,
            r#""index":1,"delta":{"function_call":{"arguments":"S"}},"finish_reason":null"#,
        ),
        (
            Api::Chat,
            r#""index":0,"delta":{"tool_calls":[{"index":4,"function":{"arguments":"S"}}]},"finish_reason":null"#,
        ),
        (
            Api::Completions,
            r#""text":"S","index":2,"finish_reason":null,"logprobs":null"#,
        ),
    ];
    for (api, form) in forms {
        // The event with the piece is dropped, as nothing of it may leave yet; its copy follows.
        let event = chat_event(&form.replace('S', start));
        assert_eq!(text_through(api, &event), event);
        let mut mask = response(api);
        let mut out = Vec::new();
        mask.push(event.as_bytes(), &mut out).unwrap();
        assert!(out.is_empty() && mask.held() == start.len(), "{form}");
    }
}

#[test]
fn what_no_channel_holds_is_masked_on_its_own() {
    let cases = [
        "data: {\"error\":{\"message\":\"S\",\"code\":\"S\"}}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"new_thing\":[\"S\"]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"message\":{\"content\":\"S\"}}]}\n\n",
        "data: {\"copilot_references\":[{\"id\":\"S\",\"S\":1}]}\n\n",
        "data: {\"id\":\"S and more\",\"choices\":[]}\n\n",
        "data: [\"S\",{\"a\":\"S\"}]\n\n",
        "data: \"S\"\n\n",
        "data: plain S\ndata: S\n\n",
        ": comment S\n",
        "event: S\nid:S\n\n",
        "event: S\ndata: 1\n: S\nother: S\n\n",
    ];
    for stream in cases {
        let out = text_through(Api::Chat, &stream.replace('S', SECRET));
        assert_eq!(out, stream.replace('S', &masked(SECRET)));
    }
}

#[test]
fn what_only_upstream_reads_stays_and_is_counted() {
    let blob = "Q0FG".repeat(50);
    let event = chat_event(&format!(
        "\"index\":0,\"delta\":{{\"reasoning_opaque\":\"{blob}\"}}"
    ));
    let (out, facts) = through(Api::Chat, &[event.as_bytes()]);
    assert_eq!(out, event.as_bytes());
    assert_eq!(
        (
            facts.unscanned.len(),
            facts.unscanned[0].count,
            facts.unscanned[0].bytes
        ),
        (1, 1, 202)
    );
}

#[test]
fn tokens_beside_the_text_are_dropped() {
    for api in [Api::Chat, Api::Completions] {
        let event = chat_event(
            r#""index":0,"logprobs":{"content":[{"token":"a","logprobs":[]}]},"p":"aa""#,
        );
        let expected = chat_event(r#""index":0,"logprobs":null,"p":"aa""#);
        assert_eq!(text_through(api, &event), expected);
    }
}

#[test]
fn a_secret_over_many_events_is_masked_in_completions() {
    let mut stream = String::new();
    let (head, tail) = SECRET.split_at(3);
    let (middle, tail) = tail.split_at(27);
    for piece in ["x = '", head, middle, tail, "'"] {
        stream += &chat_event(&format!(
            r#""text":{},"index":0,"finish_reason":null,"p":"aa""#,
            json!(piece)
        ));
    }
    stream += &chat_event(r#""text":"","index":0,"finish_reason":"stop""#);
    let heard = hear(text_through(Api::Completions, &stream).as_bytes());
    assert_eq!(
        heard.texts[&(0, "text".to_owned(), 0)],
        format!("x = '{}'", masked(SECRET))
    );
}

#[test]
fn events_that_cannot_be_read_end_the_stream() {
    let many: String = (0..65)
        .map(|choice| {
            chat_event(&format!(
                "\"index\":{choice},\"delta\":{{\"content\":\"a\"}}"
            ))
        })
        .collect();
    let tools: Vec<_> = (0..65)
        .map(|tool| format!("{{\"index\":{tool},\"function\":{{\"arguments\":\"\"}}}}"))
        .collect();
    let tools = chat_event(&format!(
        "\"index\":0,\"delta\":{{\"tool_calls\":[{}]}}",
        tools.join(",")
    ));
    let malformed = |at| Unreadable::Json(crate::json::JsonError::Malformed { at });
    let cases = [
        ("data: {\"a\":1\n\n".to_owned(), malformed(6)),
        ("data: [DONE\n\n".to_owned(), malformed(1)),
        (
            "data: {}{}\n\n".to_owned(),
            Unreadable::Json(crate::json::JsonError::Trailing),
        ),
        (
            chat_event("\"index\":0,\"index\":1"),
            Unreadable::Json(crate::json::JsonError::DuplicateKey),
        ),
        (chat_event("\"index\":-1"), Unreadable::WrongType),
        (chat_event("\"index\":\"0\""), Unreadable::WrongType),
        (many, Unreadable::TooManyChannels),
        (tools, Unreadable::TooManyChannels),
        (
            format!("data: {}\n\n", "x".repeat(1 << 20)),
            Unreadable::Stream(crate::sse::SseError::TooLong { limit: 1 << 20 }),
        ),
    ];
    for (stream, expected) in cases {
        let mut mask = response(Api::Chat);
        let mut out = Vec::new();
        mask.push(says("before").as_bytes(), &mut out).unwrap();
        out.clear();
        assert_eq!(mask.push(stream.as_bytes(), &mut out), Err(expected));
        out.clear();
        assert_eq!(mask.push(says("after").as_bytes(), &mut out), Err(expected));
        mask.finish(&mut out);
        assert!(out.is_empty());
    }
    // Not even the part of an event that could be read.
    let mut mask = response(Api::Chat);
    let mut out = Vec::new();
    assert_eq!(
        mask.push(b"data: {}\nid: \xff\n\n", &mut out),
        Err(Unreadable::NotText)
    );
    assert!(out.is_empty());
    let mut mask = response(Api::Chat);
    assert_eq!(
        mask.push(b"data: \xff\n\n", &mut Vec::new()),
        Err(Unreadable::NotText)
    );
}

#[test]
fn a_broken_stream_ends_readably() {
    let start = concat!("ghp_", "Zx81");
    let cases = [
        (String::new(), "The end."),
        (says("Hello, "), "Hello, The end."),
        // What was kept back is not sent.
        (says(&format!("Hello, {start}")), "Hello, The end."),
        (says("Hello, ") + "data: {broken\n\n", "Hello, The end."),
    ];
    for (stream, expected) in cases {
        let mut mask = response(Api::Chat);
        let mut out = Vec::new();
        mask.push(stream.as_bytes(), &mut out).unwrap_or_default();
        mask.end_readably("The end.", &mut out);
        mask.end_readably("The end.", &mut out);
        mask.push(says("more").as_bytes(), &mut out).unwrap();
        mask.finish(&mut out);
        let heard = hear(&out);
        assert_eq!(
            heard.texts[&(0, "content".to_owned(), 0)],
            expected,
            "{stream}"
        );
        assert!(heard.done && heard.ended == [0], "{stream}");
    }
    // All choices are ended, and one that has ended hears nothing more.
    let two = says("a") + &says("b").replace("\"index\":0", "\"index\":1");
    for (stream, ended) in [(two.clone(), vec![0, 1]), (two + STOP, vec![0, 1])] {
        let mut mask = response(Api::Chat);
        let mut out = Vec::new();
        mask.push(stream.as_bytes(), &mut out).unwrap();
        mask.end_readably("The end.", &mut out);
        let heard = hear(&out);
        assert_eq!((heard.ended, heard.done), (ended, true));
    }
}

#[test]
fn ghost_text_ends_without_words() {
    let event = chat_event(r#""text":"a = ","index":0,"finish_reason":null"#);
    let mut mask = response(Api::Completions);
    let mut out = Vec::new();
    mask.push(event.as_bytes(), &mut out).unwrap();
    mask.end_readably("refused", &mut out);
    let heard = hear(&out);
    assert_eq!(heard.texts[&(0, "text".to_owned(), 0)], "a = ");
    assert!(heard.done && heard.ended == [0]);
}

#[test]
fn an_answer_that_has_ended_is_not_ended_again() {
    let mut mask = response(Api::Chat);
    let mut out = Vec::new();
    mask.push((says("a") + STOP + "data: [DONE]\n\n").as_bytes(), &mut out)
        .unwrap();
    let before = out.len();
    mask.end_readably("The end.", &mut out);
    assert_eq!(out.len(), before);
}

#[test]
fn a_cut_event_is_dropped_but_held_text_is_not() {
    let start = concat!("ghp_", "Zx81");
    for cut in [
        "data: {\"choices\":[{\"ind",
        "data: [DO",
        "dat",
        "data: some",
        ": comm",
        "data:",
    ] {
        let out = text_through(Api::Chat, &(says(start) + cut));
        assert_eq!(
            hear(out.as_bytes()).texts[&(0, "content".to_owned(), 0)],
            start,
            "{cut}"
        );
        assert_eq!(out, text_through(Api::Chat, &says(start)), "{cut}");
    }
    // An event that only lacks its empty line is complete.
    for missing in ["", "\n"] {
        let stream = says("a ") + says(start).trim_end() + missing;
        let out = text_through(Api::Chat, &stream);
        assert_eq!(
            hear(out.as_bytes()).texts[&(0, "content".to_owned(), 0)],
            format!("a {start}")
        );
        let done = text_through(Api::Chat, &(says(start) + "data: [DONE]" + missing));
        assert!(hear(done.as_bytes()).done);
    }
}

/// A text of a channel with secrets, near misses and awkward characters.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => Just(SECRET.to_owned()),
        1 => Just(SECRET.split_at(39).0.to_owned()),
        1 => Just(format!("{SECRET}x")),
        1 => Just("ghp_".to_owned()),
        2 => "[a-z]{1,6}",
        1 => Just("😀ä\u{2028}".to_owned()),
        1 => Just("\"\\\n\r\t\0/".to_owned()),
    ];
    let gap = prop::sample::select(vec![" ", "", "=", "\n", "\"", "😀", "\u{fffd}"]);
    prop::collection::vec((word, gap), 0..6)
        .prop_map(|words| words.into_iter().map(|(word, gap)| word + gap).collect())
}

/// The channels of a stream: choice, field, tool call.
const CHANNELS: &[(u64, &str, u64)] = &[
    (0, "content", 0),
    (0, "reasoning_content", 0),
    (0, "tool", 0),
    (0, "tool", 1),
    (0, "tool", 2),
    (1, "content", 0),
    (1, "function_call", 0),
];

/// A text cut into JSON strings: at characters, or at UTF-16 units with all of them escaped.
fn pieces(text: &str, cuts: &[prop::sample::Index], escape: bool) -> Vec<String> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut borders: Vec<_> = cuts.iter().map(|cut| cut.index(units.len() + 1)).collect();
    if !escape {
        borders.retain(|at| {
            units
                .get(*at)
                .is_none_or(|unit| !(0xdc00..0xe000).contains(unit))
        });
    }
    borders.extend([0, units.len()]);
    borders.sort_unstable();
    let pieces = borders
        .windows(2)
        .map(|border| &units[border[0]..border[1]]);
    pieces
        .map(|piece| {
            if escape {
                let units: Vec<_> = piece.iter().map(|unit| format!("\\u{unit:04X}")).collect();
                format!("\"{}\"", units.concat())
            } else {
                json!(String::from_utf16(piece).unwrap()).to_string()
            }
        })
        .collect()
}

fn event_of((choice, field, tool): (u64, &str, u64), piece: &str, extra: &str) -> String {
    let delta = match field {
        "tool" => {
            format!("\"tool_calls\":[{{\"index\":{tool},\"function\":{{\"arguments\":{piece}}}}}]")
        }
        "function_call" => format!("\"function_call\":{{\"arguments\":{piece}}}"),
        _ => format!("\"{field}\":{piece}"),
    };
    format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":{choice},\"delta\":{{{delta}}}{extra}}}]}}\n\n"
    )
}

fn cuts(most: usize) -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..most)
}

proptest! {
    #[test]
    fn any_cut_of_the_texts_gives_the_same_texts(
        texts in prop::collection::vec((text(), cuts(8), any::<bool>()), CHANNELS.len()),
        order in prop::collection::vec(0..CHANNELS.len(), 0..60),
        wire in cuts(12),
        line_end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        ends in any::<(bool, bool, bool)>(),
    ) {
        let mut queues: Vec<_> = texts
            .iter()
            .map(|(text, cuts, escape)| pieces(text, cuts, *escape).into_iter())
            .collect();
        let mut stream = String::new();
        let all = (0..CHANNELS.len()).flat_map(|channel| [channel; 10]);
        for channel in order.into_iter().chain(all) {
            if let Some(piece) = queues[channel].next() {
                let end = if ends.2 { ",\"finish_reason\":null" } else { "" };
                stream += &event_of(CHANNELS[channel], &piece, end);
            }
        }
        if ends.0 {
            stream += STOP;
        }
        stream += &STOP.replace("\"index\":0", "\"index\":1");
        if ends.1 {
            stream += "data: [DONE]\n\n";
        }
        let stream = stream.replace('\n', line_end).into_bytes();
        let mut borders: Vec<_> = wire.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        borders.extend([0, stream.len()]);
        borders.sort_unstable();
        let wire: Vec<_> = borders.windows(2).map(|border| &stream[border[0]..border[1]]).collect();
        let (out, facts) = through(Api::Chat, &wire);

        let heard = hear(&out);
        let mut content = BTreeMap::new();
        for ((text, ..), (choice, field, tool)) in texts.iter().zip(CHANNELS) {
            let expected = masked(text);
            let key = (*choice, (*field).to_owned(), *tool);
            prop_assert_eq!(heard.texts.get(&key).map_or("", String::as_str), expected.as_str());
            if !expected.is_empty() {
                *content.entry(expected).or_insert(0) += 1;
            }
        }
        prop_assert_eq!(heard.done, ends.1);
        prop_assert_eq!(out, through(Api::Chat, &[&stream]).0);
        // What is recorded is what was sent.
        let recorded: Vec<Json> = serde_json::from_str(&facts.content).unwrap();
        for entry in recorded {
            let count = content.get_mut(entry["text"].as_str().unwrap()).unwrap();
            *count -= 1;
        }
        prop_assert!(content.values().all(|count| *count == 0));
    }

    #[test]
    fn text_is_held_only_while_a_detector_needs_it(text in text(), cuts in cuts(8)) {
        let mut mask = response(Api::Chat);
        for piece in pieces(&text, &cuts, false) {
            mask.push(event_of(CHANNELS[0], &piece, "").as_bytes(), &mut Vec::new()).unwrap();
            prop_assert!(mask.held() <= SECRET.len() * 12);
        }
        mask.push(says(" ").as_bytes(), &mut Vec::new()).unwrap();
        prop_assert_eq!(mask.held(), 0);
    }

    #[test]
    fn no_bytes_make_a_stream_panic(bytes in prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            prop::sample::select(vec!["data: ", "\n", "\r\n", "{\"choices\":[", "{\"index\":0,", "\"delta\":{",
                "\"content\":\"", "\\ud83d", "\"", "}", "]", "[DONE]", ":", "null", "\"finish_reason\":"])
                .prop_map(|token| token.as_bytes().to_vec()),
        ], 0..30)
    ) {
        let mut mask = response(Api::Chat);
        let mut out = Vec::new();
        for piece in &bytes {
            mask.push(piece, &mut out).unwrap_or_default();
        }
        mask.finish(&mut out);
        drop(mask.into_facts());
    }

    #[test]
    fn a_changed_sample_is_cut_independent(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut stream = sample("\r\n");
        let at = at.index(stream.len());
        stream[at] = byte;
        let run = |pieces: &[&[u8]]| {
            let mut mask = response(Api::Chat);
            let mut out = Vec::new();
            let mut error = None;
            for piece in pieces {
                error = mask.push(piece, &mut out).err().or(error);
            }
            mask.finish(&mut out);
            (out, error)
        };
        let (head, tail) = stream.split_at(cut.index(stream.len() + 1));
        prop_assert_eq!(run(&[head, tail]), run(&[&stream]));
    }
}
