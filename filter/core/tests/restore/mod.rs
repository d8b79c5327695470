//! Values that go back into files that an answer writes, and all that must not bring them back.

mod answers;
mod lures;

use super::*;

const PATH: &str = "/ws/.env";

/// What stands before the token in its file: more than is compared.
const BEFORE: &str = "# settings of the service\nHOST=db.internal.example\nGITHUB_TOKEN=";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    Chat,
    Messages,
    Responses,
}

const APIS: [Api; 3] = [Api::Chat, Api::Messages, Api::Responses];

fn file() -> String {
    format!("{BEFORE}{TOKEN}\nPORT=5432\n")
}

/// A conversation in which tools read these files.
struct Talk {
    api: Api,
    stream: bool,
    /// What the user says.
    said: String,
    /// Tool, its arguments, and what it gave.
    read: Vec<(&'static str, Value, String)>,
}

/// An exchange whose request went upstream.
struct Asked {
    bench: Bench,
    exchange: Exchange,
    api: Api,
    stream: bool,
    /// What the upstream got.
    sent: String,
    /// What stands for [`TOKEN`].
    placeholder: String,
}

/// What the caller got.
struct Got {
    /// The arguments of each call, put together.
    arguments: Vec<String>,
    all: String,
    envelope: Envelope,
    record: String,
}

impl Talk {
    fn new(api: Api) -> Self {
        let read = vec![("read_file", json!({ "filePath": PATH }), file())];
        Self {
            api,
            stream: true,
            said: "move the port".to_owned(),
            read,
        }
    }

    fn body(&self) -> String {
        let Self {
            api, stream, said, ..
        } = self;
        let mut list = vec![json!({ "role": "user", "content": said })];
        for (number, (tool, arguments, result)) in self.read.iter().enumerate() {
            let id = format!("c{number}");
            let text = arguments.to_string();
            list.extend(match api {
                Api::Chat => [
                    json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": id,
                        "type": "function", "function": { "name": tool, "arguments": text } }] }),
                    json!({ "role": "tool", "tool_call_id": id, "content": result }),
                ],
                Api::Messages => [
                    json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": id,
                        "name": tool, "input": arguments }] }),
                    json!({ "role": "user", "content": [{ "type": "tool_result",
                        "tool_use_id": id, "content": result }] }),
                ],
                Api::Responses => [
                    json!({ "type": "function_call", "call_id": id, "name": tool,
                        "arguments": text }),
                    json!({ "type": "function_call_output", "call_id": id, "output": result }),
                ],
            });
        }
        let list_key = match api {
            Api::Responses => "input",
            Api::Chat | Api::Messages => "messages",
        };
        json!({ "model": "gpt-4.1", "stream": stream, list_key: list }).to_string()
    }

    fn ask(&self) -> Asked {
        self.ask_with(|_| ())
    }

    fn ask_with(&self, change: impl FnOnce(&mut Value)) -> Asked {
        ask(self.api, self.stream, &self.body(), change)
    }
}

fn ask(api: Api, stream: bool, body: &str, change: impl FnOnce(&mut Value)) -> Asked {
    let mut bench = Bench::with(change);
    let path = match api {
        Api::Chat => "/chat/completions",
        Api::Messages => "/v1/messages",
        Api::Responses => "/responses",
    };
    let headers = bench.headers("POST", path, &[]);
    let (mut exchange, _) = bench.begin(headers, false);
    let step = exchange.request_body(&mut bench.worker, body.as_bytes(), NOW);
    let sent = forwarded(step).body;
    let sent = sent.map_or_else(|| body.to_owned(), |sent| String::from_utf8(sent).unwrap());
    assert!(!sent.contains(TOKEN));
    Asked {
        bench,
        exchange,
        api,
        stream,
        placeholder: placeholder_in(&sent).unwrap_or_else(|| of_another("ABCDEFGH")),
        sent,
    }
}

fn placeholder_in(text: &str) -> Option<String> {
    let at = text.find("MASKED_GITHUB_PAT_")?;
    Some(text[at..at + "MASKED_GITHUB_PAT_".len() + 16].to_owned())
}

