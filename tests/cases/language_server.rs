//! P8, the client understands us: what the real language server shows of the gateway's answers,
//! and what of it upstream gets to see.
//!
//! Each case runs in a namespace of its own where the gateway is `https://gw.test`.

use std::{fs, future::Future};

use e2e::{
    language_server::{Editor, LanguageServer},
    upstream::{Answer, Cut, Rule, Script, Seen},
    world::{Builder, CREDENTIAL, DOMAIN, World},
};
use serde_json::json;

use crate::matrix::{self, HELD, MASKED, MODELS, PLACEHOLDER, REFUSED, start};

const MODEL: &str = "gpt-4.1";

/// Its heading in the documentation.
const CLIENT: &str = "Language server";

/// An invented secret that the person has in an open file or types.
const SECRET: &str = concat!("ghp_", "bQ7xW2mNz4KpL9vR3tY6uH1sJ8dF5gA0cE2i");

#[test]
fn it_shows_ghost_text_and_chat_of_bare_envoy() {
    // the driver itself: if this fails, the cases below say nothing about the filter
    inside("it_shows_ghost_text_and_chat_of_bare_envoy", async || {
        let (world, server) = at_work(World::builder().bare(), "no JWT needed").await;
        world.upstream().script(Answer::text("return a + b\n"));
        server
            .open("sum.py", "python", "def add(a, b):\n    ")
            .unwrap();
        let offered = server.ghost_text("sum.py", 1, 4).await.unwrap();
        assert_eq!(offered, ["return a + b"], "{:?}", server.shown());
        let turn = server.chat("How do I add?", MODEL).await.unwrap();
        assert_eq!(turn.reply.trim_end(), "return a + b", "{turn:?}");
        assert!(turn.errors.is_empty(), "{turn:?}");
        let asked = world.upstream().requests_to("/chat/completions");
        assert!(asked.iter().any(|seen| seen.contains("How do I add?")));

        let refusal = r#"{"error":{"message":"not today","code":"x"},"message":"not today"}"#;
        world.upstream().script(Answer::raw(400, refusal));
        let turn = server.chat("And now?", MODEL).await.unwrap();
        assert!(
            json!(turn.errors).to_string().contains("not today"),
            "{turn:?}"
        );
    });
}

#[test]
fn ghost_text_comes_through_and_the_secret_stays() {
    inside(
        "ghost_text_comes_through_and_the_secret_stays",
        async || {
            let (world, server) = signed_in().await;
            world.upstream().script(Answer::text("return a + b\n"));
            let text = format!("TOKEN = \"{SECRET}\"\n\ndef add(a, b):\n    ");
            server.open("sum.py", "python", &text).unwrap();
            let offered = server.ghost_text("sum.py", 3, 4).await.unwrap();
            assert_eq!(offered, ["return a + b"], "{:?}", server.shown());

            let asked = world.upstream().requests_to("/completions").pop().unwrap();
            assert!(asked.last_words().contains("def add(a, b):"));
            assert!(asked.last_words().contains("TOKEN = "));
            assert_clean(&world);
            assert_credential(&asked);
        },
    );
}

#[test]
fn chat_comes_through_and_the_secret_stays() {
    inside("chat_comes_through_and_the_secret_stays", async || {
        let (world, server) = signed_in().await;
        world
            .upstream()
            .script(Answer::text("That is a token. Rotate it.\n"));
        let question = format!("What is {SECRET} for?");
        let turn = server.chat(&question, MODEL).await.unwrap();
        assert!(turn.errors.is_empty(), "{turn:?}");
        assert_eq!(turn.reply.trim(), "That is a token. Rotate it.");

        let asked = world.upstream().requests_to("/chat/completions");
        let asked = asked.iter().find(|seen| seen.contains("What is ")).unwrap();
        assert_clean(&world);
        assert_credential(asked);
    });
}

#[test]
fn a_secret_that_the_model_writes_is_not_shown() {
    inside("a_secret_that_the_model_writes_is_not_shown", async || {
        let (world, server) = signed_in().await;
        let answer = format!("Use {SECRET} for that.\n");
        for cut in [Cut::Events, Cut::Every(3)] {
            let mut parts = e2e::upstream::words(&answer);
            let middle = parts[1].split_off(11); // the secret itself, over two events
            parts.insert(2, middle);
            world
                .upstream()
                .script(Answer::parts(parts).cut(cut.clone()));
            let turn = server.chat("Which token do I use?", MODEL).await.unwrap();
            assert!(turn.errors.is_empty(), "{cut:?}: {turn:?}");
            assert!(turn.reply.starts_with("Use "), "{cut:?}: {turn:?}");
            assert!(
                turn.reply.trim_end().ends_with(" for that."),
                "{cut:?}: {turn:?}"
            );
            let heard = json!(server.heard()).to_string();
            assert!(!heard.contains(SECRET), "{cut:?}: {turn:?}");
        }
    });
}

