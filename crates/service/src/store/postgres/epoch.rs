//! Epochs: which processes serve from the database, and which of them live.
//!
//! A process counts its beats. Another one that has seen the same count for a whole [`Options::ttl`](super::Options), over a
//! connection that was not interrupted, takes it for dead: in one transaction its epoch ends, and what it held is charged at the
//! worst case. A process that finds itself taken for dead ends its calls, and goes on under a new number.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, watch};
use tokio_postgres::Error;

use super::{
    batches,
    connect::{Connection, Connector, reason},
    rows, slices,
    writer::{CLAIMS, LOCK_PROJECTS, load_counters},
};
use crate::{
    ledger::Books,
    window::{Day, Moment},
};

const BEGIN: &str = "insert into epoch (began_at, ttl_ms) values (now_ms(), $1) returning id";
const BEAT: &str = "update epoch set beat = beat + 1 where id = $1 and dead_at is null";
const ALIVE: &str = "select id, beat, ttl_ms from epoch where dead_at is null";
/// Waits for the commit that the process may be in, and keeps it from beginning another.
const LOCK: &str = "select from epoch where id = $1 for update";
const END_IF_SILENT: &str =
    "update epoch set dead_at = now_ms() where id = $1 and beat = coalesce($2, beat) and dead_at is null
     returning dead_at";
const END_IF_EMPTY: &str =
    "update epoch set dead_at = now_ms() where id = $1 and not exists (select from reservation where epoch = $1)";
const PROJECTS_OF: &str = "select distinct project from reservation where epoch = $1";
const RESERVATIONS_OF: &str = "select * from reservation where epoch = $1";

/// This process, as the database numbers it.
pub(super) struct Epoch {
    number: watch::Sender<Option<i64>>,
    /// Whoever gives it a number is alone in that: calls and batches are written on a connection each.
    beginning: Mutex<()>,
    ttl: Duration,
}

impl Epoch {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { number: watch::Sender::new(None), beginning: Mutex::default(), ttl }
    }

    /// The number, once anything was held.
    pub(super) fn current(&self) -> Option<i64> {
        *self.number.borrow()
    }

    /// The number, from now on if there was none.
    pub(super) async fn number(&self, db: &Connection) -> Result<i64, Error> {
        if let Some(epoch) = self.current() {
            return Ok(epoch);
        }
        let _alone = self.beginning.lock().await;
        match self.current() {
            Some(epoch) => Ok(epoch),
            None => self.begin(db).await,
        }
    }

    async fn begin(&self, db: &Connection) -> Result<i64, Error> {
        let ttl_ms = i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX);
        let epoch = db.first(BEGIN, &[&ttl_ms]).await?.expect("an insert returns its row").get(0);
        self.number.send_replace(Some(epoch));
        Ok(epoch)
    }

    /// The process was taken for dead under this number.
    pub(super) fn lost(&self, epoch: i64) {
        let lost = self.number.send_if_modified(|current| current.take_if(|current| *current == epoch).is_some());
        if lost {
            tracing::error!(
                epoch,
                "this process was silent for so long that it was taken for dead; its calls end, and it begins anew"
            );
        }
    }

    /// Ends when this number is no longer this process's.
    pub(super) async fn fenced(&self, epoch: i64) {
        // The sender lives as long as we do.
        let _ = self.number.subscribe().wait_for(|current| *current != Some(epoch)).await;
    }

    /// The process ends in order: nothing is left to charge, unless something is.
    pub(super) async fn end(&self, db: &Connection) {
        let Some(epoch) = self.current() else { return };
        let ended = match give_back_all(db, epoch).await {
            Ok(()) => db.execute(END_IF_EMPTY, &[&epoch]).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(
                error = reason(&error),
                "the end of this process could not be noted; others find out by themselves"
            );
        }
    }
}

/// Shows that this process lives, and finds those that do not.
pub(super) struct Keeper {
    pub(super) connector: Arc<Connector>,
    pub(super) epoch: Arc<Epoch>,
    pub(super) ttl: Duration,
}

/// A count of beats, and since when it stands.
struct Seen {
    beat: i64,
    since: Instant,
}

