//! P1, P4 and P8 in every API that Copilot speaks, in real Envoy.

use serde_json::{Value, json};

use e2e::{
    caller::{Answer as Seen, Caller, chat, messages, responses},
    upstream::{Answer, Choice, Cut, End, ToolCall, words},
    world::World,
};

/// An invented token of GitHub's form.
const TOKEN: &str = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");

/// A request with a text, in the form of an API.
type Body = fn(&str) -> Value;

/// The chat APIs, and a request of each.
const APIS: &[(&str, Body)] = &[
    ("/chat/completions", chat),
    ("/responses", responses),
    ("/v1/responses", responses),
    ("/v1/messages", messages),
];

fn letters(text: &str) -> Vec<String> {
    text.chars().map(String::from).collect()
}

async fn ask(caller: &Caller, (path, body): (&str, Body), text: &str) -> Seen {
    caller.post(path, &body(text)).await.unwrap()
}

#[tokio::test]
async fn a_secret_in_a_request_is_masked_in_every_api() {
    let world = World::start().await;
    let caller = world.caller("ana");
    for api in APIS {
        world.upstream().forget();
        let answer = ask(&caller, *api, &format!("push with {TOKEN} please")).await;
        assert_eq!(answer.status, 200, "{}", api.0);
        let seen = &world.upstream().requests()[0];
        assert_eq!(seen.path, api.0);
        assert!(!seen.contains(TOKEN), "{}", api.0);
        assert!(
            seen.last_words().contains("push with MASKED_GITHUB_PAT_"),
            "{}",
            seen.text()
        );
        // The upstream says the words again, and the placeholder stays one.
        assert!(answer.text().contains("MASKED_GITHUB_PAT_"), "{}", api.0);
    }
}

#[tokio::test]
async fn p1_every_cut_of_a_stream_gives_the_same_text_in_every_api() {
    let world = World::start().await;
    let caller = world.caller("ana");
    let text = format!("Use gr\u{fc}n \u{1f600} `export T={TOKEN}` and\r\ngo. It is {TOKEN}");
    let arguments = format!("{{\"path\":\"a\",\"text\":\"{TOKEN}\"}}");
    for api in APIS {
        let mut shown = Vec::new();
        for parts in [vec![text.clone()], letters(&text)] {
            for cut in [Cut::Events, Cut::Every(5), Cut::Every(640)] {
                let choice = Choice {
                    text: parts.clone(),
                    tools: vec![ToolCall::new("write", &arguments, 5)],
                    ..Choice::default()
                };
                world.upstream().script(Answer::choices([choice]).cut(cut));
                let answer = ask(&caller, *api, "go").await;
                assert!(answer.whole && answer.status == 200, "{}", api.0);
                assert!(!answer.body_text().contains("Zq3vN8rT1kL5"), "{}", api.0);
                let (name, arguments) = answer.tool_calls().into_values().next().unwrap();
                let arguments: Value = serde_json::from_str(&arguments).unwrap();
                let written = arguments["text"].as_str().unwrap();
                assert!(name == "write" && written.starts_with("MASKED_GITHUB_PAT_"));
                for repeat in answer.repeats() {
                    assert_eq!(repeat, answer.text(), "{}", api.0);
                }
                shown.push(answer.text());
            }
        }
        assert!(
            shown[0].contains("`export T=MASKED_GITHUB_PAT_"),
            "{}",
            shown[0]
        );
        for text in &shown {
            assert_eq!(text, &shown[0], "{}", api.0);
        }
    }
}

#[tokio::test]
async fn whole_answers_are_masked_in_every_api() {
    let world = World::start().await;
    let caller = world.caller("ana");
    for (path, body) in APIS {
        world
            .upstream()
            .script(Answer::text(&format!("It is {TOKEN}.")));
        let mut asked = body("go");
        asked["stream"] = json!(false);
        let answer = caller.post(path, &asked).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer.text().starts_with("It is MASKED_GITHUB_PAT_"),
            "{path}"
        );
        assert!(!answer.body_text().contains(TOKEN), "{path}");
    }
}

#[tokio::test]
async fn a_refusal_is_readable_in_every_api() {
    let rules = json!({ "rules": [
        { "name": "no_secrets", "when": { "findings": { "at_least": 1 } }, "then": "deny" },
    ] });
    let world = World::builder().configure(rules).start().await.unwrap();
    let caller = world.caller("ana");
    for api in APIS {
        let answer = ask(&caller, *api, &format!("push with {TOKEN} ")).await;
        assert_eq!(answer.status, 400, "{}", api.0);
        let body = answer.json();
        assert_eq!(body["error"]["code"], "gateway_policy", "{}", api.0);
        let text = body["error"]["message"].as_str().unwrap();
        assert!(text.contains("no_secrets"), "{text}");
        assert!(!answer.header("x-github-request-id").is_empty());
    }
    assert_eq!(world.upstream().arrivals(), 0);
}

