//! The store that replicas share: PostgreSQL.
//!
//! Each process that serves has a row of its own in `replica`, whose key is its fencing epoch, and writes events to
//! a shard of its own; what it writes it writes under that row, so that one whose lease another has ended writes
//! nothing more. While PostgreSQL is away events wait in the embedded store of the host, and follow later in order.

mod answers;
mod cluster;
mod counting;
mod database;
mod deliveries;
mod entering;
mod events;
mod expire;
mod figures;
mod group;
mod keeper;
mod ledger;
mod local;
mod metrics;
mod once;
mod operate;
mod partition;
mod probe;
mod progress;
mod query;
mod recent;
mod retention;
mod room;
mod schema;
mod seat;
#[cfg(test)]
#[path = "../../tests/support/postgres.rs"]
mod server;
mod settle;
mod settler;
#[cfg(test)]
mod sizing;
mod straight;
mod team_url;
#[cfg(test)]
mod tests;
mod url;
mod values;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;

use self::database::Database;
use self::entering::Entering;
use self::keeper::{Keeper, give_up};
use self::local::Local;
pub use self::metrics::ClusterMetrics;
use self::once::{Clock, Conclusions, Tickets};
use self::partition::Partitions;
pub use self::probe::{Probed, probe};
use self::recent::Latest;
use self::retention::Retention;
use self::room::Room;
use self::seat::Seat;
use self::settler::Settler;
use self::straight::Straight;
pub use self::url::{BadPostgresUrl, PostgresUrl};
use self::values::{plain, signed, unsigned};
use self::writer::Writer;
use super::embedded::EmbeddedStore;
use super::figures::Commits;
use super::{ClusterSettings, Intake, Settings, ShardId, StoreError};

/// Connections for what the others wait for: the seat and the writer.
const VITAL: usize = 4;
/// Connections for all else.
const CONNECTIONS: usize = 8;
/// How long a start waits for PostgreSQL.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// The store of a cluster.
#[derive(Debug)]
pub struct PostgresStore {
    name: Arc<str>,
    database: Arc<Database>,
    vital: Arc<Database>,
    seat: Arc<Seat>,
    room: Arc<Room>,
    latest: Arc<Latest>,
    entering: Entering,
    commits: Arc<Commits>,
    local: Arc<Local>,
    writer: Mutex<Option<Arc<Writer>>>,
    settler: Mutex<Option<Arc<Settler>>>,
    conclusions: Conclusions,
    tickets: Tickets,
    clock: Arc<Clock>,
    /// The shards that this replica's ledger follows.
    ledger: Arc<watch::Sender<Arc<[ShardId]>>>,
    tasks: Mutex<Option<Tasks>>,
    #[cfg(test)]
    retention: Arc<Retention>,
}

#[derive(Debug)]
struct Tasks {
    writing: JoinHandle<()>,
    settling: JoinHandle<()>,
    keeping: JoinHandle<()>,
    forwarding: JoinHandle<()>,
    /// What else there is to do, none of which is waited for.
    others: Vec<JoinHandle<()>>,
}

impl PostgresStore {
    /// Opens the store with the embedded one of this host as its local log; `tls` says which certificates are believed.
    /// Without an answer of PostgreSQL within a moment, callbacks are taken in there until it answers.
    ///
    /// # Errors
    /// A thread can't be started; the local log can't be written, or is not free for it; PostgreSQL or its schema is
    /// of a version that this gateway can't work with.
    pub async fn open(
        settings: &Settings,
        cluster: &ClusterSettings,
        tls: Option<ClientConfig>,
        local: EmbeddedStore,
    ) -> Result<Self, StoreError> {
        let database =
            |connections| Database::new(cluster.url.config.clone(), tls.clone(), connections).map(Arc::new);
        let local = Arc::new(Local::new(Arc::new(local)).await?);
        let (database, vital) = (database(CONNECTIONS)?, database(VITAL)?);
        let straight = Arc::new(Straight {
            database: Arc::clone(&vital),
            seat: Arc::new(Seat::new()),
            partitions: Arc::default(),
            room: Arc::new(Room::new(settings.max_size_bytes)),
            commits: Arc::default(),
            latest: Arc::default(),
            day: Mutex::default(),
        });
        let mut keeper = Keeper::new(
            Arc::clone(&vital),
            Arc::clone(&straight.seat),
            Arc::clone(&straight.partitions),
            Arc::clone(&cluster.replica),
        );
        let late = |_| Err(StoreError::Unavailable("PostgreSQL did not answer in time".into()));
        let looked = tokio::time::timeout(FIRST_LOOK, keeper.look()).await.unwrap_or_else(late);
        if let Some(why) = keeper.unfit() {
            return Err(why);
        }
        if let Err(error) = looked {
            tracing::warn!(%error, "callbacks are kept on this host until PostgreSQL takes them");
        }
        let (writer, writing) = Writer::new(Arc::clone(&straight), Arc::clone(&local));
        let seat = || Arc::clone(&straight.seat);
        let (conclusions, concluding) =
            Conclusions::new(Arc::clone(&database), seat(), Arc::clone(&straight.room));
        let (clock, ledger) = (Arc::new(Clock::new()), Arc::new(watch::Sender::new(Arc::from([]))));
        let sweeping = once::sweep(Arc::clone(&database), Arc::clone(&clock));
        let booking = ledger::keep(Arc::clone(&database), seat(), Arc::clone(&ledger));
        let (settler, settling) = Settler::new(settler::Parts {
            database: Arc::clone(&database),
            seat: seat(),
            partitions: Arc::clone(&straight.partitions),
            #[cfg(test)]
            room: Arc::clone(&straight.room),
        });
        let retention = Arc::new(Retention {
            database: Arc::clone(&database),
            seat: Arc::clone(&straight.seat),
            partitions: Arc::clone(&straight.partitions),
            room: Arc::clone(&straight.room),
            latest: Arc::clone(&straight.latest),
            keep: settings.retention,
        });
        let handle = vital.handle();
        let others = vec![
            handle.spawn(concluding),
            handle.spawn(sweeping),
            handle.spawn(booking),
            handle.spawn(Arc::clone(&retention).run()),
        ];
        let tasks = Tasks {
            writing: handle.spawn(writing),
            settling: handle.spawn(settling),
            keeping: handle.spawn(keeper.run()),
            forwarding: handle.spawn(Arc::clone(&local).forward(Arc::clone(&straight))),
            others,
        };
        Ok(Self {
            name: Arc::clone(&cluster.replica),
            database,
            vital,
            seat: Arc::clone(&straight.seat),
            room: Arc::clone(&straight.room),
            latest: Arc::clone(&straight.latest),
            entering: Entering::default(),
            commits: Arc::clone(&straight.commits),
            local,
            writer: Mutex::new(Some(Arc::new(writer))),
            settler: Mutex::new(Some(Arc::new(settler))),
            conclusions,
            tickets: Tickets::default(),
            clock,
            ledger,
            tasks: Mutex::new(Some(tasks)),
            #[cfg(test)]
            retention,
        })
    }

