use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::mask::Masker;
use crate::provider::tests::{SECRET, masked, masker};
use crate::provider::{Api, Limits, ResponseFacts, ResponseMask, Unreadable, Usage};

/// What a caller makes of a stream; written without the code under test.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    /// Texts by item, kind and part.
    texts: BTreeMap<(u64, String, u64), String>,
    ended: bool,
    /// Types of all events.
    kinds: Vec<String>,
}

/// The events of a stream, each with the name of its `event` line.
fn events(stream: &[u8]) -> Vec<(Option<String>, Json)> {
    let lines = std::str::from_utf8(stream).unwrap().replace("\r\n", "\n");
    let lines = lines.replace('\r', "\n");
    let mut events = Vec::new();
    for block in lines.split("\n\n") {
        let field = |name: &str| {
            let values = block.lines().filter_map(|line| line.strip_prefix(name));
            let values: Vec<_> = values.map(str::trim_start).collect();
            (!values.is_empty()).then(|| values.join("\n"))
        };
        if let Some(data) = field("data:") {
            events.push((field("event:"), serde_json::from_str(&data).unwrap()));
        }
    }
    events
}

/// Reads responses, and checks that all repeats are what was streamed.
fn hear_responses(stream: &[u8]) -> Heard {
    let mut heard = Heard::default();
    let mut number = None;
    for (name, event) in events(stream) {
        let kind = event["type"].as_str().unwrap();
        assert!(name.is_none_or(|name| name == kind), "{event}");
        assert!(!heard.ended, "{event}");
        if let Some(now) = event["sequence_number"].as_u64() {
            assert_eq!(now, number.map_or(now, |before: u64| before + 1), "{event}");
            number = Some(now);
        }
        heard.kinds.push(kind.to_owned());
        let item = event["output_index"].as_u64().unwrap_or(0);
        let index = |name: &str| event[name].as_u64();
        let part = index("content_index")
            .or(index("summary_index"))
            .unwrap_or(0);
        let (stem, end) = kind.rsplit_once('.').unwrap_or((kind, ""));
        let field = match stem {
            "response.output_text" | "response.reasoning_text" | "response.content_part" => "text",
            "response.refusal" => "refusal",
            "response.reasoning_summary_text" | "response.reasoning_summary_part" => "summary",
            "response.function_call_arguments" => "arguments",
            "response.custom_tool_call_input" => "input",
            other => other,
        };
        let key = (item, field.to_owned(), part);
        if end == "delta" {
            let piece = event["delta"].as_str().unwrap();
            heard.texts.entry(key.clone()).or_default().push_str(piece);
        }
        if end == "done" {
            let said = heard.texts.get(&key).map_or("", String::as_str);
            for repeat in [
                &event["text"],
                &event["arguments"],
                &event["input"],
                &event["refusal"],
            ] {
                assert!(repeat.is_null() || repeat == said, "{event} after {said}");
            }
            let part = &event["part"]["text"];
            assert!(part.is_null() || part == said, "{event} after {said}");
            if event["item"].is_object() {
                check_item(&heard, item, &event["item"]);
            }
        }
        if matches!(
            kind,
            "response.completed" | "response.incomplete" | "response.failed"
        ) {
            heard.ended = true;
            for (item, value) in event["response"]["output"]
                .as_array()
                .unwrap()
                .iter()
                .enumerate()
            {
                check_item(&heard, item as u64, value);
            }
        }
    }
    heard.texts.retain(|_, text| !text.is_empty());
    heard
}

fn check_item(heard: &Heard, item: u64, value: &Json) {
    let said = |field: &str, part: usize| {
        let key = (item, field.to_owned(), part as u64);
        heard.texts.get(&key).map_or("", String::as_str)
    };
    let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
    for (part, content) in list("content").iter().enumerate() {
        let text = &content["text"];
        assert!(text.is_null() || text == said("text", part), "{value}");
        let refusal = &content["refusal"];
        assert!(
            refusal.is_null() || refusal == said("refusal", part),
            "{value}"
        );
    }
    for (part, content) in list("summary").iter().enumerate() {
        assert_eq!(content["text"], said("summary", part), "{value}");
    }
    for field in ["arguments", "input"] {
        assert!(
            value[field].is_null() || value[field] == said(field, 0),
            "{value}"
        );
    }
}

