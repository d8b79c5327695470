//! Takes rows out of the spool and puts them into BigQuery, each exactly once.
//!
//! All rows go into one write stream, at `offset = sink_seq - base_seq`; stream and base are durable
//! before the first row is sent, and the service takes a row only at the stream's end. So whatever
//! is sent again, after whatever crash, is either new or refused as known:
//!
//! - *known* proves only the first row of a request (the rest may be new, if requests were cut
//!   differently before a crash), so the table is asked for its greatest `sink_seq`;
//! - a stream that is not used any more is closed first, so that nothing late gets into it. Closing
//!   says how many rows it has; if it is gone, the table is asked. A new stream begins with the row
//!   after;
//! - a row that BigQuery refuses becomes a dead letter with a tombstone in its place. If the
//!   tombstone is refused too, the row was not to blame: once the stream is closed, so that the
//!   tombstone cannot arrive after all, the row is put back, and the sink waits.
//!
//! Nothing is given up: failures of the service are tried again for as long as they last, with
//! pauses that grow to a limit.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use contract::Stamp;
use prost::Message;
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tonic::{Code, Status};
use tracing::{error, info, warn};

use crate::{
    bigquery::{Flight, Rest, RestError, Storage, StorageErrorCode, answer_of},
    health::Health,
    metrics::{Metrics, code_name, seconds_since},
    retry::{Action, Answer, Backoff, decide},
    row::tombstone_of,
    spool::{Cursor, REJECTED, Spool, SpoolError},
    stopped,
};

/// How much is sent at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most rows of a request.
    pub rows: usize,
    /// Most bytes of a request's rows.
    pub bytes: usize,
    /// Longest time that a row waits for others to fill a request.
    pub wait: Duration,
    /// Most requests without an answer.
    pub in_flight: usize,
    /// Longest time that a request waits for its answer.
    pub patience: Duration,
}

/// Why uploading cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A disk, or what is on it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The table does not fit the arguments.
    #[error(transparent)]
    Table(RestError),
}

/// The task that empties the spool.
pub struct Uploader {
    spool: Spool,
    rest: Rest,
    storage: Storage,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    limits: Limits,
    stop: watch::Receiver<bool>,
    backoff: Backoff,
    table_ready: bool,
    /// Whether BigQuery was asked for the table before.
    asked_before: bool,
    trouble: Trouble,
    quarantined: VecDeque<u64>,
    /// The pause that BigQuery asked for last.
    asked: Option<Duration>,
}

/// What is remembered about rows that do not go through.
#[derive(Debug, Default)]
struct Trouble {
    /// First row of the request that failed last, and how often in a row it did.
    at: Option<(u64, u32)>,
    /// While rows up to this one are not through, requests have at most so many rows.
    narrow: Option<(u64, usize)>,
}

/// Why an attempt ended.
enum End {
    /// All is sent and the sink is to stop.
    Done,
    /// The connection is no longer there, no row was lost on it.
    Closed,
    /// The sink was started with arguments that do not fit the table.
    Conflict(RestError),
    /// Rows did not get through.
    Failed(Answer, Flight),
    /// BigQuery did not answer otherwise than to rows.
    Trouble(String),
}

impl From<RestError> for End {
    fn from(error: RestError) -> Self {
        Self::Trouble(error.to_string())
    }
}

