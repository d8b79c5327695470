//! The approval desk in a world: asked as a filter asks, decided as approvers do.

use std::{env, path::PathBuf, time::Duration};

use e2e::{client::client, desk::DESK_TOKEN, sink::repository, world::World};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

async fn ask(world: &mut World, item: &str, wait_ms: u64) -> Value {
    let issuer = world.issuer().url();
    let body = json!({
        "deployment": "demo", "person": format!("{issuer}#ana"), "role": "engineer",
        "exchange": "gd_1", "endpoint": "chat", "model": "gpt-4.1", "rule": "secrets",
        "rule_digest": "01".repeat(32), "policy_digest": "02".repeat(32),
        "cause_items": [item.repeat(32)], "masked_content": "deploy <script>alert(1)</script> to production",
        "wait_ms": wait_ms,
    });
    let url = format!("http://{}/v1/approvals", world.desk().settings().listen);
    let request = client().build().unwrap().post(url).bearer_auth(DESK_TOKEN);
    let answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn approvers_decide_at_the_worlds_desk() {
    let mut world = World::builder().desk().start().await.unwrap();
    let (bo, cy) = (world.approver("bo"), world.approver("cy"));
    assert_eq!(ask(&mut world, "03", 0).await["state"], "pending");
    let (granted, id) = tokio::join!(ask(&mut world, "03", 60_000), bo.grant_next());
    assert_eq!(granted["state"], "granted");
    assert_eq!(granted["id"].as_str(), Some(id.unwrap().as_str()));
    assert!(granted["grant"].is_string());
    ask(&mut world, "04", 0).await;
    cy.refuse_next("not on a Friday").await.unwrap();
    let refused = ask(&mut world, "04", 0).await;
    assert_eq!(refused["state"], "refused");
    assert_eq!(refused["reason"], "not on a Friday");
    world.restart_desk().await.unwrap();
    assert_eq!(ask(&mut world, "03", 0).await["state"], "granted");
}

/// A real Chromium: `CHROMIUM`, or what Debian's packages install.
fn chromium() -> PathBuf {
    let names = ["chromium-headless-shell", "chromium"];
    let installed = names.map(|name| PathBuf::from("/usr/bin").join(name));
    env::var_os("CHROMIUM")
        .map(PathBuf::from)
        .or_else(|| installed.into_iter().find(|file| file.exists()))
        .expect("no Chromium: apt-get install chromium-headless-shell, or set CHROMIUM")
}

#[tokio::test]
async fn an_approver_decides_in_a_real_browser() {
    let mut world = World::builder().desk().start().await.unwrap();
    let mut ids = Vec::new();
    for item in ["03", "04", "05"] {
        let asked = ask(&mut world, item, 0).await;
        ids.push(asked["id"].as_str().unwrap().to_owned());
    }
    let url = format!("http://{}", world.desk().settings().listen);
    let mut browser = Command::new("node");
    browser
        .arg(repository().join("tests/clients/desk.mjs"))
        .args([url.as_str(), world.approver("bo").token()])
        .args(&ids)
        .env("CHROMIUM", chromium())
        .kill_on_drop(true);
    let output = timeout(Duration::from_mins(2), browser.output()).await;
    let output = output.expect("the browser is done in time").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = json!({
        "complaints": [],
        "sent_to_sign_in": "/sign-in",
        "content": "deploy <script>alert(1)</script> to production",
        "scripts_in_page": 0,
        "reason_is_labelled": 1,
        "after_grant": "granted",
        "link_leads_to": format!("/approvals/{}", ids[1]),
        "foreign_form": 403,
        "framed": 0,
        "waiting": "Waiting for a decision 2",
        "wider_than_the_phone": false,
        "without_a_reason": "A reason of 1 to 2000 characters is needed.",
        "injected_script_ran": false,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&seen[name], value, "{name}");
    }
    let last: Vec<_> = seen["history"].as_array().unwrap().iter().skip(1).collect();
    assert_eq!(last, ["refused", "bo", "not on a Friday"]);
    assert_eq!(ask(&mut world, "03", 0).await["state"], "granted");
    assert_eq!(ask(&mut world, "04", 0).await["state"], "refused");
    assert_eq!(ask(&mut world, "05", 0).await["state"], "pending");
}
