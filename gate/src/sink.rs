//! What people ask of a sink.

use std::time::Duration;

use anyhow::{anyhow, bail, ensure};
use bigquery::{Endpoint, Url};
use serde::{Serialize, de::DeserializeOwned};

use crate::views::plain;

/// A sink, and a token that it knows; cannot be printed.
pub(crate) struct Sink {
    url: Url,
    token: String,
}

impl Sink {
    /// Checks the address and takes the token from the environment variable `variable`; `whose` says
    /// what token it is.
    pub(crate) fn new(url: &Url, variable: &str, whose: &str) -> anyhow::Result<Self> {
        Endpoint::new(url.clone(), false)
            .map_err(|_| anyhow!("--sink: neither https nor http to this host"))?;
        let token = std::env::var(variable).unwrap_or_default();
        let token = token.trim().to_owned();
        ensure!(
            !token.is_empty(),
            "{variable}: not set; it is {whose} token for the sink"
        );
        ensure!(
            token.bytes().all(|byte| byte.is_ascii_graphic()),
            "{variable}: not a token"
        );
        Ok(Self {
            url: url.clone(),
            token,
        })
    }

    /// Posts a question to `/v1/` and `what`, and gives the answer.
    pub(crate) async fn post<A: DeserializeOwned>(
        &self,
        what: &str,
        question: &impl Serialize,
    ) -> anyhow::Result<A> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v1", what]);
        }
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_mins(1));
        if url.scheme() == "http" {
            builder = builder.no_proxy();
        }
        let request = builder.build()?.post(url).bearer_auth(&self.token);
        let answer = request.json(question).send().await;
        let answer =
            answer.map_err(|error| anyhow!("cannot ask the sink: {}", error.without_url()))?;
        let status = answer.status();
        if !status.is_success() {
            let mut sentence = plain(&answer.text().await.unwrap_or_default());
            sentence.truncate(sentence.floor_char_boundary(200));
            bail!("the sink says {}: {}", status.as_u16(), sentence.trim());
        }
        let answer = answer.json().await;
        answer.map_err(|_| anyhow!("the sink's answer is not understood"))
    }
}
