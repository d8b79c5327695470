//! The cases: one file per promise, real Envoy in each.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail loudly"
)]

mod apis;
mod approvals;
mod audit;
mod auditor;
mod bench;
mod configuration;
mod copilot_cli;
mod delivery;
mod desk;
mod documentation;
mod endpoints;
mod erasure;
mod failure;
mod faults;
mod harness;
mod held;
mod identity;
mod language_server;
mod masking_request;
mod masking_stream;
mod matrix;
mod sdks;
mod verify;