impl Uploader {
    /// Prepares the task.
    pub fn new(
        spool: Spool,
        rest: Rest,
        storage: Storage,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        limits: Limits,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            spool,
            rest,
            storage,
            metrics,
            health,
            limits,
            stop,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            table_ready: false,
            asked_before: false,
            trouble: Trouble::default(),
            quarantined: VecDeque::new(),
            asked: None,
        }
    }

    /// Uploads until it is told to stop; then until the spool is empty or something fails.
    ///
    /// # Errors
    ///
    /// - [`UploadError::Spool`]: the spool has failed.
    /// - [`UploadError::Table`]: the first look at the table, a moment after the start, showed that it
    ///   cannot become as the arguments want it. Later the same is waited for: what is received then
    ///   is worth more than the hint.
    pub async fn run(mut self) -> Result<(), UploadError> {
        loop {
            let end = self.attempt().await?;
            let go_on = match end {
                End::Done => return Ok(()),
                End::Conflict(error) => return Err(UploadError::Table(error)),
                End::Closed => true,
                End::Failed(answer, flight) => self.settle(&answer, flight).await?,
                End::Trouble(how) => {
                    warn!(how, "BigQuery does not do what it is asked, will try again");
                    self.health.failed(how);
                    false
                }
            };
            if self.stopping() && !go_on {
                return Ok(());
            }
            if !go_on {
                let pause = self.backoff.pause(rand::random(), self.asked.take());
                select! {
                    () = sleep(pause) => {}
                    () = stopped(self.stop.clone()) => {}
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<End, SpoolError> {
        if !self.table_ready {
            let prepared = select! {
                prepared = self.rest.prepare() => prepared,
                () = stopped(self.stop.clone()) => return Ok(End::Done),
            };
            let first = !std::mem::replace(&mut self.asked_before, true);
            match prepared {
                Ok(()) => {}
                Err(error @ RestError::Conflict { .. }) if first => {
                    return Ok(End::Conflict(error));
                }
                Err(error) => return Ok(error.into()),
            }
            info!("the table is ready");
            self.table_ready = true;
            self.health.table_seen();
        }
        let mut durable = self.spool.subscribe();
        let first = self.spool.status().first_unacked;
        select! {
            _ = durable.wait_for(|next| *next > first) => {}
            () = stopped(self.stop.clone()) => {}
        }
        if *durable.borrow() <= first {
            return Ok(End::Done);
        }
        let cursor = match self.spool.cursor()? {
            Some(cursor) => cursor,
            // No cursor means that nothing was ever sent from this spool.
            None => match self.open_stream(first).await? {
                Ok(cursor) => cursor,
                Err(end) => return Ok(end),
            },
        };
        self.append(&cursor, durable).await
    }

    /// Sends rows over one connection until it ends.
    async fn append(
        &mut self,
        cursor: &Cursor,
        mut durable: watch::Receiver<u64>,
    ) -> Result<End, SpoolError> {
        let opened = self
            .storage
            .appends(&cursor.stream, self.limits.in_flight)
            .await;
        let mut appends = match opened {
            Ok(appends) => appends,
            Err(status) => return Ok(End::Trouble(status.message().to_owned())),
        };
        let mut flying: VecDeque<(Flight, Instant, i64)> = VecDeque::new();
        let mut next = self.spool.status().first_unacked;
        let mut waiting_since: Option<Instant> = None;
        loop {
            // As many requests as may fly, each full or waiting long enough.
            let (max_rows, in_flight) = match self.trouble.narrow {
                Some((_, rows)) => (rows, 1),
                None => (self.limits.rows, self.limits.in_flight),
            };
            let waiting = durable.borrow_and_update().saturating_sub(next);
            if waiting == 0 {
                waiting_since = None;
            } else {
                waiting_since.get_or_insert_with(Instant::now);
            }
            let full = usize::try_from(waiting).is_ok_and(|waiting| waiting >= max_rows);
            let due = waiting_since.map(|since| since + self.limits.wait);
            let ripe = full || self.stopping() || due.is_some_and(|due| due <= Instant::now());
            if waiting > 0 && flying.len() < in_flight && ripe {
                let rows = self.read(next, max_rows).await?;
                let received_at = rows.last().map_or(0, |(_, row)| received_at(row));
                let flight = Flight {
                    first: next,
                    rows: rows.len() as u64,
                    offset: next.saturating_sub(cursor.base_seq),
                };
                if rows.is_empty()
                    || rows
                        .iter()
                        .map(|(seq, _)| *seq)
                        .ne(next..next + flight.rows)
                {
                    return Err(SpoolError::Corrupt("rows"));
                }
                let rows = rows.into_iter().map(|(_, row)| row).collect();
                let end = Instant::now() + self.limits.patience;
                let sending = appends.send(flight, rows, &cursor.stream, self.spool.sink_id());
                match timeout_at(end, sending).await {
                    // If an earlier request is at fault, its answer says so better.
                    Ok(Err(status)) if flying.is_empty() => {
                        return Ok(End::Failed(Answer::from(&status), flight));
                    }
                    Ok(_) => {}
                    Err(_) => return Ok(End::Failed(late(), flight)),
                }
                flying.push_back((flight, end, received_at));
                next += flight.rows;
                if u64::try_from(max_rows).is_ok_and(|max| waiting <= max) {
                    waiting_since = None;
                }
                continue;
            }

            let Some(&(flight, end, received_at)) = flying.front() else {
                if self.stopping() && waiting == 0 {
                    return Ok(End::Done);
                }
                select! {
                    // Idle connections are closed by the service after some minutes.
                    _ = appends.answer() => return Ok(End::Closed),
                    _ = durable.changed() => {}
                    () = sleep_until(due.unwrap_or_else(far)) => {}
                    () = stopped(self.stop.clone()), if !self.stopping() => {}
                }
                continue;
            };
            let room = flying.len() < in_flight;
            let answer = select! {
                answer = timeout_at(end, appends.answer()) => answer,
                _ = durable.changed(), if room => continue,
                () = sleep_until(due.unwrap_or_else(far)), if room => continue,
                () = stopped(self.stop.clone()), if !self.stopping() => continue,
            };
            let outcome = match answer {
                Ok(Ok(Some(response))) => answer_of(&response, flight),
                Ok(Ok(None)) => Err(Answer::from(&Status::unavailable("closed"))),
                Ok(Err(status)) => Err(Answer::from(&status)),
                Err(_) => Err(late()),
            };
            if let Err(answer) = outcome {
                return Ok(End::Failed(answer, flight));
            }
            flying.pop_front();
            self.delivered(flight, received_at).await?;
        }
    }

    /// BigQuery has the rows of `flight`, the last of which arrived at `received_at`.
    async fn delivered(&mut self, flight: Flight, received_at: i64) -> Result<(), SpoolError> {
        self.acknowledge((flight.first + flight.rows).saturating_sub(1))
            .await?;
        self.metrics
            .lagged(seconds_since(received_at, crate::now()));
        Ok(())
    }

    /// BigQuery has all rows up to `last`.
    async fn acknowledge(&mut self, last: u64) -> Result<(), SpoolError> {
        let rows = self
            .spool
            .aside(move |spool| spool.acknowledge(last))
            .await?;
        self.metrics.appended(rows);
        self.health.succeeded();
        self.backoff.reset();
        self.trouble.at = None;
        if self
            .trouble
            .narrow
            .is_some_and(|(through, _)| through <= last)
        {
            self.trouble.narrow = None;
        }
        while self.quarantined.pop_front_if(|seq| *seq <= last).is_some() {
            self.metrics.dead_letter(REJECTED);
        }
        Ok(())
    }

    /// Does what has to be done after a failure; says whether to go on without a pause.
    async fn settle(&mut self, answer: &Answer, flight: Flight) -> Result<bool, SpoolError> {
        let code = code_name(answer.code);
        let action = decide(answer);
        let times = match self.trouble.at {
            Some((first, times)) if first == flight.first => times + 1,
            _ => 1,
        };
        self.trouble.at = Some((flight.first, times));
        self.asked = answer.wait;
        warn!(code, cause = ?answer.cause, ?action, rows = flight.rows, times, "an append failed");
        self.metrics.append_failed(answer.code);
        self.health.failed(code.to_owned());
        match action {
            Action::Retry => Ok(false),
            Action::Table => {
                self.table_ready = false;
                Ok(false)
            }
            Action::Known if flight.rows == 1 => {
                self.acknowledge(flight.first).await?;
                Ok(true)
            }
            Action::Known => {
                let moved = self.resync().await?;
                if moved == Some(false) {
                    // The first row at least is in the table.
                    self.acknowledge(flight.first).await?;
                }
                Ok(moved.is_some())
            }
            Action::Resync if times < 3 => Ok(self.resync().await? == Some(true)),
            Action::Resync | Action::NewStream => self.renew(times).await,
            Action::Reject => {
                let mut go_on = true;
                for (row, why) in &answer.bad_rows {
                    go_on &= self.reject(flight.first + *row as u64, why).await?;
                }
                Ok(go_on)
            }
            Action::Suspect if answer.code == Code::Unknown && times < 3 => Ok(false),
            Action::Suspect if flight.rows == 1 => {
                // The tombstone goes alone, so that its answer is about nothing else.
                self.trouble.narrow = Some((flight.first, 1));
                self.reject(flight.first, code).await
            }
            Action::Suspect => {
                let half = usize::try_from(flight.rows / 2).unwrap_or(1).max(1);
                let through = (flight.first + flight.rows).saturating_sub(1);
                self.trouble.narrow = Some((through, half));
                Ok(true)
            }
        }
    }

    /// Puts a tombstone in the place of a row; takes it back if the tombstone was refused. `why` is
    /// BigQuery's own words, which are kept with the row and not logged.
    async fn reject(&mut self, seq: u64, why: &str) -> Result<bool, SpoolError> {
        self.trouble.at = None;
        let why = why.to_owned();
        let rejected = self
            .spool
            .aside(move |spool| {
                let rows = spool.read(seq, 1, 0)?;
                let Some((_, row)) = rows.first() else {
                    return Ok(false);
                };
                spool.quarantine(seq, &tombstone_of(row, REJECTED), REJECTED, &why)
            })
            .await?;
        if rejected {
            warn!(
                sink_seq = seq,
                "BigQuery refuses a row, trying a tombstone in its place"
            );
            self.quarantined.push_back(seq);
            return Ok(true);
        }
        if !self.close().await? {
            return Ok(false);
        }
        let first = self.spool.status().first_unacked;
        if first <= seq {
            let restored = self.spool.aside(move |spool| spool.restore(seq)).await?;
            self.quarantined.retain(|kept| *kept != seq);
            warn!(
                sink_seq = seq,
                restored, "BigQuery refuses the tombstone too: no row is to blame"
            );
        }
        self.reopen().await?;
        Ok(false)
    }

    /// Asks the table which rows it has. Says whether it has some that were not acknowledged;
    /// `None` if it could not be asked.
    async fn resync(&mut self) -> Result<Option<bool>, SpoolError> {
        let first = self.spool.status().first_unacked;
        let Some(oldest) = self.spool.aside(Spool::oldest).await? else {
            return Ok(Some(false));
        };
        match self.rest.watermark(self.spool.sink_id(), oldest).await {
            Ok(watermark) => {
                info!(
                    first_unacked = first,
                    ?watermark,
                    "asked the table for its last row"
                );
                let Some(last) = watermark.filter(|last| *last >= first) else {
                    return Ok(Some(false));
                };
                Ok(self.has_through(last).await?.then_some(true))
            }
            Err(error) => {
                warn!(%error, "cannot ask the table for its last row");
                self.health.failed(error.to_string());
                Ok(None)
            }
        }
    }

    /// Goes on with a new stream behind the last row that is in the table.
    async fn renew(&mut self, times: u32) -> Result<bool, SpoolError> {
        if times > 2 {
            self.table_ready = false; // no stream lives long: perhaps the table is gone
        }
        Ok(self.close().await? && self.reopen().await? && times == 1)
    }

    /// Makes sure that nothing more gets into the stream, and acknowledges what is in the table.
    /// Says whether it could.
    async fn close(&mut self) -> Result<bool, SpoolError> {
        let Some(cursor) = self.spool.cursor()? else {
            return Ok(self.resync().await?.is_some());
        };
        match self.storage.finalize_stream(&cursor.stream).await {
            Ok(rows) => {
                let first = self.spool.status().first_unacked;
                let end = cursor.base_seq.saturating_add(rows);
                info!(base_seq = cursor.base_seq, rows, "closed the write stream");
                if end <= first {
                    return Ok(true);
                }
                self.has_through(end - 1).await
            }
            Err(status) => {
                let answer = Answer::from(&status);
                match decide(&answer) {
                    // Gone or closed: nothing can get into it any more.
                    Action::NewStream | Action::Table => Ok(self.resync().await?.is_some()),
                    _ => {
                        self.health.failed(code_name(status.code()).to_owned());
                        self.asked = answer.wait;
                        Ok(false)
                    }
                }
            }
        }
    }

    /// The table has all rows up to `last`. Refuses to believe it if there never were so many: then
    /// another spool has written with this one's id, or this one has been put back from a backup.
    async fn has_through(&mut self, last: u64) -> Result<bool, SpoolError> {
        let next = self.spool.status().next_seq;
        if last < next {
            self.acknowledge(last).await?;
            return Ok(true);
        }
        error!(
            last,
            next, "the table has rows of this sink that this spool never had"
        );
        let how = "the table has rows that this spool never had: was it copied or restored?";
        self.health.failed(how.to_owned());
        Ok(false)
    }

    /// Opens a stream for the first row that is not in the table. Says whether it could.
    async fn reopen(&mut self) -> Result<bool, SpoolError> {
        match self.open_stream(self.spool.status().first_unacked).await? {
            Ok(_) => Ok(true),
            Err(End::Trouble(how)) => {
                self.health.failed(how);
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    async fn open_stream(&mut self, base_seq: u64) -> Result<Result<Cursor, End>, SpoolError> {
        match self.storage.create_stream().await {
            Ok(stream) => {
                let cursor = Cursor { stream, base_seq };
                let kept = cursor.clone();
                self.spool
                    .aside(move |spool| spool.set_cursor(&kept))
                    .await?;
                info!(base_seq, "opened a write stream");
                Ok(Ok(cursor))
            }
            Err(status) => {
                let answer = Answer::from(&status);
                self.asked = answer.wait;
                if answer.code == Code::NotFound || decide(&answer) == Action::Table {
                    self.table_ready = false;
                }
                let how = format!("cannot open a write stream: {}", code_name(status.code()));
                Ok(Err(End::Trouble(how)))
            }
        }
    }

    async fn read(&self, from: u64, rows: usize) -> Result<Vec<(u64, Bytes)>, SpoolError> {
        let bytes = self.limits.bytes;
        self.spool
            .aside(move |spool| spool.read(from, rows, bytes))
            .await
    }

    fn stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

/// When a row arrived, by its stamp.
pub(crate) fn received_at(row: &Bytes) -> i64 {
    Stamp::decode(row.clone()).unwrap_or_default().received_at()
}

fn late() -> Answer {
    Answer {
        code: Code::DeadlineExceeded,
        cause: StorageErrorCode::Unspecified,
        broken: true,
        bad_rows: Vec::new(),
        wait: None,
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);
