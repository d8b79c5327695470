//! Who may connect when the listeners want certificates.

use std::fs;

use bigquery_sink::envoy::{
    StreamAccessLogsMessage,
    access_log_service_client::AccessLogServiceClient,
    stream_access_logs_message::{HttpEntries, LogEntries},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::{
    fake::Fake,
    world::{Filter, PROJECT, Sink, http},
};

/// An authority and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Leaf {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn leaf(&self, purpose: ExtendedKeyUsagePurpose) -> Leaf {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        Leaf {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

struct World {
    fake: Fake,
    sink: Sink,
    authority: Authority,
    _folder: TempDir,
}

async fn world() -> World {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let leaf = authority.leaf(ExtendedKeyUsagePurpose::ServerAuth);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let mut sink = Sink::prepare(fake.rest, fake.grpc, "audit", &[]).with_tls(
        &file("crt", &leaf.certificate),
        &file("key", &leaf.key),
        &file("ca", &authority.0.pem()),
    );
    sink.run().await;
    World {
        fake,
        sink,
        authority,
        _folder: folder,
    }
}

impl World {
    /// Sends records as Envoy does.
    async fn send(&self, scheme: &str, leaf: Option<&Leaf>, number: usize) -> Result<(), String> {
        let url = format!("{scheme}://127.0.0.1:{}", self.sink.tls_ports().0);
        let mut endpoint = Channel::from_shared(url).unwrap();
        if scheme == "https" {
            let mut tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(self.authority.0.pem()))
                .domain_name("localhost");
            if let Some(leaf) = leaf {
                tls = tls.identity(Identity::from_pem(&leaf.certificate, &leaf.key));
            }
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let log_entry = Filter::new(1).records(number);
        let message = StreamAccessLogsMessage {
            log_entries: Some(LogEntries::HttpLogs(HttpEntries { log_entry })),
        };
        let mut client = AccessLogServiceClient::new(channel);
        let sent = client.stream_access_logs(tokio_stream::iter([message]));
        let sent = sent.await.map_err(|error| error.to_string())?;
        drop(sent);
        Ok(())
    }

    /// The status of a page of the listener with TLS.
    async fn page(&self, scheme: &str, leaf: Option<&Leaf>, page: &str) -> Option<u16> {
        drop(http()); // installs the TLS provider
        let authority = reqwest::Certificate::from_pem(self.authority.0.pem().as_bytes()).unwrap();
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([authority]);
        if let Some(leaf) = leaf {
            let pem = format!("{}{}", leaf.certificate, leaf.key);
            client = client.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        let url = format!("{scheme}://127.0.0.1:{}/{page}", self.sink.tls_ports().1);
        let answer = client.build().unwrap().get(url).send().await.ok()?;
        Some(answer.status().as_u16())
    }
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_served() {
    let world = world().await;
    let good = world.authority.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    let others = Authority::new().leaf(ExtendedKeyUsagePurpose::ClientAuth);
    let no_client = world.authority.leaf(ExtendedKeyUsagePurpose::ServerAuth);
    for (what, scheme, leaf) in [
        ("no certificate", "https", None),
        ("a certificate of another authority", "https", Some(&others)),
        ("a certificate of a server", "https", Some(&no_client)),
        ("plain text", "http", None),
    ] {
        assert!(world.send(scheme, leaf, 5).await.is_err(), "{what}");
        assert_eq!(world.page(scheme, leaf, "healthz").await, None, "{what}");
    }
    let epoch = format!("v1/epochs/{}", "01".repeat(16));
    assert_eq!(world.page("https", Some(&good), &epoch).await, Some(404));
    world.send("https", Some(&good), 7).await.unwrap();
    world.sink.drained(7.0).await;
    assert_eq!(world.fake.table().len(), 7, "nothing came in another way");
    assert_eq!(world.page("https", Some(&good), &epoch).await, Some(200));
    assert!(world.sink.log().contains("refused a connection"));
}

#[tokio::test]
async fn probes_need_no_certificate_and_get_no_more_than_they_need() {
    let world = world().await;
    for page in ["healthz", "readyz", "metrics"] {
        assert!(world.sink.page(page).await.is_some(), "{page}");
    }
    let epoch = format!("v1/epochs/{}", "01".repeat(16));
    world
        .send(
            "https",
            Some(&world.authority.leaf(ExtendedKeyUsagePurpose::ClientAuth)),
            3,
        )
        .await
        .unwrap();
    world.sink.drained(3.0).await;
    assert_eq!(world.sink.page(&epoch).await.unwrap().0, 404);
    let posted = http().post(world.sink.url("v1/records")).send().await;
    assert_eq!(posted.unwrap().status(), 404);
}

#[tokio::test]
async fn a_client_that_is_slow_at_the_handshake_holds_up_nobody() {
    let world = world().await;
    let (access_log, https) = world.sink.tls_ports();
    let mut idle = Vec::new();
    for _ in 0..20 {
        for port in [access_log, https] {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            idle.push(stream.unwrap());
        }
    }
    let good = world.authority.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    world.send("https", Some(&good), 3).await.unwrap();
    assert_eq!(world.page("https", Some(&good), "healthz").await, Some(200));
}

#[test]
fn bad_files_and_open_doors_end_the_start_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(folder.path().join("empty"), "").unwrap();
    let run = |more: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_bigquery-sink"))
            .args(["--project", PROJECT, "--spool", &at("spool")])
            .args(["--bigquery-rest", "http://127.0.0.1:1"])
            .args(["--bigquery-grpc", "http://127.0.0.1:1"])
            .args(["--listen-access-log", "127.0.0.1:0"])
            .args(["--listen-http", "127.0.0.1:0"])
            .args(more)
            .env("GATE_SINK_KEYS", crate::world::KEYS)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    };
    let (empty, gone) = (at("empty"), at("gone"));
    let said = run(&[
        "--tls-cert",
        &empty,
        "--tls-key",
        &empty,
        "--tls-client-ca",
        &empty,
    ]);
    assert!(said.contains("there is no certificate in it"), "{said}");
    let said = run(&[
        "--tls-cert",
        &gone,
        "--tls-key",
        &gone,
        "--tls-client-ca",
        &gone,
    ]);
    assert!(
        said.contains("No such file") && said.contains("gone"),
        "{said}"
    );
    assert!(run(&["--tls-cert", &gone]).contains("all three or none"));
}
