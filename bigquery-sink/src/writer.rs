//! The one task that writes into the spool, group by group.
//!
//! While one group is being synced the next gathers, so a group is as long as the disk is slow: no
//! entry waits for others on purpose. At most [`MAX_WAITING_BYTES`] of rows wait in memory. Between
//! groups, and after the last, it has checkpoints made.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::error;

use crate::{
    checkpoint::Checkpoints,
    metrics::Metrics,
    row::Origin,
    spool::{Entry, Spool, SpoolError},
};

/// Hands rows to the writing task; a clone writes to the same.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
}

/// The writing task has ended.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the writer has ended")]
pub struct Closed;

struct Message {
    rows: Vec<(Origin, Entry)>,
    /// Given back when the rows are written.
    room: OwnedSemaphorePermit,
    /// Who waits until the rows are durable.
    durable: Option<oneshot::Sender<()>>,
}

impl Writer {
    /// Starts the task. It ends when all clones are gone, or with the error of the spool.
    pub fn start(
        spool: Spool,
        metrics: Arc<Metrics>,
        checkpoints: Option<Checkpoints>,
    ) -> (Self, tokio::task::JoinHandle<Result<(), SpoolError>>) {
        let (queue, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
        let task = tokio::task::spawn_blocking(move || {
            run(messages, &spool, &metrics, checkpoints)
                .inspect_err(|error| error!(%error, "cannot write to the spool"))
        });
        let room = Arc::new(Semaphore::new(MAX_WAITING_BYTES / UNIT));
        (Self { queue, room }, task)
    }

    /// Hands rows over; waits while too many are not written yet.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the rows can no longer be written.
    pub async fn write(&self, rows: Vec<(Origin, Entry)>) -> Result<(), Closed> {
        self.send(rows, None).await
    }

    /// Hands rows over and waits until they are durable.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the rows can no longer be written.
    pub async fn write_durably(&self, rows: Vec<(Origin, Entry)>) -> Result<(), Closed> {
        let (durable, waits) = oneshot::channel();
        self.send(rows, Some(durable)).await?;
        waits.await.map_err(|_| Closed)
    }

    async fn send(
        &self,
        rows: Vec<(Origin, Entry)>,
        durable: Option<oneshot::Sender<()>>,
    ) -> Result<(), Closed> {
        let bytes: usize = rows.iter().map(|(_, entry)| size(entry)).sum();
        let units = (bytes / UNIT).clamp(1, MAX_WAITING_BYTES / UNIT);
        let units = u32::try_from(units).map_err(|_| Closed)?;
        let room = Arc::clone(&self.room)
            .acquire_many_owned(units)
            .await
            .map_err(|_| Closed)?;
        self.queue
            .send(Message {
                rows,
                room,
                durable,
            })
            .await
            .map_err(|_| Closed)
    }
}

fn run(
    mut messages: mpsc::Receiver<Message>,
    spool: &Spool,
    metrics: &Metrics,
    mut checkpoints: Option<Checkpoints>,
) -> Result<(), SpoolError> {
    loop {
        let first = match &mut checkpoints {
            None => messages.blocking_recv(),
            Some(checkpoints) => {
                if checkpoints.wait().is_zero() {
                    checkpoints.make(spool)?;
                }
                let uncovered = spool.status().uncovered;
                let end = if uncovered { checkpoints.wait() } else { IDLE };
                match Handle::current().block_on(timeout(end, messages.recv())) {
                    Ok(first) => first,
                    Err(_) => continue,
                }
            }
        };
        let Some(first) = first else {
            break;
        };
        let mut group = first.rows;
        let mut done = vec![(first.room, first.durable)];
        let mut bytes: usize = group.iter().map(|(_, entry)| size(entry)).sum();
        while bytes < MAX_GROUP_BYTES
            && let Ok(message) = messages.try_recv()
        {
            bytes += message
                .rows
                .iter()
                .map(|(_, entry)| size(entry))
                .sum::<usize>();
            group.extend(message.rows);
            done.push((message.room, message.durable));
        }
        let (origins, entries): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let appended = spool.append(&entries, crate::now())?;
        metrics.stored(&origins, &entries, appended);
        for durable in done.into_iter().filter_map(|(_, durable)| durable) {
            let _gone = durable.send(());
        }
    }
    match &mut checkpoints {
        None => Ok(()),
        Some(checkpoints) => checkpoints.make(spool),
    }
}

fn size(entry: &Entry) -> usize {
    entry.row.len() + entry.dead.as_ref().map_or(0, |(_, bytes)| bytes.len())
}

/// Bytes of rows that may wait for the disk, in memory.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// Messages that may wait; empty ones cost no bytes.
const MAX_WAITING_MESSAGES: usize = 4096;

/// A group is closed when it has this many bytes.
const MAX_GROUP_BYTES: usize = 4 << 20;

/// How long to wait for a row when no checkpoint is due.
const IDLE: Duration = Duration::from_hours(1);

/// What one permit of the semaphore stands for.
const UNIT: usize = 1024;