fn of_another(half: &str) -> String {
    format!("MASKED_GITHUB_PAT_{half}{half}")
}

impl Asked {
    /// Answers with these calls of tools, cut into pieces of so many characters.
    fn answer(self, calls: &[(&str, &str)], piece: usize) -> Got {
        let chunk = usize::MAX;
        self.answer_cut(calls, piece, chunk)
    }

    fn answer_cut(self, calls: &[(&str, &str)], piece: usize, chunk: usize) -> Got {
        let bytes = match (self.api, self.stream) {
            (Api::Chat, true) => chat_events(calls, piece),
            (Api::Messages, true) => message_events(calls, piece),
            (Api::Responses, true) => response_events(calls, piece),
            (api, false) => whole(api, calls),
        };
        self.answer_bytes(&bytes, chunk)
    }

    fn answer_bytes(mut self, bytes: &str, chunk: usize) -> Got {
        let kind = if self.stream {
            "text/event-stream"
        } else {
            "application/json"
        };
        let _headers = self.bench.answered(&mut self.exchange, "200", kind);
        let mut out = Vec::new();
        if self.stream {
            for part in bytes.as_bytes().chunks(chunk.min(bytes.len())) {
                let step = self
                    .exchange
                    .response_body(&mut self.bench.worker, part, false, NOW);
                out.extend(forwarded(step).body.unwrap_or_default());
            }
            let step = self
                .exchange
                .response_body(&mut self.bench.worker, b"", true, NOW);
            out.extend(forwarded(step).body.unwrap_or_default());
        } else {
            let worker = &mut self.bench.worker;
            let step = self
                .exchange
                .response_body(worker, bytes.as_bytes(), true, NOW);
            let given = bytes.as_bytes().to_vec();
            out.extend(forwarded(step).body.unwrap_or(given));
        }
        let all = String::from_utf8(out).unwrap();
        let end = End {
            status: 200,
            caller_left: false,
        };
        let closed = self
            .exchange
            .finish(&mut self.bench.worker, end, NOW)
            .unwrap();
        let key = MacKey::new("k1", b"0123456789abcdef");
        let (envelope, _) = contract::open(&closed.record, &[key]).unwrap();
        let record = String::from_utf8_lossy(&closed.record).into_owned();
        assert!(!record.contains(TOKEN) && !format!("{closed:?}").contains(TOKEN));
        Got {
            arguments: if self.stream {
                streamed(self.api, &all)
            } else {
                called(self.api, &serde_json::from_str(&all).unwrap())
            },
            all,
            envelope,
            record,
        }
    }
}

impl Got {
    /// What a tool of the first call is given under a key.
    fn written(&self, key: &str) -> String {
        let arguments: Value = serde_json::from_str(&self.arguments[0]).unwrap();
        arguments[key].as_str().unwrap().to_owned()
    }

