//! The real `OpenAI` and Anthropic SDKs, driven by `tests/clients/sdk.py`.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout},
};

use crate::{language_server::clients, process::Process, sink::cache};

/// A Python program of a person's own with both SDKs in it.
pub struct Sdk {
    process: Process,
    jobs: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What an SDK gave its caller.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Given {
    /// The text of the whole answer, or of both answers around a tool call.
    pub text: String,
    /// The same as it was streamed, piece by piece.
    pub deltas: String,
    /// The reasoning that it shows.
    pub reasoning: String,
    /// The signature or the encrypted text of the reasoning.
    pub proof: String,
    /// Tool calls: name and arguments.
    pub calls: Vec<(String, String)>,
    /// An embedding.
    pub vector: Vec<f64>,
    /// What it raised: `class`, `status`, `code`, `message`, `shown`.
    pub error: Value,
    /// How many requests it made.
    pub requests: u32,
}

/// An SDK that tries again waits some seconds between.
const PATIENCE: Duration = Duration::from_mins(1);

impl Sdk {
    /// Starts it for a gateway at `url`; its log goes to `folder`.
    pub fn start(url: &str, token: &str, authority: &Path, folder: &Path) -> Result<Self> {
        let mut command = python("venv", "sdk.py")?;
        command.env("GATE_URL", url);
        Self::run(command, token, authority, folder)
    }

    /// Starts a program with `LiteLLM` in it, which signs in at the gateway of this domain.
    pub fn litellm(domain: &str, token: &str, authority: &Path, folder: &Path) -> Result<Self> {
        let mut command = python("litellm", "copilot_litellm.py")?;
        let sign_in = format!("https://api.{domain}/copilot_internal/v2/token");
        command
            .env("GITHUB_COPILOT_API_KEY_URL", sign_in)
            .env("GITHUB_COPILOT_TOKEN_DIR", folder.join("litellm"))
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True"); // else it asks a server of its own
        Self::run(command, token, authority, folder)
    }

    fn run(mut command: Command, token: &str, authority: &Path, folder: &Path) -> Result<Self> {
        command
            .env("GATE_TOKEN", token)
            .env("SSL_CERT_FILE", authority);
        let log = folder.join("sdk.log");
        let (process, stdin, stdout) = Process::start_piped("the SDKs", command, &log)?;
        let stdout = ChildStdout::from_std(stdout)?;
        Ok(Self {
            process,
            jobs: ChildStdin::from_std(stdin)?,
            answers: BufReader::new(stdout).lines(),
        })
    }

    /// Does a job of `sdk.py` and says what came of it.
    pub async fn ask(&mut self, job: &Value) -> Result<Given> {
        self.jobs.write_all(format!("{job}\n").as_bytes()).await?;
        self.jobs.flush().await?;
        let line = tokio::time::timeout(PATIENCE, self.answers.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten();
        let line = line.with_context(|| format!("no answer to {job}:\n{}", self.process.log()))?;
        serde_json::from_str(&line).with_context(|| format!("the driver said {line}"))
    }
}

/// A driver, run by the Python of an environment that `make setup` has made.
fn python(environment: &str, driver: &str) -> Result<Command> {
    let python = cache().join(environment).join("bin/python");
    ensure!(
        python.exists(),
        "there is no {} (make setup)",
        python.display()
    );
    let mut command = Command::new(python);
    command.arg(clients().join(driver));
    Ok(command)
}