/// Reads messages as callers do.
fn hear_messages(stream: &[u8]) -> Heard {
    let mut heard = Heard::default();
    let mut open = None;
    for (name, event) in events(stream) {
        let kind = event["type"].as_str().unwrap();
        assert!(name.is_none_or(|name| name == kind), "{event}");
        assert!(!heard.ended, "{event}");
        heard.kinds.push(kind.to_owned());
        let item = event["index"].as_u64().unwrap_or(0);
        match kind {
            "content_block_start" => {
                assert_eq!(open.replace(item), None, "{event}");
                for field in ["text", "thinking"] {
                    if let Some(text) = event["content_block"][field].as_str() {
                        heard
                            .texts
                            .insert((item, field.to_owned(), 0), text.to_owned());
                    }
                }
            }
            "content_block_delta" => {
                assert_eq!(open, Some(item), "{event}");
                let fields = [
                    ("text_delta", "text"),
                    ("thinking_delta", "thinking"),
                    ("input_json_delta", "partial_json"),
                    ("signature_delta", "signature"),
                ];
                for (delta, field) in fields {
                    if event["delta"]["type"] == delta {
                        let piece = event["delta"][field].as_str().unwrap();
                        let key = (item, field.to_owned(), 0);
                        heard.texts.entry(key).or_default().push_str(piece);
                    }
                }
            }
            "content_block_stop" => assert_eq!(open.take(), Some(item), "{event}"),
            "message_stop" => heard.ended = true,
            _ => {}
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

fn text_of(heard: &Heard, item: u64, field: &str) -> String {
    let key = (item, field.to_owned(), 0);
    heard.texts.get(&key).cloned().unwrap_or_default()
}

/// A stream from events, with or without their names.
fn stream(events: &[Json], named: bool, line_end: &str) -> Vec<u8> {
    let event = |event: &Json| {
        let name = format!("event: {}\n", event["type"].as_str().unwrap());
        format!("{}data: {event}\n\n", if named { &name } else { "" })
    };
    let stream: String = events.iter().map(event).collect();
    stream.replace('\n', line_end).into_bytes()
}

/// An item of an answer, streamed in pieces.
#[derive(Clone, Copy, Debug)]
enum Item {
    Call,
    Custom,
    Reasoning,
    Refusal,
    Text,
}

const ITEMS: &[Item] = &[
    Item::Reasoning,
    Item::Text,
    Item::Call,
    Item::Custom,
    Item::Refusal,
];

/// The events of a response whose items come in pieces, in turns if `mixed`.
fn responses(texts: &[(Item, Vec<String>)], mixed: bool) -> Vec<Json> {
    let mut queues = Vec::new();
    for (index, (item, pieces)) in texts.iter().enumerate() {
        let whole = pieces.concat();
        let (stem, part, key) = match item {
            Item::Call => ("function_call_arguments", None, "arguments"),
            Item::Custom => ("custom_tool_call_input", None, "input"),
            Item::Reasoning => ("reasoning_summary_text", Some("summary_index"), "text"),
            Item::Refusal => ("refusal", Some("content_index"), "refusal"),
            Item::Text => ("output_text", Some("content_index"), "text"),
        };
        let body = |text: &str| match item {
            Item::Call => {
                json!({"type": "function_call", "name": "bash", "call_id": "c", "arguments": text})
            }
            Item::Custom => {
                json!({"type": "custom_tool_call", "name": "apply_patch", "call_id": "c", "input": text})
            }
            Item::Reasoning => {
                json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]})
            }
            Item::Refusal => {
                json!({"type": "message", "content": [{"type": "refusal", "refusal": text}]})
            }
            Item::Text => {
                json!({"type": "message", "content": [{"type": "output_text", "text": text, "logprobs": []}]})
            }
        };
        let at = |kind: String, mut event: Json| {
            event["type"] = json!(kind);
            event["output_index"] = json!(index);
            if !kind.contains("output_item") {
                event["item_id"] = json!(format!("item_{index}"));
                if let Some(part) = part {
                    event[part] = json!(0);
                }
            }
            event
        };
        let mut events = vec![at(
            "response.output_item.added".into(),
            json!({"item": body("")}),
        )];
        let part_kind = match item {
            Item::Text => Some("content_part"),
            Item::Reasoning => Some("reasoning_summary_part"),
            _ => None,
        };
        if let Some(kind) = part_kind {
            events.push(at(
                format!("response.{kind}.added"),
                json!({"part": {"type": "t", "text": ""}}),
            ));
        }
        for piece in pieces {
            events.push(at(
                format!("response.{stem}.delta"),
                json!({"delta": piece}),
            ));
        }
        events.push(at(format!("response.{stem}.done"), json!({ key: whole })));
        if let Some(kind) = part_kind {
            events.push(at(
                format!("response.{kind}.done"),
                json!({"part": {"type": "t", "text": whole}}),
            ));
        }
        events.push(at(
            "response.output_item.done".into(),
            json!({"item": body(&whole)}),
        ));
        queues.push((body(&whole), events));
    }
    let mut all = vec![
        json!({"type": "response.created", "response": {"id": "r", "model": "m", "status": "in_progress", "output": []}}),
        json!({"type": "response.in_progress", "response": {"id": "r", "output": []}}),
    ];
    let longest = queues.iter().map(|queue| queue.1.len()).max().unwrap_or(0);
    if mixed {
        for at in 0..longest {
            all.extend(queues.iter().filter_map(|queue| queue.1.get(at)).cloned());
        }
    } else {
        all.extend(queues.iter().flat_map(|queue| queue.1.clone()));
    }
    let output: Vec<_> = queues.iter().map(|queue| queue.0.clone()).collect();
    all.push(json!({"type": "response.completed", "response": {
        "id": "r", "model": "m", "status": "completed", "output": output,
        "usage": {"input_tokens": 42, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 7}}}));
    for (number, event) in all.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    all
}

/// The events of a message whose blocks come in pieces.
fn messages(texts: &[(&str, Vec<String>)]) -> Vec<Json> {
    let mut all = vec![
        json!({"type": "message_start", "message": {"id": "m", "model": "m", "content": [],
            "usage": {"input_tokens": 42, "cache_read_input_tokens": 5, "output_tokens": 1}}}),
        json!({"type": "ping"}),
    ];
    for (index, (kind, pieces)) in texts.iter().enumerate() {
        let (block, delta, field) = match *kind {
            "thinking" => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                "thinking_delta",
                "thinking",
            ),
            "tool" => (
                json!({"type": "tool_use", "id": "t", "name": "bash", "input": {}}),
                "input_json_delta",
                "partial_json",
            ),
            _ => (json!({"type": "text", "text": ""}), "text_delta", "text"),
        };
        all.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        for piece in pieces {
            all.push(json!({"type": "content_block_delta", "index": index, "delta": {"type": delta, field: piece}}));
        }
        if *kind == "thinking" {
            let signature = "c2lnbmF0dXJl".repeat(12);
            all.push(json!({"type": "content_block_delta", "index": index,
                "delta": {"type": "signature_delta", "signature": signature}}));
        }
        all.push(json!({"type": "content_block_stop", "index": index}));
    }
    all.push(
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
        "usage": {"output_tokens": 7}}),
    );
    all.push(json!({"type": "message_stop"}));
    all
}