    fn actions(&self) -> Vec<String> {
        let findings: Vec<Value> = serde_json::from_str(self.envelope.findings()).unwrap();
        let answer = findings.iter().filter(|it| it["direction"] == "response");
        answer
            .map(|it| it["action"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn pieces(text: &str, size: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let pieces = characters.chunks(size.max(1));
    pieces.map(|piece| piece.iter().collect()).collect()
}

fn chat_events(calls: &[(&str, &str)], size: usize) -> String {
    let mut out = Vec::new();
    let mut event = |delta: Value, finish: Value| {
        let event = json!({ "id": "x", "model": "gpt-4.1",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
        out.push(format!("data: {event}\n\n"));
    };
    for (index, (name, arguments)) in calls.iter().enumerate() {
        let call = json!({ "index": index, "id": format!("w{index}"), "type": "function",
            "function": { "name": name, "arguments": "" } });
        event(json!({ "tool_calls": [call] }), Value::Null);
        for piece in pieces(arguments, size) {
            let call = json!({ "index": index, "function": { "arguments": piece } });
            event(json!({ "tool_calls": [call] }), Value::Null);
        }
    }
    event(json!({}), json!("tool_calls"));
    out.concat() + "data: [DONE]\n\n"
}

fn message_events(calls: &[(&str, &str)], size: usize) -> String {
    let mut out = Vec::new();
    let mut event = |event: Value| {
        out.push(format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        ));
    };
    event(
        json!({ "type": "message_start", "message": { "id": "m", "type": "message",
        "role": "assistant", "model": "claude-x", "content": [] } }),
    );
    for (index, (name, arguments)) in calls.iter().enumerate() {
        event(json!({ "type": "content_block_start", "index": index,
            "content_block": { "type": "tool_use", "id": "t", "name": name, "input": {} } }));
        for piece in pieces(arguments, size) {
            event(json!({ "type": "content_block_delta", "index": index,
                "delta": { "type": "input_json_delta", "partial_json": piece } }));
        }
        event(json!({ "type": "content_block_stop", "index": index }));
    }
    event(json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" } }));
    event(json!({ "type": "message_stop" }));
    out.concat()
}

fn response_events(calls: &[(&str, &str)], size: usize) -> String {
    let mut out = Vec::new();
    let mut number = 0;
    let mut event = |mut event: Value| {
        event["sequence_number"] = json!(number);
        number += 1;
        out.push(format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        ));
    };
    event(json!({ "type": "response.created", "response": { "id": "r", "output": [] } }));
    let mut items = Vec::new();
    for (index, (name, arguments)) in calls.iter().enumerate() {
        let item = |arguments: &str| {
            json!({ "type": "function_call", "id": "f", "call_id": "w",
            "name": name, "arguments": arguments })
        };
        event(
            json!({ "type": "response.output_item.added", "output_index": index,
            "item": item("") }),
        );
        for piece in pieces(arguments, size) {
            event(
                json!({ "type": "response.function_call_arguments.delta", "item_id": "f",
                "output_index": index, "delta": piece }),
            );
        }
        event(
            json!({ "type": "response.function_call_arguments.done", "item_id": "f",
            "output_index": index, "arguments": arguments }),
        );
        event(
            json!({ "type": "response.output_item.done", "output_index": index,
            "item": item(arguments) }),
        );
        items.push(item(arguments));
    }
    event(json!({ "type": "response.completed", "response": { "id": "r", "output": items } }));
    out.concat()
}

fn whole(api: Api, calls: &[(&str, &str)]) -> String {
    let list: Vec<Value> = calls
        .iter()
        .map(|(name, arguments)| match api {
            Api::Chat => json!({ "id": "w", "type": "function",
                "function": { "arguments": arguments, "name": name } }),
            Api::Messages => {
                let input: Value = serde_json::from_str(arguments).unwrap_or_default();
                json!({ "type": "tool_use", "id": "w", "input": input, "name": name })
            }
            Api::Responses => json!({ "type": "function_call", "call_id": "w", "name": name,
                "arguments": arguments }),
        })
        .collect();
    let body = match api {
        Api::Chat => json!({ "model": "gpt-4.1", "choices": [{ "index": 0,
            "message": { "role": "assistant", "tool_calls": list }, "finish_reason": "tool_calls" }] }),
        Api::Messages => json!({ "type": "message", "content": list, "stop_reason": "tool_use" }),
        Api::Responses => json!({ "id": "r", "status": "completed", "output": list }),
    };
    body.to_string()
}

fn called(api: Api, body: &Value) -> Vec<String> {
    let (list, key) = match api {
        Api::Chat => (&body["choices"][0]["message"]["tool_calls"], "arguments"),
        Api::Messages => (&body["content"], "input"),
        Api::Responses => (&body["output"], "arguments"),
    };
    let calls = list.as_array().into_iter().flatten();
    let is_call = |call: &&Value| !matches!(call["type"].as_str(), Some("text" | "message"));
    calls
        .filter(is_call)
        .map(|call| match (api, &call["function"]) {
            (Api::Chat, function) => function[key].as_str().unwrap().to_owned(),
            (Api::Messages, _) => call[key].to_string(),
            (Api::Responses, _) => call[key].as_str().unwrap().to_owned(),
        })
        .collect()
}

/// The arguments of each call as a client puts them together; repeats must say the same.
fn streamed(api: Api, out: &str) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    let mut add = |index: &Value, text: &Value| {
        let index = usize::try_from(index.as_u64().unwrap_or(0)).unwrap();
        calls.resize(calls.len().max(index + 1), String::new());
        calls[index] += text.as_str().unwrap_or_default();
    };
    let events = out.lines().filter_map(|line| line.strip_prefix("data: {"));
    let events: Vec<Value> = events
        .map(|event| serde_json::from_str(&format!("{{{event}")).unwrap())
        .collect();
    for event in &events {
        match api {
            Api::Chat => {
                let list = &event["choices"][0]["delta"]["tool_calls"];
                for call in list.as_array().into_iter().flatten() {
                    add(&call["index"], &call["function"]["arguments"]);
                }
            }
            Api::Messages => add(&event["index"], &event["delta"]["partial_json"]),
            Api::Responses if event["type"] == "response.function_call_arguments.delta" => {
                add(&event["output_index"], &event["delta"]);
            }
            Api::Responses => {}
        }
    }
    for (number, event) in events.iter().enumerate().filter(|_| api == Api::Responses) {
        assert_eq!(
            event["sequence_number"].as_u64(),
            Some(number as u64),
            "{event}"
        );
        let index = usize::try_from(event["output_index"].as_u64().unwrap_or(0)).unwrap();
        for repeat in [&event["arguments"], &event["item"]["arguments"]] {
            if repeat.as_str().is_some_and(|repeat| !repeat.is_empty()) {
                assert_eq!(repeat, &calls[index]);
            }
        }
        let output = event["response"]["output"].as_array().into_iter().flatten();
        for (item, call) in output.zip(&calls) {
            assert_eq!(&item["arguments"], call);
        }
    }
    calls
}

fn arguments(path: &str, content: &str) -> String {
    format!(
        "{{\"filePath\":{},\"content\":{}}}",
        json!(path),
        json!(content)
    )
}

#[test]
fn a_value_goes_back_into_the_file_in_which_it_stood() {
    for (api, stream, size) in APIS.into_iter().flat_map(|api| {
        [
            (api, true, 7),
            (api, true, 1),
            (api, true, 999),
            (api, false, 0),
        ]
    }) {
        let mut talk = Talk::new(api);
        talk.stream = stream;
        let asked = talk.ask();
        let placeholder = asked.placeholder.clone();
        let masked = format!("{BEFORE}{placeholder}\nPORT=6000\n");
        let got = asked.answer(&[("create_file", &arguments(PATH, &masked))], size);
        let expected = format!("{BEFORE}{TOKEN}\nPORT=6000\n");
        assert_eq!(got.written("content"), expected, "{api:?} {stream} {size}");
        assert_eq!(got.actions(), ["restore"], "{api:?} {stream}");
        // The record has the placeholder where the caller got the value.
        assert!(got.record.contains("restore") && (!stream || got.record.contains(&placeholder)));
    }
}

#[test]
fn edits_bring_back_what_they_replace_and_what_they_put_there() {
    for api in APIS {
        let asked = Talk::new(api).ask();
        let old = format!("{BEFORE}{}\nPORT=5432", asked.placeholder);
        let new = format!("{BEFORE}{}\nPORT=\"1\" \\ é", asked.placeholder);
        let edit = json!({ "explanation": format!("keep {old}"), "replacements": [
            { "filePath": PATH, "oldString": old, "newString": new }] });
        let edit = edit.to_string();
        let single = json!({ "old_str": old, "new_str": new, "path": PATH }).to_string();
        let placeholder = asked.placeholder.clone();
        let calls = [("multi_replace_string_in_file", &*edit), ("edit", &single)];
        let got = asked.answer(&calls, 5);
        let back = |text: &str| text.replace(&placeholder, TOKEN);
        let first: Value = serde_json::from_str(&got.arguments[0]).unwrap();
        let change = &first["replacements"][0];
        assert_eq!(change["oldString"], back(&old), "{api:?}");
        assert_eq!(change["newString"], back(&new));
        assert_eq!(first["explanation"], format!("keep {old}"));
        let second: Value = serde_json::from_str(&got.arguments[1]).unwrap();
        assert_eq!(
            (&second["old_str"], &second["new_str"]),
            (&json!(back(&old)), &json!(back(&new)))
        );
        assert_eq!(got.actions(), ["restore"; 4]);
    }
}

#[test]
fn patches_bring_back_lines() {
    for api in APIS {
        let asked = Talk::new(api).ask();
        let placeholder = asked.placeholder.clone();
        let patch = |value: &str| {
            format!(
                "*** Begin Patch\n*** Update File: {PATH}\n@@\n # settings of the service\n \
                 HOST=db.internal.example\n-GITHUB_TOKEN={value}\n+GITHUB_TOKEN={value}\n+A=1\n \
                 PORT=5432\n*** End Patch\n"
            )
        };
        let call = json!({ "input": patch(&placeholder), "explanation": placeholder }).to_string();
        let got = asked.answer(&[("apply_patch", &call)], 3);
        assert_eq!(got.written("input"), patch(TOKEN), "{api:?}");
        assert_eq!(got.written("explanation"), placeholder);
    }
}

#[test]
fn a_patch_of_a_tool_without_json_brings_back_lines() {
    let patch = |value: &str| {
        format!(
            "*** Begin Patch\n*** Update File: {PATH}\n@@\n # settings of the service\n \
             HOST=db.internal.example\n GITHUB_TOKEN={value}\n-PORT=5432\n+PORT=1\n*** End Patch\n"
        )
    };
    let asked = Talk::new(Api::Responses).ask();
    let masked = patch(&asked.placeholder);
    let events = response_events(&[("apply_patch", &masked)], 13)
        .replace("function_call_arguments", "custom_tool_call_input")
        .replace("\"function_call\"", "\"custom_tool_call\"")
        .replace("\"arguments\"", "\"input\"");
    let got = asked.answer_bytes(&events, 50);
    let events = got
        .all
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = events.map(|it| serde_json::from_str(it).unwrap()).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said: Vec<String> = events.iter().map(|event| text(&event["delta"])).collect();
    assert_eq!(said.concat(), patch(TOKEN));
    let last = &events[events.len() - 1]["response"]["output"][0]["input"];
    assert_eq!(text(last), patch(TOKEN));
    assert_eq!(got.actions(), ["restore"]);
}

#[test]
fn a_call_leaves_before_the_next_one_begins() {
    let asked = Talk::new(Api::Chat).ask();
    let call = arguments(PATH, &format!("{BEFORE}{}\n", asked.placeholder));
    let got = asked.answer(&[("create_file", &call), ("create_file", &call)], 8);
    let first = got.all.find(TOKEN).unwrap();
    assert!(first < got.all.find("\"w1\"").unwrap());
    assert_eq!(got.arguments[0], got.arguments[1]);
}

#[test]
fn a_call_before_one_that_is_refused_is_complete() {
    let asked = Talk::new(Api::Chat).ask_with(|config| {
        config["rules"] = json!([{ "name": "shell", "then": "deny",
            "when": { "tool_call": { "name": "bash" } } }]);
    });
    let call = arguments(PATH, &format!("{BEFORE}{}\n", asked.placeholder));
    let got = asked.answer(&[("create_file", &call), ("bash", "{}")], 8);
    let content: Value = serde_json::from_str(&got.arguments[0]).unwrap();
    assert_eq!(content["content"], format!("{BEFORE}{TOKEN}\n"));
    assert!(!got.all.contains("bash") && got.all.contains("rule shell refuses it"));
}

#[test]
fn what_follows_a_value_directly_must_be_the_same() {
    let before = "# the one that the service signs in with\nTOKEN = ";
    let cases = [
        ("@db.example/x", "@db.example/x\nA=1", true),
        ("@db.example/x", "@db.example/x", true),
        ("@db.example/x", "@evil.example/x", false),
        ("@db.example/x", "", false),
        ("", "@evil.example/x", false),
        ("\"", "\" # changed", true),
        ("\n", "\tchanged", true),
    ];
    for (stood, written, goes_back) in cases {
        let mut talk = Talk::new(Api::Chat);
        talk.read[0].2 = format!("{before}{TOKEN}{stood}");
        let asked = talk.ask();
        let content = format!("{before}{}{written}", asked.placeholder);
        let got = asked.answer(&[("create_file", &arguments(PATH, &content))], 8);
        assert_eq!(got.all.contains(TOKEN), goes_back, "{stood:?} {written:?}");
    }
}

#[test]
fn a_function_of_the_old_form_gets_values_back() {
    let asked = Talk::new(Api::Chat).ask();
    let call = arguments(PATH, &format!("{BEFORE}{}\n", asked.placeholder));
    let mut events = String::new();
    for piece in [&call[..40], &call[40..]] {
        let delta = json!({ "function_call": { "name": "create_file", "arguments": piece } });
        let event = json!({ "choices": [{ "index": 0, "delta": delta }] });
        events.push_str("data: ");
        events.push_str(&event.to_string());
        events.push_str("\n\n");
    }
    let got = asked.answer_bytes(&(events + "data: [DONE]\n\n"), usize::MAX);
    assert!(got.all.contains(TOKEN));
}

#[test]
fn what_tools_and_prompts_put_around_a_file_does_not_matter() {
    let numbered = |text: String, sign: &str| -> String {
        let lines = text.lines().enumerate();
        lines
            .map(|(at, line)| format!("{:>4}{sign}{line}\n", at + 1))
            .collect::<Vec<_>>()
            .concat()
    };
    let fenced = format!(
        "File: `{PATH}`. Lines 1 to 4 (4 lines total):\n```dotenv\n{}```",
        file()
    );
    let given = [
        ("read_file", json!({ "path": PATH }), fenced),
        ("view", json!({ "path": PATH }), numbered(file(), ". ")),
        (
            "str_replace_editor",
            json!({ "command": "view", "path": PATH }),
            numbered(file(), "\t"),
        ),
    ];
    for given in given {
        let mut talk = Talk::new(Api::Chat);
        talk.read = vec![given];
        let asked = talk.ask();
        let masked = format!("{BEFORE}{}\n", asked.placeholder);
        let got = asked.answer(&[("create_file", &arguments(PATH, &masked))], 9);
        assert_eq!(got.written("content"), format!("{BEFORE}{TOKEN}\n"));
    }
    let blocks = [
        format!(
            "<attachments>\n<attachment id=\"x\" filePath=\"{PATH}\">\n```env\n{}```\n</attachment>",
            file()
        ),
        format!("<file path=\"{PATH}\">\n{}</file>\n", file()),
        format!("look:\n```\n# filepath: {PATH}\n{}```\n", file()),
    ];
    for block in blocks {
        for api in APIS {
            let mut talk = Talk::new(api);
            talk.said = format!("fix this\n{block}\nplease");
            talk.read.clear();
            let asked = talk.ask();
            let masked = format!("{BEFORE}{}\n", asked.placeholder);
            let got = asked.answer(&[("create_file", &arguments(PATH, &masked))], 9);
            assert_eq!(
                got.written("content"),
                format!("{BEFORE}{TOKEN}\n"),
                "{block}"
            );
        }
    }
}

#[test]
fn a_value_at_the_beginning_goes_back_to_the_beginning() {
    let mut talk = Talk::new(Api::Chat);
    talk.read = vec![("read_file", json!({ "path": PATH }), format!("A={TOKEN}\n"))];
    for (before, goes_back) in [("A=", true), ("\nA=", false), ("B=", false), ("=", false)] {
        let asked = talk.ask();
        let masked = format!("{before}{}\n", asked.placeholder);
        let got = asked.answer(&[("create_file", &arguments(PATH, &masked))], 4);
        assert_eq!(
            got.written("content").contains(TOKEN),
            goes_back,
            "{before}"
        );
    }
}

#[test]
fn a_restored_value_in_the_next_turn_is_masked_as_before() {
    let talk = Talk::new(Api::Chat);
    let asked = talk.ask();
    let (first, placeholder) = (asked.sent.clone(), asked.placeholder.clone());
    let masked = arguments(PATH, &format!("{BEFORE}{placeholder}\n"));
    let got = asked.answer(&[("create_file", &masked)], 6);
    let mut next: Value = serde_json::from_str(&talk.body()).unwrap();
    let list = next["messages"].as_array_mut().unwrap();
    list.push(json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "w0",
        "type": "function", "function": { "name": "create_file", "arguments": got.arguments[0] } }] }));
    list.push(json!({ "role": "tool", "tool_call_id": "w0", "content": "done" }));
    let asked = ask(Api::Chat, true, &next.to_string(), |_| ());
    let sent: Value = serde_json::from_str(&asked.sent).unwrap();
    let before: Value = serde_json::from_str(&first).unwrap();
    let list = sent["messages"].as_array().unwrap();
    assert_eq!(list[..3], before["messages"].as_array().unwrap()[..]);
    assert_eq!(list[3]["tool_calls"][0]["function"]["arguments"], masked);
}

