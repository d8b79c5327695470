//! P11: nothing from outside kills it, and failing means closed.

use std::io::Write;

use e2e::{
    caller::{Caller, Http, chat},
    upstream::{Answer, End},
    world::World,
};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;

async fn post(caller: &Caller, body: impl Into<reqwest::Body>) -> e2e::caller::Answer {
    let headers = [("content-type", "application/json")];
    caller
        .raw("POST", "/chat/completions", &headers, body)
        .await
        .unwrap()
}

/// The VM is the one that was started: no exchange ended it.
async fn assert_alive(world: &mut World) {
    world.upstream().script(Answer::text("still here"));
    let answer = world.caller("ana").chat("hello").await.unwrap();
    assert_eq!(
        (answer.status, answer.text()),
        (200, "still here".to_owned())
    );
    let stats = world.envoy().stats().await.unwrap();
    for (name, value) in stats {
        if name.contains("vm_reload")
            || name.contains("gate_host_errors")
            || name.contains("records_lost")
        {
            assert_eq!(value, 0, "{name}");
        }
    }
    let log = world.envoy().log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_refused() {
    let mut world = World::start().await;
    let caller = world.caller("ana");
    let good = chat("hello").to_string();
    let deep = format!(
        "{{\"model\":\"m\",\"messages\":{}1{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("cut", good.as_bytes()[..good.len() - 7].to_vec()),
        ("no JSON", b"hello".to_vec()),
        ("empty", b" ".to_vec()),
        ("a list", b"[1]".to_vec()),
        ("trailing", format!("{good}{good}").into_bytes()),
        (
            "invalid UTF-8",
            good.replace("hello", "he\u{1}o")
                .into_bytes()
                .iter()
                .map(|b| if *b == 1 { 0xff } else { *b })
                .collect(),
        ),
        ("deep", deep.into_bytes()),
        (
            "two models",
            good.replace("\"model\"", "\"model\":\"gpt-4.1\",\"model\"")
                .into_bytes(),
        ),
        (
            "model is a number",
            good.replace("\"gpt-4.1\"", "4").into_bytes(),
        ),
        (
            "stream is a word",
            good.replace("\"stream\":true", "\"stream\":\"yes\"")
                .into_bytes(),
        ),
    ];
    for (name, body) in cases {
        let answer = post(&caller, body).await;
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(
            answer.json()["error"]["code"],
            "gateway_unreadable",
            "{name}"
        );
    }
    let ghost = caller
        .raw("POST", "/v1/engines/e/completions", &[], "{")
        .await
        .unwrap();
    assert_eq!((ghost.status, ghost.text()), (200, String::new()));
    assert_eq!(world.upstream().arrivals(), 0);
    assert_alive(&mut world).await;
}

#[tokio::test]
async fn an_encoded_request_is_refused() {
    let mut world = World::start().await;
    let caller = world.caller("ana");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(chat("hello").to_string().as_bytes())
        .unwrap();
    let gzip = gzip.finish().unwrap();
    for encoding in ["gzip", "br", "zstd", "gzip, gzip", "x"] {
        let headers = [("content-encoding", encoding)];
        let answer = caller
            .raw("POST", "/chat/completions", &headers, gzip.clone())
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{encoding}");
        assert_eq!(
            answer.json()["error"]["code"],
            "gateway_unreadable",
            "{encoding}"
        );
    }
    assert_eq!(world.upstream().arrivals(), 0);
    assert_alive(&mut world).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_us_and_readably() {
    let limits = json!({ "limits": { "max_request": "100KiB" } });
    let mut world = World::builder().configure(limits).start().await.unwrap();
    let caller = world.caller("ana");
    assert_eq!(caller.chat(&"x".repeat(90_000)).await.unwrap().status, 200);
    let answer = caller.chat(&"x".repeat(110_000)).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], "gateway_unreadable");
    // Without a length, the size shows only as the body comes in.
    let pieces = futures::stream::iter((0..60).map(|_| Ok::<_, std::io::Error>(vec![b' '; 4096])));
    let answer = post(&caller, reqwest::Body::wrap_stream(pieces)).await;
    assert_eq!(answer.status, 400);
    assert_alive(&mut world).await;
}

#[tokio::test]
async fn an_upstream_that_is_down_is_reported_readably() {
    let mut world = World::start().await;
    let caller = world.caller("ana");
    world.upstream().down().await;
    for _ in 0..3 {
        let answer = caller.chat("hello").await.unwrap();
        assert_eq!(answer.status, 503);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("GitHub could not be reached"), "{message}");
    }
    world.upstream().up().await.unwrap();
    assert_alive(&mut world).await;
}

#[tokio::test]
async fn odd_answers_of_the_upstream_are_taken() {
    let mut world = World::start().await;
    let caller = world.caller("ana");
    let gzip = Answer {
        gzip: true,
        ..Answer::text("compressed")
    };
    let cases = [
        ("compressed", gzip, 400),
        ("redirect", Answer::redirect("https://evil.example/"), 400),
        ("our credential refused", Answer::raw(401, "{}"), 400),
        ("our credential forbidden", Answer::raw(403, "{}"), 400),
        ("busy", Answer::raw(429, "{\"message\":\"slow down\"}"), 429),
        ("failing", Answer::raw(500, "oops"), 500),
        ("no answer", Answer::text("x").end(End::NoAnswer), 503),
        (
            "JSON in place of a stream",
            Answer::raw(200, "{\"choices\":[]}").header("content-type", "application/json"),
            200,
        ),
        (
            "bytes",
            Answer::raw(200, "\u{0}\u{1}").header("content-type", "application/octet-stream"),
            400,
        ),
    ];
    for (name, answer, status) in cases {
        world.upstream().script(answer);
        let answer = caller.chat("hello").await.unwrap();
        assert_eq!(answer.status, status, "{name}: {}", answer.body_text());
        for header in ["location", "link", "set-cookie"] {
            assert_eq!(answer.header(header), "", "{name}");
        }
    }
    assert_alive(&mut world).await;
}

#[tokio::test]
async fn callers_that_leave_do_not_disturb_others() {
    let mut world = World::start().await;
    let caller = world
        .stranger(Http::Two)
        .with_token(world.caller("ana").token);
    world.upstream().script(
        Answer::text("on and on ")
            .end(End::Never)
            .pause(std::time::Duration::from_millis(5)),
    );
    for _ in 0..5 {
        let asked = caller.chat("go");
        let left = tokio::time::timeout(std::time::Duration::from_millis(200), asked).await;
        assert!(left.is_err(), "the answer has no end");
    }
    assert_alive(&mut world).await;
}
