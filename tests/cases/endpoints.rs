//! P4: nothing unseen. The endpoints around the models, and everything that is none of them.

use e2e::{
    caller::{Http, chat},
    upstream::{Answer, Rule},
    world::World,
};
use serde_json::json;

/// An invented token of GitHub's form.
const SECRET: &str = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");

/// How long an answer may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

#[tokio::test]
async fn the_token_is_the_callers_own_and_points_back_to_the_gateway() {
    let world = World::start().await;
    let caller = world.caller("ana");
    let answer = caller.get("/copilot_internal/v2/token").await.unwrap();
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["token"], caller.token.as_str());
    assert!(
        body["refresh_in"]
            .as_u64()
            .is_some_and(|seconds| (1..=1_500).contains(&seconds))
    );
    for (role, host) in [
        ("api", "api."),
        ("proxy", "proxy."),
        ("telemetry", "telemetry."),
    ] {
        let url = body["endpoints"][role].as_str().unwrap();
        assert!(url.starts_with(&format!("https://{host}gw.test")), "{url}");
    }
    assert_eq!(world.upstream().arrivals(), 0);
}

#[tokio::test]
async fn who_the_caller_is_comes_from_the_proof() {
    let world = World::start().await;
    let caller = world.caller("ana");
    let user = caller.get("/user").await.unwrap().json();
    let seat = caller.get("/copilot_internal/user").await.unwrap().json();
    assert_eq!(
        (&user["login"], &seat["login"]),
        (&json!("ana"), &json!("ana"))
    );
    assert_eq!(user["id"], seat["id"]);
    assert_eq!(seat["chat_enabled"], true);
    assert_eq!(world.upstream().arrivals(), 0);
}

#[tokio::test]
async fn models_lose_what_the_gateway_does_not_inspect() {
    let roles = json!({ "roles": [
        { "name": "engineer", "groups": ["eng"], "endpoints": ["chat"], "models": ["gpt-*"] },
    ] });
    let world = World::builder().configure(roles).start().await.unwrap();
    let models = json!({ "object": "list", "data": [
        { "id": "gpt-4.1", "supported_endpoints": ["/chat/completions"], "x": 1.50 },
        { "id": "gpt-5-codex", "supported_endpoints": ["/responses", "ws:/responses"] },
        { "id": "gpt-5-mini", "supported_endpoints": ["/chat/completions", "ws:/responses"] },
        { "id": "gpt-41-copilot" },
        { "id": "claude-sonnet-4.6", "supported_endpoints": ["/chat/completions"] },
    ] });
    let rule = Rule {
        path: "/models".to_owned(),
        times: None,
        answer: Answer::raw(200, &models.to_string()).header("content-type", "application/json"),
    };
    world.upstream().script(vec![rule]);
    let answer = world.caller("ana").get("/models").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!answer.body_text().contains("ws:/responses"));
    let ids: Vec<String> = answer.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        ids,
        ["gpt-4.1", "gpt-5-codex", "gpt-5-mini", "gpt-41-copilot"]
    );
}

#[tokio::test]
async fn telemetry_is_answered_here_and_sent_nowhere() {
    let world = World::start().await;
    let stranger = world.stranger(Http::Two);
    let answer = stranger
        .raw(
            "POST",
            "/telemetry",
            &[("content-encoding", "gzip")],
            vec![0x1f, 0x8b, 8, 0],
        )
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    let experiments = stranger.get("/telemetry").await.unwrap();
    assert_eq!(experiments.status, 200);
    assert!(experiments.json()["Configs"].is_array());
    assert!(experiments.json()["Features"].is_array());
    assert_eq!(world.upstream().arrivals(), 0);
}

#[tokio::test]
async fn what_is_unknown_is_refused_and_counted() {
    let world = World::start().await;
    let caller = world.caller("ana");
    for path in [
        "/responses/resp_1/cancel",
        "/v1/messages/batches",
        "/models/session",
        "/models/gpt-4.1/policy",
        "/embeddings/models",
        "/search/code",
        "/auto",
    ] {
        let answer = caller.post(path, &chat("hello")).await.unwrap();
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(answer.json()["error"]["code"], "gateway_policy", "{path}");
        assert!(!answer.json()["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(caller.get("/skills").await.unwrap().status, 403);
    assert_eq!(world.upstream().arrivals(), 0);
    let mut world = world;
    let stats = world.envoy().ask("/stats/prometheus").await.unwrap();
    assert!(
        stats.contains("gate_exchanges_total{decision=\"deny\",endpoint=\"unknown\"} 8"),
        "{stats}"
    );
}

#[tokio::test]
async fn odd_spellings_of_a_path_do_not_get_around_the_filter() {
    let world = World::start().await;
    let caller = world
        .stranger(Http::One)
        .with_token(world.caller("ana").token);
    for path in [
        "/chat/completions/",
        "/x/../chat/completions",
        "//chat//completions",
        "/chat%2fcompletions",
        "/CHAT/COMPLETIONS",
        "/v1/engines/..%2f..%2fuser/completions",
    ] {
        let body = chat(SECRET).to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: api.gw.test\r\nauthorization: Bearer {}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            caller.token,
            body.len()
        );
        let answer = caller.bytes(request.as_bytes(), PATIENCE).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{path}");
        assert!(!world.upstream().saw(SECRET), "{path}");
    }
}

#[tokio::test]
async fn upgrades_are_refused_readably() {
    let world = World::start().await;
    let caller = world
        .stranger(Http::One)
        .with_token(world.caller("ana").token);
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = caller.raw("GET", "/responses", &headers, "").await.unwrap();
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["error"]["code"], "gateway_policy");
    assert_eq!(world.upstream().arrivals(), 0);
}
