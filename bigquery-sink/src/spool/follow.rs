//! A second reader of the rows, behind the first: it reads what BigQuery has taken.
//!
//! A row stays on disk until both have passed it. The second reader hinders nobody: what waits for it
//! counts for no limit but its own, and is let go, oldest first, when that is reached or when the disk
//! is short. What was let go is counted.

use bytes::Bytes;
use fjall::{OwnedWriteBatch, PersistMode};
use prost::Message;
use tokio::sync::watch;

use super::{Inner, Spool, SpoolError, State, key, seq_of};

/// How far the second reader is, and where what it makes of the rows goes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Followed {
    /// Name of its write stream; empty before there is one.
    #[prost(string, tag = "1")]
    pub stream: String,
    /// Where the next of its rows goes in that stream.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// The first `sink_seq` that it has not passed.
    #[prost(uint64, tag = "3")]
    pub next_seq: u64,
    /// Rows that were let go before it had read them.
    #[prost(uint64, tag = "4")]
    pub skipped: u64,
}

/// What waits for the second reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Rows that BigQuery has and that are still on disk.
    pub rows: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Rows that were let go unread.
    pub skipped: u64,
}

#[derive(Debug)]
pub(super) struct Follow {
    max_bytes: u64,
    /// Of rows from `at.next_seq` to the first that is not acknowledged.
    bytes: u64,
    at: Followed,
}

impl Spool {
    /// Keeps acknowledged rows, at most `max_bytes` of them, for a second reader; with `None` for
    /// nobody. To be called before rows are acknowledged. Who follows for the first time begins with
    /// what is not acknowledged now.
    ///
    /// # Errors
    ///
    /// After any error the spool has failed for good.
    pub fn follow(&self, max_bytes: Option<u64>) -> Result<(), SpoolError> {
        self.guarded(|inner| {
            let mut state = inner.state();
            let first = state.head.first_unacked;
            let mut batch = inner.store.batch().durability(Some(PersistMode::SyncData));
            let at = match inner.meta.get(FOLLOWED)? {
                Some(bytes) => {
                    Followed::decode(&*bytes).map_err(|_| SpoolError::Corrupt("second cursor"))?
                }
                None => Followed {
                    next_seq: first,
                    ..Followed::default()
                },
            };
            let from = max_bytes.map_or(first, |_| at.next_seq.min(first));
            for pair in inner.rows.range(..key(from)) {
                batch.remove(&inner.rows, pair.into_inner()?.0);
            }
            let mut bytes = 0;
            for pair in inner.rows.range(key(from)..key(first)) {
                bytes += pair.into_inner()?.1.len() as u64;
            }
            if let Some(max_bytes) = max_bytes {
                batch.insert(&inner.meta, FOLLOWED, at.encode_to_vec());
                state.follow = Some(Follow {
                    max_bytes,
                    bytes,
                    at,
                });
            } else {
                batch.remove(&inner.meta, FOLLOWED);
                state.follow = None;
            }
            Ok(batch.commit()?)
        })
    }

    /// How far the second reader is; `None` if there is none.
    pub fn followed(&self) -> Option<Followed> {
        Some(self.0.state().follow.as_ref()?.at.clone())
    }

    /// What waits for the second reader.
    pub fn kept(&self) -> Kept {
        let state = self.0.state();
        let kept = |follow: &Follow| Kept {
            rows: state.head.first_unacked.saturating_sub(follow.at.next_seq),
            bytes: follow.bytes,
            skipped: follow.at.skipped,
        };
        state.follow.as_ref().map(kept).unwrap_or_default()
    }

    /// Acknowledged rows from `from` on, as [`Spool::read`] gives others.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn read_acknowledged(
        &self,
        from: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Bytes)>, SpoolError> {
        let end = self.0.state().head.first_unacked;
        let rows = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        match rows.min(max_rows) {
            0 => Ok(Vec::new()),
            rows => {
                let mut read = self.read(from, rows, max_bytes)?;
                read.retain(|(seq, _)| *seq < end);
                Ok(read)
            }
        }
    }

    /// The second reader has passed all rows before `at.next_seq`; they are forgotten if they are
    /// acknowledged. Not synced, but with a new stream: after a crash of the machine it begins again
    /// where it was, with the offset that belongs there.
    ///
    /// # Errors
    ///
    /// After any error the spool has failed for good.
    pub fn pass(&self, mut at: Followed) -> Result<(), SpoolError> {
        self.guarded(|inner| {
            let mut state = inner.state();
            let first = state.head.first_unacked;
            let Some(follow) = &mut state.follow else {
                return Ok(());
            };
            let durability = if at.stream == follow.at.stream {
                PersistMode::Buffer
            } else {
                PersistMode::SyncAll
            };
            let mut batch = inner.store.batch().durability(Some(durability));
            let from = follow.at.next_seq;
            at.next_seq = at.next_seq.clamp(from, first.max(from));
            at.skipped = follow.at.skipped;
            follow.at = at;
            for pair in inner.rows.range(key(from)..key(follow.at.next_seq)) {
                let (seq, row) = pair.into_inner()?;
                follow.bytes = follow.bytes.saturating_sub(row.len() as u64);
                batch.remove(&inner.rows, seq);
            }
            batch.insert(&inner.meta, FOLLOWED, follow.at.encode_to_vec());
            Ok(batch.commit()?)
        })
    }

    /// Follows the first `sink_seq` that is not acknowledged.
    pub fn subscribe_acknowledged(&self) -> watch::Receiver<u64> {
        self.0.acknowledged.subscribe()
    }
}

