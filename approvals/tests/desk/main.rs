//! The program as it runs: started, asked, killed, started again.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "test code: a failure should stop it, at once and loudly"
)]

mod api;
mod failure;
mod pages;
mod world;
