//! P7: a hold is a hold. What needs approval sends no byte upstream before the grant, in this turn or
//! as history in a later one, and no held tool call reaches the caller; silence is a refusal.

use std::time::Duration;

use e2e::{
    caller::{Answer as Seen, Caller, Http, chat},
    desk::DESK_TOKEN,
    ports::free,
    server::{Server, json as json_answer, whole},
    upstream::{Answer, Choice, Say, ToolCall},
    wait,
    world::{Ports, World},
};
use futures::{FutureExt, future::join_all};
use hyper::Response;
use serde_json::{Value, json};

/// An invented token of GitHub's form.
pub(crate) const TOKEN: &str = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");

/// A gateway that asks about secrets and shells.
pub(crate) fn rules(covers: &str, hold: &str, port: u16) -> Value {
    json!({
        "approvals": {
            "cluster": "approvals", "public_url": format!("http://127.0.0.1:{port}"), "hold": hold,
        },
        "rules": [
            { "name": "secrets", "when": { "findings": { "at_least": 1 } }, "then": "ask_approval",
              "approvers": "security", "covers": covers },
            { "name": "shell", "when": { "tool_call": { "name": "bash", "arguments": "*curl*" } },
              "then": "ask_approval", "approvers": "ops", "covers": covers },
        ],
    })
}

async fn world(covers: &str, hold: &str) -> World {
    let port = free().unwrap();
    let ports = Ports {
        approvals: port,
        ..Ports::default()
    };
    let world = World::builder().desk().ports(ports);
    world
        .configure(rules(covers, hold, port))
        .start()
        .await
        .unwrap()
}

fn text(role: &str, text: &str) -> Value {
    json!({ "role": role, "content": text })
}

async fn send(caller: &Caller, messages: Value) -> Seen {
    let mut body = chat("");
    body["messages"] = messages;
    caller.post("/chat/completions", &body).await.unwrap()
}

pub(crate) fn code(answer: &Seen) -> String {
    let code = answer.json()["error"]["code"].clone();
    code.as_str().unwrap_or_default().to_owned()
}

/// Whether the answer says that it waits for approval.
fn pends(answer: &Seen) -> bool {
    answer.status == 200 && answer.text().contains("waits for approval")
}

pub(crate) async fn stat(world: &mut World, name: &str) -> u64 {
    let stats = world.envoy().stats().await.unwrap();
    let named = stats.iter().filter(|(key, _)| key.contains(name));
    named.map(|(_, value)| value).sum()
}

