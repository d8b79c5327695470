//! The program: arguments, wiring, signals.

use std::{io::IsTerminal, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use approvals::{
    api::App,
    config::{Arguments, Config},
    desk::Desk,
    grant::Keys,
    guard::Guard,
    metrics::Metrics,
    pages,
    session::Sessions,
    store::{self, Store, StoreError},
    waiters::Waiters,
};
use axum::middleware::from_fn_with_state;
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = Arguments::parse(); // ends with 2 on wrong usage
    let log = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(log)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    if arguments.check {
        return check(&arguments);
    }
    let secret = |name: &str| std::env::var(name).ok();
    let (desk, approvers) = (secret("GATE_DESK_TOKEN"), secret("GATE_APPROVERS"));
    let config = match arguments.check(desk.as_deref(), approvers.as_deref()) {
        Ok(config) => config,
        Err(faults) => {
            complain(&faults.join("\n"));
            return ExitCode::from(WRONG_USAGE);
        }
    };
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
    more_files();
    let waiters = Arc::new(Waiters::new(MAX_WAITING_CALLS));
    let opened = Store::open(
        &config.data,
        &config.deployment,
        config.limits,
        Arc::clone(&waiters),
    );
    let (store, history, mut database) = match opened {
        Ok((store, history, thread)) => {
            let ended = tokio::task::spawn_blocking(move || thread.join());
            (store, history, ended)
        }
        Err(error @ StoreError::OtherDeployment) => {
            return Err(Stop::Usage(anyhow!("--data: {error}")));
        }
        Err(error) => {
            let what = format!("cannot open the database in {}", config.data.display());
            return Err(anyhow::Error::new(error).context(what).into());
        }
    };
    let keys = Keys::open(&config.data, config.rotate_key).context("cannot sign grants")?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))
        .map_err(Stop::Usage)?;
    let listen = listener.local_addr().context("cannot listen")?;
    let (stop, stopping) = watch::channel(false);
    let app = App {
        guard: Arc::new(Guard::new(&config, listen)),
        sessions: Arc::new(Sessions::default()),
        tls: config.public.tls,
        desk: Arc::new(Desk {
            store,
            waiters,
            keys,
            metrics: Metrics::default(),
            deployment: config.deployment,
            domain: config.domain,
            origin: config.public.origin,
            bounds: config.bounds,
            stopping: stopping.clone(),
            clock: approvals::now,
        }),
    };
    let desk = Arc::clone(&app.desk);
    let timekeeper = tokio::spawn(async move { desk.keep_time(config.keep_content_s).await });
    let service = approvals::api::router()
        .merge(pages::router())
        .layer(from_fn_with_state(
            Arc::clone(&app.guard),
            approvals::guard::guard,
        ))
        .with_state(app);
    let mut stopped = stopping;
    let mut server = tokio::spawn(async move {
        axum::serve(listener, service)
            .with_graceful_shutdown(async move {
                let _gone = stopped.wait_for(|stop| *stop).await;
            })
            .await
    });
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    info!(
        %listen,
        approvers = config.approvers.len(),
        history_rows = history.rows,
        history_hash = history.last.map(|hash| hash.to_string()),
        "ready for asks"
    );

    select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = &mut database => return Err(anyhow!("the database's thread ended").into()),
        ended = &mut server => {
            let why = ended.map(|ended| ended.err().map(|error| error.to_string()));
            return Err(anyhow!("the service ended: {why:?}").into());
        }
    }
    info!("stopping");
    // Whoever waits is answered with what there is, then connections end, then the database.
    stop.send_replace(true);
    let ended = async {
        timekeeper.await?;
        server.await??;
        Ok::<_, anyhow::Error>(database.await?)
    };
    if let Ok(ended) = timeout(STOP_PATIENCE, ended).await {
        if ended?.is_err() {
            return Err(anyhow!("the database's thread failed").into());
        }
    } else {
        warn!("calls were still open");
    }
    info!("stopped");
    Ok(())
}

fn check(arguments: &Arguments) -> ExitCode {
    match store::check(&arguments.data) {
        Ok(whole) => {
            info!(
                history_rows = whole.rows,
                history_hash = whole.last.map(|hash| hash.to_string()),
                "the history is whole"
            );
            ExitCode::SUCCESS
        }
        Err(StoreError::Broken(broken)) => {
            error!("{broken}");
            ExitCode::FAILURE
        }
        Err(error) => {
            error!("cannot check: {error}");
            ExitCode::from(UNDECIDED)
        }
    }
}

/// Each call that waits holds a connection.
fn more_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the number of open files");
    }
}

/// For the person who started the program, before there is a log.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn complain(message: &str) {
    eprintln!("{message}");
}

/// Calls that may wait for a decision at once; more are answered at once, with `pending`.
const MAX_WAITING_CALLS: usize = 16_384;

/// How long a stop may take altogether.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

const WRONG_USAGE: u8 = 2;

const UNDECIDED: u8 = 3;
