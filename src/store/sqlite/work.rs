//! The index's thread: one transaction for what comes within a moment.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::events;
use super::link::Classes;
use super::once::{Concluding, Step};
use super::schema::signed;
use super::settle::{self, Changes};
use super::shared::Shared;
use crate::store::clock_watch::ClockWatch;
use crate::store::{Fate, Seq, Settled, StoreError};

/// What need not be durable at once is written together with what comes within this time.
const LINGER: Duration = Duration::from_millis(100);
/// Events go into the index so often, or when there are many, or when somebody asks: each transaction writes
/// whole pages, and keys of duplicates fall all over theirs.
const INDEX_EVERY: Duration = Duration::from_secs(1);
/// Most outcomes of a transaction.
const MAX_OUTCOMES: usize = 16_384;
/// After a transaction that failed, what can wait waits for this.
const PAUSE: Duration = Duration::from_secs(1);
/// Retention is looked after so often.
pub(super) const SWEEP_EVERY: Duration = Duration::from_mins(1);

type Act = Box<dyn FnOnce(&mut Work) + Send>;

/// What the thread is asked to do.
pub(in crate::store) enum Command {
    /// There are events to index, or frontiers that moved.
    Nudge,
    Settle(Outcomes),
    /// Something about a remembered request.
    Step(Box<dyn Step>),
    /// An operator's action, in transactions of its own.
    Act(Act),
    /// Write now what is there.
    Flush(oneshot::Sender<()>),
    Stop,
}

pub(in crate::store) struct Outcomes {
    pub settled: Vec<Settled>,
    pub answer: oneshot::Sender<Result<(), StoreError>>,
    pub permit: OwnedSemaphorePermit,
}

pub(in crate::store) struct Work {
    pub connection: Connection,
    pub shared: Arc<Shared>,
    pub retention: Duration,
    /// Asks the log's writer for a new segment.
    pub roll: Box<dyn Fn() + Send>,
    pub(super) classes: Classes,
    /// What stands before it is gone from the tables, and what stands before retention's cut is to go.
    pub(super) cleaned: Seq,
    /// What came of requests while nothing could be written.
    pub(super) unwritten: Vec<Concluding>,
    pub(super) clock: ClockWatch,
    pub(super) clock_at: Instant,
    full_sync: bool,
    failed_at: Option<Instant>,
    indexed_at: Instant,
}

/// What is written together.
#[derive(Default)]
struct Gathered {
    steps: Vec<Box<dyn Step>>,
    outcomes: Vec<Outcomes>,
    rows: usize,
    flushes: Vec<oneshot::Sender<()>>,
    act: Option<Act>,
    urgent: bool,
    stop: bool,
}

impl Work {
    pub fn new(
        connection: Connection,
        shared: Arc<Shared>,
        retention: Duration,
        roll: Box<dyn Fn() + Send>,
    ) -> Self {
        let cleaned = Seq(0);
        let classes = Classes::default();
        Self {
            connection,
            shared,
            retention,
            roll,
            classes,
            cleaned,
            unwritten: Vec::new(),
            clock: ClockWatch::new(Timestamp::now()),
            clock_at: Instant::now(),
            full_sync: true,
            failed_at: None,
            indexed_at: Instant::now(),
        }
    }

    pub fn run(mut self, commands: &Receiver<Command>) {
        let mut swept = Instant::now();
        loop {
            let gathered = self.gather(commands, SWEEP_EVERY.saturating_sub(swept.elapsed()));
            let stop = gathered.stop;
            self.write(gathered);
            if stop {
                return;
            }
            if swept.elapsed() >= SWEEP_EVERY {
                let now = Timestamp::now();
                if self.watch_clock(now) {
                    self.sweep(now);
                }
                self.keep_clock();
                swept = Instant::now();
            }
            self.clean();
        }
    }

