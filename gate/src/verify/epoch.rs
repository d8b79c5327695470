//! The records of one epoch, in whatever order they came (pure).
//!
//! Ranges of records without a hole are kept, not records: where two ranges meet, the hash of the
//! one's last must be the `prev_hash` of the other's first.

use std::collections::{BTreeMap, HashSet, VecDeque};

use contract::checkpoint::{EpochClaim, Link};

/// What is known of an epoch.
#[derive(Debug, Default)]
pub(crate) struct Epoch {
    ranges: BTreeMap<i64, Range>,
    /// Hash of the record before a number, as checkpoints say it.
    claims: BTreeMap<i64, Link>,
    /// Records that checkpoints of the window say there are.
    pub(crate) claimed: i64,
    /// Whether checkpoints say what came before the window.
    pub(crate) anchored: bool,
    /// Whether its worker says that it starts, lives and ends.
    pub(crate) live: bool,
    /// Whether it has said that it ends.
    pub(crate) ended: bool,
    /// When its last record arrived, in microseconds since 1970.
    pub(crate) last_at: i64,
    /// What the last heartbeat said was not durable.
    pub(crate) unacknowledged: Option<i64>,
    /// The last heartbeat that said that nothing was open, and all before it durable.
    pub(crate) idle: Option<i64>,
    pub(crate) opens: BTreeMap<i64, Open>,
    /// Of close records that came before their open record.
    closed: HashSet<i64>,
}

/// An exchange that began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) decision_id: String,
    pub(crate) person: String,
    pub(crate) event_at: i64,
}

/// A record, as far as its epoch wants to know it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) seq: i64,
    /// `None` if it was altered.
    pub(crate) hash: Option<Link>,
    pub(crate) prev_hash: Vec<u8>,
    pub(crate) received_at: i64,
    /// Which sink took it, as a small number.
    pub(crate) sink: u16,
}

/// What came of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is new; these records do not follow the ones before them.
    New {
        misfits: Vec<i64>,
        /// Whether a checkpoint says another hash of it.
        contradicted: bool,
    },
    /// Its number stands already.
    Again {
        /// Whether that is the same record, from another sink.
        harmless: bool,
    },
}

/// A hole between records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// When the record after it arrived; nothing if that was before the window.
    pub(crate) noticed_at: Option<i64>,
}

#[derive(Debug)]
struct Range {
    /// One past the last.
    end: i64,
    /// `prev_hash` of the first and when it arrived, if it was seen.
    first: Option<(Option<Vec<u8>>, i64)>,
    last_hash: Option<Link>,
    /// Digest and sink of each of the last records; those before were not seen.
    seen: VecDeque<(u64, u16)>,
}

impl Epoch {
    /// Takes what a checkpoint before the window says.
    pub(crate) fn anchor(&mut self, claim: &EpochClaim) {
        if claim.partial {
            return;
        }
        self.anchored = true;
        let hash = claim.hash.as_deref().and_then(link);
        let ahead = claim.ahead.iter().map(|(start, end)| (*start, *end, None));
        for (start, end, hash) in [(0, claim.next, hash)].into_iter().chain(ahead) {
            self.known(start, end, hash);
        }
    }

    /// Takes what a checkpoint says of a record; `covers` if the table has to have it by now.
    pub(crate) fn claim(&mut self, claim: &EpochClaim, covers: bool) {
        if let Some(hash) = claim.hash.as_deref().and_then(link) {
            self.claims.insert(claim.next, hash);
        }
        if covers {
            let ahead = claim.ahead.iter().map(|(_, end)| *end).max();
            self.claimed = self.claimed.max(claim.next).max(ahead.unwrap_or(0));
        }
    }

    /// Says that all records up to `last` came before the window, whatever they were.
    pub(crate) fn before(&mut self, last: i64) {
        self.anchored = true;
        self.known(0, last.saturating_add(1), None);
    }

    /// Adds a range that was not seen; what of it is known is left as it is.
    fn known(&mut self, mut start: i64, end: i64, hash: Option<Link>) {
        if start >= end || end < 0 {
            return;
        }
        let mut range = Range {
            end,
            first: None,
            last_hash: hash,
            seen: VecDeque::new(),
        };
        let below = self.ranges.range(..=start).next_back();
        if let Some(found) = below.map(|(start, _)| *start)
            && self
                .ranges
                .get(&found)
                .is_some_and(|below| below.end >= start)
            && let Some(below) = self.ranges.remove(&found)
        {
            start = found;
            if below.end >= end {
                self.ranges.insert(found, below);
                return;
            }
            range.first = below.first;
        }
        let inside: Vec<i64> = self
            .ranges
            .range(start..=end)
            .map(|(start, _)| *start)
            .collect();
        for place in inside {
            if let Some(above) = self.ranges.remove(&place)
                && above.end > range.end
            {
                range.end = above.end;
                range.last_hash = above.last_hash;
                range.seen = above.seen;
            }
        }
        self.ranges.insert(start, range);
    }

