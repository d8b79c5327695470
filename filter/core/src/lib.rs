//! Every decision of the filter, without a host.
//!
//! No clock, no file, no socket, no environment: what a decision needs comes in as an argument and
//! what shall happen goes out as a value.

#![warn(missing_docs)]

mod answers;
mod approval;
pub mod audit;
pub mod config;
mod credential;
pub mod delivery;
pub mod endpoint;
pub mod exchange;
pub mod headers;
pub mod identity;
pub mod json;
pub mod mask;
mod policy;
pub mod provider;
pub mod repeats;
pub mod reply;
pub mod secret;
mod spoken;
pub mod sse;
pub mod time;
pub mod worker;
