//! Tokens: nothing is verified without a right signature over right claims.
//!
//! Input: one byte for the way, then what it says:
//!
//! - 0: a token or header as it comes;
//! - 1: changes to a good token, three bytes each: place, and what shall stand there;
//! - 2: header, line feed, payload, signed by a key that is in no set;
//! - 3: the same, signed rightly.

#![no_main]

use filter_core::identity::{KeyStore, bearer};
use fuzz::head;
use fuzz::identity::{NOW, changed, halves, signed, world};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

thread_local!(static KEYS: KeyStore = world().keys(&world().key_set));

fuzz_target!(init: { KEYS.with(|_| ()); }, |data: &[u8]| {
    let Some(([way], rest)) = head::<1>(data) else {
        return;
    };
    let issuer = world();
    let verify = |token: &str| KEYS.with(|keys| issuer.verify(keys, token));
    match way & 3 {
        0 => {
            let text = String::from_utf8_lossy(rest);
            assert!(verify(&text).is_err(), "a token was invented");
            if let Some(token) = bearer(&text) {
                assert!(!token.is_empty() && !token.contains(' ') && text.contains(token));
                assert!(verify(token).is_err(), "a token was invented");
            }
        }
        1 => {
            let good = &issuer.tokens[usize::from(way >> 2) % 3];
            assert!(verify(good).is_ok(), "a good token is refused");
            let token = changed(good, rest);
            if verify(&token).is_ok() {
                // ES256 has two signatures for each message.
                assert_eq!(
                    signed(&token),
                    signed(good),
                    "other words under the signature"
                );
            }
        }
        way => {
            let (header, payload) = halves(rest);
            let verified = verify(&issuer.sign(header, payload, way == 3));
            let Ok(identity) = verified else {
                return;
            };
            assert_eq!(way, 3, "a stranger's signature is taken");
            // What nobody reads need not be UTF-8.
            let (header, payload) = (
                String::from_utf8_lossy(header),
                String::from_utf8_lossy(payload),
            );
            let header: Value = serde_json::from_str(&header).expect("the header is JSON");
            assert_eq!(header["alg"], "EdDSA");
            let claims: Value = serde_json::from_str(&payload).expect("the payload is JSON");
            assert_eq!(claims["iss"], "https://login.example");
            let audience = match &claims["aud"] {
                Value::Array(list) => list.iter().any(|one| one == "copilot-gate"),
                one => one == "copilot-gate",
            };
            assert!(audience, "for somebody else");
            assert_eq!(claims["sub"], identity.subject.as_str());
            assert!((1..=256).contains(&identity.subject.len()));
            assert!(!identity.subject.chars().any(char::is_control));
            let seconds = |name: &str| claims[name].as_f64();
            let now = NOW.seconds() as f64;
            assert!(seconds("exp").expect("an end") > now - 62.0, "expired");
            assert!(
                seconds("nbf").is_none_or(|from| from < now + 62.0),
                "not yet"
            );
            assert!(identity.groups.len() <= 1_000);
        }
    }
});
