//! Keeps rows on disk from the moment they arrive until BigQuery has them.
//!
//! An embedded store with one atomic batch, and one sync, per group of rows. Promises:
//!
//! - a row that [`Spool::append`] returned for survives a crash, of the machine too, and comes out
//!   of [`Spool::read`] until it is acknowledged; rows that are not durable are never read;
//! - `sink_seq` is dense from 0 and never used twice, `received_at` never goes back;
//! - a record of one `(epoch, seq)` is stored once, whatever is sent how often;
//! - a full spool or disk makes `append` wait, it never drops;
//! - each row extends the sink's chain ([`contract::checkpoint`]), whose last link is kept with it: what
//!   stands for a row later has the row's hash, so that the link stays good;
//! - a failed write or sync is final: the spool says so and takes nothing more, since nobody knows
//!   what reached the disk (the process ends and starts again).
//!
//! A spool is never to be copied, nor put back from a backup: two rows would get one number, and
//! BigQuery would take the second for known.
//!
//! Layout, all numbers big-endian in keys, values in protobuf (`Head`, `Cursor`, `Seen`, `Dead`):
//!
//! ```text
//! meta    "sink_id" → 32 hex digits   "head" → Head   "cursor" → Cursor
//! rows    sink_seq u64 → row bytes with their stamp
//! epochs  epoch 16 bytes → Seen
//! dead    sink_seq u64 → Dead; the row of that number is its tombstone
//! ```
//!
//! Rows may stay after they were acknowledged, for a second reader: see [`Followed`].

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use contract::{
    Epoch, Stamp,
    checkpoint::{Claims, EpochClaim, Link, row_link},
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use prost::Message;
use serde::Serialize;
use tokio::sync::watch;

use follow::Follow;
pub use follow::{Followed, Kept};

/// What to store, but for the stamp that the spool adds.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Row bytes without stamp.
    pub row: Bytes,
    /// The row's `Proof.hash`.
    pub hash: Link,
    /// Epoch and seq of a verified record; a second record of the same place is dropped.
    pub place: Option<(Epoch, i64)>,
    /// What arrived and could not be a row; `row` is then its tombstone.
    pub dead: Option<(&'static str, Bytes)>,
    /// Of a checkpoint: how many rows it covers.
    pub covers: Option<u64>,
}

/// Bounds of a spool.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Appending waits while the rows on disk are this many bytes or more.
    pub max_bytes: u64,
    /// Appending waits while the file system has less than this free.
    pub min_free_bytes: u64,
}

/// What one append did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Rows stored.
    pub stored: u64,
    /// Records dropped because they are stored already.
    pub repeats: u64,
}

/// Where the rows go: `offset = sink_seq - base_seq` in `stream`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Cursor {
    /// Name of the write stream.
    #[prost(string, tag = "1")]
    pub stream: String,
    /// `sink_seq` of the stream's offset 0.
    #[prost(uint64, tag = "2")]
    pub base_seq: u64,
}

/// What the spool holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// First `sink_seq` that is not acknowledged.
    pub first_unacked: u64,
    /// The `sink_seq` that the next row gets.
    pub next_seq: u64,
    /// Bytes of the rows between the two.
    pub bytes: u64,
    /// Whether an append is waiting for room.
    pub full: bool,
    /// Dead letters kept.
    pub dead: u64,
    /// Whether there are rows that no checkpoint covers, other than checkpoints.
    pub uncovered: bool,
}

/// Which records of an epoch are durable here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Places {
    /// The last `seq` before which none is missing; -1 if the first is.
    pub durable_through: i64,
    /// The greatest `seq`.
    pub highest: i64,
    /// First and last of each range that is missing between the two, at most
    /// [`MAX_RANGES`] of them.
    pub missing: Vec<(i64, i64)>,
}

