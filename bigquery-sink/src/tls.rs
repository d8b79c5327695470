//! mTLS for the listeners: who connects shows a certificate of the operator's own authority.
//!
//! Handshakes run beside each other and have a time limit, so that a client that is slow at it holds
//! up nobody. The files are read again now and then: a renewed certificate needs no restart, and with
//! files that are bad by then the old ones stay.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::serve::Listener;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{interval_at, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::Stream;
use tracing::{debug, warn};

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Our certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of the clients' certificates.
    pub client_ca: PathBuf,
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// The files cannot be used. Nothing of a key is in here.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{option} {path}: {why}", path = path.display())]
    File {
        /// Who names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The listener is not one any more.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
    /// Each is good, but not for the other.
    #[error("--tls-cert and --tls-key do not fit: {0}")]
    Pair(#[from] rustls::Error),
}

/// Takes connections of clients that have shown their certificate.
#[derive(Debug)]
pub struct TlsListener {
    address: SocketAddr,
    shaken: mpsc::Receiver<Shaken>,
    accepting: JoinHandle<()>,
}

type Shaken = (TlsStream<TcpStream>, SocketAddr);

impl TlsListener {
    /// Takes connections of `listener` from now on.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn new(listener: TcpListener, files: Files, protocol: Protocol) -> Result<Self, TlsError> {
        Self::reading(listener, files, protocol, READ_AGAIN)
    }

    /// The same, with the files read after each `again`.
    fn reading(
        listener: TcpListener,
        files: Files,
        protocol: Protocol,
        again: Duration,
    ) -> Result<Self, TlsError> {
        let config = read(&files, protocol)?;
        let address = listener.local_addr()?;
        let (to, shaken) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(listener, config, files, protocol, again, to));
        Ok(Self {
            address,
            shaken,
            accepting,
        })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Shaken {
        match self.shaken.recv().await {
            Some(shaken) => shaken,
            None => std::future::pending().await, // the task has ended with the runtime
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Stream for TlsListener {
    type Item = io::Result<TlsStream<TcpStream>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shaken = self.shaken.poll_recv(context);
        shaken.map(|shaken| shaken.map(|(stream, _)| Ok(stream)))
    }
}

async fn accept(
    listener: TcpListener,
    mut config: Arc<ServerConfig>,
    files: Files,
    protocol: Protocol,
    again: Duration,
    to: mpsc::Sender<Shaken>,
) {
    let mut handshakes = JoinSet::new();
    let mut again = interval_at(tokio::time::Instant::now() + again, again);
    let mut told: Option<Instant> = None;
    loop {
        select! {
            accepted = listener.accept(), if handshakes.len() < MAX_HANDSHAKES => match accepted {
                Ok((stream, from)) => {
                    handshakes.spawn(shake(Arc::clone(&config), stream, from, to.clone()));
                }
                Err(error) => {
                    debug!(%error, "cannot take a connection");
                    sleep(PAUSE).await;
                }
            },
            Some(ended) = handshakes.join_next() => {
                // Who sweeps the network's ports does not fill the log.
                if let Ok(Err((from, why))) = ended
                    && told.is_none_or(|told| told.elapsed() > TOLD)
                {
                    warn!(%from, why, "refused a connection: no TLS, or no certificate that counts");
                    told = Some(Instant::now());
                }
            }
            _ = again.tick() => {
                let files = files.clone();
                match tokio::task::spawn_blocking(move || read(&files, protocol)).await {
                    Ok(Ok(read)) => config = read,
                    Ok(Err(error)) => warn!(%error, "cannot read the certificate again, the old one stays"),
                    Err(_) => {}
                }
            }
        }
    }
}

async fn shake(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    from: SocketAddr,
    to: mpsc::Sender<Shaken>,
) -> Result<(), (SocketAddr, String)> {
    let _best_effort = stream.set_nodelay(true);
    match timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => {
            let _gone = to.send((stream, from)).await;
            Ok(())
        }
        Ok(Err(error)) => Err((from, error.to_string())),
        Err(_) => Err((from, "the handshake took too long".to_owned())),
    }
}

/// Reads the files and checks that they fit.
fn read(files: &Files, protocol: Protocol) -> Result<Arc<ServerConfig>, TlsError> {
    let fault = |option: &'static str, path: &Path| {
        let path = path.to_owned();
        move |why: String| TlsError::File { option, path, why }
    };
    let certificate = certificates(&files.certificate);
    let certificate = certificate.map_err(fault("--tls-cert", &files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| words(&error, "private key"))
        .map_err(fault("--tls-key", &files.key))?;
    let of_authority = fault("--tls-client-ca", &files.client_ca);
    let provider = Arc::new(default_provider());
    let verifier = certificates(&files.client_ca).and_then(|authorities| {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| error.to_string())?;
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())
    });
    let verifier = verifier.map_err(of_authority)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificate, key)?;
    config.alpn_protocols = vec![match protocol {
        Protocol::Grpc => b"h2".to_vec(),
        Protocol::Http => b"http/1.1".to_vec(),
    }];
    Ok(Arc::new(config))
}

