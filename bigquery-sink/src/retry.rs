//! Whether and how to go on after an append failed (pure).

use std::time::Duration;

use tonic::Code;

use crate::bigquery::StorageErrorCode;

/// How an append failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub code: Code,
    /// BigQuery's own code, if it gave one.
    pub cause: StorageErrorCode,
    /// Whether the connection broke, so that the code says nothing about the rows.
    pub broken: bool,
    /// Places of the rows that BigQuery refused, and its own words for why, which may repeat what
    /// was in the row.
    pub bad_rows: Vec<(usize, String)>,
    /// How long BigQuery wants to be left alone.
    pub wait: Option<Duration>,
}

/// How to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The stream has the first row already: find out what else it has.
    Known,
    /// The stream is gone or closed: find out what it had and open another.
    NewStream,
    /// The named rows are bad.
    Reject,
    /// The offset is beyond the stream's end: find out where that is.
    Resync,
    /// Wait, connect, send again.
    Retry,
    /// Perhaps a row is bad: once the same rows failed so more often, narrow it down.
    Suspect,
    /// The table is not as it should be: look after it first.
    Table,
}

/// Decides by the table in the tests.
pub fn decide(answer: &Answer) -> Action {
    if answer.broken {
        return Action::Retry;
    }
    if !answer.bad_rows.is_empty() {
        return Action::Reject;
    }
    match answer.cause {
        StorageErrorCode::OffsetAlreadyExists => return Action::Known,
        StorageErrorCode::OffsetOutOfRange => return Action::Resync,
        StorageErrorCode::TableNotFound | StorageErrorCode::SchemaMismatchExtraFields => {
            return Action::Table;
        }
        StorageErrorCode::StreamNotFound
        | StorageErrorCode::StreamFinalized
        | StorageErrorCode::StreamAlreadyCommitted
        | StorageErrorCode::InvalidStreamState
        | StorageErrorCode::InvalidStreamType => return Action::NewStream,
        StorageErrorCode::Unspecified => {}
    }
    match answer.code {
        Code::AlreadyExists => Action::Known,
        Code::OutOfRange => Action::Resync,
        Code::NotFound | Code::FailedPrecondition => Action::NewStream,
        Code::InvalidArgument | Code::Unknown => Action::Suspect,
        Code::Ok
        | Code::Aborted
        | Code::Cancelled
        | Code::DataLoss
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::Unavailable
        | Code::Unimplemented => Action::Retry,
    }
}

/// Growing pauses: each is random between half of a limit and the limit, which doubles.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses from about `first` to about `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// The next pause; `random` is within 0 to 1. `asked` is what BigQuery asked for, which is kept
    /// up to [`LONGEST_ASKED`].
    pub fn pause(&mut self, random: f64, asked: Option<Duration>) -> Duration {
        let own = self.grow(random);
        own.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    fn grow(&mut self, random: f64) -> Duration {
        let limit = self
            .first
            .saturating_mul(2_u32.saturating_pow(self.failures.min(20)));
        self.failures = self.failures.saturating_add(1);
        limit
            .min(self.longest)
            .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// It worked: the next pause is the first.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Longest pause that BigQuery can impose: a sink that never tries again is of no use.
pub const LONGEST_ASKED: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_way_on() {
        use Action::{Known, NewStream, Reject, Resync, Retry, Suspect, Table};
        use StorageErrorCode as Cause;
        let none = Cause::Unspecified;
        let cases = [
            // code, cause, broken, bad rows, action
            (Code::AlreadyExists, none, false, vec![], Known),
            (
                Code::AlreadyExists,
                Cause::OffsetAlreadyExists,
                false,
                vec![],
                Known,
            ),
            (
                Code::InvalidArgument,
                Cause::OffsetAlreadyExists,
                false,
                vec![],
                Known,
            ),
            (Code::OutOfRange, none, false, vec![], Resync),
            (
                Code::OutOfRange,
                Cause::OffsetOutOfRange,
                false,
                vec![],
                Resync,
            ),
            (Code::NotFound, none, false, vec![], NewStream),
            (
                Code::NotFound,
                Cause::StreamNotFound,
                false,
                vec![],
                NewStream,
            ),
            (Code::NotFound, Cause::TableNotFound, false, vec![], Table),
            (Code::FailedPrecondition, none, false, vec![], NewStream),
            (
                Code::InvalidArgument,
                Cause::StreamFinalized,
                false,
                vec![],
                NewStream,
            ),
            (
                Code::InvalidArgument,
                Cause::InvalidStreamState,
                false,
                vec![],
                NewStream,
            ),
            (
                Code::InvalidArgument,
                Cause::SchemaMismatchExtraFields,
                false,
                vec![],
                Table,
            ),
            (Code::InvalidArgument, none, false, vec![], Suspect),
            (
                Code::InvalidArgument,
                none,
                false,
                vec![(3, String::new())],
                Reject,
            ),
            (Code::Unknown, none, false, vec![], Suspect),
            (Code::Unknown, none, true, vec![], Retry),
            (Code::NotFound, none, true, vec![], Retry),
            (Code::Aborted, none, false, vec![], Retry),
            (Code::Cancelled, none, false, vec![], Retry),
            (Code::DeadlineExceeded, none, false, vec![], Retry),
            (Code::Internal, none, false, vec![], Retry),
            (Code::ResourceExhausted, none, false, vec![], Retry),
            (Code::Unavailable, none, false, vec![], Retry),
            (Code::PermissionDenied, none, false, vec![], Retry),
            (Code::Unauthenticated, none, false, vec![], Retry),
        ];
        for (code, cause, broken, bad_rows, action) in cases {
            let answer = Answer {
                code,
                cause,
                broken,
                bad_rows,
                wait: None,
            };
            assert_eq!(decide(&answer), action, "{answer:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let longest: Vec<u128> = (0..6)
            .map(|_| backoff.pause(1.0, None).as_millis())
            .collect();
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.pause(0.0, None).as_millis(), 50);
        for _ in 0..100 {
            assert!(backoff.pause(0.5, None) <= Duration::from_secs(1));
        }
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(backoff.pause(0.5, asked(40)), Duration::from_secs(40));
        assert_eq!(backoff.pause(0.5, asked(90_000)), LONGEST_ASKED);
    }
}
