//! Callers of a benchmark: one thread and one HTTP/1.1 connection each, by hand, blocking.
//!
//! Load generators from registries count whole answers. What matters here is when the first byte
//! of an answer's body and when each event of a stream arrived, against the time at which the
//! upstream handed that event to its socket.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

use super::{
    cpu::{self, Core, now_ns},
    messages,
};

/// How long an answer may take in the worst case.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a caller asks for, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
    /// Where the number of the request stands, in each text that is to be new.
    turns: Vec<usize>,
    /// Its answer is a paced stream whose events count.
    pub paced: bool,
}

impl Request {
    /// A request as the language server sends it; `wanted` is what the upstream shall answer.
    pub(super) fn new(path: &str, wanted: &str, token: &str, body: &[u8]) -> Self {
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nhost: api.gw.test\r\nauthorization: Bearer {token}\r\n\
             editor-version: Neovim/0.10.0\r\neditor-plugin-version: copilot.lua/1.0.0\r\n\
             copilot-language-server-version: 1.539.0\r\nx-github-api-version: 2026-01-09\r\n\
             copilot-integration-id: jetbrains-chat\r\nx-initiator: user\r\n\
             x-interaction-id: 3f1c2a90-0000-4000-8000-000000000000\r\n\
             x-interaction-type: conversation-panel\r\nopenai-organization: github-copilot\r\n\
             x-request-id: 9d2f7a10-0000-4000-8000-000000000000\r\n\
             vscode-sessionid: 4be19c00-0000-4000-8000-000000000000\r\n\
             vscode-machineid: 5c07d200-0000-4000-8000-000000000000\r\n\
             openai-intent: conversation-agent\r\nuser-agent: GithubCopilot/1.539.0\r\n\
             content-type: application/json\r\naccept: */*\r\naccept-language: *\r\n\
             sec-fetch-mode: cors\r\naccept-encoding: br, gzip, deflate\r\n\
             x-bench: {wanted}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        let starts = memmem::find_iter(&bytes, messages::TURN);
        Self {
            turns: starts.map(|start| start + messages::TURN.len()).collect(),
            bytes,
            paced: wanted == "paced",
        }
    }
}

/// When things happened in one exchange, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Timing {
    /// From the request's first byte written to the first byte of the answer's body.
    pub first_byte: u64,
    /// For each event, from the upstream's socket to all of its text being here.
    pub delays: Vec<u64>,
    /// Between the arrivals of two events that follow each other.
    pub gaps: Vec<u64>,
}

/// How callers go on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// The next request leaves when the answer is there.
    Closed,
    /// Requests leave at this rate each second, over all callers; one that is late counts from
    /// when it was due.
    Rate(u32),
}

/// Runs callers side by side for this long; gives each exchange's timing and how long it took.
pub(super) fn run(
    to: SocketAddr,
    request: &Request,
    callers: usize,
    pace: Pace,
    time: Duration,
) -> Result<(Vec<Timing>, Duration)> {
    let start = now_ns();
    let end = start + u64::try_from(time.as_nanos())?;
    let timings = thread::scope(|scope| -> Result<Vec<Timing>> {
        let one = |caller: usize| -> Result<Vec<Timing>> {
            cpu::pin_this_thread(Core::Load)?;
            let mut connection = Connection::open(to)?;
            let mut timings = Vec::new();
            let every = match pace {
                Pace::Closed => 0,
                Pace::Rate(rate) => 1_000_000_000 * callers as u64 / u64::from(rate),
            };
            let mut due = start + every * caller as u64 / callers as u64;
            loop {
                let now = now_ns();
                if now.max(due) >= end && !timings.is_empty() {
                    return Ok(timings);
                }
                thread::sleep(Duration::from_nanos(due.saturating_sub(now)));
                let late = match pace {
                    Pace::Closed => 0,
                    Pace::Rate(_) => now.saturating_sub(due),
                };
                let mut timing = connection.exchange(request)?;
                timing.first_byte += late;
                timings.push(timing);
                due += every;
            }
        };
        let callers: Vec<_> = (0..callers)
            .map(|caller| scope.spawn(move || one(caller)))
            .collect();
        let mut timings = Vec::new();
        for caller in callers {
            timings.extend(caller.join().expect("a caller does not panic")?);
        }
        Ok(timings)
    })?;
    Ok((timings, Duration::from_nanos(now_ns() - start)))
}

/// A caller's connection.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(super) fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            body: Vec::new(),
        })
    }

    /// Writes a request and reads no answer.
    pub(super) fn send(&mut self, request: &Request) -> Result<()> {
        static SENT: AtomicU64 = AtomicU64::new(0);
        let number = format!("{:010}", SENT.fetch_add(1, Ordering::Relaxed));
        let mut bytes = request.bytes.clone();
        for end in &request.turns {
            bytes[end - number.len()..*end].copy_from_slice(number.as_bytes());
        }
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Reads the answer up to the first bytes of its body, of which there must be so many.
    pub(super) fn begin(&mut self, bytes: usize) -> Result<()> {
        let mut answer = Answer::default();
        self.buffer.clear();
        self.body.clear();
        while self.body.len() < bytes {
            self.read()?;
            answer.take(&self.buffer, &mut self.body)?;
        }
        Ok(())
    }

    /// Sends a request and reads its answer, which must be good.
    pub(super) fn exchange(&mut self, request: &Request) -> Result<Timing> {
        self.buffer.clear();
        self.body.clear();
        let mut answer = Answer::default();
        let mut timing = Timing::default();
        let mut events = Events::default();
        let start = now_ns();
        self.send(request)?;
        loop {
            self.read()?;
            let now = now_ns();
            answer.take(&self.buffer, &mut self.body)?;
            if timing.first_byte == 0 && !self.body.is_empty() {
                timing.first_byte = now - start;
            }
            if request.paced {
                events.take(&self.body, now);
            }
            if answer.done {
                break;
            }
        }
        if request.paced {
            events.measure(&self.body, &mut timing)?;
        }
        Ok(timing)
    }

    fn read(&mut self) -> Result<()> {
        let before = self.buffer.len();
        self.buffer.resize(before + (32 << 10), 0);
        let got = self.stream.read(&mut self.buffer[before..])?;
        self.buffer.truncate(before + got);
        ensure!(got > 0, "the connection ended in an answer");
        Ok(())
    }
}

/// How far an answer is read.
#[derive(Default)]
struct Answer {
    at: usize,
    head: bool,
    /// Bytes of the body, or of the chunk at hand, that are still to come.
    left: usize,
    chunked: bool,
    done: bool,
}

impl Answer {
    fn take(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<()> {
        if !self.head {
            let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
                return Ok(());
            };
            let head = std::str::from_utf8(&bytes[..end])?;
            if !head.starts_with("HTTP/1.1 200 ") {
                bail!("the answer is {}", String::from_utf8_lossy(bytes));
            }
            self.chunked = head.contains("\r\ntransfer-encoding: chunked");
            if !self.chunked {
                let length = head.split("\r\ncontent-length: ").nth(1);
                let length = length.and_then(|rest| rest.split("\r\n").next());
                self.left = length.context("an answer without length")?.parse()?;
            }
            self.at = end + 4;
            self.head = true;
        }
        loop {
            let part = &bytes[self.at..];
            let part = &part[..part.len().min(self.left)];
            body.extend_from_slice(part);
            self.at += part.len();
            self.left -= part.len();
            if self.left > 0 {
                return Ok(());
            }
            if !self.chunked {
                self.done = true;
                return Ok(());
            }
            let rest = &bytes[self.at..];
            let skip = if rest.starts_with(b"\r\n") { 2 } else { 0 };
            let Some(end) = memmem::find(&rest[skip..], b"\r\n") else {
                return Ok(());
            };
            let size = std::str::from_utf8(&rest[skip..skip + end])?;
            self.left = usize::from_str_radix(size, 16)?;
            if self.left == 0 {
                self.done = rest[skip + end..].starts_with(b"\r\n\r\n");
                return Ok(());
            }
            self.at += skip + end + 2;
        }
    }
}

/// The events of a paced stream: which text was here at which time.
#[derive(Default)]
struct Events {
    at: usize,
    characters: usize,
    arrived_ns: Vec<u64>,
}

impl Events {
    fn take(&mut self, body: &[u8], now: u64) {
        const TEXT: &[u8] = b"\"content\":\"";
        while let Some(length) = memmem::find(&body[self.at..], b"\n\n") {
            let event = &body[self.at..self.at + length];
            self.at += length + 2;
            if let Some(start) = memmem::find(event, TEXT) {
                let text = &event[start + TEXT.len()..];
                self.characters += text.iter().take_while(|byte| **byte != b'"').count();
            }
            while self.arrived_ns.len() < self.characters / messages::EVENT_CHARS {
                self.arrived_ns.push(now);
            }
        }
    }

    fn measure(&self, body: &[u8], timing: &mut Timing) -> Result<()> {
        const SENT: &[u8] = b"\"sent_ns\":[";
        let start = memmem::find(body, SENT).context("no times in the stream")? + SENT.len();
        let end = memmem::find(&body[start..], b"]").context("no times in the stream")?;
        let sent = std::str::from_utf8(&body[start..start + end])?;
        let sent: Vec<u64> = sent.split(',').map(str::parse).collect::<Result<_, _>>()?;
        ensure!(
            sent.len() == self.arrived_ns.len() && sent.len() == messages::EVENTS,
            "{} events were sent, {} came",
            sent.len(),
            self.arrived_ns.len()
        );
        let pairs = self.arrived_ns.iter().zip(&sent);
        timing.delays = pairs
            .map(|(here, sent)| here.saturating_sub(*sent))
            .collect();
        let pairs = self.arrived_ns.windows(2);
        timing.gaps = pairs.map(|pair| pair[1] - pair[0]).collect();
        Ok(())
    }
}