    /// Counts of the groups that were committed.
    pub fn commits(&self) -> Arc<Commits> {
        Arc::clone(&self.commits)
    }

    /// Whether PostgreSQL answers, and this replica has its seat.
    pub fn is_up(&self) -> bool {
        *self.seat.up().borrow() && self.seat.epoch().is_ok()
    }

    /// What is amiss while events are taken in nevertheless: PostgreSQL is away, or events wait on this host.
    pub fn degraded(&self) -> Option<String> {
        let waiting = self.local.waiting();
        let why = match (self.seat.epoch(), *self.seat.up().borrow()) {
            (Err(why), _) => why.to_string(),
            (Ok(_), false) => "PostgreSQL does not answer".to_owned(),
            (Ok(_), true) if waiting > 0 => "PostgreSQL is back".to_owned(),
            (Ok(_), true) => return None,
        };
        Some(format!("{why}; callbacks are kept on this host, where {waiting} wait to be forwarded"))
    }

    /// Whether an event would be kept now: in PostgreSQL, or on this host.
    fn takes_events(&self) -> Result<(), StoreError> {
        self.room.check(0)?;
        if self.is_up() { Ok(()) } else { self.local.store.writable() }
    }

    /// The seat's epoch, while PostgreSQL answers: who is not to wait asks for this first.
    fn answering(&self) -> Result<i64, StoreError> {
        if !*self.seat.up().borrow() {
            return Err(StoreError::Unavailable("PostgreSQL does not answer".into()));
        }
        self.seat.epoch()
    }

    fn writer(&self) -> Option<Arc<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews its lease no more, as a process does that was stopped.
    #[cfg(test)]
    fn stand_still(&self) {
        self.tasks.lock().unwrap().as_ref().unwrap().keeping.abort();
    }

    /// Does nothing more of itself, as a process that was killed.
    #[cfg(test)]
    fn kill(&self) {
        let tasks = self.tasks.lock().unwrap();
        let Tasks { writing, settling, keeping, forwarding, others } = tasks.as_ref().unwrap();
        [writing, settling, keeping, forwarding].into_iter().chain(others).for_each(JoinHandle::abort);
    }

    fn settler(&self) -> Result<Arc<Settler>, StoreError> {
        let settler = self.settler.lock().unwrap_or_else(PoisonError::into_inner).clone();
        settler.ok_or_else(|| StoreError::Unavailable("the store is closed".into()))
    }

    /// Writes what waits, and gives the seat up. What is asked of it afterwards is refused.
    pub async fn close(&self) {
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(tasks) = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        drop(self.settler.lock().unwrap_or_else(PoisonError::into_inner).take());
        tasks.writing.await.ok();
        tasks.settling.await.ok();
        self.conclusions.flush().await.ok();
        tasks.others.iter().for_each(JoinHandle::abort);
        tasks.keeping.abort();
        tasks.forwarding.abort();
        if let Some(seated) = self.seat.last() {
            let epoch = seated.epoch;
            if let Err(error) = self.vital.ask(move |client| Box::pin(give_up(client, epoch))).await {
                tracing::warn!(%error, "the seat is not given up; others take over when its lease ends");
            }
        }
        self.seat.leave(StoreError::Unavailable("the store is closed".into()));
        self.local.store.close().await;
    }
}
