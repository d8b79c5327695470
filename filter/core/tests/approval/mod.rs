//! P7, as events: what needs approval sends nothing upstream before the grant, and nothing but a
//! grant for just this lets anything go.

use std::time::Duration;

use contract::approval::{
    Answer, ApprovalState, Ask, CauseSet, Covers, Digest, GRANT_TYPE, GrantClaims, Item,
    MAX_GRANT_BYTES,
};
use filter_core::exchange::Callout;
use jwt_simple::prelude::{HS256Key, HeaderOptions, MACLike};

use super::*;

const ID: &str = "AP-ABCDEFGHIJ";
const PERSON: &str = "https://login.example#ana";

/// Status and body of an answer, if there was one.
type Said = Option<(u16, Vec<u8>)>;

/// Makes a token from what was asked.
type Forger = Box<dyn Fn(&Desk, &Ask) -> String>;

/// A gateway with a rule over findings and one over calls, and a desk that signs.
struct Desk {
    bench: Bench,
    keys: Ed25519KeyPair,
}

fn asking(covers: &str) -> impl FnOnce(&mut Value) {
    move |config| {
        config["approvals"] =
            json!({ "cluster": "approvals", "public_url": "https://desk.example" });
        config["rules"] = json!([
            { "name": "secrets", "when": { "findings": { "at_least": 1 } }, "then": "ask_approval",
              "approvers": "security", "covers": covers },
            { "name": "shell", "when": { "tool_call": { "name": "bash", "arguments": "*curl*" } },
              "then": "ask_approval", "approvers": "ops", "covers": covers },
            { "name": "never", "when": { "tool_call": { "name": "rm" } }, "then": "deny" },
        ]);
    }
}

impl Desk {
    fn new() -> Self {
        Self::covering("content")
    }

    fn covering(covers: &str) -> Self {
        let keys = Ed25519KeyPair::generate().with_key_id("k1");
        let mut bench = Bench::with(asking(covers));
        let set = key_set(&keys);
        bench
            .worker
            .key_set_reply(1, Some((200, &set)), NOW)
            .unwrap();
        Self { bench, keys }
    }

    fn grant(&self, ask: &Ask) -> String {
        self.sign(claims(ask), GRANT_TYPE)
    }

    fn sign(&self, claims: JWTClaims<GrantClaims>, kind: &str) -> String {
        let header = HeaderOptions {
            signature_type: Some(kind.to_owned()),
            ..HeaderOptions::default()
        };
        self.keys.sign_with_options(claims, &header).unwrap()
    }

    /// A held chat, and what the desk was asked.
    fn held(&mut self, text: &str) -> (Exchange, Ask) {
        self.held_body(&body(text))
    }

    fn held_body(&mut self, body: &str) -> (Exchange, Ask) {
        let (exchange, step) = self.bench.chat(body);
        (exchange, asked(&step))
    }

    fn reply(&mut self, exchange: &mut Exchange, answer: &Answer) -> Step {
        self.reply_at(exchange, 200, &serde_json::to_vec(answer).unwrap(), NOW)
    }

    fn reply_at(
        &mut self,
        exchange: &mut Exchange,
        status: u16,
        body: &[u8],
        at: UnixTime,
    ) -> Step {
        exchange.callout_reply(&mut self.bench.worker, Some((status, body)), at)
    }

    /// A chat with this text that the desk grants.
    fn granted(&mut self, text: &str) -> Step {
        let (mut exchange, ask) = self.held(text);
        let answer = granted(&self.grant(&ask));
        self.reply(&mut exchange, &answer)
    }

    /// A chat that went upstream and whose stream has begun.
    fn streaming(&mut self) -> Exchange {
        let (mut exchange, step) = self.bench.chat(&body("hello"));
        forwarded(step);
        forwarded(
            self.bench
                .answered(&mut exchange, "200", "text/event-stream"),
        );
        exchange
    }

    fn piece(&mut self, exchange: &mut Exchange, chunk: &str, end: bool, at: UnixTime) -> Step {
        exchange.response_body(&mut self.bench.worker, chunk.as_bytes(), end, at)
    }
}

fn key_set(keys: &Ed25519KeyPair) -> Vec<u8> {
    let key: Value = serde_json::from_str(&keys.public_key().to_jwk()).unwrap();
    json!({ "keys": [key] }).to_string().into_bytes()
}

fn call(step: &Step) -> &Callout {
    match step {
        Step::Call(call) => call,
        other => panic!("{other:?}"),
    }
}

fn asked(step: &Step) -> Ask {
    let call = call(step);
    assert_eq!(
        (call.method, &*call.path, &*call.cluster),
        ("POST", "/v1/approvals", "approvals")
    );
    assert_eq!(call.host, "desk.example");
    let token = (
        "authorization".to_owned(),
        format!("Bearer {CREDENTIAL}-long"),
    );
    assert!(call.headers.contains(&token));
    assert!(!format!("{call:?}").contains(CREDENTIAL));
    let body = String::from_utf8(call.body.clone()).unwrap();
    assert!(!body.contains(TOKEN), "{body}");
    serde_json::from_str(&body).unwrap()
}