    /// Takes a record.
    pub(crate) fn insert(&mut self, record: &Record) -> Placed {
        let Record { seq, hash, .. } = *record;
        let digest = hash.map_or(0, brief);
        let below = self.ranges.range(..=seq).next_back();
        let below = below.map(|(start, range)| (*start, range.end));
        if let Some((start, end)) = below
            && seq < end
        {
            let range = self.ranges.get(&start);
            let seen = range.and_then(|range| range.seen_of(seq));
            let harmless = |(was, sink)| was == digest && sink != record.sink;
            return Placed::Again {
                harmless: seen.is_none_or(harmless),
            };
        }
        self.last_at = self.last_at.max(record.received_at);
        let prev = hash.is_some().then(|| record.prev_hash.clone());
        let mut misfits = Vec::new();
        if seq == 0 && prev.as_ref().is_some_and(|prev| !prev.is_empty()) {
            misfits.push(0);
        }
        let mut range = Range {
            end: seq + 1,
            first: Some((prev, record.received_at)),
            last_hash: hash,
            seen: [(digest, record.sink)].into(),
        };
        if let Some(above) = self.ranges.remove(&(seq + 1)) {
            if !range.fits(&above) {
                misfits.push(seq + 1);
            }
            range.append(above);
        }
        match below {
            Some((start, end)) if end == seq => {
                if let Some(below) = self.ranges.get_mut(&start) {
                    if !below.fits(&range) {
                        misfits.push(seq);
                    }
                    below.append(range);
                }
            }
            _ => {
                self.ranges.insert(seq, range);
            }
        }
        let claimed = self.claims.get(&(seq + 1));
        let contradicted =
            matches!((claimed, hash), (Some(claimed), Some(hash)) if *claimed != hash);
        Placed::New {
            misfits,
            contradicted,
        }
    }

    /// Takes an open record.
    pub(crate) fn open(&mut self, seq: i64, open: Open) {
        if !self.closed.remove(&seq) {
            self.opens.insert(seq, open);
        }
    }

    /// Takes the close record of an open one.
    pub(crate) fn close(&mut self, open_seq: i64) {
        let known = |(_, range): (&i64, &Range)| open_seq < range.end;
        let came = self
            .ranges
            .range(..=open_seq)
            .next_back()
            .is_some_and(known);
        if self.opens.remove(&open_seq).is_none() && !came {
            self.closed.insert(open_seq);
        }
    }

    /// The number of its first record that is known.
    pub(crate) fn first(&self) -> i64 {
        self.ranges.keys().next().copied().unwrap_or(0)
    }

    /// One past the greatest number.
    pub(crate) fn end(&self) -> i64 {
        self.ranges
            .values()
            .next_back()
            .map_or(0, |range| range.end)
    }

    /// Whether its worker had nothing open and nothing to lose when it was last heard of.
    pub(crate) fn rests(&self) -> bool {
        self.idle.is_some_and(|idle| idle == self.end() - 1) && self.opens.is_empty()
    }

    /// Holes between records, also before the first.
    pub(crate) fn holes(&self) -> Vec<Hole> {
        let mut holes = Vec::new();
        let mut next = 0;
        for (start, range) in &self.ranges {
            if *start > next {
                holes.push(Hole {
                    first: next,
                    last: *start - 1,
                    noticed_at: range.first.as_ref().map(|(_, at)| *at),
                });
            }
            next = range.end;
        }
        holes
    }
}

impl Range {
    fn fits(&self, after: &Self) -> bool {
        match (&self.last_hash, &after.first) {
            (Some(hash), Some((Some(prev), _))) => hash[..] == prev[..],
            _ => true, // one of the two was not seen, or was altered and is told
        }
    }

    fn append(&mut self, after: Self) {
        let gapless =
            i64::try_from(after.seen.len()).is_ok_and(|seen| self.end == after.end - seen);
        if gapless {
            self.seen.extend(after.seen);
        } else {
            self.seen = after.seen;
        }
        self.end = after.end;
        self.last_hash = after.last_hash;
    }

    fn seen_of(&self, seq: i64) -> Option<(u64, u16)> {
        let back = usize::try_from(self.end - seq).ok()?;
        let place = self.seen.len().checked_sub(back)?;
        self.seen.get(place).copied()
    }
}

/// Enough of a hash to tell two records of one number apart.
fn brief(hash: Link) -> u64 {
    hash.first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

/// A hash from its hex form.
pub(crate) fn link(hex: &str) -> Option<Link> {
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?;
    Link::try_from(bytes).ok()
}
