//! The real Copilot language server, driven as an editor drives it: LSP over its stdin and stdout.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout},
    sync::{mpsc, oneshot},
};

use crate::{process::Process, sink::repository, wait};

/// How an editor starts it.
#[derive(Clone, Debug)]
pub struct Editor {
    /// The GitHub it is told to use: `https://gw.test`.
    pub server: String,
    /// The person's token, in place of a GitHub token.
    pub token: String,
    /// What it must trust, PEM.
    pub authority: PathBuf,
    /// Its home, logs and workspace: a folder of its own.
    pub folder: PathBuf,
}

/// A running language server.
pub struct LanguageServer {
    process: Process,
    outgoing: mpsc::UnboundedSender<Value>,
    ids: AtomicU64,
    shared: Arc<Shared>,
    workspace: PathBuf,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    heard: Mutex<Vec<(String, Value)>>,
}

/// What a chat turn showed.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// The conversation that it is part of.
    pub conversation: String,
    /// The answer's text.
    pub reply: String,
    /// Errors that were shown instead of, or below, the answer.
    pub errors: Vec<Value>,
    /// Tool calls: name and status.
    pub tools: Vec<(String, String)>,
}

/// Node starts slowly on a busy machine, and the server asks for its token first.
const PATIENCE: Duration = Duration::from_mins(1);

impl LanguageServer {
    /// Starts it for `editor` and waits until it is initialised.
    pub async fn start(editor: &Editor) -> Result<Self> {
        let program = clients()
            .join("node_modules/@github/copilot-language-server-linux-x64/copilot-language-server");
        ensure!(
            program.exists(),
            "there is no {} (make setup)",
            program.display()
        );
        let workspace = editor.folder.join("workspace");
        fs::create_dir_all(&workspace)?;
        let mut command = Command::new(program);
        command
            .arg("--stdio")
            .current_dir(&workspace)
            .env("HOME", &editor.folder)
            .env("XDG_CONFIG_HOME", editor.folder.join("config"))
            .env("XDG_CACHE_HOME", editor.folder.join("cache"))
            .env("NODE_EXTRA_CA_CERTS", &editor.authority)
            .env("GH_COPILOT_TOKEN", &editor.token)
            .env("GH_COPILOT_SERVER_URL", &editor.server);
        let (process, stdin, stdout) = Process::start_piped(
            "the language server",
            command,
            &editor.folder.join("lsp.log"),
        )?;
        let shared = Arc::new(Shared::default());
        let (outgoing, queue) = mpsc::unbounded_channel();
        tokio::spawn(write(ChildStdin::from_std(stdin)?, queue));
        tokio::spawn(read(
            ChildStdout::from_std(stdout)?,
            Arc::clone(&shared),
            outgoing.clone(),
        ));
        let server = Self {
            process,
            outgoing,
            ids: AtomicU64::new(1),
            shared,
            workspace,
        };
        let folder = json!([{"uri": server.uri(""), "name": "workspace"}]);
        server
            .request(
                "initialize",
                json!({
                    "processId": std::process::id(),
                    "workspaceFolders": folder,
                    "capabilities": {
                        "workspace": {"workspaceFolders": true, "configuration": true},
                        "window": {"showDocument": {"support": true}},
                    },
                    "initializationOptions": {
                        "editorInfo": {"name": "Neovim", "version": "0.10.0"},
                        "editorPluginInfo": {"name": "copilot.lua", "version": "1.0.0"},
                    },
                }),
            )
            .await?;
        server.notify("initialized", json!({}));
        server.notify("workspace/didChangeConfiguration", json!({"settings": {}}));
        Ok(server)
    }

    /// Who it says is signed in: `{"status": "OK", "user": …}`.
    pub async fn status(&self) -> Result<Value> {
        self.request("checkStatus", json!({})).await
    }