    /// Waits for something to do, and then a moment for more of it.
    fn gather(&self, commands: &Receiver<Command>, at_most: Duration) -> Gathered {
        let mut gathered = Gathered::default();
        // With work left over, only what is there already is taken along.
        let patience = match (self.left_over(), self.failed_at) {
            (true, _) => Duration::ZERO,
            (false, Some(_)) => at_most.min(PAUSE),
            (false, None) if !self.unwritten.is_empty() => at_most.min(PAUSE),
            (false, None) => at_most,
        };
        let until_due = INDEX_EVERY.saturating_sub(self.indexed_at.elapsed()).max(LINGER);
        let patience = if self.behind() > 0 { patience.min(until_due) } else { patience };
        match commands.recv_timeout(patience) {
            Ok(command) => gathered.take(command),
            Err(RecvTimeoutError::Timeout) => return gathered,
            Err(RecvTimeoutError::Disconnected) => return Gathered { stop: true, ..gathered },
        }
        let until = Instant::now() + LINGER;
        while gathered.rows < MAX_OUTCOMES && gathered.act.is_none() && !gathered.stop {
            let left = until.saturating_duration_since(Instant::now());
            let patience = if gathered.urgent || self.many() { Duration::ZERO } else { left };
            match commands.recv_timeout(patience) {
                Ok(command) => gathered.take(command),
                Err(_) => break,
            }
        }
        gathered
    }

    fn many(&self) -> bool {
        self.behind() >= events::MAX_EVENTS as u64
    }

    fn behind(&self) -> u64 {
        self.shared.shelf.tail().0.saturating_sub(self.shared.indexed().0)
    }

    fn left_over(&self) -> bool {
        let paused = self.failed_at.is_some_and(|at| at.elapsed() < PAUSE);
        (self.many() && !paused) || self.cleaned < self.shared.shelf.first()
    }

    fn write(&mut self, gathered: Gathered) {
        self.shared.nudged.store(false, Ordering::Release);
        let Gathered { steps, outcomes, flushes, act, stop, .. } = gathered;
        // First: somebody waits for each of them before a request goes out.
        self.take_steps(steps);
        let can_wait = outcomes.is_empty() && flushes.is_empty() && act.is_none() && !stop;
        if can_wait && self.failed_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let asked = stop || act.is_some() || !flushes.is_empty();
        let index = asked || self.many() || self.indexed_at.elapsed() >= INDEX_EVERY;
        let mut written = self.transact(&outcomes, index);
        self.failed_at = written.is_err().then(Instant::now);
        if let Err(error) = &written {
            tracing::warn!(%error, "what is not urgent is written later");
            self.after_failure(&outcomes);
        }
        for Outcomes { answer, permit, .. } in outcomes {
            answer.send(written.clone()).ok();
            drop(permit);
        }
        let target = self.shared.shelf.tail();
        while (stop || !flushes.is_empty()) && written.is_ok() && self.shared.indexed() < target {
            written = self.transact(&[], true);
        }
        self.shared.measure();
        for flush in flushes {
            flush.send(()).ok();
        }
        if let Some(act) = act {
            act(self);
        }
    }

    /// Retries and dead letters are to be on the disk before anybody hears of it; the rest is there in a
    /// moment, and may be lost with the machine: that means repeated deliveries.
    pub(super) fn synchronous(&mut self, full: bool) -> rusqlite::Result<()> {
        if self.full_sync != full {
            let level = if full { "FULL" } else { "NORMAL" };
            self.connection.execute_batch(&format!("PRAGMA synchronous = {level}"))?;
            self.full_sync = full;
        }
        Ok(())
    }

