//! The approval desk in a world: asked as a filter asks, decided as approvers do.

use e2e::{client::client, desk::DESK_TOKEN, world::World};
use serde_json::{Value, json};

async fn ask(world: &mut World, item: &str, wait_ms: u64) -> Value {
    let issuer = world.issuer().url();
    let body = json!({
        "deployment": "demo", "person": format!("{issuer}#ana"), "role": "engineer",
        "exchange": "gd_1", "endpoint": "chat", "model": "gpt-4.1", "rule": "secrets",
        "rule_digest": "01".repeat(32), "policy_digest": "02".repeat(32),
        "cause_items": [item.repeat(32)], "masked_content": "deploy to production",
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
