//! A campaign: all calls of a batch, on a number of lines, in simulated time.
//!
//! Simulated time counts milliseconds from the campaign's start and passes `speed` times as fast as the
//! clock. A call is said to have ended now, and to have begun as much earlier as it lasted: so records are
//! consistent in themselves at any speed, and never tell of the future.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::call::Call;
use super::house::House;
use super::push::{self, PushKind};
use super::schedule::{OnLine, Schedule};
use super::tasks::bot_name;
use super::{Batch, Task};

/// Most campaigns at once.
pub(super) const MAX_CAMPAIGNS: usize = 16;
/// Calls that ended within this go together in one push, up to [`RECORDS_A_PUSH`].
const WINDOW_MS: u64 = 3_000;
const RECORDS_A_PUSH: usize = 50;
const DEGREES_A_PUSH: usize = 500;
/// Pushes of one campaign that wait for their answer, or for their next try.
const PUSHES_AT_ONCE: usize = 16;

/// An accepted upload.
#[derive(Debug)]
pub(super) struct Campaign {
    task: Task,
    call_sn: String,
    call_sn_name: String,
    numbers: Vec<Box<str>>,
    unsettled: Unsettled,
}

/// Counts a campaign as under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Unsettled(pub(super) watch::Sender<usize>);

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Calls that ended and wait for their push.
#[derive(Debug, Default)]
struct Ended {
    calls: Vec<(OnLine, Call)>,
}

impl Campaign {
    /// The campaign that `batch` starts for `task`.
    pub(super) fn new(task: Task, batch: &Batch, numbers: Vec<Box<str>>, unsettled: Unsettled) -> Self {
        let (call_sn, call_sn_name) = (batch.call_sn.clone(), batch.call_sn_name.clone());
        Self { task, call_sn, call_sn_name, numbers, unsettled }
    }

    /// Calls all numbers, and pushes what came of it.
    pub(super) async fn run(self, house: Arc<House>) {
        let started = Instant::now();
        let interval_ms = self.task.recall_interval.saturating_mul(60_000);
        let mut schedule = Schedule::new(self.numbers.len());
        let (mut ended, mut degrees) = (Ended::default(), Vec::new());
        let mut pushes = JoinSet::new();
        let length = |number, again| self.call(&house, number, again).length_ms().unsigned_abs();
        schedule.fill(0, length);
        while let Some(over) = schedule.pop() {
            if ended.full(over.end_ms) {
                self.flush(&house, started, &mut ended, &mut pushes).await;
            }
            let call = self.call(&house, over.number, over.again);
            if !over.again && self.wants_recall(&call) {
                schedule.recall(over.end_ms.saturating_add(interval_ms), over.number);
            }
            degrees.extend(call.degree().map(|degree| (over.number, degree, over.again)));
            ended.calls.push((over, call));
            schedule.fill(over.end_ms, length);
        }
        self.flush(&house, started, &mut ended, &mut pushes).await;
        while pushes.join_next().await.is_some() {}

        // After all records: the document has it when the batch is through (§8).
        for chunk in degrees.chunks(DEGREES_A_PUSH) {
            self.start_push(&house, PushKind::IntentResult, &self.degrees(chunk), &mut pushes).await;
        }
        while pushes.join_next().await.is_some() {}
        if let Some(batch) = house.memory().batches.get_mut(&self.call_sn) {
            batch.settled = true;
        }
        tracing::info!(call_sn = self.call_sn, numbers = self.numbers.len(), "sandbox: campaign over");
        drop(self.unsettled);
    }

    /// The call to a number. The same dice each time, so that it need not be kept while it goes on.
    fn call(&self, house: &House, number: usize, again: bool) -> Call {
        let place = (number as u64) << 1 | u64::from(again);
        let batch = self.call_sn.parse::<u64>().unwrap_or_default();
        let mut dice = fastrand::Rng::with_seed(house.seed ^ batch.rotate_left(32) ^ place);
        // Neighbouring seeds begin alike.
        dice.u64(..);
        Call::throw(&mut fastrand::Rng::with_seed(dice.u64(..)))
    }