fn claims(ask: &Ask) -> JWTClaims<GrantClaims> {
    let grant = GrantClaims {
        rule_digest: ask.rule_digest,
        endpoint: ask.endpoint.clone(),
        model: ask.model.clone(),
        items: ask.cause_items.clone(),
        covers: ask.covers,
    };
    let mut claims = Claims::with_custom_claims(grant, JwtDuration::from_hours(24))
        .with_issuer("gw.example")
        .with_audience("acme-eu")
        .with_subject(&ask.person)
        .with_jwt_id(ID);
    claims.issued_at = Some(JwtDuration::from_secs(NOW.seconds()));
    claims.invalid_before = None;
    claims.expires_at = Some(JwtDuration::from_secs(NOW.seconds() + 86_400));
    claims
}

fn answer(state: ApprovalState) -> Answer {
    Answer {
        id: ID.to_owned(),
        state,
        grant: None,
        url: format!("https://desk.example/approvals/{ID}"),
        expires_at: NOW.seconds() + 900,
        reason: None,
        decided_by: Some("bo".to_owned()),
        version: 1,
    }
}

fn granted(token: &str) -> Answer {
    Answer {
        grant: Some(token.to_owned()),
        ..answer(ApprovalState::Granted)
    }
}

fn code(step: Step) -> String {
    let reply = replied(step);
    assert_eq!(reply.status, 400);
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

/// What a client shows of a streamed answer of ours.
fn shown(reply: &[u8]) -> String {
    let text = String::from_utf8(reply.to_vec()).unwrap();
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    events
        .filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .filter_map(|event| {
            let content = event["choices"][0]["delta"]["content"].as_str();
            content.map(str::to_owned)
        })
        .collect()
}

fn digest(role: &str, kind: &str, name: &str, text: &str) -> Digest {
    let item = Item {
        role,
        kind,
        name,
        text,
    };
    item.digest()
}

#[test]
fn p7_a_request_is_held_until_it_is_granted_and_then_sent_masked() {
    let mut desk = Desk::new();
    let (mut exchange, ask) = desk.held(&format!("use {TOKEN} "));
    assert!(exchange.waits());
    assert_eq!(
        (&*ask.person, &*ask.role, &*ask.endpoint),
        (PERSON, "engineer", "chat")
    );
    assert_eq!(
        (&*ask.model, &*ask.rule, &*ask.approvers),
        ("gpt-4.1", "secrets", "security")
    );
    assert_eq!(
        (ask.wait_ms, ask.grant_s, ask.covers),
        (50_000, 900, Covers::Content)
    );
    assert!(ask.exchange.starts_with("gd_"));
    assert!(
        ask.masked_content
            .starts_with("--- user text\nuse MASKED_GITHUB_PAT_")
    );
    assert_eq!(ask.findings[0].detector, "github-pat");
    let text = ask.masked_content.lines().nth(1).unwrap();
    assert_eq!(ask.cause_items, [digest("user", "text", "", text)]);

    let answer = granted(&desk.grant(&ask));
    let edits = forwarded(desk.reply(&mut exchange, &answer));
    let sent = String::from_utf8(edits.body.clone().unwrap()).unwrap();
    assert!(sent.contains("MASKED_GITHUB_PAT_") && !sent.contains(TOKEN));
    assert!(edits.remove.contains(&"content-length".to_owned()));
    assert_eq!(set(&edits, "authorization"), Some("Bearer the-credential"));
    assert!(!exchange.waits());
    let record = desk.bench.finish(exchange, 200);
    assert_eq!((record.decision(), record.rule()), ("mask", "secrets"));
    assert_eq!(
        (record.approval_id(), record.approval_state()),
        (ID, "granted")
    );
    assert_eq!(record.approved_by(), "bo");
    assert_eq!(record.approval_covers(), "content");
    let cause: CauseSet = ask.cause_items.into_iter().collect();
    assert_eq!(record.cause_sha256(), cause.digest().0);
}

#[test]
fn p7_nothing_but_a_grant_lets_a_request_go() {
    let answers: Vec<(&str, Said)> = vec![
        ("no answer", None),
        ("not found", Some((404, b"{}".to_vec()))),
        ("down", Some((503, b"upstream connect error".to_vec()))),
        ("late", Some((504, b"upstream request timeout".to_vec()))),
        ("garbled", Some((200, b"{\"id\":".to_vec()))),
        ("empty", Some((200, Vec::new()))),
        (
            "no id",
            Some((
                200,
                b"{\"id\":\"x\",\"state\":\"granted\",\"url\":\"\",\"expires_at\":1}".to_vec(),
            )),
        ),
        ("long", Some((200, vec![b' '; 300 * 1024]))),
        (
            "no grant",
            Some((
                200,
                serde_json::to_vec(&answer(ApprovalState::Granted)).unwrap(),
            )),
        ),
    ];
    for (name, answer) in answers {
        let mut desk = Desk::new();
        let (mut exchange, _) = desk.held(TOKEN);
        let answer = answer.as_ref().map(|(status, body)| (*status, &**body));
        let step = exchange.callout_reply(&mut desk.bench.worker, answer, NOW);
        assert_eq!(code(step), "gateway_unavailable", "{name}");
        let record = desk.bench.finish(exchange, 400);
        assert_eq!(record.decision(), "unavailable", "{name}");
        assert_ne!(record.approval_state(), "", "{name}");
    }
}

#[test]
fn p7_silence_is_told_readably_and_a_refusal_too() {
    let mut desk = Desk::new();
    let (mut exchange, _) = desk.held(TOKEN);
    let later = NOW + Duration::from_secs(50);
    let body = serde_json::to_vec(&answer(ApprovalState::Pending)).unwrap();
    let reply = replied(desk.reply_at(&mut exchange, 200, &body, later));
    assert_eq!(reply.status, 200);
    let text = shown(&reply.body);
    for part in [
        "[Copilot Gate] ",
        "security",
        "secrets",
        "/approvals/AP-ABCDEFGHIJ",
        "go on",
        "(decision gd_",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(reply.body.ends_with(b"data: [DONE]\n\n"));
    let record = desk.bench.finish(exchange, 200);
    assert_eq!(
        (record.decision(), record.reason()),
        ("pending", "approval")
    );
    assert_eq!(
        (record.approval_state(), record.held_ms()),
        ("pending", 50_000)
    );

    for (state, word) in [
        (ApprovalState::Refused, "refused by security"),
        (ApprovalState::Expired, "not valid any more"),
        (ApprovalState::Revoked, "not valid any more"),
        (ApprovalState::Cancelled, "not valid any more"),
        (ApprovalState::Consumed, "is used"),
    ] {
        let (mut exchange, _) = desk.held(TOKEN);
        let no = Answer {
            reason: Some("never\nsend \u{7}this".to_owned()),
            ..answer(state)
        };
        let reply = replied(desk.reply(&mut exchange, &no));
        let text = String::from_utf8(reply.body).unwrap();
        assert!(reply.status == 400 && text.contains(word), "{text}");
        assert!(
            text.contains("gateway_policy") && !text.contains('\u{7}'),
            "{text}"
        );
        let record = desk.bench.finish(exchange, 400);
        assert_eq!(
            (record.decision(), record.approval_state()),
            ("deny", state.name())
        );
    }
}

#[test]
fn an_answer_in_one_piece_is_told_in_one_piece() {
    let mut desk = Desk::new();
    let body = body(TOKEN).replace("\"stream\":true", "\"stream\":false");
    let (mut exchange, _) = desk.held_body(&body);
    let reply = replied(desk.reply(&mut exchange, &answer(ApprovalState::Pending)));
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let text = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.starts_with("[Copilot Gate] "), "{text}");
}

#[test]
fn p7_a_link_that_is_not_the_desks_is_not_shown() {
    for url in [
        "https://evil.example/x",
        "https://desk.example.evil/x",
        "https://desk.example/a b",
        "javascript:x",
    ] {
        let mut desk = Desk::new();
        let (mut exchange, _) = desk.held(TOKEN);
        let pending = Answer {
            url: url.to_owned(),
            ..answer(ApprovalState::Pending)
        };
        let reply = replied(desk.reply(&mut exchange, &pending));
        let text = shown(&reply.body);
        assert!(
            text.contains(" at https://desk.example - ") && !text.contains(url),
            "{text}"
        );
    }
}

#[test]
fn p7_going_on_sends_the_same_question_and_our_words_are_no_part_of_it() {
    let mut desk = Desk::new();
    let risky = json!({ "role": "user", "content": format!("use {TOKEN} ") });
    let chat = |messages: Value| {
        json!({ "model": "gpt-4.1", "stream": true, "messages": messages }).to_string()
    };
    let (mut exchange, first) = desk.held_body(&chat(json!([risky])));
    let reply = replied(desk.reply(&mut exchange, &answer(ApprovalState::Pending)));
    let ours = json!({ "role": "assistant", "content": shown(&reply.body) });
    let on = json!({ "role": "user", "content": "go on" });

    let (mut exchange, second) = desk.held_body(&chat(json!([risky, ours, on])));
    assert_eq!(second.cause_items, first.cause_items);
    let pending = replied(desk.reply(&mut exchange, &answer(ApprovalState::Pending)));
    assert_eq!(pending.status, 200);

    let (mut exchange, third) = desk.held_body(&chat(json!([risky, ours, on, ours, on])));
    assert_eq!(third.cause_items, first.cause_items);
    let answer = granted(&desk.grant(&third));
    let edits = forwarded(desk.reply(&mut exchange, &answer));
    let sent: Value = serde_json::from_slice(&edits.body.unwrap()).unwrap();
    let roles: Vec<&str> = sent["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "user", "user"]);
    assert!(!sent.to_string().contains("Copilot Gate"));
}

#[test]
fn p7_what_was_granted_passes_again_and_nothing_else_does() {
    let mut desk = Desk::new();
    forwarded(desk.granted(&format!("use {TOKEN} ")));
    // The same again, without a question; as history; in another order of the same items.
    let (exchange, step) = desk.bench.chat(&body(&format!("use {TOKEN} ")));
    forwarded(step);
    let record = desk.bench.finish(exchange, 200);
    assert_eq!(
        (record.approval_state(), record.approval_id()),
        ("remembered", ID)
    );
    assert_eq!(record.approved_by(), "bo");

    let texts = |texts: &[&str]| {
        let messages: Vec<Value> = texts
            .iter()
            .map(|text| json!({ "role": "user", "content": text }))
            .collect();
        json!({ "model": "gpt-4.1", "stream": true, "messages": messages }).to_string()
    };
    let (one, other) = (format!("use {TOKEN} "), format!("and {TOKEN} too"));
    let (mut exchange, ask) = desk.held_body(&texts(&[&one, &other]));
    assert_eq!(ask.cause_items.len(), 2);
    let answer = granted(&desk.grant(&ask));
    forwarded(desk.reply(&mut exchange, &answer));
    forwarded(desk.bench.chat(&texts(&[&other, "hello", &one])).1);
    forwarded(desk.bench.chat(&texts(&[&other])).1);

    // Other white space, case, role, kind, model: other questions.
    for changed in [
        format!("use  {TOKEN} "),
        format!("Use {TOKEN} "),
        format!("use {TOKEN}"),
        format!("use {TOKEN} \n"),
        format!("use {TOKEN} {TOKEN}"),
    ] {
        let (_, ask) = desk.held(&changed);
        assert_eq!(ask.cause_items.len(), 1, "{changed}");
    }
    let system = body(&one).replace("\"user\"", "\"system\"");
    desk.held_body(&system);
    let other_model = body(&one).replace("gpt-4.1", "gpt-4.2");
    let (_, ask) = desk.held_body(&other_model);
    assert_eq!(ask.model, "gpt-4.2");
    // After the time for which the worker takes the desk's word it asks again.
    let later = NOW + Duration::from_mins(5);
    let headers = desk.bench.headers("POST", "/chat/completions", &[]);
    let (mut exchange, _) = desk.bench.begin(headers, false);
    let step = exchange.request_body(&mut desk.bench.worker, body(&one).as_bytes(), later);
    asked(&step);
}

#[test]
fn p7_a_grant_for_something_else_lets_nothing_go() {
    let mut desk = Desk::new();
    let other = Ed25519KeyPair::generate().with_key_id("k1");
    let mut change: Vec<(&str, Forger)> = Vec::new();
    macro_rules! changed {
        ($name:expr, |$claims:ident| $change:expr) => {
            change.push((
                $name,
                Box::new(|desk: &Desk, ask: &Ask| {
                    let mut $claims = claims(ask);
                    $change;
                    desk.sign($claims, GRANT_TYPE)
                }),
            ));
        };
    }
    changed!("another person", |it| it.subject =
        Some("https://login.example#bob".into()));
    changed!("nobody", |it| it.subject = None);
    changed!("another issuer", |it| it.issuer =
        Some("evil.example".into()));
    changed!("no issuer", |it| it.issuer = None);
    changed!("another deployment", |it| it.audiences = None);
    changed!("another approval", |it| it.jwt_id =
        Some("AP-AAAAAAAAAA".into()));
    changed!("no id", |it| it.jwt_id = None);
    changed!("over", |it| it.expires_at =
        Some(JwtDuration::from_secs(NOW.seconds() - 120)));
    changed!("without end", |it| it.expires_at = None);
    changed!("another rule", |it| it.custom.rule_digest = Digest([1; 32]));
    changed!("another endpoint", |it| it.custom.endpoint =
        "responses".into());
    changed!("another model", |it| it.custom.model = "gpt-4.2".into());
    changed!("other items", |it| it.custom.items = vec![Digest([1; 32])]);
    changed!("no items", |it| it.custom.items.clear());
    changed!("of another kind", |it| it.custom.covers = Covers::Exchange);
    for kind in ["JWT", "gate-signin+jwt", "gate-copilot+jwt"] {
        change.push((
            kind,
            Box::new(move |desk: &Desk, ask: &Ask| desk.sign(claims(ask), kind)),
        ));
    }
    let header = |kind: &str| HeaderOptions {
        signature_type: Some(kind.to_owned()),
        ..HeaderOptions::default()
    };
    change.push((
        "another key of the same name",
        Box::new(move |_: &Desk, ask: &Ask| {
            other
                .sign_with_options(claims(ask), &header(GRANT_TYPE))
                .unwrap()
        }),
    ));
    change.push((
        "signed with the public key",
        Box::new(move |desk: &Desk, ask: &Ask| {
            let key = HS256Key::from_bytes(&desk.keys.public_key().to_bytes()).with_key_id("k1");
            key.authenticate_with_options(claims(ask), &header(GRANT_TYPE))
                .unwrap()
        }),
    ));
    change.push((
        "not signed",
        Box::new(|desk: &Desk, ask: &Ask| {
            let token = desk.grant(ask);
            let none = data_encoding::BASE64URL_NOPAD.encode(
                format!("{{\"alg\":\"none\",\"typ\":\"{GRANT_TYPE}\",\"kid\":\"k1\"}}").as_bytes(),
            );
            let claims = token.split('.').nth(1).unwrap();
            format!("{none}.{claims}.")
        }),
    ));
    change.push((
        "a changed byte",
        Box::new(|desk: &Desk, ask: &Ask| {
            let token = desk.grant(ask);
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let first = if signature.starts_with('A') { "B" } else { "A" };
            format!("{signed}.{first}{}", signature.get(1..).unwrap())
        }),
    ));
    change.push((
        "too long",
        Box::new(|_: &Desk, _: &Ask| "x".repeat(MAX_GRANT_BYTES + 1)),
    ));
    change.push((
        "the caller's own token",
        Box::new(|desk: &Desk, _: &Ask| desk.bench.token(&["eng"])),
    ));
    for (name, forged) in change {
        let (mut exchange, ask) = desk.held(TOKEN);
        let token = forged(&desk, &ask);
        let mut step = desk.reply(&mut exchange, &granted(&token));
        if let Step::Call(call) = &step {
            // Whose key is not known is asked for; the desk has no other.
            assert_eq!(call.path, "/v1/keys", "{name}");
            let set = key_set(&desk.keys);
            step = desk.reply_at(&mut exchange, 200, &set, NOW);
        }
        assert_eq!(code(step), "gateway_unavailable", "{name}");
        let record = desk.bench.finish(exchange, 400);
        assert_eq!(
            (record.decision(), record.reason()),
            ("unavailable", "grant"),
            "{name}"
        );
        assert_eq!(record.approval_state(), "bad_grant", "{name}");
    }
    // And the worker remembers none of it.
    desk.held(TOKEN);
    let step = desk.granted(TOKEN);
    forwarded(step);
}

#[test]
fn p7_more_than_was_asked_is_granted_only_as_far_as_it_goes() {
    let mut desk = Desk::new();
    let (mut exchange, ask) = desk.held(TOKEN);
    let mut more = claims(&ask);
    more.custom.items.push(Digest([1; 32]));
    let answer = granted(&desk.sign(more, GRANT_TYPE));
    forwarded(desk.reply(&mut exchange, &answer));
}

#[test]
fn an_unknown_key_is_fetched_once() {
    let mut desk = Desk::new();
    desk.keys = Ed25519KeyPair::generate().with_key_id("k2");
    let (mut exchange, ask) = desk.held(TOKEN);
    let answer = granted(&desk.grant(&ask));
    let step = desk.reply(&mut exchange, &answer);
    assert_eq!(
        (call(&step).method, &*call(&step).path),
        ("GET", "/v1/keys")
    );
    let set = key_set(&desk.keys);
    forwarded(desk.reply_at(&mut exchange, 200, &set, NOW));

    // One that the desk does not have either is not fetched again and again.
    desk.keys = Ed25519KeyPair::generate().with_key_id("k3");
    let later = NOW + Duration::from_secs(2);
    let (mut exchange, ask) = desk.held(&format!("a {TOKEN}"));
    let body = serde_json::to_vec(&granted(&desk.grant(&ask))).unwrap();
    let step = desk.reply_at(&mut exchange, 200, &body, later);
    assert_eq!(call(&step).path, "/v1/keys");
    let step = desk.reply_at(&mut exchange, 200, &set, later);
    assert_eq!(code(step), "gateway_unavailable");
    let (mut exchange, ask) = desk.held(&format!("b {TOKEN}"));
    let body = serde_json::to_vec(&granted(&desk.grant(&ask))).unwrap();
    let step = desk.reply_at(&mut exchange, 200, &body, later);
    assert_eq!(code(step), "gateway_unavailable");
}

#[test]
fn p7_a_grant_for_one_exchange_is_consumed_before_anything_is_let_go() {
    let mut desk = Desk::covering("exchange");
    let (mut exchange, ask) = desk.held(TOKEN);
    assert_eq!(ask.covers, Covers::Exchange);
    let token = desk.grant(&ask);
    let step = desk.reply(&mut exchange, &granted(&token));
    let consume = call(&step);
    assert_eq!(
        (consume.method, &*consume.path),
        ("POST", "/v1/approvals/AP-ABCDEFGHIJ/consume")
    );
    let body: Value = serde_json::from_slice(&consume.body).unwrap();
    assert_eq!(body["exchange"], json!(ask.exchange));
    forwarded(desk.reply(&mut exchange, &answer(ApprovalState::Consumed)));

    // The same grant again: the desk says no, whatever the worker remembers.
    let answers: [(u16, Vec<u8>, &str); 5] = [
        (409, b"{}".to_vec(), "gateway_policy"),
        (500, b"{}".to_vec(), "gateway_unavailable"),
        (200, b"{}".to_vec(), "gateway_unavailable"),
        (
            200,
            serde_json::to_vec(&answer(ApprovalState::Pending)).unwrap(),
            "gateway_unavailable",
        ),
        (
            200,
            serde_json::to_vec(&Answer {
                id: "AP-AAAAAAAAAA".to_owned(),
                ..answer(ApprovalState::Consumed)
            })
            .unwrap(),
            "gateway_unavailable",
        ),
    ];
    for (status, body, expected) in answers {
        let (mut exchange, _) = desk.held(TOKEN);
        call(&desk.reply(&mut exchange, &granted(&token)));
        let step = desk.reply_at(&mut exchange, status, &body, NOW);
        assert_eq!(code(step), expected, "{status}");
    }
}

#[test]
fn every_rule_that_asks_is_asked() {
    let mut desk = Desk::new();
    let call =
        json!({ "id": "c", "function": { "name": "bash", "arguments": "{\"x\":\"curl\"}" } });
    let body = json!({ "model": "gpt-4.1", "stream": true, "messages": [
        { "role": "user", "content": TOKEN },
        { "role": "assistant", "tool_calls": [call] },
    ] });
    let (mut exchange, first) = desk.held_body(&body.to_string());
    assert_eq!((&*first.rule, first.cause_items.len()), ("secrets", 1));
    let answer = granted(&desk.grant(&first));
    let step = desk.reply(&mut exchange, &answer);
    let second = asked(&step);
    assert_eq!((&*second.rule, &*second.approvers), ("shell", "ops"));
    assert_eq!(
        second.cause_items,
        [digest("assistant", "tool_call", "bash", "{\"x\":\"curl\"}")]
    );
    let answer = granted(&desk.grant(&second));
    forwarded(desk.reply(&mut exchange, &answer));
}

#[test]
fn a_rule_that_denies_is_stronger_than_one_that_asks() {
    let mut desk = Desk::new();
    let call = json!({ "id": "c", "function": { "name": "rm", "arguments": "{}" } });
    let body = json!({ "model": "gpt-4.1", "messages": [
        { "role": "user", "content": TOKEN }, { "role": "assistant", "tool_calls": [call] },
    ] });
    let (_, step) = desk.bench.chat(&body.to_string());
    assert_eq!(code(step), "gateway_policy");
}

#[test]
fn ghost_text_never_waits() {
    let mut desk = Desk::new();
    let headers = desk
        .bench
        .headers("POST", "/v1/engines/gpt-41-copilot/completions", &[]);
    let (mut exchange, _) = desk.bench.begin(headers, false);
    let body = json!({ "prompt": TOKEN, "stream": true }).to_string();
    let step = exchange.request_body(&mut desk.bench.worker, body.as_bytes(), NOW);
    let reply = replied(step);
    assert_eq!(reply.status, 200);
    assert!(!String::from_utf8_lossy(&reply.body).contains("Gate"));
    let record = desk.bench.finish(exchange, 200);
    assert_eq!(
        (record.decision(), record.reason()),
        ("deny", "needs_approval")
    );
}

#[test]
fn a_caller_who_leaves_leaves_a_record_and_a_late_answer_changes_nothing() {
    let mut desk = Desk::new();
    let (exchange, _) = desk.held(TOKEN);
    let end = End {
        status: 0,
        caller_left: true,
    };
    let later = NOW + Duration::from_secs(7);
    let closed = exchange.finish(&mut desk.bench.worker, end, later).unwrap();
    let envelope = closed.envelope;
    assert_eq!((envelope.decision(), envelope.ended()), ("none", "aborted"));
    assert_eq!(
        (envelope.approval_state(), envelope.held_ms()),
        ("waiting", 7_000)
    );

    let (mut exchange, ask) = desk.held(TOKEN);
    let answer = granted(&desk.grant(&ask));
    forwarded(desk.reply(&mut exchange, &answer));
    assert_eq!(desk.reply(&mut exchange, &answer), Step::Buffer);
}

const DONE: &str = "data: [DONE]\n\n";

fn event(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
    format!("data: {}\n\n", json!({ "id": "u", "choices": [choice] }))
}

fn calls(name: &str, arguments: &str) -> String {
    let call =
        json!({ "index": 0, "id": "c", "function": { "name": name, "arguments": arguments } });
    let first = event(&json!({ "tool_calls": [call] }), None);
    format!("{first}{}", event(&json!({}), Some("tool_calls")))
}

fn said(step: Step) -> String {
    String::from_utf8(forwarded(step).body.unwrap()).unwrap()
}

fn held(step: Step) {
    match step {
        Step::Hold(edits) => assert_eq!(edits.body.as_deref(), Some(&b""[..])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn p7_a_tool_call_in_a_stream_is_held_until_it_is_granted() {
    let mut desk = Desk::new();
    let mut exchange = desk.streaming();
    let text = event(&json!({ "content": "Let me see. " }), None);
    assert_eq!(said(desk.piece(&mut exchange, &text, false, NOW)), text);
    let call = calls("bash", "{\"b\": 1, \"a\": \"curl x\"}");
    let ask = asked(&desk.piece(&mut exchange, &call, false, NOW));
    assert_eq!((&*ask.rule, ask.findings.len()), ("shell", 0));
    let item = digest(
        "assistant",
        "tool_call",
        "bash",
        "{\"a\":\"curl x\",\"b\":1}",
    );
    assert_eq!(ask.cause_items, [item]);
    assert!(
        ask.masked_content
            .starts_with("--- assistant tool_call bash\n{\"a\":\"curl x\"")
    );
    // What comes meanwhile waits, and every ten seconds the caller hears something.
    held(desk.piece(&mut exchange, DONE, false, NOW + Duration::from_secs(9)));
    let comment = said(desk.piece(&mut exchange, "", false, NOW + Duration::from_secs(10)));
    assert_eq!(comment, ": waiting for approval\n\n");
    held(desk.piece(&mut exchange, "", true, NOW + Duration::from_secs(11)));
    let answer = granted(&desk.grant(&ask));
    assert_eq!(
        said(desk.reply(&mut exchange, &answer)),
        format!("{call}{DONE}")
    );
    let record = desk.bench.finish(exchange, 200);
    assert_eq!((record.decision(), record.ended()), ("allow", "complete"));
    assert_eq!(
        (record.approval_state(), record.rule()),
        ("granted", "shell")
    );
    // As history it is known, and passes; with other text around it as well.
    let mut again = desk.streaming();
    let call = calls("bash", "{\"a\":\"curl x\",\"b\":1}");
    assert_eq!(said(desk.piece(&mut again, &call, false, NOW)), call);
}

#[test]
fn p7_a_tool_call_that_is_not_granted_never_reaches_the_caller() {
    let desk_answers: Vec<(Said, &str, &str)> = vec![
        (None, "unavailable", "cannot be reached"),
        (
            Some((503, b"down".to_vec())),
            "unavailable",
            "cannot be reached",
        ),
        (
            Some((
                200,
                serde_json::to_vec(&answer(ApprovalState::Pending)).unwrap(),
            )),
            "pending",
            "waits for approval by ops",
        ),
        (
            Some((
                200,
                serde_json::to_vec(&answer(ApprovalState::Refused)).unwrap(),
            )),
            "deny",
            "was refused by ops",
        ),
    ];
    for (answer, decision, text) in desk_answers {
        for ended in [false, true] {
            let mut desk = Desk::new();
            let mut exchange = desk.streaming();
            let stream = format!("{}{DONE}", calls("bash", "{\"x\":\"curl\"}"));
            asked(&desk.piece(&mut exchange, &stream, ended, NOW));
            let answer = answer.as_ref().map(|(status, body)| (*status, &**body));
            let step = exchange.callout_reply(&mut desk.bench.worker, answer, NOW);
            let out = said(step);
            assert!(
                !out.contains("curl") && !out.contains("tool_calls"),
                "{out}"
            );
            let shown = shown(out.as_bytes());
            assert!(
                shown.starts_with("\n\n[Copilot Gate] ") && shown.contains(text),
                "{shown}"
            );
            assert!(
                out.contains("\"finish_reason\":\"stop\"") && out.ends_with(DONE),
                "{out}"
            );
            if !ended {
                assert_eq!(said(desk.piece(&mut exchange, &stream, true, NOW)), "");
            }
            let record = desk.bench.finish(exchange, 200);
            assert_eq!((record.decision(), record.rule()), (decision, "shell"));
        }
    }
}

#[test]
fn an_answer_that_comes_while_nothing_is_held_leaves_with_the_next_piece() {
    let mut desk = Desk::new();
    let mut exchange = desk.streaming();
    let call = calls("bash", "{\"x\":\"curl\"}");
    let ask = asked(&desk.piece(&mut exchange, &call, false, NOW));
    let later = NOW + Duration::from_secs(20);
    said(desk.piece(&mut exchange, "", false, later));
    let grant = granted(&desk.grant(&ask));
    assert_eq!(desk.reply(&mut exchange, &grant), Step::Buffer);
    assert_eq!(
        said(desk.piece(&mut exchange, DONE, false, later)),
        format!("{call}{DONE}")
    );

    let mut exchange = desk.streaming();
    let call = calls("bash", "{\"y\":\"curl\"}");
    asked(&desk.piece(&mut exchange, &call, false, NOW));
    said(desk.piece(&mut exchange, "", false, later));
    assert_eq!(
        desk.reply(&mut exchange, &answer(ApprovalState::Refused)),
        Step::Buffer
    );
    let out = said(desk.piece(&mut exchange, DONE, true, later));
    assert!(
        out.contains("was refused") && !out.contains("curl"),
        "{out}"
    );
}

#[test]
fn a_caller_hears_something_while_a_long_call_is_written() {
    let mut desk = Desk::new();
    let mut exchange = desk.streaming();
    let call = json!({ "index": 0, "id": "c", "function": { "name": "bash", "arguments": "{" } });
    let first = event(&json!({ "tool_calls": [call] }), None);
    let at = |seconds| NOW + Duration::from_secs(seconds);
    assert_eq!(said(desk.piece(&mut exchange, &first, false, at(1))), "");
    assert_eq!(said(desk.piece(&mut exchange, "", false, at(9))), "");
    let comment = ": waiting for approval\n\n";
    assert_eq!(said(desk.piece(&mut exchange, "", false, at(10))), comment);
    assert_eq!(said(desk.piece(&mut exchange, "", false, at(19))), "");
    assert_eq!(said(desk.piece(&mut exchange, "", false, at(20))), comment);
    // Where nothing is held, silence is the upstream's own.
    let mut quiet = desk.streaming();
    assert_eq!(said(desk.piece(&mut quiet, "", false, at(60))), "");
}

#[test]
fn what_can_leave_before_the_question_does() {
    let mut desk = Desk::new();
    let mut exchange = desk.streaming();
    let text = event(&json!({ "content": "Let me see. " }), None);
    let call = calls("bash", "{\"x\":\"curl\"}");
    assert_eq!(
        said(desk.piece(&mut exchange, &format!("{text}{call}"), false, NOW)),
        text
    );
    assert!(exchange.waits());
    let ask = asked(&desk.piece(&mut exchange, DONE, false, NOW));
    let grant = granted(&desk.grant(&ask));
    assert_eq!(
        said(desk.reply(&mut exchange, &grant)),
        format!("{call}{DONE}")
    );
    // With the end of the stream there is no later: it waits with the rest.
    let mut exchange = desk.streaming();
    let other = calls("bash", "{\"y\":\"curl\"}");
    asked(&desk.piece(&mut exchange, &format!("{text}{other}{DONE}"), true, NOW));
    let out = said(desk.reply(&mut exchange, &answer(ApprovalState::Refused)));
    assert!(out.starts_with(&text) && !out.contains("curl"), "{out}");
}

#[test]
fn a_stream_that_breaks_or_grows_while_it_waits_ends_readably() {
    let grown: Vec<String> = (0..200)
        .map(|_| event(&json!({ "content": "x ".repeat(10_000) }), None))
        .collect();
    for chunks in [vec!["data: {\"x\n\n".to_owned()], grown] {
        let mut desk = Desk::new();
        let mut exchange = desk.streaming();
        let ask = asked(&desk.piece(
            &mut exchange,
            &calls("bash", "{\"x\":\"curl\"}"),
            false,
            NOW,
        ));
        let end =
            chunks
                .iter()
                .find_map(|chunk| match desk.piece(&mut exchange, chunk, false, NOW) {
                    Step::Hold(_) => None,
                    step => Some(said(step)),
                });
        let end = end.unwrap();
        assert!(
            end.contains("could not be checked") && !end.contains("curl"),
            "{end}"
        );
        // The grant comes too late.
        let grant = granted(&desk.grant(&ask));
        assert_eq!(desk.reply(&mut exchange, &grant), Step::Buffer);
        assert_eq!(said(desk.piece(&mut exchange, "more", true, NOW)), "");
        let record = desk.bench.finish(exchange, 200);
        assert_eq!(
            (record.decision(), record.approval_state()),
            ("unreadable", "waiting")
        );
    }
}

#[test]
fn a_tool_call_that_is_denied_is_left_out_at_once() {
    let mut desk = Desk::new();
    let mut exchange = desk.streaming();
    let out = said(desk.piece(&mut exchange, &calls("rm", "{}"), false, NOW));
    assert!(
        out.contains("rule never refuses it") && !out.contains("\"rm\""),
        "{out}"
    );
    let record = desk.bench.finish(exchange, 200);
    assert_eq!((record.decision(), record.reason()), ("deny", "tool_call"));
}

#[test]
fn p7_a_tool_call_in_a_whole_answer_is_held_too() {
    let call =
        json!({ "id": "c", "function": { "name": "bash", "arguments": "{\"x\":\"curl\"}" } });
    let message = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
    let whole =
        json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "tool_calls" }] });
    let whole = whole.to_string();
    let question = body("hello").replace("\"stream\":true", "\"stream\":false");
    for grants in [true, false] {
        let mut desk = Desk::new();
        let (mut exchange, step) = desk.bench.chat(&question);
        forwarded(step);
        let step = desk
            .bench
            .answered(&mut exchange, "200", "application/json");
        assert!(matches!(step, Step::Hold(_)));
        let ask = asked(&desk.piece(&mut exchange, &whole, true, NOW));
        let reply = if grants {
            granted(&desk.grant(&ask))
        } else {
            answer(ApprovalState::Pending)
        };
        let out = said(desk.reply(&mut exchange, &reply));
        let record = desk.bench.finish(exchange, 200);
        if grants {
            assert_eq!(out, whole);
            assert_eq!((record.decision(), record.ended()), ("allow", "complete"));
        } else {
            let out: Value = serde_json::from_str(&out).unwrap();
            let message = &out["choices"][0]["message"];
            assert!(
                message["content"]
                    .as_str()
                    .unwrap()
                    .contains("waits for approval by ops")
            );
            assert_eq!(message["tool_calls"], Value::Null);
            assert_eq!(record.decision(), "pending");
        }
    }
}

#[test]
fn without_a_token_for_the_desk_nothing_starts() {
    let mut config: Value =
        serde_json::from_str(include_str!("../../src/config/example.json")).unwrap();
    asking("content")(&mut config);
    let config = Config::from_value(config).unwrap();
    let read = |token: Option<&str>| {
        let secrets = Secrets::read(&config, |name| match name {
            "GATE_DESK_TOKEN" => token.map(str::to_owned),
            _ => Some(KEYS.to_owned()),
        });
        secrets.err().map(|error| error.to_string())
    };
    assert!(
        read(None)
            .unwrap()
            .starts_with("GATE_DESK_TOKEN is not set")
    );
    assert!(
        read(Some("short"))
            .unwrap()
            .starts_with("GATE_DESK_TOKEN is not a token")
    );
    assert!(read(Some("0123456789abcdef,other")).is_none());
}
