use jwt_simple::prelude::{
    Claims, Duration as JwtDuration, ECDSAP256KeyPairLike, ES256KeyPair, Ed25519KeyPair,
    EdDSAKeyPairLike, HS256Key, JWTClaims, MACLike, RS256KeyPair, RSAKeyPairLike,
};
use serde_json::{Map, Value, json};

use super::*;
use crate::config::Config;

const NOW: UnixTime = UnixTime(1_800_000_000_000_000);

struct Issuer {
    rsa: RS256KeyPair,
    ec: ES256KeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    fn new() -> Self {
        Self {
            rsa: RS256KeyPair::generate(2048).unwrap().with_key_id("r1"),
            ec: ES256KeyPair::generate().with_key_id("e1"),
            ed: Ed25519KeyPair::generate().with_key_id("d1"),
        }
    }

    fn key_set(&self) -> Vec<u8> {
        let jwk = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        json!({ "keys": [
            jwk(self.rsa.public_key().to_jwk()),
            jwk(self.ec.public_key().to_jwk()),
            jwk(self.ed.public_key().to_jwk()),
            { "kty": "oct", "kid": "x", "k": "AAAA" },
            { "kty": "RSA", "use": "enc", "kid": "r2", "n": "AQAB", "e": "AQAB" },
        ] })
        .to_string()
        .into_bytes()
    }
}

fn claims(
    change: impl FnOnce(&mut JWTClaims<Map<String, Value>>),
) -> JWTClaims<Map<String, Value>> {
    let mut custom = Map::new();
    custom.insert("groups".into(), json!(["eng", "all"]));
    custom.insert("oid".into(), json!("object-7"));
    let mut claims = Claims::with_custom_claims(custom, JwtDuration::from_mins(10))
        .with_issuer("https://login.example")
        .with_subject("ana")
        .with_audience("copilot-gate");
    claims.issued_at = Some(JwtDuration::from_secs(NOW.seconds()));
    claims.invalid_before = claims.issued_at;
    claims.expires_at = Some(JwtDuration::from_secs(NOW.seconds() + 600));
    change(&mut claims);
    claims
}

fn store(issuer: &Issuer) -> (Config, KeyStore) {
    let config = Config::example();
    let mut keys = KeyStore::new(1);
    let set = issuer.key_set();
    keys.accept(0, config.issuers[0].refresh, Ok(&set), NOW)
        .unwrap();
    (config, keys)
}

fn verify(config: &Config, keys: &KeyStore, token: &str) -> Result<Identity, IdentityError> {
    TokenCache::default().verify(token, &config.issuers, keys, NOW)
}

#[test]
fn tokens_of_all_three_algorithms_are_accepted() {
    let issuer = Issuer::new();
    let (config, keys) = store(&issuer);
    let tokens = [
        ("RS256", issuer.rsa.sign(claims(|_| ())).unwrap()),
        ("ES256", issuer.ec.sign(claims(|_| ())).unwrap()),
        ("EdDSA", issuer.ed.sign(claims(|_| ())).unwrap()),
    ];
    for (name, token) in tokens {
        let identity = verify(&config, &keys, &token).unwrap();
        assert_eq!(identity.subject, "ana", "{name}");
        assert_eq!(identity.groups, ["eng", "all"], "{name}");
        assert_eq!(identity.expires_at.seconds(), NOW.seconds() + 600, "{name}");
    }
}

#[test]
fn every_wrong_claim_is_refused() {
    use IdentityError::{Expired, Refused, UnknownIssuer};
    type Change = fn(&mut JWTClaims<Map<String, Value>>);
    let cases: [(&str, Change, IdentityError); 9] = [
        ("no subject", |c| c.subject = None, Refused),
        (
            "empty subject",
            |c| c.subject = Some(String::new()),
            Refused,
        ),
        (
            "control character",
            |c| c.subject = Some("a\nb".into()),
            Refused,
        ),
        ("no audience", |c| c.audiences = None, Refused),
        (
            "other issuer",
            |c| c.issuer = Some("https://evil.example".into()),
            UnknownIssuer,
        ),
        ("no end", |c| c.expires_at = None, Expired),
        (
            "expired",
            |c| c.expires_at = Some(JwtDuration::from_secs(NOW.seconds() - 61)),
            Expired,
        ),
        (
            "not yet",
            |c| c.invalid_before = Some(JwtDuration::from_secs(NOW.seconds() + 120)),
            Expired,
        ),
        (
            "issued later",
            |c| c.issued_at = Some(JwtDuration::from_secs(NOW.seconds() + 120)),
            Expired,
        ),
    ];
    let issuer = Issuer::new();
    let (config, keys) = store(&issuer);
    for (name, change, error) in cases {
        let token = issuer.ed.sign(claims(change)).unwrap();
        assert_eq!(verify(&config, &keys, &token), Err(error), "{name}");
    }
    let foreign = claims(|c| *c = c.clone().with_audience("somebody-else"));
    let token = issuer.ed.sign(foreign).unwrap();
    assert_eq!(verify(&config, &keys, &token), Err(Refused), "audience");
}

