//! The fake GitHub: answers as scripted, records everything it is asked.
//!
//! Over plain HTTP/1.1 and h2c it serves the model endpoints (`/chat/completions`, `/responses`,
//! `/v1/messages`, `/v1/engines/{engine}/completions`) by [`Script`], and fixed answers for
//! `/models`, `/embeddings`, `/mcp`, `/user`, `/copilot_internal/*` and `/telemetry`. `PUT /_script` with a script in JSON changes what it
//! says, `GET /_requests` shows what it was asked.

mod chat;
mod github;
mod messages;
mod responses;
mod script;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use bytes::Bytes;
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::{HeaderMap, Request, Response, Version, body::Incoming};
use serde_json::{Value, json};

pub use script::{Answer, Choice, Cut, End, Rule, Say, Script, ToolCall, signature, words};

use crate::server::{Answered, Server, json as json_answer, whole};

/// A running upstream.
pub struct Upstream {
    server: Server,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    script: Mutex<Script>,
    /// How often each rule of the script was used.
    used: Mutex<Vec<u32>>,
    seen: Mutex<Vec<Seen>>,
    arrivals: AtomicUsize,
    github: Mutex<String>,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method in capitals.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Query without `?`, empty if there was none.
    pub query: String,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// All header fields; the host is in `host`, also where HTTP/2 had `:authority`.
    pub headers: HeaderMap,
    /// The body's bytes, as they came.
    pub body: Bytes,
    /// Other end of the connection: the same for requests on the same connection.
    pub connection: SocketAddr,
    progress: Arc<Mutex<Progress>>,
}

/// How far an answer got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// The asker left before the end.
    Abandoned,
    /// All that was to be sent was sent, or cut where it was to be cut.
    Finished,
    /// Still sending.
    #[default]
    Sending,
}

impl Upstream {
    /// Listens on `port` (0: any) and echoes until scripted.
    pub async fn start(port: u16) -> Result<Self> {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let server = Server::start(port, move |request, peer| {
            handle(Arc::clone(&shared), request, peer).boxed()
        })
        .await?;
        Ok(Self { server, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Sets what it answers from now on.
    pub fn script(&self, script: impl Into<Script>) {
        self.state.set_script(script.into());
    }

    /// Sets the base URLs that its token and user answers name, `https://gw.test` for instance.
    pub fn set_github(&self, domain: &str) {
        domain.clone_into(&mut self.state.github.lock().unwrap());
    }

    /// All requests whose bodies have arrived, in that order.
    pub fn requests(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Those whose path ends so.
    pub fn requests_to(&self, path: &str) -> Vec<Seen> {
        let mut requests = self.requests();
        requests.retain(|seen| seen.path.ends_with(path));
        requests
    }

    /// How many requests have begun to arrive, with or without their bodies.
    pub fn arrivals(&self) -> usize {
        self.state.arrivals.load(Ordering::SeqCst)
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Whether `text` stood anywhere in what it got.
    pub fn saw(&self, text: &str) -> bool {
        self.requests().iter().any(|seen| seen.contains(text))
    }

    /// Forgets what it was asked.
    pub fn forget(&self) {
        self.state.seen.lock().unwrap().clear();
    }

    /// Refuses connections until [`Upstream::up`].
    pub async fn down(&self) {
        self.server.down().await;
    }

    /// Listens again.
    pub async fn up(&self) -> Result<()> {
        self.server.up().await
    }
}

impl Seen {
    /// The body as JSON, null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// What a person wrote last: the last user message, or the prompt.
    pub fn last_words(&self) -> String {
        github::last_words(&self.json())
    }

    /// How far the answer got.
    pub fn progress(&self) -> Progress {
        *self.progress.lock().unwrap()
    }

    /// Whether `text` stands in the path, a header or the body.
    pub fn contains(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let within = |place: &[u8]| place.windows(bytes.len().max(1)).any(|part| part == bytes);
        within(self.path.as_bytes())
            || within(self.query.as_bytes())
            || within(&self.body)
            || self.headers.values().any(|value| within(value.as_bytes()))
    }

    fn summary(&self) -> Value {
        let headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        json!({
            "method": self.method,
            "path": self.path,
            "headers": headers,
            "body": self.text(),
        })
    }
}

impl State {
    fn set_script(&self, script: Script) {
        *self.used.lock().unwrap() = vec![0; script.rules.len()];
        *self.script.lock().unwrap() = script;
    }

    /// The scripted answer for a path, and whether a rule named it.
    fn answer_for(&self, path: &str) -> (Answer, bool) {
        let script = self.script.lock().unwrap();
        let mut used = self.used.lock().unwrap();
        for (rule, used) in script.rules.iter().zip(used.iter_mut()) {
            if path.contains(&rule.path) && rule.times.is_none_or(|times| *used < times) {
                *used += 1;
                return (rule.answer.clone(), true);
            }
        }
        (script.otherwise.clone(), false)
    }
}

async fn handle(state: Arc<State>, request: Request<Incoming>, peer: SocketAddr) -> Answered {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let control = path.starts_with("/_");
    if !control {
        state.arrivals.fetch_add(1, Ordering::SeqCst);
    }
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    if control {
        return Ok(command(&state, &path, &body));
    }

    let mut headers = head.headers;
    if let Some(host) = head.uri.authority()
        && let Ok(value) = host.as_str().parse()
    {
        headers.insert("host", value);
    }
    let seen = Seen {
        method: head.method.to_string(),
        path: path.clone(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        version: head.version,
        headers,
        body,
        connection: peer,
        progress: Arc::default(),
    };
    let progress = Arc::clone(&seen.progress);
    let asked = seen.json();
    let method = seen.method.clone();
    state.seen.lock().unwrap().push(seen);

    let (answer, named) = state.answer_for(&path);
    if named || github::is_model_endpoint(&path) {
        return answer.send(&path, &asked, progress).await;
    }
    *progress.lock().unwrap() = Progress::Finished;
    let domain = state.github.lock().unwrap().clone();
    Ok(match github::fixed(&method, &path, &asked, &domain) {
        Some(value) => json_answer(200, &value),
        None => json_answer(404, &json!({"message": "Not Found", "status": "404"})),
    })
}

/// For a person with curl.
fn command(state: &State, path: &str, body: &[u8]) -> Response<crate::server::Body> {
    match path {
        "/_script" => match serde_json::from_slice(body) {
            Ok(script) => {
                state.set_script(script);
                json_answer(200, &json!({"message": "this is what I say from now on"}))
            }
            Err(error) => json_answer(400, &json!({"message": error.to_string()})),
        },
        "/_requests" => {
            let seen = state.seen.lock().unwrap();
            let requests: Vec<Value> = seen.iter().map(Seen::summary).collect();
            let mut answer = Response::new(whole(format!("{:#}\n", Value::Array(requests))));
            answer
                .headers_mut()
                .insert("content-type", "application/json".parse().expect("fixed"));
            answer
        }
        _ => json_answer(404, &json!({"message": "there is /_script and /_requests"})),
    }
}

/// The longest that an endless answer lasts: no test, and no forgotten one, needs more.
const ENDLESS: Duration = Duration::from_mins(5);
