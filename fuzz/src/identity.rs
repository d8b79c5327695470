//! An issuer whose keys never change, and tokens that it signs.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use ed25519_compact::{KeyPair, Seed};
use filter_core::config::{Config, Issuer};
use filter_core::identity::{Identity, IdentityError, KeyStore, TokenCache};
use filter_core::time::UnixTime;
use jwt_simple::prelude::{
    Claims, Duration, ECDSAP256KeyPairLike, ES256KeyPair, Ed25519KeyPair, EdDSAKeyPairLike,
    JWTClaims,
};
use serde_json::{Map, Value, json};

/// The time at which all tokens are looked at.
pub const NOW: UnixTime = UnixTime(1_800_000_000_000_000);

/// Tokens of the issuer, one for each algorithm, and its key set.
pub struct World {
    pub issuers: Vec<Issuer>,
    pub key_set: Vec<u8>,
    /// The key set without the EdDSA key.
    pub few_keys: Vec<u8>,
    /// RS256, ES256, EdDSA.
    pub tokens: [String; 3],
    ed: KeyPair,
    /// A key that is in no set.
    other: KeyPair,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// The issuer.
pub fn world() -> &'static World {
    &WORLD
}

impl World {
    fn new() -> Self {
        let pair = |byte: u8| KeyPair::from_seed(Seed::new([byte; 32]));
        let (ed, other) = (pair(41), pair(42));
        let signer = Ed25519KeyPair::from_bytes(&*ed).unwrap().with_key_id("d1");
        let ec = ES256KeyPair::from_bytes(&[43; 32])
            .unwrap()
            .with_key_id("e1");
        let jwk = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let few = json!([
            { "kty": "RSA", "kid": "r1", "n": RSA_MODULUS, "e": "AQAB" },
            jwk(ec.public_key().to_jwk()),
        ]);
        let key_set = json!({ "keys": [
            few[0], few[1],
            jwk(signer.public_key().to_jwk()),
            { "kty": "oct", "kid": "x", "k": "AAAA" },
        ] });
        let tokens = [
            format!("{RSA_INPUT}.{RSA_SIGNATURE}"),
            ec.sign(claims()).unwrap(),
            signer.sign(claims()).unwrap(),
        ];
        let example = include_bytes!("../../filter/core/src/config/example.json");
        Self {
            issuers: Config::from_bytes(example).unwrap().issuers,
            key_set: key_set.to_string().into_bytes(),
            few_keys: json!({ "keys": few }).to_string().into_bytes(),
            tokens,
            ed,
            other,
        }
    }

    /// The keys as a worker has them.
    pub fn keys(&self, set: &[u8]) -> KeyStore {
        let mut keys = KeyStore::new(1);
        // A set that cannot be used leaves the store empty.
        let _used = keys.accept(0, self.issuers[0].refresh, Ok(set), NOW);
        keys
    }

    /// Looks at a token, twice: the cache answers as the first look did.
    pub fn verify(&self, keys: &KeyStore, token: &str) -> Result<Identity, IdentityError> {
        let mut cache = TokenCache::default();
        let first = cache.verify(token, &self.issuers, keys, NOW);
        assert_eq!(cache.verify(token, &self.issuers, keys, NOW), first);
        first
    }

    /// A token with this header and payload, signed rightly, or by a key that nobody knows.
    pub fn sign(&self, header: &[u8], payload: &[u8], known: bool) -> String {
        let input = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(header),
            BASE64URL_NOPAD.encode(payload)
        );
        let pair = if known { &self.ed } else { &self.other };
        let signature = pair.sk.sign(&input, None);
        format!("{input}.{}", BASE64URL_NOPAD.encode(&*signature))
    }
}

/// A good token with changes, three bytes each: place, and what shall stand there.
pub fn changed(good: &str, changes: &[u8]) -> String {
    let mut token = good.as_bytes().to_vec();
    for change in changes.as_chunks::<3>().0 {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % (token.len() + 1);
        match change[2] {
            0..0x80 if place < token.len() => token[place] = change[2],
            0..0x80 => token.push(change[2]),
            0x80..0xc0 if place < token.len() => {
                token.remove(place);
            }
            _ => token.truncate(place),
        }
    }
    String::from_utf8_lossy(&token).into_owned()
}