#[test]
fn a_clock_may_differ_by_the_leeway() {
    let issuer = Issuer::new();
    let (config, keys) = store(&issuer);
    let just = claims(|c| c.expires_at = Some(JwtDuration::from_secs(NOW.seconds() - 30)));
    assert!(verify(&config, &keys, &issuer.ed.sign(just).unwrap()).is_ok());
}

#[test]
fn extreme_times_do_not_panic() {
    let issuer = Issuer::new();
    let (config, keys) = store(&issuer);
    for payload in [
        json!({ "iss": "https://login.example", "exp": u64::MAX }),
        json!({ "iss": "https://login.example", "exp": -1 }),
        json!({ "iss": "https://login.example", "exp": 1e300 }),
        json!({ "iss": "https://login.example", "exp": "soon" }),
        json!({ "iss": ["https://login.example"] }),
    ] {
        let encode =
            |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": "d1" });
        let token = format!("{}.{}.AAAA", encode(&header), encode(&payload));
        assert!(verify(&config, &keys, &token).is_err());
    }
}

#[test]
fn a_token_that_somebody_else_signed_is_refused() {
    let (config, keys) = store(&Issuer::new());
    let other = Issuer::new();
    let token = other.rsa.sign(claims(|_| ())).unwrap();
    assert_eq!(verify(&config, &keys, &token), Err(IdentityError::Refused));
}

#[test]
fn weak_and_odd_tokens_are_refused() {
    let issuer = Issuer::new();
    let (config, keys) = store(&issuer);
    let public = issuer.ed.public_key().to_bytes();
    // The classic confusion: the public key as the secret of a MAC.
    let confused = HS256Key::from_bytes(&public)
        .with_key_id("d1")
        .authenticate(claims(|_| ()))
        .unwrap();
    let good = issuer.ed.sign(claims(|_| ())).unwrap();
    let (body, _) = good.rsplit_once('.').unwrap();
    let none = data_encoding::BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"JWT"}"#);
    let payload = good.split('.').nth(1).unwrap();
    let cases = [
        ("mac", confused),
        ("no signature", format!("{body}.")),
        ("alg none", format!("{none}.{payload}.")),
        ("text", "hello".to_owned()),
        ("dots", "..".to_owned()),
        ("long", "a".repeat(MAX_TOKEN_BYTES + 1)),
        ("empty", String::new()),
    ];
    for (name, token) in cases {
        assert!(verify(&config, &keys, &token).is_err(), "{name}");
    }
}

#[test]
fn an_unknown_key_asks_for_the_set_once_and_not_again_in_vain() {
    let issuer = Issuer::new();
    let (config, mut keys) = store(&issuer);
    let rotated = Ed25519KeyPair::generate().with_key_id("d2");
    let token = rotated.sign(claims(|_| ())).unwrap();
    assert_eq!(
        verify(&config, &keys, &token),
        Err(IdentityError::UnknownKey { issuer: 0 })
    );
    assert_eq!(key_id(&token).as_deref(), Some("d2"));
    assert_eq!(keys.may_fetch(0, Some("d2"), NOW), Fetch::Now);
    assert_eq!(keys.may_fetch(0, Some("d3"), NOW), Fetch::Now, "joins");
    let set = issuer.key_set();
    let changed = keys.accept(0, config.issuers[0].refresh, Ok(&set), NOW);
    assert_eq!(changed, Ok(false), "the same set");
    keys.in_vain(0, "d2", NOW);
    assert_eq!(keys.may_fetch(0, Some("d2"), NOW), Fetch::InVain);
    assert_eq!(keys.may_fetch(0, Some("d3"), NOW), Fetch::Later);
    let soon = NOW + Duration::from_secs(1);
    assert_eq!(keys.may_fetch(0, Some("d3"), soon), Fetch::Now);
    let later = NOW + Duration::from_secs(31);
    assert_eq!(keys.may_fetch(0, Some("d2"), later), Fetch::Now);
}

