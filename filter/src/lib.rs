//! The Wasm module that Envoy loads: glue between its callbacks and `filter-core`.
//!
//! Decides nothing: turns callbacks into calls on `Exchange` and carries out the `Step` that comes
//! back.

mod host;
mod http;
mod metrics;
mod root;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Debug);
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}}
