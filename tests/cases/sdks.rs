//! P8, the client understands us: what the `OpenAI` and Anthropic SDKs give a program that uses the
//! gateway as its base URL, and what of it upstream gets to see.

use e2e::{
    sdk::{Given, Sdk},
    upstream::{Answer, Choice, Cut, ToolCall, signature, words},
    world::{CREDENTIAL, World},
};
use serde_json::{Value, json};

/// An invented token of GitHub's form.
const SECRET: &str = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");

/// The APIs and a model for each.
const APIS: [(&str, &str, &str); 3] = [
    ("chat", "gpt-4.1", "/chat/completions"),
    ("responses", "gpt-5.4", "/responses"),
    ("messages", "claude-sonnet-4.6", "/v1/messages"),
];

/// Those that the gateway inspects so far.
const INSPECTED: [(&str, &str, &str); 1] = [APIS[0]];

#[tokio::test]
async fn they_understand_the_fake_github() {
    // the fake itself: if this fails, the cases below say nothing about the filter
    let world = World::builder().bare().start().await.unwrap();
    let mut sdk = open(&world, "no JWT needed");
    for (api, model, path) in APIS {
        for stream in [true, false] {
            let case = format!("{api}, stream {stream}");
            world.upstream().script(Answer::choices([Choice {
                reasoning: vec!["because ".to_owned(), "so".to_owned()],
                ..Choice::text(words("naïve “text” 😀\n"))
            }]));
            let job = json!({"api": api, "model": model, "text": "Why?", "stream": stream});
            let given = sdk.ask(&job).await.unwrap();
            assert_eq!(given.text, "naïve “text” 😀\n", "{case}: {given:?}");
            if stream {
                assert_eq!(given.deltas, given.text, "{case}");
            }
            if api != "chat" {
                assert_eq!(given.reasoning, "because so", "{case}");
                assert_eq!(given.proof, signature("because so"), "{case}");
            }
            let answer = Answer::agent("look", r#"{"path":"a.py"}"#, "It is empty.");
            world.upstream().script(answer);
            let given = look(&mut sdk, api, model, stream, "nothing").await;
            assert_eq!(given.text, "It is empty.", "{case}: {given:?}");
            assert_eq!(given.calls.len(), 1, "{case}: {given:?}");
            let asked = world.upstream().requests_to(path).pop().unwrap();
            assert!(asked.contains("nothing"), "{case}");
        }
    }
    let job = json!({"api": "embeddings", "model": "text-embedding-3-small", "text": "x"});
    let given = sdk.ask(&job).await.unwrap();
    assert_eq!(given.vector, [0.5, -0.25, 0.125, 1.0], "{given:?}");
}

#[tokio::test]
async fn a_program_gets_its_answer_and_the_secret_stays() {
    let world = World::start().await;
    let mut sdk = open(&world, &world.issuer().token("ana").sign());
    for (api, model, path) in INSPECTED {
        for stream in [true, false] {
            let case = format!("{api}, stream {stream}");
            world.upstream().forget();
            world.upstream().script(Answer::text("Rotate it.\n"));
            let text = format!("What is {SECRET} for?");
            let job = json!({"api": api, "model": model, "text": text, "stream": stream});
            let given = sdk.ask(&job).await.unwrap();
            assert_eq!(given.text, "Rotate it.\n", "{case}: {given:?}");
            let asked = world.upstream().requests_to(path).pop().unwrap();
            assert!(asked.last_words().starts_with("What is MASKED_GITHUB_PAT_"));
            assert_eq!(
                asked.header("authorization"),
                format!("Bearer {CREDENTIAL}")
            );

            let answer = Answer::agent("look", r#"{"path":".env"}"#, "There is a key in it.");
            world.upstream().script(answer.cut(Cut::Every(7)));
            let given = look(&mut sdk, api, model, stream, &format!("KEY={SECRET}\n")).await;
            assert_eq!(given.text, "There is a key in it.", "{case}: {given:?}");
            let asked = world.upstream().requests_to(path).pop().unwrap();
            assert!(asked.contains("KEY=MASKED_GITHUB_PAT_"), "{case}");
            assert!(!world.upstream().saw(SECRET), "{case}");
            assert!(
                !world.upstream().saw("eyJ"),
                "{case}: a token went upstream"
            );
        }
    }
}

#[tokio::test]
async fn a_secret_that_the_model_writes_is_masked_for_a_program() {
    let world = World::start().await;
    let mut sdk = open(&world, &world.issuer().token("ana").sign());
    let (head, tail) = SECRET.split_at(11);
    let arguments = json!({"path": format!("/tmp/{SECRET}")}).to_string();
    for (api, model, _) in INSPECTED {
        for (stream, cut) in [
            (true, Cut::Events),
            (true, Cut::Every(3)),
            (false, Cut::Whole),
        ] {
            let case = format!("{api}, stream {stream}, {cut:?}");
            let answer = Answer::choices([Choice {
                tools: vec![ToolCall::new("look", &arguments, 5)],
                ..Choice::text(["Use ", head, tail, " for that."])
            }]);
            world.upstream().script(answer.cut(cut));
            let given = look(&mut sdk, api, model, stream, "nothing").await;
            assert!(given.error.is_null(), "{case}: {given:?}");
            assert!(
                given.text.starts_with("Use MASKED_GITHUB_PAT_"),
                "{case}: {given:?}"
            );
            assert!(given.text.contains(" for that."), "{case}: {given:?}");
            assert!(!format!("{given:?}").contains(SECRET), "{case}: {given:?}");
            if stream {
                assert_eq!(
                    given.deltas, given.text,
                    "{case}: what was streamed is what is kept"
                );
            }
            let (name, arguments) = &given.calls[0];
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert_eq!(name, "look", "{case}");
            assert!(
                arguments["path"]
                    .as_str()
                    .unwrap()
                    .starts_with("/tmp/MASKED_GITHUB_PAT_"),
                "{case}: {arguments}"
            );
        }
    }
}

#[tokio::test]
async fn a_refusal_is_raised_once_and_says_why() {
    let rules = json!({"rules": [
        {"name": "no_tokens", "when": {"findings": {"at_least": 1}}, "then": "deny"},
    ]});
    let world = World::builder().configure(rules).start().await.unwrap();
    let mut sdk = open(&world, &world.issuer().token("ana").sign());
    for (api, model, path) in INSPECTED {
        for stream in [true, false] {
            let case = format!("{api}, stream {stream}");
            let text = format!("What is {SECRET} for?");
            let job = json!({"api": api, "model": model, "text": text, "stream": stream});
            let given = sdk.ask(&job).await.unwrap();
            assert_eq!(given.error["class"], "BadRequestError", "{case}: {given:?}");
            assert_eq!(given.error["status"], 400, "{case}");
            if api != "messages" {
                assert_eq!(given.error["code"], "gateway_policy", "{case}");
            }
            let message = given.error["message"].as_str().unwrap();
            assert!(
                message.contains("no_tokens") && message.contains("gd_"),
                "{case}: {message}"
            );
            assert!(
                given.error["shown"].as_str().unwrap().contains(message),
                "{case}"
            );
            assert_eq!(given.requests, 1, "{case}: it was tried again");
            assert_eq!(world.upstream().requests_to(path).len(), 0, "{case}");
        }
    }
    let mut stranger = open(
        &world,
        &world.issuer().token("ana").expires_in(-7200).sign(),
    );
    let job = json!({"api": "chat", "model": "gpt-4.1", "text": "Hello?", "stream": true});
    let given = stranger.ask(&job).await.unwrap();
    assert_eq!(given.error["class"], "AuthenticationError", "{given:?}");
    assert_eq!(given.error["code"], "gateway_identity", "{given:?}");
    assert_eq!(given.requests, 1, "it was tried again");
}

fn open(world: &World, token: &str) -> Sdk {
    let url = format!("https://localhost:{}", world.gateway().port());
    let authority = &world.certificates().authority;
    Sdk::start(&url, token, authority, world.folder()).unwrap()
}

/// Asks with a tool on offer that gives `result`.
async fn look(sdk: &mut Sdk, api: &str, model: &str, stream: bool, result: &str) -> Given {
    let job = json!({
        "api": api, "model": model, "text": "What is in it?", "stream": stream, "result": result,
    });
    sdk.ask(&job).await.unwrap()
}