fn split(text: &str, at: &[usize]) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for at in at {
        let (piece, tail) = rest.split_at(*at);
        pieces.push(piece.to_owned());
        rest = tail;
    }
    pieces.push(rest.to_owned());
    pieces
}

#[test]
fn p1_every_cut_of_responses_gives_the_same_bytes_and_true_repeats() {
    let text = format!("Ä😀 key {SECRET}.\n");
    let arguments = format!("{{\"k\":\"{SECRET}\"}}");
    let texts: Vec<_> = ITEMS
        .iter()
        .map(|item| match item {
            Item::Call => (*item, split(&arguments, &[6, 9])),
            _ => (*item, split(&text, &[7, 10, 20])),
        })
        .collect();
    for (mixed, line_end) in [(false, "\n"), (true, "\r\n"), (true, "\r")] {
        let stream = stream(&responses(&texts, mixed), true, line_end);
        let (whole, facts) = through(Api::Responses, &[&stream]);
        let heard = hear_responses(&whole);
        assert!(heard.ended);
        for (item, field) in [(0, "summary"), (1, "text"), (3, "input"), (4, "refusal")] {
            assert_eq!(text_of(&heard, item, field), masked(&text), "{field}");
        }
        assert_eq!(text_of(&heard, 2, "arguments"), masked(&arguments));
        // Repeats are neither counted nor recorded twice.
        assert_eq!(
            (facts.findings_count, facts.unknown_events, facts.done),
            (5, 0, true)
        );
        let content: Vec<Json> = serde_json::from_str(&facts.content).unwrap();
        assert_eq!(content.len(), 5, "{}", facts.content);
        assert_eq!(facts.tool_calls, ["bash", "apply_patch"]);
        let usage = Usage {
            input: Some(42),
            output: Some(7),
            cached: Some(5),
        };
        assert_eq!(
            (facts.usage, facts.finish.as_deref()),
            (usage, Some("completed"))
        );
        for at in (0..=stream.len()).step_by(if line_end == "\r\n" { 1 } else { 41 }) {
            let (head, tail) = stream.split_at(at);
            assert_eq!(
                through(Api::Responses, &[head, tail]).0,
                whole,
                "{line_end:?} cut at {at}"
            );
        }
        for size in [1, 2, 3, 7] {
            let pieces: Vec<_> = stream.chunks(size).collect();
            let (out, again) = through(Api::Responses, &pieces);
            assert_eq!(out, whole, "{line_end:?} in pieces of {size}");
            assert_eq!(
                (again.content, again.findings),
                (facts.content.clone(), facts.findings.clone())
            );
        }
    }
}

#[test]
fn p1_every_cut_of_messages_gives_the_same_bytes() {
    let text = format!("Ä😀 key {SECRET}");
    let input = format!("{{\"k\":\"{SECRET}\"}}");
    let texts = [
        ("text", split(&text, &[7, 10, 20])),
        ("tool", split(&input, &[6, 9])),
        ("text", split(&text, &[9])),
    ];
    for line_end in ["\n", "\r\n", "\r"] {
        let stream = stream(&messages(&texts), true, line_end);
        let (whole, facts) = through(Api::Messages, &[&stream]);
        let heard = hear_messages(&whole);
        assert!(heard.ended);
        assert_eq!(text_of(&heard, 0, "text"), masked(&text));
        assert_eq!(text_of(&heard, 1, "partial_json"), masked(&input));
        assert_eq!(text_of(&heard, 2, "text"), masked(&text));
        assert_eq!(
            (facts.findings_count, facts.unknown_events, facts.done),
            (3, 0, true)
        );
        assert_eq!(facts.tool_calls, ["bash"]);
        let usage = Usage {
            input: Some(42),
            output: Some(7),
            cached: Some(5),
        };
        assert_eq!(
            (facts.usage, facts.finish.as_deref()),
            (usage, Some("tool_use"))
        );
        let channels: Vec<_> = facts
            .findings
            .iter()
            .map(|it| it.channel.as_str())
            .collect();
        assert_eq!(
            channels,
            ["content[0].text", "content[1].input", "content[2].text"]
        );
        for at in (0..=stream.len()).step_by(if line_end == "\r\n" { 1 } else { 41 }) {
            let (head, tail) = stream.split_at(at);
            assert_eq!(
                through(Api::Messages, &[head, tail]).0,
                whole,
                "{line_end:?} cut at {at}"
            );
        }
        for size in [1, 2, 3, 7] {
            let pieces: Vec<_> = stream.chunks(size).collect();
            assert_eq!(
                through(Api::Messages, &pieces).0,
                whole,
                "{line_end:?} in pieces of {size}"
            );
        }
    }
}

#[test]
fn streams_without_findings_pass_byte_by_byte() {
    let texts: Vec<_> = ITEMS
        .iter()
        .map(|item| (*item, vec!["Hello, ".to_owned(), "wörld. ".to_owned()]))
        .collect();
    for named in [true, false] {
        let stream = stream(&responses(&texts, true), named, "\n");
        assert_eq!(through(Api::Responses, &[&stream]).0, stream);
    }
    let texts = [
        ("thinking", vec!["Hm. ".to_owned()]),
        ("text", vec!["Hi, ".to_owned(), "Ana.".to_owned()]),
    ];
    let stream = stream(&messages(&texts), true, "\r\n");
    assert_eq!(through(Api::Messages, &[&stream]).0, stream);
}