/// Waits until so many exchanges wait for people.
pub(crate) async fn held(world: &mut World, count: u64) {
    let envoy = world.envoy();
    let what = format!("{count} held exchanges");
    wait::until(&what, async || {
        let stats = envoy.stats().await.unwrap();
        (stats.get("wasmcustom.gate_held") == Some(&count)).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn p7_a_request_is_held_until_somebody_grants_it() {
    let mut world = world("content", "50s").await;
    let (bo, token) = (world.approver("bo"), world.caller("ana").token);
    for (before, http) in [(0, Http::Two), (2, Http::One)] {
        let caller = world.stranger(http).with_token(token.clone());
        let text = format!("by {http:?} with {TOKEN} please");
        let asked = tokio::spawn({
            let (caller, text) = (caller.clone(), text.clone());
            async move { caller.chat(&text).await.unwrap() }
        });
        let waiting = bo.next().await.unwrap();
        assert_eq!(waiting["rule"], "secrets");
        assert_eq!(waiting["approvers"], "security");
        held(&mut world, 1).await;
        assert_eq!(world.upstream().arrivals(), before, "{http:?}");
        bo.decide(&waiting, "grant", "").await.unwrap();
        let answer = asked.await.unwrap();
        assert_eq!(answer.status, 200);
        let text_seen = answer.text();
        assert!(text_seen.contains("MASKED_GITHUB_PAT_"), "{text_seen}");
        // It is remembered: the same again waits for nobody.
        assert_eq!(caller.chat(&text).await.unwrap().text(), text_seen);
        assert_eq!(world.upstream().arrivals(), before + 2);
        assert_eq!(bo.waiting().await.unwrap().len(), 0);
    }
    assert!(!world.upstream().saw(TOKEN));
    held(&mut world, 0).await;
    let granted = stat(&mut world, "gate_approvals_total.state=granted").await;
    let remembered = stat(&mut world, "gate_approvals_total.state=remembered").await;
    assert_eq!((granted, remembered), (2, 2));
    assert_eq!(world.leaks(DESK_TOKEN).await, Vec::<String>::new());
    assert_eq!(world.leaks(TOKEN).await, Vec::<String>::new());
}

#[tokio::test]
async fn p7_going_on_without_a_grant_sends_nothing_and_with_one_goes_on() {
    let world = world("content", "1s").await;
    let (bo, ana) = (world.approver("bo"), world.caller("ana"));
    let risky = text("user", &format!("use {TOKEN} "));
    let first = send(&ana, json!([risky])).await;
    assert!(pends(&first), "{}", first.body_text());
    let ours = text("assistant", &first.text());
    let id = bo.next().await.unwrap()["id"].as_str().unwrap().to_owned();
    assert!(
        first.text().contains(&format!("/approvals/{id} ")),
        "{}",
        first.text()
    );
    let on = text("user", "go on");
    let turns = json!([risky, ours, on, ours, on]);
    for turn in [json!([risky, ours, on]), turns.clone()] {
        assert!(pends(&send(&ana, turn).await));
    }
    assert_eq!(world.upstream().arrivals(), 0);
    assert_eq!(bo.waiting().await.unwrap().len(), 1, "one question");

    bo.grant_next().await.unwrap();
    let answer = send(&ana, turns).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "go on"));
    let sent = world.upstream().requests();
    assert_eq!(sent.len(), 1);
    assert!(!sent[0].contains(TOKEN) && !sent[0].contains("Copilot Gate"));
    assert_eq!(sent[0].json()["messages"].as_array().unwrap().len(), 3);

    let other = send(&ana, json!([text("user", &format!("and {TOKEN} now"))])).await;
    assert!(pends(&other));
    bo.refuse_next("not this one").await.unwrap();
    let refused = send(&ana, json!([text("user", &format!("and {TOKEN} now"))])).await;
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (400, "gateway_policy")
    );
    assert!(refused.body_text().contains("not this one"));
    assert_eq!(world.upstream().arrivals(), 1);
}

#[tokio::test]
async fn p7_a_grant_is_good_for_nothing_else() {
    let world = world("content", "1s").await;
    let (bo, ana) = (world.approver("bo"), world.caller("ana"));
    let (one, two) = (format!("use {TOKEN} "), format!("and {TOKEN} too"));
    let both = json!([text("user", &one), text("user", &two)]);
    assert!(pends(&send(&ana, both.clone()).await));
    bo.grant_next().await.unwrap();
    assert_eq!(send(&ana, both).await.status, 200);
    // The same items in another order, and fewer of them.
    let turned = json!([text("user", &two), text("user", "hm"), text("user", &one)]);
    assert_eq!(send(&ana, turned).await.status, 200);
    assert_eq!(send(&ana, json!([text("user", &two)])).await.status, 200);
    let passed = world.upstream().arrivals();
    assert_eq!(passed, 3);

    for changed in [
        format!("use  {TOKEN} "),
        format!("use {TOKEN}"),
        format!("Use {TOKEN} "),
        format!("use\u{a0}{TOKEN} "),
        format!("use {TOKEN} {TOKEN}"),
    ] {
        let answer = send(&ana, json!([text("user", &changed)])).await;
        assert!(pends(&answer), "{changed:?}: {}", answer.body_text());
    }
    assert!(pends(&send(&ana, json!([text("system", &one)])).await));
    let mut model = chat(&one);
    model["model"] = json!("gpt-4.2");
    assert!(pends(&ana.post("/chat/completions", &model).await.unwrap()));
    let ghost = ana.ghost(&one).await.unwrap();
    assert_eq!((ghost.status, ghost.text()), (200, String::new()));
    // Somebody else with the very same request, also with what looks like a grant.
    let bob = world
        .caller("bob")
        .with_header("x-gate-grant", "eyJhbGciOiJub25lIn0.e30.");
    assert!(pends(&send(&bob, json!([text("user", &one)])).await));
    assert_eq!(world.upstream().arrivals(), passed);
}

