//! Loads fingerprints into BigQuery, those of each record exactly once.
//!
//! Simpler than the records' way (see [`crate::upload`]), because less is promised: one request at a
//! time, and a record whose fingerprints are refused is passed over. A request holds all rows of some
//! records, so that the table never has a part of a record: whatever happened, its greatest
//! `sink_seq` says where to go on, even if a newer program makes other rows of the same records.
//!
//! An append at an offset that is taken, or beyond the end, or without an answer that helps: the
//! stream is closed, so that nothing late gets in, the table is asked, a new stream begins behind it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tonic::Status;
use tracing::{info, warn};

use super::rows_of;
use crate::{
    bigquery::{Appends, Flight, Rest, Storage, answer_of},
    metrics::{Metrics, code_name},
    retry::{Action, Answer, Backoff, decide},
    spool::{Followed, Spool, SpoolError},
    stopped,
    upload::received_at,
};

/// How much is sent at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A request is full with so many rows.
    pub rows: usize,
    /// A request is full with so many bytes.
    pub bytes: usize,
    /// Longest time that a request waits for its answer.
    pub patience: Duration,
}

/// The task that follows the records.
pub struct Follower {
    spool: Spool,
    rest: Rest,
    storage: Storage,
    metrics: Arc<Metrics>,
    limits: Limits,
    stop: watch::Receiver<bool>,
    backoff: Backoff,
    table_ready: bool,
    /// Something was refused that may be a row: one record at a time.
    narrow: bool,
    /// The pause that BigQuery asked for last.
    asked: Option<Duration>,
}

/// Why an attempt ended.
enum End {
    /// All is sent and the sink is to stop.
    Done,
    /// To be tried again at once.
    Again,
    /// To be tried again after a pause.
    Trouble(String),
}

/// Rows of the records from one on.
#[derive(Default)]
struct Batch {
    rows: Vec<Bytes>,
    bytes: usize,
    /// The first record behind it.
    next_seq: u64,
    /// Number of records.
    records: u64,
}

