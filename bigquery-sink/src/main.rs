//! The program: arguments, wiring, signals.

mod dead_letters;

use std::{io::IsTerminal, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use bigquery_sink::{
    bigquery::{Auth, Rest, Storage},
    config::{Arguments, Config},
    health::Health,
    http::{Pages, router},
    metrics::Metrics,
    receive::Receiver,
    row::Rows,
    spool::Spool,
    upload::Uploader,
    writer::Writer,
};
use clap::Parser;
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, timeout_at},
};
use tonic::transport::{Server, server::TcpIncoming};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == "dead-letters")
    {
        return dead_letters::main();
    }
    let arguments = Arguments::parse(); // ends with 2 on wrong usage
    let keys = std::env::var("GATE_SINK_KEYS").ok();
    let config = match arguments.check(keys.as_deref()) {
        Ok(config) => config,
        Err(faults) => {
            complain(&faults.join("\n"));
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,fjall=warn,lsm_tree=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        warn!("a TLS provider was installed before");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Usage(error)) => {
            complain(&format!("{error:#}"));
            ExitCode::from(WRONG_USAGE)
        }
        Err(Stop::Fault(error)) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Why the program ends without being told to.
enum Stop {
    /// It was started wrongly.
    Usage(anyhow::Error),
    /// Something broke.
    Fault(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Fault(error)
    }
}

async fn run(config: Config) -> Result<(), Stop> {
    let spool = Spool::open(&config.spool, config.spool_limits)
        .with_context(|| format!("cannot open the spool in {}", config.spool.display()))?;
    let auth = |emulator: bool| {
        if emulator {
            Ok(Auth::anonymous())
        } else {
            Auth::default_credentials()
        }
    };
    let usage = |error: anyhow::Error| Stop::Usage(error);
    let (rest_url, rest_emulator) = config.rest.clone();
    let rest_auth = auth(rest_emulator).map_err(|error| usage(error.into()))?;
    let rest = Rest::new(rest_url, rest_auth, config.target.clone(), rest_emulator)
        .context("cannot set up the REST client")?;
    let (grpc_url, grpc_emulator) = config.grpc.clone();
    let grpc_auth = auth(grpc_emulator).map_err(|error| usage(error.into()))?;
    let storage = Storage::new(grpc_url.as_str(), grpc_auth, config.target.clone())
        .context("cannot set up the gRPC client")?;
    let access_log = listen(config.listen_access_log).await.map_err(usage)?;
    let http = listen(config.listen_http).await.map_err(usage)?;

    let metrics = Arc::new(Metrics::default());
    let health = Arc::new(Health::default());
    // Stopping goes from the front to the back: each stage ends when the one before has.
    let (stop_receiving, receiving) = watch::channel(false);
    let (stop_uploading, uploading) = watch::channel(false);
    let (writer, mut writing) = Writer::start(spool.clone(), Arc::clone(&metrics));
    let rows = Rows {
        keys: config.keys.clone(),
        deployment: config.deployment.clone(),
        max_row_bytes: config.max_row_bytes(),
    };
    let receiver = Receiver::new(rows, writer, Arc::clone(&metrics), receiving.clone());
    let mut stop_listening = receiving;
    let mut server = tokio::spawn(
        Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(Duration::from_mins(1)))
            .add_service(receiver.into_service())
            .serve_with_incoming_shutdown(TcpIncoming::from(access_log), async move {
                let _gone = stop_listening.wait_for(|stop| *stop).await;
            }),
    );
    let uploader = Uploader::new(
        spool.clone(),
        rest,
        storage,
        Arc::clone(&metrics),
        Arc::clone(&health),
        config.append,
        uploading,
    );
    let mut upload = tokio::spawn(uploader.run());
    let pages = Pages {
        metrics,
        health,
        spool: spool.clone(),
    };
    let pages = tokio::spawn(async move { axum::serve(http, router(pages)).await });
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    info!(
        access_log = %config.listen_access_log,
        http = %config.listen_http,
        sink_id = spool.sink_id(),
        waiting = spool.status().next_seq - spool.status().first_unacked,
        "ready for access logs"
    );

    select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = &mut writing => return Err(ended_early("writing to the spool", ended)),
        ended = &mut upload => return Err(ended_early("uploading", ended)),
        ended = &mut server => return Err(ended_early("the access log service", ended)),
    }
    info!("stopping");
    let end = Instant::now() + STOP_PATIENCE;
    stop_receiving.send_replace(true);
    let received = async {
        server
            .await
            .map_err(anyhow::Error::from)?
            .context("the access log service failed")?;
        writing
            .await
            .map_err(anyhow::Error::from)?
            .context("cannot write to the spool")
    };
    match timeout_at(end, received).await {
        Ok(result) => result?,
        Err(_) => {
            return Err(anyhow!("what was received did not fit into the spool in time").into());
        }
    }
    stop_uploading.send_replace(true);
    match timeout_at(end, &mut upload).await {
        Ok(result) => result
            .map_err(anyhow::Error::from)?
            .context("uploading failed")?,
        Err(_) => upload.abort(),
    }
    pages.abort();
    let status = spool.status();
    info!(waiting = status.next_seq - status.first_unacked, "stopped");
    Ok(())
}

async fn listen(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

fn ended_early<E: std::error::Error + Send + Sync + 'static>(
    what: &'static str,
    ended: Result<Result<(), E>, tokio::task::JoinError>,
) -> Stop {
    Stop::Fault(match ended {
        Ok(Ok(())) => anyhow!("{what} ended"),
        Ok(Err(error)) => anyhow::Error::new(error).context(format!("{what} failed")),
        Err(error) => anyhow::Error::new(error).context(format!("{what} failed")),
    })
}

/// For the person who started the program, before there is a log.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn complain(message: &str) {
    eprintln!("{message}");
}

/// What Envoy may send before it is read: what is in here dies with the process.
const WINDOW_BYTES: u32 = 1 << 20;

/// How long a stop may take altogether.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

const WRONG_USAGE: u8 = 2;
