//! A secret that a client sends never reaches the upstream.

use e2e::{
    caller::{Http, chat},
    upstream::Answer,
    world::World,
};
use serde_json::{Value, json};

/// An invented token of GitHub's form.
const TOKEN: &str = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");

/// An invented key of Anthropic's form.
const KEY: &str = concat!(
    "sk-ant-",
    "api03-",
    "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2Yz3Ab4Cd5Ef6Gh7Ij8Kl9Mn0Op1Qr2St3Uv4Wx5Yz6Ab7Cd8Ef9Gh0AA"
);

#[tokio::test]
async fn a_secret_in_a_chat_is_masked() {
    let world = World::start().await;
    let text = format!("Why does git push with {TOKEN} fail?");
    let answer = world.caller("ana").chat(&text).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!world.upstream().saw(TOKEN));
    let words = world.upstream().requests().remove(0).last_words();
    assert!(
        words.starts_with("Why does git push with MASKED_GITHUB_PAT_"),
        "{words}"
    );
    assert!(words.ends_with(" fail?"), "{words}");
}

#[tokio::test]
async fn a_secret_in_ghost_text_is_masked() {
    let world = World::start().await;
    let prompt = "# Path: calc.py\nDB_PASSWORD = \"hunter2-Blue-Horse\"\n\ndef add(a, b):\n";
    let answer = world.caller("ana").ghost(prompt).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!world.upstream().saw("hunter2"));
    let seen = world.upstream().requests().remove(0).json();
    let prompt = seen["prompt"].as_str().unwrap();
    assert!(
        prompt.starts_with("# Path: calc.py\nDB_PASSWORD = \"MASKED_"),
        "{prompt}"
    );
    assert!(prompt.ends_with("\"\n\ndef add(a, b):\n"), "{prompt}");
}

#[tokio::test]
async fn secrets_are_masked_wherever_a_request_has_text() {
    let world = World::start().await;
    let arguments = json!({ "command": format!("curl -H 'x: {TOKEN}'") }).to_string();
    let body = json!({
        "model": "gpt-4.1", "stream": true,
        "messages": [
            { "role": "system", "content": format!("use {TOKEN}") },
            { "role": "user", "content": [{ "type": "text", "text": format!("and {KEY}") }] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "call_1", "type": "function", "function": { "name": "bash", "arguments": arguments } },
            ] },
            { "role": "tool", "tool_call_id": "call_1", "content": format!("secret.env: KEY={TOKEN}\n") },
        ],
        "tools": [{ "type": "function", "function": { "name": "bash", "description": format!("as {KEY}"), "parameters": {} } }],
        "unheard_of": { "deep": [format!("{KEY}")] },
    });
    let answer = world
        .caller("ana")
        .post("/chat/completions", &body)
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    assert!(!world.upstream().saw(TOKEN) && !world.upstream().saw(KEY));
    let seen = world.upstream().requests().remove(0).json();
    let call = &seen["messages"][2]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "bash");
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(
        arguments["command"]
            .as_str()
            .unwrap()
            .contains("MASKED_GITHUB_PAT_")
    );
    assert_eq!(seen["messages"][3]["tool_call_id"], "call_1");
}

#[tokio::test]
async fn a_secret_hidden_by_json_escapes_is_masked() {
    let world = World::start().await;
    let escaped = TOKEN.chars().fold(String::new(), |text, c| {
        format!("{text}\\u{:04x}", u32::from(c))
    });
    let body = chat("HERE").to_string().replace("HERE", &escaped);
    let answer = world
        .caller("ana")
        .raw(
            "POST",
            "/chat/completions",
            &[("content-type", "application/json")],
            body,
        )
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    let seen = world.upstream().requests().remove(0);
    assert!(
        seen.last_words().starts_with("MASKED_GITHUB_PAT_"),
        "{}",
        seen.last_words()
    );
}

