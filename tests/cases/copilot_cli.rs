//! P8, the client understands us: what the real Copilot CLI prints of the gateway's answers, and
//! what of its requests upstream gets to see.

use std::fs;

use e2e::{
    copilot_cli::Terminal,
    upstream::{Answer, words},
    world::{DOMAIN, World},
};
use serde_json::json;

use crate::matrix::{self, HELD, MASKED, PLACEHOLDER, REFUSED, inside, without_space};

/// Its heading in the documentation.
const CLIENT: &str = "Copilot CLI";

/// Models that the CLI knows, one for each API that it uses.
const MODELS: [(&str, &str); 2] = [
    ("gpt-5.4", "/responses"),
    ("claude-sonnet-4.6", "/v1/messages"),
];

#[test]
fn a_person_at_the_cli_gets_masked_answers_and_readable_decisions() {
    inside(
        "copilot_cli::a_person_at_the_cli_gets_masked_answers_and_readable_decisions",
        async || {
            let world = matrix::world(443).await;
            let terminal = open(&world, &world.issuer().token("ana").sign());
            for (model, path) in MODELS {
                an_agent_reads_a_secret(&world, &terminal, model, path).await;
                a_question_is_refused(&world, &terminal, model, path).await;
            }
            // what the APIs have in common needs no second start of a large program
            let [(first, path), (second, _)] = MODELS;
            the_model_writes_a_secret(&world, &terminal, second).await;
            a_question_is_held_and_granted(&world, &terminal, second).await;
            a_question_waits_and_goes_on_when_granted(&world, &terminal, first, path).await;
            a_stranger_is_told_so(&world).await;
        },
    );
}

async fn an_agent_reads_a_secret(world: &World, terminal: &Terminal, model: &str, path: &str) {
    let file = terminal.workspace().join("secret.env");
    fs::write(&file, format!("KEY={MASKED}\n")).unwrap();
    let command = json!({"command": "cat secret.env", "description": "Look into it"});
    let answer = Answer::agent("bash", &command.to_string(), "There is a key in it.\n");
    world.upstream().forget();
    world.upstream().script(answer);
    let shown = terminal.ask("What is in secret.env?", model).await.unwrap();
    assert!(shown.status.success(), "{model}: {shown:?}");
    for part in ["Look into it", "cat secret.env", "There is a key in it."] {
        assert!(shown.printed.contains(part), "{model}: {shown:?}");
    }
    let asked = world.upstream().requests_to(path);
    assert_eq!(asked.len(), 2, "{model}: {shown:?}");
    assert!(asked[0].contains("What is in secret.env?"), "{model}");
    assert!(asked[1].contains(&format!("KEY={PLACEHOLDER}")), "{model}");
    asked.iter().for_each(matrix::assert_credential);
    matrix::assert_clean(world.upstream());
}

async fn the_model_writes_a_secret(world: &World, terminal: &Terminal, model: &str) {
    let mut parts = words(&format!("Use {MASKED} for that.\n"));
    let middle = parts[1].split_off(11); // the secret itself, over two events
    parts.insert(2, middle);
    world.upstream().script(Answer::parts(parts));
    let shown = terminal.ask("Which key do I use?", model).await.unwrap();
    assert!(shown.status.success(), "{model}: {shown:?}");
    assert!(
        !without_space(&shown.printed).contains(MASKED),
        "{model}: {shown:?}"
    );
    assert!(
        without_space(&shown.printed).contains(&format!("Use{PLACEHOLDER}")),
        "{model}: {shown:?}"
    );
    assert!(
        without_space(&shown.printed).contains("forthat."),
        "{model}: {shown:?}"
    );
}

async fn a_question_is_refused(world: &World, terminal: &Terminal, model: &str, path: &str) {
    world.upstream().forget();
    let question = format!("What is {REFUSED} for?");
    let shown = terminal.ask(&question, model).await.unwrap();
    assert!(!shown.status.success(), "{model}: {shown:?}");
    matrix::assert_documented(CLIENT, "A refusal", &shown.printed);
    assert_eq!(world.upstream().requests_to(path).len(), 0, "{model}");
}

async fn a_question_is_held_and_granted(world: &World, terminal: &Terminal, model: &str) {
    world.upstream().forget();
    world.upstream().script(Answer::text("Rotate it.\n"));
    let question = format!("What is {HELD} for?");
    let shown = matrix::granting(world, terminal.ask(&question, model)).await;
    let shown = shown.unwrap();
    assert!(shown.status.success(), "{model}: {shown:?}");
    assert!(shown.printed.contains("Rotate it."), "{model}: {shown:?}");
    matrix::assert_clean(world.upstream());
}

async fn a_question_waits_and_goes_on_when_granted(
    world: &World,
    terminal: &Terminal,
    model: &str,
    path: &str,
) {
    world.upstream().forget();
    let shown = terminal
        .ask(&format!("Who made {HELD}?"), model)
        .await
        .unwrap();
    assert!(shown.status.success(), "{model}: {shown:?}");
    matrix::assert_documented(CLIENT, "A request that waits for approval", &shown.printed);
    assert_eq!(world.upstream().requests_to(path).len(), 0, "{model}");

    matrix::grant(world, &shown.printed).await;
    let again = ["--continue", "-p", "go on", "--model", model];
    let shown = terminal.run(&again).await.unwrap();
    assert!(shown.printed.contains("Rotate it."), "{model}: {shown:?}");
    let asked = world.upstream().requests_to(path).pop().unwrap();
    assert!(
        asked.contains("Who made MASKED_SLACK_"),
        "{model}: {}",
        asked.text()
    );
    matrix::assert_clean(world.upstream());
}

async fn a_stranger_is_told_so(world: &World) {
    world.upstream().forget();
    let token = world.issuer().token("ana").expires_in(-7200).sign();
    let model = MODELS[0].0;
    let shown = open(world, &token).ask("Hello?", model).await.unwrap();
    assert!(!shown.status.success(), "{shown:?}");
    matrix::assert_documented(CLIENT, "Your token has expired", &shown.printed);

    let token = world.issuer().token("ana").groups(&["none"]).sign();
    let shown = open(world, &token).ask("Hello?", model).await.unwrap();
    assert!(!shown.status.success(), "{shown:?}");
    matrix::assert_documented(CLIENT, "You have no role", &shown.printed);
    assert_eq!(world.upstream().requests().len(), 0, "{shown:?}");
}

fn open(world: &World, token: &str) -> Terminal {
    let authority = &world.certificates().authority;
    let folder = tempfile::tempdir_in(world.folder()).unwrap().keep();
    Terminal::new(DOMAIN, token, authority, &folder).unwrap()
}
