//! A held request, and a desk that signs what lets it go.

use std::cell::RefCell;

use contract::approval::{Answer, ApprovalState, Ask, GRANT_TYPE};
use filter_core::config::Config;
use filter_core::exchange::{Exchange, Step};
use filter_core::headers::Headers;
use filter_core::worker::{Secrets, Worker};
use serde_json::{Map, Value, json};

use crate::PLANTED;
use crate::identity::{NOW, world};

/// The approval that is asked about.
pub const ID: &str = "AP-ABCDEFGHIJ";

/// The desk's key. It is the issuer's as well: a caller's token is still no grant.
pub const KEY: &str = "d1";

/// Place of the desk among those whose keys are fetched.
const DESK: usize = 1;

/// A gateway that asks about secrets, and what it asks for the same request each time.
pub struct Desk {
    worker: RefCell<Worker>,
    /// The question.
    pub ask: Ask,
    /// A token that lets the request go.
    pub grant: String,
}

impl Desk {
    /// A gateway that has all keys.
    pub fn start() -> Self {
        let example = include_str!("../../filter/core/src/config/example.json");
        let mut config: Value = serde_json::from_str(example).unwrap();
        config["approvals"] =
            json!({ "cluster": "approvals", "public_url": "https://desk.example" });
        config["rules"] = json!([
            { "name": "secrets", "when": { "findings": { "at_least": 1 } },
              "then": "ask_approval", "approvers": "security" },
        ]);
        let config = Config::from_value(config).unwrap();
        let secrets = Secrets::read(&config, |_| Some("k1:MDEyMzQ1Njc4OWFiY2RlZg==".to_owned()));
        let mut worker = Worker::new(config, secrets.unwrap(), [1; 16]);
        for place in [0, DESK] {
            let set = Some((200, world().key_set.as_slice()));
            worker.key_set_reply(place, set, NOW).unwrap();
        }
        let (_, step) = held(&mut worker);
        let Step::Call(call) = step else {
            panic!("nobody is asked: {step:?}");
        };
        let mut desk = Self {
            worker: RefCell::new(worker),
            ask: serde_json::from_slice(&call.body).unwrap(),
            grant: String::new(),
        };
        let parts = desk.parts().map(|part| serde_json::to_vec(&part).unwrap());
        desk.grant = world().sign(&parts[0], &parts[1], true);
        desk
    }

    /// Header and claims of a good grant.
    pub fn parts(&self) -> [Map<String, Value>; 2] {
        let header = json!({ "alg": "EdDSA", "typ": GRANT_TYPE, "kid": KEY });
        let claims = json!({
            "iss": "gw.example", "aud": self.ask.deployment, "sub": self.ask.person, "jti": ID,
            "iat": NOW.seconds(), "exp": NOW.seconds() + 600,
            "rule_digest": self.ask.rule_digest, "endpoint": self.ask.endpoint,
            "model": self.ask.model, "items": self.ask.cause_items, "covers": self.ask.covers,
        });
        [header, claims].map(|part| part.as_object().cloned().unwrap_or_default())
    }

    /// Whether the desk's answer lets a request go. Nothing of it is remembered.
    pub fn passes(&self, answer: &[u8]) -> bool {
        let mut worker = self.worker.borrow_mut();
        let (mut exchange, _) = held(&mut worker);
        let mut step = exchange.callout_reply(&mut worker, Some((200, answer)), NOW);
        if let Step::Call(call) = &step {
            assert_eq!((call.method, &*call.path), ("GET", "/v1/keys"));
            let set = Some((200, world().key_set.as_slice()));
            step = exchange.callout_reply(&mut worker, set, NOW);
        }
        assert!(!exchange.waits());
        match step {
            Step::Forward(_) => {
                // With other keys nothing is known to be granted.
                for set in [&world().few_keys, &world().key_set] {
                    let set = Some((200, set.as_slice()));
                    worker.key_set_reply(DESK, set, NOW).unwrap();
                }
                true
            }
            Step::Reply(reply) => {
                assert!(reply.status == 400 || reply.status == 200);
                false
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A request that waits for the desk.
fn held(worker: &mut Worker) -> (Exchange, Step) {
    let authorization = format!("Bearer {}", world().tokens[2]);
    let headers = [
        (":method", "POST"),
        (":path", "/chat/completions"),
        (":authority", "api.gw.example"),
        ("authorization", &authorization),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut exchange = Exchange::new([7; 10], NOW);
    let headers = Headers::new(headers.into());
    let step = exchange.request_headers(worker, headers, "10.0.0.1:5", false, NOW);
    assert_eq!(step, Step::Buffer);
    let body = json!({
        "model": "gpt-4.1", "messages": [{ "role": "user", "content": PLANTED[0].0 }],
    });
    let step = exchange.request_body(worker, body.to_string().as_bytes(), NOW);
    assert!(exchange.waits());
    (exchange, step)
}

/// The desk's answer with this grant.
pub fn granted(grant: &str) -> Vec<u8> {
    let answer = Answer {
        id: ID.to_owned(),
        state: ApprovalState::Granted,
        grant: Some(grant.to_owned()),
        url: String::new(),
        expires_at: NOW.seconds() + 600,
        reason: None,
        decided_by: None,
        version: 1,
    };
    serde_json::to_vec(&answer).unwrap()
}
