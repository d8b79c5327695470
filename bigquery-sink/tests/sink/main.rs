//! The program as it runs, against the BigQuery emulator and against a fake that can misbehave.

#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "test code: a failure should stop it, at once and loudly; `faults` and `throughput` use \
              it too"
)]

mod arrival;
mod checkpoints;
mod crash;
mod fake;
mod lineage;
mod lookup;
mod options;
mod orders;
mod protocol;
mod tls;
mod world;
