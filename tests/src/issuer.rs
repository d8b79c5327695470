//! An OIDC issuer whose tokens can be right or wrong in any way.
//!
//! It serves `/.well-known/openid-configuration`, `/keys` and, for people who play with
//! `make run`, `/token?person=NAME`.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use data_encoding::BASE64URL_NOPAD;
use futures::FutureExt;
use hyper::{Request, Response, body::Incoming};
use jwt_simple::prelude::{
    ECDSAP256KeyPairLike, ES256KeyPair, Ed25519KeyPair, EdDSAKeyPairLike, HS256Key, JWTClaims,
    MACLike, RS256KeyPair, RSAKeyPairLike,
};
use serde_json::{Map, Value, json};

use crate::server::{Answered, Server, json, whole};

/// The audience that tokens are for unless told otherwise.
pub const AUDIENCE: &str = "copilot-gate";

/// A running issuer.
pub struct Issuer {
    server: Server,
    state: Arc<State>,
}

struct State {
    url: OnceLock<String>,
    keys: Mutex<Keys>,
    mood: Mutex<Mood>,
    fetches: AtomicUsize,
    rotations: AtomicUsize,
}

/// How the issuer answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// 200 with something that is no key set.
    Garbage,
    /// 500.
    Failing,
    /// Right, but only after this time.
    Slow(Duration),
    /// Right.
    #[default]
    Well,
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256.
    #[default]
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA, 2048 bits.
    Rs256,
}

/// What is wrong with a token's signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forgery {
    /// Signed by somebody else under the key id of the issuer.
    ForeignKey,
    /// HMAC with the public key as the secret, the old confusion of algorithms.
    HmacWithPublicKey,
    /// `"alg":"none"` and no signature.
    Unsigned,
    /// The claims were changed after signing.
    Tampered,
    /// A key id that is in no key set.
    UnknownKeyId,
    /// Nothing.
    #[default]
    None,
}

impl Issuer {
    /// Listens on `port` (0: any) with keys that all issuers of this process share.
    pub async fn start(port: u16) -> Result<Self> {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        Self::with_keys(port, KEYS.get_or_init(|| Keys::generate("1")).clone()).await
    }

    /// Listens on `port` with the keys in `file`, which it makes if it is not there.
    pub async fn persistent(port: u16, file: &Path) -> Result<Self> {
        let keys = if let Ok(text) = fs::read_to_string(file) {
            Keys::from_json(&serde_json::from_str(&text)?)
                .with_context(|| format!("cannot use the keys in {}", file.display()))?
        } else {
            let keys = Keys::generate("1");
            fs::write(file, keys.to_json().to_string())?;
            keys
        };
        Self::with_keys(port, keys).await
    }

