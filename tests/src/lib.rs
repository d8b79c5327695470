//! Copilot Gate between fake neighbours: everything that the end-to-end cases, `make run`,
//! `make shell` and `make demo` start, play and ask.
//!
//! [`world::World`] puts it together: an OIDC [`issuer`], a fake GitHub ([`upstream`]), real
//! [`envoy`] with the real filter and, where wanted, an approval [`desk`] beside it and the [`sink`]
//! with a BigQuery emulator ([`bigquery`]) behind it. Everything listens on loopback only, on free ports unless told
//! otherwise, and ends with its `World`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_errors_doc,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "the harness is test code: it fails loudly and at once"
)]

pub mod bench;
pub mod bigquery;
pub mod caller;
pub mod certs;
pub mod client;
pub mod copilot_cli;
pub mod demo;
pub mod desk;
pub mod envoy;
pub mod issuer;
pub mod language_server;
pub mod namespace;
pub mod ports;
pub mod process;
pub mod relay;
pub mod sdk;
pub mod server;
pub mod sink;
pub mod upstream;
pub mod wait;
pub mod world;