impl State {
    /// Whether a row that is being acknowledged stays for the second reader.
    pub(super) fn keeps(&mut self, seq: &[u8], bytes: usize) -> bool {
        let Some(follow) = &mut self.follow else {
            return false;
        };
        let keeps = seq_of(seq).is_some_and(|seq| seq >= follow.at.next_seq);
        if keeps {
            follow.bytes += bytes as u64;
        }
        keeps
    }
}

impl Inner {
    /// Lets go of the oldest rows that are more than may be kept.
    pub(super) fn let_go(
        &self,
        state: &mut State,
        batch: &mut OwnedWriteBatch,
    ) -> Result<(), SpoolError> {
        let max_bytes = state.follow.as_ref().map_or(0, |follow| follow.max_bytes);
        self.shrink(state, batch, max_bytes)
    }

    /// Lets go of all rows that are kept; says whether there were any.
    pub(super) fn let_all_go(&self, state: &mut State) -> Result<bool, SpoolError> {
        if state.follow.as_ref().is_none_or(|follow| follow.bytes == 0) {
            return Ok(false);
        }
        let mut batch = self.store.batch().durability(Some(PersistMode::Buffer));
        self.shrink(state, &mut batch, 0)?;
        batch.commit()?;
        Ok(true)
    }

    fn shrink(
        &self,
        state: &mut State,
        batch: &mut OwnedWriteBatch,
        max_bytes: u64,
    ) -> Result<(), SpoolError> {
        let first = state.head.first_unacked;
        let Some(follow) = &mut state.follow else {
            return Ok(());
        };
        if follow.bytes <= max_bytes {
            return Ok(());
        }
        for pair in self.rows.range(key(follow.at.next_seq)..key(first)) {
            if follow.bytes <= max_bytes {
                break;
            }
            let (seq, row) = pair.into_inner()?;
            follow.bytes = follow.bytes.saturating_sub(row.len() as u64);
            follow.at.next_seq = seq_of(&seq).ok_or(SpoolError::Corrupt("rows"))? + 1;
            follow.at.skipped += 1;
            batch.remove(&self.rows, seq);
        }
        batch.insert(&self.meta, FOLLOWED, follow.at.encode_to_vec());
        Ok(())
    }
}

const FOLLOWED: &str = "followed";

#[cfg(test)]
mod tests {
    use super::super::{Entry, Limits};
    use super::*;

    fn spool(folder: &tempfile::TempDir) -> Spool {
        let limits = Limits {
            max_bytes: 1 << 20,
            min_free_bytes: 0,
        };
        Spool::open(folder.path(), limits).unwrap()
    }

    fn append(spool: &Spool, rows: usize) {
        let entry = Entry {
            row: Bytes::from_static(b"\x0a\x04rows"),
            ..Entry::default()
        };
        spool.append(&vec![entry; rows], 1).unwrap();
    }

    fn seqs(spool: &Spool) -> Vec<u64> {
        let rows = spool.read_acknowledged(0, 100, usize::MAX).unwrap();
        rows.into_iter().map(|(seq, _)| seq).collect()
    }

    fn at(next_seq: u64) -> Followed {
        Followed {
            stream: "s".into(),
            offset: 1,
            next_seq,
            skipped: 0,
        }
    }

    #[test]
    fn rows_stay_until_both_readers_have_passed_them() {
        let folder = tempfile::tempdir().unwrap();
        let first = spool(&folder);
        append(&first, 2);
        first.acknowledge(0).unwrap(); // before anybody follows
        first.follow(Some(1 << 20)).unwrap();
        append(&first, 4);
        assert_eq!(seqs(&first), [0; 0]);
        first.acknowledge(3).unwrap();
        assert_eq!(first.status().bytes, first.kept().bytes / 3 * 2);
        assert_eq!(seqs(&first), [1, 2, 3]);
        first.pass(at(2)).unwrap();
        drop(first);

        let again = spool(&folder);
        again.follow(Some(1 << 20)).unwrap();
        assert_eq!(seqs(&again), [2, 3]);
        assert_eq!(again.followed(), Some(at(2)));
        again.pass(at(100)).unwrap();
        assert_eq!(again.followed(), Some(at(4))); // no further than the first reader
        assert_eq!(again.kept(), Kept::default());
        again.acknowledge(5).unwrap();
        assert_eq!(seqs(&again), [4, 5]);
    }

    #[test]
    fn what_is_too_much_is_let_go_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool(&folder);
        spool.follow(Some(0)).unwrap();
        append(&spool, 3);
        spool.acknowledge(1).unwrap();
        assert_eq!(seqs(&spool), [0; 0]);
        let kept = spool.kept();
        assert_eq!((kept.rows, kept.bytes, kept.skipped), (0, 0, 2));
        // Who was reading them meanwhile does not bring them back.
        spool.pass(at(1)).unwrap();
        assert_eq!(
            spool.followed().map(|at| (at.next_seq, at.skipped)),
            Some((2, 2))
        );
    }

    #[test]
    fn nobody_who_follows_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let first = spool(&folder);
        first.follow(Some(1 << 20)).unwrap();
        append(&first, 3);
        first.acknowledge(1).unwrap();
        drop(first);
        let again = spool(&folder);
        again.follow(None).unwrap();
        assert_eq!((seqs(&again), again.followed()), (Vec::new(), None));
        again.acknowledge(2).unwrap();
        again.follow(Some(1 << 20)).unwrap();
        assert_eq!(again.followed().map(|at| at.next_seq), Some(3));
    }
}
