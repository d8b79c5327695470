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
use fuzz::identity::{changed, halves, signed, taken, world};
use libfuzzer_sys::fuzz_target;

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
            let [_, claims] = taken(header, payload, "https://login.example", "copilot-gate");
            assert_eq!(claims["sub"], identity.subject.as_str());
            assert!((1..=256).contains(&identity.subject.len()));
            assert!(!identity.subject.chars().any(char::is_control));
            assert!(identity.groups.len() <= 1_000);
        }
    }
});