    /// Opens a file with this text in the workspace.
    pub fn open(&self, name: &str, language: &str, text: &str) -> Result<()> {
        fs::write(self.place(name), text)?;
        let uri = self.uri(name);
        self.notify(
            "textDocument/didOpen",
            json!({"textDocument": {"uri": uri, "languageId": language, "version": 1, "text": text}}),
        );
        self.notify(
            "textDocument/didFocus",
            json!({"textDocument": {"uri": uri}}),
        );
        Ok(())
    }

    /// The ghost texts offered at a place of an open file, lines and characters from 0.
    pub async fn ghost_text(&self, name: &str, line: u32, character: u32) -> Result<Vec<String>> {
        let answer = self
            .request(
                "textDocument/inlineCompletion",
                json!({
                    "textDocument": {"uri": self.uri(name), "version": 1},
                    "position": {"line": line, "character": character},
                    "context": {"triggerKind": 2},
                    "formattingOptions": {"tabSize": 4, "insertSpaces": true},
                }),
            )
            .await?;
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .iter()
            .filter_map(|item| item["insertText"].as_str().map(str::to_owned))
            .collect())
    }

    /// Asks in the chat panel and waits until the turn is over.
    pub async fn chat(&self, text: &str, model: &str) -> Result<Turn> {
        self.turn(text, model, "Ask").await
    }

    /// Sets an agent to work, which may use its tools unasked, and waits until it is done.
    pub async fn agent(&self, text: &str, model: &str) -> Result<Turn> {
        self.turn(text, model, "Agent").await
    }

    /// Writes once more in the conversation of `turn`, and waits until that is over.
    pub async fn go_on(&self, turn: &Turn, text: &str, model: &str) -> Result<Turn> {
        let ask = json!({
            "conversationId": turn.conversation,
            "message": text,
            "model": model,
            "chatMode": "Ask",
        });
        self.converse("conversation/turn", ask).await
    }

    async fn turn(&self, text: &str, model: &str, mode: &str) -> Result<Turn> {
        let ask = json!({
            "turns": [{"request": text}],
            "capabilities": {"skills": [], "allSkills": false},
            "source": "panel",
            "model": model,
            "chatMode": mode,
            "needToolCallConfirmation": false,
            "workspaceFolders": [{"uri": self.uri(""), "name": "workspace"}],
        });
        self.converse("conversation/create", ask).await
    }

    async fn converse(&self, method: &str, mut ask: Value) -> Result<Turn> {
        let token = format!("turn-{}", self.ids.fetch_add(1, Ordering::SeqCst));
        ask["workDoneToken"] = json!(token);
        let created = self.request(method, ask).await?;
        let over = async || {
            let values = self.progress(&token);
            values
                .iter()
                .any(|value| value["kind"] == "end")
                .then_some(values)
        };
        let mut turn = Turn {
            conversation: created["conversationId"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            ..Turn::default()
        };
        let values =
            wait::within(PATIENCE, "end of the chat turn", async || Ok(over().await)).await?;
        for value in &values {
            turn.add(value);
        }
        Ok(turn)
    }

    /// The place of a file in its workspace.
    pub fn place(&self, name: &str) -> PathBuf {
        self.workspace.join(name)
    }

    /// Messages and status texts that a person saw.
    pub fn shown(&self) -> Vec<String> {
        self.heard()
            .iter()
            .filter(|(method, _)| {
                method.starts_with("window/showMessage") || method.ends_with("didChangeStatus")
            })
            .filter_map(|(_, params)| params["message"].as_str().map(str::to_owned))
            .filter(|message| !message.is_empty())
            .collect()
    }

    /// Everything that it sent of its own accord: method and parameters.
    pub fn heard(&self) -> Vec<(String, Value)> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// Asks anything and waits for the answer.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value> {
        let id = self.ids.fetch_add(1, Ordering::SeqCst);
        let (sender, answer) = oneshot::channel();
        self.shared.waiting.lock().unwrap().insert(id, sender);
        self.send(json!({"id": id, "method": method, "params": params}));
        let answer = tokio::time::timeout(PATIENCE, answer)
            .await
            .ok()
            .and_then(Result::ok)
            .with_context(|| format!("no answer to {method}:\n{}", self.process.log()))?;
        if !answer["error"].is_null() {
            bail!("{method}: {}", answer["error"]);
        }
        Ok(answer["result"].clone())
    }

    /// Tells anything.
    pub fn notify(&self, method: &str, params: Value) {
        self.send(Value::from_iter([
            ("method", method.into()),
            ("params", params),
        ]));
    }

    /// What its process wrote beside the protocol.
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn send(&self, mut message: Value) {
        message["jsonrpc"] = json!("2.0");
        // a server that has ended shows in the missing answer
        drop(self.outgoing.send(message));
    }

    fn progress(&self, token: &str) -> Vec<Value> {
        let heard = self.shared.heard.lock().unwrap();
        heard
            .iter()
            .filter(|(method, params)| method == "$/progress" && params["token"] == token)
            .map(|(_, params)| params["value"].clone())
            .collect()
    }

    fn uri(&self, name: &str) -> String {
        format!("file://{}", self.place(name).display())
    }
}

