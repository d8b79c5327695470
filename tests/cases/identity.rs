//! P5: nobody unknown.

use e2e::{
    caller::{Http, chat},
    issuer::{Algorithm, Forgery},
    world::{DOMAIN, World},
};
use serde_json::json;

#[tokio::test]
async fn tokens_of_every_algorithm_are_accepted() {
    let world = World::start().await;
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let token = world.issuer().token("ana").algorithm(algorithm).sign();
        let answer = world.caller("ana").with_token(token).chat("hello").await;
        assert_eq!(answer.unwrap().status, 200, "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_caller_without_a_good_token_gets_401_everywhere() {
    let world = World::start().await;
    let issuer = world.issuer();
    let cases = [
        ("none", String::new()),
        ("expired", issuer.token("ana").expires_in(-120).sign()),
        (
            "another audience",
            issuer.token("ana").audience("else").sign(),
        ),
        (
            "another issuer",
            issuer
                .token("ana")
                .claim("iss", "https://evil.example")
                .sign(),
        ),
        ("no subject", issuer.token("ana").without("sub").sign()),
        (
            "foreign key",
            issuer.token("ana").forged(Forgery::ForeignKey).sign(),
        ),
        (
            "mac",
            issuer
                .token("ana")
                .forged(Forgery::HmacWithPublicKey)
                .sign(),
        ),
        (
            "tampered",
            issuer.token("ana").forged(Forgery::Tampered).sign(),
        ),
        (
            "unsigned",
            issuer.token("ana").forged(Forgery::Unsigned).sign(),
        ),
        ("nonsense", "nonsense".to_owned()),
    ];
    for (name, token) in cases {
        let caller = world.stranger(Http::Two).with_token(token);
        for path in [
            "/chat/completions",
            "/v1/engines/gpt-41/completions",
            "/responses",
        ] {
            let answer = caller.post(path, &chat("hello")).await.unwrap();
            assert_eq!(answer.status, 401, "{name} {path}");
            assert!(
                !answer.header("x-github-request-id").is_empty(),
                "{name} {path}"
            );
            assert_eq!(
                answer.json()["error"]["code"],
                "gateway_identity",
                "{name} {path}"
            );
        }
        for path in [
            "/copilot_internal/v2/token",
            "/copilot_internal/user",
            "/user",
            "/models",
        ] {
            let answer = caller.get(path).await.unwrap();
            assert_eq!(answer.status, 401, "{name} {path}");
        }
    }
    assert_eq!(
        world.upstream().arrivals(),
        0,
        "nothing of it went upstream"
    );
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_body_arrives() {
    let world = World::start().await;
    let head = format!(
        "POST /chat/completions HTTP/1.1\r\nhost: {DOMAIN}\r\ncontent-length: 1000000\r\n\r\n{{"
    );
    let stranger = world.stranger(Http::One);
    let patience = std::time::Duration::from_secs(10);
    let got = stranger.bytes(head.as_bytes(), patience).await.unwrap();
    let got = String::from_utf8_lossy(&got);
    assert!(got.starts_with("HTTP/1.1 401"), "{got}");
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_found_without_a_restart() {
    let world = World::start().await;
    let before = world.caller("ana");
    assert_eq!(before.chat("hello").await.unwrap().status, 200);
    world.issuer().rotate();
    let after = world.caller("ana");
    assert_eq!(after.chat("hello").await.unwrap().status, 200);
}

#[tokio::test]
async fn unknown_keys_do_not_flood_the_issuer() {
    let world = World::start().await;
    assert_eq!(world.caller("ana").chat("hello").await.unwrap().status, 200);
    let before = world.issuer().key_fetches();
    for _ in 0..20 {
        let token = world
            .issuer()
            .token("ana")
            .forged(Forgery::UnknownKeyId)
            .sign();
        let answer = world.stranger(Http::Two).with_token(token).chat("x").await;
        assert_eq!(answer.unwrap().status, 401);
    }
    assert!(world.issuer().key_fetches() <= before + 1);
}

#[tokio::test]
async fn a_person_without_a_role_is_refused_readably() {
    let world = World::start().await;
    let token = world.issuer().token("eve").groups(&["sales"]).sign();
    let caller = world.caller("eve").with_token(token);
    let answer = caller.chat("hello").await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], "gateway_policy");
    let answer = caller.get("/copilot_internal/v2/token").await.unwrap();
    assert_eq!(answer.status, 403);
    let details = &answer.json()["error_details"];
    assert!(
        details["message"].as_str().unwrap().contains("role"),
        "{details}"
    );
    let ghost = caller.ghost("def f").await.unwrap();
    assert_eq!((ghost.status, ghost.text()), (200, String::new()));
    assert_eq!(world.upstream().arrivals(), 0);
}

#[tokio::test]
async fn a_role_decides_over_endpoints_and_models() {
    let roles = json!({ "roles": [
        { "name": "writer", "groups": ["docs"], "endpoints": ["chat"], "models": ["gpt-4.*"] },
    ] });
    let world = World::builder().configure(roles).start().await.unwrap();
    let token = world.issuer().token("dora").groups(&["docs"]).sign();
    let caller = world.caller("dora").with_token(token);
    assert_eq!(caller.chat("hello").await.unwrap().status, 200);
    let mut other = chat("hello");
    other["model"] = json!("claude-sonnet-4.6");
    let answer = caller.post("/chat/completions", &other).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], "gateway_policy");
    let ghost = caller.ghost("def f").await.unwrap();
    assert_eq!((ghost.status, ghost.text()), (200, String::new()));
    assert_eq!(
        world.upstream().requests().len(),
        1,
        "only the chat went upstream"
    );
}

