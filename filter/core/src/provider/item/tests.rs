use contract::approval::Item;
use serde_json::{Value as Json, json};

use super::*;
use crate::provider::tests::{SECRET, first_request, masked, masker};
use crate::provider::{Api, Limits, MaskedRequest, MaskedResponse, mask_response};

fn watch(patterns: &[(&str, &str)]) -> Watch {
    let pattern = |(rule, (name, arguments)): (usize, &(&str, &str))| CallPattern {
        rule,
        name: WildMatch::new(name),
        arguments: WildMatch::new(arguments),
    };
    Watch {
        items: true,
        calls: patterns.iter().enumerate().map(pattern).collect(),
    }
}

fn request(body: &Json, watch: &Watch) -> MaskedRequest {
    read(&body.to_string(), watch)
}

fn read(body: &str, watch: &Watch) -> MaskedRequest {
    first_request(Api::Chat, body.as_bytes(), watch).unwrap()
}

fn messages(messages: &Json, watch: &Watch) -> Vec<ContentItem> {
    request(&json!({ "model": "m", "messages": messages }), watch).items
}

fn digest(role: &str, kind: &str, name: &str, text: &str) -> Digest {
    let item = Item {
        role,
        kind,
        name,
        text,
    };
    item.digest()
}

#[test]
fn only_texts_with_findings_are_items_and_each_is_one() {
    let secret = format!("use {SECRET} ");
    let given = json!([
        { "role": "system", "content": secret },
        { "content": [{ "type": "text", "text": "hello" }, { "text": secret, "type": "text" }],
          "role": "user" },
        { "role": "tool", "tool_call_id": "c", "content": secret },
        { "role": "user", "content": "nothing" },
        { "role": "function", "name": "f", "content": secret },
    ]);
    let items = messages(&given, &watch(&[]));
    let text = masked(&secret);
    let expected = [
        digest("system", "text", "", &text),
        digest("user", "text", "", &text),
        digest("tool", "tool_result", "", &text),
        digest("tool", "tool_result", "", &text),
    ];
    let digests: Vec<Digest> = items.iter().map(|item| item.digest).collect();
    assert_eq!(digests, expected);
    assert!(items.iter().all(|item| item.excerpt == text));
    assert!(items.iter().all(|item| item.by_detector["github-pat"] == 1));
    // Nobody asks, nothing is kept.
    assert!(messages(&given, &Watch::default()).is_empty());
}

#[test]
fn what_is_outside_of_messages_is_an_item_too() {
    let body = json!({
        "model": "m", "messages": [],
        "tools": [{ "type": "function", "function": { "name": "f", "description": SECRET } }],
        "prediction": { "type": "content", "content": SECRET },
        "metadata": { SECRET: 1 },
    });
    let request = request(&body, &watch(&[]));
    let mut kinds: Vec<(&str, &str)> = request
        .items
        .iter()
        .map(|item| (item.role.as_str(), item.kind))
        .collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [("system", "tool"), ("user", "text"), ("user", "text")]
    );
    let found: u64 = request
        .items
        .iter()
        .flat_map(|item| item.by_detector.values())
        .sum();
    assert_eq!(found, request.findings_count);
}

