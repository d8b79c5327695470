//! Key sets: whatever an issuer sends, nothing panics and no good token is read differently.
//!
//! Input: the bytes of a key set.

#![no_main]

use filter_core::identity::KeySet;
use fuzz::identity::{NOW, world};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: { std::hint::black_box(world()); }, |data: &[u8]| {
    let world = world();
    let parsed = KeySet::parse(data);
    let mut keys = world.keys(data);
    if let Ok(set) = &parsed {
        assert!(!format!("{set:?}").is_empty());
    }
    if parsed.is_ok() {
        let header = b"{\"alg\":\"HS256\",\"kid\":\"x\"}";
        let payload = b"{\"iss\":\"https://login.example\"}";
        let of_nobody = world.sign(header, payload, false);
        assert!(world.verify(&keys, &of_nobody).is_err());
    }
    for token in &world.tokens {
        let verified = world.verify(&keys, token).is_ok();
        assert!(parsed.is_ok() || !verified, "verified without a key");
    }

    // A bad answer does not replace a good set.
    let refresh = world.issuers[0].refresh;
    keys.accept(0, refresh, Ok(&world.key_set), NOW)
        .expect("a good set");
    let error = keys.accept(0, refresh, Ok(data), NOW).err();
    assert_eq!(error, parsed.err());
    if error.is_some() {
        let token = &world.tokens[2];
        assert!(
            world.verify(&keys, token).is_ok(),
            "a bad set replaced a good one"
        );
    }
});
