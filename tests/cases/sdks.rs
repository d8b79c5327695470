//! P8, the client understands us: what the `OpenAI` and Anthropic SDKs and `LiteLLM` give a program that
//! uses the gateway, and what of it upstream gets to see.

use e2e::{
    sdk::{Given, Sdk},
    upstream::{Answer, Choice, Cut, ToolCall, signature, words},
    world::{DOMAIN, World},
};
use serde_json::{Value, json};

use crate::matrix::{self, HELD, MASKED, PLACEHOLDER, REFUSED, inside};

/// Their headings in the documentation.
const SDKS: &str = "SDKs";
const LITELLM: &str = "LiteLLM";

/// The APIs, a model for each, and where they are.
const APIS: [[&str; 3]; 3] = [
    ["chat", "gpt-4.1", "/chat/completions"],
    ["responses", "gpt-5.4", "/responses"],
    ["messages", "claude-sonnet-4.6", "/v1/messages"],
];

/// One way to ask.
#[derive(Debug)]
struct Case {
    client: &'static str,
    api: &'static str,
    model: &'static str,
    path: &'static str,
    stream: bool,
}

fn case(client: &'static str, [api, model, path]: [&'static str; 3], stream: bool) -> Case {
    Case {
        client,
        api,
        model,
        path,
        stream,
    }
}

