//! The approval desk, and approvers who decide there.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{client::client, process::Process, sink::program, wait};

/// What every filter of a world shows to its desk.
pub const DESK_TOKEN: &str = concat!("desk-", "ofAWorldOfTests0");

/// How the tokens of approvers end in every world of tests.
pub const APPROVERS_TOKEN: &str = concat!("ofAWorld", "OfTests00");

/// Persons who may decide in every world, by the subject of their identity.
pub const APPROVERS: [&str; 2] = ["bo", "cy"];

/// A running desk.
#[derive(Debug)]
pub struct Desk {
    process: Process,
    settings: Settings,
}

/// Where a desk listens, what it keeps and whose it is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Pages and API.
    pub listen: SocketAddr,
    /// Database and keys.
    pub data: PathBuf,
    /// The gateway's deployment.
    pub deployment: String,
    /// The gateway's domain.
    pub domain: String,
    /// `GATE_DESK_TOKEN`.
    pub desk_token: String,
    /// `GATE_APPROVERS`.
    pub approvers: String,
    /// Log files.
    pub folder: PathBuf,
}

/// Somebody at a desk.
#[derive(Clone, Debug)]
pub struct Approver {
    address: SocketAddr,
    token: String,
}

impl Desk {
    /// Starts it and waits until it is ready.
    pub async fn start(settings: Settings) -> Result<Self> {
        let mut command = Command::new(program("approvals")?);
        command
            .args(["--listen", &settings.listen.to_string()])
            .arg("--data")
            .arg(&settings.data)
            .args(["--deployment", &settings.deployment])
            .args(["--domain", &settings.domain])
            .env("GATE_DESK_TOKEN", &settings.desk_token)
            .env("GATE_APPROVERS", &settings.approvers);
        let log = settings.folder.join("desk.log");
        let process = Process::start("approvals", command, &log)?;
        let mut desk = Self { process, settings };
        let http = client().build()?;
        let ready = format!("http://{}/readyz", desk.settings.listen);
        wait::within(
            wait::DEADLINE,
            "answer from the desk's /readyz",
            async || {
                desk.process.check()?;
                let answer = http.get(&ready).send().await;
                Ok(answer
                    .is_ok_and(|answer| answer.status() == 200)
                    .then_some(()))
            },
        )
        .await?;
        Ok(desk)
    }

    /// What it was started with, to start it again.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The process, to end it in one way or another.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its metrics as text.
    pub async fn metrics(&self) -> Result<String> {
        let url = format!("http://{}/metrics", self.settings.listen);
        let answer = client().build()?.get(url).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Somebody with this token.
    pub fn approver(&self, token: String) -> Approver {
        Approver {
            address: self.settings.listen,
            token,
        }
    }
}

/// `GATE_APPROVERS` of [`APPROVERS`], persons of this issuer whose tokens end so.
pub fn approvers(issuer: &str, end: &str) -> String {
    let entry = |name: &&str| format!("{issuer}#{name}={}", token(name, end));
    APPROVERS.iter().map(entry).collect::<Vec<_>>().join(",")
}

/// The token of one of [`APPROVERS`].
pub fn token(approver: &str, end: &str) -> String {
    format!("{approver}-{end}")
}

impl Approver {
    /// What they sign in with.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// What waits now, oldest first: `id`, `person`, `rule`, `version`, …
    pub async fn waiting(&self) -> Result<Vec<Value>> {
        let list = self
            .send(client().build()?.get(self.url("/v1/approvals")))
            .await?;
        Ok(list["approvals"].as_array().cloned().unwrap_or_default())
    }

    /// The oldest that waits, once there is one.
    pub async fn next(&self) -> Result<Value> {
        wait::within(
            wait::DEADLINE,
            "request that waits at the desk",
            async || Ok(self.waiting().await?.into_iter().next()),
        )
        .await
    }

    /// Grants the oldest that waits, once there is one; its id.
    pub async fn grant_next(&self) -> Result<String> {
        let next = self.next().await?;
        self.decide(&next, "grant", "").await?;
        id(&next)
    }

    /// Refuses the oldest that waits, once there is one; its id.
    pub async fn refuse_next(&self, reason: &str) -> Result<String> {
        let next = self.next().await?;
        self.decide(&next, "refuse", reason).await?;
        id(&next)
    }

    /// Takes a grant back.
    pub async fn revoke(&self, id: &str, reason: &str) -> Result<Value> {
        let approval = self.look(id).await?;
        self.decide(&approval, "revoke", reason).await
    }

    /// How an approval stands.
    pub async fn look(&self, id: &str) -> Result<Value> {
        let url = self.url(&format!("/v1/approvals/{id}"));
        self.send(client().build()?.get(url)).await
    }

    /// Decides about an approval as it was seen; fails if the desk does not accept that.
    pub async fn decide(&self, seen: &Value, verdict: &str, reason: &str) -> Result<Value> {
        let url = self.url(&format!("/v1/approvals/{}/decision", id(seen)?));
        let body = json!({"verdict": verdict, "reason": reason, "version": seen["version"]});
        self.send(client().build()?.post(url).json(&body)).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value> {
        let answer = request.bearer_auth(&self.token).send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        anyhow::ensure!(status == 200, "the desk says {status}: {body}");
        Ok(body)
    }
}

fn id(approval: &Value) -> Result<String> {
    let id = approval["id"].as_str().map(str::to_owned);
    id.context("an approval without an id")
}
