//! Signs what the spool's rows are, from time to time, and keeps that in two places.
//!
//! A checkpoint is a row among the others: ordered, durable, loaded once. Its token is also written as
//! a line into a file, which should stand where nobody who may change the table can change it. The
//! file is written by a task of its own, so that a disk that hangs holds up nothing; what could not be
//! written is tried again with the next checkpoint.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use contract::{Envelope, RECORD_VERSION, checkpoint::SigningKeys};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::{
    metrics::Metrics,
    row::proven,
    spool::{Entry, Spool, SpoolError},
};

/// Makes checkpoints of one spool.
pub struct Checkpoints {
    keys: Arc<SigningKeys>,
    deployment: Option<String>,
    interval: Duration,
    /// To the task that writes the file.
    lines: Option<mpsc::Sender<String>>,
    metrics: Arc<Metrics>,
    last: Option<Instant>,
}

impl Checkpoints {
    /// Prepares them: at most one each `interval`, but for the last. Without a key there are none.
    pub fn new(
        keys: Option<Arc<SigningKeys>>,
        deployment: Option<String>,
        interval: Duration,
        lines: Option<mpsc::Sender<String>>,
        metrics: Arc<Metrics>,
    ) -> Option<Self> {
        let Some(keys) = keys else {
            warn!(
                "GATE_CHECKPOINT_KEYS is not set: rows get no signed checkpoints, so that nobody \
                 can prove that none is missing at the end"
            );
            return None;
        };
        info!(
            public_keys = keys.published().join(","),
            "checkpoints are signed"
        );
        metrics.checkpoints_wanted(crate::now());
        Some(Self {
            keys,
            deployment,
            interval,
            lines,
            metrics,
            last: None,
        })
    }

    /// How long there is to wait for the next one; nothing if it may be made at once.
    pub(crate) fn wait(&self) -> Duration {
        let since = self.last.map_or(self.interval, |last| last.elapsed());
        self.interval.saturating_sub(since)
    }

    /// Appends a checkpoint to the spool if a row came since the last one. A failure to sign is told
    /// and holds up nothing.
    pub(crate) fn make(&mut self, spool: &Spool) -> Result<(), SpoolError> {
        let Some(claims) = spool.claims()? else {
            return Ok(());
        };
        self.last = Some(Instant::now());
        let now = crate::now();
        let seconds = u64::try_from(now / 1_000_000).unwrap_or_default();
        let rows = claims.rows;
        let signed = self.keys.sign(claims, self.deployment.as_deref(), seconds);
        let token = match signed {
            Ok(token) => token,
            Err(error) => {
                error!(%error, "no checkpoint");
                return Ok(());
            }
        };
        let envelope = Envelope {
            version: Some(RECORD_VERSION),
            kind: Some("checkpoint".into()),
            deployment: self.deployment.clone(),
            event_at: Some(now),
            checkpoint: Some(token.clone()),
            ..Envelope::default()
        };
        let entry = Entry {
            covers: Some(rows),
            ..proven(&envelope)
        };
        spool.append(&[entry], now)?;
        self.metrics.checkpoint_made(now);
        if let Some(lines) = &self.lines
            && lines.try_send(token).is_err()
        {
            self.metrics.checkpoint_not_written();
            warn!("the file of checkpoints takes no more lines");
        }
        Ok(())
    }
}

/// Starts the task that writes `file`; it ends when the sender is gone and all is written or failed.
pub fn write_file(
    file: PathBuf,
    metrics: Arc<Metrics>,
) -> (mpsc::Sender<String>, tokio::task::JoinHandle<()>) {
    let (lines, mut arriving) = mpsc::channel::<String>(MAX_WAITING_LINES);
    let task = tokio::task::spawn_blocking(move || {
        let mut file = Lines::new(file);
        while let Some(line) = arriving.blocking_recv() {
            if let Err(error) = file.add(line) {
                metrics.checkpoint_not_written();
                warn!(%error, waiting = file.waiting.len(), "cannot write the file of checkpoints");
            }
        }
    });
    (lines, task)
}

/// A file that is only ever appended to.
struct Lines {
    file: PathBuf,
    waiting: VecDeque<String>,
    /// Whether its last line may be incomplete: so it is with one that somebody else left, too.
    torn: bool,
}

impl Lines {
    fn new(file: PathBuf) -> Self {
        Self {
            torn: !ends_well(&file).unwrap_or_default(),
            waiting: VecDeque::new(),
            file,
        }
    }

    /// Adds a line, and those that could not be added before.
    fn add(&mut self, line: String) -> Result<(), std::io::Error> {
        self.waiting.push_back(line);
        while self.waiting.len() > MAX_WAITING_LINES {
            self.waiting.pop_front(); // later ones cover its rows
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.file)?;
        while let Some(line) = self.waiting.front() {
            let start = if self.torn { "\n" } else { "" };
            self.torn = true;
            file.write_all(format!("{start}{line}\n").as_bytes())?;
            file.sync_data()?;
            self.torn = false;
            self.waiting.pop_front();
        }
        Ok(())
    }
}

/// Whether a file is empty or ends with a line end; nothing if it cannot be read.
fn ends_well(file: &Path) -> Option<bool> {
    let mut file = match File::open(file) {
        Ok(file) => file,
        Err(error) => return (error.kind() == ErrorKind::NotFound).then_some(true),
    };
    if file.seek(SeekFrom::End(0)).ok()? == 0 {
        return Some(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1)).ok()?;
    file.read_exact(&mut last).ok()?;
    Some(last == *b"\n")
}

/// Checkpoints that wait for the file: a day of them.
const MAX_WAITING_LINES: usize = 1440;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_could_not_be_written_come_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("away/checkpoints");
        let mut lines = Lines::new(file.clone());
        assert!(lines.add("one".into()).is_err());
        std::fs::create_dir(folder.path().join("away")).unwrap();
        lines.add("two".into()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_line_that_was_cut_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("checkpoints");
        std::fs::write(&file, "one\ntw").unwrap();
        Lines::new(file.clone()).add("three".into()).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "one\ntw\nthree\n");
        Lines::new(file.clone()).add("four".into()).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "one\ntw\nthree\nfour\n");
    }
}
