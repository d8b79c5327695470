//! Grants: nothing is let go without the desk's signature under just what was asked.
//!
//! Input: one byte for the way, then what it says:
//!
//! - 0: a grant as it comes;
//! - 1: changes to a good grant, three bytes each: place, and what shall stand there;
//! - 2: header, line feed, claims, signed by a key that is in no set; of both only what differs from a
//!   good grant, as JSON objects, where null takes a field away;
//! - 3: the same, signed by the desk;
//! - 4: header, line feed, payload as they come, signed by the desk;
//! - 5: an answer of the desk, in which `$` is a good grant.

#![no_main]

use std::collections::BTreeSet;

use contract::approval::{Answer, ApprovalState, Ask, GRANT_TYPE, GrantClaims};
use fuzz::grant::{Desk, ID, KEY, granted};
use fuzz::head;
use fuzz::identity::{changed, halves, signed, taken, world};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

thread_local!(static DESK: Desk = Desk::start());

fuzz_target!(init: { DESK.with(|_| ()); }, |data: &[u8]| {
    if let Some(([way], rest)) = head::<1>(data) {
        DESK.with(|desk| look(desk, way % 6, rest));
    }
});

fn look(desk: &Desk, way: u8, rest: &[u8]) {
    let good = &desk.grant;
    match way {
        0 => {
            let token = String::from_utf8_lossy(rest);
            assert!(!desk.passes(&granted(&token)), "a grant was invented");
        }
        1 => {
            let token = changed(good, rest);
            let passes = desk.passes(&granted(&token));
            assert!(passes || token != *good, "a good grant is refused");
            assert!(
                !passes || signed(&token) == signed(good),
                "other words under the signature"
            );
        }
        5 => {
            let text = String::from_utf8_lossy(rest).replace('$', good);
            if desk.passes(text.as_bytes()) {
                let answer: Answer = serde_json::from_str(&text).expect("an answer");
                assert!(answer.state == ApprovalState::Granted && answer.id == ID);
                let grant = answer.grant.expect("a grant");
                assert_eq!(signed(&grant), signed(good), "a grant was invented");
            }
        }
        way => {
            let (header, payload) = halves(rest);
            let parts = if way == 4 {
                Some((header.to_vec(), payload.to_vec()))
            } else {
                let [first, second] = desk.parts();
                patched(first, header).zip(patched(second, payload))
            };
            let Some((header, payload)) = parts else {
                return;
            };
            let token = world().sign(&header, &payload, way != 2);
            if desk.passes(&granted(&token)) {
                assert_ne!(way, 2, "a stranger's signature is taken");
                fits(&desk.ask, &header, &payload);
            }
        }
    }
}

/// JSON with what the patch has in place of what was there; null takes it away.
fn patched(mut part: Map<String, Value>, patch: &[u8]) -> Option<Vec<u8>> {
    for (name, value) in serde_json::from_slice::<Map<String, Value>>(patch).ok()? {
        if value.is_null() {
            part.remove(&name);
        } else {
            part.insert(name, value);
        }
    }
    serde_json::to_vec(&part).ok()
}

/// Panics unless what is signed is a grant for what was asked, good now.
fn fits(ask: &Ask, header: &[u8], payload: &[u8]) {
    let [header, claims] = taken(header, payload, "gw.example", &ask.deployment);
    assert_eq!(header["typ"], GRANT_TYPE);
    assert_eq!(header["kid"], KEY);
    assert_eq!(claims["sub"], ask.person, "of somebody else");
    assert_eq!(claims["jti"], ID, "of another approval");
    let claims: GrantClaims = serde_json::from_value(claims).expect("claims of a grant");
    assert_eq!(claims.rule_digest, ask.rule_digest, "for another rule");
    assert_eq!(claims.endpoint, ask.endpoint, "for another endpoint");
    assert_eq!(claims.model, ask.model, "for another model");
    assert_eq!(claims.covers, ask.covers, "for one exchange");
    let items: BTreeSet<_> = claims.items.iter().collect();
    assert!(!ask.cause_items.is_empty());
    assert!(
        ask.cause_items.iter().all(|item| items.contains(item)),
        "for something else"
    );
}
