//! The real Copilot CLI, run once for each question as a person runs it in a terminal.
//!
//! For a GitHub of its own it takes no JWT from the environment; it asks `gh auth token
//! --hostname …`. So the terminal has a `gh` that prints the person's token, as a company's
//! sign-in helper would.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{language_server::clients, process::Process, wait};

/// A person's terminal: who they are there, and where they work.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// The GitHub it is told to use, a host name: `gw.test`.
    pub domain: String,
    /// What it must trust, PEM.
    pub authority: PathBuf,
    /// Its home, settings and logs: a folder of its own.
    pub folder: PathBuf,
}

/// What came of a question.
#[derive(Clone, Debug)]
pub struct Shown {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything that it printed.
    pub printed: String,
}

/// It starts within seconds; an upstream that is to be tried again takes it half a minute.
const PATIENCE: Duration = Duration::from_mins(2);

impl Terminal {
    /// A terminal whose GitHub is `https://{domain}`, with its files in `folder`.
    pub fn new(domain: &str, token: &str, authority: &Path, folder: &Path) -> Result<Self> {
        let terminal = Self {
            domain: domain.to_owned(),
            authority: authority.to_owned(),
            folder: folder.to_owned(),
        };
        fs::create_dir_all(terminal.workspace())?;
        let helper = terminal.helpers().join("gh");
        fs::create_dir_all(terminal.helpers())?;
        fs::write(&helper, format!("#!/bin/sh\necho '{token}'\n"))?;
        fs::set_permissions(&helper, Permissions::from_mode(0o700))?;
        Ok(terminal)
    }

    /// Where it is run.
    pub fn workspace(&self) -> PathBuf {
        self.folder.join("workspace")
    }

    fn helpers(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Asks a model and waits until it has answered. Tools that it may use are allowed to it.
    pub async fn ask(&self, text: &str, model: &str) -> Result<Shown> {
        self.run(&["-p", text, "--model", model, "--allow-all-tools"])
            .await
    }

    /// Runs it with these arguments.
    pub async fn run(&self, arguments: &[&str]) -> Result<Shown> {
        let program = clients().join("node_modules/@github/copilot-linux-x64/copilot");
        ensure!(
            program.exists(),
            "there is no {} (make setup)",
            program.display()
        );
        let mut path = self.helpers().into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        for name in ["COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"] {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .args(["--no-color", "--no-custom-instructions"])
            .args(["--log-level", "debug", "--log-dir"])
            .arg(self.folder.join("logs"))
            .current_dir(self.workspace())
            .env("HOME", &self.folder)
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .env("XDG_STATE_HOME", self.folder.join("state"))
            .env("COPILOT_AUTO_UPDATE", "false")
            .env("COPILOT_GH_HOST", &self.domain)
            .env("PATH", path)
            .env("NODE_EXTRA_CA_CERTS", &self.authority);
        let log = self.folder.join("printed");
        let mut process = Process::start("the Copilot CLI", command, &log)?;
        let status = wait::within(PATIENCE, "end of the Copilot CLI", async || process.ended());
        let status = status.await?;
        Ok(Shown {
            status,
            printed: process.log(),
        })
    }
}