impl Follower {
    /// Prepares the task; `rest` and `storage` are those of table `lineage`.
    pub fn new(
        spool: Spool,
        rest: Rest,
        storage: Storage,
        metrics: Arc<Metrics>,
        limits: Limits,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            spool,
            rest,
            storage,
            metrics,
            limits,
            stop,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            table_ready: false,
            narrow: false,
            asked: None,
        }
    }

    /// Uploads until it is told to stop; then until all is sent or something fails.
    ///
    /// # Errors
    ///
    /// Only when the spool has failed.
    pub async fn run(mut self) -> Result<(), SpoolError> {
        loop {
            match self.attempt().await? {
                End::Done => return Ok(()),
                End::Again => {}
                End::Trouble(_) if self.stopping() => return Ok(()),
                End::Trouble(how) => {
                    warn!(how, "fingerprints do not get through, will try again");
                    self.metrics.lineage_failed();
                    let pause = self.backoff.pause(rand::random(), self.asked.take());
                    select! {
                        () = sleep(pause) => {}
                        () = stopped(self.stop.clone()) => {}
                    }
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<End, SpoolError> {
        let mut acknowledged = self.spool.subscribe_acknowledged();
        let Some(at) = self.spool.followed() else {
            return Ok(End::Done);
        };
        select! {
            _ = acknowledged.wait_for(|next| *next > at.next_seq) => {}
            () = stopped(self.stop.clone()) => {}
        }
        if *acknowledged.borrow() <= at.next_seq {
            return Ok(End::Done);
        }
        if !self.table_ready {
            if let Err(error) = self.rest.prepare().await {
                return Ok(End::Trouble(error.to_string()));
            }
            self.table_ready = true;
        }
        if at.stream.is_empty() {
            return self.renew().await;
        }
        let opened = self.storage.appends(&at.stream, 1).await;
        match opened {
            Ok(appends) => self.append(appends, acknowledged).await,
            Err(status) => Ok(End::Trouble(status.message().to_owned())),
        }
    }

    /// Sends rows over one connection until it ends.
    async fn append(
        &mut self,
        mut appends: Appends,
        mut acknowledged: watch::Receiver<u64>,
    ) -> Result<End, SpoolError> {
        loop {
            let Some(at) = self.spool.followed() else {
                return Ok(End::Done);
            };
            acknowledged.mark_unchanged();
            let batch = self.batch(at.next_seq).await?;
            if batch.records == 0 {
                if self.stopping() {
                    return Ok(End::Done);
                }
                select! {
                    // Idle connections are closed by the service after some minutes.
                    _ = appends.answer() => return Ok(End::Again),
                    _ = acknowledged.changed() => {}
                    () = stopped(self.stop.clone()) => {}
                }
                continue;
            }
            let rows = batch.rows.len() as u64;
            if rows > 0 {
                let flight = Flight {
                    first: at.next_seq,
                    rows,
                    offset: at.offset,
                };
                let outcome = self
                    .send(&mut appends, flight, batch.rows, &at.stream)
                    .await;
                if let Err(answer) = outcome {
                    return self
                        .settle(
                            &answer,
                            &at,
                            &Sent {
                                next_seq: batch.next_seq,
                                records: batch.records,
                            },
                        )
                        .await;
                }
            }
            let passed = Followed {
                offset: at.offset + rows,
                next_seq: batch.next_seq,
                ..at
            };
            self.spool.aside(move |spool| spool.pass(passed)).await?;
            self.metrics.lineage_appended(rows);
            self.backoff.reset();
            self.narrow = false;
        }
    }

    async fn send(
        &self,
        appends: &mut Appends,
        flight: Flight,
        rows: Vec<Bytes>,
        stream: &str,
    ) -> Result<(), Answer> {
        let end = Instant::now() + self.limits.patience;
        let sent = appends.send(flight, rows, stream, self.spool.sink_id());
        let late = || Answer::from(&Status::deadline_exceeded("no answer in time"));
        let sent = timeout_at(end, sent).await.map_err(|_| late())?;
        sent.map_err(|status| Answer::from(&status))?;
        match timeout_at(end, appends.answer()).await {
            Ok(Ok(Some(response))) => answer_of(&response, flight),
            Ok(Ok(None)) => Err(Answer::from(&Status::unavailable("closed"))),
            Ok(Err(status)) => Err(Answer::from(&status)),
            Err(_) => Err(late()),
        }
    }

    /// Does what has to be done after a failure.
    async fn settle(
        &mut self,
        answer: &Answer,
        at: &Followed,
        sent: &Sent,
    ) -> Result<End, SpoolError> {
        let action = decide(answer);
        self.asked = answer.wait;
        warn!(code = code_name(answer.code), cause = ?answer.cause, ?action, "fingerprints were not taken");
        match action {
            Action::Known | Action::NewStream | Action::Resync => self.renew().await,
            Action::Table => {
                self.table_ready = false;
                Ok(End::Trouble("the table is not as it should be".into()))
            }
            Action::Reject if sent.records == 1 => {
                let passed = Followed {
                    next_seq: sent.next_seq,
                    ..at.clone()
                };
                warn!(
                    sink_seq = at.next_seq,
                    "passing over a record whose fingerprints are refused"
                );
                self.spool.aside(move |spool| spool.pass(passed)).await?;
                self.metrics.lineage_refused();
                Ok(End::Again)
            }
            Action::Reject => {
                self.narrow = true;
                Ok(End::Again)
            }
            Action::Suspect | Action::Retry => Ok(End::Trouble(code_name(answer.code).to_owned())),
        }
    }

    /// Closes the stream, if there is one, and goes on with a new one behind what the table has.
    async fn renew(&mut self) -> Result<End, SpoolError> {
        let Some(mut at) = self.spool.followed() else {
            return Ok(End::Done);
        };
        if !at.stream.is_empty()
            && let Err(status) = self.storage.finalize_stream(&at.stream).await
        {
            let answer = Answer::from(&status);
            if !matches!(decide(&answer), Action::NewStream | Action::Table) {
                self.asked = answer.wait;
                return Ok(trouble("close the stream", &status));
            }
        }
        let from = at.next_seq;
        let oldest = self
            .spool
            .aside(move |spool| spool.read_acknowledged(from, 1, 0))
            .await?;
        if let Some((_, row)) = oldest.first()
            && !at.stream.is_empty()
        {
            let oldest = received_at(row);
            match self.rest.watermark(self.spool.sink_id(), oldest).await {
                Ok(last) => at.next_seq = at.next_seq.max(last.map_or(0, |last| last + 1)),
                Err(error) => return Ok(End::Trouble(error.to_string())),
            }
        }
        match self.storage.create_stream().await {
            Ok(stream) => {
                info!(
                    next_seq = at.next_seq,
                    "opened a write stream for fingerprints"
                );
                let at = Followed {
                    stream,
                    offset: 0,
                    ..at
                };
                self.spool.aside(move |spool| spool.pass(at)).await?;
                Ok(End::Again)
            }
            Err(status) => {
                self.table_ready = false;
                Ok(trouble("open a stream", &status))
            }
        }
    }

    /// Rows of whole records from `from` on.
    async fn batch(&self, from: u64) -> Result<Batch, SpoolError> {
        let Limits { rows, bytes, .. } = self.limits;
        let records = if self.narrow { 1 } else { READ_RECORDS };
        self.spool
            .aside(move |spool| {
                let mut batch = Batch {
                    next_seq: from,
                    ..Batch::default()
                };
                for (seq, record) in spool.read_acknowledged(from, records, READ_BYTES)? {
                    let more = rows_of(&record);
                    let size: usize = more.iter().map(|row| row.len() + ROW_OVERHEAD).sum();
                    if !batch.rows.is_empty() && batch.bytes + size > bytes {
                        break;
                    }
                    batch.rows.extend(more);
                    batch.bytes += size;
                    batch.next_seq = seq + 1;
                    batch.records += 1;
                    if batch.rows.len() >= rows {
                        break;
                    }
                }
                Ok(batch)
            })
            .await
    }

    fn stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

/// What a request that failed was made of.
struct Sent {
    next_seq: u64,
    records: u64,
}

fn trouble(what: &str, status: &Status) -> End {
    End::Trouble(format!("cannot {what}: {}", code_name(status.code())))
}

/// Records and bytes that are read at once.
const READ_RECORDS: usize = 256;
const READ_BYTES: usize = 8 << 20;

/// Bytes that a row takes in a request besides its own.
const ROW_OVERHEAD: usize = 6;

const FIRST_PAUSE: Duration = Duration::from_millis(500);

const LONGEST_PAUSE: Duration = Duration::from_mins(1);
