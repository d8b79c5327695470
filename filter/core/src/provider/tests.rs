use std::rc::Rc;

use contract::Epoch;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::scan::MAX_CHANNEL_BYTES;
use super::*;
use crate::mask::{Catalog, MaskKeys, Masker, Passes};
use crate::repeats::Repeats;
use crate::time::UnixTime;

pub(super) const SECRET: &str = concat!("ghp_", "Zx81Kq0pLm5vBn2wRt7yUa3sDf9gHj4eCiO6");

thread_local! {
    // Compiling the detectors takes longer than any test.
    static MASKER: Masker = {
        let keys = MaskKeys {
            fingerprint_key_id: "k1".to_owned(),
            fingerprint_key: b"a key of tests, nothing else....".to_vec(),
            placeholder_key: b"another key of tests, no more...".to_vec(),
        };
        Masker::new(Rc::new(Catalog::new()), &keys, "test", "somebody")
    };
}

pub(super) fn masker() -> Masker {
    MASKER.with(Masker::clone)
}

/// No text was sent before.
pub(super) fn repeats() -> Repeats {
    Repeats::new(&[7; 16], Epoch([0xab; 16]))
}

/// The text as it shall leave.
pub(super) fn masked(text: &str) -> String {
    masker()
        .mask(text, &mut Vec::new())
        .unwrap_or_else(|| text.to_owned())
}

/// Masks the first request of a conversation.
pub(super) fn first_request(
    api: Api,
    body: &[u8],
    watch: &Watch,
) -> Result<MaskedRequest, Unreadable> {
    let mut repeats = repeats();
    let texts = (repeats.of("somebody"), UnixTime::default());
    mask_request(api, &masker(), body, &Limits::default(), watch, texts)
}

fn request(api: Api, body: &str) -> Result<MaskedRequest, Unreadable> {
    first_request(api, body.as_bytes(), &Watch::default())
}

