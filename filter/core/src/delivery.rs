//! Records of a worker from the moment they are sealed until a sink has them on disk.
//!
//! The access log has no acknowledgement, so every record stays here until the sink says that it is
//! durable. Records of the beginning of an exchange, and those of the worker itself, go by
//! `POST /v1/records`, which answers with what is durable; those of the end go by the access log,
//! and `GET /v1/epochs/ID` tells whether they came. What is missing after a while is posted.
//!
//! `Outbox` keeps and chooses; `Worker` seals, and makes the calls of what is chosen.

use std::{collections::VecDeque, fmt, rc::Rc, time::Duration};

use serde::Deserialize;

use crate::time::UnixTime;

/// How long the access log, or a call, is given to get a record to the sink's disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shortest and longest pause after a call that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Time after which a call to the sink has no answer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of records in a call; a longer record goes alone.
const MAX_CALL_BYTES: usize = 4 << 20;

/// Ranges of what is missing that a sink tells at once: of what is behind the last it says nothing.
const TOLD_RANGES: usize = 1000;

/// By which way a record goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With the next call to the sink.
    Call,
    /// It is on its way: by the access log, or by a call of its exchange.
    Underway,
}

/// What the sink says of an epoch: `{"epoch":"…","durable_through":41,"highest":44,"missing":[[42,42]]}`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Told {
    /// 32 hex digits.
    pub(crate) epoch: String,
    /// No record up to this one is missing; -1 if the first is.
    durable_through: i64,
    /// The last record.
    highest: i64,
    /// First and last of each range between the two that is missing.
    missing: Vec<(i64, i64)>,
}

/// The answer to `POST /v1/records`.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) epochs: Vec<Told>,
}

impl Told {
    /// Whether a record is surely durable.
    pub(crate) fn has(&self, seq: i64) -> bool {
        let told = match self.missing.last() {
            Some((_, last)) if self.missing.len() >= TOLD_RANGES => *last,
            _ => self.highest,
        };
        // the ranges come in their order
        let next = self.missing.partition_point(|(_, last)| *last < seq);
        let is_missing = self
            .missing
            .get(next)
            .is_some_and(|(first, _)| *first <= seq);
        seq <= self.durable_through || seq <= told && !is_missing
    }
}

/// Records that no sink has reported durable, in their order.
#[derive(Default)]
pub(crate) struct Outbox {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// A call is out since then.
    calling: Option<UnixTime>,
    /// After calls that failed: no call before, and the pause that led there.
    pause: Option<(UnixTime, Duration)>,
    counts: Counts,
}

/// What became of records other than to be acknowledged, since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent once more, because the sink did not have them in time.
    pub resent: u64,
    /// Kept no longer, for want of room; if they do not arrive either, they are a gap.
    pub given_up: u64,
}

struct Kept {
    seq: i64,
    record: Rc<Vec<u8>>,
    /// When it is to be posted.
    due: UnixTime,
    /// It was on its way before.
    sent: bool,
}

/// What to do about a sink.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Post these records, each behind its length.
    Post(Vec<u8>),
    /// Ask what is durable.
    Ask,
}

impl Outbox {
    /// Keeps a record. Beyond `most` bytes the oldest are given up.
    pub(crate) fn keep(
        &mut self,
        seq: i64,
        record: Rc<Vec<u8>>,
        way: Way,
        most: usize,
        now: UnixTime,
    ) {
        self.bytes += record.len();
        self.kept.push_back(Kept {
            seq,
            record,
            due: if way == Way::Call {
                now
            } else {
                now + PATIENCE
            },
            sent: way != Way::Call,
        });
        while self.bytes > most && self.kept.len() > 1 {
            self.counts.given_up += 1;
            let oldest = self.kept.pop_front();
            self.bytes -= oldest.map_or(0, |kept| kept.record.len());
        }
    }

    /// Bytes of all records kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of records kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What to do now, if anything; a call is then out until it was answered.
    pub(crate) fn need(&mut self, now: UnixTime) -> Option<Need> {
        let is_out = |since: UnixTime| now.since(since) < 2 * CALL_TIMEOUT;
        let rests = |(until, _): (UnixTime, Duration)| now < until;
        if self.kept.is_empty() || self.calling.is_some_and(is_out) || self.pause.is_some_and(rests)
        {
            return None;
        }
        self.calling = Some(now);
        let mut body = Vec::new();
        for kept in self.kept.iter_mut().filter(|kept| kept.due <= now) {
            if !body.is_empty() && body.len() + kept.record.len() > MAX_CALL_BYTES {
                break;
            }
            delimited(&kept.record, &mut body);
            kept.due = now + PATIENCE;
            self.counts.resent += u64::from(std::mem::replace(&mut kept.sent, true));
        }
        Some(if body.is_empty() {
            Need::Ask
        } else {
            Need::Post(body)
        })
    }

    /// All that is kept, to be posted now, whether it is on its way or not: in calls of their size.
    pub(crate) fn last(&mut self, now: UnixTime) -> Vec<Vec<u8>> {
        for kept in &mut self.kept {
            kept.due = now;
        }
        let mut bodies = Vec::new();
        loop {
            (self.calling, self.pause) = (None, None);
            let Some(Need::Post(body)) = self.need(now) else {
                return bodies;
            };
            bodies.push(body);
        }
    }

    /// The call of [`Outbox::need`] was answered, well or not.
    pub(crate) fn called(&mut self, good: bool, now: UnixTime) {
        self.calling = None;
        let (shortest, longest) = PAUSES;
        self.pause = (!good).then(|| {
            let pause = self.pause.map_or(shortest, |(_, pause)| 2 * pause);
            let pause = pause.min(longest);
            (now + pause, pause)
        });
    }