#[test]
fn held_text_leaves_in_a_numbered_delta_before_the_done() {
    let start = concat!("ghp_", "Zx81");
    let texts = [(Item::Text, vec!["a ".to_owned(), start.to_owned()])];
    let sent = responses(&texts, false);
    let (out, _) = through(Api::Responses, &[&stream(&sent, true, "\n")]);
    let came: Vec<_> = events(&out).into_iter().map(|(_, event)| event).collect();
    // The delta that was held back left again in the very place, so all numbers are as they were.
    let without = |event: &Json| {
        let mut event = event.clone();
        event.as_object_mut().unwrap().remove("logprobs");
        event
    };
    assert_eq!(
        came.iter().map(without).collect::<Vec<_>>(),
        sent.iter().map(without).collect::<Vec<_>>()
    );
    let texts = [("text", vec!["a ".to_owned(), start.to_owned()])];
    let sent = messages(&texts);
    let (out, _) = through(Api::Messages, &[&stream(&sent, true, "\n")]);
    let came: Vec<_> = events(&out).into_iter().map(|(_, event)| event).collect();
    assert_eq!(came, sent);
    // Ids are long where they are sealed, and what fills up says nothing.
    let id = "Zm9v".repeat(200);
    let delta = json!({"type": "response.output_text.delta", "sequence_number": 7, "item_id": id,
        "output_index": 0, "content_index": 0, "delta": start, "logprobs": [], "obfuscation": "xyz"});
    let done = json!({"type": "response.output_text.done", "sequence_number": 8, "item_id": id,
        "output_index": 0, "content_index": 0, "text": start});
    let (out, _) = through(
        Api::Responses,
        &[&stream(&[delta.clone(), done.clone()], true, "\n")],
    );
    let came: Vec<_> = events(&out).into_iter().map(|(_, event)| event).collect();
    let mut expected = delta;
    expected.as_object_mut().unwrap().remove("obfuscation");
    assert_eq!(came, [expected, done]);
}

#[test]
fn signed_thinking_is_never_altered_and_its_findings_are_recorded() {
    let thought = format!("the key is {SECRET}, is it");
    let texts = [
        ("thinking", split(&thought, &[14, 20])),
        ("text", vec![format!("It is {SECRET}")]),
    ];
    let stream = stream(&messages(&texts), true, "\n");
    let (out, facts) = through(Api::Messages, &[&stream]);
    let heard = hear_messages(&out);
    assert_eq!(text_of(&heard, 0, "thinking"), thought);
    assert_eq!(
        text_of(&heard, 1, "text"),
        masked(&format!("It is {SECRET}"))
    );
    assert_eq!(facts.findings_count, 2);
    assert_eq!(facts.passed, BTreeMap::from([("github-pat", 1)]));
    let passed: Vec<_> = facts
        .findings
        .iter()
        .map(|it| (it.channel.as_str(), it.passed))
        .collect();
    assert_eq!(
        passed,
        [("content[0].thinking", true), ("content[1].text", false)]
    );
    // The record has no secret, whatever the caller saw.
    assert!(!facts.content.contains(SECRET) && facts.content.contains("is it"));
}

#[test]
fn a_rule_may_end_the_answer_at_a_finding_in_signed_thinking() {
    let thought = format!("the key is {SECRET} - really");
    let texts = [
        ("thinking", split(&thought, &[14, 20])),
        ("text", vec!["Hello".to_owned()]),
    ];
    let stream = stream(&messages(&texts), true, "\n");
    let mut mask = response(Api::Messages).with_rule(Rc::new(|signed, _| {
        signed
            .contains_key("github-pat")
            .then_some(Unreadable::Signed)
    }));
    let mut out = Vec::new();
    assert_eq!(mask.push(&stream, &mut out), Err(Unreadable::Signed));
    mask.end_readably("Refused.", &mut out);
    let heard = hear_messages(&out);
    assert!(heard.ended);
    assert_eq!(text_of(&heard, 1, "text"), "Refused.");
    assert!(!text_of(&heard, 0, "thinking").contains("4eCiO6"));
}

#[test]
fn what_no_channel_holds_is_masked_on_its_own() {
    let cases = [
        (
            Api::Responses,
            json!({"type": "error", "code": "S", "message": "bad S"}),
        ),
        (
            Api::Responses,
            json!({"type": "response.new_thing", "deep": [{"S": "S"}]}),
        ),
        (
            Api::Responses,
            json!({"type": "response.output_text.done", "text": "S"}),
        ),
        (
            Api::Responses,
            json!({"type": "response.output_text.annotation.added", "annotation": {"title": "S"}}),
        ),
        (
            Api::Responses,
            json!({"type": "response.created", "response": {"instructions": "S", "output": [{"content": [{"text": "S"}]}]}}),
        ),
        (
            Api::Responses,
            json!({"type": "response.output_item.done", "item": {"type": "local_shell_call", "action": {"command": ["S"]}, "arguments": "S"}}),
        ),
        (
            Api::Responses,
            json!({"type": "response.completed", "response": {"error": {"message": "S"}, "output": [{"summary": [{"text": "S"}]}]}}),
        ),
        (
            Api::Responses,
            json!({"type": "S", "item_id": "S", "text": "S"}),
        ),
        (Api::Responses, json!({"no type": "S"})),
        (
            Api::Messages,
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "S"}}),
        ),
        (
            Api::Messages,
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"cited_text": "S"}}}),
        ),
        (
            Api::Messages,
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "S", "name": "S", "input": {"a": ["S"]}}}),
        ),
        (
            Api::Messages,
            json!({"type": "message_start", "message": {"id": "S", "content": [{"type": "text", "text": "S"}]}}),
        ),
        (Api::Messages, json!({"type": "new", "S": "S"})),
        (Api::Messages, json!(["S"])),
    ];
    for (api, event) in cases {
        let data = format!("data: {event}\n\n");
        let (out, facts) = through(api, &[data.replace('S', SECRET).as_bytes()]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            data.replace('S', &masked(SECRET))
        );
        assert!(facts.findings_count > 0);
    }
}

