//! P5, nobody unknown: no exchange without a proven identity, decided before any body arrives.

use std::time::Duration;

use e2e::{
    caller::{Http, chat},
    issuer::{Algorithm, Forgery, Mood},
    upstream::Answer,
    world::{CREDENTIAL, DOMAIN, World},
};

#[tokio::test]
async fn a_token_of_the_issuer_is_enough_by_any_of_its_algorithms() {
    let world = World::start().await;
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        for http in [Http::One, Http::Two] {
            let token = world.issuer().token("ana").algorithm(algorithm).sign();
            let got = world
                .stranger(http)
                .with_token(token)
                .chat("hello")
                .await
                .unwrap();
            assert_eq!(
                (got.status, got.text().as_str()),
                (200, "hello"),
                "{algorithm:?} {http:?}"
            );
        }
    }
    let fetches = world.issuer().key_fetches();
    assert!(
        fetches <= 2,
        "one for the worker, one for the main thread: {fetches}"
    );
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_is_refused_and_upstream_hears_nothing() {
    let world = World::start().await;
    world.caller("ana").get("/models").await.unwrap();
    let before = world.upstream().arrivals();
    let token = || world.issuer().token("ana");
    let wrong = [
        ("nothing", String::new()),
        ("no JWT", "abc".to_owned()),
        ("expired", token().expires_in(-7200).sign()),
        ("no expiry", token().without("exp").sign()),
        ("no subject", token().without("sub").sign()),
        ("for somebody else", token().audience("another").sign()),
        (
            "of another issuer",
            token().claim("iss", "http://127.0.0.1:1").sign(),
        ),
        ("foreign key", token().forged(Forgery::ForeignKey).sign()),
        ("HMAC", token().forged(Forgery::HmacWithPublicKey).sign()),
        ("tampered", token().forged(Forgery::Tampered).sign()),
        ("unknown key", token().forged(Forgery::UnknownKeyId).sign()),
        ("unsigned", token().forged(Forgery::Unsigned).sign()),
    ];
    for (name, token) in wrong {
        let caller = world.stranger(Http::Two).with_token(token);
        for got in [
            caller.chat("x").await.unwrap(),
            caller.ghost("x").await.unwrap(),
        ] {
            assert_eq!(got.status, 401, "{name}");
            assert!(!got.header("x-github-request-id").is_empty(), "{name}");
            assert!(!got.json()["message"].is_null(), "{name}");
        }
    }
    assert_eq!(world.upstream().arrivals(), before);
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_body_arrives() {
    let world = World::start().await;
    let head = format!(
        "POST /chat/completions HTTP/1.1\r\nhost: {DOMAIN}\r\ncontent-type: application/json\r\n\
         content-length: 1000000\r\n\r\n{{"
    );
    let got = world
        .stranger(Http::One)
        .bytes(head.as_bytes(), Duration::from_secs(10))
        .await
        .unwrap();
    let got = String::from_utf8_lossy(&got);
    assert!(got.starts_with("HTTP/1.1 401"), "{got}");
}

#[tokio::test]
async fn upstream_gets_our_credential_and_no_proof_of_the_caller() {
    let world = World::start().await;
    let ana = world
        .caller("ana")
        .with_header("cookie", "session=of-the-caller")
        .with_header("x-gate-person", "root")
        .with_header("x-envoy-original-path", "/elsewhere")
        .with_header("x-forwarded-for", "203.0.113.9")
        .with_header("editor-version", "Neovim/0.10.0");
    assert_eq!(ana.chat("hello").await.unwrap().status, 200);
    let seen = world.upstream().requests().pop().unwrap();
    assert_eq!(seen.header("authorization"), format!("Bearer {CREDENTIAL}"));
    assert_eq!(seen.header("editor-version"), "Neovim/0.10.0");
    for stripped in [
        ana.token.as_str(),
        "of-the-caller",
        "root",
        "elsewhere",
        "203.0.113.9",
    ] {
        assert!(!seen.contains(stripped), "{stripped}");
    }
    let names: Vec<&str> = seen
        .headers
        .keys()
        .map(reqwest::header::HeaderName::as_str)
        .collect();
    let ours = |name: &&&str| {
        ["x-gate-", "x-envoy-", "x-forwarded-"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    assert_eq!(names.iter().find(ours), None, "{names:?}");
}

#[tokio::test]
async fn new_keys_are_fetched_when_a_token_names_them() {
    let world = World::start().await;
    assert_eq!(world.caller("ana").chat("one").await.unwrap().status, 200);
    world.issuer().rotate();
    let ana = world.caller("ana");
    let got = e2e::wait::until("acceptance of the new key", async || {
        let got = ana.chat("two").await.unwrap();
        (got.status == 200).then_some(got)
    });
    assert_eq!(got.await.unwrap().text(), "two");
}

#[tokio::test]
async fn without_a_key_set_nobody_passes_and_the_reply_is_readable() {
    for mood in [Mood::Failing, Mood::Garbage] {
        let world = World::builder().mood(mood).start().await.unwrap();
        world.upstream().script(Answer::text("not for you"));
        let got = world
            .caller("ana")
            .post("/chat/completions", &chat("x"))
            .await
            .unwrap();
        assert_eq!(got.status, 400, "{mood:?}");
        assert_eq!(
            got.json()["error"]["code"],
            "gateway_unavailable",
            "{mood:?}"
        );
        assert_eq!(world.upstream().arrivals(), 0, "{mood:?}");
        world.issuer().set_mood(Mood::Well);
        let ana = world.caller("ana");
        e2e::wait::until("recovery", async || {
            (ana.chat("x").await.unwrap().status == 200).then_some(())
        })
        .await
        .unwrap();
    }
}