#[test]
fn a_denied_chat_says_why_and_is_not_tried_again() {
    inside(
        "a_denied_chat_says_why_and_is_not_tried_again",
        async || {
            let nobody = json!({"roles": [{
                "name": "engineer", "groups": ["eng"], "endpoints": ["completions"], "models": ["*"],
            }]});
            let (world, server) = at_work_as_ana(World::builder().configure(nobody)).await;
            let turn = server.chat("Hello?", MODEL).await.unwrap();
            let shown = json!(turn.errors).to_string() + &turn.reply;
            assert!(shown.contains("gd_"), "the decision id is shown: {turn:?}");
            assert_eq!(world.upstream().requests_to("/chat/completions").len(), 0);
        },
    );
}

#[test]
fn people_in_an_editor_get_masked_answers_and_readable_decisions() {
    inside(
        "people_in_an_editor_get_masked_answers_and_readable_decisions",
        async || {
            let world = matrix::world(443).await;
            let server = sign_in(&world).await;
            for (model, path) in MODELS {
                an_agent_reads_a_secret(&world, &server, model, path).await;
                the_model_writes_a_secret(&world, &server, model).await;
                a_question_is_refused(&world, &server, model, path).await;
            }
            // these take their time, and what it shows of them is the same in each API
            let [first, second, third] = MODELS;
            a_question_is_held_and_granted(&world, &server, first).await;
            a_question_waits_and_goes_on_when_granted(&world, &server, second).await;
            a_question_waits_and_goes_on_when_granted(&world, &server, third).await;
            // the refusals have cost nobody their token
            let tokens = world.upstream().requests_to("/v2/token");
            assert_eq!(tokens.len(), 0, "the gateway answers these");
            let status = server.status().await.unwrap();
            assert_eq!(status["status"], "OK", "{status}");
        },
    );
}

async fn an_agent_reads_a_secret(world: &World, server: &LanguageServer, model: &str, path: &str) {
    let file = server.place("secret.env");
    fs::write(&file, format!("KEY={MASKED}\n")).unwrap();
    let arguments = json!({"filePath": file, "offset": 1, "limit": 10}).to_string();
    let answer = Answer::agent("read_file", &arguments, "There is a key in it.\n");
    world.upstream().forget();
    world.upstream().script(answer);
    let turn = server.agent("What is in secret.env?", model).await.unwrap();
    assert!(turn.errors.is_empty(), "{model}: {turn:?}");
    assert_eq!(turn.reply.trim(), "There is a key in it.", "{model}");
    let call = ("read_file".to_owned(), "completed".to_owned());
    assert!(turn.tools.contains(&call), "{model}: {turn:?}");
    let asked = world.upstream().requests_to(path);
    let question = asked
        .iter()
        .find(|seen| seen.contains("What is in secret.env?"));
    assert!(question.is_some(), "{model}");
    let result = asked
        .iter()
        .find(|seen| seen.contains(&format!("KEY={PLACEHOLDER}")));
    assert_credential(result.unwrap_or_else(|| panic!("{model}: {turn:?}")));
    matrix::assert_clean(world.upstream());
}

async fn the_model_writes_a_secret(world: &World, server: &LanguageServer, model: &str) {
    let mut parts = e2e::upstream::words(&format!("Use {MASKED} for that.\n"));
    let middle = parts[1].split_off(11); // the secret itself, over two events
    parts.insert(2, middle);
    world
        .upstream()
        .script(Answer::parts(parts).cut(Cut::Every(5)));
    let turn = server.chat("Which key do I use?", model).await.unwrap();
    assert!(turn.errors.is_empty(), "{model}: {turn:?}");
    let shown = format!("Use {PLACEHOLDER}");
    assert!(turn.reply.starts_with(&shown), "{model}: {turn:?}");
    assert!(
        turn.reply.trim_end().ends_with(" for that."),
        "{model}: {turn:?}"
    );
    assert!(!format!("{turn:?}").contains(MASKED), "{model}: {turn:?}");
}

async fn a_question_is_refused(world: &World, server: &LanguageServer, model: &str, path: &str) {
    world.upstream().forget();
    let question = format!("What is {REFUSED} for?");
    let turn = server.chat(&question, model).await.unwrap();
    let shown = turn.errors[0]["message"].as_str().unwrap().to_owned();
    matrix::assert_documented(CLIENT, "A refusal", &shown);
    assert_eq!(world.upstream().requests_to(path).len(), 0, "{model}");
}

async fn a_question_is_held_and_granted(
    world: &World,
    server: &LanguageServer,
    (model, path): (&str, &str),
) {
    world.upstream().forget();
    world.upstream().script(Answer::text("Rotate it.\n"));
    let question = format!("What is {HELD} for, {model}?");
    let turn = matrix::granting(world, server.chat(&question, model)).await;
    let turn = turn.unwrap();
    assert!(turn.errors.is_empty(), "{model}: {turn:?}");
    assert_eq!(turn.reply.trim(), "Rotate it.", "{model}");
    assert!(!world.upstream().requests_to(path).is_empty(), "{model}");
    matrix::assert_clean(world.upstream());
}

