//! The harness itself: a fake that is wrong makes every other case worthless.

use std::{collections::HashSet, time::Duration};

use e2e::{
    bigquery::Table,
    caller::{Answer as Got, Http, chat, ghost, messages, responses},
    envoy::{Bootstrap, Envoy, Form, Settings},
    issuer::{Algorithm, Forgery, Issuer, Mood},
    namespace,
    process::Process,
    upstream::{
        Answer, Choice, Cut, End, Progress, Rule, Say, Script, ToolCall, Upstream, signature, words,
    },
    wait,
    world::{DOMAIN, World},
};
use jwt_simple::prelude::{
    ECDSAP256PublicKeyLike, ES256PublicKey, Ed25519PublicKey, EdDSAPublicKeyLike, RS256PublicKey,
    RSAPublicKeyLike, Token, VerificationOptions,
};
use serde_json::{Value, json};

const TEXT: &str = "naïve 😀 “quoted”\n\tvalue";

#[tokio::test]
async fn tokens_verify_with_the_published_keys_and_forgeries_do_not() {
    let issuer = Issuer::start(0).await.unwrap();
    let keys = get(&format!("{}/keys", issuer.url())).await;
    let algorithms = [
        ("RS256", Algorithm::Rs256),
        ("ES256", Algorithm::Es256),
        ("EdDSA", Algorithm::EdDsa),
    ];
    for (name, algorithm) in algorithms {
        let token = || issuer.token("ana").algorithm(algorithm);
        assert_eq!(
            verify(&keys, &token().sign()),
            Ok("ana".to_owned()),
            "{name}"
        );
        let forged = [
            token().expires_in(-3600),
            token().forged(Forgery::ForeignKey),
            token().forged(Forgery::HmacWithPublicKey),
            token().forged(Forgery::Tampered),
            token().forged(Forgery::UnknownKeyId),
            token().forged(Forgery::Unsigned),
        ];
        for (number, token) in forged.iter().enumerate() {
            assert!(
                verify(&keys, &token.sign()).is_err(),
                "{name}, forgery {number}"
            );
        }
    }
}

#[tokio::test]
async fn rotated_keys_replace_the_old_ones() {
    let issuer = Issuer::start(0).await.unwrap();
    let url = format!("{}/keys", issuer.url());
    let old = get(&url).await;
    let token = issuer.token("ana").sign();
    issuer.rotate();
    let new = get(&url).await;
    assert!(verify(&new, &token).is_err());
    assert!(verify(&old, &issuer.token("ana").sign()).is_err());
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let token = issuer.token("ana").algorithm(algorithm).sign();
        assert_eq!(verify(&new, &token), Ok("ana".to_owned()), "{algorithm:?}");
    }
    assert_eq!(issuer.key_fetches(), 2);
}

