//! The one door to the database: a thread that owns it and works through what it is handed.
//!
//! Pieces of work that arrive while the disk syncs are done together in the next transaction, each in
//! a savepoint of its own, so many at once cost few syncs. Promises:
//!
//! - an answer is given when what it says is on disk (`synchronous=FULL`), or not at all;
//! - a piece of work is done whole or leaves nothing behind;
//! - those who wait for an approval are woken after its change is on disk, whoever made it and whether
//!   or not they are still there;
//! - a full disk, a full database or a lock held by somebody else is an error of that moment: the
//!   next piece of work is tried again.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rusqlite_migration::{M, Migrations};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::{
    history::{self, Broken, Whole},
    waiters::Waiters,
};

/// Hands work to the database's thread; a clone hands to the same.
#[derive(Clone)]
pub struct Store {
    queue: mpsc::Sender<Job>,
    failing: Arc<AtomicBool>,
}

/// Why something could not be stored or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another deployment's data.
    #[error("the data belongs to another deployment")]
    OtherDeployment,
    /// What is stored is not what was written.
    #[error("{0}")]
    Broken(Broken),
    /// Another process has it.
    #[error("the database is locked by another process")]
    Busy,
    /// The thread has ended.
    #[error("the database is closed")]
    Closed,
    /// The disk is full, or the database as large as it may be.
    #[error("the disk or the database is full")]
    Full,
    /// Too much is waiting for it.
    #[error("too much waits for the database")]
    Overloaded,
    /// An error that made the database undo the whole transaction.
    #[error("the database has undone what it was writing")]
    Undone,
    /// Anything else.
    #[error("the database fails: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// The folder cannot be used.
    #[error("cannot use the data folder: {0}")]
    Folder(Arc<std::io::Error>),
    /// The tables cannot be brought to this version.
    #[error("cannot migrate the database: {0}")]
    Migration(Arc<rusqlite_migration::Error>),
}

/// What a piece of work sees.
pub struct Book<'a> {
    /// The database, in a transaction.
    pub connection: &'a Connection,
    /// Approvals whose waiters are to be woken once it is committed.
    pub changed: Vec<String>,
    /// Those who wait.
    pub waiters: &'a Waiters,
}

/// Bounds of a database.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of the database.
    pub max_bytes: u64,
    /// How long a lock of another process is waited for.
    pub busy: Duration,
}

type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(Result<&mut Book<'_>, StoreError>) -> Finish + Send>;

impl Store {
    /// Opens or makes the database in `folder`, checks it, and starts its thread, which ends when
    /// all clones are gone.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing was changed but for migrations.
    pub fn open(
        folder: &Path,
        deployment: &str,
        limits: Limits,
        waiters: Arc<Waiters>,
    ) -> Result<(Self, Whole, thread::JoinHandle<()>), StoreError> {
        let (connection, lock) = connect(folder, deployment, limits)?;
        let whole = history::verify(&connection)?.map_err(StoreError::Broken)?;
        let (queue, jobs) = mpsc::channel(MAX_WAITING);
        let failing = Arc::new(AtomicBool::new(false));
        let store = Self {
            queue,
            failing: Arc::clone(&failing),
        };
        let thread = thread::Builder::new()
            .name("database".to_owned())
            .spawn(move || {
                work(connection, jobs, &waiters, &failing);
                drop(lock);
            })
            .map_err(|error| StoreError::Folder(Arc::new(error)))?;
        Ok((store, whole, thread))
    }

    /// Does a piece of work in a transaction, and gives its result when that is on disk.
    ///
    /// # Errors
    ///
    /// That of the work, or [`StoreError`] if it could not be done; then it has done nothing.
    pub async fn act<T, E>(
        &self,
        work: impl FnOnce(&mut Book<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |book| {
            let done = match book {
                Ok(book) => savepoint(book, work),
                Err(error) => Err(E::from(error)),
            };
            Box::new(move |committed| {
                let done = committed.map_err(E::from).and(done);
                // nobody waits for it any more
                drop(answer.send(done));
            })
        });
        self.queue.try_send(job).map_err(|error| {
            E::from(match error {
                mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
            })
        })?;
        result
            .await
            .unwrap_or_else(|_| Err(E::from(StoreError::Closed)))
    }

    /// Whether the last transaction failed.
    pub fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// Checks a database without changing it or starting anything.
///
/// # Errors
///
/// [`StoreError`], with [`StoreError::Broken`] if it is not what was written.
pub fn check(folder: &Path) -> Result<Whole, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder.join(FILE), flags)?;
    let transaction = connection.unchecked_transaction()?;
    let whole = history::verify(&transaction)?;
    whole.map_err(StoreError::Broken)
}