#[tokio::test]
async fn p8_a_stream_that_breaks_ends_readably_in_every_api() {
    let world = World::start().await;
    let caller = world.caller("ana");
    for (path, body) in APIS {
        let long = format!("data: {}\n\n", "x".repeat(2 << 20));
        let begun = Answer::text("Hello, Ana.").cut(Cut::Events);
        let (pieces, _) = begun.pieces(path, &body("go"));
        let begin: Vec<u8> = pieces
            .iter()
            .take(2)
            .flat_map(|piece| piece.to_vec())
            .collect();
        let raw = String::from_utf8(begin).unwrap() + &long;
        let answer = Answer::raw(200, &raw).header("content-type", "text/event-stream");
        world.upstream().script(answer);
        let answer = caller.post(path, &body("go")).await.unwrap();
        assert!(answer.whole && answer.status == 200, "{path}");
        let text = answer.text();
        assert!(
            text.contains("could not be checked") && text.contains("gd_"),
            "{path}: {text}"
        );
        let last = answer.events().pop().unwrap();
        let end = match *path {
            "/chat/completions" => "[DONE]",
            "/v1/messages" => "message_stop",
            _ => "response.completed",
        };
        assert!(last.contains(end), "{path}: {last}");
    }
}

#[tokio::test]
async fn a_cut_stream_is_passed_on_as_far_as_it_came() {
    let world = World::start().await;
    let caller = world.caller("ana");
    for api in APIS {
        world
            .upstream()
            .script(Answer::parts(letters("Hello, world")).end(End::Cut(9)));
        let answer = ask(&caller, *api, "go").await;
        assert!("Hello, world".starts_with(&answer.text()), "{}", api.0);
    }
}

#[tokio::test]
async fn signed_thinking_is_never_altered() {
    let world = World::start().await;
    let caller = world.caller("ana");
    let thought = format!("The key is {TOKEN}, I think.");
    let choice = Choice {
        reasoning: words(&thought),
        text: words(&format!("The key is {TOKEN}.")),
        ..Choice::default()
    };
    world.upstream().script(Answer::choices([choice]));
    let answer = ask(&caller, ("/v1/messages", messages), "go").await;
    assert_eq!(answer.reasoning(), thought);
    assert!(answer.text().starts_with("The key is MASKED_GITHUB_PAT_"));
    // The other APIs' summaries are not signed.
    let answer = ask(&caller, ("/responses", responses), "go").await;
    assert!(answer.reasoning().contains("MASKED_GITHUB_PAT_"));
}

#[tokio::test]
async fn a_rule_ends_an_answer_whose_signed_thinking_holds_a_secret() {
    let rules = json!({ "rules": [
        { "name": "no_secrets", "when": { "findings": { "at_least": 1 } }, "then": "deny" },
    ] });
    let world = World::builder().configure(rules).start().await.unwrap();
    let choice = Choice {
        reasoning: words(&format!("The key is {TOKEN}, I think.")),
        text: words("Hello."),
        ..Choice::default()
    };
    world.upstream().script(Answer::choices([choice]));
    let answer = ask(&world.caller("ana"), ("/v1/messages", messages), "go").await;
    assert!(
        answer.whole && answer.text().contains("signed thinking"),
        "{}",
        answer.body_text()
    );
    assert!(!answer.text().contains("Hello"));
    assert!(answer.events().pop().unwrap().contains("message_stop"));
}

#[tokio::test]
async fn p4_what_only_the_upstream_keeps_is_refused() {
    let world = World::start().await;
    let caller = world.caller("ana");
    let cases = [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!({"id": "conv_1"})),
        ("prompt", json!({"id": "pmpt_1"})),
        ("input", json!([{"type": "item_reference", "id": "msg_1"}])),
        ("input", json!([{"id": "msg_1"}])),
    ];
    for (key, value) in cases {
        let mut body = responses("go on");
        body[key] = value;
        let answer = caller.post("/responses", &body).await.unwrap();
        assert_eq!(answer.status, 400, "{key}");
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "gateway_unreadable", "{key}");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("previous_response_id")
        );
    }
    assert_eq!(world.upstream().arrivals(), 0);
}

#[tokio::test]
async fn p6_the_shared_credential_is_never_shown_where_a_person_acts() {
    let world = World::start().await;
    let caller = world.caller("ana");
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "search", "arguments": {"query": TOKEN}}});
    for path in [
        "/mcp",
        "/mcp/readonly",
        "/chunks",
        "/embeddings/code/search",
        "/external/code/ingest",
        "/external/embeddings/code/search",
        "/graphql",
        "/agents",
        "/agents/swe/v1/jobs/acme/widgets",
        "/repos/acme/widgets/copilot_internal/embeddings_index",
        "/user/repos",
        "/twirp/github.snippy.v1.SnippyAPI/Match",
    ] {
        for answer in [caller.post(path, &call).await, caller.get(path).await] {
            let answer = answer.unwrap();
            assert_eq!(answer.status, 403, "{path}");
            assert_eq!(answer.json()["error"]["code"], "gateway_policy", "{path}");
            let text = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(text.contains("shared credential"), "{path}: {text}");
        }
    }
    assert_eq!(world.upstream().arrivals(), 0);
}

