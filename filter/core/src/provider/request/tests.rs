use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value as Json, json};

use super::super::item::CallPattern;
use super::super::tests::{SECRET, masker, repeats};
use super::*;
use crate::repeats::{Repeats, Written};
use crate::spoken;

/// What a request comes to, but for what is recorded.
#[derive(Debug, PartialEq)]
struct Outcome {
    sent: String,
    findings: Vec<(String, String, u64)>,
    unscanned: Vec<(&'static str, u64, u64)>,
    scanned: u64,
    tools: Vec<String>,
    items: Vec<(String, &'static str, String, Vec<usize>)>,
    restores: bool,
}

/// Reads a request; gives also its record, with what references stand for.
fn read(
    (repeats, contents): (&mut Repeats, &mut Vec<String>),
    api: Api,
    body: &str,
    watch: &Watch,
    now: UnixTime,
) -> Result<(Outcome, String), Unreadable> {
    let texts = (repeats.of("somebody"), now);
    let (limits, masker) = (Limits::default(), masker().keeping());
    let request = mask_request(api, &masker, body.as_bytes(), &limits, watch, texts)?;
    let recorded = String::from_utf8(request.recorded).unwrap();
    let seq = i64::try_from(contents.len()).unwrap();
    for written in Written::find(&recorded, &request.texts) {
        repeats.recorded(written, seq, now);
    }
    let mut whole = recorded.clone();
    for (seq, earlier) in contents.iter().enumerate() {
        let mark = format!("seen:{}:{seq}:", "ab".repeat(16));
        while let Some((before, rest)) = whole.split_once(&mark) {
            let (place, rest) = rest.split_once('"').unwrap();
            let (start, length) = place.split_once('+').unwrap();
            let (start, length) = (start.parse().unwrap(), length.parse().unwrap());
            let text: String = earlier.chars().skip(start).take(length).collect();
            whole = format!("{before}{text}\"{rest}");
        }
    }
    contents.push(recorded);
    let findings = request.findings.iter();
    let items = request.items.into_iter();
    let unscanned = request.unscanned.iter();
    let outcome = Outcome {
        sent: request
            .body
            .map_or_else(|| body.to_owned(), |sent| String::from_utf8(sent).unwrap()),
        findings: findings
            .map(|it| {
                (
                    it.channel.clone(),
                    it.finding.fingerprint.clone(),
                    it.finding.offset,
                )
            })
            .collect(),
        unscanned: unscanned
            .map(|it| (it.reason.name(), it.count, it.bytes))
            .collect(),
        scanned: request.scanned_bytes,
        tools: request.tools,
        items: items
            .map(|it| (it.role, it.kind, it.excerpt, it.met))
            .collect(),
        restores: !request.shown.is_empty(),
    };
    Ok((outcome, whole))
}

/// Elements of all kinds that lists of the API have, most of them long.
fn elements(api: Api) -> Vec<Json> {
    let long = "some words of it, \"é\"\n\t".repeat(12);
    let secret = format!("{long} {SECRET} {long}");
    let ours = spoken::said("Wait for AP-1.", "gd_06h09c9lence8mc2s2h8u94qmo");
    let more = format!(
        "{long}{}",
        spoken::added("No.", "gd_06h09c9lence8mc2s2h8u94qmo")
    );
    let read = json!({"filePath": "/src/a.env"}).to_string();
    let write = json!({"filePath": "/src/b.rs", "content": long}).to_string();
    match api {
        Api::Chat => vec![
            json!({"role": "system", "content": long}),
            json!({"role": "user", "content": [{"type": "text", "text": long}, {"type": "text", "text": "b"}]}),
            json!({"role": "user", "content": secret}),
            json!({"content": long, "role": "assistant"}),
            json!({"role": "assistant", "content": ours}),
            json!({"role": "assistant", "content": more}),
            json!({"role": "user", "content": format!("{long}{ours}")}),
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": read}}]}),
            json!({"role": "assistant", "content": long, "tool_calls": [
                {"id": "c2", "type": "function", "function": {"name": "create_file", "arguments": write}}]}),
            json!({"role": "tool", "tool_call_id": "c1", "content": secret}),
            json!({"role": "tool", "tool_call_id": "c1", "content": long}),
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{}", "QUJD".repeat(60))}}]}),
            json!("a text in place of a message"),
            json!([long]),
        ],
        Api::Messages => vec![
            json!({"role": "user", "content": long}),
            json!({"role": "user", "content": [{"type": "text", "text": secret}]}),
            json!({"role": "assistant", "content": [{"type": "text", "text": ours}]}),
            json!({"role": "assistant", "content": [
                {"type": "thinking", "thinking": long, "signature": "QUJD".repeat(60)},
                {"type": "text", "text": long}]}),
            json!({"role": "assistant", "content": [
                {"type": "thinking", "thinking": secret, "signature": "QUJD".repeat(60)}]}),
            json!({"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "view", "input": {"path": "/src/a.env", "why": long}}]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": secret}]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": long}]}),
        ],
        _ => vec![
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": long}]}),
            json!({"role": "user", "content": secret}),
            json!({"role": "assistant", "content": [{"type": "output_text", "text": more}]}),
            json!({"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "QUJD".repeat(60)}),
            json!({"type": "function_call", "call_id": "c1", "name": "read_file", "arguments": read}),
            json!({"type": "function_call", "call_id": "c2", "name": "shell", "arguments": write}),
            json!({"type": "function_call_output", "call_id": "c1", "output": secret}),
            json!({"type": "function_call_output", "call_id": "c1", "output": long}),
            json!({"type": "item_reference", "id": "i", "padding": long}),
        ],
    }
}

fn tools(api: Api) -> Vec<Json> {
    let long = "what it does, ".repeat(12);
    let tool = |name: &str| match api {
        Api::Chat => json!({"type": "function", "function": {"name": name, "description": long}}),
        Api::Messages => {
            json!({"name": name, "description": long, "input_schema": {"type": "object"}})
        }
        _ => json!({"type": "function", "name": name, "description": long}),
    };
    vec![
        tool("read_file"),
        tool("shell"),
        tool("not a name"),
        tool(SECRET),
    ]
}

fn body(api: Api, elements: &[Json], tools: &[Json]) -> String {
    let list = if matches!(api, Api::Chat | Api::Messages) {
        "messages"
    } else {
        "input"
    };
    json!({"model": "m", list: elements, "tools": tools}).to_string()
}

fn watch(calls: bool) -> Watch {
    let pattern = CallPattern {
        rule: 3,
        name: wildmatch::WildMatch::new("*"),
        arguments: wildmatch::WildMatch::new("*b.rs*"),
    };
    Watch {
        items: true,
        calls: if calls { vec![pattern] } else { Vec::new() },
    }
}

proptest! {
    #[test]
    fn what_was_sent_before_comes_to_the_same_as_what_is_new(
        api in prop::sample::select(&[Api::Chat, Api::Messages, Api::Responses]),
        turns in prop::collection::vec(
            (prop::collection::vec(any::<Index>(), 0..7), prop::collection::vec(any::<Index>(), 0..3), 0..40_u64),
            1..6,
        ),
        calls in any::<bool>(),
    ) {
        let watch = watch(calls);
        let (mut seen, mut contents) = (repeats(), Vec::new());
        let mut now = UnixTime::from_seconds(1_800_000_000);
        for (picked, offered, minutes) in turns {
            now = now + Duration::from_mins(minutes);
            let pick = |all: &[Json], picked: &[Index]| -> Vec<Json> {
                picked.iter().map(|index| index.get(all).clone()).collect()
            };
            let body = body(api, &pick(&elements(api), &picked), &pick(&tools(api), &offered));
            let known = read((&mut seen, &mut contents), api, &body, &watch, now);
            let new = read((&mut repeats(), &mut Vec::new()), api, &body, &watch, now);
            prop_assert_eq!(known, new);
        }
    }
}

#[test]
fn an_element_that_leaves_nothing_behind_is_not_read_again() {
    let mut seen = repeats();
    let known = |seen: &mut Repeats, api: Api, list: &str, element: &Json| {
        let mut texts = seen.of("somebody");
        let digest = texts.element_digest(api as u8, list, &element.to_string());
        digest.is_some_and(|digest| texts.element(digest).is_some())
    };
    for (api, list, expected) in [
        (Api::Chat, "messages", "++-+--+---+---"),
        (Api::Messages, "messages", "+------+"),
        (Api::Responses, "input", "+-----"),
    ] {
        let elements: Vec<Json> = elements(api).into_iter().take(expected.len()).collect();
        let body = body(api, &elements, &tools(api));
        read(
            (&mut seen, &mut Vec::new()),
            api,
            &body,
            &watch(false),
            UnixTime::default(),
        )
        .unwrap();
        let kept = elements.iter().map(|it| {
            if known(&mut seen, api, list, it) {
                '+'
            } else {
                '-'
            }
        });
        assert_eq!(kept.collect::<String>(), expected, "{api:?}");
        let offered = tools(api);
        let kept = offered.iter().map(|it| known(&mut seen, api, "tools", it));
        assert_eq!(
            kept.collect::<Vec<_>>(),
            [true, true, true, false],
            "{api:?}"
        );
        assert!(!known(&mut seen, api, "other", &elements[0]));
    }
}
