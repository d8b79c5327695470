//! The upstream of a benchmark, in a process of its own: as cheap as can be, one thread a
//! connection, HTTP/1.1 by hand. What it answers is chosen by the header `x-bench`.
//!
//! Beside it a server takes Envoy's access log and the filter's calls with records, drops them and
//! says that all is durable, so that what records cost Envoy is measured and what a sink does with
//! them is not. The same server is an approval desk where nobody decides until all are refused.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use contract::Envelope;
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming};
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{cpu, messages};
use crate::{
    ports::loopback,
    process::Process,
    server::{Answered, Server, whole},
    wait,
};

/// Time between two events of a paced stream.
const PACE: Duration = Duration::from_millis(2);

/// Events that a stream which stays open sends first.
const EVENTS_BEFORE_HOLD: usize = 20;

/// A running upstream.
pub struct Upstream {
    process: Process,
    /// Where model requests go.
    pub address: SocketAddr,
    /// Where access logs go; also takes orders.
    pub control: SocketAddr,
}

impl Upstream {
    /// Starts `program upstream`.
    pub fn start(program: &std::path::Path, folder: &std::path::Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("upstream");
        let log = folder.join("upstream.log");
        let (process, _stdin, stdout) = Process::start_piped("upstream", command, &log)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let places: Value = serde_json::from_str(&line).context("no address of the upstream")?;
        let place = |name: &str| -> Result<SocketAddr> {
            Ok(places[name].as_str().context("no address")?.parse()?)
        };
        let (address, control) = (place("upstream")?, place("control")?);
        cpu::pin(process.id(), cpu::Core::Load)?;
        Ok(Self {
            process,
            address,
            control,
        })
    }

    /// Lets the streams that are held open end, and refuses whoever waits at the desk.
    pub async fn release(&mut self) -> Result<()> {
        self.process.check()?;
        self.ask("/release").await.map(drop)
    }

    /// Bytes of access log that came so far.
    pub async fn logged_bytes(&self) -> Result<u64> {
        Ok(self.ask("/logged").await?.parse()?)
    }

    /// Waits until bytes of access log came: records do leave Envoy.
    pub async fn wait_for_log(&self) -> Result<()> {
        wait::until("access log", async || {
            let bytes = self.logged_bytes().await.ok()?;
            (bytes > 0).then_some(())
        })
        .await
    }

    /// Waits until so many requests wait at the desk.
    pub async fn wait_for_asks(&self, count: usize) -> Result<()> {
        let mut last = String::new();
        let all = wait::until("requests at the desk", async || {
            last = self.ask("/waiting").await.ok()?;
            (last == count.to_string()).then_some(())
        });
        all.await.with_context(|| format!("{last} of {count} wait"))
    }

    async fn ask(&self, path: &str) -> Result<String> {
        let http = crate::client::client().build()?;
        let answer = http.get(format!("http://{}{path}", self.control)).send();
        Ok(answer.await?.error_for_status()?.text().await?)
    }
}

#[derive(Default)]
struct State {
    logged: AtomicU64,
    /// Requests that wait at the desk.
    waiting: AtomicU64,
    desk: Notify,
    /// How often held streams were let go.
    releases: Mutex<u64>,
    released: Condvar,
}

/// Serves until the process is ended; says on stdout where.
pub async fn serve() -> Result<()> {
    let state = Arc::new(State::default());
    let shared = Arc::clone(&state);
    let control = Server::start(0, move |request, _| {
        control(Arc::clone(&shared), request).boxed()
    })
    .await?;
    let listener = TcpListener::bind(loopback(0))?;
    let places = json!({"upstream": listener.local_addr()?, "control": control.address()});
    let mut out = std::io::stdout();
    writeln!(out, "{places}")?;
    out.flush()?;
    let answers = Arc::new(Answers::default());
    tokio::task::spawn_blocking(move || {
        for stream in listener.incoming().flatten() {
            let (answers, state) = (Arc::clone(&answers), Arc::clone(&state));
            // a cut connection ends its thread
            thread::spawn(move || connection(stream, &answers, &state).is_ok());
        }
    })
    .await?;
    Ok(())
}