fn sent(api: Api, body: &str) -> (String, Vec<String>) {
    let request = request(api, body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_eq!(request.findings_count, request.findings.len() as u64);
    let channels = request
        .findings
        .into_iter()
        .map(|placed| placed.channel)
        .collect();
    let sent = request
        .body
        .map_or(body.to_owned(), |body| String::from_utf8(body).unwrap());
    (sent, channels)
}

#[test]
fn secrets_of_a_chat_request_are_masked_wherever_text_may_be() {
    let cases = [
        (
            r#"{"messages":[{"role":"user","content":"a § b"}]}"#,
            "messages[0].content",
        ),
        (
            r#"{"messages":[{"content":[{"type":"text","text":"§"}],"role":"user"}]}"#,
            "messages[0].content[0].text",
        ),
        (
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"k\":\"§\"}"}}]}]}"#,
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            r#"{"messages":[{"role":"tool","tool_call_id":"c","content":"API=§\n"}]}"#,
            "messages[0].content",
        ),
        (
            r#"{"tools":[{"type":"function","function":{"name":"f","description":"§"}}]}"#,
            "tools[0].function.description",
        ),
        (
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://h/?t=§"}}]}]}"#,
            "messages[0].content[0].image_url.url",
        ),
        (
            r#"{"prediction":{"type":"content","content":"§"}}"#,
            "prediction.content",
        ),
        (r#"{"metadata":{"Some-Key":["§"]}}"#, "metadata.*[0]"),
        (r#"{"nobody knows this":"§"}"#, "*"),
        (r#"{"user":"§"}"#, "user"),
        (r#"{"metadata":{"§":1}}"#, "metadata(key)"),
        (
            r#"{"messages":[{"role":"§ and more","content":""}]}"#,
            "messages[0].role",
        ),
    ];
    for (body, channel) in cases {
        let expected = body.replace('§', &masked(SECRET));
        let (sent, channels) = sent(Api::Chat, &body.replace('§', SECRET));
        assert_eq!(sent, expected, "{body}");
        assert_eq!(channels, [channel], "{body}");
    }
}

#[test]
fn secrets_of_a_completion_request_are_masked() {
    let body = format!(
        r##" {{ "prompt" : "# Path: a.py\n{SECRET}", "suffix":"{SECRET}","stop":["\n\n"],"stream":true,"extra":{{"language":"python","context":["x {SECRET}"]}}}} "##
    );
    let (sent, channels) = sent(Api::Completions, &body);
    assert_eq!(sent, body.replace(SECRET, &masked(SECRET)));
    assert_eq!(channels, ["prompt", "suffix", "extra.context[0]"]);
}

#[test]
fn secrets_of_a_responses_request_are_masked_wherever_text_may_be() {
    let cases = [
        (r#"{"instructions":"§"}"#, "instructions"),
        (r#"{"input":"a § b"}"#, "input"),
        (
            r#"{"input":[{"role":"user","content":"§"}]}"#,
            "input[0].content",
        ),
        (
            r#"{"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"§"}]}]}"#,
            "input[0].content[0].text",
        ),
        (
            r#"{"input":[{"type":"function_call","name":"f","arguments":"{\"k\":\"§\"}","call_id":"c"}]}"#,
            "input[0].arguments",
        ),
        (
            r#"{"input":[{"type":"function_call_output","call_id":"c","output":"§"}]}"#,
            "input[0].output",
        ),
        (
            r#"{"input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"§"}]}]}"#,
            "input[0].output[0].text",
        ),
        (
            r#"{"input":[{"type":"custom_tool_call","name":"f","input":"§","call_id":"c"}]}"#,
            "input[0].input",
        ),
        (
            r#"{"input":[{"type":"reasoning","summary":[{"type":"summary_text","text":"§"}]}]}"#,
            "input[0].summary[0].text",
        ),
        (
            r#"{"input":[{"type":"reasoning","encrypted_content":"§"}]}"#,
            "input[0].encrypted_content",
        ),
        (
            r#"{"input":[{"type":"message","role":"user","content":[{"type":"input_image","image_url":"https://h/?t=§"}]}]}"#,
            "input[0].content[0].image_url",
        ),
        (
            r#"{"tools":[{"type":"function","name":"f","parameters":{"description":"§"}}]}"#,
            "tools[0].parameters.description",
        ),
        (r#"{"previous_response_id":null,"user":"§"}"#, "user"),
    ];
    for (body, channel) in cases {
        let expected = body.replace('§', &masked(SECRET));
        let (sent, channels) = sent(Api::Responses, &body.replace('§', SECRET));
        assert_eq!(sent, expected, "{body}");
        assert_eq!(channels, [channel], "{body}");
    }
}

#[test]
fn secrets_of_a_messages_request_are_masked_wherever_text_may_be() {
    let cases = [
        (r#"{"system":"§"}"#, "system"),
        (
            r#"{"system":[{"type":"text","text":"§"}]}"#,
            "system[0].text",
        ),
        (
            r#"{"messages":[{"role":"user","content":"§"}]}"#,
            "messages[0].content",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"§"}]}]}"#,
            "messages[0].content[0].text",
        ),
        (
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","name":"f","input":{"deep":[{"a":"§"}]}}]}]}"#,
            "messages[0].content[0].input.deep[0].a",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":"§"}]}]}"#,
            "messages[0].content[0].content",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"§"}]}]}]}"#,
            "messages[0].content[0].content[0].text",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"§"}}]}]}"#,
            "messages[0].content[0].source.data",
        ),
        (
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"§","signature":""}]}]}"#,
            "messages[0].content[0].thinking",
        ),
        (
            r#"{"messages":[{"role":"assistant","content":[{"type":"redacted_thinking","data":"§"}]}]}"#,
            "messages[0].content[0].data",
        ),
        (r#"{"metadata":{"user_id":"§"}}"#, "metadata.user_id"),
    ];
    for (body, channel) in cases {
        let expected = body.replace('§', &masked(SECRET));
        let (sent, channels) = sent(Api::Messages, &body.replace('§', SECRET));
        assert_eq!(sent, expected, "{body}");
        assert_eq!(channels, [channel], "{body}");
    }
}

