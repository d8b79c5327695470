//! The program: arguments, wiring, signals.

mod dead_letters;

use std::{io::IsTerminal, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use bigquery_sink::{
    bigquery::{Auth, Endpoint, Rest, Storage, Table},
    checkpoint::{self, Checkpoints},
    config::{Arguments, Config},
    health::Health,
    http::{Pages, probes, router},
    lineage::Follower,
    lookup::{self, Lookups},
    metrics::Metrics,
    orders::{self, Orders},
    receive::Receiver,
    row::Rows,
    serve::serve,
    spool::Spool,
    tls::{Protocol, TlsListener},
    upload::{UploadError, Uploader},
    writer::Writer,
};
use clap::Parser;
use filter_core::worker::FINGERPRINT_KEYS;
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
    let checkpoint_keys = std::env::var("GATE_CHECKPOINT_KEYS").ok();
    let config = match arguments.check(keys.as_deref(), checkpoint_keys.as_deref()) {
        Ok(config) => config,
        Err(faults) => {
            complain(&faults.join("\n"));
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let of_filter = std::env::var(FINGERPRINT_KEYS).ok();
    let auditors = std::env::var(lookup::AUDITORS).ok();
    let lookups = match lookup::Settings::read(of_filter.as_deref(), auditors.as_deref()) {
        Ok(lookups) => lookups,
        Err(fault) => {
            complain(&fault);
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let officers = std::env::var(orders::OFFICERS).ok();
    let orders = match orders::Settings::read(officers.as_deref()) {
        Ok(orders) => orders,
        Err(fault) => {
            complain(&fault);
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
    let result = runtime.block_on(run(config, lookups, orders));
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

async fn run(
    config: Config,
    lookups: Option<lookup::Settings>,
    orders: Option<orders::Settings>,
) -> Result<(), Stop> {
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
    let rest_auth = auth(config.rest.emulator).map_err(|error| usage(error.into()))?;
    let rest = Rest::new(
        config.rest.clone(),
        rest_auth,
        config.target.clone(),
        config.options.clone(),
    )
    .context("cannot set up the REST client")?;
    let grpc_auth = auth(config.grpc.emulator).map_err(|error| usage(error.into()))?;
    let storage = Storage::new(config.grpc.url.as_str(), grpc_auth, config.target.clone())
        .context("cannot set up the gRPC client")?;
    let access_log = listen(config.listen_access_log).await.map_err(usage)?;
    let http = listen(config.listen_http).await.map_err(usage)?;
    let probed = match config.listen_probes {
        Some(address) => Some(listen(address).await.map_err(usage)?),
        None => None,
    };
    let (access_log, http) = match &config.tls {
        Some(files) => {
            let tls = |listener, protocol| {
                TlsListener::new(listener, files.clone(), protocol)
                    .map_err(|error| usage(error.into()))
            };
            let access_log = tls(access_log, Protocol::Grpc)?;
            let http = tls(http, Protocol::Http)?;
            (Door::Tls(access_log), Door::Tls(http))
        }
        None => (Door::Plain(access_log), Door::Plain(http)),
    };

    let metrics = Arc::new(Metrics::default());
    let health = Arc::new(Health::default());
    // Stopping goes from the front to the back: each stage ends when the one before has.
    let (stop_receiving, receiving) = watch::channel(false);
    let (stop_uploading, uploading) = watch::channel(false);
    let (lines, file) = config
        .checkpoint_file
        .clone()
        .filter(|_| config.checkpoint_keys.is_some())
        .map(|file| checkpoint::write_file(file, Arc::clone(&metrics)))
        .unzip();
    let checkpoints = Checkpoints::new(
        config.checkpoint_keys.clone(),
        config.deployment.clone(),
        config.checkpoint_interval,
        lines,
        Arc::clone(&metrics),
    );
    let (writer, mut writing) = Writer::start(spool.clone(), Arc::clone(&metrics), checkpoints);
    let rows = Arc::new(Rows {
        keys: config.keys.clone(),
        deployment: config.deployment.clone(),
        max_row_bytes: config.max_row_bytes(),
    });
    let receiver = Receiver::new(
        Arc::clone(&rows),
        writer.clone(),
        Arc::clone(&metrics),
        receiving.clone(),
    );
    let mut stop_listening = receiving.clone();
    let service = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(Duration::from_mins(1)))
        .add_service(receiver.into_service());
    let stopped = async move {
        let _gone = stop_listening.wait_for(|stop| *stop).await;
    };
    let mut server = match access_log {
        Door::Plain(listener) => {
            // else "read on" waits for Envoy's next acknowledgement, which takes its time
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            tokio::spawn(service.serve_with_incoming_shutdown(incoming, stopped))
        }
        Door::Tls(incoming) => {
            tokio::spawn(service.serve_with_incoming_shutdown(incoming, stopped))
        }
    };
    let follow = config.lineage.map(|_| config.lineage_max_bytes);
    spool
        .follow(follow)
        .context("cannot keep rows for their fingerprints")?;
    let (stop_following, following) = watch::channel(false);
    let follower = match config.lineage {
        Some(limits) => {
            let target = config.target.of(Table::Lineage);
            let auth_of = |endpoint: &Endpoint| auth(endpoint.emulator);
            let rest_auth = auth_of(&config.rest).map_err(|error| usage(error.into()))?;
            let grpc_auth = auth_of(&config.grpc).map_err(|error| usage(error.into()))?;
            let options = config.options.clone();
            let rest = Rest::new(config.rest.clone(), rest_auth, target.clone(), options)
                .context("cannot set up the REST client")?;
            let storage = Storage::new(config.grpc.url.as_str(), grpc_auth, target)
                .context("cannot set up the gRPC client")?;
            let (spool, metrics) = (spool.clone(), Arc::clone(&metrics));
            let follower = Follower::new(spool, rest, storage, metrics, limits, following);
            Some(tokio::spawn(follower.run()))
        }
        None => None,
    };
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
    let lookups = Lookups::new(lookups, config.deployment.clone(), writer.clone());
    let orders = Orders::new(orders, config.deployment.clone(), writer.clone());
    let pages = Pages {
        metrics,
        health,
        spool: spool.clone(),
        rows,
        writer,
    };
    if let Some(listener) = probed {
        serve(listener, probes(pages.clone()), receiving.clone());
    }
    let routes = router(pages)
        .merge(lookup::router(lookups))
        .merge(orders::router(orders));
    let pages = match http {
        Door::Plain(listener) => serve(listener, routes, receiving),
        Door::Tls(listener) => serve(listener, routes, receiving),
    };
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
        ended = &mut upload => return Err(match ended {
            Ok(Err(error @ UploadError::Table(_))) => usage(error.into()),
            ended => ended_early("uploading", ended),
        }),
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
        pages.await?;
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
    if let Some(file) = file
        && timeout_at(end, file).await.is_err()
    {
        warn!("the file of checkpoints could not be written in time");
    }
    stop_following.send_replace(true);
    if let Some(mut follower) = follower {
        match timeout_at(end, &mut follower).await {
            Ok(result) => result
                .map_err(anyhow::Error::from)?
                .context("loading fingerprints failed")?,
            Err(_) => follower.abort(),
        }
    }
    let status = spool.status();
    info!(waiting = status.next_seq - status.first_unacked, "stopped");
    Ok(())
}

/// How connections come in.
enum Door {
    Plain(TcpListener),
    Tls(TlsListener),
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