#[tokio::test]
async fn embeddings_are_masked_for_those_who_may_ask_for_them() {
    let roles = json!({ "roles": [
        { "name": "engineer", "groups": ["eng"], "endpoints": ["chat", "embeddings"], "models": ["text-*"] },
    ] });
    let world = World::builder().configure(roles).start().await.unwrap();
    let caller = world.caller("ana");
    let body = json!({"model": "text-embedding-3-small", "input": [format!("use {TOKEN} "), "x"]});
    let answer = caller.post("/embeddings", &body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body_text());
    let seen = &world.upstream().requests()[0];
    assert!(!seen.contains(TOKEN) && seen.text().contains("MASKED_GITHUB_PAT_"));
    assert_eq!(seen.json()["input"][1], "x");
    let other = json!({"model": "gpt-4.1", "input": "x"});
    let answer = caller.post("/embeddings", &other).await.unwrap();
    assert_eq!(answer.status, 400);
    let world = World::start().await;
    let answer = world
        .caller("ana")
        .post("/embeddings", &body)
        .await
        .unwrap();
    assert_eq!((answer.status, world.upstream().arrivals()), (400, 0));
}

#[tokio::test]
async fn p4_what_readers_may_take_differently_is_refused_in_every_api() {
    let world = World::start().await;
    let caller = world.caller("ana");
    for (path, body) in APIS {
        let plain = body("go").to_string();
        let deep = format!(
            "{{\"model\":\"gpt-4.1\",\"x\":{}{}}}",
            "[".repeat(70),
            "]".repeat(70)
        );
        let double = plain.replacen('{', "{\"model\":\"gpt-4.1\",", 1);
        let folded = plain.replacen("\"model\"", "\"Model\"", 1);
        let bodies = [
            format!("{plain}{plain}"),
            format!("[{plain}]"),
            format!("\u{feff}{plain}"),
            "--x\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n--x--".to_owned(),
            deep,
            double,
            folded,
            plain.get(1..).unwrap().to_owned(),
        ];
        for sent in bodies {
            let kind = [("content-type", "application/json")];
            let answer = caller.raw("POST", path, &kind, sent.clone()).await.unwrap();
            assert_eq!(answer.status, 400, "{path}: {sent}");
            let code = &answer.json()["error"]["code"];
            assert_eq!(code, "gateway_unreadable", "{path}: {sent}");
        }
        let encodings: &[&[(&str, &str)]] = &[
            &[("content-encoding", "gzip")],
            &[("content-encoding", "br")],
            &[("content-encoding", "zstd")],
            &[("content-encoding", "identity, gzip")],
            &[
                ("content-encoding", "identity"),
                ("content-encoding", "identity"),
            ],
            &[("content-encoding", "")],
        ];
        for encoding in encodings {
            let answer = caller
                .raw("POST", path, encoding, plain.clone())
                .await
                .unwrap();
            assert_eq!(answer.status, 400, "{path} {encoding:?}");
            let code = &answer.json()["error"]["code"];
            assert_eq!(code, "gateway_unreadable", "{path} {encoding:?}");
        }
        // The content type decides nothing.
        let kind = [("content-type", "multipart/form-data; boundary=x")];
        let answer = caller.raw("POST", path, &kind, plain).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
    assert_eq!(world.upstream().arrivals(), APIS.len());
}

#[tokio::test]
async fn p9_what_an_answer_cost_and_called_is_in_columns() {
    let world = World::with_audit().await;
    let caller = world.caller("ana");
    let choice = Choice {
        text: words("Let me look. "),
        tools: vec![ToolCall::new("bash", "{\"command\":\"ls\"}", 4)],
        ..Choice::default()
    };
    world.upstream().script(Answer::choices([choice]));
    for api in APIS {
        ask(&caller, *api, "go").await;
    }
    let sql = "SELECT * FROM copilot_audit_views.exchanges ORDER BY seq";
    let rows = world.rows_when(sql, |rows| rows.len() >= APIS.len()).await;
    let endpoints: Vec<_> = rows.iter().map(|row| row["endpoint"].clone()).collect();
    let expected = ["chat", "responses", "responses", "messages"];
    assert_eq!(json!(endpoints), json!(expected));
    for row in &rows {
        assert_eq!(row["tool_calls"], json!(["bash"]), "{row:?}");
        let number = |column: &str| row[column].as_u64().unwrap();
        assert!(number("output_tokens") > 0 && number("input_tokens") > 0);
        assert!(number("scanned_bytes") > 20);
        assert_eq!(row["response_model"], row["model"]);
        assert!(!row["finish_reason"].is_null());
    }
}