/// One certificate or more.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let all: Vec<_> = all.map_err(|error| words(&error, "certificate"))?;
    if all.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(all)
}

fn words(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("there is no {what} in it"),
        _ => "not a PEM file".to_owned(),
    }
}

/// How often the files are read: certificates that live for hours are renewed long before their end.
const READ_AGAIN: Duration = Duration::from_mins(1);

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Handshakes at once; who comes then waits in the listener's own queue.
const MAX_HANDSHAKES: usize = 256;

/// After a connection that could not be taken, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Time between two refusals that are logged.
const TOLD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_are_named_by_their_option() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pair = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            let certificate = file(&format!("{name}.pem"), &made.cert.pem());
            let key = file(&format!("{name}.key"), &made.signing_key.serialize_pem());
            (certificate, key)
        };
        let ((one, its_key), (other, other_key)) = (pair("one"), pair("other"));
        let empty = file("empty", "");
        let gone = folder.path().join("gone");
        let check = |certificate: &Path, key: &Path, client_ca: &Path| {
            let files = Files {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                client_ca: client_ca.to_owned(),
            };
            read(&files, Protocol::Grpc).map_err(|error| error.to_string())
        };
        assert!(check(&one, &its_key, &other).is_ok());
        for (certificate, key, client_ca, words) in [
            (&gone, &its_key, &other, ["--tls-cert", "No such file"]),
            (&empty, &its_key, &other, ["--tls-cert", "no certificate"]),
            (&one, &gone, &other, ["--tls-key", "No such file"]),
            (&one, &one, &other, ["--tls-key", "no private key"]),
            (&one, &other_key, &other, ["--tls-key", "do not fit"]),
            (&one, &its_key, &gone, ["--tls-client-ca", "No such file"]),
            (
                &one,
                &its_key,
                &its_key,
                ["--tls-client-ca", "no certificate"],
            ),
        ] {
            let said = check(certificate, key, client_ca).unwrap_err();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    }

    #[tokio::test]
    async fn renewed_files_are_taken_and_bad_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (first, second) = (make(), make());
        let put = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
        put("ca", &first.cert.pem());
        put("crt", &first.cert.pem());
        put("key", &first.signing_key.serialize_pem());
        let files = Files {
            certificate: at("crt"),
            key: at("key"),
            client_ca: at("ca"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let again = Duration::from_millis(20);
        let mut listener = TlsListener::reading(listener, files, Protocol::Http, again).unwrap();
        tokio::spawn(async move {
            loop {
                drop(Listener::accept(&mut listener).await);
            }
        });

        let mut roots = RootCertStore::empty();
        for one in [&first, &second] {
            roots.add(one.cert.der().clone()).unwrap();
        }
        let key = PrivateKeyDer::from_pem_file(at("key")).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![first.cert.der().clone()], key)
            .unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let shown = async || {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = "localhost".try_into().unwrap();
            let stream = connector.connect(name, stream).await.unwrap();
            stream.get_ref().1.peer_certificates().unwrap()[0].clone()
        };
        assert_eq!(&shown().await, first.cert.der());
        put("crt", "half a file"); // as if it were being written
        sleep(10 * again).await;
        assert_eq!(&shown().await, first.cert.der(), "the old one stays");
        put("key", &second.signing_key.serialize_pem());
        put("crt", &second.cert.pem());
        let end = Instant::now() + Duration::from_secs(30);
        while &shown().await != second.cert.der() {
            assert!(Instant::now() < end, "never renewed");
            sleep(again).await;
        }
    }
}
