//! `world`: the gateway with everything around it, for people.
#![allow(
    clippy::doc_markdown,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for people, at a terminal; its help is no markdown"
)]

use std::{
    env, fs,
    fs::{File, OpenOptions},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use e2e::{
    bigquery::BigQuery,
    demo, desk, namespace,
    ports::{self, Port, loopback},
    process::INHERITED,
    sink::repository,
    world::{Builder, DOMAIN, Keys, PROJECT, Ports, World},
};
use jwt_simple::prelude::HS256Key;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// Copilot Gate on this computer, with everything around it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts everything and stays up until Ctrl-C
    Run {
        /// Where requests go
        #[arg(long, value_enum, default_value_t = Upstream::Fake, env = "UPSTREAM")]
        upstream: Upstream,
    },
    /// Opens a shell in a network of its own where the gateway is gw.test on port 443
    Shell {
        /// A command to run there instead of the shell
        #[arg(last = true)]
        command: Vec<String>,
        /// Set when already inside
        #[arg(long, hide = true)]
        inside: bool,
    },
    /// Plays exchanges with secrets in them, shows what each side saw, checks all of it
    Demo,
    /// Asks the audit tables of a running gateway
    Sql {
        /// For instance: SELECT * FROM `copilot_audit_views.exchanges`
        query: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Upstream {
    /// A fake GitHub on this computer
    Fake,
    /// The real one, with the credential in GATE_GITHUB_TOKEN
    Github,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(act(arguments.command)));
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("world: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { upstream } => run(upstream).await,
        Command::Shell {
            command,
            inside: false,
        } => enter(&command),
        Command::Shell {
            command,
            inside: true,
        } => shell(&command).await,
        Command::Demo => demo::run().await.map(|()| ExitCode::SUCCESS),
        Command::Sql { query } => {
            let bigquery = BigQuery {
                rest: loopback(ports::BIGQUERY_REST.number()?),
                project: PROJECT.to_owned(),
            };
            let table = bigquery.query(&query).await;
            print!(
                "{}",
                table.context("cannot ask BigQuery (is `make run` up?)")?
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn run(upstream: Upstream) -> Result<ExitCode> {
    let state = repository().join(".run");
    let (_lock, keys) = claim(&state)?;
    let approvers = keys.approvers.clone();
    let mut builder = World::builder()
        .own_emulator()
        .desk()
        .configure(demo::rules())
        .folder(state.clone())
        .ports(usual_ports(ports::GATEWAY.usual)?)
        .tell(|what| println!("starting {what}"));
    builder = match upstream {
        Upstream::Fake => builder.keys(keys),
        Upstream::Github => real_github(builder, keys)?,
    };
    let mut stop = Stop::listen()?;
    let started = tokio::select! {
        world = builder.start() => Some(world?),
        () = stop.asked() => None,
    };
    let Some(mut world) = started else {
        return Ok(ExitCode::SUCCESS);
    };
    page(&mut world, upstream, &state, &approvers)?;
    stop.asked().await;
    println!("\nstopping");
    world.stop();
    Ok(ExitCode::SUCCESS)
}

/// Goes on as this program inside a namespace.
fn enter(command: &[String]) -> Result<ExitCode> {
    let state = repository().join(".run/shell");
    fs::create_dir_all(&state)?;
    let mut inside = namespace::command(DOMAIN, &state, env::current_exe()?)?;
    inside.args(["shell", "--inside"]);
    if !command.is_empty() {
        inside.arg("--").args(command);
    }
    Err(inside.exec()).context("cannot go inside the namespace")
}

async fn shell(command: &[String]) -> Result<ExitCode> {
    let state = repository().join(".run/shell");
    let (_lock, keys) = claim(&state)?;
    let _stop = Stop::listen()?; // Ctrl-C is for the shell
    let world = World::builder()
        .own_emulator()
        .desk()
        .configure(demo::rules())
        .folder(state)
        .keys(keys)
        .ports(usual_ports(443)?)
        .tell(|what| eprintln!("starting {what}"))
        .start()
        .await?;
    let token = world.issuer().token("ana").expires_in(12 * 3600).sign();
    let authority = &world.certificates().authority;
    let program = match command.first() {
        Some(program) => program.clone(),
        None => env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned()),
    };
    if command.is_empty() {
        eprintln!("{SHELL_PAGE}");
    }
    let mut child = tokio::process::Command::new(&program);
    child.args(command.iter().skip(1));
    for name in INHERITED {
        child.env_remove(name);
    }
    let status = child
        .env("CURL_CA_BUNDLE", authority)
        .env("NODE_EXTRA_CA_CERTS", authority)
        .env("GATE_TOKEN", &token)
        .env("GH_COPILOT_TOKEN", &token)
        .env("GH_COPILOT_SERVER_URL", format!("https://{DOMAIN}"))
        .status()
        .await
        .with_context(|| format!("cannot start {program}"))?;
    world.stop();
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

const SHELL_PAGE: &str = r#"
You are in a network of its own: https://gw.test is the gateway, and nothing leads out.
You are ana, an engineer; her token is in $GATE_TOKEN, curl and Node trust the gateway.

  curl https://gw.test/models -H "authorization: Bearer $GATE_TOKEN"
  exit            ends everything
"#;

/// Makes the state's folder, takes it for this process, and gives the keys that are kept in it.
fn claim(state: &Path) -> Result<(File, Keys)> {
    fs::create_dir_all(state)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(state.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("{} is in use: it is running already", state.display());
    }
    let file = state.join("keys.json");
    let mut keys: Value = if let Ok(text) = fs::read_to_string(&file) {
        serde_json::from_str(&text).with_context(|| format!("cannot use {}", file.display()))?
    } else {
        json!({})
    };
    let known = keys.clone();
    let random = || HS256Key::generate().to_bytes();
    for (name, id) in [
        ("fingerprints", "f1"),
        ("sink", "s1"),
        ("checkpoints", "c1"),
    ] {
        if keys[name].is_null() {
            keys[name] = json!(format!("{id}:{}", BASE64.encode(&random())));
        }
    }
    for name in ["desk", "approvers"] {
        if keys[name].is_null() {
            keys[name] = json!(BASE64URL_NOPAD.encode(&random()));
        }
    }
    if keys != known {
        write_private(&file, &keys.to_string())?;
    }
    let text = |name: &str| {
        keys[name]
            .as_str()
            .map(str::to_owned)
            .context("a key is missing")
    };
    let keys = Keys {
        fingerprints: text("fingerprints")?,
        sink: text("sink")?,
        checkpoints: text("checkpoints")?,
        desk: text("desk")?,
        approvers: text("approvers")?,
        ..Keys::default()
    };
    Ok((lock, keys))
}

fn write_private(file: &Path, text: &str) -> Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(file)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn usual_ports(gateway: u16) -> Result<Ports> {
    let free = |port: Port, usual: u16| {
        let number = port.number_or(usual)?;
        port.check_free(number).map(|()| number)
    };
    let usual = |port: Port| free(port, port.usual);
    Ok(Ports {
        gateway: free(ports::GATEWAY, gateway)?,
        admin: usual(ports::ADMIN)?,
        sink_grpc: usual(ports::SINK_GRPC)?,
        sink_http: usual(ports::SINK_HTTP)?,
        approvals: usual(ports::APPROVALS)?,
        issuer: usual(ports::ISSUER)?,
        github: usual(ports::GITHUB)?,
        bigquery_rest: usual(ports::BIGQUERY_REST)?,
        bigquery_grpc: usual(ports::BIGQUERY_GRPC)?,
    })
}

fn real_github(builder: Builder, keys: Keys) -> Result<Builder> {
    let credential = env::var("GATE_GITHUB_TOKEN")
        .ok()
        .filter(|credential| !credential.is_empty())
        .context("the real GitHub needs a credential in GATE_GITHUB_TOKEN")?;
    let clusters = repository().join("envoy/upstream-github.yaml");
    Ok(builder
        .replace_clusters(&clusters)
        .keys(Keys { credential, ..keys }))
}

fn page(world: &mut World, upstream: Upstream, state: &Path, approvers: &str) -> Result<()> {
    let desk = world.desk().settings().listen;
    let approver = desk::token("bo", approvers);
    let gateway = world.gateway().port();
    let admin = world.envoy().admin();
    let http = world.sink().settings().http;
    let rest = world.sink().settings().rest;
    let issuer = world.issuer().url();
    let authority = shorter(&world.certificates().authority);
    let me = shorter(&env::current_exe()?);
    let github = match upstream {
        Upstream::Fake => format!(
            "http://{}   fake; GET /_requests: what it saw, PUT /_script: what it says",
            world.upstream().address()
        ),
        Upstream::Github => "the real one".to_owned(),
    };
    let secret = concat!("ghp_", "r7Kq2ZxW9mB4nT6vY1cP8sD3fG5hJ0aLeUiO");
    println!(
        r#"
Copilot Gate is up. Ctrl-C ends it; its state is in {state}.

  gateway    https://{DOMAIN}:{gateway}   on 127.0.0.1, certificate authority {authority}
  issuer     {issuer}   /token?person=ana gives an engineer's token
  GitHub     {github}
  Envoy      http://{admin}   /stats/prometheus has the filter's metrics
  sink       http://{http}   /metrics /readyz
  approvals  http://{desk}   bo may decide, with the token {approver}
  BigQuery   http://{rest}   project {PROJECT}

Ask something with a secret in it{echo}:

  TOKEN=$(curl -s '{issuer}/token?person=ana')
  curl -N --cacert {authority} --resolve {DOMAIN}:{gateway}:127.0.0.1 \
    https://{DOMAIN}:{gateway}/chat/completions -H "authorization: Bearer $TOKEN" \
    -d '{{"model":"gpt-4.1","stream":true,"messages":[{{"role":"user","content":"Is {secret} safe?"}}]}}'

See what was recorded:

  {me} sql 'SELECT event_at, person, endpoint, decision, findings_count FROM copilot_audit_views.exchanges ORDER BY event_at'

Point a client at it (`make shell` does all of this, in a network where the gateway has port 443):

  NODE_EXTRA_CA_CERTS={authority}  GH_COPILOT_TOKEN=$TOKEN  GH_COPILOT_SERVER_URL=https://{DOMAIN}
"#,
        state = shorter(state),
        echo = match upstream {
            Upstream::Fake => " (the fake GitHub says back what it was told)",
            Upstream::Github => "",
        },
    );
    Ok(())
}

/// The path from here, if it lies below.
fn shorter(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    let shorter: PathBuf = path.strip_prefix(here).unwrap_or(path).to_owned();
    shorter.display().to_string()
}

/// Ctrl-C, or a polite request to end.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
