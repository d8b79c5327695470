//! Lets people ask the sink something: each needs a token, there are few questions in a minute, and
//! none is answered before it is on disk as a row that says who asked.

mod limit;
mod people;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use contract::{Envelope, RECORD_VERSION};
use serde_json::Value;
use tokio::time::timeout;
use tracing::warn;

use self::{
    limit::{Asker, Limits, Wait},
    people::Person,
};
use crate::{
    row::{Origin, proven},
    writer::Writer,
};

/// The people of an environment variable, with their tokens.
#[derive(Clone, Debug)]
pub(crate) struct People(Vec<Person>);

impl People {
    /// Reads `name:token[,name:token]` of `variable`; none if it is not set or empty.
    ///
    /// # Errors
    ///
    /// What is wrong, without what was written.
    pub(crate) fn read(variable: &str, text: Option<&str>) -> Result<Option<Self>, String> {
        let text = text.filter(|text| !text.trim().is_empty());
        let people = text.map(people::read).transpose();
        let people = people.map_err(|fault| format!("{variable}: {fault}"))?;
        Ok(people.map(Self))
    }
}

/// What differs from one kind of question to another.
pub(crate) struct Questions {
    /// Of the rows, for metrics.
    pub(crate) origin: Origin,
    /// What stands in each row, before more is known.
    pub(crate) row: Envelope,
    /// There is nobody who may ask.
    pub(crate) not_configured: &'static str,
    /// Why there is no answer, in words.
    pub(crate) unknown_token: &'static str,
    pub(crate) too_many: &'static str,
    pub(crate) not_recorded: &'static str,
}

/// What somebody gets.
pub(crate) struct Answer {
    /// The row, without what the guard knows itself.
    pub(crate) row: Envelope,
    pub(crate) body: Value,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// As in the record.
    pub(crate) reason: &'static str,
    pub(crate) sentence: &'static str,
}

/// Stands before the questions of one kind.
pub(crate) struct Guard {
    questions: Questions,
    people: Option<People>,
    limits: Mutex<Limits>,
    deployment: Option<String>,
    writer: Writer,
}

impl Guard {
    /// Lets `people` ask; without, it says that nobody may.
    pub(crate) fn new(
        questions: Questions,
        people: Option<People>,
        deployment: Option<String>,
        writer: Writer,
    ) -> Self {
        let number = people.as_ref().map_or(0, |people| people.0.len());
        Self {
            questions,
            people,
            limits: Mutex::new(Limits::new(number, PER_PERSON, OVERALL)),
            deployment,
            writer,
        }
    }

    /// Answers if `headers` show a token, and records the question before. `answer` is awaited once it
    /// is known who asks.
    pub(crate) async fn answer(
        &self,
        headers: &HeaderMap,
        answer: impl Future<Output = Result<Answer, Refusal>>,
    ) -> Response {
        let Some(People(people)) = &self.people else {
            let sentence = self.questions.not_configured;
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "", sentence).into_response();
        };
        let place = bearer(headers).and_then(|token| people::find(people, token));
        let person = place.and_then(|place| people.get(place));
        let person = person.map(|person| person.name.as_str());
        let asker = place.map_or(Asker::Unknown, Asker::Known);
        let taken = {
            let limits = self.limits.lock();
            let mut limits = limits.unwrap_or_else(PoisonError::into_inner);
            limits.take(asker, Instant::now())
        };
        if let Err(wait) = taken {
            return self.too_many(person, wait).await;
        }
        let result = match person {
            None => Err(refusal(
                StatusCode::UNAUTHORIZED,
                "unknown_token",
                self.questions.unknown_token,
            )),
            Some(_) => answer.await,
        };
        match result {
            Ok(Answer { row, body }) => match self.record(person, row, StatusCode::OK).await {
                Ok(()) => Json(body).into_response(),
                Err(refusal) => refusal.into_response(),
            },
            Err(refusal) => self.refuse(person, refusal).await,
        }
    }

    async fn too_many(&self, person: Option<&str>, wait: Wait) -> Response {
        let Wait { time, refused } = wait;
        let kind = self.questions.row.kind();
        let refusal = refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many",
            self.questions.too_many,
        );
        let mut answer = if refused < RECORDED_REFUSALS {
            self.refuse(person, refusal).await
        } else {
            if refused == RECORDED_REFUSALS {
                warn!(
                    kind,
                    "refused by the limit: no more of them are recorded in this minute"
                );
            }
            refusal.into_response()
        };
        if answer.status() == refusal.status {
            let seconds = HeaderValue::from(time.as_secs().max(1));
            answer.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        answer
    }

    async fn refuse(&self, person: Option<&str>, refusal: Refusal) -> Response {
        let row = Envelope {
            decision: Some("deny".into()),
            reason: Some(refusal.reason.into()),
            ..self.questions.row.clone()
        };
        match self.record(person, row, refusal.status).await {
            Ok(()) => refusal.into_response(),
            Err(not_recorded) => not_recorded.into_response(),
        }
    }

    /// Writes down who asked, before anything is answered.
    async fn record(
        &self,
        person: Option<&str>,
        row: Envelope,
        status: StatusCode,
    ) -> Result<(), Refusal> {
        let envelope = Envelope {
            version: Some(RECORD_VERSION),
            deployment: self.deployment.clone(),
            event_at: row.event_at.or_else(|| Some(crate::now())),
            person: person.map(str::to_owned),
            status: Some(status.as_u16().into()),
            ..row
        };
        let rows = vec![(self.questions.origin, proven(&envelope))];
        match timeout(PATIENCE, self.writer.write_durably(rows)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_recorded",
                self.questions.not_recorded,
            )),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, format!("{}\n", self.sentence)).into_response()
    }
}

pub(crate) const fn refusal(
    status: StatusCode,
    reason: &'static str,
    sentence: &'static str,
) -> Refusal {
    Refusal {
        status,
        reason,
        sentence,
    }
}

/// Questions in a minute of one person; of those that are nobody, together.
const PER_PERSON: u32 = 30;

/// Questions in a minute of all people.
const OVERALL: u32 = 60;

/// Refusals by the limit in a minute that are recorded, of one person and of those that are nobody:
/// who has no token must not fill the table.
const RECORDED_REFUSALS: u32 = 30;

/// How long the spool may take to write the record.
const PATIENCE: Duration = Duration::from_secs(10);