    fn wants_recall(&self, call: &Call) -> bool {
        let state = call.outcome.state.to_string();
        self.task.recall_policy.contains(&state)
    }

    /// Waits until the calls in `ended` are over, and sends them off.
    async fn flush(&self, house: &Arc<House>, started: Instant, ended: &mut Ended, pushes: &mut JoinSet<()>) {
        let calls = std::mem::take(&mut ended.calls);
        let Some(last_ms) = calls.last().map(|(over, _)| over.end_ms) else { return };
        tokio::time::sleep_until(started + house.pause(last_ms)).await;
        let records = self.note(house, &calls, last_ms);
        self.start_push(house, PushKind::CallRecord, &self.records(records), pushes).await;
        let Some(url) = &house.settings.inbound_url else { return };
        for (over, _) in calls.iter().filter(|(_, call)| call.rings_back) {
            let (house, url, caller) = (Arc::clone(house), url.clone(), self.numbers[over.number].clone());
            make_room(pushes).await;
            // What came of it is in the journal.
            pushes.spawn(async move { drop(push::ask_inbound(&house, &caller, &url).await) });
        }
    }

    /// Counts and remembers calls of which the last, at `last_ms`, is over now; their records.
    fn note(&self, house: &House, calls: &[(OnLine, Call)], last_ms: u64) -> Vec<Value> {
        let now_ms = house.clock.now_ms();
        let mut records = Vec::with_capacity(calls.len());
        let mut memory = house.memory();
        if let Some(batch) = memory.batches.get_mut(&self.call_sn) {
            batch.called += calls.len();
            batch.answered += calls.iter().filter(|(_, call)| call.outcome.answered).count();
        }
        for (over, call) in calls {
            let end_ms = now_ms - i64::try_from(last_ms - over.end_ms).unwrap_or(0);
            records.push(call.record(&self.task, &self.numbers[over.number], end_ms));
            if let Some(remembered) = call.remember(&self.task, end_ms) {
                memory.calls.put(&call.call_id, remembered);
            }
        }
        records
    }

    /// Pushes beside what goes on, once there is room for one more.
    async fn start_push(&self, house: &Arc<House>, kind: PushKind, body: &Value, pushes: &mut JoinSet<()>) {
        let Some(url) = self.task.team_url.clone().filter(|url| !url.is_empty()) else { return };
        make_room(pushes).await;
        let (house, call_sn, body) = (Arc::clone(house), self.call_sn.clone(), body.to_string());
        pushes.spawn(async move { push::deliver(&house, kind, &url, &call_sn, body.into()).await });
    }

    /// §7.3.
    fn records(&self, calls: Vec<Value>) -> Value {
        json!({
            "bot_id": self.task.bot_id,
            "bot_name": bot_name(&self.task.bot_id),
            "call_sn": self.call_sn,
            "call_sn_name": self.call_sn_name,
            "calls": calls,
            "task_id": self.task.task_id,
            "task_name": self.task.task_name,
        })
    }

    /// §8.3.
    fn degrees(&self, degrees: &[(usize, &'static str, bool)]) -> Value {
        let degrees = degrees.iter().map(|(number, degree, again)| {
            json!({
                "num": self.numbers[*number],
                "degree_name": degree,
                "recall_flag": u8::from(*again),
            })
        });
        json!({
            "task_id": self.task.task_id,
            "task_name": self.task.task_name,
            "call_sn": self.call_sn,
            "call_sn_name": self.call_sn_name,
            "degrees": degrees.collect::<Vec<_>>(),
        })
    }
}

/// Waits until one more push may go on.
async fn make_room(pushes: &mut JoinSet<()>) {
    while pushes.len() >= PUSHES_AT_ONCE {
        pushes.join_next().await;
    }
}

impl Ended {
    /// Whether a call that ended at `end_ms` goes into another push.
    fn full(&self, end_ms: u64) -> bool {
        let first = self.calls.first().map(|(over, _)| over.end_ms);
        self.calls.len() >= RECORDS_A_PUSH || first.is_some_and(|first| end_ms - first > WINDOW_MS)
    }
}