#[test]
fn so_many_may_wait_for_a_set_and_no_more() {
    let mut keys = KeyStore::new(1);
    for _ in 0..64 {
        assert_eq!(keys.may_fetch(0, None, NOW), Fetch::Now);
    }
    assert_eq!(keys.may_fetch(0, None, NOW), Fetch::Later);
}

#[test]
fn a_key_set_is_fetched_ahead_and_an_old_one_used_within_its_grace() {
    let issuer = Issuer::new();
    let (config, mut keys) = store(&issuer);
    let refresh = config.issuers[0].refresh;
    assert!(keys.due(&config.issuers, NOW + refresh / 2).is_empty());
    assert_eq!(keys.due(&config.issuers, NOW + refresh), [0]);
    assert!(
        keys.due(&config.issuers, NOW + refresh).is_empty(),
        "asked once"
    );
    let later = NOW + refresh;
    let failed = keys.accept(0, refresh, Err(KeySetError::Unreachable), later);
    assert_eq!(failed, Err(KeySetError::Unreachable));
    assert!(keys.usable(0, &config.issuers[0], later).is_some());
    let after_grace = NOW + config.issuers[0].grace + Duration::from_secs(1);
    assert!(keys.usable(0, &config.issuers[0], after_grace).is_none());
}

#[test]
fn failed_fetches_are_tried_again_with_pauses() {
    let issuers = Config::example().issuers;
    let mut keys = KeyStore::new(1);
    let mut now = NOW;
    let mut pauses = Vec::new();
    assert_eq!(keys.due(&issuers, now), [0]);
    for _ in 0..8 {
        let failed = keys.accept(0, issuers[0].refresh, Err(KeySetError::Unreachable), now);
        assert_eq!(failed, Err(KeySetError::Unreachable));
        let start = now;
        while keys.due(&issuers, now).is_empty() {
            now = now + Duration::from_secs(1);
        }
        pauses.push(now.since(start).as_secs());
    }
    assert!(
        pauses.windows(2).all(|pair| pair[0] <= pair[1]),
        "{pauses:?}"
    );
    assert_eq!(pauses.last(), Some(&60));
}

#[test]
fn a_set_without_a_usable_key_never_replaces_a_good_one() {
    let issuer = Issuer::new();
    let (config, mut keys) = store(&issuer);
    let cases: [(&[u8], KeySetError); 4] = [
        (b"{\"keys\":[]}", KeySetError::Empty),
        (b"<html>", KeySetError::Malformed),
        (b"[]", KeySetError::Malformed),
        (&vec![b' '; 256 * 1024 + 1], KeySetError::TooLarge),
    ];
    for (bytes, error) in cases {
        let result = keys.accept(0, config.issuers[0].refresh, Ok(bytes), NOW);
        assert_eq!(result, Err(error));
    }
    let token = issuer.ec.sign(claims(|_| ())).unwrap();
    assert!(verify(&config, &keys, &token).is_ok());
}

#[test]
fn a_withdrawn_key_vouches_for_nobody_once_the_cache_is_cleared() {
    let issuer = Issuer::new();
    let (config, mut keys) = store(&issuer);
    let token = issuer.ed.sign(claims(|_| ())).unwrap();
    let mut cache = TokenCache::default();
    assert!(cache.verify(&token, &config.issuers, &keys, NOW).is_ok());
    let other = Issuer::new().key_set();
    keys.accept(0, config.issuers[0].refresh, Ok(&other), NOW)
        .unwrap();
    cache.clear();
    assert!(cache.verify(&token, &config.issuers, &keys, NOW).is_err());
}

#[test]
fn the_person_may_stand_in_another_claim() {
    let issuer = Issuer::new();
    let (mut config, keys) = store(&issuer);
    config.issuers[0].subject_claim = "oid".into();
    let token = issuer.ed.sign(claims(|_| ())).unwrap();
    assert_eq!(verify(&config, &keys, &token).unwrap().subject, "object-7");
}

#[test]
fn the_bearer_is_read_from_the_forms_that_clients_send() {
    let cases = [
        ("Bearer abc", Some("abc")),
        ("bearer abc", Some("abc")),
        ("token abc", Some("abc")),
        ("Basic abc", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("abc", None),
    ];
    for (header, token) in cases {
        assert_eq!(bearer(header), token, "{header}");
    }
}