#[test]
fn code_for_the_index_is_masked() {
    let cases = [
        (Api::Code, r#"{"model":"m","input":["a","§"]}"#, "input[1]"),
        (
            Api::Code,
            r#"{"content":"x = '§'\n","path":"a.py","embed":true}"#,
            "content",
        ),
        (Api::Code, r#"{"source":"§"}"#, "source"),
        (
            Api::Mcp,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{"q":["§"]}}}"#,
            "params.arguments.q[0]",
        ),
        (
            Api::Ingest,
            r#"{"content":"not base64 §","docSha":"x"}"#,
            "content",
        ),
    ];
    for (api, body, channel) in cases {
        let expected = body.replace('§', &masked(SECRET));
        let (sent, channels) = sent(api, &body.replace('§', SECRET));
        assert_eq!(sent, expected, "{body}");
        assert_eq!(channels, [channel], "{body}");
    }
    let numbers = request(Api::Code, r#"{"model":"m","input":[[1,2]]}"#).unwrap();
    assert_eq!(numbers.unscanned[0].reason, UnscannedReason::Tokens);
}

#[test]
fn files_in_base64_are_decoded_and_masked() {
    use data_encoding::BASE64;
    let file = format!("key = \"{SECRET}\"\n");
    let body = json!({"docs": [{"content": BASE64.encode(file.as_bytes())}]});
    let (sent, channels) = sent(Api::Ingest, &body.to_string());
    let sent: Json = serde_json::from_str(&sent).unwrap();
    let content = sent["docs"][0]["content"].as_str().unwrap();
    let plain = BASE64.decode(content.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(plain).unwrap(), masked(&file));
    assert_eq!(channels, ["docs[0].content"]);
    let picture = BASE64.encode(&[0xff; 200]);
    let unseen = request(Api::Ingest, &json!({"content": picture}).to_string()).unwrap();
    assert!(unseen.body.is_none());
    assert_eq!(unseen.unscanned[0].reason, UnscannedReason::File);
}

#[test]
fn what_a_tool_of_mcp_answers_is_masked() {
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [
        {"type": "text", "text": SECRET},
        {"type": "resource", "resource": {"uri": "x", "text": SECRET}},
        {"type": "image", "data": "QUJD".repeat(50)},
    ], "structuredContent": {"a": [SECRET]}}});
    let body = answer.to_string();
    let limits = Limits::default();
    let whole = mask_response(
        Api::Mcp,
        &masker(),
        body.as_bytes(),
        &limits,
        &Watch::default(),
        None,
    )
    .unwrap();
    let sent = String::from_utf8(whole.body.unwrap()).unwrap();
    assert_eq!(sent, body.replace(SECRET, &masked(SECRET)));
    assert_eq!(whole.facts.unscanned[0].reason, UnscannedReason::Image);
    let mut mask = ResponseMask::new(Api::Mcp, masker(), &limits, Rc::default());
    let mut out = Vec::new();
    mask.push(
        format!("event: message\ndata: {body}\n\n").as_bytes(),
        &mut out,
    )
    .unwrap();
    let expected = format!("event: message\ndata: {sent}\n\n");
    assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
    assert_eq!(mask.facts().unknown_events, 0);
    mask.end_readably("Refused.", &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("\"message\":\"Refused.\"}}\n\n"), "{text}");
}

#[test]
fn signed_thinking_in_the_history_is_left_alone_and_recorded() {
    let signature = "c2lnbmF0dXJl".repeat(12);
    for block in [
        format!(r#"{{"type":"thinking","thinking":"{SECRET}","signature":"{signature}"}}"#),
        format!(r#"{{"signature":"{signature}","thinking":"{SECRET}","type":"thinking"}}"#),
    ] {
        let body = format!(r#"{{"messages":[{{"role":"assistant","content":[{block}]}}]}}"#);
        let request = request(Api::Messages, &body).unwrap();
        assert!(request.body.is_none(), "{block}");
        assert_eq!(request.findings_count, 1);
        assert!(request.findings[0].passed);
        assert_eq!(request.by_detector["github-pat"], 1);
        let recorded = String::from_utf8(request.recorded).unwrap();
        assert!(!recorded.contains(SECRET) && recorded.contains(&masked(SECRET)));
    }
    // A signature beside another block signs nothing here.
    let body = format!(
        r#"{{"messages":[{{"role":"assistant","content":[{{"thinking":"{SECRET}"}},{{"signature":"{signature}"}}]}}]}}"#
    );
    assert!(request(Api::Messages, &body).unwrap().body.is_some());
}

#[test]
fn blobs_of_the_other_apis_are_left_alone_and_counted() {
    let blob = "QUJD".repeat(100);
    let image = format!("data:image/png;base64,{blob}");
    let body = json!({"input": [
        {"type": "message", "role": "user", "content": [
            {"type": "input_image", "image_url": image, "detail": "auto"},
            {"type": "input_file", "file_data": image}, {"type": "input_file", "file_id": "file_1"},
        ]},
        {"type": "reasoning", "id": "rs_1", "encrypted_content": blob, "summary": []},
        {"type": "computer_call_output", "output": {"type": "x", "image_url": image}},
    ]});
    let responses = request(Api::Responses, &body.to_string()).unwrap();
    assert!(responses.body.is_none());
    let counts = |request: &MaskedRequest| {
        let unscanned = request.unscanned.iter();
        let mut counts: Vec<_> = unscanned.map(|it| (it.reason.name(), it.count)).collect();
        counts.sort_unstable();
        counts
    };
    let expected = [("file", 1), ("image", 2), ("opaque", 1), ("reference", 1)];
    assert_eq!(counts(&responses), expected);
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": blob}},
        {"type": "image", "source": {"type": "url", "url": "https://h/x"}},
        {"type": "tool_result", "content": [{"type": "image", "source": {"type": "base64", "data": blob}}]},
        {"type": "redacted_thinking", "data": blob},
    ]}]});
    let messages = request(Api::Messages, &body.to_string()).unwrap();
    assert!(messages.body.is_none());
    assert_eq!(
        counts(&messages),
        [("file", 2), ("opaque", 1), ("reference", 1)]
    );
    // What is not plain base64 is text, such as a token in the place of an image.
    let body = json!({"messages": [{"content": [{"source": {"data": "a.b-c_".repeat(40)}}]}]});
    assert!(
        request(Api::Messages, &body.to_string())
            .unwrap()
            .unscanned
            .is_empty()
    );
}

