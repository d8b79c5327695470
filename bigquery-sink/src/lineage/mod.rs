//! Fingerprints of the code in recorded answers, for table `lineage`.
//!
//! A second reader of the spool, behind the one that loads the records: see
//! [`Followed`](crate::spool::Followed). It never holds a record up, and a fingerprint stands in the
//! table only if its record does.

mod rows;
mod upload;

pub use rows::{MAX_ROWS, columns, rows_of};
pub use upload::{Follower, Limits};