impl Keeper {
    /// Keeps watch for as long as it is not dropped.
    pub(super) async fn run(self) {
        let mut connection: Option<Connection> = None;
        let mut seen: BTreeMap<i64, Seen> = BTreeMap::new();
        loop {
            if connection.as_ref().is_none_or(Connection::is_closed) {
                // Nobody is judged by what was seen before an interruption.
                seen.clear();
                connection = self.connector.connect().await.ok();
            }
            if let Some(db) = &connection {
                let watched = tokio::time::timeout(self.ttl, self.watch(db, &mut seen)).await;
                if let Ok(Err(error)) = &watched {
                    tracing::warn!(error = reason(error), "the database could not be asked which processes live");
                }
                if !matches!(watched, Ok(Ok(()))) {
                    connection = None;
                }
            }
            tokio::time::sleep(self.ttl / 5).await;
        }
    }

    async fn watch(&self, db: &Connection, seen: &mut BTreeMap<i64, Seen>) -> Result<(), Error> {
        let own = self.epoch.current();
        if let Some(own) = own
            && db.execute(BEAT, &[&own]).await? == 0
        {
            self.epoch.lost(own);
        }
        let alive = db.query(ALIVE, &[]).await?;
        let alive: BTreeMap<i64, (i64, i64)> = alive.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        seen.retain(|epoch, _| alive.contains_key(epoch));
        let now = Instant::now();
        for (epoch, (beat, ttl_ms)) in alive {
            let ttl = self.ttl.max(Duration::from_millis(ttl_ms.unsigned_abs()));
            let known = seen.entry(epoch).or_insert(Seen { beat, since: now });
            if known.beat != beat {
                *known = Seen { beat, since: now };
            }
            if Some(epoch) != own && now.duration_since(known.since) > ttl {
                reap(db, epoch, Some(beat)).await?;
            }
        }
        Ok(())
    }
}

/// Takes a process for dead, if its count of beats is still this: its epoch ends and its holds are charged, in one transaction. How
/// many that were; `None` when it has shown a sign of life after all.
pub(super) async fn reap(db: &Connection, epoch: i64, beat: Option<i64>) -> Result<Option<usize>, Error> {
    db.run("begin").await?;
    let charged = charge(db, epoch, beat).await;
    match charged {
        Ok(Some(charged)) => {
            tracing::warn!(epoch, charged, "another process is silent and taken for dead; what it held is charged");
            Ok(Some(charged))
        }
        Ok(None) => {
            db.run("rollback").await?;
            Ok(None)
        }
        Err(error) => {
            let _ = db.run("rollback").await;
            Err(error)
        }
    }
}

/// Of batches, nobody works on what this process did.
async fn give_back_all(db: &Connection, epoch: i64) -> Result<(), Error> {
    db.execute(batches::GIVE_BACK_ALL, &[&epoch]).await?;
    db.execute(slices::GIVE_BACK_ALL, &[&epoch]).await?;
    Ok(())
}

async fn charge(db: &Connection, epoch: i64, beat: Option<i64>) -> Result<Option<usize>, Error> {
    db.query(LOCK, &[&epoch]).await?;
    let Some(ended) = db.first(END_IF_SILENT, &[&epoch, &beat]).await? else { return Ok(None) };
    give_back_all(db, epoch).await?;
    let projects: Vec<String> = db.query(PROJECTS_OF, &[&epoch]).await?.iter().map(|row| row.get(0)).collect();
    let found = db.query(LOCK_PROJECTS, &[&projects]).await?;
    // Read once nobody settles any of them any more.
    let reservations: Vec<_> = db.query(RESERVATIONS_OF, &[&epoch]).await?.iter().map(rows::reservation).collect();
    let mut books = Books::new(epoch, Moment(ended.get(0)), 0);
    for project in found.iter().map(rows::project) {
        books.account(&project.id).limits = Some(project.limits);
    }
    let scopes: Vec<&[u8]> =
        (reservations.iter().filter_map(|open| open.claim.as_ref())).map(|scope| &scope.as_bytes()[..]).collect();
    for claimed in db.query(CLAIMS, &[&scopes]).await?.iter().map(rows::claimed) {
        books.load_claim(claimed.scope, Some(claimed));
    }
    let days: BTreeSet<(_, Day)> = reservations.iter().map(|open| (open.project.clone(), open.day)).collect();
    load_counters(db, &mut books, &days).await?;
    for reservation in reservations {
        books.open(reservation);
    }
    let charged = books.recover(|of| of == epoch);
    // The commit follows what it commits unasked: all of it has to be prepared.
    db.prepare(&rows::SAVING).await?;
    rows::save_and_commit(db, &books.take_changes()).await?;
    Ok(Some(charged))
}