#[test]
fn what_the_upstream_notes_on_a_response_is_kept() {
    let note = json!({"IPCodeCitations": [{"start_offset": 1, "citations": {"license": "MIT", "snippet": "x"}}]});
    let events = [
        json!({"type": "response.output_text.delta", "output_index": 0, "delta": "Hello ", "copilot_annotations": note}),
        json!({"type": "response.output_text.done", "output_index": 0, "text": "Hello "}),
    ];
    let (_, facts) = through(Api::Responses, &[&stream(&events, true, "\n")]);
    let kept: Vec<_> = facts
        .annotations
        .iter()
        .map(crate::provider::Annotation::to_json)
        .collect();
    assert_eq!(
        kept,
        [json!({"kind": "IPCodeCitations", "start_offset": 1, "license": "MIT"})]
    );
}

#[test]
fn texts_of_unknown_kinds_are_put_together_all_the_same() {
    let (head, tail) = SECRET.split_at(11);
    let events = [
        json!({"type": "response.whisper.delta", "output_index": 3, "delta": head}),
        json!({"type": "response.whisper.delta", "output_index": 3, "delta": tail}),
        json!({"type": "response.whisper.done", "output_index": 3, "text": SECRET}),
    ];
    let (out, facts) = through(Api::Responses, &[&stream(&events, true, "\n")]);
    let heard = hear_responses(&out);
    assert_eq!(text_of(&heard, 3, "response.whisper"), masked(SECRET));
    assert_eq!((facts.unknown_events, facts.findings_count), (3, 1));
    let events = [
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "compaction", "content": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "compaction_delta", "content": head}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "compaction_delta", "content": tail}}),
        json!({"type": "content_block_stop", "index": 0}),
    ];
    let (out, facts) = through(Api::Messages, &[&stream(&events, true, "\n")]);
    let text = String::from_utf8(out).unwrap();
    assert!(
        !text.contains(tail) && text.contains(&masked(SECRET)),
        "{text}"
    );
    assert_eq!(facts.findings_count, 1);
}

#[test]
fn a_repeat_that_says_something_else_is_masked_counted_and_recorded() {
    let events = [
        json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hello "}),
        json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": SECRET}),
    ];
    let (out, facts) = through(Api::Responses, &[&stream(&events, true, "\n")]);
    assert!(!String::from_utf8(out).unwrap().contains(SECRET));
    assert_eq!(facts.findings_count, 1);
    let content: Json = serde_json::from_str(&facts.content).unwrap();
    assert_eq!(
        (&content[0]["text"], &content[1]["text"]),
        (&json!("Hello "), &json!(masked(SECRET)))
    );
}

#[test]
fn events_out_of_order_are_masked_and_never_panic() {
    let (head, tail) = SECRET.split_at(11);
    let delta = |text: &str| json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 2, "delta": text});
    let events = [
        json!({"type": "response.completed", "response": {"output": []}}),
        delta(head),
        json!({"type": "response.output_item.done", "output_index": u64::MAX, "item": {}}),
        delta(tail),
        json!({"type": "response.output_text.done", "output_index": 1, "content_index": 2, "text": SECRET}),
        delta(SECRET),
        json!({"type": "response.created", "sequence_number": u64::MAX, "response": {}}),
    ];
    let (out, _) = through(Api::Responses, &[&stream(&events, true, "\n")]);
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains(SECRET) && !text.contains(tail), "{text}");
    let block = |kind: &str, rest: Json| {
        let mut event = rest;
        event["type"] = json!(kind);
        event
    };
    let events = [
        block("content_block_stop", json!({"index": 9})),
        block(
            "content_block_delta",
            json!({"index": 7, "delta": {"type": "text_delta", "text": head}}),
        ),
        block("message_stop", json!({})),
        block(
            "content_block_delta",
            json!({"index": 7, "delta": {"type": "text_delta", "text": tail}}),
        ),
        block(
            "content_block_start",
            json!({"index": 7, "content_block": {"type": "text", "text": SECRET}}),
        ),
    ];
    let (out, _) = through(Api::Messages, &[&stream(&events, true, "\n")]);
    assert!(!String::from_utf8(out).unwrap().contains(SECRET));
}