/// Runs the work; undoes it if it fails.
fn savepoint<T, E: From<StoreError>>(
    book: &mut Book<'_>,
    work: impl FnOnce(&mut Book<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let run = |sql: &str| {
        let run = book.connection.execute_batch(sql);
        run.map_err(|error| E::from(StoreError::from(error)))
    };
    run("SAVEPOINT work")?;
    let known = book.changed.len();
    let done = work(book);
    let end = if done.is_ok() {
        "RELEASE work"
    } else {
        book.changed.truncate(known);
        "ROLLBACK TO work; RELEASE work"
    };
    if book.connection.is_autocommit() {
        return done; // the error has undone the whole transaction, and the caller sees that
    }
    let ended = book.connection.execute_batch(end);
    ended.map_err(|error| E::from(StoreError::from(error)))?;
    done
}

fn work(
    mut connection: Connection,
    mut jobs: mpsc::Receiver<Job>,
    waiters: &Waiters,
    failing: &AtomicBool,
) {
    while let Some(first) = jobs.blocking_recv() {
        let mut finishes = Vec::new();
        let outcome = group(&mut connection, first, &mut jobs, waiters, &mut finishes);
        if let Err(error) = &outcome {
            warn!(%error, "cannot write to the database");
        }
        failing.store(outcome.is_err(), Ordering::Relaxed);
        let committed = outcome.map(|changed| {
            for id in changed {
                waiters.wake(&id);
            }
        });
        for finish in finishes {
            finish(committed.clone());
        }
    }
}

/// Does `first` and what else is waiting in one transaction; gives the approvals that changed.
fn group(
    connection: &mut Connection,
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
    waiters: &Waiters,
    finishes: &mut Vec<Finish>,
) -> Result<Vec<String>, StoreError> {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            // what has queued up meanwhile has waited as long
            let error = StoreError::from(error);
            finishes.push(first(Err(error.clone())));
            while finishes.len() < MAX_GROUP
                && let Ok(job) = jobs.try_recv()
            {
                finishes.push(job(Err(error.clone())));
            }
            return Err(error);
        }
    };
    let mut book = Book {
        connection: &transaction,
        changed: Vec::new(),
        waiters,
    };
    let mut next = Some(first);
    while let Some(job) = next.take() {
        finishes.push(job(Ok(&mut book)));
        if book.connection.is_autocommit() {
            return Err(StoreError::Undone);
        }
        if finishes.len() < MAX_GROUP {
            next = jobs.try_recv().ok();
        }
    }
    let changed = std::mem::take(&mut book.changed);
    transaction.commit()?;
    Ok(changed)
}

fn connect(
    folder: &Path,
    deployment: &str,
    limits: Limits,
) -> Result<(Connection, File), StoreError> {
    let io = |error| StoreError::Folder(Arc::new(error));
    if !folder.is_dir() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io)?;
    }
    let private = |name: &str| {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options.open(folder.join(name)).map_err(io)
    };
    let lock = private("lock")?;
    lock.try_lock().map_err(|_| StoreError::Busy)?;
    drop(private(FILE)?); // SQLite gives its other files the rights of this one
    let mut connection = Connection::open(folder.join(FILE))?;
    connection.busy_timeout(limits.busy)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA recursive_triggers = ON; PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON;",
    )?;
    let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let pages = i64::try_from(limits.max_bytes).unwrap_or(i64::MAX) / page.max(1);
    connection.pragma_update(None, "max_page_count", pages)?;
    Migrations::from_slice(MIGRATIONS)
        .to_latest(&mut connection)
        .map_err(|error| StoreError::Migration(Arc::new(error)))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let whose: Result<String, _> =
        transaction.query_row("SELECT deployment FROM desk", [], |row| row.get(0));
    match whose {
        Ok(whose) if whose == deployment => {}
        Ok(_) => return Err(StoreError::OtherDeployment),
        Err(rusqlite::Error::QueryReturnedNoRows) => {
            transaction.execute("INSERT INTO desk (deployment) VALUES (?1)", [deployment])?;
        }
        Err(error) => return Err(error.into()),
    }
    transaction.commit()?;
    Ok((connection, lock))
}

impl StoreError {
    /// A column has another type than it must have.
    pub(crate) fn column(error: rusqlite::types::FromSqlError) -> Self {
        let nowhere = rusqlite::Error::FromSqlConversionFailure(
            0,
            rusqlite::types::Type::Null,
            Box::new(error),
        );
        Self::Sqlite(Arc::new(nowhere))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ConstraintViolation) => {
                error!("the database refuses what should not be");
                Self::Sqlite(Arc::new(error))
            }
            _ => Self::Sqlite(Arc::new(error)),
        }
    }
}

/// The database's file in its folder.
pub const FILE: &str = "approvals.sqlite";

const MIGRATIONS: &[M<'_>] = &[M::up(include_str!("../migrations/1.sql"))];

/// Pieces of work that may wait; with more the desk says that it is overloaded.
const MAX_WAITING: usize = 16_384;

/// Pieces of work in one transaction.
const MAX_GROUP: usize = 256;