#[tokio::test]
async fn p7_of_a_hundred_retries_one_uses_the_grant_for_one_exchange() {
    let world = world("exchange", "2s").await;
    let (bo, ana) = (world.approver("bo"), world.caller("ana"));
    let risky = format!("use {TOKEN} ");
    assert!(pends(&ana.chat(&risky).await.unwrap()));
    assert_eq!(world.upstream().arrivals(), 0);
    bo.grant_next().await.unwrap();
    let answers = join_all((0..100).map(|_| ana.chat(&risky))).await;
    assert_eq!(world.upstream().arrivals(), 1);
    let mut passed = 0;
    for answer in answers {
        let answer = answer.unwrap();
        let used = code(&answer) == "gateway_policy" && answer.body_text().contains("is used");
        if !used && !pends(&answer) {
            assert_eq!(answer.status, 200, "{}", answer.body_text());
            passed += 1;
        }
    }
    assert_eq!(passed, 1);
    assert!(!world.upstream().saw(TOKEN));
}

#[tokio::test]
async fn p7_a_desk_that_fails_or_lies_lets_nothing_go() {
    let down = World::builder().configure(rules("content", "1s", 9));
    let down = down.start().await.unwrap();
    let answer = down.caller("ana").chat(TOKEN).await.unwrap();
    assert_eq!(
        (answer.status, code(&answer).as_str()),
        (400, "gateway_unavailable")
    );
    assert_eq!(down.upstream().arrivals(), 0);
    drop(down);

    let granted = |grant: &str| {
        json!({
            "id": "AP-ABCDEFGHIJ", "state": "granted", "grant": grant, "url": "", "expires_at": 1,
        })
    };
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiZ2F0ZS1ncmFudCtqd3QiLCJraWQiOiJrIn0.e30.";
    let cases: Vec<(&str, u16, Value)> = vec![
        ("not found", 404, json!({})),
        ("failing", 500, json!({})),
        ("no answer", 200, Value::Null),
        (
            "no grant",
            200,
            json!({ "id": "AP-ABCDEFGHIJ", "state": "granted", "url": "", "expires_at": 1 }),
        ),
        ("unsigned", 200, granted(none)),
        ("rubbish", 200, granted("x.y.z")),
        ("the caller's", 200, granted("TOKEN")),
        ("silent", 0, json!({})),
    ];
    let said = std::sync::Arc::new(std::sync::Mutex::new((200, json!({}))));
    let shared = std::sync::Arc::clone(&said);
    let desk = Server::start(0, move |request, _| {
        let (status, mut body) = shared.lock().unwrap().clone();
        let bearer = request.headers()["authorization"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(bearer, format!("Bearer {DESK_TOKEN}"));
        async move {
            if status == 0 {
                futures::future::pending::<()>().await;
            }
            if body.is_null() {
                return Ok(Response::new(whole("{")));
            }
            if body["grant"] == "TOKEN" {
                body["grant"] = json!(bearer);
            }
            Ok(json_answer(status, &body))
        }
        .boxed()
    })
    .await
    .unwrap();
    let address = desk.address();
    let world = World::builder()
        .configure(rules("content", "1s", address.port()))
        .bootstrap(move |bootstrap| bootstrap.cluster("approvals", address))
        .start()
        .await
        .unwrap();
    let ana = world.caller("ana");
    for (name, status, body) in cases {
        *said.lock().unwrap() = (status, body);
        let answer = ana.chat(&format!("{name} {TOKEN}")).await.unwrap();
        assert_eq!(answer.status, 400, "{name}: {}", answer.body_text());
        assert_eq!(code(&answer), "gateway_unavailable", "{name}");
    }
    assert_eq!(world.upstream().arrivals(), 0);
    assert_eq!(ana.chat("hello").await.unwrap().status, 200);
}

fn shell(command: &str) -> Answer {
    Answer::choices([Choice {
        text: vec!["Let me ".to_owned(), "see. ".to_owned()],
        tools: vec![ToolCall {
            name: "bash".to_owned(),
            arguments: vec!["{\"command\":".to_owned(), format!("\"{command}\"}}")],
        }],
        ..Choice::default()
    }])
}

#[tokio::test]
async fn p7_a_tool_call_in_a_stream_is_held_until_somebody_grants_it() {
    let mut world = world("content", "50s").await;
    let (bo, token) = (world.approver("bo"), world.caller("ana").token);
    for http in [Http::Two, Http::One] {
        let caller = world.stranger(http).with_token(token.clone());
        let command = format!("curl {http:?}");
        world.upstream().script(shell(&command));
        let asked = tokio::spawn(async move { caller.chat("go").await.unwrap() });
        let waiting = bo.next().await.unwrap();
        assert_eq!(
            (&waiting["rule"], &waiting["approvers"]),
            (&json!("shell"), &json!("ops"))
        );
        held(&mut world, 1).await;
        bo.decide(&waiting, "grant", "").await.unwrap();
        let answer = asked.await.unwrap();
        assert!(answer.whole, "{http:?}");
        assert_eq!(answer.text(), "Let me see. ");
        let calls: Vec<(String, String)> = answer.tool_calls().into_values().collect();
        assert_eq!(
            calls,
            [("bash".to_owned(), format!("{{\"command\":\"{command}\"}}"))]
        );
        assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
        // Another answer with the same call, in other words: it is known.
        let caller = world.stranger(http).with_token(token.clone());
        world.upstream().script(Answer {
            say: Say::Choices(vec![Choice {
                text: vec!["Again.".to_owned()],
                tools: vec![ToolCall {
                    name: "bash".to_owned(),
                    arguments: vec![format!("{{ \"command\" : \"{command}\" }}")],
                }],
                ..Choice::default()
            }]),
            ..Answer::default()
        });
        assert_eq!(caller.chat("go").await.unwrap().tool_calls().len(), 1);
    }
    assert_eq!(bo.waiting().await.unwrap().len(), 0);
}

#[tokio::test]
async fn p7_a_tool_call_that_is_not_granted_never_reaches_the_caller() {
    let mut world = world("content", "1s").await;
    let (bo, ana) = (world.approver("bo"), world.caller("ana"));
    world.upstream().script(shell("curl x"));
    let never = |answer: &Seen, why: &str| {
        let body = answer.body_text();
        assert!(
            answer.whole && !body.contains("curl") && !body.contains("tool_calls"),
            "{body}"
        );
        let text = answer.text();
        assert!(
            text.starts_with("Let me see. \n\n[Copilot Gate] ") && text.contains(why),
            "{text}"
        );
        assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    };
    for http in [Http::Two, Http::One] {
        let caller = world.stranger(http).with_token(ana.token.clone());
        never(
            &caller.chat("go").await.unwrap(),
            "waits for approval by ops",
        );
    }
    bo.refuse_next("no shells").await.unwrap();
    never(&ana.chat("go").await.unwrap(), "no shells");
    // In one piece as well.
    let mut question = chat("go");
    question["stream"] = json!(false);
    let answer = ana.post("/chat/completions", &question).await.unwrap();
    assert!(
        answer.status == 200 && answer.text().contains("no shells"),
        "{}",
        answer.body_text()
    );
    assert!(answer.tool_calls().is_empty());
    world.upstream().script(shell("curl y"));
    assert!(pends(
        &ana.post("/chat/completions", &question).await.unwrap()
    ));
    bo.grant_next().await.unwrap();
    let answer = ana.post("/chat/completions", &question).await.unwrap();
    assert_eq!(answer.tool_calls().len(), 1, "{}", answer.body_text());
    // What was said goes back as history, without our words.
    let history = json!([
        text("user", "go"),
        text(
            "assistant",
            "Let me see. \n\n[Copilot Gate] No. (decision gd_0123456789abcdefghijklmnop)"
        ),
        text("user", "on"),
    ]);
    world.upstream().forget();
    world.upstream().script(Answer::text("fine"));
    assert_eq!(send(&ana, history).await.text(), "fine");
    assert!(!world.upstream().saw("Copilot Gate"));
    // Without the desk nothing passes either.
    world.desk().process().kill();
    world.upstream().script(shell("curl z"));
    never(&ana.chat("go").await.unwrap(), "cannot be reached");
}

#[tokio::test]
async fn a_caller_who_waits_in_a_stream_hears_something() {
    let world = world("content", "50s").await;
    let (bo, ana) = (world.approver("bo"), world.caller("ana"));
    let tool = ToolCall {
        name: "bash".to_owned(),
        arguments: vec!["{\"command\":\"curl\"}".to_owned()],
    };
    let late = Choice {
        text: vec!["x ".to_owned(); 24],
        ..Choice::default()
    };
    let first = Choice {
        tools: vec![tool],
        ..Choice::default()
    };
    // The first choice ends with its call, the other goes on for twelve seconds.
    let answer = Answer::choices([first, late]).pause(Duration::from_millis(500));
    world.upstream().script(answer);
    let (answer, granted) = tokio::join!(ana.chat("go"), async {
        let next = bo.next().await.unwrap();
        tokio::time::sleep(Duration::from_secs(11)).await;
        bo.decide(&next, "grant", "").await.unwrap()
    });
    assert_eq!(granted["state"], "granted");
    let answer = answer.unwrap();
    assert_eq!(answer.tool_calls().len(), 1, "{}", answer.body_text());
    assert!(answer.whole);
    let body = answer.body_text();
    let comment = body.find(": waiting for approval").unwrap();
    assert!(comment < body.find("curl").unwrap(), "{body}");
}

#[tokio::test]
async fn a_stream_with_trailers_is_held_and_released() {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let port = free().unwrap();
    let world = World::builder()
        .desk()
        .ports(Ports {
            approvals: port,
            ..Ports::default()
        })
        .configure(rules("content", "50s", port))
        .bootstrap(move |bootstrap| {
            let clusters = bootstrap.0["static_resources"]["clusters"].as_array_mut();
            for cluster in clusters.unwrap() {
                if cluster["name"] == "copilot_api" {
                    cluster["typed_extension_protocol_options"] = json!({ options: {
                        "@type": format!("type.googleapis.com/{options}"),
                        "explicit_http_config": { "http2_protocol_options": {} },
                    } });
                }
            }
        })
        .start()
        .await
        .unwrap();
    let (bo, ana) = (world.approver("bo"), world.caller("ana"));
    let answer = Answer {
        trailers: [("x-note".to_owned(), "1".to_owned())].into(),
        ..shell("curl x")
    };
    world.upstream().script(answer);
    let (answer, granted) = tokio::join!(ana.chat("go"), bo.grant_next());
    granted.unwrap();
    let answer = answer.unwrap();
    assert!(answer.whole, "{}", answer.body_text());
    assert_eq!(answer.tool_calls().len(), 1, "{}", answer.body_text());
}

#[tokio::test]
async fn an_approval_stands_in_the_record() {
    let port = free().unwrap();
    let world = World::builder()
        .desk()
        .audit()
        .ports(Ports {
            approvals: port,
            ..Ports::default()
        })
        .configure(rules("content", "1s", port))
        .start()
        .await
        .unwrap();
    let (bo, ana) = (world.approver("bo"), world.caller("ana"));
    let risky = format!("use {TOKEN} ");
    assert!(pends(&ana.chat(&risky).await.unwrap()));
    let id = bo.grant_next().await.unwrap();
    assert_eq!(ana.chat(&risky).await.unwrap().status, 200);
    let sql = "SELECT decision, reason, rule, approval_id, approval_state, approval_covers, \
               approved_by, held_ms, status FROM copilot_audit_views.exchanges WHERE rule = 'secrets' ORDER BY seq";
    let rows = world.rows_when(sql, |rows| rows.len() == 2).await;
    let column = |row: usize, name: &str| {
        let value = &rows[row][name];
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    assert_eq!(column(0, "decision"), "pending");
    assert_eq!(column(0, "approval_state"), "pending");
    assert_eq!(column(0, "approval_id"), id);
    assert!(column(0, "held_ms").parse::<i64>().unwrap() >= 1_000);
    assert_eq!(
        (column(1, "decision"), column(1, "approval_state")),
        ("mask".into(), "granted".into())
    );
    assert_eq!(
        (column(1, "approval_id"), column(1, "approval_covers")),
        (id, "content".into())
    );
    assert!(column(1, "approved_by").ends_with("#bo"));
    let sql = "SELECT JSON_VALUE(policy, '$.approvals.public_url') AS url \
               FROM copilot_audit_views.policies";
    let policies = world.rows(sql).await;
    assert!(policies[0]["url"].is_string(), "{policies:?}");
    assert_eq!(world.leaks(TOKEN).await, Vec::<String>::new());
}

#[tokio::test]
async fn ghost_text_never_waits() {
    let world = world("content", "50s").await;
    let answer = world
        .caller("ana")
        .ghost(&format!("t = \"{TOKEN}\"\n"))
        .await
        .unwrap();
    assert_eq!((answer.status, answer.text()), (200, String::new()));
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    assert_eq!(world.upstream().arrivals(), 0);
    assert_eq!(world.approver("bo").waiting().await.unwrap().len(), 0);
}

#[tokio::test]
async fn p7_holds_in_every_chat_api_and_goes_on_in_each() {
    let world = world("content", "1s").await;
    let (bo, ana) = (world.approver("bo"), world.caller("ana"));
    let risky = format!("use {TOKEN} ");
    let part = |kind: &str, text: &str| json!([{ "type": kind, "text": text }]);
    let turn = |role: &str, content: Value| json!({ "role": role, "content": content });
    for path in ["/responses", "/v1/messages"] {
        world.upstream().forget();
        let arrived = world.upstream().arrivals();
        let (mut body, list, user, assistant) = if path == "/responses" {
            (
                e2e::caller::responses(&risky),
                "input",
                "input_text",
                "output_text",
            )
        } else {
            (e2e::caller::messages(&risky), "messages", "text", "text")
        };
        for stream in [true, false] {
            body["stream"] = json!(stream);
            let first = ana.post(path, &body).await.unwrap();
            assert!(pends(&first), "{path} {stream}: {}", first.body_text());
            let mut later = body.clone();
            let turns = later[list].as_array_mut().unwrap();
            turns.push(turn("assistant", part(assistant, &first.text())));
            turns.push(turn("user", part(user, "go on")));
            assert!(
                pends(&ana.post(path, &later).await.unwrap()),
                "{path} {stream}"
            );
            assert_eq!(world.upstream().arrivals(), arrived, "{path} {stream}");
            if stream {
                continue;
            }
            bo.grant_next().await.unwrap();
            let answer = ana.post(path, &later).await.unwrap();
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "go on"),
                "{path}"
            );
            let sent = world.upstream().requests();
            assert_eq!(sent.len(), 1, "{path}");
            assert!(!sent[0].contains(TOKEN) && !sent[0].contains("Copilot Gate"));
            assert_eq!(sent[0].json()[list].as_array().unwrap().len(), 2, "{path}");
        }
        // A tool call: pending, then granted.
        world.upstream().script(shell(&format!("curl {path}")));
        let mut go = body.clone();
        go[list] = json!([turn("user", part(user, "go"))]);
        for stream in [true, false] {
            go["stream"] = json!(stream);
            let held = ana.post(path, &go).await.unwrap();
            let text = held.body_text();
            assert!(
                held.text().contains("waits for approval by ops"),
                "{path} {stream}: {text}"
            );
            assert!(
                held.tool_calls().is_empty() && !text.contains("curl"),
                "{path}: {text}"
            );
        }
        bo.grant_next().await.unwrap();
        for stream in [true, false] {
            go["stream"] = json!(stream);
            let answer = ana.post(path, &go).await.unwrap();
            let calls: Vec<(String, String)> = answer.tool_calls().into_values().collect();
            assert_eq!(calls.len(), 1, "{path} {stream}: {}", answer.body_text());
            assert!(calls[0].1.contains("curl"), "{path} {stream}");
        }
        world.upstream().script(Answer::default());
    }
    assert_eq!(bo.waiting().await.unwrap().len(), 0);
}
