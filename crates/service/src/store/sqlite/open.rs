//! Opening: the folder's lock, the file, its schema, and what a process that died has left behind.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};

use super::{ballast::Ballast, batches, rows, slices, writer::Writer};
use crate::{ledger::Books, store::StoreError, window::Moment};

/// What there is to choose about a store in a folder.
pub struct Options {
    /// Whether each commit waits for the disk, rather than for the operating system.
    pub power_loss_safe: bool,
    /// What the time is.
    pub clock: Box<dyn Fn() -> Moment + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self { power_loss_safe: false, clock: Box::new(Moment::of_system) }
    }
}

/// How far the ledger may be ahead of the clock before that is said.
const AHEAD_MAX_S: i64 = 300;

/// What the time is, never going back, from one process to the next.
pub(super) struct Clock {
    source: Box<dyn Fn() -> Moment + Send + Sync>,
    latest: AtomicI64,
}

impl Clock {
    pub(super) fn new(source: Box<dyn Fn() -> Moment + Send + Sync>) -> Self {
        Self { source, latest: AtomicI64::new(0) }
    }

    /// The time is this, or later.
    fn not_before(&self, moment: Moment) {
        self.latest.fetch_max(moment.0, Ordering::Relaxed);
        let ahead_s = (moment.0 - (self.source)().0) / 1_000;
        if ahead_s > AHEAD_MAX_S {
            tracing::error!(
                ahead_s,
                "the ledger has entries of a time that is still to come: until then its time stands still, and no day, week or month of a \
                 budget ends; a clock of this machine was wrong, or is"
            );
        }
    }

    pub(super) fn now(&self) -> Moment {
        let now = (self.source)();
        Moment(self.latest.fetch_max(now.0, Ordering::Relaxed).max(now.0))
    }
}

/// What turns each version of the schema into the next one; the first makes it. A file knows how many it has seen.
const MIGRATIONS: [&str; 7] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
    include_str!("migrations/7.sql"),
];

/// How long to wait for a process that is about to end, or that is just starting another program.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Takes the folder for this process alone, for as long as the file is open.
///
/// # Errors
/// It cannot be written to, or another process has it.
pub fn lock(folder: &Path) -> Result<File, StoreError> {
    let unusable = |error: &dyn std::fmt::Display| {
        StoreError::Unusable(format!(
            "cannot use the data folder {}: {error}; choose another one with --data-dir",
            folder.display()
        ))
    };
    fs::create_dir_all(folder).map_err(|error| unusable(&error))?;
    let path = folder.join("ledger.lock");
    let file = nobody_else_s().open(path).map_err(|error| unusable(&error))?;
    let begun = Instant::now();
    let mut locked = file.try_lock();
    while matches!(locked, Err(TryLockError::WouldBlock)) && begun.elapsed() < LOCK_PATIENCE {
        #[expect(clippy::disallowed_methods, reason = "nothing runs yet that could be held up")]
        std::thread::sleep(Duration::from_millis(20));
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unusable(format!(
            "the data folder {} is in use by another claude-code-api; stop that one, or choose another folder with --data-dir",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(&error)),
    }
}

/// The ledger's file in a folder.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("ledger.sqlite")
}

pub(super) fn unusable(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
    let path = path.display().to_string();
    move |error| StoreError::Unusable(format!("cannot open the ledger {path}: {error}"))
}

/// Callers' prompts and answers may be in it: nobody else on the machine is to read them, nor a worker that has a user of its own. SQLite
/// makes the files beside it as it is.
fn make(path: &Path) {
    // Where that fails, opening it says why.
    let _ = nobody_else_s().open(path);
}

/// Of a file that nobody else on the machine may read, nor lock.
fn nobody_else_s() -> OpenOptions {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    options
}

/// The connection that writes. It makes what is missing, and charges what dead processes held.
pub(super) fn writer(folder: &Path, power_loss_safe: bool, clock: &Arc<Clock>) -> Result<Writer, StoreError> {
    let path = &file(folder);
    make(path);
    let open = || -> rusqlite::Result<Result<Connection, StoreError>> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", if power_loss_safe { "full" } else { "normal" })?;
        // What is deleted is overwritten: answers are not to stay in the file.
        connection.pragma_update(None, "secure_delete", true)?;
        // Another thread checkpoints.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.set_prepared_statement_cache_capacity(64);
        let version: u32 =
            connection.query_row("select user_version from pragma_user_version", [], |row| row.get(0))?;
        let seen = usize::try_from(version).unwrap_or(usize::MAX);
        if seen > MIGRATIONS.len() {
            let message = format!("{} was written by a newer version (schema {version}); use that one", path.display());
            return Ok(Err(StoreError::Unusable(message)));
        }
        for (at, migration) in MIGRATIONS.iter().enumerate().skip(seen) {
            connection.execute_batch(&format!("begin; {migration} pragma user_version = {}; commit;", at + 1))?;
        }
        Ok(Ok(connection))
    };
    let connection = open().map_err(unusable(path))??;
    clock.not_before(latest(&connection).map_err(unusable(path))?);
    let mut writer = Writer::new(connection, Arc::clone(clock), Ballast::in_folder(folder));
    let recovered = recover(&mut writer).or_else(|_| {
        // The disk may be full.
        Ballast::in_folder(folder).give_up();
        recover(&mut writer)
    });
    recovered.map_err(unusable(path))?;
    Ok(writer)
}

/// What the time was at the latest of what is known of it.
fn latest(connection: &Connection) -> rusqlite::Result<Moment> {
    let latest = "select max(coalesce((select began_at from epoch order by id desc limit 1), 0),
                             coalesce((select settled_at from entry order by id desc limit 1), 0),
                             coalesce((select max(reserved_at) from reservation), 0))";
    connection.query_row(latest, [], |row| row.get(0)).map(Moment)
}

/// Begins an epoch, and charges every reservation of earlier ones: who holds the lock is the only process alive.
fn recover(writer: &mut Writer) -> rusqlite::Result<()> {
    let now = writer.clock.now();
    let transaction = writer.connection.unchecked_transaction()?;
    transaction.execute("insert into epoch (began_at) values (?1)", [now.0])?;
    let epoch = transaction.last_insert_rowid();
    batches::give_back_all(&transaction)?;
    slices::give_back_all(&transaction)?;
    let mut books = Books::new(epoch, now, 0);
    for reservation in rows::reservations(&transaction)? {
        rows::load_account(&transaction, &mut books, &reservation.project, reservation.day)?;
        if let Some(scope) = reservation.claim {
            rows::load_claim(&transaction, &mut books, scope)?;
        }
        books.open(reservation);
    }
    let charged = books.recover(|of| of < epoch);
    rows::save(&transaction, &books.take_changes())?;
    transaction.commit()?;
    if charged > 0 {
        tracing::warn!(charged, "charged what an earlier process had held when it died, at its worst case");
    }
    writer.begin(epoch)
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(unusable(path))
}