/// A row that could not be loaded as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Number of the tombstone in its place.
    pub sink_seq: u64,
    /// When it arrived, in microseconds since 1970.
    pub received_at: i64,
    /// Why, from a closed list.
    pub reason: String,
    /// What BigQuery said; may repeat what was in the row.
    pub detail: String,
    /// What arrived.
    pub bytes: Vec<u8>,
}

/// Why the spool cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process has it open.
    #[error("the spool is in use by another process")]
    InUse,
    /// What is on disk was not written by this program.
    #[error("the spool's {0} cannot be read")]
    Corrupt(&'static str),
    /// An earlier write failed.
    #[error("the spool has failed and takes nothing more")]
    Failed,
    /// The file system does not answer.
    #[error("cannot look at the spool's file system: {0}")]
    FileSystem(#[from] std::io::Error),
    /// The store failed.
    #[error("the spool's store failed: {0}")]
    Store(#[from] fjall::Error),
}

/// A durable queue of rows; a clone is the same queue.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    limits: Limits,
    sink_id: String,
    store: Database,
    meta: Keyspace,
    rows: Keyspace,
    epochs: Keyspace,
    dead: Keyspace,
    state: Mutex<State>,
    room: Condvar,
    failed: AtomicBool,
    /// `next_seq` of what is durable.
    durable: watch::Sender<u64>,
    /// `first_unacked`, for who follows.
    acknowledged: watch::Sender<u64>,
}

struct State {
    head: Head,
    /// Number of dead letters.
    dead: u64,
    seen: HashMap<[u8; 16], Seen>,
    full: bool,
    follow: Option<Follow>,
}

impl Spool {
    /// Opens the spool in `directory`, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// [`SpoolError::InUse`] if another process has it open.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, SpoolError> {
        std::fs::create_dir_all(directory)?;
        let store = match Database::builder(directory).worker_threads(1).open() {
            Err(fjall::Error::Locked) => return Err(SpoolError::InUse),
            opened => opened?,
        };
        let keyspace = |name| store.keyspace(name, KeyspaceCreateOptions::default);
        let (meta, rows) = (keyspace("meta")?, keyspace("rows")?);
        let (epochs, dead) = (keyspace("epochs")?, keyspace("dead")?);

        let mut head = match meta.get(HEAD)? {
            Some(bytes) => Head::decode(&*bytes).map_err(|_| SpoolError::Corrupt("head"))?,
            None => Head::default(),
        };
        if !head.chained {
            // Of a version that knew no chain.
            head.since = head.next_seq;
            head.link = Vec::new();
            head.checkpointed = head.next_seq;
            head.chained = true;
        }
        let sink_id = match meta.get(SINK_ID)? {
            Some(bytes) => {
                String::from_utf8(bytes.to_vec()).map_err(|_| SpoolError::Corrupt("id"))?
            }
            None => format!("{:032x}", rand::random::<u128>()),
        };
        let letters = dead.len()? as u64;
        let mut seen = HashMap::new();
        for pair in epochs.iter() {
            let (epoch, places) = pair.into_inner()?;
            let epoch = <[u8; 16]>::try_from(&*epoch).map_err(|_| SpoolError::Corrupt("epochs"))?;
            let places = SeenRow::decode(&*places).map_err(|_| SpoolError::Corrupt("epochs"))?;
            seen.insert(epoch, Seen::from(places));
        }
        let mut batch = store.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&meta, SINK_ID, sink_id.as_bytes());
        batch.commit()?;

        Ok(Self(Arc::new(Inner {
            directory: directory.to_owned(),
            limits,
            sink_id,
            durable: watch::Sender::new(head.next_seq),
            acknowledged: watch::Sender::new(head.first_unacked),
            state: Mutex::new(State {
                head,
                dead: letters,
                seen,
                full: false,
                follow: None,
            }),
            store,
            meta,
            rows,
            epochs,
            dead,
            room: Condvar::new(),
            failed: AtomicBool::new(false),
        })))
    }

    /// Stores a group of entries; when it returns they are durable. Blocks, also for want of room.
    ///
    /// `now` is in microseconds since 1970.
    ///
    /// # Errors
    ///
    /// After any error the spool has failed for good.
    pub fn append(&self, entries: &[Entry], now: i64) -> Result<Appended, SpoolError> {
        self.guarded(|inner| {
            let size = entries.iter().map(|entry| entry.row.len() as u64).sum();
            let mut state = inner.wait_for_room(size)?;
            let mut batch = inner.store.batch().durability(Some(PersistMode::SyncData));
            let mut appended = Appended::default();
            let mut touched = Vec::new();
            let received_at = now.max(state.head.received_at);
            for entry in entries {
                let seq = state.head.next_seq;
                if let Some((epoch, place)) = &entry.place {
                    let seen = state.seen.entry(epoch.0).or_default();
                    if !seen.insert(*place, entry.hash) {
                        appended.repeats += 1;
                        continue;
                    }
                    seen.through = seq + 1;
                    touched.push(epoch.0);
                }
                let stamp = Stamp {
                    received_at: Some(received_at),
                    sink_id: Some(inner.sink_id.clone()),
                    sink_seq: i64::try_from(seq).ok(),
                };
                let mut row = Vec::with_capacity(entry.row.len() + stamp.encoded_len());
                row.extend_from_slice(&entry.row);
                row.extend(stamp.encode_to_vec());
                if let Some((reason, bytes)) = &entry.dead {
                    let dead = Dead {
                        received_at,
                        reason: (*reason).to_owned(),
                        bytes: bytes.to_vec(),
                        detail: String::new(),
                    };
                    state.dead += 1;
                    batch.insert(&inner.dead, key(seq), dead.encode_to_vec());
                }
                let last = state.head.last_link();
                let link = row_link(last.as_ref(), seq, received_at, &entry.hash);
                state.head.link = link.to_vec();
                state.head.bytes += row.len() as u64;
                state.head.next_seq += 1;
                match entry.covers {
                    // Itself needs no other.
                    Some(rows) if rows == seq => state.head.checkpointed = seq + 1,
                    Some(rows) => state.head.checkpointed = rows,
                    None => {}
                }
                batch.insert(&inner.rows, key(seq), row);
                appended.stored += 1;
            }
            touched.sort_unstable();
            touched.dedup();
            for epoch in touched {
                if let Some(seen) = state.seen.get(&epoch) {
                    batch.insert(&inner.epochs, epoch, SeenRow::from(seen).encode_to_vec());
                }
            }
            if appended.stored > 0 {
                state.head.received_at = received_at;
                batch.insert(&inner.meta, HEAD, state.head.encode_to_vec());
                batch.commit()?;
                inner.durable.send_replace(state.head.next_seq);
            }
            Ok(appended)
        })
    }

    /// Does work that may wait for the disk on a thread that may.
    ///
    /// # Errors
    ///
    /// That of the work; [`SpoolError::Failed`] if it could not be done.
    pub async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let spool = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&spool)).await;
        done.unwrap_or(Err(SpoolError::Failed))
    }

    /// Rows from `from` on in their order: at most `max_rows`, at most `max_bytes` but at least one.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn read(
        &self,
        from: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Bytes)>, SpoolError> {
        let end = *self.0.durable.borrow();
        let mut rows = Vec::new();
        let mut bytes = 0;
        if from >= end {
            return Ok(rows);
        }
        for pair in self.0.rows.range(key(from)..key(end)).take(max_rows) {
            let (seq, row) = pair.into_inner()?;
            bytes += row.len();
            if bytes > max_bytes && !rows.is_empty() {
                break;
            }
            let seq = seq_of(&seq).ok_or(SpoolError::Corrupt("rows"))?;
            rows.push((seq, row.into()));
        }
        Ok(rows)
    }

    /// Forgets all rows up to and including `through`: BigQuery has them. Says how many those were.
    ///
    /// Not synced: after a crash of the machine such rows come back, with their old numbers, and are
    /// refused by the stream as known.
    ///
    /// # Errors
    ///
    /// After any error the spool has failed for good.
    pub fn acknowledge(&self, through: u64) -> Result<u64, SpoolError> {
        self.guarded(|inner| {
            let mut state = inner.state();
            let first = state.head.first_unacked;
            let end = through.saturating_add(1).min(state.head.next_seq);
            if first >= end {
                return Ok(0);
            }
            let mut batch = inner.store.batch().durability(Some(PersistMode::Buffer));
            for pair in inner.rows.range(key(first)..key(end)) {
                let (seq, row) = pair.into_inner()?;
                state.head.bytes = state.head.bytes.saturating_sub(row.len() as u64);
                if !state.keeps(&seq, row.len()) {
                    batch.remove(&inner.rows, seq);
                }
            }
            state.head.first_unacked = end;
            inner.let_go(&mut state, &mut batch)?;
            batch.insert(&inner.meta, HEAD, state.head.encode_to_vec());
            batch.commit()?;
            inner.room.notify_all();
            inner.acknowledged.send_replace(end);
            Ok(end - first)
        })
    }

    /// Remembers, durably, where rows go from now on; to be called before the first of them is sent.
    ///
    /// # Errors
    ///
    /// After any error the spool has failed for good.
    pub fn set_cursor(&self, cursor: &Cursor) -> Result<(), SpoolError> {
        self.guarded(|inner| {
            let mut batch = inner.store.batch().durability(Some(PersistMode::SyncAll));
            batch.insert(&inner.meta, CURSOR, cursor.encode_to_vec());
            Ok(batch.commit()?)
        })
    }

    /// Where rows go.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn cursor(&self) -> Result<Option<Cursor>, SpoolError> {
        let Some(bytes) = self.0.meta.get(CURSOR)? else {
            return Ok(None);
        };
        let cursor = Cursor::decode(&*bytes).map_err(|_| SpoolError::Corrupt("cursor"))?;
        Ok(Some(cursor))
    }

    /// Puts `tombstone` (without stamp) in the place of a row, which becomes a dead letter.
    /// Says `false` and changes nothing if that row is a tombstone already. Of `detail` at most
    /// [`MAX_DETAIL_BYTES`] are kept.
    ///
    /// # Errors
    ///
    /// After any error the spool has failed for good.
    pub fn quarantine(
        &self,
        seq: u64,
        tombstone: &[u8],
        reason: &'static str,
        detail: &str,
    ) -> Result<bool, SpoolError> {
        self.guarded(|inner| {
            let mut state = inner.state();
            let Some(row) = inner.rows.get(key(seq))? else {
                return Ok(false);
            };
            if inner.dead.contains_key(key(seq))? {
                return Ok(false);
            }
            let stamp = Stamp::decode(&*row).map_err(|_| SpoolError::Corrupt("rows"))?;
            let dead = Dead {
                received_at: stamp.received_at(),
                reason: reason.to_owned(),
                bytes: row.to_vec(),
                detail: cut(detail).to_owned(),
            };
            let tombstone = [tombstone, &stamp.encode_to_vec()].concat();
            inner.replace(&mut state, seq, &row, tombstone, Some(&dead))?;
            Ok(true)
        })
    }

    /// Takes [`Spool::quarantine`] back: the row was not to blame. Says `false` if there is no dead
    /// letter of that number.
    ///
    /// # Errors
    ///
    /// After any error the spool has failed for good.
    pub fn restore(&self, seq: u64) -> Result<bool, SpoolError> {
        self.guarded(|inner| {
            let mut state = inner.state();
            let (Some(row), Some(dead)) = (inner.rows.get(key(seq))?, inner.dead.get(key(seq))?)
            else {
                return Ok(false);
            };
            let dead = Dead::decode(&*dead).map_err(|_| SpoolError::Corrupt("dead letters"))?;
            if dead.reason != REJECTED {
                return Ok(false); // what arrived was no row, there is nothing to go back to
            }
            inner.replace(&mut state, seq, &row, dead.bytes, None)?;
            Ok(true)
        })
    }

    /// All dead letters, one after the other in their order.
    pub fn dead_letters(&self) -> impl Iterator<Item = Result<DeadLetter, SpoolError>> {
        self.0.dead.iter().map(|pair| {
            let (seq, dead) = pair.into_inner()?;
            let sink_seq = seq_of(&seq).ok_or(SpoolError::Corrupt("dead letters"))?;
            let dead = Dead::decode(&*dead).map_err(|_| SpoolError::Corrupt("dead letters"))?;
            Ok(DeadLetter {
                sink_seq,
                received_at: dead.received_at,
                reason: dead.reason,
                detail: dead.detail,
                bytes: dead.bytes,
            })
        })
    }

    /// What is to be signed about the rows up to now; `None` if no row came since the last checkpoint.
    ///
    /// # Errors
    ///
    /// If the spool has failed: then nobody knows.
    pub fn claims(&self) -> Result<Option<Claims>, SpoolError> {
        let state = self.0.state();
        if self.failed() {
            return Err(SpoolError::Failed);
        }
        let head = &state.head;
        if head.next_seq <= head.checkpointed {
            return Ok(None);
        }
        let touched = state
            .seen
            .iter()
            .filter(|(_, seen)| seen.through > head.checkpointed);
        let epochs = touched
            .take(MAX_EPOCHS)
            .map(|(epoch, seen)| seen.claim(Epoch(*epoch)));
        Ok(Some(Claims {
            sink_id: self.0.sink_id.clone(),
            rows: head.next_seq,
            since: head.since,
            link: data_encoding::HEXLOWER.encode(&head.link),
            received_at: head.received_at,
            tombstones: state.dead,
            epochs: epochs.collect(),
        }))
    }

    /// Which records of `epoch` are durable; nothing if none ever was.
    ///
    /// # Errors
    ///
    /// If the spool has failed: then nobody knows.
    pub fn places(&self, epoch: Epoch) -> Result<Option<Places>, SpoolError> {
        // Records are noted and synced within one lock.
        let state = self.0.state();
        if self.failed() {
            return Err(SpoolError::Failed);
        }
        Ok(state.seen.get(&epoch.0).map(Places::from))
    }

    /// Random name of this spool, 32 hex digits.
    pub fn sink_id(&self) -> &str {
        &self.0.sink_id
    }

    /// What the spool holds now.
    pub fn status(&self) -> Status {
        let state = self.0.state();
        Status {
            first_unacked: state.head.first_unacked,
            next_seq: *self.0.durable.borrow(),
            bytes: state.head.bytes,
            full: state.full,
            dead: state.dead,
            uncovered: state.head.next_seq > state.head.checkpointed,
        }
    }

    /// When the oldest row that is not acknowledged arrived, in microseconds since 1970.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn oldest(&self) -> Result<Option<i64>, SpoolError> {
        let rows = self.read(self.status().first_unacked, 1, 0)?;
        let stamp = |(_, row): &(u64, Bytes)| Stamp::decode(row.as_ref()).ok()?.received_at;
        Ok(rows.first().and_then(stamp))
    }

    /// Whether a write failed, after which the spool takes nothing more.
    pub fn failed(&self) -> bool {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Follows `next_seq` of what is durable.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.durable.subscribe()
    }

    fn guarded<T>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        if self.failed() {
            return Err(SpoolError::Failed);
        }
        work(&self.0).map_err(|error| self.fail(error))
    }

    /// Takes nothing more from now on.
    pub(crate) fn fail(&self, error: SpoolError) -> SpoolError {
        self.0.failed.store(true, Ordering::Relaxed);
        error
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding it; if something did, the store's own lock is poisoned too.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `size` more bytes fit; an empty spool takes a group of any size.
    fn wait_for_room(&self, size: u64) -> Result<MutexGuard<'_, State>, SpoolError> {
        let mut state = self.state();
        loop {
            if self.failed.load(Ordering::Relaxed) {
                return Err(SpoolError::Failed);
            }
            let fits = state.head.bytes == 0 || state.head.bytes + size <= self.limits.max_bytes;
            if fits && free_bytes(&self.directory)? >= self.limits.min_free_bytes {
                state.full = false;
                return Ok(state);
            }
            if self.let_all_go(&mut state)? {
                continue;
            }
            state.full = true;
            // Room on the disk comes back without a sign, hence the time limit.
            let waited = self.room.wait_timeout(state, Duration::from_millis(250));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn replace(
        &self,
        state: &mut State,
        seq: u64,
        old: &[u8],
        new: Vec<u8>,
        dead: Option<&Dead>,
    ) -> Result<(), SpoolError> {
        state.head.bytes = state.head.bytes.saturating_sub(old.len() as u64) + new.len() as u64;
        let mut batch = self.store.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.rows, key(seq), new);
        if let Some(dead) = dead {
            state.dead += 1;
            batch.insert(&self.dead, key(seq), dead.encode_to_vec());
        } else {
            state.dead = state.dead.saturating_sub(1);
            batch.remove(&self.dead, key(seq));
        }
        batch.insert(&self.meta, HEAD, state.head.encode_to_vec());
        Ok(batch.commit()?)
    }
}

