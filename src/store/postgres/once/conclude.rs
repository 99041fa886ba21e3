//! What came of requests, written in the order in which it was told. What can't be written waits, and what waits is
//! no more than what was under way when PostgreSQL went away: nothing is taken up meanwhile.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Client;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::Error;

use super::super::database::Database;
use super::super::room::Room;
use super::super::seat::{Seat, held};
use super::code;
use crate::store::log::record::nanos;
use crate::store::{Answer, Conclusion, KeptAnswer, RequestId, RequestState, StoreError};

/// Most that are written together.
const MAX_TOGETHER: usize = 64;
/// Most that wait while nothing can be written.
const MAX_UNWRITTEN: usize = 4096;
const AGAIN: Duration = Duration::from_secs(1);
/// A server that works again has got to the claims that nobody waits for any more: they may wait for a lock, and then
/// take as long as a statement may.
const LATE: Duration = Duration::from_secs(15);

/// The row goes.
const NOT_SENT: i16 = 3;

/// Only what came of a request first counts, and only the word of the seat that took it.
const CONCLUDE: &str = concat!(
    held!(),
    ", told AS (
      SELECT * FROM unnest($2::bigint[], $3::smallint[], $4::bigint[], $5::integer[], $6::bytea[], $7::bytea[])
      AS told (id, state, ended_at, status, head, body)),
    kept AS (
      UPDATE request SET state = told.state, ended_at = told.ended_at, status = told.status, head = told.head,
        body = told.body
      FROM told, held WHERE request.id = told.id AND request.state = 0 AND request.epoch = held.epoch
        AND told.state <> 3),
    gone AS (
      DELETE FROM request USING held WHERE request.state = 0 AND request.epoch = held.epoch
        AND (id = ANY (SELECT told.id FROM told WHERE told.state = 3) OR ticket = ANY ($8::bigint[])))
    SELECT EXISTS (SELECT 1 FROM held)"
);

/// Takes conclusions.
#[derive(Debug)]
pub(in crate::store::postgres) struct Conclusions {
    told: mpsc::UnboundedSender<Told>,
    /// How many are not written, and nobody waits until they are.
    owed: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Told {
    what: What,
    answer: Option<oneshot::Sender<Result<(), StoreError>>>,
    owed: bool,
}

#[derive(Debug, Clone)]
enum What {
    Concluded(RequestId, Conclusion, Timestamp),
    /// Who made that claim does not know what came of it.
    Undone(i64),
    /// Somebody wants to be told when all before it is written.
    Nothing,
}

impl Conclusions {
    /// What takes them, and their writer, which ends when that is dropped.
    pub fn new(
        database: Arc<Database>,
        seat: Arc<Seat>,
        room: Arc<Room>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (told, receiver) = mpsc::unbounded_channel();
        let owed = Arc::<AtomicUsize>::default();
        let unwritten = VecDeque::new();
        let (later, counted) = (VecDeque::new(), Arc::clone(&owed));
        let writing = Writing { database, seat, room, told: receiver, unwritten, later, owed: counted };
        (Self { told, owed }, writing.run())
    }

    pub fn conclude(&self, id: RequestId, conclusion: Conclusion, at: Timestamp) -> Answer<'static, ()> {
        self.tell(What::Concluded(id, conclusion, at))
    }

    /// The same for who can't wait; what is asked next sees it all the same.
    pub fn conclude_soon(&self, id: RequestId, conclusion: Conclusion, at: Timestamp) {
        self.owe(What::Concluded(id, conclusion, at));
    }

    /// What was told before, and nobody waits for, is written now, if it is not yet.
    ///
    /// # Errors
    /// It can't be.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        if self.owed.load(Ordering::Acquire) > 0 { self.flush().await } else { Ok(()) }
    }

    /// Waits until what was told before is written.
    ///
    /// # Errors
    /// It can't be.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.tell(What::Nothing).await
    }

    fn tell(&self, what: What) -> Answer<'static, ()> {
        let closed = || StoreError::Unavailable("the store is closed".into());
        let (answer, answered) = oneshot::channel();
        let sent = self.told.send(Told { what, answer: Some(answer), owed: false });
        Box::pin(async move {
            sent.map_err(|_| closed())?;
            answered.await.map_err(|_| closed())?
        })
    }

    /// That claim, if it was taken, is forgotten.
    pub fn undo(&self, ticket: i64) {
        self.owe(What::Undone(ticket));
    }

    fn owe(&self, what: What) {
        self.owed.fetch_add(1, Ordering::Release);
        // Without a receiver the store is closed, and its seat given up.
        self.told.send(Told { what, answer: None, owed: true }).ok();
    }
}

struct Writing {
    database: Arc<Database>,
    seat: Arc<Seat>,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests let it refuse"))]
    room: Arc<Room>,
    told: mpsc::UnboundedReceiver<Told>,
    /// In order.
    unwritten: VecDeque<Told>,
    /// Claims that were undone, and are once more then: the server may have got to one only after that.
    later: VecDeque<(Instant, i64)>,
    owed: Arc<AtomicUsize>,
}