#[test]
fn facts_for_decisions_are_read_in_every_api() {
    let body = json!({"model": "m", "stream": true, "input": [], "tools": [
        {"type": "function", "name": "bash"}, {"type": "web_search"}]});
    let asked = request(Api::Responses, &body.to_string()).unwrap();
    assert_eq!((asked.model.as_deref(), asked.stream), (Some("m"), true));
    assert_eq!(asked.tools, ["bash"]);
    let body =
        json!({"model": "m", "messages": [], "tools": [{"name": "bash", "input_schema": {}}]});
    let asked = request(Api::Messages, &body.to_string()).unwrap();
    assert_eq!((asked.model.as_deref(), asked.stream), (Some("m"), false));
    assert_eq!(asked.tools, ["bash"]);
}

#[test]
fn p4_what_goes_on_from_something_unseen_is_refused() {
    for body in [
        r#"{"previous_response_id":"resp_1"}"#,
        r#"{"previous_response_id":1}"#,
        r#"{"previous_response_id":{}}"#,
        r#"{"conversation":"c"}"#,
        r#"{"conversation":{"id":"c"}}"#,
        r#"{"prompt":{"id":"p"}}"#,
        r#"{"input":[{"type":"item_reference","id":"m","x":1}]}"#,
        r#"{"input":[{"id":"m"}]}"#,
        r#"{"input":[{"id":"m","type":null}]}"#,
        r#"{"input":[{}]}"#,
    ] {
        let refused = request(Api::Responses, body).err();
        assert_eq!(refused, Some(Unreadable::Elsewhere), "{body}");
    }
    let cases = [
        (
            Api::Responses,
            r#"{"Previous_response_id":"r"}"#,
            Unreadable::OtherSpelling,
        ),
        (
            Api::Responses,
            r#"{"INPUT":"x"}"#,
            Unreadable::OtherSpelling,
        ),
        (Api::Responses, r#"{"model":null}"#, Unreadable::WrongType),
        (Api::Responses, r#"{"stream":"yes"}"#, Unreadable::WrongType),
        (Api::Responses, r#"{"tools":{}}"#, Unreadable::WrongType),
        (Api::Messages, r#"{"messages":"x"}"#, Unreadable::WrongType),
        (
            Api::Messages,
            r#"{"System":"x"}"#,
            Unreadable::OtherSpelling,
        ),
        (
            Api::Responses,
            r#"{"input":"a","inpu\u0074":"b"}"#,
            Unreadable::Json(JsonError::DuplicateKey),
        ),
        (
            Api::Messages,
            r#"{"messages":[{"role":"user","role":"assistant"}]}"#,
            Unreadable::Json(JsonError::DuplicateKey),
        ),
        (Api::Messages, "{}[]", Unreadable::Json(JsonError::Trailing)),
    ];
    for (api, body, expected) in cases {
        assert_eq!(request(api, body).err(), Some(expected), "{body}");
    }
    let deep = format!(r#"{{"input":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
    let expected = Some(Unreadable::Json(JsonError::TooDeep));
    assert_eq!(request(Api::Responses, &deep).err(), expected);
}

#[test]
fn whole_answers_of_every_api_are_masked_and_reported() {
    let text = format!("key {SECRET}");
    let responses = json!({
        "id": "r", "object": "response", "model": "m", "status": "completed", "instructions": null,
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": [{"token": SECRET}]}]},
            {"type": "function_call", "name": "bash", "call_id": "c", "arguments": "{\"a\":1}"}],
        "usage": {"input_tokens": 42, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 5}},
    });
    let messages = json!({
        "id": "r", "type": "message", "model": "m", "stop_reason": "completed",
        "content": [
            {"type": "text", "text": "hm"}, {"type": "text", "text": text},
            {"type": "tool_use", "name": "bash", "input": {"a": "1"}}],
        "usage": {"input_tokens": 42, "output_tokens": 7, "cache_read_input_tokens": 5},
    });
    for (api, body) in [(Api::Responses, responses), (Api::Messages, messages)] {
        let body = body.to_string();
        let limits = Limits::default();
        let answer = mask_response(
            api,
            &masker(),
            body.as_bytes(),
            &limits,
            &Watch::default(),
            None,
        )
        .unwrap();
        let sent = String::from_utf8(answer.body.unwrap()).unwrap();
        assert!(
            !sent.contains(SECRET) && sent.contains(&masked(&text)),
            "{sent}"
        );
        let facts = answer.facts;
        assert_eq!(facts.model.as_deref(), Some("m"));
        assert_eq!(
            (facts.done, facts.finish.as_deref()),
            (true, Some("completed"))
        );
        assert_eq!(
            (facts.findings_count, facts.tool_calls),
            (1, vec!["bash".to_owned()])
        );
        let usage = Usage {
            input: Some(42),
            output: Some(7),
            cached: Some(5),
        };
        assert_eq!(facts.usage, usage);
        let content: Json = serde_json::from_str(&facts.content).unwrap();
        let texts: Vec<_> = content
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["text"])
            .collect();
        assert_eq!((texts.len(), texts[1]), (3, &json!(masked(&text))));
    }
}

#[test]
fn an_escaped_secret_is_found() {
    let escaped = SECRET
        .replacen('g', "\\u0067", 1)
        .replacen('Z', "\\u005a", 1);
    let (sent, channels) = sent(
        Api::Chat,
        &format!(
            r#"{{"m\u0065ssages":[{{"content":"\u00e4\/{escaped}\ud83d\ude00"}}], "x":"\/\u00e4"}}"#
        ),
    );
    assert_eq!(channels, ["messages[0].content"]);
    // The text with the finding is written anew, the other stays as it was written.
    let expected = format!(
        r#"{{"m\u0065ssages":[{{"content":"ä/{}😀"}}], "x":"\/\u00e4"}}"#,
        masked(SECRET)
    );
    assert_eq!(sent, expected);
}

#[test]
fn a_request_without_findings_stays_as_it_came() {
    let body = r#"{"messages": [{"role":"user","content":"\u00e4\/ hello \ud83d"}],"n":1e0}"#;
    let request = request(Api::Chat, body).unwrap();
    assert!(request.body.is_none());
    assert_eq!(request.findings_count, 0);
}

#[test]
fn names_and_ids_stay_unless_they_hold_a_secret() {
    let body = |id: &str| {
        json!({
            "model": "gpt-4.1", "tool_choice": {"type": "function", "function": {"name": "bash"}},
            "messages": [{"role": "tool", "tool_call_id": id, "content": ""}],
        })
        .to_string()
    };
    for id in [
        "call_1",
        "call_Zx81Kq0pLm5vBn2wRt7yUa3s",
        "toolu_01A09q90qw90lq917835lq9",
    ] {
        assert!(
            request(Api::Chat, &body(id)).unwrap().body.is_none(),
            "{id}"
        );
    }
    for id in [SECRET, &format!("call {SECRET}")] {
        assert!(
            request(Api::Chat, &body(id)).unwrap().body.is_some(),
            "{id}"
        );
    }
}

#[test]
fn facts_for_decisions_are_read() {
    let body = json!({
        "model": "gpt-4.1", "stream": true, "messages": [],
        "tools": [
            {"type": "function", "function": {"name": "bash", "description": "d"}},
            {"type": "function", "function": {"name": "read_file", "parameters": {"name": "x"}}},
        ],
        "functions": [{"name": "old"}],
    });
    let request = request(Api::Chat, &body.to_string()).unwrap();
    assert_eq!(request.model.as_deref(), Some("gpt-4.1"));
    assert!(request.stream);
    let mut tools = request.tools;
    tools.sort();
    assert_eq!(tools, ["bash", "old", "read_file"]);
}

#[test]
fn blobs_are_left_alone_and_counted() {
    let blob = "QUJD".repeat(100);
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{blob}")}},
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{blob}")}},
        {"type": "input_audio", "input_audio": {"data": blob, "format": "wav"}},
        {"type": "file", "file": {"file_data": format!("data:application/pdf;base64,{blob}")}},
    ], "reasoning_opaque": blob}]});
    let request = request(Api::Chat, &body.to_string()).unwrap();
    assert!(request.body.is_none());
    let mut counted: Vec<_> = request
        .unscanned
        .iter()
        .map(|it| (it.reason.name(), it.count, it.bytes))
        .collect();
    counted.sort_unstable();
    let expected = [
        ("audio", 1, 402),
        ("file", 1, 430),
        ("image", 2, 848),
        ("opaque", 1, 402),
    ];
    assert_eq!(counted, expected);
}