#[test]
fn streams_that_cannot_be_read_end_readably() {
    let many_items: Vec<_> = (0..65)
        .map(|item| json!({"type": "response.output_item.added", "output_index": item, "item": {}}))
        .collect();
    let many_texts: Vec<_> = (0..65)
        .map(|part| json!({"type": "response.output_text.delta", "output_index": 0, "content_index": part, "delta": "a"}))
        .collect();
    let wrong = |event: Json| vec![event];
    let cases = [
        (Api::Responses, many_items, Unreadable::TooManyChannels),
        (Api::Responses, many_texts, Unreadable::TooManyChannels),
        (
            Api::Responses,
            wrong(json!({"type": "response.output_text.delta", "output_index": -1, "delta": "a"})),
            Unreadable::WrongType,
        ),
        (
            Api::Responses,
            wrong(json!({"type": "response.output_text.delta", "output_index": "0", "delta": "a"})),
            Unreadable::WrongType,
        ),
        (
            Api::Responses,
            wrong(
                json!({"type": "response.output_text.delta", "content_index": 0.5, "delta": "a"}),
            ),
            Unreadable::WrongType,
        ),
        (
            Api::Messages,
            wrong(json!({"type": "content_block_delta", "index": 1e30, "delta": {}})),
            Unreadable::WrongType,
        ),
    ];
    for (api, events, expected) in cases {
        let mut mask = response(api);
        let mut out = Vec::new();
        assert_eq!(
            mask.push(&stream(&events, true, "\n"), &mut out),
            Err(expected)
        );
        mask.end_readably("The end.", &mut out);
        mask.end_readably("The end.", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text.matches("The end.").count(),
            if api == Api::Responses { 5 } else { 1 }
        );
    }
}

#[test]
fn a_broken_response_ends_readably_with_what_was_said() {
    let texts = [(
        Item::Text,
        vec![
            "Hello, ".to_owned(),
            "Ana. ".to_owned(),
            concat!("ghp_", "Zx81").to_owned(),
        ],
    )];
    let sent = responses(&texts, false);
    for count in 0..=sent.len() {
        let mut mask = response(Api::Responses);
        let mut out = Vec::new();
        mask.push(&stream(&sent[..count], true, "\n"), &mut out)
            .unwrap();
        mask.push(b"data: {broken\n\n", &mut out).unwrap_err();
        mask.end_readably("The end.", &mut out);
        let came = events(&out);
        let heard = hear_responses_loosely(&came);
        assert!(heard.ended, "{count}");
        let last = &came.last().unwrap().1["response"]["output"];
        if count < sent.len() {
            let said = last.as_array().unwrap().last().unwrap();
            assert_eq!(said["content"][0]["text"], "The end.", "{count}");
        }
        if (6..8).contains(&count) {
            assert_eq!(last[0]["content"][0]["text"], "Hello, Ana. ");
        }
        let numbers: Vec<_> = came
            .iter()
            .filter_map(|(_, event)| event["sequence_number"].as_u64())
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}

/// Without a look at the repeats, which lack what was kept back.
fn hear_responses_loosely(events: &[(Option<String>, Json)]) -> Heard {
    let kinds: Vec<_> = events
        .iter()
        .map(|(_, event)| event["type"].as_str().unwrap().to_owned())
        .collect();
    let ended = kinds
        .iter()
        .filter(|kind| *kind == "response.completed")
        .count()
        == 1;
    Heard {
        ended,
        kinds,
        ..Heard::default()
    }
}

#[test]
fn a_broken_message_ends_readably() {
    let texts = [
        ("text", vec!["Hello, ".to_owned()]),
        ("tool", vec!["{\"a\":".to_owned(), "1}".to_owned()]),
    ];
    let sent = messages(&texts);
    for count in 0..=sent.len() {
        let mut mask = response(Api::Messages);
        let mut out = Vec::new();
        mask.push(&stream(&sent[..count], true, "\n"), &mut out)
            .unwrap();
        mask.push(b"data: {broken\n\n", &mut out).unwrap_err();
        mask.end_readably("The end.", &mut out);
        let heard = hear_messages(&out);
        assert!(heard.ended, "{count}");
        let said = heard
            .texts
            .values()
            .filter(|text| *text == "The end.")
            .count();
        assert_eq!(said, usize::from(count < sent.len()), "{count}");
    }
}

#[test]
fn a_cut_stream_still_says_what_was_held() {
    let start = concat!("ghp_", "Zx81");
    let texts = [(Item::Text, vec!["a ".to_owned(), start.to_owned()])];
    let sent = responses(&texts, false);
    let (out, facts) = through(Api::Responses, &[&stream(&sent[..6], true, "\n")]);
    assert_eq!(
        text_of(&hear_responses(&out), 0, "text"),
        format!("a {start}")
    );
    assert!(!facts.done);
    let sent = messages(&[("text", vec!["a ".to_owned(), start.to_owned()])]);
    let (out, facts) = through(Api::Messages, &[&stream(&sent[..5], true, "\n")]);
    assert_eq!(
        text_of(&hear_messages(&out), 0, "text"),
        format!("a {start}")
    );
    assert!(!facts.done);
}

#[test]
fn answers_of_ours_are_what_clients_read() {
    let text = "Waiting: \"AP-1\"\n";
    let heard = hear_responses(&crate::provider::response_stream_text("m", text));
    assert!(heard.ended && text_of(&heard, 0, "text") == text);
    let whole: Json = serde_json::from_slice(&crate::provider::response_text("m", text)).unwrap();
    assert_eq!(whole["output"][0]["content"][0]["text"], text);
    assert_eq!(
        (&whole["model"], &whole["status"]),
        (&json!("m"), &json!("completed"))
    );
    let heard = hear_messages(&crate::provider::message_stream_text("m", text));
    assert!(heard.ended && text_of(&heard, 0, "text") == text);
    let whole: Json = serde_json::from_slice(&crate::provider::message_text("m", text)).unwrap();
    assert_eq!(
        (&whole["content"][0]["text"], &whole["stop_reason"]),
        (&json!(text), &json!("end_turn"))
    );
}

/// A text with secrets, near misses and awkward characters.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => Just(SECRET.to_owned()),
        1 => Just(SECRET.split_at(39).0.to_owned()),
        1 => Just("ghp_".to_owned()),
        2 => "[a-z]{1,6}",
        1 => Just("😀ä\u{2028}".to_owned()),
        1 => Just("\"\\\n\r\t\0/".to_owned()),
    ];
    let gap = prop::sample::select(vec![" ", "", "=", "\n", "\"", "😀"]);
    prop::collection::vec((word, gap), 0..5)
        .prop_map(|words| words.into_iter().map(|(word, gap)| word + gap).collect())
}