    /// Forgets what is durable.
    pub(crate) fn acknowledge(&mut self, durable: &Told) {
        let bytes = &mut self.bytes;
        self.kept.retain(|kept| {
            let keep = !durable.has(kept.seq);
            if !keep {
                *bytes -= kept.record.len();
            }
            keep
        });
    }

    /// What became of records since this was last asked.
    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

/// Appends a record behind its length, as protobuf delimits messages.
pub(crate) fn delimited(record: &[u8], body: &mut Vec<u8>) {
    body.reserve(record.len() + prost::length_delimiter_len(record.len()));
    // A vector never lacks room.
    let _whole = prost::encode_length_delimiter(record.len(), body).is_ok();
    body.extend_from_slice(record);
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("records", &self.kept.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> UnixTime {
        UnixTime(millis * 1_000)
    }

    fn kept(ways: &[Way]) -> Outbox {
        let mut outbox = Outbox::default();
        for ((seq, byte), way) in (0..).zip(0xA0..).zip(ways) {
            outbox.keep(seq, Rc::new(vec![byte]), *way, 1 << 20, at(0));
        }
        outbox
    }

    fn durable(durable_through: i64, highest: i64, missing: &[(i64, i64)]) -> Told {
        Told {
            epoch: String::new(),
            durable_through,
            highest,
            missing: missing.to_vec(),
        }
    }

    #[test]
    fn what_goes_by_call_is_posted_and_the_rest_is_asked_for() {
        let mut outbox = kept(&[Way::Call, Way::Underway, Way::Call]);
        let posted = outbox.need(at(0));
        assert_eq!(posted, Some(Need::Post(vec![1, 0xA0, 1, 0xA2])));
        assert_eq!(outbox.need(at(1)), None, "a call is out");
        outbox.acknowledge(&durable(0, 2, &[(1, 1)]));
        outbox.called(true, at(2));
        assert_eq!(outbox.need(at(2)), Some(Need::Ask), "the log is given time");
        outbox.called(true, at(3));
        assert_eq!(outbox.need(at(2_000)), Some(Need::Post(vec![1, 0xA1])));
        assert_eq!(outbox.take_counts().resent, 1);
        outbox.acknowledge(&durable(2, 2, &[]));
        outbox.called(true, at(2_001));
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
        assert_eq!(outbox.need(at(9_000)), None);
    }

    #[test]
    fn calls_that_fail_are_made_again_after_growing_pauses() {
        let mut outbox = kept(&[Way::Call]);
        let mut pauses = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            let before = now;
            while outbox.need(at(now)).is_none() {
                now += 100;
            }
            pauses.push(now - before);
            outbox.called(false, at(now));
        }
        assert_eq!(pauses, [0, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        outbox.called(true, at(now));
        outbox.need(at(now)).unwrap();
    }

    #[test]
    fn a_call_that_is_never_answered_does_not_stop_the_others() {
        let mut outbox = kept(&[Way::Call]);
        outbox.need(at(0)).unwrap();
        assert_eq!(outbox.need(at(9_999)), None);
        outbox.need(at(10_000)).unwrap();
    }

    #[test]
    fn only_what_is_surely_durable_is_forgotten() {
        let all = || kept(&[Way::Underway; 6]);
        let left = |durable: Told| {
            let mut outbox = all();
            outbox.acknowledge(&durable);
            outbox
                .kept
                .iter()
                .map(|kept| kept.seq)
                .collect::<Vec<i64>>()
        };
        assert_eq!(left(durable(-1, -1, &[])), [0, 1, 2, 3, 4, 5]);
        assert_eq!(left(durable(2, 2, &[])), [3, 4, 5]);
        assert_eq!(left(durable(0, 4, &[(1, 1), (3, 3)])), [1, 3, 5]);
        let mut many = vec![(1, 1); TOLD_RANGES];
        assert_eq!(left(durable(0, 5, &many)), [1, 2, 3, 4, 5]);
        many.pop();
        assert_eq!(left(durable(0, 5, &many)), [1]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut outbox = Outbox::default();
        for seq in 0..10 {
            outbox.keep(seq, Rc::new(vec![0; 100]), Way::Underway, 350, at(0));
        }
        assert_eq!((outbox.len(), outbox.bytes()), (3, 300));
        assert_eq!(outbox.take_counts().given_up, 7);
        outbox.keep(10, Rc::new(vec![0; 1_000]), Way::Underway, 350, at(0));
        assert_eq!(outbox.kept[0].seq, 10, "the last one stays");
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn at_the_end_all_is_posted_at_once() {
        let mut outbox = kept(&[Way::Call, Way::Underway]);
        outbox.need(at(0)).unwrap();
        outbox.called(false, at(0));
        outbox.keep(
            2,
            Rc::new(vec![0xB0; 5 << 20]),
            Way::Underway,
            1 << 30,
            at(1),
        );
        let bodies = outbox.last(at(1));
        let lengths: Vec<usize> = bodies.iter().map(Vec::len).collect();
        assert_eq!(lengths, [4, (5 << 20) + 4]);
        assert_eq!(outbox.len(), 3, "they are kept all the same");
    }

    #[test]
    fn a_call_is_bounded() {
        let mut outbox = Outbox::default();
        for seq in 0..3 {
            outbox.keep(seq, Rc::new(vec![0; 3 << 20]), Way::Call, 1 << 30, at(0));
        }
        for _ in 0..3 {
            let Some(Need::Post(body)) = outbox.need(at(0)) else {
                panic!("nothing to post");
            };
            assert_eq!(body.len(), (3 << 20) + 4);
            outbox.called(true, at(0));
        }
        assert_eq!(outbox.need(at(0)), Some(Need::Ask));
    }
}
