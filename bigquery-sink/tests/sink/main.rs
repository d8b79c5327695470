//! The program as it runs, against the BigQuery emulator and against a fake that can misbehave.

#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "test code: a failure should stop it, at once and loudly"
)]

mod arrival;
mod crash;
mod fake;
mod protocol;
mod world;
