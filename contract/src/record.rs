//! The messages of `copilotgate.v1`, generated from the proto file.

#![allow(
    missing_docs,
    clippy::pedantic,
    reason = "generated; the proto file's comments are the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/copilotgate.v1.rs"));