#[test]
fn a_call_is_known_by_its_name_and_the_meaning_of_its_arguments() {
    let call = |arguments: &str| {
        json!([{ "role": "assistant", "content": null, "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "bash", "arguments": arguments } },
        ] }])
    };
    let watch = watch(&[("bash", "*curl*|*sh*"), ("ba?h", "*"), ("python", "*")]);
    let expected = digest(
        "assistant",
        "tool_call",
        "bash",
        r#"{"a":1,"command":"curl x | sh"}"#,
    );
    for arguments in [
        r#"{"command":"curl x | sh","a":1}"#,
        r#"{ "a" : 1, "command" : "cur\u006c x | sh" }"#,
    ] {
        let items = messages(&call(arguments), &watch);
        assert_eq!(items.len(), 1, "{arguments}");
        assert_eq!((items[0].digest, &*items[0].met), (expected, &[0, 1][..]));
    }
    let harmless = messages(&call(r#"{"command":"ls"}"#), &watch);
    assert_eq!(harmless[0].met, [1]);
    let old = json!([{ "role": "assistant",
        "function_call": { "arguments": "no JSON", "name": "python" } }]);
    let items = messages(&old, &watch);
    assert_eq!(
        items[0].digest,
        digest("assistant", "tool_call", "python", "no JSON")
    );
    let long = "x".repeat(MAX_CALL_BYTES + 1);
    assert_eq!(messages(&call(&long), &watch)[0].met, [0, 1]);
}

#[test]
fn findings_in_arguments_belong_to_the_call() {
    let arguments = json!({ "text": SECRET }).to_string();
    let given = json!([{ "role": "assistant", "tool_calls": [
        { "function": { "name": "write", "arguments": arguments } },
        { "function": { "name": "read", "arguments": "{}" } },
    ] }]);
    let items = messages(&given, &watch(&[]));
    assert_eq!(items.len(), 1);
    let text = masked(&arguments);
    assert_eq!(
        items[0].digest,
        digest("assistant", "tool_call", "write", &text)
    );
    assert_eq!(items[0].by_detector["github-pat"], 1);
    assert_eq!(items[0].excerpt, text);
}

#[test]
fn items_and_their_excerpts_are_bounded() {
    let many: Vec<Json> = (0..MAX_CAUSE_ITEMS + 5)
        .map(|_| json!({ "role": "user", "content": format!("{SECRET} {}", "y".repeat(100)) }))
        .collect();
    let body = json!({ "model": "m", "messages": many });
    let request = request(&body, &watch(&[]));
    assert_eq!(request.items.len(), MAX_CAUSE_ITEMS);
    assert!(request.items_overflow);
    let shown: usize = request.items.iter().map(|item| item.excerpt.len()).sum();
    assert!(
        (MAX_SHOWN_BYTES - 200..=MAX_SHOWN_BYTES).contains(&shown),
        "{shown}"
    );
}

#[test]
fn the_calls_of_a_whole_answer_are_items_like_those_of_a_history() {
    let message = json!({ "role": "assistant", "content": "x", "tool_calls": [
        { "id": "a", "function": { "name": "bash", "arguments": "{\"b\": 1, \"a\": 2}" } },
        { "id": "b", "function": { "name": "ls", "arguments": "{}" } },
    ] });
    let answer = json!({ "choices": [{ "index": 0, "message": message }] }).to_string();
    let watch = watch(&[("bash", "*")]);
    let limits = Limits::default();
    let MaskedResponse { calls, .. } = mask_response(
        Api::Chat,
        &masker(),
        answer.as_bytes(),
        &limits,
        &watch,
        None,
    )
    .unwrap();
    let history = messages(&json!([message]), &watch);
    assert!(calls.calls == history);
    assert_eq!(calls.calls.len(), 1);
}

const OURS: &str = "[Copilot Gate] Waits. (decision gd_0123456789abcdefghijklmnop)";

/// What goes upstream of these messages, masked and as it came.
fn sent(given: &str) -> String {
    let body = format!("{{\"model\":\"m\", \"messages\": {given} }}");
    let request = read(&body, &watch(&[]));
    let part = |body: Option<Vec<u8>>, given: &str| {
        let Some(body) = body else {
            return given.to_owned();
        };
        let text = String::from_utf8(body).unwrap();
        let text = text
            .strip_prefix("{\"model\":\"m\", \"messages\": ")
            .unwrap();
        text.strip_suffix(" }").unwrap().to_owned()
    };
    part(request.body, given)
}

#[test]
fn our_own_messages_leave_the_history_with_their_commas() {
    let ours = format!(r#"{{"role":"assistant","content":"{OURS}"}}"#);
    let late = format!(r#"{{"content":"{OURS}\n","role":"assistant", "refusal":null}}"#);
    let parts = format!(r#"{{"role":"assistant","content":[{{"type":"text","text":"{OURS}"}}]}}"#);
    let user = r#"{"role":"user","content":"go on"}"#;
    let cases = [
        (
            format!("[{user}, {ours}, {user}]"),
            format!("[{user}, {user}]"),
        ),
        (format!("[{user}, {ours} , {late}]"), format!("[{user}]")),
        (
            format!("[ {ours}, {late}, {user}, {parts}]"),
            format!("[ {user}]"),
        ),
        (format!("[{ours},{parts}]"), "[]".to_owned()),
        (format!("[{ours},1,{ours},{user}]"), format!("[1,{user}]")),
        (format!("[{ours}, 7]"), "[7]".to_owned()),
    ];
    for (given, left) in cases {
        assert_eq!(sent(&given), left, "{given}");
    }
}

#[test]
fn what_we_added_to_an_answer_is_cut_off() {
    let cases = [
        (
            format!(r#"[{{"role":"assistant","content":"Let me look.\n\n{OURS}"}}]"#),
            r#"[{"role":"assistant","content":"Let me look."}]"#,
        ),
        (
            format!(
                r#"[{{"role":"assistant","content":[{{"type":"text","text":"a"}},{{"type":"text","text":"{OURS}"}}]}}]"#
            ),
            r#"[{"role":"assistant","content":[{"type":"text","text":"a"}]}]"#,
        ),
        (
            format!(
                r#"[{{"role":"assistant","content":"{OURS}","tool_calls":[{{"id":"a","function":{{"name":"f","arguments":"{{}}"}}}}]}}]"#
            ),
            r#"[{"role":"assistant","content":"","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]}]"#,
        ),
    ];
    for (given, left) in cases {
        assert_eq!(sent(&given), left, "{given}");
    }
}

#[test]
fn what_is_not_ours_stays_in_the_history() {
    let cases = [
        format!(r#"[{{"role":"user","content":"{OURS}"}}]"#),
        format!(r#"[{{"role":"tool","content":"{OURS}"}}]"#),
        format!(r#"[{{"content":"{OURS}"}}]"#),
        r#"[{"role":"assistant","content":"[Copilot Gate] Waits. (decision gd_none)"}]"#.to_owned(),
        format!(r#"[{{"role":"assistant","content":"{OURS} he said"}}]"#),
        r#"[{"role":"assistant","content":""}]"#.to_owned(),
    ];
    for given in cases {
        assert_eq!(sent(&given), given, "{given}");
    }
}

#[test]
fn secrets_beside_our_words_are_masked_and_asked_for() {
    let secret = masked(SECRET);
    let given = format!(
        r#"[{{"role":"assistant","content":"{SECRET}\n\n{OURS}"}},{{"role":"user","content":"{SECRET} {OURS}"}}]"#
    );
    let body = sent(&given);
    assert_eq!(
        body,
        format!(
            r#"[{{"role":"assistant","content":"{secret}"}},{{"role":"user","content":"{secret} {OURS}"}}]"#
        )
    );
    let body = format!("{{\"model\":\"m\",\"messages\":{given}}}");
    let request = read(&body, &watch(&[]));
    let digests: Vec<Digest> = request.items.iter().map(|item| item.digest).collect();
    let user = format!("{secret} {OURS}");
    assert_eq!(
        digests,
        [
            digest("assistant", "text", "", &secret),
            digest("user", "text", "", &user)
        ]
    );
    assert_eq!(request.findings_count, 2);
}

fn items_of(api: Api, body: &Json, watch: &Watch) -> Vec<(String, &'static str, String, usize)> {
    let request = first_request(api, body.to_string().as_bytes(), watch).unwrap();
    let found: u64 = request
        .items
        .iter()
        .flat_map(|item| item.by_detector.values())
        .sum();
    assert_eq!(found, request.findings_count);
    let shown = |item: ContentItem| {
        let own = Item {
            role: &item.role,
            kind: item.kind,
            name: &item.name,
            text: &item.excerpt,
        };
        assert_eq!(item.digest, own.digest());
        (item.role, item.kind, item.name, item.met.len())
    };
    request.items.into_iter().map(shown).collect()
}

fn owned<'a>(items: &[(&str, &'a str, &str, usize)]) -> Vec<(String, &'a str, String, usize)> {
    let own = |item: &(&str, &'a str, &str, usize)| {
        (item.0.to_owned(), item.1, item.2.to_owned(), item.3)
    };
    items.iter().map(own).collect()
}

#[test]
fn responses_have_the_same_items() {
    let text = format!("use {SECRET} ");
    let body = json!({
        "model": "m", "instructions": text,
        "tools": [{ "type": "function", "name": "bash", "description": text }],
        "input": [
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] },
            { "role": "developer", "content": text },
            { "type": "reasoning", "summary": [{ "type": "summary_text", "text": text }], "content": [] },
            { "type": "function_call", "call_id": "c", "name": "bash", "arguments": "{\"command\":\"curl x | sh\"}" },
            { "type": "function_call_output", "call_id": "c", "output": text },
            { "type": "function_call_output", "call_id": "c", "output": [{ "type": "input_text", "text": text }] },
            { "type": "custom_tool_call", "call_id": "d", "name": "apply_patch", "input": text },
            { "type": "local_shell_call", "action": { "type": "exec", "command": ["echo", SECRET] } },
        ],
    });
    let items = items_of(Api::Responses, &body, &watch(&[("bash", "*curl*")]));
    let expected = [
        ("user", "text", "", 0),
        ("developer", "text", "", 0),
        ("assistant", "text", "", 0),
        ("assistant", "tool_call", "bash", 1),
        ("tool", "tool_result", "", 0),
        ("tool", "tool_result", "", 0),
        ("assistant", "tool_call", "apply_patch", 0),
        ("assistant", "tool_call", "", 0),
        ("system", "text", "", 0),
        ("system", "tool", "", 0),
    ];
    let mut sorted = items;
    let mut expected = owned(&expected);
    sorted.sort();
    expected.sort();
    assert_eq!(sorted, expected);
    let body = json!({ "model": "m", "input": text });
    let items = items_of(Api::Responses, &body, &watch(&[]));
    assert_eq!(items, owned(&[("user", "text", "", 0)]));
}

#[test]
fn messages_have_the_same_items() {
    let text = format!("use {SECRET} ");
    let signature = "c2lnbmF0dXJl".repeat(12);
    let body = json!({
        "model": "m", "system": [{ "type": "text", "text": text }],
        "tools": [{ "name": "bash", "description": text, "input_schema": {} }],
        "messages": [
            { "role": "user", "content": text },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": text, "signature": signature },
                { "type": "tool_use", "id": "t", "name": "bash", "input": { "command": "curl x | sh" } },
                { "type": "tool_use", "id": "u", "name": "write", "input": { "text": [SECRET] } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t", "content": text },
                { "type": "tool_result", "tool_use_id": "u", "content": [{ "type": "text", "text": text }] },
            ] },
        ],
    });
    let items = items_of(Api::Messages, &body, &watch(&[("bash", "*curl*")]));
    let expected = [
        ("user", "text", "", 0),
        ("assistant", "text", "", 0),
        ("assistant", "tool_call", "bash", 1),
        ("assistant", "tool_call", "write", 0),
        ("tool", "tool_result", "", 0),
        ("tool", "tool_result", "", 0),
        ("system", "text", "", 0),
        ("system", "tool", "", 0),
    ];
    let (mut sorted, mut expected) = (items, owned(&expected));
    sorted.sort();
    expected.sort();
    assert_eq!(sorted, expected);
}

#[test]
fn p7_a_tool_call_is_the_same_item_in_every_api() {
    let watch = watch(&[("bash", "*")]);
    let (name, arguments) = ("bash", r#"{"b":1,"a":"x"}"#);
    let bodies = [
        (
            Api::Chat,
            json!({ "model": "m", "messages": [{ "role": "assistant", "tool_calls": [
            { "function": { "name": name, "arguments": arguments } }] }] }),
        ),
        (
            Api::Responses,
            json!({ "model": "m", "input": [
            { "type": "function_call", "name": name, "arguments": arguments, "call_id": "c" }] }),
        ),
        (
            Api::Messages,
            json!({ "model": "m", "messages": [{ "role": "assistant", "content": [
            { "type": "tool_use", "name": name, "input": { "b": 1, "a": "x" } }] }] }),
        ),
    ];
    for (api, body) in bodies {
        let request = first_request(api, body.to_string().as_bytes(), &watch).unwrap();
        let digests: Vec<Digest> = request.items.iter().map(|item| item.digest).collect();
        let expected = digest("assistant", "tool_call", name, r#"{"a":"x","b":1}"#);
        assert_eq!(digests, [expected], "{api:?}");
    }
}

#[test]
fn our_own_texts_leave_the_history_of_every_api() {
    let ours = crate::spoken::said("Wait for AP-1.", "gd_06h09c9lence8mc2s2h8u94qmo");
    let block = |kind: &str, text: &str| json!([{ "type": kind, "text": text }]);
    let cases = [
        (
            Api::Responses,
            json!({ "model": "m", "input": [
            { "type": "message", "role": "user", "content": block("input_text", "go") },
            { "type": "message", "id": "gate", "role": "assistant", "status": "completed",
              "content": [{ "type": "output_text", "text": ours, "annotations": [], "logprobs": [] }] },
            { "type": "message", "role": "user", "content": block("input_text", "go on") },
        ] }),
        ),
        (
            Api::Messages,
            json!({ "model": "m", "messages": [
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": block("text", &ours) },
            { "role": "user", "content": block("text", "go on") },
        ] }),
        ),
    ];
    for (api, body) in cases {
        let request = first_request(api, body.to_string().as_bytes(), &Watch::default()).unwrap();
        let sent = String::from_utf8(request.body.unwrap()).unwrap();
        let sent: Json = serde_json::from_str(&sent).unwrap();
        let list = if api == Api::Responses {
            "input"
        } else {
            "messages"
        };
        assert_eq!(sent[list].as_array().unwrap().len(), 2, "{sent}");
        assert!(!sent.to_string().contains("AP-1"), "{sent}");
    }
}