#[tokio::test]
async fn issuer_can_be_in_any_mood() {
    let issuer = Issuer::start(0).await.unwrap();
    let url = format!("{}/keys", issuer.url());
    issuer.set_mood(Mood::Garbage);
    assert!(
        http()
            .get(&url)
            .send()
            .await
            .unwrap()
            .json::<Value>()
            .await
            .is_err()
    );
    issuer.set_mood(Mood::Failing);
    assert_eq!(http().get(&url).send().await.unwrap().status(), 500);
    issuer.set_mood(Mood::Slow(Duration::from_millis(200)));
    let slow = tokio::time::timeout(Duration::from_millis(50), http().get(&url).send()).await;
    assert!(slow.is_err());
    issuer.set_mood(Mood::Well);
    issuer.down().await;
    assert!(http().get(&url).send().await.unwrap_err().is_connect());
    issuer.up().await.unwrap();
    assert_eq!(http().get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn configuration_and_token_are_there_for_people_with_curl() {
    let issuer = Issuer::start(0).await.unwrap();
    let page = get(&format!(
        "{}/.well-known/openid-configuration",
        issuer.url()
    ))
    .await;
    assert_eq!(page["issuer"], issuer.url());
    let keys = get(page["jwks_uri"].as_str().unwrap()).await;
    let url = format!("{}/token?person=bo&groups=ops,eng", issuer.url());
    let token = http().get(url).send().await.unwrap().text().await.unwrap();
    assert_eq!(verify(&keys, &token), Ok("bo".to_owned()));
    assert_eq!(claims(&token)["groups"], json!(["ops", "eng"]));
}

#[test]
fn every_cut_gives_the_same_bytes() {
    let answer = Answer::text(TEXT);
    let path = "/chat/completions";
    for asked in [chat("x"), json!({"messages": []})] {
        let whole = answer.pieces(path, &asked).0.concat();
        let cuts = [
            Cut::Events,
            Cut::Every(1),
            Cut::Every(7),
            Cut::Every(100_000),
            Cut::At(vec![90, 3, 3, 91]),
            Cut::Whole,
        ];
        for cut in cuts {
            let (pieces, _) = answer.clone().cut(cut.clone()).pieces(path, &asked);
            assert_eq!(pieces.concat(), whole, "{cut:?}");
            assert!(pieces.iter().all(|piece| !piece.is_empty()), "{cut:?}");
            match cut {
                Cut::Every(size) => assert_eq!(pieces.len(), whole.len().div_ceil(size)),
                Cut::At(_) => assert_eq!(pieces.len(), 4),
                Cut::Whole => assert_eq!(pieces.len(), 1),
                Cut::Events => {}
            }
        }
    }
}

#[tokio::test]
async fn answers_come_in_every_form_with_the_same_text() {
    let upstream = Upstream::start(0).await.unwrap();
    let plain = Answer::text(TEXT);
    let answers = [
        ("words", plain.clone()),
        ("bytes", plain.clone().cut(Cut::Every(1))),
        (
            "CR LF",
            Answer {
                crlf: true,
                ..plain.clone()
            },
        ),
        (
            "escapes",
            Answer {
                escape: true,
                ..plain.clone()
            },
        ),
        (
            "raw events",
            Answer {
                say: Say::Events(vec![
                    json!({"choices": [{"index": 0, "delta": {"content": TEXT}, "text": TEXT}]})
                        .to_string(),
                ]),
                ..Answer::default()
            },
        ),
    ];
    for (name, answer) in answers {
        upstream.script(answer);
        for (path, asked) in [
            ("/chat/completions", chat("x")),
            ("/v1/engines/some-model/completions", ghost("x")),
        ] {
            let got = post(&upstream, path, &asked).await;
            assert_eq!(got.text(), TEXT, "{name} {path}");
            assert!(got.whole, "{name} {path}");
            assert_eq!(got.body.contains(&b'\r'), name == "CR LF", "{name} {path}");
            assert_eq!(got.body.is_ascii(), name == "escapes", "{name} {path}");
            assert_eq!(
                got.header("content-type"),
                "text/event-stream",
                "{name} {path}"
            );
        }
    }
    let mut asked = chat("x");
    asked["stream"] = json!(false);
    upstream.script(plain);
    let got = post(&upstream, "/chat/completions", &asked).await;
    assert_eq!(
        (got.text().as_str(), got.header("content-type")),
        (TEXT, "application/json")
    );
}

#[tokio::test]
async fn choices_reasoning_and_tool_calls_are_told_apart() {
    let upstream = Upstream::start(0).await.unwrap();
    let arguments = r#"{"path":"a.py","content":"x = \"ü\""}"#;
    let mut tool = Answer::tool("write_file", arguments, 5);
    if let Say::Choices(choices) = &mut tool.say {
        choices.push(Choice {
            reasoning: vec!["because ".to_owned()],
            ..Choice::text(["one ", "two"])
        });
    }
    upstream.script(tool);
    let got = post(&upstream, "/chat/completions", &chat("x")).await;
    let call = ("write_file".to_owned(), arguments.to_owned());
    assert_eq!(got.tool_calls(), [((0, 0), call)].into());
    assert_eq!(got.texts()[&1], "one two");
    assert!(got.body_text().contains("because "));
    let finishes = [(0, "tool_calls".to_owned()), (1, "stop".to_owned())];
    assert_eq!(got.finishes(), finishes.into());
    assert_eq!(got.events().last().unwrap(), "[DONE]");
}

#[tokio::test]
async fn every_api_says_the_same_streamed_or_whole() {
    let upstream = Upstream::start(0).await.unwrap();
    let arguments = r#"{"path":"a.py","content":"x = \"ü\""}"#;
    upstream.script(Answer::choices([Choice {
        reasoning: vec!["because ".to_owned(), "so".to_owned()],
        tools: vec![ToolCall::new("write_file", arguments, 5)],
        ..Choice::text(words(TEXT))
    }]));
    for (path, asked) in [
        ("/responses", responses("x")),
        ("/v1/messages", messages("x")),
    ] {
        let streamed = post(&upstream, path, &asked).await;
        let mut asked = asked;
        asked["stream"] = json!(false);
        let whole = post(&upstream, path, &asked).await;
        assert!(whole.events().is_empty(), "{path}");
        for got in [&streamed, &whole] {
            assert_eq!(got.text(), TEXT, "{path}");
            assert!(got.reasoning().ends_with("because so"), "{path}");
            assert!(got.body_text().contains(&signature("because so")), "{path}");
            let calls: Vec<_> = got.tool_calls().into_values().collect();
            assert_eq!(calls.len(), 1, "{path}");
            assert_eq!(calls[0].0, "write_file", "{path}");
            let given: Value = serde_json::from_str(&calls[0].1).unwrap();
            assert_eq!(given["path"], "a.py", "{path}");
        }
        let body = streamed.body_text();
        for event in streamed.events() {
            let event: Value = serde_json::from_str(&event).unwrap();
            let name = event["type"].as_str().unwrap();
            assert!(body.contains(&format!("event: {name}\ndata: ")), "{path}");
        }
        let repeats = if path == "/responses" { 4 } else { 0 };
        assert_eq!(streamed.repeats(), vec![TEXT; repeats], "{path}");
    }
    let (one, other) = (signature("because so"), signature("because of"));
    assert_ne!(one, other);
}

#[tokio::test]
async fn an_agent_calls_its_tool_once_a_turn() {
    let answer = Answer::agent("bash", r#"{"command":"ls"}"#, "There is a file.");
    let ask = |path: &str, asked: &Value| {
        let (pieces, _) = answer.pieces(path, asked);
        let text = String::from_utf8(pieces.concat()).unwrap();
        let called = text.contains("command");
        assert_ne!(called, text.contains("file."), "{path}: {text}");
        called
    };
    let chat = json!([
        {"role": "user", "content": "look"},
        {"role": "assistant", "tool_calls": [{"id": "call_0_0"}]},
        {"role": "tool", "tool_call_id": "call_0_0", "content": "a.py"},
        {"role": "assistant", "content": "There is a file."},
        {"role": "user", "content": "look again"},
    ]);
    let responses = json!([
        {"role": "user", "content": [{"type": "input_text", "text": "look"}]},
        {"type": "function_call", "call_id": "call_0_0"},
        {"type": "function_call_output", "call_id": "call_0_0", "output": "a.py"},
        {"role": "assistant", "content": "There is a file."},
        {"role": "user", "content": "look again"},
    ]);
    let messages = json!([
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_0"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0"}]},
        {"role": "assistant", "content": "There is a file."},
        {"role": "user", "content": "look again"},
    ]);
    for (path, field, history) in [
        ("/chat/completions", "messages", chat),
        ("/responses", "input", responses),
        ("/v1/messages", "messages", messages),
    ] {
        let turn = |items: usize, tools: &Value| {
            let history = &history.as_array().unwrap()[..items];
            ask(path, &json!({field: history, "tools": tools}))
        };
        let tools = json!([{"name": "bash"}, {"function": {"name": "bash"}}]);
        let calls = [1, 3, 5].map(|items| turn(items, &tools));
        assert_eq!(calls, [true, false, true], "{path}");
        assert!(!turn(1, &json!([])), "{path}: no such tool");
    }
}

