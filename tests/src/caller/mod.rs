//! A caller: a person's client with a token, over HTTP/1.1 or HTTP/2.

mod content;

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use hyper::HeaderMap;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::certs::host_names;

/// A person's client.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The bearer token; none is sent if it is empty.
    pub token: String,
    /// More header fields for each request.
    pub headers: HeaderMap,
    domain: String,
    gateway: SocketAddr,
    authority: Vec<u8>,
    http: reqwest::Client,
}

/// Which HTTP a caller speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    #[default]
    Two,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// All bytes of the body that arrived.
    pub body: Vec<u8>,
    /// Whether the body came to its proper end.
    pub whole: bool,
    /// The pieces in which it arrived, with the time since the request.
    pub pieces: Vec<(Duration, Vec<u8>)>,
}

impl Caller {
    /// A client for the gateway `domain` at `gateway`, that trusts the authority in the file.
    pub fn new(domain: &str, gateway: SocketAddr, authority: &Path, http: Http) -> Result<Self> {
        let authority = std::fs::read(authority)?;
        let certificate = reqwest::Certificate::from_pem(&authority)?;
        let mut builder = crate::client::client()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([certificate])
            .timeout(Duration::from_mins(1));
        builder = match http {
            Http::One => builder.http1_only(),
            Http::Two => builder, // by ALPN
        };
        for name in host_names(domain) {
            builder = builder.resolve(&name, gateway);
        }
        Ok(Self {
            token: String::new(),
            headers: HeaderMap::new(),
            domain: domain.to_owned(),
            gateway,
            authority,
            http: builder.build()?,
        })
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            ..self.clone()
        }
    }

    /// The same client with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers
            .insert(name, value.parse().expect("a header value"));
        self
    }

    /// Asks a chat model, as a stream.
    pub async fn chat(&self, text: &str) -> Result<Answer> {
        self.post("/chat/completions", &chat(text)).await
    }

    /// Asks for ghost text.
    pub async fn ghost(&self, prompt: &str) -> Result<Answer> {
        self.post("/v1/engines/gpt-41-copilot/completions", &ghost(prompt))
            .await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.raw(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.raw("GET", path, &[], Vec::new()).await
    }

    /// Sends any request that is still HTTP, and reads the answer to its end. A path that begins
    /// with `//` names the host too: `//proxy.gw.test/models`.
    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<Answer> {
        let begun = Instant::now();
        let answer = self.open(method, path, headers, body).await?;
        Answer::read(answer, begun).await
    }

    /// As [`Caller::raw`], leaving the body to the test: to read it slowly, or to leave.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<reqwest::Response> {
        let port = self.gateway.port();
        let (host, path) = match path.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => (self.domain.as_str(), path),
        };
        let url = format!("https://{host}:{port}{path}");
        let mut request = self
            .http
            .request(Method::from_bytes(method.as_bytes())?, url)
            .headers(self.headers.clone())
            .body(body);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request.send().await?)
    }

    /// Writes bytes, which need not be HTTP at all, into a TLS connection and gives back what
    /// comes until the other end closes or `patience` is over.
    pub async fn bytes(&self, bytes: &[u8], patience: Duration) -> Result<Vec<u8>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&self.authority)?)?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(self.gateway).await?;
        let name = ServerName::try_from(self.domain.clone())?;
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        // a close without goodbye, or none at all, is as good an end
        drop(tokio::time::timeout(patience, stream.read_to_end(&mut answer)).await);
        Ok(answer)
    }
}

impl Answer {
    /// Reads an opened answer to its end.
    pub async fn read(mut answer: reqwest::Response, begun: Instant) -> Result<Self> {
        let mut read = Self {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: Vec::new(),
            whole: false,
            pieces: Vec::new(),
        };
        read.whole = loop {
            match answer.chunk().await {
                Ok(Some(piece)) => {
                    read.body.extend_from_slice(&piece);
                    read.pieces.push((begun.elapsed(), piece.to_vec()));
                }
                Ok(None) => break true,
                Err(error) if error.is_timeout() => return Err(error.into()),
                Err(_) => break false, // cut off
            }
        };
        Ok(read)
    }

    /// A header's value, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The body as text.
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The `data` of each event, `[DONE]` included.
    pub fn events(&self) -> Vec<String> {
        self.body_text()
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data).to_owned())
            .collect()
    }

    /// Time until the first byte of the body.
    pub fn first_byte(&self) -> Result<Duration> {
        let first = self.pieces.first().context("the body is empty")?;
        Ok(first.0)
    }
}

/// A chat request as clients send it.
pub fn chat(text: &str) -> Value {
    json!({
        "model": "gpt-4.1",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": text},
        ],
        "temperature": 0, "top_p": 1, "n": 1, "max_tokens": 4096, "stream": true,
    })
}

/// A ghost text request as clients send it.
pub fn ghost(prompt: &str) -> Value {
    json!({
        "prompt": prompt, "suffix": "", "max_tokens": 500, "temperature": 0, "top_p": 1, "n": 1,
        "stop": ["\ndef ", "\nclass "], "stream": true,
        "extra": {"language": "python", "next_indent": 0, "trim_by_indentation": true},
    })
}

/// A request to `/responses` as clients send it.
pub fn responses(text: &str) -> Value {
    json!({
        "model": "gpt-5.4", "instructions": "You are a helpful assistant.",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}],
        "store": false, "include": ["reasoning.encrypted_content"], "stream": true,
    })
}

/// A request to `/v1/messages` as clients send it.
pub fn messages(text: &str) -> Value {
    json!({
        "model": "claude-sonnet-4.6", "max_tokens": 4096,
        "system": [{"type": "text", "text": "You are a helpful assistant."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
        "stream": true,
    })
}
