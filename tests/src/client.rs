//! HTTP clients of the harness.

/// A client to be finished: without proxies, with the workspace's one TLS provider.
pub fn client() -> reqwest::ClientBuilder {
    // Whoever was first has installed the same one.
    let _first = rustls::crypto::ring::default_provider()
        .install_default()
        .is_ok();
    reqwest::Client::builder().no_proxy()
}
