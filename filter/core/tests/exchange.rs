//! Whole exchanges as events, without a host.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "test code"
)]

mod approval;
mod delivery;
mod restore;
mod rules;

use contract::{Envelope, MacKey};
use filter_core::{
    audit::End,
    config::Config,
    exchange::{Edits, Exchange, ResponseSource, Step},
    headers::Headers,
    reply::LocalReply,
    time::UnixTime,
    worker::{Secrets, Worker},
};
use jwt_simple::prelude::{
    Claims, Duration as JwtDuration, Ed25519KeyPair, EdDSAKeyPairLike, JWTClaims,
};
use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::{Map, Value, json};

const NOW: UnixTime = UnixTime(1_800_000_000_000_000);
const KEYS: &str = "k1:MDEyMzQ1Njc4OWFiY2RlZg==";
const CREDENTIAL: &str = "the-credential";

/// An invented token of GitHub's form.
const TOKEN: &str = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");

struct Bench {
    worker: Worker,
    issuer: Ed25519KeyPair,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Value)) -> Self {
        let mut bench = Self::without_keys(change);
        let set = bench.key_set();
        bench
            .worker
            .key_set_reply(0, Some((200, &set)), NOW)
            .unwrap();
        bench
    }

    fn without_keys(change: impl FnOnce(&mut Value)) -> Self {
        let mut config: Value =
            serde_json::from_str(include_str!("../src/config/example.json")).unwrap();
        change(&mut config);
        let config = Config::from_value(config).unwrap();
        let secrets = Secrets::read(&config, |name| {
            let value = match name {
                "GATE_DESK_TOKEN" => format!("{CREDENTIAL}-long"),
                name if name.ends_with("_KEYS") => KEYS.to_owned(),
                _ => CREDENTIAL.to_owned(),
            };
            Some(value)
        });
        Self {
            worker: Worker::new(config, secrets.unwrap(), [1; 16]),
            issuer: Ed25519KeyPair::generate().with_key_id("d1"),
        }
    }

    fn key_set(&self) -> Vec<u8> {
        let key: Value = serde_json::from_str(&self.issuer.public_key().to_jwk()).unwrap();
        json!({ "keys": [key] }).to_string().into_bytes()
    }

    fn token(&self, groups: &[&str]) -> String {
        let mut custom = Map::new();
        custom.insert("groups".into(), json!(groups));
        let mut claims: JWTClaims<Map<String, Value>> =
            Claims::with_custom_claims(custom, JwtDuration::from_mins(10))
                .with_issuer("https://login.example")
                .with_subject("ana")
                .with_audience("copilot-gate");
        claims.issued_at = Some(JwtDuration::from_secs(NOW.seconds()));
        claims.invalid_before = claims.issued_at;
        claims.expires_at = Some(JwtDuration::from_secs(NOW.seconds() + 600));
        self.issuer.sign(claims).unwrap()
    }

    fn headers(&self, method: &str, path: &str, more: &[(&str, &str)]) -> Headers {
        let authorization = format!("Bearer {}", self.token(&["eng"]));
        let mut pairs = vec![
            (":method", method),
            (":path", path),
            (":authority", "api.gw.example"),
            ("authorization", &authorization),
        ];
        pairs.extend(more);
        Headers::new(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn begin(&mut self, headers: Headers, end: bool) -> (Exchange, Step) {
        let mut exchange = Exchange::new([7; 10], NOW);
        let step = exchange.request_headers(&mut self.worker, headers, "10.0.0.1:5", end, NOW);
        (exchange, step)
    }

    /// A chat whose body went upstream.
    fn chat(&mut self, body: &str) -> (Exchange, Step) {
        let headers = self.headers("POST", "/chat/completions", &[]);
        let (mut exchange, step) = self.begin(headers, false);
        assert_eq!(step, Step::Buffer);
        let step = exchange.request_body(&mut self.worker, body.as_bytes(), NOW);
        (exchange, step)
    }

    fn answered(&mut self, exchange: &mut Exchange, status: &str, kind: &str) -> Step {
        let pairs = [(":status", status), ("content-type", kind)];
        let headers = Headers::new(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
        let source = ResponseSource::Upstream;
        exchange.response_headers(&mut self.worker, &headers, source, false, NOW)
    }

    fn finish(&mut self, exchange: Exchange, status: u16) -> Envelope {
        let end = End {
            status,
            caller_left: false,
        };
        let closed = exchange.finish(&mut self.worker, end, NOW).unwrap();
        let key = MacKey::new("k1", b"0123456789abcdef");
        let (envelope, _) = contract::open(&closed.record, &[key]).unwrap();
        assert!(!String::from_utf8_lossy(&closed.record).contains(TOKEN));
        envelope
    }
}

fn body(text: &str) -> String {
    json!({ "model": "gpt-4.1", "stream": true, "messages": [{ "role": "user", "content": text }] })
        .to_string()
}

fn forwarded(step: Step) -> Edits {
    match step {
        Step::Forward(edits) => edits,
        other => panic!("{other:?}"),
    }
}

fn replied(step: Step) -> LocalReply {
    match step {
        Step::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn set<'a>(edits: &'a Edits, name: &str) -> Option<&'a str> {
    let found = edits.set.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn a_clean_chat_passes_unchanged_with_our_credential() {
    let mut bench = Bench::new();
    let (mut exchange, step) = bench.chat(&body("hello"));
    let edits = forwarded(step);
    assert_eq!(edits.body, None);
    assert_eq!(set(&edits, "authorization"), Some("Bearer the-credential"));
    assert_eq!(set(&edits, "accept-encoding"), Some("identity"));
    forwarded(bench.answered(&mut exchange, "200", "text/event-stream"));
    let chunk = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi \"},\"finish_reason\":null}]}\n\n";
    let out = forwarded(exchange.response_body(&mut bench.worker, chunk, false, NOW));
    assert_eq!(out.body.as_deref(), Some(&chunk[..]));
    let end = b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    forwarded(exchange.response_body(&mut bench.worker, end, false, NOW));
    forwarded(exchange.response_body(&mut bench.worker, b"", true, NOW));
    let record = bench.finish(exchange, 200);
    assert_eq!((record.decision(), record.ended()), ("allow", "complete"));
    assert_eq!((record.person(), record.role()), ("ana", "engineer"));
    assert_eq!((record.endpoint(), record.model()), ("chat", "gpt-4.1"));
    assert!(record.decision_id().starts_with("gd_"));
}

#[test]
fn a_secret_is_masked_before_it_is_forwarded() {
    let mut bench = Bench::new();
    let (exchange, step) = bench.chat(&body(&format!("push with {TOKEN} please")));
    let edits = forwarded(step);
    let sent = String::from_utf8(edits.body.clone().unwrap()).unwrap();
    assert!(sent.contains("push with MASKED_GITHUB_PAT_"), "{sent}");
    assert!(edits.remove.contains(&"content-length".to_owned()));
    let record = bench.finish(exchange, 0);
    assert_eq!((record.decision(), record.findings_count()), ("mask", 1));
    let findings: Value = serde_json::from_str(record.findings()).unwrap();
    assert_eq!(findings[0]["detector"], "github-pat");
    assert_eq!(findings[0]["offset"], 10);
    assert_eq!(findings[0]["length"], TOKEN.len());
}

#[test]
fn a_rule_that_allows_lets_the_text_pass_and_keeps_it_out_of_the_record() {
    let mut bench = Bench::with(|config| {
        config["rules"] = json!([{
            "name": "ours", "then": "allow",
            "when": { "findings": { "at_least": 1, "detectors": ["github-pat"] } },
        }]);
    });
    let (exchange, step) = bench.chat(&body(&format!("{TOKEN} ")));
    assert_eq!(forwarded(step).body, None);
    let record = bench.finish(exchange, 0);
    assert_eq!((record.decision(), record.rule()), ("allow", "ours"));
}

#[test]
fn five_secrets_are_refused_by_the_second_rule() {
    let mut bench = Bench::new();
    let text: Vec<String> = (0..5)
        .map(|n| TOKEN.replace("Zq3v", &format!("Zq{n}v ")).replace(' ', "") + " ")
        .collect();
    let (exchange, step) = bench.chat(&body(&text.concat()));
    assert_eq!(replied(step).status, 400);
    let record = bench.finish(exchange, 400);
    assert_eq!((record.decision(), record.reason()), ("deny", "findings"));
    assert_eq!((record.rule(), record.ended()), ("many_secrets", "reply"));
}

#[test]
fn a_missing_key_set_is_fetched_while_the_request_waits() {
    let mut bench = Bench::without_keys(|_| ());
    let headers = bench.headers("POST", "/chat/completions", &[]);
    let (mut exchange, step) = bench.begin(headers, false);
    let Step::Call(callout) = step else {
        panic!("{step:?}");
    };
    assert_eq!(
        (callout.cluster.as_str(), callout.path.as_str()),
        ("identity_provider", "/keys")
    );
    assert_eq!(callout.host, "login.example");
    let keys = bench.key_set();
    let step = exchange.callout_reply(&mut bench.worker, Some((200, &keys)), NOW);
    assert_eq!(step, Step::Buffer);
    forwarded(exchange.request_body(&mut bench.worker, body("hello").as_bytes(), NOW));
}

#[test]
fn without_keys_nothing_passes_and_the_reply_says_that_it_is_not_the_callers_fault() {
    let answers: [Option<(u16, &[u8])>; 4] = [
        None,
        Some((503, b"down")),
        Some((200, b"<html>")),
        Some((200, b"{\"keys\":[]}")),
    ];
    for answer in answers {
        let mut bench = Bench::without_keys(|_| ());
        let headers = bench.headers("POST", "/chat/completions", &[]);
        let (mut exchange, _) = bench.begin(headers, false);
        let reply = replied(exchange.callout_reply(&mut bench.worker, answer, NOW));
        assert_eq!(reply.status, 400);
        let record = bench.finish(exchange, 400);
        assert_eq!(
            (record.decision(), record.reason()),
            ("unavailable", "key_set")
        );
    }
}

#[test]
fn a_second_authorization_header_is_nobody() {
    let mut bench = Bench::new();
    let headers = bench.headers(
        "POST",
        "/chat/completions",
        &[("authorization", "Bearer x")],
    );
    let (exchange, step) = bench.begin(headers, false);
    assert_eq!(replied(step).status, 401);
    let record = bench.finish(exchange, 401);
    assert_eq!((record.decision(), record.person()), ("unidentified", ""));
}

#[test]
fn a_refused_credential_is_not_the_callers_fault() {
    for status in ["401", "403", "302"] {
        let mut bench = Bench::new();
        let (mut exchange, _) = bench.chat(&body("hello"));
        let reply = replied(bench.answered(&mut exchange, status, "text/html"));
        assert_eq!(reply.status, 400, "{status}");
        assert_eq!(
            bench.finish(exchange, 400).decision(),
            "unavailable",
            "{status}"
        );
    }
}

#[test]
fn a_broken_stream_ends_readably_and_is_swallowed() {
    let mut bench = Bench::new();
    let (mut exchange, _) = bench.chat(&body("hello"));
    forwarded(bench.answered(&mut exchange, "200", "text/event-stream"));
    let broken =
        forwarded(exchange.response_body(&mut bench.worker, b"data: {\"x\n\n", false, NOW));
    let text = String::from_utf8(broken.body.unwrap()).unwrap();
    assert!(text.contains("could not be checked"), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let rest = format!("data: {TOKEN}\n\n");
    let rest = forwarded(exchange.response_body(&mut bench.worker, rest.as_bytes(), true, NOW));
    assert_eq!(rest.body, Some(Vec::new()));
    let record = bench.finish(exchange, 200);
    assert!(record.unscanned_bytes() > 0);
    assert_eq!((record.decision(), record.ended()), ("unreadable", "reply"));
}

#[test]
fn what_one_rule_allows_does_not_let_another_secret_pass() {
    let mut bench = Bench::with(|config| {
        config["rules"] = json!([{
            "name": "ours", "then": "allow",
            "when": { "findings": { "at_least": 1, "detectors": ["github-pat"] } },
        }]);
    });
    let other = concat!("glpat-", "Qm4Zt7Wx1Ky9Rb3Ln6Vd");
    let (exchange, step) = bench.chat(&body(&format!("{TOKEN} and {other} ")));
    let sent = String::from_utf8(forwarded(step).body.unwrap()).unwrap();
    assert!(!sent.contains(other), "{sent}");
    assert_eq!(bench.finish(exchange, 0).decision(), "mask");
}

#[test]
fn noise_does_not_hide_a_finding_from_a_rule() {
    let mut bench = Bench::with(|config| {
        config["rules"] = json!([{
            "name": "no_gitlab", "then": "deny",
            "when": { "findings": { "at_least": 1, "detectors": ["gitlab-pat"] } },
        }]);
    });
    let noise: Vec<String> = (100..500)
        .map(|n| TOKEN.replace("Zq3", &n.to_string()) + " ")
        .collect();
    let text = format!(
        "{}{}",
        noise.concat(),
        concat!("glpat-", "Qm4Zt7Wx1Ky9Rb3Ln6Vd")
    );
    let (_, step) = bench.chat(&body(&text));
    assert_eq!(replied(step).status, 400);
}

#[test]
fn an_exchange_that_ends_before_anything_was_decided_was_not_allowed() {
    let mut bench = Bench::new();
    let headers = bench.headers("POST", "/chat/completions", &[]);
    let (exchange, _) = bench.begin(headers, false);
    let end = End {
        status: 0,
        caller_left: true,
    };
    let closed = exchange.finish(&mut bench.worker, end, NOW).unwrap();
    assert_eq!(closed.envelope.decision(), "none");
    assert_eq!(closed.envelope.ended(), "aborted");
}

#[test]
fn a_stream_without_its_end_is_not_complete() {
    let mut bench = Bench::new();
    let (mut exchange, _) = bench.chat(&body("hello"));
    forwarded(bench.answered(&mut exchange, "200", "text/event-stream"));
    let half = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi \"}}]}\n\n";
    forwarded(exchange.response_body(&mut bench.worker, half, true, NOW));
    assert_eq!(bench.finish(exchange, 200).ended(), "cut");
}

#[test]
fn query_and_headers_carry_nothing_upstream() {
    let mut bench = Bench::new();
    let path = format!("/chat/completions?k={TOKEN}");
    let more = [
        ("x-any", TOKEN),
        ("x-http-method-override", "GET"),
        ("x-interaction-id", "turn-1"),
    ];
    let headers = bench.headers("POST", &path, &more);
    let (mut exchange, _) = bench.begin(headers, false);
    let edits = forwarded(exchange.request_body(&mut bench.worker, body("hello").as_bytes(), NOW));
    assert_eq!(set(&edits, ":path"), Some("/chat/completions"));
    for name in ["x-any", "x-http-method-override"] {
        assert!(edits.remove.contains(&name.to_owned()), "{name}");
    }
    assert!(!edits.remove.contains(&"x-interaction-id".to_owned()));
    let record = bench.finish(exchange, 200);
    assert_eq!((record.decision(), record.findings_count()), ("mask", 1));
}

#[test]
fn content_of_open_exchanges_is_bounded_and_what_is_missing_is_said() {
    let mut bench = Bench::with(|config| config["audit"] = json!({ "max_pending": "1MiB" }));
    let text = "x".repeat(300 << 10);
    let open: Vec<Exchange> = (0..4).map(|_| bench.chat(&body(&text)).0).collect();
    let records: Vec<Envelope> = open.into_iter().map(|it| bench.finish(it, 200)).collect();
    let truncated: Vec<bool> = records.iter().map(Envelope::content_truncated).collect();
    assert_eq!(truncated, [false, false, false, true]);
    let (exchange, _) = bench.chat(&body(&text));
    assert!(
        !bench.finish(exchange, 200).content_truncated(),
        "room was given back"
    );
}

#[test]
fn a_secret_in_place_of_a_model_is_refused() {
    let mut bench = Bench::with(|config| config["roles"][0]["models"] = json!(["*"]));
    let (exchange, step) = bench.chat(&body("hello").replace("gpt-4.1", TOKEN));
    assert_eq!(replied(step).status, 400);
    assert_eq!(bench.finish(exchange, 400).model(), "");
}

#[test]
fn a_model_in_the_body_of_ghost_text_counts_as_well() {
    let mut bench = Bench::with(|config| config["roles"][0]["models"] = json!(["gpt-41-copilot"]));
    for (more, forwards) in [("", true), (",\"model\":\"o9\"", false)] {
        let headers = bench.headers("POST", "/v1/engines/gpt-41-copilot/completions", &[]);
        let (mut exchange, _) = bench.begin(headers, false);
        let body = format!("{{\"prompt\":\"def f\",\"stream\":true{more}}}");
        let step = exchange.request_body(&mut bench.worker, body.as_bytes(), NOW);
        assert_eq!(matches!(step, Step::Forward(_)), forwards, "{more}");
        let recorded = bench.finish(exchange, 200).model().to_owned();
        assert_eq!(recorded, if forwards { "gpt-41-copilot" } else { "o9" });
    }
}

#[test]
fn a_rotation_is_nobodys_fault() {
    let mut bench = Bench::new();
    let old = bench.key_set();
    bench.issuer = Ed25519KeyPair::generate().with_key_id("d2");
    let ask = |bench: &mut Bench| {
        let headers = bench.headers("POST", "/chat/completions", &[]);
        bench.begin(headers, false)
    };
    // Several at once: all of them may wait for the new set.
    let mut waiting: Vec<Exchange> = Vec::new();
    for _ in 0..3 {
        let (exchange, step) = ask(&mut bench);
        assert!(matches!(step, Step::Call(_)), "{step:?}");
        waiting.push(exchange);
    }
    // An issuer that fails is no reason to say that the caller is unknown.
    let failed = waiting[0].callout_reply(&mut bench.worker, Some((500, b"")), NOW);
    assert!(
        String::from_utf8(replied(failed).body)
            .unwrap()
            .contains("gateway_unavailable")
    );
    let keys = bench.key_set();
    for exchange in &mut waiting[1..] {
        let step = exchange.callout_reply(&mut bench.worker, Some((200, &keys)), NOW);
        assert_eq!(step, Step::Buffer);
    }
    // A key that the fresh set does not have is unknown, and not asked for again at once.
    bench.issuer = Ed25519KeyPair::generate().with_key_id("junk");
    let later = NOW + std::time::Duration::from_secs(2);
    let headers = bench.headers("POST", "/chat/completions", &[]);
    let mut exchange = Exchange::new([7; 10], later);
    let step = exchange.request_headers(&mut bench.worker, headers, "", false, later);
    assert!(matches!(step, Step::Call(_)), "{step:?}");
    let step = exchange.callout_reply(&mut bench.worker, Some((200, &old)), later);
    assert_eq!(replied(step).status, 401);
    let (_, step) = ask(&mut bench);
    assert_eq!(replied(step).status, 401);
}

#[test]
fn seals_chain_over_the_exchanges_of_a_worker() {
    let mut bench = Bench::new();
    for seq in 0..3 {
        let headers = bench.headers("GET", "/user", &[]);
        let (exchange, _) = bench.begin(headers, true);
        let record = bench.finish(exchange, 200);
        assert_eq!(
            (record.seq(), record.epoch()),
            (seq, "01".repeat(16).as_str())
        );
    }
}

#[test]
fn an_exchange_that_never_began_has_no_record() {
    let mut bench = Bench::new();
    let exchange = Exchange::new([0; 10], NOW);
    assert!(
        exchange
            .finish(&mut bench.worker, End::default(), NOW)
            .is_none()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_body_panics_and_none_passes_with_the_secret(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400), place in 0usize..400,
    ) {
        let mut bench = Bench::new();
        let good = body(&format!("x {TOKEN} y"));
        let place = place.min(bytes.len());
        bytes.splice(place..place, good.bytes());
        let headers = bench.headers("POST", "/chat/completions", &[]);
        let (mut exchange, _) = bench.begin(headers, false);
        if let Step::Forward(edits) = exchange.request_body(&mut bench.worker, &bytes, NOW) {
            let sent = String::from_utf8(edits.body.unwrap()).unwrap();
            assert!(!sent.contains(TOKEN));
        }
        bench.finish(exchange, 0);
    }

    #[test]
    fn no_response_panics(
        head in proptest::collection::vec(any::<u8>(), 0..60), cuts in proptest::collection::vec(1usize..40, 1..9),
    ) {
        let mut bench = Bench::new();
        let (mut exchange, _) = bench.chat(&body("hello"));
        forwarded(bench.answered(&mut exchange, "200", "text/event-stream"));
        let event = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{TOKEN} \"}}}}]}}\n\n");
        let mut bytes = event.into_bytes();
        bytes.extend(head);
        let mut shown = Vec::new();
        for cut in cuts {
            let piece: Vec<u8> = bytes.drain(..cut.min(bytes.len())).collect();
            shown.extend(forwarded(exchange.response_body(&mut bench.worker, &piece, false, NOW)).body.unwrap());
        }
        shown.extend(forwarded(exchange.response_body(&mut bench.worker, &bytes, true, NOW)).body.unwrap());
        assert!(!String::from_utf8_lossy(&shown).contains(TOKEN));
        bench.finish(exchange, 200);
    }
}