impl Turn {
    fn add(&mut self, value: &Value) {
        self.reply
            .push_str(value["reply"].as_str().unwrap_or_default());
        if !value["error"].is_null() {
            self.errors.push(value["error"].clone());
        }
        for round in value["editAgentRounds"].as_array().into_iter().flatten() {
            self.reply
                .push_str(round["reply"].as_str().unwrap_or_default());
            for call in round["toolCalls"].as_array().into_iter().flatten() {
                let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
                self.tools.push((text("name"), text("status")));
            }
        }
    }
}

/// Where the npm packages of the test clients are: `CLIENTS`, or `tests/clients`.
pub fn clients() -> PathBuf {
    env::var_os("CLIENTS").map_or_else(|| repository().join("tests/clients"), PathBuf::from)
}

async fn write(mut stdin: ChildStdin, mut queue: mpsc::UnboundedReceiver<Value>) {
    while let Some(message) = queue.recv().await {
        let text = message.to_string();
        let frame = format!("Content-Length: {}\r\n\r\n{text}", text.len());
        if stdin.write_all(frame.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stdout: ChildStdout, shared: Arc<Shared>, outgoing: mpsc::UnboundedSender<Value>) {
    let mut stdout = BufReader::new(stdout);
    while let Some(message) = message(&mut stdout).await {
        let Some(method) = message["method"].as_str().map(str::to_owned) else {
            let waiting = message["id"].as_u64();
            let waiting = waiting.and_then(|id| shared.waiting.lock().unwrap().remove(&id));
            if let Some(waiting) = waiting {
                drop(waiting.send(message)); // the asker may have given up
            }
            continue;
        };
        if !message["id"].is_null() {
            let result = editor_answer(&method, &message["params"]);
            drop(outgoing.send(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})));
        }
        let mut heard = shared.heard.lock().unwrap();
        heard.push((method, message["params"].clone()));
    }
}

/// The next message, or nothing at the end.
async fn message(stdout: &mut BufReader<ChildStdout>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim();
        if line.is_empty() && length > 0 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stdout.read_exact(&mut body).await.ok()?;
    serde_json::from_slice(&body).ok()
}

/// What an editor without special abilities answers.
fn editor_answer(method: &str, params: &Value) -> Value {
    match method {
        "conversation/context" => json!([null, null]),
        "conversation/invokeClientToolConfirmation" => json!([{"result": "accept"}, null]),
        "copilot/watchedFiles" => json!({"files": []}),
        "workspace/configuration" => {
            let items = params["items"].as_array().map_or(0, Vec::len);
            json!(vec![json!({}); items])
        }
        _ => Value::Null,
    }
}

impl Editor {
    /// An editor whose GitHub is `https://{domain}`, with its files in `folder`.
    pub fn new(domain: &str, token: &str, authority: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            server: format!("https://{domain}"),
            token: token.to_owned(),
            authority: authority.to_owned(),
            folder: folder.to_owned(),
        })
    }
}