async fn control(state: Arc<State>, request: Request<Incoming>) -> Answered {
    let text = match request.uri().path() {
        "/logged" => state.logged.load(Ordering::Relaxed).to_string(),
        "/release" => {
            *state.releases.lock().unwrap() += 1;
            state.released.notify_all();
            state.desk.notify_waiters();
            String::new()
        }
        "/waiting" => state.waiting.load(Ordering::Relaxed).to_string(),
        "/v1/keys" => json!({"keys": []}).to_string(),
        "/v1/approvals" => {
            let refused = state.desk.notified();
            state.waiting.fetch_add(1, Ordering::Relaxed);
            refused.await;
            state.waiting.fetch_sub(1, Ordering::Relaxed);
            let url = "https://desk.gw.test/approvals/AP-AAAAAAAAAA";
            json!({"id": "AP-AAAAAAAAAA", "state": "refused", "url": url, "expires_at": 0})
                .to_string()
        }
        "/v1/records" => {
            let body = request.into_body().collect().await;
            let body = body.map_err(std::io::Error::other)?.to_bytes();
            // the first record of a call tells whose they are
            let posted = Envelope::decode_length_delimited(body).unwrap_or_default();
            json!({"epochs": [all_durable(posted.epoch())]}).to_string()
        }
        path if path.starts_with("/v1/epochs/") => {
            all_durable(path.trim_start_matches("/v1/epochs/")).to_string()
        }
        _ => {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
                state.logged.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            String::new()
        }
    };
    Ok(Response::new(whole(text)))
}

/// What a sink says of an epoch of which it has all.
fn all_durable(epoch: &str) -> Value {
    json!({"epoch": epoch, "durable_through": i64::MAX, "highest": i64::MAX, "missing": []})
}

struct Answers {
    json: Vec<u8>,
    events: Vec<Vec<u8>>,
    ghost: Vec<u8>,
}

impl Default for Answers {
    fn default() -> Self {
        let mut json = head("application/json");
        let answer = messages::answer();
        json.extend(format!("content-length: {}\r\n\r\n", answer.len()).bytes());
        json.extend(answer);
        let mut ghost = head("text/event-stream");
        ghost.extend(b"transfer-encoding: chunked\r\n\r\n");
        push_chunk(&mut ghost, &messages::ghost_answer());
        ghost.extend(b"0\r\n\r\n");
        let events = (0..messages::EVENTS).map(|number| {
            let mut chunk = Vec::new();
            push_chunk(&mut chunk, &messages::event(number));
            chunk
        });
        Self {
            json,
            events: events.collect(),
            ghost,
        }
    }
}

fn head(kind: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nx-github-request-id: C8F2:1A2B\r\n\
         x-request-id: 00000000-0000-4000-8000-000000000000\r\ncache-control: no-cache\r\n"
    )
    .into_bytes()
}

fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    out.extend(format!("{:x}\r\n", data.len()).bytes());
    out.extend(data);
    out.extend(b"\r\n");
}

fn connection(stream: TcpStream, answers: &Answers, state: &State) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut requests = BufReader::with_capacity(64 << 10, stream);
    while let Some(wanted) = request(&mut requests)? {
        match wanted.as_str() {
            "json" => out.write_all(&answers.json)?,
            "ghost" => out.write_all(&answers.ghost)?,
            "paced" => {
                out.write_all(&stream_head())?;
                let start = cpu::now_ns();
                let mut sent = Vec::with_capacity(answers.events.len());
                for (due, event) in (start..).step_by(PACE_NS).zip(&answers.events) {
                    thread::sleep(Duration::from_nanos(due.saturating_sub(cpu::now_ns())));
                    sent.push(cpu::now_ns());
                    out.write_all(event)?;
                }
                out.write_all(&stream_end(&sent))?;
            }
            "open" => {
                let before = *state.releases.lock().unwrap();
                let mut first = stream_head();
                for event in answers.events.iter().take(EVENTS_BEFORE_HOLD) {
                    first.extend(event);
                }
                out.write_all(&first)?;
                let releases = state.releases.lock().unwrap();
                drop(state.released.wait_while(releases, |now| *now == before));
                out.write_all(&stream_end(&[]))?;
            }
            other => bail!("x-bench: {other}"),
        }
    }
    Ok(())
}

const PACE_NS: usize = PACE.as_nanos() as usize;

fn stream_head() -> Vec<u8> {
    let mut out = head("text/event-stream");
    out.extend(b"transfer-encoding: chunked\r\n\r\n");
    out
}

fn stream_end(sent: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    push_chunk(&mut out, &messages::end(sent));
    out.extend(b"0\r\n\r\n");
    out
}

/// Reads a request whole; gives its `x-bench`, or `None` at the connection's end.
fn request(from: &mut BufReader<TcpStream>) -> Result<Option<String>> {
    let (mut wanted, mut length, mut chunked) = (String::new(), 0, false);
    let mut line = String::new();
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name {
            "x-bench" => value.clone_into(&mut wanted),
            "content-length" => length = value.parse()?,
            "transfer-encoding" => chunked = value == "chunked",
            _ => {}
        }
    }
    skip(from, length)?;
    while chunked {
        line.clear();
        from.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16)?;
        skip(from, size + 2)?;
        chunked = size > 0;
    }
    Ok(Some(wanted))
}

fn skip(from: &mut impl Read, bytes: u64) -> Result<()> {
    let skipped = std::io::copy(&mut from.take(bytes), &mut std::io::sink())?;
    if skipped < bytes {
        bail!("the request was cut");
    }
    Ok(())
}