#[tokio::test]
async fn vectors_and_procedures_are_answered() {
    let upstream = Upstream::start(0).await.unwrap();
    let asked = json!({"model": "m", "input": ["a", "b"]});
    let vectors = post(&upstream, "/embeddings", &asked).await.json();
    assert_eq!(vectors["data"].as_array().unwrap().len(), 2);
    assert_eq!(vectors["data"][1]["embedding"][1], -0.25);
    let asked = json!({"model": "m", "input": "a", "encoding_format": "base64"});
    let vectors = post(&upstream, "/embeddings", &asked).await.json();
    assert!(vectors["data"][0]["embedding"].is_string());
    let call = json!({
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "repeat", "arguments": {"x": "y"}},
    });
    let result = post(&upstream, "/mcp/readonly", &call).await.json();
    assert_eq!(result["result"]["content"][0]["text"], r#"{"x":"y"}"#);
}

#[tokio::test]
async fn echo_gives_back_the_last_words() {
    let upstream = Upstream::start(0).await.unwrap();
    let parts = json!({"stream": true, "messages": [
        {"role": "user", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "sec"}, {"type": "text", "text": "ond"}]},
        {"role": "assistant", "content": "no"},
    ]});
    for (path, asked, expected) in [
        ("/chat/completions", chat(TEXT), TEXT),
        ("/chat/completions", parts, "second"),
        ("/v1/engines/m/completions", ghost("def f():"), "def f():"),
        ("/responses", responses(TEXT), TEXT),
        ("/responses", json!({"input": TEXT}), TEXT),
        ("/v1/messages", messages(TEXT), TEXT),
    ] {
        assert_eq!(post(&upstream, path, &asked).await.text(), expected);
    }
}

