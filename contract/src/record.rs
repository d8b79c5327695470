//! The messages of `copilotgate.v1`, generated from the proto file.

#![allow(
    missing_docs,
    clippy::pedantic,
    reason = "generated; the proto file's comments are the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/copilotgate.v1.rs"));

/// Shows how much content there is, never the content.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("request_bytes", &self.request_content().len())
            .field("response_bytes", &self.response_content().len())
            .finish()
    }
}
