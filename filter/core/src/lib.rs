//! Every decision of the filter, without a host.
//!
//! No clock, no file, no socket, no environment: what a decision needs comes in as an argument and
//! what shall happen goes out as a value.

#![warn(missing_docs)]

pub mod json;
pub mod mask;
pub mod provider;
pub mod sse;
