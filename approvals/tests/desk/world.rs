//! A running desk and what can be said to it.

use std::{
    fs::File,
    io::Read,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use contract::approval::{Answer, Ask, Digest, GRANT_TYPE, GrantClaims};
use jwt_simple::prelude::{
    Ed25519PublicKey, EdDSAPublicKeyLike, JWTClaims, Token, VerificationOptions,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const ISSUER: &str = "https://login.example";
pub(crate) const DESK_TOKEN: &str = concat!("desk-", "0123456789abcdef");
pub(crate) const BO_TOKEN: &str = concat!("bo-", "0123456789abcdef");
pub(crate) const CY_TOKEN: &str = concat!("cy-", "0123456789abcdef");
/// Ana asks, and is an approver too.
pub(crate) const ANA_TOKEN: &str = concat!("ana-", "0123456789abcdef");

/// A desk's process and folder; both end with it.
pub(crate) struct Desk {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) http: Client,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Desk {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let _first = rustls::crypto::ring::default_provider()
            .install_default()
            .is_ok();
        let redirect = reqwest::redirect::Policy::none();
        let http = Client::builder()
            .no_proxy()
            .redirect(redirect)
            .build()
            .unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let child = spawn(folder.path(), address, &arguments);
        let mut desk = Self {
            child,
            address,
            http,
            arguments,
            folder,
        };
        desk.ready().await;
        desk
    }

    async fn ready(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.http.get(self.url("/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the desk ended: {}", self.log());
            assert!(
                Instant::now() < end,
                "the desk is not ready: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill()); // it may have ended
        self.child.wait().unwrap();
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn kill_process(id: Pid) {
        kill_process(id, Signal::KILL).unwrap();
    }

    /// Returns when so many calls wait.
    pub(crate) async fn waiting(&self, count: usize) {
        let wanted = format!("desk_waiting_calls {count}\n");
        let end = Instant::now() + PATIENCE;
        loop {
            let metrics = self.get("/metrics", "").send().await.unwrap();
            if metrics.text().await.unwrap().contains(&wanted) {
                return;
            }
            assert!(Instant::now() < end, "never {wanted}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it politely; its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        kill_process(self.id(), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    pub(crate) async fn again(&mut self) {
        self.child = spawn(self.folder.path(), self.address, &self.arguments);
        self.ready().await;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("data/approvals.sqlite")
    }

    pub(crate) fn log(&self) -> String {
        let mut log = String::new();
        let file = File::open(self.folder.path().join("log"));
        file.unwrap().read_to_string(&mut log).unwrap();
        log
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str, token: &str) -> RequestBuilder {
        self.http.get(self.url(path)).bearer_auth(token)
    }

    pub(crate) fn post(&self, path: &str, token: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(path)).bearer_auth(token).json(body)
    }

    /// Asks as the filter does; must be answered.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        let body = serde_json::to_value(ask).unwrap();
        let answer = self
            .post("/v1/approvals", DESK_TOKEN, &body)
            .send()
            .await
            .unwrap();
        good(answer).await
    }

    pub(crate) async fn look(&self, id: &str, wait_ms: u64) -> Answer {
        let path = format!("/v1/approvals/{id}?wait_ms={wait_ms}");
        good(self.get(&path, DESK_TOKEN).send().await.unwrap()).await
    }

    pub(crate) async fn decide(
        &self,
        answer: &Answer,
        token: &str,
        verdict: &str,
    ) -> Result<Answer, (StatusCode, String)> {
        let path = format!("/v1/approvals/{}/decision", answer.id);
        let body = json!({"verdict": verdict, "reason": "because", "version": answer.version});
        read(self.post(&path, token, &body).send().await.unwrap()).await
    }

    pub(crate) async fn grant(&self, answer: &Answer) -> Answer {
        self.decide(answer, BO_TOKEN, "grant").await.unwrap()
    }

    pub(crate) async fn consume(
        &self,
        id: &str,
        exchange: &str,
    ) -> Result<Answer, (StatusCode, String)> {
        let path = format!("/v1/approvals/{id}/consume");
        let body = json!({"exchange": exchange});
        read(self.post(&path, DESK_TOKEN, &body).send().await.unwrap()).await
    }

    /// Verifies a grant as the filter does.
    pub(crate) async fn verify(&self, grant: &str) -> JWTClaims<GrantClaims> {
        let keys: Value = good(self.get("/v1/keys", DESK_TOKEN).send().await.unwrap()).await;
        let header = Token::decode_metadata(grant).unwrap();
        assert_eq!(header.signature_type(), Some(GRANT_TYPE));
        assert_eq!(header.algorithm(), "EdDSA");
        let key = keys["keys"].as_array().unwrap().iter();
        let key = key
            .clone()
            .find(|key| key["kid"].as_str() == header.key_id())
            .unwrap();
        let key = Ed25519PublicKey::from_jwk(&key.to_string()).unwrap();
        let options = VerificationOptions {
            allowed_issuers: Some(["gw.example".to_owned()].into()),
            allowed_audiences: Some(["acme-eu".to_owned()].into()),
            required_signature_type: Some(GRANT_TYPE.to_owned()),
            time_tolerance: Some(jwt_simple::prelude::Duration::from_secs(0)),
            max_token_length: Some(contract::approval::MAX_GRANT_BYTES),
            ..VerificationOptions::default()
        };
        key.verify_token(grant, Some(options)).unwrap()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("─── the desk's log ───\n{}", self.log());
        }
    }
}

/// The program with its secrets, in a folder of its own.
pub(crate) fn program(folder: &Path, address: SocketAddr) -> Command {
    let persons = [("bo", BO_TOKEN), ("cy", CY_TOKEN), ("ana", ANA_TOKEN)];
    let approvers = persons.map(|(name, token)| format!("{ISSUER}#{name}={token}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_approvals"));
    command
        .args(["--deployment", "acme-eu", "--domain", "gw.example"])
        .args(["--listen", &address.to_string()])
        .arg("--data")
        .arg(folder.join("data"))
        .env("GATE_DESK_TOKEN", DESK_TOKEN)
        .env("GATE_APPROVERS", approvers.join(","))
        .env_remove("RUST_LOG");
    command
}

fn spawn(folder: &Path, address: SocketAddr, arguments: &[String]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"));
    program(folder, address)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.unwrap())
        .spawn()
        .unwrap()
}

pub(crate) async fn good<T: serde::de::DeserializeOwned>(response: Response) -> T {
    read(response).await.unwrap()
}

/// The answer, or status and code.
pub(crate) async fn read<T: serde::de::DeserializeOwned>(
    response: Response,
) -> Result<T, (StatusCode, String)> {
    let status = response.status();
    let text = response.text().await.unwrap();
    if status == 200 {
        return Ok(serde_json::from_str(&text).unwrap());
    }
    let error: Value = serde_json::from_str(&text).unwrap();
    assert!(!error["message"].as_str().unwrap().is_empty());
    Err((status, error["code"].as_str().unwrap().to_owned()))
}

/// What Ana asks for, about these items.
pub(crate) fn ask(items: &[u8]) -> Ask {
    let ask = json!({
        "deployment": "acme-eu", "person": format!("{ISSUER}#ana"), "role": "engineer",
        "exchange": "gd_1", "endpoint": "chat", "model": "gpt-4.1", "rule": "secrets",
        "rule_digest": Digest([1; 32]), "policy_digest": Digest([2; 32]),
        "cause_items": items.iter().map(|byte| Digest([*byte; 32])).collect::<Vec<_>>(),
        "masked_content": "please deploy to production",
    });
    serde_json::from_value(ask).unwrap()
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
