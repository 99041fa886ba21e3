//! Has what came of deliveries written down, many at a time and in order; and a moment later how far frontiers and
//! replays are.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::database::Database;
use super::partition::Partitions;
use super::progress::ATTEMPTS;
use super::seat::Seat;
use super::settle::{self, Moved, Under};
use crate::store::{Fate, Place, ReplayId, Seq, Settled, ShardId, StoreError};

/// Most calls that wait.
const MAX_WAITING: usize = 4096;
/// Most outcomes of one statement.
const MAX_OUTCOMES: usize = 4096;
/// Deliveries wait so long for others to be written with them.
const LINGER: Duration = Duration::from_millis(5);
/// Frontiers are written so often.
const EVERY: Duration = Duration::from_millis(200);

/// Gives the settler work.
#[derive(Debug)]
pub(super) struct Settler {
    commands: mpsc::UnboundedSender<Command>,
    room: Arc<Semaphore>,
    moving: Arc<Moving>,
}

/// What the settler works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub database: Arc<Database>,
    pub seat: Arc<Seat>,
    pub partitions: Arc<Partitions>,
    #[cfg(test)]
    pub room: Arc<super::room::Room>,
}

enum Command {
    Settle(Outcomes),
    /// Frontiers or replays have moved.
    Nudge,
    /// Write now how far they are, so that a question sees it.
    Flush(oneshot::Sender<Result<(), StoreError>>),
}

struct Outcomes {
    settled: Vec<Settled>,
    answer: oneshot::Sender<Result<(), StoreError>>,
    _permit: OwnedSemaphorePermit,
}

/// What has moved and is not written yet: at most a row per subscriber and shard, and one per replay.
#[derive(Debug, Default)]
struct Moving(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    frontiers: BTreeMap<(Arc<str>, ShardId), Seq>,
    replays: BTreeMap<ReplayId, Seq>,
    nudged: bool,
}

impl Settler {
    /// The settler, and its work, which ends once nobody gives it anything any more and all is written.
    pub fn new(parts: Parts) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let moving = Arc::new(Moving::default());
        let work = Work { parts, commands: receiver, moving: Arc::clone(&moving), due: None };
        (Self { commands, room: Arc::new(Semaphore::new(MAX_WAITING)), moving }, work.run())
    }

    pub async fn settle(&self, settled: Vec<Settled>) -> Result<(), StoreError> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let outcomes = Outcomes { settled, answer, _permit: permit };
        self.commands.send(Command::Settle(outcomes)).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    pub fn advance(&self, subscriber: &str, shard: ShardId, next: Seq) {
        let mut waiting = self.moving.lock();
        let known = waiting.frontiers.entry((subscriber.into(), shard)).or_default();
        *known = next.max(*known);
        self.nudge(waiting);
    }

    pub fn advance_replay(&self, replay: ReplayId, next: Seq) {
        let mut waiting = self.moving.lock();
        let known = waiting.replays.entry(replay).or_default();
        *known = next.max(*known);
        self.nudge(waiting);
    }

    fn nudge(&self, mut waiting: MutexGuard<'_, Waiting>) {
        if !std::mem::replace(&mut waiting.nudged, true) {
            self.commands.send(Command::Nudge).ok();
        }
    }

    /// Writes how far all is.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Flush(answer)).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

impl Moving {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Moved {
        let mut waiting = self.lock();
        waiting.nudged = false;
        let frontiers = std::mem::take(&mut waiting.frontiers).into_iter();
        Moved {
            frontiers: frontiers.map(|((name, shard), next)| (name, shard, next)).collect(),
            replays: std::mem::take(&mut waiting.replays).into_iter().collect(),
        }
    }

    /// They could not be written; what has moved further meanwhile stays.
    fn put_back(&self, moved: &Moved) {
        let mut waiting = self.lock();
        for (name, shard, next) in &moved.frontiers {
            let known = waiting.frontiers.entry((Arc::clone(name), *shard)).or_default();
            *known = (*next).max(*known);
        }
        for (id, next) in &moved.replays {
            let known = waiting.replays.entry(*id).or_default();
            *known = (*next).max(*known);
        }
    }
}

struct Work {
    parts: Parts,
    commands: mpsc::UnboundedReceiver<Command>,
    moving: Arc<Moving>,
    /// When frontiers are to be written.
    due: Option<Instant>,
}

/// What is done together.
#[derive(Default)]
struct Gathered {
    outcomes: Vec<Outcomes>,
    rows: usize,
    flushes: Vec<oneshot::Sender<Result<(), StoreError>>>,
    urgent: bool,
}

impl Work {
    async fn run(mut self) {
        while let Some(gathered) = self.gather().await {
            if !gathered.outcomes.is_empty() {
                self.settle(gathered.outcomes).await;
            }
            if gathered.flushes.is_empty() && self.due.is_none_or(|due| due > Instant::now()) {
                continue;
            }
            let moved = self.move_on().await;
            for flush in gathered.flushes {
                flush.send(moved.clone()).ok();
            }
        }
        if let Err(error) = self.move_on().await {
            tracing::warn!(%error, "frontiers are not written; some events will be delivered again");
        }
    }