/// Reason of dead letters that BigQuery refused; only these can be restored.
pub const REJECTED: &str = "rejected";

/// Bytes of BigQuery's own words that are kept with a dead letter.
pub const MAX_DETAIL_BYTES: usize = 1024;

/// Missing ranges of an epoch that are told at once.
pub const MAX_RANGES: usize = 1000;

/// Epochs of one checkpoint, which has to fit into a row; there is one for each worker that lives.
const MAX_EPOCHS: usize = 1000;

/// Ranges beyond holes that a checkpoint tells of an epoch.
const MAX_CLAIMED_RANGES: usize = 32;

/// Which records of an epoch were stored: all below `next`, and the ranges `ahead` of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    next: i64,
    /// Hash of the record before `next`; unknown if it was stored before there was a chain.
    hash: Option<Link>,
    /// By their first; never touching each other or `next`. A range that closes a hole brings the hash
    /// that is then needed, so one for each is enough, in whatever order records come.
    ahead: BTreeMap<i64, Range>,
    /// One past the `sink_seq` of the record stored last; 0 if that was before there was a chain.
    through: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// One past the last.
    end: i64,
    /// Hash of the last.
    hash: Option<Link>,
}

impl Seen {
    /// Notes `seq`; `false` if it was noted before.
    fn insert(&mut self, seq: i64, hash: Link) -> bool {
        let below = self
            .ahead
            .range((Bound::Unbounded, Bound::Included(seq)))
            .next_back();
        let below = below.map(|(start, range)| (*start, range.end));
        if seq < self.next || below.is_some_and(|(_, end)| seq < end) {
            return false;
        }
        let Some(end) = seq.checked_add(1) else {
            return false;
        };
        let hash = Some(hash);
        let range = self.ahead.remove(&end).unwrap_or(Range { end, hash });
        match below {
            _ if seq == self.next => {
                self.next = range.end;
                self.hash = range.hash;
            }
            Some((start, below_end)) if below_end == seq => {
                self.ahead.insert(start, range);
            }
            _ => {
                self.ahead.insert(seq, range);
            }
        }
        true
    }

