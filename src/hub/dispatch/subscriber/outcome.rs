//! What becomes of a delivery that has been tried.

use std::sync::Arc;

use tokio::task::{Id, JoinError};
use tokio::time::Instant;

use super::Subscriber;
use super::job::{Job, Origin};
use crate::hub::deliver::Tried;
use crate::hub::delivery_state::{Outcome, Why, decide};
use crate::hub::dispatch::health::Sign;
use crate::hub::dispatch::ledger::Saved;
use crate::hub::schedule::after;
use crate::store::{Attempt, Fate, Place, Settled};

impl Subscriber {
    /// A try has ended.
    pub(super) fn landed(&mut self, landed: Result<(Id, Tried), JoinError>) {
        let (id, tried) = match landed {
            Ok((id, tried)) => (id, tried),
            // It can't be told what the subscriber has got: it may get it again.
            Err(error) => (error.id(), Tried::unknown(self.rooms.clock.now())),
        };
        let Some(job) = self.flying.remove(&id) else { return };
        self.places.remove(&job.event.place);
        self.flying_bytes -= job.event.body.len();
        self.judge(&job, tried);
    }

    fn judge(&mut self, job: &Job, tried: Tried) {
        let decision = decide(
            job.standing,
            &tried.outcome,
            &self.served.settings.retry,
            self.rooms.clock.now(),
            self.dice.f64(),
        );
        self.report(job, &tried.outcome, decision.fate, decision.why);
        self.shown.count(decision.fate, tried.took);
        if let Some(error) = tried.outcome.error() {
            self.shown.fail(tried.at, error);
        }
        self.feel(job, &tried.outcome);
        let settled = Settled {
            subscriber: Arc::clone(&self.name),
            place: job.event.place,
            attempt: Some(self.attempt(job, tried)),
            fate: decision.fate,
        };
        if decision.fate == Fate::Delivered && job.origin == Origin::Lane {
            self.done(job.event.place);
        } else {
            self.retries.noted(&settled, Arc::clone(&job.event), job.attempts + 1);
        }
        self.ledger.note(settled);
    }

    fn feel(&mut self, job: &Job, outcome: &Outcome) {
        if let Outcome::Busy { retry_after, .. } = outcome {
            self.asked_until = Some(after(self.rooms.clock.now(), *retry_after));
        }
        let sign = if outcome.is_answer() {
            Sign::Answered
        } else {
            let full = self.retries.is_full(self.flying.len());
            Sign::Failed { event: job.event.id, probe: job.is_probe(), full }
        };
        let before = self.health.next_probe().is_some();
        self.health = self.health.after(sign, Instant::now());
        match (before, self.health.next_probe().is_some()) {
            (false, true) => {
                tracing::warn!(subscriber = %self.name, "does not answer: probing, the backlog waits");
            }
            (true, false) => tracing::info!(subscriber = %self.name, "answers again"),
            (true, true) | (false, false) => {}
        }
    }

    fn report(&self, job: &Job, outcome: &Outcome, fate: Fate, why: Why) {
        let (subscriber, event, attempt) = (&self.name, job.event.id, job.attempts + 1);
        let why = why.text();
        match fate {
            Fate::Delivered => tracing::debug!(%subscriber, %event, attempt, "delivered"),
            Fate::Retry { due, .. } => {
                tracing::info!(%subscriber, %event, attempt, %due, why, "not delivered: {outcome}");
            }
            Fate::Dead => tracing::warn!(%subscriber, %event, attempt, why, "given up: {outcome}"),
        }
    }

    fn attempt(&self, job: &Job, tried: Tried) -> Attempt {
        Attempt {
            subscriber: Arc::clone(&self.name),
            number: job.attempts + 1,
            at: tried.at,
            status: tried.status,
            latency_ms: u32::try_from(tried.took.as_millis()).unwrap_or(u32::MAX),
            error: tried.outcome.error(),
            answer: tried.answer,
        }
    }

    /// A write to the store has ended.
    pub(super) async fn saved(&mut self, saved: Saved) {
        let ended = self.ledger.ended(saved, Instant::now());
        if let Some(error) = ended.error {
            tracing::error!(subscriber = %self.name, %error, "outcomes can't be written down yet");
        }
        let mut rows = false;
        for settled in ended.done {
            if self.retries.saved(&settled) {
                rows = true;
                self.done(settled.place);
            }
        }
        if rows {
            self.retries.look_again_later();
            match self.rooms.progress.retries(&self.name).await {
                Ok(rows) => self.retries.counted(rows),
                Err(error) => self.store_failed(&error),
            }
        }
    }

    /// The event there is delivered, has a row, or is a dead letter.
    fn done(&mut self, place: Place) {
        for at in 0..self.lanes.len() {
            self.lanes[at].done(place);
            self.tell_frontier(at);
        }
        if let Some(replay) = &mut self.replay {
            replay.lane.done(place);
            self.tell_replay();
        }
    }
}