async fn a_question_waits_and_goes_on_when_granted(
    world: &World,
    server: &LanguageServer,
    (model, path): (&str, &str),
) {
    world.upstream().forget();
    world.upstream().script(Answer::text("Rotate it.\n"));
    // what was granted once is remembered for the model, and editors ask one for the other
    let question = format!("Who made {HELD}, {model}?");
    let turn = server.chat(&question, model).await.unwrap();
    assert!(turn.errors.is_empty(), "{model}: {turn:?}");
    matrix::assert_documented(CLIENT, "A request that waits for approval", &turn.reply);
    assert!(!world.upstream().saw("Who made"), "{model}: {turn:?}");

    matrix::grant(world, &turn.reply).await;
    let turn = server.go_on(&turn, "go on", model).await.unwrap();
    assert!(turn.errors.is_empty(), "{model}: {turn:?}");
    assert_eq!(turn.reply.trim(), "Rotate it.", "{model}");
    let asked = world.upstream().requests_to(path);
    let asked = asked
        .iter()
        .find(|seen| seen.contains("Who made MASKED_SLACK_"));
    assert!(asked.unwrap().contains("go on"), "{model}");
    matrix::assert_clean(world.upstream());
}

#[test]
fn a_person_is_told_of_an_expired_token_and_of_no_role() {
    inside(
        "a_person_is_told_of_an_expired_token_and_of_no_role",
        async || {
            let world = start(World::builder()).await;
            let token = world.issuer().token("ana").expires_in(-7200).sign();
            let server = open_editor(&world, &token).await;
            let status = server.status().await.unwrap();
            assert_eq!(status["status"], "NotSignedIn", "{status}");
            matrix::assert_documented(CLIENT, "Your token has expired", &server.shown().concat());
            drop(server);

            let token = world.issuer().token("ana").groups(&["none"]).sign();
            let server = open_editor(&world, &token).await;
            let status = server.status().await.unwrap();
            assert_eq!(status["status"], "NotAuthorized", "{status}");
            matrix::assert_documented(CLIENT, "You have no role", &server.shown().concat());
            assert_eq!(world.upstream().arrivals(), 0);
        },
    );
}

#[test]
fn an_error_of_upstream_is_shown_and_leaves_the_server_usable() {
    inside(
        "an_error_of_upstream_is_shown_and_leaves_the_server_usable",
        async || {
            let (world, server) = signed_in().await;
            let teapot = r#"{"error":{"message":"the model is a teapot","code":"teapot"}}"#;
            world.upstream().script(Script {
                rules: vec![Rule {
                    path: "/chat/completions".to_owned(),
                    times: Some(1),
                    answer: Answer::raw(400, teapot),
                }],
                otherwise: Answer::text("Better now.\n"),
            });
            let turn = server.chat("Tea?", MODEL).await.unwrap();
            assert!(
                json!(turn.errors).to_string().contains("teapot"),
                "{turn:?}"
            );
            let turn = server.chat("And now?", MODEL).await.unwrap();
            assert_eq!(turn.reply.trim(), "Better now.", "{turn:?}");
        },
    );
}

/// Runs a case of this file in a namespace.
fn inside<F: Future<Output = ()>>(name: &str, case: impl FnOnce() -> F) {
    matrix::inside(&format!("language_server::{name}"), case);
}

async fn open_editor(world: &World, token: &str) -> LanguageServer {
    let authority = &world.certificates().authority;
    let folder = world.folder().join("editor");
    let editor = Editor::new(DOMAIN, token, authority, &folder).unwrap();
    LanguageServer::start(&editor).await.unwrap()
}

/// A world and an editor whose person is signed in.
async fn at_work(builder: Builder, token: &str) -> (World, LanguageServer) {
    let world = start(builder).await;
    let server = open_editor(&world, token).await;
    let status = server.status().await.unwrap();
    assert_eq!(status["status"], "OK", "{status}");
    (world, server)
}

async fn at_work_as_ana(builder: Builder) -> (World, LanguageServer) {
    let world = start(builder).await;
    let server = sign_in(&world).await;
    (world, server)
}

async fn sign_in(world: &World) -> LanguageServer {
    let server = open_editor(world, &world.issuer().token("ana").sign()).await;
    let status = server.status().await.unwrap();
    assert_eq!(status["status"], "OK", "{status}");
    server
}

async fn signed_in() -> (World, LanguageServer) {
    at_work_as_ana(World::builder()).await
}

fn assert_clean(world: &World) {
    assert!(!world.upstream().saw(SECRET), "upstream saw the secret");
    for seen in world.upstream().requests() {
        assert!(
            !seen.contains("eyJ"),
            "a token of ours went upstream: {}",
            seen.path
        );
    }
}

fn assert_credential(seen: &Seen) {
    assert_eq!(seen.header("authorization"), format!("Bearer {CREDENTIAL}"));
}