    fn claim(&self, epoch: Epoch) -> EpochClaim {
        let ahead = self.ahead.iter().take(MAX_CLAIMED_RANGES);
        EpochClaim {
            epoch: epoch.to_string(),
            next: self.next,
            hash: self.hash.map(|hash| data_encoding::HEXLOWER.encode(&hash)),
            ahead: ahead.map(|(start, range)| (*start, range.end)).collect(),
            partial: self.ahead.len() > MAX_CLAIMED_RANGES,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct SeenRow {
    #[prost(int64, tag = "1")]
    next: i64,
    /// Pairs of first and one past the last.
    #[prost(int64, repeated, tag = "2")]
    ahead: Vec<i64>,
    /// Empty if unknown.
    #[prost(bytes = "vec", tag = "3")]
    hash: Vec<u8>,
    /// One for each pair; empty if unknown.
    #[prost(bytes = "vec", repeated, tag = "4")]
    hashes: Vec<Vec<u8>>,
    #[prost(uint64, tag = "5")]
    through: u64,
}

impl From<&Seen> for Places {
    fn from(seen: &Seen) -> Self {
        let mut missing = Vec::new();
        let mut next = seen.next;
        for (start, range) in seen.ahead.iter().take(MAX_RANGES) {
            missing.push((next, start - 1));
            next = range.end;
        }
        let last = seen.ahead.last_key_value();
        Self {
            durable_through: seen.next - 1,
            highest: last.map_or(seen.next, |(_, range)| range.end) - 1,
            missing,
        }
    }
}

impl From<&Seen> for SeenRow {
    fn from(seen: &Seen) -> Self {
        let bytes = |hash: Option<Link>| hash.map_or_else(Vec::new, |hash| hash.to_vec());
        let pairs = seen
            .ahead
            .iter()
            .flat_map(|(start, range)| [*start, range.end]);
        Self {
            next: seen.next,
            ahead: pairs.collect(),
            hash: bytes(seen.hash),
            hashes: seen.ahead.values().map(|range| bytes(range.hash)).collect(),
            through: seen.through,
        }
    }
}

impl From<SeenRow> for Seen {
    fn from(row: SeenRow) -> Self {
        let (pairs, _) = row.ahead.as_chunks();
        let link = |bytes: Option<&Vec<u8>>| Link::try_from(bytes?.as_slice()).ok();
        let range = |(place, [start, end]): (usize, &[i64; 2])| {
            let (end, hash) = (*end, link(row.hashes.get(place)));
            (*start, Range { end, hash })
        };
        Self {
            next: row.next,
            hash: link(Some(&row.hash)),
            ahead: pairs.iter().enumerate().map(range).collect(),
            through: row.through,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(uint64, tag = "1")]
    next_seq: u64,
    #[prost(uint64, tag = "2")]
    first_unacked: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
    #[prost(int64, tag = "4")]
    received_at: i64,
    /// Link of the last row; empty before the chain's first.
    #[prost(bytes = "vec", tag = "5")]
    link: Vec<u8>,
    /// The chain's first row.
    #[prost(uint64, tag = "6")]
    since: u64,
    /// Rows below are covered by checkpoints, or are one.
    #[prost(uint64, tag = "7")]
    checkpointed: u64,
    /// Whether a version that knows the chain wrote this.
    #[prost(bool, tag = "8")]
    chained: bool,
}

impl Head {
    fn last_link(&self) -> Option<Link> {
        Link::try_from(self.link.as_slice()).ok()
    }
}

#[derive(Clone, PartialEq, Message)]
struct Dead {
    #[prost(int64, tag = "1")]
    received_at: i64,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(bytes = "vec", tag = "3")]
    bytes: Vec<u8>,
    #[prost(string, tag = "4")]
    detail: String,
}

/// As many whole characters as are kept.
fn cut(detail: &str) -> &str {
    detail
        .get(..detail.floor_char_boundary(MAX_DETAIL_BYTES))
        .unwrap_or_default()
}

fn key(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

fn seq_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

fn free_bytes(directory: &Path) -> Result<u64, std::io::Error> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

mod follow;

const CURSOR: &str = "cursor";
const HEAD: &str = "head";
const SINK_ID: &str = "sink_id";

#[cfg(test)]
mod tests;