    /// Waits for something to do, and then a moment for more of it. `None`: there will be no more.
    async fn gather(&mut self) -> Option<Gathered> {
        let mut gathered = Gathered::default();
        let first = match self.due {
            Some(due) => tokio::time::timeout_at(due, self.commands.recv()).await,
            None => Ok(self.commands.recv().await),
        };
        match first {
            Ok(command) => self.take(command?, &mut gathered),
            Err(_) => return Some(gathered),
        }
        let until = Instant::now() + LINGER;
        while gathered.rows < MAX_OUTCOMES {
            let next = match self.commands.try_recv() {
                Ok(command) => Some(command),
                Err(_) if gathered.urgent || gathered.rows == 0 => None,
                Err(_) => tokio::time::timeout_at(until, self.commands.recv()).await.ok().flatten(),
            };
            let Some(command) = next else { break };
            self.take(command, &mut gathered);
        }
        Some(gathered)
    }

    fn take(&mut self, command: Command, gathered: &mut Gathered) {
        match command {
            Command::Nudge => _ = self.due.get_or_insert_with(|| Instant::now() + EVERY),
            Command::Settle(outcomes) => {
                gathered.rows += outcomes.settled.len();
                gathered.urgent |= outcomes.settled.iter().any(|one| one.fate != Fate::Delivered);
                gathered.outcomes.push(outcomes);
            }
            Command::Flush(answer) => {
                gathered.urgent = true;
                gathered.flushes.push(answer);
            }
        }
    }

    async fn settle(&self, mut outcomes: Vec<Outcomes>) {
        let settled = outcomes.iter_mut().flat_map(|outcomes| std::mem::take(&mut outcomes.settled));
        let written = self.write_all(settled.collect()).await;
        if let Err(error) = &written {
            tracing::warn!(%error, "what came of deliveries can't be written down yet");
        }
        for Outcomes { answer, .. } in outcomes {
            answer.send(written.clone()).ok();
        }
    }

    async fn write_all(&self, settled: Vec<Settled>) -> Result<(), StoreError> {
        let mut failed = None;
        for round in rounds(settled) {
            let delivered: Arc<[Settled]> =
                round.iter().filter(|one| one.fate == Fate::Delivered).cloned().collect();
            match self.write(round.into()).await {
                // What was delivered makes room, if it changes anything.
                Err(StoreError::Full(why)) => {
                    self.write(delivered)
                        .await
                        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
                    failed = Some(StoreError::Full(why));
                }
                written => written?,
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn write(&self, settled: Arc<[Settled]>) -> Result<(), StoreError> {
        #[cfg(test)]
        if settled.iter().any(|one| one.fate != Fate::Delivered) {
            self.parts.room.check(0)?;
        }
        if settled.is_empty() {
            return Ok(());
        }
        let Parts { database, seat, partitions, .. } = &self.parts;
        let seated = seat.seated()?;
        partitions.need(database, &ATTEMPTS, settle::days(&settled)).await?;
        let (under, now) = (Under { epoch: seated.epoch, shard: seated.shard }, Timestamp::now());
        let write = database
            .ask(move |client| Box::pin(async move { settle::settle(client, under, now, &settled).await }));
        match write.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(seat.lost(seated.epoch)),
            Err(error) => {
                // Retention may have dropped the day that was written to.
                partitions.forget();
                Err(error)
            }
        }
    }

    async fn move_on(&mut self) -> Result<(), StoreError> {
        self.due = None;
        let moved = Arc::new(self.moving.take());
        if moved.frontiers.is_empty() && moved.replays.is_empty() {
            return Ok(());
        }
        let moving = self.advance(Arc::clone(&moved)).await;
        if moving.is_err() {
            self.moving.put_back(&moved);
            self.due = Some(Instant::now() + EVERY);
        }
        moving
    }

    async fn advance(&self, moved: Arc<Moved>) -> Result<(), StoreError> {
        let epoch = self.parts.seat.epoch()?;
        let advance = self
            .parts
            .database
            .ask(move |client| Box::pin(async move { settle::advance(client, epoch, &moved).await }));
        if advance.await? { Ok(()) } else { Err(self.parts.seat.lost(epoch)) }
    }
}

/// In their order, and one outcome of a delivery at most in each round.
fn rounds(settled: Vec<Settled>) -> Vec<Vec<Settled>> {
    let mut rounds: Vec<Vec<Settled>> = Vec::new();
    let mut before = HashMap::<(Arc<str>, Place), usize>::new();
    for one in settled {
        let count = before.entry((Arc::clone(&one.subscriber), one.place)).or_default();
        if rounds.len() == *count {
            rounds.push(Vec::new());
        }
        rounds[*count].push(one);
        *count += 1;
    }
    rounds
}