#[tokio::test]
async fn a_key_set_that_was_never_there_closes_the_gateway_readably() {
    let world = World::start().await;
    let patch = json!({ "identity": { "issuers": [{
        "issuer": world.issuer().url(),
        "audiences": ["copilot-gate"],
        "key_set": { "cluster": "nowhere", "path": "/keys" },
    }] } });
    let closed = World::builder().configure(patch).start().await.unwrap();
    let caller = closed
        .caller("ana")
        .with_token(world.issuer().token("ana").sign());
    let answer = caller.chat("hello").await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], "gateway_unavailable");
    let ghost = caller.ghost("def f").await.unwrap();
    assert_eq!((ghost.status, ghost.text()), (200, String::new()));
    let answer = caller.get("/copilot_internal/v2/token").await.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "30");
}

#[tokio::test]
async fn an_issuer_that_goes_down_later_is_not_missed() {
    let world = World::start().await;
    assert_eq!(world.caller("ana").chat("hello").await.unwrap().status, 200);
    world.issuer().down().await;
    let token = world.issuer().token("bo").sign();
    let answer = world.caller("bo").with_token(token).chat("hello").await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn upstream_sees_our_credential_and_nothing_of_the_caller() {
    let world = World::start().await;
    let caller = world
        .caller("ana")
        .with_header("x-gate-person", "boss")
        .with_header("x-forwarded-for", "10.1.2.3")
        .with_header("x-envoy-original-path", "/x")
        .with_header("cookie", "session=1")
        .with_header("x-api-key", "k")
        .with_header("x-interaction-id", "turn-1");
    assert_eq!(caller.chat("hello").await.unwrap().status, 200);
    let seen = world.upstream().requests().remove(0);
    assert_eq!(
        seen.header("authorization"),
        format!("Bearer {}", e2e::world::CREDENTIAL)
    );
    assert_eq!(seen.header("x-interaction-id"), "turn-1");
    assert_eq!(seen.header("accept-encoding"), "identity");
    for name in seen.headers.keys() {
        let name = name.as_str();
        let ours = ["x-gate-", "x-envoy-", "x-forwarded-"]
            .iter()
            .any(|start| name.starts_with(start));
        assert!(!ours && name != "cookie" && name != "x-api-key", "{name}");
    }
    assert!(!world.upstream().saw(&caller.token));
}
