//! The syncer: a thread that brings to the disk, once a second, what was committed: the log, and then the file itself.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use rusqlite::Connection;

use super::{open, writer::Writer};
use crate::store::StoreError;

/// How often what was committed is brought to the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How many pages the log may have before it is begun anew: 16 MiB.
const LOG_PAGES_MAX: i64 = 4_096;

pub(super) struct Syncer {
    connection: Connection,
    log: PathBuf,
    /// Whether the writer is to begin the log anew. While it writes, nobody else can.
    log_is_long: Arc<AtomicBool>,
}

impl Syncer {
    pub(super) fn open(path: &Path, writer: &Writer) -> Result<Self, StoreError> {
        let connection = Connection::open(path).map_err(open::unusable(path))?;
        let log = path.with_extension("sqlite-wal");
        Ok(Self { connection, log, log_is_long: Arc::clone(&writer.log_is_long) })
    }

    pub(super) fn run(self, stopped: &Receiver<()>) {
        loop {
            let is_last = stopped.recv_timeout(SYNC_EVERY) != Err(RecvTimeoutError::Timeout);
            let synced = if is_last { self.sync_last() } else { self.sync() };
            if let Err(error) = synced {
                tracing::warn!(error, "what the ledger has committed could not be brought to the disk; trying again");
            }
            if is_last {
                return;
            }
        }
    }

    /// The writer has gone. Where nobody else had opened the log, it has brought all of it to the file, and removed it.
    fn sync_last(&self) -> Result<(), String> {
        if self.log.exists() { self.sync() } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), String> {
        // A checkpoint beside a long read may find nothing that it can move, and then does not sync either.
        let log = File::open(&self.log).and_then(|log| log.sync_data());
        log.map_err(|error| error.to_string())?;
        // Passive: it waits for nobody, and nobody for it.
        let checkpoint = "pragma wal_checkpoint(passive)";
        let pages: i64 =
            self.connection.query_row(checkpoint, [], |row| row.get(1)).map_err(|error| error.to_string())?;
        self.log_is_long.store(pages > LOG_PAGES_MAX, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::sqlite::Options;

    fn opened(folder: &Path) -> (Writer, Syncer) {
        let clock = Arc::new(open::Clock::new(Options::default().clock));
        let writer = open::writer(folder, false, &clock).expect("a new ledger");
        let syncer = Syncer::open(&open::file(folder), &writer).expect("it is there");
        (writer, syncer)
    }

    #[test]
    fn a_log_that_the_writer_has_removed_is_no_trouble() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, syncer) = opened(folder.path());
        assert!(syncer.log.exists());
        drop(writer);
        assert!(!syncer.log.exists());
        assert_eq!(syncer.sync_last(), Ok(()));
    }

    #[test]
    fn a_log_that_somebody_else_has_removed_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_writer, syncer) = opened(folder.path());
        assert_eq!(syncer.sync(), Ok(()));
        fs::remove_file(&syncer.log).expect("it is there");
        syncer.sync().expect_err("what was committed is nowhere");
    }
}
