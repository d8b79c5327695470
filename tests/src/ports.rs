//! The ports of `make run`, each with the variable that moves it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};

/// A port of `make run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// What listens there, in words.
    pub what: &'static str,
    /// Environment variable that moves it.
    pub variable: &'static str,
    /// Where it is otherwise.
    pub usual: u16,
}

/// The gateway itself.
pub const GATEWAY: Port = port("the gateway", "GATE_PORT_GATEWAY", 8443);
/// Envoy's admin interface.
pub const ADMIN: Port = port("Envoy's admin interface", "GATE_PORT_ADMIN", 9901);
/// The sink's access log service (gRPC).
pub const SINK_GRPC: Port = port("the sink's access log", "GATE_PORT_SINK_GRPC", 9811);
/// The sink's HTTP interface.
pub const SINK_HTTP: Port = port("the sink's HTTP", "GATE_PORT_SINK_HTTP", 9812);
/// The approval desk.
pub const APPROVALS: Port = port("the approval desk", "GATE_PORT_APPROVALS", 9820);
/// The OIDC issuer.
pub const ISSUER: Port = port("the issuer", "GATE_PORT_ISSUER", 9830);
/// The fake GitHub.
pub const GITHUB: Port = port("the fake GitHub", "GATE_PORT_GITHUB", 9840);
/// The emulator's REST interface.
pub const BIGQUERY_REST: Port = port("BigQuery's REST", "GATE_PORT_BIGQUERY_REST", 9050);
/// The emulator's gRPC interface.
pub const BIGQUERY_GRPC: Port = port("BigQuery's gRPC", "GATE_PORT_BIGQUERY_GRPC", 9060);

/// All of them.
pub const ALL: [Port; 9] = [
    GATEWAY,
    ADMIN,
    SINK_GRPC,
    SINK_HTTP,
    APPROVALS,
    ISSUER,
    GITHUB,
    BIGQUERY_REST,
    BIGQUERY_GRPC,
];

const fn port(what: &'static str, variable: &'static str, usual: u16) -> Port {
    Port {
        what,
        variable,
        usual,
    }
}

impl Port {
    /// The port as the environment has it, or the usual one.
    pub fn number(self) -> Result<u16> {
        self.number_or(self.usual)
    }

    /// The port as the environment has it, or `usual`.
    pub fn number_or(self, usual: u16) -> Result<u16> {
        match std::env::var(self.variable) {
            Ok(text) => text
                .parse()
                .with_context(|| format!("{}={text} is not a port", self.variable)),
            Err(_) => Ok(usual),
        }
    }

    /// Fails, saying how to move it, if somebody else listens on `number`.
    pub fn check_free(self, number: u16) -> Result<()> {
        if let Err(error) = TcpListener::bind(loopback(number)) {
            bail!(
                "port {number} of {} is taken ({error}); move it: {}=…",
                self.what,
                self.variable
            );
        }
        Ok(())
    }
}

/// A port nobody listens on, for programs that cannot be told to choose one themselves: one of those
/// that are not given to connections that go out, and nobody else's in this process.
pub fn free() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let from = u16::try_from(std::process::id() % 200 * 100)?;
    for _ in 0..1_000 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (from + number % 2_000) % 22_000;
        if TcpListener::bind(loopback(port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("a thousand ports in a row are taken")
}

/// An address where a connection is refused.
pub const REFUSED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// `port` on 127.0.0.1.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