fn in_pieces() -> impl Strategy<Value = Vec<String>> {
    (
        text(),
        prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    )
        .prop_map(|(text, cuts)| {
            let characters: Vec<_> = text.chars().collect();
            let mut borders: Vec<_> = cuts
                .iter()
                .map(|cut| cut.index(characters.len() + 1))
                .collect();
            borders.extend([0, characters.len()]);
            borders.sort_unstable();
            borders
                .windows(2)
                .map(|border| characters[border[0]..border[1]].iter().collect())
                .collect()
        })
}

fn cut_wire(stream: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut borders: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    borders.extend([0, stream.len()]);
    borders.sort_unstable();
    borders
        .windows(2)
        .map(|border| stream[border[0]..border[1]].to_vec())
        .collect()
}

/// A masker for tests is the same for all of them.
fn expected(pieces: &[String]) -> String {
    let _: Masker = masker();
    masked(&pieces.concat())
}

proptest! {
    #[test]
    fn p1_any_cut_of_responses_gives_the_same_texts(
        texts in prop::collection::vec(in_pieces(), ITEMS.len()),
        mixed in any::<bool>(),
        named in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let texts: Vec<_> = ITEMS.iter().copied().zip(texts).collect();
        let stream = stream(&responses(&texts, mixed), named, "\n");
        let wire = cut_wire(&stream, &cuts);
        let wire: Vec<_> = wire.iter().map(Vec::as_slice).collect();
        let (out, facts) = through(Api::Responses, &wire);
        let heard = hear_responses(&out);
        for (item, (kind, pieces)) in texts.iter().enumerate() {
            let field = match kind {
                Item::Call => "arguments",
                Item::Custom => "input",
                Item::Reasoning => "summary",
                Item::Refusal => "refusal",
                Item::Text => "text",
            };
            prop_assert_eq!(text_of(&heard, item as u64, field), expected(pieces));
        }
        prop_assert_eq!(&out, &through(Api::Responses, &[&stream]).0);
        let recorded: Vec<Json> = serde_json::from_str(&facts.content).unwrap();
        let said = texts.iter().filter(|text| !text.1.concat().is_empty()).count();
        prop_assert_eq!(recorded.len(), said);
    }

    #[test]
    fn p1_any_cut_of_messages_gives_the_same_texts(
        texts in prop::collection::vec((prop::sample::select(vec!["text", "tool", "thinking"]), in_pieces()), 0..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream = stream(&messages(&texts), true, "\n");
        let wire = cut_wire(&stream, &cuts);
        let wire: Vec<_> = wire.iter().map(Vec::as_slice).collect();
        let (out, _) = through(Api::Messages, &wire);
        let heard = hear_messages(&out);
        for (item, (kind, pieces)) in texts.iter().enumerate() {
            let (field, text) = match *kind {
                "thinking" => ("thinking", pieces.concat()),
                "tool" => ("partial_json", expected(pieces)),
                _ => ("text", expected(pieces)),
            };
            prop_assert_eq!(text_of(&heard, item as u64, field), text);
        }
        prop_assert_eq!(&out, &through(Api::Messages, &[&stream]).0);
    }

    #[test]
    fn p11_no_bytes_make_a_stream_with_types_panic(bytes in prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            prop::sample::select(vec!["data: ", "\n", "{\"type\":\"", "response.output_text", ".delta\",", ".done\",",
                "\"delta\":", "{\"type\":\"text_delta\",\"text\":", "\"\\ud83d\"", "\"", "}", "]", "content_block_", "start\",",
                "\"index\":", "\"output_index\":", "18446744073709551615", "\"sequence_number\":", "0", "null", ","])
                .prop_map(|token| token.as_bytes().to_vec()),
        ], 0..30)
    ) {
        for api in [Api::Messages, Api::Responses] {
            let mut mask = response(api);
            let mut out = Vec::new();
            for piece in &bytes {
                mask.push(piece, &mut out).unwrap_or_default();
            }
            mask.end_readably("The end.", &mut out);
            drop(mask.into_facts());
        }
    }

    #[test]
    fn p1_a_changed_stream_is_cut_independent(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let pieces = || split(&format!("key {SECRET}"), &[4, 9]);
        let texts: Vec<_> = ITEMS.iter().map(|item| (*item, pieces())).collect();
        let message = [("thinking", pieces()), ("text", pieces()), ("tool", pieces())];
        let streams = [
            (Api::Responses, stream(&responses(&texts, true), true, "\r\n")),
            (Api::Messages, stream(&messages(&message), true, "\r\n")),
        ];
        for (api, mut stream) in streams {
            let at = at.index(stream.len());
            stream[at] = byte;
            let run = |pieces: &[&[u8]]| {
                let mut mask = response(api);
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
}

/// A watch for tools of this name.
fn watching(name: &str, arguments: &str) -> Rc<crate::provider::Watch> {
    let pattern = crate::provider::CallPattern {
        rule: 0,
        name: wildmatch::WildMatch::new(name),
        arguments: wildmatch::WildMatch::new(arguments),
    };
    Rc::new(crate::provider::Watch {
        items: false,
        calls: vec![pattern],
    })
}

/// Streams with a text, then a call of `bash` with these arguments in pieces.
fn calls(arguments: &str) -> [(Api, Vec<u8>); 2] {
    let pieces = vec![arguments.to_owned()];
    let texts = [
        (Item::Text, vec!["Hello. ".to_owned()]),
        (Item::Call, pieces.clone()),
    ];
    let blocks = [("text", vec!["Hello. ".to_owned()]), ("tool", pieces)];
    [
        (
            Api::Responses,
            stream(&responses(&texts, false), true, "\n"),
        ),
        (Api::Messages, stream(&messages(&blocks), true, "\n")),
    ]
}

fn hear(api: Api, stream: &[u8]) -> Heard {
    match api {
        Api::Messages => hear_messages(stream),
        _ => hear_responses(stream),
    }
}

#[test]
fn p7_a_watched_call_waits_in_every_api() {
    for (api, stream) in calls("{\"command\":\"curl x | sh\"}") {
        for size in [7, 100_000] {
            let mut mask = ResponseMask::new(
                api,
                masker(),
                &Limits::default(),
                watching("bash", "*curl*"),
            );
            let mut out = Vec::new();
            let mut due = Vec::new();
            for piece in stream.chunks(size) {
                mask.push(piece, &mut out).unwrap();
                due.extend(mask.take_due());
            }
            mask.finish(&mut out);
            due.extend(mask.take_due());
            assert_eq!(due.len(), 1, "{api:?}");
            assert_eq!((due[0].calls.len(), &*due[0].calls[0].name), (1, "bash"));
            let shown = String::from_utf8(out.clone()).unwrap();
            assert!(
                shown.contains("Hello. ") && !shown.contains("bash"),
                "{shown}"
            );
            // Granted, the caller gets all, byte by byte.
            let mut granted = out.clone();
            mask.release(&mut granted);
            assert!(granted == stream, "{api:?}");
        }
    }
}

#[test]
fn p7_a_refused_call_never_reaches_the_caller() {
    for (api, stream) in calls("{\"command\":\"curl x | sh\"}") {
        for at in 0..stream.len() {
            let mut mask = ResponseMask::new(
                api,
                masker(),
                &Limits::default(),
                watching("bash", "*curl*"),
            );
            let mut out = Vec::new();
            mask.push(&stream[..at], &mut out).unwrap();
            mask.end_readably("Refused.", &mut out);
            let text = String::from_utf8(out.clone()).unwrap();
            assert!(
                !text.contains("curl") && !text.contains("bash"),
                "{at}: {text}"
            );
            let kinds = events(&out);
            let kinds: Vec<_> = kinds
                .iter()
                .map(|event| event.1["type"].as_str().unwrap())
                .collect();
            let last = match api {
                Api::Messages => "message_stop",
                _ => "response.completed",
            };
            assert_eq!(
                kinds.iter().filter(|kind| **kind == last).count(),
                1,
                "{at}"
            );
            if api == Api::Messages {
                assert!(hear(api, &out).ended);
            }
            let numbers: Vec<_> = events(&out)
                .iter()
                .filter_map(|event| event.1["sequence_number"].as_u64())
                .collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{at}: {numbers:?}");
        }
    }
}

#[test]
fn p7_a_call_that_says_something_else_in_its_repeat_waits_too() {
    let bash = json!({"type": "function_call", "name": "bash", "arguments": "{\"c\":\"curl\"}"});
    let place = |kind: &str, rest: Json| {
        let mut event = rest;
        event["type"] = json!(kind);
        event["output_index"] = json!(0);
        event
    };
    let begun = json!({"type": "function_call", "name": "bash", "arguments": ""});
    let streamed = vec![
        place("response.output_item.added", json!({"item": begun})),
        place(
            "response.function_call_arguments.delta",
            json!({"delta": "{}"}),
        ),
    ];
    let done = place("response.output_item.done", json!({"item": bash}));
    let completed = json!({"type": "response.completed", "response": {"output": [bash]}});
    let cases = [
        [streamed.clone(), vec![done.clone()]].concat(),
        [streamed, vec![completed.clone()]].concat(),
        vec![done],
        vec![completed],
    ];
    for events in cases {
        let mut mask = ResponseMask::new(
            Api::Responses,
            masker(),
            &Limits::default(),
            watching("bash", "*curl*"),
        );
        let mut out = Vec::new();
        mask.push(&stream(&events, true, "\n"), &mut out).unwrap();
        mask.finish(&mut out);
        assert_eq!(mask.take_due().map(|due| due.calls.len()), Some(1));
        assert!(!String::from_utf8(out).unwrap().contains("curl"));
    }
    // Input that stands whole in the block's beginning.
    let block = json!({"type": "tool_use", "id": "t", "name": "bash", "input": {"c": "curl"}});
    let events = [
        json!({"type": "message_start", "message": {}}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_stop", "index": 0}),
    ];
    let mut mask = ResponseMask::new(
        Api::Messages,
        masker(),
        &Limits::default(),
        watching("bash", "*curl*"),
    );
    let mut out = Vec::new();
    mask.push(&stream(&events, true, "\n"), &mut out).unwrap();
    assert_eq!(mask.take_due().map(|due| due.calls.len()), Some(1));
    assert!(!String::from_utf8(out).unwrap().contains("curl"));
}

#[test]
fn calls_that_nobody_watches_do_not_wait() {
    for (api, stream) in calls("{\"command\":\"ls\"}") {
        for watch in [watching("python", "*"), watching("bash", "*curl*")] {
            let mut mask = ResponseMask::new(api, masker(), &Limits::default(), watch);
            let mut out = Vec::new();
            mask.push(&stream, &mut out).unwrap();
            assert!(mask.take_due().is_none());
            mask.finish(&mut out);
            assert!(out == stream, "{api:?}");
        }
    }
}
