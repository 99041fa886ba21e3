//! The store that replicas share: PostgreSQL.
//!
//! Each process that serves has a row of its own in `replica`, whose key is its fencing epoch, and writes events to
//! a shard of its own; what it writes it writes under that row, so that one whose lease another has ended writes
//! nothing more. While PostgreSQL is away events wait in the embedded store of the host, and follow later in order.

mod answers;
mod database;
mod events;
mod keeper;
mod partition;
mod recent;
mod room;
mod schema;
mod seat;
#[cfg(test)]
#[path = "../../tests/support/postgres.rs"]
mod server;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;

use self::database::Database;
use self::keeper::{Keeper, give_up};
use self::partition::Partitions;
use self::recent::Latest;
use self::room::Room;
use self::seat::Seat;
use self::writer::{Parts, Writer};
use super::StoreError;
use super::figures::Commits;

/// Connections for what the others wait for: the seat and the writer.
const VITAL: usize = 4;
/// Connections for all else.
const CONNECTIONS: usize = 8;

/// Where the cluster's store is, and who this is.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Where PostgreSQL is, and as whom it is asked.
    pub connect: tokio_postgres::Config,
    /// How certificates are checked; `None`: no TLS.
    pub tls: Option<ClientConfig>,
    /// What the others know this process by.
    pub replica: Arc<str>,
    /// How long events are kept.
    pub retention: Duration,
    /// Most bytes in the database; past it, appends are refused.
    pub max_size_bytes: u64,
}

/// The store of a cluster.
#[derive(Debug)]
pub struct PostgresStore {
    database: Arc<Database>,
    vital: Arc<Database>,
    seat: Arc<Seat>,
    partitions: Arc<Partitions>,
    room: Arc<Room>,
    latest: Arc<Latest>,
    commits: Arc<Commits>,
    writer: Mutex<Option<Arc<Writer>>>,
    tasks: Mutex<Option<Tasks>>,
    retention: Duration,
}

#[derive(Debug)]
struct Tasks {
    writing: JoinHandle<()>,
    keeping: JoinHandle<()>,
}

impl PostgresStore {
    /// Opens the store, and waits for the first answer of PostgreSQL.
    ///
    /// # Errors
    /// A thread can't be started, or PostgreSQL does not answer as it should.
    pub async fn open(settings: &ClusterSettings) -> Result<Self, StoreError> {
        let database = |connections| {
            let (connect, tls) = (settings.connect.clone(), settings.tls.clone());
            Database::new(connect, tls, connections).map(Arc::new)
        };
        let (database, vital) = (database(CONNECTIONS)?, database(VITAL)?);
        let (seat, partitions) = (Arc::new(Seat::new()), Arc::new(Partitions::default()));
        let (commits, latest) = (Arc::new(Commits::default()), Arc::new(Latest::default()));
        let room = Arc::new(Room::new(settings.max_size_bytes));
        let mut keeper = Keeper::new(
            Arc::clone(&vital),
            Arc::clone(&seat),
            Arc::clone(&partitions),
            Arc::clone(&settings.replica),
        );
        keeper.look().await?;
        let parts = Parts {
            database: Arc::clone(&vital),
            seat: Arc::clone(&seat),
            partitions: Arc::clone(&partitions),
            room: Arc::clone(&room),
            commits: Arc::clone(&commits),
            latest: Arc::clone(&latest),
        };
        let (writer, writing) = Writer::new(parts);
        let handle = vital.handle();
        let tasks = Tasks { writing: handle.spawn(writing), keeping: handle.spawn(keeper.run()) };
        Ok(Self {
            database,
            vital,
            seat,
            partitions,
            room,
            latest,
            commits,
            writer: Mutex::new(Some(Arc::new(writer))),
            tasks: Mutex::new(Some(tasks)),
            retention: settings.retention,
        })
    }

    /// Counts of the groups that were committed.
    pub fn commits(&self) -> Arc<Commits> {
        Arc::clone(&self.commits)
    }

    fn writer(&self) -> Option<Arc<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes what waits, and gives the seat up. What is asked of it afterwards is refused.
    pub async fn close(&self) {
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(tasks) = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        tasks.writing.await.ok();
        tasks.keeping.abort();
        if let Some(seated) = self.seat.last() {
            let epoch = seated.epoch;
            if let Err(error) = self.vital.ask(move |client| Box::pin(give_up(client, epoch))).await {
                tracing::warn!(%error, "the seat is not given up; others take over when its lease ends");
            }
        }
        self.seat.leave(StoreError::Unavailable("the store is closed".into()));
    }
}