/// What of a token is under its signature.
pub fn signed(token: &str) -> Option<&str> {
    token.rsplit_once('.').map(|(input, _)| input)
}

/// What stands before and behind the first line feed.
pub fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let cut = bytes.iter().position(|byte| *byte == b'\n');
    let (first, second) = bytes.split_at(cut.unwrap_or(bytes.len()));
    (first, second.get(1..).unwrap_or_default())
}

/// Header and claims of a token that was taken. Panics unless they are of this issuer, for this
/// audience, and good now.
pub fn taken(header: &[u8], payload: &[u8], issuer: &str, audience: &str) -> [Value; 2] {
    // What nobody reads need not be UTF-8.
    let [header, claims] = [header, payload].map(|bytes| {
        serde_json::from_str::<Value>(&String::from_utf8_lossy(bytes)).expect("it is JSON")
    });
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!(claims["iss"], issuer, "of another issuer");
    let for_us = match &claims["aud"] {
        Value::Array(list) => list.iter().any(|one| one == audience),
        one => one == audience,
    };
    assert!(for_us, "for somebody else");
    let seconds = |name: &str| claims[name].as_f64();
    let now = NOW.seconds() as f64;
    assert!(seconds("exp").expect("an end") > now - 62.0, "expired");
    assert!(
        seconds("nbf").is_none_or(|from| from < now + 62.0),
        "not yet"
    );
    [header, claims]
}

fn claims() -> JWTClaims<Map<String, Value>> {
    let mut custom = Map::new();
    custom.insert("groups".into(), json!(["eng"]));
    let mut claims = Claims::with_custom_claims(custom, Duration::from_mins(10))
        .with_issuer("https://login.example")
        .with_subject("ana")
        .with_audience("copilot-gate");
    claims.issued_at = Some(Duration::from_secs(NOW.seconds()));
    claims.invalid_before = claims.issued_at;
    claims.expires_at = Some(Duration::from_secs(NOW.seconds() + 600));
    claims
}

/// A token that a key signed which nobody has any more: making one takes long.
const RSA_INPUT: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InIxIn0.eyJpc3MiOiJodHRwczovL2xvZ2lu",
    "LmV4YW1wbGUiLCJhdWQiOiJjb3BpbG90LWdhdGUiLCJzdWIiOiJhbmEiLCJncm91cHMiOlsiZW5nIl0s",
    "ImlhdCI6MTgwMDAwMDAwMCwibmJmIjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDA2MDB9",
);
const RSA_SIGNATURE: &str = concat!(
    "FvFeMntIIEJ9Wa65QIJl_9_bg66MeWbZKsbhFVtuEO1I98LOQK39mKCUtCbUCj55yb6XWmTxNIjoxDO2",
    "-4kxMXNhfbvXUbfn_pdnd2VkxnbaS-vyZSqgWKrTXQy83HdiIe-TTrl1rk2IRs4MT3vuLMFhU7cbJrpK",
    "VWNnhyBrLvDrD4r7Jfa25AAKZ6MoWfSUVvXL9go0irBqCuSaLDkro5Ev9JWVRDJcb_ZyRgNveNNMPv9S",
    "ENv5s0sX6HvZjU7R5WSJkFbuY1RxwNV0zgOZ2yzFfUSAh3rlfgE9ZKBG1IwG-eZ0Ddl5kk2pyDqUPXLi",
    "JQ3wMdoE3ATwodXL-gCFBw",
);
const RSA_MODULUS: &str = concat!(
    "j6Wfk85zoNBpVhwLVRPZrBjTCD2JkrRva_LboYyHGcRwrQN3cwXMZrmFX58vhBoErrqAmtdLeA5RB5k4",
    "7kuNioDf9bxD9-cbJyCnwMLOvpxT4WF9v-s3OdlSRbCFQznj6cZKgF_-mS2BirLDgR7v_B0fUIpG-OKC",
    "69RFI4dASz-j2QITQ2FUJxKDTPAEemjVAv6OPmDUne0__yHWkAXJvOu7yeW-nTy7l1SjsAN2hDxwusCx",
    "UNrv-FUhzerFFhivVZ2NK5MmddF98SRlW4iaSDgfdFvF8Gtw-5_j_KS9GuZtRd82otg9_8qpqD12Zbhc",
    "zIW12SyV-abLlHg_OwDKcQ",
);