#[tokio::test]
async fn an_answer_can_end_badly() {
    let upstream = Upstream::start(0).await.unwrap();
    let path = "/chat/completions";

    upstream.script(Answer::text("one two three four").end(End::Cut(2)));
    let got = post(&upstream, path, &chat("x")).await;
    assert!(!got.whole);
    assert_eq!(got.text(), "one ");

    upstream.script(Answer::text("one").end(End::NoAnswer));
    let url = format!("http://{}{path}", upstream.address());
    let sent = http().post(url).json(&chat("x")).send().await;
    assert!(sent.is_err());

    upstream.script(Answer::text("one").end(End::Never));
    let url = format!("http://{}{path}", upstream.address());
    let mut endless = http().post(url).json(&chat("x")).send().await.unwrap();
    for _ in 0..20 {
        assert!(endless.chunk().await.unwrap().is_some());
    }
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(seen.progress(), Progress::Sending);
    drop(endless);
    wait::until("sign that the asker left", async || {
        (seen.progress() == Progress::Abandoned).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_answer_can_be_a_surprise() {
    let upstream = Upstream::start(0).await.unwrap();
    let path = "/chat/completions";

    upstream.script(Answer {
        gzip: true,
        ..Answer::text("packed")
    });
    let got = post(&upstream, path, &chat("x")).await;
    assert_eq!(got.header("content-encoding"), "gzip");
    assert_eq!(got.body[..2], [0x1f, 0x8b]);

    upstream.script(Answer::redirect("https://elsewhere.test/"));
    let got = post(&upstream, path, &chat("x")).await;
    assert_eq!(
        (got.status, got.header("location")),
        (307, "https://elsewhere.test/")
    );

    upstream.script(Answer::raw(429, r#"{"message":"slow down"}"#).header("retry-after", "3"));
    let got = post(&upstream, path, &chat("x")).await;
    assert_eq!((got.status, got.header("retry-after")), (429, "3"));
    assert_eq!(got.json()["message"], "slow down");

    let trailers = [("x-end".to_owned(), "yes".to_owned())].into();
    upstream.script(
        Answer {
            trailers,
            ..Answer::text("more")
        }
        .header("trailer", "x-end"),
    );
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nte: trailers\r\ncontent-length: 15\r\nconnection: close\r\n\r\n{{\"stream\":true}}"
    );
    let got = plain(&upstream, request.as_bytes()).await;
    assert!(got.ends_with("0\r\nx-end: yes\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn every_request_is_recorded_as_it_came() {
    let upstream = Upstream::start(0).await.unwrap();
    let client = e2e::client::client()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let body = b"\xff\x00 not even text".to_vec();
    for number in 0..2 {
        let url = format!("http://{}/anything?n={number}", upstream.address());
        let request = client.patch(url).header("x-one", "1").body(body.clone());
        assert_eq!(request.send().await.unwrap().status(), 404);
    }
    let seen = upstream.requests();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].method, "PATCH");
    assert_eq!(
        (seen[1].path.as_str(), seen[1].query.as_str()),
        ("/anything", "n=1")
    );
    assert_eq!(seen[0].header("x-one"), "1");
    assert_eq!(seen[0].header("host"), upstream.address().to_string());
    assert_eq!(seen[0].body, body);
    assert_eq!(seen[0].version, reqwest::Version::HTTP_2);
    assert_eq!(seen[0].connection, seen[1].connection);
    assert_eq!((upstream.connections(), upstream.arrivals()), (1, 2));
    assert!(upstream.saw("not even"));
    assert!(!upstream.saw("not odd"));
}

#[tokio::test]
async fn rules_are_used_in_order_and_as_often_as_they_say() {
    let upstream = Upstream::start(0).await.unwrap();
    upstream.script(Script {
        rules: vec![
            Rule {
                path: "/chat".to_owned(),
                times: Some(2),
                answer: Answer::raw(503, "{}"),
            },
            Rule {
                path: "/user".to_owned(),
                times: None,
                answer: Answer::raw(403, "{}"),
            },
        ],
        otherwise: Answer::text("at last"),
    });
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(
            post(&upstream, "/chat/completions", &chat("x"))
                .await
                .status,
        );
    }
    statuses.push(
        post(&upstream, "/copilot_internal/user", &json!({}))
            .await
            .status,
    );
    assert_eq!(statuses, [503, 503, 200, 403]);
}

#[tokio::test]
async fn script_can_be_set_with_curl() {
    let upstream = Upstream::start(0).await.unwrap();
    let url = format!("http://{}/_script", upstream.address());
    let script = json!({"otherwise": {"say": {"choices": [{"text": ["from ", "curl"]}]}, "cut": {"every": 3}}});
    let client = http();
    let set = client.put(&url).json(&script).send().await.unwrap();
    assert_eq!(set.status(), 200);
    assert_eq!(
        post(&upstream, "/chat/completions", &chat("x"))
            .await
            .text(),
        "from curl"
    );
    let wrong = client
        .put(&url)
        .json(&json!({"otherwize": {}}))
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.unwrap().contains("otherwize"));
    assert_eq!(upstream.requests().len(), 1, "commands are no requests");
}

#[tokio::test]
async fn callers_reach_upstream_through_envoy_by_either_http() {
    let world = World::builder().bare().start().await.unwrap();
    for http in [Http::One, Http::Two] {
        let ana = world
            .stranger(http)
            .with_token(world.issuer().token("ana").sign());
        world
            .upstream()
            .script(Answer::text(TEXT).cut(Cut::Every(3)));
        assert_eq!(ana.chat("hello").await.unwrap().text(), TEXT, "{http:?}");
        assert_eq!(
            ana.ghost("def f():").await.unwrap().text(),
            TEXT,
            "{http:?}"
        );
        let models = ana.get("//api.gw.test/models").await.unwrap();
        assert_eq!(models.json()["object"], "list", "{http:?}");
        let seen = world.upstream().requests_to("/models").pop().unwrap();
        assert_eq!(
            seen.header("host"),
            format!("api.gw.test:{}", world.gateway().port())
        );
        assert_eq!(
            seen.header("authorization"),
            format!("Bearer {}", ana.token)
        );
    }
    let nonsense = b"NONSENSE\r\n\r\n";
    let got = world
        .stranger(Http::One)
        .bytes(nonsense, Duration::from_secs(5))
        .await
        .unwrap();
    assert!(
        got.starts_with(b"HTTP/1.1 400"),
        "{}",
        String::from_utf8_lossy(&got)
    );
}

#[tokio::test]
async fn pieces_arrive_one_by_one_and_cuts_arrive_as_cuts() {
    let world = World::builder().bare().start().await.unwrap();
    let ana = world.caller("ana");
    let slow = Answer::text("a b c d").pause(Duration::from_millis(40));
    world.upstream().script(slow.clone());
    let got = ana.chat("x").await.unwrap();
    assert!(got.pieces.len() >= 6, "{} pieces", got.pieces.len());
    let last = got.pieces.last().unwrap().0;
    assert!(last > got.first_byte().unwrap() + Duration::from_millis(150));
    world.upstream().script(slow.end(End::Cut(3)));
    let got = ana.chat("x").await.unwrap();
    assert_eq!((got.whole, got.text().as_str()), (false, "a b "));
}

#[tokio::test]
async fn neighbours_can_go_and_come_back() {
    let world = World::builder().bare().start().await.unwrap();
    let ana = world.caller("ana");
    world.upstream().down().await;
    assert_eq!(ana.chat("x").await.unwrap().status, 503);
    world.upstream().up().await.unwrap();
    assert_eq!(ana.chat("x").await.unwrap().text(), "x");
}

#[tokio::test]
async fn artefacts_hold_what_envoy_shows_and_nothing_else() {
    let world = World::builder().bare().start().await.unwrap();
    let secret = concat!("canary", "-of-this-test");
    world.caller("ana").chat(secret).await.unwrap();
    assert_eq!(world.leaks(secret).await, Vec::<String>::new());
    assert!(!world.leaks("copilot_api").await.is_empty());
}

#[tokio::test]
async fn rows_of_each_world_are_its_own() {
    let worlds = [
        World::builder().bare().audit().start().await.unwrap(),
        World::builder().bare().audit().start().await.unwrap(),
    ];
    worlds[0].caller("ana").get("/models").await.unwrap();
    worlds[1].caller("ana").chat("hello").await.unwrap();
    for (world, path) in worlds.iter().zip(["/models", "/chat/completions"]) {
        let sql = "SELECT kind, path FROM copilot_audit_views.exchanges";
        let rows = world.rows(sql).await;
        assert_eq!(json!(rows), json!([{"kind": "bare", "path": path}]));
        assert!(!world.leaks("/readyz").await.contains(&"rows".to_owned()));
    }
    let error = worlds[0].query("SELECT nothing").await.unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}

#[tokio::test]
async fn a_sink_that_was_killed_goes_on_with_its_spool() {
    let mut world = World::builder().bare().audit().start().await.unwrap();
    world.caller("ana").get("/models").await.unwrap();
    world
        .rows("SELECT path FROM copilot_audit_views.exchanges")
        .await;
    world.sink().process().kill();
    world.restart_sink().await.unwrap();
    world.caller("ana").get("/agents").await.unwrap();
    let sql = "SELECT path FROM copilot_audit_views.exchanges ORDER BY path";
    let rows = world.rows_when(sql, |rows| rows.len() > 1).await;
    assert_eq!(
        json!(rows),
        json!([{"path": "/agents"}, {"path": "/models"}])
    );
    assert!(world.sink().metrics().await.unwrap().contains("sink_"));
}

#[tokio::test]
async fn envoy_refuses_a_bad_bootstrap_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut bootstrap = Bootstrap::bare();
    bootstrap.0["static_resources"]["listenerz"] = json!([]);
    let refusal = Envoy::validate(&bootstrap, &Settings::default(), folder.path()).unwrap_err();
    assert!(refusal.to_string().contains("listenerz"), "{refusal}");
    let started = Envoy::start(&bootstrap, &Settings::default(), folder.path()).await;
    assert!(started.unwrap_err().to_string().contains("listenerz"));
}

#[test]
fn a_bootstrap_is_changed_where_it_should_be() {
    let mut bootstrap = Bootstrap::from_yaml(GATEWAY).unwrap();
    assert_eq!(bootstrap.filter(), json!({"deployment": "a"}));
    for form in [Form::Text, Form::Struct] {
        let configuration = json!({"deployment": "b", "n": [1]});
        bootstrap.set_filter(&configuration, form);
        assert_eq!(bootstrap.filter(), configuration, "{form:?}");
    }
    bootstrap.module("m.wasm".as_ref());
    bootstrap.cluster("copilot_api", "127.0.0.1:77".parse().unwrap());
    e2e::envoy::isolate(
        &mut bootstrap,
        &[("copilot_api", "127.0.0.1:78".parse().unwrap())],
    );
    let text = bootstrap.0.to_string();
    assert!(text.contains("m.wasm") && !text.contains("old.wasm"));
    assert!(text.contains(r#""port_value":78"#) && !text.contains("9840"));
    assert!(text.contains("github.example"), "clusters elsewhere stay");
    assert!(
        bootstrap
            .listener("nobody", "127.0.0.1:0".parse().unwrap())
            .is_err()
    );
}

const GATEWAY: &str = r#"
static_resources:
  listeners:
    - name: gateway
      address: { socket_address: { address: 127.0.0.1, port_value: 8443 } }
      filter_chains:
        - filters:
            - typed_config:
                config:
                  root_id: gate
                  vm_config: { vm_id: gate-a, code: { local: { filename: old.wasm } } }
                  configuration: { "@type": type.googleapis.com/google.protobuf.Struct, value: { deployment: a } }
  clusters:
    - name: copilot_api
      load_assignment: { endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9840 } } } }] }] }
    - name: elsewhere
      load_assignment: { endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: github.example, port_value: 443 } } } }] }] }