impl Writing {
    async fn run(mut self) {
        while self.gather().await {
            while !self.unwritten.is_empty() {
                if let Err(error) = self.write().await {
                    self.put_off(&error);
                    break;
                }
            }
        }
        while !self.unwritten.is_empty() && self.write().await.is_ok() {}
    }

    /// Waits for more, or for when to try again; `false`: nothing more comes.
    async fn gather(&mut self) -> bool {
        let again = !self.unwritten.is_empty();
        let later = self.later.front().map(|(then, _)| *then);
        tokio::select! {
            told = self.told.recv() => match told {
                Some(told) => self.unwritten.push_back(told),
                None => return false,
            },
            () = sleep(AGAIN), if again => {}
            () = sleep_until(later.unwrap_or_else(Instant::now)), if later.is_some() => {}
        }
        let now = Instant::now();
        while let Some((_, ticket)) = self.later.pop_front_if(|(then, _)| *then <= now) {
            self.unwritten.push_back(Told { what: What::Undone(ticket), answer: None, owed: false });
        }
        while let Ok(told) = self.told.try_recv() {
            self.unwritten.push_back(told);
        }
        true
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        #[cfg(test)]
        self.room.check(0)?;
        let epoch = self.seat.epoch()?;
        let batch = Arrays::of(self.unwritten.iter().take(MAX_TOGETHER).map(|told| &told.what));
        let held =
            self.database.ask(move |client| Box::pin(async move { batch.conclude(client, epoch).await }));
        if !held.await? {
            return Err(self.seat.lost(epoch));
        }
        let written = self.unwritten.len().min(MAX_TOGETHER);
        for told in self.unwritten.drain(..written) {
            self.owed.fetch_sub(usize::from(told.owed), Ordering::Release);
            if let (What::Undone(ticket), true) = (&told.what, told.owed && self.later.len() < MAX_UNWRITTEN)
            {
                self.later.push_back((Instant::now() + LATE, *ticket));
            }
            if let Some(answer) = told.answer {
                answer.send(Ok(())).ok();
            }
        }
        Ok(())
    }

    fn put_off(&mut self, error: &StoreError) {
        tracing::warn!(%error, waiting = self.unwritten.len(), "what came of requests is written down later");
        for told in &mut self.unwritten {
            if let Some(answer) = told.answer.take() {
                answer.send(Err(error.clone())).ok();
            }
        }
        self.unwritten.retain(|told| !matches!(told.what, What::Nothing));
        if self.unwritten.len() > MAX_UNWRITTEN {
            tracing::error!("what came of some requests is lost; they are unknown once this process ends");
        }
        for told in self.unwritten.drain(MAX_UNWRITTEN.min(self.unwritten.len())..) {
            self.owed.fetch_sub(usize::from(told.owed), Ordering::Release);
        }
        for told in &mut self.unwritten {
            let fresh = !std::mem::replace(&mut told.owed, true);
            self.owed.fetch_add(usize::from(fresh), Ordering::Release);
        }
    }
}

/// Columns.
#[derive(Default)]
struct Arrays {
    ids: Vec<i64>,
    states: Vec<i16>,
    ended: Vec<i64>,
    statuses: Vec<Option<i32>>,
    heads: Vec<Option<Vec<u8>>>,
    bodies: Vec<Option<Vec<u8>>>,
    undone: Vec<i64>,
}

impl Arrays {
    fn of<'a>(told: impl Iterator<Item = &'a What>) -> Self {
        let (mut all, mut seen) = (Self::default(), BTreeSet::new());
        for what in told {
            match what {
                What::Concluded(id, conclusion, at) if seen.insert(*id) => all.push(*id, conclusion, *at),
                What::Concluded(..) => {}
                What::Undone(ticket) => all.undone.push(*ticket),
                What::Nothing => {}
            }
        }
        all
    }

    fn push(&mut self, id: RequestId, conclusion: &Conclusion, at: Timestamp) {
        let (state, kept) = match conclusion {
            Conclusion::Done(kept) => (code(RequestState::Done), kept.as_ref()),
            Conclusion::Unknown => (code(RequestState::Unknown), None),
            Conclusion::NotSent => (NOT_SENT, None),
        };
        self.ids.push(id.0);
        self.states.push(state);
        self.ended.push(nanos(at));
        self.statuses.push(kept.map(|KeptAnswer { status, .. }| i32::from(*status)));
        self.heads.push(kept.map(|kept| kept.head.to_vec()));
        self.bodies.push(kept.map(|kept| kept.body.to_vec()));
    }

    async fn conclude(self, client: &mut Client, epoch: i64) -> Result<bool, Error> {
        let Self { ids, states, ended, statuses, heads, bodies, undone } = self;
        let conclude = client.prepare_cached(CONCLUDE).await?;
        let row = client
            .query_one(&conclude, &[&epoch, &ids, &states, &ended, &statuses, &heads, &bodies, &undone])
            .await?;
        Ok(row.get(0))
    }
}