#[tokio::test]
async fn they_understand_the_fake_github() {
    // the fake itself: if this fails, the case below says nothing about the filter
    let world = World::builder().bare().start().await.unwrap();
    let mut sdk = open(&world, "no JWT needed");
    for api in APIS {
        for stream in [true, false] {
            let case = case(SDKS, api, stream);
            world.upstream().script(Answer::choices([Choice {
                reasoning: vec!["because ".to_owned(), "so".to_owned()],
                ..Choice::text(words("naïve “text” 😀\n"))
            }]));
            let given = ask(&mut sdk, &case, "Why?").await;
            assert_eq!(given.text, "naïve “text” 😀\n", "{case:?}: {given:?}");
            if stream {
                assert_eq!(given.deltas, given.text, "{case:?}");
            }
            if case.api != "chat" {
                assert_eq!(given.reasoning, "because so", "{case:?}");
                assert_eq!(given.proof, signature("because so"), "{case:?}");
            }
            let answer = Answer::agent("look", r#"{"path":"a.py"}"#, "It is empty.");
            world.upstream().script(answer);
            let given = look(&mut sdk, &case, "nothing").await;
            assert_eq!(given.text, "It is empty.", "{case:?}: {given:?}");
            assert_eq!(given.calls.len(), 1, "{case:?}: {given:?}");
            let asked = world.upstream().requests_to(case.path).pop().unwrap();
            assert!(asked.contains("nothing"), "{case:?}");
        }
    }
    let job = json!({"api": "embeddings", "model": "text-embedding-3-small", "text": "x"});
    let given = sdk.ask(&job).await.unwrap();
    assert_eq!(given.vector, [0.5, -0.25, 0.125, 1.0], "{given:?}");
}

#[tokio::test]
async fn programs_get_masked_answers_and_readable_refusals() {
    let world = matrix::world(0).await;
    let mut sdk = open(&world, &world.issuer().token("ana").sign());
    for api in APIS {
        for stream in [true, false] {
            let case = case(SDKS, api, stream);
            a_program_sends_a_secret(&world, &mut sdk, &case).await;
            an_agent_reads_a_secret(&world, &mut sdk, &case).await;
            the_model_writes_a_secret(&world, &mut sdk, &case).await;
            a_question_is_refused(&world, &mut sdk, &case).await;
            a_question_is_held_and_granted(&world, &mut sdk, &case).await;
        }
        let case = case(SDKS, api, api[0] != "messages"); // each way once: it takes its time
        a_question_waits_and_goes_on_when_granted(&world, &mut sdk, &case).await;
    }
    let token = world.issuer().token("ana").expires_in(-7200).sign();
    let first = case(SDKS, APIS[0], true);
    let given = ask(&mut open(&world, &token), &first, "Hello?").await;
    assert_eq!(given.error["class"], "AuthenticationError", "{given:?}");
    assert_eq!(given.error["code"], "gateway_identity", "{given:?}");
    assert_eq!(given.requests, 1, "it was tried again");
    let shown = given.error["shown"].as_str().unwrap();
    matrix::assert_documented(SDKS, "Your token has expired", shown);
}

#[test]
fn litellm_signs_in_and_gives_masked_answers_and_readable_refusals() {
    inside(
        "sdks::litellm_signs_in_and_gives_masked_answers_and_readable_refusals",
        async || {
            let world = matrix::world(443).await;
            let mut sdk = litellm(&world, &world.issuer().token("ana").sign());
            for stream in [true, false] {
                let case = case(LITELLM, APIS[0], stream);
                a_program_sends_a_secret(&world, &mut sdk, &case).await;
                an_agent_reads_a_secret(&world, &mut sdk, &case).await;
                the_model_writes_a_secret(&world, &mut sdk, &case).await;
                a_question_is_refused(&world, &mut sdk, &case).await;
                a_question_is_held_and_granted(&world, &mut sdk, &case).await;
            }
            let case = case(LITELLM, APIS[0], true);
            a_question_waits_and_goes_on_when_granted(&world, &mut sdk, &case).await;
            let token = world.issuer().token("ana").expires_in(-7200).sign();
            let given = ask(&mut litellm(&world, &token), &case, "Hello?").await;
            let shown = given.error["shown"].as_str().unwrap();
            matrix::assert_documented(LITELLM, "Your token has expired", shown);
        },
    );
}

async fn a_program_sends_a_secret(world: &World, sdk: &mut Sdk, case: &Case) {
    world.upstream().forget();
    world.upstream().script(Answer::text("Rotate it.\n"));
    let given = ask(sdk, case, &format!("What is {MASKED} for?")).await;
    assert_eq!(given.text, "Rotate it.\n", "{case:?}: {given:?}");
    let asked = world.upstream().requests_to(case.path).pop().unwrap();
    let words = asked.last_words();
    assert!(
        words.starts_with(&format!("What is {PLACEHOLDER}")),
        "{case:?}: {words}"
    );
    assert!(words.ends_with(" for?"), "{case:?}: {words}");
    matrix::assert_credential(&asked);
    matrix::assert_clean(world.upstream());
}

async fn an_agent_reads_a_secret(world: &World, sdk: &mut Sdk, case: &Case) {
    let answer = Answer::agent("look", r#"{"path":".env"}"#, "There is a key in it.");
    world.upstream().script(answer.cut(Cut::Every(7)));
    let given = look(sdk, case, &format!("KEY={MASKED}\n")).await;
    assert_eq!(given.text, "There is a key in it.", "{case:?}: {given:?}");
    assert_eq!(given.requests, 2, "{case:?}");
    let asked = world.upstream().requests_to(case.path).pop().unwrap();
    assert!(asked.contains(&format!("KEY={PLACEHOLDER}")), "{case:?}");
    matrix::assert_clean(world.upstream());
}

async fn the_model_writes_a_secret(world: &World, sdk: &mut Sdk, case: &Case) {
    let (head, tail) = MASKED.split_at(11);
    let arguments = json!({"path": format!("/tmp/{MASKED}")}).to_string();
    let answer = Answer::choices([Choice {
        tools: vec![ToolCall::new("look", &arguments, 5)],
        ..Choice::text(["Use ", head, tail, " for that."])
    }]);
    for cut in [Cut::Events, Cut::Every(3)] {
        world.upstream().script(answer.clone().cut(cut.clone()));
        let given = look(sdk, case, "nothing").await;
        assert!(given.error.is_null(), "{case:?}: {given:?}");
        let shown = format!("Use {PLACEHOLDER}");
        assert!(
            given.text.starts_with(&shown),
            "{case:?}, {cut:?}: {given:?}"
        );
        assert!(given.text.ends_with(" for that."), "{case:?}: {given:?}");
        assert!(
            !format!("{given:?}").contains(MASKED),
            "{case:?}: {given:?}"
        );
        if case.stream {
            assert_eq!(
                given.deltas, given.text,
                "{case:?}: what was streamed is kept"
            );
        }
        let (name, arguments) = &given.calls[0];
        assert_eq!(name, "look", "{case:?}");
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        let path = arguments["path"].as_str().unwrap();
        assert!(
            path.starts_with(&format!("/tmp/{PLACEHOLDER}")),
            "{case:?}: {path}"
        );
    }
}

async fn a_question_is_refused(world: &World, sdk: &mut Sdk, case: &Case) {
    world.upstream().forget();
    let given = ask(sdk, case, &format!("What is {REFUSED} for?")).await;
    assert_eq!(
        given.error["class"], "BadRequestError",
        "{case:?}: {given:?}"
    );
    assert_eq!(given.error["status"], 400, "{case:?}");
    assert_eq!(given.error["code"], "gateway_policy", "{case:?}");
    assert_eq!(given.requests, 1, "{case:?}: it was tried again");
    // the Anthropic SDK shows the body with the message in it, the others the message
    let shown = given.error["shown"].as_str().unwrap();
    let message = given.error["message"].as_str().unwrap();
    assert!(shown.contains(message), "{case:?}: {shown}");
    let message = match case.client {
        SDKS => format!("Error code: 400 - {message}"),
        _ => message.to_owned(),
    };
    matrix::assert_documented(case.client, "A refusal", &message);
    assert_eq!(world.upstream().requests_to(case.path).len(), 0, "{case:?}");
}

async fn a_question_is_held_and_granted(world: &World, sdk: &mut Sdk, case: &Case) {
    world.upstream().forget();
    world.upstream().script(Answer::text("Rotate it.\n"));
    // what was granted once is remembered: each case has its own words
    let question = format!("What is {HELD} for? ({case:?})");
    let given = matrix::granting(world, ask(sdk, case, &question)).await;
    assert_eq!(given.text, "Rotate it.\n", "{case:?}: {given:?}");
    assert_eq!(given.requests, 1, "{case:?}");
    assert_eq!(world.upstream().requests_to(case.path).len(), 1, "{case:?}");
    matrix::assert_clean(world.upstream());
}

async fn a_question_waits_and_goes_on_when_granted(world: &World, sdk: &mut Sdk, case: &Case) {
    world.upstream().forget();
    let question = format!("Who made {HELD}? ({case:?})");
    let given = ask(sdk, case, &question).await;
    assert!(given.error.is_null(), "{case:?}: {given:?}");
    matrix::assert_documented(
        case.client,
        "A request that waits for approval",
        &given.text,
    );
    assert_eq!(given.requests, 1, "{case:?}");
    assert_eq!(world.upstream().requests_to(case.path).len(), 0, "{case:?}");

    matrix::grant(world, &given.text).await;
    let (api, model, stream) = (case.api, case.model, case.stream);
    let before = json!([["user", question], ["assistant", given.text]]);
    let job = json!({
        "api": api, "model": model, "text": "go on", "stream": stream, "before": before,
    });
    let given = sdk.ask(&job).await.unwrap();
    assert_eq!(given.text, "Rotate it.\n", "{case:?}: {given:?}");
    let asked = world.upstream().requests_to(case.path).pop().unwrap();
    assert_eq!(asked.last_words(), "go on", "{case:?}");
    assert!(
        asked.contains("Who made MASKED_SLACK_"),
        "{case:?}: {}",
        asked.text()
    );
    matrix::assert_clean(world.upstream());
}

fn open(world: &World, token: &str) -> Sdk {
    let url = format!("https://localhost:{}", world.gateway().port());
    let authority = &world.certificates().authority;
    Sdk::start(&url, token, authority, world.folder()).unwrap()
}

fn litellm(world: &World, token: &str) -> Sdk {
    let authority = &world.certificates().authority;
    Sdk::litellm(DOMAIN, token, authority, world.folder()).unwrap()
}

async fn ask(sdk: &mut Sdk, case: &Case, text: &str) -> Given {
    let (api, model, stream) = (case.api, case.model, case.stream);
    let job = json!({"api": api, "model": model, "text": text, "stream": stream});
    sdk.ask(&job).await.unwrap()
}

/// Asks with a tool on offer that gives `result`.
async fn look(sdk: &mut Sdk, case: &Case, result: &str) -> Given {
    let (api, model, stream) = (case.api, case.model, case.stream);
    let text = "What is in it?";
    let job = json!({"api": api, "model": model, "text": text, "stream": stream, "result": result});
    sdk.ask(&job).await.unwrap()
}