    async fn with_keys(port: u16, keys: Keys) -> Result<Self> {
        let state = Arc::new(State {
            url: OnceLock::new(),
            keys: Mutex::new(keys),
            mood: Mutex::default(),
            fetches: AtomicUsize::new(0),
            rotations: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let server = Server::start(port, move |request, _| {
            answer(Arc::clone(&shared), request).boxed()
        })
        .await?;
        state
            .url
            .get_or_init(|| format!("http://{}", server.address()));
        Ok(Self { server, state })
    }

    /// `iss` of its tokens.
    pub fn url(&self) -> String {
        self.state.url()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A token of `person`, an engineer, good for an hour, to be changed before it is signed.
    pub fn token(&self, person: &str) -> Token {
        self.state.token(person)
    }

    /// How often `/keys` was asked.
    pub fn key_fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    /// Replaces all keys; tokens signed from now on name the new ones.
    pub fn rotate(&self) {
        static SPARE: OnceLock<Keys> = OnceLock::new();
        let rotation = self.state.rotations.fetch_add(1, Ordering::SeqCst) + 2;
        *self.state.keys.lock().unwrap() = Keys::renewed(&rotation.to_string(), &SPARE);
    }

    /// Changes how it answers.
    pub fn set_mood(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Refuses connections until [`Issuer::up`].
    pub async fn down(&self) {
        self.server.down().await;
    }

    /// Listens again.
    pub async fn up(&self) -> Result<()> {
        self.server.up().await
    }
}

/// A token in the making.
#[must_use]
pub struct Token {
    keys: Keys,
    claims: Map<String, Value>,
    algorithm: Algorithm,
    forgery: Forgery,
}

impl Token {
    /// Sets any claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a claim away.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets `groups`.
    pub fn groups(self, groups: &[&str]) -> Self {
        self.claim("groups", groups)
    }

    /// Sets `aud`.
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Sets `exp` so many seconds from now; negative for an expired token.
    pub fn expires_in(self, seconds: i64) -> Self {
        self.claim("exp", now() + seconds)
    }

    /// Chooses the key.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Makes the signature wrong.
    pub fn forged(mut self, forgery: Forgery) -> Self {
        self.forgery = forgery;
        self
    }

    /// The token in compact form.
    pub fn sign(&self) -> String {
        let claims = |custom: &Map<String, Value>| JWTClaims {
            issued_at: None,
            expires_at: None,
            invalid_before: None,
            issuer: None,
            subject: None,
            audiences: None,
            jwt_id: None,
            nonce: None,
            custom: custom.clone(),
        };
        let sign = |keys: &Keys, custom: &Map<String, Value>| match self.algorithm {
            Algorithm::Es256 => keys.es256.sign(claims(custom)),
            Algorithm::EdDsa => keys.eddsa.sign(claims(custom)),
            Algorithm::Rs256 => keys.rs256.sign(claims(custom)),
        };
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        match self.forgery {
            Forgery::ForeignKey => sign(&self.keys.foreign(), &self.claims),
            Forgery::HmacWithPublicKey => {
                let public = self.keys.rs256.public_key().to_pem();
                public.and_then(|pem| {
                    HS256Key::from_bytes(pem.as_bytes()).authenticate(claims(&self.claims))
                })
            }
            Forgery::Unsigned => Ok(format!(
                "{}.{}.",
                part(&json!({"alg": "none", "typ": "JWT"})),
                part(&Value::Object(self.claims.clone()))
            )),
            Forgery::Tampered => sign(&self.keys, &self.claims).map(|token| {
                let mut parts = token.split('.');
                let (head, _, signature) = (parts.next(), parts.next(), parts.next());
                let mut claims = self.claims.clone();
                claims.insert("sub".to_owned(), json!("mallory"));
                format!(
                    "{}.{}.{}",
                    head.unwrap(),
                    part(&Value::Object(claims)),
                    signature.unwrap()
                )
            }),
            Forgery::UnknownKeyId => sign(&self.keys.clone().renamed("gone"), &self.claims),
            Forgery::None => sign(&self.keys, &self.claims),
        }
        .expect("own keys can sign any claims")
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Answered {
    let mood = *state.mood.lock().unwrap();
    let path = request.uri().path();
    if path == "/keys" {
        state.fetches.fetch_add(1, Ordering::SeqCst);
    }
    match mood {
        Mood::Failing => return Ok(json(500, &json!({"error": "failing"}))),
        Mood::Garbage => {
            return Ok(Response::new(whole("<html>this is no key set</html>")));
        }
        Mood::Slow(time) => tokio::time::sleep(time).await,
        Mood::Well => {}
    }
    let url = state.url();
    Ok(match path {
        "/.well-known/openid-configuration" => json(
            200,
            &json!({
                "issuer": url,
                "jwks_uri": format!("{url}/keys"),
                "token_endpoint": format!("{url}/token"),
                "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
            }),
        ),
        "/keys" => json(200, &state.keys.lock().unwrap().public()),
        "/token" => {
            let query = request.uri().query().unwrap_or_default();
            let value = |name: &str| {
                query
                    .split('&')
                    .filter_map(|pair| pair.split_once('='))
                    .find_map(|(key, value)| (key == name).then_some(value))
            };
            let mut token = state.token(value("person").unwrap_or("ana"));
            if let Some(groups) = value("groups") {
                token = token.groups(&groups.split(',').collect::<Vec<_>>());
            }
            Response::new(whole(token.sign()))
        }
        _ => json(404, &json!({"error": "not found"})),
    })
}

impl State {
    fn url(&self) -> String {
        self.url.get().cloned().unwrap_or_default()
    }

    fn token(&self, person: &str) -> Token {
        let claims = json!({
            "iss": self.url(),
            "sub": person,
            "aud": AUDIENCE,
            "iat": now(),
            "exp": now() + 3600,
            "groups": ["eng"],
            "email": format!("{person}@example.test"),
        });
        Token {
            keys: self.keys.lock().unwrap().clone(),
            claims: claims.as_object().cloned().unwrap_or_default(),
            algorithm: Algorithm::default(),
            forgery: Forgery::default(),
        }
    }
}

/// One key for each algorithm, each with a key id.
struct Keys {
    rs256: RS256KeyPair,
    es256: ES256KeyPair,
    eddsa: Ed25519KeyPair,
}

impl Clone for Keys {
    fn clone(&self) -> Self {
        let es256 = ES256KeyPair::from_bytes(&self.es256.to_bytes()).expect("own bytes");
        let id = self.es256.key_id().clone().unwrap_or_default();
        Self {
            rs256: self.rs256.clone(),
            es256: es256.with_key_id(&id),
            eddsa: self.eddsa.clone(),
        }
    }
}

impl Keys {
    fn generate(name: &str) -> Self {
        Self {
            rs256: RS256KeyPair::generate(2048).expect("a usual size"),
            es256: ES256KeyPair::generate(),
            eddsa: Ed25519KeyPair::generate(),
        }
        .renamed(name)
    }

    /// New keys but for the RSA key, which is slow to make: that of `spare`.
    fn renewed(name: &str, spare: &'static OnceLock<Self>) -> Self {
        Self {
            rs256: spare.get_or_init(|| Self::generate("spare")).rs256.clone(),
            es256: ES256KeyPair::generate(),
            eddsa: Ed25519KeyPair::generate(),
        }
        .renamed(name)
    }

    /// Other keys under the same ids.
    fn foreign(&self) -> Self {
        static SPARE: OnceLock<Keys> = OnceLock::new();
        let id = self.es256.key_id().clone().unwrap_or_default();
        Self::renewed(id.trim_start_matches("es256-"), &SPARE)
    }

    fn renamed(self, name: &str) -> Self {
        Self {
            rs256: self.rs256.with_key_id(&format!("rs256-{name}")),
            es256: self.es256.with_key_id(&format!("es256-{name}")),
            eddsa: self.eddsa.with_key_id(&format!("eddsa-{name}")),
        }
    }

    fn public(&self) -> Value {
        let key = |jwk: String, algorithm: &str| {
            let mut jwk: Value = serde_json::from_str(&jwk).expect("the crate writes JSON");
            jwk["alg"] = json!(algorithm);
            jwk["use"] = json!("sig");
            jwk
        };
        let kid = |id: &Option<String>| id.clone().unwrap_or_default();
        let rs256 = self
            .rs256
            .public_key()
            .with_key_id(&kid(self.rs256.key_id()));
        let es256 = self
            .es256
            .public_key()
            .with_key_id(&kid(self.es256.key_id()));
        let eddsa = self
            .eddsa
            .public_key()
            .with_key_id(&kid(self.eddsa.key_id()));
        json!({"keys": [
            key(rs256.to_jwk(), "RS256"),
            key(es256.to_jwk(), "ES256"),
            key(eddsa.to_jwk(), "EdDSA"),
        ]})
    }

    fn to_json(&self) -> Value {
        json!({
            "rs256": self.rs256.to_jwk(),
            "es256": self.es256.to_jwk(),
            "eddsa": self.eddsa.to_jwk(),
        })
    }

    fn from_json(value: &Value) -> Result<Self> {
        let text = |name: &str| value[name].as_str().context("a key is missing");
        Ok(Self {
            rs256: RS256KeyPair::from_jwk(text("rs256")?)?,
            es256: ES256KeyPair::from_jwk(text("es256")?)?,
            eddsa: Ed25519KeyPair::from_jwk(text("eddsa")?)?,
        })
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}