"#;

#[test]
fn a_program_that_fails_shows_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo it hurts >&2; exit 3"]);
    let mut process = Process::start("sh", command, &folder.path().join("log")).unwrap();
    assert_eq!(
        process.wait(Duration::from_secs(10)).unwrap().code(),
        Some(3)
    );
    let error = process.check().unwrap_err().to_string();
    assert!(error.contains("it hurts") && error.contains('3'), "{error}");
}

#[test]
fn a_process_ends_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sleep");
    command.arg("60");
    let process = Process::start("sleep", command, &folder.path().join("log")).unwrap();
    let there = format!("/proc/{}", process.id());
    assert!(std::path::Path::new(&there).exists());
    drop(process);
    assert!(!std::path::Path::new(&there).exists());
}

#[test]
fn a_namespace_has_our_names_and_no_way_out() {
    namespace::run_case("harness::a_namespace_has_our_names_and_no_way_out", || {
        use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
        for name in [
            DOMAIN,
            "proxy.gw.test",
            "api.githubcopilot.com",
            "github.com",
        ] {
            let found: HashSet<IpAddr> = (name, 443)
                .to_socket_addrs()
                .unwrap()
                .map(|address| address.ip())
                .collect();
            assert_eq!(found, [IpAddr::V4(Ipv4Addr::LOCALHOST)].into(), "{name}");
        }
        TcpListener::bind(("127.0.0.1", 443)).unwrap();
        let out = "192.0.2.1:80".parse().unwrap();
        let error = TcpStream::connect_timeout(&out, Duration::from_secs(2)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
    });
}

#[test]
fn rows_become_a_table_for_people() {
    let row = |person: &str, n: i64| {
        json!({"person": person, "n": n})
            .as_object()
            .unwrap()
            .clone()
    };
    let table = Table {
        columns: vec!["person".to_owned(), "n".to_owned()],
        rows: vec![row("ana", 1), row("böb", 20)],
    };
    let table = table.to_string();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(
        lines[3].contains("böb") && lines[3].contains("20"),
        "{table}"
    );
    assert!(lines[0].starts_with("person  n"), "{table}");
    assert!(Table::default().to_string().ends_with("(no rows)\n"));
}

fn http() -> reqwest::Client {
    e2e::client::client().build().unwrap()
}

async fn get(url: &str) -> Value {
    http().get(url).send().await.unwrap().json().await.unwrap()
}

async fn post(upstream: &Upstream, path: &str, body: &Value) -> Got {
    let client = e2e::client::client()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let url = format!("http://{}{path}", upstream.address());
    let begun = std::time::Instant::now();
    let answer = client.post(url).json(body).send().await.unwrap();
    Got::read(answer, begun).await.unwrap()
}

/// Sends bytes over plain TCP and reads to the end.
async fn plain(upstream: &Upstream, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(upstream.address())
        .await
        .unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    let bytes = data_encoding::BASE64URL_NOPAD
        .decode(part.as_bytes())
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The subject of a token that verifies with one of these keys.
fn verify(keys: &Value, token: &str) -> Result<String, String> {
    let head = Token::decode_metadata(token).map_err(|error| error.to_string())?;
    let find = |key: &&Value| key["kid"].as_str() == head.key_id();
    let key = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(find)
        .ok_or("unknown key")?;
    let jwk = key.to_string();
    let options = Some(VerificationOptions {
        time_tolerance: Some(jwt_simple::prelude::Duration::from_secs(0)),
        ..VerificationOptions::default()
    });
    let claims = match key["alg"].as_str().unwrap() {
        "RS256" => RS256PublicKey::from_jwk(&jwk)
            .unwrap()
            .verify_token::<Value>(token, options),
        "ES256" => ES256PublicKey::from_jwk(&jwk)
            .unwrap()
            .verify_token::<Value>(token, options),
        _ => Ed25519PublicKey::from_jwk(&jwk)
            .unwrap()
            .verify_token::<Value>(token, options),
    };
    let claims = claims.map_err(|error| error.to_string())?;
    Ok(claims.subject.unwrap_or_default())
}