#[tokio::test]
async fn a_request_without_secrets_arrives_byte_for_byte() {
    let world = World::start().await;
    let body = "{ \"model\":\"gpt-4.1\",\"n\":1.0e0, \"stream\" : true,\n\"messages\":[{\"role\":\"user\",\"content\":\"caf\\u00e9 \\ud83d\\ude00 caf\u{e9}\"}]}";
    let answer = world
        .caller("ana")
        .raw(
            "POST",
            "/chat/completions",
            &[("content-type", "application/json")],
            body,
        )
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(world.upstream().requests().remove(0).body, body);
}

#[tokio::test]
async fn placeholders_are_the_same_each_time_for_one_person_and_differ_between_persons() {
    let world = World::start().await;
    let text = format!("{TOKEN} ");
    for person in ["ana", "ana", "bo"] {
        assert_eq!(world.caller(person).chat(&text).await.unwrap().status, 200);
    }
    let words: Vec<String> = world
        .upstream()
        .requests()
        .iter()
        .map(e2e::upstream::Seen::last_words)
        .collect();
    assert_eq!(words[0], words[1]);
    assert_ne!(words[0], words[2]);
}

#[tokio::test]
async fn a_changed_body_leaves_nothing_behind_on_its_connection() {
    // A stale content-length would make the surplus the start of the next request.
    let world = World::start().await;
    let caller = world
        .stranger(Http::One)
        .with_token(world.caller("ana").token);
    for round in 0..5 {
        let text = format!("{TOKEN} {} {round}", "x".repeat(round * 37));
        assert_eq!(caller.chat(&text).await.unwrap().status, 200);
    }
    let seen = world.upstream().requests();
    assert_eq!(seen.len(), 5);
    for (round, request) in seen.iter().enumerate() {
        assert_eq!(request.method, "POST");
        assert!(request.last_words().ends_with(&round.to_string()));
    }
}

#[tokio::test]
async fn a_rule_may_refuse_and_says_so() {
    let rules = json!({ "rules": [
        { "name": "secrets", "when": { "findings": { "at_least": 1 } }, "then": "mask" },
        { "name": "too_many", "when": { "findings": { "at_least": 2 } }, "then": "deny" },
        { "name": "trial", "when": { "findings": { "at_least": 1 } }, "then": "deny", "mode": "shadow" },
    ] });
    let world = World::builder().configure(rules).start().await.unwrap();
    let one = world
        .caller("ana")
        .chat(&format!("{TOKEN} once"))
        .await
        .unwrap();
    assert_eq!(one.status, 200, "masked, the shadow rule decides nothing");
    let two = world
        .caller("ana")
        .chat(&format!("{TOKEN} and {KEY} "))
        .await
        .unwrap();
    assert_eq!(two.status, 400);
    let message = two.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("too_many") && message.contains("gd_"),
        "{message}"
    );
    assert!(!message.contains(TOKEN));
    assert_eq!(world.upstream().requests().len(), 1);
}

#[tokio::test]
async fn while_it_observes_the_gateway_changes_nothing_that_is_said() {
    let observes = json!({
        "enforcement": "observe", "observe_until": "2099-12-31",
        "rules": [{
            "name": "none", "then": "deny",
            "when": { "findings": { "at_least": 1, "direction": "any" } },
        }],
    });
    let world = World::builder().configure(observes).start().await.unwrap();
    world
        .upstream()
        .script(Answer::parts([format!("take {KEY} and go")]));
    let answer = world.caller("ana").chat(&format!("{TOKEN} once")).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200);
    assert!(world.upstream().saw(TOKEN));
    assert!(answer.text().contains(KEY), "{}", answer.text());
}

#[tokio::test]
async fn a_large_request_is_held_and_masked_whole() {
    let world = World::start().await;
    let mut text = "let x = compute(y); // ordinary code\n".repeat(100_000);
    text.push_str(TOKEN);
    assert!(text.len() > 3 << 20);
    world.upstream().script(Answer::text("read it"));
    let answer = world.caller("ana").chat(&text).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!world.upstream().saw(TOKEN));
}
