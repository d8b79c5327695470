//! Shapes that the filter, the sink and the approval desk must agree on.
//!
//! The audit record is defined in `proto/copilotgate/v1/record.proto`; its header says how four
//! messages make one row. This crate adds how records are chained and sealed, and which columns a
//! row has. What the filter and the approval desk say to each other stands in [`approval`]; what the
//! sink signs about its rows in module `checkpoint`, behind a feature of that name; tokens of the
//! services' callers are behind feature `token`. [`Order`] is what an officer orders over recorded
//! content.

#![warn(missing_docs)]

pub mod approval;
mod chain;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
mod columns;
mod order;
mod record;
#[cfg(feature = "token")]
mod token;

pub use chain::{Chain, Epoch, MacKey, RecordError, Sealed, open, record_hash};
pub use columns::{Column, ColumnKind, columns};
pub use order::{Order, OrderKind};
pub use record::{Content, Envelope, Proof, Stamp};
#[cfg(feature = "token")]
pub use token::Token;

/// Name of the filter state in which Envoy carries a record to the access log.
pub const FILTER_STATE: &str = "wasm.audit";

/// Property that the filter sets; Envoy turns it into [`FILTER_STATE`].
pub const FILTER_PROPERTY: &str = "audit";

/// `log_name` of the access log that carries records.
pub const LOG_NAME: &str = "copilot_gate";

/// Version written into [`Envelope::version`].
pub const RECORD_VERSION: i64 = 1;