#[test]
fn keys_and_values_of_several_lines_go_back_as_well() {
    let label = "PRIVATE KEY-----";
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDLx7zq5nTq3YkR";
    let key = format!("-----BEGIN {label}\n{line}\n{line}\n-----END {label}");
    for api in APIS {
        let mut talk = Talk::new(api);
        let before = "# the key of the service, kept in here\n";
        talk.read[0].2 = format!("{before}{key}\n");
        let asked = talk.ask();
        let at = asked.sent.find("MASKED_PRIVATE_KEY_").unwrap();
        let placeholder = &asked.sent[at..at + "MASKED_PRIVATE_KEY_".len() + 16].to_owned();
        let content = format!("{before}{placeholder}\nmore\n");
        let got = asked.answer(&[("create_file", &arguments(PATH, &content))], 8);
        assert_eq!(got.written("content"), format!("{before}{key}\nmore\n"));
        assert!(!got.record.contains(line));
    }
}

#[test]
fn off_restores_nothing_and_another_word_is_refused() {
    let asked =
        Talk::new(Api::Chat).ask_with(|config| config["masking"] = json!({ "restore": "off" }));
    let masked = format!("{BEFORE}{}\n", asked.placeholder);
    let got = asked.answer(&[("create_file", &arguments(PATH, &masked))], 4);
    assert_eq!(got.written("content"), masked);
    assert!(got.actions().is_empty());
    let mut config: Value =
        serde_json::from_str(include_str!("../../src/config/example.json")).unwrap();
    config["masking"] = json!({ "restore": "everywhere" });
    let error = format!("{:?}", Config::from_value(config).unwrap_err());
    for word in ["answers", "in_place", "off"] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn rules_over_tool_calls_see_the_masked_arguments() {
    let rule = |pattern: &str| {
        json!([{ "name": "calls", "then": "deny",
            "when": { "tool_call": { "name": "create_file", "arguments": pattern } } }])
    };
    for (pattern, denied) in [("*MASKED_GITHUB_PAT*", true), ("*ghp_*", false)] {
        for stream in [true, false] {
            let mut talk = Talk::new(Api::Chat);
            talk.stream = stream;
            let asked = talk.ask_with(|config| config["rules"] = rule(pattern));
            let masked = format!("{BEFORE}{}\n", asked.placeholder);
            let call = arguments(PATH, &masked);
            let bytes = if stream {
                chat_events(&[("create_file", &call)], 6)
            } else {
                whole(Api::Chat, &[("create_file", &call)])
            };
            let got = if denied && !stream {
                continue; // its answer has another form
            } else {
                asked.answer_bytes(&bytes, usize::MAX)
            };
            assert_eq!(got.all.contains(TOKEN), !denied, "{pattern}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 48 }))]

    #[test]
    fn any_cut_gives_the_same_arguments(piece in 1_usize..40, chunk in 1_usize..400, api in 0_usize..3) {
        let asked = Talk::new(APIS[api]).ask();
        let content = format!("MASK MASKED_ {BEFORE}{0} x\n{BEFORE}{0}\nMASKED", asked.placeholder);
        let call = arguments(PATH, &content);
        let other = json!({ "command": content }).to_string();
        let calls = [("create_file", &*call), ("bash", &other), ("create_file", &call)];
        let expected = call.replacen(&asked.placeholder, TOKEN, 2);
        let got = asked.answer_cut(&calls, piece, chunk);
        assert_eq!(got.arguments, [&*expected, &other, &expected]);
    }
}