#[test]
fn text_in_the_place_of_a_blob_is_masked() {
    let blob = "QUJD".repeat(100);
    let urls = [
        format!("data:image/png;base64,{blob} {SECRET}"),
        format!("data:{SECRET}{};base64,{blob}", "x".repeat(40)),
        format!("data:text/plain,{SECRET}"),
        format!("data:image/png;base64,{SECRET}"),
        SECRET.to_owned(),
    ];
    for url in urls {
        let body = json!({"messages": [{"content": [{"image_url": {"url": url}}]}]}).to_string();
        let request = request(Api::Chat, &body).unwrap();
        assert!(request.unscanned.is_empty(), "{url}");
    }
}

#[test]
fn prompts_of_token_numbers_are_counted_as_unseen() {
    let tokens = request(Api::Completions, r#"{"prompt":[[15339,1917],[7]]}"#).unwrap();
    let expected = [Unscanned {
        reason: UnscannedReason::Tokens,
        count: 3,
        bytes: 10,
    }];
    assert_eq!(tokens.unscanned, expected);
    let long = "QUJD".repeat(100);
    let text = request(Api::Completions, &format!(r#"{{"prompt":["{long}"]}}"#));
    assert!(text.unwrap().unscanned.is_empty());
}

#[test]
fn requests_that_readers_may_take_differently_are_refused() {
    let malformed = |at| Unreadable::Json(JsonError::Malformed { at });
    let cases = [
        ("[]", Unreadable::NotAnObject),
        ("\"x\"", Unreadable::NotAnObject),
        ("3", Unreadable::NotAnObject),
        ("", malformed(0)),
        (r#"{"model":"a""#, malformed(12)),
        (r#"{"model":1}"#, Unreadable::WrongType),
        (r#"{"model":null}"#, Unreadable::WrongType),
        (r#"{"model":{}}"#, Unreadable::WrongType),
        (r#"{"model":["a"]}"#, Unreadable::WrongType),
        (r#"{"model":"two words"}"#, Unreadable::WrongType),
        (r#"{"stream":"true"}"#, Unreadable::WrongType),
        (r#"{"stream":1}"#, Unreadable::WrongType),
        (r#"{"stream":[true]}"#, Unreadable::WrongType),
        (r#"{"messages":{}}"#, Unreadable::WrongType),
        (r#"{"messages":"x"}"#, Unreadable::WrongType),
        (r#"{"tools":{"type":"function"}}"#, Unreadable::WrongType),
        (r#"{"Model":"a"}"#, Unreadable::OtherSpelling),
        (r#"{"model":"a","MODEL":"b"}"#, Unreadable::OtherSpelling),
        (r#"{"me\u017fsages":[]}"#, Unreadable::OtherSpelling),
        (
            r#"{"tool\u212a":[],"to\u006fls":{}}"#,
            Unreadable::WrongType,
        ),
        (
            r#"{"model":"a","model":"b"}"#,
            Unreadable::Json(JsonError::DuplicateKey),
        ),
        (
            r#"{"model":"a","mod\u0065l":"b"}"#,
            Unreadable::Json(JsonError::DuplicateKey),
        ),
        (
            r#"{"messages":[{"content":"a","content":"b"}]}"#,
            Unreadable::Json(JsonError::DuplicateKey),
        ),
        ("{}{}", Unreadable::Json(JsonError::Trailing)),
    ];
    for (body, expected) in cases {
        assert_eq!(request(Api::Chat, body).err(), Some(expected), "{body}");
    }
    for body in [
        r#"{"stream":null,"messages":null,"tools":null}"#,
        "{}",
        r#"{"messages":[3]}"#,
    ] {
        assert!(request(Api::Chat, body).is_ok(), "{body}");
    }
}

#[test]
fn findings_are_all_counted_but_not_all_kept() {
    let body = json!({"messages": vec![json!({"content": SECRET}); 10]}).to_string();
    let limits = Limits {
        max_findings: 3,
        ..Limits::default()
    };
    let request = mask_request(
        Api::Chat,
        &masker(),
        body.as_bytes(),
        &limits,
        &Watch::default(),
        (repeats().of("somebody"), UnixTime::default()),
    )
    .unwrap();
    assert_eq!((request.findings.len(), request.findings_count), (3, 10));
    assert!(
        !String::from_utf8(request.body.unwrap())
            .unwrap()
            .contains(SECRET)
    );
}

#[test]
fn names_of_channels_are_short_and_carry_no_content() {
    let key = "ümlaut ".repeat(20);
    let body = format!(
        r#"{{"{key}":{}"{SECRET}"{}}}"#,
        "[[{\"deep_key\":".repeat(20),
        "}]]".repeat(20)
    );
    let request = request(Api::Chat, &body).unwrap();
    let channel = &request.findings[0].channel;
    assert!(channel.starts_with("*[0][0].deep_key[0]"), "{channel}");
    assert!(
        channel.len() <= MAX_CHANNEL_BYTES && channel.ends_with('…'),
        "{channel}"
    );
}

#[test]
fn an_answer_in_one_piece_is_masked_and_reported() {
    let body = json!({
        "id": "c1", "object": "chat.completion", "model": "gpt-4.1",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": {"content": [{"token": SECRET}]},
            "message": {"role": "assistant", "content": format!("key {SECRET}"), "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}}],
        "usage": {"total_tokens": 3}, "unknown": [SECRET],
    });
    let body = body.to_string();
    let response = mask_response(
        Api::Chat,
        &masker(),
        body.as_bytes(),
        &Limits::default(),
        &Watch::default(),
        None,
    )
    .unwrap();
    let sent: Json = serde_json::from_slice(&response.body.unwrap()).unwrap();
    assert!(!sent.to_string().contains(SECRET));
    assert_eq!(sent["choices"][0]["logprobs"], Json::Null);
    assert_eq!(sent["usage"]["total_tokens"], 3);
    let facts = response.facts;
    assert_eq!(facts.model.as_deref(), Some("gpt-4.1"));
    assert!(facts.done && facts.events == 0 && !facts.content_truncated);
    assert_eq!(facts.findings_count, 2);
    let content: Json = serde_json::from_str(&facts.content).unwrap();
    let expected = json!([
        {"channel": "choices[0].message.content", "text": masked(&format!("key {SECRET}"))},
        {"channel": "choices[0].message.tool_calls[0].function.arguments", "text": "{\"a\":1}"},
    ]);
    assert_eq!(content, expected);
}

#[test]
fn errors_of_any_form_are_masked() {
    let cases: &[(&str, Option<&str>)] = &[
        (
            r#"{"error":{"message":"bad S","code":"S"}}"#,
            Some(r#"{"error":{"message":"bad M","code":"M"}}"#),
        ),
        (r#"["S"]"#, Some(r#"["M"]"#)),
        (r#" "S""#, Some(r#" "M""#)),
        ("bad request: S", Some("bad request: M")),
        ("<html>S</html>", Some("<html>M</html>")),
        ("", None),
        ("{}", None),
        ("no such model", None),
    ];
    for (body, expected) in cases {
        let body = body.replace('S', SECRET);
        let response = mask_plain(&masker(), body.as_bytes(), &Limits::default()).unwrap();
        let sent = response.body.map(|body| String::from_utf8(body).unwrap());
        let expected = expected.map(|expected| expected.replace('M', &masked(SECRET)));
        assert_eq!(sent, expected, "{body}");
    }
    for body in [
        b"\xff\xfe".as_slice(),
        b"{\"a\":",
        b"[error] out of memory",
        b"{\"a\":\"\xff\"}",
    ] {
        assert!(
            mask_plain(&masker(), body, &Limits::default()).is_err(),
            "{body:?}"
        );
    }
}

#[test]
fn values_that_stay_stand_in_an_error_as_they_came() {
    let key = format!(
        "-----BEGIN {} KEY-----\n{}\n-----END {} KEY-----",
        "PRIVATE",
        concat!(
            "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg",
            "Zx81Kq0pLm5vBn2w"
        ),
        "PRIVATE"
    );
    let passes = Passes {
        detectors: ["private-key"].into(),
        ..Passes::default()
    };
    let masker = masker().passing(Rc::new(passes));
    let json = json!({"error": key}).to_string();
    for body in [&format!("cannot read {key}"), &json] {
        let response = mask_plain(&masker, body.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(response.facts.findings.len(), 1);
        assert!(
            !response.facts.content.contains("Zx81Kq0p"),
            "the record is masked"
        );
        let sent = response.body.expect("found and put back");
        assert_eq!(String::from_utf8(sent).as_ref(), Ok(body));
    }
}

#[test]
fn recorded_content_is_cut_at_its_limit_between_characters() {
    let text = "aä\n😀".repeat(10);
    let all = json!([{"channel": "body", "text": text}]);
    for max_content in 0..140 {
        let limits = Limits {
            max_content,
            ..Limits::default()
        };
        let facts = mask_plain(&masker(), text.as_bytes(), &limits)
            .unwrap()
            .facts;
        let content: Json = serde_json::from_str(&facts.content).unwrap();
        if facts.content_truncated {
            let kept = content[0]["text"].as_str().unwrap_or_default();
            assert!(text.starts_with(kept) && kept.len() < text.len());
            assert!(kept.is_empty() || facts.content.len() <= max_content + 1);
        } else {
            assert_eq!(content, all);
        }
        assert_eq!(facts.content_truncated, max_content < 119, "{max_content}");
    }
}

#[test]
fn answers_of_ours_are_what_clients_read() {
    let text = "Refused: \"no\"\n(gd_1)";
    let whole: Json = serde_json::from_slice(&chat_text("m", text)).unwrap();
    assert_eq!(
        whole["choices"][0]["message"],
        json!({"role": "assistant", "content": text})
    );
    assert_eq!(
        (&whole["model"], &whole["choices"][0]["finish_reason"]),
        (&json!("m"), &json!("stop"))
    );

    let stream = String::from_utf8(chat_stream_text("m", text)).unwrap();
    let events: Vec<_> = stream.split_terminator("\n\n").collect();
    assert_eq!((events.len(), events[2]), (3, "data: [DONE]"));
    let event = |at: usize| -> Json {
        serde_json::from_str(events[at].strip_prefix("data: ").unwrap()).unwrap()
    };
    assert_eq!(
        event(0)["choices"][0]["delta"],
        json!({"role": "assistant", "content": text})
    );
    assert_eq!(event(1)["choices"][0]["finish_reason"], "stop");
    assert_eq!(event(1)["model"], "m");

    let stream = String::from_utf8(completion_stream_empty()).unwrap();
    let event = stream
        .strip_suffix("\n\ndata: [DONE]\n\n")
        .unwrap()
        .strip_prefix("data: ")
        .unwrap();
    let event: Json = serde_json::from_str(event).unwrap();
    assert_eq!(
        (
            &event["choices"][0]["text"],
            &event["choices"][0]["finish_reason"]
        ),
        (&json!(""), &json!("stop"))
    );
    let whole: Json = serde_json::from_slice(&completion_empty()).unwrap();
    assert_eq!(whole["choices"], event["choices"]);
}

proptest! {
    #[test]
    fn no_bytes_make_masking_panic(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\u0".to_vec())], 0..100),
    ) {
        let limits = Limits::default();
        let apis = [
            Api::Chat,
            Api::Code,
            Api::Completions,
            Api::Ingest,
            Api::Mcp,
            Api::Messages,
            Api::Responses,
        ];
        for api in apis {
            drop(first_request(api, &bytes, &Watch::default()));
            drop(mask_response(api, &masker(), &bytes, &limits, &Watch::default(), None));
        }
        drop(mask_plain(&masker(), &bytes, &limits));
        drop(models::restrict(&bytes, &|_| true, &[]));
    }

    #[test]
    fn a_changed_sample_is_refused_or_masked(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let sample = format!(
            r#"{{"model":"m","stream":true,"messages":[{{"role":"user","content":"a\n{SECRET}\u00e4"}},{{"role":"user","content":[{{"type":"text","text":"{SECRET}"}}]}}]}}"#
        );
        let mut bytes = sample.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(request) = first_request(Api::Chat, &bytes, &Watch::default()) {
            let body = request.body.as_deref().unwrap_or(&bytes);
            let sent: Json = serde_json::from_slice(body).unwrap();
            // A lone surrogate is one thing that the other reader does not take.
            if let Ok(came) = serde_json::from_slice(&bytes) {
                prop_assert_eq!(sent, with_masked_strings(came));
            }
        }
    }
}

fn with_masked_strings(value: Json) -> Json {
    match value {
        Json::String(text) => Json::String(masked(&text)),
        Json::Array(items) => items.into_iter().map(with_masked_strings).collect(),
        Json::Object(items) => items
            .into_iter()
            .map(|(key, value)| (masked(&key), with_masked_strings(value)))
            .collect(),
        other => other,
    }
}