    fn transact(&mut self, outcomes: &[Outcomes], index: bool) -> Result<(), StoreError> {
        let settled = || outcomes.iter().flat_map(|outcomes| &outcomes.settled);
        let durable = settled().any(|one| one.fate != Fate::Delivered);
        let shared = Arc::clone(&self.shared);
        #[cfg(test)]
        if shared.full.load(Ordering::Relaxed) {
            return Err(StoreError::Full("as the test wants it".into()));
        }
        let from = shared.indexed();
        let index = index && from < shared.shelf.tail();
        let moved = moved(&shared);
        if !index && moved.is_empty() && outcomes.is_empty() {
            return Ok(());
        }
        let told = |error| super::told(&error);
        self.synchronous(durable).map_err(told)?;
        let transaction = self.connection.transaction().map_err(told)?;
        let mut changes = Changes::default();
        let mut indexed = from;
        let written = (|| {
            if index {
                indexed = events::take_in(&transaction, &mut self.classes, &shared.shelf, from)?;
            }
            for (id, seq) in &shared.members().unsaved {
                settle::remove(&transaction, *id, *seq).map_err(told)?;
            }
            for one in settled() {
                changes.settle(&transaction, &shared, one)?;
            }
            changes.write_counts(&transaction).map_err(told)?;
            moved.iter().try_for_each(|moved| moved.write(&transaction)).map_err(told)
        })();
        let written = written.and_then(|()| transaction.commit().map_err(told));
        if let Err(error) = written {
            self.classes.forget();
            let mut members = shared.members();
            for one in moved {
                if let Some(member) = members.by_id(one.id) {
                    member.moved = true;
                }
            }
            return Err(error);
        }
        changes.apply(&mut shared.members());
        if index {
            self.indexed_at = Instant::now();
        }
        shared.set_indexed(indexed);
        Ok(())
    }

    /// What was delivered is not to be delivered again and again only because that can't be written down.
    fn after_failure(&self, outcomes: &[Outcomes]) {
        let mut members = self.shared.members();
        for one in outcomes.iter().flat_map(|outcomes| &outcomes.settled) {
            if one.fate != Fate::Delivered {
                continue;
            }
            let Some(member) = members.by_name.get_mut(&*one.subscriber) else { continue };
            let id = member.id;
            if member.standing.retries.take(one.place.seq).is_some() {
                members.unsaved.insert((id, one.place.seq));
            }
        }
    }

    /// Does an operator's action as one transaction that is on the disk afterwards.
    pub fn durably<T>(
        &mut self,
        act: impl FnOnce(&Connection, &Shared) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let told = |error| super::told(&error);
        self.synchronous(true).map_err(told)?;
        let shared = Arc::clone(&self.shared);
        let transaction = self.connection.transaction().map_err(told)?;
        let done = act(&transaction, &shared)?;
        transaction.commit().map_err(told)?;
        Ok(done)
    }
}

impl Gathered {
    fn take(&mut self, command: Command) {
        match command {
            Command::Nudge => {}
            Command::Settle(outcomes) => {
                self.rows += outcomes.settled.len();
                self.urgent |= outcomes.settled.iter().any(|one| one.fate != Fate::Delivered);
                self.outcomes.push(outcomes);
            }
            Command::Step(step) => {
                self.rows += 1;
                self.urgent = true;
                self.steps.push(step);
            }
            Command::Act(act) => self.act = Some(act),
            Command::Flush(answer) => {
                self.urgent = true;
                self.flushes.push(answer);
            }
            Command::Stop => self.stop = true,
        }
    }
}

/// A subscriber that has moved, as it is to be written.
struct Moved {
    id: i64,
    frontier: Seq,
    replays: Vec<(i64, Seq)>,
}

fn moved(shared: &Shared) -> Vec<Moved> {
    let mut members = shared.members();
    let moved = members.by_name.values_mut().filter(|member| member.moved);
    moved
        .map(|member| {
            member.moved = false;
            let replays = member.standing.replays.iter().map(|replay| (replay.id.0, replay.next)).collect();
            Moved { id: member.id, frontier: member.standing.frontier, replays }
        })
        .collect()
}

impl Moved {
    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut frontier = connection.prepare_cached("UPDATE frontier SET next = ? WHERE subscriber = ?")?;
        frontier.execute((signed(self.frontier.0), self.id))?;
        let mut known = connection.prepare_cached("SELECT id FROM replay WHERE subscriber = ?")?;
        let known: Vec<i64> = known.query_map([self.id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for id in known {
            match self.replays.iter().find(|(replay, _)| *replay == id) {
                Some((_, next)) => connection
                    .prepare_cached("UPDATE replay SET next = ? WHERE id = ?")?
                    .execute((signed(next.0), id))?,
                None => connection.prepare_cached("DELETE FROM replay WHERE id = ?")?.execute([id])?,
            };
        }
        Ok(())
    }
}
